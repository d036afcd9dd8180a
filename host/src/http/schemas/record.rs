//! Schemas of a decision's record and of pages of them. The record itself is `serin_core::record`.

#![allow(dead_code, reason = "these types describe answers, and nothing makes them")]

use std::collections::HashMap;

use serde_json::Value;
use utoipa::openapi::schema::{AnyOfBuilder, Ref, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::http::Problem;
use crate::http::wire::WireValue;

/// A page of decisions, newest first.
#[derive(ToSchema)]
pub(in crate::http) struct DecisionRecords {
    decisions: Vec<DecisionItem>,
    /// `before` of the next page; null on the last one.
    #[schema(required)]
    next: Option<String>,
}

/// A record, or why it cannot be given out.
struct DecisionItem;

impl PartialSchema for DecisionItem {
    fn schema() -> utoipa::openapi::RefOr<Schema> {
        let item = |name| Ref::from_schema_name(name);
        Schema::AnyOf(AnyOfBuilder::new().item(item("DecisionRecord")).item(item("UnreadableRecord")).build()).into()
    }
}

impl ToSchema for DecisionItem {}

/// A record that cannot be given out.
#[derive(ToSchema)]
pub(in crate::http) struct UnreadableRecord {
    decision_id: String,
    error: Problem,
}

/// One decision with all of its inputs.
#[derive(ToSchema)]
pub(in crate::http) struct DecisionRecord {
    /// The schema version with which it was written.
    schema: u32,
    decision_id: String,
    #[schema(nullable = false)]
    trace_id: Option<String>,
    decision_point: String,
    /// When it was made, in milliseconds since the Unix epoch.
    time_ms: u64,
    utc_offset_minutes: i32,
    /// The deployment generation that served it.
    generation: u64,
    /// SHA-256 of the archived routing inputs.
    #[schema(nullable = false)]
    deployment: Option<String>,
    deadline_ms: u64,
    /// Ids by kind of entity.
    entities: HashMap<String, String>,
    context: HashMap<String, WireValue>,
    /// The rows that were read, by feature view.
    features: HashMap<String, FeatureRow>,
    routing: Routing,
    /// The runs, in order.
    attempts: Vec<Attempt>,
    /// The host's random bits for this decision, in hexadecimal.
    #[schema(pattern = "^[0-9a-f]{16}$")]
    entropy: String,
    answer: RecordedAnswer,
    /// Microseconds by stage.
    timings_us: HashMap<String, u64>,
    /// Whose credential asked for it; null without `[access]`.
    #[schema(required)]
    identity: Option<String>,
}

/// The row of a feature view as it was read for this decision.
#[derive(ToSchema)]
struct FeatureRow {
    #[schema(required)]
    entity: Option<String>,
    /// `present`, `missing`, `stale` or `error`.
    status: String,
    #[schema(nullable = false)]
    event_time_ms: Option<u64>,
    /// Event times of columns that are older than the row's.
    #[schema(nullable = false)]
    column_times_ms: Option<HashMap<String, u64>>,
    #[schema(nullable = false)]
    stale_columns: Option<Vec<String>>,
    values: HashMap<String, WireValue>,
}

/// How the unit was routed.
#[derive(ToSchema)]
struct Routing {
    /// Why the decision point's `exclude` kept it out.
    #[schema(nullable = false)]
    excluded: Option<String>,
    layer: String,
    #[schema(required)]
    unit: Option<Unit>,
    /// The unit's place in its layer.
    #[schema(nullable = false)]
    place: Option<f64>,
    #[schema(nullable = false)]
    held_out: Option<bool>,
    #[schema(nullable = false)]
    held_out_globally: Option<bool>,
    #[schema(nullable = false)]
    not_enrolled: Option<NotEnrolled>,
    #[schema(required)]
    assignment: Option<Assignment>,
}

/// A randomization unit.
#[derive(ToSchema)]
struct Unit {
    kind: String,
    id: String,
}

/// The experiment whose slot contains the unit, and why it did not enrol it.
#[derive(ToSchema)]
struct NotEnrolled {
    experiment: String,
    why: String,
}

/// The unit's experiment and arm.
#[derive(ToSchema)]
struct Assignment {
    experiment: String,
    arm: String,
    phase: u32,
    spec_digest: String,
    /// The share of the slot in use.
    coverage: f64,
    /// Probability of this arm for an admitted unit.
    propensity: f64,
    #[schema(nullable = false)]
    batch: Option<u32>,
    #[schema(nullable = false)]
    entered_ms: Option<u64>,
    #[schema(nullable = false)]
    shares: Option<Vec<f64>>,
    #[schema(nullable = false)]
    shipped: Option<bool>,
    #[schema(nullable = false)]
    dropped: Option<bool>,
    #[schema(nullable = false)]
    forced: Option<bool>,
}

/// One run of one version.
#[derive(ToSchema)]
struct Attempt {
    /// `arm`, `strategy` or `fallback_strategy`.
    role: String,
    strategy: RecordedStrategy,
    /// In the manifest's order.
    parameters: Vec<WireValue>,
    /// The limits granted, by name.
    limits: HashMap<String, u64>,
    /// Positions in the manifest of the features that took their default.
    #[schema(nullable = false)]
    defaulted: Option<Vec<u32>>,
    #[schema(nullable = false)]
    scores: Option<Vec<Score>>,
    /// The calls of models with their answers, in order.
    #[schema(nullable = false)]
    transcript: Option<Vec<Value>>,
    #[schema(nullable = false)]
    logs: Option<Vec<LogLine>>,
    /// Lines were cut off by the limit.
    #[schema(nullable = false)]
    logs_cut: Option<bool>,
    outcome: AttemptOutcome,
    #[schema(nullable = false)]
    normalized_from: Option<f64>,
    fuel: u64,
    time_us: u64,
}

/// A score that was computed before the run.
#[derive(ToSchema)]
struct Score {
    model: ScoreModel,
    digest: String,
    inputs: HashMap<String, WireValue>,
    #[schema(required)]
    value: Option<f64>,
    /// Why there is no score.
    #[schema(nullable = false)]
    error: Option<String>,
}

/// A model and its version.
#[derive(ToSchema)]
struct ScoreModel {
    name: String,
    version: String,
}

/// A line that the strategy logged.
#[derive(ToSchema)]
struct LogLine {
    level: String,
    message: String,
}

/// The outcome of a run: one of these keys.
#[derive(ToSchema)]
struct AttemptOutcome {
    #[schema(nullable = false)]
    candidates: Option<Vec<RecordedCandidate>>,
    #[schema(nullable = false)]
    refusal: Option<Refusal>,
    #[schema(nullable = false)]
    failure: Option<Failure>,
}

/// A proposed action.
#[derive(ToSchema)]
struct RecordedCandidate {
    action: String,
    probability: f64,
    parameters: HashMap<String, WireValue>,
    reasons: Vec<ReasonWeight>,
}

/// A reason code and its weight.
#[derive(ToSchema)]
struct ReasonWeight {
    code: String,
    weight: f64,
}

/// The strategy declined.
#[derive(ToSchema)]
struct Refusal {
    code: String,
    message: String,
}

/// The run gave no answer.
#[derive(ToSchema)]
struct Failure {
    /// `trap`, `fuel_exhausted`, `deadline` and others.
    kind: String,
    detail: String,
}

/// A strategy's version.
#[derive(ToSchema)]
struct RecordedStrategy {
    name: String,
    version: String,
    digest: String,
}

/// The answer, without ids.
#[derive(ToSchema)]
struct RecordedAnswer {
    action: String,
    parameters: HashMap<String, WireValue>,
    reasons: Vec<RecordedReason>,
    #[schema(required)]
    strategy: Option<RecordedStrategy>,
    propensity: f64,
    /// `arm`, `strategy`, `fallback_strategy`, `fallback_action` or `constraint`.
    served_by: String,
    degraded: Vec<String>,
}

/// A reason with its text.
#[derive(ToSchema)]
struct RecordedReason {
    code: String,
    text: String,
    weight: f64,
}

/// A replay's result.
#[derive(ToSchema)]
pub(in crate::http) struct Replay {
    identical: bool,
    /// Outcomes that the environment caused, and that did not recur.
    environmental: u32,
    differences: Vec<FieldDifference>,
    /// What of the routing could not be computed again, and why.
    #[schema(required)]
    not_recomputed: Option<String>,
}

/// A field whose value differs.
#[derive(ToSchema)]
struct FieldDifference {
    field: String,
    recorded: String,
    replayed: String,
}
