//! Compiled code on disk, so that a large artifact is not compiled again at every start.
//!
//! Machine code that is read back runs with the host's own rights: whoever can put it there
//! owns the host. So only what this host wrote is read back. Each file begins with an HMAC under a
//! key that lies beside it, readable by the host's user alone; a file that another key signed, or
//! that anything has changed, is compiled anew.
//!
//! A file's name follows from the digest of the component's code, the engine's settings and
//! wasmtime's own compatibility hash: another version of any of them looks for another file. What
//! lies beside the code, like the manifest and its cases, changes no machine code.

use std::borrow::Cow;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::clock::{Clock as _, SystemClock};

/// Bytes of all files that are kept; what was not used for longest goes first. An interpreter takes some 60 MB.
const MOST_BYTES: u64 = 2 << 30;
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
                let partial = write(dir, &[&key])?;
                // Another process may have been quicker: one key is for all.
                let linked = std::fs::hard_link(&partial, &path);
                std::fs::remove_file(&partial)?;
                match linked {
                    Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                        let theirs = std::fs::read(&path)?.try_into();
                        theirs
                            .map_err(|_| std::io::Error::other(format!("{}: is no key; remove it", path.display())))?
                    }
                    linked => linked.map(|()| key)?,
                }
            }
        };
        Ok(Self { dir: dir.to_owned(), key })
    }

    fn path(&self, engine: &Engine, component: &[u8]) -> PathBuf {
        let mut compatible = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut compatible);
        let name = format!("{:016x}:{}", compatible.finish(), serin_core::digest(&code_of(component)));
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
            Ok(component) => {
                // Used just now. Where that can't be kept, it only goes sooner.
                let now = std::time::SystemTime::now();
                let _ = std::fs::File::options().append(true).open(&path).and_then(|file| file.set_modified(now));
                Some(component)
            }
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
            let partial = write(&self.dir, &[&mac.finalize().into_bytes(), &code])?;
            std::fs::rename(partial, self.path(engine, component))?;
            self.prune()
        };
        if let Err(error) = kept() {
            tracing::warn!(%error, dir = %self.dir.display(), "compiled code is not kept");
        }
    }

    fn prune(&self) -> std::io::Result<()> {
        let mut files: Vec<(std::time::SystemTime, u64, PathBuf)> = std::fs::read_dir(&self.dir)?
            .filter_map(Result::ok)
            .filter(|entry| entry.path().extension().is_some_and(|e| e == "cwasm" || e == "partial"))
            .filter_map(|entry| {
                let meta = entry.metadata().ok()?;
                Some((meta.modified().ok()?, meta.len(), entry.path()))
            })
            .collect();
        files.sort();
        let mut all: u64 = files.iter().map(|(_, bytes, _)| bytes).sum();
        for (_, bytes, path) in files {
            if all <= MOST_BYTES {
                break;
            }
            std::fs::remove_file(path)?;
            all -= bytes;
        }
        Ok(())
    }
}

/// Writes a file for the host's user alone, to be given its name when it is whole.
fn write(dir: &Path, parts: &[&[u8]]) -> std::io::Result<PathBuf> {
    let partial = dir.join(format!(".{:016x}.partial", SystemClock.entropy()));
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&partial)?;
    parts.iter().try_for_each(|part| file.write_all(part))?;
    Ok(partial)
}

/// A component without its own custom sections; those of the modules inside name their functions,
/// and stay. Whole, where it is no component.
fn code_of(component: &[u8]) -> Cow<'_, [u8]> {
    const HEAD: usize = 8;
    const CUSTOM: u8 = 0;
    let sections = || -> wasmparser::Result<Vec<u8>> {
        let mut code = Vec::with_capacity(component.len());
        let mut reader = wasmparser::BinaryReader::new(component, 0);
        code.extend_from_slice(reader.read_bytes(HEAD)?);
        while !reader.eof() {
            let start = reader.original_position();
            let id = reader.read_u8()?;
            let length = reader.read_var_u32()? as usize;
            reader.read_bytes(length)?;
            if id != CUSTOM {
                code.extend_from_slice(&component[start..reader.original_position()]);
            }
        }
        Ok(code)
    };
    sections().map_or(Cow::Borrowed(component), Cow::Owned)
}

#[cfg(test)]
mod tests {
    use wasm_encoder::{Component, ComponentSection as _, CustomSection};

    use super::*;

    #[test]
    fn what_lies_beside_the_code_changes_no_name() {
        let section = |data: &'static [u8]| CustomSection { name: "serin:cases".into(), data: data.into() };
        let bare = Component::new().finish();
        let with = |data| {
            let mut bytes = bare.clone();
            section(data).append_to_component(&mut bytes);
            bytes
        };
        assert_eq!(code_of(&with(b"one")), code_of(&with(b"another")));
        assert_eq!(*code_of(&with(b"one")), *bare);
        // What can't be read is not taken for something else.
        let cut = &with(b"one")[..bare.len() + 2];
        assert_eq!(*code_of(cut), *cut);
    }
}
