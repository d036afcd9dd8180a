//! Feeds of outcomes: when each name was last heard of, how often it usually is, and its watermark.
//!
//! The usual gap between two signs of life is the longest one that was seen. On each further day with
//! a sign of life it shrinks by a fifth, so that a feed's regular pauses count and an outage of long
//! ago does not. It begins at four days. A silence of three usual gaps and a day at least is an outage,
//! and is kept once it has ended.

use rusqlite::{Connection, OptionalExtension, params};
use serin_core::analysis::{Feed, Outage};

use super::cells::unsigned;

/// A promise that all outcomes of a name that happened up to a time have been posted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatermarkInput {
    /// The outcomes' name.
    pub name: String,
    /// The time, in milliseconds since the Unix epoch.
    pub until_ms: u64,
}

/// SQL for the usual gap before the first two signs of life: four days.
macro_rules! first_gap {
    () => {
        "345600000"
    };
}

/// SQL for the usual gap, after a sign of life at `excluded.$last` that follows one at `$last`.
macro_rules! next_gap {
    ($last:literal) => {
        concat!(
            "max(excluded.",
            $last,
            " - ",
            $last,
            ", CASE WHEN excluded.",
            $last,
            " / 86400000 > ",
            $last,
            " / 86400000 THEN gap_ms * 4 / 5 ELSE gap_ms END)"
        )
    };
}

/// SQL that keeps the silence of the name `?1` that a sign of life at `?2` ends, if it is an outage. A
/// row is a sign of life, and so no outage that was not over when it came can be about its unit.
macro_rules! outage {
    () => {
        "INSERT OR REPLACE INTO outages (name, from_ms, to_ms)
         SELECT ?1, last_ms, ?2 FROM (
           SELECT max(coalesce((SELECT max(last_ms) FROM outcome_names WHERE name = ?1), 0),
                      coalesce((SELECT until_ms FROM watermarks WHERE name = ?1), 0)) AS last_ms,
                  coalesce((SELECT gap_ms FROM watermarks WHERE name = ?1),
                           (SELECT gap_ms FROM outcome_names WHERE name = ?1
                            ORDER BY last_ms DESC, kind LIMIT 1)) AS gap_ms)
         WHERE gap_ms IS NOT NULL AND ?2 - last_ms >= max(86400000, 3 * gap_ms)"
    };
}

/// Notes that an outcome of this name was received. The kind of an outcome by decision is empty.
pub(super) fn store_name(db: &Connection, kind: &str, name: &str, received_ms: u64) -> rusqlite::Result<()> {
    const SQL: &str = concat!(
        "INSERT INTO outcome_names (kind, name, last_ms, gap_ms) VALUES (?1, ?2, ?3, ",
        first_gap!(),
        ") ON CONFLICT (kind, name) DO UPDATE SET gap_ms = ",
        next_gap!("last_ms"),
        ", last_ms = excluded.last_ms WHERE excluded.last_ms > last_ms"
    );
    let received_ms = received_ms as i64;
    db.prepare_cached(outage!())?.execute(params![name, received_ms])?;
    db.prepare_cached(SQL)?.execute(params![kind, name, received_ms]).map(drop)
}

/// Stores a watermark that was received at `received_ms`, unless there is one as new. Says whether it did.
pub(super) fn store_watermark(
    db: &Connection,
    watermark: &WatermarkInput,
    received_ms: u64,
    identity: Option<&str>,
) -> rusqlite::Result<bool> {
    const SQL: &str = concat!(
        "INSERT INTO watermarks (name, until_ms, identity, gap_ms) VALUES (?1, ?2, ?3, ",
        first_gap!(),
        ") ON CONFLICT (name) DO UPDATE SET gap_ms = ",
        next_gap!("until_ms"),
        ", until_ms = excluded.until_ms, identity = excluded.identity WHERE excluded.until_ms > until_ms"
    );
    const OUTAGE: &str =
        concat!(outage!(), " AND NOT EXISTS (SELECT 1 FROM watermarks WHERE name = ?1 AND until_ms >= ?3)");
    let until_ms = watermark.until_ms as i64;
    db.prepare_cached(OUTAGE)?.execute(params![watermark.name, received_ms as i64, until_ms])?;
    let written = db.prepare_cached(SQL)?.execute(params![watermark.name, until_ms, identity])?;
    Ok(written > 0)
}

/// The state of the feed of an outcome's name, for one kind of entity.
pub(super) fn feed(db: &Connection, kind: &str, name: &str) -> rusqlite::Result<Feed> {
    // An outcome may be about an entity or about a decision. The one heard of last tells.
    let heard = "SELECT last_ms, gap_ms FROM outcome_names WHERE kind IN (?1, '') AND name = ?2
                 ORDER BY last_ms DESC, kind LIMIT 1";
    let pair = |row: &rusqlite::Row<'_>| Ok((unsigned(row, 0)?, unsigned(row, 1)?));
    let heard = db.prepare_cached(heard)?.query_row([kind, name], pair).optional()?;
    let watermark = "SELECT until_ms, gap_ms FROM watermarks WHERE name = ?1";
    let watermark = db.prepare_cached(watermark)?.query_row([name], pair).optional()?;
    let outages = "SELECT from_ms, to_ms FROM outages WHERE name = ?1 ORDER BY from_ms";
    let outage = |row: &rusqlite::Row<'_>| pair(row).map(|(from_ms, to_ms)| Outage { from_ms, to_ms });
    let outages = db.prepare_cached(outages)?.query_map([name], outage)?.collect::<rusqlite::Result<_>>()?;
    Ok(Feed {
        outages,
        name: name.into(),
        heard_ms: heard.map(|(at_ms, _)| at_ms),
        watermark_ms: watermark.map(|(until_ms, _)| until_ms),
        usual_gap_ms: watermark.or(heard).map_or(0, |(_, gap_ms)| gap_ms),
    })
}
