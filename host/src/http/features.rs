//! `POST /v1/features/{view}` and `GET /v1/features/{view}/{entity}`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serin_core::unique;
use serin_core::value::Value;
use utoipa::ToSchema;

use super::access::Caller;
use super::error::BodyRefusal;
use super::wire::{Body, InPath, Object, WireValue};
use super::{Problem, Service};
use crate::deployment::ViewSpec;
use crate::features::{FeatureInput, MAX_PUSH_ROWS, StoreError};

/// Rows for a feature view.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WireRows {
    /// The rows; all are written, or none.
    #[serde(deserialize_with = "Object::list")]
    #[schema(max_items = 10000)]
    rows: Vec<WireRow>,
}

/// A row.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WireRow {
    /// The entity's id.
    #[schema(min_length = 1, max_length = 256)]
    entity: String,
    /// When the values were true, RFC 3339.
    #[schema(value_type = String, format = DateTime)]
    event_time: String,
    /// The values by column. Null clears a column; one left out stays as it is.
    #[serde(deserialize_with = "unique::keys")]
    #[schema(value_type = std::collections::HashMap<String, WireValue>)]
    values: IndexMap<String, Value>,
}

/// What became of pushed rows.
#[derive(Debug, Serialize, ToSchema)]
pub struct WireUpserted {
    /// Rows of which at least one value was written.
    written: u64,
    /// Rows of which nothing was written, since all that they name is known of a newer event time.
    older: u64,
}

/// A view of entities that the caller's decision points have.
fn view_of(service: &Service, caller: &Caller, view: &str) -> Result<Arc<ViewSpec>, Problem> {
    let (deployment, kinds) = (service.deployment.load(), caller.kinds(service));
    let is_seen = |spec: &&Arc<ViewSpec>| kinds.as_ref().is_none_or(|kinds| kinds.contains(&spec.entity));
    if let Some(found) = deployment.views.get(view).filter(is_seen) {
        return Ok(Arc::clone(found));
    }
    let mut known: Vec<&str> = deployment.views.values().filter(is_seen).map(|spec| &*spec.name).collect();
    known.sort_unstable();
    Err(service.refuse(caller.nowhere("unknown-feature-view", "feature view", &known)))
}

pub(super) fn failed(error: &StoreError) -> Problem {
    crate::telemetry::log_limited!(error, %error, "the feature store did not answer");
    Problem::unavailable("features-unavailable", "the feature store did not answer")
}

/// Writes rows.
#[utoipa::path(post, path = "/v1/features/{view}", tag = "features", request_body = WireRows,
    params(("view" = String, Path, description = "The feature view")),
    responses(
        (status = 200, description = "All rows were taken. Columns merge; in each, an older event time never overwrites a newer one", body = WireUpserted),
        (status = 404, description = "No such feature view", body = Problem, content_type = "application/problem+json"),
        BodyRefusal))]
pub(super) async fn push(
    State(service): State<Arc<Service>>,
    caller: Caller,
    InPath(view): InPath<String>,
    body: Body,
) -> Result<Json<WireUpserted>, Problem> {
    let spec = view_of(&service, &caller, &view)?;
    let wire: WireRows = body.parse_then(&service, |rows| rows).await.map_err(|p| service.refuse(p))?;
    if wire.rows.len() > MAX_PUSH_ROWS {
        return Err(service
            .refuse(Problem::invalid("rows", format!("rows: {} rows; at most {MAX_PUSH_ROWS}", wire.rows.len()))));
    }
    let now_ms = service.clock.now_ms();
    let shared = Arc::clone(&service);
    let identity = caller.name();
    let write = move || {
        // Its folder is the ledger's, and what is written where nobody finds it is lost.
        shared.ledger.check_place()?;
        let admit = |(i, row): (usize, WireRow)| {
            let admitted = spec.admit(row.entity, &row.event_time, row.values, now_ms);
            admitted
                .map_err(|why| Problem::invalid(format!("rows[{i}]"), format!("rows[{i}]: {why}; no row was written")))
        };
        let rows: Vec<FeatureInput> = wire.rows.into_iter().enumerate().map(admit).collect::<Result<_, _>>()?;
        shared.store.push(&spec.name, identity.as_deref(), rows).map_err(|e| failed(&e))
    };
    let written = service.lanes.push(write).await.and_then(|written| written).map_err(|p| service.refuse(p))?;
    Ok(Json(WireUpserted { written: written.written, older: written.older }))
}

/// What is known of an entity.
#[derive(Debug, Serialize, ToSchema)]
pub struct WireFeatures {
    /// The view.
    view: String,
    /// The entity's id.
    entity: String,
    /// When the newest of them was true.
    event_time: String,
    /// Seconds since then.
    age_s: u64,
    /// Each column: its value and its status, `present`, `missing` or `stale`.
    #[schema(value_type = std::collections::HashMap<String, WireFeature>)]
    values: IndexMap<String, WireFeature>,
}

/// A value and its status.
#[derive(Debug, Serialize, ToSchema)]
pub struct WireFeature {
    /// The value.
    #[schema(value_type = WireValue)]
    value: Value,
    /// `present`, `missing` or `stale`.
    status: &'static str,
    /// When it was true. Null for a missing value, unless another row than the newest left it empty.
    #[schema(required)]
    event_time: Option<String>,
}

/// Shows what is known of an entity.
pub(super) async fn show(
    State(service): State<Arc<Service>>,
    caller: Caller,
    InPath((view, entity)): InPath<(String, String)>,
) -> Result<Json<WireFeatures>, Problem> {
    let spec = view_of(&service, &caller, &view)?;
    let columns: Arc<[serin_core::Name]> = spec.columns.keys().cloned().collect();
    let (shared, name, key) = (Arc::clone(&service), spec.name.clone(), entity.clone());
    let rows = service.lanes.read(move |_| shared.store.read(&[(&name, &key, &columns)]));
    let rows = rows.await?.map_err(|e| failed(&e))?;
    let Some(Some(row)) = rows.into_iter().next() else {
        return Err(Problem::new(StatusCode::NOT_FOUND, "unknown-entity", "the view has no row of this entity"));
    };
    let now_ms = service.clock.now_ms();
    let age_ms = now_ms.saturating_sub(row.event_time_ms);
    let shown = |column: &str, value: &Value| {
        let own_time_ms = row.column_times_ms.get(column).copied();
        let (status, event_time_ms) = match value {
            // It may never have been sent, and then it has no time.
            Value::Missing => ("missing", own_time_ms),
            _ => {
                let event_time_ms = own_time_ms.unwrap_or(row.event_time_ms);
                (if spec.is_stale(event_time_ms, now_ms) { "stale" } else { "present" }, Some(event_time_ms))
            }
        };
        WireFeature { status, value: value.clone(), event_time: event_time_ms.map(super::admin::rfc3339) }
    };
    Ok(Json(WireFeatures {
        view,
        entity,
        event_time: super::admin::rfc3339(row.event_time_ms),
        age_s: age_ms / 1000,
        values: row.values.iter().map(|(column, value)| (column.to_string(), shown(column, value))).collect(),
    }))
}
