//! Errors as RFC 9457 problem documents. `type` is stable; there is never a stack or a path.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::{IntoResponses, ToSchema};

use crate::decide::{Refused, RequestError};
use crate::ledger::LedgerError;

/// The codings that a body may have.
pub(super) const ACCEPTED_ENCODINGS: &str = "gzip, zstd";

/// The reason of a problem, as an extension of its answer.
#[derive(Debug, Clone)]
pub(super) struct ProblemType(pub(super) String);

/// A problem document.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Problem {
    /// Stable name of the kind of problem.
    #[serde(rename = "type")]
    #[schema(example = "urn:serin:problem:invalid-request")]
    pub kind: String,
    /// The kind in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong here, and what would be valid.
    pub detail: String,
    /// The key of the request that is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Seconds after which trying again makes sense.
    #[serde(skip)]
    pub retry_after: Option<u32>,
    /// Whether the answer names the codings that a body may have.
    #[serde(skip)]
    pub names_codings: bool,
    /// Whether the answer asks for a credential.
    #[serde(skip)]
    pub asks_for_credential: bool,
}

impl Problem {
    /// A problem of a kind.
    pub fn new(status: StatusCode, kind: &str, detail: impl Into<String>) -> Self {
        let title = kind.replace('-', " ");
        let mut chars = title.chars();
        let title = chars.next().map(|c| c.to_ascii_uppercase()).into_iter().chain(chars).collect();
        Self {
            kind: format!("urn:serin:problem:{kind}"),
            title,
            status: status.as_u16(),
            detail: detail.into(),
            key: None,
            retry_after: None,
            names_codings: false,
            asks_for_credential: false,
        }
    }

    /// A request that does not fit.
    pub fn invalid(key: impl Into<String>, detail: impl Into<String>) -> Self {
        let key = key.into();
        Self {
            key: (!key.is_empty()).then_some(key),
            ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid-request", detail)
        }
    }

    /// The host cannot take it now.
    pub fn unavailable(kind: &str, detail: impl Into<String>) -> Self {
        Self { retry_after: Some(1), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, kind, detail) }
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The last part of `type`, as metrics count it.
    pub fn reason(&self) -> &str {
        self.kind.rsplit(':').next().unwrap_or_default()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.status(), Json(&self)).into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.names_codings {
            response.headers_mut().insert(header::ACCEPT_ENCODING, HeaderValue::from_static(ACCEPTED_ENCODINGS));
        }
        if self.asks_for_credential {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"serin\""));
        }
        response.extensions_mut().insert(ProblemType(self.reason().to_owned()));
        response.extensions_mut().insert(self);
        response
    }
}

impl From<RequestError> for Problem {
    fn from(error: RequestError) -> Self {
        match error {
            RequestError::UnknownPoint { .. } => Self {
                key: Some("decision_point".to_owned()),
                ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, "unknown-decision-point", error.to_string())
            },
            RequestError::Invalid { key, why } => Self::invalid(key.clone(), format!("{key}: {why}")),
        }
    }
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Request(error) => error.into(),
            Refused::QueueFull => Self::unavailable("overloaded", refused.to_string()),
            Refused::NotBegun => Self::unavailable("deadline-passed", refused.to_string()),
            Refused::Defect => Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", refused.to_string()),
            Refused::Stopping => Self::unavailable("stopping", refused.to_string()),
        }
    }
}

impl From<LedgerError> for Problem {
    fn from(error: LedgerError) -> Self {
        if let LedgerError::TimedOut = error {
            return read_timed_out();
        }
        // What the database says may hold paths: it goes to the log, not to the client.
        crate::telemetry::log_limited!(error, %error, "the ledger did not answer");
        match error {
            LedgerError::QueueFull => Self::unavailable("ledger-overloaded", "too many records wait to be committed"),
            LedgerError::Altered(why) => Self::new(StatusCode::INTERNAL_SERVER_ERROR, "ledger-altered", why),
            _ => Self::unavailable(
                "ledger-unavailable",
                "the ledger cannot be used now, and what it has to record is refused; the host's log says why",
            ),
        }
    }
}

/// Of an answer whose record is not committed in time.
pub(super) fn uncommitted() -> Problem {
    Problem::unavailable("ledger-unavailable", "the ledger did not commit in time")
}

/// A read of the admin listener took too long.
pub(super) fn read_timed_out() -> Problem {
    let detail = "the read took longer than server.admin_timeout; narrow it with since, unit, point, arm or limit";
    Problem { retry_after: Some(1), ..Problem::new(StatusCode::SERVICE_UNAVAILABLE, "read-timeout", detail) }
}

/// No such path.
pub(super) async fn not_found() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "not-found", "no such path; GET /openapi.json lists those of this listener")
}

/// The path is there, the method is not.
pub(super) async fn method_not_allowed() -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method-not-allowed",
        "this path does not take that method; GET /openapi.json lists what this listener takes",
    )
}

/// What any request with a body can be refused for.
#[derive(IntoResponses)]
#[allow(dead_code, reason = "describes the answers in the OpenAPI document")]
pub(super) enum BodyRefusal {
    /// Not JSON
    #[response(status = 400, content_type = "application/problem+json")]
    Malformed(Problem),
    /// The body did not arrive in time
    #[response(status = 408, content_type = "application/problem+json")]
    TooSlow(Problem),
    /// The body, decompressed, is larger than server.max_body_bytes
    #[response(status = 413, content_type = "application/problem+json")]
    TooLarge(Problem),
    /// Not sent as JSON, or compressed in another way than gzip and zstd
    #[response(status = 415, content_type = "application/problem+json",
        headers(("Accept-Encoding" = String, description = "The codings that a body may have, where it had another")))]
    NotJson(Problem),
    /// The request is not of this shape, or does not fit the deployment; `key` says where
    #[response(status = 422, content_type = "application/problem+json")]
    Unfit(Problem),
    /// Overloaded, out of time, or what is needed is down; see Retry-After
    #[response(status = 503, content_type = "application/problem+json",
        headers(("Retry-After" = u32, description = "Seconds after which trying again makes sense")))]
    Unavailable(Problem),
}

/// The refusals that every read of the admin listener shares.
#[derive(IntoResponses)]
#[allow(dead_code, reason = "describes the answers in the OpenAPI document")]
pub(super) enum ReadRefusal {
    /// The path is not UTF-8
    #[response(status = 400, content_type = "application/problem+json")]
    Malformed(Problem),
    /// Out of time, or what is needed is down; see Retry-After
    #[response(status = 503, content_type = "application/problem+json",
        headers(("Retry-After" = u32, description = "Seconds after which trying again makes sense")))]
    Unavailable(Problem),
}
