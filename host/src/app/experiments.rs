//! Binds experiment specs to the versions that they name.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use serin_core::Name;
use serin_core::experiment::{self, Experiment, State, Status};
use serin_core::expression::Predicate;
use serin_core::numbers::percent;

use super::declared::Declarations;
use super::held_slots::{HeldSlot, check_slot};
use crate::config::Config;
use crate::decide::{
    self, BindTarget, RewardWindows, RoutedExperiment, RunningExperiment, ShadowArm, ShippedArm, batch_salt,
};
use crate::deployment::{PointSchema, PointSpec};
use crate::experiments::{
    ExperimentState, ExperimentStatus, Life, PendingEdit, SpecCandidate, next_commands, refusal, rule_changes,
};
use crate::files;
use crate::models::ModelSet;
use crate::registry::{Unserved, VersionsByPin, absent};

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

/// The specs in force before, by file; where the id is given, also under another file name.
type Before<'a> = dyn Fn(&PathBuf, Option<&str>) -> Option<(Arc<Experiment>, String)> + 'a;

/// The open windows of an experiment with this spec and status; none if its shares are fixed.
type Windows<'a> = dyn Fn(&Experiment, &Status) -> Result<Option<RewardWindows>, String> + 'a;

/// What experiments are bound to, and where they stand.
pub(super) struct Binder<'a> {
    pub config: &'a Config,
    pub versions: &'a VersionsByPin,
    /// The versions that are being loaded or were refused.
    pub unserved: &'a Unserved,
    pub models: &'a Arc<ModelSet>,
    /// The spec that was in force before, by file and id.
    pub before: &'a Before<'a>,
    /// Where an experiment stands, by its spec and the version that its decision point is pinned to.
    pub life: &'a dyn Fn(&Experiment, &str) -> Life,
    /// Whether an experiment ever enrolled a unit.
    pub has_entered: &'a dyn Fn(&str) -> bool,
    /// Experiments whose files are gone. They hold their slots until their effects have passed.
    pub gone: &'a [(Arc<Experiment>, Status)],
    pub which: Statuses,
    pub now_ms: u64,
    /// The open windows of an experiment with adaptive shares, which may have to be read from the
    /// ledger.
    pub windows: &'a Windows<'a>,
}

/// A candidate's spec, held to the deployment.
struct Judged {
    spec: Arc<Experiment>,
    text: String,
    life: Life,
    status: Status,
    verdict: Binding,
    /// Why an edit is not applied, and the spec before it is judged instead.
    error: Option<String>,
    /// The edit, if a person's decision is all that it lacks.
    pending: Option<PendingEdit>,
    /// The file was edited after the experiment had ended.
    is_over: bool,
}

/// What keeps an edit from being applied.
struct Unapplied {
    why: String,
    pending: Option<PendingEdit>,
}

