//! Schemas of the admin listener's answers that have no wire type of their own. `tests/openapi_fuzz.rs`
//! compares them with the answers of a running host, key by key.

#![allow(dead_code, reason = "these types describe answers, and nothing makes them")]

use std::collections::HashMap;

use serde_json::Value;
use utoipa::ToSchema;

use crate::http::admin::{WirePlugin, WireSigner};
use crate::http::attention::Matter;
use crate::http::audit::WireAuditEntry;
use crate::http::feature_views::WireView;
use crate::http::models::WireModel;
use crate::http::summary::Summary;
use crate::http::traffic::PointTraffic;
use crate::http::wire::WireValue;

/// The artifacts.
#[derive(ToSchema)]
pub(in crate::http) struct Plugins {
    plugins: Vec<WirePlugin>,
    /// Artifacts that the answer has no room for.
    left_out: u64,
}

/// What needs a person, the most urgent first.
#[derive(ToSchema)]
pub(in crate::http) struct Attention {
    matters: Vec<Matter>,
    /// Matters that the answer has no room for.
    left_out: u64,
}

/// The models.
#[derive(ToSchema)]
pub(in crate::http) struct Models {
    models: Vec<WireModel>,
    /// Models that the answer has no room for.
    left_out: u64,
}

/// Entries of the audit, newest first.
#[derive(ToSchema)]
pub(in crate::http) struct AuditEntries {
    entries: Vec<WireAuditEntry>,
    /// What to send as `before` for the next page; null where this is the last.
    #[schema(required)]
    next: Option<u64>,
}

/// The deployment in force, and what of the files is not.
#[derive(ToSchema)]
pub(in crate::http) struct Deployment {
    /// Counts the deployments that were in force.
    generation: u64,
    /// A mistake in `serin.toml` as it is now; the one before is in force.
    #[schema(required)]
    config_error: Option<String>,
    /// Keys of `serin.toml` that differ from those in force, and need a restart.
    restart_required: Vec<String>,
    /// Why the files of `[server.tls]` are not in force as they are now; those before are.
    #[schema(required)]
    tls_error: Option<String>,
    /// Why the plugins folder cannot be read.
    #[schema(required)]
    plugins_error: Option<String>,
    /// Why the experiments folder cannot be read.
    #[schema(required)]
    experiments_error: Option<String>,
    /// Why nothing new is in force: it could not be archived.
    #[schema(required)]
    archive_error: Option<String>,
    /// Why nothing can be recorded now: decisions at `must_log` points are refused.
    #[schema(required)]
    ledger_error: Option<String>,
    /// Settings in force that are probably mistakes.
    warnings: Vec<String>,
    /// Why the clock is not trusted.
    #[schema(required)]
    clock_doubt: Option<String>,
    durability: Durability,
    /// Those that the caller may see.
    decision_points: Vec<DecisionPoint>,
    models: Vec<Model>,
    /// What was not as it should be in decisions lately, and how often; null for roles that are limited to decision points,
    /// since it is counted over all of them.
    #[schema(required)]
    degraded: Option<HashMap<String, u64>>,
    requests_in_flight: u64,
    /// Decisions that wait for a thread.
    waiting_decisions: u64,
}

/// The failures that a commit survives.
#[derive(ToSchema)]
struct Durability {
    /// `process` or `power`.
    setting: String,
    /// By kind of row: what it survives.
    survives: HashMap<String, String>,
}

/// A decision point.
#[derive(ToSchema)]
struct DecisionPoint {
    name: String,
    /// The pinned strategy and its exact version.
    #[schema(example = "outreach-rules@1.0.0")]
    strategy: String,
    /// SHA-256 of its artifact; null if it is not loaded.
    #[schema(required)]
    digest: Option<String>,
    /// Why the pinned strategy does not serve.
    #[schema(required)]
    unready: Option<String>,
    /// Ids of the experiments that it routes to.
    experiments: Vec<String>,
    /// What it served lately; null before its first decision.
    #[schema(required)]
    traffic: Option<PointTraffic>,
}

/// A model.
#[derive(ToSchema)]
struct Model {
    /// Its name and version.
    #[schema(example = "default-risk@1.0.0")]
    id: String,
    /// SHA-256 of the file in force.
    #[schema(required)]
    digest: Option<String>,
    /// Why the file is not in force.
    #[schema(required)]
    error: Option<String>,
    /// It serves from the archive, because the file is broken or gone.
    stale: bool,
    /// Who signed it; null if nobody who is trusted did.
    #[schema(required)]
    signer: Option<WireSigner>,
    /// What is wrong with its signature, where it serves all the same.
    #[schema(required)]
    why: Option<String>,
}

/// The experiments.
#[derive(ToSchema)]
pub(in crate::http) struct Experiments {
    experiments: Vec<Experiment>,
    /// Experiments that the answer has no room for.
    left_out: u64,
}

