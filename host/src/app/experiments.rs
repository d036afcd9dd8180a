//! Binds experiment specs to the versions that they name.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use serin_core::Name;
use serin_core::experiment::{self, Attribute, Experiment, Quantity, Source, State, Status};
use serin_core::expression::Predicate;
use serin_core::manifest::CONTEXT_VIEW;
use serin_core::value::ValueType;

use crate::config::Config;
use crate::decide::{self, BindTarget, RunningExperiment, ShadowArm, ShippedArm, batch_salt};
use crate::deployment::{PointSchema, PointSpec};
use crate::experiments::{Candidate, ExperimentState, ExperimentStatus, Life};
use crate::files;
use crate::models::ModelSet;
use crate::registry::VersionsByPin;

/// The experiments in force by decision point, and the status of all.
pub(super) struct Bound {
    pub running: HashMap<Name, Vec<RunningExperiment>>,
    pub statuses: Vec<ExperimentStatus>,
    /// The specs in force, to be recorded and archived.
    pub applied: Vec<(PathBuf, Arc<Experiment>, String)>,
}

/// The statuses with which experiments are bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Statuses {
    /// The statuses once the commands that follow from the files are recorded: for a trial build.
    Due,
    /// The recorded statuses: for the deployment to put in force.
    Recorded,
}

enum Binding {
    Runs(Box<RunningExperiment>),
    Waits(String),
    Invalid(String),
}

