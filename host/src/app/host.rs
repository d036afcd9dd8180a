//! A running host: start, background threads and shutdown.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch;

use super::final_reports::keep_final_reports;
use super::{Reloader, ReloaderParts};
use crate::clock::Clock;
use crate::config::{Config, ConfigError};
use crate::decide::{Pool, ShadowRun, Shadows};
use crate::experiments::{Controller, Observer, tick};
use crate::features::{EmbeddedStore, StoreError};
use crate::files;
use crate::http::{self, Drain, Listener, Service, ServiceParts};
use crate::ledger::{ClockGuard, Ledger, LedgerError, Note, Retention, ShadowRow};
use crate::models::{Runtime, RuntimeError};
use crate::registry::{Archive, ArchiveError, Folder, Watcher};
use crate::replay::ArchivedVersions;
use crate::sandbox::Engines;
use crate::status::DeploymentStatus;
use crate::telemetry::{EventLabels, Metrics};

/// The interval of rescans of the folders, for changes without an event.
const RESCAN: Duration = Duration::from_secs(2);
/// The interval of evaluating experiments.
const LOOK: Duration = Duration::from_secs(1);
/// The interval of expiry.
const EXPIRE_EVERY: Duration = Duration::from_secs(60);

/// How long an answer is kept under its idempotency key.
const KEEP_KEYS: Duration = Duration::from_secs(24 * 60 * 60);

/// How to start a host.
#[derive(Debug, Clone)]
pub struct Options {
    /// `serin.toml`.
    pub config: PathBuf,
    /// Overrides `server.listen`.
    pub listen: Option<SocketAddr>,
    /// Overrides `server.admin`.
    pub admin: Option<SocketAddr>,
    /// Whether a version may be replaced by another artifact.
    pub dev: bool,
    /// Who evaluates the experiments.
    pub looks: Looks,
}

/// Who evaluates the experiments and acts on the results.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Looks {
    /// The host itself, every second.
    #[default]
    EverySecond,
    /// The caller of [`Host::look`]: a simulation with its own time.
    WhenAsked,
}

