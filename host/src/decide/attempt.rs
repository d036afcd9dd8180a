//! One attempt: project, score, run.

use std::sync::Arc;
use std::time::Duration;

use serin_core::manifest::{DeclaredScore, ModelId};
use serin_core::projection;
use serin_core::record::{Attempt, CallError, FailureKind, Outcome, Record, Role, ScoreRecord};
use serin_core::value::Value;

use super::{Arm, Deployment};
use crate::clock::{Budget, Stopwatch};
use crate::models::{ModelSet, ScoreError};
use crate::sandbox::{Run, Scored, Scorer};

/// Answers a strategy's own model calls from the loaded models.
pub struct CallScorer(pub Arc<ModelSet>);

impl Scorer for CallScorer {
    fn score(&mut self, _: usize, model: &ModelId, rows: &[Vec<Value>], left: Duration) -> Scored {
        let Some(model) = self.0.get(model) else {
            return CallError::Unavailable.into();
        };
        let reached = |answer, cause| Scored { digest: Some(model.digest.clone()), answer, cause };
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
        match model.score(&numbers, left) {
            Ok(scores) => reached(Ok(scores), None),
            Err(ScoreError::Timeout) => reached(Err(CallError::Timeout), None),
            Err(ScoreError::InvalidRow(why)) => reached(Err(CallError::InvalidRow(why)), None),
            Err(error) => reached(Err(CallError::Unavailable), Some(error.to_string())),
        }
    }
}

/// The share of what is left of the deadline for which a run waits for a slot of its version.
/// Most have one at once: who waited did so in its point's line, without a thread. A healthy
/// run ends in far less, and gives its slot on; one that burns its fuel does not, and those
/// behind it go on to the fallback in time.
const SLOT_WAIT_SHARE: f64 = 0.05;

/// The share of its point's deadline that is enough for a run to end in, as far as a version's
/// breaker is concerned.
const FAIR_SHARE: f64 = 0.25;

/// An attempt, and what was degraded on its way.
pub(super) struct Attempted {
    pub attempt: Attempt,
    pub degraded: Vec<String>,
    pub score_us: u64,
    pub run_us: u64,
}

/// Runs `arm` on the record so far. `earlier` attempts' scores are used again where the model
/// and its inputs are the same.
pub(super) fn attempt(
    deployment: &Deployment,
    record: &Record,
    arm: &Arm,
    role: Role,
    budget: Budget,
    earlier: &[Attempt],
) -> Attempted {
    let mut watch = Stopwatch::new();
    let manifest = arm.plugin.manifest();
    let mut attempt = Attempt {
        role,
        strategy: arm.plugin.id.clone(),
        parameters: arm.parameters.clone(),
        limits: arm.limits,
        defaulted: Vec::new(),
        scores: Vec::new(),
        transcript: Vec::new(),
        logs: Vec::new(),
        logs_cut: false,
        outcome: Outcome::Failure { kind: FailureKind::NoTime, detail: "no time was left to begin".to_owned() },
        fuel: 0,
        time_us: 0,
    };
    let fail = |mut attempt: Attempt, degraded, (kind, detail), score_us| {
        attempt.outcome = Outcome::Failure { kind, detail };
        Attempted { attempt, degraded, score_us, run_us: 0 }
    };
    let inputs = match projection::features(record, manifest) {
        Ok(inputs) => inputs,
        Err(unfit) => return fail(attempt, Vec::new(), unfit, 0),
    };
    attempt.defaulted = inputs.defaulted;
    let mut degraded = inputs.degraded;
    let span = tracing::debug_span!("score").entered();
    attempt.scores =
        manifest.scores.iter().map(|declared| score(deployment, declared, &inputs.features, budget, earlier)).collect();
    drop(span);
    let score_us = watch.lap_us();
    let scores = match projection::scores(&attempt.scores, manifest) {
        Ok((scores, trouble)) => {
            degraded.extend(trouble);
            scores
        }
        Err(unfit) => return fail(attempt, degraded, unfit, score_us),
    };
    if budget.left().is_zero() {
        return Attempted { attempt, degraded, score_us, run_us: 0 };
    }
    // What a shadow does is without effect, here too.
    let is_shadow = role == Role::Shadow;
    if !is_shadow && let Err(why) = arm.plugin.breaker.admit(record.time_ms) {
        return fail(attempt, degraded, (FailureKind::BreakerOpen, why), score_us);
    }
    let Some(_slot) = arm.plugin.slot(deployment.slots_per_version, budget.left().mul_f64(SLOT_WAIT_SHARE)) else {
        let detail = format!("{} runs of this version are under way", deployment.slots_per_version);
        return fail(attempt, degraded, (FailureKind::Overloaded, detail), score_us);
    };
    let run = Run::of(record, &inputs.features, &scores, &arm.parameters);
    let scorer: Option<Box<dyn Scorer>> = match manifest.callable.is_empty() {
        true => None,
        false => Some(Box::new(CallScorer(Arc::clone(&deployment.models)))),
    };
    let _span = tracing::debug_span!("run").entered();
    // A caller's short deadline, or a long wait in the queue, is not the version's doing.
    let point = deployment.points.get(&record.decision_point).map_or(Duration::ZERO, |point| point.deadline);
    let fair = point.mul_f64(FAIR_SHARE).min(Duration::from_millis(arm.limits.wall_ms));
    let had_time = budget.left() >= fair;
    let ran = arm.plugin.linked.run(&run, manifest, arm.limits, budget, scorer);
    let is_its_own = had_time || !matches!(ran.outcome, Outcome::Failure { kind: FailureKind::Deadline, .. });
    if !is_shadow && is_its_own {
        arm.plugin.breaker.note(&ran.outcome, record.time_ms);
    }
    attempt.transcript = ran.transcript;
    attempt.logs = ran.logs;
    attempt.logs_cut = ran.logs_cut;
    attempt.outcome = ran.outcome;
    attempt.fuel = ran.fuel;
    attempt.time_us = ran.time_us;
    Attempted { attempt, degraded, score_us, run_us: watch.lap_us() }
}

fn score(
    deployment: &Deployment,
    declared: &DeclaredScore,
    features: &[Value],
    budget: Budget,
    earlier: &[Attempt],
) -> ScoreRecord {
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
    let same =
        |known: &&ScoreRecord| known.digest == record.digest && known.inputs == record.inputs && known.value.is_some();
    if let Some(known) = earlier.iter().flat_map(|a| &a.scores).find(same) {
        return ScoreRecord { model: declared.model.clone(), ..known.clone() };
    }
    let answer = match model {
        None => Err("unavailable"),
        Some(_) if !is_complete => Err("input_missing"),
        Some(_) if budget.left().is_zero() => Err("timeout"),
        Some(model) => {
            let scored = model.arrange(&record.inputs).and_then(|row| model.score(&[row], budget.left()));
            scored.map(|scores| scores[0]).map_err(|error| match error {
                ScoreError::Timeout => "timeout",
                ScoreError::NotFinite => "not_finite",
                ScoreError::InvalidRow(_) | ScoreError::Failed(_) => {
                    tracing::error!(model = %declared.model, %error, "a score failed");
                    "unavailable"
                }
            })
        }
    };
    match answer {
        Ok(value) => record.value = Some(value),
        Err(why) => record.error = Some(why.into()),
    }
    record
}
