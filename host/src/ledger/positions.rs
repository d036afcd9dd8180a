//! The positions of rows in the order of commits. SQLite numbers a row after the newest one that
//! exists, so after an expiry it would give a position again that readers have passed already. The
//! writer numbers rows itself, and the ledger keeps where it has come to.

use rusqlite::Connection;

/// The newest position of each table that facts are read from, whether or not its row still exists.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Positions {
    pub decisions: i64,
    pub outcomes: i64,
    pub exposures: i64,
}

impl Positions {
    /// The positions that a ledger has come to.
    pub fn of(db: &Connection) -> rusqlite::Result<Self> {
        let sql = "SELECT max(decisions, (SELECT coalesce(max(seq), 0) FROM decisions)),
                          max(outcomes, (SELECT coalesce(max(rowid), 0) FROM outcomes)),
                          max(exposures, (SELECT coalesce(max(rowid), 0) FROM exposures)) FROM positions";
        db.prepare_cached(sql)?
            .query_row([], |row| Ok(Self { decisions: row.get(0)?, outcomes: row.get(1)?, exposures: row.get(2)? }))
    }

    /// Keeps them, before rows are deleted in the same transaction.
    pub fn store(&self, db: &Connection) -> rusqlite::Result<()> {
        let sql = "UPDATE positions SET decisions = ?1, outcomes = ?2, exposures = ?3";
        db.prepare_cached(sql)?.execute([self.decisions, self.outcomes, self.exposures]).map(drop)
    }
}
