//! The archive: everything that a record may refer to, kept by digest beside the ledger. The
//! folders that are watched are the user's; what they lose, the archive still has.

mod expiry;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub use expiry::Dropped;
use parking_lot::Mutex;

use serin_core::experiment::Pin;

use crate::files;
use crate::signatures;

/// Why the archive could not be used.
#[derive(Debug, thiserror::Error)]
#[error("archive {path}: {why}")]
pub struct ArchiveError {
    path: String,
    why: String,
}

/// A folder of blobs by digest, and of names that point to the digest applied last.
#[derive(Debug, Clone)]
pub struct Archive {
    root: PathBuf,
    /// Held while a file is dropped, or noted to be in use.
    dropping: Arc<Mutex<()>>,
}

impl Archive {
    /// The archive at `root`, to be read; none where no host has made one there.
    pub fn at(root: &Path) -> Option<Self> {
        root.is_dir().then(|| Self { root: root.to_owned(), dropping: Arc::default() })
    }

    /// The archive at `root`, for the one host that writes to it; the folders are made.
    ///
    /// # Errors
    /// What the file system says.
    pub fn open(root: &Path) -> Result<Self, ArchiveError> {
        let archive = Self { root: root.to_owned(), dropping: Arc::default() };
        for dir in ["blobs", "applied"] {
            let path = root.join(dir);
            files::create_private_dir(&path).map_err(|e| failed(&path, e))?;
            remove_partial(&path).map_err(|e| failed(&path, e))?;
        }
        archive.make_lock().and_then(|()| archive.date()).map_err(|e| failed(root, e))?;
        Ok(archive)
    }

    fn blob(&self, digest: &str) -> PathBuf {
        self.root.join("blobs").join(digest.strip_prefix("sha256:").unwrap_or(digest))
    }

    fn pointer(&self, kind: &str, name: &str) -> PathBuf {
        self.root.join("applied").join(format!("{kind}-{name}"))
    }

    /// Keeps `bytes`, and returns their digest.
    ///
    /// # Errors
    /// What the file system says; then nothing is half-written under the digest's name.
    pub fn put(&self, bytes: &[u8]) -> Result<String, ArchiveError> {
        let digest = crate::digest::digest(bytes);
        let path = self.blob(&digest);
        self.note_put(&path);
        // Read back, where there is one: a blob that is no longer what it was is written anew.
        if self.get(&digest).is_none() {
            write_whole(&path, bytes)?;
        }
        Ok(digest)
    }

    /// The bytes of a digest; none where they are not here, or are no longer what they were.
    pub fn get(&self, digest: &str) -> Option<Vec<u8>> {
        let bytes = files::read_bounded(&self.blob(digest), files::MAX_MODEL_BYTES).ok()?;
        (crate::digest::digest(&bytes) == digest).then_some(bytes)
    }

    /// Says whether there is a file of a digest, and not what the digest says.
    pub fn is_altered(&self, digest: &str) -> bool {
        self.get(digest).is_none() && self.blob(digest).exists()
    }

    /// Keeps the valid signature of a blob beside it, under the name that `minisign` looks for.
    ///
    /// # Errors
    /// What the file system says.
    pub fn put_signature(&self, digest: &str, text: &str) -> Result<(), ArchiveError> {
        if self.signature(digest).is_some_and(|known| known == text) {
            return Ok(());
        }
        write_whole(&signatures::path_of(&self.blob(digest)), text.as_bytes())
    }

    /// The signature that a blob was archived with.
    pub fn signature(&self, digest: &str) -> Option<String> {
        signatures::read_beside(&self.blob(digest)).ok().flatten()
    }

    /// Notes that `name` of a kind was applied with these digests.
    ///
    /// # Errors
    /// What the file system says.
    pub fn apply(&self, kind: &str, name: &str, digests: &[&str]) -> Result<(), ArchiveError> {
        if self.applied(kind, name).is_some_and(|known| known == digests) {
            return Ok(());
        }
        write_whole(&self.pointer(kind, name), digests.join("\n").as_bytes())
    }

