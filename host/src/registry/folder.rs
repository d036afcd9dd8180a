//! The plugins folder: every artifact in it, its state, and the versions that can be served.
//!
//! A scan only looks: what is new is put into a queue, and loaded by threads of its own
//! (`loading.rs`). So nothing waits for a file that takes long, but those that are like it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use parking_lot::{Condvar, Mutex, MutexGuard};
use serin_core::experiment::Pin;

use super::admission::{Admission, Grounds, Scan};
use super::artifact::{Plugin, peek, read_file};
use super::loading::{Job, LoadProgress, Loading, Source};
use super::{Archive, Stamp, VersionsByPin, files_in};
use crate::clock::Budget;
use crate::files::{shown, shown_name};
use crate::sandbox::Engines;
use crate::signatures::Signer;

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
    /// Who signed it; none where nobody who is trusted did.
    pub signer: Option<Signer>,
    /// What is wrong with its signature, where it is served all the same.
    pub unsigned: Option<String>,
}

pub(super) struct Seen {
    stamp: Stamp,
    pub grounds: Grounds,
    pub digest: String,
    /// When it is looked at again though it has not changed.
    pub again_ms: Option<u64>,
}

#[derive(Default)]
pub(super) struct Inner {
    pub seen: HashMap<PathBuf, Seen>,
    /// Copied where it changes while a deployment is built from it.
    pub active: Arc<VersionsByPin>,
    pub statuses: BTreeMap<String, ArtifactStatus>,
    /// The statuses as they are shown: nothing reads as active before decisions are made by it.
    shown: BTreeMap<String, ArtifactStatus>,
    /// The statuses when the versions that can be served were last asked for.
    asked: BTreeMap<String, ArtifactStatus>,
    /// Why the folder cannot be read.
    trouble: Option<String>,
    /// Why versions cannot be served from the archive, by digest.
    pub broken: HashMap<String, Broken>,
    /// How often the machine was too busy for an artifact, by digest.
    pub busy: HashMap<String, u32>,
    /// What is being loaded, and what waits for it.
    pub loading: Loading,
    /// By what artifacts are judged.
    pub admission: Admission,
    /// On what grounds those that are loaded were, by digest.
    pub judged: HashMap<String, Grounds>,
    /// Until when those who wait for what is loaded need not be told again.
    pub told: Option<Budget>,
}

/// Why an artifact is not loaded.
pub(super) struct NotLoaded {
    pub why: String,
    /// After how many milliseconds it is tried again; none where that would change nothing.
    pub again_after_ms: Option<u64>,
}

/// Why a version cannot be served from the archive.
pub(super) struct Broken {
    pub why: String,
    pub pin: Option<Pin>,
    /// When that was found.
    pub at_ms: u64,
    /// When it is tried again; none where that would change nothing.
    pub again_ms: Option<u64>,
}

/// The plugins folder.
pub struct Folder {
    dir: PathBuf,
    pub(super) engines: Arc<Engines>,
    pub(super) archive: Archive,
    pub(super) dev: bool,
    /// Listeners wait for this lock: it is not held while a file is read or looked at.
    inner: Mutex<Inner>,
    /// Signalled when something was loaded, or could not be.
    pub(super) ended: Condvar,
    /// Called then, too.
    pub(super) on_loaded: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

/// Retired artifacts that are still shown.
const SHOWN: usize = 200;
/// Failed ones; each was logged.
const SHOWN_FAILED: usize = 1_000;
/// Stands in place of a digest for a file that is not read at all.
const UNREAD: &str = "unread:";

impl Folder {
    /// A folder that was not scanned yet.
    pub fn new(dir: PathBuf, engines: Arc<Engines>, archive: Archive, dev: bool) -> Self {
        let (inner, ended, on_loaded) = (Mutex::default(), Condvar::new(), OnceLock::new());
        Self { dir, engines, archive, dev, inner, ended, on_loaded }
    }

    /// Whether a published version may change.
    pub fn is_dev(&self) -> bool {
        self.dev
    }

    /// What its artifacts are compiled by.
    pub fn engines(&self) -> Arc<Engines> {
        Arc::clone(&self.engines)
    }

