//! `serin plugin keygen`, `sign` and `verify`: signatures of artifacts and models, in minisign's format.

use std::path::Path;

use super::Outcome;
use crate::clock::{Clock as _, SystemClock};
use crate::files;
use crate::signatures::{self, PublicKey, SecretKey, Signature, SignatureError, Signer};

pub(super) fn keygen(out: &Path, with_password: bool) -> Outcome {
    let key = signatures::make_keys(out, with_password)?;
    println!("{} signs: keep it secret", files::shown(out));
    println!(
        "{} verifies: put it into plugins.trusted_keys of serin.toml",
        files::shown(&signatures::public_path(out))
    );
    println!("key {}", key.id());
    Ok(true)
}

pub(super) fn sign(file: &Path, key: &Path, comment: Option<&str>) -> Outcome {
    let key = SecretKey::read(key)?;
    let bytes = read(file)?;
    // As minisign has it, where nobody says anything else.
    let seconds = SystemClock.now_ms() / 1000;
    let default = format!("timestamp:{seconds}\tfile:{}\thashed", files::shown_name(file));
    let path = signatures::sign_beside(file, &bytes, &key, comment.unwrap_or(&default))?;
    println!("{}: signed by key {}", files::shown(&path), key.id());
    Ok(true)
}

pub(super) fn verify_file(file: &Path, key: &Path) -> Outcome {
    let signer = signer(file, &read(file)?, &PublicKey::read(key)?)?;
    println!("{}: signed by {signer}", files::shown(file));
    Ok(true)
}

/// Who signed a file, by the signature beside it.
///
/// # Errors
/// What is wrong with that.
pub(super) fn signer(file: &Path, bytes: &[u8], key: &PublicKey) -> Result<Signer, String> {
    let text = signatures::read_beside(file).and_then(|text| {
        let missing = || format!("{} beside it", files::shown_name(&signatures::path_of(file)));
        text.ok_or_else(|| SignatureError::Missing(missing()))
    });
    text.and_then(|text| verify(bytes, &text, key)).map_err(|error| format!("{}: {error}", files::shown(file)))
}

/// Who signed a file, by a signature's text.
///
/// # Errors
/// That it is by another key, or not of this file.
pub(super) fn verify(bytes: &[u8], text: &str, key: &PublicKey) -> Result<Signer, SignatureError> {
    let signature = Signature::parse(text)?;
    if signature.key() != key.id() {
        return Err(SignatureError::UnknownKey { key: signature.key(), trusted: key.id() });
    }
    signature.verify(bytes, key)
}

fn read(file: &Path) -> Result<Vec<u8>, String> {
    files::read_bounded(file, files::MAX_MODEL_BYTES).map_err(|error| format!("{}: {error}", files::shown(file)))
}
