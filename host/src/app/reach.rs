//! Whom a decision point's pin reaches while experiments hold a part of its layer.

use serin_core::experiment::{State, Status};

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

/// The share of a layer that an experiment gives to other versions than the pin.
fn taken_from(pin: &serin_core::experiment::Pin, spec: &serin_core::experiment::Experiment, now: &Status) -> f64 {
    let [from, to] = spec.slot;
    let weights = now.weights(spec);
    let others = spec.arms.iter().zip(weights).filter(|(arm, _)| arm.strategy != *pin).map(|(_, weight)| weight);
    (to - from) * now.applied * others.sum::<f64>()
}
