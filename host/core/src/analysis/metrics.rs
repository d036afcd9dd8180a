//! Metrics, arm against control, over units that are mature.

use super::observed::{Observed, Slots, Unit};
use crate::Name;
use crate::experiment::{Aggregate, Method, Metric, Missing, Role};
use crate::stats::{
    Estimate, Interval, Joint, Kind, Moments, NotEnough, difference, may_speak, ratio_difference, two_sided, welch,
};

/// What a metric came to.
#[derive(Debug, Clone)]
pub struct MetricResult {
    /// Position in the spec.
    pub metric: usize,
    /// Error rate of each of its intervals, after sharing it between goals and arms.
    pub alpha: f64,
    /// By arm, in the spec's order.
    pub arms: Vec<ArmResult>,
    /// Units whose window and lag have not passed.
    pub not_mature: u64,
    /// Mature units without a row, where those are left out.
    pub no_row: u64,
    /// Each arm against control.
    pub comparisons: Vec<Comparison>,
}

/// A metric in one arm.
#[derive(Debug, Clone, Copy)]
pub struct ArmResult {
    /// Units that are in it.
    pub units: u64,
    /// Their mean, or ratio; none where there is none.
    pub mean: Option<f64>,
}

/// An arm against control.
#[derive(Debug, Clone)]
pub struct Comparison {
    /// The arm.
    pub arm: Name,
    /// What can be said; or why not yet.
    pub found: Result<Found, NotEnough>,
}

/// A difference and its interval.
#[derive(Debug, Clone, Copy)]
pub struct Found {
    /// The estimate.
    pub estimate: Estimate,
    /// The interval, and p.
    pub interval: Interval,
    /// The interval does not hold zero, and its method may be looked at now.
    pub significant: bool,
    /// It is significant, and in the direction that is wanted.
    pub better: bool,
}

/// A metric's numbers in one arm, in the form that can be added up.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Summary {
    pub moments: Moments,
    pub joint: Joint,
}

/// What a metric is summed up to, by arm.
pub(super) struct Summed {
    pub arms: Vec<Summary>,
    pub not_mature: u64,
    pub no_row: u64,
    kind: Kind,
    is_ratio: bool,
}

impl Summed {
    /// Sums up the mature units.
    pub fn of(observed: &Observed, position: usize, now_ms: u64) -> Self {
        let metric = &observed.spec.metrics[position];
        let slots = observed.of_metric[position];
        let kind = match slots {
            Slots::One(_, Aggregate::Any) => Kind::Proportion,
            _ => Kind::Mean,
        };
        let mut summed = Self {
            arms: vec![Summary::default(); observed.spec.arms.len()],
            not_mature: 0,
            no_row: 0,
            kind,
            is_ratio: matches!(slots, Slots::Two(_)),
        };
        for unit in observed.units.values() {
            if metric.mature_ms(unit.entry_ms) > now_ms {
                summed.not_mature += 1;
            } else {
                summed.take(unit, slots, metric);
            }
        }
        summed
    }

    fn take(&mut self, unit: &Unit, slots: Slots, metric: &Metric) {
        let cap = |value: f64| metric.cap.map_or(value, |cap| value.min(cap));
        let arm = &mut self.arms[unit.arm];
        match slots {
            Slots::One(at, aggregate) => {
                let total = unit.total(at);
                if total.rows == 0 && metric.missing == Missing::Drop {
                    self.no_row += 1;
                } else {
                    arm.moments.push(cap(total.value(aggregate)));
                }
            }
            Slots::Two([(over, over_by), (under, under_by)]) => {
                let under = unit.total(under).value(under_by);
                if under == 0.0 && metric.missing == Missing::Drop {
                    self.no_row += 1;
                } else {
                    arm.joint.push(cap(unit.total(over).value(over_by)), under);
                }
            }
        }
    }

    /// An arm against control.
    pub fn estimate(&self, control: usize, arm: usize) -> Result<Estimate, NotEnough> {
        let (control, arm) = (&self.arms[control], &self.arms[arm]);
        if self.is_ratio {
            may_speak(&control.joint.y(), &arm.joint.y(), Kind::Mean)?;
            return ratio_difference(&control.joint, &arm.joint);
        }
        may_speak(&control.moments, &arm.moments, self.kind)?;
        difference(&control.moments, &arm.moments, self.kind)
    }

    /// An arm by itself.
    pub fn arm(&self, arm: &Summary) -> ArmResult {
        if self.is_ratio {
            let under = arm.joint.x().sum();
            ArmResult { units: arm.joint.n, mean: (under != 0.0).then(|| arm.joint.y().sum() / under) }
        } else {
            ArmResult { units: arm.moments.n, mean: (arm.moments.n > 0).then_some(arm.moments.mean) }
        }
    }
}

/// A metric, with the share of its error rate that each comparison has.
pub(super) fn measure(observed: &Observed, position: usize, control: usize, now_ms: u64) -> MetricResult {
    let spec = &observed.spec;
    let metric = &spec.metrics[position];
    let summed = Summed::of(observed, position, now_ms);
    let goals = spec.metrics.iter().filter(|metric| metric.role == Role::Goal).count();
    let candidates = spec.arms.len() - 1;
    // "At least one goal in at least one arm" is what a goal is asked for, so all share its alpha.
    let alpha = match metric.role {
        Role::Goal => metric.alpha / (goals * candidates.max(1)) as f64,
        Role::Guardrail | Role::Secondary => metric.alpha,
    };
    let compare = |arm: usize| {
        let found = summed.estimate(control, arm).map(|estimate| {
            let interval = match metric.method {
                Method::AsymptoticCs => two_sided(&estimate, alpha, metric.planned_units),
                Method::Fixed => welch(&estimate, alpha),
            };
            // Welch's interval is for one look, when the planned units are there: before that it
            // is shown, and nothing follows from it.
            let speaks = metric.method == Method::AsymptoticCs || estimate.n >= metric.planned_units;
            let significant = speaks && (interval.low > 0.0 || interval.high < 0.0);
            let better = significant && (estimate.difference > 0.0) == metric.more_is_better;
            Found { estimate, interval, significant, better }
        });
        Comparison { arm: spec.arms[arm].name.clone(), found }
    };
    MetricResult {
        metric: position,
        alpha,
        arms: summed.arms.iter().map(|arm| summed.arm(arm)).collect(),
        not_mature: summed.not_mature,
        no_row: summed.no_row,
        comparisons: (0..spec.arms.len()).filter(|arm| *arm != control).map(compare).collect(),
    }
}
