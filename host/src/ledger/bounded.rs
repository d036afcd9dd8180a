//! Admin reads: on connections of their own, each with a deadline, so that a long one does not slow
//! decisions with an idempotency key and ends once nobody waits for it.

use std::sync::PoisonError;

use rusqlite::{ErrorCode, params_from_iter};

use super::affected::{AffectedUnit, units};
use super::read::DecisionFilter;
use super::stored::{COLUMNS, StoredRecord};
use super::{Ledger, LedgerError, LedgerReader};
use crate::clock::Budget;

/// Connections kept open for such reads.
const READERS: usize = 4;
/// Steps of SQLite's virtual machine between two checks of the deadline: about 10 µs.
const STEPS: i32 = 1_000;

impl Ledger {
    /// Runs `read` on a connection that no decision shares, and interrupts it at its deadline.
    ///
    /// # Errors
    /// [`LedgerError::TimedOut`], or SQLite's error.
    pub fn bounded<T>(
        &self,
        budget: Budget,
        read: impl FnOnce(&LedgerReader) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        if budget.left().is_zero() {
            return Err(LedgerError::TimedOut);
        }
        let free = self.bounded.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut reader = match free {
            Some(reader) => reader,
            None => self.place.check().and_then(|()| LedgerReader::open(&self.path))?,
        };
        reader.connection.progress_handler(STEPS, Some(move || budget.left().is_zero()))?;
        let answer = read(&reader);
        reader.connection.progress_handler(0, None::<fn() -> bool>)?;
        let mut free = self.bounded.lock().unwrap_or_else(PoisonError::into_inner);
        if free.len() < READERS {
            free.push(reader);
        }
        answer
    }
}

/// Whether SQLite interrupted a statement at its deadline.
pub(super) fn is_interrupted(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted)
}

impl LedgerReader {
    /// Calls `each` with the matching records, newest first, until it returns to stop. With
    /// `before`, only records older than that decision.
    ///
    /// # Errors
    /// SQLite's error.
    pub fn newest(
        &self,
        filter: &DecisionFilter,
        before: Option<&str>,
        mut each: impl FnMut(StoredRecord) -> bool,
    ) -> Result<(), LedgerError> {
        let (mut source, mut values) = filter.source();
        if let Some(before) = before {
            source.push_str(" AND decision_id < ?");
            values.push(before.to_owned().into());
        }
        let sql = format!("SELECT {COLUMNS} FROM {source} ORDER BY decision_id DESC");
        let mut statement = self.connection.prepare_cached(&sql)?;
        let mut rows = statement.query(params_from_iter(values))?;
        while let Some(row) = rows.next()? {
            if !each(StoredRecord::read(&self.dictionaries, &self.connection, row)?) {
                break;
            }
        }
        Ok(())
    }

    /// A page of the units that an experiment, or one of its arms, affected: those after a unit's
    /// id, in the order of ids, at most `limit` and about `most_bytes`, each once for every arm
    /// that affected it; and whether more may follow. `of` is the kind of unit, the experiment, and
    /// optionally the arm.
    ///
    /// # Errors
    /// SQLite's error.
    pub fn affected(
        &self,
        of: (&str, &str, Option<&str>),
        after: &str,
        limit: u32,
        most_bytes: usize,
    ) -> Result<(Vec<AffectedUnit>, bool), LedgerError> {
        units(&self.connection, of, after, limit, most_bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::ledger::Durability;
    use crate::telemetry::Metrics;

    #[test]
    fn a_read_ends_at_its_deadline_and_the_next_one_has_its_own() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("serin.db");
        let ledger = Ledger::open(&path, Durability::Process, Arc::new(Metrics::default())).expect("opens");
        let rows = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
            INSERT INTO decisions (decision_id, time_ms, point, served_by, action, took_us, forced, digest, record)
            SELECT printf('%08d', i), i, 'p', 'strategy', 'go', 1, 0, '', x'7b7d' FROM n";
        rusqlite::Connection::open(&path).and_then(|db| db.execute_batch(rows)).expect("inserts");
        let (budget, filter, mut read) = (Budget::new(Duration::from_millis(20)), DecisionFilter::default(), 0);
        let long = ledger.bounded(budget, |ledger| {
            ledger.newest(&filter, None, |_| {
                read += 1;
                while !budget.left().is_zero() {
                    std::hint::spin_loop();
                }
                true
            })
        });
        assert!(matches!(long, Err(LedgerError::TimedOut)), "{long:?}");
        assert!((1..20_000).contains(&read), "{read}");
        let mut newest = None;
        let next = ledger.bounded(Budget::new(Duration::from_secs(60)), |ledger| {
            ledger.newest(&filter, Some("00000010"), |record| newest.replace(record.decision_id).is_some())
        });
        assert!(next.is_ok(), "{next:?}");
        assert_eq!(newest.as_deref(), Some("00000009"));
    }
}
