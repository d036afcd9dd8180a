//! Snapshots of an experiment's results, stored so that reports can plot them over time.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serin_core::analysis::{Analysis, Observed};
use serin_core::experiment::Status;

/// A snapshot of an experiment's results.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HistoryPoint {
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// The phase.
    pub phase: u32,
    /// The share of the slot in use.
    pub coverage: f64,
    /// Units entered so far, by arm.
    pub units: IndexMap<String, u64>,
    /// The arms' shares of units in force.
    pub weights: IndexMap<String, f64>,
    /// Decisions so far, by arm and action.
    pub actions: IndexMap<String, IndexMap<String, u64>>,
    /// p of a sample ratio mismatch, valid at any time.
    pub srm_sequential_p: f64,
    /// The results of metrics.
    pub effects: Vec<Effect>,
}

/// A metric in one arm against control at one time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Effect {
    /// The metric.
    pub metric: String,
    /// The arm.
    pub arm: String,
    /// The difference of the means.
    pub difference: f64,
    /// Its interval.
    pub interval: [f64; 2],
    /// Mature units in the arm.
    pub units: u64,
}

impl HistoryPoint {
    /// The snapshot of an analysis at `now_ms`.
    pub fn of(observed: &Observed, analysis: &Analysis, status: &Status, now_ms: u64) -> Self {
        let spec = &observed.spec;
        let names = || spec.arms.iter().map(|arm| arm.name.to_string());
        let effects = analysis.metrics.iter().flat_map(|metric| {
            metric.comparisons.iter().filter_map(|comparison| {
                let found = comparison.found.as_ref().ok()?;
                let interval = [found.interval.low, found.interval.high];
                // JSON and plots have no infinity.
                if !interval.iter().all(|bound| bound.is_finite()) {
                    return None;
                }
                let arm = spec.arms.iter().position(|arm| arm.name == comparison.arm)?;
                Some(Effect {
                    metric: spec.metrics[metric.metric].name.to_string(),
                    arm: comparison.arm.to_string(),
                    difference: found.estimate.difference,
                    interval,
                    units: metric.arms[arm].units,
                })
            })
        });
        let weights = match status.batches.last() {
            Some(shares) if shares.len() == spec.arms.len() => shares.clone(),
            _ => spec.arms.iter().map(|arm| arm.weight).collect(),
        };
        Self {
            at_ms: now_ms,
            phase: status.phase,
            coverage: status.applied,
            units: names().zip(analysis.counts.iter().copied()).collect(),
            weights: names().zip(weights).collect(),
            actions: names().zip(observed.actions.iter().map(counts)).collect(),
            srm_sequential_p: analysis.srm_sequential_p,
            effects: effects.collect(),
        }
    }
}

/// Counts by name, in the names' order.
pub fn counts<S>(counts: &std::collections::HashMap<Box<str>, u64, S>) -> IndexMap<String, u64> {
    let mut counts: Vec<(String, u64)> = counts.iter().map(|(name, n)| (name.to_string(), *n)).collect();
    counts.sort();
    counts.into_iter().collect()
}
