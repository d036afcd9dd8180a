//! Binding experiment specs to the versions that they name.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use serin_core::Name;
use serin_core::experiment::{Experiment, State, Status};
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
    life: impl Fn(&str) -> Status,
) -> Bound {
    // Who is in force keeps its slot: a new file must not take it by sorting first.
    candidates.sort_by_key(|candidate| match (before(&candidate.path), &candidate.spec) {
        (Some((old, _)), Some((spec, _))) if old.digest == spec.digest => 0,
        (Some(_), _) => 1,
        (None, _) => 2,
    });
    let mut bound = Bound { running: HashMap::new(), statuses: Vec::new(), applied: Vec::new() };
    let mut slots = Vec::new();
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
            status: Status::default(),
            stale: false,
        };
        let Some((spec, text)) = candidate.spec else {
            status.why = "the file has a mistake, and nothing was applied before".to_owned();
            bound.statuses.push(status);
            continue;
        };
        let edited = before(&candidate.path).filter(|(old, _)| old.digest != spec.digest && old.id == spec.id);
        let mut now = effective(&spec, life(&spec.id));
        let mut verdict = judge(config, versions, models, &slots, &spec, &now);
        if let (Verdict::Runs(_), Some((old, _))) = (&verdict, &edited)
            && let Some(key) = spec.fixed_key_changed(old)
        {
            let why = format!("{key} may not change while the experiment runs: conclude it, and start another id");
            verdict = Verdict::Invalid(why);
        }
        let (mut spec, mut text) = (spec, text);
        if let Verdict::Waits(why) | Verdict::Invalid(why) = &verdict
            && let Some((old, old_text)) = edited
            && let runs @ Verdict::Runs(_) = judge(config, versions, models, &slots, &old, &now)
        {
            now = effective(&old, life(&old.id));
            status.error = Some(format!("the edit is not applied: {why}"));
            (spec, text, verdict) = (old, old_text, runs);
        }
        status.id = spec.id.to_string();
        match verdict {
            Verdict::Runs(running) => {
                status.state = ExperimentState::Life(now.state);
                status.stale = status.error.is_some();
                status.why = why(&spec, &now);
                bound.applied.push((candidate.path, Arc::clone(&spec), text.clone()));
                slots.push(Held::of(config, &spec, &now));
                if now.state.takes_units() {
                    bound.running.entry(spec.decision_point.clone()).or_default().push(*running);
                }
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
        status.status = now;
        status.source = Some(text);
        bound.statuses.push(status);
    }
    bound
}

/// The status that a spec has once it is in force, and which is recorded then.
fn effective(spec: &Experiment, status: Status) -> Status {
    let due = status.due(spec).and_then(|command| status.after(&command, spec, status.since_ms).ok());
    due.unwrap_or(status)
}

fn why(spec: &Experiment, now: &Status) -> String {
    let step = || match spec.ramp.len() {
        1 => String::new(),
        steps => format!(", step {} of {steps}", now.step + 1),
    };
    match now.state {
        State::Draft => format!("applied; waits for: serin experiment start {} --reason TEXT", spec.id),
        State::Running => format!("applied; coverage {} of its slot{}", now.coverage(spec), step()),
        State::Paused => format!("its ramp stands still; coverage {} of its slot{}", now.coverage(spec), step()),
        State::Aborted => "ended: everybody is on the pinned strategy".to_owned(),
        State::Concluded => format!(
            "ended, arm '{}' won: everybody is on the pinned strategy until serin.toml pins another",
            now.winner.as_deref().unwrap_or_default()
        ),
    }
}

/// A part of a layer that a new experiment cannot have.
struct Held {
    layer: Name,
    slot: [f64; 2],
    id: Name,
    note: String,
}

impl Held {
    fn of(config: &Config, spec: &Experiment, now: &Status) -> Self {
        let layer = config.points.get(&spec.decision_point).map(|point| point.layer.name.clone()).unwrap_or_default();
        let longest = spec.metrics.iter().map(|metric| metric.window_ms + metric.lag_ms).max().unwrap_or(0);
        // What it did to its units lasts: in a new experiment it would be noise.
        let note = now.ended_ms.map_or_else(String::new, |_| {
            let days = longest as f64 / 86_400_000.0;
            format!("; it has ended: remove its file when its longest window, {days:.1} days, has passed")
        });
        Self { layer, slot: spec.slot, id: spec.id.clone(), note }
    }
}

fn judge(
    config: &Config,
    versions: &Versions,
    models: &ModelSet,
    slots: &[Held],
    spec: &Experiment,
    now: &Status,
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
    for other in slots.iter().filter(|other| other.layer == point.layer.name) {
        if !now.state.is_ended() && spec.slot[0] < other.slot[1] && other.slot[0] < spec.slot[1] {
            return Verdict::Invalid(format!(
                "slot = {:?} overlaps that of '{}', {:?}; slots of a layer are disjoint{}",
                spec.slot, other.id, other.slot, other.note
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
    Verdict::Runs(Box::new(RunningExperiment {
        id: spec.id.clone(),
        slot: spec.slot,
        coverage: now.coverage(spec),
        phase: now.phase,
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
