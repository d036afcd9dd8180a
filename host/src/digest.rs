//! SHA-256 of what a host stores and identifies.
//!
//! By `ring`, which rustls brings along: where a processor has no instructions for SHA-256, its code
//! takes some 55 % of the time of the `sha2` crate's, and the digest is a large part of storing a record. The
//! core keeps `sha2`, which authors' builds compile faster.

use std::io::Write;

use ring::digest::{Context, SHA256};

/// Lower-case hexadecimal SHA-256 of `bytes`, with the prefix `sha256:`; as [`serin_core::digest`].
pub fn digest(bytes: &[u8]) -> String {
    digest_of(&[bytes])
}

/// The digest of `parts`, one after the other.
pub fn digest_of(parts: &[&[u8]]) -> String {
    shown(&sha256(parts))
}

fn shown(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(7 + 64);
    text.push_str("sha256:");
    for byte in bytes {
        text.extend([byte >> 4, byte & 15].map(|digit| char::from(b"0123456789abcdef"[usize::from(digit)])));
    }
    text
}

/// SHA-256 of `parts`, one after the other.
pub fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    parts.iter().for_each(|part| context.update(part));
    let mut bytes = [0; 32];
    bytes.copy_from_slice(context.finish().as_ref());
    bytes
}

/// The digest of what is written to it.
pub struct Hasher(Context);

impl Hasher {
    /// Nothing was written yet.
    #[allow(clippy::new_without_default, reason = "a digest of nothing is not a default value")]
    pub fn new() -> Self {
        Self(Context::new(&SHA256))
    }

    /// The digest, as [`digest`] gives it.
    pub fn finish(self) -> String {
        shown(self.0.finish().as_ref())
    }
}

impl Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    #[test]
    fn it_is_the_cores_digest() {
        let bytes: Vec<u8> = (0..300_u32).map(|i| (i * 7) as u8).collect();
        for length in 0..bytes.len() {
            assert_eq!(super::digest(&bytes[..length]), serin_core::digest(&bytes[..length]));
            let parts = [&bytes[..length / 3], &bytes[length / 3..length]];
            assert_eq!(super::digest_of(&parts), serin_core::digest(&bytes[..length]));
            let mut hasher = super::Hasher::new();
            parts.iter().for_each(|part| hasher.write_all(part).expect("takes all"));
            assert_eq!(hasher.finish(), serin_core::digest(&bytes[..length]));
        }
    }
}