    /// Has `call` called whenever an artifact was loaded or refused. To be given once.
    pub fn on_loaded(&self, call: impl Fn() + Send + Sync + 'static) {
        // A second one would not be called; there is one place that reloads.
        let _ = self.on_loaded.set(Box::new(call));
    }

    pub(super) fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock()
    }

    /// Every artifact that was seen, as of the last [`Folder::publish`], those that are being loaded
    /// now, and those that the deployment names and that only the archive has, but cannot be served.
    pub fn statuses(&self) -> Vec<ArtifactStatus> {
        let mut failed = 0;
        let inner = self.inner();
        let is_shown = |status: &&ArtifactStatus| {
            failed += usize::from(status.state == ArtifactState::Failed);
            status.state != ArtifactState::Failed || failed <= SHOWN_FAILED
        };
        let archived = inner.broken.iter().filter(|(digest, _)| !inner.shown.contains_key(*digest));
        let archived = archived.map(|(digest, broken)| broken.status(digest));
        inner.shown.values().filter(is_shown).cloned().chain(archived).collect()
    }

    /// The versions that are served, loaded, failed, or retired and still shown, each as `NAME@VERSION`.
    pub fn known(&self) -> HashSet<String> {
        let inner = self.inner();
        let shown = inner.statuses.values().chain(inner.shown.values()).filter_map(|status| status.pin.as_ref());
        shown.chain(inner.active.keys()).map(ToString::to_string).collect()
    }

    /// Shows what was found when [`Folder::to_serve`] was last called. To be called when the
    /// deployment built from it is in force: whoever sees a version as active can count on it.
    pub fn publish(&self) {
        let inner = &mut *self.inner();
        inner.shown.clone_from(&inner.asked);
    }

    /// The versions that can be served.
    pub fn active(&self) -> Arc<VersionsByPin> {
        Arc::clone(&self.inner().active)
    }

    /// The digests of the artifacts that are loaded, and of those that are about to be.
    pub fn digests(&self) -> Vec<String> {
        let inner = self.inner();
        let is_held =
            |status: &&ArtifactStatus| [ArtifactState::Active, ArtifactState::Loading].contains(&status.state);
        inner.statuses.values().filter(is_held).map(|status| status.digest.clone()).collect()
    }

    /// The versions that can be served, for a deployment: another one may be loaded before it
    /// is in force, and [`Folder::publish`] does not show that one.
    pub fn to_serve(&self) -> Arc<VersionsByPin> {
        let inner = &mut *self.inner();
        inner.asked.clone_from(&inner.statuses);
        Arc::clone(&inner.active)
    }

    /// The versions that are being loaded or wait for it, and how far they are.
    pub fn loading(&self) -> Vec<(Pin, LoadProgress)> {
        self.inner().loading.progress()
    }

    /// The versions that keep serving although the folder lacks their file.
    pub fn stale(&self) -> Vec<Pin> {
        self.inner().statuses.values().filter(|status| status.stale).filter_map(|status| status.pin.clone()).collect()
    }

    /// Why the folder or a trusted key cannot be read, where one cannot.
    pub fn trouble(&self) -> Option<String> {
        let inner = self.inner();
        let troubles = inner.trouble.iter().chain(inner.admission.trust.troubles());
        let troubles: Vec<&str> = troubles.map(String::as_str).collect();
        (!troubles.is_empty()).then(|| troubles.join("; "))
    }

    /// Looks at the folder, and has loaded what is new. Versions that are wanted and that the folder
    /// lacks are taken from the archive.
    pub fn scan(self: &Arc<Self>, scan: &Scan<'_>, now_ms: u64) {
        let wanted = scan.wanted;
        self.inner().give_up_on_late();
        self.admit_by(scan);
        let files = files_in(&self.dir, "wasm");
        let trouble = files.as_ref().err().map(|error| format!("the plugins folder cannot be read: {error}"));
        let before = std::mem::replace(&mut self.inner().trouble, trouble.clone());
        match files {
            // What the archive has comes first: a host that starts serves the last good before it
            // tries anything new.
            Ok(files) => {
                self.recover(wanted, now_ms);
                let present: HashSet<String> =
                    files.iter().filter_map(|path| self.look(path, wanted, now_ms)).collect();
                self.retire(&files, &present, wanted, now_ms);
            }
            Err(_) => {
                if before != trouble {
                    let dir = shown(&self.dir);
                    tracing::error!(error = trouble, %dir, "what is loaded or archived keeps serving");
                }
                self.recover(wanted, now_ms);
            }
        }
        self.judge_again(now_ms);
        self.start_loading(now_ms);
    }

