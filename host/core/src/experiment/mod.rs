//! Experiment files: parsing and validation, and the validated types.

mod addresses;
mod advice;
mod amendment;
#[cfg(test)]
mod amendment_tests;
mod arms;
mod attribute;
mod fairness;
mod guardrails;
mod lifecycle;
#[cfg(test)]
mod lifecycle_tests;
mod locate;
mod metrics;
mod possible;
mod ramp;
mod raw;

pub use addresses::without_addresses;
pub use amendment::{Declared, Effect, RuleChange, between, described, fairness_keys, guardrail_keys};
pub use arms::{Allocation, Arm, Pin, Shadow};
pub use attribute::Attribute;
pub use fairness::{Fairness, MAX_FAIRNESS};
pub use guardrails::{Guardrail, Margin, OnBreach, Watched};
pub use lifecycle::{Command, Evidence, Next, NotPossible, State, Status};
pub use metrics::{Aggregate, Measure, Method, Metric, Missing, PLANNED_UNITS, Quantity, Role, Source};

pub use ramp::{Gate, Step};

use crate::manifest::duration_ms;
use crate::{NAME_RULE, Name, is_name};
use metrics::one_of;
use raw::{RawExperiment, RawNotify};

/// The longest message about a file, in bytes.
const MAX_MESSAGE: usize = 2000;

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
    /// The randomization unit, if the file names it.
    pub unit: Option<Name>,
    /// The part `[from, to)` of the layer that it may ever use.
    pub slot: [f64; 2],
    /// Salt of the split into arms.
    pub salt: String,
    /// Whether it waits for a command to start.
    pub manual_start: bool,
    /// Who may enter, in CEL.
    pub eligible: Option<String>,
    /// The steps of its coverage; a single one if coverage is constant.
    pub ramp: Vec<Step>,
    /// The arm that the others are compared with.
    pub control: Name,
    /// The arms that take units, in the file's order. Their weights sum to 1.
    pub arms: Vec<Arm>,
    /// The shadow arms.
    pub shadows: Vec<Shadow>,
    /// Adaptive shares; none if the weights are fixed.
    pub allocation: Option<Allocation>,
    /// The metrics.
    pub metrics: Vec<Metric>,
    /// The guardrails.
    pub guardrails: Vec<Guardrail>,
    /// The fairness guardrails.
    pub fairness: Vec<Fairness>,
    /// The attributes by which goals are broken down.
    pub segments: Vec<Attribute>,
    /// It has no winner before it has run this long, in milliseconds.
    pub min_duration_ms: u64,
    /// The host concludes it after this long, in milliseconds.
    pub max_duration_ms: Option<u64>,
    /// Whether the host ships a winner, to the whole slot except the holdback.
    pub ships: bool,
    /// The share of the slot that a shipped winner leaves with control.
    pub holdback: f64,
    /// Whether it may use a slot with carry-over effects of an ended experiment.
    pub reuse_slot: bool,
    /// The webhooks.
    pub notify: Vec<Hook>,
    /// SHA-256 of the file.
    pub digest: Name,
    /// The file's text.
    pub text: Box<str>,
}

/// A webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// The address.
    pub url: String,
    /// The events that are posted.
    pub events: Vec<NotifyEvent>,
    /// The environment variable with the secret that messages are signed with.
    pub secret_env: Option<String>,
}

/// An event for webhooks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotifyEvent {
    /// The host stopped an experiment or its ramp because of harm or a mismatch.
    Breach,
    /// It started, was promoted, paused or resumed.
    Phase,
    /// Its verdict changed, or a person ended it.
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

impl Experiment {
    /// Whether units are observed and analysed by this spec as by another one, whoever owns it, however
    /// it ramps, and whatever follows from a verdict.
    pub fn is_analysed_as(&self, other: &Self) -> bool {
        let analysed = |spec: &Self| {
            let Self { salt, control, arms, metrics, guardrails, fairness, segments, holdback, unit, .. } =
                spec.clone();
            (salt, control, arms, metrics, guardrails, fairness, segments, holdback, unit)
        };
        analysed(self) == analysed(other)
    }

    /// Parses and validates the text of an experiment file.
    ///
    /// # Errors
    /// The first mistake: its line, its key, and what is valid.
    pub fn parse(text: &str) -> Result<Self, String> {
        crate::meet_defect(text.as_bytes());
        let parsed = toml::from_str(text).map_err(|e| crate::toml_message(&e, text));
        let valid = parsed.and_then(|raw| Self::of(raw, text).map_err(|why| locate::located(text, why)));
        // A message may quote the file, and a line of it can have up to a megabyte.
        valid.map_err(|why| crate::clipped(&crate::without_tokens(&why), MAX_MESSAGE).into_owned())
    }

