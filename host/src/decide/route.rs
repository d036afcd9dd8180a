//! Routing: which arm a unit falls to, from ids, salts and specs alone.

use std::sync::OnceLock;

use serin_core::NameMap;
use serin_core::allocation::{Place, Purpose, admitted, is_held_back, pick, place};
use serin_core::experiment::Experiment;
use serin_core::expression::{Reference, Scope};
use serin_core::record::{Assignment, FeatureRow, NotEnrolled, Routing, RowStatus, Unit};
use serin_core::value::Value;

use super::{Arm, Force, Point, RequestError, RunningExperiment, ShippedArm};

/// What expressions see of a decision. A stale value is not known.
pub(super) struct DecisionScope<'a> {
    entities: &'a NameMap<String>,
    context: &'a NameMap<Value>,
    features: &'a NameMap<FeatureRow>,
    /// The entities as values: few expressions refer to one.
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

/// The routing, the arm that was assigned, and the experiment whose shadows may run beside it.
pub(super) struct Routed<'p> {
    pub routing: Routing,
    pub arm: Option<&'p Arm>,
    pub experiment: Option<&'p RunningExperiment>,
}

pub(super) fn route<'p>(
    point: &'p Point,
    entities: &NameMap<String>,
    known: &DecisionScope<'_>,
    force: Option<&Force>,
) -> Result<Routed<'p>, RequestError> {
    let layer = &point.layer;
    let unit = entities.get(&layer.unit).map(|id| Unit { kind: layer.unit.clone(), id: id.clone() });
    let mut routing = Routing { layer: layer.name.clone(), unit, ..Routing::default() };
    let forced = force.map(|force| forced(point, force)).transpose()?;
    let nobody = |routing| Ok(Routed { routing, arm: None, experiment: None });
    // A constraint stands above everything, an arm chosen by hand included.
    if let Some(exclude) = &point.exclude {
        match exclude.evaluate(known) {
            Ok(false) => {}
            Ok(true) => routing.excluded = Some("excluded".to_owned()),
            // Whether a constraint holds is not known: whom it protects is left alone.
            Err(error) => routing.excluded = Some(error.to_string()),
        }
        if routing.excluded.is_some() {
            return nobody(routing);
        }
    }
    if let Some((experiment, arm)) = forced {
        routing.assignment = Some(assignment(experiment, arm, true));
        return Ok(Routed { routing, arm: Some(arm), experiment: Some(experiment) });
    }
    let Some(id) = routing.unit.as_ref().map(|unit| unit.id.clone()) else { return nobody(routing) };
    let place_in_layer = place(Purpose::Layer, &layer.salt, &layer.unit, &id);
    routing.place = Some(place_in_layer.as_f64());
    let Some(experiment) = holder(&point.experiments, place_in_layer) else { return nobody(routing) };
    routing.held_out_globally = point.global_holdout.as_ref().is_some_and(|holdout| {
        let unit = entities.get(&holdout.unit);
        unit.is_some_and(|id| place(Purpose::Holdout, &holdout.salt, &holdout.unit, id).is_below(holdout.share))
    });
    routing.held_out =
        routing.held_out_globally || place(Purpose::Holdout, &layer.salt, &layer.unit, &id).is_below(layer.holdout);
    let [from, to] = admitted(experiment.slot, experiment.coverage);
    let is_admitted = place_in_layer.is_within(from, to);
    // Shadows run on all of the slot, before a single unit is exposed to what they try.
    if routing.held_out || (!is_admitted && experiment.shadows.is_empty()) {
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
    let arm = if is_admitted { drawn(experiment, &layer.unit, &id) } else { None };
    routing.assignment = arm.map(|arm| assignment(experiment, arm, false));
    Ok(Routed { routing, arm, experiment: Some(experiment) })
}

/// The experiment whose slot holds a place. Slots are disjoint and in order, so that at most one
/// does, and it is found before any expression is evaluated, however many there are.
fn holder(experiments: &[RunningExperiment], place: Place) -> Option<&RunningExperiment> {
    let after = experiments.partition_point(|experiment| !place.is_below(experiment.slot[0]));
    experiments[..after].last().filter(|experiment| place.is_below(experiment.slot[1]))
}

/// How a unit is routed at a point, by itself.
///
/// # Errors
/// That an experiment or arm that was chosen by hand is not there.
pub fn routing(
    point: &Point,
    entities: &NameMap<String>,
    context: &NameMap<Value>,
    features: &NameMap<FeatureRow>,
) -> Result<Routing, RequestError> {
    Ok(route(point, entities, &DecisionScope::new(entities, context, features), None)?.routing)
}

/// The arm that a unit falls to.
fn drawn<'p>(experiment: &'p RunningExperiment, unit: &str, id: &str) -> Option<&'p Arm> {
    let drawn = place(Purpose::Arm, &experiment.salt, unit, id);
    let weights = || experiment.arms.iter().map(|arm| arm.weight);
    let position = match experiment.shipped {
        None => pick(drawn, weights())?,
        Some(ShippedArm { control, holdback, .. }) if is_held_back(drawn, weights(), control, holdback) => control,
        Some(ShippedArm { winner, .. }) => winner,
    };
    experiment.arms.get(position)
}

fn assignment(experiment: &RunningExperiment, arm: &Arm, forced: bool) -> Assignment {
    Assignment {
        experiment: experiment.id.clone(),
        arm: arm.name.clone(),
        phase: experiment.phase,
        spec_digest: experiment.spec_digest.clone(),
        coverage: experiment.coverage,
        propensity: propensity(experiment, arm),
        batch: experiment.batch,
        shares: experiment.batch.map(|_| experiment.arms.iter().map(|arm| arm.weight).collect()).unwrap_or_default(),
        shipped: experiment.shipped.is_some(),
        forced,
    }
}

fn propensity(experiment: &RunningExperiment, arm: &Arm) -> f64 {
    match experiment.shipped {
        None => arm.weight,
        Some(ShippedArm { control, holdback, .. }) => {
            let is_control = experiment.arms.get(control).is_some_and(|control| control.name == arm.name);
            if is_control { holdback } else { 1.0 - holdback }
        }
    }
}

fn forced<'p>(point: &'p Point, force: &Force) -> Result<(&'p RunningExperiment, &'p Arm), RequestError> {
    let invalid = |key: &str, why: String| RequestError::Invalid { key: key.to_owned(), why };
    let experiment = point.experiments.iter().find(|e| *e.id == *force.experiment).ok_or_else(|| {
        let running: Vec<&str> = point.experiments.iter().map(|e| &*e.id).collect();
        invalid(
            "force.experiment",
            format!("'{}' is not running at '{}'; running: {}", force.experiment, point.name, running.join(", ")),
        )
    })?;
    let arm = experiment.arms.iter().find(|arm| *arm.name == *force.arm).ok_or_else(|| {
        let arms: Vec<&str> = experiment.arms.iter().map(|a| &*a.name).collect();
        invalid("force.arm", format!("'{}' is not an arm of '{}'; arms: {}", force.arm, experiment.id, arms.join(", ")))
    })?;
    Ok((experiment, arm))
}

/// The salt of a batch's split.
pub fn batch_salt(salt: &str, batch: Option<u32>) -> String {
    batch.map_or_else(|| salt.to_owned(), |batch| format!("{salt}/batch/{batch}"))
}

/// Computes a recorded assignment again from its spec: an assignment is a hash, not a row.
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
            // Which arm won is the status's to say, and in the ledger's list of changes.
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
