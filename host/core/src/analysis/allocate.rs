//! The allocation of an experiment's next batch.

use super::metrics::Summed;
use super::observed::Observed;
use crate::stats::bandit::thompson;

/// The arms' shares for the next batch, computed from rewards that are mature at `now_ms`
/// (milliseconds since the Unix epoch). `None` if shares are fixed. The same ledger and batch give
/// the same shares.
pub fn next_shares(observed: &Observed, now_ms: u64) -> Option<Vec<f64>> {
    let (spec, control) = (&observed.spec, observed.spec.control_at());
    let allocation = spec.allocation.as_ref()?;
    let metric = &spec.metrics[allocation.metric];
    let summed = Summed::of(observed, allocation.metric, now_ms);
    let mut rewards = summed.rewards();
    rewards.remove(control);
    let batch = observed.course.batches.len() as u64;
    let seed = xxhash_rust::xxh64::xxh64(spec.salt.as_bytes(), batch);
    let share = 1.0 - allocation.control_share;
    let mut shares = thompson(&rewards, summed.kind(), metric.more_is_better, share, allocation.floor, seed);
    shares.insert(control, allocation.control_share);
    Some(shares)
}
