//! Reloading: files are read, checked and loaded off the request path; then one pointer is swapped.
//! An invalid file leaves the applied one in force.

mod in_use;
mod settled;
mod swap;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::time::Duration;

use arc_swap::ArcSwap;
use serin_core::experiment::Pin;
use tokio::sync::watch;

use super::archived::ArchivedExperiments;
use super::archiving::Generation;
use super::build::wanted;
use super::in_force::{last_config, last_specs};
use super::models::{ModelAdmission, Models};
use super::windows::WindowsById;
use crate::access::AccessControl;
use crate::clock::Clock;
use crate::config::{Config, ConfigError, Retain};
use crate::decide::DeploymentSnapshot;
use crate::experiments::{Controller, Observer, SpecCandidate, SpecFile, Specs};
use crate::features::EmbeddedStore;
use crate::ledger::AuditEntry;
use crate::models::Runtime;
use crate::registry::{Archive, Awaited, Folder, Scan, files_in};
use crate::signatures::Trust;
use crate::status::DeploymentStatus;
use crate::telemetry::Metrics;
use crate::tls::Tls;
use settled::SettledText;

/// How long a start waits for artifacts. A small folder is completely loaded when the host listens.
/// A file that nothing names, or that is new and slow to compile, does not delay serving.
const START_WAITS: [(Awaited, Duration); 3] = [
    (Awaited::LastGood, Duration::from_secs(60)),
    (Awaited::Named, Duration::from_secs(10)),
    (Awaited::All, Duration::from_secs(1)),
];

/// The files as read, without artifacts and models.
struct Files {
    /// The configuration to try: the current file, or the one in force if the file is invalid.
    config: Config,
    config_error: Option<String>,
    restart_required: Vec<&'static str>,
    specs: Vec<SpecFile>,
    experiments_error: Option<String>,
    /// Whose signatures count. An edit that waits for something else does not wait with that.
    trust: Arc<Trust>,
}

struct Inner {
    config: Config,
    specs: Specs,
    /// The status of the files at the last scan.
    judged: Option<Arc<Files>>,
    fingerprint: String,
    generation: u64,
    /// Generations whose archiving is pending.
    unarchived: Vec<Generation>,
    /// Ended experiments of which no file is left.
    archived: ArchivedExperiments,
}

/// Keeps the deployment up to date with the files.
pub struct Reloader {
    /// The deployment in force.
    pub deployment: Arc<ArcSwap<DeploymentSnapshot>>,
    /// The status of the files.
    pub status: Arc<ArcSwap<DeploymentStatus>>,
    /// The plugins folder.
    pub folder: Arc<Folder>,
    archive: Archive,
    store: Arc<EmbeddedStore>,
    models: Models,
    clock: Arc<dyn Clock>,
    steady: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    controller: Arc<Controller>,
    observer: Arc<Observer>,
    tls: Option<Arc<Tls>>,
    retain: watch::Sender<Retain>,
    access: Arc<AccessControl>,
    /// The open windows of units under adaptive allocation.
    windows: WindowsById,
    /// The configuration's file.
    file: Mutex<SettledText>,
    /// Held while artifacts and models are loaded, which takes seconds for one with an interpreter.
    loading: Mutex<()>,
    /// Whether the last scan ended in a panic.
    is_broken: AtomicBool,
    inner: Mutex<Inner>,
}

/// The parts of a reloader.
pub struct ReloaderParts {
    /// The plugins folder.
    pub folder: Arc<Folder>,
    /// The archive of applied files.
    pub archive: Archive,
    /// The feature store.
    pub store: Arc<EmbeddedStore>,
    /// ONNX Runtime, where it is loaded already.
    pub runtime: Option<Runtime>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// The time that experiments go by, whatever the clock is set to meanwhile.
    pub steady: Arc<dyn Clock>,
    /// Metrics.
    pub metrics: Arc<Metrics>,
    /// The statuses of the experiments.
    pub controller: Arc<Controller>,
    /// The units of the experiments.
    pub observer: Arc<Observer>,
    /// Who may do what.
    pub access: Arc<AccessControl>,
    /// TLS of the listeners.
    pub tls: Option<Arc<Tls>>,
}

