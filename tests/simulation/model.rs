//! What the host may do, as plainly as it can be said: statuses by the changes that the ledger
//! acknowledged, and units by the rows that it committed, all of them looked at each time.

use std::collections::{BTreeMap, BTreeSet};

use serin::ledger::TransitionRow;

/// A row that was committed, in the order of commits.
#[derive(Debug, Clone)]
pub enum Row {
    /// A decision about a unit; inside an experiment, its id and arm.
    Decision { id: String, unit: String, time_ms: u64, assigned: Option<(String, String)> },
    /// An outcome, and whether its decision was known when it was stored.
    Outcome { id: String, name: String, value: f64, at_ms: u64, received_ms: u64, about: About, is_known: bool },
    /// The reversal of an outcome.
    Reversal { id: String, reverses: String },
    /// An exposure to a decision.
    Exposure { decision: String, at_ms: u64, received_ms: u64 },
    /// A promise that all outcomes of a name up to a time were posted.
    Watermark { name: String, until_ms: u64, received_ms: u64 },
}

/// Whom an outcome is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum About {
    Unit(String),
    Decision(String),
}

/// An experiment's status.
#[derive(Debug, Clone)]
pub struct Status {
    pub state: String,
    pub generation: u64,
    pub phase: u32,
    pub step: usize,
    pub coverage: f64,
    pub withdrawn: bool,
    /// A person paused it, and nobody has let it go on since.
    pub is_held: bool,
    pub has_shipped: bool,
    /// The spec that a person decided on, although it loosens the rule.
    pub amended: Option<String>,
    /// Phase and coverage of every status that it had.
    pub recorded: Vec<(u32, f64)>,
}

impl Default for Status {
    fn default() -> Self {
        Self {
            state: "draft".to_owned(),
            generation: 0,
            phase: 0,
            step: 0,
            coverage: 0.0,
            withdrawn: false,
            is_held: false,
            has_shipped: false,
            amended: None,
            recorded: Vec::new(),
        }
    }
}

impl Status {
    pub fn takes_units(&self) -> bool {
        ["running", "paused", "shipped"].contains(&self.state.as_str())
    }

    /// Goes on with a change that the ledger has, if that is allowed.
    pub fn follow(&mut self, change: &TransitionRow, ramp: &[f64], judged: &BTreeSet<(u64, String)>) {
        let TransitionRow { generation, command, from, to, phase, by, .. } = change;
        assert_eq!((*generation, from), (self.generation + 1, &self.state), "{change:?} does not follow {self:?}");
        let is_host = by == "serin";
        let is_of_rule = change.evidence["changes"].is_array();
        let follows_a_file = ["start", "edit"].contains(&command.as_str());
        if is_host && !follows_a_file {
            let was_judged = judged.contains(&(self.generation, command.clone()));
            assert!(was_judged, "{command} of generation {generation} was judged on another generation");
            let goes_on = ["promote", "resume", "ship", "allocate"].contains(&command.as_str());
            assert!(!(self.is_held && goes_on), "the host's {command} after a person's pause: {change:?}");
        }
        let next = match (from.as_str(), command.as_str()) {
            ("draft", "start") | ("running" | "paused", "promote") | ("paused", "resume") => "running",
            ("running", "pause") | ("shipped", "reopen") => "paused",
            ("running" | "paused" | "shipped", "edit" | "amend") if is_of_rule => from,
            ("running" | "paused", "edit") => from,
            ("running", "ship") => "shipped",
            ("draft" | "running" | "paused" | "shipped", "abort") => "aborted",
            ("running" | "paused" | "shipped", "conclude") => "concluded",
            _ => panic!("{command} from {from} is not allowed"),
        };
        assert_eq!(to, next, "{command} from {from}");
        match command.as_str() {
            "start" => (self.phase, self.step) = (1, 0),
            "promote" => (self.phase, self.step) = (self.phase + 1, self.step + 1),
            // An edit of the rule leaves phase and coverage as they are, and so does a decision on one.
            "edit" | "amend" if is_of_rule => {}
            "edit" => self.phase += 1,
            "ship" => (self.phase, self.has_shipped) = (self.phase + 1, true),
            "reopen" => (self.phase, self.withdrawn) = (self.phase + 1, true),
            "resume" if self.withdrawn => {
                (self.phase, self.step, self.withdrawn) = (self.phase + 1, 0, false);
            }
            "pause" | "resume" | "abort" | "conclude" => {}
            other => panic!("unknown command {other}"),
        }
        if is_of_rule {
            let loosens = |change: &serde_json::Value| change["effect"] == "loosens";
            let loosens = change.evidence["changes"].as_array().is_some_and(|all| all.iter().any(loosens));
            let spec = Some(change.spec_digest.clone());
            let is_decided = command == "amend" || !loosens || self.amended == spec;
            assert!(is_decided, "the rule was loosened, and nobody decided: {change:?}");
            self.amended = spec.filter(|_| command == "amend");
        }
        self.is_held = match command.as_str() {
            "pause" => !is_host,
            "promote" | "resume" => false,
            _ => self.is_held,
        };
        self.state.clone_from(to);
        self.generation = *generation;
        self.coverage = match self.state.as_str() {
            _ if is_of_rule => self.coverage,
            _ if !self.takes_units() || self.withdrawn => 0.0,
            "shipped" => 1.0,
            _ => *ramp.get(self.step).or(ramp.last()).expect("a ramp has steps"),
        };
        assert_eq!(*phase, self.phase, "{change:?}");
        self.recorded.push((self.phase, self.coverage));
    }
}

