//! Traces of decisions and of refused requests for them, sent to a collector by OTLP. Off unless the environment names
//! a collector.
//!
//! A request hands one value to a bounded queue, after its answer is made; everything else is done on a thread of its
//! own. What finds the queue full is dropped and counted.

mod export;
mod settings;
mod spans;

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};

use crate::clock::Clock;
use crate::telemetry::Metrics;
use settings::{Sampler, Settings};

/// How long the last traces may take to be sent when the host stops.
const LAST: Duration = Duration::from_secs(5);

/// The trace that a request belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace.
    pub trace_id: [u8; 16],
    /// The caller's span.
    pub parent: Option<[u8; 8]>,
    /// Whether it is sent.
    pub is_sampled: bool,
}

/// A stage of a decision.
#[derive(Debug, Clone, PartialEq)]
pub struct Stage {
    /// Its name.
    pub name: String,
    /// When it began, from the beginning of the whole.
    pub began: Duration,
    /// How long it took.
    pub took: Duration,
    /// What ran, where it is the run of a strategy.
    pub run: Option<StrategyRun>,
}

/// One run of a strategy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StrategyRun {
    /// `NAME@VERSION`.
    pub strategy: String,
    /// What it ran as.
    pub role: &'static str,
    /// `answer`, `refusal`, or the kind of its failure.
    pub outcome: &'static str,
    /// It failed.
    pub is_failure: bool,
}

/// A request for decisions, as it is traced: one recorded decision, unrecorded ones, or none since it was refused.
#[derive(Debug, Clone, PartialEq)]
pub struct DecisionTrace {
    /// Its trace.
    pub context: TraceContext,
    /// What was asked for: the method and the route.
    pub operation: &'static str,
    /// When it ended, in milliseconds since the Unix epoch.
    pub ended_ms: u64,
    /// How long it took.
    pub took: Duration,
    /// Its stages, in order.
    pub stages: Vec<Stage>,
    /// The status of the answer.
    pub status: u16,
    /// Why it was refused, as the last part of the problem's `type` says; none where it was answered.
    pub refused: Option<String>,
    /// The recorded decision; none where nothing was recorded.
    pub decision_id: Option<String>,
    /// What was decided.
    pub evaluations: Vec<Evaluation>,
}

/// What was decided at one decision point, in OpenFeature's words.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluation {
    /// The decision point.
    pub decision_point: String,
    /// The action.
    pub action: String,
    /// Whether the action is what the caller gets; a flag's value may be another thing.
    pub is_action: bool,
    /// Who served.
    pub served_by: &'static str,
    /// `NAME@VERSION` of the strategy.
    pub strategy: Option<String>,
    /// Why this action.
    pub reason: &'static str,
    /// The variant, as a flag has it.
    pub variant: String,
}

/// Where traces go; nowhere while tracing is off.
#[derive(Default)]
pub struct Traces(Option<On>);

struct On {
    queue: Sender<Box<DecisionTrace>>,
    stop: Sender<Sender<()>>,
    sampler: Sampler,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
}

/// What the sending thread receives.
struct Incoming {
    queue: Receiver<Box<DecisionTrace>>,
    stop: Receiver<Sender<()>>,
}

impl Traces {
    /// Starts sending, where the environment says where to.
    ///
    /// # Errors
    /// The variable that is not valid, and what would be; or that there is no thread.
    pub fn start(clock: Arc<dyn Clock>, metrics: Arc<Metrics>) -> Result<Self, String> {
        let Some(settings) = Settings::of_environment()? else { return Ok(Self(None)) };
        let (queue, queued) = crossbeam_channel::bounded(settings.queue);
        let (stop, stopped) = crossbeam_channel::bounded(1);
        let sampler = settings.sampler;
        let incoming = Incoming { queue: queued, stop: stopped };
        export::start(settings, incoming, Arc::clone(&clock), Arc::clone(&metrics))?;
        tracing::info!("traces of decisions are sent by OTLP");
        Ok(Self(Some(On { queue, stop, sampler, metrics, clock })))
    }

    /// Whether traces are sent at all.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// The trace of a request, whose caller may have sent one, with whether it is sampled there. None while
    /// tracing is off.
    pub fn begin(&self, caller: Option<TraceContext>) -> Option<TraceContext> {
        let on = self.0.as_ref()?;
        let (trace_id, parent) = match caller {
            Some(caller) => (caller.trace_id, caller.parent),
            None => (new_id(&*on.clock), None),
        };
        Some(TraceContext { trace_id, parent, is_sampled: on.sampler.samples(trace_id, caller) })
    }

    /// Hands a trace over; drops it where too many wait.
    pub fn send(&self, trace: DecisionTrace) {
        let Some(on) = &self.0 else { return };
        let mut trace = Box::new(trace);
        trace.ended_ms = on.clock.now_ms();
        if on.queue.try_send(trace).is_err() {
            Metrics::count(&on.metrics.traces, "dropped");
        }
    }

    /// Sends what waits, within a bound. To be called on a thread that may wait.
    pub fn stop(&self) {
        let Some(on) = &self.0 else { return };
        let (done, waited) = crossbeam_channel::bounded(1);
        // Both fail only where the thread has ended, and then nothing waits.
        let is_asked = on.stop.try_send(done).is_ok();
        if is_asked && waited.recv_timeout(LAST).is_err() {
            tracing::warn!("the last traces were not sent within {} s", LAST.as_secs());
        }
    }
}

/// A trace's id: random, and not all zeros.
pub fn new_id(clock: &dyn Clock) -> [u8; 16] {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&clock.entropy().to_be_bytes());
    id[8..].copy_from_slice(&(clock.entropy() | 1).to_be_bytes());
    id
}
