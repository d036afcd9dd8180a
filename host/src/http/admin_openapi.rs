//! The OpenAPI document of the admin listener. A release may add keys to its
//! answers.

#![allow(dead_code, reason = "these items describe routes, and nothing calls them")]
#![allow(unused_qualifications, reason = "utoipa's macro writes them")]

use utoipa::{IntoParams, OpenApi, ToSchema};

use super::consequences::WireConsequences;
use super::console::Effect;
use super::error::{BodyRefusal, ReadRefusal};
use super::masked::MaskedDecision;
use super::openapi_access::Credentials;
use super::schemas::{
    AffectedUnits, Attention, AuditEntries, Confirmed, DecisionRecord, DecisionRecords, Deployment, Experiment,
    Experiments, Models, Paused, Plugins, Replay, Report, UnreadableRecord, Views,
};
use super::{Problem, events, features, service, wire};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Serin, admin listener",
        description = "What a host does, and the commands of people. Only trusted people may have access to it.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    paths(
        plugins,
        list_experiments,
        show_experiment,
        freeze,
        confirm_clock,
        affected,
        report,
        preview,
        command,
        deployment,
        attention,
        list_models,
        list_decisions,
        decide,
        show_decision,
        replay,
        decision_outcomes,
        decision_summary,
        list_views,
        show_features,
        metrics,
        list_audit,
        document,
        events::outcomes,
        events::watermarks,
        service::healthz,
        service::readyz,
    ),
    components(schemas(
        Problem,
        Command,
        DecisionRecord,
        UnreadableRecord,
        wire::WireRequest,
        wire::WireForce,
        wire::WireValue
    )),
    modifiers(&Credentials)
)]
pub(super) struct AdminDocument;

/// Who gives a command, and why.
#[derive(ToSchema)]
struct Command {
    /// Why; it is recorded.
    #[schema(min_length = 1, max_length = 1024, pattern = "\\S", example = "looks well")]
    reason: String,
    /// Who; it is recorded. Needed without `[access]`; with it, whom the credential names is recorded.
    #[schema(
        min_length = 1,
        max_length = 1024,
        pattern = "^[^\\n\\r\\x0b\\x0c\\x85\\u2028\\u2029]*[^\\s\\n\\r\\x0b\\x0c\\x85\\u2028\\u2029][^\\n\\r\\x0b\\x0c\\x85\\u2028\\u2029]*$",
        example = "ann"
    )]
    by: String,
    /// The arm that won; for `conclude` alone.
    winner: Option<String>,
}

/// The commands on an experiment.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
enum CommandName {
    Start,
    Promote,
    Pause,
    Resume,
    Abort,
    Conclude,
    Approve,
    Amend,
}

/// Which decisions to list.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
struct Decisions {
    /// Of this unit.
    #[param(nullable = false)]
    unit: Option<String>,
    /// Of this decision point.
    #[param(nullable = false)]
    point: Option<String>,
    /// Made at this time or later: RFC 3339, how long ago, like 1h, or milliseconds since 1970.
    #[param(nullable = false, example = "1h")]
    since: Option<String>,
    /// How many.
    #[param(minimum = 1, maximum = 1000, nullable = false)]
    limit: Option<u32>,
    /// `next` of the page before.
    #[param(nullable = false, pattern = "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]
    before: Option<String>,
}

/// Which units to list.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
struct Affected {
    /// Only this arm's.
    #[param(nullable = false)]
    arm: Option<String>,
    /// `next` of the page before.
    #[param(nullable = false)]
    after: Option<String>,
    /// How many.
    #[param(minimum = 1, maximum = 10000, nullable = false)]
    limit: Option<u32>,
}

/// In what form to report.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
struct Form {
    /// `json` if left out.
    #[param(nullable = false, inline)]
    format: Option<FormName>,
    /// Of an experiment that has ended: as of now.
    #[param(nullable = false)]
    recompute: Option<bool>,
}

/// The forms of a report.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
enum FormName {
    Json,
    Text,
    Html,
}

/// Every artifact: name, version, digest, state, error, and whether its breaker is open.
#[utoipa::path(get, path = "/v1/plugins", tag = "deployment", responses(
    (status = 200, description = "The artifacts", body = Plugins), ReadRefusal))]
fn plugins() {}

/// The deployment in force, and what of the files is not.
#[utoipa::path(get, path = "/v1/deployment", tag = "deployment", responses(
    (status = 200, description = "The decision points, models and errors", body = Deployment)))]
fn deployment() {}

/// What needs a person, the most urgent first.
#[utoipa::path(get, path = "/v1/attention", tag = "deployment", responses(
    (status = 200, description = "The matters", body = Attention), ReadRefusal))]
