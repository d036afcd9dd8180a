//! Guardrails.

use super::metrics::{Metric, Role, one_of};
use super::raw::{RawExperiment, RawGuardrail};
use crate::Name;
use crate::manifest::duration_ms;

/// The quantity that a guardrail watches.
#[derive(Debug, Clone, PartialEq)]
pub enum Watched {
    /// Units with a decision to which the arm gave no answer.
    Failures,
    /// Units with a decision that was not served by the arm.
    Fallbacks,
    /// Units with a decision that the arm declined.
    Refusals,
    /// Units with a decision that took longer than this, in microseconds.
    Slow(u64),
    /// The share of units with each action at entry.
    ActionMix,
    /// A metric, by its position.
    Metric(usize),
}

/// A guardrail.
#[derive(Debug, Clone, PartialEq)]
pub struct Guardrail {
    /// The name of what it watches.
    pub name: Name,
    /// What it watches.
    pub watched: Watched,
    /// How much worse an arm may be.
    pub margin: Margin,
    /// Error rate; alarms share it over all guardrails and arms.
    pub alpha: f64,
    /// Units needed in each arm before it is evaluated.
    pub min_units: u64,
    /// What the host does on harm.
    pub on_breach: OnBreach,
}

/// What the host does on harm, the most drastic first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum OnBreach {
    /// It ends the experiment.
    Abort,
    /// It pauses the experiment.
    Pause,
    /// It drops the arm: its units get control's strategy, and the others continue.
    DropArm,
}

impl OnBreach {
    /// The name in files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Abort => "abort",
            Self::Pause => "pause",
            Self::DropArm => "drop_arm",
        }
    }
}

/// How much worse an arm may be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Margin {
    /// At most this many events in an arm. Not a test: one more is harm.
    Count(u64),
    /// At most this much more, or less, than control.
    Difference {
        /// The margin, in the metric's unit or as a share of control's mean.
        margin: f64,
        /// Whether the margin is a share of control's mean.
        is_relative: bool,
        /// Whether more is harm; otherwise less is.
        more_is_harm: bool,
        /// Harm is being worse by more than this, in the metric's unit.
        alarm: f64,
    },
}

/// What a guardrail watches.
fn watched(raw: &RawGuardrail, metrics: &[Metric]) -> Result<Watched, String> {
    let slow = || match raw.threshold.as_deref() {
        Some(text) => duration_ms(text).map(|ms| Watched::Slow(ms * 1000)).map_err(|e| format!("threshold: {e}")),
        None => Err("threshold: needed: from when on a decision is slow, like 20ms".to_owned()),
    };
    if let Some(position) = metrics.iter().position(|metric| *metric.name == *raw.metric) {
        return Ok(Watched::Metric(position));
    }
    Ok(match raw.metric.as_str() {
        "failures" => Watched::Failures,
        "fallbacks" => Watched::Fallbacks,
        "refusals" => Watched::Refusals,
        "slow" => slow()?,
        "action_mix" => Watched::ActionMix,
        _ => {
            let valid = "failures, fallbacks, refusals, slow, action_mix, or one of [[metrics]]";
            return Err(format!("no such metric; valid: {valid}"));
        }
    })
}

/// The guardrails. The metrics learn from them which way is worse.
pub(super) fn all(raw: &RawExperiment, metrics: &mut [Metric]) -> Result<Vec<Guardrail>, String> {
    let guardrails: Vec<_> = raw.guardrails.iter().map(|g| Guardrail::of(g, metrics)).collect::<Result<_, _>>()?;
    for (at, metric) in metrics.iter_mut().enumerate() {
        let is_declared = raw.metrics.iter().any(|raw| *raw.name == *metric.name && raw.direction.is_some());
        metric.more_is_better = direction(&guardrails, at, metric, is_declared)?;
    }
    Ok(guardrails)
}

