//! A running host: start, background threads and shutdown.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::background::{audit_refusals, expire, look, shadows, watch_experiments, watch_files, watched_folders};
use super::exposed::Exposed;
use super::{Reloader, ReloaderParts};
use crate::access::AccessControl;
use crate::backup;
use crate::clock::Clock;
use crate::config::{Config, ConfigError, Fixed, no_open_doors};
use crate::decide::Pool;
use crate::experiments::{Controller, Observer};
use crate::features::{EmbeddedStore, StoreError};
use crate::files;
use crate::http::{self, Drain, Listener, Service, ServiceParts};
use crate::ledger::{ClockGuard, Ledger, LedgerError, Note};
use crate::models::{Runtime, RuntimeError};
use crate::registry::{Archive, ArchiveError, Folder, Watcher};
use crate::replay::ArchivedVersions;
use crate::sandbox::Engines;
use crate::telemetry::Metrics;
use crate::tls::{Tls, TlsError};
use crate::traces::Traces;

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
    /// TLS of the listeners.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// ONNX Runtime.
    #[error(transparent)]
    Models(#[from] RuntimeError),
    /// The sandbox.
    #[error("sandbox: {0}")]
    Sandbox(String),
    /// The environment's variables about traces.
    #[error("{0}")]
    Traces(String),
    /// Another program has the address.
    #[error(
        "{address}: another program listens there; stop it, or choose another port with {key} in serin.toml or {option} IP:PORT"
    )]
    InUse {
        /// The address.
        address: SocketAddr,
        /// The key that sets it.
        key: String,
        /// The option that sets it.
        option: String,
    },
    /// A restore into the data folder was cut off.
    #[error("{0}: a restore was cut off; finish it: serin restore FILE --config FILE --force")]
    RestoreUnfinished(String),
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
    /// How both are spoken to: `http` or `https`.
    pub scheme: &'static str,
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
    refusals: tokio::task::JoinHandle<()>,
    traces: Arc<Traces>,
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
        guard_doors(&options, &config, [listen, admin])?;
        for (address, key, option) in [(listen, "server.listen", "--listen"), (admin, "server.admin", "--admin")] {
            is_free(address, key, option)?;
        }
        let tls = fixed.tls.clone().map(|settings| Tls::start(settings, clock.now_ms())).transpose()?.map(Arc::new);
        raise_descriptors(2 * fixed.server.max_connections);
        let mut parts = Parts::open(&config, options.dev, clock)?;
        let watched = watched_folders(&config);
        let reloader = Arc::new(Reloader::new(config, parts.of_reloader(tls.clone())));
        reloader.start();
        let watcher = watch_files(&reloader, &parts.clock_guard, &watched);
        let drain = Arc::<Drain>::default();
        let service = Service::new(parts.of_service(&fixed, &reloader, &drain)?);
        let Parts { clock, metrics, ledger, store, clock_guard, controller, observer, access, traces, .. } = parts;
        if options.looks == Looks::EverySecond {
            watch_experiments(&reloader, &controller, &observer, &store, &clock_guard, Arc::clone(&clock))
                .map_err(system("a thread for the experiments"))?;
        }
        let (stop, stopped) = watch::channel(false);
        let bind = async |address, name| {
            let (settings, metrics) = (fixed.server.clone(), Arc::clone(&metrics));
            let listener = Listener::bind(address, name, settings, tls.clone(), metrics).await;
            let listener = listener.map_err(system(format!("listen on {address}")))?;
            Ok::<_, HostError>((listener.local_addr().map_err(system("listen"))?, listener))
        };
        let ((listen, public), (admin, private)) = (bind(listen, "public").await?, bind(admin, "admin").await?);
        let servers = vec![
            tokio::spawn(public.serve(http::public(Arc::clone(&service), listen.ip()), Arc::clone(&drain))),
            tokio::spawn(private.serve(http::admin(Arc::clone(&service), admin.ip()), Arc::clone(&drain))),
        ];
        let refusals = audit_refusals(Arc::downgrade(&ledger), access, Arc::clone(&clock), stopped.clone());
        let refusals = tokio::spawn(refusals);
        let status = Arc::clone(&reloader.status);
        tokio::spawn(expire(Arc::clone(&ledger), Arc::clone(&clock_guard), status, reloader.retain(), stopped));
        let shutdown_delay = fixed.server.shutdown_delay;
        Ok(Self {
            listen,
            admin,
            scheme: if tls.is_some() { "https" } else { "http" },
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
            refusals,
            traces,
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
        // The last refusals, before the ledger is closed. A panic there was reported.
        let _ = self.refusals.await;
        drop(self.service);
        let controller = Arc::clone(&self.controller);
        // A panic there was reported.
        let _ = tokio::task::spawn_blocking(move || controller.stop_messages()).await;
        // Stops the evaluation of experiments.
        drop((self.reloader, self.controller, self.observer));
        // Other threads may hold it a little longer, but can no longer record anything.
        let (ledger, clock_guard) = (self.ledger, self.clock_guard);
        let close = move || {
            // The next start goes on from here, also if nobody has confirmed the clock.
            let _ = ledger.note(Note::Clock(clock_guard.look()));
            ledger.close()
        };
        if tokio::task::spawn_blocking(close).await.is_err() {
            tracing::error!("the ledger was not closed");
        }
        // A panic there was reported.
        let _ = tokio::task::spawn_blocking(move || self.traces.stop()).await;
    }
}

