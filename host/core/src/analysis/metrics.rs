//! Metrics: each arm against control, over mature units.

use super::facts::BLOCK;
use super::metric_summary::{By, MetricSummary, Shape, sum_up};
use super::observed::Observed;
use super::unit::{Slots, Unit};
use crate::Name;
use crate::experiment::{Aggregate, Method, Metric, Role};
use crate::stats::bandit::{Batch, value, value_difference};
use crate::stats::regression::adjusted;
use crate::stats::{
    Estimate, Interval, Joint, Kind, Moments, NotEnough, cuped, difference, may_speak, ratio_difference, two_sided,
    welch,
};

/// The results of a metric.
#[derive(Debug, Clone)]
pub struct MetricResult {
    /// Position in the spec.
    pub metric: usize,
    /// Error rate of each of its intervals, after sharing it between goals and arms.
    pub alpha: f64,
    /// By arm, in the spec's order.
    pub arms: Vec<ArmResult>,
    /// Immature units: their window and lag have not passed, or a feed has not been heard of since.
    pub not_mature: u64,
    /// Mature units without a row, if the metric leaves them out.
    pub no_row: u64,
    /// Mature units that were not exposed, if only exposed ones count.
    pub not_exposed: u64,
    /// Units beyond the planned number, for a fixed method.
    pub unplanned: u64,
    /// The adjustment in words; none for the plain difference.
    pub adjustment: Option<String>,
    /// Each arm against control.
    pub comparisons: Vec<Comparison>,
}

/// A metric in one arm.
#[derive(Debug, Clone, Copy)]
pub struct ArmResult {
    /// Units that are in it.
    pub units: u64,
    /// Their mean or ratio; none without units.
    pub mean: Option<f64>,
}

/// An arm against control.
#[derive(Debug, Clone)]
pub struct Comparison {
    /// The arm.
    pub arm: Name,
    /// The result, or why there is none yet.
    pub found: Result<Found, NotEnough>,
}

/// A difference and its interval.
#[derive(Debug, Clone, Copy)]
pub struct Found {
    /// The estimate.
    pub estimate: Estimate,
    /// The interval, and p.
    pub interval: Interval,
    /// The interval excludes zero, and the method may be evaluated now.
    pub significant: bool,
    /// It is significant in the desired direction.
    pub better: bool,
}

/// A metric's summary by arm.
pub(super) struct Summed {
    sum: MetricSummary,
    /// Units beyond the planned number, for a fixed method.
    unplanned: u64,
    /// All planned units have entered and are mature.
    is_time: bool,
    kind: Kind,
    by: By,
    batches: Vec<Batch>,
}

impl Summed {
    /// Summarizes all mature units, whatever the metric's method. For results that are evaluated
    /// continuously.
    pub fn of(observed: &Observed, position: usize, now_ms: u64) -> Self {
        Self::up_to(observed, position, now_ms, usize::MAX)
    }

    /// Summarizes the mature units; for a fixed method, those among the planned ones.
    pub fn planned(observed: &Observed, position: usize, now_ms: u64) -> Self {
        Self::up_to(observed, position, now_ms, most(&observed.spec.metrics[position]))
    }

    /// As [`Summed::planned`], for the units that `is_in` selects.
    pub fn among(observed: &Observed, position: usize, now_ms: u64, is_in: impl Fn(&Unit) -> bool) -> Self {
        let shape = Shape::of(observed, position, now_ms);
        let all = observed.units();
        let (planned, unplanned) = all.split_at(most(shape.metric).min(all.len()));
        let sum = sum_up(observed, &shape, 0, planned, &is_in);
        let unplanned = unplanned.iter().filter(|unit| is_in(unit)).count() as u64;
        Self::finish(observed, shape, sum, unplanned, now_ms)
    }

    fn up_to(observed: &Observed, position: usize, now_ms: u64, most: usize) -> Self {
        let shape = Shape::of(observed, position, now_ms);
        let mut sum = shape.nothing();
        let units = observed.units();
        observed.with_blocks(now_ms, |blocks| {
            for (at, block) in blocks.iter().enumerate() {
                let (first, last) = (at * BLOCK, ((at + 1) * BLOCK).min(units.len()));
                match block {
                    Some(block) if last <= most => sum.merge(&block.metrics[position]),
                    _ => {
                        let planned = &units[first..last.min(most.max(first))];
                        sum.merge(&sum_up(observed, &shape, first, planned, |_| true));
                    }
                }
            }
        });
        Self::finish(observed, shape, sum, units.len().saturating_sub(most) as u64, now_ms)
    }

