//! An experiment's history: what was known of it in the course of time.

use rusqlite::{Connection, params};

use super::LedgerError;
use super::cells::text;

/// Points that are kept of one experiment; beyond, every second one goes.
const MAX_POINTS: i64 = 400;

pub(super) fn store_point(db: &Connection, experiment: &str, time_ms: u64, json: &str) -> Result<(), rusqlite::Error> {
    db.prepare_cached("INSERT OR REPLACE INTO moments (experiment, time_ms, moment) VALUES (?1, ?2, ?3)")?
        .execute(params![experiment, time_ms as i64, json])?;
    let count: i64 = db
        .prepare_cached("SELECT count(*) FROM moments WHERE experiment = ?1")?
        .query_row([experiment], |row| row.get(0))?;
    if count > MAX_POINTS {
        // The first and the last stay.
        db.execute(
            "DELETE FROM moments WHERE experiment = ?1 AND time_ms IN
               (SELECT time_ms FROM (SELECT time_ms, row_number() OVER (ORDER BY time_ms) AS n FROM moments
                WHERE experiment = ?1) WHERE n % 2 = 0 AND n < ?2)",
            params![experiment, count],
        )?;
    }
    Ok(())
}

pub(super) fn history(db: &Connection, experiment: &str) -> Result<Vec<String>, LedgerError> {
    let mut statement = db.prepare_cached("SELECT moment FROM moments WHERE experiment = ?1 ORDER BY time_ms")?;
    // A point that was altered is a gap in a chart.
    let points = statement.query_map([experiment], |row| Ok(text(row, 0).ok().map(str::to_owned)))?;
    Ok(points.filter_map(Result::transpose).collect::<Result<_, _>>()?)
}
