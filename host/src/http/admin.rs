//! The admin listener's reads, and replay.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;

use super::wire::InPath;
use super::{Problem, Service};
use crate::ledger::{DecisionFilter, StoredRecord};
use crate::replay::{Difference, ReplayResult};
use crate::telemetry::StateLabels;

/// A time as people read it.
pub(super) fn rfc3339(ms: u64) -> String {
    jiff::Timestamp::from_millisecond(ms as i64).map(|t| t.to_string()).unwrap_or_default()
}

/// An artifact.
#[derive(Serialize)]
pub struct WirePlugin {
    file: Option<String>,
    name: Option<String>,
    version: Option<String>,
    digest: String,
    state: &'static str,
    error: Option<String>,
    loaded_at: String,
    wit: Option<String>,
    stale: bool,
}

/// Every artifact.
pub(super) async fn plugins(State(service): State<Arc<Service>>) -> Json<serde_json::Value> {
    let plugins: Vec<WirePlugin> = service
        .folder
        .statuses()
        .into_iter()
        .map(|status| WirePlugin {
            name: status.pin.as_ref().map(|pin| pin.name.to_string()),
            version: status.pin.as_ref().map(|pin| pin.version.to_string()),
            file: status.file,
            digest: status.digest,
            state: status.state.as_str(),
            error: status.error,
            loaded_at: rfc3339(status.loaded_at_ms),
            wit: status.wit,
            stale: status.stale,
        })
        .collect();
    Json(json!({ "plugins": plugins }))
}

/// The deployment in force, and what of the files is not.
pub(super) async fn deployment(State(service): State<Arc<Service>>) -> Json<serde_json::Value> {
    let (deployment, status) = (service.deployment.load(), service.status.load());
    let mut points: Vec<_> = deployment.points.values().collect();
    points.sort_by_key(|point| point.name.clone());
    Json(json!({
        "generation": deployment.generation,
        "config_error": status.config_error,
        "restart_required": status.restart_required,
        "plugins_error": status.plugins_error,
        "experiments_error": status.experiments_error,
        "decision_points": points.iter().map(|point| json!({
            "name": &*point.name,
            "strategy": point.pin.to_string(),
            "digest": point.strategy.as_ref().map(|arm| arm.plugin.id.digest.to_string()),
            "unready": point.unready,
            "experiments": point.experiments.iter().map(|e| e.id.to_string()).collect::<Vec<_>>(),
        })).collect::<Vec<_>>(),
        "models": status.models.iter().map(|model| json!({
            "id": model.id, "digest": model.digest, "error": model.error, "stale": model.stale,
        })).collect::<Vec<_>>(),
        "requests_in_flight": service.in_flight(),
        "waiting_decisions": service.pool.waiting(),
    }))
}

/// Which decisions to list.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    unit: Option<String>,
    point: Option<String>,
    since: Option<String>,
    limit: Option<u32>,
}

/// A time in a query: RFC 3339, or milliseconds since the Unix epoch.
pub fn parse_time(text: &str) -> Option<u64> {
    let ms = text.parse().ok().or_else(|| u64::try_from(text.parse::<jiff::Timestamp>().ok()?.as_millisecond()).ok());
    // The ledger counts in signed numbers. No time that a clock shows comes near the bound.
    ms.filter(|ms| i64::try_from(*ms).is_ok())
}

fn raw(record: StoredRecord) -> Result<Box<RawValue>, Problem> {
    let text = record.json().ok().and_then(|json| String::from_utf8(json.into_owned()).ok());
    let text = text.and_then(|text| RawValue::from_string(text).ok());
    text.ok_or_else(|| {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "unreadable-record", "the stored record is not JSON")
    })
}

