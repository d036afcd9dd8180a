//! Approvals that an experiment needs before it starts, widens or ships.

use serin_core::experiment::{Command, Experiment, Status};

use crate::ledger::Approval;

/// The validated `[governance]`. Names are not verified: only trusted people may have access to the
/// admin listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Governance {
    /// The number of people who must approve a spec.
    pub approvals: usize,
    /// Who may approve; everyone if empty.
    pub approvers: Vec<String>,
}

impl Governance {
    /// Checks that `by` may approve.
    ///
    /// # Errors
    /// Who may.
    pub fn admits(&self, by: &str) -> Result<(), String> {
        if self.approvers.is_empty() || self.approvers.iter().any(|name| name == by) {
            return Ok(());
        }
        Err(format!("by: '{by}' is not among governance.approvers: {}", self.approvers.join(", ")))
    }

    /// The missing approvals of this spec, as a sentence; none if there are enough. An edited file
    /// is another spec.
    pub fn lacks(&self, spec: &Experiment, approvals: &[Approval]) -> Option<String> {
        let of_spec = approvals.iter().filter(|a| *a.spec_digest == *spec.digest && self.admits(&a.by).is_ok());
        let have = of_spec.count();
        (have < self.approvals).then(|| format!("{have} of {} approvals of spec {}", self.approvals, spec.digest))
    }
}

/// Says whether a command needs approvals: whether it starts, widens, ships or loosens the rule.
pub(super) fn widens(command: &Command, status: &Status, spec: &Experiment, now_ms: u64) -> bool {
    match command {
        Command::Start | Command::Promote | Command::Ship { .. } | Command::Amend => true,
        Command::Edit | Command::Resume => {
            let after = status.after(command, spec, now_ms);
            after.is_ok_and(|after| after.applied > status.applied)
        }
        Command::Pause
        | Command::Drop { .. }
        | Command::EditRule { .. }
        | Command::Allocate { .. }
        | Command::Reopen
        | Command::Abort
        | Command::Conclude { .. } => false,
    }
}
