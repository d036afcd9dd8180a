//! SHA-256 of what a host stores and identifies.
//!
//! By `ring`, which rustls brings along: where a processor has no instructions for SHA-256, its code
//! takes some 55 % of the time of the `sha2` crate's, and the digest is a large part of storing a record. The
//! core keeps `sha2`, which authors' builds compile faster.

use ring::digest::{Context, SHA256};

/// Lower-case hexadecimal SHA-256 of `bytes`, with the prefix `sha256:`; as [`serin_core::digest`].
pub fn digest(bytes: &[u8]) -> String {
    digest_of(&[bytes])
}

/// The digest of `parts`, one after the other.
pub fn digest_of(parts: &[&[u8]]) -> String {
    let mut text = String::with_capacity(7 + 64);
    text.push_str("sha256:");
    for byte in sha256(parts) {
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

#[cfg(test)]
mod tests {
    #[test]
    fn it_is_the_cores_digest() {
        let bytes: Vec<u8> = (0..300_u32).map(|i| (i * 7) as u8).collect();
        for length in 0..bytes.len() {
            assert_eq!(super::digest(&bytes[..length]), serin_core::digest(&bytes[..length]));
            let parts = [&bytes[..length / 3], &bytes[length / 3..length]];
            assert_eq!(super::digest_of(&parts), serin_core::digest(&bytes[..length]));
        }
    }
}
