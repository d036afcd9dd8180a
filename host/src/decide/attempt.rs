//! One attempt: project, score, run.

use std::sync::Arc;
use std::time::Duration;

use serin_core::manifest::{DeclaredScore, ModelId};
use serin_core::projection;
use serin_core::record::{Attempt, CallError, FailureKind, Outcome, Record, Role, ScoreRecord};
use serin_core::value::Value;

use super::{BoundArm, DeploymentSnapshot};
use crate::clock::{Budget, Stopwatch};
use crate::models::{Model, ModelSet, ScoreError};
use crate::registry::{BRIEF, HELD};
use crate::sandbox::{Granted, Ran, Run, Scored, Scorer};

/// Answers a strategy's own model calls from the loaded models.
pub(super) struct CallScorer {
    models: Arc<ModelSet>,
    is_shadow: bool,
    /// The run's wall time, waits for models included.
    wall: Budget,
}

impl Scorer for CallScorer {
    fn score(&mut self, _: usize, model: &ModelId, rows: &[Vec<Value>], left: Duration) -> Scored {
        let Some(model) = self.models.get(model) else {
            return CallError::Unavailable.into();
        };
        let reached = |answer, cause| Scored { digest: Some(model.digest.clone()), answer, cause };
        // The reserved time is for the strategy, which may do without the scores.
        let left = left.min(self.wall.left()).mul_f64(1.0 - RUN_SHARE);
        if left.is_zero() {
            return reached(Err(CallError::Timeout), None);
        }
        let mut numbers = Vec::with_capacity(rows.len());
        for (i, row) in rows.iter().enumerate() {
            match row.iter().map(Value::as_f64).collect::<Option<Vec<f64>>>() {
                Some(row) => numbers.push(row),
                None => {
                    return reached(Err(CallError::InvalidRow(format!("row {i}: a value is missing or text"))), None);
                }
            }
        }
        match ask(model, &numbers, left, self.is_shadow) {
            Ok(scores) => reached(Ok(scores), None),
            Err(ScoreError::Timeout) => reached(Err(CallError::Timeout), None),
            Err(ScoreError::InvalidRow(why)) => reached(Err(CallError::InvalidRow(why)), None),
            Err(error) => reached(Err(CallError::Unavailable), Some(error.to_string())),
        }
    }
}

/// A shadow run uses only capacity that decisions leave free.
fn ask(model: &Model, rows: &[Vec<f64>], left: Duration, is_shadow: bool) -> Result<Vec<f64>, ScoreError> {
    if is_shadow { model.score_for_shadow(rows, left) } else { model.score(rows, left) }
}

/// The share of the remaining deadline for which a run waits for a slot of its version. Most get
/// one at once, because decisions wait in their point's queue, without a thread. A healthy run ends
/// in far less time and frees its slot. One that burns its fuel does not, and the waiting ones go
/// on to the fallback in time.
const SLOT_WAIT_SHARE: f64 = 0.05;

/// The share of its point's deadline that a run must have had for its timeout to count in the
/// version's breaker.
const FAIR_SHARE: f64 = 0.25;

/// The share of an attempt's time, and of a run's at each call, that is reserved from models. If a
/// model does not answer in time, the strategy still decides, with the fallback score or without
/// one.
const RUN_SHARE: f64 = 0.25;

/// On which thread a decision is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Thread {
    /// A deciding thread, which has the decision's whole time.
    Deciding,
    /// A thread of the listener. It must not be kept: what might wait, or take long, is not done there.
    Listener,
}

impl Thread {
    /// The name in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deciding => "deciding",
            Self::Listener => "listener",
        }
    }
}

/// A decision turned out to be none for a thread of the listener. What was done of it is of no
/// consequence, and it is made anew on a deciding thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NotBrief;

/// An attempt, and what is degraded in its answer, if it gave one.
pub(super) struct Attempted {
    pub attempt: Attempt,
    pub degraded: Vec<String>,
    pub score_us: u64,
    pub run_us: u64,
}

