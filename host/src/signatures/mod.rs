//! Signatures of artifacts and models: Ed25519 in minisign's format, so that the `minisign` program reads
//! and writes them too. A file's signature lies beside it, under its name and `.minisig`.
//!
//! A signature covers the whole file and a comment, which are then trusted alike. Its other comment is
//! anybody's, and is neither read nor shown.

mod keys;
mod trust;

use std::io::Cursor;
use std::path::{Path, PathBuf};

use minisign::SignatureBox;
use serin_core::printable_to;

use crate::files;

pub use keys::{KeyError, PublicKey, SecretKey, make_keys, public_path};
pub use trust::{Candidate, Judged, Trust};

/// How the name of a signature's file ends.
pub const SUFFIX: &str = ".minisig";
/// Bytes of a signature's file. What minisign writes has some 300.
pub const MAX_BYTES: u64 = 8 << 10;
/// Characters of a trusted comment that are kept and shown.
const COMMENT: usize = 200;
/// Bytes of an Ed25519 signature.
const SIGNATURE: usize = 64;

/// Who signed a file.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Signer {
    /// The key's id, as `minisign` prints it.
    pub key: String,
    /// The comment that was signed with the file; on one line, and cut off where it is long.
    pub comment: String,
}

impl std::fmt::Display for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "key {}: {}", self.key, self.comment)
    }
}

/// What is wrong with a file's signature.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// There is none.
    #[error("no signature: looked for {0}; valid: one by a trusted key, as 'serin plugin sign FILE --key KEY' writes")]
    Missing(String),
    /// It cannot be read.
    #[error("its signature cannot be read: {0}")]
    Unread(String),
    /// It is no signature, or not all of one.
    #[error("its signature is malformed or cut off: {0}; valid: the four lines that minisign writes")]
    Malformed(String),
    /// It is of a form that is not read.
    #[error("its signature is in minisign's legacy format; valid: a prehashed one, as 'minisign -S' writes without -l")]
    Legacy,
    /// It is by a key that was never trusted here.
    #[error("signed by the unknown key {key}; trusted: {trusted}")]
    UnknownKey {
        /// The key's id.
        key: String,
        /// The ids of those that are trusted.
        trusted: String,
    },
    /// It is by a key that was trusted here.
    #[error("signed by the key {key}, which is no longer trusted; trusted: {trusted}")]
    NoLongerTrusted {
        /// The key's id.
        key: String,
        /// The ids of those that are trusted.
        trusted: String,
    },
    /// It does not fit the file.
    #[error(
        "the signature by key {0} is of another file, or this file or the comment was changed since it was signed; where \
         the change is meant, sign it again with 'serin plugin sign FILE --key KEY'"
    )]
    OtherFile(String),
}

/// A signature that was read, and not verified yet.
pub struct Signature(SignatureBox);

impl Signature {
    /// Reads the text of a signature's file.
    ///
    /// # Errors
    /// What is malformed.
    pub fn parse(text: &str) -> Result<Self, SignatureError> {
        let malformed = |why: &str| SignatureError::Malformed(printable_to(why, COMMENT));
        // The crate reads bytes of a fixed layout: a defect there is this file's error.
        let read = serin_core::caught(|| SignatureBox::from_string(text).map_err(|error| error.to_string()));
        let signature = read.map_err(|why| malformed(&why))?;
        if !signature.is_prehashed() {
            return Err(SignatureError::Legacy);
        }
        // Its last line is the signature of the comment; the crate takes any length.
        let last = text.lines().nth(3).map(str::trim).unwrap_or_default();
        if last.len() != SIGNATURE.div_ceil(3) * 4 || text.lines().skip(4).any(|line| !line.trim().is_empty()) {
            return Err(malformed("its last line is not the signature of its comment"));
        }
        Ok(Self(signature))
    }

    /// The id of the key that it says it is by.
    pub fn key(&self) -> String {
        keys::shown_id(self.0.keynum())
    }

    /// Verifies a file by a key.
    ///
    /// # Errors
    /// That the signature is not of this file.
    pub fn verify(&self, bytes: &[u8], key: &PublicKey) -> Result<Signer, SignatureError> {
        let verified = || minisign::verify(key.inner(), &self.0, Cursor::new(bytes), true, false, false);
        serin_core::caught(|| verified().map_err(|error| error.to_string()))
            .map_err(|_| SignatureError::OtherFile(self.key()))?;
        let comment = self.0.trusted_comment().map_err(|error| SignatureError::Malformed(error.to_string()))?;
        Ok(Signer { key: self.key(), comment: printable_to(&comment.replace('\t', " "), COMMENT) })
    }
}

/// Where the signature of a file lies.
pub fn path_of(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(SUFFIX);
    name.into()
}

/// The text of the signature beside a file; none where there is no such file.
///
/// # Errors
/// Why it cannot be read.
pub fn read_beside(file: &Path) -> Result<Option<String>, SignatureError> {
    match files::read_text(&path_of(file), MAX_BYTES) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(SignatureError::Unread(error.to_string())),
    }
}

/// Writes the signature of a file beside it; its path.
///
/// # Errors
/// That it cannot be signed or written.
pub fn sign_beside(file: &Path, bytes: &[u8], key: &SecretKey, comment: &str) -> Result<PathBuf, KeyError> {
    let path = path_of(file);
    let text = key.sign(bytes, comment)?;
    std::fs::write(&path, text).map_err(|error| KeyError::file(&path, error))?;
    Ok(path)
}