fn attention() {}

/// Every model that is declared: its golden rows, its breaker, its card and where it is used.
#[utoipa::path(get, path = "/v1/models", tag = "deployment", responses(
    (status = 200, description = "The models", body = Models), ReadRefusal))]
fn list_models() {}

/// Every experiment, with its state and why.
#[utoipa::path(get, path = "/v1/experiments", tag = "experiments", responses(
    (status = 200, description = "The experiments", body = Experiments), ReadRefusal))]
fn list_experiments() {}

/// An experiment, with its spec, approvals and history.
#[utoipa::path(get, path = "/v1/experiments/{id}", tag = "experiments", params(("id" = String, Path)), responses(
    (status = 200, description = "The experiment", body = Experiment),
    (status = 404, description = "No such experiment", body = Problem, content_type = "application/problem+json"),
    ReadRefusal))]
fn show_experiment() {}

/// Carries out a command. With `If-Match` only if the status still has that generation.
#[utoipa::path(post, path = "/v1/experiments/{id}/{command}", tag = "experiments", request_body = Command,
    params(("id" = String, Path), ("command" = inline(CommandName), Path),
        ("If-Match" = Option<String>, Header, description = "A quoted generation, like \"7\"",
            pattern = "^\"[0-9]{1,19}\"$", nullable = false)),
    responses(
        (status = 200, description = "The experiment; the command is in force", body = Experiment),
        (status = 404, description = "No such experiment or command", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The status does not allow it", body = Problem, content_type = "application/problem+json"),
        (status = 412, description = "The status has another generation", body = Problem, content_type = "application/problem+json"),
        BodyRefusal))]
fn command() {}

/// What a command would do now, and whether it would be refused. Nothing is done.
#[utoipa::path(get, path = "/v1/experiments/{id}/{command}", tag = "experiments",
    params(("id" = String, Path), ("command" = inline(CommandName), Path)), responses(
    (status = 200, description = "What would follow", body = Effect),
    (status = 404, description = "No such experiment or command", body = Problem, content_type = "application/problem+json"),
    ReadRefusal))]
fn preview() {}

/// What an experiment has shown, and what follows.
#[utoipa::path(get, path = "/v1/experiments/{id}/report", tag = "experiments", params(("id" = String, Path), Form), responses(
    (status = 200, description = "The report", content(
        (Report = "application/json"), (String = "text/plain"), (String = "text/html"))),
    (status = 404, description = "No such experiment", body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "It has not begun; or its file is gone, and no report of it was kept", body = Problem, content_type = "application/problem+json"),
    (status = 422, description = "The query does not fit", body = Problem, content_type = "application/problem+json"),
    ReadRefusal))]
fn report() {}

/// Whom an experiment touched, with decisions and outcomes.
#[utoipa::path(get, path = "/v1/experiments/{id}/affected", tag = "experiments", params(("id" = String, Path), Affected), responses(
    (status = 200, description = "A page of units", body = AffectedUnits),
    (status = 404, description = "No such experiment", body = Problem, content_type = "application/problem+json"),
    (status = 422, description = "The query does not fit", body = Problem, content_type = "application/problem+json"),
    ReadRefusal))]
fn affected() {}

/// Stops every ramp where it is.
#[utoipa::path(post, path = "/v1/freeze", tag = "experiments", request_body = Command, responses(
    (status = 200, description = "The ids of what was paused", body = Paused),
    BodyRefusal))]
fn freeze() {}

/// Says that the host's clock is right, after a leap.
#[utoipa::path(post, path = "/v1/clock/confirm", tag = "deployment", request_body = Command, responses(
    (status = 200, description = "The time that was confirmed", body = Confirmed),
    (status = 409, description = "The clock is trusted", body = Problem, content_type = "application/problem+json"),
    BodyRefusal))]
fn confirm_clock() {}

/// The newest decisions that match, a page of them.
#[utoipa::path(get, path = "/v1/decisions", tag = "decisions", params(Decisions), responses(
    (status = 200, description = "A page of records", body = DecisionRecords),
    (status = 422, description = "The query does not fit", body = Problem, content_type = "application/problem+json"),
    ReadRefusal))]
fn list_decisions() {}

