//! The registry: artifacts from a watched folder, loaded off the request path, archived by
//! digest, and never taken away from a deployment that still uses them.

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

pub use admission::{Scan, judge};
pub use archive::{Archive, ArchiveError, Dropped};
pub use artifact::{
    ArtifactError, Contents, MAX_BYTES as MAX_ARTIFACT_BYTES, Plugin, check_size, peek, read, read_file,
};
pub use cases::{CaseResult, check_case};
pub use folder::{ArtifactState, ArtifactStatus, Folder};
pub use loading::{Awaited, LoadProgress};
pub use pace::{BRIEF, HELD, RunPace};
pub use patience::{link_within_patience, load_within_patience};
pub use shape::ShapeError;
pub use watch::{Stamp, Watcher, files_in};

/// The versions that can be served, by name and version.
pub type VersionsByPin = BTreeMap<Pin, Arc<Plugin>>;

/// What is said of a version that is being loaded.
pub const COMPILING: &str = "is being compiled";

/// Why a version is not among those that can be served. How long it has been compiled is left out:
/// the text is part of the deployment's fingerprint, and every second would be another deployment.
pub fn absent(pin: &Pin, versions: &VersionsByPin, loading: &[Pin]) -> String {
    if loading.contains(pin) {
        return COMPILING.to_owned();
    }
    let listed = |known: &mut dyn Iterator<Item = &Pin>| known.map(ToString::to_string).collect::<Vec<_>>().join(", ");
    match versions.len() {
        0 => "is not there; loaded: none".to_owned(),
        1..=LISTED => format!("is not there; loaded: {}", listed(&mut versions.keys())),
        _ => match listed(&mut versions.keys().rev().filter(|known| known.name == pin.name).take(LISTED)) {
            none if none.is_empty() => {
                format!("is not there, and no other version of {} is; GET /v1/plugins has all", pin.name)
            }
            newest => format!("is not there; the newest of {}: {newest}; GET /v1/plugins has all", pin.name),
        },
    }
}

/// How many versions an error lists.
const LISTED: usize = 8;

/// After which what could not be archived is tried again, in milliseconds.
pub const AGAIN_MS: u64 = 10_000;

/// How many versions are in memory, retired ones that a deployment still holds included: a
/// number that only grows is a leak.
pub fn live_versions() -> usize {
    artifact::LIVE.load(std::sync::atomic::Ordering::Relaxed)
}
