//! The worlds in which a spec is simulated: what is true of the arms, and what is broken on the way
//! to the analysis.

use serde::Serialize;

use super::model::{Truth, is_share, of, sd};
use super::{DAY, Traffic};
use crate::Name;
use crate::experiment::{Experiment, Guardrail, Margin, Metric, Role, Watched};

/// A world: what is assumed of the treatment arm, and of the data.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "assumed")]
pub enum Assumed {
    /// The treatment equals control.
    Nothing,
    /// It is better at every goal, by the effect.
    Effect,
    /// It is better at every goal, and harmful in one guardrail.
    Harm {
        /// Position of the guardrail.
        guardrail: usize,
        /// How much worse than control, in the metric's own unit or as a share of units.
        by: f64,
    },
    /// It is better at the first goal, and worse at another goal or unbounded metric.
    Conflict {
        /// Position of the metric at which it is worse.
        metric: usize,
        /// How much worse, in the metric's own unit: as many standard deviations as the effect.
        by: f64,
    },
    /// The treatment equals control, and both arms' outcomes become rarer until they have halved at
    /// the last day.
    Drift,
    /// It is better at every goal, and no outcome is posted from a day on.
    DeadFeed {
        /// The first day without outcomes.
        day: u32,
        /// When the silence is noticed, in days: three usual gaps, or the longest lag.
        noticed: u32,
    },
    /// It is better at every goal, and the outcome that a metric names is never posted.
    WrongName {
        /// Position of the metric.
        metric: usize,
    },
    /// It is better at every goal, and one in five of its units is lost before it is recorded.
    BrokenSplit,
    /// The treatment equals control, and for half of its units no outcome is posted.
    HalfMissing,
    /// It is better at every goal, by the effect, for half of the units, and equal for the others.
    OneSegment,
}

/// The share of the treatment's units that a broken split loses.
const LOST: f64 = 0.2;
/// The share of the treatment's units whose outcomes are missing.
const MISSING: f64 = 0.5;
/// The share of the units that the effect reaches if it is in one segment only.
const SEGMENT: f64 = 0.5;
/// Days without a word after which a feed that posts daily is silent.
const GAPS: u32 = 3;
/// What remains of the baselines at the last day of a drift.
const REMAINS: f64 = 0.5;

impl Assumed {
    /// Whether shipping the treatment is correct.
    pub fn is_better(self) -> bool {
        matches!(self, Self::Effect | Self::OneSegment | Self::DeadFeed { .. })
    }

    /// Whether it is a world beside those that a plan is mainly for: a few runs show what a spec makes
    /// of it.
    pub(super) fn is_side(self) -> bool {
        !matches!(self, Self::Nothing | Self::Effect | Self::Harm { .. })
    }

    /// The share of the treatment's units that are lost before they are recorded.
    pub(super) fn lost(self) -> f64 {
        if self == Self::BrokenSplit { LOST } else { 0.0 }
    }

    /// The share of the treatment's units whose outcomes are never posted.
    pub(super) fn missing(self) -> f64 {
        if self == Self::HalfMissing { MISSING } else { 0.0 }
    }

    /// The share of the treatment's units that differ from control's.
    pub(super) fn reached(self) -> f64 {
        if self == Self::OneSegment { SEGMENT } else { 1.0 }
    }

    /// What remains of the baselines for units that enter after this part of the run.
    pub(super) fn level(self, passed: f64) -> f64 {
        if self == Self::Drift { 1.0 - (1.0 - REMAINS) * passed } else { 1.0 }
    }

    /// The outcome's name that nobody posts.
    pub(super) fn misnamed(self, spec: &Experiment) -> Option<&Name> {
        let Self::WrongName { metric } = self else { return None };
        spec.metrics[metric].needed_outcomes().next()
    }

    /// How the treatment differs from control.
    pub(super) fn truth(self, spec: &Experiment, effect: f64) -> Truth {
        let mut truth = Truth { effects: vec![0.0; spec.metrics.len()], hits: None };
        if matches!(self, Self::Nothing | Self::Drift | Self::HalfMissing) {
            return truth;
        }
        let goals = spec.metrics.iter().zip(&mut truth.effects).filter(|(metric, _)| metric.role == Role::Goal);
        let goals = goals.take(if matches!(self, Self::Conflict { .. }) { 1 } else { usize::MAX });
        goals.for_each(|(metric, of)| *of = better_by(metric, effect));
        match self {
            Self::Conflict { metric, by } => truth.effects[metric] = -better_by(&spec.metrics[metric], by),
            Self::Harm { guardrail, by } => {
                let guardrail = &spec.guardrails[guardrail];
                match (&guardrail.watched, guardrail.margin) {
                    (Watched::Metric(at), Margin::Difference { more_is_harm: false, .. }) => truth.effects[*at] = -by,
                    (Watched::Metric(at), _) => truth.effects[*at] = by,
                    (watched, _) => truth.hits = Some((watched.clone(), by)),
                }
            }
            _ => {}
        }
        truth
    }
}

