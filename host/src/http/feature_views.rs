//! `GET /v1/features`: the feature views, as the console's page shows them.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use indexmap::IndexMap;
use serde::Serialize;
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
    /// Decisions there within the window of their traffic. The shares below are of those that asked for the column.
    pub(super) decisions: u64,
    /// By column that decisions asked for: the share in which it had no value, whether or not a default took its place.
    pub(super) missing: BTreeMap<String, f64>,
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
        let made = |point: &str| served.points.get(point).map_or(0, |point| point.decisions);
        let decisions = decision_points.iter().map(|name| made(name)).sum();
        let mut asked: BTreeMap<&str, u64> = BTreeMap::new();
        for point in deployment.points.values() {
            for read in point.union.iter().filter(|read| read.spec.name == spec.name) {
                for column in read.columns.iter() {
                    *asked.entry(column).or_default() += made(&point.name);
                }
            }
        }
        let missing = |(column, asked): (&&str, &u64)| {
            let n = served.missing.get(&format!("{}.{column}", spec.name)).copied().unwrap_or_default();
            ((*column).to_owned(), share(n, *asked))
        };
        let missing = asked.iter().filter(|(_, asked)| **asked > 0).map(missing).collect();
        let [defaulted, stale, error] =
            ["defaulted", "stale", "error"].map(|kind| shares(&spec.name, kind, &asked, served));
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
            missing,
            defaulted,
            stale,
            error,
        }
    }
}

/// A share of decisions. Counters are read one after the other, so it is bounded.
fn share(n: u64, of: u64) -> f64 {
    (n as f64 / of.max(1) as f64).min(1.0)
}

/// The columns of a view of which decisions lately said this, each with its share of the decisions that asked for it.
fn shares(view: &str, what: &str, asked: &BTreeMap<&str, u64>, served: &Served) -> BTreeMap<String, f64> {
    let of_view = served.degraded.iter().filter_map(|(said, n)| {
        let (column, kind) = said.strip_prefix("feature:")?.strip_prefix(view)?.strip_prefix('.')?.rsplit_once(':')?;
        let of = asked.get(column).copied().unwrap_or_default();
        (kind == what).then(|| (column.to_owned(), share(*n, of)))
    });
    of_view.collect()
}

/// The views by name. To find the newest row, all of a view are read.
pub(super) fn views(service: &Service) -> Result<Vec<WireView>, Problem> {
    let (deployment, served) = (service.deployment.load(), service.traffic.served(&service.metrics));
    let now_ms = service.clock.now_ms();
    let mut specs: Vec<_> = deployment.views.values().collect();
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
    let views = service.lanes.read(move |_| views(&shared)).await??;
    Ok(Json(serde_json::json!({ "views": views })))
}