/// Why a host did not start.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The feature store.
    #[error(transparent)]
    Features(#[from] StoreError),
    /// The archive.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// ONNX Runtime.
    #[error(transparent)]
    Models(#[from] RuntimeError),
    /// The sandbox.
    #[error("sandbox: {0}")]
    Sandbox(String),
    /// The operating system.
    #[error("{what}: {error}")]
    System {
        /// The operation.
        what: String,
        /// The error.
        error: std::io::Error,
    },
}

fn system(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> HostError {
    let what = what.into();
    move |error| HostError::System { what, error }
}

/// A listening host.
pub struct Host {
    /// The public listener's address.
    pub listen: SocketAddr,
    /// The admin listener's address.
    pub admin: SocketAddr,
    /// The deployment and its files.
    pub reloader: Arc<Reloader>,
    service: Arc<Service>,
    drain: Arc<Drain>,
    shutdown_delay: Duration,
    controller: Arc<Controller>,
    observer: Arc<Observer>,
    clock: Arc<dyn Clock>,
    clock_guard: Arc<ClockGuard>,
    ledger: Arc<Ledger>,
    stop: watch::Sender<bool>,
    servers: Vec<tokio::task::JoinHandle<()>>,
    _watcher: Option<Watcher>,
}

impl Host {
    /// Starts a host. It loads before it listens.
    ///
    /// # Errors
    /// What prevents it from serving at all. An invalid plugin, model or experiment does not; it is
    /// shown on the admin listener.
    pub async fn start(options: Options, clock: Arc<dyn Clock>) -> Result<Self, HostError> {
        let config = Config::load(&options.config)?;
        let fixed = config.fixed.clone();
        // Not stored in the configuration, which would differ from the file for ever.
        let (listen, admin) = (options.listen.unwrap_or(fixed.listen), options.admin.unwrap_or(fixed.admin));
        raise_descriptors(2 * fixed.server.max_connections);
        let data = fixed.data_dir();
        files::create_private_dir(&data).map_err(system(format!("{}", data.display())))?;
        let metrics = Arc::new(Metrics::default());
        let ledger = Arc::new(Ledger::open(&fixed.ledger, fixed.durability, Arc::clone(&metrics))?);
        let store = Arc::new(EmbeddedStore::open(&data.join("features.db"))?);
        let archive = Archive::open(&data.join("archive"))?;
        let runtime =
            if config.models.is_empty() { None } else { Some(Runtime::load(fixed.threads, Arc::clone(&metrics))?) };
        // One instance per deciding thread, and a few for cases and replays.
        let engines = Engines::new(fixed.threads as u32 + 8).map_err(|e| HostError::Sandbox(format!("{e:#}")))?;
        let engines = engines.cached(&data.join("compiled")).beside_decisions();
        let engines = Arc::new(if options.dev { engines.drafting() } else { engines });
        let clock_guard =
            Arc::new(ClockGuard::start(Arc::clone(&ledger), Arc::clone(&clock), config.retain, Arc::clone(&metrics))?);
        let controller = Arc::new(Controller::open(Arc::clone(&ledger), Arc::clone(&clock), Arc::clone(&metrics))?);
        let observer = Arc::new(Observer::new(Arc::clone(&ledger)));
        let folder = Arc::new(Folder::new(fixed.plugins.clone(), Arc::clone(&engines), archive.clone(), options.dev));
        let watched = watched_folders(&config);
        let parts = ReloaderParts {
            folder: Arc::clone(&folder),
            archive: archive.clone(),
            store: Arc::clone(&store),
            runtime,
            clock: Arc::clone(&clock),
            metrics: Arc::clone(&metrics),
            controller: Arc::clone(&controller),
            observer: Arc::clone(&observer),
        };
        let reloader = Arc::new(Reloader::new(config, parts));
        reloader.start();
        let watcher = watch_files(&reloader, &watched);
        let pool = Pool::start(fixed.threads, fixed.queue, Arc::clone(&reloader.deployment), Arc::clone(&clock))
            .map_err(system("deciding threads"))?;
        let shadows = shadows(&ledger, &metrics).map_err(system("a thread for shadows"))?;
        let drain = Arc::<Drain>::default();
        let service = Service::new(ServiceParts {
            deployment: Arc::clone(&reloader.deployment),
            pool,
            ledger: Arc::clone(&ledger),
            store: Arc::clone(&store),
            clock: Arc::clone(&clock),
            clock_guard: Arc::clone(&clock_guard),
            metrics: Arc::clone(&metrics),
            folder,
            status: Arc::clone(&reloader.status),
            versions: Arc::new(ArchivedVersions::new(engines, archive)),
            max_concurrent: fixed.max_concurrent,
            settings: fixed.server.clone(),
            drain: Arc::clone(&drain),
            controller: Arc::clone(&controller),
            observer: Arc::clone(&observer),
            shadows,
            reload: {
                let reloader = Arc::downgrade(&reloader);
                Box::new(move || reloader.upgrade().into_iter().for_each(|reloader| reloader.apply()))
            },
        });
        if options.looks == Looks::EverySecond {
            watch_experiments(&reloader, &controller, &observer, &store, &clock_guard, Arc::clone(&clock))?;
        }
        let (stop, stopped) = watch::channel(false);
        let bind = async |address, name| {
            let listener = Listener::bind(address, name, fixed.server.clone(), Arc::clone(&metrics)).await;
            let listener = listener.map_err(system(format!("listen on {address}")))?;
            Ok::<_, HostError>((listener.local_addr().map_err(system("listen"))?, listener))
        };
        let ((listen, public), (admin, private)) = (bind(listen, "public").await?, bind(admin, "admin").await?);
        let servers = vec![
            tokio::spawn(public.serve(http::public(Arc::clone(&service)), Arc::clone(&drain))),
            tokio::spawn(private.serve(http::admin(Arc::clone(&service), admin.ip()), Arc::clone(&drain))),
        ];
        let status = Arc::clone(&reloader.status);
        tokio::spawn(expire(Arc::clone(&ledger), Arc::clone(&clock_guard), status, reloader.retain(), stopped));
        let shutdown_delay = fixed.server.shutdown_delay;
        Ok(Self {
            listen,
            admin,
            reloader,
            service,
            drain,
            shutdown_delay,
            controller,
            observer,
            clock,
            clock_guard,
            ledger,
            stop,
            servers,
            _watcher: watcher,
        })
    }

    /// The ledger, which is closed when the host stops.
    pub fn ledger(&self) -> std::sync::Weak<Ledger> {
        Arc::downgrade(&self.ledger)
    }

    /// The plugins folder.
    pub fn plugins(&self) -> PathBuf {
        self.reloader.plugins()
    }

    /// Evaluates the experiments and acts on the results until no command follows. It waits for the
    /// ledger, so do not call it on a listener's thread.
    pub fn look(&self) {
        while self.clock_guard.is_trusted()
            && look(&self.reloader, &self.controller, &self.observer, self.clock.now_ms())
        {}
    }

    /// Turns readiness off and continues to serve for `server.shutdown_delay`, so that load
    /// balancers notice and send requests elsewhere.
    pub async fn leave(&self) {
        self.drain.leave();
        tokio::time::sleep(self.shutdown_delay).await;
    }

    /// Stops: no new connections, every accepted request answered, every record committed, the ledger
    /// closed.
    pub async fn stop(self) {
        self.drain.close();
        // It fails only if the listeners have ended, and then there is nothing to stop.
        let _ = self.stop.send(true);
        for server in self.servers {
            // Bounded by `server.drain_timeout`.
            if let Err(error) = server.await {
                tracing::error!(%error, "a listener failed");
            }
        }
        drop(self.service);
        // Stops the evaluation of experiments.
        drop((self.reloader, self.controller, self.observer));
        // Other threads may hold it a little longer, but can no longer record anything.
        let ledger = self.ledger;
        if tokio::task::spawn_blocking(move || ledger.close()).await.is_err() {
            tracing::error!("the ledger was not closed");
        }
    }
}

/// Raises the soft limit of file descriptors to the hard one. With the usual 1,024, connections
/// would exhaust those of the ledger long before they reach their own bound.
fn raise_descriptors(connections: usize) {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // If that is not allowed, the limit stays.
    let _ = setrlimit(Resource::Nofile, limit);
    let needed = connections as u64 + 256;
    match getrlimit(Resource::Nofile).current {
        Some(most) if most < needed => {
            tracing::warn!(most, needed, "fewer open files are allowed than server.max_connections may take");
        }
        _ => {}
    }
}

fn watched_folders(config: &Config) -> Vec<PathBuf> {
    let parent = |path: &PathBuf| {
        path.parent()
            .map_or_else(|| PathBuf::from("."), |p| if p.as_os_str().is_empty() { ".".into() } else { p.to_path_buf() })
    };
    let mut folders = vec![config.fixed.plugins.clone(), config.fixed.experiments.clone(), parent(&config.path)];
    folders.extend(config.models.values().map(parent));
    folders.sort();
    folders.dedup();
    for folder in &folders {
        // The user's folders: created if they do not exist, so that they can be watched.
        if let Err(error) = std::fs::create_dir_all(folder) {
            tracing::warn!(%error, folder = %folder.display(), "cannot be made");
        }
    }
    folders
}

/// Runs shadow arms and records the runs. It holds no strong reference to the ledger, which must be
/// closed when the host has stopped.
fn shadows(ledger: &Arc<Ledger>, metrics: &Arc<Metrics>) -> std::io::Result<Shadows> {
    let (ledger, metrics) = (Arc::downgrade(ledger), Arc::clone(metrics));
    Shadows::start(move |record, runs| {
        let Some(ledger) = ledger.upgrade() else { return };
        let row = |run: &ShadowRun| {
            Metrics::count(&metrics.shadows, run.attempt.outcome.label());
            metrics.shadows.get_or_create(&EventLabels { reason: "dropped".to_owned() }).inc_by(run.dropped);
            ShadowRow {
                decision_id: record.decision_id.clone(),
                experiment: run.experiment.to_string(),
                arm: run.arm.to_string(),
                served: record.answer.action.to_string(),
                action: run.action.as_ref().map(ToString::to_string),
                outcome: run.attempt.outcome.label(),
                took_us: run.attempt.time_us,
                served_us: record.attempts.last().map_or(0, |attempt| attempt.time_us),
                dropped: run.dropped,
                attempt: ledger.pack_attempt(record.time_ms, (&run.experiment, &run.arm), &run.attempt),
            }
        };
        let rows: Vec<ShadowRow> = runs.iter().map(row).collect();
        if let Err(error) = ledger.note(Note::Shadows(rows)) {
            crate::telemetry::log_limited!(warn, %error, "what shadows did is lost");
        }
    })
}

/// Reloads on file events, and on a timer as a safety net, from a thread of its own.
fn watch_files(reloader: &Arc<Reloader>, folders: &[PathBuf]) -> Option<Watcher> {
    // A queue of one: any number of events during a reload cause one more reload.
    let (wake, events) = crossbeam_channel::bounded::<()>(1);
    let loaded = wake.clone();
    reloader.folder.on_loaded(move || {
        let _ = loaded.try_send(());
    });
    let watcher = Watcher::new(folders, move || {
        // A pending wake-up already covers this change.
        let _ = wake.try_send(());
    });
    let watcher = match watcher {
        Ok(watcher) => Some(watcher),
        Err(error) => {
            tracing::warn!(%error, "file events are not to be had; the folders are looked at every {RESCAN:?}");
            None
        }
    };
    let has_events = watcher.is_some();
    let reloader = Arc::downgrade(reloader);
    let spawned = std::thread::Builder::new().name("serin-reload".into()).spawn(move || {
        loop {
            match events.recv_timeout(RESCAN) {
                Err(crossbeam_channel::RecvTimeoutError::Disconnected) if has_events => return,
                Err(crossbeam_channel::RecvTimeoutError::Disconnected) => std::thread::sleep(RESCAN),
                Ok(()) | Err(crossbeam_channel::RecvTimeoutError::Timeout) => {}
            }
            match reloader.upgrade() {
                Some(reloader) => reloader.reload(),
                None => return,
            }
        }
    });
    if let Err(error) = spawned {
        tracing::error!(%error, "no thread for reloading; files are not watched");
    }
    watcher
}

/// Evaluates the experiments, acts on the results, and puts changes in force. Says whether any
/// status has changed.
fn look(reloader: &Reloader, controller: &Controller, observer: &Observer, now_ms: u64) -> bool {
    let changed = tick(controller, observer, now_ms);
    if changed {
        reloader.apply();
    }
    if keep_final_reports(reloader, controller, observer) {
        reloader.apply();
    }
    changed
}

/// Evaluates the experiments and acts on the results, on a thread of its own.
fn watch_experiments(
    reloader: &Arc<Reloader>,
    controller: &Arc<Controller>,
    observer: &Arc<Observer>,
    store: &Arc<EmbeddedStore>,
    clock_guard: &Arc<ClockGuard>,
    clock: Arc<dyn Clock>,
) -> Result<(), HostError> {
    // Weak references, because these hold the databases, which must be closed when the host has
    // stopped.
    let store = Arc::downgrade(store);
    let held =
        (Arc::downgrade(reloader), Arc::downgrade(controller), Arc::downgrade(observer), Arc::downgrade(clock_guard));
    let look = move || {
        while let (Some(reloader), Some(controller), Some(observer), Some(guard)) =
            (held.0.upgrade(), held.1.upgrade(), held.2.upgrade(), held.3.upgrade())
        {
            // A panic must not leave canaries unwatched.
            let look = || guard.is_trusted() && look(&reloader, &controller, &observer, clock.now_ms());
            if std::panic::catch_unwind(std::panic::AssertUnwindSafe(look)).is_err() {
                tracing::error!("the experiments could not be looked at");
            }
            drop((reloader, controller, observer, guard));
            if let Some(Err(error)) = store.upgrade().map(|store| store.hold()) {
                tracing::debug!(%error, "no read is held open");
            }
            std::thread::sleep(LOOK);
        }
    };
    std::thread::Builder::new()
        .name("serin-experiments".into())
        .spawn(look)
        .map(drop)
        .map_err(system("a thread for the experiments"))
}

/// Runs expiry in small batches.
async fn expire(
    ledger: Arc<Ledger>,
    clock: Arc<ClockGuard>,
    status: Arc<ArcSwap<DeploymentStatus>>,
    mut retain: watch::Receiver<Option<Duration>>,
    mut stopped: watch::Receiver<bool>,
) {
    loop {
        let specs = status.load().experiments.iter().filter_map(|known| known.spec.clone()).collect::<Vec<_>>();
        let retention = Retention {
            clock: clock.look(),
            keep_ms: retain.borrow_and_update().map(|retain| retain.as_millis() as u64),
            keep_keys_ms: KEEP_KEYS.as_millis() as u64,
            after_end_ms: specs.iter().map(|spec| (spec.id.clone(), spec.longest_ms())).collect(),
        };
        let more = match ledger.expire(retention) {
            Ok(done) => matches!(done.await, Ok(Ok(true))),
            Err(LedgerError::Closed) => return,
            Err(_) => false,
        };
        let pause = match more {
            // Twice as long as a batch occupies the writer.
            true => Duration::from_millis(20),
            // A host that is not ready gets no traffic, and so no commit that could make it ready
            // again. This commit can.
            false if !ledger.is_healthy() => Duration::from_secs(1),
            false => EXPIRE_EVERY,
        };
        tokio::select! {
            _ = stopped.wait_for(|stop| *stop) => return,
            Ok(()) = retain.changed() => {}
            () = while_as_it_is(&ledger, &clock, pause) => {}
        }
    }
}

/// Waits; returns early if the ledger stops committing or the clock is confirmed.
async fn while_as_it_is(ledger: &Ledger, clock: &ClockGuard, pause: Duration) {
    let was_trusted = clock.is_trusted();
    let mut left = pause;
    while !left.is_zero() {
        let step = left.min(Duration::from_secs(1));
        left -= step;
        tokio::time::sleep(step).await;
        if !ledger.is_healthy() || clock.is_trusted() != was_trusted {
            return;
        }
    }
}
