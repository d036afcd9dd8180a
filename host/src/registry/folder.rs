//! The plugins folder: every artifact in it, its state, and the versions that can be served.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serin_core::experiment::Pin;

use super::artifact::Plugin;
use super::{AGAIN_MS, Archive, Stamp, VersionsByPin, files_in};
use crate::sandbox::Engines;

/// What an artifact is to the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArtifactState {
    /// Loaded: can be served.
    Active,
    /// Being validated and compiled.
    Loading,
    /// Refused; the error says why.
    Failed,
    /// Replaced or removed.
    Retired,
}

impl ArtifactState {
    /// The name in answers and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Loading => "loading",
            Self::Failed => "failed",
            Self::Retired => "retired",
        }
    }
}

/// An artifact as `GET /v1/plugins` shows it.
#[derive(Debug, Clone)]
pub struct ArtifactStatus {
    /// The file's name; none where it is served from the archive.
    pub file: Option<String>,
    /// The plugin's name and version, where they could be read.
    pub pin: Option<Pin>,
    /// SHA-256 of the file.
    pub digest: String,
    /// Its state.
    pub state: ArtifactState,
    /// Why it failed.
    pub error: Option<String>,
    /// When it reached this state, in milliseconds since the Unix epoch.
    pub loaded_at_ms: u64,
    /// The WIT version that it was made for.
    pub wit: Option<String>,
    /// Served from the archive, since the folder no longer has it.
    pub stale: bool,
}

struct Seen {
    stamp: Stamp,
    digest: String,
    /// When it is looked at again though it has not changed.
    again_ms: Option<u64>,
}

#[derive(Default)]
struct Inner {
    seen: HashMap<PathBuf, Seen>,
    active: BTreeMap<Pin, Arc<Plugin>>,
    statuses: BTreeMap<String, ArtifactStatus>,
    /// The statuses as they are shown: nothing reads as active before decisions are made by it.
    shown: BTreeMap<String, ArtifactStatus>,
    /// The statuses when the versions that can be served were last asked for.
    asked: BTreeMap<String, ArtifactStatus>,
    /// Why the folder cannot be read.
    trouble: Option<String>,
    /// Why versions cannot be served from the archive, by digest.
    broken: HashMap<String, NotLoaded>,
}

/// Why an artifact is not loaded.
#[derive(Clone, PartialEq, Eq)]
struct NotLoaded {
    why: String,
    /// It may be next time: the archive could not be written, or read.
    is_passing: bool,
}

impl NotLoaded {
    fn for_good(why: impl ToString) -> Self {
        Self { why: why.to_string(), is_passing: false }
    }

    fn for_now(why: impl ToString) -> Self {
        Self { why: format!("it could not be archived: {}", why.to_string()), is_passing: true }
    }
}

/// The plugins folder.
pub struct Folder {
    dir: PathBuf,
    engines: Arc<Engines>,
    archive: Archive,
    dev: bool,
    inner: Mutex<Inner>,
}

/// Retired and failed artifacts that are still shown.
const SHOWN: usize = 200;
/// Stands in place of a digest for a file that is not read at all.
const UNREAD: &str = "unread:";

impl Folder {
    /// A folder that was not scanned yet.
    pub fn new(dir: PathBuf, engines: Arc<Engines>, archive: Archive, dev: bool) -> Self {
        Self { dir, engines, archive, dev, inner: Mutex::new(Inner::default()) }
    }

    /// Whether a published version may change.
    pub fn is_dev(&self) -> bool {
        self.dev
    }

    /// What its artifacts are compiled by.
    pub fn engines(&self) -> Arc<Engines> {
        Arc::clone(&self.engines)
    }

