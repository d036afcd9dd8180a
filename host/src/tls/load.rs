//! From files to a configuration of rustls. What does not fit is refused with the file and the
//! reason, before any connection depends on it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{Error as PemError, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};

use super::certificate::{Validity, is_authority};
use super::{MinVersion, TlsSettings};
use crate::files;

/// The protocols, by preference.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];
/// The forms of keys that are read.
const KEY_FORMS: &str = "valid: PEM of an unencrypted PKCS#8, PKCS#1 or SEC1 key, like -----BEGIN PRIVATE KEY-----";

/// A file of `[server.tls]` that does not fit.
#[derive(Debug, Clone, thiserror::Error)]
#[error("server.tls.{key}: {}: {why}", files::shown(file))]
pub struct TlsError {
    /// The key that names the file.
    pub key: &'static str,
    /// The file.
    pub file: PathBuf,
    /// What is wrong with it, and what would be valid.
    pub why: String,
}

/// The files, as they were read together.
pub(super) struct Files {
    cert: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
    /// Of all of them.
    pub(super) digest: String,
}

impl Files {
    pub(super) fn read(settings: &TlsSettings) -> Result<Self, TlsError> {
        let plain = |key, file: &Path| {
            files::read_bounded(file, files::MAX_TEXT_BYTES).map_err(|error| refused(key, file, error.to_string()))
        };
        let cert = plain("cert", &settings.cert)?;
        // Before the key's file is read, whose mode would be what is told.
        certificates("cert", &settings.cert, &cert)?;
        let key = files::read_private(&settings.key, files::MAX_TEXT_BYTES)
            .map_err(|error| refused("key", &settings.key, error.to_string()))?;
        let client_ca = settings.client_ca.as_ref().map(|file| plain("client_ca", file)).transpose()?;
        let digests = [&cert, &key, client_ca.as_ref().unwrap_or(&Vec::new())].map(|file| crate::digest::digest(file));
        Ok(Self { cert, key, client_ca, digest: digests.join(" ") })
    }
}

/// A configuration that fits.
pub(super) struct Loaded {
    pub(super) config: Arc<ServerConfig>,
    /// What clients' certificates are held to, where they need one.
    pub(super) client_verifier: Option<Arc<dyn ClientCertVerifier>>,
    pub(super) validity: Validity,
    /// Of the files that it is from.
    pub(super) digest: String,
}

impl Loaded {
    pub(super) fn of(settings: &TlsSettings, files: &Files, now_ms: u64) -> Result<Self, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let chain = certificates("cert", &settings.cert, &files.cert)?;
        let validity = Validity::of(&chain[0]).map_err(|why| refused("cert", &settings.cert, why))?;
        is_valid_at(&validity, settings, now_ms)?;
        let certified = certified(settings, chain, &files.key, &provider)?;
        let versions: &[&SupportedProtocolVersion] = match settings.min_version {
            MinVersion::Tls12 => &[&rustls::version::TLS13, &rustls::version::TLS12],
            MinVersion::Tls13 => &[&rustls::version::TLS13],
        };
        let verifier = verifier(settings, files, &provider)?;
        let builder = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .map_err(|error| refused("cert", &settings.cert, error.to_string()))?;
        let builder = match verifier.clone() {
            Some(verifier) => builder.with_client_cert_verifier(verifier),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
        config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).into();
        if verifier.is_some() {
            // A resumed session would not look at the client's certificate again, which may have expired.
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
        Ok(Self { config: Arc::new(config), client_verifier: verifier, validity, digest: files.digest.clone() })
    }
}

/// Refuses a certificate outside of its dates.
pub(super) fn is_valid_at(validity: &Validity, settings: &TlsSettings, now_ms: u64) -> Result<(), TlsError> {
    let why = if validity.not_after_ms <= now_ms {
        format!("expired on {}; put a new certificate and its key in place", time(validity.not_after_ms))
    } else if now_ms < validity.not_before_ms {
        format!("is not valid before {}; this host's clock says {}", time(validity.not_before_ms), time(now_ms))
    } else {
        return Ok(());
    };
    Err(refused("cert", &settings.cert, why))
}

/// A time as people read it.
pub(super) fn time(ms: u64) -> String {
    jiff::Timestamp::from_millisecond(ms as i64).map(|time| time.to_string()).unwrap_or_default()
}

fn refused(key: &'static str, file: &Path, why: String) -> TlsError {
    TlsError { key, file: file.to_owned(), why }
}

/// The certificates of a file: at least one.
fn certificates(key: &'static str, file: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    chain(pem).map_err(|why| refused(key, file, why))
}

