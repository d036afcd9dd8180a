//! The embedded feature store: one SQLite database of its own, apart from the ledger, so
//! that loading features never waits for decisions and the other way round.

mod cache;
mod stored;
mod write;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};
use serin_core::{Name, NameMap};

use self::cache::RowCache;
use super::{StoreError, StoredRow};
use crate::clock::Budget;

/// `row` is a JSON object of the values by column, `event_time_ms` the newest of their event
/// times. `times` is a JSON object of those that are older, or NULL: most rows are pushed whole.
/// `identity` is who pushed what was newest.
const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS feature_rows (
  view TEXT NOT NULL,
  entity TEXT NOT NULL,
  event_time_ms INTEGER NOT NULL,
  row TEXT NOT NULL,
  times TEXT,
  identity TEXT,
  PRIMARY KEY (view, entity)
) WITHOUT ROWID;";

/// The version of the schema, kept in the file. 0 has one event time for the whole row; 1 does not
/// know who pushed it.
const VERSION: i64 = 2;

/// How long a writer waits for another process's transaction.
const BUSY: Duration = Duration::from_secs(5);
/// How often it looks whether that has ended. SQLite's own handler waits up to 100 ms between two
/// looks, and would miss the pauses that a load makes for others.
const LOOK: Duration = Duration::from_millis(1);

/// Reading connections kept open.
const READERS: usize = 32;

/// How often a decision looks whether another process has written, in microseconds: what `serin features
/// load` has written is read after this, or after a push that is under way.
const LOOK_US: u64 = 2_000;

/// The store. Readers never wait for writers (write-ahead logging).
pub struct EmbeddedStore {
    path: PathBuf,
    writer: Mutex<Writer>,
    readers: Mutex<Vec<Connection>>,
    held: Mutex<Option<HeldRead>>,
    rows: RowCache,
    age: Budget,
    /// When it was last looked whether another process has written.
    looked_us: AtomicU64,
}

/// The writing connection.
struct Writer {
    connection: Connection,
    /// The database's version, which changes with every write of another connection; none while it is not known.
    version: Option<i64>,
}

/// A read that is left open: see [`EmbeddedStore::hold`].
struct HeldRead {
    reader: Connection,
    version: Option<i64>,
}

