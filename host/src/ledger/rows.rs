//! Rows to be written, on their way to the writer.

use std::sync::Arc;

use serin_core::Name;
use serin_core::experiment::Attribute;
use serin_core::record::binary::EncodeError;
use serin_core::record::{Record, RowStatus};
use tokio::sync::OwnedMutexGuard;

use super::packing::{Dictionary, Packed, Packer};
use super::{Approval, AuditEntry, ClockState, FinalReport, ShadowRow};

/// A decision's row: the packed record and its indexed columns.
#[derive(Debug, Clone)]
pub struct DecisionRow {
    /// Id of the decision.
    pub decision_id: String,
    /// When it was made.
    pub time_ms: u64,
    /// Decision point.
    pub point: String,
    /// The unit's id.
    pub unit: Option<String>,
    /// The kind of entity that the unit is.
    pub unit_kind: Option<Name>,
    /// The experiment and arm.
    pub assignment: Option<(String, String)>,
    /// Who served.
    pub served_by: &'static str,
    /// The outcome of the first attempt; none without an attempt.
    pub outcome: Option<&'static str>,
    /// The action.
    pub action: Name,
    /// Its duration in microseconds.
    pub took_us: u64,
    /// Whether its arm was forced.
    pub forced: bool,
    /// The batch in which its arm was drawn.
    pub batch: Option<u32>,
    /// The attributes of the unit for its experiment's analysis, as JSON.
    pub attributes: Option<String>,
    /// The record, packed.
    pub record: Vec<u8>,
    /// The dictionary that it is packed with.
    pub dictionary: Option<Arc<Dictionary>>,
    /// SHA-256 of the record's binary form and of its words.
    pub digest: String,
    /// Who asked for it; none without `[access]`.
    pub identity: Option<Name>,
}

impl DecisionRow {
    /// The row of a record, with the attributes that its experiment's analysis uses.
    ///
    /// # Errors
    /// That the record cannot be encoded, which never happens to a finished one.
    pub fn of(record: &Record, attributes: &[Attribute], packer: &Packer) -> Result<Self, EncodeError> {
        let Packed { bytes, dictionary, digest } = packer.pack(record)?;
        Ok(Self {
            decision_id: record.decision_id.clone(),
            time_ms: record.time_ms,
            point: record.decision_point.to_string(),
            unit: record.unit().map(|unit| unit.id.clone()),
            unit_kind: record.unit().map(|unit| unit.kind.clone()),
            assignment: record.routing.assignment.as_ref().map(|a| (a.experiment.to_string(), a.arm.to_string())),
            served_by: record.answer.served_by.as_str(),
            outcome: record.attempts.first().map(|attempt| attempt.outcome.label()),
            action: record.answer.action.clone(),
            took_us: record.timings_us.values().sum(),
            forced: record.routing.assignment.as_ref().is_some_and(|a| a.forced),
            batch: record.routing.assignment.as_ref().and_then(|a| a.batch),
            attributes: looked_at(record, attributes),
            record: bytes,
            dictionary: Some(dictionary),
            digest,
            identity: None,
        })
    }
}

/// A JSON object of the known values. A stale value is unknown.
fn looked_at(record: &Record, attributes: &[Attribute]) -> Option<String> {
    if attributes.is_empty() || record.routing.assignment.is_none() {
        return None;
    }
    let value = |attribute: &Attribute| {
        let row = record.features.get(&attribute.view);
        let is_fresh = row.is_none_or(|row| row.status_of(&attribute.name) == RowStatus::Present);
        record.feature(&attribute.view, &attribute.name).filter(|value| is_fresh && !value.is_missing())
    };
    let known = attributes.iter().filter_map(|attribute| Some((attribute.to_string(), value(attribute)?)));
    serde_json::to_string(&known.collect::<std::collections::BTreeMap<_, _>>()).ok()
}

/// An answer to store under an idempotency key.
#[derive(Debug, Clone)]
pub struct IdempotentAnswer {
    /// The key.
    pub key: String,
    /// SHA-256 of the request's body.
    pub request: String,
    /// HTTP status.
    pub status: u16,
    /// The answer's body.
    pub body: Vec<u8>,
    /// When it was given.
    pub time_ms: u64,
}

/// A commit: rows of one transaction.
#[derive(Debug, Default)]
pub struct Commit {
    /// Decisions.
    pub decisions: Vec<DecisionRow>,
    /// The answer to store with them.
    pub answer: Option<IdempotentAnswer>,
    /// Held until the commit is done, whether or not a client still waits, so that the answer's key
    /// is not looked up in between.
    pub guard: Option<OwnedMutexGuard<()>>,
}

/// Small rows that are written beside decisions.
#[derive(Debug)]
pub enum Note {
    /// Shadow runs.
    Shadows(Vec<ShadowRow>),
    /// A snapshot of an experiment, as JSON, and its time.
    HistoryPoint(Name, u64, String),
    /// An approval of an experiment's spec.
    Approval(Name, Approval),
    /// An experiment's final report.
    FinalReport(FinalReport),
    /// Whether the clock is trusted.
    Clock(ClockState),
    /// An entry of the audit.
    Audit(AuditEntry),
}
