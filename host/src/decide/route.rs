//! Routing: computes a unit's arm from ids, salts and specs alone.

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

use serin_core::NameMap;
use serin_core::allocation::{Place, Purpose, admitted, is_held_back, pick, place};
use serin_core::experiment::Experiment;
use serin_core::expression::{Reference, Scope};
use serin_core::record::{Assignment, FeatureRow, NotEnrolled, Record, Routing, RowStatus, Unit};
use serin_core::value::Value;

use super::{Force, Point, RequestError, RoutedExperiment, RoutingTable, RunningExperiment, ShippedArm, UnitBatch};

/// The values of a decision for expressions. A stale value is unknown.
pub(super) struct DecisionScope<'a> {
    entities: &'a NameMap<String>,
    context: &'a NameMap<Value>,
    features: &'a NameMap<FeatureRow>,
    /// The entities as values, built on demand: few expressions refer to one.
    ids: OnceLock<NameMap<Value>>,
}

impl<'a> DecisionScope<'a> {
    pub fn new(entities: &'a NameMap<String>, context: &'a NameMap<Value>, features: &'a NameMap<FeatureRow>) -> Self {
        Self { entities, context, features, ids: OnceLock::new() }
    }

    fn ids(&self) -> &NameMap<Value> {
        let ids = || self.entities.iter().map(|(kind, id)| (kind.clone(), Value::Text(id.clone()))).collect();
        self.ids.get_or_init(ids)
    }
}

static MISSING: Value = Value::Missing;

impl Scope for DecisionScope<'_> {
    fn value(&self, reference: &Reference) -> &Value {
        match reference {
            Reference::Context(name) => self.context.get(name.as_str()),
            Reference::Entity(kind) => self.ids().get(kind.as_str()),
            Reference::Feature(view, name) => self
                .features
                .get(view.as_str())
                .filter(|row| row.status_of(name) == RowStatus::Present)
                .and_then(|row| row.values.get(name.as_str())),
        }
        .unwrap_or(&MISSING)
    }

    fn is_there(&self, reference: &Reference) -> Option<bool> {
        if let Reference::Feature(view, name) = reference
            && let Some(row) = self.features.get(view.as_str())
            && matches!(row.status_of(name), RowStatus::Stale | RowStatus::Error)
        {
            return None;
        }
        Some(!self.value(reference).is_missing())
    }
}

/// The routing, and the positions in the table of the assigned arm and of the experiment whose
/// shadow arms may run.
pub(super) struct Routed {
    pub routing: Routing,
    pub experiment: Option<usize>,
    pub arm: Option<usize>,
}

/// Routes a decision. `batch_of` returns the batch of an admitted unit, by the position of its
/// experiment in the table and the unit's id; none for the one in force.
pub(super) fn route(
    table: &RoutingTable,
    entities: &NameMap<String>,
    known: &DecisionScope<'_>,
    force: Option<&Force>,
    batch_of: impl FnOnce(usize, &str) -> Option<UnitBatch>,
) -> Result<Routed, RequestError> {
    let layer = &table.layer;
    let unit = entities.get(&layer.unit).map(|id| Unit { kind: layer.unit.clone(), id: id.clone() });
    let mut routing = Routing { layer: layer.name.clone(), unit, ..Routing::default() };
    let forced = force.map(|force| forced(table, force)).transpose()?;
    let nobody = |routing| Ok(Routed { routing, arm: None, experiment: None });
    // A constraint takes precedence over everything, a forced arm included.
    if let Some(exclude) = &table.exclude {
        match exclude.evaluate(known) {
            Ok(false) => {}
            Ok(true) => routing.excluded = Some("excluded".to_owned()),
            // If it is unknown whether the constraint holds, the unit is excluded.
            Err(error) => routing.excluded = Some(error.to_string()),
        }
        if routing.excluded.is_some() {
            return nobody(routing);
        }
    }
    if let Some((experiment, arm)) = forced {
        routing.assignment = Some(assignment(&table.experiments[experiment], arm, None, true));
        return Ok(Routed { routing, arm: Some(arm), experiment: Some(experiment) });
    }
    let Some(id) = routing.unit.as_ref().map(|unit| unit.id.clone()) else { return nobody(routing) };
    let place_in_layer = place(Purpose::Layer, &layer.salt, &layer.unit, &id);
    routing.place = Some(place_in_layer.as_f64());
    let Some(at) = holder(&table.experiments, place_in_layer) else { return nobody(routing) };
    let experiment = &table.experiments[at];
    routing.held_out_globally = table.global_holdout.as_ref().is_some_and(|holdout| {
        let unit = entities.get(&holdout.unit);
        unit.is_some_and(|id| place(Purpose::Holdout, &holdout.salt, &holdout.unit, id).is_below(holdout.share))
    });
    routing.held_out =
        routing.held_out_globally || place(Purpose::Holdout, &layer.salt, &layer.unit, &id).is_below(layer.holdout);
    let [from, to] = admitted(experiment.slot, experiment.coverage);
    let is_admitted = place_in_layer.is_within(from, to);
    // Shadow arms run on the whole slot, so a version can be tried without exposing any unit.
    if routing.held_out || (!is_admitted && !experiment.has_shadows) {
        routing.held_out &= is_admitted;
        routing.held_out_globally &= is_admitted;
        return nobody(routing);
    }
    let why = match experiment.eligible.as_ref().map(|eligible| eligible.evaluate(known)) {
        None | Some(Ok(true)) => None,
        Some(Ok(false)) => Some("not_eligible".to_owned()),
        Some(Err(error)) => Some(error.to_string()),
    };
    if let Some(why) = why {
        routing.not_enrolled = is_admitted.then(|| NotEnrolled { experiment: experiment.id.clone(), why });
        return nobody(routing);
    }
    let batch = if is_admitted && experiment.batch.is_some() { batch_of(at, &id) } else { None };
    let batch = batch.filter(|batch| batch.shares.len() == experiment.arms.len());
    let arm = if is_admitted { drawn(experiment, batch.as_ref(), &layer.unit, &id) } else { None };
    routing.assignment = arm.map(|arm| assignment(experiment, arm, batch.as_ref(), false));
    Ok(Routed { routing, arm, experiment: Some(at) })
}

