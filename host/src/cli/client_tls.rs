//! How commands verify a host that speaks TLS, and how they identify themselves to it.

use std::path::{Path, PathBuf};

use clap::Args;
use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, parse_pem};

use crate::files;
use crate::tls::check_client;

/// A file of these options that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{option} {file}: {why}")]
pub(super) struct TlsFileError {
    option: &'static str,
    file: String,
    why: String,
}

/// Options of commands that talk to a host.
#[derive(Args, Clone, Default)]
pub(super) struct TlsArgs {
    /// The CA of the host's certificate (PEM), for https; without it, the public CAs
    #[arg(long, value_name = "FILE", env = "SERIN_CA", hide_env_values = true)]
    ca: Option<PathBuf>,
    /// A certificate of this client (PEM), where the host asks for one
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// Its private key (PEM)
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
}

impl TlsArgs {
    /// Whether any of them is given: then a host without a scheme speaks TLS.
    pub(super) fn is_given(&self) -> bool {
        self.ca.is_some() || self.cert.is_some()
    }

    /// Reads the files.
    pub(super) fn config(&self) -> Result<TlsConfig, TlsFileError> {
        let mut config = TlsConfig::builder();
        if let Some(ca) = &self.ca {
            config = config.root_certs(RootCerts::from(certificates("--ca", ca)?));
        }
        if let (Some(cert), Some(key)) = (&self.cert, &self.key) {
            config = config.client_cert(Some(identity(cert, key)?));
        }
        Ok(config.build())
    }
}

fn refused(option: &'static str, path: &Path, why: impl ToString) -> TlsFileError {
    TlsFileError { option, file: files::shown(path), why: why.to_string() }
}

fn read(option: &'static str, path: &Path) -> Result<Vec<u8>, TlsFileError> {
    files::read_bounded(path, files::MAX_TEXT_BYTES).map_err(|error| refused(option, path, error))
}

/// What this client identifies itself with. It is checked here: the client would panic at a pair that does not fit.
fn identity(cert: &Path, key: &Path) -> Result<ClientCert, TlsFileError> {
    let pem = read("--cert", cert)?;
    let chain = parsed("--cert", cert, &pem)?;
    let private = files::read_private(key, files::MAX_TEXT_BYTES).map_err(|error| refused("--key", key, error))?;
    check_client((cert, &pem), (key, &private)).map_err(|(file, why)| {
        // The same file may be given for both.
        let option = if file == cert && file != key { "--cert" } else { "--key" };
        refused(option, &file, why)
    })?;
    let private = PrivateKey::from_pem(&private).map_err(|error| refused("--key", key, error))?;
    Ok(ClientCert::new_with_certs(&chain, private))
}

fn certificates(option: &'static str, path: &Path) -> Result<Vec<Certificate<'static>>, TlsFileError> {
    parsed(option, path, &read(option, path)?)
}

fn parsed(option: &'static str, path: &Path, pem: &[u8]) -> Result<Vec<Certificate<'static>>, TlsFileError> {
    let (mut all, mut has_key) = (Vec::new(), false);
    for item in parse_pem(pem) {
        match item {
            Ok(PemItem::Certificate(certificate)) => all.push(certificate),
            Ok(_) => has_key = true,
            Err(error) => return Err(refused(option, path, error)),
        }
    }
    match (all.is_empty(), has_key) {
        (false, _) => Ok(all),
        (true, true) => {
            Err(refused(option, path, "holds no certificate, but a private key; are the two files swapped?"))
        }
        (true, false) => {
            Err(refused(option, path, "holds no certificate; valid: PEM, like -----BEGIN CERTIFICATE-----"))
        }
    }
}

/// What to do about a failed call, by what failed.
pub(super) fn hint(url: &str, error: &ureq::Error) -> &'static str {
    // A host that speaks TLS answers what is none with an alert, which is no HTTP.
    if url.starts_with("http://") && matches!(error, ureq::Error::Protocol(_)) {
        return "it does not speak HTTP in the clear; where it speaks TLS, its URL begins with https://";
    }
    let of_tls = match error {
        ureq::Error::Io(error) => error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>()),
        ureq::Error::Rustls(error) => Some(error),
        _ => None,
    };
    match of_tls {
        None => "is the host running there?",
        Some(rustls::Error::InvalidCertificate(_)) => "name the CA of its certificate with --ca FILE",
        Some(rustls::Error::AlertReceived(_)) => "does it ask for a certificate? --cert FILE --key FILE",
        Some(_) => "does it speak TLS there? Without, its URL begins with http://",
    }
}
