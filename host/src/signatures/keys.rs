//! Keys that sign and keys that verify, in the files that `minisign` has them in.

use std::io::{Cursor, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use ct_codecs::{Base64, Decoder as _};
use minisign::{KeyPair, PublicKeyBox, SecretKeyBox};
use serin_core::printable;

use crate::files;

/// Bytes of a key's file. What minisign writes has some 300.
const MAX_BYTES: u64 = 4 << 10;
/// Characters of a trusted comment, as `minisign` bounds it.
const MAX_COMMENT: usize = 1024;

/// What is wrong with a key's file, or keeps a key from being used.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{file}: {why}")]
pub struct KeyError {
    file: String,
    why: String,
}

impl KeyError {
    /// An error of a file.
    pub fn file(path: &Path, why: impl ToString) -> Self {
        Self { file: files::shown(path), why: printable(&why.to_string()) }
    }
}

/// A key that verifies.
#[derive(Debug, Clone)]
pub struct PublicKey {
    inner: minisign::PublicKey,
}

impl PublicKey {
    /// Reads the file of a public key.
    ///
    /// # Errors
    /// That it cannot be read, or is no public key.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        let text = files::read_text(path, MAX_BYTES).map_err(|error| KeyError::file(path, error))?;
        let read = serin_core::caught(|| {
            PublicKeyBox::from_string(&text).and_then(PublicKeyBox::into_public_key).map_err(|error| error.to_string())
        });
        let valid = "valid: the two lines of a public key, as 'serin plugin keygen' and 'minisign -G' write them";
        let inner = read.map_err(|_| KeyError::file(path, format!("is no public key of minisign; {valid}")))?;
        // The first two bytes say which algorithm it is for; the crate does not look.
        match inner.to_bytes().starts_with(b"Ed") {
            true => Ok(Self { inner }),
            false => Err(KeyError::file(path, format!("is a key of another algorithm than Ed25519; {valid}"))),
        }
    }

    /// Its id, as `minisign` prints it.
    pub fn id(&self) -> String {
        shown_id(self.inner.keynum())
    }

    /// All of it.
    pub(super) fn bytes(&self) -> Vec<u8> {
        self.inner.to_bytes()
    }

    pub(super) fn inner(&self) -> &minisign::PublicKey {
        &self.inner
    }
}

/// A key that signs.
pub struct SecretKey {
    inner: minisign::SecretKey,
    path: PathBuf,
}

impl SecretKey {
    /// Reads the file of a secret key. One with a password asks for it on the terminal.
    ///
    /// # Errors
    /// That it cannot be read, that others can read it, that it is no secret key, or has another password.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        let failed = |why: String| KeyError::file(path, why);
        let of_other_kind =
            |text: &String| PublicKeyBox::from_string(text).is_ok_and(|key| key.into_public_key().is_ok());
        if serin_core::caught(|| Ok(files::read_text(path, MAX_BYTES).is_ok_and(|text| of_other_kind(&text))))
            .is_ok_and(|is_public| is_public)
        {
            return Err(failed(
                "is a public key, which verifies; valid: the secret key beside it, which signs".to_owned(),
            ));
        }
        // Who has read it signs as its owner.
        let bytes = files::read_private(path, MAX_BYTES).map_err(|error| failed(error.to_string()))?;
        let text = String::from_utf8(bytes).map_err(|_| failed("is not UTF-8 text".to_owned()))?;
        let read = |with_password: bool| {
            serin_core::caught(|| {
                let key = SecretKeyBox::from_string(&text).and_then(|key| match with_password {
                    true => key.into_secret_key(None),
                    false => key.into_unencrypted_secret_key(),
                });
                key.map_err(|error| error.to_string())
            })
        };
        if let Some(inner) = unchecked(&text) {
            return Ok(Self { inner, path: path.to_owned() });
        }
        if is_encrypted(&text) && !has_terminal() {
            return Err(failed(format!("has a password, and {NO_TERMINAL}; use a key without one")));
        }
        // The crate tells a password that is needed from a broken key in words alone.
        let inner = read(false).or_else(|first| read(true).map_err(|second| format!("{first}; {second}")));
        let inner = inner.map_err(|why| {
            failed(format!("{why}; valid: a secret key, as 'serin plugin keygen' and 'minisign -G' write it"))
        })?;
        Ok(Self { inner, path: path.to_owned() })
    }

    /// Its id, as `minisign` prints it.
    pub fn id(&self) -> String {
        shown_id(self.inner.keynum())
    }

    /// The text of a signature of `bytes`, with a comment that is signed as well.
    ///
    /// # Errors
    /// That the comment is not valid, or nothing can be signed.
    pub fn sign(&self, bytes: &[u8], comment: &str) -> Result<String, KeyError> {
        if comment.contains(['\n', '\r']) || comment.chars().count() > MAX_COMMENT {
            let why = format!("the comment has to be one line of at most {MAX_COMMENT} characters");
            return Err(KeyError::file(&self.path, why));
        }
        // A reader of the signature trims it, and what was signed has to be what is read.
        let comment = comment.trim();
        // What a damaged key signs does not verify.
        let public = minisign::PublicKey::from_secret_key(&self.inner).map_err(|e| KeyError::file(&self.path, e))?;
        let untrusted = format!("signature from serin, key {}", self.id());
        minisign::sign(Some(&public), &self.inner, Cursor::new(bytes), Some(comment), Some(&untrusted))
            .map(|signature| signature.into_string())
            .map_err(|error| KeyError::file(&self.path, error))
    }
}

