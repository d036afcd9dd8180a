//! `POST /v1/outcomes`, `POST /v1/outcomes/watermarks` and `POST /v1/exposures`.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serin_core::{Name, identifier};
use utoipa::ToSchema;

use super::access::Caller;
use super::admin::rfc3339;
use super::cloudevents::{CloudEvent, EventBody, in_words_of_events};
use super::error::BodyRefusal;
use super::event_bodies::{
    BinaryMode, ExposureData, ExposureEvent, ExposuresBody, OutcomeData, OutcomeEvent, OutcomesBody, WireExposure,
    WireExposures, WireOutcome, WireOutcomes,
};
use super::unread::{Known, unread};
use super::wire::{Body, Object};
use super::{Problem, Service};
use crate::clock::Clock as _;
use crate::ledger::{
    Arrival, Event, EventResult, ExposureInput, OutcomeInput, OutcomeSubject, ReversalInput, WatermarkInput,
};
use crate::telemetry::Metrics;

/// Events of one request.
const MAX_EVENTS: usize = 10_000;
/// Places of unknown decisions, and of duplicates, that are named.
const MAX_PLACES: usize = 1000;
/// How long they may take to be stored.
const STORE_WAIT: Duration = Duration::from_secs(10);

/// What became of events.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct WireEventsAnswer {
    /// Stored now.
    stored: u64,
    /// There already, and equal.
    duplicates: u64,
    /// The places in the request of those, the first 1,000, from 0.
    duplicates_at: Vec<usize>,
    /// Stored, though no decision of that id is known.
    unknown_decisions: u64,
    /// Watermarks that are not newer than a stored one.
    #[serde(skip)]
    not_newer: u64,
    /// The places in the request of those, the first 1,000, from 0.
    unknown_at: Vec<usize>,
    /// Not stored, and why.
    refused: Vec<WireRefusedEvent>,
    /// What was stored and that nothing reads: a name that no metric counts, a kind that no decision
    /// point names.
    warnings: Vec<String>,
}

impl WireEventsAnswer {
    /// Adds what became of the event at a place in the request.
    fn add(&mut self, index: usize, result: EventResult, tolerance: Duration) {
        let mut refuse = |why: String| self.refused.push(WireRefusedEvent { index, why });
        match result {
            EventResult::Stored => self.stored += 1,
            EventResult::Duplicate => {
                self.duplicates += 1;
                name_place(&mut self.duplicates_at, index);
            }
            EventResult::NotNewer => self.not_newer += 1,
            EventResult::UnknownDecision => {
                self.unknown_decisions += 1;
                name_place(&mut self.unknown_at, index);
            }
            EventResult::BeforeDecision { sent_ms, decided_ms } => {
                let most = humantime::format_duration(tolerance);
                refuse(format!(
                    "at: {} lies more than {most} before the decision that it names, which was made at {}; valid: from \
                     the decision on; ledger.clock_tolerance is what clocks may differ",
                    rfc3339(sent_ms),
                    rfc3339(decided_ms)
                ));
            }
            EventResult::Forbidden => refuse(FORBIDDEN.to_owned()),
            EventResult::NotItsOwn => refuse(NOT_ITS_OWN.to_owned()),
            EventResult::OfReversal => refuse(OF_REVERSAL.to_owned()),
            EventResult::Conflict => refuse("id: taken by an outcome that says something else".to_owned()),
            EventResult::OtherDecision => refuse("id: taken by an exposure of another decision".to_owned()),
        }
    }
}

/// Names a place, while there is room.
fn name_place(places: &mut Vec<usize>, index: usize) {
    if places.len() < MAX_PLACES {
        places.push(index);
    }
}

/// An event that was not stored.
#[derive(Debug, Serialize, ToSchema)]
pub struct WireRefusedEvent {
    /// Its place in the request, from 0.
    index: usize,
    /// Why, and what would be valid.
    why: String,
}

/// Stores outcomes.
#[utoipa::path(post, path = "/v1/outcomes", tag = "events", params(BinaryMode),
    request_body(content(
        (OutcomesBody = "application/json"),
        (OutcomeEvent = "application/cloudevents+json"),
        (Vec<OutcomeEvent> = "application/cloudevents-batch+json"))),
    responses(
        (status = 200, description = "What became of each; those refused are named", body = WireEventsAnswer),
        BodyRefusal))]
