//! `POST /v1/decisions`, and what it shares with its batch and with single evaluations of flags.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::Extension;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serin_core::record::{Record, RowStatus};
use serin_core::{Name, identifier};
use tokio::sync::oneshot;
use tracing::Instrument as _;

use super::access::{self, Caller};
use super::audit_target::shown_target;
use super::error::{BodyRefusal, uncommitted};
use super::idempotency::{HeldKey, KeyLookup, look_up};
use super::service::COMMIT_WAIT;
use super::trace::{self, BegunTrace, RequestTrace};
use super::wire::{Body, WireDecision, WireForce, WireRequest};
use super::{Problem, Service};
use crate::access::Role;
use crate::decide::{Decided, DecisionRequest, Refused, Shadowed};
use crate::ledger::{Commit, DecisionRow, IdempotentAnswer};
use crate::telemetry::{AttemptLabels, DecisionLabels, Metrics, StageLabels, ThreadLabels};
use crate::traces::DecisionTrace;

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
    caller: Caller,
    begun: Option<Extension<BegunTrace>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let trace = RequestTrace::of(begun, &headers, "decide", &*service.clock);
    let span = trace.span.clone();
    one(service, caller, headers, body, false, trace).instrument(span).await
}

/// Decides, with `force` and `dry_run`.
pub(super) async fn decide_admin(
    State(service): State<Arc<Service>>,
    caller: Caller,
    begun: Option<Extension<BegunTrace>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let trace = RequestTrace::of(begun, &headers, "decide", &*service.clock);
    let span = trace.span.clone();
    one(service, caller, headers, body, true, trace).instrument(span).await
}

async fn one(
    service: Arc<Service>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
    is_admin: bool,
    trace: RequestTrace,
) -> Result<Response, Problem> {
    let refuse = |problem: Problem| service.refuse(problem);
    deadline_of(&headers).map_err(refuse)?;
    let request: WireRequest = body.parse_then(&service, |request| request).await.map_err(refuse)?;
    guard(&request, &caller, is_admin).map_err(refuse)?;
    let Some((what, target)) = to_audit(&request, is_admin) else {
        return decided(service, caller, headers, (request, body), trace).await;
    };
    // On its own: a client that hangs up takes back neither what was decided nor the entry of it.
    let noted = async move {
        let time_ms = service.clock.now_ms();
        let decided = decided(Arc::clone(&service), caller.clone(), headers, (request, body), trace).await;
        let answer = decided.into_response();
        access::note(&service, time_ms, what, target, &caller, answer).await
    };
    tokio::spawn(noted.in_current_span()).await.map_err(|_| internal())
}

/// What the audit has of a decision: what is done past an experiment, and what is read without a record of it.
fn to_audit(request: &WireRequest, is_admin: bool) -> Option<((String, bool), String)> {
    let force = request.force.as_ref();
    let (what, is_read) = match request.dry_run {
        Some(true) => ("decision.dry_run", true),
        _ => force.map(|_| ("decision.forced", false))?,
    };
    let mut target = request.decision_point.clone();
    for (kind, id) in &request.entities {
        target += &format!(" {kind}={id}");
    }
    if let Some(WireForce { experiment, arm }) = force {
        target += &format!(" {experiment}/{arm}");
    }
    is_admin.then(|| ((what.to_owned(), is_read), shown_target(&target)))
}

async fn decided(
    service: Arc<Service>,
    caller: Caller,
    headers: HeaderMap,
    (request, body): (WireRequest, Body),
    trace: RequestTrace,
) -> Result<Response, Problem> {
    let arrived = body.arrived;
    let refuse = |problem: Problem| service.refuse(problem);
    let deadline = deadline_of(&headers).map_err(refuse)?;
    if headers.contains_key("idempotency-key") {
        keeps_keys(&service, &request.decision_point).map_err(refuse)?;
    }
    let end = commit_end(&service, &request.decision_point, arrived);
    let known = look_up(&service, &caller, &headers, "/v1/decisions", (&body.bytes, end)).await;
    let held = match known.map_err(refuse)? {
        KeyLookup::None => None,
        KeyLookup::New(held) => Some(held),
        KeyLookup::Answered(_, status, body) => return Ok(stored(status, body.into())),
    };
    let request = DecisionRequest::from(request);
    let asked = Asked { request, deadline, arrived, trace, identity: caller.name(), held };
    let body = decide(&service, asked, |record| serde_json::to_vec(&WireDecision::from(record)).ok());
    Ok(json(StatusCode::OK, body.await.map_err(refuse)?.into()))
}

/// What is to be decided, and for whom.
pub(super) struct Asked {
    pub request: DecisionRequest,
    /// The requested deadline; none for the point's own.
    pub deadline: Option<Duration>,
    pub arrived: Instant,
    pub trace: RequestTrace,
    pub identity: Option<Name>,
    /// The request's idempotency key.
    pub held: Option<HeldKey>,
}