/// Whether more is better at the metric at a position, as far as its guardrails go: they and the
/// metric's direction must agree. Without a declared direction what a guardrail bounds is the worse.
fn direction(guardrails: &[Guardrail], at: usize, metric: &Metric, is_declared: bool) -> Result<bool, String> {
    let of_metric = guardrails.iter().filter(|rail| rail.watched == Watched::Metric(at));
    let harm = of_metric.filter_map(|rail| match rail.margin {
        Margin::Difference { more_is_harm, .. } => Some(more_is_harm),
        Margin::Count(_) => None,
    });
    let bounded: Vec<bool> = harm.collect();
    let Some(more_is_harm) = bounded.first().copied().filter(|first| bounded.iter().all(|other| other == first)) else {
        // Nothing is bounded, or both sides are.
        return Ok(metric.more_is_better);
    };
    let is_open = !is_declared && metric.role != Role::Goal;
    if is_open || metric.more_is_better != more_is_harm {
        return Ok(!more_is_harm);
    }
    let (key, other, better) = match more_is_harm {
        true => ("max_increase", "max_decrease", "increase"),
        false => ("max_decrease", "max_increase", "decrease"),
    };
    Err(format!(
        "guardrail on '{}': {key} bounds what the metric calls better (direction = \"{better}\"); give {other}, or another \
         direction",
        metric.name
    ))
}

/// The largest change of a share.
fn is_share(watched: &Watched, metrics: &[Metric]) -> bool {
    match watched {
        Watched::Metric(at) => metrics[*at].limits() == Some([0.0, 1.0]),
        _ => true,
    }
}

impl Guardrail {
    pub(super) fn of(raw: &RawGuardrail, metrics: &[Metric]) -> Result<Self, String> {
        let at = |key: &str| format!("guardrail on '{}': {key}", raw.metric);
        let watched = watched(raw, metrics).map_err(|why| at(&why))?;
        if raw.threshold.is_some() && !matches!(watched, Watched::Slow(_)) {
            return Err(at("threshold is for slow"));
        }
        for (key, value) in
            [("max_increase", raw.max_increase), ("max_decrease", raw.max_decrease), ("alarm", raw.alarm)]
        {
            if let Some(value) = value.filter(|x| !x.is_finite() || *x < 0.0) {
                return Err(at(&format!("{key} = {value}; valid: a finite number from 0")));
            }
        }
        let share = is_share(&watched, metrics);
        let is_relative_margin = raw.margin_type.as_deref() == Some("relative");
        let of_share = [("max_increase", raw.max_increase), ("max_decrease", raw.max_decrease)];
        let absolute = of_share.into_iter().filter(|_| !is_relative_margin);
        for (key, value) in absolute.chain([("alarm", raw.alarm)]) {
            if let Some(value) = value.filter(|value| share && *value >= 1.0) {
                return Err(at(&format!(
                    "{key} = {value}: no share of units changes by 1 or more; two percentage points are 0.02"
                )));
            }
        }
        let alpha = raw.alpha.unwrap_or(0.01);
        if !(alpha > 0.0 && alpha < 0.5) {
            return Err(at(&format!("alpha = {alpha}; valid: above 0 and below 0.5")));
        }
        let is_relative =
            one_of(at("margin_type"), raw.margin_type.as_deref(), &[("absolute", false), ("relative", true)])?;
        // A new strategy is expected to change the mix of actions, so only a shift beyond the
        // margin is harm. For all others, any increase over control is harm.
        let is_mix = watched == Watched::ActionMix;
        let alarm = |margin| raw.alarm.unwrap_or(if is_mix { margin } else { 0.0 });
        let difference =
            |margin, more_is_harm| Margin::Difference { margin, is_relative, more_is_harm, alarm: alarm(margin) };
        if is_mix && (is_relative || raw.max_count.is_some()) {
            return Err(at("valid: max_increase, a difference of shares, with margin_type = \"absolute\""));
        }
        let margin = match (raw.max_increase, raw.max_decrease, raw.max_count) {
            (Some(margin), None, None) => difference(margin, true),
            (None, Some(_), None) if !matches!(watched, Watched::Metric(_)) => {
                return Err(at("max_decrease: fewer of these is no harm; give max_increase"));
            }
            (None, Some(margin), None) => difference(margin, false),
            (None, None, Some(count)) => Margin::Count(count),
            _ => return Err(at("give one of max_increase, max_decrease and max_count")),
        };
        Ok(Self {
            name: raw.metric.as_str().into(),
            watched,
            margin,
            alpha,
            min_units: raw.min_units.unwrap_or(300),
            on_breach: one_of(
                at("on_breach"),
                raw.on_breach.as_deref(),
                &[("abort", OnBreach::Abort), ("pause", OnBreach::Pause), ("drop_arm", OnBreach::DropArm)],
            )?,
        })
    }
}
