//! `GET /v1/decisions/{id}/summary`: a decision without what is a person's. Who may `read` and not `audit` sees this
//! much of a record, as JSON and as a page, and nothing is drawn for them from anything else.
//!
//! What a request, a row, a score or an outcome holds is left out, and so is what is computed from an id or from
//! values: the place in a layer, probabilities of candidates, fuel, and texts that a strategy or an expression wrote.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use serin_core::record::{
    Assignment, Attempt, FeatureRow, Outcome, Record, Role, Routing, RowStatus, ScoreRecord, ServedBy, StrategyId,
};
use serin_core::value::Value;
use utoipa::ToSchema;

use super::access::Caller;
use super::admin::{answer, find, rfc3339};
use super::consequences::consequences;
use super::wire::InPath;
use super::{Problem, Service};
use crate::ledger::{Consequence, Consequences, StoredRecord};

/// A decision without ids, values and scores.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct MaskedDecision {
    pub(super) decision_id: String,
    pub(super) decision_point: String,
    #[serde(skip)]
    pub(super) time_ms: u64,
    /// When it was made.
    at: String,
    /// The deployment generation that served it.
    generation: u64,
    /// The kinds of the entities that it is about.
    pub(super) entities: Vec<String>,
    /// The names of the request's context.
    pub(super) context: Vec<String>,
    /// The features that were read.
    pub(super) features: Vec<MaskedFeature>,
    pub(super) routing: MaskedRouting,
    /// The runs, in order.
    pub(super) attempts: Vec<MaskedAttempt>,
    pub(super) answer: MaskedAnswer,
    #[serde(skip)]
    pub(super) exposed_ms: Option<u64>,
    /// When its result was seen; null if nobody said so.
    #[schema(required)]
    exposed_at: Option<String>,
    /// What was posted about it, and about its entities since it was made, and what took that back, oldest first.
    pub(super) outcomes: Vec<MaskedOutcome>,
    /// More was posted than is listed.
    pub(super) is_cut: bool,
}

/// A feature without its value.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct MaskedFeature {
    pub(super) view: String,
    /// The column; null where the view has no row for the entity and no column is known.
    #[schema(required)]
    pub(super) name: Option<String>,
    /// `present`, `missing`, `stale` or `error`.
    #[schema(value_type = String)]
    pub(super) status: RowStatus,
    /// How old the value was, in milliseconds; null without one.
    #[schema(required)]
    pub(super) age_ms: Option<u64>,
}

/// How a unit was routed, without its id and its place.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct MaskedRouting {
    pub(super) layer: String,
    /// The kind of the unit; null where the request names none of the layer's.
    #[schema(required)]
    pub(super) unit: Option<String>,
    /// Why the decision point's `exclude` kept it out: `excluded`, `missing: REFERENCE` or `not evaluated`.
    #[schema(required)]
    pub(super) excluded: Option<String>,
    pub(super) held_out: bool,
    pub(super) held_out_globally: bool,
    /// The experiment whose slot contains the unit, where it did not enrol it.
    #[schema(required)]
    pub(super) not_enrolled: Option<MaskedNotEnrolled>,
    #[schema(required)]
    pub(super) assignment: Option<MaskedAssignment>,
}

/// An experiment that did not enrol a unit.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct MaskedNotEnrolled {
    pub(super) experiment: String,
    /// `not_eligible`, `missing: REFERENCE` or `not evaluated`.
    pub(super) why: String,
}

/// The unit's experiment and arm.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct MaskedAssignment {
    pub(super) experiment: String,
    pub(super) arm: String,
    pub(super) phase: u32,
    /// The share of the slot in use.
    pub(super) coverage: f64,
    /// The arm's share of the units that are admitted.
    pub(super) propensity: f64,
    #[schema(required)]
    pub(super) batch: Option<u32>,
    pub(super) shipped: bool,
    pub(super) dropped: bool,
    pub(super) forced: bool,
}

/// A strategy's version.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct MaskedStrategy {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) digest: String,
}

