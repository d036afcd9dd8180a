//! Replaying one record.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serin_core::answer::{before_normalizing, draw, serve};
use serin_core::experiment::Experiment;
use serin_core::manifest::ModelId;
use serin_core::projection;
use serin_core::record::{
    Answer, Attempt, CallError, FailureKind, ModelCall, NotEnrolled, Outcome, Record, Role, ServedBy,
};
use serin_core::value::Value;

use crate::clock::Budget;
use crate::decide::{self, RoutingTable, verify_arm, verify_batch};
use crate::registry::Plugin;
use crate::sandbox::{Run, Scored, Scorer};

/// A field that did not come again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldDifference {
    /// Where in the record.
    pub field: String,
    /// What the record holds.
    pub recorded: String,
    /// What came now.
    pub replayed: String,
}

/// What a replay found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReplayResult {
    /// Everything that the record fixes came again.
    Identical {
        /// Attempts whose outcome the environment caused (a wall deadline, no free slot); they
        /// are not run again.
        environmental: u32,
        /// What was not computed again, and why; none where everything was.
        not_recomputed: Option<String>,
    },
    /// Something did not.
    Different(Vec<FieldDifference>),
    /// It cannot be run again, and why.
    NotReplayable(String),
}

/// Answers calls from the transcript, each by its place: calls that the sandbox answered by
/// itself (beyond a limit, say) are in it too, and it answers them by itself again.
struct Transcript(Vec<ModelCall>);

impl Scorer for Transcript {
    fn score(&mut self, call: usize, _: &ModelId, _: &[Vec<Value>], _: Duration) -> Scored {
        // A call with other rows shows when the transcripts are compared.
        match self.0.get(call) {
            Some(call) => {
                Scored { digest: call.digest.clone(), answer: call.answer.clone(), cause: call.cause.clone() }
            }
            None => CallError::Unavailable.into(),
        }
    }
}

/// What a replay of an older record leaves out.
const ARM_ONLY: &str = "exclude, eligibility, holdouts, slot and coverage: the record is of schema 1, which does not \
                        say what routing read; its arm was computed again from the spec";

/// Replays a record. `version` finds an artifact by its digest, `spec` an experiment's, and `table` what
/// routing read.
pub fn replay(
    record: &Record,
    version: impl Fn(&str) -> Option<Arc<Plugin>>,
    spec: impl Fn(&str) -> Option<Arc<Experiment>>,
    table: impl Fn(&str) -> Option<Arc<RoutingTable>>,
) -> ReplayResult {
    let mut differences = match route_again(record, spec, table) {
        Ok(differences) => differences,
        Err(why) => return ReplayResult::NotReplayable(why),
    };
    let mut environmental = 0;
    let mut served: Option<(usize, Arc<Plugin>, Vec<String>)> = None;
    let mut failed = Vec::new();
    for (index, recorded) in record.attempts.iter().enumerate() {
        let Some(plugin) = version(&recorded.strategy.digest) else {
            return ReplayResult::NotReplayable(format!(
                "artifact {} ({}@{}) is not in the archive",
                recorded.strategy.digest, recorded.strategy.name, recorded.strategy.version
            ));
        };
        let degraded = if is_environmental(&recorded.outcome) {
            environmental += 1;
            Vec::new()
        } else {
            let (again, degraded) = run_again(record, recorded, &plugin);
            if is_environmental(&again.outcome) {
                return ReplayResult::NotReplayable(format!("this machine could not run it now: {}", again.trouble()));
            }
            if again != *recorded {
                differences.extend(differences_of(&format!("attempts[{index}]"), recorded, &again));
            }
            degraded
        };
        match &recorded.outcome {
            Outcome::Candidates(_) => served = Some((index, plugin, degraded)),
            _ => {
                failed.extend(recorded.missing_scores().filter(|entry| is_named(record, entry)));
                failed.push(recorded.trouble());
            }
        }
    }
    let answer = answer_again(record, served, failed);
    if answer != record.answer {
        differences.extend(differences_of("answer", &record.answer, &answer));
    }
    match differences.is_empty() {
        true => {
            let not_recomputed = record.deployment.is_none().then(|| ARM_ONLY.to_owned());
            ReplayResult::Identical { environmental, not_recomputed }
        }
        false => ReplayResult::Different(differences),
    }
}

