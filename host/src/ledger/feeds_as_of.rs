//! Feeds as they were at an earlier time. The ledger keeps the last sign of life of each; the one before that
//! time is that of the rows.

use rusqlite::{Connection, OptionalExtension as _, params};
use serin_core::analysis::Feed;

use super::cells::unsigned;
use super::feeds::feed;

/// The state of a feed at `at_ms`, for one kind of entity.
pub(super) fn feed_as_of(db: &Connection, kind: &str, name: &str, at_ms: u64) -> rusqlite::Result<Feed> {
    let now = feed(db, kind, name)?;
    let heard_ms = match now.heard_ms {
        Some(heard_ms) if heard_ms > at_ms => heard_before(db, (kind, name), at_ms)?,
        heard_ms => heard_ms,
    };
    Ok(now.as_of(at_ms, heard_ms))
}

/// When the newest outcome of a name was received, up to then. One of an unknown decision is no sign of life.
fn heard_before(db: &Connection, (kind, name): (&str, &str), at_ms: u64) -> rusqlite::Result<Option<u64>> {
    let sql = "SELECT received_ms FROM outcomes o
               WHERE received_ms <= ?3 AND name = ?2 AND reverses IS NULL
                 AND (entity_kind = ?1 OR EXISTS (
                   SELECT 1 FROM decisions d WHERE d.decision_id = o.decision_id AND d.seq <= o.after_seq))
               ORDER BY received_ms DESC LIMIT 1";
    db.prepare_cached(sql)?.query_row(params![kind, name, at_ms as i64], |row| unsigned(row, 0)).optional()
}
