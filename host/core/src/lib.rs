//! Serin's pure core: the types of a decision and its record, the assignment of units to arms, and
//! the lifecycle and statistics of experiments. Nothing here does IO, reads a clock or draws a
//! random number, so every result can be recomputed from the record.
#![forbid(unsafe_code)]

pub mod allocation;
pub mod analysis;
pub mod answer;
pub mod bounds;
pub mod by_name;
pub mod case;
pub mod experiment;
#[cfg(feature = "expressions")]
pub mod expression;
mod guard;
pub mod identifier;
pub mod limits;
pub mod manifest;
pub mod manifest_changes;
pub mod numbers;
pub mod plan;
pub mod projection;
pub mod record;
pub mod row;
pub mod secrets;
mod similar;
pub mod stats;
mod toml_errors;
pub mod unique;
pub mod value;

pub use guard::{DEFECT, caught, clipped, meet_defect};
pub use secrets::{without_bare_tokens, without_tokens};
pub use similar::most_similar;
pub use toml_errors::{toml_example, toml_message};

/// A name from a manifest, a configuration or a request: shared, never copied.
pub type Name = std::sync::Arc<str>;

/// An ordered map by name. Names come from operators and authors, never from clients, so the hash
/// is fast instead of resistant to chosen keys.
pub type NameMap<V> = indexmap::IndexMap<Name, V, rustc_hash::FxBuildHasher>;

/// The position and the value of `name`, looked up at `near` first. Reading names in the map's own
/// order, the common case, needs no hash.
pub fn find_near<'m, V>(map: &'m NameMap<V>, near: usize, name: &str) -> Option<(usize, &'m V)> {
    match map.get_index(near) {
        Some((found, value)) if **found == *name => Some((near, value)),
        _ => map.get_full(name).map(|(at, _, value)| (at, value)),
    }
}

/// Lower-case hexadecimal SHA-256 of `bytes`, with the `sha256:` prefix that every
/// digest in Serin carries.
pub fn digest(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    format!("sha256:{:x}", sha2::Sha256::digest(bytes))
}

/// Says whether `text` can name a plugin, a view, a feature, an action, a reason and the
/// like: a letter, then at most 63 letters, digits, `_` or `-`.
pub fn is_name(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next().is_some_and(|first| first.is_ascii_alphabetic())
        && text.len() <= 64
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
}

/// The most characters of a file's text in a message.
const SHOWN: usize = 200;

/// A file's text or name for messages, logs and answers: on one line, with invisible characters
/// escaped, and truncated.
pub fn printable(text: &str) -> String {
    printable_to(text, SHOWN)
}

/// As [`printable`], with room for `most` characters of the text.
pub fn printable_to(text: &str, most: usize) -> String {
    let mut shown = String::with_capacity(text.len().min(most));
    let mut chars = text.chars();
    for c in chars.by_ref().take(most) {
        match c {
            '\'' | '"' | '\\' => shown.push(c),
            c => shown.extend(c.escape_debug()),
        }
    }
    if chars.next().is_some() {
        shown.push('…');
    }
    shown
}

/// A text of somebody's, whole and with its lines, of which nothing acts on what shows it: control characters, which
/// terminals obey, and those that change the direction of what follows are escaped.
pub fn inert(text: &str) -> String {
    escaped(text, |c| acts(c) && !matches!(c, '\n' | '\t'))
}

/// As [`inert`], on one line: a line break in somebody's text would begin a line that reads as the program's own.
pub fn inert_line(text: &str) -> String {
    escaped(text, |c| acts(c) || is_line_break(c))
}

/// Says whether a terminal begins another line for a character, or may.
pub fn is_line_break(c: char) -> bool {
    matches!(c, '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// Says whether a character acts on what shows it.
fn acts(c: char) -> bool {
    let turns = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    turns || c.is_control()
}

fn escaped(text: &str, is_escaped: impl Fn(char) -> bool) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\r' | '\t' if is_escaped(c) => shown.extend(c.escape_default()),
            c if is_escaped(c) => shown.extend(c.escape_unicode()),
            c => shown.push(c),
        }
    }
    shown
}

/// A message for logs and answers: it keeps its lines; each line and the whole are truncated.
pub fn message_to(text: &str, most: usize) -> String {
    let lines: Vec<String> = text.lines().take(most).map(|line| printable_to(line, most / 2)).collect();
    let text = lines.join("\n");
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// What [`is_name`] accepts, for error messages.
pub const NAME_RULE: &str = "a letter, then up to 63 letters, digits, '_' or '-'";
