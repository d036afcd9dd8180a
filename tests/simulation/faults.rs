//! Errors of the ledger, as SQLite itself reports them: rows that it refuses, statements that fail,
//! tables that cannot be read, and a queue that is full.

use std::path::Path;

use rusqlite::Connection;
use serin::ledger::{Commit, Ledger, LedgerError, Note};

/// Tables that the writer inserts into.
const WRITTEN: [&str; 6] = ["decisions", "outcomes", "exposures", "watermarks", "transitions", "moments"];

/// Tables that facts are read from, each with a column that the read needs.
const READ: [(&str, &str); 4] =
    [("decisions", "took_us"), ("outcomes", "value"), ("exposures", "at_ms"), ("watermarks", "until_ms")];

/// An error that goes on until it is mended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A row in one table is refused; what else is in its transaction is tried again.
    Row(usize),
    /// A row in one table fails for no constraint of it; what else is in its transaction is tried again, too.
    Statement(usize),
    /// A table can be neither read nor written: a column has another name. What is read before it is
    /// read.
    Unreadable(usize),
}

impl Fault {
    /// Every fault that there is.
    pub fn all() -> impl Iterator<Item = Self> {
        let written = (0..WRITTEN.len()).flat_map(|table| [Self::Row(table), Self::Statement(table)]);
        written.chain((0..READ.len()).map(Self::Unreadable))
    }
}

/// A connection of its own to the ledger's file, and the error that goes on.
pub struct Faults {
    db: Connection,
    on: Option<Fault>,
}

impl Faults {
    /// Prepares a ledger that is open.
    pub fn prepare(path: &Path) -> Self {
        let db = Connection::open(path).expect("opens");
        db.busy_timeout(std::time::Duration::from_secs(10)).expect("sets");
        db.execute_batch("CREATE TABLE fault (name TEXT NOT NULL)").expect("creates");
        for table in WRITTEN {
            let trigger = |kind: &str, what: &str| {
                format!(
                    "CREATE TRIGGER {kind}_{table} BEFORE INSERT ON {table}
                     WHEN EXISTS (SELECT 1 FROM fault WHERE name = '{kind}_{table}') BEGIN {what}; END;"
                )
            };
            db.execute_batch(&trigger("row", "SELECT RAISE(ABORT, 'refused')")).expect("creates");
            db.execute_batch(&trigger("statement", "SELECT json('{')")).expect("creates");
        }
        Self { db, on: None }
    }

    pub fn on(&self) -> Option<Fault> {
        self.on
    }

    pub fn cannot_read(&self) -> bool {
        matches!(self.on, Some(Fault::Unreadable(_)))
    }

    pub fn begin(&mut self, fault: Fault) {
        self.mend();
        let insert = |name: String| self.db.execute("INSERT INTO fault VALUES (?1)", [name]).expect("inserts");
        match fault {
            Fault::Row(table) => drop(insert(format!("row_{}", WRITTEN[table]))),
            Fault::Statement(table) => drop(insert(format!("statement_{}", WRITTEN[table]))),
            Fault::Unreadable(at) => {
                let (table, column) = READ[at];
                let hide = format!("ALTER TABLE {table} RENAME COLUMN {column} TO hidden");
                self.db.execute_batch(&hide).expect("renames");
            }
        }
        self.on = Some(fault);
    }

    pub fn mend(&mut self) {
        self.db.execute("DELETE FROM fault", []).expect("deletes");
        if let Some(Fault::Unreadable(at)) = self.on.take() {
            let (table, column) = READ[at];
            let mend = format!("ALTER TABLE {table} RENAME COLUMN hidden TO {column}");
            self.db.execute_batch(&mend).expect("renames");
        }
    }

    /// Calls `act` while the ledger's queue is full: its writer waits for a lock that is held here.
    pub fn with_full_queue(&self, ledger: &Ledger, act: impl FnOnce()) {
        self.db.execute_batch("BEGIN IMMEDIATE").expect("locks");
        let point = Note::HistoryPoint("full".into(), 0, "{}".to_owned());
        ledger.note(point).expect("there is room yet");
        // The writer takes some more before it waits for the lock.
        let mut refused = 0;
        while refused < 100 {
            match ledger.commit_unwaited(Commit::default()) {
                Ok(()) => refused = 0,
                Err(LedgerError::QueueFull) => {
                    refused += 1;
                    std::thread::yield_now();
                }
                Err(error) => panic!("{error}"),
            }
        }
        act();
        self.db.execute_batch("ROLLBACK").expect("unlocks");
        let drained = || ledger.commit(Commit::default()).ok()?.blocking_recv().ok();
        crate::support::eventually("the queue is drained", std::time::Duration::from_secs(20), drained)
            .expect("nothing was written but one moment");
    }
}
