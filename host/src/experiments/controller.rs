//! Who changes statuses: one place for a person's commands and for the host's own. A change is
//! in the ledger before anybody acts on it, and only where the status is still the one that it
//! was decided on.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::json;
use serin_core::Name;
use serin_core::analysis::{Analysis, Decide, Observed, Verdict};
use serin_core::experiment::{Command, Experiment, NotPossible, NotifyEvent, Status};

use super::governance::{Governance, widens};
use super::hooks::Notifier;
use super::moment::Moment;
use crate::clock::Clock;
use crate::ledger::{Approval, Ledger, LedgerError, Note, Transition, TransitionRow};
use crate::telemetry::Metrics;

/// Who the host says it is.
pub const HOST: &str = "serin";

/// Why a command was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The status does not allow it.
    #[error(transparent)]
    NotPossible(#[from] NotPossible),
    /// Somebody else changed the status meanwhile.
    #[error("the experiment's status was changed meanwhile; look at it again")]
    Changed,
    /// Too few people have agreed to it.
    #[error("it needs the agreement of more people: {0}; give it with serin experiment approve")]
    NotApproved(String),
    /// It could not be recorded, and so was not done.
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
    /// What it rests on.
    pub evidence: serde_json::Value,
}

/// How a spec stands once it is in force.
#[derive(Debug, Clone, Default)]
pub struct Life {
    /// Its status, with what its file asks for.
    pub status: Status,
    /// What keeps it from starting or widening.
    pub lacks: Option<String>,
}

/// The statuses of a ledger's experiments.
pub struct Controller {
    ledger: Arc<Ledger>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    notifier: Notifier,
    statuses: Mutex<BTreeMap<Name, Status>>,
    verdicts: Mutex<BTreeMap<Name, Decide>>,
    governance: Mutex<Option<Governance>>,
    moments: Mutex<BTreeMap<Name, Kept>>,
}

/// The last moment of an experiment that was kept.
#[derive(Clone, Copy)]
struct Kept {
    at_ms: u64,
    entered: u64,
    mature: u64,
}

/// Moments of an experiment's life so far that are kept, about.
const MOMENTS: u64 = 150;

impl Controller {
    /// The statuses as the ledger has them: a restart goes on where it was.
    ///
    /// # Errors
    /// What the ledger says.
    pub fn open(ledger: Arc<Ledger>, clock: Arc<dyn Clock>, metrics: Arc<Metrics>) -> Result<Self, LedgerError> {
        let statuses = Mutex::new(ledger.statuses()?.into_iter().collect());
        Ok(Self {
            ledger,
            clock,
            metrics,
            notifier: Notifier::default(),
            statuses,
            verdicts: Mutex::default(),
            governance: Mutex::default(),
            moments: Mutex::default(),
        })
    }

    /// Takes over whose agreement is asked for.
    pub fn govern(&self, governance: Option<Governance>) {
        *self.governance.lock() = governance;
    }

    /// Who agreed to an experiment's specs, and what this spec still lacks.
    ///
    /// # Errors
    /// What the ledger says.
    pub fn approvals(&self, spec: &Experiment) -> Result<(Vec<Approval>, Option<String>), LedgerError> {
        let governance = self.governance.lock().clone();
        self.agreement(spec, governance.as_ref())
    }

    fn agreement(
        &self,
        spec: &Experiment,
        governance: Option<&Governance>,
    ) -> Result<(Vec<Approval>, Option<String>), LedgerError> {
        let approvals = self.ledger.approvals(&spec.id)?;
        let lacks = governance.and_then(|governance| governance.lacks(spec, &approvals));
        Ok((approvals, lacks))
    }

    /// Records that somebody agrees to a spec as it is.
    ///
    /// # Errors
    /// That nobody asks for it, or not for theirs; or what the ledger says.
    pub fn approve(&self, spec: &Experiment, by: String, reason: String) -> Result<(), CommandError> {
        match &*self.governance.lock() {
            None => return Err(CommandError::NotApproved("serin.toml has no [governance]".to_owned())),
            Some(governance) => governance.admits(&by).map_err(CommandError::NotApproved)?,
        }
        let approval = Approval { spec_digest: spec.digest.to_string(), by, reason, time_ms: self.clock.now_ms() };
        tracing::info!(experiment = %spec.id, by = approval.by, spec = approval.spec_digest, "approved");
        Ok(self.ledger.approve(spec.id.clone(), approval)?)
    }

    /// What a command still lacks.
    fn lacks(
        &self,
        spec: &Experiment,
        command: &Command,
        status: &Status,
        governance: Option<&Governance>,
    ) -> Result<Option<String>, LedgerError> {
        if governance.is_none() || !widens(command, status, spec, self.clock.now_ms()) {
            return Ok(None);
        }
        Ok(self.agreement(spec, governance)?.1)
    }

    /// How a spec stands at a decision point that is pinned to `pin`, once what its file asks for
    /// is done; `governance` is that of the configuration which is tried.
    pub fn life(&self, spec: &Experiment, pin: &str, governance: Option<&Governance>) -> Life {
        let status = self.status(&spec.id);
        let Some(command) = status.due(spec, pin) else { return Life { status, lacks: None } };
        match self.lacks(spec, &command, &status, governance) {
            Ok(None) => {
                let after = status.after(&command, spec, self.clock.now_ms());
                Life { status: after.unwrap_or(status), lacks: None }
            }
            Ok(lacks) => Life { status, lacks },
            Err(error) => Life { status, lacks: Some(error.to_string()) },
        }
    }

    /// The status of an experiment; a draft's where nothing is known of it.
    pub fn status(&self, id: &str) -> Status {
        self.statuses.lock().get(id).cloned().unwrap_or_default()
    }

