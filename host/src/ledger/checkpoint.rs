//! Checkpoints the write-ahead log on a thread of its own. SQLite's default is to checkpoint on the
//! writer's thread, which under load delays all waiting commits by about ten milliseconds several
//! times a second.

use std::fs::File;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use rusqlite::Connection;
use rustix::fs::{Advice, fadvise};

use super::log_readers::{beside, readers};
use super::place::Place;
use crate::clock::Stopwatch;
use crate::telemetry::{Metrics, log_limited};

/// The interval of checkpoints unless the writer requests one.
const EVERY: Duration = Duration::from_secs(1);

/// Pages in the log (512 MiB) from which the log should be reset. A reset needs a complete
/// checkpoint while nobody writes, and under load that does not happen by chance. The writer has to
/// pause for it, and then waits for the disk three times, so it is done rarely.
pub(super) const MANY_PAGES: i64 = 131_072;

/// Pages that the writer checkpoints in a millisecond or two.
const FEW_PAGES: i64 = 128;

/// The most checkpoints in a row; each leaves fewer pages than the one before.
const ROUNDS: usize = 6;

/// Bytes of a frame in the log: a page and its header.
pub(super) const FRAME: u64 = 4096 + 24;

/// Bytes to read ahead where the log is overwritten next: more than is written while a checkpoint
/// waits for a slow disk.
const AHEAD: NonZeroU64 = NonZeroU64::new(32 << 20).unwrap();
/// Bytes of growth after which the read-ahead is repeated.
const STEP: u64 = 8 << 20;

/// Pages (16 MiB) that cannot be checkpointed, from which a reader is taken to block the
/// checkpoint.
const BLOCKED_PAGES: i64 = 4_096;
/// How long a checkpoint must be blocked before a warning: a report takes a second or two.
const BLOCKED_US: u64 = 3_000_000;

/// The result of a checkpoint.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moved {
    /// Pages in the log.
    pages: i64,
    /// Pages of them that are checkpointed.
    moved: i64,
}

/// Runs until the writer, the sender of `nudges`, is gone. `finish` requests the last [`round`]
/// from the writer. It looks after the ledger's place, too.
pub(super) fn run(connection: &Connection, log: &mut Log, nudges: &Receiver<()>, finish: &AtomicBool, place: &Place) {
    while nudges.recv_timeout(EVERY) != Err(RecvTimeoutError::Disconnected) {
        place.look();
        match rounds(connection) {
            Ok(moved) => {
                log.hold_ready(moved.pages);
                log.watch(moved);
                // A reset fails while a reader blocks it.
                if moved.pages >= MANY_PAGES && moved.pages - moved.moved < BLOCKED_PAGES {
                    finish.store(true, Ordering::Relaxed);
                }
            }
            // The log grows until it succeeds; commits do not depend on it.
            Err(error) => log_limited!(warn, %error, "the ledger's log was not checkpointed"),
        }
    }
}

/// Checkpoints pages. For a large log it repeats until few pages are left, which the writer then
/// finishes.
fn rounds(connection: &Connection) -> Result<Moved, rusqlite::Error> {
    let mut found = round(connection)?;
    if found.pages >= MANY_PAGES {
        for _ in 0..ROUNDS {
            let before = std::mem::replace(&mut found, round(connection)?);
            if found.pages - before.pages < FEW_PAGES {
                break;
            }
        }
    }
    Ok(found)
}

/// The log's file.
pub(super) struct Log {
    database: PathBuf,
    path: PathBuf,
    metrics: Arc<Metrics>,
    /// Open once the file exists.
    file: Option<File>,
    /// The position of the log at the last read-ahead.
    held_at: Option<u64>,
    blocked: Option<Blocked>,
}

/// A reader blocks the checkpoint of pages that were written since it began.
struct Blocked {
    since: Stopwatch,
    us: u64,
    told: bool,
}

impl Log {
    /// The log of a database.
    pub(super) fn of(database: &Path, metrics: Arc<Metrics>) -> Self {
        let path = beside(database, "-wal");
        Self { database: database.to_owned(), path, metrics, file: None, held_at: None, blocked: None }
    }

    /// Updates the metric of the log's size, and warns of readers that block the checkpoint.
    fn watch(&mut self, Moved { pages, moved }: Moved) {
        let bytes = std::fs::metadata(&self.path).map_or(0, |meta| meta.len());
        self.metrics.ledger_log_bytes.set(bytes as i64);
        if pages - moved < BLOCKED_PAGES {
            if self.blocked.take().is_some_and(|blocked| blocked.told) {
                tracing::info!(bytes, "the ledger's log is emptied again");
            }
            return;
        }
        let blocked = self.blocked.get_or_insert_with(|| Blocked { since: Stopwatch::new(), us: 0, told: false });
        blocked.us += blocked.since.lap_us();
        if blocked.us >= BLOCKED_US && !blocked.told {
            blocked.told = true;
            let readers = readers(&self.database);
            let by = if readers.is_empty() { "a read of this host".to_owned() } else { readers.join(", ") };
            tracing::warn!(bytes, by, "the ledger's log grows: a read that does not end keeps it from being emptied");
        }
    }

    /// Reads ahead the part of the log that is overwritten next, if it is no longer in the page
    /// cache. The log is overwritten from its start again and again, and its frames are not
    /// page-aligned. If the old content is not in memory, each write waits for the disk to read it,
    /// and so does every answer: tens of milliseconds at a time under memory pressure.
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
        // The log may be reset at any moment.
        for at in [next, 0] {
            // Only advice: if it fails, writes are slower.
            let _ = fadvise(file, at, Some(AHEAD), Advice::WillNeed);
        }
    }
}

/// A passive checkpoint: waits for nobody.
pub(super) fn round(connection: &Connection) -> Result<Moved, rusqlite::Error> {
    let moved = |row: &rusqlite::Row<'_>| Ok(Moved { pages: row.get(1)?, moved: row.get(2)? });
    connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], moved)
}

#[cfg(test)]
mod tests {
    use super::super::{Durability, schema};
    use super::{BLOCKED_PAGES, round};

    #[test]
    fn a_log_that_a_reader_made_long_is_cut_when_the_reader_is_gone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("l.db");
        let writer = schema::open(&path, Durability::Process).expect("opens");
        let beside = schema::connect(&path, Durability::Process).expect("opens");
        let limit: i64 = writer.pragma_query_value(None, "journal_size_limit", |row| row.get(0)).expect("a limit");
        assert!((600 << 20..700 << 20).contains(&limit), "{limit}");
        writer.pragma_update(None, "journal_size_limit", 1 << 20).expect("sets");

        let reader = schema::connect(&path, Durability::Process).expect("opens");
        reader.execute_batch("BEGIN; SELECT count(*) FROM decisions").expect("reads");
        let fill = "INSERT INTO answers SELECT hex(randomblob(16)), '', 200, randomblob(6000), 0 FROM
                    (WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 4000) SELECT i FROM n)";
        writer.execute_batch(fill).expect("writes");
        let found = round(&beside).expect("a round");
        assert!(found.pages - found.moved >= BLOCKED_PAGES, "{found:?}");
        reader.execute_batch("ROLLBACK").expect("ends");
        let found = round(&beside).expect("a round");
        assert_eq!(found.pages, found.moved, "all of it can be moved now");
        let bytes = || std::fs::metadata(folder.path().join("l.db-wal")).expect("the log").len();
        assert!(bytes() > 16 << 20, "{}", bytes());
        writer.execute_batch("UPDATE probe SET time_ms = 1").expect("writes");
        assert!(bytes() <= 1 << 20, "{}", bytes());
    }
}
