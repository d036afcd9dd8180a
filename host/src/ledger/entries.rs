//! Entries of units under adaptive allocation, read back at a start.

use rusqlite::params;

use super::cells::{fault, text, unsigned};
use super::schema::first_id;
use super::{Ledger, LedgerError};

/// The most by which the order of commits differs from that of ids, which begin with the time.
const DISORDER_MS: u64 = 60_000;

impl Ledger {
    /// Calls `each` with the unit, the batch and the time of an experiment's decisions in commit
    /// order, so far back that every entry is among them that is of the current batch, or whose
    /// window of `window_ms` is open at `now_ms`. A row that cannot be read is left out.
    ///
    /// A decision outside the batch in force is in an open window, so its entry is at most one window
    /// older. Of the batches in force during the last window, the oldest began last before it.
    ///
    /// # Errors
    /// SQLite's error.
    pub fn entries(
        &self,
        experiment: &str,
        window_ms: u64,
        now_ms: u64,
        mut each: impl FnMut(&str, u32, u64),
    ) -> Result<(), LedgerError> {
        let opened = now_ms.saturating_sub(window_ms);
        self.with_reader(|db| {
            let began: Option<i64> = db.query_row(
                "SELECT max(time_ms) FROM transitions
                 WHERE experiment = ?1 AND command IN ('start', 'allocate') AND time_ms <= ?2",
                params![experiment, opened as i64],
                |row| row.get(0),
            )?;
            let began = began.map_or(0, |ms| ms.max(0) as u64);
            let since = began.min(opened.saturating_sub(window_ms)).saturating_sub(DISORDER_MS);
            let mut statement = db.prepare_cached(
                "SELECT unit, batch, time_ms FROM decisions
                 WHERE experiment = ?1 AND batch IS NOT NULL AND unit IS NOT NULL AND NOT forced
                   AND seq > coalesce(
                     (SELECT seq FROM decisions WHERE decision_id < ?2 ORDER BY decision_id DESC LIMIT 1), 0)
                 ORDER BY seq",
            )?;
            let mut rows = statement.query(params![experiment, first_id(since)])?;
            while let Some(row) = rows.next()? {
                match (text(row, 0), row.get(1), unsigned(row, 2)) {
                    (Ok(unit), Ok(batch), Ok(time_ms)) => each(unit, batch, time_ms),
                    (Err(error), ..) | (_, Err(error), _) | (.., Err(error)) => {
                        fault(&error).ok_or(error)?;
                    }
                }
            }
            Ok(())
        })
    }
}
