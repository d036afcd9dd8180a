//! The OpenAPI document of the admin listener. Its answers are for people and consoles, and gain keys
//! with each release, so most of them are described as objects.

#![allow(dead_code, reason = "these items describe routes, and nothing calls them")]
#![allow(unused_qualifications, reason = "utoipa's macro writes them")]

use utoipa::{IntoParams, OpenApi, ToSchema};

use super::{Problem, events, service, wire};

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
        command,
        deployment,
        list_decisions,
        decide,
        show_decision,
        replay,
        list_views,
        show_features,
        metrics,
        document,
        events::outcomes,
        events::watermarks,
        service::healthz,
        service::readyz,
    ),
    components(schemas(Problem, Command, wire::WireRequest, wire::WireForce, wire::WireValue))
)]
pub(super) struct AdminDocument;

/// Who gives a command, and why.
#[derive(ToSchema)]
struct Command {
    /// Why; it is recorded.
    #[schema(min_length = 1, max_length = 1024, example = "looks well")]
    reason: String,
    /// Who; it is recorded.
    #[schema(min_length = 1, max_length = 1024, example = "ann")]
    by: String,
    /// The arm that won; for `conclude` alone.
    winner: Option<String>,
}

/// Which decisions to list.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
struct Decisions {
    /// Of this unit.
    unit: Option<String>,
    /// Of this decision point.
    point: Option<String>,
    /// Made at this time or later: RFC 3339, or how long ago, like 1h.
    since: Option<String>,
    /// How many.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// `next` of the page before.
    before: Option<String>,
}

/// Which units to list.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
struct Affected {
    /// Only this arm's.
    arm: Option<String>,
    /// `next` of the page before.
    after: Option<String>,
    /// How many.
    #[param(minimum = 1, maximum = 10000)]
    limit: Option<u32>,
}

/// In what form to report.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
struct Form {
    /// `json`, `text` or `html`.
    format: Option<String>,
    /// Of an experiment that has ended: as of now.
    recompute: Option<bool>,
}

/// Every artifact: name, version, digest, state and error.
#[utoipa::path(get, path = "/v1/plugins", tag = "deployment", responses(
    (status = 200, description = "The artifacts", body = Object)))]
fn plugins() {}

/// The deployment in force, and what of the files is not.
#[utoipa::path(get, path = "/v1/deployment", tag = "deployment", responses(
    (status = 200, description = "The decision points, models and errors", body = Object)))]
fn deployment() {}

/// Every experiment, with its state and why.
#[utoipa::path(get, path = "/v1/experiments", tag = "experiments", responses(
    (status = 200, description = "The experiments", body = Object)))]
fn list_experiments() {}

/// An experiment, with its spec, approvals and history.
#[utoipa::path(get, path = "/v1/experiments/{id}", tag = "experiments", params(("id" = String, Path)), responses(
    (status = 200, description = "The experiment", body = Object),
    (status = 404, description = "No such experiment", body = Problem, content_type = "application/problem+json")))]
fn show_experiment() {}

/// Carries out a command: start, promote, pause, resume, abort, conclude, approve or amend. With
/// `If-Match` only if the status still has that generation.
#[utoipa::path(post, path = "/v1/experiments/{id}/{command}", tag = "experiments", request_body = Command,
    params(("id" = String, Path), ("command" = String, Path),
        ("If-Match" = Option<String>, Header, description = "A quoted generation, like \"7\"")),
    responses(
        (status = 200, description = "The experiment; the command is in force", body = Object),
        (status = 404, description = "No such experiment or command", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The status does not allow it", body = Problem, content_type = "application/problem+json"),
        (status = 412, description = "The status has another generation", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The body does not fit", body = Problem, content_type = "application/problem+json")))]
fn command() {}

/// What an experiment has shown, and what follows.
#[utoipa::path(get, path = "/v1/experiments/{id}/report", tag = "experiments", params(("id" = String, Path), Form), responses(
    (status = 200, description = "The report", body = Object),
    (status = 404, description = "No such experiment", body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "It has not begun", body = Problem, content_type = "application/problem+json")))]
