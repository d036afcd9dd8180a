//! The registry: artifacts from a watched folder, loaded off the request path, archived by
//! digest, and never taken away from a deployment that still uses them.

mod absent;
mod admission;
mod archive;
mod artifact;
mod breaker;
mod cases;
mod folder;
mod judging;
mod loader;
mod loading;
mod pace;
mod patience;
mod shape;
mod watch;

use std::collections::BTreeMap;
use std::sync::Arc;

use serin_core::experiment::Pin;

pub use absent::{COMPILING, Unserved, absent};
pub use admission::{Scan, judge};
pub use archive::{Archive, ArchiveError, Dropped};
pub use artifact::{
    ArtifactError, Contents, MAX_BYTES as MAX_ARTIFACT_BYTES, Plugin, check_size, peek, read, read_file, refused_draft,
};
pub use cases::{CaseResult, check_case};
pub use folder::{ArtifactState, ArtifactStatus, Folder};
pub use loading::{Awaited, LoadProgress};
pub use pace::{BRIEF, HELD, RunPace};
pub use patience::{late, link_within_patience, load_within_patience};
pub use shape::ShapeError;
pub use watch::{Stamp, Watcher, files_in};

/// The versions that can be served, by name and version.
pub type VersionsByPin = BTreeMap<Pin, Arc<Plugin>>;

/// After which what could not be archived is tried again, in milliseconds.
pub const AGAIN_MS: u64 = 10_000;

/// How many versions are in memory, retired ones that a deployment still holds included: a
/// number that only grows is a leak.
pub fn live_versions() -> usize {
    artifact::LIVE.load(std::sync::atomic::Ordering::Relaxed)
}
