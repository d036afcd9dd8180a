//! What the writer does inside a transaction: rows come, and rows go.

use std::collections::HashMap;

use rusqlite::{Connection, params};

use super::Commit;
use super::packing::{DAY_MS, Dictionary};
use super::read::first_id;

/// Rows that one expiry deletes, so that commits never wait long behind it.
pub(super) const EXPIRE_ROWS: i64 = 2_000;

/// Dictionaries known to be in the database, and the time that is written with each. Forgotten
/// when a transaction fails.
pub(super) type Written = HashMap<i64, u64>;

/// Stores decisions, and the answer that goes with them.
pub(super) fn store_commit(
    transaction: &Connection,
    written: &mut Written,
    commit: &Commit,
) -> Result<(), rusqlite::Error> {
    if !commit.decisions.is_empty() {
        let mut statement = transaction.prepare_cached(
            "INSERT INTO decisions
             (decision_id, time_ms, point, unit, experiment, arm, served_by, outcome, action, took_us, forced,
              batch, attributes, digest, dictionary, record)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)",
        )?;
        for row in &commit.decisions {
            if let Some(dictionary) = &row.dictionary {
                store_dictionary(transaction, written, dictionary)?;
            }
            let (experiment, arm) = row.assignment.as_ref().map_or((None, None), |(e, a)| (Some(e), Some(a)));
            statement.execute(params![
                row.decision_id,
                row.time_ms as i64,
                row.point,
                row.unit,
                experiment,
                arm,
                row.served_by,
                row.outcome,
                row.action,
                row.took_us as i64,
                row.forced,
                row.batch,
                row.attributes,
                row.digest,
                row.dictionary.as_ref().map(|dictionary| dictionary.id),
                row.record
            ])?;
        }
    }
    if let Some(answer) = &commit.answer {
        transaction
            .prepare_cached(
                "INSERT OR REPLACE INTO answers (key, request, status, body, time_ms) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute(params![answer.key, answer.request, answer.status, answer.body, answer.time_ms as i64])?;
    }
    Ok(())
}

/// In the transaction of the first record that needs it, so that none is there without.
fn store_dictionary(
    transaction: &Connection,
    written: &mut Written,
    dictionary: &Dictionary,
) -> Result<(), rusqlite::Error> {
    if written.get(&dictionary.id) == Some(&dictionary.time_ms) {
        return Ok(());
    }
    transaction
        .prepare_cached(
            "INSERT INTO dictionaries (id, time_ms, bytes) VALUES (?1, ?2, ?3)
             ON CONFLICT (id) DO UPDATE SET time_ms = max(time_ms, excluded.time_ms)",
        )?
        .execute(params![dictionary.id, dictionary.time_ms as i64, dictionary.bytes])?;
    written.insert(dictionary.id, dictionary.time_ms);
    Ok(())
}

/// Deletes what is older than its time, a bounded number; says whether more is left.
pub(super) fn expire(
    transaction: &Connection,
    before_ms: Option<u64>,
    keys_before_ms: u64,
) -> Result<bool, rusqlite::Error> {
    // Written even where nothing is deleted: whether a commit succeeds is what readiness goes
    // by, and one that writes no page succeeds on a full disk.
    transaction.execute("UPDATE probe SET time_ms = ?1", [keys_before_ms as i64])?;
    let mut deleted = transaction.execute(
        "DELETE FROM answers WHERE key IN (SELECT key FROM answers WHERE time_ms < ?1 LIMIT ?2)",
        params![keys_before_ms as i64, EXPIRE_ROWS],
    )?;
    let Some(before_ms) = before_ms else {
        return Ok(deleted as i64 == EXPIRE_ROWS);
    };
    for (table, key) in [("outcomes", "rowid"), ("exposures", "rowid")] {
        deleted = deleted.max(transaction.execute(
            &format!("DELETE FROM {table} WHERE {key} IN (SELECT {key} FROM {table} WHERE received_ms < ?1 LIMIT ?2)"),
            params![before_ms as i64, EXPIRE_ROWS],
        )?);
    }
    let shadows = "DELETE FROM shadows WHERE rowid IN (SELECT rowid FROM shadows WHERE decision_id < ?1 LIMIT ?2)";
    deleted = deleted.max(transaction.execute(shadows, params![first_id(before_ms), EXPIRE_ROWS])?);
    let decisions = transaction.execute(
        "DELETE FROM decisions WHERE rowid IN (SELECT rowid FROM decisions WHERE decision_id < ?1 LIMIT ?2)",
        params![first_id(before_ms), EXPIRE_ROWS],
    )?;
    if decisions == 0 {
        // A dictionary is of the day of the records that need it, or of one after.
        transaction
            .execute("DELETE FROM dictionaries WHERE time_ms < ?1", [before_ms.saturating_sub(2 * DAY_MS) as i64])?;
    }
    Ok(deleted.max(decisions) as i64 == EXPIRE_ROWS)
}