fn report() {}

/// Whom an experiment touched, with decisions and outcomes.
#[utoipa::path(get, path = "/v1/experiments/{id}/affected", tag = "experiments", params(("id" = String, Path), Affected), responses(
    (status = 200, description = "A page of units", body = Object),
    (status = 404, description = "No such experiment", body = Problem, content_type = "application/problem+json"),
    (status = 422, description = "The query does not fit", body = Problem, content_type = "application/problem+json")))]
fn affected() {}

/// Stops every ramp where it is.
#[utoipa::path(post, path = "/v1/freeze", tag = "experiments", request_body = Command, responses(
    (status = 200, description = "The ids of what was paused", body = Object),
    (status = 422, description = "The body does not fit", body = Problem, content_type = "application/problem+json")))]
fn freeze() {}

/// Says that the host's clock is right, after a leap.
#[utoipa::path(post, path = "/v1/clock/confirm", tag = "deployment", request_body = Command, responses(
    (status = 200, description = "The time that was confirmed", body = Object),
    (status = 409, description = "The clock is trusted", body = Problem, content_type = "application/problem+json"),
    (status = 422, description = "The body does not fit", body = Problem, content_type = "application/problem+json")))]
fn confirm_clock() {}

/// The newest decisions that match, a page of them.
#[utoipa::path(get, path = "/v1/decisions", tag = "decisions", params(Decisions), responses(
    (status = 200, description = "A page of records", body = Object),
    (status = 422, description = "The query does not fit", body = Problem, content_type = "application/problem+json")))]
fn list_decisions() {}

/// Decides; with `force` an arm is chosen, and with `dry_run` nothing is recorded.
#[utoipa::path(post, path = "/v1/decisions", tag = "decisions", request_body = wire::WireRequest, responses(
    (status = 200, description = "The decision", body = Object),
    (status = 422, description = "The request does not fit", body = Problem, content_type = "application/problem+json"),
    (status = 503, description = "Overloaded, or out of time", body = Problem, content_type = "application/problem+json")))]
fn decide() {}

/// The whole record of a decision.
#[utoipa::path(get, path = "/v1/decisions/{id}", tag = "decisions", params(("id" = String, Path)), responses(
    (status = 200, description = "The record", body = Object),
    (status = 404, description = "No such decision", body = Problem, content_type = "application/problem+json"),
    (status = 410, description = "Its record has expired", body = Problem, content_type = "application/problem+json")))]
fn show_decision() {}

/// Runs a decision again.
#[utoipa::path(post, path = "/v1/decisions/{id}/replay", tag = "decisions", params(("id" = String, Path)), responses(
    (status = 200, description = "Whether it is identical, or the differences", body = Object),
    (status = 404, description = "No such decision", body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "It cannot be run again", body = Problem, content_type = "application/problem+json")))]
fn replay() {}

/// Every feature view, and how fresh it is.
#[utoipa::path(get, path = "/v1/features", tag = "features", responses(
    (status = 200, description = "The views", body = Object)))]
fn list_views() {}

/// What is known of an entity.
#[utoipa::path(get, path = "/v1/features/{view}/{entity}", tag = "features",
    params(("view" = String, Path), ("entity" = String, Path)), responses(
    (status = 200, description = "The row, with each value's status", body = super::features::WireFeatures),
    (status = 404, description = "No such view or row", body = Problem, content_type = "application/problem+json")))]
fn show_features() {}

/// Prometheus text.
#[utoipa::path(get, path = "/metrics", tag = "health", responses(
    (status = 200, description = "The metrics", body = String, content_type = "application/openmetrics-text")))]
fn metrics() {}

/// This document.
#[utoipa::path(get, path = "/openapi.json", tag = "health", responses(
    (status = 200, description = "The document", body = Object)))]
fn document() {}
