//! Metrics: each arm against control, over mature units.

use super::facts::BLOCK;
use super::left_in::{lopsided, one_sided};
#[cfg(test)]
use super::metric_summary::ArmSummary;
use super::metric_summary::{By, MetricSummary, Shape, sum_up};
use super::observed::Observed;
use super::pair::Pair;
use super::unit::{Slots, Unit};
use crate::Name;
use crate::experiment::{Aggregate, Method, Metric, Role};
use crate::stats::bandit::{Batch, batch_difference, compared, detrended, level};
use crate::stats::regression::adjusted;
use crate::stats::{
    Counts, Estimate, Interval, Joint, Kind, Moments, NotEnough, cuped, difference, may_speak, ratio_difference,
};

/// The results of a metric.
#[derive(Debug, Clone)]
pub struct MetricResult {
    /// Position in the spec.
    pub metric: usize,
    /// It was added after the first unit: it decides nothing, and shares no error rate.
    pub exploratory: bool,
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
    /// Where the arms' selections of units differ: a sentence for each such arm.
    pub lopsided: Vec<String>,
    /// Mature units that are not in it, by arm: without a row, or not exposed.
    pub left_out: Vec<u64>,
}

impl MetricResult {
    /// The comparison of an arm.
    pub fn of_arm(&self, arm: &str) -> Option<&Comparison> {
        self.comparisons.iter().find(|comparison| *comparison.arm == *arm)
    }
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
    /// It is significantly worse, at this test's part of the error rate that all metrics and arms
    /// share.
    pub is_worse: bool,
    /// Upper bound of the change for the worse at the metric's alpha, in the metric's unit.
    pub worse_below: Option<f64>,
}

impl Comparison {
    /// Whether it is significantly better.
    pub(super) fn is_better(&self) -> bool {
        self.found.as_ref().is_ok_and(|found| found.better)
    }
}

/// The error rate of "no metric is worse", over all metrics and arms.
const WORSE_ALPHA: f64 = 0.05;

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
    /// The relative lift's interval, (arm − control) / |control|; none where control's mean is not
    /// clearly different from 0, or the numbers do not speak asymptotically.
    pub lift: Option<[f64; 2]>,
    /// Whether anything may be concluded now. A fixed method's result is provisional until all of its
    /// planned units are mature.
    pub is_final: bool,
}

/// A metric's summary by arm.
pub(super) struct Summed {
    sum: MetricSummary,
    /// Units beyond the planned number, for a fixed method.
    unplanned: u64,
    /// All planned units have entered and are mature.
    is_time: bool,
    is_limited: bool,
    kind: Kind,
    by: By,
    control: usize,
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
        let (is_limited, control) = (shape.metric.is_limited(), observed.spec.control_at());
        Self { sum, unplanned, is_time, is_limited, kind, by: shape.by, control, batches }
    }

    /// A summary of these arms.
    #[cfg(test)]
    pub(super) fn of_arms(metric: &Metric, by: By, kind: Kind, arms: Vec<ArmSummary>, is_time: bool) -> Self {
        let mut sum = MetricSummary::nothing(arms.len(), 0);
        sum.arms = arms;
        Self { sum, unplanned: 0, is_time, is_limited: metric.is_limited(), kind, by, control: 0, batches: Vec::new() }
    }

    /// Whether it is compared batch by batch.
    pub fn is_by_batches(&self) -> bool {
        self.by == By::Batches
    }

    /// The numbers of an arm's units.
    pub fn moments(&self, arm: usize) -> Moments {
        self.sum.arms[arm].moments
    }

    /// The arm's units, and those of them with an event.
    fn counts(&self, arm: usize) -> Counts {
        let arm = &self.sum.arms[arm];
        let units = if self.by == By::Ratio { arm.joint.n } else { arm.moments.n };
        Counts { units, events: arm.events }
    }

    /// The counts of two arms, where both are compared: with adaptive shares, in batches with both.
    fn compared_counts(&self, control: usize, arm: usize) -> [Counts; 2] {
        let counts = [control, arm].map(|arm| self.counts(arm));
        if self.by != By::Batches {
            return counts;
        }
        let both = compared(&self.batches, control, arm);
        [0, 1].map(|at| {
            let events = match self.kind {
                Kind::Proportion => both[at].sum().round() as u64,
                Kind::Mean => counts[at].events.min(both[at].n),
            };
            Counts { units: both[at].n, events }
        })
    }

    /// Units with an event so far, mature or not.
    pub fn events_so_far(&self, arm: usize) -> u64 {
        self.sum.events_so_far[arm]
    }

    /// An arm's mature units, and those of them that are in the metric.
    pub fn left_in(&self, arm: usize) -> [u64; 2] {
        [self.sum.arms[arm].mature, self.counts(arm).units]
    }

    /// An arm against control, if there is enough for it.
    pub fn estimate(&self, control: usize, arm: usize) -> Result<Estimate, NotEnough> {
        let (of_control, of_arm) = (&self.sum.arms[control], &self.sum.arms[arm]);
        let [control_counts, arm_counts] = self.compared_counts(control, arm);
        may_speak(control_counts, arm_counts, self.kind, self.is_limited)?;
        if self.by == By::Ratio {
            return ratio_difference(&of_control.joint, &of_arm.joint);
        }
        if self.by == By::Batches {
            return batch_difference(&self.batches, control, arm);
        }
        let plain = || difference(&of_control.moments, &of_arm.moments, self.kind);
        match &self.by {
            // A constant covariate explains nothing.
            By::Covariates(places) if places.len() == 1 => cuped(&of_control.joint, &of_arm.joint).or_else(|_| plain()),
            By::Covariates(_) => adjusted(&of_control.cross, &of_arm.cross).or_else(|_| plain()),
            By::Plain | By::Ratio | By::Batches => plain(),
        }
    }

    /// An arm's mean or ratio. Means differ by what is compared: where the difference is adjusted,
    /// an arm's mean is control's plus the difference. Control's is the plain one; with adaptive
    /// shares that would be biased, and each batch is weighted by its size ([`level`]).
    pub fn arm(&self, position: usize) -> ArmResult {
        let arm = &self.sum.arms[position];
        match self.by {
            By::Ratio => {
                let under = arm.joint.x().sum();
                ArmResult { units: arm.joint.n, mean: (under != 0.0).then(|| arm.joint.y().sum() / under) }
            }
            By::Batches => {
                let control = level(&self.batches, self.control);
                // Nothing may be compared: no reward varies, say.
                let mean = self.above(control, position).or_else(|| level(&self.batches, position));
                ArmResult { units: arm.moments.n, mean }
            }
            By::Plain => ArmResult { units: arm.moments.n, mean: mean_of(&arm.moments) },
            By::Covariates(_) => {
                let control = mean_of(&self.sum.arms[self.control].moments);
                let mean = self.above(control, position).or_else(|| mean_of(&arm.moments));
                ArmResult { units: arm.moments.n, mean }
            }
        }
    }

    /// Control's mean plus an arm's difference; none for control, and where nothing can be compared.
    fn above(&self, control: Option<f64>, arm: usize) -> Option<f64> {
        let found = (arm != self.control).then(|| self.estimate(self.control, arm).ok())??;
        Some(control? + found.difference)
    }

    /// Events in an arm so far, immature units included.
    pub fn so_far(&self, arm: usize) -> u64 {
        self.sum.so_far[arm].round().max(0.0) as u64
    }

    /// The rewards of each arm over all batches, without the trend that the arms share.
    pub fn rewards(&self) -> Vec<Moments> {
        detrended(&self.batches)
    }

    /// The kind of a unit's number.
    pub fn kind(&self) -> Kind {
        self.kind
    }
}

