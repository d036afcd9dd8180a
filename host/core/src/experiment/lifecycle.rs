//! An experiment's life: a state machine that events drive, with the time as an input.
//!
//! The spec is the user's, and says what should happen. The status is the host's, and says how
//! far that has come. A status is changed by a [`Command`] alone, whether a person gives it or
//! the host, and each change counts its generation up, so that two who change the same status
//! at once cannot both succeed.

use serde::{Deserialize, Serialize};

use super::Experiment;
use crate::Name;

/// Where an experiment is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Takes no units yet.
    Draft,
    /// Takes units, and its ramp goes on.
    Running,
    /// Takes units at the coverage that it has; its ramp stands still.
    Paused,
    /// Ended for harm, or by hand. New decisions are on the pinned strategy.
    Aborted,
    /// Ended with a winner. New decisions are on the pinned strategy.
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
            Self::Concluded => "concluded",
        }
    }

    /// The state of this name.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Draft, Self::Running, Self::Paused, Self::Aborted, Self::Concluded]
            .into_iter()
            .find(|state| state.as_str() == text)
    }

    /// Says whether new units may enter, and those that are in stay in.
    pub fn takes_units(self) -> bool {
        matches!(self, Self::Running | Self::Paused)
    }

    /// Says whether nothing can follow.
    pub fn is_ended(self) -> bool {
        matches!(self, Self::Aborted | Self::Concluded)
    }
}

/// How far an experiment has come.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Its state.
    pub state: State,
    /// Stretches of unchanged coverage so far; 0 before the first.
    pub phase: u32,
    /// Position of the ramp's step that is in force.
    pub step: usize,
    /// When the state or the step was entered, in milliseconds since the Unix epoch.
    pub since_ms: u64,
    /// When it first took units; none in a draft.
    pub started_ms: Option<u64>,
    /// When it ended.
    pub ended_ms: Option<u64>,
    /// The arm that won; none unless it is concluded.
    pub winner: Option<Name>,
    /// The share of the slot that this phase takes.
    pub applied: f64,
    /// Changes so far.
    pub generation: u64,
}

/// What changes a status.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Begins with the ramp's first step.
    Start,
    /// Goes on to the ramp's next step.
    Promote,
    /// Stops the ramp where it is.
    Pause,
    /// Lets the ramp go on.
    Resume,
    /// Takes over another coverage from the edited file: a new phase.
    Edit,
    /// Ends it: everybody is on the pinned strategy.
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
            Self::Edit => "edit",
            Self::Abort => "abort",
            Self::Conclude { .. } => "conclude",
        }
    }
}

/// Why a command was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotPossible {
    /// The state does not allow it.
    #[error("the experiment is {state}, and cannot {command}; possible: {possible}")]
    State {
        /// The state.
        state: &'static str,
        /// The command.
        command: &'static str,
        /// What would be possible.
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
        /// What was asked for.
        winner: String,
        /// What there is.
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
            applied: 0.0,
            generation: 0,
        }
    }
}

impl Status {
    /// The share of its slot that the experiment takes now.
    pub fn coverage(&self, spec: &Experiment) -> f64 {
        if !self.state.takes_units() {
            return 0.0;
        }
        // A ramp's later steps may be edited away while it runs.
        spec.ramp.get(self.step).or(spec.ramp.last()).map_or(0.0, |step| step.coverage)
    }