/// An experiment.
#[derive(ToSchema)]
pub(in crate::http) struct Experiment {
    id: String,
    /// The name of its file, also if that is gone; empty where another experiment has the file now.
    file: String,
    state: String,
    phase: u32,
    /// The share of its slot in use.
    #[schema(required)]
    coverage: Option<f64>,
    /// Why it is in its state.
    why: String,
    /// Why its file is not applied.
    #[schema(required)]
    error: Option<String>,
    /// It runs by the last spec that was applied, because the file is broken or gone.
    stale: bool,
    warnings: Vec<String>,
    #[schema(required)]
    started_at: Option<String>,
    #[schema(required)]
    ended_at: Option<String>,
    #[schema(required)]
    winner: Option<String>,
    /// Counts the changes of its status; `If-Match` takes it.
    generation: u64,
    /// An edit of its file that waits for a person.
    #[schema(required)]
    pending: Option<Pending>,
    /// The arms' shares in the current batch; null if shares are fixed.
    #[schema(required)]
    shares: Option<Vec<f64>>,
    /// The spec that is applied.
    #[schema(required)]
    spec: Option<Spec>,
    /// How it stands, as of the host's last look; null where it takes no units.
    #[schema(required)]
    summary: Option<Summary>,
    /// Who approved the spec; of one experiment alone.
    #[schema(nullable = false)]
    approvals: Option<Vec<Approval>>,
    /// The approvals that are missing; of one experiment alone.
    lacks: Option<String>,
    /// The changes of its status, oldest first; of one experiment alone.
    #[schema(nullable = false)]
    history: Option<Vec<Change>>,
    /// Older changes that the answer has no room for; of one experiment alone.
    #[schema(nullable = false)]
    history_left_out: Option<u64>,
    /// How many came to its decision point lately; of one draft alone, and null where nobody did.
    at_point: Option<PointPace>,
}

/// At which pace units come to a decision point.
#[derive(ToSchema)]
struct PointPace {
    /// Different units a day.
    units_per_day: f64,
    /// The time that it is computed from, at most a day.
    paced_ms: u64,
}

/// An edit that waits for a person.
#[derive(ToSchema)]
struct Pending {
    spec_digest: String,
    changes: Vec<RuleChange>,
}

/// A key that differs between the spec in force and the file.
#[derive(ToSchema)]
struct RuleChange {
    #[schema(example = "guardrails.failures.max_increase")]
    key: String,
    #[schema(required)]
    old: Option<String>,
    #[schema(required)]
    new: Option<String>,
    /// What the change does.
    effect: String,
}

/// A spec.
#[derive(ToSchema)]
struct Spec {
    id: String,
    decision_point: String,
    owner: String,
    slot: [f64; 2],
    salt: String,
    #[schema(required)]
    eligible: Option<String>,
    control: String,
    ramp: Vec<RampStep>,
    arms: Vec<Arm>,
    shadows: Vec<Shadow>,
    /// `ship` or `hold`.
    on_success: String,
    holdback: f64,
    min_duration_ms: u64,
    #[schema(required)]
    max_duration_ms: Option<u64>,
    metrics: Vec<MetricName>,
    guardrails: Vec<String>,
    /// SHA-256 of the file.
    digest: String,
}

/// A step of a ramp.
#[derive(ToSchema)]
struct RampStep {
    coverage: f64,
    hold_ms: u64,
    min_units: u64,
}

/// An arm.
#[derive(ToSchema)]
struct Arm {
    name: String,
    strategy: String,
    weight: f64,
    parameters: HashMap<String, WireValue>,
}

/// A shadow arm.
#[derive(ToSchema)]
struct Shadow {
    name: String,
    strategy: String,
    /// The share of decisions that it runs on.
    sample: f64,
}

/// A metric's name and role.
#[derive(ToSchema)]
struct MetricName {
    name: String,
    role: String,
}

/// An approval of a spec.
#[derive(ToSchema)]
struct Approval {
    at: String,
    by: String,
    reason: String,
    spec_digest: String,
}

/// A change of an experiment's status.
#[derive(ToSchema)]
struct Change {
    at: String,
    command: String,
    from: String,
    to: String,
    phase: u32,
    /// Who; `serin` for the host.
    by: String,
    reason: String,
    spec_digest: String,
    /// What a change by the host rests on.
    evidence: Value,
    generation: u64,
}

/// A page of units that an experiment affected.
#[derive(ToSchema)]
pub(in crate::http) struct AffectedUnits {
    units: Vec<AffectedUnit>,
    /// `after` of the next page; null on the last one.
    #[schema(required)]
    next: Option<String>,
}

/// A unit that an experiment affected.
#[derive(ToSchema)]
struct AffectedUnit {
    unit: String,
    arm: String,
    /// Ids of its newest decisions, oldest first.
    decisions: Vec<String>,
    decision_count: u64,
    /// The newest outcomes.
    outcomes: Vec<AffectedOutcome>,
    /// All outcomes that were not taken back.
    outcome_count: u64,
}

/// An outcome of such a unit.
#[derive(ToSchema)]
struct AffectedOutcome {
    name: String,
    #[schema(required)]
    value: Option<f64>,
    #[schema(required)]
    at: Option<String>,
    /// The id of the reversal that took it back: it counts for nothing. Null where it stands.
    #[schema(required)]
    taken_back_by: Option<String>,
    /// When that was.
    #[schema(required)]
    taken_back_at: Option<String>,
    /// What is wrong with its row.
    #[schema(nullable = false)]
    error: Option<String>,
}

/// What a freeze paused.
#[derive(ToSchema)]
pub(in crate::http) struct Paused {
    /// Ids of the experiments.
    paused: Vec<String>,
}

/// The clock is trusted again.
#[derive(ToSchema)]
pub(in crate::http) struct Confirmed {
    /// The time that was confirmed.
    confirmed: String,
}

/// The feature views.
#[derive(ToSchema)]
pub(in crate::http) struct Views {
    views: Vec<WireView>,
}
