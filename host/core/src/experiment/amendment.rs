//! Edits of the rule by which an experiment is judged, while it runs. The rule consists of its
//! metrics, guardrails, fairness guardrails and durations. An edit may tighten it. One that loosens
//! it needs a person's decision, and what it adds is exploratory.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::fmt::Display;

use serde::{Deserialize, Serialize};

use super::guardrails::{Guardrail, Margin, OnBreach, Watched};
use super::metrics::{Aggregate, Measure, Metric, Missing, Quantity, Role, Source};
use super::{Experiment, Fairness};
use crate::Name;

/// What an edit of a key does to the rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Harm is found sooner, or a winner needs more.
    Tightens,
    /// Harm may be found later, a winner may need less, or results before the edit and after it are of
    /// different things. It needs a person's decision.
    Loosens,
    /// A metric or a guardrail that was not declared at the first unit.
    Adds,
    /// It changes what the host does or shows, and no result.
    Neutral,
}

impl Effect {
    /// The name in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tightens => "tightens",
            Self::Loosens => "loosens",
            Self::Adds => "adds",
            Self::Neutral => "neutral",
        }
    }
}

/// One key of the rule that differs between two specs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleChange {
    /// The key, as `guardrails.failures.max_increase`.
    pub key: String,
    /// Its value before, as in a file; none if the entry is new or the key had no value.
    pub old: Option<String>,
    /// Its value after; none if the entry is removed or the key has no value.
    pub new: Option<String>,
    /// What the change does.
    pub effect: Effect,
}

impl Display for RuleChange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { key, old, new, effect } = self;
        let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "none".to_owned());
        match (effect, old, new) {
            (Effect::Adds, None, Some(new)) => write!(f, "{key} added ({new})"),
            (_, Some(old), None) if key.matches('.').count() == 1 => {
                write!(f, "{key} removed (it was {old}; {})", effect.as_str())
            }
            _ => write!(f, "{key} {} -> {} ({})", shown(old), shown(new), effect.as_str()),
        }
    }
}

/// Changes as a sentence.
pub fn described<'c>(changes: impl IntoIterator<Item = &'c RuleChange>) -> String {
    changes.into_iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// What was declared when an experiment started: at its first unit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Declared {
    /// The goals that are still in the spec as goals.
    pub goals: Vec<Name>,
    /// The other metrics that are still in the spec.
    pub metrics: Vec<Name>,
    /// The guardrails that are still in the spec, as [`guardrail_keys`].
    pub guardrails: Vec<Name>,
    /// The fairness guardrails that are still in the spec, as [`fairness_keys`].
    pub fairness: Vec<Name>,
    /// Goals at the start: they share their error rate, whatever is removed later.
    pub goals_at_start: usize,
    /// Guardrails at the start: they share the error rate of alarms.
    pub guardrails_at_start: usize,
    /// Fairness guardrails at the start: they share an error rate.
    pub fairness_at_start: usize,
}

impl Declared {
    /// Everything in a spec.
    pub fn of(spec: &Experiment) -> Self {
        let named = |is_goal: bool| {
            let of_role = spec.metrics.iter().filter(move |metric| (metric.role == Role::Goal) == is_goal);
            of_role.map(|metric| metric.name.clone()).collect::<Vec<_>>()
        };
        let goals = named(true);
        Self {
            goals_at_start: goals.len(),
            guardrails_at_start: spec.guardrails.len(),
            fairness_at_start: spec.fairness.len(),
            goals,
            metrics: named(false),
            guardrails: guardrail_keys(spec),
            fairness: fairness_keys(spec),
        }
    }

    /// What is left of it in an edited spec. An entry that was removed and comes back is not a declared
    /// one.
    #[must_use]
    pub fn within(&self, spec: &Experiment) -> Self {
        let role = |name: &Name| spec.metrics.iter().find(|metric| metric.name == *name).map(|metric| metric.role);
        let (goals, gone): (Vec<Name>, Vec<Name>) =
            self.goals.iter().cloned().partition(|name| role(name) == Some(Role::Goal));
        let metrics = self.metrics.iter().cloned().chain(gone).filter(|name| role(name).is_some());
        let left = |keys: &[Name], now: &[Name]| keys.iter().filter(|key| now.contains(key)).cloned().collect();
        Self {
            goals,
            metrics: metrics.collect(),
            guardrails: left(&self.guardrails, &guardrail_keys(spec)),
            fairness: left(&self.fairness, &fairness_keys(spec)),
            ..self.clone()
        }
    }