    fn inner(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every artifact that was seen, as of the last [`Folder::publish`], and those that are
    /// being loaded now.
    pub fn statuses(&self) -> Vec<ArtifactStatus> {
        self.inner().shown.values().cloned().collect()
    }

    /// Shows what was found when [`Folder::to_serve`] was last called. To be called when the
    /// deployment built from it is in force: whoever sees a version as active can count on it.
    pub fn publish(&self) {
        let inner = &mut *self.inner();
        inner.shown.clone_from(&inner.asked);
    }

    /// The versions that can be served.
    pub fn active(&self) -> BTreeMap<Pin, Arc<Plugin>> {
        self.inner().active.clone()
    }

    /// The versions that can be served, for a deployment: another one may be loaded before it
    /// is in force, and [`Folder::publish`] does not show that one.
    pub fn to_serve(&self) -> VersionsByPin {
        let inner = &mut *self.inner();
        inner.asked.clone_from(&inner.statuses);
        inner.active.clone()
    }

    /// Why the folder cannot be read, where it cannot.
    pub fn trouble(&self) -> Option<String> {
        self.inner().trouble.clone()
    }

    /// Looks at the folder, and loads what is new. `wanted` are the versions that the
    /// deployment names: those that the folder lacks are taken from the archive. Says whether
    /// a version that can be served was added or replaced.
    pub fn scan(&self, wanted: &[Pin], now_ms: u64) -> bool {
        let files = files_in(&self.dir, "wasm");
        let trouble = files.as_ref().err().map(|error| format!("the plugins folder cannot be read: {error}"));
        let before = std::mem::replace(&mut self.inner().trouble, trouble.clone());
        let Ok(files) = files else {
            if before != trouble {
                tracing::error!(error = trouble, dir = %self.dir.display(), "what is loaded or archived keeps serving");
            }
            return self.recover(wanted, now_ms);
        };
        let mut changed = false;
        let mut present = Vec::new();
        for path in &files {
            if let Some(digest) = self.look(path, now_ms, &mut changed) {
                present.push(digest);
            }
        }
        changed |= self.recover(wanted, now_ms);
        self.retire(&files, &present, wanted, now_ms);
        changed
    }

    /// Reads a file where it changed since the last look; its digest.
    fn look(&self, path: &Path, now_ms: u64, changed: &mut bool) -> Option<String> {
        let stamp = Stamp::of(path)?;
        let file = name_of(path);
        let unread = format!("{UNREAD}{file}");
        {
            let inner = &mut *self.inner();
            if let Some(seen) = inner.seen.get(path)
                && seen.stamp == stamp
                && seen.again_ms.is_none_or(|again_ms| now_ms < again_ms)
            {
                inner.statuses.remove(&unread);
                return Some(seen.digest.clone());
            }
        }
        let read = super::check_size(stamp.length())
            .map_err(|error| error.to_string())
            .and_then(|()| std::fs::read(path).map_err(|error| format!("cannot be read: {error}")));
        let bytes = match read {
            Ok(bytes) => bytes,
            Err(error) => {
                self.note(&file, unread, ArtifactState::Failed, Some(error), None, now_ms);
                // What was loaded from it before is not taken away.
                return self.inner().seen.get(path).map(|seen| seen.digest.clone());
            }
        };
        self.inner().statuses.remove(&unread);
        let digest = serin_core::digest(&bytes);
        self.inner().seen.insert(path.to_owned(), Seen { stamp, digest: digest.clone(), again_ms: None });
        // A digest that was looked at before keeps what was found; a file that was touched, or
        // copied under another name, is no news. One that was retired may come back.
        let known = self.inner().statuses.get(&digest).map(|status| status.state);
        if known != Some(ArtifactState::Active) {
            match self.load(&file, &bytes, &digest, now_ms) {
                Ok(()) => *changed = true,
                Err(trouble) => {
                    if let Some(seen) = self.inner().seen.get_mut(path) {
                        seen.again_ms = trouble.is_passing.then_some(now_ms + AGAIN_MS);
                    }
                }
            }
        }
        Some(digest)
    }

    /// Loads an artifact, to be served.
    fn load(&self, file: &str, bytes: &[u8], digest: &str, now_ms: u64) -> Result<(), NotLoaded> {
        let before = self.inner().statuses.get(digest).and_then(|status| status.error.clone());
        self.note(file, digest.to_owned(), ArtifactState::Loading, None, None, now_ms);
        let loaded = Plugin::load(&self.engines, bytes).map_err(NotLoaded::for_good).and_then(|plugin| {
            let pin = pin_of(&plugin);
            if !self.dev {
                self.archive.admits(&pin, digest).map_err(NotLoaded::for_good)?;
            }
            self.archive.put(bytes).map_err(NotLoaded::for_now)?;
            self.archive.apply("plugin", &pin.to_string(), &[digest]).map_err(NotLoaded::for_now)?;
            Ok((pin, plugin))
        });
        match loaded {
            Ok((pin, plugin)) => {
                tracing::info!(%file, %pin, digest, "artifact loaded");
                self.note(file, digest.to_owned(), ArtifactState::Active, None, Some(&plugin), now_ms);
                let mut inner = self.inner();
                if let Some(old) = inner.active.insert(pin, Arc::new(plugin))
                    && *old.id.digest != *digest
                    && let Some(status) = inner.statuses.get_mut(&*old.id.digest)
                {
                    status.state = ArtifactState::Retired;
                }
                Ok(())
            }
            Err(error) => {
                // It is tried again and again; trouble is told once.
                if before.as_ref() != Some(&error.why) {
                    tracing::error!(%file, error = error.why, "artifact refused; what is loaded keeps serving");
                }
                self.note(file, digest.to_owned(), ArtifactState::Failed, Some(error.why.clone()), None, now_ms);
                if let Ok(contents) = super::read(bytes)
                    && let Some(status) = self.inner().statuses.get_mut(digest)
                {
                    let version = contents.manifest.version.clone();
                    status.pin = Some(Pin { name: contents.manifest.name.clone(), version });
                    status.wit = Some(contents.wit);
                }
                Err(error)
            }
        }
    }

    /// Takes wanted versions from the archive that the folder does not have.
    fn recover(&self, wanted: &[Pin], now_ms: u64) -> bool {
        let mut changed = false;
        let mut tried = Vec::new();
        for pin in wanted {
            if self.inner().active.contains_key(pin) {
                continue;
            }
            let Some(digest) = self.archive.published(pin) else { continue };
            tried.push(digest.clone());
            let known = self.inner().broken.get(&digest).cloned();
            if known.as_ref().is_some_and(|trouble| !trouble.is_passing) {
                continue;
            }
            let plugin = match self.archived(&digest) {
                Ok(plugin) => plugin,
                Err(trouble) => {
                    // It is asked for again and again; trouble is told once.
                    if known.as_ref() != Some(&trouble) {
                        let error = &trouble.why;
                        tracing::error!(%pin, digest, error, "this version cannot be served from the archive either");
                    }
                    self.inner().broken.insert(digest, trouble);
                    continue;
                }
            };
            self.inner().broken.remove(&digest);
            tracing::warn!(%pin, digest, "the plugins folder lacks this version; it is served from the archive");
            self.note("", digest.clone(), ArtifactState::Active, None, Some(&plugin), now_ms);
            let mut inner = self.inner();
            if let Some(status) = inner.statuses.get_mut(&digest) {
                status.stale = true;
            }
            inner.active.insert(pin.clone(), Arc::new(plugin));
            changed = true;
        }
        self.inner().broken.retain(|digest, _| tried.contains(digest));
        changed
    }

    fn archived(&self, digest: &str) -> Result<Plugin, NotLoaded> {
        let lacks = || NotLoaded { why: "the archive does not have it, or not as it was".to_owned(), is_passing: true };
        let bytes = self.archive.get(digest).ok_or_else(lacks)?;
        Plugin::load(&self.engines, &bytes).map_err(NotLoaded::for_good)
    }

    /// Marks what the folder no longer has: stale where the deployment still names it, else
    /// retired.
    fn retire(&self, files: &[PathBuf], present: &[String], wanted: &[Pin], now_ms: u64) {
        let mut inner = self.inner();
        let inner = &mut *inner;
        inner.seen.retain(|path, _| files.contains(path));
        // The file under which it was first seen may be gone, and a copy of it still there.
        for status in inner.statuses.values_mut().filter(|status| !status.digest.starts_with(UNREAD)) {
            let copies = inner.seen.iter().filter(|(_, seen)| seen.digest == status.digest);
            status.file = copies.map(|(path, _)| name_of(path)).min();
        }
        for status in inner.statuses.values_mut().filter(|status| status.state == ArtifactState::Active) {
            let here = present.contains(&status.digest);
            let is_wanted = status.pin.as_ref().is_some_and(|pin| wanted.contains(pin));
            status.stale = !here && is_wanted;
            if !here && !is_wanted {
                status.state = ArtifactState::Retired;
                status.loaded_at_ms = now_ms;
                if let Some(pin) = &status.pin
                    && inner.active.get(pin).is_some_and(|plugin| *plugin.id.digest == *status.digest)
                {
                    inner.active.remove(pin);
                }
            }
        }
        // Failed files that are gone, and the oldest retired ones, are not shown for ever.
        let names: Vec<String> = files.iter().map(|path| name_of(path)).collect();
        inner.statuses.retain(|digest, s| {
            let is_there = |name: &str| names.iter().any(|known| known == name);
            s.state != ArtifactState::Failed
                || digest.strip_prefix(UNREAD).map_or_else(|| present.contains(digest), is_there)
        });
        let mut retired: Vec<(u64, String)> = inner
            .statuses
            .iter()
            .filter(|(_, s)| s.state == ArtifactState::Retired)
            .map(|(digest, s)| (s.loaded_at_ms, digest.clone()))
            .collect();
        retired.sort();
        let surplus = retired.len().saturating_sub(SHOWN);
        for (_, digest) in retired.drain(..surplus) {
            inner.statuses.remove(&digest);
        }
    }

    fn note(
        &self,
        file: &str,
        digest: String,
        state: ArtifactState,
        error: Option<String>,
        plugin: Option<&Plugin>,
        now_ms: u64,
    ) {
        let status = ArtifactStatus {
            file: (!file.is_empty()).then(|| file.to_owned()),
            pin: plugin.map(pin_of),
            digest: digest.clone(),
            state,
            error,
            loaded_at_ms: now_ms,
            wit: plugin.map(|p| p.contents.wit.clone()),
            stale: false,
        };
        let mut inner = self.inner();
        if state == ArtifactState::Loading {
            inner.shown.insert(digest.clone(), status.clone());
        }
        inner.statuses.insert(digest, status);
    }
}

fn name_of(path: &Path) -> String {
    path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
}

fn pin_of(plugin: &Plugin) -> Pin {
    Pin { name: plugin.id.name.clone(), version: plugin.manifest().version.clone() }
}
