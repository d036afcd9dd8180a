//! Experiment files: as they are written, then validated.
//!
//! The lifecycle, the metrics and the guardrails are read and checked here, and not acted
//! upon yet. [`Experiment::not_acted_upon`] lists them, so that nothing pretends.

use indexmap::IndexMap;
use serde::Deserialize;

use crate::manifest::duration_ms;
use crate::value::Value;
use crate::{NAME_RULE, Name, is_name};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawExperiment {
    id: String,
    decision_point: String,
    #[serde(default)]
    owner: String,
    #[serde(default)]
    description: String,
    unit: Option<String>,
    slot: Option<[f64; 2]>,
    salt: Option<String>,
    #[serde(default)]
    start: RawStart,
    eligible: Option<String>,
    coverage: Option<f64>,
    ramp: Option<Vec<RawStep>>,
    control: Option<String>,
    min_duration: Option<String>,
    max_duration: Option<String>,
    on_success: Option<RawOnSuccess>,
    holdback: Option<f64>,
    #[serde(default)]
    segments: Vec<String>,
    #[serde(default)]
    arms: Vec<RawArm>,
    allocation: Option<toml::Table>,
    #[serde(default)]
    metrics: Vec<RawMetric>,
    #[serde(default)]
    guardrails: Vec<RawGuardrail>,
    #[serde(default)]
    fairness: Vec<RawFairness>,
    #[serde(default)]
    notify: Vec<RawNotify>,
}

#[derive(Deserialize, Default, Clone, Copy, PartialEq)]
#[serde(rename_all = "snake_case")]
enum RawStart {
    #[default]
    OnApply,
    Manual,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum RawOnSuccess {
    Hold,
    Ship,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawStep {
    coverage: f64,
    hold: Option<String>,
    #[allow(dead_code, reason = "checked for its type; the lifecycle will read it")]
    min_units: Option<u64>,
    gate: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawArm {
    name: String,
    strategy: String,
    weight: Option<f64>,
    #[serde(default)]
    parameters: IndexMap<String, Value>,
    mode: Option<String>,
    sample: Option<f64>,
}

macro_rules! checked_only {
    ($(#[$meta:meta])* $name:ident { $($field:ident: $type:ty),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        #[allow(dead_code, reason = "read so that a mistake in it is an error; the analysis will use it")]
        struct $name { $($field: $type),* }
    };
}

checked_only!(RawMetric {
    name: String, role: String, source: Option<String>, outcome: Option<String>, aggregate: Option<String>,
    numerator: Option<toml::Table>, denominator: Option<toml::Table>, window: Option<String>, lag: Option<String>,
    missing: Option<String>, cap: Option<f64>, direction: Option<String>, population: Option<String>,
    cuped: Option<Vec<String>>, method: Option<String>, alpha: Option<f64>, planned_units: Option<u64>,
});
checked_only!(RawGuardrail {
    metric: String, max_increase: Option<f64>, max_decrease: Option<f64>, max_count: Option<u64>,
    margin_type: Option<String>, alarm: Option<f64>, threshold: Option<toml::Value>, alpha: Option<f64>,
    min_units: Option<u64>, on_breach: Option<String>,
});
checked_only!(RawFairness {
    attribute: String, reference: String, adverse_actions: Vec<String>, min_ratio: Option<f64>,
    min_group_units: Option<u64>, on_breach: Option<String>,
});
checked_only!(RawNotify { url: String, events: Vec<String> });

/// A validated experiment.
#[derive(Debug, Clone)]
pub struct Experiment {
    /// Its id.
    pub id: Name,
    /// The decision point.
    pub decision_point: Name,
    /// Who answers for it.
    pub owner: String,
    /// What it is about.
    pub description: String,
    /// The randomization unit, where the file says it.
    pub unit: Option<Name>,
    /// The part of the layer that it may ever take.
    pub slot: [f64; 2],
    /// Salt of the split into arms.
    pub salt: String,
    /// Whether it waits for a command to start.
    pub manual_start: bool,
    /// Who may enter, in CEL.
    pub eligible: Option<String>,
    /// The share of the slot in use: fixed, or the ramp's first step.
    pub coverage: f64,
    /// The arms that take units. Their weights sum to 1.
    pub arms: Vec<Arm>,
    /// What the file asks for and this version does not do.
    pub not_acted_upon: Vec<String>,
    /// SHA-256 of the file.
    pub digest: Name,
}

/// An arm.
#[derive(Debug, Clone)]
pub struct Arm {
    /// Its name.
    pub name: Name,
    /// The strategy's exact version.
    pub strategy: Pin,
    /// Its share of the units that enter.
    pub weight: f64,
    /// Parameters in place of the manifest's defaults.
    pub parameters: IndexMap<String, Value>,
}

/// An exact version of a plugin, written `name@1.2.3`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pin {
    /// The plugin's name.
    pub name: Name,
    /// Its version.
    pub version: semver::Version,
}

impl Pin {
    /// Reads `name@1.2.3`.
    ///
    /// # Errors
    /// What is wrong, and what would be valid.
    pub fn parse(text: &str) -> Result<Self, String> {
        let valid = "valid: NAME@MAJOR.MINOR.PATCH, an exact version, like outreach-rules@1.0.0";
        let (name, version) = text.split_once('@').ok_or_else(|| format!("'{text}' has no version; {valid}"))?;
        if !is_name(name) {
            return Err(format!("'{name}' is not a name; {valid}"));
        }
        let version = semver::Version::parse(version).map_err(|e| format!("'{text}': {e}; {valid}"))?;
        Ok(Self { name: name.into(), version })
    }
}

impl std::fmt::Display for Pin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}", self.name, self.version)
    }
}

