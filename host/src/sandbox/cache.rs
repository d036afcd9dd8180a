//! Compiled code on disk, so that a large artifact is not compiled again at every start.
//!
//! Machine code that is read back runs with the host's own rights: whoever can put it there
//! owns the host. So only what this host wrote is read back. Each file begins with an HMAC under a
//! key that lies beside it, readable by the host's user alone; a file that another key signed, or
//! that anything has changed, is compiled anew.
//!
//! A file's name follows from the component's digest, the engine's settings and wasmtime's own
//! compatibility hash: another version of any of them looks for another file.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::clock::{Clock as _, SystemClock};

/// Files that are kept; the oldest go first.
const MOST: usize = 128;
/// Bytes of an HMAC.
const MAC: usize = 32;

/// A folder of compiled components.
pub(super) struct Cache {
    dir: PathBuf,
    key: [u8; 32],
}

impl Cache {
    /// Opens the cache in `dir`, and makes it and its key where they are not there.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(dir: &Path) -> std::io::Result<Self> {
        std::fs::create_dir_all(dir)?;
        let path = dir.join("key");
        let known = std::fs::read(&path).ok().and_then(|bytes| bytes.try_into().ok());
        let key = match known {
            Some(key) => key,
            None => {
                let mut key = [0; 32];
                let draws = (0..4).map(|_| SystemClock.entropy());
                key.chunks_exact_mut(8).zip(draws).for_each(|(part, bits)| part.copy_from_slice(&bits.to_le_bytes()));
                write(dir, &path, &[&key])?;
                key
            }
        };
        Ok(Self { dir: dir.to_owned(), key })
    }

    fn path(&self, engine: &Engine, component: &[u8]) -> PathBuf {
        let mut compatible = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut compatible);
        let name = format!("{:016x}:{}", compatible.finish(), serin_core::digest(component));
        let digest = serin_core::digest(name.as_bytes());
        self.dir.join(digest.trim_start_matches("sha256:")).with_extension("cwasm")
    }

    fn mac(&self, code: &[u8]) -> Option<Hmac<Sha256>> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).ok()?;
        mac.update(code);
        Some(mac)
    }

    /// What was compiled before; none where that is not there, or not ours.
    #[allow(unsafe_code, reason = "compiled code is read back, after a check that this host wrote it")]
    pub fn get(&self, engine: &Engine, component: &[u8]) -> Option<Component> {
        let path = self.path(engine, component);
        let bytes = std::fs::read(&path).ok()?;
        let (mac, code) = bytes.split_at_checked(MAC)?;
        if self.mac(code)?.verify_slice(mac).is_err() {
            tracing::warn!(file = %path.display(), "compiled code that this host did not write; it is compiled anew");
            return None;
        }
        // SAFETY: these bytes are what `Component::serialize` gave to this host: the HMAC was made
        // with a key that nobody else has.
        match unsafe { Component::deserialize(engine, code) } {
            Ok(component) => Some(component),
            Err(error) => {
                tracing::warn!(%error, file = %path.display(), "compiled code that does not fit; it is compiled anew");
                None
            }
        }
    }

    /// Keeps what was compiled. Where that cannot be done, it is compiled again at the next start.
    pub fn put(&self, engine: &Engine, component: &[u8], compiled: &Component) {
        let kept = || -> std::io::Result<()> {
            let code = compiled.serialize().map_err(|e| std::io::Error::other(format!("{e:#}")))?;
            let mac = self.mac(&code).ok_or_else(|| std::io::Error::other("no key"))?;
            write(&self.dir, &self.path(engine, component), &[&mac.finalize().into_bytes(), &code])?;
            self.prune()
        };
        if let Err(error) = kept() {
            tracing::warn!(%error, dir = %self.dir.display(), "compiled code is not kept");
        }
    }

    fn prune(&self) -> std::io::Result<()> {
        let mut files: Vec<(std::time::SystemTime, PathBuf)> = std::fs::read_dir(&self.dir)?
            .filter_map(Result::ok)
            .filter(|entry| entry.path().extension().is_some_and(|e| e == "cwasm"))
            .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
            .collect();
        files.sort();
        let beyond = files.len().saturating_sub(MOST);
        files.iter().take(beyond).try_for_each(|(_, path)| std::fs::remove_file(path))
    }
}

/// Writes a file whole or not at all, for the host's user alone.
fn write(dir: &Path, path: &Path, parts: &[&[u8]]) -> std::io::Result<()> {
    let partial = dir.join(format!(".{:016x}.partial", SystemClock.entropy()));
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&partial)?;
    parts.iter().try_for_each(|part| file.write_all(part))?;
    std::fs::rename(&partial, path)
}
