//! A backup: the ledger, the features and the archive in one file, which another host can be restored from. The cache
//! of compiled code is not in it.

mod contents;
mod read;
mod restore;
mod target;
mod write;

use std::path::{Path, PathBuf};

pub use restore::{Restored, is_unfinished, restore};
pub use target::{Kept, may_be_written};
pub use write::{Written, write};

use crate::files;
use crate::ledger::LedgerError;

/// What a backup is of, and where a restore puts it.
#[derive(Debug, Clone)]
pub struct Places {
    /// The ledger's database.
    pub ledger: PathBuf,
    /// The feature store's database.
    pub features: PathBuf,
    /// The archive's folder.
    pub archive: PathBuf,
    /// The folder that all of it is in.
    pub data: PathBuf,
}

impl Places {
    /// The places of a host whose ledger is at `ledger`, in the folder `data`.
    pub fn of(ledger: &Path, data: PathBuf) -> Self {
        let (features, archive) = (data.join("features.db"), data.join("archive"));
        Self { ledger: ledger.to_owned(), features, archive, data }
    }
}

/// Why nothing was backed up or restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// A file or folder.
    #[error("{file}: {why}")]
    File {
        /// The file.
        file: String,
        /// What is wrong, and what would be valid.
        why: String,
    },
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl BackupError {
    fn of(file: &Path, why: impl std::fmt::Display) -> Self {
        Self::File { file: files::shown(file), why: why.to_string() }
    }
}

/// Turns an error of the operating system into one that names the file.
fn at(file: &Path) -> impl Fn(std::io::Error) -> BackupError + '_ {
    move |error| BackupError::of(file, error)
}
