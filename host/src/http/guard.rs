//! What keeps web pages away from the admin listener, and from the public one without `[access]`. A page that somebody has open can send
//! requests to this machine: under a name of its own that resolves to it (DNS rebinding), or
//! across origins. So the listener answers to its own names only, and changes nothing for a
//! page of another origin.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::body::is_json;
use super::cloudevents::{MEDIA_TYPES, is_cloudevents};
use super::{Problem, Service};

/// The names that the admin listener answers to.
#[derive(Debug)]
pub(super) struct HostNames {
    bound: IpAddr,
    names: Vec<String>,
}

impl HostNames {
    /// A guard of a listener that is bound to an address, and answers to these names as well.
    pub(super) fn new(bound: IpAddr, names: Vec<String>) -> Arc<Self> {
        Arc::new(Self { bound, names })
    }

    /// Whether a request under this name means this listener. An address is never somebody
    /// else's name, but only those that lead here are expected.
    fn answers_to(&self, host: &str) -> bool {
        let name = host.trim_end_matches('.').to_ascii_lowercase();
        let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        match address {
            Ok(address) => address.is_loopback() || address == self.bound || self.bound.is_unspecified(),
            Err(_) => name == "localhost" || self.names.contains(&name),
        }
    }

    /// Whether a request is of no page, or of one under a name of this listener's own. A page's request to change
    /// something has an `Origin`, whatever name it came under.
    fn check_page(&self, request: &Request) -> Result<(), Problem> {
        let headers = request.headers();
        if !headers.contains_key(header::ORIGIN) && !headers.contains_key("sec-fetch-site") {
            return Ok(());
        }
        match host(request.uri(), headers) {
            Some(host) if self.answers_to(host.host()) && is_same_origin(headers, &host) => Ok(()),
            _ => {
                let detail = "Origin: pages of other origins have no use of a host without [access]; valid: set \
                              [access] and send a token";
                Err(Problem::new(StatusCode::FORBIDDEN, "cross-origin", detail))
            }
        }
    }

    fn check(&self, request: &Request) -> Result<(), Problem> {
        // Probes come under whatever name, and learn nothing.
        if ["/healthz", "/readyz"].contains(&request.uri().path()) {
            return Ok(());
        }
        let host =
            host(request.uri(), request.headers()).filter(|host| self.answers_to(host.host())).ok_or_else(|| {
                let detail = "Host: not a name of the admin listener; valid: localhost, its address, and the names in \
                          server.admin_hosts";
                Problem::new(StatusCode::FORBIDDEN, "host-not-allowed", detail)
            })?;
        if [Method::GET, Method::HEAD, Method::OPTIONS, Method::TRACE].contains(request.method()) {
            return Ok(());
        }
        let headers = request.headers();
        if !is_same_origin(headers, &host) {
            let detail = "Origin: a page of another origin changes nothing here";
            return Err(Problem::new(StatusCode::FORBIDDEN, "cross-origin", detail));
        }
        // What a page may send anywhere without asking first is a form or a text.
        if is_console_form(request) {
            return match headers.contains_key(header::ORIGIN) {
                true => Ok(()),
                false => Err(without_origin()),
            };
        }
        if headers.contains_key(header::CONTENT_TYPE) && !is_json(headers) && !is_cloudevents(headers) {
            let is_of_events = ["/v1/outcomes", "/v1/exposures"].contains(&request.uri().path());
            let detail = if is_of_events {
                MEDIA_TYPES
            } else {
                "the body has to be JSON, sent with 'content-type: application/json'"
            };
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", detail));
        }
        Ok(())
    }
}

/// Keeps pages from the public listener while it asks nobody for a credential, which no page of somebody else's has.
pub(super) async fn guard_public(
    State((guard, service)): State<(Arc<HostNames>, Arc<Service>)>,
    request: Request,
    next: Next,
) -> Response {
    let checked = match service.access.current() {
        Some(_) => Ok(()),
        None => guard.check_page(&request),
    };
    match checked {
        Ok(()) => next.run(request).await,
        Err(problem) => service.refuse(problem).into_response(),
    }
}

/// Lets a request through to the admin listener, or refuses it.
pub(super) async fn guard(State(guard): State<Arc<HostNames>>, request: Request, next: Next) -> Response {
    let mut answer = match guard.check(&request) {
        Ok(()) => next.run(request).await,
        Err(problem) => {
            tracing::debug!(reason = problem.reason(), "refused on the admin listener");
            problem.into_response()
        }
    };
    let headers = answer.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(header::REFERRER_POLICY).or_insert(HeaderValue::from_static("no-referrer"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    // Nothing that is no page of the host's own is drawn as one.
    headers
        .entry(header::CONTENT_SECURITY_POLICY)
        .or_insert(HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"));
    answer
}

/// Whether a request is a form of the console. Those of its own pages carry a key, which is checked where
/// they are read; the JSON API takes no forms.
fn is_console_form(request: &Request) -> bool {
    let is_form = |value: &HeaderValue| {
        let mime = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim();
        mime.eq_ignore_ascii_case("application/x-www-form-urlencoded")
    };
    let is_api = request.uri().path().starts_with("/v1/");
    *request.method() == Method::POST && !is_api && request.headers().get(header::CONTENT_TYPE).is_some_and(is_form)
}

fn without_origin() -> Problem {
    let detail = "Origin: a form has to say which page it comes from, as browsers do";
    Problem::new(StatusCode::FORBIDDEN, "cross-origin", detail)
}

/// Whom a request is for: the target where that names it, as under HTTP/2, or its one `Host`.
pub(super) fn host(uri: &Uri, headers: &HeaderMap) -> Option<Authority> {
    if let Some(authority) = uri.authority() {
        return Some(authority.clone());
    }
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = hosts.next()?;
    if hosts.next().is_some() {
        return None;
    }
    Authority::try_from(host.as_bytes()).ok()
}

/// Whether a request is of no page at all, or of one of this listener's own.
fn is_same_origin(headers: &HeaderMap, host: &Authority) -> bool {
    let from_elsewhere =
        |value: &HeaderValue| !["same-origin", "none"].iter().any(|known| value.as_bytes() == known.as_bytes());
    if headers.get("sec-fetch-site").is_some_and(from_elsewhere) {
        return false;
    }
    headers.get_all(header::ORIGIN).iter().all(|origin| {
        let Ok(origin) = Uri::try_from(origin.as_bytes()) else { return false };
        let port = match origin.scheme_str() {
            Some("http") => 80,
            Some("https") => 443,
            _ => return false,
        };
        origin.host().is_some_and(|name| name.eq_ignore_ascii_case(host.host()))
            && origin.port_u16().unwrap_or(port) == host.port_u16().unwrap_or(port)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_answers_to_its_own_names_and_addresses() {
        let guard = |bound: &str| HostNames::new(bound.parse().expect("an address"), vec!["serin.internal".to_owned()]);
        let loopback = guard("127.0.0.1");
        for own in ["localhost", "LOCALHOST.", "127.0.0.1", "127.0.0.2", "[::1]", "serin.internal", "Serin.Internal"] {
            assert!(loopback.answers_to(own), "{own}");
        }
        for other in ["evil.example", "localhost.evil.example", "10.0.0.7", "", "127.0.0.1.evil.example", "internal"] {
            assert!(!loopback.answers_to(other), "{other}");
        }
        assert!(guard("10.0.0.7").answers_to("10.0.0.7") && !guard("10.0.0.7").answers_to("10.0.0.8"));
        assert!(guard("0.0.0.0").answers_to("10.0.0.7") && !guard("0.0.0.0").answers_to("evil.example"));
    }
}
