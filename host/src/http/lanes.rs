//! Work that does not belong on the listeners' async workers, each kind in a lane of its own:
//! what people read may take long, and must take no thread from commands, pushes or keyed
//! decisions.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use tokio::sync::Semaphore;

use super::error::{Problem, read_timed_out};
use crate::clock::Budget;

/// Reads of the admin listener at once.
const READS: usize = 4;
/// Commands at once: they wait for the ledger, and for one another.
const COMMANDS: usize = 16;
/// Writes to the feature store at once. It has one writer; the others wait here, not on threads.
const PUSHES: usize = 16;

/// The lanes.
#[derive(Debug)]
pub struct Lanes {
    compute: Arc<Semaphore>,
    reads: Arc<Semaphore>,
    commands: Arc<Semaphore>,
    pushes: Arc<Semaphore>,
    read_timeout: Duration,
}

impl Lanes {
    /// Lanes for so many cores, whose reads may take `read_timeout`.
    pub fn new(read_timeout: Duration) -> Self {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        let lane = |places| Arc::new(Semaphore::new(places));
        Self { compute: lane(cores), reads: lane(READS), commands: lane(COMMANDS), pushes: lane(PUSHES), read_timeout }
    }

    /// Parsing, hashing, drawing: as many at once as there are cores.
    pub(super) async fn compute<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        run(&self.compute, work).await
    }

    /// A command of the admin listener.
    pub(super) async fn command<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        run(&self.commands, work).await
    }

    /// A write to the feature store.
    pub(super) async fn push<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        run(&self.pushes, work).await
    }

    /// A read of the admin listener, which gets what is left of its time after it has waited. One
    /// that does not end keeps its place until it does, and nobody waits for it any longer.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(Budget) -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let budget = Budget::since(Instant::now(), self.read_timeout);
        let read = run(&self.reads, move || work(budget));
        tokio::time::timeout(self.read_timeout, read).await.unwrap_or_else(|_| Err(read_timed_out()))
    }
}

async fn run<T: Send + 'static>(
    lane: &Arc<Semaphore>,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    let stopping = || Problem::unavailable("stopping", "the host is stopping");
    // Closed only when the host is gone.
    let place = Arc::clone(lane).acquire_owned().await.map_err(|_| stopping())?;
    let done = tokio::task::spawn_blocking(move || {
        // Held as long as the work takes, whether or not anybody waits for it.
        let _place = place;
        work()
    });
    done.await.map_err(|error| match error.is_panic() {
        true => Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the host failed on this request"),
        false => stopping(),
    })
}
