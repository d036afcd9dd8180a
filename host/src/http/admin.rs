//! The admin listener's reads, and replay.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;
use serin_core::experiment::Pin;
use serin_core::manifest::duration_ms;
use utoipa::ToSchema;

use super::access::Caller;
use super::body::no_room;
use super::bytes::counted;
use super::decisions::internal;
use super::usage::{WireUse, users};
use super::wire::{InPath, unfit_query};
use super::{Problem, Service};
use crate::clock::{Budget, Clock as _, is_decision_id};
use crate::ledger::{DecisionFilter, Durability, LedgerError, LedgerReader, Reads as _, RecordError, StoredRecord};
use crate::registry::{ArtifactStatus, COMPILING, LoadProgress, Plugin, VersionsByPin};
use crate::replay::{FieldDifference, ReplayResult};
use crate::signatures::Signer;
use crate::telemetry::StateLabels;

/// A time as people read it.
pub(super) fn rfc3339(ms: u64) -> String {
    jiff::Timestamp::from_millisecond(ms as i64).map(|t| t.to_string()).unwrap_or_default()
}

/// An artifact.
#[derive(Serialize, ToSchema)]
pub struct WirePlugin {
    /// The name of its file; null if that is gone.
    #[schema(required)]
    file: Option<String>,
    /// The plugin's name; null if its manifest cannot be read.
    #[schema(required)]
    name: Option<String>,
    #[schema(required)]
    version: Option<String>,
    /// SHA-256 of the artifact.
    digest: String,
    /// `active`, `loading`, `failed` or `retired`.
    state: &'static str,
    /// Why it failed.
    #[schema(required)]
    error: Option<String>,
    loaded_at: String,
    /// The interface that it was compiled against.
    #[schema(required)]
    wit: Option<String>,
    /// It serves from the archive.
    stale: bool,
    /// Why it serves from the archive, or without a valid signature.
    #[schema(required)]
    why: Option<String>,
    /// Who signed it; null if nobody who is trusted did.
    #[schema(required)]
    signer: Option<WireSigner>,
    /// Why no run of it begins for now: its breaker is open. Null where runs begin.
    #[schema(required)]
    breaker: Option<String>,
    /// The manifest's words on it; null where it is not loaded.
    #[schema(required)]
    description: Option<String>,
    /// Who answers for it, by its manifest; null where it is not loaded.
    #[schema(required)]
    owner: Option<String>,
    /// Who uses this name and version: decision points first, then arms of experiments that have not ended.
    used_by: Vec<WireUse>,
}

impl WirePlugin {
    fn of(status: ArtifactStatus, active: &VersionsByPin, used_by: Vec<WireUse>, now_ms: u64) -> Self {
        let loaded = loaded(active, &status);
        let manifest = loaded.map(|loaded| loaded.manifest());
        Self {
            name: status.pin.as_ref().map(|pin| pin.name.to_string()),
            version: status.pin.as_ref().map(|pin| pin.version.to_string()),
            digest: status.digest.clone(),
            state: status.state.as_str(),
            error: status.error,
            loaded_at: rfc3339(status.loaded_at_ms),
            wit: status.wit,
            stale: status.stale,
            why: why(status.stale, status.unsigned),
            signer: status.signer.map(WireSigner::from),
            breaker: loaded.and_then(|loaded| loaded.breaker.is_open(now_ms)),
            description: manifest.map(|manifest| manifest.description.clone()),
            owner: manifest.map(|manifest| manifest.owner.clone()),
            file: status.file,
            used_by,
        }
    }
}

/// Who signed a file.
#[derive(Serialize, ToSchema)]
pub struct WireSigner {
    /// The key's id, as minisign prints it.
    #[schema(example = "6A1F0D2C3B4E5F60")]
    pub(super) key: String,
    /// The comment that was signed with the file.
    pub(super) comment: String,
}

impl From<Signer> for WireSigner {
    fn from(Signer { key, comment }: Signer) -> Self {
        Self { key, comment }
    }
}

