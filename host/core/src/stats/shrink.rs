//! Shrinkage of a difference that was selected for being large.
//!
//! A winner is chosen because its estimate is high, so that the estimate is too high on average (the
//! winner's curse). If the true differences of such experiments are spread as a normal distribution
//! around 0, the posterior mean corrects for it.

use super::compare::Estimate;

/// The posterior mean and standard deviation of the true difference, in the metric's unit, under the
/// prior N(0, `prior_sd`²): d · τ² / (τ² + SE²) and τ · SE / √(τ² + SE²), where τ is `prior_sd` (Gelman
/// et al., Bayesian Data Analysis, 3rd ed., section 2.5).
///
/// `prior_sd` is above 0, in the metric's unit. Both are NaN if it is NaN.
pub fn shrunken(estimate: &Estimate, prior_sd: f64) -> [f64; 2] {
    // τ / √(τ² + SE²), without overflow.
    let kept = prior_sd / prior_sd.hypot(estimate.se);
    [estimate.difference * kept * kept, estimate.se * kept]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_lies_between_zero_and_the_difference_by_their_precision() {
        let estimate = Estimate {
            difference: 0.02,
            se: 0.01,
            n: 8000,
            control: 0.1,
            treatment: 0.12,
            df: 7000.0,
            ..Estimate::default()
        };
        let [mean, sd] = shrunken(&estimate, 0.01);
        assert!((mean - 0.01).abs() < 1e-15 && (sd - 0.01 / 2.0_f64.sqrt()).abs() < 1e-15, "{mean} {sd}");
        let [wide, sd] = shrunken(&estimate, 1e6);
        assert!((wide - 0.02).abs() < 1e-12 && (sd - 0.01).abs() < 1e-12, "a wide prior says nothing");
        assert!(shrunken(&estimate, 1e-9)[0] < 1e-12, "a narrow one expects no difference");
    }
}
