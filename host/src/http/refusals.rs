//! What is refused for its credential: counted, and in the audit by the minute.

use std::net::IpAddr;

use axum::extract::{MatchedPath, Request};
use axum::http::{Method, StatusCode};
use axum::response::Response;

use serin_core::Name;

use super::error::ProblemType;
use super::{Problem, Service};
use crate::access::{Refused, Role};
use crate::telemetry::Metrics;

/// The reason of metrics where a connection's certificate is not accepted any more.
pub(super) const UNVOUCHED: &str = "certificate-not-trusted";
/// The reason of metrics where a role is missing.
pub(super) const ROLE: &str = "forbidden-role";
/// The reason of metrics where the roles are for other decision points.
pub(super) const POINT: &str = "forbidden-point";
/// The reason of metrics where a credential was accepted before the request's body was read, and is not any more.
pub(super) const CHANGED: &str = "credential-changed";

/// What was asked for.
pub(super) struct Asked {
    pub(super) method: Method,
    /// The route; none where there is none of this path.
    pub(super) route: Option<MatchedPath>,
    /// The role that it needs.
    pub(super) role: Option<Role>,
}

impl Asked {
    /// What a request asks for.
    pub(super) fn of(request: &Request, role: Option<Role>) -> Self {
        Self { method: request.method().clone(), route: request.extensions().get::<MatchedPath>().cloned(), role }
    }

    /// As the audit names it: by the route and not by the path, so that a stranger who tries many paths fills no disk.
    fn named(&self) -> String {
        let Some(route) = &self.route else { return String::new() };
        let needs = self.role.map_or_else(String::new, |role| format!(", needs {}", role.as_str()));
        format!("{} {}{needs}", self.method, route.as_str())
    }
}

/// Why a credential is not accepted.
pub(super) struct Refusal {
    /// As metrics count it.
    pub(super) reason: &'static str,
    pub(super) detail: String,
    /// Whom the credential names all the same.
    pub(super) who: Option<Name>,
}

impl Refusal {
    pub(super) fn problem(&self) -> Problem {
        let problem = Problem::new(StatusCode::UNAUTHORIZED, self.reason, &*self.detail);
        Problem { asks_for_credential: true, ..problem }
    }
}

pub(super) fn unauthorized(reason: &'static str, detail: impl Into<String>) -> Refusal {
    Refusal { reason, detail: detail.into(), who: None }
}

pub(super) fn lacks(role: Role) -> Problem {
    forbidden(ROLE, format!("this needs the role '{}', which this credential does not have", role.as_str()))
}

pub(super) fn forbidden(reason: &str, detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::FORBIDDEN, reason, detail)
}

/// The reason, where a handler has refused a request for the caller's roles.
pub(super) fn of_roles(answer: &Response) -> Option<&'static str> {
    let ProblemType(found) = answer.extensions().get::<ProblemType>()?;
    let reason = [ROLE, POINT].into_iter().find(|reason| reason == found);
    reason.filter(|_| answer.status() == StatusCode::FORBIDDEN)
}

/// A refusal as it is counted.
pub(super) fn refused(reason: &'static str, address: IpAddr, who: Option<&str>, asked: &Asked) -> Refused {
    Refused { reason, who: who.map(str::to_owned), address: Some(address), on: asked.named() }
}

/// Counts a refusal. Some where there are too many of them: the seconds to wait.
pub(super) fn count(service: &Service, refused: Refused) -> Option<u64> {
    Metrics::count(&service.metrics.access_refused, refused.reason);
    service.access.refuse(refused, service.clock.now_ms())
}

/// Counts a refusal; too many of them are told to wait.
pub(super) fn refuse_one(service: &Service, refused: Refused, problem: Problem) -> Problem {
    match count(service, refused) {
        Some(seconds) => {
            let detail = "too many requests of this address or identity were refused within a minute";
            let wait = Problem::new(StatusCode::TOO_MANY_REQUESTS, "too-many-refusals", detail);
            Problem { retry_after: Some(seconds as u32), ..wait }
        }
        None => problem,
    }
}

/// Counts a refusal at the console's sign-in.
pub(super) fn refuse(
    service: &Service,
    address: IpAddr,
    who: Option<&str>,
    reason: &'static str,
    problem: Problem,
) -> Problem {
    let on = "POST /sign-in".to_owned();
    refuse_one(service, Refused { reason, who: who.map(str::to_owned), address: Some(address), on }, problem)
}
