//! `GET /v1/features`: the feature views, as the console's page shows them.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use indexmap::IndexMap;
use serde::Serialize;
use serin_core::Name;
use utoipa::ToSchema;

use super::admin::rfc3339;
use super::features::failed;
use super::traffic::Served;
use super::{Problem, Service};
use crate::decide::{DeploymentSnapshot, Point};
use crate::deployment::ViewSpec;

/// A feature view: how fresh it is, where it is read, and what was not as it should be there lately.
#[derive(Serialize, ToSchema)]
pub(super) struct WireView {
    pub(super) name: String,
    /// The kind of entity that its rows are about.
    pub(super) entity: String,
    #[schema(required)]
    pub(super) ttl_ms: Option<u64>,
    /// The newest event time of its rows; null if it has no rows.
    #[schema(required)]
    newest: Option<String>,
    #[serde(skip)]
    pub(super) newest_ms: Option<u64>,
    /// Every row is older than the view's ttl.
    pub(super) is_stale: bool,
    /// No strategy and no condition may read it: analyses alone do.
    pub(super) analysis_only: bool,
    /// Its columns, each with its type.
    #[schema(value_type = std::collections::HashMap<String, String>)]
    pub(super) columns: IndexMap<String, String>,
    /// The decision points whose strategies, conditions or analyses read it.
    pub(super) decision_points: Vec<String>,
    /// Decisions there within the window of their traffic, of which the shares below are.
    pub(super) decisions: u64,
    /// By column: the share in which it was missing, and the default of a manifest took its place. Columns that never
    /// were are left out.
    pub(super) defaulted: BTreeMap<String, f64>,
    /// By column: the share in which it was older than the view or the manifest allows.
    pub(super) stale: BTreeMap<String, f64>,
    /// By column: the share in which it could not be read.
    pub(super) error: BTreeMap<String, f64>,
}

impl WireView {
    fn of(
        spec: &ViewSpec,
        newest_ms: Option<u64>,
        now_ms: u64,
        (deployment, served): (&DeploymentSnapshot, &Served),
    ) -> Self {
        let reads = |point: &&Arc<Point>| point.union.iter().any(|read| read.spec.name == spec.name);
        let mut decision_points: Vec<String> =
            deployment.points.values().filter(reads).map(|point| point.name.to_string()).collect();
        decision_points.sort_unstable();
        let decisions =
            decision_points.iter().map(|name| served.points.get(name).map_or(0, |point| point.decisions)).sum();
        let [defaulted, stale, error] =
            ["defaulted", "stale", "error"].map(|kind| shares(&spec.name, kind, decisions, served));
        Self {
            name: spec.name.to_string(),
            entity: spec.entity.to_string(),
            ttl_ms: spec.ttl_ms,
            newest: newest_ms.map(rfc3339),
            newest_ms,
            is_stale: newest_ms.is_some_and(|newest_ms| spec.is_stale(newest_ms, now_ms)),
            analysis_only: spec.analysis_only,
            columns: spec.columns.iter().map(|(name, kind)| (name.to_string(), kind.to_string())).collect(),
            decision_points,
            decisions,
            defaulted,
            stale,
            error,
        }
    }
}

/// The columns of a view of which decisions lately said this, each with its share of these decisions.
fn shares(view: &str, asked: &str, decisions: u64, served: &Served) -> BTreeMap<String, f64> {
    let of_view = served.degraded.iter().filter_map(|(what, n)| {
        let (column, kind) = what.strip_prefix("feature:")?.strip_prefix(view)?.strip_prefix('.')?.rsplit_once(':')?;
        (kind == asked).then(|| (column.to_owned(), *n as f64 / decisions.max(1) as f64))
    });
    of_view.collect()
}

/// The views about these kinds of entities, or all, by name. To find the newest row, all of a view are read.
pub(super) fn views(service: &Service, kinds: Option<&[Name]>) -> Result<Vec<WireView>, Problem> {
    let (deployment, served) = (service.deployment.load(), service.traffic.served(&service.metrics));
    let now_ms = service.clock.now_ms();
    let mut specs: Vec<_> = deployment.views.values().collect();
    specs.retain(|view| kinds.is_none_or(|kinds| kinds.contains(&view.entity)));
    specs.sort_by(|one, other| one.name.cmp(&other.name));
    let view = |spec: &Arc<ViewSpec>| {
        let newest_ms = service.store.newest(&spec.name).map_err(|error| failed(&error))?;
        Ok(WireView::of(spec, newest_ms, now_ms, (&deployment, &served)))
    };
    specs.into_iter().map(view).collect()
}

/// Every feature view. A read of its own, because of its cost.
pub(super) async fn list(State(service): State<Arc<Service>>) -> Result<Json<serde_json::Value>, Problem> {
    let shared = Arc::clone(&service);
    let views = service.lanes.read(move |_| views(&shared, None)).await??;
    Ok(Json(serde_json::json!({ "views": views })))
}
