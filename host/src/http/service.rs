//! What the handlers share.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::extract::State;
use axum::http::StatusCode;
use serin_core::record::Record;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::bytes::ByteBudget;
use super::console::Live;
use super::key_locks::KeyLocks;
use super::lanes::Lanes;
use super::session_file::SessionFile;
use super::traffic::Traffic;
use super::{Drain, Problem, ServerSettings};
use crate::access::{AccessControl, Sessions};
use crate::clock::Clock;
use crate::decide::{DeploymentSnapshot, Point, Pool, Shadowed, Shadows};
use crate::experiments::{Controller, Observer};
use crate::features::EmbeddedStore;
use crate::ledger::{ClockGuard, Ledger};
use crate::registry::Folder;
use crate::replay::ArchivedVersions;
use crate::status::DeploymentStatus;
use crate::telemetry::Metrics;
use crate::traces::Traces;

/// How long an answer waits for its record. A commit takes milliseconds; beyond this the
/// ledger is down, and 503 says so.
pub(super) const COMMIT_WAIT: Duration = Duration::from_secs(3);
/// Replays that the admin listener runs at once.
const MAX_REPLAYS: usize = 2;

/// The parts of a service.
pub struct ServiceParts {
    /// The deployment in force.
    pub deployment: Arc<ArcSwap<DeploymentSnapshot>>,
    /// The threads that decide.
    pub pool: Pool,
    /// The ledger.
    pub ledger: Arc<Ledger>,
    /// The feature store.
    pub store: Arc<EmbeddedStore>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Whether it can be believed.
    pub clock_guard: Arc<ClockGuard>,
    /// Metrics.
    pub metrics: Arc<Metrics>,
    /// The plugins folder.
    pub folder: Arc<Folder>,
    /// The status of everything else.
    pub status: Arc<ArcSwap<DeploymentStatus>>,
    /// Versions for replays.
    pub versions: Arc<ArchivedVersions>,
    /// Requests in flight.
    pub max_concurrent: usize,
    /// What the listeners allow.
    pub settings: ServerSettings,
    /// Who may do what.
    pub access: Arc<AccessControl>,
    /// Where the console's sessions are kept.
    pub session_file: PathBuf,
    /// How far the host has stopped.
    pub drain: Arc<Drain>,
    /// Statuses of experiments.
    pub controller: Arc<Controller>,
    /// Their units.
    pub observer: Arc<Observer>,
    /// What runs beside decisions.
    pub shadows: Shadows,
    /// Where traces of decisions go.
    pub traces: Arc<Traces>,
    /// Looks at the files and statuses again, and returns when what changed is in force.
    pub reload: Box<dyn Fn() + Send + Sync>,
}

/// What the handlers share.
pub struct Service {
    pub(super) deployment: Arc<ArcSwap<DeploymentSnapshot>>,
    pub(super) pool: Pool,
    pub(super) ledger: Arc<Ledger>,
    pub(super) store: Arc<EmbeddedStore>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) clock_guard: Arc<ClockGuard>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) folder: Arc<Folder>,
    pub(super) status: Arc<ArcSwap<DeploymentStatus>>,
    pub(super) versions: Arc<ArchivedVersions>,
    pub(super) settings: ServerSettings,
    pub(super) access: Arc<AccessControl>,
    pub(super) controller: Arc<Controller>,
    pub(super) observer: Arc<Observer>,
    pub(super) reload: Box<dyn Fn() + Send + Sync>,
    pub(super) keys: KeyLocks,
    pub(super) lanes: Lanes,
    pub(super) bytes: Arc<ByteBudget>,
    pub(super) traces: Arc<Traces>,
    pub(super) traffic: Traffic,
    pub(super) sessions: Sessions,
    pub(super) session_file: SessionFile,
    pub(super) live: Live,
    shadows: Shadows,
    /// Replays under way: they take instances and cores from decisions.
    pub(super) replays: Semaphore,
    in_flight: Arc<Semaphore>,
    max_concurrent: usize,
    pub(super) drain: Arc<Drain>,
}

