//! An experiment as it stands, and as its file would have it.

use serin_core::experiment::{Command, Experiment, State, Status};

use super::governance::{Governance, widens};
use crate::ledger::{Approval, LedgerError, Reads};

/// The status of a spec.
#[derive(Debug, Clone, Default)]
pub struct Life {
    /// Its recorded status.
    pub status: Status,
    /// Its status once the commands that follow from its file are recorded.
    pub due: Status,
    /// The approvals that are missing before it may start or widen; none if it may.
    pub lacks: Option<String>,
    /// Why the clock is doubted, if its file asks for a command that starts or widens.
    pub doubt: Option<String>,
}

impl Life {
    /// The status of a spec at a decision point pinned to `pin`, now and once the command that follows
    /// from its file is carried out. `lacks` says what that command still lacks.
    pub fn of(
        status: Status,
        spec: &Experiment,
        pin: &str,
        now_ms: u64,
        lacks: impl FnOnce(&Command, &Status) -> Result<Option<String>, LedgerError>,
    ) -> Self {
        let due = status.due(spec, pin);
        // A draft shows which approvals a person's `start` would be refused for.
        let next = due.as_ref().or((status.state == State::Draft).then_some(&Command::Start));
        let lacks = next.map_or(Ok(None), |next| lacks(next, &status)).unwrap_or_else(|error| Some(error.to_string()));
        let Some(command) = due else { return Self { due: status.clone(), status, lacks, doubt: None } };
        let due = match lacks {
            None => status.after(&command, spec, now_ms).unwrap_or_else(|_| status.clone()),
            Some(_) => status.clone(),
        };
        Self { status, due, lacks, doubt: None }
    }

    /// Leaves the status as it is where what is due waits until the clock is trusted.
    pub(super) fn doubting(self, doubt: Option<String>) -> Self {
        if doubt.is_none() {
            return self;
        }
        Self { due: self.status.clone(), doubt, ..self }
    }
}

/// The approvals that a command still lacks under these rules; none if it may be carried out.
///
/// # Errors
/// The ledger's error.
pub fn lacks(
    ledger: &impl Reads,
    (spec, command, status): (&Experiment, &Command, &Status),
    governance: Option<&Governance>,
    now_ms: u64,
) -> Result<Option<String>, LedgerError> {
    if governance.is_none() || !widens(command, status, spec, now_ms) {
        return Ok(None);
    }
    Ok(agreement(ledger, spec, governance)?.1)
}

/// The approvals of an experiment's specs, and those that this spec still lacks.
pub(super) fn agreement(
    ledger: &impl Reads,
    spec: &Experiment,
    governance: Option<&Governance>,
) -> Result<(Vec<Approval>, Option<String>), LedgerError> {
    let approvals = ledger.approvals(&spec.id)?;
    let lacks = governance.and_then(|governance| governance.lacks(spec, &approvals));
    Ok((approvals, lacks))
}
