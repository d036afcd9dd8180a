//! The inputs of a simulation.

use std::sync::Arc;

use super::Traffic;
use super::model::OutcomeModel;
use super::world::Assumed;
use crate::experiment::Experiment;

/// The inputs of a simulation.
pub(super) struct Setup<'a> {
    pub spec: &'a Arc<Experiment>,
    pub traffic: &'a Traffic,
    pub days: u32,
    /// Position of the treatment arm.
    pub tried: usize,
    /// The world.
    pub assumed: Assumed,
    /// The outcome model of control and all other arms, then that of the treatment arm.
    pub models: [OutcomeModel; 2],
}

impl Setup<'_> {
    /// The outcome model of an arm.
    pub fn model(&self, arm: usize) -> &OutcomeModel {
        &self.models[usize::from(arm == self.tried)]
    }
}
