//! The open windows of experiments with adaptive shares. They outlive a deployment, and are read from
//! the ledger when an experiment is first bound.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use serin_core::Name;
use serin_core::experiment::{Experiment, Status};

use crate::decide::{OpenWindows, RewardWindows};
use crate::ledger::Ledger;

/// The open windows by experiment.
#[derive(Default)]
pub(super) struct WindowsById(Mutex<HashMap<Name, Arc<OpenWindows>>>);

impl WindowsById {
    /// The open windows of an experiment that takes units; none if its shares are fixed.
    ///
    /// # Errors
    /// That the ledger cannot be read.
    pub fn of(
        &self,
        ledger: &Ledger,
        spec: &Experiment,
        status: &Status,
        now_ms: u64,
    ) -> Result<Option<RewardWindows>, String> {
        let Some(length_ms) = spec.reward_window_ms().filter(|_| status.state.takes_units()) else { return Ok(None) };
        let mut known = self.0.lock();
        let open = match known.get(&spec.id) {
            Some(open) => Arc::clone(open),
            None => {
                let open = Arc::<OpenWindows>::default();
                ledger
                    .entries(&spec.id, length_ms, now_ms, |unit, batch, at_ms| open.restore(unit, batch, at_ms))
                    .map_err(|error| {
                        format!("its units cannot be read from the ledger, and that is retried: {error}")
                    })?;
                known.insert(spec.id.clone(), Arc::clone(&open));
                open
            }
        };
        open.know(&status.batches);
        Ok(Some(RewardWindows { open, length_ms }))
    }

    /// Drops those of all other experiments.
    pub fn keep(&self, is_in_force: impl Fn(&str) -> bool) {
        self.0.lock().retain(|id, _| is_in_force(id));
    }
}
