//! Who may ask for what. Every route is in the table below; one that is not is refused. Whoever may
//! not is told why before a body is read, and what is done by commands, and read of persons, is
//! written into the audit.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use axum::extract::{FromRequestParts, MatchedPath, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use serin_core::Name;

use super::audit_target::{MAX_TARGET, target};
use super::came_of::{CameOf, Unchanged};
use super::error::ProblemType;
pub(super) use super::refusals::refuse;
use super::refusals::{
    Asked, POINT, ROLE, Refusal, UNVOUCHED, count, forbidden, lacks, of_roles, refuse_one, refused, unauthorized,
};
use super::trace::BegunTrace;
use super::{EndsConnection, Peer, Problem, Service};
use crate::access::{Access, Identity, Role, Session, TOKEN_PREFIX};
use crate::ledger::AuditEntry;

/// Bytes of a credential; a token has 70.
const MAX_CREDENTIAL: usize = 512;
/// The commands on an experiment, as they are written.
pub(super) const COMMANDS: [&str; 8] = ["start", "promote", "pause", "resume", "abort", "conclude", "approve", "amend"];

/// What a route needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    /// Nothing.
    Nothing,
    /// A credential.
    Anybody,
    /// A role.
    Of(Role),
    /// A role; and it is written into the audit under this name.
    Audited(Role, &'static str),
    /// `audit`, and it is written into the audit under this name; or `read`, which is shown what names nobody.
    AuditedOrMasked(&'static str),
    /// A command on an experiment: `operate`, and for `approve` that.
    Command,
}

const NEEDS: &[(Method, &str, Need)] = &[
    (Method::GET, "/healthz", Need::Nothing),
    (Method::GET, "/readyz", Need::Nothing),
    (Method::GET, "/openapi.json", Need::Anybody),
    (Method::POST, "/v1/decisions", Need::Of(Role::Decide)),
    (Method::POST, "/v1/decisions/batch", Need::Of(Role::Decide)),
    (Method::POST, "/v1/exposures", Need::Of(Role::Ingest)),
    (Method::POST, "/v1/outcomes", Need::Of(Role::Ingest)),
    (Method::POST, "/v1/outcomes/watermarks", Need::Of(Role::Ingest)),
    (Method::POST, "/v1/features/{view}", Need::Of(Role::Ingest)),
    (Method::POST, "/ofrep/v1/evaluate/flags", Need::Of(Role::Decide)),
    (Method::POST, "/ofrep/v1/evaluate/flags/{key}", Need::Of(Role::Decide)),
    (Method::GET, "/v1/plugins", Need::Of(Role::Read)),
    (Method::GET, "/v1/experiments", Need::Of(Role::Read)),
    (Method::GET, "/v1/experiments/{id}", Need::Of(Role::Read)),
    (Method::GET, "/v1/experiments/{id}/report", Need::Of(Role::Read)),
    (Method::GET, "/v1/experiments/{id}/{command}", Need::Of(Role::Read)),
    (Method::GET, "/v1/deployment", Need::Of(Role::Read)),
    (Method::GET, "/v1/attention", Need::Of(Role::Read)),
    (Method::GET, "/v1/models", Need::Of(Role::Read)),
    (Method::GET, "/v1/features", Need::Of(Role::Read)),
    (Method::GET, "/metrics", Need::Of(Role::Read)),
    (Method::POST, "/v1/freeze", Need::Audited(Role::Operate, "experiments.freeze")),
    (Method::POST, "/v1/clock/confirm", Need::Audited(Role::Operate, "clock.confirm")),
    (Method::POST, "/v1/experiments/{id}/{command}", Need::Command),
    (Method::GET, "/v1/experiments/{id}/affected", Need::Audited(Role::Audit, "experiment.affected")),
    (Method::GET, "/v1/decisions", Need::Audited(Role::Audit, "records.list")),
    (Method::GET, "/v1/decisions/{id}", Need::Audited(Role::Audit, "record.read")),
    // Names nobody, so it is no read of a record.
    (Method::GET, "/v1/decisions/{id}/summary", Need::Of(Role::Read)),
    (Method::POST, "/v1/decisions/{id}/replay", Need::Audited(Role::Audit, "record.replay")),
    (Method::GET, "/v1/decisions/{id}/outcomes", Need::Audited(Role::Audit, "record.outcomes")),
    (Method::GET, "/v1/features/{view}/{entity}", Need::Audited(Role::Audit, "features.read")),
    (Method::GET, "/v1/audit", Need::Audited(Role::Audit, "audit.read")),
    // The console's pages: as what they show and do.
    (Method::GET, "/", Need::Of(Role::Read)),
    (Method::GET, "/attention", Need::Of(Role::Read)),
    (Method::GET, "/experiments", Need::Of(Role::Read)),
    (Method::GET, "/experiments/{id}", Need::Of(Role::Read)),
    (Method::GET, "/experiments/{id}/{command}", Need::Of(Role::Read)),
    (Method::POST, "/experiments/{id}/{command}", Need::Command),
    (Method::GET, "/freeze", Need::Of(Role::Read)),
    (Method::POST, "/freeze", Need::Audited(Role::Operate, "experiments.freeze")),
    (Method::GET, "/plugins", Need::Of(Role::Read)),
    (Method::GET, "/models", Need::Of(Role::Read)),
    (Method::GET, "/features", Need::Of(Role::Read)),
    (Method::GET, "/decisions", Need::AuditedOrMasked("records.list")),
    (Method::GET, "/decisions/{id}", Need::AuditedOrMasked("record.read")),
    (Method::POST, "/decisions/{id}/replay", Need::Audited(Role::Audit, "record.replay")),
    (Method::GET, "/console/live", Need::Of(Role::Read)),
    (Method::GET, "/console/{file}", Need::Nothing),
    (Method::GET, "/console/v1/experiments/{id}", Need::Of(Role::Read)),
    (Method::GET, "/console/v1/experiments/{id}/report", Need::Of(Role::Read)),
    (Method::GET, "/console/v1/decisions/{id}", Need::Audited(Role::Audit, "record.read")),
    (Method::GET, "/console/v1/decisions/{id}/outcomes", Need::Audited(Role::Audit, "record.outcomes")),
    (Method::GET, "/console/v1/decisions/{id}/summary", Need::Of(Role::Read)),
    (Method::GET, "/sign-in", Need::Nothing),
    (Method::POST, "/sign-in", Need::Nothing),
    (Method::POST, "/sign-out", Need::Nothing),
];

impl Need {
    fn of(method: &Method, path: &str) -> Option<Self> {
        // HEAD is served as GET is.
        let method = if *method == Method::HEAD { &Method::GET } else { method };
        NEEDS.iter().find(|(of, route, _)| of == method && *route == path).map(|(_, _, need)| *need)
    }

    /// The role that this needs at least.
    fn role(self, path: &str) -> Option<Role> {
        match self {
            Self::Nothing | Self::Anybody => None,
            Self::AuditedOrMasked(_) => Some(Role::Read),
            Self::Of(role) | Self::Audited(role, _) => Some(role),
            Self::Command if path.ends_with("/approve") => Some(Role::Approve),
            Self::Command => Some(Role::Operate),
        }
    }

    /// The role that an identity lacks for this; none where it may.
    fn lacks(self, path: &str, identity: &Identity) -> Option<Role> {
        match self {
            Self::AuditedOrMasked(_) if identity.may(Role::Audit) => None,
            _ => self.role(path).filter(|role| !identity.may(*role)),
        }
    }

    /// The name in the audit, and whether it is of a read; none for what is not audited.
    fn audited(self, path: &str, caller: &Caller) -> Option<(String, bool)> {
        match self {
            Self::Nothing | Self::Anybody | Self::Of(_) => None,
            Self::Audited(role, what) => Some((what.to_owned(), role == Role::Audit)),
            Self::AuditedOrMasked(what) => caller.has(Role::Audit).is_ok().then(|| (what.to_owned(), true)),
            Self::Command => {
                let command = path.rsplit('/').next().filter(|name| COMMANDS.contains(name));
                Some((format!("experiment.{}", command.unwrap_or("unknown")), false))
            }
        }
    }
}

/// Who asks: an argument of handlers.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Whom the credential names; none without `[access]`.
    pub identity: Option<Arc<Identity>>,
    /// Where the request comes from.
    pub address: IpAddr,
}

