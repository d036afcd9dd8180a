//! `plugins.lock`: what was pulled into a plugins folder, by digest.
//!
//! The file is committed, reviewed and merged by people. So it is checked as every other file: a name in it
//! becomes a file's name, and a reference says where to send a request.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serin_core::{NAME_RULE, is_name, printable};

use super::oci_registry::{reference, replace};
use crate::files;
use crate::registry::Contents;

type Failure = Box<dyn std::error::Error>;

/// The lock's name, in the plugins folder.
pub(super) const LOCK: &str = "plugins.lock";
/// Artifacts of one lock.
const MOST: usize = 10_000;

/// What was pulled into a plugins folder.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Lock {
    #[serde(default)]
    pub plugin: Vec<Locked>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Locked {
    pub name: String,
    pub version: String,
    /// SHA-256 of the artifact.
    pub digest: String,
    /// Where it came from.
    pub from: String,
    /// SHA-256 of the registry's manifest.
    pub manifest: String,
}

impl Lock {
    /// Reads and checks the lock of a plugins folder; an empty one where there is none.
    pub fn read(dir: &Path) -> Result<Self, Failure> {
        let path = dir.join(LOCK);
        let failed = |why: String| -> Failure { format!("{}: {why}", files::shown(&path)).into() };
        match files::read_text(&path, files::MAX_TEXT_BYTES) {
            Ok(text) => {
                let lock: Self = toml::from_str(&text).map_err(|e| failed(serin_core::toml_message(&e, &text)))?;
                lock.check().map_err(failed)?;
                Ok(lock)
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(failed(error.to_string())),
        }
    }

    fn check(&self) -> Result<(), String> {
        if self.plugin.len() > MOST {
            return Err(format!("{} plugins; valid: at most {MOST}", self.plugin.len()));
        }
        for (i, locked) in self.plugin.iter().enumerate() {
            let key = format!("[[plugin]] {}", i + 1);
            locked.check(&key)?;
            if self.plugin[..i].iter().any(|known| known.is_same_version(locked)) {
                return Err(format!("{key}: {}@{} is there twice; remove one", locked.name, locked.version));
            }
        }
        Ok(())
    }

    pub fn write(&mut self, dir: &Path) -> Result<(), Failure> {
        self.plugin.sort_by(|a, b| (&a.name, &a.version).cmp(&(&b.name, &b.version)));
        let text =
            format!("# Written by serin plugin pull: what each artifact is, by digest.\n\n{}", toml::to_string(self)?);
        replace(&dir.join(LOCK), text.as_bytes())
    }
}

impl Locked {
    fn check(&self, key: &str) -> Result<(), String> {
        let Self { name, version, digest, manifest, from: _ } = self;
        if !is_name(name) {
            return Err(format!("{key}: name = '{}'; valid: {NAME_RULE}", printable(name)));
        }
        serin_core::bounds::version(version).map_err(|why| format!("{key}: {why}"))?;
        for (field, text) in [("digest", digest), ("manifest", manifest)] {
            if !is_digest(text) {
                return Err(format!(
                    "{key}: {field} = '{}'; valid: sha256: and 64 digits, 0-9 and a-f",
                    printable(text)
                ));
            }
        }
        self.reference().map(drop).map_err(|why| format!("{key}: from: {why}"))
    }

    /// Where it is pulled from again: the registry's manifest, by digest.
    pub fn reference(&self) -> Result<oci_client::Reference, Failure> {
        let repository = self.from.rsplit_once(':').filter(|(_, tag)| !tag.contains('/'));
        reference(&format!("{}@{}", repository.map_or(&*self.from, |(repository, _)| repository), self.manifest))
    }

    pub fn is_same_version(&self, other: &Self) -> bool {
        (&self.name, &self.version) == (&other.name, &other.version)
    }

    /// Where its artifact is in a plugins folder.
    pub fn path(&self, dir: &Path) -> PathBuf {
        dir.join(format!("{}-{}.wasm", self.name, self.version))
    }

    /// Checks an artifact against what is locked.
    ///
    /// # Errors
    /// That it is another one, or another version.
    pub fn fits(&self, contents: &Contents) -> Result<(), String> {
        if *self.digest != *contents.digest {
            return Err(format!("{}, and {LOCK} says {}", contents.digest, self.digest));
        }
        let (name, version) = (&contents.manifest.name, &contents.manifest.version);
        if self.name != **name || self.version != version.to_string() {
            let (known, locked) = (format!("{name}@{version}"), format!("{}@{}", self.name, self.version));
            return Err(format!("its manifest says {known}, and {LOCK} says {locked}"));
        }
        Ok(())
    }
}

fn is_digest(text: &str) -> bool {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    text.strip_prefix("sha256:").is_some_and(|hex| hex.len() == 64 && hex.bytes().all(is_digit))
}
