//! Moves what the write-ahead log holds into the database, beside the writer: done by the
//! writer itself, as SQLite does unless told otherwise, it keeps everybody who waits for a
//! commit waiting for some ten milliseconds several times a second under load.

use std::fs::File;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use rusqlite::Connection;
use rustix::fs::{Advice, fadvise};

/// How long between two rounds where the writer asks for none.
const EVERY: Duration = Duration::from_secs(1);

/// Pages in the log (256 MiB) from which it should begin anew. That is possible only where all
/// of it is moved and nobody writes, and under load there is no such moment by chance: the
/// writer has to make one, and then waits for the disk three times. Seldom, therefore.
const MANY_PAGES: i64 = 65_536;

/// Pages that the writer moves in a millisecond or two.
const FEW_PAGES: i64 = 128;

/// Rounds in a row; each leaves less behind than the one before it.
const ROUNDS: usize = 6;

/// Bytes of the log for a page of it: its content, and a header.
const FRAME: u64 = 4096 + 24;

/// Bytes that are held ready where the log is written next: more than is written while a round
/// waits for a slow disk.
const AHEAD: NonZeroU64 = NonZeroU64::new(32 << 20).unwrap();
/// Bytes that the log grows by until that is looked after again.
const STEP: u64 = 8 << 20;

/// Runs until the writer, who nudges, is gone. `finish` asks it for the last [`round`].
pub(super) fn run(connection: &Connection, log: PathBuf, nudges: &Receiver<()>, finish: &AtomicBool) {
    let mut log = Log { path: log, file: None, held_at: None };
    while nudges.recv_timeout(EVERY) != Err(RecvTimeoutError::Disconnected) {
        match rounds(connection) {
            Ok(pages) => {
                log.hold_ready(pages);
                if pages >= MANY_PAGES {
                    finish.store(true, Ordering::Relaxed);
                }
            }
            // The log grows until it succeeds; commits do not depend on it.
            Err(error) => tracing::warn!(%error, "the ledger's log was not checkpointed"),
        }
    }
}

/// Moves pages on; the number that the log has. Where they are many, hardly one of them is left
/// to be moved, and the writer should do the rest.
fn rounds(connection: &Connection) -> Result<i64, rusqlite::Error> {
    let mut pages = round(connection)?;
    if pages >= MANY_PAGES {
        for _ in 0..ROUNDS {
            let before = std::mem::replace(&mut pages, round(connection)?);
            if pages - before < FEW_PAGES {
                break;
            }
        }
    }
    Ok(pages)
}

/// The log's file.
struct Log {
    path: PathBuf,
    /// Open, once it is there.
    file: Option<File>,
    /// Where it was written when it was looked after last.
    held_at: Option<u64>,
}

impl Log {
    /// Has the system read what the log overwrites next, if it has let go of it. The log is
    /// written over and over from its beginning, and its pages are not aligned: where the old
    /// content is not in memory, each write would wait for the disk to read it, and every
    /// answer behind it. Tens of milliseconds at a time, where memory is scarce.
    fn hold_ready(&mut self, pages: i64) {
        let next = u64::try_from(pages).unwrap_or_default() * FRAME;
        if self.held_at.is_some_and(|at| (at..at + STEP).contains(&next)) {
            return;
        }
        if self.file.is_none() {
            self.file = File::open(&self.path).ok();
        }
        let Some(file) = &self.file else { return };
        self.held_at = Some(next);
        // It may begin anew at any moment.
        for at in [next, 0] {
            // Advice: without it writes are slower at worst.
            let _ = fadvise(file, at, Some(AHEAD), Advice::WillNeed);
        }
    }
}

/// Moves what can be moved without waiting for anybody; the pages that the log has.
pub(super) fn round(connection: &Connection) -> Result<i64, rusqlite::Error> {
    connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| row.get(1))
}
