//! Replay: runs a record again, and compares. Whatever the strategy saw is in the record;
//! the transcript answers its calls; what the record fixes has to come again to the byte.

mod candidate;
mod run;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

pub use candidate::{Comparison, compare};
pub use run::{Difference, Verdict, replay};

use serin_core::experiment::Experiment;

use crate::registry::{Archive, Plugin};
use crate::sandbox::Engines;

/// Versions by digest, from the archive, compiled once.
pub struct Versions {
    engines: Arc<Engines>,
    archive: Archive,
    loaded: Mutex<HashMap<String, Option<Arc<Plugin>>>>,
}

/// Versions kept compiled; a ledger with more is read with the rest compiled again.
const KEPT: usize = 64;

impl Versions {
    /// Versions from an archive.
    pub fn new(engines: Arc<Engines>, archive: Archive) -> Self {
        Self { engines, archive, loaded: Mutex::new(HashMap::new()) }
    }

    /// The experiment spec with this digest; none where the archive does not have it.
    pub fn spec(&self, digest: &str) -> Option<Experiment> {
        Experiment::parse(&String::from_utf8(self.archive.get(digest)?).ok()?).ok()
    }

    /// The version with this digest; none where the archive does not have it.
    pub fn get(&self, digest: &str) -> Option<Arc<Plugin>> {
        // Held while compiling, so that workers that meet a new version compile it once.
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(plugin) = loaded.get(digest) {
            return plugin.clone();
        }
        if loaded.len() >= KEPT {
            loaded.clear();
        }
        let plugin = self.archive.get(digest).and_then(|bytes| Plugin::link(&self.engines, &bytes).ok()).map(Arc::new);
        loaded.insert(digest.to_owned(), plugin.clone());
        plugin
    }
}
