//! Exact bounds for one look at a time that was fixed beforehand, where there are too few events for
//! a normal approximation.

use statrs::function::beta::beta_reg;

use super::compare::Interval;
use super::rare::{BoundedSum, difference_bounds, log_e_value};

/// Bisections of an interval of rates, and of error rates.
const HALVINGS: u32 = 50;

/// Clopper and Pearson's bounds of a rate (Biometrika 26, 1934): both hold together with probability
/// at least 1 − `alpha`, for `events` among `units` that each have one or none. (0, 1) without units.
pub fn clopper_pearson(events: u64, units: u64, alpha: f64) -> [f64; 2] {
    let (s, f) = (events as f64, units.saturating_sub(events) as f64);
    // The rate at which the tail has half of alpha; the tail grows with the rate, or shrinks.
    let rate = |a: f64, b: f64, tail: f64| {
        let (mut low, mut high) = (0.0, 1.0);
        for _ in 0..HALVINGS {
            let middle = 0.5 * (low + high);
            if beta_reg(a, b, middle) < tail { low = middle } else { high = middle }
        }
        0.5 * (low + high)
    };
    let least = |s: f64, f: f64| if s == 0.0 { 0.0 } else { rate(s, f + 1.0, alpha / 2.0) };
    // The upper bound is the lower one of the units without the event: 1 − alpha / 2 has no digits of a
    // small alpha.
    [least(s, f), 1.0 - least(f, s)]
}

/// The difference of two arms' means of numbers between 0 and 1, the second less the first, with
/// bounds that hold together with probability at least 1 − `alpha`, and the smallest `alpha` whose
/// bounds exclude 0.
///
/// Rates are bounded one by one, each with half of `alpha`. Other numbers have the bounds of
/// [`super::rare`], which hold at any look and so at one.
pub fn one_look([control, arm]: [BoundedSum; 2], alpha: f64) -> Interval {
    let is_rate = |sum: BoundedSum| sum.sum.fract() == 0.0;
    if !(is_rate(control) && is_rate(arm)) {
        let (low, high) = difference_bounds(control, arm, alpha);
        let e = log_e_value(control, arm, 0.0).max(log_e_value(arm, control, 0.0));
        return Interval { low, high, p: (-e).exp().min(1.0) };
    }
    let bounds = |alpha: f64| {
        let of = |sum: BoundedSum| clopper_pearson(sum.sum as u64, sum.units as u64, alpha / 2.0);
        let ([control_low, control_high], [low, high]) = (of(control), of(arm));
        [low - control_high, high - control_low]
    };
    let [low, high] = bounds(alpha);
    let excludes = |alpha: f64| {
        let [low, high] = bounds(alpha);
        low > 0.0 || high < 0.0
    };
    let (mut inside, mut outside) = (-700.0_f64, 0.0_f64);
    for _ in 0..HALVINGS / 2 {
        let middle = 0.5 * (inside + outside);
        if excludes(middle.exp()) { outside = middle } else { inside = middle }
    }
    Interval { low, high, p: if excludes(1.0) { outside.exp() } else { 1.0 } }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Counts;

    #[test]
    fn exact_bounds_are_those_of_the_tails() {
        // By hand: with no event in n units, the upper bound is 1 - (alpha / 2)^(1 / n).
        let [low, high] = clopper_pearson(0, 10, 0.05);
        assert_eq!(low, 0.0);
        assert!((high - (1.0 - 0.025_f64.powf(0.1))).abs() < 1e-12, "{high}");
        assert_eq!(clopper_pearson(0, 0, 0.05), [0.0, 1.0]);
        let [low, high] = clopper_pearson(7, 10, 0.05);
        let mirrored = clopper_pearson(3, 10, 0.05);
        assert!((low - (1.0 - mirrored[1])).abs() < 1e-12 && (high - (1.0 - mirrored[0])).abs() < 1e-12);
    }

    #[test]
    fn p_is_the_smallest_alpha_whose_bounds_exclude_zero() {
        let arms = [Counts { units: 300, events: 2 }, Counts { units: 300, events: 19 }].map(BoundedSum::from);
        let p = one_look(arms, 0.05).p;
        assert!(p > 1e-6 && p < 0.05, "{p}");
        assert!(one_look(arms, p * 1.01).low > 0.0 && one_look(arms, p * 0.99).low < 0.0);
        assert_eq!(one_look([arms[0]; 2], 0.05).p, 1.0);
    }
}