    /// Whether a metric was declared in its role: a goal that was declared as another metric is an
    /// exploratory goal.
    pub fn has(&self, metric: &Metric) -> bool {
        self.goals.contains(&metric.name) || (metric.role != Role::Goal && self.metrics.contains(&metric.name))
    }

    /// Whether a metric of this name was declared, in any role.
    fn names(&self, metric: &Name) -> bool {
        self.goals.contains(metric) || self.metrics.contains(metric)
    }
}

/// A guardrail's key: the name of what it watches, and `#2` for the second one of that name.
pub fn guardrail_keys(spec: &Experiment) -> Vec<Name> {
    numbered(spec.guardrails.iter().map(|guardrail| guardrail.name.to_string()))
}

/// A fairness guardrail's key: its attribute, and `#2` for the second one of that attribute.
pub fn fairness_keys(spec: &Experiment) -> Vec<Name> {
    numbered(spec.fairness.iter().map(|fairness| fairness.attribute.to_string()))
}

fn numbered(names: impl Iterator<Item = String>) -> Vec<Name> {
    let names: Vec<String> = names.collect();
    let key = |(at, name): (usize, &String)| match names[..at].iter().filter(|other| *other == name).count() {
        0 => Name::from(name.as_str()),
        before => Name::from(format!("{name}#{}", before + 1)),
    };
    names.iter().enumerate().map(key).collect()
}

/// The changes of the rule from one spec of an experiment to another, in the order of the file.
///
/// `declared` is what was declared at the first unit; none means everything in `old`. A metric that
/// was added later, and that no guardrail watches, may be changed freely.
pub fn between(old: &Experiment, new: &Experiment, declared: Option<&Declared>) -> Vec<RuleChange> {
    let Experiment {
        // Fixed while it runs: see `fixed_key_changed`.
        id: _,
        decision_point: _,
        unit: _,
        slot: _,
        salt: _,
        eligible: _,
        control: _,
        arms: _,
        allocation: _,
        holdback: _,
        // No part of the rule.
        owner: _,
        description: _,
        manual_start: _,
        ramp: _,
        shadows: _,
        segments: _,
        reuse_slot: _,
        notify: _,
        digest: _,
        text: _,
        metrics: _,
        guardrails,
        fairness,
        min_duration_ms,
        max_duration_ms,
        ships,
    } = old;
    let mut changes = Vec::new();
    let mut top = Entry { at: String::new(), is_free: false, changes: &mut changes };
    top.ordered("min_duration", *min_duration_ms, new.min_duration_ms, Tighter::Larger, duration);
    let most = |ms: &Option<u64>| ms.map(duration);
    top.neutral("max_duration", most(max_duration_ms), most(&new.max_duration_ms));
    let success = |ships: bool| Some(if ships { "ship" } else { "hold" }.to_owned());
    top.neutral("on_success", success(*ships), success(new.ships));
    metrics(old, new, declared, &mut changes);
    let (keys, new_keys) = (guardrail_keys(old), guardrail_keys(new));
    entries("guardrails", (&keys, guardrails), (&new_keys, &new.guardrails), (margin, guardrail), &mut changes);
    let (keys, new_keys) = (fairness_keys(old), fairness_keys(new));
    let shown = |fairness: &Fairness| format!("min_ratio {}", fairness.min_ratio);
    entries("fairness", (&keys, fairness), (&new_keys, &new.fairness), (shown, fair), &mut changes);
    changes
}

/// The direction in which a number is stricter.
#[derive(Clone, Copy, PartialEq)]
enum Tighter {
    Smaller,
    Larger,
}

