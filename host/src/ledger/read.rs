//! Reading decisions and stored answers.

use rusqlite::{Connection, OptionalExtension, Row, params};
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
        self.with_reader(|db| {
            let mut statement = db.prepare_cached(&format!(
                "SELECT {COLUMNS} FROM decisions WHERE (?1 IS NULL OR unit = ?1) AND (?2 IS NULL OR point = ?2)
                 AND (?3 IS NULL OR time_ms >= ?3) AND (?4 IS NULL OR time_ms < ?4)
                 ORDER BY time_ms DESC, decision_id DESC LIMIT ?5"
            ))?;
            let (since, until) = (filter.since_ms.map(|t| t as i64), filter.until_ms.map(|t| t as i64));
            let rows = statement.query_map(params![filter.unit, filter.point, since, until, limit], stored)?;
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
        let (since, until) = (filter.since_ms.map(|t| t as i64), filter.until_ms.map(|t| t as i64));
        let count: i64 = self.0.query_row(
            "SELECT count(*) FROM decisions WHERE (?1 IS NULL OR point = ?1) AND (?2 IS NULL OR time_ms >= ?2) AND (?3 IS NULL OR time_ms < ?3)",
            params![filter.point, since, until],
            |row| row.get(0),
        )?;
        Ok(count as u64)
    }

    /// Calls `each` with every record that matches, oldest first, until it says to stop.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn for_each(
        &self,
        filter: &DecisionFilter,
        mut each: impl FnMut(StoredRecord) -> bool,
    ) -> Result<(), LedgerError> {
        let (since, until) = (filter.since_ms.map(|t| t as i64), filter.until_ms.map(|t| t as i64));
        let mut statement = self.0.prepare(&format!(
            "SELECT {COLUMNS} FROM decisions WHERE (?1 IS NULL OR point = ?1) AND (?2 IS NULL OR time_ms >= ?2)
             AND (?3 IS NULL OR time_ms < ?3) AND (?4 IS NULL OR unit = ?4) ORDER BY time_ms, decision_id"
        ))?;
        let mut rows = statement.query(params![filter.point, since, until, filter.unit])?;
        while let Some(row) = rows.next()? {
            if !each(stored(row)?) {
                break;
            }
        }
        Ok(())
    }
}
