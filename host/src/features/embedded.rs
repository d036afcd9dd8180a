//! The embedded feature store: one SQLite database of its own, apart from the ledger, so
//! that loading features never waits for decisions and the other way round.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, params};
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, Visitor};
use serin_core::Name;
use serin_core::row::{self, Row};
use serin_core::value::Value;

use super::{FeatureInput, StoreError, StoredRow, Upserted};

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS feature_rows (
  view TEXT NOT NULL,
  entity TEXT NOT NULL,
  event_time_ms INTEGER NOT NULL,
  row TEXT NOT NULL,
  PRIMARY KEY (view, entity)
) WITHOUT ROWID;";

/// How long a writer waits for another process's transaction.
const BUSY: Duration = Duration::from_secs(5);

/// Reading connections kept open.
const READERS: usize = 32;

/// The store. Readers never wait for writers (write-ahead logging).
pub struct EmbeddedStore {
    path: PathBuf,
    writer: Mutex<Connection>,
    readers: Mutex<Vec<Connection>>,
    held: Mutex<Option<HeldRead>>,
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
    /// What SQLite says.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let writer = Connection::open(path)?;
        writer.busy_timeout(BUSY)?;
        writer.pragma_update(None, "journal_mode", "WAL")?;
        writer.pragma_update(None, "synchronous", "NORMAL")?;
        writer.execute_batch(SCHEMA)?;
        Ok(Self {
            path: path.to_owned(),
            writer: Mutex::new(writer),
            readers: Mutex::default(),
            held: Mutex::default(),
        })
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
    /// What SQLite says.
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
        let now = reader.pragma_query_value(None, "data_version", |row| row.get(0))?;
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

    /// Reads one row a `(view, entity)`, all in one statement, and of each row the columns
    /// asked for. A key without a row is none.
    ///
    /// # Errors
    /// What SQLite says, or a row that cannot be read.
    pub fn read(&self, keys: &[(&Name, &str, &Arc<[Name]>)]) -> Result<Vec<Option<StoredRow>>, StoreError> {
        let mut rows = vec![None; keys.len()];
        if keys.is_empty() {
            return Ok(rows);
        }
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
                let values =
                    parse(text, columns).map_err(|e| StoreError::Row { view: view.clone(), why: e.to_string() })?;
                rows[index] = Some(StoredRow { event_time_ms: row.get::<_, i64>(1)? as u64, values });
            }
            Ok(())
        })?;
        Ok(rows)
    }

    /// Writes rows in one transaction. A row of an older event time never replaces a newer one.
    ///
    /// # Errors
    /// What SQLite says; then no row was written.
    pub fn upsert<E: From<StoreError>>(
        &self,
        view: &Name,
        rows: impl Iterator<Item = Result<FeatureInput, E>>,
    ) -> Result<Upserted, E> {
        let wrap = |e: rusqlite::Error| E::from(StoreError::from(e));
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let transaction = writer.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).map_err(wrap)?;
        let mut upserted = Upserted::default();
        {
            let mut statement = transaction
                .prepare_cached(
                    "INSERT INTO feature_rows (view, entity, event_time_ms, row) VALUES (?1, ?2, ?3, ?4)
                     ON CONFLICT (view, entity) DO UPDATE SET event_time_ms = excluded.event_time_ms, row = excluded.row
                     WHERE excluded.event_time_ms >= feature_rows.event_time_ms",
                )
                .map_err(wrap)?;
            for row in rows {
                let row = row?;
                let text = serde_json::to_string(&row.values)
                    .map_err(|e| E::from(StoreError::Row { view: view.clone(), why: e.to_string() }))?;
                match statement.execute(params![&**view, row.entity, row.event_time_ms as i64, text]).map_err(wrap)? {
                    0 => upserted.older += 1,
                    _ => upserted.written += 1,
                }
            }
        }
        transaction.commit().map_err(wrap)?;
        Ok(upserted)
    }
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
                    "SELECT {i}, event_time_ms, row FROM feature_rows WHERE view = ?{} AND entity = ?{}",
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

/// Parses a stored row, keeping only `columns`, in their order; those it lacks are missing.
fn parse(text: &str, columns: &Arc<[Name]>) -> Result<Row<Value>, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let values = Wanted(columns).deserialize(&mut deserializer)?;
    Ok(Row::new(Arc::clone(columns), values))
}

/// The values of some columns, out of an object.
struct Wanted<'a>(&'a [Name]);