/// The experiment whose slot contains a place, by binary search. Slots are sorted and disjoint, so
/// there is at most one. No expression is evaluated before.
fn holder(experiments: &[Arc<RoutedExperiment>], place: Place) -> Option<usize> {
    let after = experiments.partition_point(|experiment| !place.is_below(experiment.slot[0]));
    let at = after.checked_sub(1)?;
    place.is_below(experiments[at].slot[1]).then_some(at)
}

impl RunningExperiment {
    /// The batch of a unit that has a decision at `now_ms`. With `enters`, the unit is remembered.
    pub(super) fn batch_of(&self, unit: &str, now_ms: u64, enters: bool) -> Option<UnitBatch> {
        let (windows, current) = (self.windows.as_ref()?, self.routed.batch?);
        windows.open.batch_of(unit, now_ms, current, windows.length_ms, enters)
    }
}

/// Routes a unit at a point, without making a decision; with adaptive shares by the batch in force.
///
/// # Errors
/// That a forced experiment or arm does not exist.
pub fn routing(
    point: &Point,
    entities: &NameMap<String>,
    context: &NameMap<Value>,
    features: &NameMap<FeatureRow>,
) -> Result<Routing, RequestError> {
    Ok(route(&point.routing, entities, &DecisionScope::new(entities, context, features), None, |_, _| None)?.routing)
}

/// Recomputes the routing of a record, with the table by which it was routed. A unit's batch is an
/// input: it is in the record.
///
/// # Errors
/// That a forced arm is not in the table.
pub fn route_again(table: &RoutingTable, record: &Record) -> Result<Routing, RequestError> {
    let known = DecisionScope::new(&record.entities, &record.context, &record.features);
    let by_hand = record.routing.assignment.as_ref().filter(|assignment| assignment.forced);
    let force = by_hand.map(|a| Force { experiment: a.experiment.to_string(), arm: a.arm.to_string() });
    let batch_of = |at: usize, _: &str| {
        let experiment = &table.experiments[at];
        let assignment = record.routing.assignment.as_ref().filter(|a| a.experiment == experiment.id)?;
        let batch = assignment.batch?;
        let shares = match experiment.batch == Some(batch) {
            true => experiment.arms.iter().map(|(_, share)| *share).collect(),
            false => assignment.shares.as_slice().into(),
        };
        Some(UnitBatch { batch, shares, entered_ms: assignment.entered_ms })
    };
    Ok(route(table, &record.entities, &known, force.as_ref(), batch_of)?.routing)
}

/// Verifies the batch of a recorded assignment: the one in force or, while the window of the unit's
/// reward was open, an earlier one.
///
/// # Errors
/// The batch in force instead.
pub fn verify_batch(table: &RoutingTable, spec: &Experiment, record: &Record) -> Result<(), String> {
    let Some(assignment) = &record.routing.assignment else { return Ok(()) };
    let in_force = table.experiments.iter().find(|e| e.id == assignment.experiment).and_then(|e| e.batch);
    match (assignment.batch, in_force) {
        (Some(batch), Some(in_force)) if batch < in_force => {
            let window_ms = spec.reward_window_ms().unwrap_or_default();
            let closes = assignment.entered_ms.unwrap_or_default().saturating_add(window_ms);
            if record.time_ms < closes { Ok(()) } else { Err(in_force.to_string()) }
        }
        _ => Ok(()),
    }
}

