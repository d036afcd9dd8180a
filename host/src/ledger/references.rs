//! What the records refer to in the archive.

use std::collections::{BTreeMap, HashSet};

use serin_core::record::Record;

use super::stored::{COLUMNS, StoredRecord};
use super::{LedgerError, LedgerReader};

impl LedgerReader {
    /// The digests that a replay of the records needs, each with what it is of. A record that was altered names none.
    ///
    /// # Errors
    /// SQLite's error.
    pub fn references(&self) -> Result<BTreeMap<String, String>, LedgerError> {
        let (db, dictionaries) = (&self.connection, &self.dictionaries);
        let mut found = BTreeMap::new();
        let mut record = db.prepare(&format!("SELECT {COLUMNS} FROM decisions WHERE seq = ?1"))?;
        let mut rows = db.prepare("SELECT seq, dictionary FROM decisions WHERE length(record) > 0")?;
        let mut rows = rows.query([])?;
        let mut known = HashSet::new();
        while let Some(row) = rows.next()? {
            // Records that share a dictionary are of one kind, and refer to the same: one of each is unpacked.
            if row.get::<_, Option<i64>>(1)?.is_some_and(|dictionary| !known.insert(dictionary)) {
                continue;
            }
            let seq: i64 = row.get(0)?;
            let stored = record.query_row([seq], |row| StoredRecord::read(dictionaries, db, row))?;
            if let Ok(record) = stored.parse() {
                note(&record, &mut found);
            }
        }
        Ok(found)
    }
}

fn note(record: &Record, found: &mut BTreeMap<String, String>) {
    for strategy in record.attempts.iter().map(|attempt| &attempt.strategy) {
        let what = || format!("artifact {}@{}", strategy.name, strategy.version);
        found.entry(strategy.digest.to_string()).or_insert_with(what);
    }
    if let Some(assignment) = &record.routing.assignment {
        let what = || format!("a spec of experiment {}", assignment.experiment);
        found.entry(assignment.spec_digest.to_string()).or_insert_with(what);
    }
    if let Some(deployment) = &record.deployment {
        found.entry(deployment.to_string()).or_insert_with(|| "what routing read".to_owned());
    }
}
