//! A snapshot of the deployment: what the configuration, the registry and the experiments come to. It is
//! built off the request path, never changed, and replaced whole.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use indexmap::IndexMap;
use serin_core::experiment::{Attribute, Pin};
use serin_core::expression::{Predicate, Reference, Schema};
use serin_core::limits::Limits;
use serin_core::manifest::{CONTEXT_VIEW, Manifest, ModelId};
use serin_core::value::{Value, ValueType};
use serin_core::{Name, NameMap};

use super::OpenWindows;
use super::routing_table::{RoutedExperiment, RoutingTable};
use crate::deployment::{ContextField, FallbackAction, FlagValue, PointSchema, ViewSpec};
use crate::features::EmbeddedStore;
use crate::models::{Model, ModelSet};
use crate::registry::Plugin;
use crate::sandbox::Size;

/// A deployment: everything that decisions need.
pub struct DeploymentSnapshot {
    /// The generation: counts the deployments of this host's ledger.
    pub generation: u64,
    /// The decision points, by name.
    pub points: HashMap<Name, Arc<Point>>,
    /// The feature views, by name.
    pub views: HashMap<Name, Arc<ViewSpec>>,
    /// The models.
    pub models: Arc<ModelSet>,
    /// The feature store.
    pub store: Arc<EmbeddedStore>,
    /// The most concurrent runs of one version.
    pub slots_per_version: usize,
}

/// A decision point.
pub struct Point {
    /// Its name.
    pub name: Name,
    /// The kinds of entity that a request must name.
    pub entities: Vec<Name>,
    /// The typed context.
    pub context: NameMap<ContextField>,
    /// The actions that may be served.
    pub actions: Vec<Name>,
    /// The fallback action.
    pub fallback: FallbackAction,
    /// The deadline of a decision.
    pub deadline: Duration,
    /// Whether an answer waits for its record.
    pub must_log: bool,
    /// What it answers as a flag.
    pub flag: FlagValue,
    /// The routing table.
    pub routing: RoutingTable,
    /// The version that it is pinned to, as in the file.
    pub pin: Pin,
    /// The pinned strategy; none while it is not loaded.
    pub strategy: Option<BoundArm>,
    /// Why it is not loaded.
    pub unready: Option<String>,
    /// The experiments in force, in the routing table's order.
    pub experiments: Vec<RunningExperiment>,
    /// The union of features that the point needs, by view.
    pub union: Vec<UnionView>,
    /// The models that its strategy and arms may call.
    pub models: Vec<Arc<Model>>,
}

/// A version with its parameters and limits.
pub struct BoundArm {
    /// The arm's name; the point's own strategy has none.
    pub name: Name,
    /// The version.
    pub plugin: Arc<Plugin>,
    /// Parameters by position.
    pub parameters: Vec<Value>,
    /// Limits granted.
    pub limits: Limits,
    /// Share of the units that enter.
    pub weight: f64,
}

/// An experiment in force.
pub struct RunningExperiment {
    /// Its part of the routing table.
    pub routed: Arc<RoutedExperiment>,
    /// The arms, in the order of the routed ones.
    pub arms: Vec<BoundArm>,
    /// The shadow arms.
    pub shadows: Vec<ShadowArm>,
    /// The attributes of a unit that its analysis uses.
    pub attributes: Arc<[Attribute]>,
    /// The windows of its units, with adaptive shares.
    pub windows: Option<RewardWindows>,
}

/// The windows of an experiment's reward.
pub struct RewardWindows {
    /// The units whose window is open; shared by all deployments.
    pub open: Arc<OpenWindows>,
    /// How long a window lasts, in milliseconds.
    pub length_ms: u64,
}

/// A shadow arm.
pub struct ShadowArm {
    /// The arm.
    pub arm: BoundArm,
    /// The share of decisions that it runs on.
    pub sample: f64,
    /// Salt of that sample.
    pub salt: String,
}

/// The columns to read of a view.
#[derive(Debug, Clone)]
pub struct UnionView {
    /// The view.
    pub spec: Arc<ViewSpec>,
    /// The columns.
    pub columns: Arc<[Name]>,
}

