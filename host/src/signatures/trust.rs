//! Who is trusted, and whether a file may be loaded.

use std::path::{Path, PathBuf};

use super::{PublicKey, Signature, SignatureError, Signer, path_of, read_beside};
use crate::files::shown_name;

/// Whose signatures count, and whether a file needs one.
#[derive(Debug, Default)]
pub struct Trust {
    keys: Vec<PublicKey>,
    is_required: bool,
    troubles: Vec<String>,
    fingerprint: String,
}

/// What was found of a file's signature, where the file may be loaded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Judged {
    /// Who signed it; none where nobody who is trusted did.
    pub signer: Option<Signer>,
    /// What is wrong with its signature: it is loaded all the same.
    pub why: Option<String>,
    /// The signature, where it is valid.
    pub text: Option<String>,
}

/// A file that wants to be loaded.
pub struct Candidate<'a> {
    /// What is in it.
    pub bytes: &'a [u8],
    /// Where it is; none where it is in the archive alone.
    pub path: Option<&'a Path>,
    /// The signature that was valid when it was archived.
    pub archived: Option<String>,
    /// It is what serves already.
    pub is_serving: bool,
}

impl Trust {
    /// Reads the trusted keys. One that cannot be read is not trusted, and keeps no other from it.
    pub fn read(paths: &[PathBuf], is_required: bool) -> Self {
        let (mut keys, mut troubles) = (Vec::new(), Vec::new());
        for path in paths {
            match PublicKey::read(path) {
                Ok(key) => keys.push(key),
                Err(error) => troubles.push(format!("plugins.trusted_keys: {error}; what it signed is not accepted")),
            }
        }
        if is_required && paths.is_empty() {
            troubles.push(
                "plugins.require_signature: no key is trusted, and so nothing is loaded; valid: the public keys in \
                 plugins.trusted_keys, like [\"keys/science.pub\"]"
                    .to_owned(),
            );
        }
        let all: Vec<u8> = keys.iter().flat_map(PublicKey::bytes).chain([u8::from(is_required)]).collect();
        let fingerprint = crate::digest::digest(&all);
        Self { keys, is_required, troubles, fingerprint }
    }

    /// Whether no key is trusted.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The keys that cannot be read, and why.
    pub fn troubles(&self) -> &[String] {
        &self.troubles
    }

    /// Another one where anything of it is another.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Verifies a signature by the trusted keys.
    ///
    /// # Errors
    /// What is wrong with it.
    fn verify(&self, bytes: &[u8], text: &str, was_valid: bool) -> Result<Signer, SignatureError> {
        let signature = Signature::parse(text)?;
        let key = signature.key();
        // An id is chosen by who makes the key: it may be that of another one.
        let mut named = self.keys.iter().filter(|known| known.id() == key).peekable();
        if named.peek().is_none() {
            let ids: Vec<String> = self.keys.iter().map(PublicKey::id).collect();
            let trusted = if ids.is_empty() { "none".to_owned() } else { ids.join(", ") };
            return Err(match was_valid {
                true => SignatureError::NoLongerTrusted { key, trusted },
                false => SignatureError::UnknownKey { key, trusted },
            });
        }
        named.find_map(|known| signature.verify(bytes, known).ok()).ok_or(SignatureError::OtherFile(key))
    }

    /// Says whether a file may be loaded.
    ///
    /// What serves already goes on, whatever became of its signature: to stop it is a person's decision.
    ///
    /// # Errors
    /// Why it may not.
    pub fn judge(&self, candidate: &Candidate<'_>) -> Result<Judged, SignatureError> {
        let beside = candidate.path.map_or(Ok(None), read_beside);
        let text = beside.map(|text| text.or_else(|| candidate.archived.clone()));
        let verified = text.and_then(|text| match text {
            // A signature that was never valid here says nothing of who was trusted.
            Some(text) => {
                let was_valid = candidate.archived.as_ref() == Some(&text);
                Ok((self.verify(candidate.bytes, &text, was_valid)?, text))
            }
            None => Err(SignatureError::Missing(match candidate.path {
                Some(path) => format!("{} beside it", shown_name(&path_of(path))),
                None => "one in the archive".to_owned(),
            })),
        });
        match verified {
            Ok((signer, text)) => Ok(Judged { signer: Some(signer), why: None, text: Some(text) }),
            Err(SignatureError::Missing(_)) if !self.is_required => Ok(Judged::default()),
            Err(error) if !self.is_required => Ok(Judged { why: Some(error.to_string()), ..Judged::default() }),
            Err(error) if candidate.is_serving => Ok(Judged {
                why: Some(format!("{error}. It serves already, and goes on until what names it is changed")),
                ..Judged::default()
            }),
            Err(error) => Err(error),
        }
    }
}
