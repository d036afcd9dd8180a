//! Code in memory. Versions that differ in their manifests or cases alone have the same code: it is
//! compiled, linked and kept once for all of them, and freed with the last.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use wasmtime::Engine;

use super::bindings::StrategyPre;
use super::state::State;
use super::turns::Turns;

/// Compiled code, linked to what it imports.
pub(super) struct LinkedCode {
    pub engine: Engine,
    pub pre: StrategyPre<State>,
    pub turns: Arc<Turns>,
}

/// The code of all versions in memory, by what it was compiled from.
#[derive(Default)]
pub(super) struct SharedCode(Mutex<HashMap<String, Weak<LinkedCode>>>);

impl SharedCode {
    /// The code under `key`; it is linked where no version has it yet.
    pub fn get_or_link<E>(
        &self,
        key: String,
        link: impl FnOnce() -> Result<LinkedCode, E>,
    ) -> Result<Arc<LinkedCode>, E> {
        if let Some(known) = self.0.lock().get(&key).and_then(Weak::upgrade) {
            return Ok(known);
        }
        // Not under the lock: an interpreter takes seconds.
        let linked = Arc::new(link()?);
        let mut known = self.0.lock();
        if let Some(other) = known.get(&key).and_then(Weak::upgrade) {
            return Ok(other);
        }
        known.retain(|_, code| code.strong_count() > 0);
        known.insert(key, Arc::downgrade(&linked));
        Ok(linked)
    }
}