pub(super) async fn outcomes(
    State(service): State<Arc<Service>>,
    caller: Caller,
    body: EventBody,
) -> Result<Response, Problem> {
    let arrival = arrival(&service, &caller);
    let (of, kinds) = (arrival.clone(), Kinds::of(&service, &caller));
    let outcome = Arc::new(move |wire: WireOutcome| outcome_of(wire, &of).and_then(|event| kinds.admit(event)));
    let (written, one) = (Written::of(&body), Arc::clone(&outcome));
    let plain = move |wire: WireOutcomes| wire.outcomes.into_iter().map(|wire| outcome(wire)).collect();
    let event = move |event: CloudEvent<OutcomeData>| one(WireOutcome::from(event));
    let events = body.read(&service, plain, OUTCOME, event).await.map_err(|p| service.refuse(p))?;
    answer(&service, store(&service, &caller, events, arrival).await?, written)
}

/// Stores exposures.
#[utoipa::path(post, path = "/v1/exposures", tag = "events", params(BinaryMode),
    request_body(content(
        (ExposuresBody = "application/json"),
        (ExposureEvent = "application/cloudevents+json"),
        (Vec<ExposureEvent> = "application/cloudevents-batch+json"))),
    responses(
        (status = 200, description = "What became of each; those refused are named", body = WireEventsAnswer),
        BodyRefusal))]
pub(super) async fn exposures(
    State(service): State<Arc<Service>>,
    caller: Caller,
    body: EventBody,
) -> Result<Response, Problem> {
    let arrival = arrival(&service, &caller);
    let (written, of, of_event) = (Written::of(&body), arrival.clone(), arrival.clone());
    let plain =
        move |wire: WireExposures| wire.exposures.into_iter().map(|wire| exposure_of(wire, None, &of)).collect();
    let event = move |event: CloudEvent<ExposureData>| {
        let id = event.key();
        let CloudEvent { time, data: ExposureData { decision_id }, .. } = event;
        exposure_of(WireExposure { decision_id, at: time }, Some(id), &of_event)
    };
    let events = body.read(&service, plain, EXPOSURE, event).await.map_err(|p| service.refuse(p))?;
    answer(&service, store(&service, &caller, events, arrival).await?, written)
}

/// An exposure, and the id of its event where it came as one.
fn exposure_of(exposure: WireExposure, event: Option<String>, arrival: &Arrival) -> Result<Event, String> {
    let at_ms = at(exposure.at.as_deref(), arrival)?;
    id("decision_id", &exposure.decision_id)?;
    event.as_deref().map_or(Ok(()), |event| id("id", event))?;
    Ok(Event::Exposure(ExposureInput { id: event, decision_id: exposure.decision_id, at_ms }))
}

/// How events were written.
#[derive(Debug, Clone, Copy)]
struct Written {
    is_single: bool,
    is_cloudevents: bool,
}

impl Written {
    fn of(body: &EventBody) -> Self {
        Self { is_single: body.is_single(), is_cloudevents: body.is_cloudevents() }
    }
}

/// A sender of one event reads the status alone: what is refused is no 200 there.
fn answer(service: &Service, mut answer: WireEventsAnswer, written: Written) -> Result<Response, Problem> {
    if written.is_cloudevents {
        answer.refused.iter_mut().for_each(|refused| refused.why = in_words_of_events(&refused.why));
    }
    match answer.refused.first().filter(|_| written.is_single) {
        Some(refused) => Err(service.refuse(Problem::invalid("", refused.why.clone()))),
        None => Ok((StatusCode::OK, Json(answer)).into_response()),
    }
}

/// The CloudEvents type of an outcome.
const OUTCOME: &str = "serin.outcome.v1";
/// The CloudEvents type of an exposure.
const EXPOSURE: &str = "serin.exposure.v1";

/// Watermarks.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WireWatermarks {
    /// The watermarks; each is answered for itself.
    #[serde(deserialize_with = "Object::list")]
    #[schema(max_items = 10000)]
    watermarks: Vec<WireWatermark>,
}

/// A promise that all outcomes of a name that happened up to a time have been posted.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WireWatermark {
    /// The outcomes' name.
    #[schema(example = "complaint", min_length = 1, max_length = 64)]
    name: String,
    /// The time, RFC 3339; not in the future.
    #[schema(value_type = String, format = DateTime)]
    time: String,
}

/// What became of watermarks.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct WireWatermarksAnswer {
    /// Stored now.
    stored: u64,
    /// A watermark as new is stored already; the newest one counts.
    not_newer: u64,
    /// Not stored, and why.
    refused: Vec<WireRefusedEvent>,
    /// What was stored and that nothing reads: a name that no metric counts.
    warnings: Vec<String>,
}

