//! The lifecycle of an experiment: a state machine driven by commands, with the time as an input.
//!
//! The spec is the user's and says what should happen. The status is the host's and says how far it
//! has got. Only a [`Command`] changes a status, whether a person or the host gives it. Each change
//! increments the generation, so two concurrent changes of the same status cannot both succeed.

use serde::{Deserialize, Serialize};

use super::Experiment;
use super::amendment::Declared;
use crate::Name;
use crate::numbers::{grouped, percent};

/// The state of an experiment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Not started; takes no units.
    Draft,
    /// Takes units, and its ramp advances.
    Running,
    /// Takes units at the current coverage; its ramp does not advance.
    Paused,
    /// Ended for harm, or by a person. New decisions use the pinned strategy.
    Aborted,
    /// The winner serves the whole slot except the holdback, until the pin is edited.
    Shipped,
    /// Ended with a winner. New decisions use the pinned strategy.
    Concluded,
}

impl State {
    /// The name in answers, files and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Aborted => "aborted",
            Self::Shipped => "shipped",
            Self::Concluded => "concluded",
        }
    }

    /// The state of this name.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Draft, Self::Running, Self::Paused, Self::Aborted, Self::Shipped, Self::Concluded]
            .into_iter()
            .find(|state| state.as_str() == text)
    }

    /// Says whether new units may enter and enrolled ones stay in.
    pub fn takes_units(self) -> bool {
        matches!(self, Self::Running | Self::Paused | Self::Shipped)
    }

    /// Says whether it is a final state.
    pub fn is_ended(self) -> bool {
        matches!(self, Self::Aborted | Self::Concluded)
    }
}

/// The status of an experiment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Its state.
    pub state: State,
    /// The phase, counted from 1; 0 before the start.
    pub phase: u32,
    /// Position of the current ramp step.
    pub step: usize,
    /// When the state or the step was entered, in milliseconds since the Unix epoch.
    pub since_ms: u64,
    /// When it started, in milliseconds since the Unix epoch; none in a draft.
    pub started_ms: Option<u64>,
    /// When it ended, in milliseconds since the Unix epoch.
    pub ended_ms: Option<u64>,
    /// The winner; none unless it is shipped or concluded.
    pub winner: Option<Name>,
    /// The decision point's pin when the winner shipped: the version and its parameters as JSON.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub pin: Option<String>,
    /// The arm that was shipped, also if it was withdrawn since; none once a person resumed it. Units that
    /// moved to it are in no arm's results.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub served: Option<Name>,
    /// When the winner was shipped, in milliseconds since the Unix epoch.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub shipped_ms: Option<u64>,
    /// When a person resumed it after its winner was withdrawn, in milliseconds since the Unix epoch.
    /// Units that entered before are in no arm's results.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub resumed_ms: Option<u64>,
    /// SHA-256 of the spec whose rule is in force: the one at the start, or of the last edit of the
    /// rule that was recorded.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rule: Option<Name>,
    /// What was declared at the start; none in a draft, and in a status of an earlier version.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub declared: Option<Declared>,
    /// SHA-256 of an edited file that a person decided on, although it loosens the rule.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub amended: Option<Name>,
    /// The host withdrew a shipped winner; the experiment takes no units.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub withdrawn: bool,
    /// The arms that were dropped for harm: their units get control's strategy.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub dropped: Vec<Name>,
    /// The arms' shares by batch; empty if shares are fixed.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub batches: Vec<Vec<f64>>,
    /// When the last batch began, in milliseconds since the Unix epoch.
    #[serde(default)]
    pub batch_ms: u64,
    /// The share of the slot in use, as it was applied.
    pub applied: f64,
    /// The number of changes so far.
    pub generation: u64,
}

/// A command: changes a status.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Starts at the ramp's first step.
    Start,
    /// Advances to the ramp's next step.
    Promote,
    /// Stops the ramp at its current step.
    Pause,
    /// Lets the ramp advance again.
    Resume,
    /// Applies another coverage from the edited file: a new phase.
    Edit,
    /// Puts an edited rule in force: the file's metrics, guardrails or durations.
    EditRule {
        /// What is left of what was declared at the start.
        declared: Declared,
    },
    /// Decides that an edited file may be applied although it loosens the rule.
    Amend,
    /// Starts another batch with new shares.
    Allocate {
        /// The arms' shares.
        weights: Vec<f64>,
    },
    /// Gives the units of an arm control's strategy, and takes them out of the analysis.
    Drop {
        /// The arm.
        arm: Name,
    },
    /// Lets the winner serve the slot except the holdback.
    Ship {
        /// The arm.
        winner: Name,
        /// What the decision point is pinned to.
        pin: String,
    },
    /// Withdraws a shipped winner: all units get the pinned strategy, and a person decides what
    /// follows.
    Reopen,
    /// Ends it: all units get the pinned strategy.
    Abort,
    /// Ends it with a winner.
    Conclude {
        /// The arm.
        winner: Name,
    },
}

