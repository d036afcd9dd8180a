//! Building a deployment from files.

use std::collections::HashMap;
use std::sync::Arc;

use serin_core::experiment::{Experiment, Pin};

use super::experiments::{Binder, Bound};
use super::fallback::{fallback, flag};
use crate::config::Config;
use crate::decide::{BindTarget, BoundArm, DeploymentSnapshot, Point, RoutingTable};
use crate::deployment::{FallbackAction, PointSchema};
use crate::experiments::{ExperimentStatus, SpecCandidate};
use crate::features::EmbeddedStore;
use crate::models::ModelSet;
use crate::registry::{Unserved, VersionsByPin, absent};

/// A deployment and the status of its inputs.
pub struct Built {
    /// The deployment.
    pub deployment: DeploymentSnapshot,
    /// The experiments.
    pub experiments: Vec<ExperimentStatus>,
    /// The specs in force: file, spec and text.
    pub applied: Vec<(std::path::PathBuf, Arc<Experiment>, String)>,
}

/// The versions that a configuration and its experiments name.
pub(super) fn wanted(config: &Config, candidates: &[SpecCandidate]) -> Vec<Pin> {
    let pinned = config.points.values().map(|point| point.strategy.clone());
    let arms = candidates.iter().filter_map(|c| c.spec.as_ref()).flat_map(|(spec, _)| {
        let shadows = spec.shadows.iter().map(|shadow| &shadow.arm);
        spec.arms.iter().chain(shadows).map(|arm| arm.strategy.clone())
    });
    let mut wanted: Vec<Pin> = pinned.chain(arms).collect();
    wanted.sort();
    wanted.dedup();
    wanted
}

/// Builds a deployment. Parts that do not fit are left out, with an error in their status; the
/// build as a whole never fails.
pub(super) fn build(
    binder: &Binder<'_>,
    candidates: Vec<SpecCandidate>,
    generation: u64,
    store: Arc<EmbeddedStore>,
) -> Built {
    let Binder { config, versions, unserved, models, .. } = *binder;
    let Bound { mut running, statuses, applied } = binder.bind(candidates);
    let mut points = HashMap::new();
    for (name, spec) in &config.points {
        let mut experiments = running.remove(name).unwrap_or_default();
        // Routing finds the slot that holds a place by binary search.
        experiments.sort_by(|a, b| a.routed.slot[0].total_cmp(&b.routed.slot[0]));
        let (strategy, fallback, unready) = match build_pinned(config, name, versions, unserved, models) {
            Ok((arm, fallback)) => (Some(arm), fallback, None),
            Err(why) => (None, spec.fallback.clone(), Some(why)),
        };
        let union = Point::union_of(strategy.as_ref(), &experiments, spec.exclude.as_ref(), &config.views);
        let used = Point::models_of(strategy.as_ref(), &experiments, models);
        let schema = PointSchema { context: &spec.context, entities: &spec.entities, views: &config.views };
        let (global, exclude) = (config.global_holdout.as_ref(), spec.exclude.as_ref());
        let routed = experiments.iter().map(|experiment| Arc::clone(&experiment.routed)).collect();
        let routing = RoutingTable::new(name, &spec.layer, global, exclude, routed, &schema);
        let point = Point {
            name: name.clone(),
            entities: spec.entities.clone(),
            context: spec.context.clone(),
            actions: spec.actions.clone(),
            fallback,
            deadline: spec.deadline,
            must_log: spec.must_log,
            flag: spec.flag.clone(),
            routing,
            pin: spec.strategy.clone(),
            strategy,
            unready,
            experiments,
            union,
            models: used,
        };
        points.insert(name.clone(), Arc::new(point));
    }
    // One version never gets all threads: at least one is left for others.
    let slots_per_version = (config.fixed.threads * 3 / 4).max(1);
    let deployment = DeploymentSnapshot {
        generation,
        points,
        views: config.views.clone(),
        models: Arc::clone(models),
        store,
        slots_per_version,
    };
    Built { deployment, experiments: statuses, applied }
}

/// Binds a decision point's own strategy, and its fallback action to what the strategy declares.
pub(super) fn build_pinned(
    config: &Config,
    name: &str,
    versions: &VersionsByPin,
    unserved: &Unserved,
    models: &ModelSet,
) -> Result<(BoundArm, FallbackAction), String> {
    let spec = &config.points[name];
    let Some(plugin) = versions.get(&spec.strategy) else { return Err(absent(&spec.strategy, versions, unserved)) };
    let target = BindTarget {
        point: name,
        schema: PointSchema { context: &spec.context, entities: &spec.entities, views: &config.views },
        actions: &spec.actions,
        models,
        allowed: config.limits,
    };
    let arm = target.bind("", Arc::clone(plugin), &spec.parameters, 1.0).map_err(|e| e.to_string())?;
    let fallback = fallback(spec, arm.plugin.manifest())?;
    flag(&spec.flag, arm.plugin.manifest())?;
    Ok((arm, fallback))
}

/// Why a decision point cannot be served, with the key that does not fit.
pub(super) fn unfit(point: &str, pin: &Pin, why: &str) -> String {
    let of_key = |key: &str| why.strip_prefix(key)?.strip_prefix(": ").map(|why| (key.to_owned(), why));
    match of_key("fallback").or_else(|| of_key("flag_parameter")) {
        Some((key, why)) => format!("decision_points.{point}.{key}: {why}"),
        None => format!("decision_points.{point}.strategy = \"{pin}\": {why}"),
    }
}
