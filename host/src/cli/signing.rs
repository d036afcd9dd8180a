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
    is_signed_by_us(file)?;
    let key = SecretKey::read(key)?;
    let seconds = SystemClock.now_ms() / 1000;
    for file in with_golden(file) {
        let bytes = read(&file)?;
        // As minisign has it, where nobody says anything else.
        let default = format!("timestamp:{seconds}\tfile:{}\thashed", files::shown_name(&file));
        let path = signatures::sign_beside(&file, &bytes, &key, comment.unwrap_or(&default))?;
        println!("{}: signed by key {}", files::shown(&path), key.id());
    }
    let golden = golden_path(file);
    if is_model(file) && !golden.is_file() {
        eprintln!(
            "note: {} is not there; a host wants a signature of it, too: sign again once it is written",
            files::shown(&golden)
        );
    }
    Ok(true)
}

/// A host looks for signatures of these files alone: one of another file says nothing to anybody.
fn is_signed_by_us(file: &Path) -> Result<(), String> {
    let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    match [".wasm", ".onnx", ".golden.json"].iter().any(|end| name.ends_with(end)) {
        true => Ok(()),
        false => Err(format!(
            "{}: no host looks for a signature of it; valid: an artifact (.wasm), a model (.onnx) or its golden file \
             (.golden.json)",
            files::shown(file)
        )),
    }
}

fn is_model(file: &Path) -> bool {
    file.extension().is_some_and(|extension| extension == "onnx")
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
    let golden = Some(golden_path(file)).filter(|golden| is_model(file) && golden.is_file());
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