/// A secret key without a password and without a checksum, as `minisign -W` writes it and the crate does not
/// read it.
fn unchecked(text: &str) -> Option<minisign::SecretKey> {
    const LENGTH: usize = 158;
    const CHECKSUM: usize = 32;
    let bytes = Base64::decode_to_vec(text.lines().nth(1)?.trim(), None).ok()?;
    let (head, checksum) = bytes.split_at_checked(LENGTH - CHECKSUM)?;
    // Ed25519, no key derivation.
    let is_plain = head.starts_with(b"Ed\0\0") && checksum == [0; CHECKSUM];
    is_plain.then(|| minisign::SecretKey::from_bytes(&bytes).ok()).flatten()
}

/// Whether a secret key has a password.
fn is_encrypted(text: &str) -> bool {
    let bytes = text.lines().nth(1).and_then(|line| Base64::decode_to_vec(line.trim(), None).ok());
    bytes.is_some_and(|bytes| bytes.starts_with(b"EdSc"))
}

const NO_TERMINAL: &str = "there is no terminal on which it could be typed; run this in one";

/// Whether there is a terminal, on which the crate asks for a password.
fn has_terminal() -> bool {
    std::fs::File::open("/dev/tty").is_ok()
}

/// Writes a new pair of keys to `path` and beside it, and returns the public one. Nothing is overwritten.
///
/// # Errors
/// What the system says, or that a file is there.
pub fn make_keys(path: &Path, with_password: bool) -> Result<PublicKey, KeyError> {
    let failed = |why: &dyn ToString| KeyError::file(path, why.to_string());
    for file in [path, &public_path(path)] {
        if file.exists() {
            return Err(KeyError::file(file, "is there, and is not overwritten; choose another --out"));
        }
    }
    if with_password && !has_terminal() {
        return Err(KeyError::file(path, format!("--password: {NO_TERMINAL}, or leave --password out")));
    }
    let pair = match with_password {
        true => KeyPair::generate_encrypted_keypair(None),
        false => KeyPair::generate_unencrypted_keypair(),
    };
    let KeyPair { pk, sk } = pair.map_err(|error| failed(&error))?;
    let comment =
        if with_password { "serin secret key, with a password" } else { "serin secret key, without a password" };
    let secret = sk.to_box(Some(comment)).map_err(|error| failed(&error))?;
    let public = pk.to_box().map_err(|error| failed(&error))?;
    write(path, 0o600, &secret.into_string())?;
    write(&public_path(path), 0o644, &public.into_string())?;
    Ok(PublicKey { inner: pk })
}

/// Where the public key of a secret one lies.
pub fn public_path(secret: &Path) -> PathBuf {
    let mut name = secret.as_os_str().to_owned();
    name.push(".pub");
    name.into()
}

fn write(path: &Path, mode: u32, text: &str) -> Result<(), KeyError> {
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes())).map_err(|error| KeyError::file(path, error))
}

/// A key's id, as `minisign` prints it: eight bytes, the last first.
pub(super) fn shown_id(bytes: &[u8]) -> String {
    bytes.iter().rev().map(|byte| format!("{byte:02X}")).collect()
}
