//! The door of the console: sessions in, and refusals out as pages.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{Extensions, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use maud::{Markup, html};

use super::cookie::SessionCookie;
use super::page::{Page, see};
use super::visitor::Visitor;
use super::words::{encoded, lines};
use crate::access::{Identity, Role, Session};
use crate::http::access::{Caller, SignedIn, is_vouched_for, named_now};
use crate::http::{Problem, Service};

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
    }
    let (parts, body) = request.into_parts();
    let (method, uri, extensions) = (parts.method.clone(), parts.uri.clone(), parts.extensions.clone());
    let answer = next.run(Request::from_parts(parts, body)).await;
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
    let mut page = refused(&service, &visitor, problem);
    // Its kind, for the audit and the metrics, and when to try again.
    *page.extensions_mut() = answer.extensions().clone();
    for name in [header::RETRY_AFTER, header::WWW_AUTHENTICATE] {
        if let Some(value) = answer.headers().get(&name) {
            page.headers_mut().insert(name, value.clone());
        }
    }
    page
}

/// A page that says why something was refused, and what to do.
pub fn refused(service: &Service, visitor: &Visitor, problem: &Problem) -> Response {
    let body = html! {
        section.refused role="alert" {
            h1 { (problem.title) }
            p { (lines(&problem.detail)) "." }
            @if problem.status == 403 { (who_may(service, &problem.detail)) }
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
fn who_may(service: &Service, detail: &str) -> Markup {
    let role = Role::ALL.into_iter().find(|role| detail.contains(&format!("'{}'", role.as_str())));
    html! { @if let Some(role) = role { p { (holders(service, role)) } } }
}

/// Who has a role, as a sentence.
pub fn holders(service: &Service, role: Role) -> Markup {
    let names = service.access.current().map(|access| access.with_role(role));
    html! {
        @if let Some(names) = names {
            @if names.is_empty() { "Nobody has it: it is given in " code { "[access]" } " of serin.toml." }
            @else { "It is held by: " @for (at, name) in names.iter().enumerate() { @if at > 0 { ", " } b { (name) } } "." }
        }
    }
}
