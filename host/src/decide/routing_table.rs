//! The routing inputs of a decision point. Routing reads nothing else. The table is archived by
//! digest, and each record names its digest, so the whole routing of any record can be recomputed.

use std::collections::BTreeMap;

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
    pub experiments: Vec<RoutedExperiment>,
    /// SHA-256 of the archived form.
    pub digest: Name,
    /// The archived form.
    pub archived: Vec<u8>,
}

/// The routing inputs of an experiment in force.
pub struct RoutedExperiment {
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
    pub batch: Option<u32>,
    /// The winner, if it has shipped.
    pub shipped: Option<ShippedArm>,
    /// Who may enter.
    pub eligible: Option<Predicate>,
    /// The arms' names and shares.
    pub arms: Vec<(Name, f64)>,
    /// Whether it has shadow arms, which also run on units that it does not enrol.
    pub has_shadows: bool,
}

/// A shipped winner, which serves the slot except the holdback.
#[derive(Debug, Clone, Copy, PartialEq)]
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
    global_holdout: Option<ArchivedHoldout>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    exclude: Option<String>,
    experiments: Vec<ArchivedExperiment>,
    types: BTreeMap<String, ValueType>,
}

#[derive(Serialize, Deserialize)]
struct ArchivedHoldout {
    unit: Name,
    salt: String,
    share: f64,
}

#[derive(Serialize, Deserialize)]
struct ArchivedExperiment {
    id: Name,
    slot: [f64; 2],
    coverage: f64,
    phase: u32,
    spec_digest: Name,
    salt: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    batch: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    shipped: Option<ArchivedShipped>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    eligible: Option<String>,
    arms: Vec<(Name, f64)>,
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    has_shadows: bool,
}

#[derive(Serialize, Deserialize)]
struct ArchivedShipped {
    winner: usize,
    control: usize,
    holdback: f64,
}

impl RoutingTable {
    /// The table of a point; `schema` has the declarations against which its expressions were
    /// compiled.
    pub fn new(
        point: &Name,
        layer: &Layer,
        global_holdout: Option<&GlobalHoldout>,
        exclude: Option<&Predicate>,
        experiments: Vec<RoutedExperiment>,
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
        table.digest = serin_core::digest(&table.archived).into();
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
            global_holdout: self.global_holdout.as_ref().map(|holdout| ArchivedHoldout {
                unit: holdout.unit.clone(),
                salt: holdout.salt.clone(),
                share: holdout.share,
            }),
            exclude: self.exclude.as_ref().map(|exclude| exclude.source().to_owned()),
            experiments: self.experiments.iter().map(RoutedExperiment::to_archive).collect(),
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
        let compile = |source: &Option<String>| -> Result<Option<Predicate>, String> {
            let compiled = source.as_ref().map(|source| Predicate::compile(source, &Types(&archived.types)));
            compiled.transpose().map_err(|e: ExpressionError| e.to_string())
        };
        let (exclude, eligible) = (
            compile(&archived.exclude)?,
            archived.experiments.iter().map(|e| compile(&e.eligible)).collect::<Result<Vec<_>, _>>()?,
        );
        let experiments = archived.experiments.into_iter().zip(eligible);
        Ok(Self {
            point: archived.point,
            layer: Layer { name: archived.layer, unit: archived.unit, salt: archived.salt, holdout: archived.holdout },
            global_holdout: archived.global_holdout.map(|holdout| GlobalHoldout {
                unit: holdout.unit,
                salt: holdout.salt,
                share: holdout.share,
            }),
            exclude,
            experiments: experiments.map(|(e, eligible)| RoutedExperiment::from_archive(e, eligible)).collect(),
            digest: serin_core::digest(bytes).into(),
            archived: bytes.to_vec(),
        })
    }
}

impl RoutedExperiment {
    fn to_archive(&self) -> ArchivedExperiment {
        ArchivedExperiment {
            id: self.id.clone(),
            slot: self.slot,
            coverage: self.coverage,
            phase: self.phase,
            spec_digest: self.spec_digest.clone(),
            salt: self.salt.clone(),
            batch: self.batch,
            shipped: self.shipped.map(|ShippedArm { winner, control, holdback }| ArchivedShipped {
                winner,
                control,
                holdback,
            }),
            eligible: self.eligible.as_ref().map(|eligible| eligible.source().to_owned()),
            arms: self.arms.clone(),
            has_shadows: self.has_shadows,
        }
    }

    fn from_archive(archived: ArchivedExperiment, eligible: Option<Predicate>) -> Self {
        Self {
            id: archived.id,
            slot: archived.slot,
            coverage: archived.coverage,
            phase: archived.phase,
            spec_digest: archived.spec_digest,
            salt: archived.salt,
            batch: archived.batch,
            shipped: archived.shipped.map(|ArchivedShipped { winner, control, holdback }| ShippedArm {
                winner,
                control,
                holdback,
            }),
            eligible,
            arms: archived.arms,
            has_shadows: archived.has_shadows,
        }
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
