//! Mergeable summaries of a metric over some units.

use std::collections::BTreeMap;

use super::facts::Facts;
use super::unit::{Slots, Unit};
use crate::experiment::{Metric, Missing};
use crate::stats::regression::Cross;
use crate::stats::{Joint, Moments};

/// A metric's sufficient statistics in one arm.
#[derive(Debug, Clone)]
pub(super) struct ArmSummary {
    pub moments: Moments,
    /// Units whose number, or numerator, is not 0.
    pub events: u64,
    /// Mature units, with or without a row, exposed or not.
    pub mature: u64,
    pub joint: Joint,
    pub cross: Cross,
}

/// How a metric is compared between arms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum By {
    /// Means of the numbers themselves.
    Plain,
    /// The ratio of two sums.
    Ratio,
    /// Adjusted for covariates, each centred on its mean over all units. A missing value is
    /// replaced by the mean.
    Covariates(Vec<usize>),
    /// Batch by batch, each with its own weights.
    Batches,
}

/// How a metric is summarized.
pub(super) struct Shape<'o> {
    pub position: usize,
    pub metric: &'o Metric,
    pub slots: Slots,
    pub by: By,
    pub arms: usize,
    /// Units that mature then or before are mature.
    pub horizon_ms: u64,
}

impl<'o> Shape<'o> {
    /// The one for the metric at this position, at `now_ms`.
    pub fn of(facts: &'o Facts, position: usize, now_ms: u64) -> Self {
        let metric = &facts.spec.metrics[position];
        let slots = facts.of_metric[position];
        let places = facts.attributes.places(&metric.cuped);
        let by = match slots {
            Slots::Two(_) => By::Ratio,
            Slots::One(..) if !facts.course.batches.is_empty() => By::Batches,
            Slots::One(..) if !places.is_empty() => By::Covariates(places),
            Slots::One(..) => By::Plain,
        };
        let (arms, horizon_ms) = (facts.spec.arms.len(), facts.horizon(position, now_ms));
        Self { position, metric, slots, by, arms, horizon_ms }
    }

    /// The summary of no units.
    pub fn nothing(&self) -> MetricSummary {
        let k = match &self.by {
            By::Covariates(places) => places.len(),
            By::Plain | By::Ratio | By::Batches => 0,
        };
        MetricSummary::nothing(self.arms, k)
    }

    /// A unit's number within the metric's limits.
    pub fn capped(&self, value: f64) -> f64 {
        let value = self.metric.floor.map_or(value, |floor| value.max(floor));
        self.metric.cap.map_or(value, |cap| value.min(cap))
    }
}

/// The summary of a metric over some units.
#[derive(Debug, Clone)]
pub(super) struct MetricSummary {
    pub arms: Vec<ArmSummary>,
    pub not_mature: u64,
    pub no_row: u64,
    pub not_exposed: u64,
    /// The totals so far by arm, of mature and immature units and with late rows: an event cannot
    /// un-happen.
    pub so_far: Vec<f64>,
    /// Units with an event so far, by arm, mature or not.
    pub events_so_far: Vec<u64>,
    /// By batch and arm, with adaptive shares.
    pub batches: BTreeMap<u32, Vec<Moments>>,
    /// Positions of units that lack a covariate. The mean over all units replaces it, and is known
    /// only once all units are summarized.
    pub lacking: Vec<u32>,
}

impl MetricSummary {
    /// The summary of no units, of so many arms and covariates.
    pub fn nothing(arms: usize, covariates: usize) -> Self {
        let empty = ArmSummary {
            moments: Moments::default(),
            events: 0,
            mature: 0,
            joint: Joint::default(),
            cross: Cross::new(covariates),
        };
        Self {
            arms: vec![empty; arms],
            not_mature: 0,
            no_row: 0,
            not_exposed: 0,
            so_far: vec![0.0; arms],
            events_so_far: vec![0; arms],
            batches: BTreeMap::new(),
            lacking: Vec::new(),
        }
    }

