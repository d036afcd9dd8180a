//! Reading decisions and stored answers.

use rusqlite::types::Value as SqlValue;
use rusqlite::{Connection, OptionalExtension, Row, params, params_from_iter};
use serin_core::record::Record;

use super::{Ledger, LedgerError, LedgerReader};

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
    /// The record's bytes.
    pub bytes: Vec<u8>,
    /// SHA-256 that was stored with them.
    pub digest: String,
}

impl StoredRecord {
    /// The record, its bytes compared with their digest.
    ///
    /// # Errors
    /// That the bytes are not those that were stored, or are not a record.
    pub fn parse(&self) -> Result<Record, String> {
        let found = serin_core::digest(&self.bytes);
        if found != self.digest {
            return Err(format!("the record was altered: its digest is {found}, and {} was stored", self.digest));
        }
        Record::parse(&self.bytes)
    }
}

impl DecisionFilter {
    /// The condition in SQL, and the values of its parameters. Only what is asked for is in
    /// it, so that an index can serve it.
    fn conditions(&self) -> (String, Vec<SqlValue>) {
        let mut conditions = vec!["1"];
        let mut values = Vec::new();
        let mut add = |condition, value: Option<SqlValue>| {
            if let Some(value) = value {
                conditions.push(condition);
                values.push(value);
            }
        };
        add("unit = ?", self.unit.clone().map(SqlValue::from));
        add("point = ?", self.point.clone().map(SqlValue::from));
        add("time_ms >= ?", self.since_ms.map(|ms| SqlValue::from(ms as i64)));
        add("time_ms < ?", self.until_ms.map(|ms| SqlValue::from(ms as i64)));
        (conditions.join(" AND "), values)
    }
}

/// Records of one page.
const PAGE: usize = 2_000;

const COLUMNS: &str = "decision_id, digest, record";

fn stored(row: &Row<'_>) -> rusqlite::Result<StoredRecord> {
    Ok(StoredRecord { decision_id: row.get(0)?, digest: row.get(1)?, bytes: row.get(2)? })
}

fn decision(db: &Connection, id: &str) -> Result<Option<StoredRecord>, LedgerError> {
    Ok(db
        .prepare_cached(&format!("SELECT {COLUMNS} FROM decisions WHERE decision_id = ?1"))?
        .query_row([id], stored)
        .optional()?)
}

impl Ledger {
    /// The record of a decision.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn decision(&self, id: &str) -> Result<Option<StoredRecord>, LedgerError> {
        self.with_reader(|db| decision(db, id))
    }

    /// The newest records that match, at most `limit`.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn decisions(&self, filter: &DecisionFilter, limit: u32) -> Result<Vec<StoredRecord>, LedgerError> {
        let (conditions, values) = filter.conditions();
        self.with_reader(|db| {
            let mut statement = db.prepare_cached(&format!(
                "SELECT {COLUMNS} FROM decisions WHERE {conditions} ORDER BY time_ms DESC, decision_id DESC LIMIT {limit}"
            ))?;
            let rows = statement.query_map(params_from_iter(values), stored)?;
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
        decision(&self.0, id)
    }

    /// How many records match.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn count(&self, filter: &DecisionFilter) -> Result<u64, LedgerError> {
        let (conditions, values) = filter.conditions();
        let sql = format!("SELECT count(*) FROM decisions WHERE {conditions}");
        let count: i64 = self.0.query_row(&sql, params_from_iter(values), |row| row.get(0))?;
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
        let (conditions, values) = filter.conditions();
        let mut statement = self.0.prepare(&format!(
            "SELECT {COLUMNS}, time_ms FROM decisions WHERE {conditions} AND (time_ms, decision_id) > (?, ?)
             ORDER BY time_ms, decision_id LIMIT {PAGE}"
        ))?;
        let mut last = (-1_i64, String::new());
        loop {
            let mut page = values.clone();
            page.extend([SqlValue::from(last.0), SqlValue::from(last.1.clone())]);
            let mut rows = statement.query(params_from_iter(page))?;
            let mut read = 0;
            while let Some(row) = rows.next()? {
                read += 1;
                let record = stored(row)?;
                last = (row.get(3)?, record.decision_id.clone());
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
