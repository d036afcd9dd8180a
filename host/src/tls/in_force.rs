//! The certificate in force. A handshake takes the one of its moment; connections that are open keep
//! theirs. Whether a client's is accepted is asked again once the files are replaced (`peer.rs`).

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio_rustls::TlsAcceptor;

use super::TlsSettings;
use super::load::{Files, Loaded, TlsError, is_valid_at, time};

/// How long before its end a certificate is warned of.
const WARN_BEFORE: Duration = Duration::from_secs(14 * 24 * 60 * 60);

/// Counts the files that were in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Generation(pub(super) u64);

/// TLS as the listeners speak it.
pub struct Tls {
    settings: TlsSettings,
    in_force: ArcSwap<(Generation, Loaded)>,
    /// Why the files are not in force as they are now.
    error: Mutex<Option<String>>,
}

impl Tls {
    /// Reads the files for the first time.
    ///
    /// # Errors
    /// The first file that does not fit.
    pub fn start(settings: TlsSettings, now_ms: u64) -> Result<Self, TlsError> {
        let loaded = Loaded::of(&settings, &Files::read(&settings)?, now_ms)?;
        Ok(Self { settings, in_force: ArcSwap::from_pointee((Generation(0), loaded)), error: Mutex::default() })
    }

    /// Reads the files again. Those that fit are in force for the next handshake; others change
    /// nothing but [`Tls::error`].
    pub fn refresh(&self, now_ms: u64) {
        let error = self.look(now_ms).err().map(|error| error.to_string());
        *self.error.lock() = error;
    }

    fn look(&self, now_ms: u64) -> Result<(), TlsError> {
        let files = Files::read(&self.settings)?;
        let before = self.in_force.load();
        let (Generation(generation), in_force) = &**before;
        if files.digest == in_force.digest {
            return is_valid_at(&in_force.validity, &self.settings, now_ms);
        }
        let next = Loaded::of(&self.settings, &files, now_ms)?;
        tracing::info!(valid_until = time(next.validity.not_after_ms), "the TLS files were replaced");
        self.in_force.store(Arc::new((Generation(generation + 1), next)));
        Ok(())
    }

    /// Why the files are not in force as they are now.
    pub fn error(&self) -> Option<String> {
        self.error.lock().clone()
    }

    /// Until when the certificate in force is valid, in milliseconds since 1970.
    pub fn not_after_ms(&self) -> u64 {
        self.in_force.load().1.validity.not_after_ms
    }

    /// That the certificate in force expires soon.
    pub fn warning(&self, now_ms: u64) -> Option<String> {
        let not_after_ms = self.not_after_ms();
        (not_after_ms < now_ms + WARN_BEFORE.as_millis() as u64).then(|| {
            let cert = crate::files::shown(&self.settings.cert);
            format!("server.tls.cert: {cert}: expires on {}; put a new certificate in place", time(not_after_ms))
        })
    }

    /// What begins the next handshake, and by which files.
    pub fn acceptor(&self) -> (TlsAcceptor, Generation) {
        self.with(|generation, loaded| (TlsAcceptor::from(Arc::clone(&loaded.config)), generation))
    }

    /// Looks at the files in force.
    pub(super) fn with<T>(&self, look: impl FnOnce(Generation, &Loaded) -> T) -> T {
        let (generation, loaded) = &**self.in_force.load();
        look(*generation, loaded)
    }
}
