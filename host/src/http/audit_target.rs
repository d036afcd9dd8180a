//! What an entry of the audit says that a request was about.

use std::borrow::Cow;

use axum::http::Uri;

/// Bytes of what an audited request was about.
pub(super) const MAX_TARGET: usize = 1024;

/// What a request is about, in the words of its sender: decoded, so that it is found however it was
/// written, and without what looks like a token. None where it is too long.
pub(super) fn target(uri: &Uri) -> Option<String> {
    let (path, query) = (uri.path(), uri.query().unwrap_or_default());
    if path.len() + query.len() > MAX_TARGET {
        return None;
    }
    let mut target = percent_encoding::percent_decode_str(path).decode_utf8_lossy().into_owned();
    for (at, (key, value)) in form_urlencoded::parse(query.as_bytes()).enumerate() {
        target += &format!("{}{key}={value}", if at == 0 { '?' } else { '&' });
    }
    Some(shown_target(&target))
}

/// The text of an entry's target: on one line, bounded, and without what looks like a token, however often it was encoded.
pub(super) fn shown_target(text: &str) -> String {
    let mut decoded = text.to_owned();
    while let Some(further) = decoded_once(&decoded) {
        decoded = further;
    }
    let masked = serin_core::without_bare_tokens(&decoded);
    let is_secret = masked != decoded;
    serin_core::printable_to(if is_secret { &masked } else { text }, 2 * MAX_TARGET)
}

/// The text with what is encoded in it decoded; none where nothing is.
fn decoded_once(text: &str) -> Option<String> {
    match percent_encoding::percent_decode_str(text).decode_utf8_lossy() {
        Cow::Owned(decoded) => Some(decoded),
        Cow::Borrowed(_) => None,
    }
}
