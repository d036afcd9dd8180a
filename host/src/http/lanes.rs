//! Work that does not belong on the listeners' async workers, each kind in a lane of its own:
//! what people read may take long, and must take no thread from commands, pushes or keyed
//! decisions.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::error::{Problem, read_timed_out};
use crate::clock::Budget;

/// Reads of the admin listener at once.
const READS: usize = 4;
/// The name of their threads.
const READER: &str = "serin-read";
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

    /// A read of the admin listener, which gets what is left of its time after it has waited. It runs
    /// on a thread of its own, so that it takes none from the pool that keyed decisions and pushes
    /// share. One that does not end keeps its place until it does, and nobody waits for it any longer.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(Budget) -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let budget = Budget::since(Instant::now(), self.read_timeout);
        let read = on_own_thread(&self.reads, move || work(budget));
        tokio::time::timeout(self.read_timeout, read).await.unwrap_or_else(|_| Err(read_timed_out()))
    }
}

async fn run<T: Send + 'static>(
    lane: &Arc<Semaphore>,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    let place = place_in(lane).await?;
    let done = tokio::task::spawn_blocking(move || {
        // Held as long as the work takes, whether or not anybody waits for it.
        let _place = place;
        work()
    });
    done.await.map_err(|error| if error.is_panic() { failed() } else { stopping() })
}

async fn on_own_thread<T: Send + 'static>(
    lane: &Arc<Semaphore>,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    let place = place_in(lane).await?;
    let (done, result) = tokio::sync::oneshot::channel();
    let spawned = std::thread::Builder::new().name(READER.into()).spawn(move || {
        // Held as long as the work takes, whether or not anybody waits for it.
        let _place = place;
        // Fails only where nobody waits any more.
        let _ = done.send(work());
    });
    if let Err(error) = spawned {
        crate::telemetry::log_limited!(error, %error, "no thread for a read of the admin listener");
        return Err(Problem::unavailable("overloaded", "no thread is to be had for the read"));
    }
    result.await.map_err(|_| failed())
}

async fn place_in(lane: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Problem> {
    // Closed only when the host is gone.
    Arc::clone(lane).acquire_owned().await.map_err(|_| stopping())
}

fn stopping() -> Problem {
    Problem::unavailable("stopping", "the host is stopping")
}

fn failed() -> Problem {
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the host failed on this request")
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, mpsc};

    use super::*;

    const BOUND: Duration = Duration::from_secs(60);

    #[test]
    fn reads_and_keyed_decisions_take_no_threads_from_each_other() {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.enable_all().max_blocking_threads(1).build().expect("a runtime");
        let lanes = Arc::new(Lanes::new(BOUND));
        runtime.block_on(async {
            // The pool's only thread is taken, and a read runs all the same.
            let (free, taken) = mpsc::channel::<()>();
            let pooled = tokio::task::spawn_blocking(move || taken.recv().is_err());
            let name = lanes.read(|_| std::thread::current().name().map(str::to_owned)).await;
            assert_eq!(name.expect("is read").as_deref(), Some(READER));
            drop(free);
            assert!(pooled.await.expect("ends"));
            // All places of reads are taken, and the pool is free.
            let ((end, held), (begins, begun)) = (mpsc::channel::<()>(), mpsc::channel());
            let (held, mut reads) = (Arc::new(Mutex::new(held)), tokio::task::JoinSet::new());
            for _ in 0..READS {
                let (lanes, held, begins) = (Arc::clone(&lanes), Arc::clone(&held), begins.clone());
                let read = move |_| {
                    begins.send(()).expect("somebody waits");
                    held.lock().expect("locks").recv().is_err()
                };
                reads.spawn(async move { lanes.read(read).await.is_ok() });
            }
            (0..READS).for_each(|_| begun.recv_timeout(BOUND).expect("begins"));
            assert_eq!(lanes.command(|| 7).await.expect("runs"), 7);
            drop(end);
            assert!(reads.join_all().await.into_iter().all(|is_ok| is_ok));
        });
    }

    #[tokio::test]
    async fn a_read_that_panics_is_an_answer_and_gives_its_place_back() {
        let lanes = Lanes::new(BOUND);
        for _ in 0..=READS {
            let failed = lanes.read(|_| -> () { panic!("a defect") }).await;
            assert_eq!(failed.expect_err("it failed").status, StatusCode::INTERNAL_SERVER_ERROR.as_u16());
        }
    }
}
