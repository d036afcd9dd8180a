//! The audit: who did what, when, from where, and what came of it. Rows are added and, once they are
//! older than they are kept, removed; none is ever changed. The schema's triggers hold others to that, too.

use rusqlite::types::Value as SqlValue;
use rusqlite::{Connection, params, params_from_iter};

use super::LedgerError;
use super::cells::{shown, unsigned};

/// Something that somebody did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// When, in milliseconds since the Unix epoch.
    pub time_ms: u64,
    /// Who: the identity of the credential; none without `[access]`; `serin` for the host itself.
    pub who: Option<String>,
    /// The address that it came from; none for the host itself.
    pub address: Option<String>,
    /// What, like `experiment.abort`.
    pub what: String,
    /// On what, like an experiment's id.
    pub target: String,
    /// What came of it: `done`, or the type of the problem.
    pub result: String,
    /// How often, within the minute; 1 for what is not counted by the minute.
    pub count: u64,
}

/// Which entries to read.
#[derive(Debug, Clone, Default)]
pub struct AuditFilter {
    /// At or after this time.
    pub since_ms: Option<u64>,
    /// Before this time.
    pub until_ms: Option<u64>,
    /// Of this identity.
    pub who: Option<String>,
    /// Of this kind.
    pub what: Option<String>,
    /// Older than the entry of this number.
    pub before: Option<u64>,
}

/// A stored entry, with its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredAuditEntry {
    /// Its number. Later ones are higher.
    pub seq: u64,
    /// What it says.
    pub entry: AuditEntry,
}

pub(super) fn store_entry(db: &Connection, entry: &AuditEntry) -> Result<(), rusqlite::Error> {
    db.prepare_cached(
        "INSERT INTO audit (time_ms, who, address, what, target, result, count) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute(params![
        entry.time_ms as i64,
        entry.who,
        entry.address,
        entry.what,
        entry.target,
        entry.result,
        entry.count as i64
    ])?;
    Ok(())
}

/// The newest entries that match, at most `limit`.
pub(super) fn entries(db: &Connection, filter: &AuditFilter, limit: u32) -> Result<Vec<StoredAuditEntry>, LedgerError> {
    let (mut conditions, mut values) = (vec!["1"], Vec::new());
    let number = |number: u64| SqlValue::from(i64::try_from(number).unwrap_or(i64::MAX));
    let mut add = |condition, value: Option<SqlValue>| {
        if let Some(value) = value {
            conditions.push(condition);
            values.push(value);
        }
    };
    add("seq < ?", filter.before.map(number));
    add("time_ms >= ?", filter.since_ms.map(number));
    add("time_ms < ?", filter.until_ms.map(number));
    add("who = ?", filter.who.clone().map(SqlValue::from));
    add("what = ?", filter.what.clone().map(SqlValue::from));
    let sql = format!(
        "SELECT seq, time_ms, who, address, what, target, result, count FROM audit WHERE {} ORDER BY seq DESC LIMIT {limit}",
        conditions.join(" AND ")
    );
    let mut statement = db.prepare_cached(&sql)?;
    let entry = |row: &rusqlite::Row<'_>| {
        // What was altered from outside is shown as it is: it hides none of the others.
        let some = |at| shown(row, at).map(|text| Some(text).filter(|text| !text.is_empty()));
        let entry = AuditEntry {
            time_ms: unsigned(row, 1).unwrap_or_default(),
            who: some(2)?,
            address: some(3)?,
            what: shown(row, 4)?,
            target: shown(row, 5)?,
            result: shown(row, 6)?,
            count: unsigned(row, 7).unwrap_or_default(),
        };
        Ok(StoredAuditEntry { seq: unsigned(row, 0)?, entry })
    };
    Ok(statement.query_map(params_from_iter(values), entry)?.collect::<Result<_, _>>()?)
}
