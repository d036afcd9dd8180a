//! What is refused before any page is asked for, as a path that is not there: a page for a browser, and a problem
//! document for everything else.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{Extensions, HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::door::{refused, session, visitor};
use crate::http::access::SignedIn;
use crate::http::error::not_found;
use crate::http::{Problem, Service};

/// The answer to a path that no route has.
pub async fn answer(State(service): State<Arc<Service>>, mut request: Request) -> Response {
    let problem = not_found().await;
    if !takes_pages(request.headers()) {
        return problem.into_response();
    }
    // No route, so no door: the page greets by name whoever is signed in.
    if let Some(session) = session(&service, &request) {
        request.extensions_mut().insert(SignedIn(session));
    }
    let visitor = visitor(&service, request.into_parts().0.extensions);
    let shown = Problem { title: "Nothing here".to_owned(), detail: "no page has this address".to_owned(), ..problem };
    let mut page = refused(&service, &visitor, &shown, None);
    *page.extensions_mut() = shown.into_response().extensions().clone();
    page
}

/// Makes pages, for who looks at them, of what the guard refuses: it stands before every door.
pub async fn pages(State(service): State<Arc<Service>>, request: Request, next: Next) -> Response {
    let is_for_a_reader = takes_pages(request.headers());
    let answer = next.run(request).await;
    let is_of_guard = |problem: &&Problem| ["host-not-allowed", "cross-origin"].contains(&problem.reason());
    let Some(problem) = answer.extensions().get::<Problem>().filter(|_| is_for_a_reader).filter(is_of_guard) else {
        return answer;
    };
    // Whoever sent it is not asked who they are: what another page sends may carry somebody's session.
    let mut page = refused(&service, &visitor(&service, Extensions::new()), problem, None);
    for (name, value) in answer.headers() {
        if ![header::CONTENT_TYPE, header::CONTENT_LENGTH].contains(name) {
            page.headers_mut().entry(name).or_insert_with(|| value.clone());
        }
    }
    *page.extensions_mut() = answer.extensions().clone();
    page
}

/// Whether a client names HTML among what it takes, as browsers do; `*/*` does not.
fn takes_pages(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(header::ACCEPT).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(|entry| {
        let mut parts = entry.split(';').map(str::trim);
        let is_html = parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case("text/html"));
        let quality = parts.find_map(|part| part.strip_prefix("q=")?.parse::<f64>().ok());
        is_html && quality.is_none_or(|quality| quality > 0.0)
    })
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn a_page_is_for_who_names_html() {
        for (accept, expected) in [
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", true),
            ("application/json, Text/HTML;q=0.5", true),
            ("text/html;q=0", false),
            ("*/*", false),
            ("application/json", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
            assert_eq!(takes_pages(&headers), expected, "{accept}");
        }
        assert!(!takes_pages(&HeaderMap::new()));
    }
}