/// Why a version serves that a start would not find as it is.
pub(super) fn why(is_stale: bool, unsigned: Option<String>) -> Option<String> {
    let gone = "its file is gone, or is another one now; it is served from the archive until nothing names it";
    let why: Vec<String> = is_stale.then(|| gone.to_owned()).into_iter().chain(unsigned).collect();
    (!why.is_empty()).then(|| why.join("; "))
}

/// The loaded version of an artifact; none where it is not the one that its name stands for.
pub(super) fn loaded<'v>(active: &'v VersionsByPin, status: &ArtifactStatus) -> Option<&'v Arc<Plugin>> {
    active.get(status.pin.as_ref()?).filter(|plugin| *plugin.id.digest == *status.digest)
}

/// Every artifact.
pub(super) async fn plugins(State(service): State<Arc<Service>>) -> Result<Response, Problem> {
    let (active, now_ms) = (service.folder.active(), service.clock.now_ms());
    let users = users(&service);
    let plugin = |status: ArtifactStatus| {
        let used_by = status.pin.as_ref().and_then(|pin| users.get(&pin.to_string())).cloned();
        WirePlugin::of(status, &active, used_by.unwrap_or_default(), now_ms)
    };
    let (plugins, left_out) = within_bytes(service.folder.statuses().into_iter().map(plugin))?;
    answer(&service, json!({ "plugins": plugins, "left_out": left_out })).await
}

/// The first of a list's items, as many as its bytes allow, and the number of the others.
pub(super) fn within_bytes<T: Serialize>(
    items: impl IntoIterator<Item = T>,
) -> Result<(Vec<Box<RawValue>>, usize), Problem> {
    let (mut shown, mut bytes, mut left_out) = (Vec::new(), 0, 0);
    for item in items {
        if bytes >= MAX_LIST_BYTES {
            left_out += 1;
            continue;
        }
        let item = serde_json::value::to_raw_value(&item).map_err(|_| internal())?;
        bytes += item.get().len();
        shown.push(item);
    }
    Ok((shown, left_out))
}

/// The deployment in force, and what of the files is not. Of decision points, those that the caller may see.
pub(super) async fn deployment(
    State(service): State<Arc<Service>>,
    caller: Caller,
) -> Result<Json<serde_json::Value>, Problem> {
    let (deployment, status) = (service.deployment.load(), service.status.load());
    let mut points: Vec<_> = deployment.points.values().filter(|point| caller.reaches(&point.name).is_ok()).collect();
    points.sort_by_key(|point| point.name.clone());
    let loading = service.folder.loading();
    let shared = Arc::clone(&service);
    let served = service.lanes.compute(move || shared.traffic.served(&shared.metrics)).await?;
    Ok(Json(json!({
        "generation": deployment.generation,
        "config_error": status.config_error,
        "restart_required": status.restart_required,
        "tls_error": status.tls_error,
        "plugins_error": status.plugins_error,
        "experiments_error": status.experiments_error,
        "archive_error": status.archive_error,
        "ledger_error": service.ledger.trouble().map(|trouble| trouble.to_string()),
        "warnings": status.warnings,
        "clock_doubt": service.clock_guard.doubt(),
        "durability": durability(service.ledger.durability()),
        "decision_points": points.iter().map(|point| json!({
            "name": &*point.name,
            "strategy": point.pin.to_string(),
            "digest": point.strategy.as_ref().map(|arm| arm.plugin.id.digest.to_string()),
            "unready": point.unready.as_deref().map(|why| with_progress(why, &point.pin, &loading)),
            "experiments": point.experiments.iter().map(|e| e.routed.id.to_string()).collect::<Vec<_>>(),
            "traffic": served.points.get(&*point.name),
        })).collect::<Vec<_>>(),
        "models": status.models.iter().map(|model| json!({
            "id": model.id, "digest": model.digest, "error": model.error, "stale": model.stale,
            "signer": model.signer, "why": model.unsigned,
        })).collect::<Vec<_>>(),
        // Counted over all points.
        "degraded": (!caller.is_limited()).then_some(&served.degraded),
        "requests_in_flight": service.in_flight(),
        "waiting_decisions": service.pool.waiting(),
    })))
}

