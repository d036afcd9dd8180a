//! When the ledger was last in use, to detect a clock jump while no host was running.

use rusqlite::{Connection, params};

use super::LedgerError;
use super::schema::first_id;

/// Whether the clock is trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClockState {
    /// It is trusted, and this is the time.
    Trusted(u64),
    /// It is not trusted.
    Doubted {
        /// The reason.
        why: String,
        /// The time that was trusted last, and what has passed since by uptime.
        steady_ms: u64,
    },
}

/// The clock of a ledger's host, as last recorded.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LastSeen {
    /// The last recorded time of a trusted clock, with what has passed since by the host's uptime, up to a minute
    /// before it ended; none if no host has opened this ledger.
    pub seen_ms: Option<u64>,
    /// Why the clock was not trusted, if nobody has confirmed it since.
    pub doubt: Option<String>,
}

pub(super) fn read(db: &Connection) -> Result<LastSeen, LedgerError> {
    let row = |row: &rusqlite::Row<'_>| {
        Ok(LastSeen { seen_ms: row.get::<_, Option<i64>>(0)?.map(|ms| ms as u64), doubt: row.get(1)? })
    };
    Ok(db.prepare_cached("SELECT seen_ms, doubt FROM clock")?.query_row([], row)?)
}

pub(super) fn store(db: &Connection, clock: &ClockState) -> rusqlite::Result<()> {
    match clock {
        ClockState::Trusted(now_ms) => {
            db.prepare_cached("UPDATE clock SET seen_ms = ?1, doubt = NULL")?.execute([*now_ms as i64])?
        }
        // The doubted time is not stored: the next start compares its clock with the time measured by uptime.
        ClockState::Doubted { why, steady_ms } => db
            .prepare_cached("UPDATE clock SET doubt = ?1, seen_ms = max(coalesce(seen_ms, ?2), ?2)")?
            .execute(params![why, *steady_ms as i64])?,
    };
    Ok(())
}

/// Uses row ids, which are assigned in order: a few look-ups, however long the ledger is.
pub(super) fn share_between(db: &Connection, from_ms: u64, to_ms: u64) -> Result<f64, LedgerError> {
    let place_of = "SELECT seq FROM decisions WHERE decision_id >= ?1 ORDER BY decision_id LIMIT 1";
    let newest: Option<i64> = db.query_row("SELECT max(seq) FROM decisions", [], |row| row.get(0))?;
    let Some(end) = newest.map(|newest| newest + 1) else { return Ok(0.0) };
    let place = |ms: u64| match db.prepare_cached(place_of)?.query_row(params![first_id(ms)], |row| row.get(0)) {
        Ok(place) => Ok(place),
        Err(rusqlite::Error::QueryReturnedNoRows) => Ok(end),
        Err(error) => Err(error),
    };
    let (from, to): (i64, i64) = (place(from_ms)?, place(to_ms)?);
    Ok(if from < end { (to - from).max(0) as f64 / (end - from) as f64 } else { 0.0 })
}
