//! Finds secrets in text and cuts them off: messages about files end up in logs and answers.

use std::borrow::Cow;

/// What a token begins with, so that a scanner of secrets finds one in a repository.
pub const TOKEN_PREFIX: &str = "serin_";
/// Hexadecimal digits after the prefix from which on it is a token, or a part of one. No metric has as many.
const DIGITS: usize = 8;

/// The text, with what looks like a token cut off after its prefix.
pub fn without_tokens(text: &str) -> Cow<'_, str> {
    if !text.contains(TOKEN_PREFIX) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(TOKEN_PREFIX) {
        let (before, after) = rest.split_at(at + TOKEN_PREFIX.len());
        let digits = after.bytes().take_while(u8::is_ascii_hexdigit).count();
        shown.push_str(before);
        rest = if digits < DIGITS {
            after
        } else {
            shown.push('…');
            &after[digits..]
        };
    }
    shown.push_str(rest);
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_not_shown_and_a_metric_is() {
        let token = format!("{TOKEN_PREFIX}{}", "3aab".repeat(16));
        let said = |text: &str| without_tokens(text).into_owned();
        assert_eq!(said(&format!("name = \"{token}\"; {token}x")), "name = \"serin_…\"; serin_…x");
        assert_eq!(said(&token.to_uppercase().replace("SERIN", "serin")), "serin_…");
        assert_eq!(said(&token[..20]), "serin_…", "cut off");
        assert_eq!(said("serin_access_refused_total of serin_"), "serin_access_refused_total of serin_");
        assert_eq!(said("größe"), "größe");
    }
}