/// Decides; with `force` an arm is chosen, and with `dry_run` nothing is recorded.
#[utoipa::path(post, path = "/v1/decisions", tag = "decisions", request_body = wire::WireRequest,
    params(
        ("Idempotency-Key" = Option<String>, Header, description = "Kept 24 h: the same key and body get the stored answer", pattern = "^[!-~]{1,255}$", nullable = false),
        ("Serin-Deadline-Ms" = Option<u64>, Header, description = "Milliseconds that this decision has, at most the decision point's own deadline", minimum = 1, maximum = 4294967295_i64, nullable = false),
        ("traceparent" = Option<String>, Header, description = "W3C trace context", nullable = false)),
    responses(
        (status = 200, description = "The decision", body = wire::WireDecision<'static>,
            headers(("Idempotent-Replayed" = bool, description = "The answer that is kept under the request's Idempotency-Key"))),
        (status = 409, description = "The key was used for another body", body = Problem, content_type = "application/problem+json"),
        BodyRefusal))]
fn decide() {}

/// The whole record of a decision.
#[utoipa::path(get, path = "/v1/decisions/{id}", tag = "decisions", params(("id" = String, Path)), responses(
    (status = 200, description = "The record", body = DecisionRecord),
    (status = 404, description = "No such decision", body = Problem, content_type = "application/problem+json"),
    (status = 410, description = "Its record has expired", body = Problem, content_type = "application/problem+json"),
    ReadRefusal))]
fn show_decision() {}

/// What came of a decision: whether its result was seen, and outcomes about it and its entities.
#[utoipa::path(get, path = "/v1/decisions/{id}/outcomes", tag = "decisions", params(("id" = String, Path)), responses(
    (status = 200, description = "What came of it", body = WireConsequences),
    (status = 404, description = "No such decision", body = Problem, content_type = "application/problem+json"),
    (status = 410, description = "The record has expired", body = Problem, content_type = "application/problem+json"),
    ReadRefusal))]
fn decision_outcomes() {}

/// A decision without what is a person's: neither ids nor values, scores or candidates. Needs the role `read`, and is not
/// in the audit.
#[utoipa::path(get, path = "/v1/decisions/{id}/summary", tag = "decisions", params(("id" = String, Path)), responses(
    (status = 200, description = "The masked decision", body = MaskedDecision),
    (status = 404, description = "No such decision", body = Problem, content_type = "application/problem+json"),
    (status = 410, description = "Its record has expired", body = Problem, content_type = "application/problem+json"),
    ReadRefusal))]
fn decision_summary() {}

/// Runs a decision again.
#[utoipa::path(post, path = "/v1/decisions/{id}/replay", tag = "decisions", params(("id" = String, Path)), responses(
    (status = 200, description = "Whether it is identical, or the differences", body = Replay),
    (status = 404, description = "No such decision", body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "It cannot be run again", body = Problem, content_type = "application/problem+json"),
    ReadRefusal))]
fn replay() {}

/// Every feature view: how fresh it is, where it is read, and what was missing or stale there lately.
#[utoipa::path(get, path = "/v1/features", tag = "features", responses(
    (status = 200, description = "The views", body = Views), ReadRefusal))]
fn list_views() {}

/// What is known of an entity.
#[utoipa::path(get, path = "/v1/features/{view}/{entity}", tag = "features",
    params(("view" = String, Path), ("entity" = String, Path)), responses(
    (status = 200, description = "The row, with each value's status", body = features::WireFeatures),
    (status = 404, description = "No such view or row", body = Problem, content_type = "application/problem+json"),
    ReadRefusal))]
fn show_features() {}

/// Which entries of the audit to list.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
struct Audited {
    /// At this time or later: RFC 3339, how long ago, like 1h, or milliseconds since 1970.
    #[param(nullable = false, example = "1h")]
    since: Option<String>,
    /// Before this time, written alike.
    #[param(nullable = false, example = "0s")]
    until: Option<String>,
    /// Of this identity.
    #[param(nullable = false)]
    who: Option<String>,
    /// Of this kind, like experiment.abort.
    #[param(nullable = false)]
    what: Option<String>,
    /// How many.
    #[param(minimum = 1, maximum = 1000, nullable = false)]
    limit: Option<u32>,
    /// `next` of the page before.
    #[param(nullable = false, maximum = 9223372036854775807_i64)]
    before: Option<u64>,
}

/// Who did what, newest first.
#[utoipa::path(get, path = "/v1/audit", tag = "audit", params(Audited), responses(
    (status = 200, description = "A page of entries", body = AuditEntries),
    (status = 422, description = "The query does not fit", body = Problem, content_type = "application/problem+json"),
    ReadRefusal))]
fn list_audit() {}

/// Prometheus text.
#[utoipa::path(get, path = "/metrics", tag = "health", responses(
    (status = 200, description = "The metrics", body = String, content_type = "application/openmetrics-text")))]
fn metrics() {}

/// This document.
#[utoipa::path(get, path = "/openapi.json", tag = "health", responses(
    (status = 200, description = "The document", body = Object)))]
fn document() {}