/// Routes again: an assignment is a hash, not a row, and follows from the record, the spec and what
/// was archived of the deployment.
fn route_again(
    record: &Record,
    spec: impl Fn(&str) -> Option<Arc<Experiment>>,
    table: impl Fn(&str) -> Option<Arc<RoutingTable>>,
) -> Result<Vec<FieldDifference>, String> {
    let mut differences = Vec::new();
    let missing = |digest| format!("what routing read, {digest}, is not in the archive, or cannot be read");
    let table = record.deployment.as_deref().map(|digest| table(digest).ok_or_else(|| missing(digest))).transpose()?;
    if let Some(table) = &table {
        match decide::route_again(table, record) {
            Ok(routing) => differences = differences_of("routing", &record.routing, &routing),
            Err(error) => differences.push(FieldDifference {
                field: "routing.assignment".to_owned(),
                recorded: "an arm that was chosen by hand".to_owned(),
                replayed: error.to_string(),
            }),
        }
    }
    if let (Some(assignment), Some(unit)) = (&record.routing.assignment, record.unit()) {
        let spec = spec(&assignment.spec_digest);
        let spec = spec.ok_or_else(|| format!("spec {} is not in the archive", assignment.spec_digest))?;
        if differences.is_empty()
            && let Err(arm) = verify_arm(&spec, unit, assignment)
        {
            differences.push(FieldDifference {
                field: "routing.assignment.arm".to_owned(),
                recorded: assignment.arm.to_string(),
                replayed: arm,
            });
        }
        if let Some(table) = &table
            && let Err(batch) = verify_batch(table, &spec, record)
        {
            differences.push(FieldDifference {
                field: "routing.assignment.batch".to_owned(),
                recorded: assignment.batch.map(|batch| batch.to_string()).unwrap_or_default(),
                replayed: batch,
            });
        }
    }
    Ok(differences)
}

/// Whether an answer names this cause in `degraded`: one of the scores that an attempt lacked, or an eligibility
/// that could not be evaluated. Every host that writes schema 3 names them, and of the older ones some.
fn is_named(record: &Record, cause: &String) -> bool {
    record.schema >= 3 || record.answer.degraded.contains(cause)
}

fn is_environmental(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Failure { kind, .. } if kind.is_environmental())
}

/// Runs an attempt again from the record alone.
fn run_again(record: &Record, recorded: &Attempt, plugin: &Plugin) -> (Attempt, Vec<String>) {
    let manifest = plugin.manifest();
    let mut again = Attempt {
        role: recorded.role,
        strategy: recorded.strategy.clone(),
        parameters: recorded.parameters.clone(),
        limits: recorded.limits,
        defaulted: Vec::new(),
        scores: recorded.scores.clone(),
        transcript: Vec::new(),
        logs: Vec::new(),
        logs_cut: false,
        normalized_from: None,
        outcome: Outcome::Failure { kind: FailureKind::NoTime, detail: String::new() },
        fuel: 0,
        // Measured, not decided.
        time_us: recorded.time_us,
    };
    let inputs = match projection::features(record, manifest) {
        Ok(inputs) => inputs,
        Err((kind, detail)) => {
            again.outcome = Outcome::Failure { kind, detail };
            again.scores = Vec::new();
            return (again, Vec::new());
        }
    };
    again.defaulted = inputs.defaulted;
    let mut degraded = inputs.degraded;
    // The scores themselves are recorded; what they were computed from has to come again.
    for (score, declared) in again.scores.iter_mut().zip(&manifest.scores) {
        score.inputs = projection::model_inputs(declared, &inputs.features).unwrap_or_default();
    }
    let scores = match projection::scores(&again.scores, manifest) {
        Ok((scores, trouble)) => {
            degraded.extend(trouble);
            scores
        }
        Err((kind, detail)) => {
            again.outcome = Outcome::Failure { kind, detail };
            return (again, degraded);
        }
    };
    let run = Run::of(record, &inputs.features, &scores, &recorded.parameters);
    // Fuel is the record's; the wall clock is this machine's, and must not speak here.
    let limits = serin_core::limits::Limits { wall_ms: 60_000, ..recorded.limits };
    let scorer: Option<Box<dyn Scorer>> = match manifest.callable.is_empty() {
        true => None,
        false => Some(Box::new(Transcript(recorded.transcript.clone()))),
    };
    let ran = plugin.linked.run(&run, manifest, limits, Budget::new(Duration::from_secs(60)), scorer);
    again.outcome = ran.outcome;
    again.normalized_from = ran.normalized_from;
    // A record from before sums were normalized says that this one was refused.
    if let Some(total) = ran.normalized_from
        && recorded.outcome == before_normalizing(total)
    {
        (again.outcome, again.normalized_from) = (recorded.outcome.clone(), None);
    }
    again.fuel = ran.fuel;
    again.logs = ran.logs;
    again.logs_cut = ran.logs_cut;
    again.transcript = ran.transcript;
    (again, degraded)
}

