//! Tests for a sample ratio mismatch: whether units are split by the weights.
//!
//! A mismatch means that one arm lost or double-counted more units than another, so no comparison
//! of the arms can be trusted. Weights are the ones that assignment used, as recorded; only their
//! proportions matter.

use serde::{Deserialize, Serialize};
use statrs::distribution::{ChiSquared, ContinuousCDF as _};
use statrs::function::gamma::ln_gamma;

use super::compare::NotEnough;

/// Units that must be expected in each arm for the statistic to be χ²-distributed (Cochran,
/// Biometrics 10, 1954).
const EXPECTED: f64 = 5.0;

/// The p-value of Pearson's χ² for the units counted in each arm: for one look at the end. The
/// degrees of freedom are the arms with a weight above 0, less one. A unit in an arm of weight 0
/// cannot have been assigned to it: p is 0.
///
/// # Errors
/// [`NotEnough::Units`] if an arm with a weight expects fewer than 5 units; [`NotEnough::Variance`]
/// if only one arm has a weight, so no mismatch is possible.
///
/// # Panics
/// Where there are more or fewer weights than counts: that is the caller's mistake.
pub fn chi_squared(counts: &[u64], weights: &[f64]) -> Result<f64, NotEnough> {
    if has_impossible(counts, weights) {
        return Ok(0.0);
    }
    let units = counts.iter().sum::<u64>() as f64;
    let (mut statistic, mut arms, mut fewest) = (0.0, 0_u32, f64::INFINITY);
    for (count, share) in shares(counts, weights) {
        let expected = units * share;
        fewest = fewest.min(expected);
        statistic += (count as f64 - expected).powi(2) / expected;
        arms += 1;
    }
    if fewest < EXPECTED {
        return Err(NotEnough::Units { have: fewest as u64, need: EXPECTED as u64 });
    }
    let df = f64::from(arms.saturating_sub(1));
    ChiSquared::new(df).map(|chi| chi.sf(statistic)).map_err(|_| NotEnough::Variance)
}

/// The natural logarithm of the Bayes factor for a split that differs from the weights against one
/// that follows them: Dirichlet-multinomial over multinomial (Lindon & Malek, Anytime-valid
/// inference for multinomial count data, NeurIPS 2022). `k`, above 0, is the prior's concentration:
/// it counts like that many units split by the weights, so a large one is sensitive to small
/// mismatches. With a = k · weight and n units in all, ln Γ(k) − ln Γ(k + n) + Σ (ln Γ(a + count) −
/// ln Γ(a) − count · ln weight).
///
/// `counts` are cumulative. Adding the units of one split one by one, each with the posterior of
/// the units before it as its prior, gives the factor of their sum. A product of factors that each
/// start from the prior does not, and detects a mismatch later. Only batches with different weights
/// are combined that way: the logarithms of their factors are added.
///
/// Infinite if there is a unit in an arm of weight 0; 0 without units.
///
/// # Panics
/// Where there are more or fewer weights than counts: that is the caller's mistake.
pub fn log_bayes_factor(counts: &[u64], weights: &[f64], k: f64) -> f64 {
    if has_impossible(counts, weights) {
        return f64::INFINITY;
    }
    let units = counts.iter().sum::<u64>() as f64;
    let arms = shares(counts, weights).map(|(count, share)| {
        let (prior, count) = (k * share, count as f64);
        ln_gamma(prior + count) - ln_gamma(prior) - count * share.ln()
    });
    arms.sum::<f64>() + ln_gamma(k) - ln_gamma(k + units)
}

/// A sequential p-value of the split: the running minimum of 1 / Bayes factor. Stopping when it is at
/// most α has a false-alarm rate of at most α over any number of looks.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Sequential {
    /// The p-value so far.
    pub smallest: f64,
}

impl Default for Sequential {
    fn default() -> Self {
        Self { smallest: 1.0 }
    }
}

impl Sequential {
    /// Updates with the logarithm of the Bayes factor of all counts so far, see
    /// [`log_bayes_factor`]. Returns the p-value so far.
    pub fn observe(&mut self, log_bf: f64) -> f64 {
        self.smallest = self.smallest.min((-log_bf).exp());
        self.smallest
    }
}

/// Says whether an arm of this weight takes units.
fn takes(weight: f64) -> bool {
    weight > 0.0
}

/// Says whether a unit is in an arm of weight 0.
fn has_impossible(counts: &[u64], weights: &[f64]) -> bool {
    assert_eq!(counts.len(), weights.len(), "one weight for each count");
    counts.iter().zip(weights).any(|(count, weight)| *count > 0 && !takes(*weight))
}

/// The counts of the arms with a weight, with their shares of the total weight.
fn shares<'a>(counts: &'a [u64], weights: &'a [f64]) -> impl Iterator<Item = (u64, f64)> + 'a {
    let all: f64 = weights.iter().filter(|weight| takes(**weight)).sum();
    counts.iter().zip(weights).filter(|(_, weight)| takes(**weight)).map(move |(count, weight)| (*count, weight / all))
}