    /// Adds the summary of further units.
    pub fn merge(&mut self, other: &Self) {
        for (arm, other) in self.arms.iter_mut().zip(&other.arms) {
            arm.moments += other.moments;
            arm.events += other.events;
            arm.mature += other.mature;
            arm.joint += other.joint;
            arm.cross += &other.cross;
        }
        self.not_mature += other.not_mature;
        self.no_row += other.no_row;
        self.not_exposed += other.not_exposed;
        for (sum, other) in self.so_far.iter_mut().zip(&other.so_far) {
            *sum += other;
        }
        for (sum, other) in self.events_so_far.iter_mut().zip(&other.events_so_far) {
            *sum += other;
        }
        for (batch, other) in &other.batches {
            let arms = self.batches.entry(*batch).or_insert_with(|| vec![Moments::default(); other.len()]);
            for (moments, other) in arms.iter_mut().zip(other) {
                *moments += *other;
            }
        }
        self.lacking.extend(&other.lacking);
    }

    /// Adds a mature unit.
    fn take(&mut self, at: usize, unit: &Unit, shape: &Shape<'_>) {
        let metric = shape.metric;
        let arm = &mut self.arms[unit.arm];
        match shape.slots {
            Slots::One(slot, aggregate) => {
                let total = unit.total(slot);
                if total.rows == 0 && metric.missing == Missing::Drop {
                    self.no_row += 1;
                    return;
                }
                let y = shape.capped(total.value(aggregate));
                arm.moments.push(y);
                arm.events += u64::from(y != 0.0);
                match &shape.by {
                    By::Plain | By::Ratio => {}
                    By::Batches => {
                        let none = || vec![Moments::default(); shape.arms];
                        self.batches.entry(unit.batch).or_insert_with(none)[unit.arm].push(y);
                    }
                    By::Covariates(places) => {
                        let x: Vec<f64> = places.iter().map(|place| unit.known.number(*place)).collect();
                        if x.iter().any(|x| x.is_nan()) {
                            self.lacking.extend(u32::try_from(at).ok());
                            return;
                        }
                        arm.joint.push(y, x[0]);
                        arm.cross.push(y, &x);
                    }
                }
            }
            Slots::Two([(over, over_by), (under, under_by)]) => {
                let under = unit.total(under).value(under_by);
                if under == 0.0 && metric.missing == Missing::Drop {
                    self.no_row += 1;
                } else {
                    let over = shape.capped(unit.total(over).value(over_by));
                    arm.events += u64::from(over != 0.0);
                    arm.joint.push(over, under);
                }
            }
        }
    }
}

/// Summarizes those of `units` that `is_in` selects; `first` is the position of the first of
/// `units`.
pub(super) fn sum_up(
    facts: &Facts,
    shape: &Shape<'_>,
    first: usize,
    units: &[Unit],
    is_in: impl Fn(&Unit) -> bool,
) -> MetricSummary {
    debug_assert!(first + units.len() <= facts.units().len());
    let mut summary = shape.nothing();
    let (Slots::One(slot, aggregate) | Slots::Two([(slot, aggregate), _])) = shape.slots;
    for (at, unit) in units.iter().enumerate().filter(|(_, unit)| is_in(unit)) {
        let so_far = unit.whole_total(slot).value(aggregate);
        summary.so_far[unit.arm] += so_far;
        let counts = !shape.metric.is_exposed || unit.exposed;
        summary.events_so_far[unit.arm] += u64::from(counts && so_far != 0.0);
        if facts.mature_ms(shape.position, unit.entry_ms) > shape.horizon_ms {
            summary.not_mature += 1;
            continue;
        }
        summary.arms[unit.arm].mature += 1;
        if !counts {
            summary.not_exposed += 1;
        } else {
            summary.take(first + at, unit, shape);
        }
    }
    summary
}