impl EmbeddedStore {
    /// Opens the database at `path`, and makes it where it is not there.
    ///
    /// # Errors
    /// SQLite's error.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        // SQLite gives its write-ahead log the mode of the database.
        crate::files::open_private(path)
            .map_err(|error| StoreError::File { file: crate::files::shown(path), error })?;
        let mut writer = Connection::open(path)?;
        writer.busy_handler(Some(wait_for_the_writer))?;
        writer.pragma_update(None, "journal_mode", "WAL")?;
        writer.pragma_update(None, "synchronous", "NORMAL")?;
        migrate(&mut writer)?;
        let version = Some(version_of(&writer)?);
        Ok(Self {
            path: path.to_owned(),
            writer: Mutex::new(Writer { connection: writer, version }),
            readers: Mutex::default(),
            held: Mutex::default(),
            rows: RowCache::new(),
            age: Budget::new(Duration::ZERO),
            looked_us: AtomicU64::new(0),
        })
    }

    /// Whether a host could open the database at `path`, which is there and may be in use. Nothing is written.
    ///
    /// # Errors
    /// SQLite's error, or that it is of a newer version.
    pub fn check(path: &Path) -> Result<(), StoreError> {
        // Not read-only: a reader of a write-ahead log needs its shared-memory file.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let reader = Connection::open_with_flags(path, flags)?;
        reader.busy_timeout(BUSY)?;
        reader.pragma_update(None, "query_only", true)?;
        let found = schema_of(&reader)?;
        if found > VERSION {
            return Err(StoreError::Newer { found, known: VERSION });
        }
        // What the version alone does not show: that its tables can be read.
        Ok(reader.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?)
    }

    /// Forgets all rows where another process has written. Mostly it is not time to look.
    fn look(&self) {
        let (now, last) = (self.age.spent_us(), self.looked_us.load(Ordering::Relaxed));
        if now < last + LOOK_US {
            return;
        }
        // Whoever writes looks by itself.
        let Ok(mut writer) = self.writer.try_lock() else { return };
        self.looked_us.store(now, Ordering::Relaxed);
        self.forget_if_written(&mut writer);
    }

    fn forget_if_written(&self, writer: &mut Writer) {
        // Where it cannot be known, nothing in memory can be relied on.
        let version = version_of(&writer.connection).ok();
        if version.is_none() || version != writer.version {
            writer.version = version;
            self.rows.clear();
        }
    }

    fn reader(&self) -> Result<Connection, StoreError> {
        let reader = Connection::open(&self.path)?;
        // A reader of a write-ahead log waits for nobody but a recovery; decisions have no
        // time for that.
        reader.busy_timeout(Duration::from_millis(20))?;
        reader.pragma_update(None, "query_only", true)?;
        reader.pragma_update(None, "mmap_size", 256 << 20)?;
        Ok(reader)
    }

    /// Leaves one read open while nobody writes, to be called about once a second. SQLite asks
    /// the system for a lock that no reader of this process has, and under a mutex of them all;
    /// one that is there already is shared at once. The log is emptied first: held as it is, it
    /// could never begin anew, and would have no end.
    ///
    /// # Errors
    /// SQLite's error.
    pub fn hold(&self) -> Result<(), StoreError> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        // Taken out: after an error nothing stays open.
        let HeldRead { reader, version } = match held.take() {
            Some(held) => held,
            None => HeldRead { reader: self.reader()?, version: None },
        };
        if !reader.is_autocommit() {
            reader.execute_batch("ROLLBACK")?;
        }
        let now = version_of(&reader)?;
        let is_quiet = version == Some(now);
        if is_quiet && is_emptied(&reader)? {
            reader.execute_batch("BEGIN; SELECT 1 FROM sqlite_schema LIMIT 1;")?;
        }
        *held = Some(HeldRead { reader, version: Some(now) });
        Ok(())
    }

    fn with_reader<T>(&self, read: impl FnOnce(&Connection) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let free = self.readers.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let reader = match free {
            Some(reader) => reader,
            None => self.reader()?,
        };
        let answer = read(&reader);
        let mut free = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        if answer.is_ok() && free.len() < READERS {
            free.push(reader);
        }
        answer
    }

    /// The newest event time of a view's rows, in milliseconds since the Unix epoch; none where it has
    /// no rows. It reads all of them.
    ///
    /// # Errors
    /// SQLite's error.
    pub fn newest(&self, view: &Name) -> Result<Option<u64>, StoreError> {
        self.with_reader(|reader| {
            let mut statement = reader.prepare_cached("SELECT max(event_time_ms) FROM feature_rows WHERE view = ?1")?;
            let newest: Option<i64> = statement.query_row([&**view], |row| row.get(0))?;
            Ok(newest.and_then(|ms| u64::try_from(ms).ok()))
        })
    }

    /// Reads one row a `(view, entity)`, and of each row the columns asked for: from memory, or all others
    /// in one statement. A key without a row is none. What another process writes is read 2 ms later
    /// at most, or after a push that is under way.
    ///
    /// # Errors
    /// SQLite's error, or a row that cannot be read.
    pub fn read(&self, keys: &[RowKey<'_>]) -> Result<Vec<Option<StoredRow>>, StoreError> {
        self.look();
        let mut rows = Vec::with_capacity(keys.len());
        let mut unknown = Vec::new();
        let writes = self.rows.writes();
        for (i, (view, entity, columns)) in keys.iter().enumerate() {
            let known = self.rows.get(view, entity, columns);
            if known.is_none() {
                unknown.push(i);
            }
            rows.push(known.flatten());
        }
        if !unknown.is_empty() {
            let asked: Vec<_> = unknown.iter().map(|i| keys[*i]).collect();
            for (i, row) in unknown.into_iter().zip(self.query(&asked)?) {
                let (view, entity, columns) = keys[i];
                self.rows.keep(view, entity, columns, row.as_ref(), writes);
                rows[i] = row;
            }
        }
        Ok(rows)
    }

    /// Reads rows from the database.
    fn query(&self, keys: &[RowKey<'_>]) -> Result<Vec<Option<StoredRow>>, StoreError> {
        let mut rows = vec![None; keys.len()];
        self.with_reader(|reader| {
            let mut statement = reader.prepare_cached(point_reads(keys.len()))?;
            for (i, (view, entity, _)) in keys.iter().enumerate() {
                statement.raw_bind_parameter(2 * i + 1, &***view)?;
                statement.raw_bind_parameter(2 * i + 2, entity)?;
            }
            let mut found = statement.raw_query();
            while let Some(row) = found.next()? {
                let index = row.get::<_, i64>(0)? as usize;
                let (view, _, columns) = keys[index];
                let text = row.get_ref(2)?.as_str().map_err(rusqlite::Error::from)?;
                let times = row.get_ref(3)?.as_str_or_null().map_err(rusqlite::Error::from)?;
                let unreadable = |e: serde_json::Error| StoreError::Row { view: view.clone(), why: e.to_string() };
                rows[index] = Some(StoredRow {
                    event_time_ms: row.get::<_, i64>(1)? as u64,
                    column_times_ms: times
                        .map_or(Ok(NameMap::default()), |times| stored::times_of(times, columns))
                        .map_err(unreadable)?,
                    values: stored::values_of(text, columns).map_err(unreadable)?,
                });
            }
            Ok(())
        })?;
        Ok(rows)
    }
}

/// The row that is asked for: its view, its entity, and the columns to read.
pub type RowKey<'k> = (&'k Name, &'k str, &'k Arc<[Name]>);

