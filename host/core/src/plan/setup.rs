//! What is simulated.

use std::sync::Arc;

use super::Traffic;
use super::model::OutcomeModel;
use crate::experiment::Experiment;

/// What is simulated.
pub(super) struct Setup<'a> {
    pub spec: &'a Arc<Experiment>,
    pub traffic: &'a Traffic,
    pub days: u32,
    /// Position of the arm that is not like control.
    pub tried: usize,
    /// What is true of control and of all other arms, and of the one that is tried.
    pub models: [OutcomeModel; 2],
}

impl Setup<'_> {
    /// What is true of an arm.
    pub fn model(&self, arm: usize) -> &OutcomeModel {
        &self.models[usize::from(arm == self.tried)]
    }
}
