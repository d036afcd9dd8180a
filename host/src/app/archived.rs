//! Experiments that have ended and whose file is another one's by now: the ledger has their status and report, and the
//! archive their spec.

use std::collections::BTreeMap;
use std::sync::Arc;

use serin_core::Name;
use serin_core::experiment::{Experiment, Status};

use crate::experiments::{Controller, ExperimentState, ExperimentStatus};
use crate::ledger::Reads;
use crate::registry::Archive;

/// The statuses that were read. An ended experiment does not change, so each is read once.
#[derive(Default)]
pub(super) struct ArchivedExperiments(BTreeMap<Name, Arc<ExperimentStatus>>);

impl ArchivedExperiments {
    /// Those that are not among the experiments of the files, which `is_shown` says of an id.
    pub fn beside(
        &mut self,
        is_shown: impl Fn(&str) -> bool,
        controller: &Controller,
        archive: &Archive,
    ) -> Vec<Arc<ExperimentStatus>> {
        let ended = controller.ended().into_iter().filter(|(id, _)| !is_shown(id));
        let of = |(id, status): (Name, Status)| {
            if let Some(known) = self.0.get(&id) {
                return Arc::clone(known);
            }
            let known = Arc::new(read(&id, status, controller, archive));
            // A failed read is repeated at the next look: without its spec the experiment does not hold its slot.
            if known.spec.is_some() {
                self.0.insert(id, Arc::clone(&known));
            }
            known
        };
        ended.map(of).collect()
    }
}

/// The spec that an experiment had last, and its text, by what was recorded of it.
pub(super) fn last_spec(id: &str, ledger: &impl Reads, archive: &Archive) -> Option<(Arc<Experiment>, String)> {
    let changes = ledger.transitions(id).unwrap_or_default();
    let source = String::from_utf8(archive.get(&changes.last()?.spec_digest)?).ok()?;
    let spec = serin_core::caught(|| Experiment::parse(&source)).ok()?;
    Some((Arc::new(spec), source))
}

fn read(id: &Name, status: Status, controller: &Controller, archive: &Archive) -> ExperimentStatus {
    let (spec, source) = last_spec(id, controller.ledger(), archive).unzip();
    ExperimentStatus {
        id: id.to_string(),
        // Its name is not kept.
        file: String::new(),
        state: ExperimentState::Life(status.state),
        why: "ended; its file is gone, and is not needed any more".to_owned(),
        error: None,
        spec,
        source,
        status,
        pending: None,
        stale: false,
    }
}