/// What a host opens before it reads its files: databases, the archive, the engines.
struct Parts {
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    ledger: Arc<Ledger>,
    store: Arc<EmbeddedStore>,
    archive: Archive,
    /// Until the reloader has it; none where no model is declared.
    runtime: Option<Runtime>,
    engines: Arc<Engines>,
    clock_guard: Arc<ClockGuard>,
    controller: Arc<Controller>,
    observer: Arc<Observer>,
    folder: Arc<Folder>,
    access: Arc<AccessControl>,
    traces: Arc<Traces>,
}

impl Parts {
    fn open(config: &Config, is_dev: bool, clock: Arc<dyn Clock>) -> Result<Self, HostError> {
        let fixed = &config.fixed;
        let data = fixed.data_dir();
        files::create_private_dir(&data).map_err(system(format!("{}", data.display())))?;
        if backup::is_unfinished(&data) {
            return Err(HostError::RestoreUnfinished(files::shown(&data)));
        }
        Exposed::of(config).iter().for_each(Exposed::close);
        let metrics = Arc::new(Metrics::default());
        let traces = Traces::start(Arc::clone(&clock), Arc::clone(&metrics)).map_err(HostError::Traces)?;
        if !fixed.ledger.exists() {
            tracing::info!(ledger = %files::shown(&fixed.ledger), "an empty ledger is begun: nothing was decided here before");
        }
        let ledger = Arc::new(Ledger::open(&fixed.ledger, fixed.durability, Arc::clone(&metrics))?);
        let store = Arc::new(EmbeddedStore::open(&data.join("features.db"))?);
        let archive = Archive::open(&data.join("archive"))?;
        let runtime =
            if config.models.is_empty() { None } else { Some(Runtime::load(fixed.threads, Arc::clone(&metrics))?) };
        // One instance per deciding thread, and a few for cases and replays.
        let engines = Engines::new(fixed.threads as u32 + 8).map_err(|e| HostError::Sandbox(format!("{e:#}")))?;
        let engines = engines.cached(&fixed.compiled).beside_decisions();
        let engines = Arc::new(if is_dev { engines.drafting() } else { engines });
        let clock_guard = Arc::new(ClockGuard::start(
            Arc::clone(&ledger),
            Arc::clone(&clock),
            config.retain.decisions,
            Arc::clone(&metrics),
        )?);
        let steady: Arc<dyn Clock> = Arc::<ClockGuard>::clone(&clock_guard);
        let controller = Arc::new(Controller::open(Arc::clone(&ledger), steady, Arc::clone(&metrics))?);
        let observer = Arc::new(Observer::new(Arc::clone(&ledger)));
        let folder = Arc::new(Folder::new(fixed.plugins.clone(), Arc::clone(&engines), archive.clone(), is_dev));
        let access = Arc::default();
        Ok(Self {
            clock,
            metrics,
            ledger,
            store,
            archive,
            runtime,
            engines,
            clock_guard,
            controller,
            observer,
            folder,
            access,
            traces: Arc::new(traces),
        })
    }

