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
use crate::registry::{Archive, ArchiveError, Plugin};
use crate::sandbox::Engines;

/// Versions and specs by digest, from the archive, each compiled or parsed once.
pub struct ArchivedVersions {
    engines: Arc<Engines>,
    archive: Archive,
    plugins: ByDigest<Plugin>,
    specs: ByDigest<Experiment>,
    tables: ByDigest<RoutingTable>,
    /// What the archive has and is not what its digest says.
    altered: ByDigest<bool>,
}

/// What is kept of a kind; a ledger with more is read with the rest made again.
const KEPT: usize = 64;
/// Bytes of the artifacts whose versions are kept. An interpreter takes some 20 MB, and its code four times that.
const KEPT_BYTES: usize = 64 << 20;

/// What was found by a digest, or that nothing was.
struct ByDigest<T> {
    known: Mutex<HashMap<String, Option<Arc<T>>>>,
    /// What one of them counts of [`KEPT_BYTES`].
    bytes: fn(&T) -> usize,
}

impl<T> ByDigest<T> {
    fn new(bytes: fn(&T) -> usize) -> Self {
        Self { known: Mutex::default(), bytes }
    }

    fn forget(&self, digest: &str) {
        self.known.lock().remove(digest);
    }

    fn get(&self, digest: &str, make: impl FnOnce() -> Option<T>) -> Option<Arc<T>> {
        // Held while making, so that workers that meet a new digest make it once.
        let mut known = self.known.lock();
        if let Some(found) = known.get(digest) {
            return found.clone();
        }
        let made = make().map(Arc::new);
        let bytes: usize = known.values().flatten().chain(&made).map(|kept| (self.bytes)(kept)).sum();
        if known.len() >= KEPT || bytes > KEPT_BYTES {
            known.clear();
        }
        known.insert(digest.to_owned(), made.clone());
        made
    }
}

impl ArchivedVersions {
    /// Versions from an archive.
    pub fn new(engines: Arc<Engines>, archive: Archive) -> Self {
        let plugins = ByDigest::new(|plugin: &Plugin| plugin.contents.size);
        let (specs, tables, altered) = (ByDigest::new(|_| 0), ByDigest::new(|_| 0), ByDigest::new(|_| 0));
        Self { engines, archive, plugins, specs, tables, altered }
    }

    /// The experiment spec with this digest; none where the archive does not have it.
    pub fn spec(&self, digest: &str) -> Option<Arc<Experiment>> {
        let parse = |bytes| Experiment::parse(&String::from_utf8(bytes).ok()?).ok();
        self.specs.get(digest, || self.archive.get(digest).and_then(parse))
    }

    /// Keeps the text of a spec by its digest, so that what is decided about it can be shown later.
    ///
    /// # Errors
    /// What the file system says.
    pub fn keep_spec(&self, spec: &Experiment) -> Result<(), ArchiveError> {
        let digest = self.archive.put(spec.text.as_bytes())?;
        // That it was not there may be known.
        self.specs.forget(&digest);
        Ok(())
    }

    /// What routing read, by its digest; none where the archive does not have it.
    pub fn routing(&self, digest: &str) -> Option<Arc<RoutingTable>> {
        self.tables.get(digest, || RoutingTable::parse(&self.archive.get(digest)?).ok())
    }

    /// Replays a record on what the archive has.
    pub fn replay(&self, record: &Record) -> ReplayResult {
        let found =
            replay(record, |digest| self.get(digest), |digest| self.spec(digest), |digest| self.routing(digest));
        match found {
            ReplayResult::NotReplayable(why) => ReplayResult::NotReplayable(self.altered(record, why)),
            found => found,
        }
    }

    /// Why a record cannot be replayed, where the archive has what it lacks, and not as it was.
    fn altered(&self, record: &Record, why: String) -> String {
        let assignment = record.routing.assignment.as_ref();
        let digests = record.attempts.iter().map(|attempt| &*attempt.strategy.digest);
        let mut digests = digests.chain(assignment.map(|of| &*of.spec_digest)).chain(record.deployment.as_deref());
        let is_altered = |digest: &str| {
            let altered = self.altered.get(digest, || Some(self.archive.is_altered(digest)));
            altered.is_some_and(|altered| *altered)
        };
        match why.split_once(" is not in the archive") {
            Some((what, _)) if digests.any(|digest| what.contains(digest) && is_altered(digest)) => {
                let what = what.trim_end_matches(',');
                format!("{what} was altered in the archive: its file is not what its digest says any more")
            }
            _ => why,
        }
    }

    /// The version with this digest; none where the archive does not have it.
    pub fn get(&self, digest: &str) -> Option<Arc<Plugin>> {
        self.plugins.get(digest, || Plugin::link(&self.engines, &self.archive.get(digest)?).ok())
    }
}
