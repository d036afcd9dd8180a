//! Summaries of units, a block of them each, so that the cost of an analysis follows what is new:
//! only blocks in which something has happened, or a unit has become mature, are summed up again.
//! Summaries are merged in the units' order, and so an analysis does not depend on when which
//! block was summed up.

use std::ops::Range;

use super::metrics::{MetricSummary, Shape};
use super::observed::Observed;
use super::{fairness, metrics};
use crate::experiment::Watched;
use crate::stats::{Counts, Moments};

/// Units of a block: a block is summed up in some 20 microseconds, and a million units have
/// 4,000 of them to merge.
pub(super) const BLOCK: usize = 256;

/// What a block of units comes to at one time.
pub(super) struct Block {
    /// When it was summed up.
    at_ms: u64,
    /// When the next of its units becomes mature.
    until_ms: u64,
    /// Units that every metric has waited for.
    pub mature: u64,
    /// The covariates of all its units, whatever their arm.
    pub covariates: Vec<Moments>,
    /// By metric.
    pub metrics: Vec<MetricSummary>,
    /// By guardrail and arm: units, and those that count.
    pub hits: Vec<Vec<Counts>>,
    /// By action at the entry, and arm.
    pub first_actions: Vec<Vec<u64>>,
    /// By fairness guardrail.
    pub fairness: Vec<fairness::Tally>,
}

impl Block {
    /// Sums up the units at these positions.
    pub fn of(observed: &Observed, at: Range<usize>, now_ms: u64) -> Self {
        let spec = &observed.spec;
        let arms = spec.arms.len();
        let units = &observed.units()[at.clone()];
        let mut block = Self {
            at_ms: now_ms,
            until_ms: u64::MAX,
            mature: 0,
            covariates: vec![Moments::default(); observed.attributes.covariates()],
            metrics: Vec::with_capacity(spec.metrics.len()),
            hits: vec![vec![Counts::default(); arms]; spec.guardrails.len()],
            first_actions: vec![vec![0; arms]; observed.first_actions.len()],
            fairness: (0..spec.fairness.len())
                .map(|guardrail| fairness::tally(observed, guardrail, units, now_ms))
                .collect(),
        };
        let by_hits = |watched: &Watched| !matches!(watched, Watched::Metric(_) | Watched::ActionMix);
        for unit in units {
            let pending = spec.metrics.iter().map(|metric| metric.mature_ms(unit.entry_ms)).filter(|at| *at > now_ms);
            match pending.min() {
                Some(next) => block.until_ms = block.until_ms.min(next),
                None => block.mature += 1,
            }
            for (place, moments) in block.covariates.iter_mut().enumerate() {
                let known = unit.known.number(place);
                if !known.is_nan() {
                    moments.push(known);
                }
            }
            for (counts, guardrail) in block.hits.iter_mut().zip(&spec.guardrails) {
                if by_hits(&guardrail.watched) {
                    counts[unit.arm].units += 1;
                    counts[unit.arm].events += u64::from(unit.is_hit(&guardrail.watched));
                }
            }
            block.first_actions[usize::from(unit.first_action)][unit.arm] += 1;
        }
        let first = at.start;
        block.metrics = (0..spec.metrics.len())
            .map(|position| {
                let shape = Shape::of(observed, position);
                metrics::sum_up(observed, &shape, first, units, now_ms, |_| true)
            })
            .collect();
        block
    }

    /// Says whether it would be the same, summed up at `now_ms`.
    pub fn is_valid(&self, now_ms: u64) -> bool {
        (self.at_ms..self.until_ms).contains(&now_ms) || (self.until_ms == u64::MAX && now_ms >= self.at_ms)
    }

    /// When the next of its units becomes mature.
    pub fn valid_until(&self) -> u64 {
        self.until_ms
    }
}