/// Why a version cannot be used at a decision point.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct BindError(pub String);

/// The requirements of a decision point for a version.
pub struct BindTarget<'a> {
    /// The decision point.
    pub point: &'a str,
    /// What it declares.
    pub schema: PointSchema<'a>,
    /// Its actions.
    pub actions: &'a [Name],
    /// The models that are loaded.
    pub models: &'a ModelSet,
    /// The operator's limits.
    pub allowed: Limits,
}

impl BindTarget<'_> {
    /// Binds a version to the decision point: its manifest must fit the point's declarations.
    ///
    /// # Errors
    /// The action, feature, model or parameter that does not fit, and what is valid.
    pub fn bind(
        &self,
        name: &str,
        plugin: Arc<Plugin>,
        overrides: &IndexMap<String, Value>,
        weight: f64,
    ) -> Result<BoundArm, BindError> {
        let (manifest, point) = (plugin.manifest(), self.point);
        let fail = |why: String| BindError(format!("{}: {why}", manifest.id()));
        if *manifest.decision_point != *point {
            return Err(fail(format!("is made for decision point '{}', not '{point}'", manifest.decision_point)));
        }
        if let Some(action) = manifest.actions.iter().find(|action| !self.actions.contains(&action.name)) {
            let listed = self.actions.iter().map(|a| &**a).collect::<Vec<_>>().join(", ");
            return Err(fail(format!("action '{}' is not of '{point}'; its actions: {listed}", action.name)));
        }
        check_features(manifest, &self.schema).map_err(fail)?;
        check_models(manifest, self.models).map_err(fail)?;
        let parameters = manifest.parameters_with(overrides).map_err(fail)?;
        let mut limits = manifest.limits.within(self.allowed);
        // A grant cannot exceed the size of a pool slot.
        limits.memory_bytes = limits.memory_bytes.min(Size::of(plugin.contents.size).memory_bytes());
        Ok(BoundArm { name: name.into(), parameters, limits, weight, plugin })
    }
}

fn check_features(manifest: &Manifest, schema: &PointSchema<'_>) -> Result<(), String> {
    for feature in &manifest.features {
        if schema.views.get(&feature.view).is_some_and(|view| view.analysis_only) {
            return Err(format!("feature view '{}' is for analysis only: no strategy can read it", feature.view));
        }
        if let Some(view) = schema.views.get(&feature.view)
            && !schema.entities.contains(&view.entity)
        {
            return Err(format!(
                "feature view '{}' is of entity '{}', which the decision point's requests do not name",
                view.name, view.entity
            ));
        }
        let reference = if *feature.view == *CONTEXT_VIEW {
            Reference::Context(feature.name.to_string())
        } else {
            Reference::Feature(feature.view.to_string(), feature.name.to_string())
        };
        match schema.type_of(&reference) {
            None if *feature.view == *CONTEXT_VIEW => {
                return Err(format!("feature {reference} is not declared; {}", schema.declared()));
            }
            None => {
                return Err(format!(
                    "feature {reference} is not declared; add {} = \"{}\" to the columns of [features.{}] in serin.toml; {}",
                    feature.name,
                    feature.value_type,
                    feature.view,
                    schema.declared()
                ));
            }
            Some(declared) if declared == feature.value_type => {}
            Some(ValueType::Integer) if feature.value_type == ValueType::Number => {}
            Some(declared) => {
                return Err(format!(
                    "feature {reference} is {declared} here, and the manifest asks for {}",
                    feature.value_type
                ));
            }
        }
    }
    Ok(())
}

fn check_models(manifest: &Manifest, models: &ModelSet) -> Result<(), String> {
    for score in &manifest.scores {
        match models.get(&score.model) {
            Some(model) => model.accepts(score.inputs.names())?,
            None => return Err(unknown_model(&score.model.to_string(), models)),
        }
    }
    for callable in &manifest.callable {
        if !models.contains_key(&callable.model) {
            return Err(unknown_model(&callable.model.to_string(), models));
        }
    }
    Ok(())
}

