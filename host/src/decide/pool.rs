//! The threads on which decisions are made, separate from the async workers, so that a guest that
//! burns its fuel never delays the listener. The queue is bounded, and a decision that waited
//! beyond its deadline is refused without being run. Decision points take turns, and none gets all
//! threads: a slow strategy delays only its own point.
//!
//! A decision is handed over once. The feature database, ONNX Runtime and the guest are
//! synchronous, and a hop between threads costs more than a guest's whole run. One hop is the
//! minimum that keeps guests off the async workers. The pool is not `spawn_blocking`, which has one
//! unbounded queue and a more expensive hop: `make bench` on two cores, 32 decisions at once, 22 µs
//! of wall a decision against 46, and 17 without any hop; one at a time 113 µs against 147.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use super::fair_queue::{FairQueue, Next};
use super::{Decided, DecisionRequest, DeploymentSnapshot, RequestError, decide};
use crate::clock::{Budget, Clock};

/// A decision that waits for a thread.
pub struct QueuedDecision {
    /// The request.
    pub request: DecisionRequest,
    /// The requested deadline; none for the point's own.
    pub deadline: Option<Duration>,
    /// The caller's trace context.
    pub trace_id: Option<String>,
    span: tracing::Span,
    then: OnDecided,
    arrived: Instant,
}

/// The continuation of a decision, called on the deciding thread.
pub type OnDecided = Box<dyn FnOnce(Result<Decided, Refused>) + Send>;

/// Why a decision was not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The request does not fit.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The queue is full.
    #[error("too many decisions are waiting")]
    QueueFull,
    /// Its time ran out in the queue.
    #[error("the deadline passed before the decision was made")]
    NotBegun,
    /// The host is stopping.
    #[error("the host is stopping")]
    Stopping,
    /// The host itself failed; the error is in its log.
    #[error("the host failed on this decision")]
    Defect,
}

/// The share of its deadline for which a decision waits while its point has its maximum of threads.
/// Then it starts regardless: if its version has a free slot it runs, and otherwise it goes on to
/// the fallback in time.
const PATIENCE: f64 = 0.25;

struct Waiting {
    queue: FairQueue<QueuedDecision>,
    stopping: bool,
}

struct Shared {
    waiting: Mutex<Waiting>,
    changed: Condvar,
    capacity: usize,
    deployment: Arc<ArcSwap<DeploymentSnapshot>>,
}

impl Shared {
    /// The next decision for a free thread; none if the pool has stopped and the queue is empty.
    fn next(&self) -> Option<(Arc<str>, QueuedDecision)> {
        let mut waiting = self.waiting.lock();
        loop {
            let next = {
                let deployment = self.deployment.load();
                let all = deployment.slots_per_version;
                let most = |point: &str| deployment.points.get(point).map_or(all, |point| point.most_under_way(all));
                waiting.queue.next(most, Instant::now())
            };
            match next {
                Next::Take(point, decision) => return Some((point, decision)),
                Next::Wait if waiting.stopping => return None,
                Next::Wait => self.changed.wait(&mut waiting),
                Next::WaitUntil(time) => {
                    let _ = self.changed.wait_until(&mut waiting, time);
                }
            };
        }
    }
}

/// A run of a decision point; ends when it is dropped.
struct Running<'a>(&'a Shared, Arc<str>);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let mut waiting = self.0.waiting.lock();
        waiting.queue.done(&self.1);
        let is_more = waiting.queue.waiting() > 1;
        drop(waiting);
        // This thread takes a waiting decision, and the capacity that is free now may serve another
        // one.
        if is_more {
            self.0.changed.notify_one();
        }
    }
}

/// The deciding threads and their queue.
pub struct Pool(Arc<Shared>);