    fn of(raw: RawExperiment, text: &str) -> Result<Self, String> {
        if !is_name(&raw.id) {
            return Err(format!("id = \"{}\" is not a name; valid: {NAME_RULE}", raw.id));
        }
        bounded(&raw)?;
        let slot = slot(&raw)?;
        let ramp = ramp::ramp(&raw)?;
        let mut metrics = metrics(&raw)?;
        let guardrails = guardrails::all(&raw, &mut metrics)?;
        let fairness = fairness(&raw)?;
        let segments = raw.segments.iter().map(|text| Attribute::parse(text));
        let segments = segments.collect::<Result<_, _>>().map_err(|e| format!("segments: {e}"))?;
        let (min_duration_ms, max_duration_ms) = durations(&raw)?;
        let arms::Arms { mut arms, shadows } = arms::arms(raw.arms, raw.allocation.is_some())?;
        if let Some(control) = &raw.control
            && !arms.iter().any(|arm| *arm.name == **control)
        {
            return Err(format!("control = \"{control}\" is not an arm; arms: {}", listed(&arms)));
        }
        // The first arm is control, unless the file names another.
        let control: Name = raw.control.map_or_else(|| arms[0].name.clone(), Into::into);
        let allocation = raw.allocation.map(|raw| Allocation::of(&raw, &metrics, &mut arms, &control)).transpose()?;
        let manual_start = one_of("start".to_owned(), raw.start.as_deref(), &[("on_apply", false), ("manual", true)])?;
        let ships = ships(raw.on_success.as_deref(), allocation.is_some())?;
        let holdback = holdback(raw.holdback, &arms, &control)?;
        let notify = raw.notify.into_iter().enumerate().map(hook).collect::<Result<_, _>>()?;
        let spec = Self {
            decision_point: raw.decision_point.into(),
            owner: raw.owner,
            description: raw.description,
            unit: raw.unit.map(Into::into),
            slot,
            salt: raw.salt.unwrap_or_else(|| raw.id.clone()),
            id: raw.id.into(),
            manual_start,
            eligible: raw.eligible,
            ramp,
            control,
            arms,
            shadows,
            allocation,
            metrics,
            guardrails,
            fairness,
            segments,
            min_duration_ms,
            max_duration_ms,
            ships,
            holdback,
            reuse_slot: raw.reuse_slot,
            notify,
            digest: crate::digest(text.as_bytes()).into(),
            text: text.into(),
        };
        match spec.gate_without_guardrails() {
            Some(why) => Err(why),
            None => Ok(spec),
        }
    }
}

impl Experiment {
    /// The attributes of a unit that the analysis uses: covariates, segments and fairness groups,
    /// each once, in this order.
    pub fn attributes(&self) -> Vec<Attribute> {
        let covariates = self.metrics.iter().flat_map(|metric| &metric.cuped);
        let groups = self.segments.iter().chain(self.fairness.iter().map(|fairness| &fairness.attribute));
        let mut all: Vec<Attribute> = Vec::new();
        for attribute in covariates.chain(groups) {
            if !all.contains(attribute) {
                all.push(attribute.clone());
            }
        }
        all
    }

    /// The longest time from a unit's entry to its maturity, in milliseconds. Carry-over effects
    /// are taken to last as long.
    pub fn longest_ms(&self) -> u64 {
        self.metrics.iter().map(|metric| metric.mature_ms(0)).max().unwrap_or(0)
    }

    /// The window of an allocation's reward, in milliseconds; none if shares are fixed. A unit keeps
    /// its arm until it has closed.
    pub fn reward_window_ms(&self) -> Option<u64> {
        self.allocation.as_ref().map(|allocation| self.metrics[allocation.metric].window_ms)
    }

    /// Position of the control.
    pub fn control_at(&self) -> usize {
        self.arms.iter().position(|arm| arm.name == self.control).unwrap_or(0)
    }
}

impl Experiment {
    /// The first key that differs from the running spec and is fixed while it runs, because a
    /// change would move enrolled units or mix two populations.
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
            ("control", self.control == running.control),
            ("arms", same_arms),
            ("weight", same_weights),
            ("allocation", self.allocation == running.allocation),
            ("the window of allocation.metric", self.reward_window_ms() == running.reward_window_ms()),
            ("holdback", self.holdback == running.holdback),
            // Eligibility is evaluated for each decision: another rule would drop enrolled units.
            ("eligible", self.eligible == running.eligible),
        ]
        .into_iter()
        .find_map(|(key, same)| (!same).then_some(key))
    }
}

