//! Who uses a version: decision points, and arms of experiments.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use super::Service;

/// A use of a version.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct WireUse {
    /// `pinned` by a decision point, or `arm` or `shadow` of an experiment.
    pub(super) role: &'static str,
    /// The decision point.
    pub(super) decision_point: String,
    /// The experiment; null where a decision point is pinned to it.
    #[schema(required)]
    pub(super) experiment: Option<String>,
    /// Its arm.
    #[schema(required)]
    pub(super) arm: Option<String>,
}

/// Who uses each version, by its name: decision points first, then the arms of experiments that have not ended.
pub(super) fn users(service: &Service) -> BTreeMap<String, Vec<WireUse>> {
    let mut users: BTreeMap<String, Vec<WireUse>> = BTreeMap::new();
    let (deployment, status) = (service.deployment.load(), service.status.load());
    let mut points: Vec<_> = deployment.points.values().collect();
    points.sort_by_key(|point| point.name.clone());
    for point in points {
        let user = WireUse { role: "pinned", decision_point: point.name.to_string(), experiment: None, arm: None };
        users.entry(point.pin.to_string()).or_default().push(user);
    }
    for experiment in status.experiments.iter().filter(|known| !known.status.state.is_ended()) {
        let Some(spec) = &experiment.spec else { continue };
        let shadows = spec.shadows.iter().map(|shadow| (&shadow.arm, "shadow"));
        for (arm, role) in spec.arms.iter().map(|arm| (arm, "arm")).chain(shadows) {
            let user = WireUse {
                role,
                decision_point: spec.decision_point.to_string(),
                experiment: Some(spec.id.to_string()),
                arm: Some(arm.name.to_string()),
            };
            users.entry(arm.strategy.to_string()).or_default().push(user);
        }
    }
    users
}
