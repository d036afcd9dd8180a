//! `POST /v1/decisions/batch`: many requests, each answered for itself, recorded together.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serin_core::record::Record;
use tokio::sync::oneshot;
use tracing::Instrument as _;
use utoipa::ToSchema;

use super::access::Caller;
use super::bytes::{HeldBytes, counted};
use super::decisions::{DecisionTook, deadline_of, guard, internal, json, keep, keeps_keys, note, record, row, stored};
use super::error::BodyRefusal;
use super::idempotency::{KeyLookup, look_up};
use super::service::COMMIT_WAIT;
use super::trace::{self, BegunTrace, RequestTrace};
use super::wire::{Body, Object, WireDecision, WireRequest};
use super::{Problem, Service};
use crate::decide::{Decided, Refused, Shadowed};
use crate::ledger::{Commit, DecisionRow};
use crate::traces::DecisionTrace;

/// Items of one batch.
const MAX_BATCH: usize = 1_000;
/// Items of one batch that are under way at once: a batch leaves threads to single requests.
const LANES: usize = 2;
/// Bytes that the answers of one batch take, with their records. A thousand of the largest
/// answers would be more than a host has.
const MAX_BATCH_BYTES: usize = 16 << 20;

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
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct WireBatchAnswer {
    /// One a request.
    results: Vec<WireBatchItem>,
}

/// One answer of a batch.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct WireBatchItem {
    /// The status that the request would have got alone; 413 where the answers before it take all
    /// bytes that a batch's answer may have: send the rest as another batch.
    status: u16,
    /// The decision.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = WireDecision<'static>, nullable = false)]
    decision: Option<Box<RawValue>>,
    /// The problem.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Problem, nullable = false)]
    error: Option<Box<RawValue>>,
}

impl WireBatchItem {
    fn refused(problem: &Problem) -> Result<Self, Problem> {
        let error = serde_json::value::to_raw_value(problem).map_err(|_| internal())?;
        Ok(Self { status: problem.status, decision: None, error: Some(error) })
    }

    /// Whether a repeat of the same request would say the same. What another deployment would
    /// take, and what failed for a while, is decided when the batch is sent again with its key.
    fn is_final(&self) -> bool {
        [StatusCode::OK, StatusCode::FORBIDDEN, StatusCode::PAYLOAD_TOO_LARGE].iter().any(|s| *s == self.status)
    }
}

/// Decides many.
#[utoipa::path(post, path = "/v1/decisions/batch", tag = "decisions", request_body = WireBatch,
    params(
        ("Idempotency-Key" = Option<String>, Header, description = "Covers the whole batch; a repeat decides only those items that a repeat can cure", pattern = "^[!-~]{1,255}$", nullable = false),
        ("Serin-Deadline-Ms" = Option<u64>, Header, description = "Milliseconds that the batch has; what was not begun in time is a 503 item", minimum = 1, maximum = 4294967295_i64, nullable = false),
        ("traceparent" = Option<String>, Header, description = "W3C trace context", nullable = false)),
    responses(
        (status = 200, description = "One result a request, in order, after all are committed", body = WireBatchAnswer,
            headers(("Idempotent-Replayed" = bool, description = "The answer that is kept under the request's Idempotency-Key"))),
        (status = 409, description = "The key was used for another body", body = Problem, content_type = "application/problem+json"),
        BodyRefusal))]
pub(super) async fn decide_batch(
    State(service): State<Arc<Service>>,
    caller: Caller,
    begun: Option<Extension<BegunTrace>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let trace = RequestTrace::of(begun, &headers, "batch", &*service.clock);
    let span = trace.span.clone();
    batch(service, caller, headers, body, trace).instrument(span).await
}