/// The position of a unit's arm.
fn drawn(experiment: &RoutedExperiment, batch: Option<&UnitBatch>, unit: &str, id: &str) -> Option<usize> {
    let earlier = batch.filter(|batch| Some(batch.batch) != experiment.batch);
    let salt = earlier.map_or(Cow::Borrowed(&*experiment.salt), |batch| experiment.salt_of(batch.batch).into());
    let drawn = place(Purpose::Arm, &salt, unit, id);
    let weights = || (0..experiment.arms.len()).map(|arm| share(experiment, batch, arm));
    let position = match experiment.shipped {
        None => pick(drawn, weights())?,
        Some(ShippedArm { control, holdback, .. }) if is_held_back(drawn, weights(), control, holdback) => control,
        Some(ShippedArm { winner, .. }) => winner,
    };
    (position < experiment.arms.len()).then_some(position)
}

/// The share of an arm, in the unit's batch or in the one in force.
fn share(experiment: &RoutedExperiment, batch: Option<&UnitBatch>, arm: usize) -> f64 {
    batch.map_or(experiment.arms[arm].1, |batch| batch.shares[arm])
}

fn assignment(experiment: &RoutedExperiment, arm: usize, batch: Option<&UnitBatch>, forced: bool) -> Assignment {
    let shares = (0..experiment.arms.len()).map(|arm| share(experiment, batch, arm));
    let shares = experiment.batch.map(|_| shares.collect());
    Assignment {
        experiment: experiment.id.clone(),
        arm: experiment.arms[arm].0.clone(),
        phase: experiment.phase,
        spec_digest: experiment.spec_digest.clone(),
        coverage: experiment.coverage,
        propensity: propensity(experiment, batch, arm),
        batch: batch.map(|batch| batch.batch).or(experiment.batch),
        entered_ms: batch.and_then(|batch| batch.entered_ms),
        shares: shares.unwrap_or_default(),
        shipped: experiment.shipped.is_some(),
        dropped: experiment.dropped.contains(&experiment.arms[arm].0),
        forced,
    }
}

fn propensity(experiment: &RoutedExperiment, batch: Option<&UnitBatch>, arm: usize) -> f64 {
    match experiment.shipped {
        None => share(experiment, batch, arm),
        Some(ShippedArm { control, holdback, .. }) if arm == control => holdback,
        Some(ShippedArm { holdback, .. }) => 1.0 - holdback,
    }
}

fn forced(table: &RoutingTable, force: &Force) -> Result<(usize, usize), RequestError> {
    let invalid = |key: &str, why: String| RequestError::Invalid { key: key.to_owned(), why };
    let at = table.experiments.iter().position(|e| *e.id == *force.experiment).ok_or_else(|| {
        let running: Vec<&str> = table.experiments.iter().map(|e| &*e.id).collect();
        invalid(
            "force.experiment",
            format!("'{}' is not running at '{}'; running: {}", force.experiment, table.point, running.join(", ")),
        )
    })?;
    let experiment = &table.experiments[at];
    let arm = experiment.arms.iter().position(|(name, _)| **name == *force.arm).ok_or_else(|| {
        let arms: Vec<&str> = experiment.arms.iter().map(|(name, _)| &**name).collect();
        invalid("force.arm", format!("'{}' is not an arm of '{}'; arms: {}", force.arm, experiment.id, arms.join(", ")))
    })?;
    Ok((at, arm))
}

/// The salt of a batch's split.
pub fn batch_salt(salt: &str, batch: Option<u32>) -> String {
    batch.map_or_else(|| salt.to_owned(), |batch| format!("{salt}/batch/{batch}"))
}

impl RoutedExperiment {
    /// The salt of an earlier batch's split.
    fn salt_of(&self, batch: u32) -> String {
        let own = batch_salt("", self.batch);
        batch_salt(self.salt.strip_suffix(&own).unwrap_or(&self.salt), Some(batch))
    }
}

/// Verifies a recorded assignment by recomputing it from its spec.
///
/// # Errors
/// The arm that the spec assigns instead.
pub fn verify_arm(spec: &Experiment, unit: &Unit, assignment: &Assignment) -> Result<(), String> {
    if assignment.forced {
        return Ok(());
    }
    let drawn = place(Purpose::Arm, &batch_salt(&spec.salt, assignment.batch), &unit.kind, &unit.id);
    let own = || spec.arms.iter().map(|arm| arm.weight);
    let arm = match &assignment.shares[..] {
        _ if assignment.shipped => match is_held_back(drawn, own(), spec.control_at(), spec.holdback) {
            true => Some(&spec.control),
            // The spec does not say which arm won; the ledger's changes of the status do.
            false => Some(&assignment.arm),
        },
        [] => pick(drawn, own()).map(|i| &spec.arms[i].name),
        shares => pick(drawn, shares.iter().copied()).and_then(|i| spec.arms.get(i)).map(|arm| &arm.name),
    };
    match arm {
        Some(arm) if *arm == assignment.arm => Ok(()),
        other => Err(other.map_or("none", |arm| &**arm).to_owned()),
    }
}
