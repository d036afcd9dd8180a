//! Finds secrets in text and cuts them off: messages about files end up in logs and answers.

use std::borrow::Cow;

/// What a token begins with, so that a scanner of secrets finds one in a repository.
pub const TOKEN_PREFIX: &str = "serin_";
/// Hexadecimal digits after the prefix from which on it is a token, or a part of one. No metric has as many.
const DIGITS: usize = 8;

/// Hexadecimal digits of a token.
const WHOLE: usize = 64;
/// The prefix of a digest. A digest has as many digits as a token.
const DIGEST_PREFIX: &str = "sha256:";

/// The text, with what looks like a token cut off after its prefix, in whatever case that is written.
pub fn without_tokens(text: &str) -> Cow<'_, str> {
    let (lower, mut kept, mut shown) = (text.to_ascii_lowercase(), 0, String::new());
    for (at, _) in lower.match_indices(TOKEN_PREFIX) {
        let begin = at + TOKEN_PREFIX.len();
        let digits = digits_of(&lower[begin..]);
        if digits >= DIGITS {
            shown.push_str(&text[kept..begin]);
            shown.push('…');
            kept = begin + digits;
        }
    }
    if kept == 0 {
        return Cow::Borrowed(text);
    }
    shown.push_str(&text[kept..]);
    Cow::Owned(shown)
}

/// As [`without_tokens`], and without as many hexadecimal digits as a token has, whatever is before them; but for digests.
pub fn without_bare_tokens(text: &str) -> String {
    let text = without_tokens(text);
    let (mut shown, mut rest) = (String::with_capacity(text.len()), &*text);
    while let Some(begin) = rest.find(|c: char| c.is_ascii_hexdigit()) {
        let (before, from) = rest.split_at(begin);
        let (digits, after) = from.split_at(digits_of(from));
        shown.push_str(before);
        let said = shown.get(shown.len().saturating_sub(DIGEST_PREFIX.len())..);
        let is_digest = digits.len() == WHOLE && said.is_some_and(|said| said.eq_ignore_ascii_case(DIGEST_PREFIX));
        shown.push_str(if digits.len() >= WHOLE && !is_digest { "…" } else { digits });
        rest = after;
    }
    shown + rest
}

fn digits_of(text: &str) -> usize {
    text.bytes().take_while(u8::is_ascii_hexdigit).count()
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
        assert_eq!(said(&token.to_uppercase()), "SERIN_…");
        assert_eq!(said(&format!("größe {}", token.replace("se", "Se"))), "größe Serin_…");
    }

    #[test]
    fn the_digits_of_a_token_are_not_shown_by_themselves_and_a_digest_is() {
        let digits = "3aab".repeat(16);
        assert_eq!(without_bare_tokens(&format!("serin_/x{digits}y {digits}")), "serin_/x…y …");
        let digest = format!("/approve sha256:{digits}, a{}, größe", &digits[..40]);
        assert_eq!(without_bare_tokens(&digest), digest);
        assert_eq!(without_bare_tokens(&format!("sha256:{digits}0")), "sha256:…");
    }
}