/// How far the weights' sum may be from 1.
const WEIGHT_TOLERANCE: f64 = 1e-9;

impl Experiment {
    /// Reads and validates the text of an experiment file.
    ///
    /// # Errors
    /// The first mistake: its key, and what would be valid.
    pub fn parse(text: &str) -> Result<Self, String> {
        let raw: RawExperiment = toml::from_str(text).map_err(|e| e.to_string())?;
        if !is_name(&raw.id) {
            return Err(format!("id = \"{}\" is not a name; valid: {NAME_RULE}", raw.id));
        }
        let mut not_acted_upon = not_acted_upon(&raw);
        check_texts(&raw)?;
        let slot = raw.slot.unwrap_or([0.0, 1.0]);
        if !(0.0 <= slot[0] && slot[0] < slot[1] && slot[1] <= 1.0) {
            return Err(format!("slot = {slot:?}; valid: [from, to) with 0 <= from < to <= 1"));
        }
        let coverage = coverage(&raw)?;
        if raw.allocation.is_some() {
            return Err("allocation: bandit allocation is not supported yet; give each arm a weight".to_owned());
        }
        let arms = arms(raw.arms, &mut not_acted_upon)?;
        if let Some(control) = &raw.control
            && !arms.iter().any(|arm| *arm.name == **control)
        {
            return Err(format!("control = \"{control}\" is not an arm; arms: {}", listed(&arms)));
        }
        Ok(Self {
            decision_point: raw.decision_point.into(),
            owner: raw.owner,
            description: raw.description,
            unit: raw.unit.map(Into::into),
            slot,
            salt: raw.salt.unwrap_or_else(|| raw.id.clone()),
            id: raw.id.into(),
            manual_start: raw.start == RawStart::Manual,
            eligible: raw.eligible,
            coverage,
            arms,
            not_acted_upon,
            digest: crate::digest(text.as_bytes()).into(),
        })
    }
}

impl Experiment {
    /// The first key that differs from a running spec, and that may not: a change of it would
    /// move units that are in, or make two populations out of one.
    pub fn fixed_key_changed(&self, running: &Self) -> Option<&'static str> {
        let same_arms = self.arms.len() == running.arms.len()
            && self.arms.iter().zip(&running.arms).all(|(new, old)| {
                (&new.name, &new.strategy, &new.parameters) == (&old.name, &old.strategy, &old.parameters)
            });
        let same_weights = self.arms.iter().zip(&running.arms).all(|(new, old)| new.weight == old.weight);
        [
            ("decision_point", self.decision_point == running.decision_point),
            ("unit", self.unit == running.unit),
            ("salt", self.salt == running.salt),
            ("slot", self.slot == running.slot),
            ("arms", same_arms),
            ("weight", same_weights),
        ]
        .into_iter()
        .find_map(|(key, same)| (!same).then_some(key))
    }
}

fn listed(arms: &[Arm]) -> String {
    arms.iter().map(|a| &*a.name).collect::<Vec<_>>().join(", ")
}

