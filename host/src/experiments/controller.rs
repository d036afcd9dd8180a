//! The only place that changes statuses, for a person's commands and for the host's own. A change
//! takes effect only after it is committed to the ledger, and only if the status is still the one
//! that the command was judged on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::json;
use serin_core::Name;
use serin_core::analysis::{Analysis, Decide, Observed, Verdict};
use serin_core::experiment::{Command, Experiment, NotPossible, NotifyEvent, State, Status};

use super::governance::{Governance, widens};
use super::history::HistoryPoint;
use super::hooks::Notifier;
use super::life::{Life, agreement, lacks};
use super::next_commands::APPROVE;
use super::statuses::Statuses;
use super::stood::StoodTimes;
use crate::clock::Clock;
use crate::ledger::{Approval, FinalReport, Ledger, LedgerError, Note, Reads, Transition};
use crate::mutant::Mutant;
use crate::telemetry::Metrics;

/// The name of the host in changes.
pub const HOST: &str = "serin";

/// Why a command was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The status does not allow it.
    #[error(transparent)]
    NotPossible(#[from] NotPossible),
    /// The status has changed since the command was judged.
    #[error("the experiment's status has changed: its generation is {now}, not {judged}; look at it again")]
    Changed {
        /// The generation that the command was judged on.
        judged: u64,
        /// The generation now.
        now: u64,
    },
    /// It lacks approvals.
    #[error("it needs the agreement of more people: {0}{APPROVE}")]
    NotApproved(String),
    /// The host would date it by a clock that is not trusted.
    #[error("the clock is doubted: {0}")]
    ClockDoubted(String),
    /// Nobody's approval is required.
    #[error("nothing to approve: serin.toml has no [governance], so no command waits for an approval")]
    NothingToApprove,
    /// This person's approval does not count.
    #[error("not an approver: {0}")]
    NoApprover(String),
    /// It could not be recorded, so it was not carried out.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// Who gives a command, and why.
#[derive(Debug, Clone)]
pub struct Motive {
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
    /// The evidence.
    pub evidence: serde_json::Value,
}

/// The statuses of a ledger's experiments.
pub struct Controller {
    ledger: Arc<Ledger>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    notifier: Notifier,
    statuses: Statuses,
    verdicts: Mutex<BTreeMap<Name, Decide>>,
    warnings: Mutex<BTreeMap<Name, Vec<String>>>,
    governance: Mutex<Option<Governance>>,
    kept: Mutex<BTreeMap<Name, Kept>>,
    /// What this process knows of specs, besides their statuses.
    known: Mutex<KnownSpecs>,
    /// For how long ramps stood still.
    pub stood: StoodTimes,
}

#[derive(Default)]
struct KnownSpecs {
    /// The digest of each spec in force.
    in_force: BTreeMap<Name, Name>,
    /// Experiments that this process started: the ledger has no older decisions of them.
    started: BTreeSet<Name>,
    /// Experiments whose final report is stored.
    with_final_report: BTreeSet<Name>,
}

/// The last point of an experiment's history that was kept.
#[derive(Clone, Copy)]
struct Kept {
    at_ms: u64,
    entered: u64,
    mature: u64,
}

/// Points of an experiment's history that are kept, about.
const POINTS: u64 = 150;

impl Controller {
    /// Loads the statuses from the ledger, so that a restart continues where it stopped.
    ///
    /// # Errors
    /// The ledger's error.
    pub fn open(ledger: Arc<Ledger>, clock: Arc<dyn Clock>, metrics: Arc<Metrics>) -> Result<Self, LedgerError> {
        let statuses = Statuses::new(ledger.statuses()?);
        let with_final_report = ledger.with_final_report()?.into_iter().collect();
        Ok(Self {
            ledger,
            clock,
            metrics,
            notifier: Notifier::default(),
            statuses,
            verdicts: Mutex::default(),
            warnings: Mutex::default(),
            governance: Mutex::default(),
            kept: Mutex::default(),
            known: Mutex::new(KnownSpecs { with_final_report, ..KnownSpecs::default() }),
            stood: StoodTimes::default(),
        })
    }

    /// The ledger that holds the statuses.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Sets the required approvals.
    pub fn govern(&self, governance: Option<Governance>) {
        *self.governance.lock() = governance;
    }

    /// Gives messages to webhooks a moment when the host stops. This waits.
    pub fn stop_messages(&self) {
        self.notifier.stop();
    }

    /// The approvals of an experiment's specs, and what this spec still lacks.
    ///
    /// # Errors
    /// The ledger's error.
    pub fn approvals(
        &self,
        ledger: &impl Reads,
        spec: &Experiment,
    ) -> Result<(Vec<Approval>, Option<String>), LedgerError> {
        let governance = self.governance.lock().clone();
        agreement(ledger, spec, governance.as_ref())
    }

    /// Records an approval of a spec. Says whether it is a new one: a person approves a file once.
    ///
    /// # Errors
    /// That no approvals are required, or not this person's; or the ledger's error.
    pub fn approve(&self, spec: &Experiment, by: String, reason: String) -> Result<bool, CommandError> {
        self.may_approve(Some(&by))?;
        let approval = Approval { spec_digest: spec.digest.to_string(), by, reason, time_ms: self.clock.now_ms() };
        let is_same = |known: &Approval| (&known.spec_digest, &known.by) == (&approval.spec_digest, &approval.by);
        if self.ledger.approvals(&spec.id)?.iter().any(is_same) {
            return Ok(false);
        }
        tracing::info!(experiment = %spec.id, by = approval.by, spec = approval.spec_digest, "approved");
        self.ledger.approve(spec.id.clone(), approval)?;
        Ok(true)
    }

    /// Refuses an approval that would not count; with `by` unknown, where nobody's would.
    ///
    /// # Errors
    /// That no approvals are required, or not this person's.
    pub fn may_approve(&self, by: Option<&str>) -> Result<(), CommandError> {
        let governance = self.governance.lock();
        let governance = governance.as_ref().ok_or(CommandError::NothingToApprove)?;
        by.map_or(Ok(()), |by| governance.admits(by)).map_err(CommandError::NoApprover)
    }

    /// What a command still lacks on an experiment as it stands.
    ///
    /// # Errors
    /// The ledger's error.
    pub fn lacking(
        &self,
        ledger: &impl Reads,
        (spec, command, status): (&Experiment, &Command, &Status),
    ) -> Result<Option<String>, LedgerError> {
        let governance = self.governance.lock().clone();
        lacks(ledger, (spec, command, status), governance.as_ref(), self.clock.now_ms())
    }

    /// The status of a spec at a decision point pinned to `pin`, now and once the commands that
    /// follow from its file are carried out. `governance` is that of the configuration under test.
    pub fn life(&self, spec: &Experiment, pin: &str, governance: Option<&Governance>) -> Life {
        let (now_ms, status) = (self.clock.now_ms(), self.status(&spec.id));
        let widening = status.due(spec, pin).filter(|command| widens(command, &status, spec, now_ms));
        // It would be dated by a time that may be long ago, and what it waits for would have passed already.
        let doubt = widening.and_then(|_| self.clock.doubt());
        let lacks =
            |command: &Command, status: &Status| lacks(&*self.ledger, (spec, command, status), governance, now_ms);
        Life::of(status, spec, pin, now_ms, lacks).doubting(doubt)
    }

    /// The status of an experiment; a draft if it is unknown.
    pub fn status(&self, id: &str) -> Status {
        self.statuses.get(id)
    }

    /// The experiments that have ended, with their statuses.
    pub fn ended(&self) -> Vec<(Name, Status)> {
        self.statuses.ended()
    }

    /// Carries out the command that follows from a spec in force at a decision point pinned to
    /// `pin`: it starts, unless it waits for a person; a changed coverage begins a new phase; a
    /// shipped experiment is concluded once the pin has changed. Says whether the status has
    /// changed.
    pub fn applied(&self, spec: &Experiment, pin: &str) -> bool {
        self.known.lock().in_force.insert(spec.id.clone(), spec.digest.clone());
        let status = self.status(&spec.id);
        let Some(command) = status.due(spec, pin) else { return false };
        let reason = match command {
            Command::Start => "its file was applied, and says start = \"on_apply\"".to_owned(),
            Command::Conclude { .. } => format!("serin.toml pins {pin} now"),
            _ => "its file was edited, and says another coverage".to_owned(),
        };
        let motive = Motive { by: HOST.to_owned(), reason, evidence: serde_json::Value::Null };
        match self.command(spec, &command, motive, Some(status.generation)) {
            Ok(_) => true,
            // The experiment's page shows what is missing.
            Err(CommandError::NotApproved(_) | CommandError::ClockDoubted(_)) => false,
            // Retried at the next scan.
            Err(error) => {
                tracing::error!(%error, experiment = %spec.id, "what its file says could not be recorded");
                false
            }
        }
    }

    /// Says whether this process started an experiment, so that the ledger has no older decisions
    /// of it.
    pub fn has_started(&self, id: &Name) -> bool {
        self.known.lock().started.contains(id)
    }

    /// Says whether an experiment's final report is stored.
    pub fn has_final_report(&self, id: &str) -> bool {
        self.known.lock().with_final_report.contains(id)
    }

    /// Stores an experiment's final report.
    ///
    /// # Errors
    /// The ledger's error; the caller retries.
    pub fn keep_final_report(&self, report: FinalReport) -> Result<(), LedgerError> {
        let id = report.experiment.clone();
        self.ledger.keep_final_report(report)?;
        self.known.lock().with_final_report.insert(id);
        Ok(())
    }

    /// Carries out a command; if `judged` is given, only if the status still has that generation.
    /// It waits for the ledger, so do not call it on a listener's thread.
    ///
    /// # Errors
    /// Why it was not carried out; nothing has changed then.
    pub fn command(
        &self,
        spec: &Experiment,
        command: &Command,
        motive: Motive,
        judged: Option<u64>,
    ) -> Result<Status, CommandError> {
        // Held during the commit, so commands of one host are serialized.
        let change = self.statuses.change();
        let from = self.status(&spec.id);
        let is_checked = motive.by != HOST || !Mutant::StaleCommand.is_on();
        if let Some(judged) = judged.filter(|judged| *judged != from.generation && is_checked) {
            return Err(CommandError::Changed { judged, now: from.generation });
        }
        if motive.by == HOST && is_checked {
            self.check_own(spec, command, &from)?;
        }
        let now_ms = self.clock.now_ms();
        let to = from.after(command, spec, now_ms)?;
        let governance = self.governance.lock().clone();
        if let Some(lacks) = lacks(&*self.ledger, (spec, command, &from), governance.as_ref(), now_ms)? {
            return Err(CommandError::NotApproved(lacks));
        }
        let transition = Transition {
            experiment: spec.id.clone(),
            from: from.clone(),
            to: to.clone(),
            command: command.as_str(),
            by: motive.by.clone(),
            reason: motive.reason.clone(),
            spec_digest: spec.digest.clone(),
            evidence: motive.evidence.clone(),
            time_ms: now_ms,
        };
        let recorded = self.ledger.transition(transition);
        if !matches!(recorded, Ok(true)) {
            // The ledger's status is authoritative.
            if let Ok(known) = self.ledger.statuses() {
                change.known(known);
            }
            recorded?;
            let now = self.status(&spec.id).generation;
            return Err(CommandError::Changed { judged: from.generation, now });
        }
        change.committed(spec.id.clone(), to.clone());
        if *command == Command::Start {
            self.known.lock().started.insert(spec.id.clone());
        }
        drop(change);
        let Motive { by, reason, .. } = &motive;
        tracing::info!(experiment = %spec.id, command = command.as_str(), by, reason, state = to.state.as_str(), "experiment");
        Metrics::count(&self.metrics.transitions, command.as_str());
        self.tell(spec, &to, command, &motive, now_ms);
        Ok(to)
    }

    /// Whether the host may do this by itself. With a clock that is doubted it starts and widens nothing. After a person's pause it may only stop an
    /// experiment, never widen, resume or ship it. The same holds for a spec that has been
    /// replaced.
    fn check_own(&self, spec: &Experiment, command: &Command, from: &Status) -> Result<(), CommandError> {
        if let Some(why) = self.clock.doubt().filter(|_| widens(command, from, spec, self.clock.now_ms())) {
            return Err(CommandError::ClockDoubted(why));
        }
        let goes_on =
            matches!(command, Command::Promote | Command::Resume | Command::Ship { .. } | Command::Allocate { .. });
        if !goes_on {
            return Ok(());
        }
        if from.state == State::Paused {
            let by_a_person = from.possible(spec).into_iter().filter(|name| ["resume", "promote"].contains(name));
            return Err(NotPossible::State {
                state: from.state.as_str(),
                command: command.as_str(),
                possible: format!("a person's {}", by_a_person.collect::<Vec<_>>().join(" or ")),
            }
            .into());
        }
        let is_replaced = self.known.lock().in_force.get(&spec.id).is_some_and(|digest| *digest != spec.digest);
        if is_replaced || self.stood.stands_still(&spec.id) {
            return Err(CommandError::Changed { judged: from.generation, now: from.generation });
        }
        Ok(())
    }

    /// Pauses every running experiment and returns their ids: those of `specs` that are running
    /// when their turn comes.
    ///
    /// # Errors
    /// Why one could not be paused; the ones before it are paused.
    pub fn freeze(&self, specs: &[Arc<Experiment>], motive: &Motive) -> Result<Vec<Name>, CommandError> {
        let mut paused = Vec::new();
        for spec in specs {
            match self.command(spec, &Command::Pause, motive.clone(), None) {
                Ok(_) => paused.push(spec.id.clone()),
                // It has ended, has not started, or is already paused.
                Err(CommandError::NotPossible(_) | CommandError::NotApproved(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(paused)
    }

    fn tell(&self, spec: &Experiment, to: &Status, command: &Command, motive: &Motive, now_ms: u64) {
        let event = match command {
            Command::Abort | Command::Pause | Command::Reopen | Command::Drop { .. } if motive.by == HOST => {
                NotifyEvent::Breach
            }
            Command::Start
            | Command::Promote
            | Command::Pause
            | Command::Resume
            | Command::Edit
            | Command::EditRule { .. }
            | Command::Amend
            | Command::Allocate { .. } => NotifyEvent::Phase,
            Command::Abort
            | Command::Conclude { .. }
            | Command::Ship { .. }
            | Command::Reopen
            | Command::Drop { .. } => NotifyEvent::Verdict,
        };
        let message = json!({
            "event": event.as_str(), "experiment": &*spec.id, "command": command.as_str(),
            "state": to.state.as_str(), "phase": to.phase, "coverage": to.applied, "by": motive.by,
            "reason": motive.reason, "evidence": motive.evidence, "at_ms": now_ms, "generation": to.generation,
        });
        self.notifier.send(spec, event, &message, &self.metrics, &self.clock);
    }

    /// Stores a snapshot of the analysis if one is due and anything has changed.
    pub(super) fn keep_history(&self, observed: &Observed, analysis: &Analysis, status: &Status, now_ms: u64) {
        let id = &observed.spec.id;
        let Kept { at_ms, entered, mature } =
            Kept { at_ms: now_ms, entered: analysis.entered, mature: analysis.mature };
        let ran_ms = now_ms.saturating_sub(status.started_ms.unwrap_or(now_ms));
        let mut kept = self.kept.lock();
        if let Some(last) = kept.get(id)
            && (now_ms < last.at_ms + ran_ms / POINTS || (last.entered, last.mature) == (entered, mature))
        {
            return;
        }
        let Ok(json) = serde_json::to_string(&HistoryPoint::of(observed, analysis, status, now_ms)) else { return };
        if self.ledger.note(Note::HistoryPoint(id.clone(), now_ms, json)).is_ok() {
            kept.insert(id.clone(), Kept { at_ms, entered, mature });
        }
    }

    /// Takes over what a reader of an experiment's analysis has to know.
    pub(super) fn warn(&self, id: &Name, warnings: Vec<String>) {
        self.warnings.lock().insert(id.clone(), warnings);
    }

    /// What a reader of an experiment's analysis has to know, as of the last look at it. One that has
    /// ended is not looked at.
    pub fn warnings(&self, id: &str) -> Vec<String> {
        if !self.status(id).state.takes_units() {
            return Vec::new();
        }
        self.warnings.lock().get(id).cloned().unwrap_or_default()
    }

    /// Counts an evaluation of all experiments.
    pub(super) fn looked(&self) {
        self.metrics.looks.inc();
    }

    /// Records an experiment's verdict, and notifies webhooks if it has changed. A restart begins
    /// with `hold`, without a notification.
    pub(super) fn verdict(&self, spec: &Experiment, verdict: &Verdict) {
        let before = self.verdicts.lock().insert(spec.id.clone(), verdict.decision).unwrap_or(Decide::Hold);
        if before != verdict.decision {
            let message = json!({
                "event": NotifyEvent::Verdict.as_str(), "experiment": &*spec.id,
                "verdict": verdict.decision.as_str(), "why": verdict.why, "at_ms": self.clock.now_ms(),
            });
            self.notifier.send(spec, NotifyEvent::Verdict, &message, &self.metrics, &self.clock);
        }
    }
}
