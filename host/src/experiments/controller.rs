//! Who changes statuses: one place for a person's commands and for the host's own. A change is
//! in the ledger before anybody acts on it, and only where the status is still the one that it
//! was decided on.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::json;
use serin_core::Name;
use serin_core::analysis::{Decide, Verdict};
use serin_core::experiment::{Command, Experiment, NotPossible, NotifyEvent, Status};

use super::hooks::Notifier;
use crate::clock::Clock;
use crate::ledger::{Ledger, LedgerError, Transition, TransitionRow};
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

/// The statuses of a ledger's experiments.
pub struct Controller {
    ledger: Arc<Ledger>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    notifier: Notifier,
    statuses: Mutex<BTreeMap<Name, Status>>,
    verdicts: Mutex<BTreeMap<Name, Decide>>,
}

impl Controller {
    /// The statuses as the ledger has them: a restart goes on where it was.
    ///
    /// # Errors
    /// What the ledger says.
    pub fn open(ledger: Arc<Ledger>, clock: Arc<dyn Clock>, metrics: Arc<Metrics>) -> Result<Self, LedgerError> {
        let statuses = Mutex::new(ledger.statuses()?.into_iter().collect());
        let verdicts = Mutex::default();
        Ok(Self { ledger, clock, metrics, notifier: Notifier::default(), statuses, verdicts })
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

    /// Notes that a spec is in force: it begins, unless it waits for somebody, and where its
    /// coverage is another one than before, another phase does.
    pub fn applied(&self, spec: &Experiment) {
        let Some(command) = self.status(&spec.id).due(spec) else { return };
        let reason = match command {
            Command::Start => "its file was applied, and says start = \"on_apply\"",
            _ => "its file was edited, and says another coverage",
        };
        let motive = Motive { by: HOST.to_owned(), reason: reason.to_owned(), evidence: serde_json::Value::Null };
        if let Err(error) = self.command(spec, &command, motive) {
            // Tried again at the next look at the files.
            tracing::error!(%error, experiment = %spec.id, "what its file says could not be recorded");
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
            Command::Abort | Command::Pause if motive.by == HOST => NotifyEvent::Breach,
            Command::Start | Command::Promote | Command::Pause | Command::Resume | Command::Edit => NotifyEvent::Phase,
            Command::Abort | Command::Conclude { .. } => NotifyEvent::Verdict,
        };
        let message = json!({
            "event": event.as_str(), "experiment": &*spec.id, "command": command.as_str(),
            "state": to.state.as_str(), "phase": to.phase, "coverage": to.coverage(spec), "by": motive.by,
            "reason": motive.reason, "evidence": motive.evidence, "at_ms": now_ms, "generation": to.generation,
        });
        self.notifier.send(spec, event, &message, &self.metrics);
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