/// An entry of a file, of which keys are compared.
struct Entry<'c> {
    /// The entry, as `guardrails.failures.`.
    at: String,
    /// Its keys may be changed freely.
    is_free: bool,
    changes: &'c mut Vec<RuleChange>,
}

impl Entry<'_> {
    fn push(&mut self, key: &str, old: Option<String>, new: Option<String>, effect: Effect) {
        if old != new {
            let effect = if self.is_free { Effect::Neutral } else { effect };
            self.changes.push(RuleChange { key: format!("{}{key}", self.at), old, new, effect });
        }
    }

    /// A key of which any other value loosens the rule.
    fn kept(&mut self, key: &str, old: impl Display, new: impl Display) {
        self.push(key, Some(old.to_string()), Some(new.to_string()), Effect::Loosens);
    }

    fn neutral(&mut self, key: &str, old: Option<String>, new: Option<String>) {
        self.push(key, old, new, Effect::Neutral);
    }

    fn ordered<T: PartialOrd + Copy>(
        &mut self,
        key: &str,
        old: T,
        new: T,
        tighter: Tighter,
        shown: impl Fn(T) -> String,
    ) {
        let is_tighter = if tighter == Tighter::Larger { new > old } else { new < old };
        let effect = if is_tighter { Effect::Tightens } else { Effect::Loosens };
        self.push(key, Some(shown(old)), Some(shown(new)), effect);
    }
}

fn duration(ms: u64) -> String {
    humantime::format_duration(core::time::Duration::from_millis(ms)).to_string()
}

fn on_breach(pauses: bool) -> u8 {
    // Aborting is stricter.
    u8::from(!pauses)
}

fn shown_breach(aborts: u8) -> String {
    if aborts == 1 { "abort" } else { "pause" }.to_owned()
}

fn metrics(old: &Experiment, new: &Experiment, declared: Option<&Declared>, changes: &mut Vec<RuleChange>) {
    let watches = |spec: &Experiment, at: usize| spec.guardrails.iter().any(|rail| rail.watched == Watched::Metric(at));
    let is_watched = |at: usize| watches(old, at);
    let bounds = |spec: &Experiment, at: usize| {
        let of_metric = spec.guardrails.iter().filter(|rail| rail.watched == Watched::Metric(at));
        of_metric.map(|rail| rail.margin).any(|margin| matches!(margin, Margin::Difference { .. }))
    };
    for (at, metric) in old.metrics.iter().enumerate() {
        let is_free = !is_watched(at) && declared.is_some_and(|declared| !declared.names(&metric.name));
        let mut entry = Entry { at: "metrics.".to_owned(), is_free, changes };
        match new.metrics.iter().enumerate().find(|(_, other)| other.name == metric.name) {
            None => entry.push(&metric.name, Some(metric.role.as_str().to_owned()), None, Effect::Loosens),
            Some((now_at, other)) => {
                entry.at = format!("metrics.{}.", metric.name);
                compared(&mut entry, metric, other);
                // The first guardrail that bounds a metric's difference may say which way is worse.
                let is_said = !bounds(old, at) && bounds(new, now_at) && metric.role != Role::Goal;
                if !is_said {
                    let direction = |metric: &Metric| if metric.more_is_better { "increase" } else { "decrease" };
                    entry.kept("direction", direction(metric), direction(other));
                }
            }
        }
    }
    for metric in new.metrics.iter().filter(|metric| !old.metrics.iter().any(|other| other.name == metric.name)) {
        let new = Some(format!("{}, exploratory", metric.role.as_str()));
        changes.push(RuleChange { key: format!("metrics.{}", metric.name), old: None, new, effect: Effect::Adds });
    }
}

