//! Whom a decision point's pin reaches while experiments hold a part of its layer.

use std::collections::BTreeSet;

use serin_core::experiment::{State, Status};
use serin_core::most_similar;

use crate::config::Config;
use crate::deployment::PointSpec;
use crate::experiments::{ExperimentState, ExperimentStatus};

/// A warning for each decision point whose pin is not what its experiments call control: who edits a
/// pin expects it to be served, and a comparison with another control says nothing of it.
pub(super) fn unreached(config: &Config, experiments: &[ExperimentStatus]) -> Vec<String> {
    let warning = |(name, point): (&serin_core::Name, &PointSpec)| {
        let pin = &point.strategy;
        let (mut taken, mut others) = (0.0, Vec::new());
        for experiment in experiments {
            let Some(spec) = experiment.spec.as_ref().filter(|spec| spec.decision_point == *name) else { continue };
            let runs = matches!(experiment.state, ExperimentState::Life(State::Running | State::Paused));
            if !runs || experiment.status.withdrawn {
                continue;
            }
            taken += taken_from(pin, spec, &experiment.status);
            let control = &spec.arms[spec.control_at()].strategy;
            if control != pin {
                let [from, to] = spec.slot;
                others.push(format!("'{}' holds [{from}, {to}], and its control is {control}, not the pin", spec.id));
            }
        }
        let reached = 100.0 * (point.layer.holdout + (1.0 - point.layer.holdout) * (1.0 - taken));
        // Rounded down: 99.96 % is not everybody.
        let reached = (reached * 10.0 + 1e-6).floor() / 10.0;
        (!others.is_empty()).then(|| {
            let unit = &point.layer.unit;
            format!("the pin {pin} reaches {reached} % of the {unit} units of '{name}': {}", others.join("; "))
        })
    };
    config.points.iter().filter_map(warning).collect()
}

/// A warning for each feature view whose entity no decision point names: no strategy can read it.
pub(super) fn unread_views(config: &Config) -> Vec<String> {
    let units = config.points.values().map(|point| &point.layer.unit);
    let known: BTreeSet<&str> =
        config.points.values().flat_map(|point| &point.entities).chain(units).map(|kind| &**kind).collect();
    let odd = config.views.values().filter(|view| !known.is_empty() && !known.contains(&*view.entity));
    odd.map(|view| {
        let similar = most_similar(&view.entity, known.iter().copied());
        let similar = similar.map(|similar| format!("; did you mean '{similar}'?")).unwrap_or_default();
        let listed = known.iter().copied().collect::<Vec<_>>().join(", ");
        format!(
            "feature view '{}': no decision point has the entity '{}', so nothing reads it{similar}; known: {listed}",
            view.name, view.entity
        )
    })
    .collect()
}

/// The share of a layer that an experiment gives to other versions than the pin.
fn taken_from(pin: &serin_core::experiment::Pin, spec: &serin_core::experiment::Experiment, now: &Status) -> f64 {
    let [from, to] = spec.slot;
    let weights = now.weights(spec);
    let others = spec.arms.iter().zip(weights).filter(|(arm, _)| arm.strategy != *pin).map(|(_, weight)| weight);
    (to - from) * now.applied * others.sum::<f64>()
}
