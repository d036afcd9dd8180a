//! The threads on which decisions are made, apart from the async workers: a guest that burns
//! its fuel never holds up the listener. The queue ahead of them is bounded, and who waited
//! beyond the deadline is refused without being run.
//!
//! A decision is handed over once, whole, and comes back once. The features' database, ONNX
//! Runtime and the guest are all synchronous, and a hop between threads costs about as much
//! as a guest's whole run, so one hop a decision is the least that keeps guests off the
//! workers. `make bench` measures it against `spawn_blocking`.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use crossbeam_channel::{Receiver, Sender, TrySendError};
use tokio::sync::oneshot;

use super::{Decided, DecisionRequest, Deployment, RequestError, decide};
use crate::clock::{Budget, Clock};

/// A decision that waits for a thread.
pub struct Decision {
    /// The request.
    pub request: DecisionRequest,
    /// When it began, and when it has to be done; none: the point's own deadline.
    pub deadline: Option<Duration>,
    /// The caller's trace.
    pub trace_id: Option<String>,
    span: tracing::Span,
    reply: oneshot::Sender<Result<Decided, Refused>>,
    arrived: std::time::Instant,
}

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
    #[error("the deadline passed before the decision began")]
    NotBegun,
    /// The host is stopping.
    #[error("the host is stopping")]
    Stopping,
}

/// The threads and their queue.
pub struct Pool {
    queue: Sender<Decision>,
}

impl Pool {
    /// Starts `threads` that decide on whatever deployment is in force, with room for `queue`
    /// waiting decisions.
    ///
    /// # Errors
    /// That a thread cannot be started.
    pub fn start(
        threads: usize,
        queue: usize,
        deployment: Arc<ArcSwap<Deployment>>,
        clock: Arc<dyn Clock>,
    ) -> std::io::Result<Self> {
        let (sender, receiver) = crossbeam_channel::bounded(queue);
        for i in 0..threads {
            let (receiver, deployment, clock) = (receiver.clone(), Arc::clone(&deployment), Arc::clone(&clock));
            std::thread::Builder::new()
                .name(format!("serin-decide-{i}"))
                // Guests run on this stack: 512 KiB of theirs, and the host's own frames.
                .stack_size(4 << 20)
                .spawn(move || work(&receiver, &deployment, &*clock))?;
        }
        Ok(Self { queue: sender })
    }

    /// Queues a decision; the receiver gets what came of it.
    ///
    /// # Errors
    /// That the queue is full.
    pub fn submit(
        &self,
        request: DecisionRequest,
        deadline: Option<Duration>,
        trace_id: Option<String>,
    ) -> Result<oneshot::Receiver<Result<Decided, Refused>>, Refused> {
        let (reply, wait) = oneshot::channel();
        let decision = Decision {
            request,
            deadline,
            trace_id,
            span: tracing::Span::current(),
            reply,
            arrived: std::time::Instant::now(),
        };
        self.queue.try_send(decision).map_err(|error| match error {
            TrySendError::Full(_) => Refused::QueueFull,
            TrySendError::Disconnected(_) => Refused::Stopping,
        })?;
        Ok(wait)
    }

    /// How many decisions wait.
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }
}

fn work(queue: &Receiver<Decision>, deployment: &ArcSwap<Deployment>, clock: &dyn Clock) {
    while let Ok(decision) = queue.recv() {
        let _entered = decision.span.enter();
        // Taken once: this decision sees one deployment, whatever is swapped in meanwhile.
        let deployment = deployment.load_full();
        let own = deployment.points.get(decision.request.decision_point.as_str()).map(|point| point.deadline);
        let deadline = match (own, decision.deadline) {
            (Some(own), Some(asked)) => own.min(asked),
            (own, asked) => own.or(asked).unwrap_or_default(),
        };
        let budget = Budget::since(decision.arrived, deadline);
        let answer = if own.is_some() && budget.left().is_zero() {
            Err(Refused::NotBegun)
        } else {
            decide(&deployment, &decision.request, clock, budget, deadline).map_err(Refused::from).map(|mut decided| {
                decided.record.trace_id = decision.trace_id;
                decided
            })
        };
        // Whoever asked may have hung up.
        let _ = decision.reply.send(answer);
    }
}
