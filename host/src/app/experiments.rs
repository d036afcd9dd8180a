//! Binding experiment specs to the versions that they name.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use serin_core::Name;
use serin_core::experiment::Experiment;
use serin_core::expression::Predicate;

use crate::config::Config;
use crate::decide::{PointSchema, RunningExperiment, bind_arm};
use crate::experiments::{Candidate, ExperimentState, ExperimentStatus};
use crate::models::ModelSet;

use super::build::Versions;

/// The experiments in force by decision point, and the standing of all.
pub(super) struct Bound {
    pub running: HashMap<Name, Vec<RunningExperiment>>,
    pub statuses: Vec<ExperimentStatus>,
    /// What is in force now, to be noted and archived.
    pub applied: Vec<(PathBuf, Arc<Experiment>, String)>,
}

enum Verdict {
    Runs(Box<RunningExperiment>),
    Waits(String),
    Invalid(String),
}

/// Binds each candidate. A new spec that cannot be applied leaves `before` in force.
pub(super) fn bind(
    config: &Config,
    versions: &Versions,
    models: &ModelSet,
    mut candidates: Vec<Candidate>,
    before: impl Fn(&PathBuf) -> Option<(Arc<Experiment>, String)>,
) -> Bound {
    // Who is in force keeps its slot: a new file must not take it by sorting first.
    candidates.sort_by_key(|candidate| match (before(&candidate.path), &candidate.spec) {
        (Some((old, _)), Some((spec, _))) if old.digest == spec.digest => 0,
        (Some(_), _) => 1,
        (None, _) => 2,
    });
    let mut bound = Bound { running: HashMap::new(), statuses: Vec::new(), applied: Vec::new() };
    for candidate in candidates {
        let file = candidate.path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let mut status = ExperimentStatus {
            id: candidate.path.file_stem().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default(),
            file,
            state: ExperimentState::Invalid,
            why: String::new(),
            error: candidate.error,
            spec: None,
            source: None,
            phase: 0,
            stale: false,
        };
        let Some((spec, text)) = candidate.spec else {
            status.why = "the file has a mistake, and nothing was applied before".to_owned();
            bound.statuses.push(status);
            continue;
        };
        let edited = before(&candidate.path).filter(|(old, _)| old.digest != spec.digest && old.id == spec.id);
        let mut verdict = judge(config, versions, models, &bound.running, &spec);
        if let (Verdict::Runs(_), Some((old, _))) = (&verdict, &edited)
            && let Some(key) = spec.fixed_key_changed(old)
        {
            let why = format!("{key} may not change while the experiment runs: conclude it, and start another id");
            verdict = Verdict::Invalid(why);
        }
        let (mut spec, mut text) = (spec, text);
        if let Verdict::Waits(why) | Verdict::Invalid(why) = &verdict
            && let Some((old, old_text)) = edited
            && let runs @ Verdict::Runs(_) = judge(config, versions, models, &bound.running, &old)
        {
            status.error = Some(format!("the edit is not applied: {why}"));
            (spec, text, verdict) = (old, old_text, runs);
        }
        status.id = spec.id.to_string();
        match verdict {
            Verdict::Runs(running) => {
                status.state = ExperimentState::Running;
                status.phase = 1;
                status.stale = status.error.is_some();
                status.why = format!("applied; coverage {} of its slot", spec.coverage);
                bound.applied.push((candidate.path, Arc::clone(&spec), text.clone()));
                bound.running.entry(spec.decision_point.clone()).or_default().push(*running);
            }
            Verdict::Waits(why) => {
                status.state = ExperimentState::Waiting;
                status.why = why;
            }
            Verdict::Invalid(why) => {
                status.why = "the spec does not fit the deployment".to_owned();
                status.error = Some(why);
            }
        }
        status.spec = Some(spec);
        status.source = Some(text);
        bound.statuses.push(status);
    }
    bound
}

fn judge(
    config: &Config,
    versions: &Versions,
    models: &ModelSet,
    running: &HashMap<Name, Vec<RunningExperiment>>,
    spec: &Experiment,
) -> Verdict {
    let Some(point) = config.points.get(&spec.decision_point) else {
        let known: Vec<&str> = config.points.keys().map(|p| &**p).collect();
        return Verdict::Invalid(format!(
            "decision_point = \"{}\" is not known; known: {}",
            spec.decision_point,
            known.join(", ")
        ));
    };
    if let Some(unit) = spec.unit.as_ref().filter(|unit| **unit != point.layer.unit) {
        return Verdict::Invalid(format!(
            "unit = \"{unit}\"; layer '{}' randomizes by {}",
            point.layer.name, point.layer.unit
        ));
    }
    // Slots are of a layer, which several decision points may share.
    let in_layer =
        running.iter().filter(|(other, _)| config.points.get(*other).is_some_and(|p| p.layer.name == point.layer.name));
    for other in in_layer.flat_map(|(_, running)| running) {
        if spec.slot[0] < other.slot[1] && other.slot[0] < spec.slot[1] {
            return Verdict::Invalid(format!(
                "slot = {:?} overlaps that of '{}', {:?}; slots of a layer are disjoint",
                spec.slot, other.id, other.slot
            ));
        }
    }
    let schema = PointSchema { context: &point.context, entities: &point.entities, views: &config.views };
    let eligible = match spec.eligible.as_ref().map(|source| Predicate::compile(source, &schema)).transpose() {
        Ok(eligible) => eligible,
        Err(error) => return Verdict::Invalid(format!("eligible: {error}")),
    };
    let mut arms = Vec::with_capacity(spec.arms.len());
    for arm in &spec.arms {
        let Some(plugin) = versions.get(&arm.strategy) else {
            return Verdict::Waits(format!(
                "arm '{}': strategy {} is not there; {}",
                arm.name,
                arm.strategy,
                listed(versions)
            ));
        };
        let bound = bind_arm(
            &arm.name,
            Arc::clone(plugin),
            &arm.parameters,
            arm.weight,
            &schema,
            &spec.decision_point,
            &point.actions,
            models,
            config.limits,
        );
        match bound {
            Ok(arm) => arms.push(arm),
            Err(error) => return Verdict::Invalid(format!("arm '{}': {error}", arm.name)),
        }
    }
    if spec.manual_start {
        return Verdict::Waits(
            "start = \"manual\": starting by command is not supported yet; use start = \"on_apply\"".to_owned(),
        );
    }
    Verdict::Runs(Box::new(RunningExperiment {
        id: spec.id.clone(),
        slot: spec.slot,
        coverage: spec.coverage,
        phase: 1,
        spec_digest: spec.digest.clone(),
        salt: spec.salt.clone(),
        eligible,
        arms,
    }))
}

fn listed(versions: &Versions) -> String {
    let known: Vec<String> = versions.keys().map(ToString::to_string).collect();
    format!("loaded: {}", if known.is_empty() { "none".to_owned() } else { known.join(", ") })
}
