//! The archive: everything that a record may refer to, kept by digest beside the ledger. The
//! folders that are watched are the user's; what they lose, the archive still has.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use serin_core::experiment::Pin;

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
}

impl Archive {
    /// The archive at `root`, to be read; none where no host has made one there.
    pub fn at(root: &Path) -> Option<Self> {
        root.is_dir().then(|| Self { root: root.to_owned() })
    }

    /// The archive at `root`; the folders are made.
    ///
    /// # Errors
    /// What the file system says.
    pub fn open(root: &Path) -> Result<Self, ArchiveError> {
        let archive = Self { root: root.to_owned() };
        for dir in ["blobs", "applied"] {
            let path = root.join(dir);
            std::fs::create_dir_all(&path).map_err(|e| failed(&path, e))?;
        }
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
        let digest = serin_core::digest(bytes);
        let path = self.blob(&digest);
        // Read back, where there is one: a blob that is no longer what it was is written anew.
        if self.get(&digest).is_none() {
            write_whole(&path, bytes)?;
        }
        Ok(digest)
    }

    /// The bytes of a digest; none where they are not here, or are no longer what they were.
    pub fn get(&self, digest: &str) -> Option<Vec<u8>> {
        let bytes = std::fs::read(self.blob(digest)).ok()?;
        (serin_core::digest(&bytes) == digest).then_some(bytes)
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

    /// The digests that `name` of a kind was applied with last.
    pub fn applied(&self, kind: &str, name: &str) -> Option<Vec<String>> {
        let text = std::fs::read_to_string(self.pointer(kind, name)).ok()?;
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
    let part = path.with_extension(format!("{}.part", std::process::id()));
    let written = std::fs::File::create(&part).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    let renamed = written.and_then(|()| std::fs::rename(&part, path));
    // The name is the folder's: without this a power cut could take it back.
    let kept = renamed.and_then(|()| path.parent().map_or(Ok(()), |dir| std::fs::File::open(dir)?.sync_all()));
    kept.map_err(|e| failed(path, e))
}