/// The worlds to simulate, of those that the spec can be in; none without a treatment arm.
pub(super) fn all(spec: &Experiment, traffic: &Traffic, tried: Option<usize>, effect: f64, days: u32) -> Vec<Assumed> {
    if tried.is_none() {
        return Vec::new();
    }
    let is_better = effect > 0.0 && spec.metrics.iter().any(|metric| metric.role == Role::Goal);
    let harm = (0..spec.guardrails.len())
        .map(|guardrail| Assumed::Harm { guardrail, by: worse_by(&spec.guardrails[guardrail], spec, traffic) });
    let mut all = vec![Assumed::Nothing];
    all.extend(is_better.then_some(Assumed::Effect));
    all.extend(harm);
    all.extend(is_better.then(|| conflict(spec, traffic, effect)).flatten());
    all.push(Assumed::Drift);
    let goals_first = || {
        let (goals, others): (Vec<_>, Vec<_>) =
            (0..spec.metrics.len()).partition(|at| spec.metrics[*at].role == Role::Goal);
        goals.into_iter().chain(others)
    };
    let posted = goals_first().find(|at| spec.metrics[*at].needed_outcomes().next().is_some());
    if let Some(metric) = posted {
        let lag_ms = spec.metrics.iter().map(|metric| metric.lag_ms).max().unwrap_or(0);
        let (day, lag_days) = ((days / 3).max(1), lag_ms.div_ceil(DAY).try_into().unwrap_or(u32::MAX));
        let noticed = day.saturating_add(GAPS.max(lag_days));
        all.extend([Assumed::DeadFeed { day, noticed }, Assumed::WrongName { metric }]);
    }
    all.push(Assumed::BrokenSplit);
    all.extend(posted.map(|_| Assumed::HalfMissing));
    all.extend(is_better.then_some(Assumed::OneSegment));
    all
}

/// The effect on a metric's mean if the arm is better by that.
fn better_by(metric: &Metric, effect: f64) -> f64 {
    if metric.more_is_better { effect } else { -effect }
}

/// A second goal, or else a metric that no guardrail bounds, that can become worse while the first
/// goal becomes better.
fn conflict(spec: &Experiment, traffic: &Traffic, effect: f64) -> Option<Assumed> {
    let first = spec.metrics.iter().position(|metric| metric.role == Role::Goal)?;
    let rows = |at: usize| (of(&spec.metrics[at]).source, &of(&spec.metrics[at]).outcome);
    let is_watched = |at: usize| spec.guardrails.iter().any(|rail| rail.watched == Watched::Metric(at));
    let others = || (0..spec.metrics.len()).filter(|at| *at != first && rows(*at) != rows(first));
    let other_goal = others().find(|at| spec.metrics[*at].role == Role::Goal);
    let metric = other_goal.or_else(|| others().find(|at| !is_watched(*at)))?;
    let deviation = |at: usize| {
        let baseline = traffic.baselines.get(at)?;
        Some(sd(&spec.metrics[at], baseline, baseline.mean)).filter(|sd| *sd > 0.0)
    };
    Some(Assumed::Conflict { metric, by: effect * deviation(metric)? / deviation(first)? })
}

/// The assumed rate of a rare event: one in a thousand units.
const RARE: f64 = 0.001;
/// The assumed harm where the margin is zero: one percentage point.
const LITTLE: f64 = 0.01;

/// Twice the margin; more than that where the alarm itself lies beyond it.
fn worse_by(guardrail: &Guardrail, spec: &Experiment, traffic: &Traffic) -> f64 {
    let Margin::Difference { margin, is_relative, alarm, .. } = guardrail.margin else { return RARE };
    let known = |at: &usize| Some((&spec.metrics[*at], traffic.baselines.get(*at)?));
    let known = if let Watched::Metric(at) = &guardrail.watched { known(at) } else { None };
    let scale = match (is_relative, known, &guardrail.watched) {
        (false, ..) => 1.0,
        (true, Some((_, baseline)), _) => baseline.mean.abs(),
        (true, None, Watched::Failures | Watched::Fallbacks) => traffic.failures,
        (true, None, _) => 0.0,
    };
    let margin = margin * scale;
    let by = (2.0 * margin).max(alarm + margin);
    if by > 0.0 {
        return by;
    }
    match known {
        Some((metric, baseline)) if !is_share(metric, baseline) => {
            // A tenth of a unit's standard deviation, if known.
            0.1 * baseline.sd.unwrap_or(baseline.mean.abs())
        }
        _ => LITTLE,
    }
}
