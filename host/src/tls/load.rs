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
    let all = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    let all = all.map_err(|error| refused(key, file, not_whole(&error)))?;
    if all.is_empty() {
        let why = "holds no certificate; valid: PEM, like -----BEGIN CERTIFICATE-----".to_owned();
        return Err(refused(key, file, why));
    }
    Ok(all)
}

/// The certificate with its key, which have to belong together.
fn certified(
    settings: &TlsSettings,
    chain: Vec<CertificateDer<'static>>,
    pem: &[u8],
    provider: &CryptoProvider,
) -> Result<CertifiedKey, TlsError> {
    let of_key = |why: String| refused("key", &settings.key, why);
    let key = PrivateKeyDer::from_pem_slice(pem).map_err(|error| match error {
        PemError::NoItemsFound if pem.windows(9).any(|word| word == b"ENCRYPTED") => {
            of_key(format!("is encrypted, and nobody is there to type its password; {KEY_FORMS}"))
        }
        PemError::NoItemsFound => of_key(format!("holds no private key; {KEY_FORMS}")),
        error => of_key(not_whole(&error)),
    })?;
    let key = provider.key_provider.load_private_key(key);
    let key =
        key.map_err(|error| of_key(format!("cannot be used: {error}; valid: RSA, ECDSA P-256 or P-384, Ed25519")))?;
    let certified = CertifiedKey::new(chain, key);
    certified.keys_match().map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            let cert = files::shown(&settings.cert);
            of_key(format!("is not the key of the certificate in {cert}; replace both files"))
        }
        error => refused("cert", &settings.cert, format!("cannot be used: {error}")),
    })?;
    Ok(certified)
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
