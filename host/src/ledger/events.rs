//! Outcomes, reversals and exposures. Each has an id of its own, so sending it twice is harmless. An exposure has none in
//! plain JSON; its decision stands in for it, since it counts once for that whatever its id.

use std::collections::HashSet;
use std::sync::Arc;

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, params};
use serin_core::Name;

use super::cells::{text, unsigned};
use super::feeds::{WatermarkInput, store_name, store_watermark};
use super::positions::Positions;

/// The subject of an outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutcomeSubject {
    /// A decision.
    Decision(String),
    /// An entity: its kind and id.
    Entity(String, String),
}

impl OutcomeSubject {
    /// The decision's id, the kind of entity, and the entity's id.
    fn columns(&self) -> (Option<&str>, Option<&str>, Option<&str>) {
        match self {
            Self::Decision(id) => (Some(id), None, None),
            Self::Entity(kind, id) => (None, Some(kind), Some(id)),
        }
    }
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
    /// The sender's id for it; none where the sender gives none.
    pub id: Option<String>,
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
    /// A watermark.
    Watermark(WatermarkInput),
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
    /// Its id belongs to an exposure of another decision.
    OtherDecision,
    /// Stored, but the decision that it names is unknown.
    UnknownDecision,
    /// A watermark as new as this one is stored.
    NotNewer,
    /// It names a decision at a point that its sender's roles are not for.
    Forbidden,
    /// It reverses what its sender, whose roles are for some points, has not sent before.
    NotItsOwn,
    /// It reverses a reversal.
    OfReversal,
    /// It happened longer before the decision that it names than clocks may differ.
    BeforeDecision {
        /// When it happened, as it was sent, in milliseconds since the Unix epoch.
        sent_ms: u64,
        /// When the decision was made, in milliseconds since the Unix epoch.
        decided_ms: u64,
    },
}

impl EventResult {
    /// The name in answers and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::Duplicate => "duplicate",
            Self::Conflict | Self::OtherDecision | Self::OfReversal => "conflict",
            Self::UnknownDecision => "unknown_decision",
            Self::NotNewer => "not_newer",
            Self::Forbidden | Self::NotItsOwn => "forbidden",
            Self::BeforeDecision { .. } => "before_decision",
        }
    }
}

/// When an event arrived, from whom, and how far clocks may differ.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// Milliseconds since the Unix epoch, by a clock that is trusted: feeds are noted by it.
    pub now_ms: u64,
    /// When what says no time of its own happened, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// The latest time at which an event may have happened, in milliseconds since the Unix epoch.
    pub latest_ms: u64,
    /// By how much an event may precede the decision that it names.
    pub tolerance_ms: u64,
    /// Who sent it; none without `[access]`.
    pub identity: Option<Name>,
    /// The decision points whose decisions it may name; none: all.
    pub points: Option<Arc<[Name]>>,
}

impl Arrival {
    /// An arrival at a time, from nobody in particular.
    pub fn at(now_ms: u64, tolerance_ms: u64) -> Self {
        let latest_ms = now_ms.saturating_add(tolerance_ms);
        Self { now_ms, at_ms: now_ms, latest_ms, tolerance_ms, identity: None, points: None }
    }
}

/// The kinds and names of outcomes that were noted as received together: once for all of them is enough.
pub(super) type NotedNames<'e> = HashSet<(&'e str, &'e str)>;

pub(super) fn store_event<'e>(
    db: &Connection,
    (positions, noted): (&mut Positions, &mut NotedNames<'e>),
    event: &'e Event,
    arrival: &Arrival,
) -> Result<EventResult, rusqlite::Error> {
    match event {
        Event::Outcome(outcome) => store_outcome(db, (positions, noted), outcome, arrival),
        Event::Reversal(reversal) => store_reversal(db, positions, reversal, arrival),
        Event::Watermark(watermark) => {
            let is_new = store_watermark(db, watermark, arrival.now_ms, arrival.identity.as_deref())?;
            Ok(if is_new { EventResult::Stored } else { EventResult::NotNewer })
        }
        Event::Exposure(exposure) => store_exposure(db, positions, exposure, arrival),
    }
}