/// A number that differs where another connection has written since it was last asked for.
fn version_of(connection: &Connection) -> rusqlite::Result<i64> {
    connection.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))
}

/// The version of the schema, as the file has it.
fn schema_of(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Called by SQLite while another connection writes; says whether to go on waiting.
fn wait_for_the_writer(looks: i32) -> bool {
    std::thread::sleep(LOOK);
    u128::from(looks.unsigned_abs()) * LOOK.as_millis() < BUSY.as_millis()
}

/// Brings a database to the current schema. A row of the first one has its only event time for
/// each of its values, and so nothing of it has to be rewritten.
fn migrate(writer: &mut Connection) -> Result<(), StoreError> {
    let found = schema_of(writer)?;
    if found == VERSION {
        return Ok(());
    }
    let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Another process may have done it meanwhile.
    let found = schema_of(&transaction)?;
    if found > VERSION {
        return Err(StoreError::Newer { found, known: VERSION });
    }
    transaction.execute_batch(SCHEMA)?;
    let has = "SELECT count(*) FROM pragma_table_info('feature_rows') WHERE name = ?1";
    for column in ["times", "identity"] {
        if transaction.query_row(has, [column], |row| row.get::<_, i64>(0))? == 0 {
            transaction.execute_batch(&format!("ALTER TABLE feature_rows ADD COLUMN {column} TEXT"))?;
        }
    }
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()?;
    Ok(())
}

/// Moves what is in the log into the database; says whether that was all of it.
fn is_emptied(connection: &Connection) -> rusqlite::Result<bool> {
    connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| {
        Ok(row.get::<_, i64>(0)? == 0 && row.get::<_, i64>(1)? == row.get::<_, i64>(2)?)
    })
}

/// A statement of `n` point reads. Each takes the primary key; an `IN` over pairs would
/// build a table first.
fn point_reads(n: usize) -> &'static str {
    static STATEMENTS: Mutex<Vec<&'static str>> = Mutex::new(Vec::new());
    let mut statements = STATEMENTS.lock().unwrap_or_else(PoisonError::into_inner);
    while statements.len() < n {
        let count = statements.len() + 1;
        let text = (0..count)
            .map(|i| {
                format!(
                    "SELECT {i}, event_time_ms, row, times FROM feature_rows WHERE view = ?{} AND entity = ?{}",
                    2 * i + 1,
                    2 * i + 2
                )
            })
            .collect::<Vec<_>>()
            .join(" UNION ALL ");
        // One text for each number of views that a point reads: bounded by the configuration.
        statements.push(Box::leak(text.into_boxed_str()));
    }
    statements[n - 1]
}

#[cfg(test)]
mod tests;