async fn batch(
    service: Arc<Service>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
    trace: RequestTrace,
) -> Result<Response, Problem> {
    let refuse = |problem: Problem| service.refuse(problem);
    let deadline = deadline_of(&headers).map_err(refuse)?;
    let batch: WireBatch = body.parse_then(&service, |batch| batch).await.map_err(refuse)?;
    if batch.requests.len() > MAX_BATCH {
        return Err(refuse(Problem::invalid(
            "requests",
            format!("requests: {} items; at most {MAX_BATCH}", batch.requests.len()),
        )));
    }
    let end = commit_end(&service, &batch, deadline, body.arrived);
    let known = look_up(&service, &caller, &headers, "/v1/decisions/batch", (&body.bytes, end)).await;
    let known = known.map_err(refuse)?;
    let (held, mut results) = match known {
        KeyLookup::None => (None, Vec::new()),
        KeyLookup::New(held) => (Some(held), Vec::new()),
        KeyLookup::Answered(held, status, body) => {
            let Some(results) = left_open(&body) else { return Ok(stored(status, body.into())) };
            (Some(held), results)
        }
    };
    results.resize_with(batch.requests.len(), || None);
    let open = batch.requests.into_iter().enumerate().filter(|(index, _)| results[*index].is_none()).collect();
    let run = Arc::new(Run {
        arrived: body.arrived,
        end: deadline.map(|d| body.arrived + d),
        keyed: held.is_some(),
        caller,
        trace,
        bytes: AtomicUsize::new(0),
        held: Mutex::new(service.bytes.nothing()),
        service: Arc::clone(&service),
    });
    let decided = run.all(open).await;
    let (mut waits, mut rows, mut took, mut shadowed) = (run.keyed, Vec::new(), Vec::new(), Vec::new());
    let mut traces = Vec::new();
    for (index, item) in decided {
        results[index] = Some(match item {
            Ok(done) => {
                waits |= done.must_log;
                took.push(done.took);
                traces.extend(done.trace);
                rows.push(done.row);
                shadowed.extend(done.shadowed);
                WireBatchItem { status: 200, decision: Some(done.answer), error: None }
            }
            Err(problem) => run.refused(problem, &mut traces)?,
        });
    }
    let (answer, is_kept) = service.lanes.compute(move || written(results)).await??;
    let kept = held.as_ref().filter(|_| is_kept).map(|held| keep(&service, held, StatusCode::OK.as_u16(), &answer));
    let commit = Commit { decisions: rows, answer: kept, guard: held.map(|held| held.guard) };
    record(&service, commit, waits).await.map_err(refuse)?;
    took.iter().for_each(|took| took.observe(&service.metrics));
    traces.into_iter().for_each(|trace| trace::send(&service.traces, Some(trace), run.arrived));
    shadowed.into_iter().for_each(|(record, shadowed)| service.shadow(record, shadowed));
    let held =
        std::mem::replace(&mut *run.held.lock().unwrap_or_else(PoisonError::into_inner), service.bytes.nothing());
    Ok(json(StatusCode::OK, counted(answer, held)))
}

/// Until when a batch that arrived then is committed, if all is well.
fn commit_end(service: &Service, batch: &WireBatch, deadline: Option<Duration>, arrived: Instant) -> Instant {
    let deployment = service.deployment.load();
    let points = batch.requests.iter().filter_map(|request| deployment.points.get(request.decision_point.as_str()));
    let longest = points.map(|point| point.deadline).max().unwrap_or_default();
    let all = longest * batch.requests.len().div_ceil(LANES) as u32;
    // What is begun just before the batch's deadline has its own.
    arrived + deadline.map_or(all, |deadline| all.min(deadline + longest)) + COMMIT_WAIT
}

/// The items of a kept answer, without those that are to be decided again; none where all stand.
fn left_open(kept: &[u8]) -> Option<Vec<Option<WireBatchItem>>> {
    let kept: WireBatchAnswer = serde_json::from_slice(kept).ok()?;
    if kept.results.iter().all(WireBatchItem::is_final) {
        return None;
    }
    Some(kept.results.into_iter().map(|item| item.is_final().then_some(item)).collect())
}

/// The answer's bytes, and whether any of it is to be kept.
fn written(results: Vec<Option<WireBatchItem>>) -> Result<(Vec<u8>, bool), Problem> {
    let results: Vec<WireBatchItem> = results.into_iter().flatten().collect();
    let is_kept = results.iter().any(WireBatchItem::is_final);
    let answer = serde_json::to_vec(&WireBatchAnswer { results }).map_err(|_| internal())?;
    Ok((answer, is_kept))
}

/// A decided item, in the bytes that are recorded and answered: of a record that is no longer
/// needed nothing else is kept.
struct Done {
    answer: Box<RawValue>,
    row: DecisionRow,
    must_log: bool,
    took: DecisionTook,
    trace: Option<DecisionTrace>,
    shadowed: Option<(Record, Shadowed)>,
}

