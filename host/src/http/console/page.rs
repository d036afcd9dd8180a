//! The frame of every page: its head, the navigation, and the live parts in its middle.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use maud::{Markup, PreEscaped, html};

use super::assets;
use super::shelf::Part;
use super::visitor::Visitor;

/// What a page may do: draw itself with this host's style sheet, run this host's script, and ask this host.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// The pages of the navigation.
const PLACES: [(&str, &str); 6] = [
    ("/", "Overview"),
    ("/experiments", "Experiments"),
    ("/decisions", "Decisions"),
    ("/plugins", "Plugins"),
    ("/models", "Models"),
    ("/features", "Features"),
];

/// A page.
pub struct Page<'a> {
    /// The status of the answer.
    pub status: StatusCode,
    /// Its title.
    pub title: &'a str,
    /// Where it is in the navigation: one of its paths.
    pub place: &'a str,
    /// Who looks at it.
    pub visitor: &'a Visitor,
    /// Where its changes come from; none where it has no live parts.
    pub live: Option<&'a str>,
    /// Its content.
    pub body: Markup,
}

impl Page<'_> {
    /// It as an answer.
    pub fn answer(self) -> Response {
        let status = self.status;
        let mut answer = (status, self.draw().into_string()).into_response();
        let headers = answer.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
        // Without one, a form of the page would not say where it comes from.
        headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
        answer
    }

    fn draw(&self) -> Markup {
        html! {
            (PreEscaped("<!doctype html>"))
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    title { (self.title) " - Serin" }
                    link rel="icon" href=(assets::path("icon.svg")) type="image/svg+xml";
                    link rel="stylesheet" href=(assets::path("console.css"));
                    script src=(assets::path("console.js")) defer {}
                }
                body data-version=(assets::version()) {
                    a.skip href="#main" { "Skip to the content" }
                    (self.banner())
                    main id="main" tabindex="-1" data-live=[self.live] {
                        (self.body)
                    }
                }
            }
        }
    }

    fn banner(&self) -> Markup {
        let is_known = self.visitor.is_open || self.visitor.name.is_some();
        html! {
            header.banner {
                a.brand href="/" { "Serin" }
                @if is_known {
                    nav aria-label="Pages" {
                        @for (path, name) in PLACES {
                            a href=(path) aria-current=[(path == self.place).then_some("page")] { (name) }
                        }
                    }
                    p.who {
                        @if self.live.is_some() { span.live hidden { "live" } }
                        @if self.visitor.is_open || self.visitor.may_operate() {
                            a.quiet href="/freeze" { "Freeze all\u{2026}" }
                        }
                        @if let Some(name) = &self.visitor.name { span { "as " b { (name) } } }
                        @if self.visitor.has_session {
                            form method="post" action="/sign-out" {
                                input type="hidden" name="form_key" value=(self.visitor.form_key);
                                button.quiet { "Sign out" }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The parts of a page in their places.
pub fn parts(parts: &[Part]) -> Markup {
    html! {
        @for part in parts {
            div.part id={ "part-" (part.name) } data-part=(part.name) data-mark=(part.mark) { (PreEscaped(&part.html)) }
        }
    }
}

/// An answer that sends a browser to another page.
pub fn see(path: &str) -> Response {
    let location = HeaderValue::from_str(path).unwrap_or(HeaderValue::from_static("/"));
    (StatusCode::SEE_OTHER, [(header::LOCATION, location)]).into_response()
}