/// The newest decisions that match.
pub(super) async fn decisions(
    State(service): State<Arc<Service>>,
    query: Result<Query<ListQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, Problem> {
    let Query(query) = query.map_err(|e| Problem::invalid("", e.body_text()))?;
    let since_ms = match query.since {
        None => None,
        Some(text) => Some(
            parse_time(&text)
                .ok_or_else(|| Problem::invalid("since", "since: valid: RFC 3339, or milliseconds since 1970"))?,
        ),
    };
    let limit = query.limit.unwrap_or(100);
    if !(1..=1000).contains(&limit) {
        return Err(Problem::invalid("limit", "limit: valid: 1 to 1000"));
    }
    let filter = DecisionFilter { unit: query.unit, point: query.point, since_ms, until_ms: None };
    let records = blocking(&service, move |service| service.ledger.decisions(&filter, limit)).await??;
    let records: Vec<Box<RawValue>> = records.into_iter().map(raw).collect::<Result<_, _>>()?;
    #[derive(Serialize)]
    struct List {
        decisions: Vec<Box<RawValue>>,
    }
    Ok(Json(List { decisions: records }).into_response())
}

pub(super) async fn blocking<T: Send + 'static>(
    service: &Arc<Service>,
    work: impl FnOnce(&Service) -> T + Send + 'static,
) -> Result<T, Problem> {
    let service = Arc::clone(service);
    tokio::task::spawn_blocking(move || work(&service))
        .await
        .map_err(|_| Problem::unavailable("stopping", "the host is stopping"))
}

async fn find(service: &Arc<Service>, id: String) -> Result<StoredRecord, Problem> {
    let found = blocking(service, move |service| service.ledger.decision(&id)).await??;
    found.ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, "unknown-decision", "no decision of this id is recorded"))
}

/// The whole record of a decision.
pub(super) async fn decision(
    State(service): State<Arc<Service>>,
    InPath(id): InPath<String>,
) -> Result<Response, Problem> {
    Ok(Json(raw(find(&service, id).await?)?).into_response())
}

/// What a replay found.
#[derive(Serialize)]
pub struct WireReplay {
    identical: bool,
    environmental: u32,
    differences: Vec<Difference>,
}

/// Runs a decision again.
pub(super) async fn replay(
    State(service): State<Arc<Service>>,
    InPath(id): InPath<String>,
) -> Result<Json<WireReplay>, Problem> {
    let stored = find(&service, id).await?;
    // Closed only when the host is gone.
    let _place =
        service.replays.acquire().await.map_err(|_| Problem::unavailable("stopping", "the host is stopping"))?;
    let verdict = blocking(&service, move |service| {
        let record = match stored.parse() {
            Ok(record) => record,
            Err(why) => return ReplayResult::NotReplayable(why),
        };
        crate::replay::replay(&record, |digest| service.versions.get(digest), |digest| service.versions.spec(digest))
    })
    .await?;
    match verdict {
        ReplayResult::Identical { environmental } => {
            Ok(Json(WireReplay { identical: true, environmental, differences: Vec::new() }))
        }
        ReplayResult::Different(differences) => {
            Ok(Json(WireReplay { identical: false, environmental: 0, differences }))
        }
        ReplayResult::NotReplayable(why) => Err(Problem::new(StatusCode::CONFLICT, "not-replayable", why)),
    }
}

/// Prometheus text.
pub(super) async fn metrics(State(service): State<Arc<Service>>) -> Response {
    let statuses = service.folder.statuses();
    for state in ["active", "loading", "failed", "retired"] {
        let count = statuses.iter().filter(|status| status.state.as_str() == state).count();
        service.metrics.artifacts.get_or_create(&StateLabels { state: state.to_owned() }).set(count as i64);
    }
    service.metrics.generation.set(service.deployment.load().generation as i64);
    service.metrics.requests_in_flight.set(service.in_flight() as i64);
    service.metrics.waiting_decisions.set(service.pool.waiting() as i64);
    service.metrics.live_versions.set(crate::registry::live_versions() as i64);
    ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], service.metrics.encode())
        .into_response()
}
