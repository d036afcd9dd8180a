//! Answers compressed for clients that ask for it: those of the admin listener, batches and documents. Not a layer of
//! `tower-http`, whose compression streams and would run on the listeners' workers: these answers are whole already, and
//! are compressed in the lane of computation.
//!
//! An `ETag` stays as it is. On these routes it is the version of a status, for `If-Match`, and nothing is cached.

use std::io::Write as _;
use std::sync::Arc;

use axum::body::{Body, Bytes, HttpBody as _};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;
use http_body_util::BodyExt as _;

use super::Service;

/// Below this a packet holds the answer as it is.
const LEAST: u64 = 1024;
/// Above this an answer goes out as it is: it takes its time anyway, and a core would be busy for seconds.
const MOST: u64 = 64 << 20;
/// Of zstd: the default, and about as dense as gzip's best.
const ZSTD_LEVEL: i32 = 3;

/// How an answer is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coding {
    Gzip,
    Zstd,
}

impl Coding {
    fn as_str(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }
}

/// Compresses the answers of what it is laid around.
pub(super) async fn compress(State(service): State<Arc<Service>>, request: Request, next: Next) -> Response {
    let coding = wanted(request.headers());
    // Pages about decisions hold what was searched for beside what is known of persons: the length of a page would tell
    // about that. The keys of forms are masked anew on each page.
    let is_about_persons = request.uri().path().starts_with("/decisions");
    let mut answer = next.run(request).await;
    if is_about_persons || !is_worth_it(&answer) {
        return answer;
    }
    answer.headers_mut().append(header::VARY, HeaderValue::from_static("accept-encoding"));
    let Some(coding) = coding else { return answer };
    let (mut parts, body) = answer.into_parts();
    // It has its whole length, so it is there.
    let Ok(whole) = body.collect().await.map(http_body_util::Collected::to_bytes) else {
        return Response::from_parts(parts, Body::empty());
    };
    let plain = whole.clone();
    let compressed = service.lanes.compute(move || compressed(coding, &whole)).await;
    let Ok(Some(compressed)) = compressed else { return Response::from_parts(parts, plain.into()) };
    parts.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding.as_str()));
    parts.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(parts, compressed.into())
}

/// None where it cannot be compressed, or becomes no smaller.
fn compressed(coding: Coding, whole: &Bytes) -> Option<Vec<u8>> {
    let compressed = match coding {
        Coding::Zstd => zstd::stream::encode_all(&**whole, ZSTD_LEVEL).ok()?,
        Coding::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            encoder.write_all(whole).ok()?;
            encoder.finish().ok()?
        }
    };
    (compressed.len() < whole.len()).then_some(compressed)
}

/// Whether an answer is a text that is there as a whole, and long enough.
fn is_worth_it(answer: &Response) -> bool {
    let headers = answer.headers();
    let length = answer.body().size_hint().exact();
    let mime = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mime = mime.split(';').next().unwrap_or_default().trim();
    let is_text = mime.starts_with("text/") || mime.ends_with("json") || mime == "application/openmetrics-text";
    length.is_some_and(|length| (LEAST..=MOST).contains(&length))
        && is_text
        && mime != "text/event-stream"
        && !headers.contains_key(header::CONTENT_ENCODING)
}

/// The coding that the client likes best; zstd where it likes both alike.
fn wanted(headers: &HeaderMap) -> Option<Coding> {
    let values = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    let (mut gzip, mut zstd, mut any) = (None, None, None);
    for coding in values.flat_map(|value| value.split(',')) {
        let (name, parameters) = coding.split_once(';').unwrap_or((coding, ""));
        let weight = match parameters.trim().split_once('=') {
            Some((q, weight)) if q.trim().eq_ignore_ascii_case("q") => weight.trim().parse().unwrap_or(0.0),
            Some(_) => 0.0,
            None => 1.0_f32,
        };
        match &*name.trim().to_ascii_lowercase() {
            "gzip" | "x-gzip" => gzip = Some(weight),
            "zstd" => zstd = Some(weight),
            "*" => any = Some(weight),
            _ => {}
        }
    }
    let weight = |named: Option<f32>| named.or(any).unwrap_or(0.0);
    let (gzip, zstd) = (weight(gzip), weight(zstd));
    match () {
        () if zstd > 0.0 && zstd >= gzip => Some(Coding::Zstd),
        () if gzip > 0.0 => Some(Coding::Gzip),
        () => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_gets_the_coding_that_it_likes_best() {
        let of = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_str(text).expect("a value"));
            wanted(&headers)
        };
        for (text, coding) in [
            ("gzip", Some(Coding::Gzip)),
            ("gzip, deflate, br, zstd", Some(Coding::Zstd)),
            ("zstd;q=0.5, gzip", Some(Coding::Gzip)),
            ("GZIP ; Q=0.1", Some(Coding::Gzip)),
            ("*", Some(Coding::Zstd)),
            ("*, zstd;q=0", Some(Coding::Gzip)),
            ("gzip;q=0, zstd;q=0", None),
            ("gzip;q=much", None),
            ("identity, br", None),
            ("", None),
        ] {
            assert_eq!(of(text), coding, "{text}");
        }
        assert_eq!(wanted(&HeaderMap::new()), None);
    }
}
