//! How an experiment was run: the parts of its status that the analysis needs beside its spec.

use std::sync::Arc;

use crate::Name;
use crate::allocation::{Purpose, is_held_back, place};
use crate::experiment::{Arm, Declared, Experiment, Metric, Role, Status, fairness_keys, guardrail_keys};

/// What an analysis needs to know of an experiment's status.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Course {
    /// The randomization unit.
    pub unit: Name,
    /// When it first took units.
    pub started_ms: Option<u64>,
    /// The arms' shares by batch; none where they are fixed.
    pub batches: Vec<Vec<f64>>,
    /// The arms that were dropped for harm: their units are in no arm.
    pub dropped: Vec<Name>,
    /// The arm that was shipped and serves all but the holdback, also if it was withdrawn since.
    pub shipped: Option<Name>,
    /// When that arm was shipped, in milliseconds since the Unix epoch; 0 if none was.
    pub shipped_ms: u64,
    /// When it ended, in milliseconds since the Unix epoch: what came later is no part of its results.
    /// None while it goes on, and where its results are asked for with what came later.
    pub ended_ms: Option<u64>,
    /// Units that entered before are in no arm's results, in milliseconds since the Unix epoch. It is
    /// when a person resumed the experiment after its winner was withdrawn.
    pub from_ms: u64,
    /// What was declared at the first unit; none means everything in the spec.
    pub declared: Option<Declared>,
}

impl Course {
    /// The course of an experiment with this status and this randomization unit.
    pub fn of(status: &Status, unit: &Name) -> Self {
        Self {
            unit: unit.clone(),
            started_ms: status.started_ms,
            batches: status.batches.clone(),
            dropped: status.dropped.clone(),
            shipped: status.served.clone(),
            // A status of an earlier version lacks the time; while it is shipped, it has not changed since.
            shipped_ms: status.served.as_ref().map_or(0, |_| status.shipped_ms.unwrap_or(status.since_ms)),
            ended_ms: status.ended_ms,
            from_ms: status.resumed_ms.unwrap_or(0),
            declared: status.declared.clone(),
        }
    }

    /// The same course, with what came after its end.
    pub fn without_end(self) -> Self {
        Self { ended_ms: None, ..self }
    }

    /// Whether the experiment was run as in another course, whatever was declared.
    pub fn runs_as(&self, other: &Self) -> bool {
        Self { declared: other.declared.clone(), ..self.clone() } == *other
    }

    /// Whether a metric was added after the first unit. It is computed and shown, and decides nothing.
    pub fn is_exploratory(&self, metric: &Metric) -> bool {
        self.declared.as_ref().is_some_and(|declared| !declared.has(metric))
    }

    /// Whether a metric is a goal that can win.
    pub(super) fn is_goal(&self, metric: &Metric) -> bool {
        metric.role == Role::Goal && !self.is_exploratory(metric)
    }

    /// Goals that share their error rate: those that were declared at the first unit.
    pub(super) fn goals(&self, spec: &Experiment) -> usize {
        let now = || spec.metrics.iter().filter(|metric| metric.role == Role::Goal).count();
        self.declared.as_ref().map_or_else(now, |declared| declared.goals_at_start)
    }

    /// How many guardrails share the error rate of this one's alarm. Those that were declared at the
    /// first unit share it among themselves, whatever was added since.
    pub(super) fn alarms(&self, spec: &Experiment, guardrail: usize) -> usize {
        let Some(declared) = &self.declared else { return spec.guardrails.len() };
        shares(declared.guardrails_at_start, &declared.guardrails, &guardrail_keys(spec), guardrail)
    }

    /// The same for fairness guardrails.
    pub(super) fn fairness_alarms(&self, spec: &Experiment, fairness: usize) -> usize {
        let Some(declared) = &self.declared else { return spec.fairness.len() };
        shares(declared.fairness_at_start, &declared.fairness, &fairness_keys(spec), fairness)
    }
}

fn shares(at_start: usize, declared: &[Name], keys: &[Name], position: usize) -> usize {
    match keys.get(position) {
        Some(key) if !declared.contains(key) => at_start + keys.iter().filter(|key| !declared.contains(key)).count(),
        _ => at_start.max(1),
    }
}

/// An experiment whose winner serves all units except the holdback. Units that entered since are
/// compared: those that the winner serves with those held back.
pub(super) struct Shipped {
    /// The two arms, with their shares of the units that enter.
    pub spec: Arc<Experiment>,
    whole: Arc<Experiment>,
    winner: usize,
    unit: Name,
}

impl Shipped {
    pub fn of(spec: &Arc<Experiment>, winner: &str, unit: &Name) -> Option<Self> {
        let at = spec.arms.iter().position(|arm| *arm.name == *winner)?;
        let control = spec.control_at();
        if at == control {
            return None;
        }
        let arm = |position: usize, weight: f64| Arm { weight, ..spec.arms[position].clone() };
        let arms = vec![arm(control, spec.holdback), arm(at, 1.0 - spec.holdback)];
        let left = Arc::new(Experiment { arms, ..(**spec).clone() });
        Some(Self { spec: left, whole: Arc::clone(spec), winner: at, unit: unit.clone() })
    }

    /// Whether a unit that enters now is in this arm. A decision under way when the winner shipped may
    /// still be in another one.
    pub fn is_in(&self, unit: &str, arm: &str) -> bool {
        let (whole, control) = (&self.whole, self.whole.control_at());
        let place = place(Purpose::Arm, &whole.salt, &self.unit, unit);
        let is_held_back = is_held_back(place, whole.arms.iter().map(|arm| arm.weight), control, whole.holdback);
        *whole.arms[if is_held_back { control } else { self.winner }].name == *arm
    }
}
