//! Signing in with a token, and out.

use std::sync::Arc;

use axum::extract::{Query, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use maud::html;

use super::cookie::SessionCookie;
use super::page::{Page, see};
use super::visitor::{Form, Sent, Visitor};
use super::words::encoded;
use crate::http::access::{Caller, refuse};
use crate::http::commands::MAX_TEXT;
use crate::http::{Problem, Service};
use crate::ledger::AuditEntry;

/// Bytes of a path to come back to.
const MAX_NEXT: usize = 2048;

/// Where to go after signing in.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
pub struct Next {
    next: String,
    ended: String,
}

/// A path of this host; the overview where the text is another thing.
fn local(next: &str) -> &str {
    let is_local = next.starts_with('/')
        && !next.starts_with("//")
        && next.len() <= MAX_NEXT
        && next.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    if is_local { next } else { "/" }
}

/// `GET /sign-in`.
pub async fn form(State(service): State<Arc<Service>>, visitor: Visitor, Query(next): Query<Next>) -> Response {
    if service.access.current().is_none() {
        return see(local(&next.next));
    }
    let said =
        (!next.ended.is_empty()).then_some("Your session has ended: its time was over, or its token was taken away.");
    drawn(&visitor, (&next.next, ""), said, StatusCode::OK)
}

/// The answer to a form whose session has ended. The way back leads to the form, with what was typed as the reason.
pub fn ended(visitor: &Visitor, path: &str, reason: &str) -> Response {
    let said = "Your session has ended, and nothing was done. Sign in to come back to the form; what you wrote is kept, \
                and it is you who sends it.";
    // A replay has no page of its own.
    let next = path.strip_suffix("/replay").unwrap_or(path);
    drawn(visitor, (next, reason), Some(said), StatusCode::UNAUTHORIZED)
}

/// Where to go after signing in, with what was typed there.
fn back(next: &str, reason: &str) -> String {
    let (next, reason) = (local(next), reason.chars().take(MAX_TEXT).collect::<String>());
    let sign = if next.contains('?') { '&' } else { '?' };
    if reason.is_empty() { next.to_owned() } else { format!("{next}{sign}reason={}", encoded(&reason)) }
}

fn drawn(visitor: &Visitor, (next, reason): (&str, &str), said: Option<&str>, status: StatusCode) -> Response {
    let body = html! {
        section.sign-in {
            h1 { "Sign in" }
            @if let Some(said) = said { p.refused role="alert" { (said) } }
            form method="post" action="/sign-in" {
                input type="hidden" name="next" value=(local(next));
                @if !reason.is_empty() { input type="hidden" name="reason" value=(reason); }
                label { "Token " input type="password" name="token" required autofocus autocomplete="current-password" spellcheck="false" maxlength="200"; }
                button.primary { "Sign in" }
            }
            p.small { "A token is made with " code { "serin token new" } ". The pages show what its roles allow, and everything \
                       that is done is recorded under its name. The session lasts at most twelve hours." }
        }
    };
    Page { status, title: "Sign in", place: "", visitor, live: None, body }.answer()
}

/// `POST /sign-in`.
pub async fn sign_in(
    State(service): State<Arc<Service>>,
    visitor: Visitor,
    mut request: Request,
) -> Result<Response, Problem> {
    let cookie = SessionCookie::of(&request);
    let form = Form::read(&mut request, &service).await?;
    let (next, reason) = (form.text("next"), form.text("reason"));
    let Some(access) = service.access.current() else { return Ok(see(&back(next, reason))) };
    let (token, now_ms) = (form.text("token").trim(), service.clock.now_ms());
    let identity = match access.of_token(token, now_ms) {
        Ok(identity) => identity,
        Err(error) => {
            let problem = Problem::new(StatusCode::UNAUTHORIZED, error.reason(), error.to_string());
            let problem = refuse(&service, visitor.caller.address, None, error.reason(), problem);
            if problem.status() == StatusCode::TOO_MANY_REQUESTS {
                return Err(problem);
            }
            let said = format!("The token is not accepted: {error}.");
            return Ok(drawn(&visitor, (next, reason), Some(&said), StatusCode::UNAUTHORIZED));
        }
    };
    let id = service.sessions.open(token, &identity, now_ms).ok_or_else(|| {
        Problem::unavailable("no-entropy", "the system has no entropy for a session; try again in a moment")
    })?;
    note(&service, &visitor.caller, &identity.name, "access.sign_in").await?;
    keep(&service).await?;
    Ok(with_cookie(see(&back(next, reason)), &cookie.opened(&id)))
}

/// `POST /sign-out`.
pub async fn sign_out(State(service): State<Arc<Service>>, request: Request) -> Result<Response, Problem> {
    use axum::extract::FromRequest as _;
    let cookie = SessionCookie::of(&request);
    let Some(id) = cookie.id(request.headers()).map(str::to_owned) else { return Ok(see("/sign-in")) };
    let access = service.access.current();
    let known = access.and_then(|access| service.sessions.find(&id, &access, service.clock.now_ms()));
    if let Some(session) = known {
        let Sent { visitor, .. } = Sent::from_request(request, &service).await?;
        service.sessions.end(&id);
        keep(&service).await?;
        note(&service, &visitor.caller, &session.identity.name, "access.sign_out").await?;
    }
    Ok(with_cookie(see("/sign-in"), &cookie.ended()))
}

fn with_cookie(mut answer: Response, cookie: &str) -> Response {
    if let Ok(value) = HeaderValue::from_str(cookie) {
        answer.headers_mut().insert(header::SET_COOKIE, value);
    }
    answer
}

/// Keeps the open sessions for a host that starts after this one.
async fn keep(service: &Arc<Service>) -> Result<(), Problem> {
    let shared = Arc::clone(service);
    service.lanes.command(move || shared.session_file.keep(&shared.sessions)).await
}

/// Writes into the audit that somebody came or went.
async fn note(service: &Arc<Service>, caller: &Caller, who: &str, what: &str) -> Result<(), Problem> {
    let entry = AuditEntry {
        time_ms: service.clock.now_ms(),
        who: Some(who.to_owned()),
        address: Some(caller.address.to_string()),
        what: what.to_owned(),
        target: "/".to_owned(),
        result: "done".to_owned(),
        count: 1,
    };
    let shared = Arc::clone(service);
    Ok(service.lanes.command(move || shared.ledger.audit(entry)).await??)
}

#[cfg(test)]
mod tests {
    use super::local;

    #[test]
    fn only_paths_of_this_host_are_gone_back_to() {
        for own in ["/", "/experiments/a?x=1", "/decisions?unit=b%2F1"] {
            assert_eq!(local(own), own);
        }
        for other in
            ["", "//evil.example", "/\\evil.example", "https://evil.example", "javascript:x", "/a\r\nb", "/a b"]
        {
            assert_eq!(local(other), "/", "{other}");
        }
    }
}
