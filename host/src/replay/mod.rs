//! Replay: runs a record again, and compares. Whatever the strategy saw is in the record;
//! the transcript answers its calls; what the record fixes has to come again to the byte.

mod candidate;
mod run;

use std::collections::HashMap;
use std::sync::Arc;

pub use candidate::{CandidateAnswer, compare};
pub use run::{FieldDifference, ReplayResult, replay};

use parking_lot::Mutex;
use serin_core::experiment::Experiment;
use serin_core::record::Record;

use crate::decide::RoutingTable;
use crate::registry::{Archive, Plugin};
use crate::sandbox::Engines;

/// Versions and specs by digest, from the archive, each compiled or parsed once.
pub struct ArchivedVersions {
    engines: Arc<Engines>,
    archive: Archive,
    plugins: ByDigest<Plugin>,
    specs: ByDigest<Experiment>,
    tables: ByDigest<RoutingTable>,
}

/// What is kept of a kind; a ledger with more is read with the rest made again.
const KEPT: usize = 64;

/// What was found by a digest, or that nothing was.
struct ByDigest<T>(Mutex<HashMap<String, Option<Arc<T>>>>);

impl<T> ByDigest<T> {
    fn get(&self, digest: &str, make: impl FnOnce() -> Option<T>) -> Option<Arc<T>> {
        // Held while making, so that workers that meet a new digest make it once.
        let mut known = self.0.lock();
        if let Some(found) = known.get(digest) {
            return found.clone();
        }
        if known.len() >= KEPT {
            known.clear();
        }
        let made = make().map(Arc::new);
        known.insert(digest.to_owned(), made.clone());
        made
    }
}

impl ArchivedVersions {
    /// Versions from an archive.
    pub fn new(engines: Arc<Engines>, archive: Archive) -> Self {
        let (plugins, specs) = (ByDigest(Mutex::default()), ByDigest(Mutex::default()));
        Self { engines, archive, plugins, specs, tables: ByDigest(Mutex::default()) }
    }

    /// The experiment spec with this digest; none where the archive does not have it.
    pub fn spec(&self, digest: &str) -> Option<Arc<Experiment>> {
        let parse = |bytes| Experiment::parse(&String::from_utf8(bytes).ok()?).ok();
        self.specs.get(digest, || self.archive.get(digest).and_then(parse))
    }

    /// What routing read, by its digest; none where the archive does not have it.
    pub fn routing(&self, digest: &str) -> Option<Arc<RoutingTable>> {
        self.tables.get(digest, || RoutingTable::parse(&self.archive.get(digest)?).ok())
    }

    /// Replays a record on what the archive has.
    pub fn replay(&self, record: &Record) -> ReplayResult {
        replay(record, |digest| self.get(digest), |digest| self.spec(digest), |digest| self.routing(digest))
    }

    /// The version with this digest; none where the archive does not have it.
    pub fn get(&self, digest: &str) -> Option<Arc<Plugin>> {
        self.plugins.get(digest, || Plugin::link(&self.engines, &self.archive.get(digest)?).ok())
    }
}