impl Caller {
    /// The name for rows.
    pub(super) fn name(&self) -> Option<Name> {
        self.identity.as_ref().map(|identity| identity.name.clone())
    }

    /// Refuses where the roles are for other decision points.
    pub(super) fn reaches(&self, point: &str) -> Result<(), Problem> {
        match self.identity.as_ref().filter(|identity| !identity.reaches(point)) {
            Some(_) => Err(forbidden(POINT, "the roles of this credential are for other decision points")),
            None => Ok(()),
        }
    }

    /// Whether the roles are limited to some decision points.
    pub(super) fn is_limited(&self) -> bool {
        self.identity.as_ref().is_some_and(|identity| identity.points().is_some())
    }

    /// The answer about what is not there. Where the roles are limited it is the same as about what is another decision
    /// point's, so that nobody learns what is there. `known` is what the caller may see of the kind.
    pub(super) fn nowhere(&self, kind: &str, what: &str, known: &[&str]) -> Problem {
        let listed = match known {
            [] => String::new(),
            known => format!("; known: {}", known.join(", ")),
        };
        match self.is_limited() {
            true => forbidden(
                POINT,
                format!(
                    "no {what}, or one that the roles of this credential are not for: they are for other decision points{listed}"
                ),
            ),
            false => Problem::new(StatusCode::NOT_FOUND, kind, format!("no such {what}{listed}")),
        }
    }

