//! Serin's pure core: the words of a decision, the allocation of units to arms, and
//! what is true of a record. Nothing here does IO, reads a clock or draws a random
//! number, so that whatever is decided here can be decided again from the record.
#![forbid(unsafe_code)]

pub mod allocation;
pub mod analysis;
pub mod answer;
pub mod bounds;
pub mod case;
pub mod experiment;
#[cfg(feature = "expressions")]
pub mod expression;
mod guard;
pub mod identifier;
pub mod limits;
pub mod manifest;
pub mod plan;
pub mod projection;
pub mod record;
pub mod row;
mod similar;
pub mod stats;
pub mod unique;
pub mod value;

pub use guard::{DEFECT, caught, clipped, meet_defect, toml_message};
pub use similar::most_similar;

/// A name from a manifest, a configuration or a request: shared, never copied.
pub type Name = std::sync::Arc<str>;

/// What is known by name, in order. The names are an operator's or an author's, never a
/// client's, so that the hash need not withstand chosen keys, and can be quick.
pub type NameMap<V> = indexmap::IndexMap<Name, V, rustc_hash::FxBuildHasher>;

/// The place and the value of `name`, looked for at `near` first: whoever goes through names in
/// the map's own order, as most do, needs no hash.
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

/// Characters of a text from a file that a message shows.
const SHOWN: usize = 200;

/// A text from a file or a name of one, as messages, logs and answers show it: on one line, with
/// control characters and other invisible ones escaped, and cut off where it is long.
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

/// A message as logs and answers hold it: its lines stay, and they and it have an end.
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