/// Binds each candidate. A new spec that cannot be applied leaves `before` in force. Experiments
/// whose file is `gone` keep their slots until their carry-over effects have passed.
#[allow(clippy::too_many_arguments, reason = "a composition root takes the parts that it composes")]
pub(super) fn bind(
    config: &Config,
    versions: &VersionsByPin,
    models: &ModelSet,
    mut candidates: Vec<Candidate>,
    before: impl Fn(&PathBuf, Option<&str>) -> Option<(Arc<Experiment>, String)>,
    life: impl Fn(&Experiment, &str) -> Life,
    gone: &[(Arc<Experiment>, Status)],
    which: Statuses,
    now_ms: u64,
) -> Bound {
    let now_of = |life: &Life| match which {
        Statuses::Due => life.due.clone(),
        Statuses::Recorded => life.status.clone(),
    };
    // Experiments in force keep their slots: a new file must not take one by sorting first.
    let known = |candidate: &Candidate| before(&candidate.path, candidate.spec.as_ref().map(|(spec, _)| &*spec.id));
    candidates.sort_by_key(|candidate| match (known(candidate), &candidate.spec) {
        (Some((old, _)), Some((spec, _))) if old.digest == spec.digest => 0,
        (Some(_), _) => 1,
        (None, _) => 2,
    });
    let mut bound = Bound { running: HashMap::new(), statuses: Vec::new(), applied: Vec::new() };
    let is_gone = |spec: &Experiment| !candidates.iter().any(|c| c.spec.as_ref().is_some_and(|(s, _)| s.id == spec.id));
    let gone = gone.iter().filter(|(spec, _)| is_gone(spec));
    let mut slots: Vec<HeldSlot> =
        gone.filter_map(|(spec, status)| HeldSlot::of(config, spec, status, now_ms, true)).collect();
    let pin_of = |spec: &Experiment| {
        config.points.get(&spec.decision_point).map(|point| point.strategy.to_string()).unwrap_or_default()
    };
    for candidate in candidates {
        let file = files::shown_name(&candidate.path);
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
        let edited =
            before(&candidate.path, Some(&spec.id)).filter(|(old, _)| old.digest != spec.digest && old.id == spec.id);
        let mut life_now = life(&spec, &pin_of(&spec));
        let mut now = now_of(&life_now);
        let mut verdict = judge(config, versions, models, &slots, &spec, &now);
        // A draft has no units, so everything may change.
        if let (Binding::Runs(_), Some((old, _))) = (&verdict, &edited)
            && now.started_ms.is_some()
            && let Some(key) = spec.fixed_key_changed(old)
        {
            let why = format!("{key} may not change while the experiment runs: conclude it, and start another id");
            verdict = Binding::Invalid(why);
        }
        let (mut spec, mut text) = (spec, text);
        if let Binding::Waits(why) | Binding::Invalid(why) = &verdict
            && let Some((old, old_text)) = edited
            && let runs @ Binding::Runs(_) = judge(config, versions, models, &slots, &old, &now)
        {
            life_now = life(&old, &pin_of(&old));
            now = now_of(&life_now);
            status.error = Some(format!("the edit is not applied: {why}"));
            (spec, text, verdict) = (old, old_text, runs);
        }
        status.id = spec.id.to_string();
        match verdict {
            Binding::Runs(running) => {
                status.state = ExperimentState::Life(now.state);
                status.stale = status.error.is_some();
                status.why = why(&spec, &now, life_now.lacks.as_deref());
                if which == Statuses::Recorded && life_now.due != life_now.status {
                    let error = "what its file asks for could not be recorded, and is tried again".to_owned();
                    status.error = status.error.or(Some(error));
                }
                bound.applied.push((candidate.path, Arc::clone(&spec), text.clone()));
                slots.extend(HeldSlot::of(config, &spec, &now, now_ms, false));
                if now.state.takes_units() {
                    bound.running.entry(spec.decision_point.clone()).or_default().push(*running);
                }
            }
            Binding::Waits(why) => {
                status.state = ExperimentState::Waiting;
                status.why = why;
            }
            Binding::Invalid(why) => {
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

fn why(spec: &Experiment, now: &Status, lacks: Option<&str>) -> String {
    let step = || match spec.ramp.len() {
        1 => String::new(),
        steps => format!(", step {} of {steps}", now.step + 1),
    };
    if let Some(lacks) = lacks {
        return format!("applied; waits for approval: {lacks}; give it with serin experiment approve {}", spec.id);
    }
    match now.state {
        State::Draft => format!("applied; waits for: serin experiment start {} --reason TEXT", spec.id),
        State::Running => format!("applied; coverage {} of its slot{}", now.coverage(spec), step()),
        State::Paused if now.withdrawn => {
            "the winner was taken back for harm: everybody is on the pinned strategy until somebody decides".to_owned()
        }
        State::Paused => format!("its ramp stands still; coverage {} of its slot{}", now.coverage(spec), step()),
        State::Aborted => "ended: everybody is on the pinned strategy".to_owned(),
        State::Shipped => format!(
            "arm '{}' serves its slot, but for {} of it that is held back, until serin.toml pins another version than {}",
            now.winner.as_deref().unwrap_or_default(),
            spec.holdback,
            now.pin.as_deref().unwrap_or_default()
        ),
        State::Concluded => format!(
            "ended, arm '{}' won: everybody is on the pinned strategy until serin.toml pins another",
            now.winner.as_deref().unwrap_or_default()
        ),
    }
}

/// A part of a layer that is not available to a new experiment.
struct HeldSlot {
    layer: Name,
    slot: [f64; 2],
    id: Name,
    note: String,
    /// The experiment takes no more units.
    is_free_for_reuse: bool,
}

impl HeldSlot {
    /// None if it and its carry-over effects have ended.
    fn of(config: &Config, spec: &Experiment, now: &Status, now_ms: u64, is_gone: bool) -> Option<Self> {
        let layer = config.points.get(&spec.decision_point).map(|point| point.layer.name.clone()).unwrap_or_default();
        // Its carry-over effects would be noise in a new experiment.
        let free_ms = now.ended_ms.map(|ended| ended.saturating_add(spec.longest_ms()));
        let note = match free_ms {
            Some(free_ms) if free_ms <= now_ms => return None,
            Some(free_ms) => {
                let at = jiff::Timestamp::from_millisecond(free_ms as i64).map(|t| t.to_string()).unwrap_or_default();
                format!("; it has ended, and its effects last until {at}: wait, or say reuse_slot = true")
            }
            // An experiment that never took a unit has no carry-over effects.
            None if is_gone && now.started_ms.is_none() => return None,
            None if is_gone => "; its file is gone, and it has not ended: put the file back and abort it, \
                                or say reuse_slot = true"
                .to_owned(),
            None => String::new(),
        };
        let is_free_for_reuse = is_gone || now.ended_ms.is_some();
        Some(Self { layer, slot: spec.slot, id: spec.id.clone(), note, is_free_for_reuse })
    }
}

fn judge(
    config: &Config,
    versions: &VersionsByPin,
    models: &ModelSet,
    slots: &[HeldSlot],
    spec: &Experiment,
    now: &Status,
) -> Binding {
    // A panic in binding one spec affects only that spec.
    serin_core::caught(|| Ok(fit(config, versions, models, slots, spec, now))).unwrap_or_else(Binding::Invalid)
}

/// Checks a spec against the deployment.
fn fit(
    config: &Config,
    versions: &VersionsByPin,
    models: &ModelSet,
    slots: &[HeldSlot],
    spec: &Experiment,
    now: &Status,
) -> Binding {
    let Some(point) = config.points.get(&spec.decision_point) else {
        let known: Vec<&str> = config.points.keys().map(|p| &**p).collect();
        return Binding::Invalid(format!(
            "decision_point = \"{}\" is not known; known: {}",
            spec.decision_point,
            known.join(", ")
        ));
    };
    if let Some(unit) = spec.unit.as_ref().filter(|unit| **unit != point.layer.unit) {
        return Binding::Invalid(format!(
            "unit = \"{unit}\"; layer '{}' randomizes by {}",
            point.layer.name, point.layer.unit
        ));
    }
    if let Err(why) = check_slot(point, slots, spec, now) {
        return Binding::Invalid(why);
    }
    let schema = PointSchema { context: &point.context, entities: &point.entities, views: &config.views };
    let eligible = match spec.eligible.as_ref().map(|source| Predicate::compile(source, &schema)).transpose() {
        Ok(eligible) => eligible,
        Err(error) => return Binding::Invalid(format!("eligible: {error}")),
    };
    let (actions, allowed) = (&point.actions, config.limits);
    let target = BindTarget { point: &spec.decision_point, schema, actions, models, allowed };
    let (arms, shadows) = match bind_arms(versions, &target, spec, now) {
        Ok(bound) => bound,
        Err(binding) => return binding,
    };
    if let Err(why) = check_attributes(config, point, spec, &arms, &shadows) {
        return Binding::Invalid(why);
    }
    let position = |name: &str| spec.arms.iter().position(|arm| *arm.name == *name);
    let winner = now.winner.as_deref().filter(|_| now.state == State::Shipped).and_then(position);
    let shipped = winner.map(|winner| ShippedArm { winner, control: spec.control_at(), holdback: spec.holdback });
    Binding::Runs(Box::new(RunningExperiment {
        id: spec.id.clone(),
        slot: spec.slot,
        coverage: now.applied,
        phase: now.phase,
        spec_digest: spec.digest.clone(),
        salt: batch_salt(&spec.salt, now.batch()),
        batch: now.batch(),
        shipped,
        eligible,
        arms,
        shadows,
        attributes: spec.attributes().into(),
    }))
}

/// Slots of a layer must not overlap. Several decision points may share a layer.
fn check_slot(point: &PointSpec, slots: &[HeldSlot], spec: &Experiment, now: &Status) -> Result<(), String> {
    if now.state.is_ended() {
        return Ok(());
    }
    let holds = |other: &&HeldSlot| !(spec.reuse_slot && other.is_free_for_reuse);
    let mut others = slots.iter().filter(|other| other.layer == point.layer.name).filter(holds);
    match others.find(|other| spec.slot[0] < other.slot[1] && other.slot[0] < spec.slot[1]) {
        Some(other) => Err(format!(
            "slot = {:?} overlaps that of '{}', {:?}; slots of a layer are disjoint{}",
            spec.slot, other.id, other.slot, other.note
        )),
        None => Ok(()),
    }
}

/// Binds the arms and shadow arms, or returns why one of them cannot run.
fn bind_arms(
    versions: &VersionsByPin,
    target: &BindTarget<'_>,
    spec: &Experiment,
    now: &Status,
) -> Result<(Vec<decide::Arm>, Vec<ShadowArm>), Binding> {
    let bind = |arm: &experiment::Arm, weight: f64| {
        let Some(plugin) = versions.get(&arm.strategy) else {
            let listed = listed(versions);
            return Err(Binding::Waits(format!(
                "arm '{}': strategy {} is not there; {listed}",
                arm.name, arm.strategy
            )));
        };
        let bound = target.bind(&arm.name, Arc::clone(plugin), &arm.parameters, weight);
        bound.map_err(|error| Binding::Invalid(format!("arm '{}': {error}", arm.name)))
    };
    let weights = now.weights(spec);
    let arms = spec.arms.iter().zip(weights).map(|(arm, weight)| bind(arm, weight)).collect::<Result<_, _>>()?;
    let shadow = |shadow: &experiment::Shadow| {
        let salt = format!("{}/shadow/{}", spec.salt, shadow.arm.name);
        bind(&shadow.arm, 0.0).map(|arm| ShadowArm { arm, sample: shadow.sample, salt })
    };
    Ok((arms, spec.shadows.iter().map(shadow).collect::<Result<_, _>>()?))
}

/// Checks the attributes of the analysis: they must be declared, covariates must be numeric, and no
/// strategy may read a fairness attribute.
fn check_attributes(
    config: &Config,
    point: &PointSpec,
    spec: &Experiment,
    arms: &[decide::Arm],
    shadows: &[ShadowArm],
) -> Result<(), String> {
    let type_of = |attribute: &Attribute| match &*attribute.view {
        CONTEXT_VIEW => point.context.get(&attribute.name).map(|field| field.value_type),
        view => {
            let view = config.views.get(view).filter(|view| point.entities.contains(&view.entity))?;
            view.columns.get(&attribute.name).copied()
        }
    };
    for attribute in spec.attributes() {
        if type_of(&attribute).is_none() {
            let views = config.views.values().filter(|view| point.entities.contains(&view.entity));
            let mut known: Vec<String> = views
                .flat_map(|view| view.columns.keys().map(|column| format!("features.{}.{column}", view.name)))
                .chain(point.context.keys().map(|key| format!("context.{key}")))
                .collect();
            known.sort();
            return Err(format!(
                "{attribute} is not declared at '{}'; declared: {}",
                spec.decision_point,
                known.join(", ")
            ));
        }
    }
    for (metric, covariate) in spec.metrics.iter().flat_map(|m| m.cuped.iter().map(move |covariate| (m, covariate))) {
        if type_of(covariate) == Some(ValueType::Text) {
            return Err(format!(
                "metric '{}': cuped: {covariate} is text; valid: a number, an integer or a boolean",
                metric.name
            ));
        }
    }
    for metric in &spec.metrics {
        let measures = match &metric.quantity {
            Quantity::Mean(measure) => vec![measure],
            Quantity::Ratio(numerator, denominator) => vec![numerator, denominator],
        };
        let actions = measures.into_iter().filter(|measure| measure.source == Source::Decisions);
        if let Some(action) = actions.filter_map(|m| m.outcome.as_ref()).find(|action| !point.actions.contains(action))
        {
            return Err(format!(
                "metric '{}': outcome = \"{action}\" is no action of '{}', and with source = \"decisions\" it names \
                 one; its actions: {}",
                metric.name,
                spec.decision_point,
                point.actions.iter().map(|action| &**action).collect::<Vec<_>>().join(", ")
            ));
        }
    }
    for fairness in &spec.fairness {
        if let Some(action) = fairness.adverse.iter().find(|action| !point.actions.contains(action)) {
            let valid = point.actions.iter().map(|action| &**action).collect::<Vec<_>>().join(", ");
            return Err(format!("fairness: adverse_actions: '{action}'; valid: {valid}"));
        }
        let attribute = &fairness.attribute;
        let reads = |arm: &&decide::Arm| {
            let mut features = arm.plugin.manifest().features.iter();
            features.any(|feature| feature.view == attribute.view && feature.name == attribute.name)
        };
        if let Some(arm) = arms.iter().chain(shadows.iter().map(|shadow| &shadow.arm)).find(reads) {
            return Err(format!(
                "fairness: {attribute} is read by arm '{}': what is monitored is nobody's to decide by",
                arm.name
            ));
        }
    }
    Ok(())
}

fn listed(versions: &VersionsByPin) -> String {
    let known: Vec<String> = versions.keys().map(ToString::to_string).collect();
    format!("loaded: {}", if known.is_empty() { "none".to_owned() } else { known.join(", ") })
}