    /// Refuses where the roles are limited to some decision points.
    pub(super) fn reaches_all(&self, what: &str) -> Result<(), Problem> {
        let Some(points) = self.identity.as_ref().and_then(|identity| identity.points()) else { return Ok(()) };
        let points: Vec<&str> = points.iter().map(|point| &**point).collect();
        let limited = "needs roles for all decision points, and those of this credential are limited to";
        Err(forbidden(POINT, format!("{what} {limited} {}", points.join(", "))))
    }

    /// The kinds of entities at the decision points that the roles are limited to; none: all.
    pub(super) fn kinds(&self, service: &Service) -> Option<Vec<Name>> {
        let points = self.identity.as_ref()?.points()?;
        let deployment = service.deployment.load();
        let of = |point: &Name| deployment.points.get(point).map(|point| point.entities.clone()).unwrap_or_default();
        Some(points.iter().flat_map(of).collect())
    }

    /// Refuses where a role is missing.
    pub(super) fn has(&self, role: Role) -> Result<(), Problem> {
        match self.identity.as_ref().filter(|identity| !identity.may(role)) {
            Some(_) => Err(lacks(role)),
            None => Ok(()),
        }
    }
}

impl FromRequestParts<Arc<Service>> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<Service>) -> Result<Self, Problem> {
        // Put there by `authorize`, which every route goes through.
        parts.extensions.get::<Self>().cloned().ok_or_else(|| forbidden(ROLE, "nobody may ask for this"))
    }
}

/// Lets a request through to its handler, or refuses it.
pub(super) async fn authorize(State(service): State<Arc<Service>>, mut request: Request, next: Next) -> Response {
    let need = need_of(&request);
    let begun = BegunTrace::of(&service.traces, &request);
    if let Some(begun) = begun {
        request.extensions_mut().insert(begun);
    }
    let answer = admitted(&service, need, request, next).await;
    if let Some(begun) = begun {
        begun.end(&service.traces, &answer);
    }
    answer
}