/// Stores watermarks: a unit becomes mature in a metric once the outcomes' feed was heard of.
#[utoipa::path(post, path = "/v1/outcomes/watermarks", tag = "events", request_body = WireWatermarks,
    responses(
        (status = 200, description = "What became of each; those refused are named", body = WireWatermarksAnswer),
        BodyRefusal))]
pub(super) async fn watermarks(
    State(service): State<Arc<Service>>,
    caller: Caller,
    body: Body,
) -> Result<Response, Problem> {
    caller.reaches_all("posting watermarks").map_err(|p| service.refuse(p))?;
    let mut arrival = arrival(&service, &caller);
    // A promise that lies ahead would be the newest one for as long, whatever the clock shows.
    arrival.latest_ms = arrival.now_ms.saturating_add(arrival.tolerance_ms);
    let of = arrival.clone();
    let watermark = move |wire: WireWatermark| {
        let name = outcome_name(Some(wire.name))?;
        Ok(Event::Watermark(WatermarkInput { name, until_ms: time("time", &wire.time, &of)? }))
    };
    let events = move |wire: WireWatermarks| wire.watermarks.into_iter().map(watermark).collect();
    let events = body.parse_then(&service, events).await.map_err(|p| service.refuse(p))?;
    let answer = store(&service, &caller, events, arrival).await?;
    let WireEventsAnswer { stored, not_newer, refused, warnings, .. } = answer;
    Ok((StatusCode::OK, Json(WireWatermarksAnswer { stored, not_newer, refused, warnings })).into_response())
}

fn arrival(service: &Service, caller: &Caller) -> Arrival {
    let tolerance_ms = service.settings.clock_tolerance.as_millis() as u64;
    let points = caller.identity.as_ref().and_then(|identity| identity.points()).map(Arc::from);
    let (now_ms, at_ms) = (service.clock_guard.now_ms(), service.clock_guard.happening_ms());
    // A clock that is doubted may be right, and a sender's too.
    let latest_ms = now_ms.max(service.clock.now_ms()).saturating_add(tolerance_ms);
    Arrival { now_ms, at_ms, latest_ms, tolerance_ms, identity: caller.name(), points }
}

/// The largest value of an outcome, and of its opposite: sums of any number of them stay exact enough.
const MAX_VALUE: f64 = 1e15;
const VALID_VALUE: &str = "value: a number from -1e15 to 1e15 is needed";

fn outcome_of(wire: WireOutcome, arrival: &Arrival) -> Result<Event, String> {
    id("id", &wire.id)?;
    let at_ms = at(wire.at.as_deref(), arrival)?;
    if let Some(reverses) = wire.reverses {
        id("reverses", &reverses)?;
        if wire.name.is_some() || wire.value.is_some() || wire.decision_id.is_some() || wire.entity.is_some() {
            return Err(
                "reverses: the outcome that it names says the rest; only id and at may be given with it".to_owned()
            );
        }
        return Ok(Event::Reversal(ReversalInput { id: wire.id, reverses, at_ms }));
    }
    let name = outcome_name(wire.name)?;
    let value = wire.value.filter(|value| value.abs() <= MAX_VALUE).ok_or(VALID_VALUE)?;
    let subject = match (wire.decision_id, wire.entity) {
        (Some(decision), None) => {
            id("decision_id", &decision)?;
            OutcomeSubject::Decision(decision)
        }
        (None, Some(entity)) if entity.len() == 1 => match entity.into_iter().next() {
            Some((kind, key)) => {
                id("entity", &kind)?;
                id("entity", &key)?;
                OutcomeSubject::Entity(kind, key)
            }
            None => return Err(one_entity(&IndexMap::new())),
        },
        (None, Some(entity)) => return Err(one_entity(&entity)),
        (Some(_), Some(_)) => return Err(format!("{SUBJECT}, and not both")),
        (None, None) => return Err(format!("{SUBJECT}, {LIKE}")),
    };
    Ok(Event::Outcome(OutcomeInput { id: wire.id, name, value, at_ms, subject }))
}

/// What an outcome is about.
const SUBJECT: &str = "either decision_id, or entity with its kind as the one key and its id as the value, is needed";
/// An outcome's entity, as it is written.
const LIKE: &str = "like \"entity\": {\"customer\": \"c-3\"}";