fn coverage(raw: &RawExperiment) -> Result<f64, String> {
    let in_range = |c: f64| (0.0..=1.0).contains(&c);
    match (raw.coverage, &raw.ramp) {
        (Some(_), Some(_)) => Err("coverage and ramp exclude each other: give one".to_owned()),
        (Some(c), None) if in_range(c) => Ok(c),
        (Some(c), None) => Err(format!("coverage = {c}; valid: a share of the slot, from 0 to 1")),
        (None, None) => Ok(1.0),
        (None, Some(steps)) => {
            let mut last = 0.0;
            for (i, step) in steps.iter().enumerate() {
                if !in_range(step.coverage) || step.coverage < last {
                    return Err(format!(
                        "ramp[{i}].coverage = {}; valid: shares from 0 to 1 that never fall",
                        step.coverage
                    ));
                }
                last = step.coverage;
                if let Some(hold) = &step.hold {
                    duration_ms(hold).map_err(|e| format!("ramp[{i}].hold: {e}"))?;
                }
                if let Some(gate) = step.gate.as_deref().filter(|g| !["fast", "non_inferior"].contains(g)) {
                    return Err(format!("ramp[{i}].gate = \"{gate}\"; valid: fast, non_inferior"));
                }
            }
            steps.first().map(|step| step.coverage).ok_or_else(|| "ramp has no steps".to_owned())
        }
    }
}

fn arms(raw: Vec<RawArm>, not_acted_upon: &mut Vec<String>) -> Result<Vec<Arm>, String> {
    let mut arms: Vec<Arm> = Vec::new();
    for (i, arm) in raw.into_iter().enumerate() {
        if !is_name(&arm.name) {
            return Err(format!("arms[{i}].name = \"{}\" is not a name; valid: {NAME_RULE}", arm.name));
        }
        let strategy = Pin::parse(&arm.strategy).map_err(|e| format!("arms[{i}].strategy: {e}"))?;
        match arm.mode.as_deref() {
            None => {}
            Some("shadow") => {
                if arm.weight.is_some() {
                    return Err(format!("arms[{i}]: a shadow arm has no weight; remove it"));
                }
                if let Some(sample) = arm.sample.filter(|sample| !(0.0..=1.0).contains(sample)) {
                    return Err(format!("arms[{i}].sample = {sample}; valid: a share from 0 to 1"));
                }
                not_acted_upon.push(format!("arms[{i}] '{}': shadow mode", arm.name));
                continue;
            }
            Some(mode) => return Err(format!("arms[{i}].mode = \"{mode}\"; valid: shadow, or leave it out")),
        }
        if arm.sample.is_some() {
            return Err(format!("arms[{i}].sample is for shadow arms"));
        }
        let Some(weight) = arm.weight.filter(|w| (0.0..=1.0).contains(w)) else {
            return Err(format!("arms[{i}] '{}': needs a weight from 0 to 1", arm.name));
        };
        if arms.iter().any(|known| *known.name == *arm.name) {
            return Err(format!("arms[{i}].name = \"{}\" is taken by another arm", arm.name));
        }
        arms.push(Arm { name: arm.name.into(), strategy, weight, parameters: arm.parameters });
    }
    let total: f64 = arms.iter().map(|arm| arm.weight).sum();
    if arms.is_empty() {
        return Err("no arms; add at least one [[arms]] with name, strategy and weight".to_owned());
    }
    if (total - 1.0).abs() > WEIGHT_TOLERANCE {
        return Err(format!("the arms' weights sum to {total}; valid: 1"));
    }
    Ok(arms)
}

