//! `GET /v1/models`: the models, as the console's page shows them.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use super::admin::{WireSigner, answer, within_bytes};
use super::{Problem, Service};
use crate::decide::{DeploymentSnapshot, Point};
use crate::models::Model;
use crate::status::ModelStatus;

/// A model.
#[derive(Serialize, ToSchema)]
pub struct WireModel {
    /// Its name and version.
    #[schema(example = "default-risk@1.0.0")]
    pub(super) id: String,
    /// `in_force`; `from_archive` and `as_before` where it serves although its file is gone or has a mistake; `failed`;
    /// `not_loaded`.
    pub(super) state: &'static str,
    /// SHA-256 of the file in force.
    #[schema(required)]
    pub(super) digest: Option<String>,
    /// Why the file is not in force.
    #[schema(required)]
    pub(super) error: Option<String>,
    /// It serves from the archive, because the file is broken or gone.
    stale: bool,
    /// Who signed it; null if nobody who is trusted did.
    #[schema(required)]
    pub(super) signer: Option<WireSigner>,
    /// What is wrong with its signature, where it serves all the same.
    #[schema(required)]
    pub(super) why: Option<String>,
    /// What it showed when it was loaded, and how it does; null where it is not loaded.
    #[schema(required)]
    pub(super) loaded: Option<LoadedModel>,
}

/// A model that is loaded.
#[derive(Serialize, ToSchema)]
pub struct LoadedModel {
    /// The golden rows; a model is loaded only if every score agrees.
    pub(super) golden: GoldenResult,
    /// No run begins for now, because runs ended too late again and again.
    pub(super) breaker_open: bool,
    /// A decision may wait for it for as long as it has time.
    pub(super) slow: bool,
    /// Its inputs, in its own order.
    pub(super) inputs: Vec<String>,
    /// The decision points whose strategies and arms may ask it.
    pub(super) decision_points: Vec<String>,
    /// The model card: the text file beside the model, as of its load; null without one.
    #[schema(required)]
    pub(super) card: Option<String>,
}

/// How a model's scores compared with those that it was exported with.
#[derive(Serialize, ToSchema)]
pub struct GoldenResult {
    /// Rows whose scores agreed.
    pub(super) rows: u64,
    /// How far a score may be from the golden one.
    pub(super) tolerance: f64,
}

impl WireModel {
    fn of(status: &ModelStatus, deployment: &DeploymentSnapshot) -> Self {
        let loaded = deployment.models.values().find(|loaded| loaded.id.to_string() == status.id);
        Self {
            id: status.id.clone(),
            state: match (&status.error, loaded) {
                (Some(_), None) => "failed",
                (None, None) => "not_loaded",
                (_, Some(_)) if status.stale => "from_archive",
                (Some(_), Some(_)) => "as_before",
                (None, Some(_)) => "in_force",
            },
            digest: status.digest.clone(),
            error: status.error.clone(),
            stale: status.stale,
            signer: status.signer.clone().map(WireSigner::from),
            why: status.unsigned.clone(),
            loaded: loaded.map(|model| LoadedModel::of(model, deployment)),
        }
    }
}

impl LoadedModel {
    fn of(model: &Model, deployment: &DeploymentSnapshot) -> Self {
        let uses = |point: &&Arc<Point>| point.models.iter().any(|used| used.id == model.id);
        let points = deployment.points.values().filter(uses);
        let mut decision_points: Vec<String> = points.map(|point| point.name.to_string()).collect();
        decision_points.sort_unstable();
        Self {
            golden: GoldenResult { rows: model.golden_rows as u64, tolerance: model.golden_tolerance },
            breaker_open: model.is_resting(),
            slow: model.is_slow(),
            inputs: model.inputs.iter().map(ToString::to_string).collect(),
            decision_points,
            card: model.card.clone(),
        }
    }
}

/// Every model that `serin.toml` declares.
pub(super) fn models(service: &Service) -> Vec<WireModel> {
    let (deployment, status) = (service.deployment.load(), service.status.load());
    status.models.iter().map(|model| WireModel::of(model, &deployment)).collect()
}

/// The models.
pub(super) async fn list(State(service): State<Arc<Service>>) -> Result<Response, Problem> {
    let (models, left_out) = within_bytes(models(&service))?;
    answer(&service, json!({ "models": models, "left_out": left_out })).await
}
