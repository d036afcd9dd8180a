//! The files that pages load: a style sheet, a script and an icon.

use std::sync::LazyLock;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};

use crate::http::Problem;
use crate::http::wire::InPath;

/// The report's style sheet comes first, because pages show its parts.
static STYLE: LazyLock<String> =
    LazyLock::new(|| format!("{}{}", crate::report::STYLE, include_str!("assets/console.css")));
const SCRIPT: &str = include_str!("assets/console.js");
const ICON: &str = include_str!("assets/icon.svg");

/// Changes with the files.
static VERSION: LazyLock<String> = LazyLock::new(|| {
    let all = [STYLE.as_str(), SCRIPT, ICON].concat();
    let digest = ring::digest::digest(&ring::digest::SHA256, all.as_bytes());
    digest.as_ref().iter().take(6).map(|byte| format!("{byte:02x}")).collect()
});

/// The version of the files.
pub fn version() -> &'static str {
    &VERSION
}

/// Where a page loads a file from.
pub fn path(file: &str) -> String {
    format!("/console/{file}?v={}", version())
}

/// Serves a file. A browser keeps it: other content has another address.
pub async fn serve(InPath(file): InPath<String>) -> Result<Response, Problem> {
    let (media_type, text) = match file.as_str() {
        "console.css" => ("text/css; charset=utf-8", STYLE.as_str()),
        "console.js" => ("text/javascript; charset=utf-8", SCRIPT),
        "icon.svg" => ("image/svg+xml", ICON),
        _ => {
            let detail = "no such file; valid: console.css, console.js, icon.svg";
            return Err(Problem::new(StatusCode::NOT_FOUND, "not-found", detail));
        }
    };
    let kept = HeaderValue::from_static("public, max-age=31536000, immutable");
    Ok(([(header::CONTENT_TYPE, HeaderValue::from_static(media_type)), (header::CACHE_CONTROL, kept)], text)
        .into_response())
}
