//! Ids of entities, decisions and events, as clients send them.

/// The longest id, in bytes.
pub const MAX_ID: usize = 256;

/// Checks an id. An empty id, one with surrounding blanks, or one with control characters is
/// refused, because the client most likely means another entity.
///
/// # Errors
/// What is wrong with it, and what is valid.
pub fn check(id: &str) -> Result<(), String> {
    if !(1..=MAX_ID).contains(&id.len()) {
        return Err(format!("1 to {MAX_ID} bytes are needed"));
    }
    check_characters(id)
}

/// As [`check`], but without the length, which the caller checks.
///
/// # Errors
/// What is wrong with it, and what is valid.
pub fn check_characters(text: &str) -> Result<(), String> {
    // Fast path: most ids are plain ASCII and need no decoding.
    if text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(());
    }
    if text.chars().any(char::is_control) {
        return Err(format!("{text:?} has a control character; send it without"));
    }
    if text.starts_with(char::is_whitespace) || text.ends_with(char::is_whitespace) {
        return Err(format!("{text:?} begins or ends with a blank; send it without"));
    }
    Ok(())
}

/// Texts that programs write in place of a missing value.
const PLACEHOLDERS: [&str; 15] = [
    "undefined",
    "null",
    "(null)",
    "<null>",
    "none",
    "nil",
    "<nil>",
    "nan",
    "n/a",
    "#n/a",
    "\\N",
    "[object Object]",
    "[object Undefined]",
    "[object Null]",
    "00000000-0000-0000-0000-000000000000",
];

/// Says whether an id looks like a program's text for a missing value. Such ids are accepted,
/// because a real entity may have one.
pub fn is_placeholder(id: &str) -> bool {
    id.len() <= 36 && PLACEHOLDERS.iter().any(|nothing| nothing.eq_ignore_ascii_case(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_free_of_blanks_around_them_and_of_control_characters() {
        for id in ["b-17", "ünïcode", "a b", "[object Object]", "0", &"x".repeat(256)] {
            assert_eq!(check(id), Ok(()), "{id}");
        }
        for (id, needle) in [
            ("", "1 to 256 bytes"),
            (&*"x".repeat(257), "1 to 256 bytes"),
            ("b-1 ", "begins or ends with a blank"),
            (" ", "begins or ends with a blank"),
            ("\u{a0}b-1", "begins or ends with a blank"),
            ("b\u{1f}1", "\"b\\u{1f}1\" has a control character"),
            ("b-1\n", "control character"),
            ("b\0", "control character"),
            ("\u{85}", "control character"),
        ] {
            let error = check(id).expect_err(id);
            assert!(error.contains(needle), "{id:?}: {error}");
        }
    }

    #[test]
    fn placeholders_are_known_in_any_case() {
        for id in ["undefined", "NULL", "NaN", "None", "[object Object]", "00000000-0000-0000-0000-000000000000"] {
            assert!(is_placeholder(id), "{id}");
        }
        for id in ["b-17", "nullable", "0", ""] {
            assert!(!is_placeholder(id), "{id}");
        }
    }
}