impl<'de> DeserializeSeed<'de> for Wanted<'_> {
    type Value = Vec<Value>;
    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Wanted<'_> {
    type Value = Vec<Value>;
    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a row of values")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut values, mut near) = (vec![Value::Missing; self.0.len()], 0);
        while let Some(place) = map.next_key_seed(Place { columns: self.0, near })? {
            match place {
                Some(place) => {
                    values[place] = map.next_value()?;
                    near = place + 1;
                }
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(values)
    }
}

/// A key's place among the columns, without a copy of the key.
struct Place<'a> {
    columns: &'a [Name],
    near: usize,
}

impl<'de> DeserializeSeed<'de> for Place<'_> {
    type Value = Option<usize>;
    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Place<'_> {
    type Value = Option<usize>;
    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a column's name")
    }
    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(row::find(self.columns, self.near, name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(entity: &str, event_time_ms: u64, dti: f64) -> Result<FeatureInput, StoreError> {
        let values =
            [("dti".into(), Value::Number(dti)), ("state".into(), Value::Text("CA".into()))].into_iter().collect();
        Ok(FeatureInput { entity: entity.into(), event_time_ms, values })
    }

    #[test]
    fn an_older_row_never_replaces_a_newer_one() {
        let dir = tempfile::tempdir().expect("a folder");
        let store = EmbeddedStore::open(&dir.path().join("features.db")).expect("opens");
        let view: Name = "profile".into();
        store.upsert(&view, [row("b-1", 200, 2.0)].into_iter()).expect("writes");
        let second = store.upsert(&view, [row("b-1", 100, 1.0), row("b-2", 100, 5.0)].into_iter()).expect("writes");
        assert_eq!(second, Upserted { written: 1, older: 1 });
        let columns: Arc<[Name]> = ["absent".into(), "dti".into()].into();
        let rows = store.read(&[(&view, "b-1", &columns), (&view, "nobody", &columns)]).expect("reads");
        let first = rows[0].as_ref().expect("there");
        assert_eq!((first.event_time_ms, first.values.get("dti")), (200, Some(&Value::Number(2.0))));
        assert_eq!(first.values.get("absent"), Some(&Value::Missing));
        assert!(first.values.get("state").is_none(), "only what was asked for");
        assert_eq!(rows[1], None);
    }

    #[test]
    fn a_read_that_is_held_hides_nothing_and_ends_where_somebody_writes() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("features.db");
        let store = EmbeddedStore::open(&path).expect("opens");
        let view: Name = "profile".into();
        let columns: Arc<[Name]> = ["dti".into()].into();
        let truncated = || {
            let other = Connection::open(&path).expect("opens");
            other.busy_timeout(Duration::ZERO).expect("waits for nobody");
            let busy = other.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0));
            busy.expect("is asked") == 0
        };
        store.upsert(&view, [row("b-1", 1, 1.0)].into_iter()).expect("writes");
        (0..2).for_each(|_| store.hold().expect("holds"));
        store.upsert(&view, [row("b-1", 2, 2.0)].into_iter()).expect("writes");
        assert!(!truncated(), "a read is open");
        let read = store.read(&[(&view, "b-1", &columns)]).expect("reads");
        assert_eq!(read[0].as_ref().and_then(|row| row.values.get("dti")), Some(&Value::Number(2.0)));
        store.hold().expect("lets go");
        assert!(truncated(), "the log can be emptied");
    }

    #[test]
    fn the_log_has_an_end_though_reads_are_held_between_writes() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("features.db");
        let store = EmbeddedStore::open(&path).expect("opens");
        let view: Name = "profile".into();
        let mut length = 0;
        for round in 0..60 {
            // Some 60 pages; SQLite empties the log by itself from 1000 on.
            store.upsert(&view, (0..2_000).map(|i| row(&format!("b-{i}"), round, 1.0))).expect("writes");
            (0..3).for_each(|_| store.hold().expect("holds"));
            length = std::fs::metadata(path.with_extension("db-wal")).expect("a log").len();
        }
        assert!(length < 1000 * 4096, "{length} bytes");
    }

    #[test]
    fn a_failing_row_leaves_nothing_behind() {
        let dir = tempfile::tempdir().expect("a folder");
        let store = EmbeddedStore::open(&dir.path().join("features.db")).expect("opens");
        let view: Name = "profile".into();
        let broken = StoreError::Row { view: view.clone(), why: "broken".into() };
        assert!(store.upsert(&view, [row("b-1", 1, 1.0), Err(broken)].into_iter()).is_err());
        assert_eq!(store.read(&[(&view, "b-1", &Arc::default())]).expect("reads"), [None]);
    }
}
