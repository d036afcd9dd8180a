//! The approvals of an experiment's specs.

use rusqlite::{Connection, params};

use super::LedgerError;

/// An approval of a spec.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Approval {
    /// SHA-256 of the approved spec.
    pub spec_digest: String,
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
    /// When, in milliseconds since the Unix epoch.
    pub time_ms: u64,
}

pub(super) fn store_approval(db: &Connection, experiment: &str, approval: &Approval) -> Result<(), rusqlite::Error> {
    db.prepare_cached(
        "INSERT OR IGNORE INTO approvals (experiment, spec, by, reason, time_ms) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute(params![experiment, approval.spec_digest, approval.by, approval.reason, approval.time_ms as i64])?;
    Ok(())
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
