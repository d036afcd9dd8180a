//! Metrics, arm against control, over units that are mature.

use super::observed::{Observed, Slots, Unit};
use crate::Name;
use crate::experiment::{Aggregate, Method, Metric, Missing, Role};
use crate::stats::bandit::{Batch, value, value_difference};
use crate::stats::regression::{Cross, adjusted};
use crate::stats::{
    Estimate, Interval, Joint, Kind, Moments, NotEnough, cuped, difference, may_speak, ratio_difference, two_sided,
    welch,
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
    /// Mature units that were not exposed, where only the others count.
    pub not_exposed: u64,
    /// Units beyond those that one look was planned for.
    pub unplanned: u64,
    /// What else than the plain difference is compared.
    pub adjustment: Option<String>,
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
#[derive(Debug, Clone)]
pub(super) struct Summary {
    pub moments: Moments,
    pub joint: Joint,
    cross: Cross,
}

/// How a unit's number is compared between arms.
#[derive(Debug, Clone, PartialEq, Eq)]
enum By {
    /// The numbers themselves.
    Plain,
    /// Two sums' ratio.
    Ratio,
    /// Less what covariates foretell, each with its mean over all units: who lacks one is taken
    /// to be average.
    Covariates(Vec<usize>),
    /// Batch by batch, each with its own shares.
    Batches,
}

/// What a metric is summed up to, by arm.
pub(super) struct Summed {
    pub arms: Vec<Summary>,
    pub not_mature: u64,
    pub no_row: u64,
    pub not_exposed: u64,
    /// Units beyond those that one look was planned for.
    pub unplanned: u64,
    /// The units that one look was planned for are there, and mature.
    is_time: bool,
    /// What has happened, by arm, whether or not the unit is mature: one that has happened stays.
    so_far: Vec<f64>,
    kind: Kind,
    by: By,
    batches: Vec<Batch>,
}

impl Summed {
    /// Sums up the mature units, whatever the metric's method: what is looked at all the time.
    pub fn of(observed: &Observed, position: usize, now_ms: u64) -> Self {
        Self::up_to(observed, position, now_ms, u64::MAX, |_| true)
    }

    /// Sums up the mature units that `is_in`; where the method is for one look, those of them that
    /// it was planned for.
    pub fn among(observed: &Observed, position: usize, now_ms: u64, is_in: impl Fn(&Unit) -> bool) -> Self {
        let metric = &observed.spec.metrics[position];
        let most = if metric.method == Method::Fixed { metric.planned_units } else { u64::MAX };
        Self::up_to(observed, position, now_ms, most, is_in)
    }

    fn up_to(observed: &Observed, position: usize, now_ms: u64, most: u64, is_in: impl Fn(&Unit) -> bool) -> Self {
        let metric = &observed.spec.metrics[position];
        let slots = observed.of_metric[position];
        let kind = match slots {
            Slots::One(_, Aggregate::Any) => Kind::Proportion,
            _ => Kind::Mean,
        };
        let places = observed.attributes.places(&metric.cuped);
        let (arms, k) = (observed.spec.arms.len(), places.len());
        let of_batch = |weights: &Vec<f64>| Batch { weights: weights.clone(), arms: vec![Moments::default(); arms] };
        let batches: Vec<Batch> = observed.course.batches.iter().map(of_batch).collect();
        let by = match slots {
            Slots::Two(_) => By::Ratio,
            Slots::One(..) if !batches.is_empty() => By::Batches,
            Slots::One(..) if k > 0 => By::Covariates(places),
            Slots::One(..) => By::Plain,
        };
        let empty = Summary { moments: Moments::default(), joint: Joint::default(), cross: Cross::new(k) };
        let mut summed = Self {
            arms: vec![empty; arms],
            not_mature: 0,
            no_row: 0,
            not_exposed: 0,
            unplanned: 0,
            is_time: false,
            so_far: vec![0.0; arms],
            kind,
            by,
            batches,
        };
        let averages = summed.averages(observed);
        for unit in observed.units.values().filter(|unit| is_in(unit)) {
            let (Slots::One(slot, aggregate) | Slots::Two([(slot, aggregate), _])) = slots;
            summed.so_far[unit.arm] += unit.total(slot).value(aggregate);
            if u64::from(unit.ordinal) >= most {
                summed.unplanned += 1;
            } else if metric.mature_ms(unit.entry_ms) > now_ms {
                summed.not_mature += 1;
            } else if metric.is_exposed && !unit.exposed {
                summed.not_exposed += 1;
            } else {
                summed.take(unit, slots, metric, &averages);
            }
        }
        summed.is_time = observed.units.len() as u64 >= metric.planned_units && summed.not_mature == 0;
        summed
    }

    /// The covariates' means over all units of whom they are known, whatever their arm.
    fn averages(&self, observed: &Observed) -> Vec<f64> {
        let By::Covariates(places) = &self.by else { return Vec::new() };
        let mean = |place: &usize| {
            let mut known = Moments::default();
            let numbers = observed.units.values().map(|unit| unit.known.number(*place));
            numbers.filter(|x| !x.is_nan()).for_each(|x| known.push(x));
            known.mean
        };
        places.iter().map(mean).collect()
    }

    fn take(&mut self, unit: &Unit, slots: Slots, metric: &Metric, averages: &[f64]) {
        let cap = |value: f64| metric.cap.map_or(value, |cap| value.min(cap));
        let arm = &mut self.arms[unit.arm];
        match slots {
            Slots::One(at, aggregate) => {
                let total = unit.total(at);
                if total.rows == 0 && metric.missing == Missing::Drop {
                    self.no_row += 1;
                    return;
                }
                let y = cap(total.value(aggregate));
                arm.moments.push(y);
                match &self.by {
                    By::Plain | By::Ratio => {}
                    By::Batches => {
                        if let Some(batch) = self.batches.get_mut(unit.batch as usize) {
                            batch.arms[unit.arm].push(y);
                        }
                    }
                    By::Covariates(places) => {
                        let known = |(place, average): (&usize, &f64)| {
                            let x = unit.known.number(*place);
                            if x.is_nan() { *average } else { x }
                        };
                        let x: Vec<f64> = places.iter().zip(averages).map(known).collect();
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
                    arm.joint.push(cap(unit.total(over).value(over_by)), under);
                }
            }
        }
    }

    /// An arm against control.
    pub fn estimate(&self, control: usize, arm: usize) -> Result<Estimate, NotEnough> {
        let (of_control, of_arm) = (&self.arms[control], &self.arms[arm]);
        if self.by == By::Ratio {
            may_speak(&of_control.joint.y(), &of_arm.joint.y(), Kind::Mean)?;
            return ratio_difference(&of_control.joint, &of_arm.joint);
        }
        may_speak(&of_control.moments, &of_arm.moments, self.kind)?;
        let plain = || difference(&of_control.moments, &of_arm.moments, self.kind);
        match &self.by {
            By::Batches => value_difference(&self.batches, control, arm),
            // A covariate that does not vary foretells nothing.
            By::Covariates(places) if places.len() == 1 => cuped(&of_control.joint, &of_arm.joint).or_else(|_| plain()),
            By::Covariates(_) => adjusted(&of_control.cross, &of_arm.cross).or_else(|_| plain()),
            By::Plain | By::Ratio => plain(),
        }
    }

    /// An arm by itself: its plain mean, or ratio. Where shares follow from what was seen, a plain
    /// mean is biased, and it is the value that takes that into account.
    pub fn arm(&self, position: usize) -> ArmResult {
        let arm = &self.arms[position];
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

    /// What has happened in an arm so far, of units that are not mature, too.
    pub fn so_far(&self, arm: usize) -> u64 {
        self.so_far[arm].round().max(0.0) as u64
    }

    /// The rewards of each arm, whatever the batch.
    pub fn rewards(&self) -> Vec<Moments> {
        self.arms.iter().map(|arm| arm.moments).collect()
    }

    /// What a unit's number is.
    pub fn kind(&self) -> Kind {
        self.kind
    }
}

/// A metric's mean over all mature units, whatever their arm, and the standard deviation of a
/// unit's number; none of either where there are no two such units. A ratio's deviation is that of
/// a unit's part in it.
pub fn baseline(observed: &Observed, position: usize, now_ms: u64) -> Option<(f64, Option<f64>)> {
    let summed = Summed::of(observed, position, now_ms);
    if summed.by == By::Ratio {
        let joint = summed.arms.iter().fold(Joint::default(), |all, arm| all + arm.joint);
        let (over, under) = (joint.y(), joint.x());
        if joint.n < 2 || under.mean == 0.0 {
            return None;
        }
        let ratio = over.mean / under.mean;
        let parts = over.variance()? - 2.0 * ratio * joint.covariance()? + ratio * ratio * under.variance()?;
        return Some((ratio, Some(parts.max(0.0).sqrt() / under.mean)));
    }
    let all = summed.arms.iter().fold(Moments::default(), |all, arm| all + arm.moments);
    let sd = match summed.kind {
        Kind::Proportion => None,
        Kind::Mean => Some(all.variance()?.sqrt()),
    };
    (all.n > 1).then_some((all.mean, sd))
}

/// How a metric is compared, in words.
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
        // Welch's interval is for one look, at the units that were planned: before they are all
        // mature it is shown, and nothing follows from it; those who came after them change
        // nothing any more, so that every later look is the same one.
        let speaks = metric.method == Method::AsymptoticCs || summed.is_time;
        let significant = speaks && (interval.low > 0.0 || interval.high < 0.0);
        let better = significant && (estimate.difference > 0.0) == metric.more_is_better;
        Found { estimate, interval, significant, better }
    })
}

/// A metric, with the share of its error rate that each comparison has.
pub(super) fn measure(observed: &Observed, position: usize, control: usize, now_ms: u64) -> MetricResult {
    let spec = &observed.spec;
    let metric = &spec.metrics[position];
    let summed = Summed::among(observed, position, now_ms, |_| true);
    let goals = spec.metrics.iter().filter(|metric| metric.role == Role::Goal).count();
    let candidates = spec.arms.len() - 1;
    // "At least one goal in at least one arm" is what a goal is asked for, so all share its alpha.
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
        not_mature: summed.not_mature,
        no_row: summed.no_row,
        not_exposed: summed.not_exposed,
        unplanned: summed.unplanned,
        adjustment: adjustment(observed, metric),
        comparisons: (0..spec.arms.len()).filter(|arm| *arm != control).map(compare).collect(),
    }
}