    /// The changes of an experiment's status, oldest first.
    ///
    /// # Errors
    /// What the ledger says.
    pub fn history(&self, id: &str) -> Result<Vec<TransitionRow>, LedgerError> {
        self.ledger.transitions(id)
    }

    /// Notes that a spec is in force, at a decision point that is pinned to `pin`: it begins, unless
    /// it waits for somebody; where its coverage is another one than before, another phase does;
    /// and what was shipped ends with the pin that it waited for.
    pub fn applied(&self, spec: &Experiment, pin: &str) {
        let Some(command) = self.status(&spec.id).due(spec, pin) else { return };
        let reason = match command {
            Command::Start => "its file was applied, and says start = \"on_apply\"".to_owned(),
            Command::Conclude { .. } => format!("serin.toml pins {pin} now"),
            _ => "its file was edited, and says another coverage".to_owned(),
        };
        let motive = Motive { by: HOST.to_owned(), reason, evidence: serde_json::Value::Null };
        match self.command(spec, &command, motive) {
            // It is shown, and waited for.
            Ok(_) | Err(CommandError::NotApproved(_)) => {}
            // Tried again at the next look at the files.
            Err(error) => tracing::error!(%error, experiment = %spec.id, "what its file says could not be recorded"),
        }
    }

    /// Carries out a command. It waits for the ledger, so not on a listener's thread.
    ///
    /// # Errors
    /// Why not; then nothing has changed.
    pub fn command(&self, spec: &Experiment, command: &Command, motive: Motive) -> Result<Status, CommandError> {
        // Held over the commit: two commands of one host come one after the other.
        let mut statuses = self.statuses.lock();
        let from = statuses.get(&spec.id).cloned().unwrap_or_default();
        let now_ms = self.clock.now_ms();
        let to = from.after(command, spec, now_ms)?;
        let governance = self.governance.lock().clone();
        if let Some(lacks) = self.lacks(spec, command, &from, governance.as_ref())? {
            return Err(CommandError::NotApproved(lacks));
        }
        let Motive { by, reason, evidence } = motive.clone();
        tracing::info!(experiment = %spec.id, command = command.as_str(), by, reason, state = to.state.as_str(), "experiment");
        let transition = Transition {
            experiment: spec.id.clone(),
            from,
            to: to.clone(),
            command: command.as_str(),
            by,
            reason,
            spec_digest: spec.digest.clone(),
            evidence,
            time_ms: now_ms,
        };
        if !self.ledger.transition(transition)? {
            *statuses = self.ledger.statuses()?.into_iter().collect();
            return Err(CommandError::Changed);
        }
        statuses.insert(spec.id.clone(), to.clone());
        drop(statuses);
        Metrics::count(&self.metrics.transitions, command.as_str());
        self.tell(spec, &to, command, &motive, now_ms);
        Ok(to)
    }

    fn tell(&self, spec: &Experiment, to: &Status, command: &Command, motive: &Motive, now_ms: u64) {
        let event = match command {
            Command::Abort | Command::Pause | Command::Reopen if motive.by == HOST => NotifyEvent::Breach,
            Command::Start
            | Command::Promote
            | Command::Pause
            | Command::Resume
            | Command::Edit
            | Command::Allocate { .. } => NotifyEvent::Phase,
            Command::Abort | Command::Conclude { .. } | Command::Ship { .. } | Command::Reopen => NotifyEvent::Verdict,
        };
        let message = json!({
            "event": event.as_str(), "experiment": &*spec.id, "command": command.as_str(),
            "state": to.state.as_str(), "phase": to.phase, "coverage": to.applied, "by": motive.by,
            "reason": motive.reason, "evidence": motive.evidence, "at_ms": now_ms, "generation": to.generation,
        });
        self.notifier.send(spec, event, &message, &self.metrics);
    }

    /// Keeps what is known now, where it is time, and anything has changed.
    pub(super) fn moment(&self, observed: &Observed, analysis: &Analysis, status: &Status, now_ms: u64) {
        let id = &observed.spec.id;
        let Kept { at_ms, entered, mature } =
            Kept { at_ms: now_ms, entered: analysis.entered, mature: analysis.mature };
        let ran_ms = now_ms.saturating_sub(status.started_ms.unwrap_or(now_ms));
        let mut moments = self.moments.lock();
        if let Some(last) = moments.get(id)
            && (now_ms < last.at_ms + ran_ms / MOMENTS || (last.entered, last.mature) == (entered, mature))
        {
            return;
        }
        let Ok(json) = serde_json::to_string(&Moment::of(observed, analysis, status, now_ms)) else { return };
        if self.ledger.note(Note::Moment(id.clone(), now_ms, json)).is_ok() {
            moments.insert(id.clone(), Kept { at_ms, entered, mature });
        }
    }

    /// Counts a look at all experiments.
    pub(super) fn looked(&self) {
        self.metrics.looks.inc();
    }

    /// Notes what follows from an experiment, and tells of it where that is something else than
    /// before. A restart begins with `hold`, which nobody is told of.
    pub(super) fn verdict(&self, spec: &Experiment, verdict: &Verdict) {
        let before = self.verdicts.lock().insert(spec.id.clone(), verdict.decision).unwrap_or(Decide::Hold);
        if before != verdict.decision {
            let message = json!({
                "event": NotifyEvent::Verdict.as_str(), "experiment": &*spec.id,
                "verdict": verdict.decision.as_str(), "why": verdict.why, "at_ms": self.clock.now_ms(),
            });
            self.notifier.send(spec, NotifyEvent::Verdict, &message, &self.metrics);
        }
    }
}