/// Checks the lengths of lists. Names are searched linearly, and an analysis visits every entry.
fn bounded(raw: &RawExperiment) -> Result<(), String> {
    let lists = [
        ("arms", raw.arms.len(), 64),
        ("ramp", raw.ramp.as_ref().map_or(0, Vec::len), 128),
        ("metrics", raw.metrics.len(), 128),
        ("guardrails", raw.guardrails.len(), 128),
        ("segments", raw.segments.len(), 32),
        ("notify", raw.notify.len(), 32),
    ];
    match lists.into_iter().find(|(_, many, most)| many > most) {
        Some((key, many, most)) => Err(format!("{key}: {many} of them; at most {most}")),
        None => Ok(()),
    }
}

fn listed(arms: &[Arm]) -> String {
    arms.iter().map(|a| &*a.name).collect::<Vec<_>>().join(", ")
}

fn hook((i, raw): (usize, RawNotify)) -> Result<Hook, String> {
    if !(raw.url.starts_with("http://") || raw.url.starts_with("https://")) {
        // Without the address, which may contain a secret: errors are shown and logged.
        return Err(format!("notify[{i}].url: valid: http://… or https://…"));
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

fn fairness(raw: &RawExperiment) -> Result<Vec<Fairness>, String> {
    match raw.fairness.len() {
        0..=MAX_FAIRNESS => raw.fairness.iter().map(Fairness::of).collect(),
        many => Err(format!("fairness: {many} of them; at most {MAX_FAIRNESS}")),
    }
}

/// Whether a winner ships.
fn ships(on_success: Option<&str>, is_allocated: bool) -> Result<bool, String> {
    match one_of("on_success".to_owned(), on_success, &[("hold", false), ("ship", true)])? {
        true if is_allocated => {
            Err("on_success = \"ship\" is for fixed weights; with allocation, the shares are the ramp".to_owned())
        }
        ships => Ok(ships),
    }
}

/// The slot; the whole layer if the file names none.
fn slot(raw: &RawExperiment) -> Result<[f64; 2], String> {
    let slot = raw.slot.unwrap_or([0.0, 1.0]);
    if !(0.0 <= slot[0] && slot[0] < slot[1] && slot[1] <= 1.0) {
        return Err(format!("slot = {slot:?}; valid: [from, to) with 0 <= from < to <= 1"));
    }
    Ok(slot)
}

fn metrics(raw: &RawExperiment) -> Result<Vec<Metric>, String> {
    let mut metrics: Vec<Metric> = Vec::with_capacity(raw.metrics.len());
    for metric in &raw.metrics {
        if metrics.iter().any(|known| *known.name == *metric.name) {
            return Err(format!("metric '{}': the name is taken by another metric", metric.name));
        }
        metrics.push(Metric::of(metric)?);
    }
    Ok(metrics)
}

/// The holdback, limited to control's weight so that no unit moves from the winner to control.
fn holdback(raw: Option<f64>, arms: &[Arm], control: &Name) -> Result<f64, String> {
    let of_control = arms.iter().find(|arm| arm.name == *control).map_or(0.0, |arm| arm.weight);
    let holdback = raw.unwrap_or(0.0);
    if !(0.0..=of_control).contains(&holdback) {
        return Err(format!("holdback = {holdback}; valid: from 0 to control's weight, {of_control}"));
    }
    Ok(holdback)
}

fn durations(raw: &RawExperiment) -> Result<(u64, Option<u64>), String> {
    let read = |key: &str, text: &Option<String>| {
        text.as_deref().map(|text| duration_ms(text).map_err(|e| format!("{key}: {e}"))).transpose()
    };
    let least = read("min_duration", &raw.min_duration)?.unwrap_or(0);
    let most = read("max_duration", &raw.max_duration)?;
    match most {
        Some(most) if most < least => Err("max_duration is below min_duration".to_owned()),
        Some(0) => Err("max_duration = 0; valid: a duration like 90d".to_owned()),
        most => Ok((least, most)),
    }
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
            ("coverage = 0.2", "start = \"later\"", "start = \"later\"; valid: on_apply, manual"),
            ("coverage = 0.2", "on_success = \"win\"", "on_success = \"win\"; valid: hold, ship"),
        ] {
            let error = Experiment::parse(&GOOD.replacen(from, to, 1)).expect_err(to);
            assert!(error.contains(needle), "{to}: {error}");
        }
    }

    #[test]
    fn a_winner_ships_less_a_part_of_control() {
        let ship = GOOD.replace("coverage = 0.2", "on_success = \"ship\"\nholdback = 0.1\nmin_duration = \"14d\"");
        let spec = Experiment::parse(&ship).expect("valid");
        assert_eq!((spec.ships, spec.holdback, spec.min_duration_ms), (true, 0.1, 14 * 86_400_000));
        for (from, to, needle) in [
            ("holdback = 0.1", "holdback = 0.6", "to control's weight, 0.5"),
            ("min_duration = \"14d\"", "min_duration = \"14d\"\nmax_duration = \"7d\"", "below min_duration"),
            ("min_duration = \"14d\"", "min_duration = \"soon\"", "min_duration:"),
        ] {
            let error = Experiment::parse(&ship.replacen(from, to, 1)).expect_err(to);
            assert!(error.contains(needle), "{to}: {error}");
        }
    }

    #[test]
    fn what_is_looked_at_of_a_unit_is_gathered_once() {
        let text = format!(
            "segments = [\"context.stage\"]\n{GOOD}\
             [[metrics]]\nname = \"m\"\nrole = \"goal\"\noutcome = \"cured\"\nwindow = \"1d\"\ncuped = [\"features.v.dti\"]\n\
             [[fairness]]\nattribute = \"features.m.age\"\nreference = \"b\"\nadverse_actions = [\"call\"]\n\
             [[fairness]]\nattribute = \"context.stage\"\nreference = \"early\"\nadverse_actions = [\"call\"]\n"
        );
        let spec = Experiment::parse(&text).expect("valid");
        let all: Vec<String> = spec.attributes().iter().map(ToString::to_string).collect();
        assert_eq!(all, ["features.v.dti", "context.stage", "features.m.age"]);
        for (from, to, needle) in [
            ("context.stage\"]", "stage\"]", "valid: features.VIEW.NAME or context.NAME"),
            ("features.v.dti", "features.v", "cuped: \"features.v\""),
            ("adverse_actions = [\"call\"]", "adverse_actions = []", "name at least one action"),
            ("reference = \"b\"", "reference = \"b\"\nmin_ratio = 1.5", "a ratio above 0"),
        ] {
            let error = Experiment::parse(&text.replacen(from, to, 1)).expect_err(to);
            assert!(error.contains(needle), "{to}: {error}");
        }
    }

    #[test]
    fn an_allocation_takes_the_place_of_weights() {
        let arms = ["a", "b", "c"].map(|arm| format!("[[arms]]\nname = \"{arm}\"\nstrategy = \"p@1.0.0\"\n")).concat();
        let text = format!(
            "id = \"e\"\ndecision_point = \"d\"\n\
             allocation = {{ policy = \"thompson\", metric = \"m\", update_every = \"1d\", floor = 0.05, control_share = 0.2 }}\n{arms}\
             [[metrics]]\nname = \"m\"\nrole = \"goal\"\noutcome = \"cured\"\nwindow = \"1d\"\n"
        );
        let spec = Experiment::parse(&text).expect("valid");
        assert_eq!(spec.arms.iter().map(|arm| arm.weight).collect::<Vec<_>>(), [0.2, 0.4, 0.4]);
        for (from, to, needle) in [
            ("thompson", "ucb", "valid: thompson"),
            ("metric = \"m\", up", "metric = \"n\", up", "no ratio: m"),
            ("floor = 0.05", "floor = 0.5", "up to 0.4000"),
            ("name = \"a\"", "name = \"a\"\nweight = 0.5", "takes the place of weights"),
            ("update_every = \"1d\"", "update_every = \"1ms\"", "from 1s"),
            ("window =", "cuped = [\"features.v.dti\"]\nwindow =", "'m' is adjusted for covariates (cuped). With"),
            (
                "[[metrics]]",
                "[[metrics]]\nname = \"r\"\nrole = \"goal\"\noutcome = \"cured\"\naggregate = \"mean\"\nwindow = \"1d\"\n[[metrics]]",
                "'r' is a ratio or a mean, which is one of two sums. With",
            ),
        ] {
            let error = Experiment::parse(&text.replacen(from, to, 1)).expect_err(to);
            assert!(error.contains(needle), "{to}: {error}");
        }
        let edited = Experiment::parse(&text.replace("window = \"1d\"", "window = \"2d\"")).expect("valid");
        assert_eq!(edited.fixed_key_changed(&spec), Some("the window of allocation.metric"));
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
            ("lag = \"2d\"", "prior_sd = 0.0", "a finite number above 0"),
            ("lag = \"2d\"", "prior_sd = inf", "a finite number above 0"),
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
