//! Isolation of bad input: panics become errors, and messages are bounded.

use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Calls `load` and turns a panic into an error, so that a defect triggered by one file does not
/// stop the reading of all files. After an error nothing that `load` changed may be used. A stack
/// overflow cannot be caught, so code that recurses over an input needs its own bound.
///
/// # Errors
/// The error of `load`, or that it panicked.
pub fn caught<T>(load: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(load)).unwrap_or_else(|payload| {
        let said = payload.downcast_ref::<String>().map(String::as_str);
        let said = said.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("without a message");
        Err(format!("a defect in the host: reading it panicked: {}", clipped(said, 200)))
    })
}

/// Stands for a defect that a file meets: in a build for tests, a text with this panics when it is
/// read.
pub const DEFECT: &str = "serin:meets-a-defect";

/// To be called by whatever reads a file, so that tests can see what a panic there does. Nothing in a
/// release.
pub fn meet_defect(text: &[u8]) {
    let is_met = || text.windows(DEFECT.len()).any(|part| part == DEFECT.as_bytes());
    assert!(!(cfg!(debug_assertions) && is_met()), "the file asks for it");
}

/// A text cut to at most `max` bytes, with a mark if it was longer, for use in an error.
pub fn clipped(text: &str, max: usize) -> Cow<'_, str> {
    if text.len() <= max {
        return Cow::Borrowed(text);
    }
    let end = text.floor_char_boundary(max);
    Cow::Owned(format!("{}…", &text[..end]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_that_says_what_happened() {
        let error = caught::<()>(|| panic!("at {}", 7)).expect_err("a panic");
        assert!(error.ends_with("panicked: at 7"), "{error}");
        let error = caught::<()>(|| std::panic::panic_any(7)).expect_err("a panic");
        assert!(error.ends_with("without a message"), "{error}");
        assert_eq!(caught(|| Ok(1)), Ok(1));
        assert_eq!(caught::<()>(|| Err("no".to_owned())), Err("no".to_owned()));
    }

    #[test]
    fn a_clipped_text_ends_between_characters() {
        assert_eq!(clipped("short", 5), "short");
        assert_eq!(clipped("äöü", 3), "ä…");
    }
}