/// Decides and records, and returns the answer as `write` makes it of the record.
///
/// # Errors
/// Why there is no answer; it is not counted yet.
pub(super) async fn decide<W>(service: &Arc<Service>, asked: Asked, write: W) -> Result<Vec<u8>, Problem>
where
    W: FnOnce(&Record) -> Option<Vec<u8>> + Send + 'static,
{
    let Asked { request, deadline, arrived, mut trace, identity, held } = asked;
    let end = commit_end(service, &request.decision_point, arrived);
    let (reply, wait) = oneshot::channel();
    let handed = Arc::<AtomicBool>::default();
    let (of, flag, dry_run) = (Arc::clone(service), Arc::clone(&handed), request.dry_run);
    let trace_id = trace.trace_id.take();
    let finish = Finish { service: of, identity, held, dry_run, arrived, trace, reply, handed: flag };
    let then = Box::new(move |decided| finish.run(decided, write));
    service.pool.decide_then(request, deadline, arrived, trace_id, then)?;
    let answered = tokio::time::timeout_at(end.into(), wait).await.map_err(|_| {
        if !handed.load(Ordering::Relaxed) {
            return Problem::from(Refused::NotBegun);
        }
        service.ledger.suspect();
        uncommitted()
    })?;
    let answered = answered.unwrap_or_else(|_| Err(stopping()))?;
    if let Some(Committed { took, began, span, trace }) = answered.committed {
        drop(span);
        committed(&service.metrics, began);
        took.observe(&service.metrics);
        trace::send(&service.traces, trace, arrived);
    }
    answered.dry_run.into_iter().for_each(|trace| service.traces.send(trace));
    Ok(answered.body)
}

/// What comes after a decision, without a way back over the listener's threads: on the thread
/// that decided it is put into bytes and given to the ledger, and from there the answer leaves.
struct Finish {
    service: Arc<Service>,
    /// Who asked.
    identity: Option<Name>,
    held: Option<HeldKey>,
    dry_run: bool,
    arrived: Instant,
    trace: RequestTrace,
    reply: oneshot::Sender<Result<Answered, Problem>>,
    /// Whether the ledger has it: who waits in vain before that waits for a thread.
    handed: Arc<AtomicBool>,
}

struct Answered {
    body: Vec<u8>,
    committed: Option<Committed>,
    /// The trace of a decision that is not recorded.
    dry_run: Option<DecisionTrace>,
}

struct Committed {
    took: DecisionTook,
    began: Instant,
    span: tracing::Span,
    trace: Option<DecisionTrace>,
}

impl Finish {
    fn run(self, decided: Result<Decided, Refused>, write: impl FnOnce(&Record) -> Option<Vec<u8>>) {
        let decided = match decided {
            Ok(decided) => decided,
            // Not kept under the request's key: another deployment may take the same request, and
            // checking it again is the same as keeping a refusal that stands.
            Err(why) => return self.answer(Err(why.into())),
        };
        note(&self.service.metrics, &decided);
        let Some(body) = write(&decided.record) else {
            return self.answer(Err(internal()));
        };
        if self.dry_run {
            let dry_run = self.trace.dry_run(&decided.record, self.arrived);
            return self.answer(Ok(Answered { body, committed: None, dry_run }));
        }
        let row = match row(&self.service, &decided, self.identity.clone()) {
            Ok(row) => row,
            Err(problem) => return self.answer(Err(problem)),
        };
        let answer = self.held.as_ref().map(|held| keep(&self.service, held, StatusCode::OK.as_u16(), &body));
        let took = DecisionTook::of(&decided.record, self.arrived);
        let trace = self.trace.decided(&decided.record, self.arrived);
        let (span, began) = (tracing::debug_span!("commit"), Instant::now());
        let answered = Answered { body, committed: Some(Committed { took, began, span, trace }), dry_run: None };
        let shadowed = decided.shadowed.map(|shadowed| (decided.record, shadowed));
        self.commit(vec![row], answer, decided.must_log, Ok(answered), shadowed);
    }

    /// Commits; with `waits`, the answer leaves only then. The commit holds the request's key
    /// until it is done, also where the client has hung up or was told to come back: the same
    /// request sent again must not be decided a second time.
    fn commit(
        self,
        decisions: Vec<DecisionRow>,
        answer: Option<IdempotentAnswer>,
        waits: bool,
        answered: Result<Answered, Problem>,
        shadowed: Option<(Record, Shadowed)>,
    ) {
        let Self { service, held, reply, handed, .. } = self;
        handed.store(true, Ordering::Relaxed);
        let beside = Arc::clone(&service);
        let beside = move || shadowed.into_iter().for_each(|(record, shadowed)| beside.shadow(record, shadowed));
        let commit = Commit { decisions, answer, guard: held.map(|held| held.guard) };
        if !waits {
            unwaited(&service, commit);
            drop(reply.send(answered));
            return beside();
        }
        // Whoever asked may have hung up; what is committed stays committed.
        let then = move |result: Result<(), _>| {
            let is_recorded = result.is_ok();
            drop(reply.send(result.map_err(Problem::from).and(answered)));
            if is_recorded {
                beside();
            }
        };
        service.ledger.commit_then(commit, Box::new(then));
    }