/// Stores the exposure of a decision, once: its id is kept where it has one, and the first exposure of each decision.
fn store_exposure(
    db: &Connection,
    positions: &mut Positions,
    exposure: &ExposureInput,
    arrival: &Arrival,
) -> Result<EventResult, rusqlite::Error> {
    let ExposureInput { id, decision_id, at_ms } = exposure;
    if let Some(id) = id {
        let known = "SELECT decision_id FROM exposure_ids WHERE id = ?1";
        let known: Option<String> = db.prepare_cached(known)?.query_row([id], |row| row.get(0)).optional()?;
        if let Some(known) = known {
            return Ok(if known == *decision_id { EventResult::Duplicate } else { EventResult::OtherDecision });
        }
    }
    let time = match Time::of(db, *at_ms, decision_id, arrival)? {
        Ok(time) => time,
        Err(refused) => {
            let known = "SELECT 1 FROM exposures WHERE decision_id = ?1";
            let is_known = db.prepare_cached(known)?.exists([decision_id])?;
            return Ok(if is_known { EventResult::Duplicate } else { refused });
        }
    };
    if let Some(id) = id {
        db.prepare_cached("INSERT INTO exposure_ids (id, decision_id, received_ms) VALUES (?1, ?2, ?3)")?
            .execute(params![id, decision_id, arrival.now_ms as i64])?;
    }
    let written = db
        .prepare_cached(
            "INSERT OR IGNORE INTO exposures (rowid, decision_id, at_ms, sent_ms, received_ms, after_seq, identity)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(params![
            positions.exposures + 1,
            decision_id,
            time.at_ms,
            time.sent_ms,
            arrival.now_ms as i64,
            positions.decisions,
            arrival.identity
        ])?;
    positions.exposures += written as i64;
    Ok(if written == 0 { EventResult::Duplicate } else { time.stored() })
}

/// When an event happened, by the clock of the decision that it names.
struct Time {
    at_ms: i64,
    /// As it was sent, where that was before the decision.
    sent_ms: Option<i64>,
    /// The decision, if it is known.
    decision: Option<Decided>,
}

/// What an event has of the decision that it names.
struct Decided {
    /// None where the row was altered: nothing is before it then.
    time_ms: Option<u64>,
    is_reached: bool,
    /// The unit's id and kind as they are in the row, altered or not.
    unit: [Value; 2],
}

impl Time {
    /// What follows from a decision is not before it: a sender's clock that is behind a little is
    /// put right, and an event that is longer before it is refused. A decision that lies ahead of now was made by a clock
    /// that is doubted, and refuses nothing.
    fn of(
        db: &Connection,
        at_ms: u64,
        decision_id: &str,
        arrival: &Arrival,
    ) -> Result<Result<Self, EventResult>, rusqlite::Error> {
        let reaches = |row: &rusqlite::Row<'_>| match &arrival.points {
            None => true,
            Some(points) => text(row, 1).is_ok_and(|of| points.iter().any(|point| **point == *of)),
        };
        let decision = db
            .prepare_cached("SELECT time_ms, point, unit, unit_kind FROM decisions WHERE decision_id = ?1")?
            .query_row([decision_id], |row| {
                let unit = [row.get(2)?, row.get(3)?];
                Ok(Decided { time_ms: unsigned(row, 0).ok(), is_reached: reaches(row), unit })
            })
            .optional()?;
        if decision.as_ref().is_some_and(|decided| !decided.is_reached) {
            return Ok(Err(EventResult::Forbidden));
        }
        let sent_ms = at_ms as i64;
        let decided_ms = decision.as_ref().and_then(|decided| decided.time_ms);
        Ok(match decided_ms.filter(|decided_ms| at_ms < *decided_ms) {
            None => Ok(Self { at_ms: sent_ms, sent_ms: None, decision }),
            Some(decided_ms) if decided_ms - at_ms <= arrival.tolerance_ms || decided_ms > arrival.at_ms => {
                Ok(Self { at_ms: decided_ms as i64, sent_ms: Some(sent_ms), decision })
            }
            Some(decided_ms) => Err(EventResult::BeforeDecision { sent_ms: at_ms, decided_ms }),
        })
    }

    fn stored(&self) -> EventResult {
        if self.decision.is_some() { EventResult::Stored } else { EventResult::UnknownDecision }
    }
}