impl Reloader {
    /// A reloader over a configuration, with nothing loaded yet.
    pub fn new(config: Config, parts: ReloaderParts) -> Self {
        let ReloaderParts { folder, archive, store, runtime, clock, steady, .. } = parts;
        let ReloaderParts { metrics, controller, observer, access, tls, .. } = parts;
        let generation = archive.last_generation();
        let empty = DeploymentSnapshot {
            generation,
            points: HashMap::new(),
            views: config.views.clone(),
            models: Arc::default(),
            store: Arc::clone(&store),
            slots_per_version: 1,
        };
        access.set(config.access.clone());
        let file = Mutex::new(SettledText::new(config.text.clone()));
        let specs = last_specs(&archive, &config, |id| controller.status(id));
        // An edit is tried by a restart as it is by a running host: against what was in force.
        let config = last_config(&archive, &config).unwrap_or(config);
        let (threads, of_models) = (config.fixed.threads, Arc::clone(&metrics));
        let load_runtime = move || Runtime::load(threads, Arc::clone(&of_models));
        Self {
            deployment: Arc::new(ArcSwap::from_pointee(empty)),
            status: Arc::default(),
            models: Models::new(runtime, load_runtime, archive.clone(), Arc::clone(&metrics), folder.is_dev()),
            folder,
            archive,
            store,
            clock,
            steady,
            metrics,
            controller,
            observer,
            tls,
            retain: watch::Sender::new(config.retain),
            access,
            windows: WindowsById::default(),
            file,
            loading: Mutex::default(),
            is_broken: AtomicBool::new(false),
            inner: Mutex::new(Inner {
                config,
                specs,
                judged: None,
                fingerprint: String::new(),
                generation,
                unarchived: Vec::new(),
                archived: ArchivedExperiments::default(),
            }),
        }
    }

    /// The retention of decisions in the file in force.
    pub fn retain(&self) -> watch::Receiver<Retain> {
        self.retain.subscribe()
    }

    /// The plugins folder.
    pub fn plugins(&self) -> PathBuf {
        self.inner().config.fixed.plugins.clone()
    }

    fn file(&self) -> std::sync::MutexGuard<'_, SettledText> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// In how long an edit of the configuration may count that does not yet; none without one.
    pub fn due_in(&self) -> Option<Duration> {
        self.file().due_in(self.clock.uptime_ms())
    }

