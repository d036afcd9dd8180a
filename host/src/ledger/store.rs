//! The writer's inserts inside a transaction.

use rusqlite::{Connection, params};

use super::Commit;
use super::packing::{Written, store_dictionary};
use super::positions::Positions;

/// Stores decisions, and the answer for their idempotency key.
pub(super) fn store_commit(
    transaction: &Connection,
    written: &mut Written,
    positions: &mut Positions,
    commit: &Commit,
) -> Result<(), rusqlite::Error> {
    if !commit.decisions.is_empty() {
        let mut statement = transaction.prepare_cached(
            "INSERT INTO decisions
             (seq, decision_id, time_ms, point, unit, experiment, arm, served_by, outcome, action, took_us, forced,
              batch, attributes, digest, dictionary, record, identity, unit_kind)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19)",
        )?;
        for row in &commit.decisions {
            if let Some(dictionary) = &row.dictionary {
                store_dictionary(transaction, written, dictionary)?;
            }
            let (experiment, arm) = row.assignment.as_ref().map_or((None, None), |(e, a)| (Some(e), Some(a)));
            statement.execute(params![
                positions.decisions + 1,
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
                row.record,
                row.identity,
                row.unit_kind
            ])?;
            positions.decisions += 1;
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
