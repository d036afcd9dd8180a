//! Sequential test for a sample ratio mismatch, updated after every unit: the Dirichlet-multinomial
//! Bayes factor of Lindon and Malek (2022), one predictive factor per unit. Factors of batches with
//! different weights are multiplied.

/// The prior's weight, in units.
const PRIOR: f64 = 100.0;

/// Units by arm, and the evidence against the weights.
pub(super) struct Balance {
    /// By arm, over all batches.
    pub counts: Vec<u64>,
    /// Weights and counts of each batch.
    batches: Vec<(Vec<f64>, Vec<u64>)>,
    /// The logarithm of the product of all factors.
    pub log_factor: f64,
    highest: f64,
}

impl Balance {
    /// No units yet. `weights` has the weights of each batch, at least one.
    pub fn new(weights: Vec<Vec<f64>>) -> Self {
        let arms = weights.first().map_or(0, Vec::len);
        let batches = weights.into_iter().map(|weights| (weights, vec![0; arms])).collect();
        Self { counts: vec![0; arms], batches, log_factor: 0.0, highest: 0.0 }
    }

    /// Adds batches that have begun, each with its own weights.
    pub fn add_batches(&mut self, weights: &[Vec<f64>]) {
        let arms = self.counts.len();
        self.batches.extend(weights.iter().map(|weights| (weights.clone(), vec![0; arms])));
    }

    /// Adds a unit.
    pub fn enter(&mut self, arm: usize, batch: usize) {
        let last = self.batches.len() - 1;
        let (weights, counts) = &mut self.batches[batch.min(last)];
        let weight = weights[arm];
        if weight > 0.0 {
            let entered: u64 = counts.iter().sum();
            let predicted = (PRIOR * weight + counts[arm] as f64) / (PRIOR + entered as f64);
            self.log_factor += (predicted / weight).ln();
        } else {
            self.log_factor = f64::INFINITY;
        }
        counts[arm] += 1;
        self.counts[arm] += 1;
        self.highest = self.highest.max(self.log_factor);
    }

    /// Expected units by arm.
    pub fn expected(&self) -> Vec<f64> {
        let mut expected = vec![0.0; self.counts.len()];
        for (weights, counts) in &self.batches {
            let entered: u64 = counts.iter().sum();
            for (expected, weight) in expected.iter_mut().zip(weights) {
                *expected += weight * entered as f64;
            }
        }
        expected
    }

    /// The smallest p-value so far, valid at any number of looks.
    pub fn p(&self) -> f64 {
        (-self.highest).exp().min(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::log_bayes_factor;

    #[test]
    fn the_balance_kept_unit_by_unit_is_that_of_the_counts() {
        let mut balance = Balance::new(vec![vec![0.3, 0.7]]);
        for i in 0..1000 {
            balance.enter(usize::from(i % 5 != 0), 0);
        }
        let whole = log_bayes_factor(&[200, 800], &[0.3, 0.7], 100.0);
        assert!((balance.log_factor - whole).abs() < 1e-9, "{} and {whole}", balance.log_factor);
        assert!(balance.p() <= (-whole).exp(), "the smallest so far");
    }

    #[test]
    fn batches_with_other_weights_are_factors_of_one_product() {
        let mut balance = Balance::new(vec![vec![0.5, 0.5], vec![0.1, 0.9]]);
        for i in 0..1000 {
            balance.enter(i % 2, 0);
            balance.enter(usize::from(i % 10 != 0), 1);
        }
        let product =
            log_bayes_factor(&[500, 500], &[0.5, 0.5], 100.0) + log_bayes_factor(&[100, 900], &[0.1, 0.9], 100.0);
        assert!((balance.log_factor - product).abs() < 1e-9);
        assert_eq!((&*balance.counts, &*balance.expected()), (&[600, 1400][..], &[600.0, 1400.0][..]));
        assert!(balance.p() > 0.05, "each batch is as its weights say: {}", balance.p());
    }
}