    fn inner(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Scans every file, and swaps the deployment if something changed. New artifacts start loading
    /// in the background. Call this again once one is loaded; [`Folder::on_loaded`] signals that.
    pub fn reload(&self) {
        self.survive(|| {
            let _loading = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
            self.scan();
            self.look();
        });
    }

    /// Calls `look`. A panic must not end the thread that scans the files: everything in force
    /// stays, and the next scan may find other files.
    fn survive(&self, look: impl FnOnce()) {
        let looked = serin_core::caught(|| {
            look();
            Ok(())
        });
        match looked {
            Ok(()) => self.is_broken.store(false, Ordering::Relaxed),
            Err(error) => {
                Metrics::count(&self.metrics.reloads, "panicked");
                // Logged once, because the scan repeats.
                if !self.is_broken.swap(true, Ordering::Relaxed) {
                    tracing::error!(error, "the files could not be looked at; what was in force stays");
                }
            }
        }
    }

    /// As [`Reloader::reload`], once at start, and it waits for artifacts up to a limit. When it
    /// returns, named versions that were served before are served.
    pub fn start(&self) {
        self.survive(|| {
            let _loading = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
            self.scan();
            for (awaited, limit) in START_WAITS {
                self.folder.wait(awaited, limit);
                if awaited == Awaited::LastGood {
                    self.resume();
                }
            }
            self.look();
        });
    }

    /// Puts the configuration in force that was in force when the host stopped, if `serin.toml` was
    /// edited since. The edit may name a version that is slow to compile or cannot be served.
    fn resume(&self) {
        let (mut files, in_force) = {
            let inner = self.inner();
            (self.read(&inner), inner.config.clone())
        };
        if files.config.digest != in_force.digest {
            files.config = in_force.clone();
            self.models.refresh(&[&in_force], &ModelAdmission::of(&in_force, &files.trust), self.clock.now_ms());
            self.swap(&mut self.inner(), Arc::new(files));
        }
    }

    fn scan(&self) {
        let (wanted, in_force, trust) = self.pins();
        self.folder.scan(&Scan { wanted: &wanted, in_force: &in_force, trust: &trust }, self.clock.now_ms());
    }

    /// Scans every file except artifacts, and swaps the deployment if something changed. When it
    /// returns, commands of people and guardrails are in force. It does not wait for a load in
    /// progress; in that case it scans nothing else.
    pub fn apply(&self) {
        self.survive(|| self.apply_what_is_there());
    }

    fn apply_what_is_there(&self) {
        let _loading = match self.loading.try_lock() {
            Ok(loading) => loading,
            Err(TryLockError::Poisoned(loading)) => loading.into_inner(),
            Err(TryLockError::WouldBlock) => {
                let mut inner = self.inner();
                if let Some(files) = inner.judged.clone() {
                    self.swap(&mut inner, files);
                }
                return;
            }
        };
        self.look();
    }

    /// The specs of the files, and those that stay in force in place of them.
    fn candidates(&self, inner: &Inner, files: &Files) -> Vec<SpecCandidate> {
        inner.specs.candidates(&files.specs, |id| self.controller.status(id).state.takes_units())
    }

    /// The versions that are named, in the current files or in what is in force; those in force alone;
    /// and who is trusted.
    fn pins(&self) -> (Vec<Pin>, Vec<Pin>, Arc<Trust>) {
        let inner = self.inner();
        let files = self.read(&inner);
        let in_force: Vec<Pin> = wanted(&inner.config, &[]).into_iter().chain(inner.specs.pins()).collect();
        let named = wanted(&files.config, &self.candidates(&inner, &files)).into_iter();
        (named.chain(in_force.iter().cloned()).collect(), in_force, files.trust)
    }

    fn look(&self) {
        self.look_at_certificate();
        let (files, in_force) = {
            let inner = self.inner();
            (self.read(&inner), inner.config.clone())
        };
        // Versions of an edit that is not applied yet are kept too.
        let admission = ModelAdmission::of(&in_force, &files.trust);
        self.models.refresh(&[&files.config, &in_force], &admission, self.clock.now_ms());
        self.swap(&mut self.inner(), Arc::new(files));
        self.metrics.keep_versions(&self.folder.known());
    }

    /// Puts in force who may do what: at once, even where the rest of the edit cannot be applied, since
    /// a credential that is taken away has to be of no use. Opening a host that is closed needs a restart.
    fn admit(&self, config: &mut Config, restart_required: &mut Vec<&'static str>) {
        if config.access.is_none() && self.access.current().is_some() {
            restart_required.push("access");
            config.access = self.access.current();
        }
        if self.access.set(config.access.clone()) {
            tracing::info!("credentials applied");
            self.audit("access.applied", &config.digest);
        }
    }

    /// Writes what the host itself did into the audit.
    fn audit(&self, what: &str, target: &str) {
        let entry = AuditEntry {
            time_ms: self.clock.now_ms(),
            who: Some("serin".to_owned()),
            address: None,
            what: what.to_owned(),
            target: target.to_owned(),
            result: "done".to_owned(),
            count: 1,
        };
        if let Err(error) = self.controller.ledger().audit(entry) {
            tracing::error!(%error, what, "is not in the audit");
        }
    }

    /// Puts TLS files in force that were replaced, for the handshakes to come.
    fn look_at_certificate(&self) {
        let Some(tls) = &self.tls else { return };
        tls.refresh(self.clock.now_ms());
        self.metrics.tls_certificate_expiry.set(tls.not_after_ms() as f64 / 1000.0);
    }

    /// Reads the files that people edit.
    fn read(&self, inner: &Inner) -> Files {
        let (mut config_error, mut restart_required) = (None, Vec::new());
        let path = &inner.config.path;
        let text = self.file().read(path, self.clock.uptime_ms()).map_err(|error| ConfigError::of(path, &error));
        let config = match text.and_then(|text| Config::parse(text, path)) {
            Ok(mut config) => {
                restart_required = config.fixed.differences(&inner.config.fixed);
                config.fixed = inner.config.fixed.clone();
                self.admit(&mut config, &mut restart_required);
                config
            }
            Err(error) => {
                config_error = Some(error.why);
                inner.config.clone()
            }
        };
        let mut experiments_error = None;
        let specs = files_in(&inner.config.fixed.experiments, "toml").unwrap_or_else(|error| {
            experiments_error = Some(format!("the experiments folder cannot be read: {error}"));
            inner.specs.files()
        });
        let trust = Arc::new(Trust::read(&config.trusted_keys, config.require_signature));
        Files { trust, config, config_error, restart_required, specs: Specs::read(&specs), experiments_error }
    }
}
