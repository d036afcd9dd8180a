//! Shadow runs: rows of their own, beside the served decisions.

use std::collections::BTreeMap;

use rusqlite::types::Value as SqlValue;
use rusqlite::{Connection, params};
use serin_core::record::Attempt;

use super::cells::{optional_text, shown, unsigned};
use super::packed::{Dictionaries, unpack};
use super::packing::{Written, store_dictionary};
use super::{LedgerError, PackedAttempt};

/// A shadow arm's run on one decision.
#[derive(Debug, Clone)]
pub struct ShadowRow {
    /// The decision.
    pub decision_id: String,
    /// The experiment.
    pub experiment: String,
    /// The shadow arm.
    pub arm: String,
    /// The action that was served.
    pub served: String,
    /// The action that the shadow arm would have served; none if it gave no answer.
    pub action: Option<String>,
    /// The outcome of the run: `answer`, `refusal`, or the kind of failure.
    pub outcome: &'static str,
    /// Duration of the run in microseconds.
    pub took_us: u64,
    /// Duration of the serving run in microseconds.
    pub served_us: u64,
    /// Runs of this arm that were dropped since the previous row.
    pub dropped: u64,
    /// The whole run.
    pub attempt: PackedAttempt,
}

/// The number of shadow runs with the same served action, shadow action and outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShadowCount {
    /// The shadow arm.
    pub arm: String,
    /// The action that was served.
    pub served: String,
    /// The shadow arm's action; none if it gave no answer.
    pub action: Option<String>,
    /// The outcome of the run.
    pub outcome: String,
    /// The number of runs.
    pub decisions: u64,
    /// Runs that were dropped.
    pub dropped: u64,
}

/// Latency of a shadow arm's runs and of the serving runs, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShadowLatency {
    /// Median of the shadow's runs.
    pub p50_us: u64,
    /// 99th percentile of the shadow's runs.
    pub p99_us: u64,
    /// The same of the runs that served.
    pub served_p50_us: u64,
    /// The same of the runs that served.
    pub served_p99_us: u64,
}

/// A shadow arm's run on a decision, as read.
#[derive(Debug, Clone, PartialEq)]
pub struct ShadowAttempt {
    /// The experiment.
    pub experiment: String,
    /// The shadow arm.
    pub arm: String,
    /// The run; none if it was too large to store, or is unreadable.
    pub attempt: Option<Attempt>,
    /// Bytes that were left out.
    pub cut: u64,
}

/// Rows read by one statement.
const PAGE: usize = 10_000;
/// The number of newest runs for the latency.
const LATENCIES: usize = 100_000;

pub(super) fn store_shadows(db: &Connection, written: &mut Written, rows: &[ShadowRow]) -> rusqlite::Result<()> {
    let mut statement = db.prepare_cached(
        "INSERT OR IGNORE INTO shadows
         (decision_id, experiment, arm, served, action, outcome, took_us, served_us, dropped, attempt, dictionary, cut)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
    )?;
    for row in rows {
        if let Some(dictionary) = &row.attempt.dictionary {
            store_dictionary(db, written, dictionary)?;
        }
        statement.execute(params![
            row.decision_id,
            row.experiment,
            row.arm,
            row.served,
            row.action,
            row.outcome,
            row.took_us as i64,
            row.served_us as i64,
            row.dropped as i64,
            row.attempt.bytes,
            row.attempt.dictionary.as_ref().map(|dictionary| dictionary.id),
            row.attempt.cut as i64,
        ])?;
    }
    Ok(())
}

/// A page of runs: its number of rows, and the start of the next page.
type Page = (usize, [SqlValue; 2]);

/// Counts page by page, because one long read would block the checkpoint of the ledger's log.
pub(super) fn counts(
    on: impl Fn(&mut dyn FnMut(&Connection) -> Result<Page, LedgerError>) -> Result<Page, LedgerError>,
    experiment: &str,
) -> Result<Vec<ShadowCount>, LedgerError> {
    let mut counts: BTreeMap<(String, String, Option<String>, String), [u64; 2]> = BTreeMap::new();
    let mut after = [String::new(), String::new()].map(SqlValue::from);
    loop {
        let (read, last) = on(&mut |db| {
            let mut statement = db.prepare_cached(
                "SELECT arm, decision_id, served, action, outcome, dropped FROM shadows
                 WHERE experiment = ?1 AND (arm, decision_id) > (?2, ?3) ORDER BY arm, decision_id LIMIT ?4",
            )?;
            let (mut read, mut last) = (0, after.clone());
            let mut rows = statement.query(params![experiment, after[0], after[1], PAGE as i64])?;
            while let Some(row) = rows.next()? {
                last = [row.get(0)?, row.get(1)?];
                let action = optional_text(row, 3).ok().flatten().map(str::to_owned);
                let kind = (shown(row, 0)?, shown(row, 2)?, action, shown(row, 4)?);
                let [decisions, dropped] = counts.entry(kind).or_default();
                *decisions += 1;
                *dropped += unsigned(row, 5).unwrap_or_default();
                read += 1;
            }
            Ok((read, last))
        })?;
        after = last;
        if read < PAGE {
            break;
        }
    }
    let mut all = Vec::with_capacity(counts.len());
    for ((arm, served, action, outcome), [decisions, dropped]) in counts {
        all.push(ShadowCount { arm, served, action, outcome, decisions, dropped });
    }
    Ok(all)
}

pub(super) fn attempts(
    db: &Connection,
    dictionaries: &Dictionaries,
    decision_id: &str,
) -> Result<Vec<ShadowAttempt>, LedgerError> {
    let mut statement = db.prepare_cached(
        "SELECT experiment, arm, attempt, dictionary, cut FROM shadows WHERE decision_id = ?1 ORDER BY experiment, arm",
    )?;
    let rows = statement.query_map([decision_id], |row| {
        let dictionary: Option<i64> = row.get(3).ok().flatten();
        // Text if it was written before attempts were packed.
        let stored = row.get_ref(2)?.as_bytes().unwrap_or_default();
        let dictionary = dictionary.map(|id| dictionaries.get(db, id)).transpose()?;
        let unpacked = unpack(stored, dictionary.as_ref()).ok();
        Ok(ShadowAttempt {
            experiment: shown(row, 0)?,
            arm: shown(row, 1)?,
            attempt: unpacked.and_then(|unpacked| unpacked.value()),
            cut: unsigned(row, 4).unwrap_or_default(),
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn latency(db: &Connection, experiment: &str, arm: &str) -> Result<Option<ShadowLatency>, LedgerError> {
    let mut took: [Vec<i64>; 2] = [Vec::new(), Vec::new()];
    let mut statement = db.prepare_cached(
        "SELECT took_us, served_us FROM shadows WHERE experiment = ?1 AND arm = ?2
         ORDER BY decision_id DESC LIMIT ?3",
    )?;
    let mut rows = statement.query(params![experiment, arm, LATENCIES as i64])?;
    while let Some(row) = rows.next()? {
        if let (Ok(shadow), Ok(served)) = (row.get(0), row.get(1)) {
            took[0].push(shadow);
            took[1].push(served);
        }
    }
    if took[0].is_empty() {
        return Ok(None);
    }
    took.iter_mut().for_each(|took| took.sort_unstable());
    let quantile = |took: &[i64], q: f64| took[((took.len() - 1) as f64 * q).round() as usize] as u64;
    Ok(Some(ShadowLatency {
        p50_us: quantile(&took[0], 0.5),
        p99_us: quantile(&took[0], 0.99),
        served_p50_us: quantile(&took[1], 0.5),
        served_p99_us: quantile(&took[1], 0.99),
    }))
}
