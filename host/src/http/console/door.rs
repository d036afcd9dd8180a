//! The door of the console: sessions in, and refusals out as pages.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use maud::html;

use super::page::{Page, see};
use super::visitor::Visitor;
use super::words::encoded;
use crate::access::{Identity, Role};
use crate::http::access::{Caller, SignedIn, is_vouched_for, named_now};
use crate::http::{Problem, Service};

/// The name of the cookie. Cookies do not know ports, and hosts on one machine differ in nothing else.
pub fn cookie_name(headers: &HeaderMap) -> String {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let port = host.rsplit_once(':').map_or("", |(_, port)| port);
    let port: String = port.chars().filter(char::is_ascii_digit).take(5).collect();
    format!("serin_session_{port}")
}

/// The id of the session that a request names.
pub fn session_id(headers: &HeaderMap) -> Option<&str> {
    let name = cookie_name(headers);
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(key, _)| *key == name).map(|(_, id)| id)
}

/// Who asks now, by the same credential as before: a session is looked up again, and so is its token. None
/// where it is not accepted any more.
pub fn asks_now(service: &Service, request: &Request) -> Option<Option<Arc<Identity>>> {
    if !is_vouched_for(request) {
        return None;
    }
    let Some(access) = service.access.current() else { return Some(None) };
    if request.extensions().get::<SignedIn>().is_none() {
        return named_now(service, request);
    }
    let session = service.sessions.find(session_id(request.headers())?, &access, service.clock.now_ms())?;
    Some(Some(session.identity))
}

/// Lets a request through with its session, and makes a page of what is refused.
pub async fn door(State(service): State<Arc<Service>>, mut request: Request, next: Next) -> Response {
    let headers = request.headers();
    let has_credential = headers.contains_key(header::AUTHORIZATION);
    let had_session = session_id(headers).is_some();
    if let (Some(access), Some(id), false) = (service.access.current(), session_id(headers), has_credential)
        && let Some(session) = service.sessions.find(id, &access, service.clock.now_ms())
    {
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
    let identity = extensions.get::<SignedIn>().map(|SignedIn(session)| Arc::clone(&session.identity));
    let caller = Caller { identity, address: std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED) };
    let mut shell = axum::http::Request::new(()).into_parts().0;
    shell.extensions = extensions;
    let visitor = Visitor::of(&service, &shell, caller);
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
fn refused(service: &Service, visitor: &Visitor, problem: &Problem) -> Response {
    let body = html! {
        section.refused role="alert" {
            h1 { (problem.title) }
            p { (problem.detail) "." }
            @if problem.status == 403 { (who_may(service, &problem.detail)) }
            @if problem.status == 401 { p { a href="/sign-in" { "Sign in" } " and try again; nothing was done." } }
            @if problem.status == 404 { p { "What you look for may have ended, or its file may be gone: "
                a href="/experiments" { "search all experiments" } ", or begin with the " a href="/" { "overview" } "." } }
            @if problem.status >= 500 { p { "Load the page again in a moment." } }
        }
    };
    Page { status: problem.status(), title: &problem.title, place: "", visitor, live: None, body }.answer()
}

/// Who has the role that is missing.
fn who_may(service: &Service, detail: &str) -> maud::Markup {
    let role = Role::ALL.into_iter().find(|role| detail.contains(&format!("'{}'", role.as_str())));
    let names = role.zip(service.access.current()).map(|(role, access)| access.with_role(role));
    html! {
        @if let Some(names) = names {
            p {
                @if names.is_empty() { "Nobody has it: it is given in " code { "[access]" } " of serin.toml." }
                @else { "It is held by: " @for (at, name) in names.iter().enumerate() { @if at > 0 { ", " } b { (name) } } "." }
            }
        }
    }
}
