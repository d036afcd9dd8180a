//! The OpenFeature Remote Evaluation Protocol, 0.3.0: a decision point is a flag. A single evaluation is a decision like
//! that of `POST /v1/decisions`, recorded in the same way. A bulk evaluation, which clients poll, neither records nor
//! enrols.

mod answer;
mod context;
mod fault;

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use serin_core::record::{Attempt, FailureKind, Outcome, Record};
use tracing::Instrument as _;

use super::access::Caller;
use super::decisions::{Asked, deadline_of, decide, internal, json, note};
use super::error::not_found;
use super::trace::{BegunTrace, RequestTrace};
use super::wire::{Body, InPath};
use super::{Problem, Service};
use crate::decide::{DecisionRequest, Point, Refused};
use crate::digest::digest_of;
use crate::traces::Evaluation;
use answer::{BulkEvaluation, BulkFault, FlagEvaluation, FlagFault, FlagResult};
use context::{EvaluationContext, WireEvaluation};
use fault::Fault;

/// Evaluates one flag: decides, and records the decision.
#[utoipa::path(post, path = "/ofrep/v1/evaluate/flags/{key}", tag = "ofrep", request_body = WireEvaluation,
    params(
        ("key" = String, Path, description = "The decision point"),
        ("Serin-Deadline-Ms" = Option<u64>, Header, description = "Milliseconds that this decision has, at most the decision point's own deadline", minimum = 1, maximum = 4294967295_i64, nullable = false),
        ("traceparent" = Option<String>, Header, description = "W3C trace context", nullable = false)),
    responses(
        (status = 200, description = "The flag's value, after the decision's record is committed", body = FlagEvaluation<'static>),
        (status = 400, description = "The context does not fit, or the body is not JSON", body = FlagFault<'static>),
        (status = 404, description = "No decision point of this name", body = FlagFault<'static>),
        (status = 429, description = "Overloaded, out of time, or what is needed is down; see Retry-After", body = Problem, content_type = "application/problem+json",
            headers(("Retry-After" = u32, description = "Seconds after which trying again makes sense"))),
        (status = 500, description = "The host failed on this decision", body = FlagFault<'static>)))]
pub(super) async fn evaluate(
    State(service): State<Arc<Service>>,
    caller: Caller,
    begun: Option<Extension<BegunTrace>>,
    InPath(key): InPath<String>,
    headers: HeaderMap,
    body: Result<Body, Problem>,
) -> Response {
    let trace = RequestTrace::of(begun, &headers, "ofrep", &*service.clock);
    let span = trace.span.clone();
    let answer = one(&service, &caller, &key, &headers, body, trace).instrument(span).await;
    answer.unwrap_or_else(|fault| fault.of_flag(&key))
}

/// The answer to a path that no route of the public listener has. Clients put a flag's key into the path as it is, and
/// know a 404 by its code alone.
pub(super) async fn nowhere(uri: Uri) -> Response {
    let Some(key) = uri.path().strip_prefix("/ofrep/v1/evaluate/flags/") else {
        return not_found().await.into_response();
    };
    let key = percent_encoding::percent_decode_str(key).decode_utf8_lossy();
    let details = "no such flag: a key is the name of a decision point, and none has a slash in its name or is empty";
    let detail = Problem::new(StatusCode::NOT_FOUND, "unknown-decision-point", details);
    Fault::from(detail).of_flag(&key)
}

async fn one(
    service: &Arc<Service>,
    caller: &Caller,
    key: &str,
    headers: &HeaderMap,
    body: Result<Body, Problem>,
    trace: RequestTrace,
) -> Result<Response, Fault> {
    let refuse = |problem: Problem| service.refuse(problem);
    // Refused and counted already.
    let body = body?;
    caller.reaches(key).map_err(refuse)?;
    let deadline = deadline_of(headers).map_err(refuse)?;
    let context = body.parse_then(service, WireEvaluation::context).await.map_err(refuse)?;
    let point = service.deployment.load().points.get(key).map(Arc::clone);
    let point = point.ok_or_else(|| fault::unknown(service, key))?;
    let context = context.map_err(|fault| fault.counted(service))?;
    let request = context.request(&point).map_err(|fault| fault.counted(service))?;
    let arrived = body.arrived;
    let asked = Asked { request, deadline, arrived, trace, identity: caller.name(), held: None };
    let flag = point.flag.clone();
    let fallback = point.fallback.action.clone();
    let answer = decide(service, asked, move |record| {
        serde_json::to_vec(&FlagEvaluation::recorded(record, &flag, &fallback)).ok()
    });
    Ok(json(StatusCode::OK, answer.await.map_err(refuse)?.into()))
}

/// Evaluates all flags that the caller may ask for, without recording anything.
#[utoipa::path(post, path = "/ofrep/v1/evaluate/flags", tag = "ofrep", request_body = WireEvaluation,
    params(
        ("If-None-Match" = Option<String>, Header, description = "The ETag of an earlier answer", nullable = false),
        ("Serin-Deadline-Ms" = Option<u64>, Header, description = "Milliseconds that all flags have together; what was not evaluated in time has an error of its own", minimum = 1, maximum = 4294967295_i64, nullable = false),
        ("traceparent" = Option<String>, Header, description = "W3C trace context", nullable = false)),
    responses(
        (status = 200, description = "Every flag: its value, or why it has none", body = BulkEvaluation,
            headers(("ETag" = String, description = "Of the answer and the context"))),
        (status = 304, description = "The answer is the one of this ETag"),
        (status = 400, description = "The context has no targetingKey, or the body is not JSON", body = BulkFault<'static>),
        (status = 429, description = "Overloaded, out of time, or what is needed is down; see Retry-After", body = Problem, content_type = "application/problem+json",
            headers(("Retry-After" = u32, description = "Seconds after which trying again makes sense"))),
        (status = 500, description = "The host failed on this request", body = BulkFault<'static>)))]
pub(super) async fn evaluate_all(
    State(service): State<Arc<Service>>,
    caller: Caller,
    begun: Option<Extension<BegunTrace>>,
    headers: HeaderMap,
    body: Result<Body, Problem>,
) -> Response {
    let trace = RequestTrace::of(begun, &headers, "ofrep-bulk", &*service.clock);
    let span = trace.span.clone();
    let answer = all(&service, &caller, &headers, body, &trace).instrument(span).await;
    answer.unwrap_or_else(Fault::of_all)
}

async fn all(
    service: &Arc<Service>,
    caller: &Caller,
    headers: &HeaderMap,
    body: Result<Body, Problem>,
    trace: &RequestTrace,
) -> Result<Response, Fault> {
    let refuse = |problem: Problem| service.refuse(problem);
    let body = body?;
    let deadline = deadline_of(headers).map_err(refuse)?;
    let context = body.parse_then(service, WireEvaluation::context).await.map_err(refuse)?;
    let context = context.map_err(|fault| fault.counted(service))?;
    let deployment = service.deployment.load_full();
    let mut points: Vec<&Arc<Point>> =
        deployment.points.values().filter(|point| caller.reaches(&point.name).is_ok()).collect();
    points.sort_by(|a, b| a.name.cmp(&b.name));
    let slowest = points.iter().filter(|point| !point.must_log).map(|point| point.deadline).max();
    let deadline = deadline.unwrap_or_else(|| BULK_DEADLINE.max(slowest.unwrap_or_default()));
    let mut bulk = Bulk { service, context: &context, end: body.arrived + deadline, trace, evaluations: Vec::new() };
    let mut flags = Vec::with_capacity(points.len());
    for point in points {
        flags.push(bulk.flag(point).await?);
    }
    let evaluations = bulk.evaluations;
    let answer = serde_json::to_vec(&BulkEvaluation::of(flags)).map_err(|_| refuse(internal()))?;
    let name = caller.name();
    let etag = digest_of(&[&answer, b"\n", name.as_deref().unwrap_or_default().as_bytes(), b"\n", &body.bytes]);
    let etag = format!("\"{}\"", etag.trim_start_matches("sha256:"));
    let tag = HeaderValue::from_str(&etag).map_err(|_| refuse(internal()))?;
    let mut response = match is_known(headers, &etag) {
        true => StatusCode::NOT_MODIFIED.into_response(),
        false => json(StatusCode::OK, answer.into()),
    };
    response.headers_mut().insert(header::ETAG, tag);
    let traced = trace.bulk(evaluations, response.status().as_u16(), body.arrived);
    traced.into_iter().for_each(|trace| service.traces.send(trace));
    Ok(response)
}

/// How long a bulk evaluation may take where nothing else is said: as long as its slowest flag, and at least so long.
const BULK_DEADLINE: Duration = Duration::from_secs(1);
/// Why a flag has no value that the deadline of its bulk evaluation left out.
const LEFT_OUT: &str = "the deadline of this bulk evaluation passed before the flag was evaluated; send a larger \
                        Serin-Deadline-Ms, or evaluate it singly";

/// A bulk evaluation under way.
struct Bulk<'b> {
    service: &'b Arc<Service>,
    context: &'b EvaluationContext,
    /// When its time is over.
    end: Instant,
    trace: &'b RequestTrace,
    /// What is traced of it.
    evaluations: Vec<Evaluation>,
}

impl Bulk<'_> {
    /// A flag as of now. What has to be recorded has no value here: nobody records what a client polls.
    async fn flag(&mut self, point: &Point) -> Result<FlagResult, Fault> {
        let (key, service) = (&*point.name, self.service);
        if point.must_log {
            let why =
                "this decision point records every decision, and a bulk evaluation records none; evaluate it singly";
            return Ok(FlagResult::general(key, why));
        }
        let request = match self.context.request(point) {
            Ok(request) => DecisionRequest { dry_run: true, ..request },
            Err(fault) => return Ok(fault.in_bulk(key)),
        };
        let began = Instant::now();
        let left = self.end.saturating_duration_since(began);
        if left.is_zero() {
            return Ok(FlagResult::general(key, LEFT_OUT));
        }
        let refuse = |problem: Problem| service.refuse(problem);
        let waited = service.pool.submit(request, Some(left), began, None).map_err(|why| refuse(why.into()))?;
        let Ok(decided) = tokio::time::timeout(left, waited).await else {
            return Ok(FlagResult::general(key, LEFT_OUT));
        };
        // A strategy that ended for a limit of its own did so earlier.
        let is_cut_short = left < point.deadline && began.elapsed() >= left / 2;
        match decided.map_err(|_| refuse(Problem::unavailable("stopping", "the host is stopping")))? {
            Err(Refused::NotBegun) if is_cut_short => Ok(FlagResult::general(key, LEFT_OUT)),
            Ok(decided) if is_cut_short && ran_out_of_time(&decided.record) => {
                note(&service.metrics, &decided);
                Ok(FlagResult::general(key, LEFT_OUT))
            }
            Ok(decided) => {
                note(&service.metrics, &decided);
                self.evaluations.extend(self.trace.evaluation(&decided.record));
                let flag = FlagEvaluation::unrecorded(&decided.record, &point.flag, &point.fallback.action);
                FlagResult::of(&flag).ok_or_else(|| refuse(internal()).into())
            }
            Err(why) => match Fault::from(refuse(why.into())) {
                // Nothing of the others is to be had either.
                fault if fault.asks_to_wait() => Err(fault),
                fault => Ok(fault.in_bulk(key)),
            },
        }
    }
}

/// Whether a strategy would have answered in more time. What served in its place would be taken for its answer.
fn ran_out_of_time(record: &Record) -> bool {
    let is_late = |attempt: &Attempt| {
        matches!(attempt.outcome, Outcome::Failure { kind: FailureKind::Deadline | FailureKind::NoTime, .. })
    };
    record.attempts.iter().any(is_late)
}

/// Whether a client has the answer of this tag.
fn is_known(headers: &HeaderMap, etag: &str) -> bool {
    let tags = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let mut tags = tags.flat_map(|value| value.split(',')).map(|tag| tag.trim());
    tags.any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}