    /// Notes that `name` of a kind is not applied any more.
    ///
    /// # Errors
    /// What the file system says.
    pub fn withdraw(&self, kind: &str, name: &str) -> Result<(), ArchiveError> {
        let path = self.pointer(kind, name);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(failed(&path, error)),
            _ => Ok(()),
        }
    }

    /// The digests that `name` of a kind was applied with last.
    pub fn applied(&self, kind: &str, name: &str) -> Option<Vec<String>> {
        let text = files::read_text(&self.pointer(kind, name), files::MAX_TEXT_BYTES).ok()?;
        Some(text.lines().map(str::to_owned).collect())
    }

    /// The digest with which a version of a strategy was published; none where it never was.
    pub fn published(&self, pin: &Pin) -> Option<String> {
        self.applied("plugin", &pin.to_string())?.into_iter().next()
    }

    /// A published version is immutable, across restarts too.
    ///
    /// # Errors
    /// The digest that it was published with, where `digest` is another.
    pub fn admits(&self, pin: &Pin, digest: &str) -> Result<(), String> {
        match self.published(pin) {
            Some(published) if published != digest => Err(format!(
                "{pin} was published as {published} already, and this file is {digest}; a published version does not change: raise the version (or run 'serin serve --dev')"
            )),
            _ => Ok(()),
        }
    }

    /// All files that are kept, below the archive's folder. Pointers come first: what one points to was kept before it.
    ///
    /// # Errors
    /// What the file system says.
    pub fn files(&self) -> std::io::Result<Vec<String>> {
        let mut files = Vec::new();
        for folder in ["applied", "blobs"] {
            let mut names = Vec::new();
            for entry in std::fs::read_dir(self.root.join(folder))? {
                let name = entry?.file_name();
                names.extend(
                    name.to_str().filter(|name| !name.ends_with(PARTIAL)).map(|name| format!("{folder}/{name}")),
                );
            }
            names.sort();
            files.extend(names);
        }
        Ok(files)
    }

    /// The names of a kind that were ever applied.
    pub fn names(&self, kind: &str) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.root.join("applied")) else {
            return Vec::new();
        };
        let prefix = format!("{kind}-");
        let mut names: Vec<String> = entries
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.strip_prefix(&prefix).map(str::to_owned))
            .filter(|name| !name.ends_with(".part"))
            .collect();
        names.sort();
        names
    }
}

fn failed(path: &Path, why: impl std::fmt::Display) -> ArchiveError {
    ArchiveError { path: path.display().to_string(), why: why.to_string() }
}

/// Writes beside the file, then renames: a reader sees the old file or the new one.
fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), ArchiveError> {
    let written = || {
        let dir = path.parent().unwrap_or(Path::new("."));
        let part = dir.join(partial_name());
        let renamed = write(&part, bytes).and_then(|()| std::fs::rename(&part, path));
        if renamed.is_err() {
            // What is wrong is said already, and the next start tries again to remove it.
            let _ = std::fs::remove_file(&part);
        }
        renamed?;
        // The name is the folder's: without this a power cut could take it back.
        std::fs::File::open(dir)?.sync_all()
    };
    written().map_err(|e| failed(path, e))
}

fn write(part: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = files::open_private(part)?;
    file.set_len(0)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// A name that nothing in the archive has.
fn partial_name() -> String {
    static WRITTEN: AtomicU64 = AtomicU64::new(0);
    format!(".{}-{}{PARTIAL}", std::process::id(), WRITTEN.fetch_add(1, Ordering::Relaxed))
}

/// How the names of files end that are being written.
const PARTIAL: &str = ".part";

/// Removes what a host that was killed had begun to write.
fn remove_partial(dir: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with('.') && name.ends_with(PARTIAL) {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(root: &Path) -> Vec<String> {
        let names = |dir: &str| {
            let entries = std::fs::read_dir(root.join(dir)).expect("reads");
            entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect::<Vec<_>>()
        };
        [names("blobs"), names("applied")].concat()
    }

    #[test]
    fn what_cannot_be_kept_leaves_nothing_behind() {
        let dir = tempfile::tempdir().expect("a folder");
        let archive = Archive::open(dir.path()).expect("opens");
        archive.apply("plugin", &"x".repeat(300), &["sha256:1"]).expect_err("no file has so long a name");
        assert_eq!(left(dir.path()), Vec::<String>::new());
        // Names that differ after their last dot alone are different files all the way.
        archive.apply("plugin", "p@1.0.0+a", &["sha256:1"]).expect("kept");
        archive.apply("plugin", "p@1.0.0+b", &["sha256:2"]).expect("kept");
        assert_eq!(archive.applied("plugin", "p@1.0.0+a"), Some(vec!["sha256:1".to_owned()]));
    }

    #[test]
    fn what_a_killed_host_had_begun_is_removed_at_the_next_start() {
        let dir = tempfile::tempdir().expect("a folder");
        let archive = Archive::open(dir.path()).expect("opens");
        let digest = archive.put(b"kept").expect("kept");
        std::fs::write(dir.path().join("blobs").join(partial_name()), "hal").expect("writes");
        let archive = Archive::open(dir.path()).expect("opens");
        assert_eq!((archive.get(&digest).as_deref(), left(dir.path()).len()), (Some(&b"kept"[..]), 1));
    }
}
