//! What was known of experiments in the course of time and at their end, and who agreed to them.

use rusqlite::{Connection, OptionalExtension as _, params};
use serin_core::Name;

use super::LedgerError;

/// Moments that are kept of one experiment; beyond, every second one goes.
const MAX_MOMENTS: i64 = 400;

/// Somebody's agreement to a spec as it is.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Approval {
    /// SHA-256 of the spec that was agreed to.
    pub spec_digest: String,
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
    /// When, in milliseconds since the Unix epoch.
    pub time_ms: u64,
}

/// An experiment's report as of its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FinalReport {
    /// The experiment.
    pub experiment: Name,
    /// The generation of the status that ended it.
    pub generation: u64,
    /// When it ended, in milliseconds since the Unix epoch.
    pub time_ms: u64,
    /// The report, as JSON.
    pub report: String,
}

/// The first one stays: later ones would know of outcomes that came after the end.
pub(super) fn store_final_report(db: &Connection, end: &FinalReport) -> Result<(), rusqlite::Error> {
    db.prepare_cached(
        "INSERT OR IGNORE INTO final_reports (experiment, generation, time_ms, report) VALUES (?1, ?2, ?3, ?4)",
    )?
    .execute(params![&*end.experiment, end.generation as i64, end.time_ms as i64, end.report])?;
    Ok(())
}

pub(super) fn final_report(db: &Connection, experiment: &str) -> Result<Option<String>, LedgerError> {
    let mut statement = db.prepare_cached("SELECT report FROM final_reports WHERE experiment = ?1")?;
    Ok(statement.query_row([experiment], |row| row.get(0)).optional()?)
}

pub(super) fn store_moment(db: &Connection, experiment: &str, time_ms: u64, json: &str) -> Result<(), rusqlite::Error> {
    db.prepare_cached("INSERT OR REPLACE INTO moments (experiment, time_ms, moment) VALUES (?1, ?2, ?3)")?
        .execute(params![experiment, time_ms as i64, json])?;
    let count: i64 = db
        .prepare_cached("SELECT count(*) FROM moments WHERE experiment = ?1")?
        .query_row([experiment], |row| row.get(0))?;
    if count > MAX_MOMENTS {
        // The first and the last stay: they are what the others lie between.
        db.execute(
            "DELETE FROM moments WHERE experiment = ?1 AND time_ms IN
               (SELECT time_ms FROM (SELECT time_ms, row_number() OVER (ORDER BY time_ms) AS n FROM moments
                WHERE experiment = ?1) WHERE n % 2 = 0 AND n < ?2)",
            params![experiment, count],
        )?;
    }
    Ok(())
}

pub(super) fn store_approval(db: &Connection, experiment: &str, approval: &Approval) -> Result<(), rusqlite::Error> {
    db.prepare_cached(
        "INSERT OR IGNORE INTO approvals (experiment, spec, by, reason, time_ms) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute(params![experiment, approval.spec_digest, approval.by, approval.reason, approval.time_ms as i64])?;
    Ok(())
}

pub(super) fn moments(db: &Connection, experiment: &str) -> Result<Vec<String>, LedgerError> {
    let mut statement = db.prepare_cached("SELECT moment FROM moments WHERE experiment = ?1 ORDER BY time_ms")?;
    Ok(statement.query_map([experiment], |row| row.get(0))?.collect::<Result<_, _>>()?)
}

pub(super) fn approvals(db: &Connection, experiment: &str) -> Result<Vec<Approval>, LedgerError> {
    let mut statement = db
        .prepare_cached("SELECT spec, by, reason, time_ms FROM approvals WHERE experiment = ?1 ORDER BY time_ms, by")?;
    let approval = |row: &rusqlite::Row<'_>| {
        let time_ms = row.get::<_, i64>(3)? as u64;
        Ok(Approval { spec_digest: row.get(0)?, by: row.get(1)?, reason: row.get(2)?, time_ms })
    };
    Ok(statement.query_map([experiment], approval)?.collect::<Result<_, _>>()?)
}

pub(super) fn with_final_report(db: &Connection) -> Result<Vec<Name>, LedgerError> {
    let mut statement = db.prepare_cached("SELECT experiment FROM final_reports")?;
    let names = statement.query_map([], |row| row.get::<_, String>(0))?;
    Ok(names.map(|name| name.map(Name::from)).collect::<Result<_, _>>()?)
}