impl Service {
    /// A service that takes requests.
    pub fn new(parts: ServiceParts) -> Arc<Self> {
        let (session_file, sessions) = SessionFile::open(parts.session_file, parts.clock.now_ms());
        Arc::new(Self {
            deployment: parts.deployment,
            pool: parts.pool,
            ledger: parts.ledger,
            store: parts.store,
            clock: parts.clock,
            clock_guard: parts.clock_guard,
            metrics: parts.metrics,
            folder: parts.folder,
            status: parts.status,
            versions: parts.versions,
            lanes: Lanes::new(parts.settings.admin_timeout),
            bytes: ByteBudget::new(parts.settings.max_bytes_in_flight),
            settings: parts.settings,
            access: parts.access,
            controller: parts.controller,
            observer: parts.observer,
            reload: parts.reload,
            shadows: parts.shadows,
            traces: parts.traces,
            traffic: Traffic::default(),
            sessions,
            session_file,
            live: Live::default(),
            keys: KeyLocks::default(),
            replays: Semaphore::new(MAX_REPLAYS),
            in_flight: Arc::new(Semaphore::new(parts.max_concurrent)),
            max_concurrent: parts.max_concurrent,
            drain: parts.drain,
        })
    }

    /// Takes one of the places for requests in flight.
    pub(super) fn enter(&self) -> Result<OwnedSemaphorePermit, Problem> {
        Arc::clone(&self.in_flight)
            .try_acquire_owned()
            .map_err(|_| self.refuse(Problem::unavailable("overloaded", "too many requests are in flight")))
    }

    /// How many requests are in flight.
    pub(super) fn in_flight(&self) -> usize {
        self.max_concurrent - self.in_flight.available_permits()
    }

    /// Runs shadow arms on a decision whose answer has left, where nobody waits for a thread.
    pub(super) fn shadow(&self, record: Record, shadowed: Shadowed) {
        self.shadows.offer(record, shadowed, self.pool.waiting() > 0);
    }

    /// Counts a refusal on its way out.
    pub(super) fn refuse(&self, problem: Problem) -> Problem {
        tracing::debug!(status = problem.status, reason = problem.reason(), "refused");
        Metrics::count(&self.metrics.rejected, problem.reason());
        problem
    }
}

/// The process is there.
#[utoipa::path(get, path = "/healthz", tag = "health", responses((status = 200, description = "The process is there", body = String, content_type = "text/plain")))]
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// Every decision point can be served by its pinned strategy, and answers can be recorded.
#[utoipa::path(get, path = "/readyz", tag = "health", responses(
    (status = 200, description = "Every decision point can be served by its pinned strategy, and answers can be recorded", body = String, content_type = "text/plain"),
    (status = 503, description = "What is missing", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn readyz(State(service): State<Arc<Service>>) -> Result<&'static str, Problem> {
    // States, and neither versions nor digests: whoever may probe may read this.
    let deployment = service.deployment.load();
    let points = deployment.points.values().filter(|point| point.strategy.is_none());
    let loading = service.folder.loading();
    let named = |point: &Arc<Point>| match loading.iter().find(|(pin, _)| *pin == point.pin) {
        Some((_, progress)) => format!("{} ({progress})", point.name),
        None => point.name.to_string(),
    };
    let mut points: Vec<String> = points.map(named).collect();
    points.sort_unstable();
    let mut missing = Vec::new();
    if !points.is_empty() {
        let points = points.join(", ");
        missing.push(format!(
            "without their pinned strategy: {points} (GET /v1/deployment on the admin listener says why)"
        ));
    }
    if service.drain.is_leaving() {
        missing.push("the host is stopping".to_owned());
    }
    if service.deployment.load().points.is_empty() {
        missing.extend(service.status.load().archive_error.clone());
    }
    missing.extend(service.ledger.trouble().map(|trouble| trouble.to_string()));
    match missing.is_empty() {
        true => Ok("ready\n"),
        // Whoever may probe is asked for no credential, and where others are, learns nothing more.
        false if service.access.current().is_some() => {
            let detail = "GET /v1/deployment on the admin listener says why";
            Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not-ready", detail))
        }
        false => Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not-ready", missing.join("; "))),
    }
}
