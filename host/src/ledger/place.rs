//! Whether the ledger's file is still the one at its path. A file that was removed, or moved away with its folder, can
//! be written to as before, and what is written is lost, or in another place than where anybody looks for it.

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use super::LedgerError;

/// A file by its device and inode.
type FileId = (u64, u64);

/// Why nothing is recorded now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// Until one succeeds.
    #[error("the ledger's last commit failed")]
    CommitFailed,
    /// Until it is back.
    #[error("the ledger's file was moved or removed: put it back; a start without it begins an empty ledger")]
    Moved,
}

/// Where the ledger was opened.
pub(super) struct Place {
    path: PathBuf,
    /// What was there then; none where the system does not say.
    opened: Option<FileId>,
    is_lost: AtomicBool,
}

impl Place {
    /// The place of a file that is there.
    pub fn of(path: &Path) -> Self {
        Self { path: path.to_owned(), opened: at(path).ok().flatten(), is_lost: AtomicBool::new(false) }
    }

    /// Looks whether the file is there, to be called about once a second.
    pub fn look(&self) {
        // Where it cannot be known it is as before: a folder that may not be looked into has lost nothing.
        let (Some(opened), Ok(found)) = (self.opened, at(&self.path)) else { return };
        let is_lost = found != Some(opened);
        if self.is_lost.swap(is_lost, Ordering::Relaxed) == is_lost {
            return;
        }
        let ledger = crate::files::shown(&self.path);
        match is_lost {
            true => tracing::error!(
                ledger,
                is = if found.is_some() { "another file" } else { "not there" },
                "the ledger's file was moved or removed: nothing is recorded, and decisions at must_log points are \
                 refused, until it is back in its place; a start without it begins an empty ledger, in which experiments \
                 that have ended begin anew"
            ),
            false => tracing::info!(ledger, "the ledger's file is back in its place: recording goes on"),
        }
    }

    /// Says whether the file was gone when it was looked for last.
    pub fn is_lost(&self) -> bool {
        self.is_lost.load(Ordering::Relaxed)
    }

    /// Refuses what would be lost, or be done on another file.
    pub fn check(&self) -> Result<(), LedgerError> {
        if self.is_lost() { Err(LedgerError::Moved(crate::files::shown(&self.path))) } else { Ok(()) }
    }
}

/// The file at a path; none where there is none.
fn at(path: &Path) -> std::io::Result<Option<FileId>> {
    match std::fs::metadata(path) {
        Ok(meta) => Ok(Some((meta.dev(), meta.ino()))),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(error),
    }
}