    fn of_reloader(&mut self, tls: Option<Arc<Tls>>) -> ReloaderParts {
        ReloaderParts {
            folder: Arc::clone(&self.folder),
            archive: self.archive.clone(),
            store: Arc::clone(&self.store),
            runtime: self.runtime.take(),
            clock: Arc::clone(&self.clock),
            steady: Arc::<ClockGuard>::clone(&self.clock_guard),
            metrics: Arc::clone(&self.metrics),
            controller: Arc::clone(&self.controller),
            observer: Arc::clone(&self.observer),
            access: Arc::clone(&self.access),
            tls,
        }
    }

    /// What the handlers share. This starts the threads that decide, and the one of the shadows.
    fn of_service(
        &self,
        fixed: &Fixed,
        reloader: &Arc<Reloader>,
        drain: &Arc<Drain>,
    ) -> Result<ServiceParts, HostError> {
        let pool = Pool::start(fixed.threads, fixed.queue, Arc::clone(&reloader.deployment), Arc::clone(&self.clock))
            .map_err(system("deciding threads"))?;
        let shadows = shadows(&self.ledger, &self.metrics).map_err(system("a thread for shadows"))?;
        let reloads = Arc::downgrade(reloader);
        Ok(ServiceParts {
            deployment: Arc::clone(&reloader.deployment),
            pool,
            ledger: Arc::clone(&self.ledger),
            store: Arc::clone(&self.store),
            clock: Arc::clone(&self.clock),
            clock_guard: Arc::clone(&self.clock_guard),
            metrics: Arc::clone(&self.metrics),
            folder: Arc::clone(&self.folder),
            status: Arc::clone(&reloader.status),
            versions: Arc::new(ArchivedVersions::new(Arc::clone(&self.engines), self.archive.clone())),
            max_concurrent: fixed.max_concurrent,
            settings: fixed.server.clone(),
            access: Arc::clone(&self.access),
            session_file: fixed.data_dir().join("sessions.json"),
            drain: Arc::clone(drain),
            controller: Arc::clone(&self.controller),
            observer: Arc::clone(&self.observer),
            shadows,
            traces: Arc::clone(&self.traces),
            reload: Box::new(move || reloads.upgrade().into_iter().for_each(|reloader| reloader.apply())),
        })
    }
}

/// Refuses addresses that others can reach where everybody may do everything, and warns where what is
/// said there can be read on the way.
fn guard_doors(options: &Options, config: &Config, [listen, admin]: [SocketAddr; 2]) -> Result<(), ConfigError> {
    no_open_doors(config.access.as_deref(), [("server.listen", listen), ("server.admin", admin)])
        .map_err(|why| ConfigError { file: options.config.display().to_string(), why })?;
    let is_seen = [listen, admin].iter().any(|address| !address.ip().to_canonical().is_loopback());
    if is_seen && config.fixed.tls.is_none() {
        tracing::warn!(
            "tokens and personal data cross the network as they are: set [server.tls], or end TLS before this host"
        );
    }
    Ok(())
}

/// Fails where another program has the address: before minutes are spent on compiling, and with what
/// to do.
fn is_free(address: SocketAddr, key: &str, option: &str) -> Result<(), HostError> {
    std::net::TcpListener::bind(address).map(drop).map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => HostError::InUse { address, key: key.to_owned(), option: option.to_owned() },
        _ => system(format!("{key}: listen on {address}"))(error),
    })
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