/// Why a version is missing, with how far its load is: the deployment's own text has no time, since it
/// would be another deployment every second.
pub(super) fn with_progress(why: &str, pin: &Pin, loading: &[(Pin, LoadProgress)]) -> String {
    match loading.iter().find(|(known, _)| known == pin) {
        Some((_, progress)) => why.replace(COMPILING, &progress.to_string()),
        None => why.to_owned(),
    }
}

/// What the ledger's setting is, and what each kind of row survives under it.
fn durability(durability: Durability) -> serde_json::Value {
    let survives: serde_json::Map<_, _> =
        durability.survives().into_iter().map(|(what, survives)| (what.to_owned(), survives.into())).collect();
    json!({ "setting": durability.as_str(), "survives": survives })
}

/// Which decisions to list.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    unit: Option<String>,
    point: Option<String>,
    since: Option<String>,
    limit: Option<u32>,
    before: Option<String>,
}

/// Bytes of a list. What is beyond them is another page.
pub(super) const MAX_LIST_BYTES: usize = 8 << 20;

/// What [`parse_time`] takes.
pub const TIMES: &str = "RFC 3339, like 2026-11-23T07:00:00Z; how long ago, like 1h; or milliseconds since 1970";

/// A time in a query: RFC 3339, how long before `now_ms`, or milliseconds since the Unix epoch.
pub fn parse_time(text: &str, now_ms: u64) -> Option<u64> {
    let at = || u64::try_from(text.parse::<jiff::Timestamp>().ok()?.as_millisecond()).ok();
    let ago = || Some(now_ms.saturating_sub(duration_ms(text).ok()?));
    let ms = text.parse().ok().or_else(at).or_else(ago);
    // The ledger counts in signed numbers. No time that a clock shows comes near the bound.
    ms.filter(|ms| i64::try_from(*ms).is_ok())
}

/// The record's JSON, where it is what was stored and its row says the same.
/// With whose credential asked for the decision, which its digest does not cover.
fn raw(record: &StoredRecord) -> Result<Box<RawValue>, RecordError> {
    let altered = |e: serde_json::Error| RecordError::Altered(e.to_string());
    let (mut json, identity) = (record.json()?, serde_json::to_string(&record.identity()).map_err(altered)?);
    if let Some(end) = json.rfind('}') {
        json.insert_str(end, &format!(",\"identity\":{identity}"));
    }
    RawValue::from_string(json).map_err(altered)
}

/// A record that cannot be given out, in its place in a list.
#[derive(Serialize)]
struct Unreadable {
    decision_id: String,
    error: Problem,
}

impl From<RecordError> for Problem {
    fn from(error: RecordError) -> Self {
        match error {
            RecordError::Expired => Self::new(StatusCode::GONE, "record-expired", error.to_string()),
            RecordError::Altered(why) => Self::new(StatusCode::INTERNAL_SERVER_ERROR, "record-altered", why),
        }
    }
}

/// A page of decisions.
#[derive(Default, Serialize)]
struct DecisionPage {
    decisions: Vec<Box<RawValue>>,
    /// What to send as `before` for the next page; null where this is the last.
    next: Option<String>,
}

impl DecisionPage {
    /// Reads a page: at most `limit` records and about [`MAX_LIST_BYTES`] of them, one at least.
    fn read(
        ledger: &LedgerReader,
        filter: &DecisionFilter,
        before: Option<&str>,
        limit: u32,
    ) -> Result<Self, LedgerError> {
        let (mut page, mut bytes, mut last) = (Self::default(), 0, String::new());
        ledger.newest(filter, before, |record| {
            if page.decisions.len() == limit as usize || bytes >= MAX_LIST_BYTES {
                page.next = Some(std::mem::take(&mut last));
                return false;
            }
            // A broken record is an item of its own, and hides none of the others.
            let shown = raw(&record).or_else(|error| {
                serde_json::value::to_raw_value(&Unreadable {
                    decision_id: record.decision_id.clone(),
                    error: error.into(),
                })
            });
            last = record.decision_id;
            if let Ok(shown) = shown {
                bytes += shown.get().len();
                page.decisions.push(shown);
            }
            true
        })?;
        Ok(page)
    }
}