/// What is wrong with an entity that is not one kind with its id.
fn one_entity(entity: &IndexMap<String, String>) -> String {
    match (entity.get("kind"), entity.get("id")) {
        (Some(kind), Some(id)) if entity.len() == 2 && kind.len() + id.len() <= 512 => {
            format!("{SUBJECT}, like \"entity\": {}", serde_json::json!({ kind.as_str(): id }))
        }
        _ => format!("{SUBJECT}, {LIKE}"),
    }
}

fn id(key: &str, text: &str) -> Result<(), String> {
    identifier::check(text).map_err(|why| format!("{key}: {why}"))
}

fn outcome_name(name: Option<String>) -> Result<String, String> {
    let name = name.filter(|name| (1..=64).contains(&name.len())).ok_or("name: 1 to 64 bytes are needed")?;
    identifier::check_characters(&name).map_err(|why| format!("name: {why}"))?;
    Ok(name)
}

/// When an event happened; now if that is left out.
fn at(at: Option<&str>, arrival: &Arrival) -> Result<u64, String> {
    at.map_or(Ok(arrival.at_ms), |text| time("at", text, arrival))
}

fn time(key: &str, text: &str, Arrival { latest_ms, tolerance_ms, .. }: &Arrival) -> Result<u64, String> {
    let time: jiff::Timestamp =
        text.parse().map_err(|_| format!("{key}: not a time; valid: RFC 3339, like 2026-11-23T07:00:00Z"))?;
    match u64::try_from(time.as_millisecond()) {
        Ok(ms) if ms <= *latest_ms => Ok(ms),
        Ok(_) => {
            let most = humantime::format_duration(Duration::from_millis(*tolerance_ms));
            Err(format!(
                "{key}: lies more than {most} in the future; valid: up to ledger.clock_tolerance ahead of this host's clock"
            ))
        }
        Err(_) => Err(format!("{key}: lies before 1970")),
    }
}

/// What is said of an event about another decision point's decisions.
const FORBIDDEN: &str = "the roles of this credential are for other decision points";

/// What is said of a reversal that a credential for some decision points may not send, or not yet.
const NOT_ITS_OWN: &str = "reverses: this credential has sent no outcome of that id; valid with roles for some decision points: \
                           an outcome that it has sent itself, and before its reversal";
/// What is said of a reversal of a reversal.
const OF_REVERSAL: &str =
    "reverses: names a reversal; valid: the id of an outcome. To count one again, send it with a new id";

/// The kinds of entities that a caller's outcomes may be about; none: all.
struct Kinds(Option<Vec<Name>>);

impl Kinds {
    fn of(service: &Service, caller: &Caller) -> Self {
        Self(caller.kinds(service))
    }

    fn admit(&self, event: Event) -> Result<Event, String> {
        match (&event, &self.0) {
            (Event::Outcome(OutcomeInput { subject: OutcomeSubject::Entity(kind, _), .. }), Some(kinds))
                if !kinds.iter().any(|known| **known == **kind) =>
            {
                Err(FORBIDDEN.to_owned())
            }
            _ => Ok(event),
        }
    }
}

async fn store(
    service: &Service,
    caller: &Caller,
    events: Vec<Result<Event, String>>,
    arrival: Arrival,
) -> Result<WireEventsAnswer, Problem> {
    if events.len() > MAX_EVENTS {
        return Err(service.refuse(Problem::invalid("", format!("{} events; at most {MAX_EVENTS}", events.len()))));
    }
    let mut answer = WireEventsAnswer::default();
    let mut indices = Vec::with_capacity(events.len());
    let mut valid = Vec::with_capacity(events.len());
    for (index, event) in events.into_iter().enumerate() {
        match event {
            Ok(event) => {
                indices.push(index);
                valid.push(event);
            }
            Err(why) => answer.refused.push(WireRefusedEvent { index, why }),
        }
    }
    answer.warnings = unread(&Known::of(&service.deployment.load(), &service.status.load(), caller), &valid);
    let done = service.ledger.events(valid, arrival)?;
    let results = tokio::time::timeout(STORE_WAIT, done).await.map_err(|_| {
        service.ledger.suspect();
        Problem::unavailable("ledger-unavailable", "the ledger did not commit in time; events may be sent again")
    })?;
    let results = results.map_err(|_| Problem::unavailable("stopping", "the host is stopping"))??;
    for (index, result) in indices.into_iter().zip(results) {
        Metrics::count(&service.metrics.outcomes, result.as_str());
        answer.add(index, result, service.settings.clock_tolerance);
    }
    answer.refused.sort_by_key(|refused| refused.index);
    Ok(answer)
}