/// The answer to a request that may be asked; to another one, why it may not.
async fn admitted(service: &Arc<Service>, need: Option<Need>, mut request: Request, next: Next) -> Response {
    let address = request.extensions().get::<Peer>().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.address);
    let asked = Asked::of(&request, need.and_then(|need| need.role(request.uri().path())));
    let is_vouched_for = is_vouched_for(&request);
    let admission = match is_vouched_for {
        true => admit(service, need, address, &asked, &request),
        false => Err(refuse_one(service, refused(UNVOUCHED, address, None, &asked), unvouched())),
    };
    let caller = match admission {
        Ok(caller) => caller,
        Err(problem) => {
            let mut answer = problem.into_response();
            if !is_vouched_for {
                // A client that connects again shows the certificate that it has now.
                answer.extensions_mut().insert(EndsConnection);
            }
            return answer;
        }
    };
    let path = request.uri().path();
    let entry = need.and_then(|need| need.audited(path, &caller));
    request.extensions_mut().insert(caller.clone());
    let answer = match entry {
        Some(entry) => {
            // On its own: a client that hangs up takes back neither what it has done nor the entry of it.
            let audited = audited(Arc::clone(service), entry, caller.clone(), request, next);
            tokio::spawn(audited).await.unwrap_or_else(|_| failed().into_response())
        }
        None => next.run(request).await,
    };
    if let Some(reason) = of_roles(&answer) {
        let who = caller.identity.as_ref().map(|identity| &*identity.name);
        count(service, refused(reason, address, who, &asked));
    }
    answer
}

/// Runs a request and writes it into the audit, with what came of it.
async fn audited(
    service: Arc<Service>,
    (what, is_read): (String, bool),
    caller: Caller,
    request: Request,
    next: Next,
) -> Response {
    let Some(target) = target(request.uri()) else {
        let detail =
            format!("a path and a query of at most {MAX_TARGET} bytes are noted in the audit, and longer ones refused");
        return Problem::new(StatusCode::URI_TOO_LONG, "uri-too-long", detail).into_response();
    };
    let time_ms = service.clock.now_ms();
    let (mut answer, CameOf { about, is_unchanged }) = CameOf::heard(next.run(request)).await;
    if is_unchanged {
        answer.extensions_mut().insert(Unchanged);
    }
    let target = if about.is_empty() { target } else { format!("{target} {about}") };
    note(&service, time_ms, (what, is_read), target, &caller, answer).await
}

/// Writes into the audit what came of a request. Returns its answer, which for a read does not leave without that.
pub(super) async fn note(
    service: &Arc<Service>,
    time_ms: u64,
    (what, is_read): (String, bool),
    target: String,
    caller: &Caller,
    answer: Response,
) -> Response {
    let result = match answer.extensions().get::<ProblemType>() {
        Some(ProblemType(reason)) => reason.clone(),
        None if answer.extensions().get::<Unchanged>().is_some() => "unchanged".to_owned(),
        // A form that was carried out leads to another page.
        None if answer.status().is_success() || answer.status().is_redirection() => "done".to_owned(),
        None => answer.status().as_str().to_owned(),
    };
    let who = caller.name().map(|name| name.to_string());
    let entry = AuditEntry { time_ms, who, address: Some(caller.address.to_string()), what, target, result, count: 1 };
    let shared = Arc::clone(service);
    let written = service.lanes.command(move || shared.ledger.audit(entry)).await;
    match written.and_then(|written| written.map_err(Problem::from)) {
        Ok(()) => answer,
        // What nobody would know of is not given out. A command is done, and its own row says so.
        Err(problem) if is_read => service.refuse(problem).into_response(),
        Err(problem) => {
            crate::telemetry::log_limited!(error, why = problem.reason(), "a command is not in the audit");
            answer
        }
    }
}

fn failed() -> Problem {
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the host failed on this request")
}

/// A session of the console, as an extension of a request. Nothing but the console's own routes puts it
/// there, so a cookie is no credential of the JSON API.
#[derive(Debug, Clone)]
pub(super) struct SignedIn(pub(super) Session);

/// Whether the certificate of a request's connection would be accepted now: a CA that was replaced, and a certificate
/// that has expired, let nobody in on connections that are still open.
pub(super) fn is_vouched_for(request: &Request) -> bool {
    request.extensions().get::<Peer>().is_none_or(Peer::is_trusted)
}

fn unvouched() -> Problem {
    let detail = "the client certificate of this connection has expired, or is of a CA that server.tls.client_ca does \
                  not name any more; connect again with another certificate";
    Problem::new(StatusCode::UNAUTHORIZED, UNVOUCHED, detail)
}

