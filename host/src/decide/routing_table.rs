//! The routing inputs of a decision point. Routing reads nothing else. The table is archived by
//! digest, and each record names its digest, so the whole routing of any record can be recomputed.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serin_core::Name;
use serin_core::expression::{ExpressionError, Predicate, Reference, Schema};
use serin_core::value::ValueType;

use crate::deployment::{GlobalHoldout, Layer};

/// The schema version of the archived form. Older versions stay readable.
const SCHEMA: u32 = 1;

/// The routing inputs of a decision point.
pub struct RoutingTable {
    /// The decision point.
    pub point: Name,
    /// Its layer.
    pub layer: Layer,
    /// The global holdout.
    pub global_holdout: Option<GlobalHoldout>,
    /// The `exclude` constraint.
    pub exclude: Option<Predicate>,
    /// The experiments in force, sorted by the start of their slots.
    pub experiments: Vec<Arc<RoutedExperiment>>,
    /// SHA-256 of the archived form.
    pub digest: Name,
    /// The archived form.
    pub archived: Vec<u8>,
}

/// The routing inputs of an experiment in force. Its archived form has these fields in this order,
/// with the condition `P` as it was written.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RoutedExperiment<P = Predicate> {
    /// Its id.
    pub id: Name,
    /// Its part of the layer.
    pub slot: [f64; 2],
    /// The share of the slot in use.
    pub coverage: f64,
    /// The phase.
    pub phase: u32,
    /// SHA-256 of the spec.
    pub spec_digest: Name,
    /// Salt of the split; each batch has its own.
    pub salt: String,
    /// The batch, with adaptive shares.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub batch: Option<u32>,
    /// The winner, if it has shipped.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub shipped: Option<ShippedArm>,
    /// Who may enter.
    #[serde(skip_serializing_if = "Option::is_none", default = "Option::default")]
    pub eligible: Option<P>,
    /// The arms' names and shares.
    pub arms: Vec<(Name, f64)>,
    /// The arms that were dropped: their units have control's strategy.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub dropped: Vec<Name>,
    /// Whether it has shadow arms, which also run on units that it does not enrol.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub has_shadows: bool,
}

/// A shipped winner, which serves the slot except the holdback.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ShippedArm {
    /// Position of the winner.
    pub winner: usize,
    /// Position of the control.
    pub control: usize,
    /// The share that stays with control.
    pub holdback: f64,
}

/// The archived form: the source of expressions, and the types of their references.
#[derive(Serialize, Deserialize)]
struct Archived {
    schema: u32,
    point: Name,
    layer: Name,
    unit: Name,
    salt: String,
    holdout: f64,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    global_holdout: Option<GlobalHoldout>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    exclude: Option<String>,
    experiments: Vec<RoutedExperiment<String>>,
    types: BTreeMap<String, ValueType>,
}

impl RoutingTable {
    /// The table of a point; `schema` has the declarations against which its expressions were
    /// compiled.
    pub fn new(
        point: &Name,
        layer: &Layer,
        global_holdout: Option<&GlobalHoldout>,
        exclude: Option<&Predicate>,
        experiments: Vec<Arc<RoutedExperiment>>,
        schema: &dyn Schema,
    ) -> Self {
        let mut table = Self {
            point: point.clone(),
            layer: layer.clone(),
            global_holdout: global_holdout.cloned(),
            exclude: exclude.cloned(),
            experiments,
            digest: Name::default(),
            archived: Vec::new(),
        };
        // Text, numbers and lists always serialize to JSON.
        table.archived = serde_json::to_vec(&table.to_archive(schema)).unwrap_or_default();
        table.digest = crate::digest::digest(&table.archived).into();
        table
    }

    fn to_archive(&self, schema: &dyn Schema) -> Archived {
        let predicates = self.exclude.iter().chain(self.experiments.iter().filter_map(|e| e.eligible.as_ref()));
        let types = predicates
            .flat_map(Predicate::references)
            .filter_map(|reference| Some((reference.to_string(), schema.type_of(reference)?)))
            .collect();
        Archived {
            schema: SCHEMA,
            point: self.point.clone(),
            layer: self.layer.name.clone(),
            unit: self.layer.unit.clone(),
            salt: self.layer.salt.clone(),
            holdout: self.layer.holdout,
            global_holdout: self.global_holdout.clone(),
            exclude: self.exclude.as_ref().map(|exclude| exclude.source().to_owned()),
            experiments: self.experiments.iter().map(|experiment| experiment.to_archive()).collect(),
            types,
        }
    }

    /// Parses the archived form of any known version.
    ///
    /// # Errors
    /// What is invalid.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let archived: Archived = serde_json::from_slice(bytes).map_err(|e| format!("not a routing table: {e}"))?;
        if archived.schema != SCHEMA {
            return Err(format!("routing table of schema {}; known: {SCHEMA}", archived.schema));
        }
        let types = Types(&archived.types);
        let compile = |source: String| Predicate::compile(&source, &types).map_err(|e: ExpressionError| e.to_string());
        let exclude = archived.exclude.map(compile).transpose()?;
        let experiments = archived.experiments.into_iter().map(|e| Ok(Arc::new(e.compiled(compile)?)));
        let experiments = experiments.collect::<Result<_, String>>()?;
        Ok(Self {
            point: archived.point,
            layer: Layer { name: archived.layer, unit: archived.unit, salt: archived.salt, holdout: archived.holdout },
            global_holdout: archived.global_holdout,
            exclude,
            experiments,
            digest: crate::digest::digest(bytes).into(),
            archived: bytes.to_vec(),
        })
    }
}

impl<P> RoutedExperiment<P> {
    /// The same experiment, with its condition in another form.
    fn with<Q>(self, eligible: Option<Q>) -> RoutedExperiment<Q> {
        let Self { id, slot, coverage, phase, spec_digest, salt, batch, shipped, arms, dropped, has_shadows, .. } =
            self;
        RoutedExperiment {
            id,
            slot,
            coverage,
            phase,
            spec_digest,
            salt,
            batch,
            shipped,
            eligible,
            arms,
            dropped,
            has_shadows,
        }
    }
}

impl RoutedExperiment {
    fn to_archive(&self) -> RoutedExperiment<String> {
        self.clone().with(self.eligible.as_ref().map(|eligible| eligible.source().to_owned()))
    }
}

impl RoutedExperiment<String> {
    fn compiled(mut self, compile: impl Fn(String) -> Result<Predicate, String>) -> Result<RoutedExperiment, String> {
        let eligible = self.eligible.take().map(compile).transpose()?;
        Ok(self.with(eligible))
    }
}

/// The types of the references of archived expressions.
struct Types<'a>(&'a BTreeMap<String, ValueType>);

impl Schema for Types<'_> {
    fn type_of(&self, reference: &Reference) -> Option<ValueType> {
        self.0.get(&reference.to_string()).copied()
    }

    fn declared(&self) -> String {
        format!("declared: {}", self.0.keys().cloned().collect::<Vec<_>>().join(", "))
    }
}