/// One run of one version.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct MaskedAttempt {
    /// `arm`, `strategy` or `fallback_strategy`.
    #[schema(value_type = String)]
    pub(super) role: Role,
    pub(super) strategy: MaskedStrategy,
    /// `answer`, `refusal`, or the kind of its failure.
    pub(super) outcome: &'static str,
    /// The reason code with which it declined; null where it did not.
    #[schema(required)]
    pub(super) refusal: Option<String>,
    pub(super) time_us: u64,
    pub(super) scores: Vec<MaskedScore>,
}

/// A score without its value.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct MaskedScore {
    /// The model and its version.
    #[schema(example = "default-risk@1.0.0")]
    pub(super) model: String,
    /// Why there is no score; null where it was computed.
    #[schema(required)]
    pub(super) error: Option<String>,
}

/// The answer, with what can be told of it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct MaskedAnswer {
    pub(super) action: String,
    /// The names of the action's parameters.
    pub(super) parameters: Vec<String>,
    /// The reasons in the manifest's words, most important first.
    pub(super) reasons: Vec<MaskedReason>,
    /// The strategy that served; null where the fallback action or a constraint did.
    #[schema(required)]
    pub(super) strategy: Option<MaskedStrategy>,
    /// `arm`, `strategy`, `fallback_strategy`, `fallback_action` or `constraint`.
    #[schema(value_type = String)]
    pub(super) served_by: ServedBy,
    /// What was not as it should be.
    pub(super) degraded: Vec<String>,
}

/// A reason.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct MaskedReason {
    pub(super) code: String,
    pub(super) text: String,
}

/// An outcome without its id and value.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct MaskedOutcome {
    pub(super) name: String,
    #[serde(skip)]
    pub(super) at_ms: Option<u64>,
    /// When it happened; null where its row was altered.
    #[schema(required)]
    at: Option<String>,
    /// The kind of entity that it is about; null where it is about the decision itself.
    #[schema(required)]
    pub(super) entity: Option<String>,
    /// It takes back another one.
    pub(super) takes_back: bool,
    /// Another one has taken it back: it counts for nothing.
    pub(super) is_taken_back: bool,
    #[serde(skip)]
    pub(super) taken_back_ms: Option<u64>,
    /// When that was; null where it stands.
    #[schema(required)]
    taken_back_at: Option<String>,
}

impl MaskedDecision {
    fn of(record: &Record, came_of_it: Consequences) -> Self {
        let Consequences { exposed_ms, outcomes, is_cut } = came_of_it;
        Self {
            decision_id: record.decision_id.clone(),
            decision_point: record.decision_point.to_string(),
            time_ms: record.time_ms,
            at: rfc3339(record.time_ms),
            generation: record.generation,
            entities: record.entities.keys().map(ToString::to_string).collect(),
            context: record.context.keys().map(ToString::to_string).collect(),
            features: record.features.iter().flat_map(|(view, row)| features(record, view, row)).collect(),
            routing: MaskedRouting::of(&record.routing),
            attempts: record.attempts.iter().map(MaskedAttempt::of).collect(),
            answer: MaskedAnswer::of(record),
            exposed_ms,
            exposed_at: exposed_ms.map(rfc3339),
            outcomes: outcomes.into_iter().map(MaskedOutcome::of).collect(),
            is_cut,
        }
    }
}

/// The status of a column as a reader understands it: a null in a row that is there is a missing value.
pub(super) fn column_status(row: &FeatureRow, column: &str, known: &Value) -> RowStatus {
    match (row.status_of(column), known) {
        (RowStatus::Present, Value::Missing) => RowStatus::Missing,
        (status, _) => status,
    }
}

fn features(record: &Record, view: &str, row: &FeatureRow) -> Vec<MaskedFeature> {
    let columns = row.values.iter().map(|(column, known)| MaskedFeature {
        view: view.to_owned(),
        name: Some(column.to_string()),
        status: column_status(row, column, known),
        age_ms: row.event_time_of(column).map(|at_ms| record.time_ms.saturating_sub(at_ms)),
    });
    let columns: Vec<MaskedFeature> = columns.collect();
    match columns.is_empty() {
        true => vec![MaskedFeature { view: view.to_owned(), name: None, status: row.status, age_ms: None }],
        false => columns,
    }
}

