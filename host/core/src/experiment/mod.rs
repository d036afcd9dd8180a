//! Experiment files: as they are written, then validated.
//!
//! What a file may ask for and this version does not do is read and checked all the same, and
//! [`Experiment::not_acted_upon`] lists it, so that nothing pretends.

mod lifecycle;
mod metrics;
mod raw;

use indexmap::IndexMap;

pub use lifecycle::{Command, Evidence, Next, NotPossible, State, Status};
pub use metrics::{Aggregate, Guardrail, Margin, Measure, Method, Metric, Missing, Quantity, Role, Source, Watched};

use crate::manifest::duration_ms;
use crate::value::Value;
use crate::{NAME_RULE, Name, is_name};
use raw::{RawArm, RawExperiment, RawNotify, RawOnSuccess, RawStart};

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
    /// The steps of its coverage; one where it does not change.
    pub ramp: Vec<Step>,
    /// The arm that the others are compared with.
    pub control: Name,
    /// The arms that take units. Their weights sum to 1.
    pub arms: Vec<Arm>,
    /// What is measured.
    pub metrics: Vec<Metric>,
    /// What must not get worse.
    pub guardrails: Vec<Guardrail>,
    /// Who is told of what.
    pub notify: Vec<Hook>,
    /// What the file asks for and this version does not do.
    pub not_acted_upon: Vec<String>,
    /// SHA-256 of the file.
    pub digest: Name,
}

/// A webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// Where to.
    pub url: String,
    /// Of what it is told.
    pub events: Vec<NotifyEvent>,
    /// The environment variable with the secret that messages are signed with.
    pub secret_env: Option<String>,
}

/// Of what a webhook may be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotifyEvent {
    /// The host stopped an experiment, or its ramp, for what it did.
    Breach,
    /// It started, went on to another step, was paused or resumed.
    Phase,
    /// What follows from it has changed, or it was ended by hand.
    Verdict,
}

impl NotifyEvent {
    /// The name in files and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Breach => "breach",
            Self::Phase => "phase",
            Self::Verdict => "verdict",
        }
    }
}

/// A step of a ramp.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// The share of the slot in use.
    pub coverage: f64,
    /// How long it lasts at least, in milliseconds.
    pub hold_ms: u64,
    /// Units that have entered before it is left.
    pub min_units: u64,
    /// What has to be shown before it is left.
    pub gate: Gate,
}

/// What a ramp's step has to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// Nothing.
    None,
    /// That no guardrail shows harm.
    Fast,
    /// That every guardrail holds, on matured outcomes.
    NonInferior,
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
        let ramp = ramp(&raw)?;
        if raw.allocation.is_some() {
            return Err("allocation: bandit allocation is not supported yet; give each arm a weight".to_owned());
        }
        let mut metrics: Vec<Metric> = Vec::with_capacity(raw.metrics.len());
        for metric in &raw.metrics {
            if metrics.iter().any(|known| *known.name == *metric.name) {
                return Err(format!("metric '{}': the name is taken by another metric", metric.name));
            }
            metrics.push(Metric::of(metric)?);
        }
        let guardrails = raw.guardrails.iter().map(|g| Guardrail::of(g, &metrics)).collect::<Result<_, _>>()?;
        let notify = raw.notify.into_iter().enumerate().map(hook).collect::<Result<_, _>>()?;
        let arms = arms(raw.arms, &mut not_acted_upon)?;
        if let Some(control) = &raw.control
            && !arms.iter().any(|arm| *arm.name == **control)
        {
            return Err(format!("control = \"{control}\" is not an arm; arms: {}", listed(&arms)));
        }
        // The first arm is compared with, unless the file names another.
        let control = raw.control.map_or_else(|| arms[0].name.clone(), Into::into);
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
            ramp,
            control,
            arms,
            metrics,
            guardrails,
            notify,
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

fn hook((i, raw): (usize, RawNotify)) -> Result<Hook, String> {
    if !(raw.url.starts_with("http://") || raw.url.starts_with("https://")) {
        return Err(format!("notify[{i}].url = \"{}\"; valid: http://… or https://…", raw.url));
    }
    let event = |text: &String| match text.as_str() {
        "breach" => Ok(NotifyEvent::Breach),
        "phase" => Ok(NotifyEvent::Phase),
        "verdict" => Ok(NotifyEvent::Verdict),
        other => Err(format!("notify[{i}].events: \"{other}\"; valid: breach, phase, verdict")),
    };
    let events = raw.events.iter().map(event).collect::<Result<_, _>>()?;
    Ok(Hook { url: raw.url, events, secret_env: raw.secret_env })
}

