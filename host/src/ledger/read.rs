//! Reading decisions and stored answers.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use rusqlite::types::Value as SqlValue;
use rusqlite::{Connection, OptionalExtension, Row, params, params_from_iter};
use serin_core::record::Record;

use super::packing::unpack;
use super::schema::OF_UNIT;
use super::{DecisionRow, Ledger, LedgerError, LedgerReader};

/// Which decisions to read.
#[derive(Debug, Clone, Default)]
pub struct DecisionFilter {
    /// Of this unit.
    pub unit: Option<String>,
    /// At this decision point.
    pub point: Option<String>,
    /// Made at this time or later.
    pub since_ms: Option<u64>,
    /// Made before this time.
    pub until_ms: Option<u64>,
}

/// An answer kept under an idempotency key.
#[derive(Debug, Clone)]
pub struct StoredAnswer {
    /// SHA-256 of the request's body.
    pub request: String,
    /// HTTP status.
    pub status: u16,
    /// The answer's body.
    pub body: Vec<u8>,
}

/// A record as it lies in the ledger.
#[derive(Debug, Clone)]
pub struct StoredRecord {
    /// Id of the decision.
    pub decision_id: String,
    /// The record's JSON, packed.
    packed: Vec<u8>,
    /// What it is unpacked with; none where it lies there as it is.
    dictionary: Option<Arc<[u8]>>,
    /// SHA-256 of the record's JSON that was stored with it.
    digest: String,
}

impl From<DecisionRow> for StoredRecord {
    fn from(row: DecisionRow) -> Self {
        let dictionary = row.dictionary.map(|dictionary| dictionary.bytes.as_slice().into());
        Self { decision_id: row.decision_id, packed: row.record, dictionary, digest: row.digest }
    }
}

impl StoredRecord {
    /// The record's JSON.
    ///
    /// # Errors
    /// That what is stored is not what was packed.
    pub fn json(&self) -> Result<Cow<'_, [u8]>, String> {
        match &self.dictionary {
            Some(dictionary) => unpack(&self.packed, dictionary).map(Cow::Owned),
            None => Ok(Cow::Borrowed(&self.packed)),
        }
    }

    /// The record, its JSON compared with its digest.
    ///
    /// # Errors
    /// That it is not what was stored, or is not a record.
    pub fn parse(&self) -> Result<Record, String> {
        let json = self.json()?;
        let found = serin_core::digest(&json);
        if found != self.digest {
            return Err(format!("the record was altered: its digest is {found}, and {} was stored", self.digest));
        }
        Record::parse(&json)
    }
}

/// The ids of decisions made at `ms` or later are not before this one: a UUID of version 7
/// begins with its time.
pub(super) fn first_id(ms: u64) -> String {
    format!("{:08x}-{:04x}", ms >> 16, ms & 0xffff)
}

/// Dictionaries that were read.
#[derive(Debug, Default)]
pub(super) struct Dictionaries(Mutex<HashMap<i64, Arc<[u8]>>>);

/// Dictionaries that are remembered.
const DICTIONARIES: usize = 256;

impl Dictionaries {
    fn get(&self, db: &Connection, id: i64) -> rusqlite::Result<Arc<[u8]>> {
        if let Some(found) = self.0.lock().get(&id) {
            return Ok(Arc::clone(found));
        }
        let sql = "SELECT bytes FROM dictionaries WHERE id = ?1";
        let read: Option<Vec<u8>> = db.prepare_cached(sql)?.query_row([id], |row| row.get(0)).optional()?;
        let Some(read) = read else {
            // Without it the record is not readable, which its digest tells.
            return Ok(Arc::default());
        };
        let read: Arc<[u8]> = read.into();
        let mut known = self.0.lock();
        if known.len() >= DICTIONARIES {
            known.clear();
        }
        known.insert(id, Arc::clone(&read));
        Ok(read)
    }

    pub(super) fn stored(&self, db: &Connection, row: &Row<'_>) -> rusqlite::Result<StoredRecord> {
        let dictionary: Option<i64> = row.get(3)?;
        Ok(StoredRecord {
            decision_id: row.get(0)?,
            digest: row.get(1)?,
            packed: row.get(2)?,
            dictionary: dictionary.map(|id| self.get(db, id)).transpose()?,
        })
    }

