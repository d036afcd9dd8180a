//! Compiled code on disk, so that a large artifact is not compiled again at every start.
//!
//! Machine code that is read back runs with the host's own rights: whoever can put it there
//! owns the host. So only what this host wrote is read back. Each file begins with an HMAC under a
//! key that lies beside it, readable by the host's user alone. It covers the code and what the code
//! is for; a file that another key signed, that anything has changed, or that was given another
//! one's name, is compiled anew. Neither folder nor key is used where another user could read or write it.
//!
//! A file's name follows from the digest of the component's code, the engine's settings and
//! wasmtime's own compatibility hash: another version of any of them looks for another file. What
//! lies beside the code, like the manifest and its cases, changes no machine code.

use std::borrow::Cow;
use std::fs::{Metadata, Permissions};
use std::hash::{Hash as _, Hasher};
use std::io::{ErrorKind, Write as _};
use std::ops::Range;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use hmac::{Hmac, Mac as _};
use serin_core::manifest::HASH_SECTION;
use sha2::{Digest as _, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::clock::{Clock as _, SystemClock};
use crate::files;

/// Bytes of all files that are kept; what was not used for longest goes first. An interpreter takes some 60 MB.
const MOST_BYTES: u64 = 2 << 30;
/// Bytes of an HMAC.
const MAC: usize = 32;

/// What an engine's code depends on: wasmtime's version, its settings, whether code is optimised, and
/// the processor. Collected whole, since the 64 bits of a hash for tables could be those of another engine.
#[derive(Default)]
struct Settings(Vec<u8>);

impl Hasher for Settings {
    fn write(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn finish(&self) -> u64 {
        self.0.len() as u64
    }
}

/// A folder of compiled components.
pub(super) struct Cache {
    dir: PathBuf,
    key: [u8; 32],
    /// Whether what is compiled is kept, too.
    keeps: bool,
}

impl Cache {
    /// Opens the cache in `dir`, and makes it and its key where they are not there.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(dir: &Path) -> std::io::Result<Self> {
        files::create_private_dir(dir)?;
        let path = dir.join("key");
        if !is_private_dir(dir)? {
            tracing::warn!(dir = %files::shown(dir), "others could use the folder of compiled code; all of it is compiled anew");
            std::fs::set_permissions(dir, Permissions::from_mode(0o700))?;
            remove(&path)?;
        }
        let key = match known_key(&path)? {
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
                    Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                        let theirs = known_key(&path)?;
                        theirs
                            .ok_or_else(|| std::io::Error::other(format!("{}: is no key; remove it", path.display())))?
                    }
                    linked => linked.map(|()| key)?,
                }
            }
        };
        Ok(Self { dir: dir.to_owned(), key, keeps: true })
    }

    /// The cache in `dir` as it is there, for who may change nothing: none where it is not there, or
    /// where another user could read or write it.
    pub fn as_it_is(dir: &Path) -> Option<Self> {
        let is_private = is_private_dir(dir).is_ok_and(|is_private| is_private);
        let key = is_private.then(|| private_key(&dir.join("key"))).and_then(|key| key.ok().flatten())?;
        Some(Self { dir: dir.to_owned(), key, keeps: false })
    }

    fn path(&self, engine: &Engine, component: &[u8]) -> PathBuf {
        let mut settings = Settings::default();
        engine.precompile_compatibility_hash().hash(&mut settings);
        let name = format!("component:{}:{}", crate::digest::digest(&settings.0), code_digest(component));
        let digest = crate::digest::digest(name.as_bytes());
        self.dir.join(digest.trim_start_matches("sha256:")).with_extension("cwasm")
    }

    /// The MAC of code that lies at `path`, whose name is the digest of what the code is for.
    fn mac(&self, path: &Path, code: &[u8]) -> Option<Hmac<Sha256>> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).ok()?;
        // Of a length of its own, so that no other name and code have the same bytes together.
        mac.update(Sha256::digest(path.file_name()?.as_encoded_bytes()).as_slice());
        mac.update(code);
        Some(mac)
    }

    /// What was compiled before; none where that is not there, or not ours.
    #[allow(unsafe_code, reason = "compiled code is read back, after a check that this host wrote it")]
    pub fn get(&self, engine: &Engine, component: &[u8]) -> Option<Component> {
        let path = self.path(engine, component);
        let bytes = files::read_bounded(&path, MOST_BYTES).ok()?;
        let (mac, code) = bytes.split_at_checked(MAC)?;
        if self.mac(&path, code)?.verify_slice(mac).is_err() {
            tracing::warn!(file = %path.display(), "compiled code that this host did not write; it is compiled anew");
            return None;
        }
        // SAFETY: these bytes are what `Component::serialize` gave to this host: the HMAC was made
        // with a key that nobody else has.
        match unsafe { Component::deserialize(engine, code) } {
            Ok(component) => {
                if self.keeps {
                    // Used just now. Where that can't be kept, it only goes sooner.
                    let now = std::time::SystemTime::now();
                    let _ = std::fs::File::options().append(true).open(&path).and_then(|file| file.set_modified(now));
                }
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
        if !self.keeps {
            return;
        }
        let kept = || -> std::io::Result<()> {
            let code = compiled.serialize().map_err(|e| std::io::Error::other(format!("{e:#}")))?;
            let path = self.path(engine, component);
            let mac = self.mac(&path, &code).ok_or_else(|| std::io::Error::other("no key"))?;
            let partial = write(&self.dir, &[&mac.finalize().into_bytes(), &code])?;
            std::fs::rename(partial, path)?;
            self.prune()
        };
        if let Err(error) = kept() {
            tracing::warn!(%error, dir = %self.dir.display(), "compiled code is not kept");
        }
    }

    /// Bytes that this host kept under `name`; none where they are not there, or not ours.
    pub fn signed(&self, name: &str, most: u64) -> Option<Vec<u8>> {
        let path = self.dir.join(name);
        let mut bytes = files::read_bounded(&path, most + MAC as u64).ok()?;
        let (mac, content) = bytes.split_at_checked(MAC)?;
        if self.mac(&path, content)?.verify_slice(mac).is_err() {
            tracing::warn!(file = %path.display(), "compiled code that this host did not write; it is compiled anew");
            return None;
        }
        bytes.drain(..MAC);
        Some(bytes)
    }

    /// Keeps bytes under `name`, in the place of those that were there.
    pub fn sign(&self, name: &str, content: &[u8]) {
        if !self.keeps {
            return;
        }
        let path = self.dir.join(name);
        let kept = || -> std::io::Result<()> {
            let mac = self.mac(&path, content).ok_or_else(|| std::io::Error::other("no key"))?;
            let partial = write(&self.dir, &[&mac.finalize().into_bytes(), content])?;
            std::fs::rename(partial, &path)
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

fn is_ours(meta: &Metadata) -> bool {
    meta.uid() == rustix::process::geteuid().as_raw()
}

/// Says whether the folder is the host's user's alone, to read and to write.
///
/// # Errors
/// That it is another user's, or what the system says.
fn is_private_dir(dir: &Path) -> std::io::Result<bool> {
    let meta = std::fs::metadata(dir)?;
    if !is_ours(&meta) {
        return Err(std::io::Error::new(
            ErrorKind::PermissionDenied,
            "the folder is another user's, and is not used; remove it, or give it to the host's user",
        ));
    }
    Ok(meta.mode() & 0o077 == 0)
}

/// The key at `path`; none where there is none, or where somebody else could have written or could
/// read it: what that one signed is not to be run.
fn private_key(path: &Path) -> std::io::Result<Option<[u8; 32]>> {
    let meta = std::fs::symlink_metadata(path)?;
    let is_private = meta.is_file() && is_ours(&meta) && meta.mode() & 0o077 == 0;
    Ok(is_private.then(|| files::read_bounded(path, 32)).and_then(|bytes| bytes.ok()?.try_into().ok()))
}

/// The key at `path`; none where there is none. One that is not private is removed.
fn known_key(path: &Path) -> std::io::Result<Option<[u8; 32]>> {
    match private_key(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
        Ok(Some(key)) => Ok(Some(key)),
        Ok(None) => {
            tracing::warn!(
                file = %files::shown(path),
                "a key that is not this user's own alone; all that is kept of compiled code is compiled anew"
            );
            remove(path)?;
            Ok(None)
        }
    }
}

/// Removes a file; one that is gone already is no error.
fn remove(path: &Path) -> std::io::Result<()> {
    std::fs::remove_file(path).or_else(|e| if e.kind() == ErrorKind::NotFound { Ok(()) } else { Err(e) })
}

/// Writes a file for the host's user alone, to be given its name when it is whole.
fn write(dir: &Path, parts: &[&[u8]]) -> std::io::Result<PathBuf> {
    let partial = dir.join(format!(".{:016x}.partial", SystemClock.entropy()));
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&partial)?;
    parts.iter().try_for_each(|part| file.write_all(part))?;
    Ok(partial)
}

/// The digest of all that a component's machine code follows from.
pub(super) fn code_digest(component: &[u8]) -> String {
    crate::digest::digest(&code_of(component))
}

/// A component without its own custom sections; those of the modules inside name their functions,
/// and stay, but for the manifest's hash: another manifest changes no machine code. Whole, where it is no component.
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
    sections().map_or(Cow::Borrowed(component), |mut code| {
        for hash in manifest_hashes(&code) {
            code[hash].fill(0);
        }
        Cow::Owned(code)
    })
}

/// Where the modules of a component carry the hash of the manifest that they were built against. Found by its
/// section, so that no bytes of code or data are taken for it.
fn manifest_hashes(component: &[u8]) -> Vec<Range<usize>> {
    let sections = wasmparser::Parser::new(0).parse_all(component).map_while(Result::ok);
    let hashes = sections.filter_map(|payload| match payload {
        wasmparser::Payload::CustomSection(section) if section.name() == HASH_SECTION => {
            Some(section.data_offset()..section.data_offset() + section.data().len())
        }
        _ => None,
    });
    hashes.collect()
}

#[cfg(test)]
mod tests {
    use wasm_encoder::{Component, ComponentSection as _, CustomSection};

    use super::*;

    #[test]
    fn code_of_other_settings_has_another_name() {
        let dir = tempfile::tempdir().expect("a folder");
        let cache = Cache::open(dir.path()).expect("opens");
        let path = |level: wasmtime::OptLevel, is_metered: bool| {
            let mut config = wasmtime::Config::new();
            config.wasm_component_model(true).cranelift_opt_level(level).consume_fuel(is_metered);
            cache.path(&Engine::new(&config).expect("an engine"), b"the same component")
        };
        let (speed, none) = (wasmtime::OptLevel::Speed, wasmtime::OptLevel::None);
        assert_eq!(path(speed, true), path(speed, true));
        assert!(path(speed, true) != path(none, true) && path(speed, true) != path(speed, false));
    }

    /// Two components, compiled and kept in `dir`.
    fn kept(dir: &Path) -> (Engine, [Vec<u8>; 2]) {
        let mut config = wasmtime::Config::new();
        let engine = Engine::new(config.wasm_component_model(true)).expect("an engine");
        let components =
            ["(component)", "(component (core module))"].map(|text| wat::parse_str(text).expect("a component"));
        let cache = Cache::open(dir).expect("opens");
        for component in &components {
            let compiled = wasmtime::component::Component::new(&engine, component).expect("compiles");
            cache.put(&engine, component, &compiled);
            assert!(cache.get(&engine, component).is_some());
        }
        (engine, components)
    }

    #[test]
    fn code_under_another_ones_name_is_not_run() {
        let dir = tempfile::tempdir().expect("a folder");
        let (engine, [one, other]) = kept(dir.path());
        let cache = Cache::open(dir.path()).expect("opens");
        std::fs::copy(cache.path(&engine, &one), cache.path(&engine, &other)).expect("copies");
        assert!(cache.get(&engine, &other).is_none() && cache.get(&engine, &one).is_some());
    }

    #[test]
    fn a_key_or_folder_that_others_could_write_is_not_trusted() {
        let mode = |path: &Path, mode| std::fs::set_permissions(path, Permissions::from_mode(mode)).expect("sets");
        for (what, bits) in [("key", 0o666), ("key", 0o640), ("", 0o777), ("", 0o770), ("", 0o755)] {
            let dir = tempfile::tempdir().expect("a folder");
            let (engine, [one, _]) = kept(dir.path());
            let before = std::fs::read(dir.path().join("key")).expect("a key");
            mode(&dir.path().join(what), bits);
            let cache = Cache::open(dir.path()).expect("opens");
            assert!(cache.get(&engine, &one).is_none(), "{what} {bits:o}");
            assert_ne!(std::fs::read(dir.path().join("key")).expect("a key"), before);
            assert_eq!(std::fs::metadata(dir.path()).expect("is there").mode() & 0o077, 0);
            let (again, _) = kept(dir.path());
            assert!(Cache::open(dir.path()).expect("opens").get(&again, &one).is_some(), "and then it serves");
        }
    }

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
        let module = |hash: &[u8]| {
            let mut module = wasm_encoder::Module::new();
            module.section(&CustomSection { name: HASH_SECTION.into(), data: hash.into() });
            module.section(&CustomSection { name: "name".into(), data: (&b"x"[..]).into() });
            let mut component = Component::new();
            component.section(&wasm_encoder::ModuleSection(&module));
            component.finish()
        };
        assert_eq!(code_digest(&module(&[1; 32])), code_digest(&module(&[2; 32])), "another manifest, the same code");
        assert_ne!(code_digest(&module(&[1; 32])), code_digest(&module(&[1; 31])));
        // An unreadable section leaves the input unchanged.
        let cut = &with(b"one")[..bare.len() + 2];
        assert_eq!(*code_of(cut), *cut);
    }

    #[test]
    fn who_only_reads_the_cache_changes_nothing() {
        let dir = tempfile::tempdir().expect("a folder");
        assert!(Cache::as_it_is(&dir.path().join("compiled")).is_none() && !dir.path().join("compiled").exists());
        let (engine, [one, _]) = kept(dir.path());
        let cache = Cache::as_it_is(dir.path()).expect("is there");
        assert!(cache.get(&engine, &one).is_some());
        let before = std::fs::read_dir(dir.path()).expect("reads").count();
        let other = wat::parse_str("(component (core module (memory 1)))").expect("a component");
        cache.put(&engine, &other, &wasmtime::component::Component::new(&engine, &other).expect("compiles"));
        assert_eq!(std::fs::read_dir(dir.path()).expect("reads").count(), before);
        std::fs::set_permissions(dir.path().join("key"), Permissions::from_mode(0o644)).expect("sets");
        assert!(Cache::as_it_is(dir.path()).is_none() && dir.path().join("key").exists());
    }
}
