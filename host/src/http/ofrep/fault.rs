//! Why a flag has no value, with the statuses and codes that OFREP's clients know.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::answer::{BulkFault, ErrorCode, FlagFault, FlagResult};
use crate::http::error::ProblemType;
use crate::http::{Problem, Service};

/// Why there is no answer.
#[derive(Debug)]
pub(super) struct Fault {
    code: ErrorCode,
    problem: Problem,
}

impl Fault {
    pub(super) fn invalid(details: impl Into<String>) -> Self {
        Self { code: ErrorCode::InvalidContext, problem: Problem::invalid("context", details) }
    }

    pub(super) fn no_targeting_key(details: &str) -> Self {
        Self { code: ErrorCode::TargetingKeyMissing, problem: Problem::invalid("context.targetingKey", details) }
    }

    /// Counts it among the refusals.
    pub(super) fn counted(self, service: &Service) -> Self {
        Self { problem: service.refuse(self.problem), ..self }
    }

    /// Whether it is the host that cannot answer now.
    pub(super) fn asks_to_wait(&self) -> bool {
        self.problem.status() == StatusCode::SERVICE_UNAVAILABLE
    }

    /// The status; none where clients read the status alone.
    fn status(&self) -> Option<StatusCode> {
        match (self.code, self.problem.status()) {
            (_, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::SERVICE_UNAVAILABLE) => None,
            (ErrorCode::FlagNotFound, _) => Some(StatusCode::NOT_FOUND),
            (_, status) if status.is_client_error() => Some(StatusCode::BAD_REQUEST),
            _ => Some(StatusCode::INTERNAL_SERVER_ERROR),
        }
    }

    /// The answer where one flag was asked for.
    pub(super) fn of_flag(self, key: &str) -> Response {
        match self.status() {
            Some(status) => {
                let fault = FlagFault { key, code: self.code, details: &self.problem.detail };
                self.by_code(status, Json(fault))
            }
            None => self.by_status(),
        }
    }

    /// The answer where all flags were asked for.
    pub(super) fn of_all(self) -> Response {
        match self.status() {
            Some(status) => {
                let fault = BulkFault { code: self.code, details: &self.problem.detail };
                self.by_code(status, Json(fault))
            }
            None => self.by_status(),
        }
    }

    /// The flag among others.
    pub(super) fn in_bulk(self, key: &str) -> FlagResult {
        FlagResult::without_value(&FlagFault { key, code: self.code, details: &self.problem.detail })
    }

    /// OFREP's clients read a code; traces have the problem's type as everywhere else.
    fn by_code(&self, status: StatusCode, fault: impl IntoResponse) -> Response {
        let mut response = (status, fault).into_response();
        response.extensions_mut().insert(ProblemType(self.problem.reason().to_owned()));
        response
    }

    /// 429 is the one status at which clients wait, and then ask again.
    fn by_status(self) -> Response {
        let status = match self.problem.status() {
            StatusCode::SERVICE_UNAVAILABLE => StatusCode::TOO_MANY_REQUESTS.as_u16(),
            _ => self.problem.status,
        };
        Problem { status, ..self.problem }.into_response()
    }
}

impl From<Problem> for Fault {
    fn from(problem: Problem) -> Self {
        let code = match problem.status() {
            _ if problem.reason() == "unknown-decision-point" => ErrorCode::FlagNotFound,
            StatusCode::UNPROCESSABLE_ENTITY => ErrorCode::InvalidContext,
            status if status.is_client_error() => ErrorCode::ParseError,
            _ => ErrorCode::General,
        };
        Self { code, problem }
    }
}

/// No decision point has this name.
pub(super) fn unknown(service: &Service, key: &str) -> Fault {
    let mut known: Vec<String> = service.deployment.load().points.keys().map(ToString::to_string).collect();
    known.sort_unstable();
    let name = serin_core::printable_to(key, 64);
    service.refuse(crate::decide::RequestError::UnknownPoint { name, known: known.join(", ") }.into()).into()
}