    fn finish(observed: &Observed, shape: Shape<'_>, mut sum: MetricSummary, unplanned: u64, now_ms: u64) -> Self {
        let kind = match shape.slots {
            Slots::One(_, Aggregate::Any) => Kind::Proportion,
            _ => Kind::Mean,
        };
        if let (By::Covariates(places), Slots::One(slot, aggregate)) = (&shape.by, shape.slots)
            && !sum.lacking.is_empty()
        {
            let averages = averages(observed, places, now_ms);
            for at in std::mem::take(&mut sum.lacking) {
                let unit = &observed.units()[at as usize];
                let known = |(place, average): (&usize, &f64)| {
                    let x = unit.known.number(*place);
                    if x.is_nan() { *average } else { x }
                };
                let x: Vec<f64> = places.iter().zip(&averages).map(known).collect();
                let y = shape.capped(unit.total(slot).value(aggregate));
                sum.arms[unit.arm].joint.push(y, x[0]);
                sum.arms[unit.arm].cross.push(y, &x);
            }
        }
        let nobody = || vec![Moments::default(); shape.arms];
        let batch = |(at, weights): (usize, &Vec<f64>)| {
            let arms = u32::try_from(at).ok().and_then(|at| sum.batches.get(&at).cloned());
            Batch { weights: weights.clone(), arms: arms.unwrap_or_else(nobody) }
        };
        let batches = observed.course.batches.iter().enumerate().map(batch).collect();
        let is_time = observed.units().len() as u64 >= shape.metric.planned_units && sum.not_mature == 0;
        Self { sum, unplanned, is_time, kind, by: shape.by, batches }
    }

    /// An arm against control.
    pub fn estimate(&self, control: usize, arm: usize) -> Result<Estimate, NotEnough> {
        let (of_control, of_arm) = (&self.sum.arms[control], &self.sum.arms[arm]);
        if self.by == By::Ratio {
            may_speak(&of_control.joint.y(), &of_arm.joint.y(), Kind::Mean)?;
            return ratio_difference(&of_control.joint, &of_arm.joint);
        }
        may_speak(&of_control.moments, &of_arm.moments, self.kind)?;
        let plain = || difference(&of_control.moments, &of_arm.moments, self.kind);
        match &self.by {
            By::Batches => value_difference(&self.batches, control, arm),
            // A constant covariate explains nothing.
            By::Covariates(places) if places.len() == 1 => cuped(&of_control.joint, &of_arm.joint).or_else(|_| plain()),
            By::Covariates(_) => adjusted(&of_control.cross, &of_arm.cross).or_else(|_| plain()),
            By::Plain | By::Ratio => plain(),
        }
    }

    /// An arm's mean or ratio. With adaptive shares the plain mean is biased, so it is the weighted
    /// value ([`value`]).
    pub fn arm(&self, position: usize) -> ArmResult {
        let arm = &self.sum.arms[position];
        match self.by {
            By::Ratio => {
                let under = arm.joint.x().sum();
                ArmResult { units: arm.joint.n, mean: (under != 0.0).then(|| arm.joint.y().sum() / under) }
            }
            By::Batches => {
                let mean = value(&self.batches, position).ok().map(|value| value.mean);
                ArmResult { units: arm.moments.n, mean }
            }
            By::Plain | By::Covariates(_) => {
                ArmResult { units: arm.moments.n, mean: (arm.moments.n > 0).then_some(arm.moments.mean) }
            }
        }
    }

    /// Events in an arm so far, immature units included.
    pub fn so_far(&self, arm: usize) -> u64 {
        self.sum.so_far[arm].round().max(0.0) as u64
    }

    /// The rewards of each arm, over all batches.
    pub fn rewards(&self) -> Vec<Moments> {
        self.sum.arms.iter().map(|arm| arm.moments).collect()
    }

    /// The kind of a unit's number.
    pub fn kind(&self) -> Kind {
        self.kind
    }
}

/// Units that a metric is computed from; for a fixed method, the planned ones.
fn most(metric: &Metric) -> usize {
    match metric.method {
        Method::Fixed => usize::try_from(metric.planned_units).unwrap_or(usize::MAX),
        Method::AsymptoticCs => usize::MAX,
    }
}