impl Command {
    /// The name in paths, on the command line and in the ledger.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Promote => "promote",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Edit | Self::EditRule { .. } => "edit",
            Self::Amend => "amend",
            Self::Allocate { .. } => "allocate",
            Self::Drop { .. } => "drop",
            Self::Ship { .. } => "ship",
            Self::Reopen => "reopen",
            Self::Abort => "abort",
            Self::Conclude { .. } => "conclude",
        }
    }
}

/// What a state says to a command: that it is so already, or that it cannot be.
fn already(state: &str, command: &str) -> String {
    match (command, state) {
        ("abort", "aborted") | ("pause", "paused") | ("conclude", "concluded") | ("start" | "resume", "running") => {
            " already".to_owned()
        }
        _ => format!(", and cannot {command}"),
    }
}

/// Why a command was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotPossible {
    /// The state does not allow it.
    #[error("the experiment is {state}{}; possible: {possible}", already(state, command))]
    State {
        /// The state.
        state: &'static str,
        /// The command.
        command: &'static str,
        /// The possible commands.
        possible: String,
    },
    /// The ramp has no further step.
    #[error("the ramp is at its last step, {step} of {step}; nothing is left to promote to")]
    LastStep {
        /// The step, from 1.
        step: usize,
    },
    /// No arm of this name.
    #[error("winner = \"{winner}\" is not an arm; arms: {arms}")]
    UnknownArm {
        /// The requested winner.
        winner: String,
        /// The experiment's arms.
        arms: String,
    },
}

impl Default for Status {
    fn default() -> Self {
        Self {
            state: State::Draft,
            phase: 0,
            step: 0,
            since_ms: 0,
            started_ms: None,
            ended_ms: None,
            winner: None,
            pin: None,
            served: None,
            shipped_ms: None,
            resumed_ms: None,
            rule: None,
            declared: None,
            amended: None,
            withdrawn: false,
            dropped: Vec::new(),
            batches: Vec::new(),
            batch_ms: 0,
            applied: 0.0,
            generation: 0,
        }
    }
}

impl Status {
    /// The share of its slot in use now, from 0 to 1.
    pub fn coverage(&self, spec: &Experiment) -> f64 {
        if !self.state.takes_units() || self.withdrawn {
            return 0.0;
        }
        if self.state == State::Shipped {
            return 1.0;
        }
        // An edit may have removed the current step.
        spec.ramp.get(self.step).or(spec.ramp.last()).map_or(0.0, |step| step.coverage)
    }

    /// The arms' shares of units that enter now, in the spec's order.
    pub fn weights(&self, spec: &Experiment) -> Vec<f64> {
        self.batches.last().cloned().unwrap_or_else(|| spec.arms.iter().map(|arm| arm.weight).collect())
    }

    /// Position of the current batch; none if shares are fixed.
    pub fn batch(&self) -> Option<u32> {
        self.batches.len().checked_sub(1).and_then(|batch| u32::try_from(batch).ok())
    }

