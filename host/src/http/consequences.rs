//! `GET /v1/decisions/{id}/outcomes`: what came of a decision.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use serin_core::record::Record;
use utoipa::ToSchema;

use super::access::Caller;
use super::admin::{answer, find, read, rfc3339};
use super::wire::InPath;
use super::{Problem, Service};
use crate::ledger::{Consequence, Consequences};

/// What came of a decision.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct WireConsequences {
    /// When its result was seen; null if nobody said so.
    #[schema(required)]
    exposed_at: Option<String>,
    /// What was posted about it, and about its entities since it was made, and what took that back, oldest first.
    outcomes: Vec<WireConsequence>,
    /// More was posted than is listed.
    is_cut: bool,
}

/// An outcome, or the reversal of one.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct WireConsequence {
    /// The sender's id for it.
    id: String,
    /// What happened; of a reversal, what is taken back.
    name: String,
    /// How much; null of a reversal, and where its row was altered.
    #[schema(required)]
    value: Option<f64>,
    /// When it happened; null where its row was altered.
    #[schema(required)]
    at: Option<String>,
    /// The kind of entity that it is about; null where it is about the decision itself.
    #[schema(required)]
    entity: Option<String>,
    /// The id of the outcome that it takes back.
    #[schema(required)]
    reverses: Option<String>,
    /// The id of the reversal that took it back: it counts for nothing. Null where it stands.
    #[schema(required)]
    taken_back_by: Option<String>,
    /// When that was.
    #[schema(required)]
    taken_back_at: Option<String>,
    /// Whose credential posted it; null without `[access]`.
    #[schema(required)]
    identity: Option<String>,
    /// What is wrong with its row.
    #[schema(required)]
    error: Option<String>,
}

impl From<Consequence> for WireConsequence {
    fn from(found: Consequence) -> Self {
        let Consequence { id, name, value, at_ms, entity, reverses, taken_back, identity, error } = found;
        let (by, taken_back_at) = taken_back.map(|taken| (taken.by, taken.at_ms.map(rfc3339))).unzip();
        let (taken_back_by, taken_back_at, at) = (by, taken_back_at.flatten(), at_ms.map(rfc3339));
        Self { id, name, value, at, entity, reverses, taken_back_by, taken_back_at, identity, error }
    }
}

/// What came of the decision of a record.
pub(super) async fn consequences(service: &Arc<Service>, record: &Record) -> Result<Consequences, Problem> {
    let (id, made_ms) = (record.decision_id.clone(), record.time_ms);
    let entities: Vec<(String, String)> =
        record.entities.iter().map(|(kind, id)| (kind.to_string(), id.clone())).collect();
    let found = read(service, move |service, budget| {
        let entities = entities.iter().map(|(kind, id)| (kind.as_str(), id.as_str()));
        service.ledger.bounded(budget, |ledger| ledger.consequences(&id, entities, made_ms))
    });
    Ok(found.await??)
}

/// What came of a decision.
pub(super) async fn show(
    State(service): State<Arc<Service>>,
    caller: Caller,
    InPath(id): InPath<String>,
) -> Result<Response, Problem> {
    let stored = find(&service, &caller, id).await?;
    let record = service.lanes.compute(move || stored.parse()).await??;
    let Consequences { exposed_ms, outcomes, is_cut } = consequences(&service, &record).await?;
    let outcomes = outcomes.into_iter().map(WireConsequence::from).collect();
    answer(&service, WireConsequences { exposed_at: exposed_ms.map(rfc3339), outcomes, is_cut }).await
}
