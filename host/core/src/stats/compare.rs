//! The difference of two arms, and its uncertainty.
//!
//! The functions that estimate take one arm's sufficient statistics each, over units, and give an
//! [`Estimate`] in the metric's own unit. [`welch`] makes an interval of it for one look at a time
//! that was fixed beforehand; for more looks than one there is [`super::sequence`].

use statrs::distribution::{ContinuousCDF as _, Normal, StudentsT};
use thiserror::Error;

use super::moments::{Joint, Moments};
use crate::numbers::grouped;

/// Why there is no result yet.
#[derive(Debug, Clone, Copy, PartialEq, Error)]
pub enum NotEnough {
    /// An arm has too few units.
    #[error("an arm has {} units, and {} are needed", grouped(*.have), grouped(*.need))]
    Units {
        /// Units in the smaller arm.
        have: u64,
        /// Units needed in each.
        need: u64,
    },
    /// Too few events, or too few units without one, are expected.
    #[error("{have:.1} events are expected in the smaller arm, and {need} are needed")]
    Events {
        /// Expected number in the smaller arm, of the rarer of the two.
        have: f64,
        /// The number needed there.
        need: f64,
    },
    /// Amounts have no upper limit: one unit's number may outweigh all others.
    #[error("its numbers have no limit: declare a cap, or min and max")]
    Unlimited,
    /// Nothing varies, or numbers are not finite, so the uncertainty cannot be estimated.
    #[error("there is no variance to measure a difference by")]
    Variance,
    /// A ratio's denominator is zero.
    #[error("the denominator of an arm's ratio is zero")]
    Denominator,
}

/// The difference between two arms, with the inputs of its uncertainty.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Estimate {
    /// Treatment less control, in the metric's unit.
    pub difference: f64,
    /// The standard error of the difference, in the same unit; above 0.
    pub se: f64,
    /// Units of both arms together.
    pub n: u64,
    /// Control's mean or ratio, adjusted if there are covariates.
    pub control: f64,
    /// The treatment's mean or ratio, adjusted if there are covariates.
    pub treatment: f64,
    /// Degrees of freedom by Welch and Satterthwaite.
    pub df: f64,
    /// The variances of control's and of the treatment's mean.
    pub variances: [f64; 2],
    /// With covariates: what the uncertainty of their common centre adds to the variance of a
    /// [`contrast`](Self::contrast).
    pub centre: Centre,
}

/// The uncertainty of the centre that covariates are adjusted to. It cancels in a difference whose
/// slopes are common, and not in a contrast with another factor.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Centre {
    /// The covariance of both slopes' difference with control's slopes, along the covariates.
    pub mixed: f64,
    /// The variance along control's slopes.
    pub of_control: f64,
}

impl Estimate {
    /// Treatment − `factor` · control, with the uncertainty of both. A margin that is a share m of
    /// control's mean is the contrast with the factor 1 + m, because control's mean is not known.
    ///
    /// # Errors
    /// [`NotEnough::Variance`] if its standard error is 0 or not finite.
    pub fn contrast(&self, factor: f64) -> Result<Self, NotEnough> {
        let difference = self.treatment - factor * self.control;
        let se = self.variance_at(factor).sqrt();
        if difference.is_finite() && se.is_finite() && se > 0.0 {
            Ok(Self { difference, se, ..*self })
        } else {
            Err(NotEnough::Variance)
        }
    }

    fn variance_at(&self, factor: f64) -> f64 {
        let [control, treatment] = self.variances;
        let off = 1.0 - factor;
        treatment + factor * factor * control + off * (2.0 * self.centre.mixed + off * self.centre.of_control)
    }

    /// The interval of the relative lift, (treatment − control) / |control|: the lifts whose
    /// contrasts are within `multiplier` standard errors of zero (Fieller, Supplement to the Journal
    /// of the Royal Statistical Society 7, 1940). None where control's mean is within as many
    /// standard errors of zero: then the lifts are not an interval.
    pub fn relative_lift(&self, multiplier: f64) -> Option<[f64; 2]> {
        let (c, t, q) = (self.control, self.treatment, multiplier * multiplier);
        let [of_control, of_treatment] = self.variances;
        let Centre { mixed, of_control: centre } = self.centre;
        // (t − r c)² ≤ q · variance_at(r), as a polynomial a r² + b r + k ≤ 0 in the ratio r.
        let a = c * c - q * (of_control + centre);
        let b = -2.0 * t * c + 2.0 * q * (mixed + centre);
        let k = t * t - q * (of_treatment + 2.0 * mixed + centre);
        let root = b * b - 4.0 * a * k;
        if !(a > 0.0 && root >= 0.0 && root.is_finite()) {
            return None;
        }
        let [low, high] = [-1.0, 1.0].map(|sign| (-b + sign * root.sqrt()) / (2.0 * a) - 1.0);
        Some(if c < 0.0 { [-high, -low] } else { [low, high] })
    }
}