fn store_reversal(
    db: &Connection,
    positions: &mut Positions,
    reversal: &ReversalInput,
    arrival: &Arrival,
) -> Result<EventResult, rusqlite::Error> {
    let ReversalInput { id, reverses, at_ms } = reversal;
    if arrival.points.is_some() {
        // It takes back what it sent itself, and nothing of others. Where nothing is sent yet, nobody knows whose
        // it will be.
        let own = "SELECT 1 FROM outcomes WHERE id = ?1 AND identity = ?2";
        if !db.prepare_cached(own)?.exists(params![reverses, arrival.identity])? {
            return Ok(EventResult::NotItsOwn);
        }
    }
    // Nothing would follow from it. One that came before what it reverses is stored, and stays a duplicate.
    let of_reversal = "SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM outcomes WHERE id = ?2)
                       AND (?1 = ?2 OR EXISTS (SELECT 1 FROM outcomes WHERE id = ?1 AND reverses IS NOT NULL))";
    if db.prepare_cached(of_reversal)?.exists([reverses, id])? {
        return Ok(EventResult::OfReversal);
    }
    let written = db
        .prepare_cached(
            "INSERT OR IGNORE INTO outcomes (rowid, id, name, value, at_ms, received_ms, reverses, identity)
             VALUES (?1, ?2, '', 0, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![
            positions.outcomes + 1,
            id,
            *at_ms as i64,
            arrival.now_ms as i64,
            reverses,
            arrival.identity
        ])?;
    positions.outcomes += written as i64;
    if written == 1 {
        return Ok(EventResult::Stored);
    }
    let known = "SELECT reverses FROM outcomes WHERE id = ?1";
    let known: Option<String> = db.prepare_cached(known)?.query_row([id], |row| row.get(0))?;
    Ok(if known.as_ref() == Some(reverses) { EventResult::Duplicate } else { EventResult::Conflict })
}

fn store_outcome<'e>(
    db: &Connection,
    (positions, noted): (&mut Positions, &mut NotedNames<'e>),
    outcome: &'e OutcomeInput,
    arrival: &Arrival,
) -> Result<EventResult, rusqlite::Error> {
    let (decision_id, kind, entity) = outcome.subject.columns();
    let time = match decision_id.map(|id| Time::of(db, outcome.at_ms, id, arrival)).transpose()? {
        Some(Ok(time)) => time,
        // One that is stored already is told as such, whatever the tolerance was then.
        Some(Err(refused)) => return Ok(stored_as(db, outcome)?.unwrap_or(refused)),
        None => Time { at_ms: outcome.at_ms as i64, sent_ms: None, decision: None },
    };
    // The decision may expire before it.
    let [unit, unit_kind] = [0, 1].map(|at| time.decision.as_ref().map(|decided| &decided.unit[at]));
    let written = db
        .prepare_cached(
            "INSERT OR IGNORE INTO outcomes
             (rowid, id, name, value, at_ms, sent_ms, received_ms, decision_id, entity_kind, entity, after_seq,
              identity, unit, unit_kind)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
        )?
        .execute(params![
            positions.outcomes + 1,
            outcome.id,
            outcome.name,
            outcome.value,
            time.at_ms,
            time.sent_ms,
            arrival.now_ms as i64,
            decision_id,
            kind,
            entity,
            positions.decisions,
            arrival.identity,
            unit,
            unit_kind
        ])?;
    positions.outcomes += written as i64;
    if written == 1 {
        let of = (kind.unwrap_or_default(), &*outcome.name);
        let result = if decision_id.is_some() { time.stored() } else { EventResult::Stored };
        if result == EventResult::Stored && noted.insert(of) {
            store_name(db, of.0, of.1, arrival.now_ms)?;
        }
        return Ok(result);
    }
    Ok(stored_as(db, outcome)?.unwrap_or(EventResult::Conflict))
}

/// Whether an outcome of this id is stored, and equal.
fn stored_as(db: &Connection, outcome: &OutcomeInput) -> Result<Option<EventResult>, rusqlite::Error> {
    let (decision_id, kind, entity) = outcome.subject.columns();
    let sql = "SELECT name = ?2 AND value = ?3 AND decision_id IS ?4 AND entity_kind IS ?5 AND entity IS ?6
               FROM outcomes WHERE id = ?1";
    let is_equal: Option<bool> = db
        .prepare_cached(sql)?
        .query_row(params![outcome.id, outcome.name, outcome.value, decision_id, kind, entity], |row| row.get(0))
        .optional()?;
    Ok(is_equal.map(|is_equal| if is_equal { EventResult::Duplicate } else { EventResult::Conflict }))
}
