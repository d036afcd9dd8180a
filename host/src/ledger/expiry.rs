//! Expiry: deletes old rows in small batches, so that commits never wait long for it.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, params};
use serin_core::Name;
use serin_core::experiment::Status;

use super::ClockState;
use super::last_seen;
use super::packing::DAY_MS;
use super::schema::first_id;
use crate::clock::Stopwatch;
use crate::mutant::Mutant;

/// The longest time for which a batch may occupy the writer, its commit included, in microseconds.
const HOLD_US: u64 = 8_000;
/// The range of work in a batch, in microseconds. The amount that keeps a batch within [`HOLD_US`]
/// is adapted from earlier batches, because the time of the commit depends on the disk and on how
/// scattered the rows are.
const WORK_US: std::ops::RangeInclusive<u64> = 250..=6_000;
/// Microseconds of work in the first batch.
const FIRST_WORK_US: u64 = 1_000;
/// Rows deleted between two checks of the time.
const ROWS: i64 = 16;
/// How long after its end an experiment's rows are kept if its spec is no longer known.
const AFTER_END_MS: u64 = 90 * DAY_MS;

/// The retention rules.
#[derive(Debug, Clone)]
pub struct Retention {
    /// The time, or why the clock is not trusted; then nothing is deleted.
    pub clock: ClockState,
    /// The age from which decisions and their rows are deleted; none keeps all.
    pub keep_ms: Option<u64>,
    /// How long answers are kept under their idempotency keys.
    pub keep_keys_ms: u64,
    /// The age from which entries of the audit are deleted; none keeps all.
    pub keep_audit_ms: Option<u64>,
    /// The experiments whose specs are known.
    pub experiments: BTreeMap<Name, RowsNeeded>,
}

/// The rows that an experiment needs.
#[derive(Debug, Clone)]
pub struct RowsNeeded {
    /// Its decision point.
    pub point: Name,
    /// How long after its end it still needs them: its longest window and lag.
    pub after_end_ms: u64,
}

/// The progress of expiry.
#[derive(Debug)]
pub(super) struct Expiry {
    work_us: u64,
    /// Decisions up to this id are processed.
    after: String,
    spared: BTreeSet<String>,
}

impl Default for Expiry {
    fn default() -> Self {
        Self { work_us: FIRST_WORK_US, after: String::new(), spared: BTreeSet::new() }
    }
}

impl Expiry {
    /// Adapts to the time for which a batch occupied the writer.
    pub fn took(&mut self, us: u64) {
        let work_us = if us > HOLD_US { self.work_us / 2 } else { self.work_us + self.work_us / 8 };
        self.work_us = work_us.clamp(*WORK_US.start(), *WORK_US.end());
    }

    /// Starts over, because its last batch was not committed.
    pub fn forget(&mut self) {
        self.after.clear();
    }
}

/// The time that a batch has.
struct Batch {
    watch: Stopwatch,
    left_us: u64,
}

impl Batch {
    fn is_over(&mut self) -> bool {
        self.left_us = self.left_us.saturating_sub(self.watch.lap_us());
        self.left_us == 0
    }
}

/// The experiments whose rows outlive the retention of decisions: running ones, and recently ended
/// ones whose outcomes may still arrive.
#[derive(Debug, Default)]
pub(super) struct Spared {
    /// Their ids.
    pub experiments: BTreeSet<String>,
    /// When the first of them started: events received since are kept too.
    pub since_ms: Option<u64>,
    /// Their decision points.
    points: BTreeSet<Name>,
    /// The decision point of one of them is not known.
    has_unknown_point: bool,
}

/// The only place that decides which rows are spared.
pub(super) fn spared(db: &Connection, now_ms: u64, retention: &Retention) -> rusqlite::Result<Spared> {
    let mut spared = Spared::default();
    if Mutant::ForgottenFacts.is_on() {
        return Ok(spared);
    }
    let mut statement = db.prepare_cached(
        "SELECT id, status, EXISTS (SELECT 1 FROM final_reports WHERE experiment = experiments.id) FROM experiments",
    )?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (id, status, has_report): (String, String, bool) = (row.get(0)?, row.get(1)?, row.get(2)?);
        // If a status cannot be read, nothing is deleted.
        let (started_ms, ended_ms) = match serde_json::from_str::<Status>(&status) {
            Ok(status) => (status.started_ms, status.ended_ms),
            Err(_) => (Some(0), None),
        };
        let Some(started_ms) = started_ms else { continue };
        let needed = retention.experiments.get(id.as_str());
        let after_end_ms = match needed {
            // Its last report is still to be computed from them.
            Some(needed) if !has_report => AFTER_END_MS.max(needed.after_end_ms),
            Some(needed) => needed.after_end_ms,
            None => AFTER_END_MS,
        };
        if ended_ms.is_none_or(|ended_ms| now_ms < ended_ms.saturating_add(after_end_ms)) {
            spared.since_ms = Some(spared.since_ms.map_or(started_ms, |since| since.min(started_ms)));
            spared.points.extend(needed.map(|needed| needed.point.clone()));
            spared.has_unknown_point |= needed.is_none();
            spared.experiments.insert(id);
        }
    }
    Ok(spared)
}

