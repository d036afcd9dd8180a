//! Experiments' reports as of their ends, and as of the ships of their winners.

use rusqlite::{Connection, OptionalExtension as _, params};
use serin_core::Name;

use super::LedgerError;

/// An experiment's final report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FinalReport {
    /// The experiment; as of a ship, [`ship_report`].
    pub experiment: Name,
    /// The generation of the status that ended it, or shipped its winner.
    pub generation: u64,
    /// When it ended or shipped, in milliseconds since the Unix epoch.
    pub time_ms: u64,
    /// The report, as JSON.
    pub report: String,
}

/// The key of the report as of a ship. No experiment's name has an `@`.
pub fn ship_report(experiment: &str, shipped_ms: u64) -> Name {
    format!("{experiment}@{shipped_ms}").as_str().into()
}

/// The first one stays: later ones would include outcomes that arrived after the end.
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

pub(super) fn with_final_report(db: &Connection) -> Result<Vec<Name>, LedgerError> {
    let mut statement = db.prepare_cached("SELECT experiment FROM final_reports")?;
    let names = statement.query_map([], |row| row.get::<_, String>(0))?;
    Ok(names.map(|name| name.map(Name::from)).collect::<Result<_, _>>()?)
}
