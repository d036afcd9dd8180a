//! Moves what the write-ahead log holds into the database, beside the writer: done by the
//! writer itself, as SQLite does unless told otherwise, it keeps everybody who waits for a
//! commit waiting for some ten milliseconds several times a second under load.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use rusqlite::Connection;

/// How long between two rounds where the writer asks for none.
const EVERY: Duration = Duration::from_secs(1);

/// Pages in the log (64 MiB) from which it should begin anew. That is possible only where all
/// of it is moved and nobody writes, and under load there is no such moment by chance.
const MANY_PAGES: i64 = 16_384;

/// Pages that the writer moves in a millisecond or two.
const FEW_PAGES: i64 = 128;

/// Rounds in a row; each leaves less behind than the one before it.
const ROUNDS: usize = 6;

/// Runs until the writer, who nudges, is gone. `finish` asks it for the last [`round`].
pub(super) fn run(connection: &Connection, nudges: &Receiver<()>, finish: &AtomicBool) {
    while nudges.recv_timeout(EVERY) != Err(RecvTimeoutError::Disconnected) {
        match rounds(connection) {
            Ok(true) => finish.store(true, Ordering::Relaxed),
            Ok(false) => {}
            // The log grows until it succeeds; commits do not depend on it.
            Err(error) => tracing::warn!(%error, "the ledger's log was not checkpointed"),
        }
    }
}

/// Says whether the writer should do the rest.
fn rounds(connection: &Connection) -> Result<bool, rusqlite::Error> {
    let mut pages = round(connection)?;
    if pages < MANY_PAGES {
        return Ok(false);
    }
    for _ in 0..ROUNDS {
        let before = std::mem::replace(&mut pages, round(connection)?);
        if pages - before < FEW_PAGES {
            break;
        }
    }
    Ok(true)
}

/// Moves what can be moved without waiting for anybody; the pages that the log has.
pub(super) fn round(connection: &Connection) -> Result<i64, rusqlite::Error> {
    connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| row.get(1))
}