impl Binder<'_> {
    /// Binds each candidate. A new spec that cannot be applied leaves the one before in force.
    pub(super) fn bind(&self, mut candidates: Vec<SpecCandidate>) -> Bound {
        // An experiment in force keeps its slot: a new file must not take it by sorting first.
        candidates.sort_by_key(|candidate| {
            let id = candidate.spec.as_ref().map(|(spec, _)| &*spec.id);
            match ((self.before)(&candidate.path, id), &candidate.spec) {
                (Some((old, _)), Some((spec, _))) if old.digest == spec.digest => 0,
                (Some(_), _) => 1,
                (None, _) => 2,
            }
        });
        let mut bound = Bound { running: HashMap::new(), statuses: Vec::new(), applied: Vec::new() };
        let is_there = |id: &str| candidates.iter().any(|c| c.spec.as_ref().is_some_and(|(spec, _)| *spec.id == *id));
        let gone = self.gone.iter().filter(|(spec, _)| !is_there(&spec.id));
        let mut slots: Vec<HeldSlot> = gone.filter_map(|(spec, status)| self.held_slot(spec, status, true)).collect();
        for candidate in candidates {
            let status = self.bind_candidate(candidate, &mut slots, &mut bound);
            bound.statuses.push(status);
        }
        bound
    }

    fn held_slot(&self, spec: &Experiment, status: &Status, is_gone: bool) -> Option<HeldSlot> {
        HeldSlot::of(self.config, spec, status, self.now_ms, is_gone, self.has_entered)
    }

    fn bind_candidate(
        &self,
        candidate: SpecCandidate,
        slots: &mut Vec<HeldSlot>,
        bound: &mut Bound,
    ) -> ExperimentStatus {
        let mut status = ExperimentStatus {
            id: candidate.path.file_stem().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default(),
            file: files::shown_name(&candidate.path),
            state: ExperimentState::Invalid,
            why: String::new(),
            error: candidate.error,
            spec: None,
            source: None,
            pending: None,
            status: Status::default(),
            stale: false,
        };
        let Some((spec, text)) = candidate.spec else {
            let error = status.error.as_deref().unwrap_or_default();
            status.why = format!("the file has a mistake, and nothing is in force by it: {error}");
            return status;
        };
        let Judged { spec, text, life, status: now, verdict, error, pending, is_over } =
            self.judge_edit(&candidate.path, spec, text, slots);
        status.pending = pending;
        status.error = error.or(status.error);
        // A mistake in the file of what has ended keeps nothing from being in force.
        let is_over = is_over || (now.state.is_ended() && status.error.take().is_some());
        status.id = spec.id.to_string();
        match verdict {
            Binding::Runs(running) => {
                status.state = ExperimentState::Life(now.state);
                status.stale = status.error.is_some();
                let point = self.config.points.get(&spec.decision_point);
                status.why = why(&spec, &now, &life, point);
                if is_over {
                    status.why.push_str("; its file was edited since, which changes nothing any more");
                }
                if self.which == Statuses::Recorded && life.due != life.status {
                    let error = "what its file asks for could not be recorded, and is tried again".to_owned();
                    status.error = status.error.or(Some(error));
                }
                bound.applied.push((candidate.path, Arc::clone(&spec), text.clone()));
                slots.extend(self.held_slot(&spec, &now, false));
                if now.state.takes_units() {
                    bound.running.entry(spec.decision_point.clone()).or_default().push(*running);
                }
            }
            Binding::Waits(why) => {
                status.state = ExperimentState::Waiting;
                status.why = why;
            }
            Binding::Invalid(why) => {
                status.why = format!("the spec does not fit the deployment: {why}");
                status.error = Some(why);
            }
        }
        status.spec = Some(spec);
        status.status = now;
        status.source = Some(text);
        status
    }

    /// Judges a spec, and the one that was in force before where the new one cannot be applied.
    fn judge_edit(&self, path: &PathBuf, spec: Arc<Experiment>, text: String, slots: &[HeldSlot]) -> Judged {
        let edited =
            (self.before)(path, Some(&spec.id)).filter(|(old, _)| old.digest != spec.digest && old.id == spec.id);
        let (life, status) = self.life_of(&spec);
        // What has ended stays as it was.
        if let Some((old, text)) = edited.as_ref().filter(|_| life.status.state.is_ended()) {
            let (spec, text) = (Arc::clone(old), text.clone());
            let (life, status) = self.life_of(&spec);
            let verdict = self.judge(slots, &spec, &status);
            return Judged { spec, text, life, status, verdict, error: None, pending: None, is_over: true };
        }
        let mut verdict = self.judge(slots, &spec, &status);
        let mut pending = None;
        if let (Binding::Runs(_), Some((old, _))) = (&verdict, &edited)
            && let Some(unapplied) = self.unapplied(old, &spec, &life.status)
        {
            verdict = Binding::Invalid(unapplied.why);
            pending = unapplied.pending;
        }
        if let Binding::Waits(why) | Binding::Invalid(why) = &verdict
            && let Some((old, old_text)) = edited
            && let runs @ Binding::Runs(_) = self.judge(slots, &old, &status)
        {
            let error = Some(format!("the edit is not applied: {why}"));
            let (life, status) = self.life_of(&old);
            return Judged { spec: old, text: old_text, life, status, verdict: runs, error, pending, is_over: false };
        }
        Judged { spec, text, life, status, verdict, error: None, pending, is_over: false }
    }

    /// Why an edit of a running experiment is not applied. A draft has no units, so everything may
    /// change.
    fn unapplied(&self, old: &Experiment, spec: &Arc<Experiment>, status: &Status) -> Option<Unapplied> {
        status.started_ms?;
        if let Some(key) = spec.fixed_key_changed(old) {
            let why = format!("{key} may not change while the experiment runs: conclude it, and start another id");
            return Some(Unapplied { why, pending: None });
        }
        let changes = rule_changes(old, spec, status);
        if let Some(why) = refusal(spec, status, &changes) {
            let pending = PendingEdit { spec: Arc::clone(spec), changes, in_force: old.digest.clone() };
            return Some(Unapplied { why, pending: status.state.takes_units().then_some(pending) });
        }
        // It is recorded before it is in force.
        (self.which == Statuses::Recorded && !changes.is_empty()).then(|| Unapplied {
            why: "its changes of the rule could not be recorded, and are tried again".to_owned(),
            pending: None,
        })
    }

    /// Where an experiment stands, and the status of it that is bound.
    fn life_of(&self, spec: &Experiment) -> (Life, Status) {
        let point = self.config.points.get(&spec.decision_point);
        let pin = point.map(PointSpec::pinned).unwrap_or_default();
        let life = (self.life)(spec, &pin);
        let status = match self.which {
            Statuses::Due => life.due.clone(),
            Statuses::Recorded => life.status.clone(),
        };
        (life, status)
    }

    fn judge(&self, slots: &[HeldSlot], spec: &Experiment, now: &Status) -> Binding {
        // A panic in binding one spec affects only that spec.
        serin_core::caught(|| Ok(self.fit(slots, spec, now).unwrap_or_else(|unfit| unfit)))
            .unwrap_or_else(Binding::Invalid)
    }

    /// Checks a spec against the deployment.
    fn fit(&self, slots: &[HeldSlot], spec: &Experiment, now: &Status) -> Result<Binding, Binding> {
        let config = self.config;
        let point = self.point_of(spec).map_err(Binding::Invalid)?;
        check_slot(point, slots, spec, now).map_err(Binding::Invalid)?;
        let schema = PointSchema { context: &point.context, entities: &point.entities, views: &config.views };
        let eligible = spec.eligible.as_ref().map(|source| Predicate::compile(source, &schema)).transpose();
        let eligible = eligible.map_err(|error| Binding::Invalid(format!("eligible: {error}")))?;
        let (actions, models, allowed) = (&point.actions, self.models, config.limits);
        let target = BindTarget { point: &spec.decision_point, schema, actions, models, allowed };
        let (arms, shadows) = bind_arms((self.versions, self.unserved), &target, spec, now)?;
        Declarations { config, point, spec }.check(&arms, &shadows).map_err(Binding::Invalid)?;
        let position = |name: &str| spec.arms.iter().position(|arm| *arm.name == *name);
        let winner = now.winner.as_deref().filter(|_| now.state == State::Shipped).and_then(position);
        let shipped = winner.map(|winner| ShippedArm { winner, control: spec.control_at(), holdback: spec.holdback });
        let routed = RoutedExperiment {
            id: spec.id.clone(),
            slot: spec.slot,
            coverage: now.applied,
            phase: now.phase,
            spec_digest: spec.digest.clone(),
            salt: batch_salt(&spec.salt, now.batch()),
            batch: now.batch(),
            shipped,
            eligible,
            arms: arms.iter().map(|arm| (arm.name.clone(), arm.weight)).collect(),
            has_shadows: !shadows.is_empty(),
            dropped: now.dropped.clone(),
        };
        let windows = (self.windows)(spec, now).map_err(Binding::Waits)?;
        let (routed, attributes) = (Arc::new(routed), spec.attributes().into());
        Ok(Binding::Runs(Box::new(RunningExperiment { routed, arms, shadows, attributes, windows })))
    }

    /// The decision point of a spec, which randomizes by the spec's unit.
    fn point_of(&self, spec: &Experiment) -> Result<&PointSpec, String> {
        let Some(point) = self.config.points.get(&spec.decision_point) else {
            let known: Vec<&str> = self.config.points.keys().map(|p| &**p).collect();
            return Err(format!(
                "decision_point = \"{}\" is not known; known: {}",
                spec.decision_point,
                known.join(", ")
            ));
        };
        match &spec.unit {
            Some(unit) if *unit != point.layer.unit => {
                Err(format!("unit = \"{unit}\"; layer '{}' randomizes by {}", point.layer.name, point.layer.unit))
            }
            _ => Ok(point),
        }
    }
}