    fn decision(&self, db: &Connection, id: &str) -> Result<Option<StoredRecord>, LedgerError> {
        Ok(db
            .prepare_cached(&format!("SELECT {COLUMNS} FROM decisions WHERE decision_id = ?1"))?
            .query_row([id], |row| self.stored(db, row))
            .optional()?)
    }
}

impl DecisionFilter {
    /// What comes after `FROM` in SQL, and the values of its parameters. Only what is asked for
    /// is in it, so that an index can serve it.
    pub(super) fn source(&self) -> (String, Vec<SqlValue>) {
        let (from, mut values) = match &self.unit {
            None => ("decisions", Vec::new()),
            Some(unit) => (OF_UNIT, vec![SqlValue::from(unit.clone())]),
        };
        let mut conditions = vec!["1"];
        let mut add = |condition, value: Option<SqlValue>| {
            if let Some(value) = value {
                conditions.push(condition);
                values.push(value);
            }
        };
        add("point = ?", self.point.clone().map(SqlValue::from));
        add("decision_id >= ?", self.since_ms.map(|ms| SqlValue::from(first_id(ms))));
        add("decision_id < ?", self.until_ms.map(|ms| SqlValue::from(first_id(ms))));
        (format!("{from} WHERE {}", conditions.join(" AND ")), values)
    }
}

/// Records of one page.
const PAGE: usize = 2_000;

pub(super) const COLUMNS: &str = "decision_id, digest, record, dictionary";

impl Ledger {
    /// The record of a decision.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn decision(&self, id: &str) -> Result<Option<StoredRecord>, LedgerError> {
        self.with_reader(|db| self.dictionaries.decision(db, id))
    }

    /// The newest records that match, at most `limit`.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn decisions(&self, filter: &DecisionFilter, limit: u32) -> Result<Vec<StoredRecord>, LedgerError> {
        let (source, values) = filter.source();
        self.with_reader(|db| {
            let mut statement =
                db.prepare_cached(&format!("SELECT {COLUMNS} FROM {source} ORDER BY decision_id DESC LIMIT {limit}"))?;
            let rows = statement.query_map(params_from_iter(values), |row| self.dictionaries.stored(db, row))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    /// The answer kept under an idempotency key since `since_ms`.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn stored_answer(&self, key: &str, since_ms: u64) -> Result<Option<StoredAnswer>, LedgerError> {
        self.with_reader(|db| {
            Ok(db
                .prepare_cached("SELECT request, status, body FROM answers WHERE key = ?1 AND time_ms >= ?2")?
                .query_row(params![key, since_ms as i64], |row| {
                    Ok(StoredAnswer { request: row.get(0)?, status: row.get(1)?, body: row.get(2)? })
                })
                .optional()?)
        })
    }
}

impl LedgerReader {
    /// The record of a decision.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn decision(&self, id: &str) -> Result<Option<StoredRecord>, LedgerError> {
        self.dictionaries.decision(&self.connection, id)
    }

    /// How many records match.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn count(&self, filter: &DecisionFilter) -> Result<u64, LedgerError> {
        let (source, values) = filter.source();
        let sql = format!("SELECT count(*) FROM {source}");
        let count: i64 = self.connection.query_row(&sql, params_from_iter(values), |row| row.get(0))?;
        Ok(count as u64)
    }

    /// Calls `each` with every record that matches, oldest first, until it says to stop. Read
    /// in pages: one long read would keep a running host's log from being folded back.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn for_each(
        &self,
        filter: &DecisionFilter,
        mut each: impl FnMut(StoredRecord) -> bool,
    ) -> Result<(), LedgerError> {
        // One lower bound: of two, SQLite seeks to the first only, and each page would go through
        // all pages before it again.
        let (source, values) = DecisionFilter { since_ms: None, ..filter.clone() }.source();
        let mut statement = self.connection.prepare(&format!(
            "SELECT {COLUMNS} FROM {source} AND decision_id > ? ORDER BY decision_id LIMIT {PAGE}"
        ))?;
        let mut last = filter.since_ms.map(first_id).unwrap_or_default();
        loop {
            let mut page = values.clone();
            page.push(SqlValue::from(last.clone()));
            let mut rows = statement.query(params_from_iter(page))?;
            let mut read = 0;
            while let Some(row) = rows.next()? {
                read += 1;
                let record = self.dictionaries.stored(&self.connection, row)?;
                last.clone_from(&record.decision_id);
                if !each(record) {
                    return Ok(());
                }
            }
            if read < PAGE {
                return Ok(());
            }
        }
    }
}
