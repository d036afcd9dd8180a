//! By what artifacts are judged before they are loaded: their signatures, and who is trusted.

use std::path::Path;
use std::sync::Arc;

use serin_core::experiment::Pin;

use super::{Archive, Stamp};
use crate::signatures::{self, Candidate, Judged, SignatureError, Trust};

/// What a scan is for.
pub struct Scan<'a> {
    /// The versions that the deployment names, or an edit of it: they are loaded first.
    pub wanted: &'a [Pin],
    /// The versions that serve.
    pub in_force: &'a [Pin],
    /// Whose signatures count.
    pub trust: &'a Arc<Trust>,
}

/// By what an artifact is judged.
#[derive(Clone, Default)]
pub(super) struct Admission {
    pub trust: Arc<Trust>,
    pub in_force: Vec<Pin>,
}

/// The grounds of a judgement: where they are others, it is judged again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Grounds {
    signature: Option<Stamp>,
    trust: String,
    pub is_in_force: bool,
}

impl Grounds {
    /// The grounds for a file, whatever is in it. Asks the file system, so not with the folder's lock held.
    pub fn of_file(trust: &Trust, path: Option<&Path>) -> Self {
        let signature = path.and_then(|path| Stamp::of(&signatures::path_of(path)));
        Self { signature, trust: trust.fingerprint().to_owned(), is_in_force: false }
    }
}

impl Admission {
    /// The grounds for a version. Asks the file system, too.
    pub fn of(&self, path: Option<&Path>, pin: Option<&Pin>) -> Grounds {
        let is_in_force = pin.is_some_and(|pin| self.in_force.contains(pin));
        Grounds { is_in_force, ..Grounds::of_file(&self.trust, path) }
    }
}

/// Judges a version's bytes by the signature beside its file, or the archived one.
///
/// # Errors
/// Why it may not be loaded.
pub fn judge(
    trust: &Trust,
    archive: Option<&Archive>,
    (pin, digest, bytes): (Option<&Pin>, &str, &[u8]),
    path: Option<&Path>,
    is_in_force: bool,
) -> Result<Judged, SignatureError> {
    let archived = archive.and_then(|archive| archive.signature(digest));
    let published = || archive?.published(pin?);
    let is_serving = is_in_force && published().is_some_and(|published| published == digest);
    trust.judge(&Candidate { bytes, path, archived, is_serving })
}