/// A reason of routing, unless it is the message of an expression, which can hold values.
fn told(why: &str) -> String {
    match why {
        "excluded" | "not_eligible" => why.to_owned(),
        why if why.starts_with("missing: ") => why.to_owned(),
        _ => "not evaluated".to_owned(),
    }
}

impl MaskedRouting {
    pub(super) fn of(routing: &Routing) -> Self {
        Self {
            layer: routing.layer.to_string(),
            unit: routing.unit.as_ref().map(|unit| unit.kind.to_string()),
            excluded: routing.excluded.as_deref().map(told),
            held_out: routing.held_out,
            held_out_globally: routing.held_out_globally,
            not_enrolled: routing
                .not_enrolled
                .as_ref()
                .map(|not| MaskedNotEnrolled { experiment: not.experiment.to_string(), why: told(&not.why) }),
            assignment: routing.assignment.as_ref().map(MaskedAssignment::of),
        }
    }
}

impl MaskedAssignment {
    fn of(assignment: &Assignment) -> Self {
        Self {
            experiment: assignment.experiment.to_string(),
            arm: assignment.arm.to_string(),
            phase: assignment.phase,
            coverage: assignment.coverage,
            propensity: assignment.propensity,
            batch: assignment.batch,
            shipped: assignment.shipped,
            dropped: assignment.dropped,
            forced: assignment.forced,
        }
    }
}

impl MaskedStrategy {
    fn of(id: &StrategyId) -> Self {
        Self { name: id.name.to_string(), version: id.version.to_string(), digest: id.digest.to_string() }
    }
}

impl MaskedAttempt {
    fn of(attempt: &Attempt) -> Self {
        let score = |score: &ScoreRecord| {
            let failed = score.value.is_none().then(|| score.error.as_deref().unwrap_or("none").to_owned());
            MaskedScore { model: score.model.to_string(), error: failed }
        };
        Self {
            role: attempt.role,
            strategy: MaskedStrategy::of(&attempt.strategy),
            // Messages and details are the strategy's own words.
            outcome: attempt.outcome.label(),
            refusal: match &attempt.outcome {
                Outcome::Refusal { code, .. } => Some(code.to_string()),
                Outcome::Candidates(_) | Outcome::Failure { .. } => None,
            },
            time_us: attempt.time_us,
            scores: attempt.scores.iter().map(score).collect(),
        }
    }
}

impl MaskedAnswer {
    fn of(record: &Record) -> Self {
        let answer = &record.answer;
        let reasons = answer.reasons.iter();
        Self {
            action: answer.action.to_string(),
            parameters: answer.parameters.keys().map(ToString::to_string).collect(),
            reasons: reasons.map(|r| MaskedReason { code: r.code.to_string(), text: r.text.to_string() }).collect(),
            strategy: answer.strategy.as_ref().map(MaskedStrategy::of),
            served_by: answer.served_by,
            degraded: answer.degraded.clone(),
        }
    }
}

impl MaskedOutcome {
    fn of(outcome: Consequence) -> Self {
        let taken_back_ms = outcome.taken_back.as_ref().and_then(|taken| taken.at_ms);
        Self {
            name: outcome.name,
            at_ms: outcome.at_ms,
            at: outcome.at_ms.map(rfc3339),
            entity: outcome.entity,
            takes_back: outcome.reverses.is_some(),
            is_taken_back: outcome.taken_back.is_some(),
            taken_back_ms,
            taken_back_at: taken_back_ms.map(rfc3339),
        }
    }
}

/// The decision of a stored record, masked.
pub(super) async fn masked(service: &Arc<Service>, stored: StoredRecord) -> Result<MaskedDecision, Problem> {
    let record = service.lanes.compute(move || stored.parse()).await??;
    let came_of_it = consequences(service, &record).await?;
    Ok(MaskedDecision::of(&record, came_of_it))
}

/// A decision without what is a person's.
pub(super) async fn show(
    State(service): State<Arc<Service>>,
    caller: Caller,
    InPath(id): InPath<String>,
) -> Result<Response, Problem> {
    let stored = find(&service, &caller, id).await?;
    let shown = masked(&service, stored).await?;
    answer(&service, shown).await
}
