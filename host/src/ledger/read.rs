//! Reading decisions and stored answers.

use rusqlite::types::Value as SqlValue;
use rusqlite::{Connection, OptionalExtension, params, params_from_iter};
use serin_core::Name;
use serin_core::experiment::Status;

use super::packed::Dictionaries;
use super::schema::{OF_UNIT, first_id};
use super::stored::{COLUMNS, StoredRecord};
use super::{
    Approval, AuditFilter, LastSeen, Ledger, LedgerError, LedgerReader, ShadowAttempt, ShadowCount, ShadowLatency,
    StoredAuditEntry, TransitionRow, approvals, audit, final_reports, history, last_seen, shadows, transitions,
};

/// Which decisions to read.
#[derive(Debug, Clone, Default)]
pub struct DecisionFilter {
    /// Of this unit.
    pub unit: Option<String>,
    /// At this decision point.
    pub point: Option<String>,
    /// Made at or after this time.
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

impl DecisionFilter {
    /// The SQL after `FROM`, and the values of its parameters. It has only the requested
    /// conditions, so that an index can serve it.
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

mod source {
    use super::{Connection, Dictionaries, LedgerError};

    /// A source of reading connections.
    pub trait Source {
        /// Runs `read` on a connection.
        fn with<T>(
            &self,
            read: impl FnOnce(&Connection, &Dictionaries) -> Result<T, LedgerError>,
        ) -> Result<T, LedgerError>;
    }
}

impl source::Source for Ledger {
    fn with<T>(
        &self,
        read: impl FnOnce(&Connection, &Dictionaries) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        self.with_reader(|db| read(db, &self.dictionaries))
    }
}

impl source::Source for LedgerReader {
    fn with<T>(
        &self,
        read: impl FnOnce(&Connection, &Dictionaries) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        read(&self.connection, &self.dictionaries)
    }
}

impl<S: source::Source> Reads for S {}

/// The reads of a ledger, of a running host or opened for reading.
pub trait Reads: source::Source {
    /// The record of a decision.
    ///
    /// # Errors
    /// SQLite's error.
    fn decision(&self, id: &str) -> Result<Option<StoredRecord>, LedgerError> {
        self.with(|db, dictionaries| {
            Ok(db
                .prepare_cached(&format!("SELECT {COLUMNS} FROM decisions WHERE decision_id = ?1"))?
                .query_row([id], |row| StoredRecord::read(dictionaries, db, row))
                .optional()?)
        })
    }

    /// Says whether a decision was made in an experiment.
    ///
    /// # Errors
    /// SQLite's error.
    fn has_entered(&self, experiment: &str) -> Result<bool, LedgerError> {
        self.with(|db, _| {
            let mut statement = db.prepare_cached("SELECT 1 FROM decisions WHERE experiment = ?1 LIMIT 1")?;
            Ok(statement.exists([experiment])?)
        })
    }