fn mean_of(numbers: &Moments) -> Option<f64> {
    (numbers.n > 0).then_some(numbers.mean)
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
        _ if !observed.course.batches.is_empty() => {
            Some("differences within batches, with the same weights for both arms".to_owned())
        }
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
    Pair::of_metric(summed, metric, control, arm).interval(metric, alpha, summed.is_time)
}

/// Computes a metric. Each comparison has a share of its error rate.
pub(super) fn measure(observed: &Observed, position: usize, control: usize, now_ms: u64) -> MetricResult {
    let spec = &observed.spec;
    let metric = &spec.metrics[position];
    let summed = Summed::planned(observed, position, now_ms);
    let goals = observed.course.goals(spec).max(1);
    let candidates = spec.arms.len() - 1;
    // A winner needs only one goal in one arm, so goals share alpha over all goals and arms
    // (family-wise error).
    let alpha = match metric.role {
        Role::Goal if observed.course.is_goal(metric) => metric.alpha / (goals * candidates.max(1)) as f64,
        Role::Goal | Role::Guardrail | Role::Secondary => metric.alpha,
    };
    let declared = spec.metrics.iter().filter(|metric| !observed.course.is_exploratory(metric)).count();
    let worse_alpha = WORSE_ALPHA / (declared.max(1) * candidates.max(1)) as f64;
    let compare = |arm: usize| {
        let pair = Pair::of_metric(&summed, metric, control, arm);
        let found = pair.interval(metric, alpha, summed.is_time);
        let worse = pair.worse([worse_alpha, metric.alpha], !metric.more_is_better).ok();
        // Bounds for any look are valid at one, too.
        let worse = worse.filter(|_| metric.method == Method::AsymptoticCs || summed.is_time);
        let is_worse = worse.is_some_and(|[low, _]| low > 0.0)
            || found.as_ref().is_ok_and(|found| found.significant && !found.better);
        let worse_below = worse.map(|[_, high]| high);
        Comparison { arm: spec.arms[arm].name.clone(), found, is_worse, worse_below }
    };
    let tried = || (0..spec.arms.len()).filter(|arm| *arm != control && !observed.is_dropped(*arm));
    MetricResult {
        metric: position,
        exploratory: observed.course.is_exploratory(metric),
        alpha,
        arms: (0..spec.arms.len()).map(|arm| summed.arm(arm)).collect(),
        not_mature: summed.sum.not_mature,
        no_row: summed.sum.no_row,
        not_exposed: summed.sum.not_exposed,
        unplanned: summed.unplanned,
        adjustment: adjustment(observed, metric),
        comparisons: tried().map(compare).collect(),
        lopsided: tried()
            .filter_map(|arm| {
                let left_in = lopsided(spec, metric, arm, [control, arm].map(|arm| summed.left_in(arm)));
                left_in.or_else(|| one_sided(spec, metric, arm, [control, arm].map(|arm| summed.counts(arm))))
            })
            .collect(),
        left_out: (0..spec.arms.len())
            .map(|arm| {
                let [mature, left_in] = summed.left_in(arm);
                mature.saturating_sub(left_in)
            })
            .collect(),
    }
}
