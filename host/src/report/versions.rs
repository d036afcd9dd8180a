//! The strategies' versions that an experiment compares.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serin_core::experiment::{Arm, Experiment};

/// A strategy's version, as an arm runs it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Version {
    /// The arm.
    pub arm: String,
    /// `control`, `new` or `shadow`.
    pub role: String,
    /// The strategy and its exact version.
    pub strategy: String,
    /// What is in place of the manifest's defaults.
    pub parameters: IndexMap<String, Value>,
}

impl Version {
    pub(super) fn all(spec: &Experiment) -> Vec<Self> {
        let version = |arm: &Arm, role: &str| Self {
            arm: arm.name.to_string(),
            role: role.to_owned(),
            strategy: arm.strategy.to_string(),
            parameters: arm
                .parameters
                .iter()
                .map(|(name, value)| (name.clone(), serde_json::to_value(value).unwrap_or_default()))
                .collect(),
        };
        let arms = spec.arms.iter().map(|arm| version(arm, if arm.name == spec.control { "control" } else { "new" }));
        arms.chain(spec.shadows.iter().map(|shadow| version(&shadow.arm, "shadow"))).collect()
    }

    /// The parameters as a file has them.
    pub(super) fn set(&self) -> String {
        self.parameters.iter().map(|(name, value)| format!("{name} = {value}")).collect::<Vec<_>>().join(", ")
    }
}
