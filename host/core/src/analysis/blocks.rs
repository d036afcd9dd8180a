//! The summary of a block of units: everything that an analysis needs of them. Summaries are merged
//! in the units' order, so an analysis does not depend on when each block was summarized.

use std::ops::Range;

use super::facts::Facts;
use super::fairness_tally::{Tally, tally};
use super::metric_summary::{MetricSummary, Shape, sum_up};
use crate::experiment::Watched;
use crate::stats::{Counts, Moments};

/// The summary of a block of units at one time.
pub(super) struct Block {
    /// The version of its units.
    version: u64,
    /// When it was computed.
    at_ms: u64,
    /// When the next of its units becomes mature.
    until_ms: u64,
    /// Units that are mature in every metric.
    pub mature: u64,
    /// The covariates of all its units, in all arms.
    pub covariates: Vec<Moments>,
    /// By metric.
    pub metrics: Vec<MetricSummary>,
    /// By guardrail and arm: units, and units with an event.
    pub hits: Vec<Vec<Counts>>,
    /// By action at the entry, and arm.
    pub first_actions: Vec<Vec<u64>>,
    /// By fairness guardrail.
    pub fairness: Vec<Tally>,
}

impl Block {
    /// Summarizes the units at these positions.
    pub fn of(facts: &Facts, at: Range<usize>, version: u64, now_ms: u64) -> Self {
        let spec = &facts.spec;
        let arms = spec.arms.len();
        let units = &facts.units()[at.clone()];
        let mut block = Self {
            version,
            at_ms: now_ms,
            until_ms: u64::MAX,
            mature: 0,
            covariates: vec![Moments::default(); facts.attributes.covariates()],
            metrics: Vec::with_capacity(spec.metrics.len()),
            hits: vec![vec![Counts::default(); arms]; spec.guardrails.len()],
            first_actions: vec![vec![0; arms]; facts.first_actions.len()],
            fairness: (0..spec.fairness.len()).map(|guardrail| tally(facts, guardrail, units, now_ms)).collect(),
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
                let shape = Shape::of(facts, position);
                sum_up(facts, &shape, first, units, now_ms, |_| true)
            })
            .collect();
        block
    }

    /// Says whether a summary computed at `now_ms` from units of this version would be the same.
    pub fn is_valid(&self, version: u64, now_ms: u64) -> bool {
        let is_in_time =
            (self.at_ms..self.until_ms).contains(&now_ms) || (self.until_ms == u64::MAX && now_ms >= self.at_ms);
        version == self.version && is_in_time
    }

    /// When the next of its units becomes mature.
    pub fn valid_until(&self) -> u64 {
        self.until_ms
    }
}