    /// The status after `command` at `now_ms`, in milliseconds since the Unix epoch. If the clock
    /// went back, the time of the last change is used.
    ///
    /// # Errors
    /// Why it cannot be carried out, and what is possible.
    pub fn after(&self, command: &Command, spec: &Experiment, now_ms: u64) -> Result<Self, NotPossible> {
        let now_ms = now_ms.max(self.since_ms);
        let next = Self { since_ms: now_ms, generation: self.generation + 1, ..self.clone() };
        if let Some(next) = self.with_rule(command, spec) {
            return Ok(next);
        }
        let next = match (self.state, command) {
            (State::Draft, Command::Start) => {
                let batches = spec.allocation.iter().map(|_| self.weights(spec)).collect();
                let (phase, started_ms) = (1, Some(now_ms));
                let (rule, declared) = (Some(spec.digest.clone()), Some(Declared::of(spec)));
                Ok(Self { state: State::Running, phase, started_ms, batches, batch_ms: now_ms, rule, declared, ..next })
            }
            (State::Running | State::Paused, Command::Promote) if !self.withdrawn => {
                let step = self.step + 1;
                match spec.ramp.get(step) {
                    Some(_) => Ok(Self { state: State::Running, phase: self.phase + 1, step, ..next }),
                    None => Err(NotPossible::LastStep { step: spec.ramp.len() }),
                }
            }
            (State::Running | State::Paused, Command::Edit) => Ok(Self { phase: self.phase + 1, ..next }),
            (State::Running | State::Paused, Command::Allocate { weights }) => {
                let mut batches = self.batches.clone();
                batches.push(weights.clone());
                // The ramp step is unaffected.
                Ok(Self { batches, batch_ms: now_ms, since_ms: self.since_ms, ..next })
            }
            (State::Running | State::Paused, Command::Drop { arm }) if !self.dropped.contains(arm) => {
                known_arm(spec, arm)?;
                let mut dropped = self.dropped.clone();
                dropped.push(arm.clone());
                // The ramp step is unaffected.
                Ok(Self { dropped, phase: self.phase + 1, since_ms: self.since_ms, ..next })
            }
            (State::Running, Command::Ship { winner, pin }) => {
                known_arm(spec, winner)?;
                let (winner, pin) = (Some(winner.clone()), Some(pin.clone()));
                let (served, shipped_ms, phase) = (winner.clone(), Some(now_ms), self.phase + 1);
                Ok(Self { state: State::Shipped, phase, winner, pin, served, shipped_ms, ..next })
            }
            (State::Shipped, Command::Reopen) => {
                let phase = self.phase + 1;
                Ok(Self { state: State::Paused, phase, winner: None, pin: None, withdrawn: true, ..next })
            }
            (State::Paused, Command::Resume) if self.withdrawn => Ok(next.without_winner(now_ms)),
            (State::Running, Command::Pause) => Ok(Self { state: State::Paused, ..next }),
            (State::Paused, Command::Resume) => Ok(Self { state: State::Running, ..next }),
            (State::Draft | State::Running | State::Paused | State::Shipped, Command::Abort) => {
                Ok(Self { state: State::Aborted, ended_ms: Some(now_ms), ..next })
            }
            (State::Running | State::Paused | State::Shipped, Command::Conclude { winner }) => {
                known_arm(spec, winner)?;
                Ok(Self { state: State::Concluded, ended_ms: Some(now_ms), winner: Some(winner.clone()), ..next })
            }
            (state, command) => Err(NotPossible::State {
                state: state.as_str(),
                command: command.as_str(),
                possible: self.possible_words(spec),
            }),
        };
        next.map(|next| Self { applied: self.applied_after(command, &next, spec), ..next })
    }

    /// The share in use after a command. A pause, or an arm that is dropped, widens nothing.
    fn applied_after(&self, command: &Command, next: &Self, spec: &Experiment) -> f64 {
        let is_agreed_to = matches!(command, Command::Start | Command::Promote | Command::Edit | Command::Ship { .. });
        let most = if is_agreed_to || self.withdrawn { 1.0 } else { self.applied };
        next.coverage(spec).min(most)
    }

    /// The status after an edit of the rule, or a decision on one. The ramp, the coverage and the time of
    /// the current step stay.
    fn with_rule(&self, command: &Command, spec: &Experiment) -> Option<Self> {
        let next = Self { generation: self.generation + 1, ..self.clone() };
        let digest = Some(spec.digest.clone());
        match command {
            _ if !self.state.takes_units() => None,
            Command::EditRule { declared } => {
                Some(Self { rule: digest, declared: Some(declared.clone()), amended: None, ..next })
            }
            Command::Amend => Some(Self { amended: digest, ..next }),
            _ => None,
        }
    }

    /// Runs again after its winner was withdrawn. Units that entered before were served by the winner
    /// or next to it: those that enter from now on are the evidence.
    fn without_winner(self, now_ms: u64) -> Self {
        let (phase, resumed_ms) = (self.phase + 1, Some(now_ms));
        let next = Self { state: State::Running, phase, step: 0, withdrawn: false, resumed_ms, ..self };
        Self { served: None, shipped_ms: None, ..next }
    }

