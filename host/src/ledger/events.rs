//! Outcomes, reversals and exposures. Each has an id of its own, so sending it twice is harmless.

use rusqlite::{Connection, OptionalExtension, params};

/// The subject of an outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutcomeSubject {
    /// A decision.
    Decision(String),
    /// An entity: its kind and id.
    Entity(String, String),
}

/// An incoming outcome.
#[derive(Debug, Clone, PartialEq)]
pub struct OutcomeInput {
    /// The sender's id for it.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its value; 1 for a plain event.
    pub value: f64,
    /// When it happened.
    pub at_ms: u64,
    /// Its subject.
    pub subject: OutcomeSubject,
}

/// A reversal of an outcome, as of a payment that bounced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReversalInput {
    /// The sender's id for it.
    pub id: String,
    /// The id of the reversed outcome, which may arrive later.
    pub reverses: String,
    /// When.
    pub at_ms: u64,
}

/// An incoming exposure: somebody saw the result of a decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExposureInput {
    /// The decision.
    pub decision_id: String,
    /// When it was seen.
    pub at_ms: u64,
}

/// An event.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// An outcome.
    Outcome(OutcomeInput),
    /// A reversal.
    Reversal(ReversalInput),
    /// An exposure.
    Exposure(ExposureInput),
}

/// The result of storing an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventResult {
    /// Stored.
    Stored,
    /// It was already stored with equal content.
    Duplicate,
    /// Its id belongs to an event with other content.
    Conflict,
    /// Stored, but the decision that it names is unknown.
    UnknownDecision,
}

impl EventResult {
    /// The name in answers and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::Duplicate => "duplicate",
            Self::Conflict => "conflict",
            Self::UnknownDecision => "unknown_decision",
        }
    }
}

pub(super) fn store_event(db: &Connection, event: &Event, now_ms: u64) -> Result<EventResult, rusqlite::Error> {
    match event {
        Event::Outcome(outcome) => store_outcome(db, outcome, now_ms),
        Event::Reversal(reversal) => store_reversal(db, reversal, now_ms),
        Event::Exposure(exposure) => {
            let written = db
                .prepare_cached(
                    "INSERT OR IGNORE INTO exposures (decision_id, at_ms, received_ms, after_seq)
                     VALUES (?1, ?2, ?3, (SELECT coalesce(max(seq), 0) FROM decisions))",
                )?
                .execute(params![exposure.decision_id, exposure.at_ms as i64, now_ms as i64])?;
            match written {
                0 => Ok(EventResult::Duplicate),
                _ => known(db, &exposure.decision_id),
            }
        }
    }
}

fn known(db: &Connection, decision_id: &str) -> Result<EventResult, rusqlite::Error> {
    let found = db
        .prepare_cached("SELECT 1 FROM decisions WHERE decision_id = ?1")?
        .query_row([decision_id], |_| Ok(()))
        .optional()?;
    Ok(if found.is_some() { EventResult::Stored } else { EventResult::UnknownDecision })
}

fn store_reversal(db: &Connection, reversal: &ReversalInput, now_ms: u64) -> Result<EventResult, rusqlite::Error> {
    let ReversalInput { id, reverses, at_ms } = reversal;
    let written = db
        .prepare_cached(
            "INSERT OR IGNORE INTO outcomes (id, name, value, at_ms, received_ms, reverses) VALUES (?1, '', 0, ?2, ?3, ?4)",
        )?
        .execute(params![id, *at_ms as i64, now_ms as i64, reverses])?;
    if written == 1 {
        return Ok(EventResult::Stored);
    }
    let known = "SELECT reverses FROM outcomes WHERE id = ?1";
    let known: Option<String> = db.prepare_cached(known)?.query_row([id], |row| row.get(0))?;
    Ok(if known.as_ref() == Some(reverses) { EventResult::Duplicate } else { EventResult::Conflict })
}

fn store_outcome(db: &Connection, outcome: &OutcomeInput, now_ms: u64) -> Result<EventResult, rusqlite::Error> {
    let (decision_id, kind, entity) = match &outcome.subject {
        OutcomeSubject::Decision(id) => (Some(id), None, None),
        OutcomeSubject::Entity(kind, id) => (None, Some(kind), Some(id)),
    };
    let written = db
        .prepare_cached(
            "INSERT OR IGNORE INTO outcomes
             (id, name, value, at_ms, received_ms, decision_id, entity_kind, entity, after_seq)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, (SELECT coalesce(max(seq), 0) FROM decisions))",
        )?
        .execute(params![
            outcome.id,
            outcome.name,
            outcome.value,
            outcome.at_ms as i64,
            now_ms as i64,
            decision_id,
            kind,
            entity
        ])?;
    if written == 1 {
        return decision_id.map_or(Ok(EventResult::Stored), |id| known(db, id));
    }
    let same = db
        .prepare_cached(
            "SELECT 1 FROM outcomes WHERE id = ?1 AND name = ?2 AND value = ?3 AND decision_id IS ?4 AND entity_kind IS ?5 AND entity IS ?6",
        )?
        .query_row(params![outcome.id, outcome.name, outcome.value, decision_id, kind, entity], |_| Ok(()))
        .optional()?;
    Ok(if same.is_some() { EventResult::Duplicate } else { EventResult::Conflict })
}
