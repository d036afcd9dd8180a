//! Routing: which arm a unit falls to, from ids, salts and specs alone.

use std::sync::OnceLock;

use serin_core::NameMap;
use serin_core::allocation::{Purpose, admitted, pick, place};
use serin_core::experiment::Experiment;
use serin_core::expression::{Reference, Scope};
use serin_core::record::{Assignment, FeatureRow, NotEnrolled, Routing, RowStatus, Unit};
use serin_core::value::Value;

use super::{Arm, Force, Point, RequestError, RunningExperiment};

/// What expressions see of a decision. A stale value is not known.
pub(super) struct Known<'a> {
    entities: &'a NameMap<String>,
    context: &'a NameMap<Value>,
    features: &'a NameMap<FeatureRow>,
    /// The entities as values: few expressions refer to one.
    ids: OnceLock<NameMap<Value>>,
}

impl<'a> Known<'a> {
    pub fn new(entities: &'a NameMap<String>, context: &'a NameMap<Value>, features: &'a NameMap<FeatureRow>) -> Self {
        Self { entities, context, features, ids: OnceLock::new() }
    }

    fn ids(&self) -> &NameMap<Value> {
        let ids = || self.entities.iter().map(|(kind, id)| (kind.clone(), Value::Text(id.clone()))).collect();
        self.ids.get_or_init(ids)
    }
}

static MISSING: Value = Value::Missing;

impl Scope for Known<'_> {
    fn value(&self, reference: &Reference) -> &Value {
        match reference {
            Reference::Context(name) => self.context.get(name.as_str()),
            Reference::Entity(kind) => self.ids().get(kind.as_str()),
            Reference::Feature(view, name) => self
                .features
                .get(view.as_str())
                .filter(|row| row.status == RowStatus::Present)
                .and_then(|row| row.values.get(name.as_str())),
        }
        .unwrap_or(&MISSING)
    }

    fn is_there(&self, reference: &Reference) -> Option<bool> {
        if let Reference::Feature(view, _) = reference
            && let Some(row) = self.features.get(view.as_str())
            && matches!(row.status, RowStatus::Stale | RowStatus::Error)
        {
            return None;
        }
        Some(!self.value(reference).is_missing())
    }
}

/// The routing, and the arm that was assigned.
pub(super) struct Routed<'p> {
    pub routing: Routing,
    pub arm: Option<&'p Arm>,
}

pub(super) fn route<'p>(
    point: &'p Point,
    entities: &NameMap<String>,
    known: &Known<'_>,
    force: Option<&Force>,
) -> Result<Routed<'p>, RequestError> {
    let layer = &point.layer;
    let unit = entities.get(&layer.unit).map(|id| Unit { kind: layer.unit.clone(), id: id.clone() });
    let mut routing = Routing { layer: layer.name.clone(), unit, ..Routing::default() };
    if let Some(force) = force {
        let (experiment, arm) = forced(point, force)?;
        routing.assignment = Some(assignment(experiment, arm, true));
        return Ok(Routed { routing, arm: Some(arm) });
    }
    if let Some(exclude) = &point.exclude {
        match exclude.evaluate(known) {
            Ok(false) => {}
            Ok(true) => routing.excluded = Some("excluded".to_owned()),
            // Whether a constraint holds is not known: whom it protects is left alone.
            Err(error) => routing.excluded = Some(error.to_string()),
        }
        if routing.excluded.is_some() {
            return Ok(Routed { routing, arm: None });
        }
    }
    let Some(id) = routing.unit.as_ref().map(|unit| unit.id.clone()) else {
        return Ok(Routed { routing, arm: None });
    };
    let place_in_layer = place(Purpose::Layer, &layer.salt, &layer.unit, &id);
    routing.place = Some(place_in_layer.as_f64());
    // The slots are disjoint, so at most one experiment holds the place; it is found before
    // any expression is evaluated.
    let holder = point.experiments.iter().find(|experiment| {
        let [from, to] = admitted(experiment.slot, experiment.coverage);
        place_in_layer.is_within(from, to)
    });
    let Some(experiment) = holder else {
        return Ok(Routed { routing, arm: None });
    };
    if place(Purpose::Holdout, &layer.salt, &layer.unit, &id).is_below(layer.holdout) {
        routing.held_out = true;
        return Ok(Routed { routing, arm: None });
    }
    let why = match experiment.eligible.as_ref().map(|eligible| eligible.evaluate(known)) {
        None | Some(Ok(true)) => None,
        Some(Ok(false)) => Some("not_eligible".to_owned()),
        Some(Err(error)) => Some(error.to_string()),
    };
    if let Some(why) = why {
        routing.not_enrolled = Some(NotEnrolled { experiment: experiment.id.clone(), why });
        return Ok(Routed { routing, arm: None });
    }
    let drawn = place(Purpose::Arm, &experiment.salt, &layer.unit, &id);
    let arm = pick(drawn, experiment.arms.iter().map(|arm| arm.weight)).map(|i| &experiment.arms[i]);
    routing.assignment = arm.map(|arm| assignment(experiment, arm, false));
    Ok(Routed { routing, arm })
}

fn assignment(experiment: &RunningExperiment, arm: &Arm, forced: bool) -> Assignment {
    Assignment {
        experiment: experiment.id.clone(),
        arm: arm.name.clone(),
        phase: experiment.phase,
        spec_digest: experiment.spec_digest.clone(),
        coverage: experiment.coverage,
        propensity: arm.weight,
        forced,
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

/// Computes a recorded assignment again from its spec: an assignment is a hash, not a row.
///
/// # Errors
/// The arm that the spec assigns instead.
pub fn verify_arm(spec: &Experiment, unit: &Unit, assignment: &Assignment) -> Result<(), String> {
    let drawn = place(Purpose::Arm, &spec.salt, &unit.kind, &unit.id);
    let arm = pick(drawn, spec.arms.iter().map(|arm| arm.weight)).map(|i| &spec.arms[i]);
    match arm {
        Some(arm) if arm.name == assignment.arm || assignment.forced => Ok(()),
        other => Err(other.map_or("none", |arm| &*arm.name).to_owned()),
    }
}
