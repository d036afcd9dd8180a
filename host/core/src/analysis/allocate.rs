//! The allocation of an experiment's next batch.

use super::metrics::Summed;
use super::observed::Observed;
use crate::stats::bandit::thompson;

/// The arms' shares for the next batch, computed from rewards that are mature at `now_ms`
/// (milliseconds since the Unix epoch). `None` if shares are fixed. The same ledger and batch give
/// the same shares. A dropped arm gets none: its units would have control's strategy, and be in no
/// arm's results.
pub fn next_shares(observed: &Observed, now_ms: u64) -> Option<Vec<f64>> {
    let (spec, control) = (&observed.spec, observed.spec.control_at());
    let allocation = spec.allocation.as_ref()?;
    let metric = &spec.metrics[allocation.metric];
    let summed = Summed::of(observed, allocation.metric, now_ms);
    let tried: Vec<usize> = (0..spec.arms.len()).filter(|arm| *arm != control && !observed.is_dropped(*arm)).collect();
    let rewards = summed.rewards();
    let rewards: Vec<_> = tried.iter().map(|arm| rewards[*arm]).collect();
    let batch = observed.course.batches.len() as u64;
    let seed = xxhash_rust::xxh64::xxh64(spec.salt.as_bytes(), batch);
    let share = 1.0 - allocation.control_share;
    let of_tried = thompson(&rewards, summed.kind(), metric.more_is_better, share, allocation.floor, seed);
    let mut shares = vec![0.0; spec.arms.len()];
    shares[control] = allocation.control_share;
    tried.iter().zip(of_tried).for_each(|(arm, of_arm)| shares[*arm] = of_arm);
    Some(shares)
}
