//! Feeds of outcomes: when each name was last heard of, how often it usually is, and its watermark.
//!
//! The usual gap between two signs of life is the longest one that was seen. On each further day with
//! a sign of life it shrinks by a fifth, so that a feed's regular pauses count and an outage of long
//! ago does not. It begins at four days. A silence of three usual gaps and a day at least is an outage,
//! and is kept once it has ended.

use rusqlite::{Connection, OptionalExtension, params};
use serin_core::analysis::{Feed, Outage};

use super::cells::unsigned;
use super::events::EventResult;

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

/// SQL for the shortest silence that is an outage.
macro_rules! silence {
    () => {
        "max(86400000, 3 * gap_ms)"
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
    // Where there are watermarks, they are the signs of life.
    const OUTAGE: &str = concat!(
        "INSERT OR IGNORE INTO outages (name, kind, from_ms, to_ms)
         SELECT name, kind, last_ms, ?3 FROM outcome_names WHERE kind = ?1 AND name = ?2 AND ?3 - last_ms >= ",
        silence!(),
        " AND NOT EXISTS (SELECT 1 FROM watermarks WHERE name = ?2)"
    );
    let row = params![kind, name, received_ms as i64];
    db.prepare_cached(OUTAGE)?.execute(row)?;
    db.prepare_cached(SQL)?.execute(row).map(drop)
}

/// Stores a watermark that was received at `received_ms`, unless there is one as new.
pub(super) fn store_watermark(
    db: &Connection,
    watermark: &WatermarkInput,
    received_ms: u64,
) -> rusqlite::Result<EventResult> {
    const SQL: &str = concat!(
        "INSERT INTO watermarks (name, until_ms, gap_ms) VALUES (?1, ?2, ",
        first_gap!(),
        ") ON CONFLICT (name) DO UPDATE SET gap_ms = ",
        next_gap!("until_ms"),
        ", until_ms = excluded.until_ms WHERE excluded.until_ms > until_ms"
    );
    const OUTAGE: &str = concat!(
        "INSERT OR IGNORE INTO outages (name, kind, from_ms, to_ms)
         SELECT name, '*', until_ms, ?3 FROM watermarks WHERE name = ?1 AND until_ms < ?2 AND ?3 - until_ms >= ",
        silence!()
    );
    db.prepare_cached(OUTAGE)?.execute(params![watermark.name, watermark.until_ms as i64, received_ms as i64])?;
    let written = db.prepare_cached(SQL)?.execute(params![watermark.name, watermark.until_ms as i64])?;
    Ok(if written == 0 { EventResult::NotNewer } else { EventResult::Stored })
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
    let outages = "SELECT from_ms, to_ms FROM outages WHERE name = ?2 AND kind IN (?1, '', '*') ORDER BY from_ms, kind";
    let outage = |row: &rusqlite::Row<'_>| pair(row).map(|(from_ms, to_ms)| Outage { from_ms, to_ms });
    let outages = db.prepare_cached(outages)?.query_map([kind, name], outage)?.collect::<rusqlite::Result<_>>()?;
    Ok(Feed {
        outages,
        name: name.into(),
        heard_ms: heard.map(|(at_ms, _)| at_ms),
        watermark_ms: watermark.map(|(until_ms, _)| until_ms),
        usual_gap_ms: watermark.or(heard).map_or(0, |(_, gap_ms)| gap_ms),
    })
}