fn ramp(raw: &RawExperiment) -> Result<Vec<Step>, String> {
    let in_range = |c: f64| (0.0..=1.0).contains(&c);
    let fixed = |coverage| vec![Step { coverage, hold_ms: 0, min_units: 0, gate: Gate::None }];
    let steps = match (raw.coverage, &raw.ramp) {
        (Some(_), Some(_)) => return Err("coverage and ramp exclude each other: give one".to_owned()),
        (Some(c), None) if in_range(c) => return Ok(fixed(c)),
        (Some(c), None) => return Err(format!("coverage = {c}; valid: a share of the slot, from 0 to 1")),
        (None, None) => return Ok(fixed(1.0)),
        (None, Some(steps)) => steps,
    };
    let mut ramp: Vec<Step> = Vec::with_capacity(steps.len());
    for (i, step) in steps.iter().enumerate() {
        let last = ramp.last().map_or(0.0, |step| step.coverage);
        if !in_range(step.coverage) || step.coverage < last {
            return Err(format!("ramp[{i}].coverage = {}; valid: shares from 0 to 1 that never fall", step.coverage));
        }
        let hold = step.hold.as_deref().map(duration_ms).transpose();
        ramp.push(Step {
            coverage: step.coverage,
            hold_ms: hold.map_err(|e| format!("ramp[{i}].hold: {e}"))?.unwrap_or(0),
            min_units: step.min_units.unwrap_or(0),
            gate: match step.gate.as_deref() {
                None => Gate::None,
                Some("fast") => Gate::Fast,
                Some("non_inferior") => Gate::NonInferior,
                Some(gate) => return Err(format!("ramp[{i}].gate = \"{gate}\"; valid: fast, non_inferior")),
            },
        });
    }
    if ramp.is_empty() { Err("ramp has no steps".to_owned()) } else { Ok(ramp) }
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
    for metric in &raw.metrics {
        note(metric.cuped.as_ref().is_some_and(|names| !names.is_empty()), &format!("metric '{}': cuped", metric.name));
        let exposed = metric.population.as_deref() == Some("exposed");
        note(exposed, &format!("metric '{}': population = \"exposed\"", metric.name));
    }
    note(!raw.fairness.is_empty(), "fairness");
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
        let text = format!(
            "{GOOD}[[fairness]]\nattribute = \"features.m.a\"\nreference = \"b\"\nadverse_actions = [\"call\"]\n"
        );
        assert_eq!(Experiment::parse(&text).expect("valid").not_acted_upon, ["fairness"]);
    }

    #[test]
    fn metrics_and_guardrails_are_validated() {
        let goal =
            "[[metrics]]\nname = \"cured\"\nrole = \"goal\"\noutcome = \"cured\"\nwindow = \"14d\"\nlag = \"2d\"\n";
        let rail = "[[guardrails]]\nmetric = \"failures\"\nmax_increase = 0.01\n";
        let spec = Experiment::parse(&format!("{GOOD}{goal}{rail}")).expect("valid");
        assert_eq!(spec.metrics[0].mature_ms(1000), 1000 + 16 * 24 * 3_600_000);
        assert_eq!((spec.guardrails[0].alpha, spec.guardrails[0].min_units), (0.01, 300));
        assert_eq!(&*spec.control, "a", "the first arm, where none is named");
        for (from, to, needle) in [
            ("window = \"14d\"\n", "", "window: needed"),
            ("outcome = \"cured\"", "", "outcome: needed"),
            ("role = \"goal\"", "role = \"gaol\"", "valid: goal, guardrail, secondary"),
            ("lag = \"2d\"", "aggregate = \"ratio\"", "numerator.*: needed"),
            ("lag = \"2d\"", "aggregate = \"median\"", "valid: any, sum, count, mean, ratio"),
            ("lag = \"2d\"", "alpha = 0.6", "above 0 and below 0.5"),
            ("lag = \"2d\"", "planned_units = 0", "a number from 1"),
            ("metric = \"failures\"", "metric = \"slow\"", "threshold: needed"),
            ("metric = \"failures\"", "metric = \"crashes\"", "no such metric"),
            ("max_increase = 0.01", "", "give one of max_increase"),
            ("max_increase = 0.01", "max_increase = -1.0", "a finite number from 0"),
            ("max_increase = 0.01", "max_decrease = 0.01", "fewer of these is no harm"),
        ] {
            let error = Experiment::parse(&format!("{GOOD}{goal}{rail}").replacen(from, to, 1)).expect_err(to);
            assert!(error.contains(needle), "{to}: {error}");
        }
    }
}