/// An interval for a difference, and the p-value of no difference.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// The lower end, in the metric's unit.
    pub low: f64,
    /// The upper end.
    pub high: f64,
    /// The two-sided p-value of the difference 0.
    pub p: f64,
}

/// The kind of a unit's number, which decides how its variance is estimated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// 0 or 1: the variance is p(1 − p).
    Proportion,
    /// Any number: the variance is the unbiased one.
    Mean,
}

/// The difference of two means or two proportions, over independent units. Arms may differ in
/// size and in variance (Welch, Biometrika 34, 1947). If every unit of an arm has the same number,
/// and the arms' numbers differ, both get the variance of all units together: it is at most too
/// large, and "all of these against none of those" is told.
///
/// # Errors
/// [`NotEnough::Units`] with fewer than two units in an arm, [`NotEnough::Variance`] if neither arm
/// varies. One arm may be constant; [`super::may_speak`] decides whether there is enough data.
pub fn difference(control: &Moments, treatment: &Moments, kind: Kind) -> Result<Estimate, NotEnough> {
    let arm = |arm: &Moments| ArmMoments {
        n: arm.n,
        df: arm.n.saturating_sub(1),
        mean: arm.mean,
        variance: match kind {
            Kind::Proportion => arm.mean * (1.0 - arm.mean),
            Kind::Mean => arm.variance().unwrap_or_default(),
        },
    };
    let [mut of_control, mut of_treatment] = [arm(control), arm(treatment)];
    let difference = of_treatment.mean - of_control.mean;
    if of_control.variance == 0.0 && of_treatment.variance == 0.0 && difference != 0.0 {
        let [m, n] = [of_control.n as f64, of_treatment.n as f64];
        let together = m * n / ((m + n) * (m + n - 1.0).max(1.0)) * difference * difference;
        (of_control.variance, of_treatment.variance) = (together, together);
    }
    estimate(of_control, of_treatment)
}

/// The difference of two ratios Σy / Σx, by the delta method: with R = Σy / Σx, the variance of a
/// unit's part is (Var y − 2R Cov(y, x) + R² Var x) / x̄² (Deng, Knoblich & Lu, KDD 2018). `y` and
/// `x` are a unit's own sums: its crashes and its decisions, say.
///
/// # Errors
/// [`NotEnough::Units`] with fewer than two units in an arm, [`NotEnough::Denominator`] if the sum
/// of an arm's `x` is zero, [`NotEnough::Variance`] if neither arm's ratio varies.
pub fn ratio_difference(control: &Joint, treatment: &Joint) -> Result<Estimate, NotEnough> {
    enough_units(control.n, treatment.n)?;
    if control.x_mean == 0.0 || treatment.x_mean == 0.0 {
        return Err(NotEnough::Denominator);
    }
    let arm = |arm: &Joint| {
        let ratio = arm.y_mean / arm.x_mean;
        let variance = residual(arm, ratio) / (arm.x_mean * arm.x_mean);
        ArmMoments { n: arm.n, df: arm.n - 1, mean: ratio, variance }
    };
    estimate(arm(control), arm(treatment))
}

/// The difference of the means of `y`, adjusted for a covariate `x` (CUPED: Deng, Xu, Kohavi &
/// Walker, WSDM 2013). θ is Cov(y, x) / Var(x) within the arms, pooled; an arm's adjusted mean is ȳ
/// − θ(x̄ − x̄ of both arms). The covariate must be known at the unit's entry: adjusting for
/// anything that the treatment can change removes part of the effect.
///
/// # Errors
/// [`NotEnough::Units`] with fewer than two units in an arm, [`NotEnough::Variance`] where the
/// covariate does not vary or nothing is left to vary without it.
pub fn cuped(control: &Joint, treatment: &Joint) -> Result<Estimate, NotEnough> {
    enough_units(control.n, treatment.n)?;
    let x_m2 = control.x_m2 + treatment.x_m2;
    if x_m2 <= 0.0 {
        return Err(NotEnough::Variance);
    }
    let theta = (control.cross + treatment.cross) / x_m2;
    let x_mean = (control.x() + treatment.x()).mean;
    let arm = |arm: &Joint| ArmMoments {
        n: arm.n,
        df: arm.n - 1,
        mean: arm.y_mean - theta * (arm.x_mean - x_mean),
        variance: residual(arm, theta),
    };
    // The variance of the centre is that of the covariate's mean over both arms.
    let n = (control.n + treatment.n) as f64;
    let of_control = theta * theta * (control.x() + treatment.x()).variance().unwrap_or_default() / n;
    let adjusted = estimate(arm(control), arm(treatment))?;
    Ok(Estimate { centre: Centre { mixed: 0.0, of_control }, ..adjusted })
}