fn check_texts(raw: &RawExperiment) -> Result<(), String> {
    let one_of = |key: String, value: &Option<String>, valid: &[&str]| match value.as_deref() {
        Some(text) if !valid.contains(&text) => Err(format!("{key} = \"{text}\"; valid: {}", valid.join(", "))),
        _ => Ok(()),
    };
    let duration = |key: String, value: &Option<String>| match value {
        Some(text) => duration_ms(text).map(drop).map_err(|e| format!("{key}: {e}")),
        None => Ok(()),
    };
    duration("min_duration".into(), &raw.min_duration)?;
    duration("max_duration".into(), &raw.max_duration)?;
    if let Some(share) = raw.holdback.filter(|h| !(0.0..1.0).contains(h)) {
        return Err(format!("holdback = {share}; valid: a share from 0 to below 1"));
    }
    for metric in &raw.metrics {
        let at = |key: &str| format!("metric '{}': {key}", metric.name);
        one_of(at("role"), &Some(metric.role.clone()), &["goal", "guardrail", "secondary"])?;
        one_of(at("source"), &metric.source, &["outcomes", "decisions", "exposures"])?;
        one_of(at("aggregate"), &metric.aggregate, &["any", "sum", "count", "mean", "ratio"])?;
        one_of(at("missing"), &metric.missing, &["zero", "drop"])?;
        one_of(at("direction"), &metric.direction, &["increase", "decrease"])?;
        one_of(at("population"), &metric.population, &["assigned", "exposed"])?;
        one_of(at("method"), &metric.method, &["asymptotic_cs", "fixed"])?;
        duration(at("window"), &metric.window)?;
        duration(at("lag"), &metric.lag)?;
        if let Some(cap) = metric.cap.filter(|cap| !cap.is_finite()) {
            return Err(at(&format!("cap = {cap}; valid: a finite number")));
        }
        if metric.alpha.is_some_and(|a| !(a > 0.0 && a < 1.0)) {
            return Err(at("alpha is not between 0 and 1"));
        }
    }
    for guardrail in &raw.guardrails {
        let at = |key: &str| format!("guardrail on '{}': {key}", guardrail.metric);
        one_of(at("on_breach"), &guardrail.on_breach, &["abort", "pause"])?;
        one_of(at("margin_type"), &guardrail.margin_type, &["absolute", "relative"])?;
        for (key, value) in [
            ("max_increase", guardrail.max_increase),
            ("max_decrease", guardrail.max_decrease),
            ("alarm", guardrail.alarm),
            ("alpha", guardrail.alpha),
        ] {
            if let Some(value) = value.filter(|x| !x.is_finite()) {
                return Err(at(&format!("{key} = {value}; valid: a finite number")));
            }
        }
        let known = ["failures", "fallbacks", "refusals", "slow"].contains(&guardrail.metric.as_str())
            || raw.metrics.iter().any(|m| m.name == guardrail.metric);
        if !known {
            return Err(at("no such metric; valid: failures, fallbacks, refusals, slow, or one of [[metrics]]"));
        }
    }
    for fairness in &raw.fairness {
        let at = |key: &str| format!("fairness on '{}': {key}", fairness.attribute);
        one_of(at("on_breach"), &fairness.on_breach, &["abort", "pause"])?;
        if let Some(ratio) = fairness.min_ratio.filter(|ratio| !(0.0..=1.0).contains(ratio)) {
            return Err(at(&format!("min_ratio = {ratio}; valid: a ratio from 0 to 1")));
        }
    }
    Ok(())
}

fn not_acted_upon(raw: &RawExperiment) -> Vec<String> {
    let mut list = Vec::new();
    let mut note = |is_there: bool, what: &str| {
        if is_there {
            list.push(what.to_owned());
        }
    };
    note(raw.ramp.as_ref().is_some_and(|r| r.len() > 1), "ramp: only its first step's coverage is in force");
    note(!raw.metrics.is_empty(), "metrics");
    note(!raw.guardrails.is_empty(), "guardrails");
    note(!raw.fairness.is_empty(), "fairness");
    note(!raw.notify.is_empty(), "notify");
    note(!raw.segments.is_empty(), "segments");
    note(raw.min_duration.is_some() || raw.max_duration.is_some(), "min_duration, max_duration");
    note(matches!(raw.on_success, Some(RawOnSuccess::Ship)), "on_success = \"ship\"");
    note(raw.holdback.is_some(), "holdback");
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "id = \"e\"\ndecision_point = \"d\"\ncoverage = 0.2\n[[arms]]\nname = \"a\"\nstrategy = \"p@1.0.0\"\nweight = 0.5\n[[arms]]\nname = \"b\"\nstrategy = \"q@1.1.0\"\nweight = 0.5\n";

    #[test]
    fn mistakes_are_named_with_what_is_valid() {
        assert!(Experiment::parse(GOOD).is_ok());
        for (from, to, needle) in [
            ("weight = 0.5\n[[", "weight = 0.6\n[[", "sum to 1.1"),
            ("p@1.0.0", "p@1", "an exact version"),
            ("p@1.0.0", "p", "has no version"),
            ("coverage = 0.2", "coverage = 1.2", "from 0 to 1"),
            ("coverage = 0.2", "slot = [0.5, 0.5]", "from < to"),
            ("coverage = 0.2", "coverge = 0.2", "unknown field `coverge`"),
            ("name = \"b\"", "name = \"a\"", "taken by another arm"),
            ("coverage = 0.2", "control = \"c\"", "arms: a, b"),
            ("coverage = 0.2", "coverage = nan", "from 0 to 1"),
        ] {
            let error = Experiment::parse(&GOOD.replacen(from, to, 1)).expect_err(to);
            assert!(error.contains(needle), "{to}: {error}");
        }
    }

    #[test]
    fn what_is_not_acted_upon_says_so() {
        let text = format!("{GOOD}[[guardrails]]\nmetric = \"failures\"\nmax_increase = 0.01\n");
        assert_eq!(Experiment::parse(&text).expect("valid").not_acted_upon, ["guardrails"]);
    }
}