fn compared(entry: &mut Entry<'_>, old: &Metric, new: &Metric) {
    let Metric {
        name: _,
        role,
        quantity,
        window_ms,
        lag_ms,
        missing,
        floor,
        cap,
        tolerate,
        // Compared where the guardrails are known.
        more_is_better: _,
        method,
        alpha,
        planned_units,
        prior_sd,
        expects_none,
        is_exposed,
        cuped,
    } = old;
    let roles = (Some(role.as_str().to_owned()), Some(new.role.as_str().to_owned()));
    match (*role == Role::Goal, new.role == Role::Goal) {
        (true, false) => entry.push("role", roles.0, roles.1, Effect::Loosens),
        (false, true) => entry.push("role", roles.0, roles.1, Effect::Adds),
        _ => entry.neutral("role", roles.0, roles.1),
    }
    for ((key, old), (_, new)) in keys_of(quantity).into_iter().zip(keys_of(&new.quantity)) {
        entry.push(key, old, new, Effect::Loosens);
    }
    entry.kept("window", duration(*window_ms), duration(new.window_ms));
    entry.kept("lag", duration(*lag_ms), duration(new.lag_ms));
    let missing_as = |missing: Missing| if missing == Missing::Drop { "drop" } else { "zero" };
    entry.kept("missing", missing_as(*missing), missing_as(new.missing));
    let number = |number: &Option<f64>| number.map(|number| number.to_string());
    entry.push("min", number(floor), number(&new.floor), Effect::Loosens);
    entry.push("cap", number(cap), number(&new.cap), Effect::Loosens);
    match (tolerate, new.tolerate) {
        (Some(old), Some(new)) => entry.ordered("tolerate", *old, new, Tighter::Smaller, |most| most.to_string()),
        // With it the metric is judged by another rule.
        (old, new) => entry.push("tolerate", number(old), number(&new), Effect::Loosens),
    }
    entry.kept("method", method.as_str(), new.method.as_str());
    entry.ordered("alpha", *alpha, new.alpha, Tighter::Smaller, |alpha| alpha.to_string());
    entry.kept("planned_units", planned_units, new.planned_units);
    // A prior that is chosen after the data is none.
    entry.push("prior_sd", number(prior_sd), number(&new.prior_sd), Effect::Loosens);
    let none_expected = |expects_none: u8| (expects_none == 1).to_string();
    entry.ordered("expects_none", u8::from(*expects_none), u8::from(new.expects_none), Tighter::Smaller, none_expected);
    let population = |is_exposed: bool| if is_exposed { "exposed" } else { "assigned" };
    entry.kept("population", population(*is_exposed), population(new.is_exposed));
    let names = |metric: &[super::Attribute]| metric.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    entry.kept("cuped", format!("[{}]", names(cuped)), format!("[{}]", names(&new.cuped)));
}

