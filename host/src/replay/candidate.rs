//! Running another version on recorded decisions: yesterday's traffic, before today's.

use std::time::Duration;

use serin_core::limits::Limits;
use serin_core::projection;
use serin_core::record::{Outcome, Record, ScoreRecord};

use crate::clock::Budget;
use crate::registry::Plugin;
use crate::sandbox::Run;

/// What another version would have answered.
#[derive(Debug, Clone, PartialEq)]
pub enum CandidateAnswer {
    /// What it would have answered.
    Answered(Outcome),
    /// The record lacks what it needs; nothing is made up.
    NotComparable(String),
}

/// Runs `candidate` on a record, with its own default parameters and the operator's limits.
pub fn compare(record: &Record, candidate: &Plugin, allowed: Limits) -> CandidateAnswer {
    let manifest = candidate.manifest();
    if record.routing.excluded.is_some() {
        return CandidateAnswer::NotComparable("a constraint decided, and no strategy would have".to_owned());
    }
    if record.routing.assignment.as_ref().is_some_and(|assignment| assignment.forced) {
        return CandidateAnswer::NotComparable("the arm was chosen by hand".to_owned());
    }
    for feature in &manifest.features {
        if record.feature(&feature.view, &feature.name).is_none() {
            return CandidateAnswer::NotComparable(format!("the record lacks {}.{}", feature.view, feature.name));
        }
    }
    if !manifest.callable.is_empty() {
        return CandidateAnswer::NotComparable(
            "it calls models with rows of its own, which the record does not hold".to_owned(),
        );
    }
    let inputs = match projection::features(record, manifest) {
        Ok(inputs) => inputs,
        Err((kind, detail)) => return CandidateAnswer::Answered(Outcome::Failure { kind, detail }),
    };
    let recorded: Vec<&ScoreRecord> = record.attempts.iter().flat_map(|a| &a.scores).collect();
    let mut scores = Vec::with_capacity(manifest.scores.len());
    for declared in &manifest.scores {
        let wanted = projection::model_inputs(declared, &inputs.features).unwrap_or_default();
        let same = recorded.iter().find(|s| s.model == declared.model && s.inputs == wanted && s.value.is_some());
        match same.and_then(|s| s.value) {
            Some(score) => scores.push(score),
            None => {
                return CandidateAnswer::NotComparable(format!(
                    "the record lacks a score of {} on these inputs",
                    declared.model
                ));
            }
        }
    }
    let parameters: Vec<_> = manifest.parameters.iter().map(|p| p.default.clone()).collect();
    let run = Run::of(record, &inputs.features, &scores, &parameters);
    // Fuel is the limit that reproduces; wall-clock time is this machine's, and is not held against it.
    let limits = Limits { wall_ms: 60_000, ..manifest.limits.within(allowed) };
    CandidateAnswer::Answered(
        candidate.linked.run(&run, manifest, limits, Budget::new(Duration::from_secs(60)), None).outcome,
    )
}
