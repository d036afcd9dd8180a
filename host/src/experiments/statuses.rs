//! The statuses of experiments as they are committed. Whoever reads them waits for nobody, however long a commit takes.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::{Mutex, MutexGuard};
use serin_core::Name;
use serin_core::experiment::Status;

/// The statuses by their experiments' ids.
pub struct Statuses {
    committed: ArcSwap<BTreeMap<Name, Status>>,
    /// For who changes one: held as long as the disk takes.
    changing: Mutex<()>,
}

impl Statuses {
    /// The statuses that the ledger has.
    pub fn new(known: Vec<(Name, Status)>) -> Self {
        Self { committed: ArcSwap::from_pointee(known.into_iter().collect()), changing: Mutex::default() }
    }

    /// The status of an experiment; a draft if it is unknown.
    pub fn get(&self, id: &str) -> Status {
        self.committed.load().get(id).cloned().unwrap_or_default()
    }

    /// The experiments that have ended, with their statuses.
    pub fn ended(&self) -> Vec<(Name, Status)> {
        let committed = self.committed.load();
        let ended = committed.iter().filter(|(_, status)| status.state.is_ended());
        ended.map(|(id, status)| (id.clone(), status.clone())).collect()
    }

    /// Keeps everybody else from changing a status, until the change is dropped.
    pub fn change(&self) -> Change<'_> {
        Change { statuses: self, _one: self.changing.lock() }
    }
}

/// The only change that is under way.
pub struct Change<'s> {
    statuses: &'s Statuses,
    _one: MutexGuard<'s, ()>,
}

impl Change<'_> {
    /// Takes over the status of one experiment, which is committed.
    pub fn committed(&self, id: Name, status: Status) {
        let mut all = BTreeMap::clone(&self.statuses.committed.load());
        all.insert(id, status);
        self.statuses.committed.store(Arc::new(all));
    }

    /// Takes over the statuses that the ledger has.
    pub fn known(&self, known: Vec<(Name, Status)>) {
        self.statuses.committed.store(Arc::new(known.into_iter().collect()));
    }
}