/// The keys of a quantity, always the same ones.
fn keys_of(quantity: &Quantity) -> [(&'static str, Option<String>); 5] {
    let source = |source: Source| match source {
        Source::Outcomes => "outcomes",
        Source::Decisions => "decisions",
        Source::Exposures => "exposures",
    };
    let aggregate = |aggregate: Aggregate| match aggregate {
        Aggregate::Any => "any",
        Aggregate::Sum => "sum",
        Aggregate::Count => "count",
    };
    let part = |measure: &Measure| {
        let Measure { source: of, outcome, aggregate: by } = measure;
        let outcome = outcome.as_deref().unwrap_or("all");
        Some(format!("{} of {outcome} ({})", aggregate(*by), source(*of)))
    };
    let (own, sides) = match quantity {
        Quantity::Mean(Measure { source: of, outcome, aggregate: by }) => {
            let outcome = outcome.as_ref().map(ToString::to_string);
            ([Some(source(*of).to_owned()), outcome, Some(aggregate(*by).to_owned())], [None, None])
        }
        Quantity::Ratio(over, under) => ([None, None, Some("ratio".to_owned())], [part(over), part(under)]),
    };
    let ([source, outcome, aggregate], [over, under]) = (own, sides);
    [("source", source), ("outcome", outcome), ("aggregate", aggregate), ("numerator", over), ("denominator", under)]
}

/// Compares lists of entries that have keys. One that is removed loosens the rule.
fn entries<T>(
    table: &str,
    (keys, old): (&[Name], &[T]),
    (new_keys, new): (&[Name], &[T]),
    (shown, compare): (impl Fn(&T) -> String, impl Fn(&mut Entry<'_>, &T, &T)),
    changes: &mut Vec<RuleChange>,
) {
    for (key, item) in keys.iter().zip(old) {
        let mut entry = Entry { at: format!("{table}."), is_free: false, changes };
        match new_keys.iter().zip(new).find(|(other, _)| *other == key) {
            None => entry.push(key, Some(shown(item)), None, Effect::Loosens),
            Some((_, other)) => {
                entry.at = format!("{table}.{key}.");
                compare(&mut entry, item, other);
            }
        }
    }
    for (key, item) in new_keys.iter().zip(new).filter(|(key, _)| !keys.contains(key)) {
        let new = Some(shown(item));
        changes.push(RuleChange { key: format!("{table}.{key}"), old: None, new, effect: Effect::Adds });
    }
}

/// A guardrail's margin as it is in a file.
fn margin(guardrail: &Guardrail) -> String {
    match guardrail.margin {
        Margin::Count(most) => format!("max_count {most}"),
        Margin::Difference { margin, is_relative, more_is_harm, .. } => {
            let relative = if is_relative { ", relative" } else { "" };
            format!("{} {margin}{relative}", margin_key(more_is_harm))
        }
    }
}

fn margin_key(more_is_harm: bool) -> &'static str {
    if more_is_harm { "max_increase" } else { "max_decrease" }
}

fn guardrail(entry: &mut Entry<'_>, old: &Guardrail, new: &Guardrail) {
    let Guardrail { name: _, watched, margin: allowed, alpha, min_units, on_breach } = old;
    let of = |watched: &Watched| match watched {
        Watched::Failures => "failures",
        Watched::Fallbacks => "fallbacks",
        Watched::Refusals => "refusals",
        Watched::Slow(_) => "slow",
        Watched::ActionMix => "action_mix",
        Watched::Metric(_) => "one of [[metrics]]",
    };
    entry.kept("metric", of(watched), of(&new.watched));
    let threshold = |watched: &Watched| match watched {
        Watched::Slow(us) => Some(duration(us / 1000)),
        _ => None,
    };
    entry.push("threshold", threshold(watched), threshold(&new.watched), Effect::Loosens);
    let number = |number: f64| number.to_string();
    match (*allowed, new.margin) {
        (Margin::Count(old), Margin::Count(new)) => {
            entry.ordered("max_count", old, new, Tighter::Smaller, |most| most.to_string());
        }
        (
            Margin::Difference { margin: old, is_relative, more_is_harm, alarm },
            Margin::Difference { margin: new, is_relative: relative, more_is_harm: more, alarm: new_alarm },
        ) if (is_relative, more_is_harm) == (relative, more) => {
            entry.ordered(margin_key(more_is_harm), old, new, Tighter::Smaller, number);
            entry.ordered("alarm", alarm, new_alarm, Tighter::Smaller, number);
        }
        _ => entry.kept("margin", margin(old), margin(new)),
    }
    // A larger alpha holds sooner, and a smaller one raises its alarm later.
    entry.kept("alpha", alpha, new.alpha);
    // Harm is told at any number; what holds needs them.
    entry.ordered("min_units", *min_units, new.min_units, Tighter::Larger, |units| units.to_string());
    let shown = |on_breach: Reverse<OnBreach>| on_breach.0.as_str().to_owned();
    entry.ordered("on_breach", Reverse(*on_breach), Reverse(new.on_breach), Tighter::Larger, shown);
}

fn fair(entry: &mut Entry<'_>, old: &Fairness, new: &Fairness) {
    let Fairness { attribute: _, reference, adverse, min_ratio, min_units, pauses } = old;
    entry.kept("reference", reference, &new.reference);
    let actions = |actions: &[Name]| {
        let sorted: BTreeSet<&str> = actions.iter().map(|action| &**action).collect();
        format!("[{}]", sorted.into_iter().collect::<Vec<_>>().join(", "))
    };
    entry.kept("adverse_actions", actions(adverse), actions(&new.adverse));
    entry.ordered("min_ratio", *min_ratio, new.min_ratio, Tighter::Larger, |ratio| ratio.to_string());
    entry.kept("min_group_units", min_units, new.min_units);
    entry.ordered("on_breach", on_breach(*pauses), on_breach(new.pauses), Tighter::Larger, shown_breach);
}