/// The answer that follows from the attempts' outcomes and the recorded entropy.
fn answer_again(record: &Record, served: Option<(usize, Arc<Plugin>, Vec<String>)>, failed: Vec<String>) -> Answer {
    let excluded = record.routing.excluded.is_some();
    let not_enrolled = record.routing.not_enrolled.as_ref().and_then(NotEnrolled::trouble);
    let not_enrolled = not_enrolled.filter(|entry| is_named(record, entry));
    if let (false, Some((index, plugin, degraded))) = (excluded, served) {
        let attempt = &record.attempts[index];
        if let Outcome::Candidates(candidates) = &attempt.outcome {
            let served_by = match attempt.role {
                Role::Arm => ServedBy::Arm,
                Role::Strategy => ServedBy::Strategy,
                // A shadow serves nobody, and is in no record.
                Role::Shadow | Role::FallbackStrategy => ServedBy::FallbackStrategy,
            };
            let candidate = &candidates[draw(candidates, record.entropy)];
            let degraded = failed.into_iter().chain(degraded).chain(not_enrolled).collect();
            return serve(candidate, plugin.manifest(), attempt.strategy.clone(), served_by, degraded);
        }
    }
    let degraded = match excluded || record.attempts.is_empty() {
        true => record.answer.degraded.clone(),
        false => failed.into_iter().chain(not_enrolled).collect(),
    };
    // The fallback action is the configuration's, and the record holds it.
    Answer {
        action: record.answer.action.clone(),
        parameters: record.answer.parameters.clone(),
        reasons: Vec::new(),
        strategy: None,
        propensity: 1.0,
        served_by: if excluded { ServedBy::Constraint } else { ServedBy::FallbackAction },
        degraded,
    }
}

/// The fields of two values that differ, by their path.
fn differences_of<T: Serialize>(at: &str, recorded: &T, replayed: &T) -> Vec<FieldDifference> {
    let json = |value: &T| serde_json::to_value(value).unwrap_or_default();
    let mut differences = Vec::new();
    walk(at, &json(recorded), &json(replayed), &mut differences);
    differences
}

fn walk(at: &str, recorded: &serde_json::Value, replayed: &serde_json::Value, differences: &mut Vec<FieldDifference>) {
    use serde_json::Value::{Array, Null, Object};
    match (recorded, replayed) {
        (a, b) if a == b => {}
        (Object(a), Object(b)) => {
            let keys = a.keys().chain(b.keys().filter(|key| !a.contains_key(*key)));
            for key in keys {
                walk(&format!("{at}.{key}"), a.get(key).unwrap_or(&Null), b.get(key).unwrap_or(&Null), differences);
            }
        }
        (Array(a), Array(b)) => {
            for i in 0..a.len().max(b.len()) {
                walk(&format!("{at}[{i}]"), a.get(i).unwrap_or(&Null), b.get(i).unwrap_or(&Null), differences);
            }
        }
        (a, b) => {
            differences.push(FieldDifference { field: at.to_owned(), recorded: a.to_string(), replayed: b.to_string() })
        }
    }
}
