//! The summary of a block of units: everything that an analysis needs of them. Summaries are merged
//! in the units' order, so an analysis does not depend on when each block was summarized.

use std::ops::Range;

use super::facts::Facts;
use super::fairness_tally::{Tally, tally};
use super::metric_summary::{MetricSummary, Shape, sum_up};
use crate::experiment::Watched;
use crate::stats::{Counts, Moments};

/// Between which horizons of a metric the same units of a block are mature.
struct Between {
    /// When the last of the mature ones has become mature.
    from_ms: u64,
    /// When the next one becomes mature.
    until_ms: u64,
}

/// The summary of a block of units at one time.
pub(super) struct Block {
    /// The version of its units.
    version: u64,
    /// By metric.
    between: Vec<Between>,
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
            between: spec.metrics.iter().map(|_| Between { from_ms: 0, until_ms: u64::MAX }).collect(),
            mature: 0,
            covariates: vec![Moments::default(); facts.attributes.covariates()],
            metrics: Vec::with_capacity(spec.metrics.len()),
            hits: vec![vec![Counts::default(); arms]; spec.guardrails.len()],
            first_actions: vec![vec![0; arms]; facts.first_actions.len()],
            fairness: (0..spec.fairness.len()).map(|guardrail| tally(facts, guardrail, units, now_ms)).collect(),
        };
        let by_hits = |watched: &Watched| !matches!(watched, Watched::Metric(_) | Watched::ActionMix);
        let horizons = facts.horizons(now_ms);
        for unit in units {
            let mut is_mature = true;
            for (metric, (horizon_ms, between)) in horizons.iter().zip(&mut block.between).enumerate() {
                let mature_ms = facts.mature_ms(metric, unit.entry_ms);
                match mature_ms > *horizon_ms {
                    true => between.until_ms = between.until_ms.min(mature_ms),
                    false => between.from_ms = between.from_ms.max(mature_ms),
                }
                is_mature &= mature_ms <= *horizon_ms;
            }
            block.mature += u64::from(is_mature);
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
                let shape = Shape::of(facts, position, now_ms);
                sum_up(facts, &shape, first, units, |_| true)
            })
            .collect();
        block
    }

    /// Says whether a summary of units of this version would be the same at these horizons of the
    /// metrics.
    pub fn is_valid(&self, version: u64, horizons: &[u64]) -> bool {
        let is_same = |(between, horizon): (&Between, &u64)| {
            between.from_ms <= *horizon && (*horizon < between.until_ms || between.until_ms == u64::MAX)
        };
        version == self.version && self.between.iter().zip(horizons).all(is_same)
    }

    /// When the next of its units becomes mature in the metric at a position.
    pub fn next_mature(&self, metric: usize) -> u64 {
        self.between[metric].until_ms
    }
}
