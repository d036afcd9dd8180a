//! The sessions of one model, and the run that each has under way.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use prometheus_client::metrics::gauge::Gauge;

use super::onnx::{Session, Stop};
use super::pace::Pace;
use crate::clock::{Budget, thread_cpu};

/// Sessions of one model take up about this many bytes together, going by the size of its file.
/// Each has the weights to itself.
const BYTES: usize = 32 << 20;

/// How many sessions a model has: one a core, as far as memory allows. More deciding threads
/// than that do not run at the same time.
pub(super) fn count(file_bytes: usize) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    (BYTES / file_bytes.max(1)).clamp(1, cores)
}

/// What ends the run of one session early.
pub(super) struct RunGuard {
    stop: Stop,
    pace: Arc<Pace>,
    under_way: Gauge,
    current: Mutex<Current>,
}

#[derive(Default)]
struct Current {
    /// Counts the runs: who gave up on one must not end the next.
    run: u64,
    under_way: Option<UnderWay>,
}

struct UnderWay {
    rows: usize,
    /// Until when it may take; none where who asked looks after it.
    until: Option<Budget>,
    began: Budget,
    /// The CPU time of its thread when it began.
    cpu: Duration,
    is_stopped: bool,
}

impl RunGuard {
    /// A guard that counts its run in `under_way`.
    pub fn new(pace: Arc<Pace>, under_way: Gauge) -> Result<Self, String> {
        Ok(Self { stop: Stop::new()?, pace, under_way, current: Mutex::default() })
    }

    /// Ends the run `run`, where it is still under way.
    pub fn end(&self, run: u64) {
        let mut current = self.current.lock();
        if current.run == run
            && let Some(under_way) = &mut current.under_way
        {
            under_way.is_stopped = true;
            self.stop.set();
        }
    }

    /// Ends the run under way where its time is up, and says whether there is one.
    pub fn look(&self) -> bool {
        let mut current = self.current.lock();
        let Some(under_way) = &mut current.under_way else { return false };
        // A run that is stuck is known as such before it ends.
        self.pace.note_so_far(under_way.rows, under_way.began.spent_us());
        if !under_way.is_stopped && under_way.until.is_some_and(|until| until.left().is_zero()) {
            under_way.is_stopped = true;
            self.stop.set();
        }
        true
    }

    fn begin(&self, rows: usize, until: Option<Budget>) -> u64 {
        let mut current = self.current.lock();
        current.run += 1;
        self.under_way.inc();
        let (began, cpu) = (Budget::new(Duration::ZERO), thread_cpu());
        current.under_way = Some(UnderWay { rows, until, began, cpu, is_stopped: false });
        current.run
    }

    /// Notes that the run has ended, on the thread that made it; whether it was ended early.
    fn finish(&self) -> bool {
        let ended = self.current.lock().under_way.take();
        let Some(ended) = ended else { return false };
        self.under_way.dec();
        let wall = Duration::from_micros(ended.began.spent_us());
        // On a busy machine the rest is time in which others had the processors.
        let took = if wall > Pace::QUICK { wall.min(thread_cpu().saturating_sub(ended.cpu)) } else { wall };
        self.pace.note(ended.rows, took.as_micros() as u64);
        if ended.is_stopped {
            self.stop.clear();
        }
        ended.is_stopped
    }
}

/// Why a run gave no scores.
pub(super) enum RunError {
    /// It was ended early.
    Stopped,
    /// It failed.
    Failed(String),
}

struct Slot {
    session: Session,
    guard: Arc<RunGuard>,
}

/// A pool of sessions. The one that was used last is used next: what it works on is still in
/// the processor's caches.
pub(super) struct Sessions {
    free: Mutex<Vec<Slot>>,
    freed: Condvar,
    guards: Vec<Arc<RunGuard>>,
}

impl Sessions {
    pub fn new(sessions: Vec<(Session, Arc<RunGuard>)>) -> Self {
        let guards = sessions.iter().map(|(_, guard)| Arc::clone(guard)).collect();
        let free = sessions.into_iter().map(|(session, guard)| Slot { session, guard }).collect();
        Self { free: Mutex::new(free), freed: Condvar::new(), guards }
    }

    pub fn count(&self) -> usize {
        self.guards.len()
    }

    /// How many runs are made on the threads that asked for them.
    pub fn held_threads(&self) -> usize {
        let is_held =
            |guard: &&Arc<RunGuard>| guard.current.lock().under_way.as_ref().is_some_and(|run| run.until.is_some());
        self.guards.iter().filter(is_held).count()
    }

    /// Whether a session is free now.
    pub fn has_free(&self) -> bool {
        !self.free.lock().is_empty()
    }

    /// A free session, waiting for one at most `wait`.
    pub fn take(&self, wait: Duration) -> Option<Lease<'_>> {
        let mut free = self.free.lock();
        if free.is_empty() && !wait.is_zero() {
            let _ = self.freed.wait_while_for(&mut free, |free| free.is_empty(), wait);
        }
        let slot = free.pop();
        slot.map(|slot| Lease { sessions: self, slot: Some(slot) })
    }

    /// Ends all runs under way.
    pub fn end_all(&self) {
        for guard in &self.guards {
            let run = guard.current.lock().run;
            guard.end(run);
        }
    }
}

/// A session for one run. It is given back when this is dropped.
pub(super) struct Lease<'a> {
    sessions: &'a Sessions,
    slot: Option<Slot>,
}

impl Lease<'_> {
    /// Begins a run: from now on it can be ended.
    pub fn begin(&self, rows: usize, until: Option<Budget>) -> Option<(Arc<RunGuard>, u64)> {
        let guard = &self.slot.as_ref()?.guard;
        Some((Arc::clone(guard), guard.begin(rows, until)))
    }

    /// Runs what was begun.
    pub fn run(mut self, flat: &[f32]) -> Result<Vec<f64>, RunError> {
        let Some(slot) = &mut self.slot else { return Err(RunError::Stopped) };
        let scores = slot.session.run(flat, &slot.guard.stop);
        // What was asked to end and had ended already has its scores.
        let is_stopped = slot.guard.finish();
        scores.map_err(|why| if is_stopped { RunError::Stopped } else { RunError::Failed(why) })
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            slot.guard.finish();
            self.sessions.free.lock().push(slot);
            self.sessions.freed.notify_one();
        }
    }
}