/// Runs `arm` on the record so far. Scores of `earlier` attempts are reused if the model and its
/// inputs are the same.
pub(super) fn attempt(
    deployment: &DeploymentSnapshot,
    record: &Record,
    arm: &BoundArm,
    (role, thread): (Role, Thread),
    budget: Budget,
    earlier: &[Attempt],
) -> Result<Attempted, NotBrief> {
    let mut watch = Stopwatch::new();
    let manifest = arm.plugin.manifest();
    if thread == Thread::Listener && !arm.plugin.is_brief(record.time_ms) {
        return Err(NotBrief);
    }
    let mut attempt = unstarted(arm, role);
    let fail = |mut attempt: Attempt, (kind, detail), score_us| {
        attempt.outcome = Outcome::Failure { kind, detail };
        Ok(Attempted { attempt, degraded: Vec::new(), score_us, run_us: 0 })
    };
    let inputs = match projection::features(record, manifest) {
        Ok(inputs) => inputs,
        Err(unfit) => return fail(attempt, unfit, 0),
    };
    attempt.defaulted = inputs.defaulted;
    let mut degraded = inputs.degraded;
    let span = tracing::debug_span!("score").entered();
    let asked = Asked { left: budget.less(budget.left().mul_f64(RUN_SHARE)), is_shadow: role == Role::Shadow, thread };
    let score = |declared| score(deployment, declared, &inputs.features, asked, earlier);
    attempt.scores = manifest.scores.iter().map(score).collect::<Result<_, _>>()?;
    drop(span);
    let score_us = watch.lap_us();
    let scores = match projection::scores(&attempt.scores, manifest) {
        Ok((scores, trouble)) => {
            degraded.extend(trouble);
            scores
        }
        Err(unfit) => return fail(attempt, unfit, score_us),
    };
    if budget.left().is_zero() {
        return Ok(Attempted { attempt, degraded, score_us, run_us: 0 });
    }
    let run_on = Run::of(record, &inputs.features, &scores, &arm.parameters);
    let ran = match run(deployment, record, arm, (role, thread), budget, &run_on) {
        Ok(ran) => ran,
        Err(NotRun::NotBrief) => return Err(NotBrief),
        Err(NotRun::Refused(kind, detail)) => return fail(attempt, (kind, detail), score_us),
    };
    attempt.normalized_from = ran.normalized_from;
    attempt.transcript = ran.transcript;
    attempt.logs = ran.logs;
    attempt.logs_cut = ran.logs_cut;
    attempt.outcome = ran.outcome;
    attempt.fuel = ran.fuel;
    attempt.time_us = ran.time_us;
    Ok(Attempted { attempt, degraded, score_us, run_us: watch.lap_us() })
}

/// An attempt that has not started.
fn unstarted(arm: &BoundArm, role: Role) -> Attempt {
    Attempt {
        role,
        strategy: arm.plugin.id.clone(),
        parameters: arm.parameters.clone(),
        limits: arm.limits,
        defaulted: Vec::new(),
        scores: Vec::new(),
        transcript: Vec::new(),
        logs: Vec::new(),
        logs_cut: false,
        normalized_from: None,
        outcome: Outcome::Failure { kind: FailureKind::NoTime, detail: "no time was left to begin".to_owned() },
        fuel: 0,
        time_us: 0,
    }
}

/// Why a version did not run.
enum NotRun {
    /// The thread would have been kept.
    NotBrief,
    /// It may not.
    Refused(FailureKind, String),
}

