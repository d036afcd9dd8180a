//! The door of the console: sessions in, and refusals out as pages.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Extensions, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::Response;
use maud::{Markup, html};
use serin_core::Name;

use super::cookie::SessionCookie;
use super::page::{Page, see};
use super::signing;
use super::visitor::{Form, Visitor};
use super::words::{encoded, lines};
use crate::access::{Identity, Role, Session};
use crate::http::access::{Caller, SignedIn, is_vouched_for, named_now};
use crate::http::experiments::found;
use crate::http::rejudged::KnownBy;
use crate::http::{Peer, Problem, Service};

/// The session that a request's cookie names, while it is accepted: its token is looked up again.
pub fn session(service: &Service, request: &Request) -> Option<Session> {
    let access = service.access.current()?;
    let id = SessionCookie::of(request).id(request.headers())?;
    service.sessions.find(id, &access, service.clock.now_ms())
}

/// Who asks now, by the same credential as before. None where it is not accepted any more.
pub fn asks_now(service: &Service, request: &Request) -> Option<Option<Arc<Identity>>> {
    if !is_vouched_for(request) {
        return None;
    }
    if service.access.current().is_none() || request.extensions().get::<SignedIn>().is_none() {
        return named_now(service, request);
    }
    session(service, request).map(|session| Some(session.identity))
}

/// Whoever is signed in by these extensions, or nobody, as pages that refuse know them.
pub fn visitor(service: &Service, extensions: Extensions) -> Visitor {
    let identity = extensions.get::<SignedIn>().map(|SignedIn(session)| Arc::clone(&session.identity));
    let caller = Caller { identity, address: std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED) };
    let mut shell = axum::http::Request::new(()).into_parts().0;
    shell.extensions = extensions;
    Visitor::of(service, &shell, caller)
}

/// Lets a request through with its session, and makes a page of what is refused.
pub async fn door(State(service): State<Arc<Service>>, mut request: Request, next: Next) -> Response {
    let headers = request.headers();
    let has_credential = headers.contains_key(header::AUTHORIZATION);
    let had_session = SessionCookie::of(&request).id(headers).is_some();
    if !has_credential && let Some(session) = session(&service, &request) {
        request.extensions_mut().insert(SignedIn(session));
        request.extensions_mut().insert(KnownBy(asks_now));
    }
    let (method, uri, extensions) = (request.method().clone(), request.uri().clone(), request.extensions().clone());
    let (typed, request) = match !has_credential && is_nobodys_form(&service, &request) {
        true => {
            let (parts, body) = request.into_parts();
            let mut sent = Request::from_parts(parts.clone(), body);
            let form = Form::read(&mut sent, &service).await.ok();
            (form, Request::from_parts(parts, Body::empty()))
        }
        false => (None, request),
    };
    let answer = next.run(request).await;
    let Some(problem) = answer.extensions().get::<Problem>().filter(|_| uri.path() != "/console/live") else {
        return answer;
    };
    let is_read = method == Method::GET || method == Method::HEAD;
    if problem.status() == StatusCode::UNAUTHORIZED && is_read && !has_credential {
        let asked = uri.path_and_query().map_or("/", |path| path.as_str());
        let why = if had_session { "&ended=1" } else { "" };
        return see(&format!("/sign-in?next={}{why}", encoded(asked)));
    }
    let visitor = visitor(&service, extensions);
    let mut page = match typed.filter(|_| problem.status() == StatusCode::UNAUTHORIZED) {
        Some(form) => signing::ended(&visitor, uri.path(), form.text("reason")),
        None => refused(&service, &visitor, problem, point_of(&service, &uri).as_deref()),
    };
    // Its kind, for the audit and the metrics, and when to try again.
    *page.extensions_mut() = answer.extensions().clone();
    for name in [header::RETRY_AFTER, header::WWW_AUTHENTICATE] {
        if let Some(value) = answer.headers().get(&name) {
            page.headers_mut().insert(name, value.clone());
        }
    }
    page
}

/// Whether a request is a form of somebody who is not signed in, or not any more. It does nothing, but what was typed
/// into it is shown again.
fn is_nobodys_form(service: &Service, request: &Request) -> bool {
    let extensions = request.extensions();
    let has_certificate = extensions.get::<Peer>().is_some_and(|peer| peer.certificate.is_some());
    request.method() == Method::POST
        && !request.uri().path().starts_with("/sign-")
        && service.access.current().is_some()
        && !has_certificate
        && extensions.get::<SignedIn>().is_none()
}

/// The decision point that a page is about, by its address.
fn point_of(service: &Service, uri: &Uri) -> Option<Name> {
    let mut parts = uri.path().trim_start_matches('/').split('/');
    if parts.next() == Some("experiments") {
        let id = percent_encoding::percent_decode_str(parts.next()?).decode_utf8().ok()?;
        return Some(found(service, &id).ok()?.spec?.decision_point.clone());
    }
    let mut pairs = form_urlencoded::parse(uri.query()?.as_bytes());
    pairs.find(|(key, value)| key == "point" && !value.is_empty()).map(|(_, point)| Name::from(&*point))
}

/// A page that says why something was refused, and what to do. `point` is the decision point that it is about.
pub fn refused(service: &Service, visitor: &Visitor, problem: &Problem, point: Option<&str>) -> Response {
    let body = html! {
        section.refused role="alert" {
            h1 { (problem.title) }
            p { (lines(&problem.detail)) "." }
            @if problem.status == 403 { (who_may(service, &problem.detail, point)) }
            @if problem.status == 401 { p { a href="/sign-in" { "Sign in" } " and try again; nothing was done." } }
            @match (problem.status, problem.reason()) {
                (404 | 410, "unknown-decision" | "record-expired") => { p { "Decisions are kept for as long as " code { "ledger.retain" }
                    " in serin.toml says, and dry runs and bulk evaluations of flags are recorded nowhere. "
                    a href="/decisions" { "Look for another decision" } ", or begin with the " a href="/" { "overview" } "." } }
                (404, _) => { p { "What you look for may have ended, or its file may be gone: "
                    a href="/experiments" { "search all experiments" } ", or begin with the " a href="/" { "overview" } "." } }
                _ => {}
            }
            @if problem.status >= 500 { p { "Load the page again in a moment." } }
        }
    };
    Page { status: problem.status(), title: &problem.title, place: "", visitor, live: None, body }.answer()
}

/// Who has the role that is missing.
fn who_may(service: &Service, detail: &str, point: Option<&str>) -> Markup {
    let role = Role::ALL.into_iter().find(|role| detail.contains(&format!("'{}'", role.as_str())));
    html! { @if let Some(role) = role { p { (holders(service, role, point)) } } }
}

/// Who has a role at a decision point, or at all of them, as a sentence.
pub fn holders(service: &Service, role: Role, point: Option<&str>) -> Markup {
    let names = service.access.current().map(|access| access.with_role(role, point));
    html! {
        @if let Some(names) = names {
            @if names.is_empty() { "Nobody has it" @if point.is_some() { " there" } ": it is given in " code { "[access]" } " of serin.toml." }
            @else { "It is held by: " @for (at, name) in names.iter().enumerate() { @if at > 0 { ", " } b { (name) } } "." }
        }
    }
}
