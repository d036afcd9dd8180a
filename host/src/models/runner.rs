//! Runs a model: on the thread that asks where that is quick, and else on a thread of the
//! model's own, which who asks can leave at its deadline.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::{Condvar, Mutex};

use super::ScoreError;
use super::admission::{Place, Places};
use super::breaker::ModelBreaker;
use super::pace::Pace;
use super::runtime::Runtime;
use super::sessions::{Lease, RunError, RunGuard, Sessions};
use crate::clock::Budget;

/// For how long a quick run waits for a session on the thread that asks: as long as many runs
/// that are quick, and too short to hold up another point.
const BRIEFLY: Duration = Duration::from_millis(5);

/// The niceness of threads that run models. A decision is mostly short, and one that needs a
/// model waits all the same; so the others go first.
const NICE: i32 = 5;

/// Who asks for scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Caller {
    /// A decision.
    Decision,
    /// A shadow: it takes what is left over.
    Shadow,
}

/// What the model's own threads share with those that ask.
pub(super) struct Shared {
    pub sessions: Sessions,
    pub pace: Arc<Pace>,
}

/// Runs one model.
pub(super) struct Runner {
    shared: Arc<Shared>,
    runtime: Runtime,
    places: Places,
    breaker: ModelBreaker,
    /// Since when its breaker counts.
    age: Budget,
    queue: Sender<Arc<Job>>,
    jobs: Receiver<Arc<Job>>,
    /// Whether the model's own threads were started; most models need none.
    started: OnceLock<Result<(), String>>,
}

impl Runner {
    pub fn new(runtime: Runtime, shared: Arc<Shared>) -> Self {
        let places = runtime.admission.of_model();
        // Twice as many as may wait: those that gave up are in it until their turn.
        let (queue, jobs) = bounded(2 * places.count());
        let age = Budget::new(Duration::ZERO);
        Self { shared, runtime, places, breaker: ModelBreaker::default(), age, queue, jobs, started: OnceLock::new() }
    }

    /// Whether its runs ended too late again and again.
    pub fn is_resting(&self) -> bool {
        self.breaker.is_open()
    }

    /// Whether a decision may wait for this model for as long as it has time.
    pub fn is_slow(&self) -> bool {
        self.shared.pace.is_slow()
    }

    /// How many decisions may wait for this model at a time.
    pub fn places(&self) -> usize {
        self.places.count()
    }

    fn now_ms(&self) -> u64 {
        self.age.spent_us() / 1_000
    }

    /// Scores `rows` rows, within `left`.
    pub fn score(&self, flat: Vec<f32>, rows: usize, left: Duration, caller: Caller) -> Result<Vec<f64>, ScoreError> {
        let is_admitted = match caller {
            Caller::Decision => self.breaker.admits(left, || self.now_ms()),
            Caller::Shadow => !self.breaker.is_open(),
        };
        if !is_admitted {
            return Err(ScoreError::BreakerOpen);
        }
        let answer = self.run(flat, rows, Budget::new(left), caller);
        if caller == Caller::Decision {
            match &answer {
                Err(ScoreError::Timeout) => self.breaker.note_late(left, self.now_ms()),
                Err(ScoreError::Overloaded) => {}
                _ => self.breaker.note_answer(),
            }
        }
        answer
    }

    /// As [`Self::score`] for a decision on a thread of the listener; none where that would keep it.
    pub fn score_at_once(&self, flat: &[f32], rows: usize, left: Duration) -> Option<Result<Vec<f64>, ScoreError>> {
        let Shared { sessions, pace } = &*self.shared;
        if !pace.is_brief(rows) {
            return None;
        }
        let lease = sessions.take(Duration::ZERO)?;
        if !self.breaker.admits(left, || self.now_ms()) {
            return Some(Err(ScoreError::BreakerOpen));
        }
        let bound = left.min(Pace::HELD);
        let answer = self.run_here(lease, flat, rows, Budget::new(bound));
        match &answer {
            Err(ScoreError::Timeout) if bound < left => return None,
            Err(ScoreError::Timeout) => self.breaker.note_late(left, self.now_ms()),
            _ => self.breaker.note_answer(),
        }
        Some(answer)
    }

    fn run_here(&self, lease: Lease<'_>, flat: &[f32], rows: usize, budget: Budget) -> Result<Vec<f64>, ScoreError> {
        lease.begin(rows, Some(budget));
        self.runtime.watchdog.began();
        lease.run(flat).map_err(ScoreError::from)
    }