/// Whom a request's credential names: its token, its session, or its client certificate.
fn named(access: &Access, now_ms: u64, request: &Request) -> Result<Arc<Identity>, Refusal> {
    let extensions = request.extensions();
    let certificate = extensions.get::<Peer>().and_then(|peer| peer.certificate.as_ref());
    let identity = match (token(request)?, extensions.get::<SignedIn>(), certificate) {
        (Some(token), ..) => access.of_token(token, now_ms),
        (None, Some(SignedIn(session)), _) => Ok(Arc::clone(&session.identity)),
        (None, None, Some(certificate)) => access.of_certificate(&certificate.said.dns_names, now_ms),
        (None, None, None) => {
            let detail = "a credential is needed: 'authorization: Bearer TOKEN'";
            return Err(unauthorized("no-credential", detail));
        }
    };
    identity.map_err(|error| Refusal { who: error.name().cloned(), ..unauthorized(error.reason(), error.to_string()) })
}

/// Who asks now, by the same credential as before; none where it is not accepted any more.
pub(super) fn named_now(service: &Service, request: &Request) -> Option<Option<Arc<Identity>>> {
    match service.access.current() {
        None => Some(None),
        Some(access) => named(&access, service.clock.now_ms(), request).ok().map(Some),
    }
}

/// What a request needs; none where it has no route.
fn need_of(request: &Request) -> Option<Need> {
    Need::of(request.method(), request.extensions().get::<MatchedPath>()?.as_str())
}

/// Whether a request is one that needs no credential.
pub(super) fn asks_nobody(request: &Request) -> bool {
    need_of(request) == Some(Need::Nothing)
}

/// Whom a request's credential names, if that one may ask for this.
fn admit(
    service: &Service,
    need: Option<Need>,
    address: IpAddr,
    asked: &Asked,
    request: &Request,
) -> Result<Caller, Problem> {
    let access = if need == Some(Need::Nothing) { None } else { service.access.current() };
    let Some(access) = access else { return Ok(Caller { identity: None, address }) };
    let unknown = |refusal: Refusal| {
        refuse_one(service, refused(refusal.reason, address, refusal.who.as_deref(), asked), refusal.problem())
    };
    let identity = named(&access, service.clock.now_ms(), request).map_err(unknown)?;
    let refused = |problem| refuse_one(service, refused(ROLE, address, Some(&identity.name), asked), problem);
    let Some(need) = need else { return Err(refused(forbidden(ROLE, "nobody may ask for this"))) };
    match need.lacks(request.uri().path(), &identity) {
        Some(role) => Err(refused(lacks(role))),
        None => Ok(Caller { identity: Some(identity), address }),
    }
}

/// The token that a request carries; none without one.
fn token(request: &Request) -> Result<Option<&str>, Refusal> {
    let in_query = |query: &str| {
        form_urlencoded::parse(query.as_bytes()).any(|(key, value)| {
            ["access_token", "token"].iter().any(|name| key.eq_ignore_ascii_case(name))
                || value.starts_with(TOKEN_PREFIX)
        })
    };
    if request.uri().query().is_some_and(in_query) {
        return Err(unauthorized(
            "credential-in-url",
            "a credential in a URL ends up in logs, and is not accepted; valid: 'authorization: Bearer TOKEN'",
        ));
    }
    bearer(request.headers())
}

fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Refusal> {
    let malformed = || {
        unauthorized("malformed-credential", "authorization: valid: one header, 'Bearer TOKEN', as the token was shown")
    };
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() || value.len() > MAX_CREDENTIAL {
        return Err(malformed());
    }
    let (scheme, token) = value.to_str().ok().and_then(|text| text.split_once(' ')).ok_or_else(malformed)?;
    let token = token.trim();
    if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic())
    {
        return Err(malformed());
    }
    Ok(Some(token))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::AUDIT_KINDS;

    #[test]
    fn every_kind_of_entry_is_among_those_that_can_be_asked_for() {
        let of_commands = COMMANDS.map(|command| format!("experiment.{command}"));
        let of_routes = NEEDS.iter().filter_map(|(_, _, need)| match need {
            Need::Audited(_, what) | Need::AuditedOrMasked(what) => Some((*what).to_owned()),
            _ => None,
        });
        for what in of_commands.into_iter().chain(of_routes) {
            assert!(AUDIT_KINDS.contains(&&*what), "{what}");
        }
        assert!(AUDIT_KINDS.is_sorted());
    }
}
