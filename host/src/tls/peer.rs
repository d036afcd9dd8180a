//! The certificate of a client on an open connection, held to the CAs in force now and not to those of its handshake.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustls::pki_types::{CertificateDer, UnixTime};

use super::in_force::{Generation, Tls};
use super::{ClientCertificate, load::Loaded};

/// The certificate of a connection's other end.
pub struct PeerCertificate {
    /// What it says.
    pub said: ClientCertificate,
    /// It, and the intermediates that came with it.
    chain: Vec<CertificateDer<'static>>,
    tls: Arc<Tls>,
    /// The last files that vouched for it.
    vouched: AtomicU64,
}

impl PeerCertificate {
    /// The certificate that a handshake has accepted, by the files of that generation; none where the client sent none.
    pub fn of(tls: &Arc<Tls>, accepted: Generation, chain: &[CertificateDer<'_>]) -> Option<Self> {
        let said = ClientCertificate::of(chain.first()?);
        let chain = chain.iter().map(|der| der.clone().into_owned()).collect();
        Some(Self { said, chain, tls: Arc::clone(tls), vouched: AtomicU64::new(accepted.0) })
    }

    /// Whether a handshake would accept it now. That is cheap until the files are replaced.
    pub fn is_trusted(&self) -> bool {
        let now = UnixTime::now();
        if self.said.not_after_ms.is_some_and(|end| now.as_secs().saturating_mul(1000) >= end) {
            return false;
        }
        self.tls.with(|Generation(generation), loaded| {
            if self.vouched.load(Ordering::Relaxed) == generation {
                return true;
            }
            let is_trusted = self.is_vouched_for(loaded, now);
            if is_trusted {
                self.vouched.store(generation, Ordering::Relaxed);
            }
            is_trusted
        })
    }

    fn is_vouched_for(&self, loaded: &Loaded, now: UnixTime) -> bool {
        let (Some(verifier), Some((own, intermediates))) = (&loaded.client_verifier, self.chain.split_first()) else {
            // Without CAs there is nobody who could take it back.
            return true;
        };
        verifier.verify_client_cert(own, intermediates, now).is_ok()
    }
}

impl fmt::Debug for PeerCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PeerCertificate").field(&self.said).finish()
    }
}