    /// Reads a file where it changed since the last look; its digest.
    fn look(&self, path: &Path, wanted: &[Pin], now_ms: u64) -> Option<String> {
        let file = shown_name(path);
        let unread = format!("{UNREAD}{file}");
        let Some(stamp) = Stamp::of(path) else {
            // A link that leads nowhere; a file that was removed meanwhile is none.
            path.symlink_metadata().ok()?;
            let why = read_file(path).err()?.to_string();
            let inner = &mut *self.inner();
            // What was in it is gone, as with a file that is deleted.
            inner.seen.remove(path);
            inner.note_unread(path, &why, now_ms);
            return None;
        };
        let trust = Arc::clone(&self.inner().admission.trust);
        let grounds = Grounds::of_file(&trust, Some(path));
        {
            let inner = &mut *self.inner();
            if let Some(seen) = inner.seen.get(path)
                && (seen.stamp, &seen.grounds) == (stamp, &grounds)
                && seen.again_ms.is_none_or(|again_ms| now_ms < again_ms)
            {
                inner.statuses.remove(&unread);
                return Some(seen.digest.clone());
            }
        }
        let bytes = match read_file(path) {
            Ok(bytes) => bytes,
            Err(error) => return self.inner().note_unread(path, &error.to_string(), now_ms),
        };
        let digest = crate::digest::digest(&bytes);
        // Its manifest is read again, and whole, where it is loaded: a defect is told there.
        let pin = serin_core::caught(|| Ok(peek(&bytes))).ok().flatten();
        let inner = &mut *self.inner();
        inner.statuses.remove(&unread);
        inner
            .seen
            .insert(path.to_owned(), Seen { stamp, grounds: grounds.clone(), digest: digest.clone(), again_ms: None });
        // A digest that was looked at before keeps what was found; a file that was touched, or
        // copied under another name, is no news. One that was retired may come back.
        let known = inner.statuses.get(&digest).map(|status| status.state);
        if known != Some(ArtifactState::Active) {
            let is_wanted = pin.as_ref().is_some_and(|pin| wanted.contains(pin));
            let source = Source::File { path: path.to_owned(), shown: file };
            let told = inner.statuses.get(&digest).and_then(|status| status.error.clone());
            inner.enqueue(
                Job { digest: digest.clone(), pin, source, is_wanted, is_known: false, told, grounds },
                now_ms,
            );
        }
        Some(digest)
    }

    /// Has wanted versions loaded from the archive that are not there.
    fn recover(&self, wanted: &[Pin], now_ms: u64) {
        let active = self.active();
        let lacking = wanted.iter().filter(|pin| !active.contains_key(pin));
        let archived: Vec<_> = lacking.filter_map(|pin| Some((pin, self.archive.published(pin)?))).collect();
        // So that it changes in place, and is not copied.
        drop(active);
        let inner = &mut *self.inner();
        let trust = Arc::clone(&inner.admission.trust);
        let mut tried = HashSet::new();
        for (pin, digest) in archived {
            if inner.active.contains_key(pin) {
                continue;
            }
            tried.insert(digest.clone());
            let broken = inner.broken.get(&digest);
            let is_due = |broken: &Broken| broken.again_ms.is_some_and(|again_ms| now_ms >= again_ms);
            if broken.is_none_or(is_due) {
                let told = broken.map(|broken| broken.why.clone());
                let (pin, source, grounds) = (Some(pin.clone()), Source::Archive, Grounds::of_file(&trust, None));
                inner.enqueue(Job { digest, pin, source, is_wanted: true, is_known: true, told, grounds }, now_ms);
            }
        }
        inner.broken.retain(|digest, _| tried.contains(digest));
    }

