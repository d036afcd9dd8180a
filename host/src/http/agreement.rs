//! What people have agreed to of an experiment, and what waits for their agreement.

use serin_core::experiment::{Experiment, Status};

use super::{Problem, Service};
use crate::ledger::{Approval, Reads};

/// Why nothing of an experiment waits for an approval any more; none before it has ended.
pub(super) fn nothing_left(status: &Status) -> Option<String> {
    let state = status.state;
    state
        .is_ended()
        .then(|| format!("the experiment is {}: nothing of it waits for an approval any more", state.as_str()))
}

/// Who has approved an experiment's specs, and what this one lacks as it stands: nothing once it has ended.
pub(super) fn approvals(
    service: &Service,
    ledger: &impl Reads,
    (spec, status): (&Experiment, &Status),
) -> Result<(Vec<Approval>, Option<String>), Problem> {
    let (approvals, lacks) = service.controller.approvals(ledger, spec)?;
    Ok((approvals, lacks.filter(|_| nothing_left(status).is_none())))
}
