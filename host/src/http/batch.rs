//! `POST /v1/decisions/batch`: many requests, each answered for itself, recorded together.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use tracing::Instrument as _;
use utoipa::ToSchema;

use super::decisions::{DecisionTook, deadline_of, guard, internal, json, keep, keeps_keys, record, row, run, stored};
use super::error::BodyRefusal;
use super::idempotency::{KeyLookup, look_up};
use super::trace::TraceParent;
use super::wire::{Body, Object, WireDecision, WireRequest};
use super::{Problem, Service};
use crate::decide::{Decided, Refused};
use crate::ledger::Commit;

/// Items of one batch.
const MAX_BATCH: usize = 1_000;
/// Items of one batch that are under way at once: a batch leaves threads to single requests.
const LANES: usize = 2;

/// A batch of requests.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WireBatch {
    /// The requests; each is answered for itself.
    #[serde(deserialize_with = "Object::list")]
    #[schema(max_items = 1000)]
    requests: Vec<WireRequest>,
}

/// The answers, in the order of the requests.
#[derive(Debug, Serialize, ToSchema)]
pub struct WireBatchAnswer {
    /// One a request.
    results: Vec<WireBatchItem>,
}

/// One answer of a batch.
#[derive(Debug, Serialize, ToSchema)]
pub struct WireBatchItem {
    /// The status that the request would have got alone.
    status: u16,
    /// The decision.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = WireDecision<'static>, nullable = false)]
    decision: Option<Box<serde_json::value::RawValue>>,
    /// The problem.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    error: Option<Problem>,
}

/// Decides many.
#[utoipa::path(post, path = "/v1/decisions/batch", tag = "decisions", request_body = WireBatch,
    params(
        ("Idempotency-Key" = Option<String>, Header, description = "Covers the whole batch", pattern = "^[!-~]{1,255}$", nullable = false),
        ("Serin-Deadline-Ms" = Option<u64>, Header, description = "Milliseconds that the batch has; what was not begun in time is a 503 item", minimum = 1, maximum = 4294967295_i64, nullable = false),
        ("traceparent" = Option<String>, Header, description = "W3C trace context", nullable = false)),
    responses(
        (status = 200, description = "One result a request, in order, after all are committed", body = WireBatchAnswer,
            headers(("Idempotent-Replayed" = bool, description = "The answer that is kept under the request's Idempotency-Key"))),
        (status = 409, description = "The key was used for another body", body = Problem, content_type = "application/problem+json"),
        BodyRefusal))]
pub(super) async fn decide_batch(
    State(service): State<Arc<Service>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let (span, trace_id) = TraceParent::span(&headers, "batch");
    batch(service, headers, body, trace_id).instrument(span).await
}

async fn batch(
    service: Arc<Service>,
    headers: HeaderMap,
    body: Body,
    trace_id: Option<String>,
) -> Result<Response, Problem> {
    let arrived = body.arrived;
    let refuse = |problem: Problem| service.refuse(problem);
    let deadline = deadline_of(&headers).map_err(refuse)?;
    let batch: WireBatch = body.parse().map_err(refuse)?;
    if batch.requests.len() > MAX_BATCH {
        return Err(refuse(Problem::invalid(
            "requests",
            format!("requests: {} items; at most {MAX_BATCH}", batch.requests.len()),
        )));
    }
    let held = match look_up(&service, &headers, "/v1/decisions/batch", &body.bytes).await.map_err(refuse)? {
        KeyLookup::None => None,
        KeyLookup::New(held) => Some(held),
        KeyLookup::Answered(status, body) => return Ok(stored(status, body)),
    };
    let keyed = held.is_some();
    let decided = run_all(&service, batch.requests, deadline.map(|d| arrived + d), keyed, trace_id).await;
    let mut rows = Vec::with_capacity(decided.len());
    let mut results = Vec::with_capacity(decided.len());
    let mut took = Vec::with_capacity(decided.len());
    let (mut waits, mut shadowed) = (keyed, Vec::new());
    for item in decided {
        results.push(match item {
            Ok(decided) => {
                waits |= decided.must_log;
                took.push(DecisionTook::of(&decided.record, arrived));
                rows.push(row(&service, &decided)?);
                let raw =
                    serde_json::value::to_raw_value(&WireDecision::from(&decided.record)).map_err(|_| internal())?;
                shadowed.extend(decided.shadowed.map(|beside| (decided.record, beside)));
                WireBatchItem { status: 200, decision: Some(raw), error: None }
            }
            Err(problem) => {
                WireBatchItem { status: problem.status, decision: None, error: Some(service.refuse(problem)) }
            }
        });
    }
    // A 5xx is not kept: the same key may be tried again.
    let failed = results.iter().any(|item| item.status >= 500);
    let answer = serde_json::to_vec(&WireBatchAnswer { results }).map_err(|_| internal())?;
    let kept = held.as_ref().filter(|_| !failed).map(|held| keep(&service, held, StatusCode::OK.as_u16(), &answer));
    let commit = Commit { decisions: rows, answer: kept, guard: held.map(|held| held.guard) };
    record(&service, commit, waits).await.map_err(refuse)?;
    took.iter().for_each(|took| took.observe(&service.metrics));
    shadowed.into_iter().for_each(|(record, shadowed)| service.shadow(record, shadowed));
    Ok(json(StatusCode::OK, answer))
}

/// Runs all items, a few at a time. What was not begun by `end` is refused.
async fn run_all(
    service: &Arc<Service>,
    requests: Vec<WireRequest>,
    end: Option<Instant>,
    keyed: bool,
    trace_id: Option<String>,
) -> Vec<Result<Decided, Problem>> {
    // An item whose lane died has this answer, so that the others keep their places.
    let mut results: Vec<Result<Decided, Problem>> = requests.iter().map(|_| Err(internal())).collect();
    let queue = Arc::new(Mutex::new(requests.into_iter().enumerate()));
    let mut lanes = tokio::task::JoinSet::new();
    for _ in 0..LANES.min(results.len()) {
        let (service, queue, trace_id) = (Arc::clone(service), Arc::clone(&queue), trace_id.clone());
        lanes.spawn(async move {
            let mut done = Vec::new();
            loop {
                let next = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
                let Some((index, request)) = next else { return done };
                done.push((index, item(&service, request, end, keyed, trace_id.clone()).await));
            }
        });
    }
    while let Some(lane) = lanes.join_next().await {
        for (index, result) in lane.unwrap_or_default() {
            results[index] = result;
        }
    }
    results
}

async fn item(
    service: &Service,
    request: WireRequest,
    end: Option<Instant>,
    keyed: bool,
    trace_id: Option<String>,
) -> Result<Decided, Problem> {
    guard(&request, false)?;
    let left = end.map(|end| end.saturating_duration_since(Instant::now()));
    if left.is_some_and(|left| left.is_zero()) {
        return Err(Refused::NotBegun.into());
    }
    if keyed {
        keeps_keys(service, &request.decision_point)?;
    }
    Ok(run(service, request, left, Instant::now(), trace_id).await?)
}
