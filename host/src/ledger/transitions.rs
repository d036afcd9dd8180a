//! The statuses of experiments, and every change of a status: who, when, why, and the evidence.

use rusqlite::{Connection, OptionalExtension, Row, params};
use serin_core::Name;
use serin_core::experiment::Status;

use super::LedgerError;
use super::cells::{fault, shown, unsigned};

/// A change of an experiment's status.
#[derive(Debug, Clone)]
pub struct Transition {
    /// The experiment.
    pub experiment: Name,
    /// The status before.
    pub from: Status,
    /// The status after.
    pub to: Status,
    /// The command.
    pub command: &'static str,
    /// Who gave it; `serin` for the host.
    pub by: String,
    /// Why.
    pub reason: String,
    /// SHA-256 of the spec in force.
    pub spec_digest: Name,
    /// The evidence.
    pub evidence: serde_json::Value,
    /// When it was given.
    pub time_ms: u64,
}

/// A stored change.
#[derive(Debug, Clone, serde::Serialize)]
pub struct TransitionRow {
    /// The status's generation after it.
    pub generation: u64,
    /// When, in milliseconds since the Unix epoch.
    pub time_ms: u64,
    /// The command.
    pub command: String,
    /// State before.
    pub from: String,
    /// State after.
    pub to: String,
    /// Phase after.
    pub phase: u32,
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
    /// SHA-256 of the spec in force.
    pub spec_digest: String,
    /// The evidence.
    pub evidence: serde_json::Value,
}

/// Stores a change. Says whether the status was still the one that it starts from.
pub(super) fn store_transition(db: &Connection, change: &Transition) -> Result<bool, rusqlite::Error> {
    let known: Option<i64> = db
        .prepare_cached("SELECT generation FROM experiments WHERE id = ?1")?
        .query_row([&*change.experiment], |row| row.get(0))
        .optional()?;
    if known.unwrap_or(0) != change.from.generation as i64 {
        return Ok(false);
    }
    let status = serde_json::to_string(&change.to).map_err(|e| rusqlite::Error::ToSqlConversionFailure(Box::new(e)))?;
    let generation = change.to.generation as i64;
    db.prepare_cached("INSERT OR REPLACE INTO experiments (id, state, generation, status) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![&*change.experiment, change.to.state.as_str(), generation, status])?;
    db.prepare_cached(
        "INSERT INTO transitions
         (experiment, generation, time_ms, command, from_state, to_state, phase, by, reason, spec, evidence)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
    )?
    .execute(params![
        &*change.experiment,
        generation,
        change.time_ms as i64,
        change.command,
        change.from.state.as_str(),
        change.to.state.as_str(),
        change.to.phase,
        change.by,
        change.reason,
        &*change.spec_digest,
        change.evidence.to_string(),
    ])?;
    Ok(true)
}

pub(super) fn spec_digests(db: &Connection) -> Result<Vec<String>, LedgerError> {
    let mut statement = db.prepare_cached(
        "SELECT spec FROM transitions UNION SELECT spec FROM approvals
         UNION SELECT json_extract(report, '$.spec_digest') FROM final_reports WHERE json_valid(report)
         UNION SELECT value FROM experiments, json_tree(status) WHERE json_valid(status) AND value LIKE 'sha256:%'",
    )?;
    let digests = statement.query_map([], |row| row.get::<_, Option<String>>(0))?;
    Ok(digests.filter_map(Result::transpose).collect::<Result<_, _>>()?)
}

pub(super) fn statuses(db: &Connection) -> Result<Vec<(Name, Status)>, LedgerError> {
    let mut statement = db.prepare_cached("SELECT id, status FROM experiments ORDER BY id")?;
    let rows = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?;
    rows.map(|row| {
        let (id, status) = row?;
        let status = serde_json::from_str(&status)
            .map_err(|e| LedgerError::Database(format!("the status of experiment '{id}': {e}")))?;
        Ok((id.into(), status))
    })
    .collect()
}

fn transition(row: &Row<'_>) -> rusqlite::Result<TransitionRow> {
    // What was altered is shown as it is: it hides none of the other changes.
    let evidence = shown(row, 9)?;
    let (generation, time_ms, phase) = (unsigned(row, 0), unsigned(row, 1), row.get::<_, u32>(5));
    // A number that cannot be read is no zero: the reason says so.
    let faults = [generation.as_ref().err(), time_ms.as_ref().err(), phase.as_ref().err()];
    let fault = faults.into_iter().flatten().find_map(fault);
    let reason = shown(row, 7)?;
    Ok(TransitionRow {
        generation: generation.unwrap_or_default(),
        time_ms: time_ms.unwrap_or_default(),
        command: shown(row, 2)?,
        from: shown(row, 3)?,
        to: shown(row, 4)?,
        phase: phase.unwrap_or_default(),
        by: shown(row, 6)?,
        reason: fault.map_or_else(|| reason.clone(), |fault| format!("({fault}) {reason}")),
        spec_digest: shown(row, 8)?,
        evidence: serde_json::from_str(&evidence).unwrap_or(serde_json::Value::String(evidence)),
    })
}

pub(super) fn transitions(db: &Connection, experiment: &str) -> Result<Vec<TransitionRow>, LedgerError> {
    let mut statement = db.prepare_cached(
        "SELECT generation, time_ms, command, from_state, to_state, phase, by, reason, spec, evidence
         FROM transitions WHERE experiment = ?1 ORDER BY generation",
    )?;
    Ok(statement.query_map([experiment], transition)?.collect::<Result<_, _>>()?)
}