    /// Marks what the folder no longer has: stale where the deployment still names it, else
    /// retired.
    fn retire(&self, files: &[PathBuf], present: &HashSet<String>, wanted: &[Pin], now_ms: u64) {
        let inner = &mut *self.inner();
        let paths: HashSet<&PathBuf> = files.iter().collect();
        inner.seen.retain(|path, _| paths.contains(path));
        // The file under which it was first seen may be gone, and a copy of it still there.
        let mut names: HashMap<&str, String> = HashMap::new();
        for (path, seen) in &inner.seen {
            let name = shown_name(path);
            let known = names.entry(&seen.digest).or_insert_with(|| name.clone());
            *known = name.min(std::mem::take(known));
        }
        for status in inner.statuses.values_mut().filter(|status| !status.digest.starts_with(UNREAD)) {
            status.file = names.remove(&*status.digest);
        }
        for status in inner.statuses.values_mut().filter(|status| status.state == ArtifactState::Active) {
            let here = present.contains(&status.digest);
            let is_wanted = status.pin.as_ref().is_some_and(|pin| wanted.contains(pin));
            // A draft is replaced by its next state all the time.
            if !here && is_wanted && !status.stale && !self.dev {
                let pin = status.pin.as_ref().map(ToString::to_string);
                tracing::warn!(
                    pin,
                    digest = status.digest,
                    "the artifact's file is gone; its version keeps serving from the archive"
                );
            }
            status.stale = !here && is_wanted;
            if !here && !is_wanted {
                status.state = ArtifactState::Retired;
                status.loaded_at_ms = now_ms;
                if let Some(pin) = &status.pin
                    && inner.active.get(pin).is_some_and(|plugin| *plugin.id.digest == *status.digest)
                {
                    Arc::make_mut(&mut inner.active).remove(pin);
                }
            }
        }
        inner.busy.retain(|digest, _| present.contains(digest));
        // Failed files that are gone, and the oldest retired ones, are not shown for ever.
        let names: HashSet<String> = files.iter().map(|path| shown_name(path)).collect();
        inner.statuses.retain(|digest, s| {
            s.state != ArtifactState::Failed
                || digest.strip_prefix(UNREAD).map_or_else(|| present.contains(digest), |name| names.contains(name))
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
}

impl Inner {
    /// Notes why a file was not read. The digest that was loaded from it before: that is not taken away.
    fn note_unread(&mut self, path: &Path, why: &str, now_ms: u64) -> Option<String> {
        let file = shown_name(path);
        let unread = format!("{UNREAD}{file}");
        // It is looked at again with each scan, and told once.
        if self.statuses.get(&unread).and_then(|status| status.error.as_deref()) != Some(why) {
            tracing::error!(file, error = why, "artifact refused");
            self.note(&file, unread, ArtifactState::Failed, Some(why.to_owned()), None, now_ms);
        }
        self.seen.get(path).map(|seen| seen.digest.clone())
    }

    pub fn note(
        &mut self,
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
            signer: None,
            unsigned: None,
        };
        if state == ArtifactState::Loading {
            self.shown.insert(digest.clone(), status.clone());
        }
        self.statuses.insert(digest, status);
    }

    /// Has an artifact loaded, once. One that is being loaded already, or waits for it, is not
    /// loaded again; where it is wanted now it goes first.
    fn enqueue(&mut self, job: Job, now_ms: u64) {
        if self.loading.knows(&job) {
            return;
        }
        let file = job.source.file().to_owned();
        self.note(&file, job.digest.clone(), ArtifactState::Loading, None, None, now_ms);
        for statuses in [&mut self.statuses, &mut self.shown] {
            statuses.entry(job.digest.clone()).and_modify(|status| status.pin.clone_from(&job.pin));
        }
        self.loading.push(job);
    }
}

impl Broken {
    fn status(&self, digest: &str) -> ArtifactStatus {
        ArtifactStatus {
            file: None,
            pin: self.pin.clone(),
            digest: digest.to_owned(),
            state: ArtifactState::Failed,
            error: Some(self.why.clone()),
            loaded_at_ms: self.at_ms,
            wit: None,
            stale: false,
            signer: None,
            unsigned: None,
        }
    }
}

pub(super) fn pin_of(plugin: &Plugin) -> Pin {
    Pin { name: plugin.id.name.clone(), version: plugin.manifest().version.clone() }
}