/// The interval and p-value for one look at a time fixed in advance (Welch's t, two-sided).
/// `alpha`, between 0 and 1, is the share of such intervals that miss the true difference.
/// Evaluated repeatedly, the error rate is far higher.
pub fn welch(estimate: &Estimate, alpha: f64) -> Interval {
    let reach = welch_multiplier(estimate, alpha) * estimate.se;
    Interval {
        low: estimate.difference - reach,
        high: estimate.difference + reach,
        p: 2.0 * upper_tail((estimate.difference / estimate.se).abs(), estimate.df),
    }
}

/// The half-width of [`welch`]'s interval, in standard errors.
pub fn welch_multiplier(estimate: &Estimate, alpha: f64) -> f64 {
    critical(alpha, estimate.df)
}

/// One arm's summary, as all methods use it.
pub(super) struct ArmMoments {
    pub(super) n: u64,
    pub(super) mean: f64,
    /// Of one unit.
    pub(super) variance: f64,
    /// Degrees of freedom of the variance: n − 1, less the number of slopes.
    pub(super) df: u64,
}

fn enough_units(control: u64, treatment: u64) -> Result<(), NotEnough> {
    let have = control.min(treatment);
    if have < 2 { Err(NotEnough::Units { have, need: 2 }) } else { Ok(()) }
}

/// The variance of y − slope · x; zero where only rounding error is left.
fn residual(arm: &Joint, slope: f64) -> f64 {
    let of_x = slope * slope * arm.x_m2;
    let m2 = arm.y_m2 - 2.0 * slope * arm.cross + of_x;
    if m2 <= 1e-13 * (arm.y_m2 + of_x) { 0.0 } else { m2 / (arm.n - 1) as f64 }
}

pub(super) fn estimate(control: ArmMoments, treatment: ArmMoments) -> Result<Estimate, NotEnough> {
    enough_units(control.n, treatment.n)?;
    let of_mean = |arm: &ArmMoments| arm.variance / arm.n as f64;
    let (a, b) = (of_mean(&control), of_mean(&treatment));
    let (difference, se) = (treatment.mean - control.mean, (a + b).sqrt());
    let df = (a + b) * (a + b) / (a * a / control.df as f64 + b * b / treatment.df as f64);
    // Nor are there degrees of freedom if a variance is so small that its square underflows to 0.
    let is_known = difference.is_finite() && se.is_finite() && se > 0.0 && df.is_finite() && df > 0.0;
    if !is_known {
        return Err(NotEnough::Variance);
    }
    let n = control.n + treatment.n;
    let (control, treatment) = (control.mean, treatment.mean);
    Ok(Estimate { difference, se, n, control, treatment, df, variances: [a, b], centre: Centre::default() })
}

/// Above this many degrees of freedom the normal distribution replaces Student's. There, the
/// incomplete beta function loses more digits than the two differ by.
const NORMAL_FROM: f64 = 1e8;

/// The probability that Student's t exceeds `t`, from the survival function; NaN if `df` is not
/// positive.
fn upper_tail(t: f64, df: f64) -> f64 {
    if df > NORMAL_FROM {
        return Normal::standard().sf(t);
    }
    StudentsT::new(0.0, 1.0, df).map_or(f64::NAN, |student| student.sf(t))
}

/// The quantile that |t| exceeds with probability `alpha`, by bisection: with millions of degrees
/// of freedom, the library's inversion of Student's distribution is wrong by percents or does not
/// terminate. Infinite if it is not defined.
fn critical(alpha: f64, df: f64) -> f64 {
    if alpha <= 0.0 || upper_tail(0.0, df).is_nan() {
        return f64::INFINITY;
    }
    let (mut low, mut high) = (0.0, 1.0);
    while upper_tail(high, df) * 2.0 > alpha {
        (low, high) = (high, high * 2.0);
    }
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        if upper_tail(middle, df) * 2.0 > alpha { low = middle } else { high = middle }
    }
    high
}
