//! `POST /v1/decisions`, and what it shares with its batch.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serin_core::record::Record;
use tracing::Instrument as _;

use super::error::BodyRefusal;
use super::idempotency::{Held, Known, look_up};
use super::trace::TraceParent;
use super::wire::{Body, WireDecision, WireRequest};
use super::{Problem, Service};
use crate::decide::{Decided, Refused};
use crate::ledger::{Commit, DecisionRow, IdempotentAnswer};
use crate::telemetry::{AttemptLabels, DecisionLabels, Metrics, StageLabels};

/// How long an answer waits for its record. A commit takes milliseconds; beyond this the
/// ledger is down, and 503 says so.
const COMMIT_WAIT: Duration = Duration::from_secs(3);

/// Decides.
#[utoipa::path(post, path = "/v1/decisions", tag = "decisions", request_body = WireRequest,
    params(
        ("Idempotency-Key" = Option<String>, Header, description = "Kept 24 h: the same key and body get the stored answer", pattern = "^[!-~]{1,255}$", nullable = false),
        ("Serin-Deadline-Ms" = Option<u64>, Header, description = "Milliseconds that this decision has, at most the decision point's own deadline", minimum = 1, maximum = 4294967295_i64, nullable = false),
        ("traceparent" = Option<String>, Header, description = "W3C trace context", nullable = false)),
    responses(
        (status = 200, description = "The decision, after its record is committed", body = WireDecision<'static>,
            headers(("Idempotent-Replayed" = bool, description = "The answer that is kept under the request's Idempotency-Key"))),
        (status = 403, description = "`force` and `dry_run` are for the admin listener", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The key was used for another body", body = Problem, content_type = "application/problem+json"),
        BodyRefusal))]
pub(super) async fn decide_public(
    State(service): State<Arc<Service>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let (span, trace_id) = TraceParent::span(&headers, "decide");
    one(service, headers, body, false, trace_id).instrument(span).await
}

/// Decides, with `force` and `dry_run`.
pub(super) async fn decide_admin(
    State(service): State<Arc<Service>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let (span, trace_id) = TraceParent::span(&headers, "decide");
    one(service, headers, body, true, trace_id).instrument(span).await
}

async fn one(
    service: Arc<Service>,
    headers: HeaderMap,
    body: Body,
    is_admin: bool,
    trace_id: Option<String>,
) -> Result<Response, Problem> {
    let arrived = body.arrived;
    let refuse = |problem: Problem| service.refuse(problem);
    let deadline = deadline_of(&headers).map_err(refuse)?;
    let request: WireRequest = body.parse().map_err(refuse)?;
    guard(&request, is_admin).map_err(refuse)?;
    if headers.contains_key("idempotency-key") {
        keeps_keys(&service, &request.decision_point).map_err(refuse)?;
    }
    let held = match look_up(&service, &headers, "/v1/decisions", &body.bytes).await.map_err(refuse)? {
        Known::None => None,
        Known::New(held) => Some(held),
        Known::Answered(status, body) => return Ok(stored(status, body)),
    };
    let dry_run = request.dry_run == Some(true);
    let decided = match run(&service, request, deadline, arrived, trace_id).await.map_err(Problem::from) {
        Ok(decided) => decided,
        // The same request gets the same refusal, too, unless trying again may help.
        Err(problem) => {
            if let Some(held) = held.filter(|_| problem.status < 500) {
                let body = serde_json::to_vec(&problem).map_err(|_| internal())?;
                let commit = Commit {
                    answer: Some(keep(&service, &held, problem.status, &body)),
                    guard: Some(held.guard),
                    decisions: Vec::new(),
                };
                record(&service, commit, true).await.map_err(refuse)?;
            }
            return Err(refuse(problem));
        }
    };
    let answer = serde_json::to_vec(&WireDecision::from(&decided.record)).map_err(|_| internal())?;
    if !dry_run {
        let (waits, took) = (decided.must_log, DecisionTook::of(&decided.record, arrived));
        let kept = held.as_ref().map(|held| keep(&service, held, StatusCode::OK.as_u16(), &answer));
        let guard = held.map(|held| held.guard);
        let commit = Commit { answer: kept, decisions: vec![row(&decided.record)?], guard };
        drop(decided);
        record(&service, commit, waits).await.map_err(refuse)?;
        took.observe(&service.metrics);
    }
    Ok(json(StatusCode::OK, answer))
}

/// Measures a decision from its arrival until its record is committed.
pub(super) struct DecisionTook {
    labels: DecisionLabels,
    arrived: Instant,
}

impl DecisionTook {
    pub(super) fn of(record: &Record, arrived: Instant) -> Self {
        let decision_point = record.decision_point.to_string();
        let served_by = record.answer.served_by.as_str().to_owned();
        Self { labels: DecisionLabels { decision_point, served_by }, arrived }
    }

    pub(super) fn observe(&self, metrics: &Metrics) {
        metrics.decision_seconds.get_or_create(&self.labels).observe(self.arrived.elapsed().as_secs_f64());
    }
}

/// A key is unique in its record's transaction, and a `best_effort` record may be lost.
pub(super) fn keeps_keys(service: &Service, point: &str) -> Result<(), Problem> {
    match service.deployment.load().points.get(point) {
        Some(point) if !point.must_log => Err(Problem::invalid(
            "Idempotency-Key",
            "Idempotency-Key: this decision point logs best_effort, and keeps no keys",
        )),
        _ => Ok(()),
    }
}

