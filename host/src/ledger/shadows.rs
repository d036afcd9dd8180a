//! What shadow arms would have done: rows of their own, beside the decisions that were served.

use rusqlite::{Connection, params};

use super::{Ledger, LedgerError, LedgerReader};

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
    /// The action that the shadow would have had served; none where it gave no answer.
    pub action: Option<String>,
    /// What came of the run: `answer`, `refusal`, or the kind of failure.
    pub outcome: &'static str,
    /// Microseconds that the run took.
    pub took_us: u64,
    /// Microseconds that the run which served took.
    pub served_us: u64,
    /// Runs of this arm that were dropped since the row before.
    pub dropped: u64,
    /// The whole run, as JSON.
    pub attempt: String,
}

/// How often a shadow would have done what, where something else, or the same, was served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShadowCount {
    /// The shadow arm.
    pub arm: String,
    /// The action that was served.
    pub served: String,
    /// The shadow's action; none where it gave no answer.
    pub action: Option<String>,
    /// What came of the run.
    pub outcome: String,
    /// How often.
    pub decisions: u64,
    /// Runs that were dropped.
    pub dropped: u64,
}

/// How long a shadow's runs took, in microseconds, beside those that served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShadowLatency {
    /// Half of the shadow's runs took less.
    pub p50_us: u64,
    /// 99 % of the shadow's runs took less.
    pub p99_us: u64,
    /// The same of the runs that served.
    pub served_p50_us: u64,
    /// The same of the runs that served.
    pub served_p99_us: u64,
}

pub(super) fn store_shadows(db: &Connection, rows: &[ShadowRow]) -> Result<(), rusqlite::Error> {
    let mut statement = db.prepare_cached(
        "INSERT OR IGNORE INTO shadows
         (decision_id, experiment, arm, served, action, outcome, took_us, served_us, dropped, attempt)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    )?;
    for row in rows {
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
            row.attempt
        ])?;
    }
    Ok(())
}

fn counts(db: &Connection, experiment: &str) -> Result<Vec<ShadowCount>, LedgerError> {
    let mut statement = db.prepare_cached(
        "SELECT arm, served, action, outcome, count(*), sum(dropped) FROM shadows WHERE experiment = ?1
         GROUP BY arm, served, action, outcome ORDER BY arm, served, action, outcome",
    )?;
    let rows = statement.query_map([experiment], |row| {
        Ok(ShadowCount {
            arm: row.get(0)?,
            served: row.get(1)?,
            action: row.get(2)?,
            outcome: row.get(3)?,
            decisions: row.get::<_, i64>(4)? as u64,
            dropped: row.get::<_, i64>(5)? as u64,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn latency(db: &Connection, experiment: &str, arm: &str) -> Result<Option<ShadowLatency>, LedgerError> {
    let mut took: [Vec<i64>; 2] = [Vec::new(), Vec::new()];
    let mut statement =
        db.prepare_cached("SELECT took_us, served_us FROM shadows WHERE experiment = ?1 AND arm = ?2")?;
    let mut rows = statement.query(params![experiment, arm])?;
    while let Some(row) = rows.next()? {
        took[0].push(row.get(0)?);
        took[1].push(row.get(1)?);
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

impl Ledger {
    /// How often an experiment's shadows would have done what.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn shadow_counts(&self, experiment: &str) -> Result<Vec<ShadowCount>, LedgerError> {
        self.with_reader(|db| counts(db, experiment))
    }

    /// How long a shadow arm's runs took; none where there was none.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn shadow_latency(&self, experiment: &str, arm: &str) -> Result<Option<ShadowLatency>, LedgerError> {
        self.with_reader(|db| latency(db, experiment, arm))
    }
}

impl LedgerReader {
    /// How often an experiment's shadows would have done what.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn shadow_counts(&self, experiment: &str) -> Result<Vec<ShadowCount>, LedgerError> {
        counts(&self.connection, experiment)
    }

    /// How long a shadow arm's runs took; none where there was none.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn shadow_latency(&self, experiment: &str, arm: &str) -> Result<Option<ShadowLatency>, LedgerError> {
        latency(&self.connection, experiment, arm)
    }
}
