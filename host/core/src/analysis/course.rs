//! How an experiment was run: the parts of its status that the analysis needs beside its spec.

use std::sync::Arc;

use crate::Name;
use crate::allocation::{Purpose, is_held_back, place};
use crate::experiment::{Arm, Experiment, Status};

/// What an analysis needs to know of an experiment's status.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Course {
    /// The randomization unit.
    pub unit: Name,
    /// When it first took units.
    pub started_ms: Option<u64>,
    /// The arms' shares by batch; none where they are fixed.
    pub batches: Vec<Vec<f64>>,
    /// The arms that were dropped for harm: their units are in no arm.
    pub dropped: Vec<Name>,
    /// The arm that was shipped and serves all but the holdback, also if it was withdrawn since.
    pub shipped: Option<Name>,
}

impl Course {
    /// The course of an experiment with this status and this randomization unit.
    pub fn of(status: &Status, unit: &Name) -> Self {
        Self {
            unit: unit.clone(),
            started_ms: status.started_ms,
            batches: status.batches.clone(),
            dropped: status.dropped.clone(),
            shipped: status.served.clone(),
        }
    }
}

/// An experiment whose winner serves all units except the holdback. The remaining comparison is
/// between units that have always been in the winner's arm and units that have always been in
/// control. All others moved to the winner when it shipped, and are left out.
pub(super) struct Shipped {
    /// The two remaining arms, with their shares of the units that stayed.
    pub spec: Arc<Experiment>,
    whole: Arc<Experiment>,
    winner: usize,
    unit: Name,
}

impl Shipped {
    pub fn of(spec: &Arc<Experiment>, winner: &str, unit: &Name) -> Option<Self> {
        let at = spec.arms.iter().position(|arm| *arm.name == *winner)?;
        let control = spec.control_at();
        if at == control || spec.holdback <= 0.0 {
            // Without a holdback there is nothing to compare with, so the analysis stays as it was.
            return None;
        }
        let stayed = spec.holdback + spec.arms[at].weight;
        let arm = |position: usize, weight: f64| Arm { weight: weight / stayed, ..spec.arms[position].clone() };
        let arms = vec![arm(control, spec.holdback), arm(at, spec.arms[at].weight)];
        let left = Arc::new(Experiment { arms, ..(**spec).clone() });
        Some(Self { spec: left, whole: Arc::clone(spec), winner: at, unit: unit.clone() })
    }

    /// Says whether a unit has moved to another arm since.
    pub fn moves(&self, unit: &str) -> bool {
        let place = place(Purpose::Arm, &self.whole.salt, &self.unit, unit);
        let weights = || self.whole.arms.iter().map(|arm| arm.weight);
        let is_winners = crate::allocation::pick(place, weights()) == Some(self.winner);
        !is_winners && !is_held_back(place, weights(), self.whole.control_at(), self.whole.holdback)
    }
}
