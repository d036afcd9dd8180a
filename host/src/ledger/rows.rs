//! What is written: rows on their way to the writer.

use std::sync::Arc;

use serin_core::Name;
use serin_core::experiment::Attribute;
use serin_core::record::{Record, RowStatus};
use tokio::sync::OwnedMutexGuard;

use super::packing::{Dictionary, Packer};
use super::{Approval, ClockState, FinalReport, ShadowRow};

/// A decision's row: the record's bytes, and what is looked up by.
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
    /// The experiment and arm.
    pub assignment: Option<(String, String)>,
    /// Who served.
    pub served_by: &'static str,
    /// What came of the first attempt; none where nothing was tried.
    pub outcome: Option<&'static str>,
    /// The action.
    pub action: Name,
    /// Microseconds that it took.
    pub took_us: u64,
    /// Whether its arm was chosen by hand.
    pub forced: bool,
    /// The batch that its arm was drawn in.
    pub batch: Option<u32>,
    /// What its experiment's analysis looks at of the unit, as JSON.
    pub attributes: Option<String>,
    /// The record's JSON, packed.
    pub record: Vec<u8>,
    /// What it is unpacked with; none where it lies there as it is.
    pub dictionary: Option<Arc<Dictionary>>,
    /// SHA-256 of the record's JSON.
    pub digest: String,
}

impl DecisionRow {
    /// The row of a record whose experiment's analysis looks at `attributes`.
    ///
    /// # Errors
    /// That the record has no form in JSON, which a finished one always has.
    pub fn of(record: &Record, attributes: &[Attribute], packer: &Packer) -> serde_json::Result<Self> {
        let bytes = serde_json::to_vec(record)?;
        let digest = serin_core::digest(&bytes);
        let (bytes, dictionary) = packer.pack(record, bytes);
        Ok(Self {
            decision_id: record.decision_id.clone(),
            time_ms: record.time_ms,
            point: record.decision_point.to_string(),
            unit: record.unit().map(|unit| unit.id.clone()),
            assignment: record.routing.assignment.as_ref().map(|a| (a.experiment.to_string(), a.arm.to_string())),
            served_by: record.answer.served_by.as_str(),
            outcome: record.attempts.first().map(|attempt| attempt.outcome.label()),
            action: record.answer.action.clone(),
            took_us: record.timings_us.values().sum(),
            forced: record.routing.assignment.as_ref().is_some_and(|a| a.forced),
            batch: record.routing.assignment.as_ref().and_then(|a| a.batch),
            attributes: looked_at(record, attributes),
            record: bytes,
            dictionary,
            digest,
        })
    }
}

/// A JSON object of the values that are known. A stale one is not.
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

/// An answer to be kept under an idempotency key.
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

/// What is committed together.
#[derive(Debug, Default)]
pub struct Commit {
    /// Decisions.
    pub decisions: Vec<DecisionRow>,
    /// The answer that goes with them.
    pub answer: Option<IdempotentAnswer>,
    /// Held until the commit is done, whether or not anybody still waits for it: the answer's
    /// key must not be looked up in between.
    pub guard: Option<OwnedMutexGuard<()>>,
}

/// Small things that are written beside decisions.
#[derive(Debug)]
pub enum Note {
    /// What shadow arms did.
    Shadows(Vec<ShadowRow>),
    /// What was known of an experiment, as JSON, and when.
    HistoryPoint(Name, u64, String),
    /// Somebody's agreement to an experiment's spec.
    Approval(Name, Approval),
    /// An experiment's report as of its end.
    FinalReport(FinalReport),
    /// Whether the clock is trusted.
    Clock(ClockState),
}