    fn answer(self, answer: Result<Answered, Problem>) {
        // Whoever asked may have hung up.
        let _ = self.reply.send(answer);
    }
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

/// What of a request is for some callers alone: its decision point, and what the admin listener adds.
pub(super) fn guard(request: &WireRequest, caller: &Caller, is_admin: bool) -> Result<(), Problem> {
    caller.reaches(&request.decision_point)?;
    if request.force.is_some() && is_admin {
        // It decides what is done to somebody, past the experiment.
        caller.has(Role::Operate)?;
    }
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

/// Tells of a decision in the log and in the metrics.
pub(super) fn note(metrics: &Metrics, Decided { record, thread, .. }: &Decided) {
    let Record { decision_id, decision_point, answer, .. } = record;
    metrics.decisions.get_or_create(&ThreadLabels { thread: thread.as_str() }).inc();
    tracing::debug!(%decision_id, %decision_point, served_by = answer.served_by.as_str(), "decided");
    let arm = record.routing.assignment.as_ref().map_or("", |a| &*a.arm);
    for attempt in &record.attempts {
        let labels = AttemptLabels {
            decision_point: record.decision_point.to_string(),
            strategy: attempt.strategy.name.to_string(),
            version: attempt.strategy.version.to_string(),
            arm: arm.to_owned(),
            outcome: attempt.outcome.label().to_owned(),
        };
        metrics.attempt(&labels, attempt.time_us as f64 / 1e6);
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
    for (view, row) in &record.features {
        for (column, value) in row.values.iter() {
            let status = row.status_of(column);
            if status == RowStatus::Missing || (status == RowStatus::Present && value.is_missing()) {
                Metrics::count(&metrics.features_missing, &format!("{view}.{column}"));
            }
        }
    }
    for (kind, _) in record.entities.iter().filter(|(_, id)| identifier::is_placeholder(id)) {
        Metrics::count(&metrics.placeholder_ids, kind);
    }
    if let Some(not) = &record.routing.not_enrolled {
        // Other texts than these have no bound, and a label must have one.
        let why = if not.is_evaluated() { &not.why } else { "error" };
        Metrics::count(&metrics.not_enrolled, &format!("{}: {why}", not.experiment));
    }
}

pub(super) fn row(service: &Service, decided: &Decided, identity: Option<Name>) -> Result<DecisionRow, Problem> {
    let attributes = decided.attributes.as_deref().unwrap_or_default();
    let row = service.ledger.row(&decided.record, attributes).map_err(|_| internal())?;
    Ok(DecisionRow { identity, ..row })
}

pub(super) fn keep(service: &Service, held: &HeldKey, status: u16, body: &[u8]) -> IdempotentAnswer {
    IdempotentAnswer {
        key: held.key.clone(),
        request: held.request.clone(),
        status,
        body: body.to_vec(),
        time_ms: service.clock.now_ms(),
    }
}

/// Until when the answer to a request waits for its record.
fn commit_end(service: &Service, point: &str, arrived: Instant) -> Instant {
    let own = service.deployment.load().points.get(point).map(|point| point.deadline);
    arrived + own.unwrap_or_default() + COMMIT_WAIT
}

fn unwaited(service: &Service, commit: Commit) {
    let records = commit.decisions.len() as u64;
    if service.ledger.commit_unwaited(commit).is_err() {
        service.metrics.records_dropped.inc_by(records);
    }
}

fn stopping() -> Problem {
    Problem::unavailable("stopping", "the host is stopping")
}

fn committed(metrics: &Metrics, began: Instant) {
    metrics.stage_seconds.get_or_create(&StageLabels { stage: "commit" }).observe(began.elapsed().as_secs_f64());
}

/// Commits. With `waits`, an answer leaves only after this has returned. The commit holds the
/// request's key until it is done, as a single decision's does.
pub(super) async fn record(service: &Service, commit: Commit, waits: bool) -> Result<(), Problem> {
    if !waits {
        unwaited(service, commit);
        return Ok(());
    }
    let began = Instant::now();
    let commit = async {
        let done = service.ledger.commit(commit)?;
        let waited = tokio::time::timeout(COMMIT_WAIT, done).await.map_err(|_| {
            service.ledger.suspect();
            uncommitted()
        })?;
        Ok::<_, Problem>(waited.map_err(|_| stopping())??)
    };
    commit.instrument(tracing::debug_span!("commit")).await?;
    committed(&service.metrics, began);
    Ok(())
}

pub(super) fn json(status: StatusCode, body: Bytes) -> Response {
    (status, [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response()
}

pub(super) fn stored(status: u16, body: Bytes) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    let mut response = json(status, body);
    // Refusals were kept once, and are as long as their keys are.
    if status.is_client_error() {
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    }
    response.headers_mut().insert(trace::REPLAYED, HeaderValue::from_static("true"));
    response
}