    /// The status after `command` at `now_ms`. A clock that went back does not undo time: what
    /// began stays begun.
    ///
    /// # Errors
    /// What keeps it from being carried out, and what would be possible.
    pub fn after(&self, command: &Command, spec: &Experiment, now_ms: u64) -> Result<Self, NotPossible> {
        let now_ms = now_ms.max(self.since_ms);
        let next = Self { since_ms: now_ms, generation: self.generation + 1, ..self.clone() };
        let next = match (self.state, command) {
            (State::Draft, Command::Start) => {
                Ok(Self { state: State::Running, phase: 1, started_ms: Some(now_ms), ..next })
            }
            (State::Running | State::Paused, Command::Promote) => {
                let step = self.step + 1;
                match spec.ramp.get(step) {
                    Some(_) => Ok(Self { state: State::Running, phase: self.phase + 1, step, ..next }),
                    None => Err(NotPossible::LastStep { step: spec.ramp.len() }),
                }
            }
            (State::Running | State::Paused, Command::Edit) => Ok(Self { phase: self.phase + 1, ..next }),
            (State::Running, Command::Pause) => Ok(Self { state: State::Paused, ..next }),
            (State::Paused, Command::Resume) => Ok(Self { state: State::Running, ..next }),
            (State::Draft | State::Running | State::Paused, Command::Abort) => {
                Ok(Self { state: State::Aborted, ended_ms: Some(now_ms), ..next })
            }
            (State::Running | State::Paused, Command::Conclude { winner }) => {
                if !spec.arms.iter().any(|arm| arm.name == *winner) {
                    let arms = spec.arms.iter().map(|arm| &*arm.name).collect::<Vec<_>>().join(", ");
                    return Err(NotPossible::UnknownArm { winner: winner.to_string(), arms });
                }
                Ok(Self { state: State::Concluded, ended_ms: Some(now_ms), winner: Some(winner.clone()), ..next })
            }
            (state, command) => Err(NotPossible::State {
                state: state.as_str(),
                command: command.as_str(),
                possible: possible(state).to_owned(),
            }),
        };
        next.map(|next| Self { applied: next.coverage(spec), ..next })
    }

    /// The command that a spec asks for by being in force: to begin, or to take over the coverage
    /// that its file was edited to.
    pub fn due(&self, spec: &Experiment) -> Option<Command> {
        match self.state {
            State::Draft if !spec.manual_start => Some(Command::Start),
            State::Running | State::Paused if self.applied != self.coverage(spec) => Some(Command::Edit),
            _ => None,
        }
    }
}

fn possible(state: State) -> &'static str {
    match state {
        State::Draft => "start, abort",
        State::Running => "promote, pause, abort, conclude",
        State::Paused => "resume, promote, abort, conclude",
        State::Aborted | State::Concluded => "nothing; it has ended: start another id",
    }
}

/// What the ramp's next step asks for.
#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    /// Nothing: this is the last step, or the ramp stands still.
    Stay,
    /// Not yet, and why.
    Wait(String),
    /// Everything that the step asks for is there.
    Promote(String),
}

/// What is known when a ramp's step is judged.
#[derive(Debug, Clone, Copy, Default)]
pub struct Evidence {
    /// Units that entered so far.
    pub units: u64,
    /// Whether every fast guardrail is without harm; always so where there is none.
    pub no_harm: bool,
    /// Whether every guardrail shows that the new arms are not worse by more than its margin.
    pub non_inferior: bool,
}

impl Status {
    /// Judges whether the step in force has shown what it has to before the next one. What is
    /// inconclusive holds.
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
            return Next::Wait(format!("{} of {} units entered", evidence.units, step.min_units));
        }
        let shown = match step.gate {
            super::Gate::None => None,
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
                evidence.units,
                step.coverage,
                next.coverage
            )),
        }
    }
}

