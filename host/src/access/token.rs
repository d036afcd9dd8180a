//! Tokens. A token is a secret of 256 random bits; the configuration holds its SHA-256 alone, from
//! which it cannot be found.

use ring::digest::{SHA256, digest};
pub use serin_core::secrets::TOKEN_PREFIX;
use subtle::ConstantTimeEq as _;

/// Random bytes of a token.
const BYTES: usize = 32;

/// A new token. It is shown once.
pub struct Token(String);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(TOKEN_PREFIX)
    }
}

impl Token {
    /// A token from the system's entropy.
    ///
    /// # Errors
    /// That the system has none.
    pub fn generate() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; BYTES];
        getrandom::fill(&mut bytes)?;
        Ok(Self(bytes.iter().fold(TOKEN_PREFIX.to_owned(), |text, byte| text + &format!("{byte:02x}"))))
    }

    /// The text that a client sends.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// SHA-256 of a token.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// The hash of a token.
    pub fn of(token: &str) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
        Self(hash)
    }

    /// A hash as it is written, in 64 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let mut hash = [0; 32];
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        for (at, byte) in hash.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
        }
        Some(Self(hash))
    }

    /// As it is written.
    pub fn to_hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    pub(super) fn prefix(&self) -> [u8; 8] {
        let mut prefix = [0; 8];
        prefix.copy_from_slice(&self.0[..8]);
        prefix
    }

    /// Whether two are equal, in a time that does not depend on where they differ.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_new_each_time_and_its_hash_is_read_as_it_is_written() {
        let (one, two) = (Token::generate().expect("entropy"), Token::generate().expect("entropy"));
        assert!(one.as_str().starts_with(TOKEN_PREFIX) && one.as_str().len() == TOKEN_PREFIX.len() + 2 * BYTES);
        assert_ne!(one.as_str(), two.as_str());
        let hash = TokenHash::of(one.as_str());
        assert_eq!(TokenHash::parse(&hash.to_hex()), Some(hash.clone()));
        assert!(hash.is_same(&TokenHash::of(one.as_str())) && !hash.is_same(&TokenHash::of(two.as_str())));
        for bad in ["", "ab", &"g".repeat(64), &"é".repeat(32), &hash.to_hex()[1..]] {
            assert_eq!(TokenHash::parse(bad), None, "{bad}");
        }
    }
}