/// The certificates of a PEM file: at least one, or what is wrong with it.
fn chain(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let all = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    let all = all.map_err(|error| not_whole(&error))?;
    match all.is_empty() {
        false => Ok(all),
        true if holds(pem, b"PRIVATE KEY-----") => {
            Err("holds no certificate, but a private key; are the two files swapped?".to_owned())
        }
        true => Err("holds no certificate; valid: PEM, like -----BEGIN CERTIFICATE-----".to_owned()),
    }
}

/// The private key of a PEM file, or what is wrong with it.
fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|error| match error {
        // The older form says so in a header, which is no base64.
        _ if holds(pem, b"ENCRYPTED") => {
            format!("is encrypted, and nobody is there to type its password; {KEY_FORMS}")
        }
        PemError::NoItemsFound if holds(pem, b"BEGIN CERTIFICATE") => {
            "holds no private key, but a certificate; are the two files swapped?".to_owned()
        }
        PemError::NoItemsFound => format!("holds no private key; {KEY_FORMS}"),
        error => not_whole(&error),
    })
}

fn holds(pem: &[u8], word: &[u8]) -> bool {
    pem.windows(word.len()).any(|part| part == word)
}

/// What is wrong with a certificate or with its key.
enum Unfit {
    Cert(String),
    Key(String),
}

/// A certificate, of a file of this name, with its key, which have to belong together.
fn pair(
    cert: &Path,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, Unfit> {
    let key = provider
        .key_provider
        .load_private_key(key)
        .map_err(|error| Unfit::Key(format!("cannot be used: {error}; valid: RSA, ECDSA P-256 or P-384, Ed25519")))?;
    let certified = CertifiedKey::new(chain, key);
    certified.keys_match().map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            Unfit::Key(format!("is not the key of the certificate in {}; replace both files", files::shown(cert)))
        }
        error => Unfit::Cert(format!("cannot be used: {error}")),
    })?;
    Ok(certified)
}

/// The host's certificate with its key.
fn certified(
    settings: &TlsSettings,
    chain: Vec<CertificateDer<'static>>,
    pem: &[u8],
    provider: &CryptoProvider,
) -> Result<CertifiedKey, TlsError> {
    let of_key = |why: String| refused("key", &settings.key, why);
    let key = private_key(pem).map_err(of_key)?;
    pair(&settings.cert, chain, key, provider).map_err(|unfit| match unfit {
        Unfit::Cert(why) => refused("cert", &settings.cert, why),
        Unfit::Key(why) => of_key(why),
    })
}

/// Checks what a client identifies itself with: a certificate, its key, and that they belong together.
///
/// # Errors
/// Which of the two files is wrong, and why.
pub fn check_client(cert: (&Path, &[u8]), key: (&Path, &[u8])) -> Result<(), (PathBuf, String)> {
    let (of_cert, of_key) = (|why| (cert.0.to_owned(), why), |why| (key.0.to_owned(), why));
    let chain = chain(cert.1).map_err(of_cert)?;
    let private = private_key(key.1).map_err(of_key)?;
    let provider = rustls::crypto::ring::default_provider();
    pair(cert.0, chain, private, &provider).map(drop).map_err(|unfit| match unfit {
        Unfit::Cert(why) => of_cert(why),
        Unfit::Key(why) => of_key(why),
    })
}

/// What clients' certificates are held to, where they need one.
fn verifier(
    settings: &TlsSettings,
    files: &Files,
    provider: &Arc<CryptoProvider>,
) -> Result<Option<Arc<dyn ClientCertVerifier>>, TlsError> {
    let (Some(file), Some(pem)) = (&settings.client_ca, &files.client_ca) else { return Ok(None) };
    let mut roots = RootCertStore::empty();
    for ca in certificates("client_ca", file, pem)? {
        if !is_authority(&ca) {
            let why = "is the client_ca, and holds a certificate that is no CA's and vouches for nobody; valid: the \
                       certificates of the CAs that sign those of clients";
            return Err(refused("client_ca", file, why.to_owned()));
        }
        roots.add(ca).map_err(|error| refused("client_ca", file, format!("cannot be used: {error}")))?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider)).build();
    verifier.map(Some).map_err(|error| refused("client_ca", file, format!("cannot be used: {error}")))
}

fn not_whole(error: &PemError) -> String {
    let what = match error {
        PemError::MissingSectionEnd { .. } => "its last section has no -----END line",
        PemError::IllegalSectionStart { .. } => "a -----BEGIN line is malformed",
        _ => "a section is not base64",
    };
    format!("is no whole PEM file: {what}; it may still be written")
}