/// The decision before which a page begins, where one is named.
pub(super) fn older_than(before: Option<String>) -> Result<Option<String>, Problem> {
    match before.as_deref().is_none_or(is_decision_id) {
        true => Ok(before),
        false => Err(Problem::invalid("before", "before: valid: `next` of the page before")),
    }
}

/// The newest decisions that match.
pub(super) async fn decisions(
    State(service): State<Arc<Service>>,
    caller: Caller,
    query: Result<Query<ListQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, Problem> {
    let Query(query) = query.map_err(|e| unfit_query(&e))?;
    let since_ms = match query.since {
        None => None,
        Some(text) => Some(
            parse_time(&text, service.clock.now_ms())
                .ok_or_else(|| Problem::invalid("since", format!("since: valid: {TIMES}")))?,
        ),
    };
    let limit = query.limit.unwrap_or(100);
    if !(1..=1000).contains(&limit) {
        return Err(Problem::invalid("limit", "limit: valid: 1 to 1000"));
    }
    match &query.point {
        Some(point) => caller.reaches(point)?,
        None => caller.reaches_all("reading decisions without naming a point")?,
    }
    let before = older_than(query.before)?;
    let filter = DecisionFilter { unit: query.unit, point: query.point, since_ms, until_ms: None };
    let of_point = undeclared(&service, &filter);
    let page = read(&service, move |service, budget| {
        service.ledger.bounded(budget, |ledger| {
            let page = DecisionPage::read(ledger, &filter, before.as_deref(), limit)?;
            // A point that was taken out of serin.toml still has its records.
            let is_unknown = match of_point.filter(|_| page.decisions.is_empty()) {
                Some(any) => DecisionPage::read(ledger, &any, None, 1)?.decisions.is_empty(),
                None => false,
            };
            Ok::<_, LedgerError>((page, is_unknown))
        })
    });
    let (page, is_unknown) = page.await??;
    if is_unknown {
        return Err(unknown_point(&service, &caller));
    }
    answer(&service, page).await
}

/// A filter of everything at the point that another one names, where the deployment does not have that.
fn undeclared(service: &Service, filter: &DecisionFilter) -> Option<DecisionFilter> {
    let point = filter.point.clone().filter(|point| !service.deployment.load().points.contains_key(point.as_str()))?;
    Some(DecisionFilter { point: Some(point), ..DecisionFilter::default() })
}

fn unknown_point(service: &Service, caller: &Caller) -> Problem {
    let deployment = service.deployment.load();
    let mut known: Vec<&str> =
        deployment.points.keys().map(|name| &**name).filter(|name| caller.reaches(name).is_ok()).collect();
    known.sort_unstable();
    Problem::invalid(
        "point",
        format!("point: no decision point of this name, and no record of one; valid: {}", known.join(", ")),
    )
}

/// Runs a read of the admin listener, in the lane and the time of those.
pub(super) async fn read<T: Send + 'static>(
    service: &Arc<Service>,
    work: impl FnOnce(&Service, Budget) -> T + Send + 'static,
) -> Result<T, Problem> {
    let shared = Arc::clone(service);
    service.lanes.read(move |budget| work(&shared, budget)).await
}

/// Runs a command of the admin listener, in a lane that reads do not take.
pub(super) async fn blocking<T: Send + 'static>(
    service: &Arc<Service>,
    work: impl FnOnce(&Service) -> T + Send + 'static,
) -> Result<T, Problem> {
    let shared = Arc::clone(service);
    service.lanes.command(move || work(&shared)).await
}

/// A large answer in JSON, whose bytes count among those in flight until they are sent.
pub(super) async fn answer<T: Serialize + Send + 'static>(
    service: &Arc<Service>,
    value: T,
) -> Result<Response, Problem> {
    let bytes = service.lanes.compute(move || serde_json::to_vec(&value)).await?.map_err(|_| internal())?;
    sent(service, bytes, "application/json")
}

