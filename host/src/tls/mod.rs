//! TLS of the listeners: the files that an operator names, the certificate in force, and what a
//! client's certificate says about it.

mod certificate;
mod in_force;
mod load;
mod peer;

use std::path::PathBuf;

pub use certificate::ClientCertificate;
pub use in_force::Tls;
pub use load::{TlsError, check_client};
pub use peer::PeerCertificate;

/// `[server.tls]`: the files, and the oldest version that is spoken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsSettings {
    /// The host's certificate, and after it those that lead to its CA. PEM.
    pub cert: PathBuf,
    /// Its private key. PEM.
    pub key: PathBuf,
    /// The CAs of clients; none: clients need no certificate. PEM.
    pub client_ca: Option<PathBuf>,
    /// The oldest version that is spoken.
    pub min_version: MinVersion,
}

/// The oldest version of TLS that a listener speaks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum MinVersion {
    /// TLS 1.2.
    #[default]
    Tls12,
    /// TLS 1.3.
    Tls13,
}
