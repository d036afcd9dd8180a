//! The threads on which decisions are made, separate from the async workers, so that a guest that
//! burns its fuel never delays the listener. The queue is bounded, and a decision that waited
//! beyond its deadline is refused without being run. Decision points take turns, and none gets all
//! threads: a slow strategy delays only its own point.
//!
//! A decision that is likely to be brief is made on a thread of the listener, together with others: see
//! `brief_queue.rs`. Every other one is handed over once. The feature database, ONNX Runtime and the guest
//! are synchronous, and a hop between threads costs more than a guest's whole run. The pool is not
//! `spawn_blocking`, which has one unbounded queue and a more expensive hop.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use super::brief_queue::BriefQueue;
use super::fair_queue::{FairQueue, Next};
use super::{Decided, DecisionRequest, DeploymentSnapshot, RequestError, Thread, Undecided, decide};
use crate::clock::{Budget, Clock};
use crate::sandbox::STACK_BYTES;

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
    clock: Arc<dyn Clock>,
    brief: BriefQueue<QueuedDecision>,
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
        // As many as the listener has threads.
        let brief = BriefQueue::new(queue, std::thread::available_parallelism().map_or(1, usize::from));
        let pool =
            Self(Arc::new(Shared { waiting, changed: Condvar::new(), capacity: queue, deployment, clock, brief }));
        for i in 0..threads {
            let shared = Arc::clone(&pool.0);
            std::thread::Builder::new()
                .name(format!("serin-decide-{i}"))
                .stack_size(STACK_BYTES)
                .spawn(move || work(&shared))?;
        }
        Ok(pool)
    }

    /// Decides on a thread of the listener where that is brief, among those that wait for the same; else as
    /// [`Self::submit_then`]. A decision keeps such a thread at most for 2 ms of a guest that has been brief of
    /// late, and for a model of which a row takes less than 100 µs. To be called on the listener's runtime.
    ///
    /// # Errors
    /// That a queue is full; then `then` is not called.
    pub fn decide_then(
        &self,
        request: DecisionRequest,
        deadline: Option<Duration>,
        arrived: Instant,
        trace_id: Option<String>,
        then: OnDecided,
    ) -> Result<(), Refused> {
        let span = tracing::Span::current();
        let decision = QueuedDecision { request, deadline, trace_id, span, then, arrived };
        if self.0.brief.push(decision).map_err(|_| Refused::QueueFull)? {
            tokio::spawn(make_briefly(Arc::clone(&self.0)));
        }
        Ok(())
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
        let span = tracing::Span::current();
        let is_queued = self.0.queue(QueuedDecision { request, deadline, trace_id, span, then, arrived }).is_none();
        if is_queued { Ok(()) } else { Err(Refused::QueueFull) }
    }

    /// How many decisions wait.
    pub fn waiting(&self) -> usize {
        self.0.waiting.lock().queue.waiting() + self.0.brief.waiting()
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

impl Shared {
    /// Queues a decision for a deciding thread; returns it where there is no room.
    fn queue(&self, decision: QueuedDecision) -> Option<QueuedDecision> {
        let QueuedDecision { request, deadline, arrived, .. } = &decision;
        let own = self.deployment.load().points.get(request.decision_point.as_str()).map(|point| point.deadline);
        let patience = smaller(own, *deadline).mul_f64(PATIENCE);
        let (point, until) = (request.decision_point.clone(), *arrived + patience);
        let mut waiting = self.waiting.lock();
        if waiting.queue.waiting() >= self.capacity {
            return Some(decision);
        }
        waiting.queue.push(&point, until, decision);
        drop(waiting);
        self.changed.notify_one();
        None
    }

    fn decide(&self, thread: Thread, decision: &QueuedDecision) -> Result<Result<Decided, Undecided>, Refused> {
        let QueuedDecision { request, deadline, arrived, .. } = decision;
        // Taken once: the decision uses one deployment, even if another is swapped in meanwhile.
        let deployment = self.deployment.load_full();
        let own = deployment.points.get(request.decision_point.as_str()).map(|point| point.deadline);
        let deadline = smaller(own, *deadline);
        let budget = Budget::since(*arrived, deadline);
        if own.is_some() && budget.left().is_zero() {
            return Err(Refused::NotBegun);
        }
        // A panic in one decision must not end the thread.
        catch_unwind(AssertUnwindSafe(|| decide(thread, &deployment, request, &*self.clock, budget, deadline)))
            .map_err(|_| Refused::Defect)
    }
}

/// Makes the decisions that wait for a thread of the listener.
async fn make_briefly(shared: Arc<Shared>) {
    loop {
        // What else this thread has to do goes first: more requests may be there to be read.
        tokio::task::yield_now().await;
        let Some(batch) = shared.brief.take() else { return };
        for decision in batch {
            let entered = decision.span.clone().entered();
            let (decided, decision) = match shared.decide(Thread::Listener, &decision) {
                Ok(Err(Undecided::NotBrief)) => match shared.queue(decision) {
                    None => continue,
                    Some(decision) => (Err(Refused::QueueFull), decision),
                },
                decided => (decided, decision),
            };
            finish(decided, decision);
            drop(entered);
        }
    }
}

fn work(shared: &Shared) {
    while let Some((point, decision)) = shared.next() {
        let _running = Running(shared, point);
        let _entered = decision.span.clone().entered();
        finish(shared.decide(Thread::Deciding, &decision), decision);
    }
}

/// Passes a decision on.
fn finish(decided: Result<Result<Decided, Undecided>, Refused>, decision: QueuedDecision) {
    let answer = match decided {
        Ok(Ok(mut decided)) => {
            decided.record.trace_id = decision.trace_id;
            Ok(decided)
        }
        Ok(Err(Undecided::Request(error))) => Err(error.into()),
        // No deciding thread says so.
        Ok(Err(Undecided::NotBrief)) => Err(Refused::Defect),
        Err(refused) => Err(refused),
    };
    let then = decision.then;
    // After a panic the receiver sees a closed channel.
    let _ = catch_unwind(AssertUnwindSafe(|| then(answer)));
}