/// A large answer, whose bytes count among those in flight until they are sent.
pub(super) fn sent(service: &Service, bytes: Vec<u8>, content_type: &'static str) -> Result<Response, Problem> {
    let mut held = service.bytes.nothing();
    if !held.grow(bytes.len()) {
        return Err(no_room());
    }
    Ok(([(header::CONTENT_TYPE, content_type)], counted(bytes, held)).into_response())
}

/// The stored record of a decision that the caller may read.
pub(super) async fn find(service: &Arc<Service>, caller: &Caller, id: String) -> Result<StoredRecord, Problem> {
    let found = read(service, move |service, budget| service.ledger.bounded(budget, |ledger| ledger.decision(&id)));
    let found = found.await??.filter(|found| caller.reaches(found.point()).is_ok());
    found.ok_or_else(|| caller.nowhere("unknown-decision", "decision of this id is recorded", &[]))
}

/// The whole record of a decision.
pub(super) async fn decision(
    State(service): State<Arc<Service>>,
    caller: Caller,
    InPath(id): InPath<String>,
) -> Result<Response, Problem> {
    let record = find(&service, &caller, id).await?;
    let shown = service.lanes.compute(move || raw(&record)).await??;
    sent(&service, shown.get().as_bytes().to_vec(), "application/json")
}

/// What a replay found.
#[derive(Serialize)]
pub struct WireReplay {
    pub(super) identical: bool,
    pub(super) environmental: u32,
    pub(super) differences: Vec<FieldDifference>,
    /// What of the routing could not be computed again, and why.
    pub(super) not_recomputed: Option<String>,
}

/// Runs a decision again.
pub(super) async fn replay(
    State(service): State<Arc<Service>>,
    caller: Caller,
    InPath(id): InPath<String>,
) -> Result<Json<WireReplay>, Problem> {
    let stored = find(&service, &caller, id).await?;
    run_again(&service, stored).await.map(Json)
}

/// Runs the decision of a record again.
pub(super) async fn run_again(service: &Arc<Service>, stored: StoredRecord) -> Result<WireReplay, Problem> {
    // Closed only when the host is gone.
    let _place =
        service.replays.acquire().await.map_err(|_| Problem::unavailable("stopping", "the host is stopping"))?;
    let shared = Arc::clone(service);
    let run = move || {
        let service = shared;
        let record = match stored.parse() {
            Ok(record) => record,
            Err(why) => return ReplayResult::NotReplayable(why.to_string()),
        };
        service.versions.replay(&record)
    };
    let verdict = service.lanes.compute(run).await?;
    match verdict {
        ReplayResult::Identical { environmental, not_recomputed } => {
            Ok(WireReplay { identical: true, environmental, differences: Vec::new(), not_recomputed })
        }
        ReplayResult::Different(differences) => {
            Ok(WireReplay { identical: false, environmental: 0, differences, not_recomputed: None })
        }
        ReplayResult::NotReplayable(why) => Err(Problem::new(StatusCode::CONFLICT, "not-replayable", why)),
    }
}

/// Prometheus text.
pub(super) async fn metrics(State(service): State<Arc<Service>>) -> Result<Response, Problem> {
    let statuses = service.folder.statuses();
    for state in ["active", "loading", "failed", "retired"] {
        let count = statuses.iter().filter(|status| status.state.as_str() == state).count();
        service.metrics.artifacts.get_or_create(&StateLabels { state: state.to_owned() }).set(count as i64);
    }
    service.metrics.generation.set(service.deployment.load().generation as i64);
    service.metrics.requests_in_flight.set(service.in_flight() as i64);
    service.metrics.waiting_decisions.set(service.pool.waiting() as i64);
    service.metrics.live_versions.set(crate::registry::live_versions() as i64);
    service.metrics.bytes_in_flight.set(service.bytes.held() as i64);
    // Apart from reads, however long those take.
    let shared = Arc::clone(&service);
    let text = service.lanes.compute(move || shared.metrics.encode()).await?;
    Ok(([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text).into_response())
}