/// Deletes one batch. Says whether more is left.
pub(super) fn expire(db: &Connection, expiry: &mut Expiry, retention: &Retention) -> rusqlite::Result<bool> {
    // Written even if nothing is deleted: readiness depends on successful commits, and a commit
    // that writes no page succeeds on a full disk.
    db.prepare_cached("UPDATE probe SET time_ms = time_ms + 1")?.execute([])?;
    last_seen::store(db, &retention.clock)?;
    let ClockState::Trusted(now_ms) = retention.clock else { return Ok(false) };
    let spared = match retention.keep_ms {
        Some(_) => spared(db, now_ms, retention)?,
        None => Spared::default(),
    };
    let mut batch = Batch { watch: Stopwatch::new(), left_us: expiry.work_us };
    let keys_before_ms = now_ms.saturating_sub(retention.keep_keys_ms) as i64;
    let mut more = delete(db, "answers", "key", "time_ms < ?1", &mut batch, &keys_before_ms)?;
    if let Some(keep_ms) = retention.keep_audit_ms {
        let before_ms = now_ms.saturating_sub(keep_ms) as i64;
        // Nothing else may delete an entry (`audit_keeps_its_entries`).
        let mut allow = db.prepare_cached("UPDATE audit_expiry SET before_ms = ?1")?;
        allow.execute([before_ms])?;
        more |= delete(db, "audit", "seq", "time_ms < ?1", &mut batch, &before_ms)?;
        allow.execute([0])?;
    }
    let Some(keep_ms) = retention.keep_ms else { return Ok(more) };
    let before_ms = now_ms.saturating_sub(keep_ms);
    let received_before_ms = spared.since_ms.map_or(before_ms, |since| since.min(before_ms)) as i64;
    more |= delete(db, "outcomes", "rowid", "received_ms < ?1", &mut batch, &received_before_ms)?;
    more |= delete(db, "exposures", "rowid", "received_ms < ?1", &mut batch, &received_before_ms)?;
    more |= delete(db, "exposure_ids", "rowid", "received_ms < ?1", &mut batch, &received_before_ms)?;
    more |= delete(db, "shadows", "rowid", "decision_id < ?1", &mut batch, &first_id(before_ms))?;
    more |= expire_history(db, &spared, before_ms, &mut batch)?;
    more |= expire_decisions(db, expiry, spared, before_ms, &mut batch)?;
    if !more {
        // A dictionary is dated on or after the day of the records that need it.
        let unneeded_ms = before_ms.saturating_sub(2 * DAY_MS) as i64;
        more = delete(db, "dictionaries", "id", "time_ms < ?1", &mut batch, &unneeded_ms)?;
    }
    Ok(more)
}

/// Deletes some rows, and goes on until nothing is left or the batch's time is over. Says whether
/// something may be left. However slow the disk is, each batch deletes something.
fn delete(
    db: &Connection,
    table: &str,
    key: &str,
    condition: &str,
    batch: &mut Batch,
    before: &dyn rusqlite::ToSql,
) -> rusqlite::Result<bool> {
    let sql = format!("DELETE FROM {table} WHERE {key} IN (SELECT {key} FROM {table} WHERE {condition} LIMIT {ROWS})");
    let mut statement = db.prepare_cached(&sql)?;
    loop {
        if (statement.execute([before])? as i64) < ROWS {
            return Ok(false);
        }
        if batch.is_over() {
            return Ok(true);
        }
    }
}

/// The history of experiments that are spared stays: reports plot them.
fn expire_history(db: &Connection, spared: &Spared, before_ms: u64, batch: &mut Batch) -> rusqlite::Result<bool> {
    let sql = "SELECT DISTINCT experiment FROM moments WHERE time_ms < ?1";
    let mut statement = db.prepare_cached(sql)?;
    let old: Vec<String> = statement.query_map([before_ms as i64], |row| row.get(0))?.collect::<Result<_, _>>()?;
    let mut statement = db.prepare_cached("DELETE FROM moments WHERE experiment = ?1 AND time_ms < ?2")?;
    for id in old.into_iter().filter(|id| !spared.experiments.contains(id)) {
        // A few hundred at most.
        statement.execute(params![id, before_ms as i64])?;
        if batch.is_over() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Deletes old decisions. For those that a spared experiment needs only the record is deleted: it
/// is most of the bytes, and contains more personal data than an analysis needs.
fn expire_decisions(
    db: &Connection,
    expiry: &mut Expiry,
    spared: Spared,
    before_ms: u64,
    batch: &mut Batch,
) -> rusqlite::Result<bool> {
    if !expiry.spared.is_subset(&spared.experiments) {
        // Rows that only they needed go too.
        expiry.after.clear();
    }
    let mut old = db.prepare_cached(
        "SELECT seq, decision_id, experiment, length(record),
                CASE WHEN served_by = 'constraint' AND unit IS NOT NULL THEN point END
         FROM decisions WHERE decision_id > ?1 AND decision_id < ?2 ORDER BY decision_id LIMIT ?3",
    )?;
    let mut delete = db.prepare_cached("DELETE FROM decisions WHERE seq = ?1")?;
    let mut empty = db.prepare_cached("UPDATE decisions SET record = x'', dictionary = NULL WHERE seq = ?1")?;
    let before = first_id(before_ms);
    loop {
        let rows = old
            .query_map(params![expiry.after, before, ROWS], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?))
            })?
            .collect::<Result<Vec<(i64, String, Option<String>, i64, Option<String>)>, _>>()?;
        let is_last = (rows.len() as i64) < ROWS;
        for (seq, id, experiment, bytes, excluded_at) in rows {
            let is_needed = match (experiment, excluded_at) {
                (Some(experiment), _) => spared.experiments.contains(&experiment),
                // Whether it is about an experiment's unit is not looked up.
                (None, Some(point)) => spared.has_unknown_point || spared.points.contains(point.as_str()),
                (None, None) => false,
            };
            if !is_needed {
                delete.execute([seq])?;
            } else if bytes > 0 {
                empty.execute([seq])?;
            }
            expiry.after = id;
        }
        if is_last || batch.is_over() {
            expiry.spared = spared.experiments;
            return Ok(!is_last);
        }
    }
}