/// The covariates' means over all units with a known value, in all arms.
fn averages(observed: &Observed, places: &[usize], now_ms: u64) -> Vec<f64> {
    observed.with_blocks(now_ms, |blocks| {
        let mean = |place: &usize| {
            blocks.iter().flatten().fold(Moments::default(), |all, block| all + block.covariates[*place]).mean
        };
        places.iter().map(mean).collect()
    })
}

/// A metric's mean over all mature units of all arms, and the standard deviation of a unit's
/// number. `None` with fewer than two such units. For a ratio it is the deviation of a unit's
/// linearized contribution.
pub fn baseline(observed: &Observed, position: usize, now_ms: u64) -> Option<(f64, Option<f64>)> {
    let summed = Summed::of(observed, position, now_ms);
    if summed.by == By::Ratio {
        let joint = summed.sum.arms.iter().fold(Joint::default(), |all, arm| all + arm.joint);
        let (over, under) = (joint.y(), joint.x());
        if joint.n < 2 || under.mean == 0.0 {
            return None;
        }
        let ratio = over.mean / under.mean;
        let parts = over.variance()? - 2.0 * ratio * joint.covariance()? + ratio * ratio * under.variance()?;
        return Some((ratio, Some(parts.max(0.0).sqrt() / under.mean)));
    }
    let all = summed.sum.arms.iter().fold(Moments::default(), |all, arm| all + arm.moments);
    let sd = match summed.kind {
        Kind::Proportion => None,
        Kind::Mean => Some(all.variance()?.sqrt()),
    };
    (all.n > 1).then_some((all.mean, sd))
}

/// The adjustment in words.
fn adjustment(observed: &Observed, metric: &Metric) -> Option<String> {
    let names = || metric.cuped.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    match metric.cuped.len() {
        _ if !observed.course.batches.is_empty() => Some("batch by batch, adaptively weighted AIPW".to_owned()),
        0 => None,
        1 => Some(format!("CUPED by {}", names())),
        _ => Some(format!("regression on {} in each arm (Lin)", names())),
    }
}

/// A metric's difference in an arm, with its interval at `alpha`.
pub(super) fn find(
    summed: &Summed,
    metric: &Metric,
    control: usize,
    arm: usize,
    alpha: f64,
) -> Result<Found, NotEnough> {
    summed.estimate(control, arm).map(|estimate| {
        let interval = match metric.method {
            Method::AsymptoticCs => two_sided(&estimate, alpha, metric.planned_units),
            Method::Fixed => welch(&estimate, alpha),
        };
        // Welch's interval is valid for one look at the planned units. Until they are all mature it
        // is shown but decides nothing. Later units do not change it, so every later look is the
        // same one.
        let speaks = metric.method == Method::AsymptoticCs || summed.is_time;
        let significant = speaks && (interval.low > 0.0 || interval.high < 0.0);
        let better = significant && (estimate.difference > 0.0) == metric.more_is_better;
        Found { estimate, interval, significant, better }
    })
}

/// Computes a metric. Each comparison has a share of its error rate.
pub(super) fn measure(observed: &Observed, position: usize, control: usize, now_ms: u64) -> MetricResult {
    let spec = &observed.spec;
    let metric = &spec.metrics[position];
    let summed = Summed::planned(observed, position, now_ms);
    let goals = spec.metrics.iter().filter(|metric| metric.role == Role::Goal).count();
    let candidates = spec.arms.len() - 1;
    // A winner needs only one goal in one arm, so goals share alpha over all goals and arms
    // (family-wise error).
    let alpha = match metric.role {
        Role::Goal => metric.alpha / (goals * candidates.max(1)) as f64,
        Role::Guardrail | Role::Secondary => metric.alpha,
    };
    let compare =
        |arm: usize| Comparison { arm: spec.arms[arm].name.clone(), found: find(&summed, metric, control, arm, alpha) };
    MetricResult {
        metric: position,
        alpha,
        arms: (0..spec.arms.len()).map(|arm| summed.arm(arm)).collect(),
        not_mature: summed.sum.not_mature,
        no_row: summed.sum.no_row,
        not_exposed: summed.sum.not_exposed,
        unplanned: summed.unplanned,
        adjustment: adjustment(observed, metric),
        comparisons: (0..spec.arms.len()).filter(|arm| *arm != control).map(compare).collect(),
    }
}
