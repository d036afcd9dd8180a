//! Shadow arms: run on a decision's inputs after its answer has left, without any effect. They use
//! spare capacity only: if decisions wait for a thread, or too many shadow runs are queued, a run
//! is dropped and counted.

use std::collections::BTreeMap;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;
use serin_core::Name;
use serin_core::allocation::{Purpose, place};
use serin_core::answer::draw;
use serin_core::record::{Attempt, Outcome, Record, Role};

use super::attempt::{Thread, attempt};
use super::{DeploymentSnapshot, Point, RunningExperiment};
use crate::clock::Budget;
use crate::sandbox::STACK_BYTES;

/// The most queued decisions; each holds its record.
const QUEUE: usize = 256;

/// The shadow arms to run on a decision.
pub struct Shadowed {
    deployment: Arc<DeploymentSnapshot>,
    point: Arc<Point>,
    experiment: usize,
    /// Positions among the experiment's shadow arms.
    shadows: Vec<usize>,
}

/// The result of a shadow run.
pub struct ShadowRun {
    /// The experiment.
    pub experiment: Name,
    /// The shadow arm.
    pub arm: Name,
    /// The action that would have been served; none if the run gave no answer.
    pub action: Option<Name>,
    /// The run.
    pub attempt: Attempt,
    /// Runs of this arm that were dropped since the last reported run.
    pub dropped: u64,
}

/// The shadow arms of `experiment` to run on the decision `id`, sampled by hash.
pub(super) fn sampled(
    deployment: &Arc<DeploymentSnapshot>,
    point: &Arc<Point>,
    experiment: &RunningExperiment,
    id: &str,
) -> Option<Shadowed> {
    if experiment.shadows.is_empty() {
        return None;
    }
    let is_in = |salt: &str, sample| place(Purpose::Shadow, salt, "decision", id).is_below(sample);
    let shadows = experiment.shadows.iter().enumerate().filter(|(_, shadow)| is_in(&shadow.salt, shadow.sample));
    let shadows: Vec<usize> = shadows.map(|(at, _)| at).collect();
    let position = point.experiments.iter().position(|known| known.routed.id == experiment.routed.id)?;
    (!shadows.is_empty()).then(|| Shadowed {
        deployment: Arc::clone(deployment),
        point: Arc::clone(point),
        experiment: position,
        shadows,
    })
}

impl Shadowed {
    fn arms(&self) -> impl Iterator<Item = (Name, &super::ShadowArm)> {
        let experiment = &self.point.experiments[self.experiment];
        self.shadows.iter().map(|at| (experiment.routed.id.clone(), &experiment.shadows[*at]))
    }
}

type Dropped = Arc<Mutex<BTreeMap<(Name, Name), u64>>>;

/// Runs shadow arms on a thread of its own, which ends when this is dropped.
pub struct Shadows {
    queue: Sender<(Record, Shadowed)>,
    dropped: Dropped,
}

impl Shadows {
    /// Starts the thread. `done` is called with the shadow runs of each decision.
    ///
    /// # Errors
    /// That the thread cannot be started.
    pub fn start(done: impl Fn(&Record, Vec<ShadowRun>) + Send + 'static) -> std::io::Result<Self> {
        let (queue, jobs) = bounded(QUEUE);
        let dropped = Dropped::default();
        let told = Arc::clone(&dropped);
        std::thread::Builder::new()
            .name("serin-shadow".into())
            .stack_size(STACK_BYTES)
            .spawn(move || work(&jobs, &told, &done))?;
        Ok(Self { queue, dropped })
    }

    /// Queues the shadow runs of a decision whose answer has left. `is_busy` says that decisions
    /// are waiting; then the runs are dropped.
    pub fn offer(&self, record: Record, shadowed: Shadowed, is_busy: bool) {
        let left = if is_busy {
            Some(shadowed)
        } else {
            self.queue.try_send((record, shadowed)).err().map(|e| e.into_inner().1)
        };
        if let Some(shadowed) = left {
            let mut dropped = self.dropped.lock();
            for (experiment, shadow) in shadowed.arms() {
                *dropped.entry((experiment, shadow.arm.name.clone())).or_default() += 1;
            }
        }
    }
}

fn work(jobs: &Receiver<(Record, Shadowed)>, dropped: &Dropped, done: &dyn Fn(&Record, Vec<ShadowRun>)) {
    for (record, shadowed) in jobs {
        let run = || {
            shadowed
                .arms()
                .filter_map(|(experiment, shadow)| run(&shadowed, &record, experiment, shadow, dropped))
                .collect()
        };
        // A panic in one run must not end all others.
        match std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)) {
            Ok(runs) => done(&record, runs),
            Err(_) => {
                crate::telemetry::log_limited!(error, decision = record.decision_id, "its shadows could not be run")
            }
        }
    }
}

fn run(
    shadowed: &Shadowed,
    record: &Record,
    experiment: Name,
    shadow: &super::ShadowArm,
    dropped: &Dropped,
) -> Option<ShadowRun> {
    let budget = Budget::new(shadowed.point.deadline);
    let on = (Role::Shadow, Thread::Deciding);
    let ran = attempt(&shadowed.deployment, record, &shadow.arm, on, budget, &record.attempts).ok()?;
    let action = match &ran.attempt.outcome {
        // The same random bits as the decision's own: equal candidates are the same action.
        Outcome::Candidates(candidates) => Some(candidates[draw(candidates, record.entropy)].action.clone()),
        Outcome::Refusal { .. } | Outcome::Failure { .. } => None,
    };
    let arm = shadow.arm.name.clone();
    let dropped = dropped.lock().remove(&(experiment.clone(), arm.clone())).unwrap_or(0);
    Some(ShadowRun { experiment, arm, action, attempt: ran.attempt, dropped })
}
