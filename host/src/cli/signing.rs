//! `serin plugin keygen`, `sign` and `verify`: signatures of artifacts and models, in minisign's format.

use std::path::{Path, PathBuf};

use super::Outcome;
use crate::clock::{Clock as _, SystemClock};
use crate::files;
use crate::models::golden_path;
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
    let seconds = SystemClock.now_ms() / 1000;
    for file in with_golden(file) {
        let bytes = read(&file)?;
        // As minisign has it, where nobody says anything else.
        let default = format!("timestamp:{seconds}\tfile:{}\thashed", files::shown_name(&file));
        let path = signatures::sign_beside(&file, &bytes, &key, comment.unwrap_or(&default))?;
        println!("{}: signed by key {}", files::shown(&path), key.id());
    }
    Ok(true)
}

pub(super) fn verify_file(file: &Path, key: &Path) -> Outcome {
    let key = PublicKey::read(key)?;
    for file in with_golden(file) {
        let signer = signer(&file, &read(&file)?, &key)?;
        println!("{}: signed by {signer}", files::shown(&file));
    }
    Ok(true)
}

/// A file, and where it is a model the golden file beside it: a host wants a signature of each.
fn with_golden(file: &Path) -> Vec<PathBuf> {
    let is_model = file.extension().is_some_and(|extension| extension == "onnx");
    let golden = Some(golden_path(file)).filter(|golden| is_model && golden.is_file());
    [file.to_owned()].into_iter().chain(golden).collect()
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