    /// The command that follows from the spec in force, at a decision point pinned to `pin`: start;
    /// apply an edited coverage; or, once shipped and pinned to another version or with other parameters,
    /// conclude.
    pub fn due(&self, spec: &Experiment, pin: &str) -> Option<Command> {
        match self.state {
            State::Shipped if self.pin.as_deref().is_some_and(|before| is_another(before, pin)) => {
                self.winner.clone().map(|winner| Command::Conclude { winner })
            }
            State::Draft if !spec.manual_start => Some(Command::Start),
            State::Running | State::Paused if self.applied != self.coverage(spec) => Some(Command::Edit),
            _ => None,
        }
    }
}

/// Says whether a pin, a version and its parameters, differs from the one before. One that was recorded
/// without parameters is compared by its version.
fn is_another(before: &str, pin: &str) -> bool {
    match before.contains(' ') {
        true => before != pin,
        false => pin.split(' ').next() != Some(before),
    }
}

fn known_arm(spec: &Experiment, winner: &Name) -> Result<(), NotPossible> {
    if spec.arms.iter().any(|arm| arm.name == *winner) {
        return Ok(());
    }
    let arms = spec.arms.iter().map(|arm| &*arm.name).collect::<Vec<_>>().join(", ");
    Err(NotPossible::UnknownArm { winner: winner.to_string(), arms })
}

/// Whether the ramp advances.
#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    /// No: this is the last step, or the experiment is not running.
    Stay,
    /// Not yet, with the reason.
    Wait(String),
    /// Yes, with the reason: the step has met its conditions.
    Promote(String),
}

/// The evidence for judging a ramp step.
#[derive(Debug, Clone, Copy, Default)]
pub struct Evidence {
    /// Units that have entered so far.
    pub units: u64,
    /// Whether no guardrail shows harm; true without guardrails.
    pub no_harm: bool,
    /// Whether rows of the ledger cannot be read.
    pub is_unreadable: bool,
    /// Whether the feed of an outcome that a goal or a guardrail needs has fallen silent.
    pub is_silent: bool,
    /// Whether a guardrail watches an outcome that was never posted: it shows nothing.
    pub blind: bool,
    /// Whether every guardrail holds: no new arm is worse by more than the margin.
    pub non_inferior: bool,
}

impl Status {
    /// Judges whether the current step has met its conditions at `now_ms`. Inconclusive evidence
    /// waits.
    pub fn next(&self, spec: &Experiment, evidence: &Evidence, now_ms: u64) -> Next {
        let (Some(step), Some(next)) = (spec.ramp.get(self.step), spec.ramp.get(self.step + 1)) else {
            return Next::Stay;
        };
        if self.state != State::Running {
            return Next::Stay;
        }
        let held = now_ms.saturating_sub(self.since_ms);
        if held < step.hold_ms {
            return Next::Wait(format!("held {} of {}", span(held), span(step.hold_ms)));
        }
        if evidence.units < step.min_units {
            return Next::Wait(format!("{} of {} units entered", grouped(evidence.units), grouped(step.min_units)));
        }
        if evidence.is_unreadable {
            return Next::Wait("rows of the ledger cannot be read".to_owned());
        }
        if evidence.is_silent {
            return Next::Wait("the feed of an outcome has fallen silent".to_owned());
        }
        let shown = match step.gate {
            super::Gate::None => None,
            _ if evidence.blind => Some((false, "a guardrail watches an outcome that was never posted")),
            super::Gate::Fast => Some((evidence.no_harm, "a guardrail shows harm")),
            super::Gate::NonInferior => Some((
                evidence.no_harm && evidence.non_inferior,
                "not every guardrail holds yet on matured outcomes; inconclusive holds",
            )),
        };
        match shown {
            Some((false, why)) => Next::Wait(why.to_owned()),
            _ => Next::Promote(format!(
                "step {} of {}: held {}, {} units entered; coverage {} to {}",
                self.step + 1,
                spec.ramp.len(),
                span(held),
                grouped(evidence.units),
                percent(step.coverage),
                percent(next.coverage)
            )),
        }
    }
}

/// A time to its two largest units: the seconds of twelve days tell nobody anything.
fn span(ms: u64) -> String {
    let units = [(86_400_000, "day"), (3_600_000, "hour"), (60_000, "minute"), (1000, "second")];
    let Some(first) = units.iter().position(|(unit, _)| ms >= *unit) else { return format!("{ms} ms") };
    let mut left = ms;
    let mut parts = Vec::with_capacity(2);
    for (unit, name) in units.iter().skip(first).take(2) {
        match left / unit {
            0 => {}
            1 => parts.push(format!("1 {name}")),
            n => parts.push(format!("{n} {name}s")),
        }
        left %= unit;
    }
    parts.join(" ")
}