pub(super) fn internal() -> Problem {
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the answer could not be written")
}

pub(super) fn guard(request: &WireRequest, is_admin: bool) -> Result<(), Problem> {
    let key = match (&request.force, request.dry_run) {
        _ if is_admin => return Ok(()),
        (Some(_), _) => "force",
        (None, Some(_)) => "dry_run",
        (None, None) => return Ok(()),
    };
    Err(Problem {
        key: Some(key.to_owned()),
        ..Problem::new(StatusCode::FORBIDDEN, "admin-only", format!("'{key}' is for the admin listener"))
    })
}

pub(super) fn deadline_of(headers: &HeaderMap) -> Result<Option<Duration>, Problem> {
    let Some(value) = headers.get("serin-deadline-ms") else {
        return Ok(None);
    };
    let ms: Option<u32> = value.to_str().ok().and_then(|text| text.parse().ok()).filter(|ms| *ms > 0);
    ms.map(|ms| Some(Duration::from_millis(ms.into()))).ok_or_else(|| {
        Problem::invalid("Serin-Deadline-Ms", "Serin-Deadline-Ms: a whole number of milliseconds from 1 is needed")
    })
}

/// Hands a request over to the deciding threads, and counts what came of it.
pub(super) async fn run(
    service: &Service,
    request: WireRequest,
    deadline: Option<Duration>,
    arrived: Instant,
    trace_id: Option<String>,
) -> Result<Decided, Refused> {
    let wait = service.pool.submit(request.into(), deadline, arrived, trace_id)?;
    let decided = wait.await.map_err(|_| Refused::Stopping)??;
    let Record { decision_id, decision_point, answer, .. } = &decided.record;
    tracing::debug!(%decision_id, %decision_point, served_by = answer.served_by.as_str(), "decided");
    count(&service.metrics, &decided.record);
    Ok(decided)
}

fn count(metrics: &Metrics, record: &Record) {
    let arm = record.routing.assignment.as_ref().map_or("", |a| &*a.arm);
    for attempt in &record.attempts {
        let labels = AttemptLabels {
            decision_point: record.decision_point.to_string(),
            strategy: attempt.strategy.name.to_string(),
            version: attempt.strategy.version.to_string(),
            arm: arm.to_owned(),
            outcome: attempt.outcome.label().to_owned(),
        };
        metrics.attempts.get_or_create(&labels).inc();
        metrics.attempt_seconds.get_or_create(&labels).observe(attempt.time_us as f64 / 1e6);
    }
    for (stage, us) in &record.timings_us {
        let stage = match &**stage {
            "queue" => "queue",
            "gather" => "gather",
            "route" => "route",
            "score" => "score",
            _ => "run",
        };
        metrics.stage_seconds.get_or_create(&StageLabels { stage }).observe(*us as f64 / 1e6);
    }
    for degraded in &record.answer.degraded {
        Metrics::count(&metrics.degraded, degraded);
    }
    if let Some(not) = &record.routing.not_enrolled {
        // Other texts than these have no bound, and a label must have one.
        let known = not.why == "not_eligible" || not.why.starts_with("missing: ");
        let why = if known { &not.why } else { "error" };
        Metrics::count(&metrics.not_enrolled, &format!("{}: {why}", not.experiment));
    }
}

pub(super) fn row(record: &Record) -> Result<DecisionRow, Problem> {
    DecisionRow::of(record).map_err(|_| internal())
}

pub(super) fn keep(service: &Service, held: &Held, status: u16, body: &[u8]) -> IdempotentAnswer {
    IdempotentAnswer {
        key: held.key.clone(),
        request: held.request.clone(),
        status,
        body: body.to_vec(),
        time_ms: service.clock.now_ms(),
    }
}

/// Commits. With `waits`, an answer leaves only after this has returned. The commit holds the
/// request's key until it is done, also where the client has hung up or was told to come back:
/// the same request sent again must not be decided a second time.
pub(super) async fn record(service: &Service, commit: Commit, waits: bool) -> Result<(), Problem> {
    if !waits {
        let records = commit.decisions.len() as u64;
        if service.ledger.commit_unwaited(commit).is_err() {
            service.metrics.records_dropped.inc_by(records);
        }
        return Ok(());
    }
    let started = Instant::now();
    let committed = async {
        let done = service.ledger.commit(commit)?;
        let waited = tokio::time::timeout(COMMIT_WAIT, done).await.map_err(|_| {
            service.ledger.suspect();
            Problem::unavailable("ledger-unavailable", "the ledger did not commit in time")
        })?;
        Ok::<_, Problem>(waited.map_err(|_| Problem::unavailable("stopping", "the host is stopping"))??)
    };
    committed.instrument(tracing::debug_span!("commit")).await?;
    service
        .metrics
        .stage_seconds
        .get_or_create(&StageLabels { stage: "commit" })
        .observe(started.elapsed().as_secs_f64());
    Ok(())
}

pub(super) fn json(status: StatusCode, body: Vec<u8>) -> Response {
    (status, [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response()
}

pub(super) fn stored(status: u16, body: Vec<u8>) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    let mut response = json(status, body);
    if status.is_client_error() {
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    }
    response.headers_mut().insert("idempotent-replayed", HeaderValue::from_static("true"));
    response
}