/// Runs the version in one of its slots, if its breaker admits the run.
fn run(
    deployment: &DeploymentSnapshot,
    record: &Record,
    arm: &BoundArm,
    (role, thread): (Role, Thread),
    budget: Budget,
    run: &Run<'_>,
) -> Result<Ran, NotRun> {
    let is_shadow = role == Role::Shadow;
    if !is_shadow && let Err(why) = arm.plugin.breaker.admit(record.time_ms) {
        return Err(NotRun::Refused(FailureKind::BreakerOpen, why));
    }
    let (slots, is_listener) = (deployment.slots_per_version, thread == Thread::Listener);
    let wait = if is_listener { Duration::ZERO } else { budget.left().mul_f64(SLOT_WAIT_SHARE) };
    let Some(_slot) = arm.plugin.slot(slots, wait) else {
        let detail = format!("{slots} runs of this version are under way");
        return Err(if is_listener { NotRun::NotBrief } else { NotRun::Refused(FailureKind::Overloaded, detail) });
    };
    let scorer: Option<Box<dyn Scorer>> = match arm.plugin.manifest().callable.is_empty() {
        true => None,
        false => Some(Box::new(CallScorer {
            models: Arc::clone(&deployment.models),
            is_shadow,
            wall: Budget::new(budget.left().min(Duration::from_millis(arm.limits.wall_ms))),
        })),
    };
    let _span = tracing::debug_span!("run").entered();
    // A caller's short deadline, or a long wait in the queue, is not the version's fault.
    let point = deployment.points.get(&record.decision_point).map_or(Duration::ZERO, |point| point.deadline);
    let fair = point.mul_f64(FAIR_SHARE).min(Duration::from_millis(arm.limits.wall_ms));
    let left = budget.left();
    let had_time = left >= fair;
    let granted = if is_listener {
        Granted { budget: Budget::new(left.min(HELD)), cpu: Some(BRIEF), takes_turns: false }
    } else {
        Granted { budget, cpu: None, takes_turns: true }
    };
    let ran = arm.plugin.linked.run_within(run, arm.plugin.manifest(), arm.limits, granted, scorer);
    let is_late = matches!(ran.outcome, Outcome::Failure { kind: FailureKind::Deadline, .. });
    if is_listener && is_late {
        // Where others kept the processors from it, it was not long.
        if ran.has_reached_cpu {
            arm.plugin.pace.note_long(record.time_ms);
        }
        return Err(NotRun::NotBrief);
    }
    if is_listener {
        arm.plugin.pace.note_brief();
    }
    if !is_shadow && (had_time || !is_late) {
        arm.plugin.breaker.note(&ran.outcome, record.time_ms);
    }
    Ok(ran)
}

/// How a declared score is asked for.
#[derive(Clone, Copy)]
struct Asked {
    left: Budget,
    is_shadow: bool,
    thread: Thread,
}

fn score(
    deployment: &DeploymentSnapshot,
    declared: &DeclaredScore,
    features: &[Value],
    Asked { left: budget, is_shadow, thread }: Asked,
    earlier: &[Attempt],
) -> Result<ScoreRecord, NotBrief> {
    let model = deployment.models.get(&declared.model);
    let inputs = projection::model_inputs(declared, features);
    let is_complete = inputs.is_some();
    let mut record = ScoreRecord {
        model: declared.model.clone(),
        digest: model.map_or_else(|| "".into(), |m| m.digest.clone()),
        inputs: inputs.unwrap_or_default(),
        value: None,
        error: None,
    };
    // A model that was too slow for the arm is too slow for the shorter time left after it.
    let is_known = |known: &ScoreRecord| known.value.is_some() || known.error.as_deref() == Some("timeout");
    let same = |known: &&ScoreRecord| known.digest == record.digest && known.inputs == record.inputs && is_known(known);
    if let Some(known) = earlier.iter().flat_map(|a| &a.scores).find(same) {
        return Ok(ScoreRecord { model: declared.model.clone(), ..known.clone() });
    }
    let answer = match model {
        None => Err("unavailable"),
        Some(_) if !is_complete => Err("input_missing"),
        Some(_) if budget.left().is_zero() => Err("timeout"),
        Some(model) => {
            let scored = match (model.arrange(&record.inputs), thread) {
                (Err(error), _) => Err(error),
                (Ok(row), Thread::Listener) => model.score_at_once(&row, budget.left()).ok_or(NotBrief)?,
                (Ok(row), Thread::Deciding) => ask(model, &[row], budget.left(), is_shadow),
            };
            scored.map(|scores| scores[0]).map_err(|error| error.label())
        }
    };
    match answer {
        Ok(value) => record.value = Some(value),
        Err(why) => record.error = Some(why.into()),
    }
    Ok(record)
}
