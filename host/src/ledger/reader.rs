//! Opening a ledger to read it, beside its host or after it.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::packed::Dictionaries;
use super::{LedgerError, schema};
use crate::files;

/// Takes the ledger at `path` for this process, as its one host does, until the result is dropped. The folder has to be
/// there.
///
/// # Errors
/// That a host is running on it.
pub fn lock(path: &Path) -> Result<File, LedgerError> {
    let beside = path.with_extension("lock");
    let lock = files::open_private(&beside).map_err(|e| LedgerError::Database(format!("{}: {e}", beside.display())))?;
    lock.try_lock().map_err(|_| LedgerError::Locked(path.display().to_string()))?;
    Ok(lock)
}

/// The version of the schema of the ledger at `path`, which this program knows.
///
/// # Errors
/// SQLite's error, or that the schema is newer.
pub fn schema_version(path: &Path) -> Result<i64, LedgerError> {
    known(path).map(|(_, version)| version)
}

/// Opens a ledger of a schema that is known.
fn known(path: &Path) -> Result<(Connection, i64), LedgerError> {
    let opened = reader(path).and_then(|reader| {
        let version = schema::check_version(&reader)?;
        Ok((reader, version))
    });
    opened.map_err(|error| error.explained(path))
}

/// A reader of a ledger, of a stopped or a running host.
pub struct LedgerReader {
    pub(super) connection: Connection,
    pub(super) dictionaries: Dictionaries,
}

impl LedgerReader {
    /// Opens the ledger at `path` for reading.
    ///
    /// # Errors
    /// SQLite's error, or that the schema is an older or a newer one.
    pub fn open(path: &Path) -> Result<Self, LedgerError> {
        let (connection, found) = known(path)?;
        if found < schema::SCHEMA {
            return Err(LedgerError::TooOld { found, known: schema::SCHEMA });
        }
        Ok(Self { connection, dictionaries: Dictionaries::default() })
    }

    /// As [`LedgerReader::open`], where what is read has been there for long. What has not is SQLite's error.
    ///
    /// # Errors
    /// SQLite's error, or that the schema is newer.
    pub fn open_older(path: &Path) -> Result<Self, LedgerError> {
        let (connection, _) = known(path)?;
        Ok(Self { connection, dictionaries: Dictionaries::default() })
    }
}

/// A connection that reads, and writes nothing.
pub(super) fn reader(path: &Path) -> Result<Connection, LedgerError> {
    // Not read-only: a reader of a write-ahead log needs its shared-memory file, and creates it if
    // the host has stopped.
    let connection =
        Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)
            .map_err(|e| LedgerError::Database(format!("{}: {e}", path.display())))?;
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.pragma_update(None, "query_only", true)?;
    Ok(connection)
}

impl LedgerError {
    /// With what the system says of the database at `path`, where that is why it cannot be opened.
    fn explained(self, path: &Path) -> Self {
        match (self, files::why_unopened(path)) {
            (Self::Database(error), Some(why)) => Self::Database(format!("{error}: {why}")),
            (error, _) => error,
        }
    }
}