    /// The newest records that match, at most `limit`.
    ///
    /// # Errors
    /// SQLite's error.
    fn decisions(&self, filter: &DecisionFilter, limit: u32) -> Result<Vec<StoredRecord>, LedgerError> {
        let (source, values) = filter.source();
        self.with(|db, dictionaries| {
            let mut statement =
                db.prepare_cached(&format!("SELECT {COLUMNS} FROM {source} ORDER BY decision_id DESC LIMIT {limit}"))?;
            let rows =
                statement.query_map(params_from_iter(values), |row| StoredRecord::read(dictionaries, db, row))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    /// How many records match.
    ///
    /// # Errors
    /// SQLite's error.
    fn count(&self, filter: &DecisionFilter) -> Result<u64, LedgerError> {
        let (source, values) = filter.source();
        self.with(|db, _| {
            let sql = format!("SELECT count(*) FROM {source}");
            let count: i64 = db.query_row(&sql, params_from_iter(values), |row| row.get(0))?;
            Ok(count as u64)
        })
    }

    /// Calls `each` with every matching record, oldest first, until it returns to stop. Reads in
    /// pages, because one long read would block the checkpoint of a running host's log.
    ///
    /// # Errors
    /// SQLite's error.
    fn for_each(&self, filter: &DecisionFilter, mut each: impl FnMut(StoredRecord) -> bool) -> Result<(), LedgerError> {
        // A single lower bound: of two, SQLite uses only the first to seek, and each page would
        // scan all pages before it.
        let (source, values) = DecisionFilter { since_ms: None, ..filter.clone() }.source();
        let sql = format!("SELECT {COLUMNS} FROM {source} AND decision_id > ? ORDER BY decision_id LIMIT {PAGE}");
        let mut last = SqlValue::from(filter.since_ms.map(first_id).unwrap_or_default());
        loop {
            let read = self.with(|db, dictionaries| {
                let mut page = values.clone();
                page.push(last.clone());
                let mut statement = db.prepare_cached(&sql)?;
                let mut rows = statement.query(params_from_iter(page))?;
                let mut read = 0;
                while let Some(row) = rows.next()? {
                    read += 1;
                    let record = StoredRecord::read(dictionaries, db, row)?;
                    last = row.get(0)?;
                    if !each(record) {
                        return Ok(0);
                    }
                }
                Ok(read)
            })?;
            if read < PAGE {
                return Ok(());
            }
        }
    }

    /// The decision points with records, at most `limit`.
    ///
    /// # Errors
    /// SQLite's error.
    fn recorded_points(&self, limit: u32) -> Result<Vec<String>, LedgerError> {
        self.with(|db, _| {
            let mut statement = db.prepare_cached("SELECT DISTINCT point FROM decisions LIMIT ?1")?;
            let mut points: Vec<String> = statement.query_map([limit], |row| row.get(0))?.collect::<Result<_, _>>()?;
            points.sort();
            Ok(points)
        })
    }

    /// The number of different units that a decision point decided about since `since_ms`, and when the first of those
    /// decisions was made: of the newest `most` decisions of all points.
    ///
    /// # Errors
    /// SQLite's error.
    fn units_since(&self, point: &str, since_ms: u64, most: u32) -> Result<(u64, Option<u64>), LedgerError> {
        self.with(|db, _| {
            let mut statement = db.prepare_cached(
                "SELECT count(DISTINCT unit), min(time_ms) FROM
                   (SELECT point, unit, time_ms FROM decisions
                    WHERE decision_id > ?1 ORDER BY decision_id DESC LIMIT ?2)
                 WHERE point = ?3 AND unit IS NOT NULL",
            )?;
            let found = statement.query_row(params![first_id(since_ms), most, point], |row| {
                Ok((row.get::<_, i64>(0)?, row.get::<_, Option<i64>>(1)?))
            })?;
            Ok((found.0 as u64, found.1.map(|ms| ms.max(0) as u64)))
        })
    }

    /// The answer kept under an idempotency key since `since_ms`.
    ///
    /// # Errors
    /// SQLite's error.
    fn stored_answer(&self, key: &str, since_ms: u64) -> Result<Option<StoredAnswer>, LedgerError> {
        self.with(|db, _| {
            Ok(db
                .prepare_cached("SELECT request, status, body FROM answers WHERE key = ?1 AND time_ms >= ?2")?
                .query_row(params![key, since_ms as i64], |row| {
                    Ok(StoredAnswer { request: row.get(0)?, status: row.get(1)?, body: row.get(2)? })
                })
                .optional()?)
        })
    }

    /// Every experiment's status.
    ///
    /// # Errors
    /// SQLite's error, or that a status is invalid.
    fn statuses(&self) -> Result<Vec<(Name, Status)>, LedgerError> {
        self.with(|db, _| transitions::statuses(db))
    }

    /// The digests of all specs that statuses, their changes, approvals and final reports refer to.
    ///
    /// # Errors
    /// SQLite's error.
    fn spec_digests(&self) -> Result<Vec<String>, LedgerError> {
        self.with(|db, _| transitions::spec_digests(db))
    }

    /// The changes of an experiment's status, oldest first.
    ///
    /// # Errors
    /// SQLite's error.
    fn transitions(&self, experiment: &str) -> Result<Vec<TransitionRow>, LedgerError> {
        self.with(|db, _| transitions::transitions(db, experiment))
    }

    /// The snapshots of an experiment, oldest first.
    ///
    /// # Errors
    /// SQLite's error.
    fn history(&self, experiment: &str) -> Result<Vec<String>, LedgerError> {
        self.with(|db, _| history::history(db, experiment))
    }

    /// An experiment's final report, as JSON; none until it has ended.
    ///
    /// # Errors
    /// SQLite's error.
    fn final_report(&self, experiment: &str) -> Result<Option<String>, LedgerError> {
        self.with(|db, _| final_reports::final_report(db, experiment))
    }

    /// The experiments with a final report.
    ///
    /// # Errors
    /// SQLite's error.
    fn with_final_report(&self) -> Result<Vec<Name>, LedgerError> {
        self.with(|db, _| final_reports::with_final_report(db))
    }

    /// The approvals of an experiment's specs.
    ///
    /// # Errors
    /// SQLite's error.
    fn approvals(&self, experiment: &str) -> Result<Vec<Approval>, LedgerError> {
        self.with(|db, _| approvals::approvals(db, experiment))
    }

    /// Counts of an experiment's shadow runs, by served action, shadow action and outcome.
    ///
    /// # Errors
    /// SQLite's error.
    fn shadow_counts(&self, experiment: &str) -> Result<Vec<ShadowCount>, LedgerError> {
        shadows::counts(|page| self.with(|db, _| page(db)), experiment)
    }

    /// The latency of a shadow arm's newest runs; none without runs.
    ///
    /// # Errors
    /// SQLite's error.
    fn shadow_latency(&self, experiment: &str, arm: &str) -> Result<Option<ShadowLatency>, LedgerError> {
        self.with(|db, _| shadows::latency(db, experiment, arm))
    }

    /// The shadow runs on a decision.
    ///
    /// # Errors
    /// SQLite's error.
    fn shadow_attempts(&self, decision_id: &str) -> Result<Vec<ShadowAttempt>, LedgerError> {
        self.with(|db, dictionaries| shadows::attempts(db, dictionaries, decision_id))
    }

    /// The newest entries of the audit that match, at most `limit`.
    ///
    /// # Errors
    /// SQLite's error.
    fn audit_entries(&self, filter: &AuditFilter, limit: u32) -> Result<Vec<StoredAuditEntry>, LedgerError> {
        self.with(|db, _| audit::entries(db, filter, limit))
    }

    /// When a host last had this ledger open, by its clock.
    ///
    /// # Errors
    /// SQLite's error.
    fn last_seen(&self) -> Result<LastSeen, LedgerError> {
        self.with(|db, _| last_seen::read(db))
    }

    /// About the share of decisions that would expire if the oldest kept time moved from `from_ms`
    /// to `to_ms`.
    ///
    /// # Errors
    /// SQLite's error.
    fn share_between(&self, from_ms: u64, to_ms: u64) -> Result<f64, LedgerError> {
        self.with(|db, _| last_seen::share_between(db, from_ms, to_ms))
    }
}