fn why(spec: &Experiment, now: &Status, life: &Life, point: Option<&PointSpec>) -> String {
    let step = || match spec.ramp.len() {
        1 => String::new(),
        steps => format!(", step {} of {steps}", now.step + 1),
    };
    if let Some(doubt) = &life.doubt {
        return format!("applied; waits until the clock is trusted (serin clock confirm --reason TEXT): {doubt}");
    }
    if let Some(lacks) = &life.lacks {
        return format!("applied; waits for approval: {lacks}{} {}", next_commands::APPROVE, spec.id);
    }
    match now.state {
        State::Draft => format!("applied; waits for: {}", next_commands::start(&spec.id)),
        State::Running => format!("applied; coverage {} of its slot{}", percent(now.coverage(spec)), step()),
        State::Paused if now.withdrawn => {
            "the winner was taken back for harm: everybody is on the pinned strategy until somebody decides".to_owned()
        }
        State::Paused => {
            format!("its ramp stands still; coverage {} of its slot{}", percent(now.coverage(spec)), step())
        }
        State::Aborted => "ended: everybody is on the pinned strategy".to_owned(),
        State::Shipped => format!(
            "arm '{}' serves its slot, but for {} of it that is held back, until serin.toml pins something else than {}",
            now.winner.as_deref().unwrap_or_default(),
            percent(spec.holdback),
            now.pin.as_deref().unwrap_or_default().trim_end_matches(" {}")
        ),
        State::Concluded => {
            let winner = now.winner.as_deref().unwrap_or_default();
            let won = spec.arms.iter().find(|arm| *arm.name == *winner);
            let is_pinned = |point: &&PointSpec| {
                won.is_some_and(|arm| arm.strategy == point.strategy && arm.parameters == point.parameters)
            };
            match point.filter(is_pinned) {
                Some(point) => format!("ended, arm '{winner}' won, and serin.toml pins it, {}", point.strategy),
                None => format!(
                    "ended, arm '{winner}' won: everybody is on the pinned strategy until serin.toml pins another"
                ),
            }
        }
    }
}

/// Binds the arms and shadow arms, or returns why one of them cannot run.
fn bind_arms(
    (versions, unserved): (&VersionsByPin, &Unserved),
    target: &BindTarget<'_>,
    spec: &Experiment,
    now: &Status,
) -> Result<(Vec<decide::BoundArm>, Vec<ShadowArm>), Binding> {
    let control = &spec.arms[spec.control_at()];
    let bind = |arm: &experiment::Arm, weight: f64| {
        // The units of a dropped arm stay in it, and have what control has.
        let served = if now.dropped.contains(&arm.name) { control } else { arm };
        let Some(plugin) = versions.get(&served.strategy) else {
            let absent = absent(&served.strategy, versions, unserved);
            return Err(Binding::Waits(format!("arm '{}': strategy {} {absent}", arm.name, served.strategy)));
        };
        let bound = target.bind(&arm.name, Arc::clone(plugin), &served.parameters, weight);
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