impl Done {
    /// On the deciding thread: putting a record into bytes and hashing them takes as long as
    /// many a decision, and the listeners' workers are for all requests.
    fn of(run: &Run, decided: Decided) -> Result<Self, Problem> {
        let (service, arrived) = (&run.service, run.arrived);
        note(&service.metrics, &decided);
        let row = row(service, &decided, run.caller.name())?;
        let trace = run.trace.decided(&decided.record, arrived);
        let answer = serde_json::value::to_raw_value(&WireDecision::from(&decided.record)).map_err(|_| internal())?;
        let took = DecisionTook::of(&decided.record, arrived);
        let must_log = decided.must_log;
        let shadowed = decided.shadowed.map(|shadowed| (decided.record, shadowed));
        Ok(Self { answer, row, must_log, took, trace, shadowed })
    }

    fn bytes(&self) -> usize {
        self.answer.get().len() + self.row.record.len()
    }
}

/// Items by their place in the batch.
type Items<T> = Vec<(usize, T)>;

/// A batch under way.
struct Run {
    service: Arc<Service>,
    arrived: Instant,
    end: Option<Instant>,
    keyed: bool,
    caller: Caller,
    trace: RequestTrace,
    /// Bytes of what is done.
    bytes: AtomicUsize,
    held: Mutex<HeldBytes>,
}

impl Run {
    /// Runs all items, a few at a time. What was not begun by the end is refused.
    async fn all(self: &Arc<Self>, requests: Items<WireRequest>) -> Items<Result<Done, Problem>> {
        // An item whose lane died has this answer, so that the others keep their places.
        let mut results: Items<_> = requests.iter().map(|(index, _)| (*index, Err(internal()))).collect();
        let queue = Arc::new(Mutex::new(requests.into_iter().enumerate()));
        let mut lanes = tokio::task::JoinSet::new();
        for _ in 0..LANES.min(results.len()) {
            let (run, queue) = (Arc::clone(self), Arc::clone(&queue));
            lanes.spawn(async move {
                let mut done = Vec::new();
                loop {
                    let next = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
                    let Some((place, (_, request))) = next else { return done };
                    done.push((place, run.item(request).await));
                }
            });
        }
        while let Some(lane) = lanes.join_next().await {
            for (place, result) in lane.unwrap_or_default() {
                results[place].1 = result;
            }
        }
        results
    }

    /// An item that was refused, and its trace.
    fn refused(&self, problem: Problem, traces: &mut Vec<DecisionTrace>) -> Result<WireBatchItem, Problem> {
        traces.extend(self.trace.refused(&problem, self.arrived));
        WireBatchItem::refused(&self.service.refuse(problem))
    }

    async fn item(self: &Arc<Self>, request: WireRequest) -> Result<Done, Problem> {
        guard(&request, &self.caller, false)?;
        let left = self.end.map(|end| end.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            return Err(Refused::NotBegun.into());
        }
        if self.bytes.load(Ordering::Relaxed) >= MAX_BATCH_BYTES {
            return Err(full());
        }
        if self.keyed {
            keeps_keys(&self.service, &request.decision_point)?;
        }
        let (reply, wait) = oneshot::channel();
        let run = Arc::clone(self);
        // Whoever asked may have hung up.
        let then = move |decided: Result<Decided, Refused>| {
            let done = decided.map_err(Problem::from).and_then(|decided| Done::of(&run, decided));
            // Else a run that was answered would be held by its last decision.
            drop(run);
            drop(reply.send(done));
        };
        let trace_id = self.trace.trace_id.clone();
        self.service.pool.submit_then(request.into(), left, Instant::now(), trace_id, Box::new(then))?;
        let done = wait.await.map_err(|_| Problem::from(Refused::Stopping))??;
        self.bytes.fetch_add(done.bytes(), Ordering::Relaxed);
        let has_room = self.held.lock().unwrap_or_else(PoisonError::into_inner).grow(done.bytes());
        if has_room { Ok(done) } else { Err(super::body::no_room()) }
    }
}

fn full() -> Problem {
    let detail =
        format!("the answers before take the {MAX_BATCH_BYTES} bytes of a batch; send the rest as another one");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "batch-too-large", detail)
}
