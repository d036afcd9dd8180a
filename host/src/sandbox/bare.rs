//! The floor under a run, for benchmarks: wasmtime instantiates, calls and drops, with the same
//! engine, the same linking and the same limits, and nothing is converted, checked or recorded.

use std::sync::Arc;
use std::time::Duration;

use serin_core::limits::Limits;
use wasmtime::{Result, Store};

use super::bindings::Strategy;
use super::bindings::serin::decision::types;
use super::state::State;
use super::{Linked, Run, context};
use crate::clock::Budget;

/// A run that is prepared as far as it can be.
pub struct Bare<'l> {
    linked: &'l Linked,
    context: types::Context,
    limits: Limits,
}

impl<'l> Bare<'l> {
    /// Prepares a run of `linked`.
    pub fn new(linked: &'l Linked, run: &Run<'_>, limits: Limits) -> Self {
        Self { linked, context: context(run), limits }
    }

    fn start(&self, fuel: u64) -> Result<(Store<State>, Strategy)> {
        let state = State::new(self.limits, Budget::new(Duration::ZERO), Arc::clone(&self.linked.callable), None);
        let mut store = Store::new(&self.linked.code.engine, state);
        // Refused where nothing is metered.
        if store.set_fuel(fuel).is_ok() {
            // An hour: a busy machine must not end a measurement.
            store.set_epoch_deadline(3_600_000);
        }
        let instance = self.linked.code.pre.instantiate(&mut store)?;
        Ok((store, instance))
    }

    /// Instantiates, and drops the instance.
    ///
    /// # Errors
    /// What wasmtime says.
    pub fn instantiate(&self) -> Result<()> {
        self.start(self.limits.fuel).map(drop)
    }

    /// Instantiates, calls and drops; the number of candidates.
    ///
    /// # Errors
    /// What wasmtime says.
    pub fn call(&self) -> Result<usize> {
        let (mut store, instance) = self.start(self.limits.fuel)?;
        Ok(instance.call_decide(&mut store, &self.context)?.map_or(0, |decision| decision.candidates.len()))
    }

    /// Calls of one instance, which a host that promises fresh ones never makes.
    ///
    /// # Errors
    /// What wasmtime says.
    pub fn resident(self) -> Result<impl FnMut() -> Result<usize>> {
        let (mut store, instance) = self.start(u64::MAX)?;
        Ok(move || Ok(instance.call_decide(&mut store, &self.context)?.map_or(0, |decision| decision.candidates.len())))
    }
}