impl Pool {
    /// Starts `threads` deciding threads that use the deployment in force, with room for `queue`
    /// waiting decisions.
    ///
    /// # Errors
    /// That a thread cannot be started.
    pub fn start(
        threads: usize,
        queue: usize,
        deployment: Arc<ArcSwap<DeploymentSnapshot>>,
        clock: Arc<dyn Clock>,
    ) -> std::io::Result<Self> {
        let waiting = Mutex::new(Waiting { queue: FairQueue::new(), stopping: false });
        let pool = Self(Arc::new(Shared { waiting, changed: Condvar::new(), capacity: queue, deployment }));
        for i in 0..threads {
            let (shared, clock) = (Arc::clone(&pool.0), Arc::clone(&clock));
            std::thread::Builder::new()
                .name(format!("serin-decide-{i}"))
                // Guests run on this stack: 512 KiB of theirs, and the host's own frames.
                .stack_size(4 << 20)
                .spawn(move || work(&shared, &*clock))?;
        }
        Ok(pool)
    }

    /// Queues a decision whose deadline counts from `arrived`. The receiver gets the result.
    ///
    /// # Errors
    /// That the queue is full.
    pub fn submit(
        &self,
        request: DecisionRequest,
        deadline: Option<Duration>,
        arrived: Instant,
        trace_id: Option<String>,
    ) -> Result<oneshot::Receiver<Result<Decided, Refused>>, Refused> {
        let (reply, wait) = oneshot::channel();
        // The caller may have disconnected.
        let then = move |answer| drop(reply.send(answer));
        self.submit_then(request, deadline, arrived, trace_id, Box::new(then))?;
        Ok(wait)
    }

    /// As [`Self::submit`], but the result is passed to `then` on the deciding thread, without
    /// another hop.
    ///
    /// # Errors
    /// That the queue is full; then `then` is not called.
    pub fn submit_then(
        &self,
        request: DecisionRequest,
        deadline: Option<Duration>,
        arrived: Instant,
        trace_id: Option<String>,
        then: OnDecided,
    ) -> Result<(), Refused> {
        let own = self.0.deployment.load().points.get(request.decision_point.as_str()).map(|point| point.deadline);
        let patience = smaller(own, deadline).mul_f64(PATIENCE);
        let point = request.decision_point.clone();
        let decision = QueuedDecision { request, deadline, trace_id, span: tracing::Span::current(), then, arrived };
        let mut waiting = self.0.waiting.lock();
        if waiting.queue.waiting() >= self.0.capacity {
            return Err(Refused::QueueFull);
        }
        waiting.queue.push(&point, arrived + patience, decision);
        drop(waiting);
        self.0.changed.notify_one();
        Ok(())
    }

    /// How many decisions wait.
    pub fn waiting(&self) -> usize {
        self.0.waiting.lock().queue.waiting()
    }
}

impl Drop for Pool {
    /// Stops the threads once the queue is empty.
    fn drop(&mut self) {
        self.0.waiting.lock().stopping = true;
        self.0.changed.notify_all();
    }
}

/// The point's deadline, or the requested one if it is shorter.
fn smaller(own: Option<Duration>, asked: Option<Duration>) -> Duration {
    match (own, asked) {
        (Some(own), Some(asked)) => own.min(asked),
        (own, asked) => own.or(asked).unwrap_or_default(),
    }
}

fn work(shared: &Shared, clock: &dyn Clock) {
    while let Some((point, decision)) = shared.next() {
        let _running = Running(shared, point);
        let _entered = decision.span.enter();
        // Taken once: the decision uses one deployment, even if another is swapped in meanwhile.
        let deployment = shared.deployment.load_full();
        let own = deployment.points.get(decision.request.decision_point.as_str()).map(|point| point.deadline);
        let deadline = smaller(own, decision.deadline);
        let budget = Budget::since(decision.arrived, deadline);
        let answer = if own.is_some() && budget.left().is_zero() {
            Err(Refused::NotBegun)
        } else {
            // A panic in one decision must not end the thread.
            let decided = catch_unwind(AssertUnwindSafe(|| {
                decide(&deployment, &decision.request, clock, budget, deadline).map_err(Refused::from)
            }));
            decided.unwrap_or(Err(Refused::Defect)).map(|mut decided| {
                decided.record.trace_id = decision.trace_id;
                decided
            })
        };
        // After a panic the receiver sees a closed channel.
        let then = decision.then;
        let _ = catch_unwind(AssertUnwindSafe(|| then(answer)));
    }
}