fn span(ms: u64) -> String {
    humantime::format_duration(core::time::Duration::from_millis(ms)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> Experiment {
        Experiment::parse(
            "id = \"e\"\ndecision_point = \"d\"\n\
             ramp = [{ coverage = 0.1, hold = \"1h\", min_units = 100, gate = \"fast\" }, { coverage = 0.5, gate = \"non_inferior\" }, { coverage = 1.0 }]\n\
             [[arms]]\nname = \"a\"\nstrategy = \"p@1.0.0\"\nweight = 0.5\n[[arms]]\nname = \"b\"\nstrategy = \"q@1.1.0\"\nweight = 0.5\n",
        )
        .expect("valid")
    }

    const HOUR: u64 = 3_600_000;

    fn started() -> Status {
        Status::default().after(&Command::Start, &spec(), 1000).expect("starts")
    }

    #[test]
    fn a_life_from_draft_to_conclusion() {
        let spec = spec();
        let status = started();
        assert_eq!(
            (status.state, status.phase, status.generation, status.coverage(&spec)),
            (State::Running, 1, 1, 0.1)
        );
        let status = status.after(&Command::Promote, &spec, 2000).expect("promotes");
        assert_eq!((status.phase, status.coverage(&spec), status.since_ms), (2, 0.5, 2000));
        let paused = status.after(&Command::Pause, &spec, 3000).expect("pauses");
        assert_eq!((paused.state, paused.coverage(&spec)), (State::Paused, 0.5), "who is in stays in");
        let status = paused.after(&Command::Resume, &spec, 4000).expect("resumes");
        let conclude = Command::Conclude { winner: "b".into() };
        let status = status.after(&conclude, &spec, 5000).expect("concludes");
        assert_eq!(
            (status.state, status.coverage(&spec), status.winner.as_deref()),
            (State::Concluded, 0.0, Some("b"))
        );
        assert_eq!((status.started_ms, status.ended_ms, status.generation), (Some(1000), Some(5000), 5));
    }

    #[test]
    fn what_is_not_possible_says_what_is() {
        let spec = spec();
        let refused =
            |status: &Status, command: &Command| status.after(command, &spec, 9000).expect_err("refused").to_string();
        let draft = Status::default();
        assert!(refused(&draft, &Command::Promote).contains("is draft, and cannot promote; possible: start, abort"));
        let aborted = started().after(&Command::Abort, &spec, 2000).expect("aborts");
        for command in [Command::Start, Command::Promote, Command::Resume, Command::Abort] {
            assert!(refused(&aborted, &command).contains("it has ended: start another id"), "{command:?}");
        }
        let winner = Command::Conclude { winner: "c".into() };
        assert!(refused(&started(), &winner).contains("winner = \"c\" is not an arm; arms: a, b"));
        let mut last = started();
        for _ in 0..2 {
            last = last.after(&Command::Promote, &spec, 2000).expect("promotes");
        }
        assert!(refused(&last, &Command::Promote).contains("last step, 3 of 3"));
    }

    #[test]
    fn a_step_is_left_when_it_has_shown_what_it_must() {
        let (spec, status) = (spec(), started());
        let evidence = |units, no_harm, non_inferior| Evidence { units, no_harm, non_inferior };
        let waits = |status: &Status, e: Evidence, at: u64| match status.next(&spec, &e, at) {
            Next::Wait(why) => why,
            other => panic!("{other:?}"),
        };
        assert!(waits(&status, evidence(500, true, true), 1000 + HOUR - 1).contains("held"));
        assert!(waits(&status, evidence(99, true, true), 1000 + HOUR).contains("99 of 100 units"));
        assert!(waits(&status, evidence(100, false, true), 1000 + HOUR).contains("shows harm"));
        assert!(matches!(status.next(&spec, &evidence(100, true, false), 1000 + HOUR), Next::Promote(_)));
        let second = status.after(&Command::Promote, &spec, 2000).expect("promotes");
        assert!(waits(&second, evidence(100, true, false), 3000).contains("inconclusive holds"));
        assert!(matches!(second.next(&spec, &evidence(100, true, true), 3000), Next::Promote(_)));
        let paused = second.after(&Command::Pause, &spec, 3000).expect("pauses");
        assert_eq!(paused.next(&spec, &evidence(100, true, true), 4000), Next::Stay);
        let last = second.after(&Command::Promote, &spec, 3000).expect("promotes");
        assert_eq!(last.next(&spec, &evidence(100, true, true), u64::MAX), Next::Stay);
    }

    #[test]
    fn another_coverage_in_the_file_is_another_phase() {
        let (spec, status) = (spec(), started());
        assert_eq!((status.due(&spec), Status::default().due(&spec)), (None, Some(Command::Start)));
        let mut edited = spec.clone();
        edited.ramp[0].coverage = 0.3;
        assert_eq!(status.due(&edited), Some(Command::Edit));
        let status = status.after(&Command::Edit, &edited, 2000).expect("takes it over");
        assert_eq!((status.phase, status.step, status.applied, status.due(&edited)), (2, 0, 0.3, None));
    }

    #[test]
    fn a_clock_that_goes_back_undoes_nothing() {
        let paused = started().after(&Command::Pause, &spec(), 10).expect("pauses");
        assert_eq!(paused.since_ms, 1000);
    }
}