fn unknown_model(model: &str, models: &ModelSet) -> String {
    let mut known: Vec<String> = models.keys().map(ToString::to_string).collect();
    known.sort();
    format!(
        "model {model} is not loaded; loaded: {}",
        if known.is_empty() { "none".to_owned() } else { known.join(", ") }
    )
}

impl Point {
    /// The most concurrent decisions of the point, at most the `all` of one version. Points that
    /// could wait for a slow model get fewer: further decisions wait in the point's queue instead,
    /// where they hold no thread.
    pub fn most_under_way(&self, all: usize) -> usize {
        let slow = self.models.iter().filter(|model| model.is_slow());
        slow.map(|model| model.places()).fold(all, usize::min)
    }

    /// The models that a point's strategy and arms may call. Shadow arms hold no deciding thread.
    pub fn models_of(
        strategy: Option<&BoundArm>,
        experiments: &[RunningExperiment],
        models: &ModelSet,
    ) -> Vec<Arc<Model>> {
        let arms = strategy.into_iter().chain(experiments.iter().flat_map(|e| &e.arms));
        let mut ids: Vec<&ModelId> = arms
            .map(|arm| arm.plugin.manifest())
            .flat_map(|manifest| {
                let declared = manifest.scores.iter().map(|score| &score.model);
                declared.chain(manifest.callable.iter().map(|callable| &callable.model))
            })
            .collect();
        ids.sort_by_key(|id| (&id.name, &id.version));
        ids.dedup();
        ids.into_iter().filter_map(|id| models.get(id).cloned()).collect()
    }

    /// Computes what to read for a decision: the union of what the pinned strategy, all arms,
    /// eligibility, `exclude`, shadows and analyses need. Decisions of all arms read the same
    /// features, so that a record can be replayed against any candidate later.
    pub fn union_of(
        strategy: Option<&BoundArm>,
        experiments: &[RunningExperiment],
        exclude: Option<&Predicate>,
        views: &HashMap<Name, Arc<ViewSpec>>,
    ) -> Vec<UnionView> {
        let mut wanted: BTreeMap<Name, Vec<Name>> = BTreeMap::new();
        let mut want = |view: &str, name: &str| {
            if let Some((view, spec)) = views.get_key_value(view)
                && let Some((column, _)) = spec.columns.get_key_value(name)
            {
                let columns = wanted.entry(view.clone()).or_default();
                if !columns.contains(column) {
                    columns.push(column.clone());
                }
            }
        };
        let shadows = experiments.iter().flat_map(|e| &e.shadows).map(|shadow| &shadow.arm);
        let arms = strategy.into_iter().chain(experiments.iter().flat_map(|e| &e.arms)).chain(shadows);
        for feature in arms.flat_map(|arm| &arm.plugin.manifest().features) {
            want(&feature.view, &feature.name);
        }
        let predicates = experiments.iter().filter_map(|e| e.routed.eligible.as_ref()).chain(exclude);
        for reference in predicates.flat_map(Predicate::references) {
            if let Reference::Feature(view, name) = reference {
                want(view, name);
            }
        }
        for attribute in experiments.iter().flat_map(|e| e.attributes.iter()) {
            want(&attribute.view, &attribute.name);
        }
        wanted
            .into_iter()
            .filter_map(|(view, columns)| {
                Some(UnionView { spec: Arc::clone(views.get(&view)?), columns: columns.into() })
            })
            .collect()
    }
}

impl DeploymentSnapshot {
    /// The points whose pinned strategy cannot serve, and why.
    pub fn unready(&self) -> Vec<String> {
        let mut unready: Vec<String> = self
            .points
            .values()
            .filter(|point| point.strategy.is_none())
            .map(|point| {
                let why = point.unready.as_deref().unwrap_or("it is not loaded");
                format!("decision point '{}': strategy {}: {why}", point.name, point.pin)
            })
            .collect();
        unready.sort();
        unready
    }
}
