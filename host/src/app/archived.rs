//! Experiments that have ended and whose file is another one's by now: the ledger has their status and report, and the
//! archive their spec.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serin_core::Name;
use serin_core::experiment::{Experiment, Status};

use crate::experiments::{Controller, ExperimentState, ExperimentStatus};
use crate::ledger::Reads as _;
use crate::registry::Archive;

/// The statuses that were read. An ended experiment does not change, so each is read once.
#[derive(Default)]
pub(super) struct ArchivedExperiments(BTreeMap<Name, Arc<ExperimentStatus>>);

impl ArchivedExperiments {
    /// Those that are not among the experiments of the files.
    pub fn beside(
        &mut self,
        shown: &[ExperimentStatus],
        controller: &Controller,
        archive: &Archive,
    ) -> Vec<Arc<ExperimentStatus>> {
        let shown: BTreeSet<&str> = shown.iter().map(|status| &*status.id).collect();
        let ended = controller.ended().into_iter().filter(|(id, _)| !shown.contains(&**id));
        let of = |(id, status): (Name, Status)| {
            let known = self.0.entry(id).or_insert_with_key(|id| Arc::new(read(id, status, controller, archive)));
            Arc::clone(known)
        };
        ended.map(of).collect()
    }
}

fn read(id: &Name, status: Status, controller: &Controller, archive: &Archive) -> ExperimentStatus {
    let changes = controller.ledger().transitions(id).unwrap_or_default();
    let source = changes.last().and_then(|last| String::from_utf8(archive.get(&last.spec_digest)?).ok());
    let spec = source.as_deref().and_then(|text| serin_core::caught(|| Experiment::parse(text)).ok());
    ExperimentStatus {
        id: id.to_string(),
        // Its name is not kept.
        file: String::new(),
        state: ExperimentState::Life(status.state),
        why: "ended; its file is gone, and is not needed any more".to_owned(),
        error: None,
        spec: spec.map(Arc::new),
        source,
        status,
        pending: None,
        stale: false,
    }
}