    fn run(&self, flat: Vec<f32>, rows: usize, budget: Budget, caller: Caller) -> Result<Vec<f64>, ScoreError> {
        let Shared { sessions, pace } = &*self.shared;
        if pace.is_quick(rows)
            && let Some(lease) = sessions.take(BRIEFLY.min(budget.left()))
        {
            return self.run_here(lease, &flat, rows, budget);
        }
        self.hand_over(flat, rows, budget, caller)
    }

    fn hand_over(&self, flat: Vec<f32>, rows: usize, budget: Budget, caller: Caller) -> Result<Vec<f64>, ScoreError> {
        let place = match caller {
            Caller::Decision => Some(self.place()?),
            Caller::Shadow if self.queue.is_empty() && self.shared.sessions.has_free() => None,
            Caller::Shadow => return Err(ScoreError::Overloaded),
        };
        self.started.get_or_init(|| self.start()).clone().map_err(ScoreError::Failed)?;
        let job = Arc::new(Job { flat, rows, budget, state: Mutex::new(State::Waiting), changed: Condvar::new() });
        self.queue.try_send(Arc::clone(&job)).map_err(|_| ScoreError::Overloaded)?;
        let answer = job.wait();
        drop(place);
        answer
    }

    /// A place to wait in. A run on the thread that asked, which turned out to take long, holds
    /// that thread as a wait would.
    fn place(&self) -> Result<Place<'_>, ScoreError> {
        self.places.take(self.shared.sessions.held_threads()).ok_or(ScoreError::Overloaded)
    }

    /// Starts the model's own threads: half of the cores are left to whatever else is decided.
    fn start(&self) -> Result<(), String> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        for i in 0..self.shared.sessions.count().min(cores.div_ceil(2)) {
            let (jobs, shared) = (self.jobs.clone(), Arc::clone(&self.shared));
            std::thread::Builder::new()
                .name(format!("serin-model-{i}"))
                .spawn(move || work(&jobs, &shared))
                .map_err(|e| format!("a thread for its runs: {e}"))?;
        }
        Ok(())
    }
}

impl Drop for Runner {
    /// Nobody waits any more. The threads end when their runs do.
    fn drop(&mut self) {
        self.shared.sessions.end_all();
    }
}

impl From<RunError> for ScoreError {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Stopped => Self::Timeout,
            RunError::Failed(why) => Self::Failed(why),
        }
    }
}

/// A run that is handed over.
struct Job {
    flat: Vec<f32>,
    rows: usize,
    budget: Budget,
    state: Mutex<State>,
    changed: Condvar,
}

enum State {
    Waiting,
    Running(Arc<RunGuard>, u64),
    Done(Result<Vec<f64>, ScoreError>),
    /// Who asked has gone.
    Left,
}

impl Job {
    /// Waits for the scores until the budget's end, and no longer, whatever the run does.
    fn wait(&self) -> Result<Vec<f64>, ScoreError> {
        let mut state = self.state.lock();
        self.changed.wait_while_for(&mut state, |state| !matches!(state, State::Done(_)), self.budget.left());
        match std::mem::replace(&mut *state, State::Left) {
            State::Done(answer) => answer,
            State::Running(guard, run) => {
                drop(state);
                guard.end(run);
                Err(ScoreError::Timeout)
            }
            State::Waiting | State::Left => Err(ScoreError::Overloaded),
        }
    }

    /// Runs this, unless who asked has gone by the time that a session is free.
    fn run(&self, sessions: &Sessions) {
        let Some(lease) = sessions.take(self.budget.left()) else { return };
        {
            let mut state = self.state.lock();
            if matches!(*state, State::Left) {
                return;
            }
            // Who waits ends it.
            *state = match lease.begin(self.rows, None) {
                Some((guard, run)) => State::Running(guard, run),
                None => return,
            };
        }
        let answer = catch_unwind(AssertUnwindSafe(|| lease.run(&self.flat)));
        let answer = answer.unwrap_or_else(|_| Err(RunError::Failed("the run panicked".to_owned())));
        let mut state = self.state.lock();
        if !matches!(*state, State::Left) {
            *state = State::Done(answer.map_err(ScoreError::from));
            self.changed.notify_one();
        }
    }
}

fn work(jobs: &Receiver<Arc<Job>>, shared: &Shared) {
    // On Linux a thread's own. Where it is refused, a run is no less right.
    let _ = rustix::process::setpriority_process(None, NICE);
    for job in jobs {
        job.run(&shared.sessions);
    }
}
