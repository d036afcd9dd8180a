//! Layers, and the holdout that spans them.

use serin_core::Name;

/// A layer: a space of units that experiments share out.
#[derive(Debug, Clone)]
pub struct Layer {
    /// Its name.
    pub name: Name,
    /// The kind of entity that is the unit.
    pub unit: Name,
    /// Salt of the unit's place.
    pub salt: String,
    /// Share kept out of all experiments.
    pub holdout: f64,
}

/// Units that are kept out of all experiments, of whatever layer.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct GlobalHoldout {
    /// The kind of entity that is the unit.
    pub unit: Name,
    /// Salt of the draw.
    pub salt: String,
    /// Share kept out.
    pub share: f64,
}