/// What is known of one unit of an experiment.
#[derive(Debug, Clone, PartialEq)]
pub struct Unit {
    pub arm: String,
    pub entry_ms: u64,
    /// Position of the row of its entry.
    place: usize,
    /// Names and values of outcomes in the order of their rows, when they happened and were received.
    pub outcomes: Vec<(String, f64, u64, u64)>,
    /// When exposures happened and were received.
    pub exposures: Vec<(u64, u64)>,
}

/// The units of an experiment by all rows.
pub fn units(rows: &[Row], experiment: &str) -> BTreeMap<String, Unit> {
    let mut units: BTreeMap<String, Unit> = BTreeMap::new();
    let decision = |before: usize, id: &str| {
        rows[..before].iter().find_map(|row| match row {
            Row::Decision { id: known, unit, assigned, .. } if known == id => Some((unit, assigned)),
            _ => None,
        })
    };
    for (place, row) in rows.iter().enumerate() {
        match row {
            Row::Decision { unit, time_ms, assigned: Some((of, arm)), .. } if of == experiment => {
                units.entry(unit.clone()).or_insert_with(|| Unit {
                    arm: arm.clone(),
                    entry_ms: *time_ms,
                    place,
                    outcomes: Vec::new(),
                    exposures: Vec::new(),
                });
            }
            Row::Outcome { id, name, value, at_ms, received_ms, about, .. } => {
                let unit = match about {
                    About::Unit(unit) => Some(unit),
                    About::Decision(of) => decision(place, of).map(|(unit, _)| unit),
                };
                let reversed = rows.iter().any(|row| matches!(row, Row::Reversal { reverses, .. } if reverses == id));
                if let Some(unit) = unit.and_then(|unit| units.get_mut(unit)).filter(|_| !reversed) {
                    unit.outcomes.push((name.clone(), *value, *at_ms, *received_ms));
                }
            }
            Row::Exposure { decision: id, at_ms, received_ms } => {
                let unit = decision(place, id)
                    .filter(|(_, assigned)| assigned.as_ref().is_some_and(|(of, _)| of == experiment));
                if let Some(unit) = unit.and_then(|(unit, _)| units.get_mut(unit)) {
                    unit.exposures.push((*at_ms, *received_ms));
                }
            }
            Row::Decision { .. } | Row::Reversal { .. } | Row::Watermark { .. } => {}
        }
    }
    units
}

impl Unit {
    /// What a metric's aggregate makes of the outcomes of a name within a window, or of exposures, that
    /// were received before `cut_off_ms`.
    pub fn value(&self, name: Option<&str>, aggregate: &str, window_ms: u64, cut_off_ms: u64) -> f64 {
        let is_in = |at_ms: u64, received_ms: u64| {
            self.entry_ms <= at_ms && at_ms - self.entry_ms < window_ms && received_ms < cut_off_ms
        };
        let values: Vec<f64> = match name {
            Some(name) => self
                .outcomes
                .iter()
                .filter(|(of, _, at, received)| of == name && is_in(*at, *received))
                .map(|(_, value, ..)| *value)
                .collect(),
            None => self.exposures.iter().filter(|(at, received)| is_in(*at, *received)).map(|_| 1.0).collect(),
        };
        match aggregate {
            "sum" => values.iter().sum(),
            "count" => values.len() as f64,
            _ => f64::from(u8::from(values.iter().any(|value| *value != 0.0))),
        }
    }
}

/// What was seen of the world from outside.
#[derive(Debug, Default)]
pub struct Model {
    pub rows: Vec<Row>,
    pub statuses: BTreeMap<String, Status>,
    /// Generations and commands that the host judged, by experiment.
    pub judged: BTreeMap<String, BTreeSet<(u64, String)>>,
    /// The ramps of the specs, by digest.
    pub ramps: BTreeMap<String, Vec<f64>>,
}
