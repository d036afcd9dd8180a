//! The record: one decision with all of its inputs. The decision is a pure function of it.

mod attempt;
pub mod binary;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::manifest::ModelId;
use crate::row::Row;
use crate::value::Value;
use crate::{Name, NameMap};

pub use attempt::{Attempt, CallError, Candidate, FailureKind, LogLine, ModelCall, Outcome, ReasonWeight, Role};

/// The schema version of records. Older versions stay readable and replayable.
///
/// 1 is the first, 2 names the routing table, and 3 is stored in the [`binary`] form; earlier ones are
/// stored as JSON.
pub const SCHEMA: u32 = 3;

/// One decision with all of its inputs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The schema version with which it was written.
    pub schema: u32,
    /// Id of the decision, a UUID of version 7.
    pub decision_id: String,
    /// The trace that the request belonged to (W3C trace context).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub trace_id: Option<String>,
    /// The decision point that asked.
    pub decision_point: Name,
    /// When it was made, in milliseconds since the Unix epoch.
    pub time_ms: u64,
    /// The unit's local offset from UTC, in minutes.
    pub utc_offset_minutes: i32,
    /// The deployment generation that served it.
    pub generation: u64,
    /// SHA-256 of the archived routing inputs: the layer, holdouts, conditions, and the experiments
    /// with their coverage. None in schema 1.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub deployment: Option<Name>,
    /// The deadline, in milliseconds.
    pub deadline_ms: u64,
    /// The ids of its entities, by kind.
    pub entities: NameMap<String>,
    /// The request's context.
    pub context: NameMap<Value>,
    /// The rows that were read, by feature view: the union of what the point's strategies,
    /// conditions and analyses need.
    pub features: NameMap<FeatureRow>,
    /// How the unit was routed.
    pub routing: Routing,
    /// The runs, in order.
    pub attempts: Vec<Attempt>,
    /// The host's random bits for this decision, in hexadecimal.
    pub entropy: Entropy,
    /// The answer.
    pub answer: Answer,
    /// Microseconds spent in each stage.
    pub timings_us: NameMap<u64>,
}

/// 64 random bits. Hexadecimal in JSON, because not every JSON parser keeps 64-bit integers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entropy(pub u64);

impl Entropy {
    /// A number in `[0, 1)` with 53 bits.
    pub fn unit(self) -> f64 {
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }
}

impl Serialize for Entropy {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:016x}", self.0))
    }
}

impl<'de> Deserialize<'de> for Entropy {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        u64::from_str_radix(&text, 16).map(Self).map_err(serde::de::Error::custom)
    }
}

/// The row of one feature view as it was read for this decision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FeatureRow {
    /// The entity id that was looked up; none if the request had none of this kind.
    pub entity: Option<String>,
    /// The row's status.
    pub status: RowStatus,
    /// The newest event time of the row, in milliseconds since the Unix epoch.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub event_time_ms: Option<u64>,
    /// The event times of columns that are older than the row's.
    #[serde(skip_serializing_if = "NameMap::is_empty", default)]
    pub column_times_ms: NameMap<u64>,
    /// The columns older than the view's TTL, if the row's newest value is not. Their values are
    /// recorded but not used.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub stale_columns: Vec<Name>,
    /// The values of the columns in the point's union. Null if the row has none.
    pub values: Row<Value>,
}

impl FeatureRow {
    /// The status of one column: the row's, or stale if only the column is.
    pub fn status_of(&self, column: &str) -> RowStatus {
        match self.status {
            RowStatus::Present if self.stale_columns.iter().any(|stale| **stale == *column) => RowStatus::Stale,
            status => status,
        }
    }

    /// The event time of a column.
    pub fn event_time_of(&self, column: &str) -> Option<u64> {
        self.column_times_ms.get(column).copied().or(self.event_time_ms)
    }
}

/// Status of a feature row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RowStatus {
    /// Read, and younger than the view's TTL.
    Present,
    /// There is no row.
    Missing,
    /// Read, but older than the view's TTL. Its values are recorded but not used.
    Stale,
    /// The store failed, or no time was left.
    Error,
}

/// One declared score and its inputs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScoreRecord {
    /// The model.
    pub model: ModelId,
    /// SHA-256 of the model's file.
    pub digest: Name,
    /// The model's inputs, in the order of the manifest's mapping.
    pub inputs: Row<f64>,
    /// The score; none if the model failed.
    pub value: Option<f64>,
    /// Why there is no score: `timeout`, `overloaded`, `breaker_open`, `invalid_row`, `unavailable`,
    /// `not_finite` or `input_missing`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<Name>,
}

/// How a unit was routed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Routing {
    /// Set if the decision point's `exclude` was true, or could not be evaluated: the reason.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub excluded: Option<String>,
    /// The layer.
    pub layer: Name,
    /// The unit's kind and id; none if the request lacks the layer's entity.
    pub unit: Option<Unit>,
    /// The unit's place in its layer.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub place: Option<f64>,
    /// Whether the layer's holdout or the global one holds the unit out.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub held_out: bool,
    /// Whether it is the global one.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub held_out_globally: bool,
    /// Why the experiment whose slot contains the unit did not enrol it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub not_enrolled: Option<NotEnrolled>,
    /// The unit's experiment and arm.
    pub assignment: Option<Assignment>,
}

/// A randomization unit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Unit {
    /// The entity's kind.
    pub kind: Name,
    /// Its id.
    pub id: String,
}

/// An experiment whose slot contains the unit and that did not enrol it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NotEnrolled {
    /// The experiment.
    pub experiment: Name,
    /// `not_eligible`, or `missing: REFERENCE`, or why eligibility could not be evaluated.
    pub why: String,
}

impl NotEnrolled {
    /// Whether eligibility was evaluated. A value that is missing, and nothing else, means that the unit is
    /// not eligible.
    pub fn is_evaluated(&self) -> bool {
        self.why == "not_eligible" || self.why.starts_with("missing: ")
    }

    /// The entry in `degraded` for an eligibility that could not be evaluated.
    pub fn trouble(&self) -> Option<String> {
        (!self.is_evaluated()).then(|| format!("eligible:{}:error", self.experiment))
    }
}

/// An assignment. It precedes execution, and a failed run does not change it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Assignment {
    /// The experiment's id.
    pub experiment: Name,
    /// The arm's name.
    pub arm: Name,
    /// The phase, counted from 1.
    pub phase: u32,
    /// SHA-256 of the applied spec.
    pub spec_digest: Name,
    /// The share of the slot in use.
    pub coverage: f64,
    /// Probability of this arm for an admitted unit.
    pub propensity: f64,
    /// The batch in which the arm was drawn, counted from 0; none if shares are fixed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub batch: Option<u32>,
    /// When the unit entered in that batch, in milliseconds since the Unix epoch. It keeps the batch
    /// until the window of its reward has closed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub entered_ms: Option<u64>,
    /// All arms' shares in that batch, in the spec's order.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub shares: Vec<f64>,
    /// Whether a winner has shipped: the arm is the winner's, or control's for a held-back unit.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub shipped: bool,
    /// Whether the arm was dropped: the unit has control's strategy, and is in no arm of the analysis.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub dropped: bool,
    /// Whether the arm was forced on the admin listener; then it stays out of the analysis.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub forced: bool,
}

/// A strategy's version.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct StrategyId {
    /// The plugin's name.
    pub name: Name,
    /// Its version.
    pub version: Name,
    /// SHA-256 of the artifact.
    pub digest: Name,
}

/// Who served the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServedBy {
    /// An experiment's arm.
    Arm,
    /// The decision point's strategy; no experiment applies.
    Strategy,
    /// The decision point's strategy, in place of an arm.
    FallbackStrategy,
    /// The decision point's fallback action.
    FallbackAction,
    /// The decision point's `exclude`.
    Constraint,
}

impl ServedBy {
    /// The name in answers and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Arm => "arm",
            Self::Strategy => "strategy",
            Self::FallbackStrategy => "fallback_strategy",
            Self::FallbackAction => "fallback_action",
            Self::Constraint => "constraint",
        }
    }
}

/// The answer as the application receives it, without ids.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The action.
    pub action: Name,
    /// Its parameters.
    pub parameters: NameMap<Value>,
    /// The reasons.
    pub reasons: Vec<AnswerReason>,
    /// The strategy that served; none if the fallback action did.
    pub strategy: Option<StrategyId>,
    /// Probability of the drawn action, given the arm.
    pub propensity: f64,
    /// Who served.
    pub served_by: ServedBy,
    /// Missing and failed inputs and attempts.
    pub degraded: Vec<String>,
}

/// A reason with its text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AnswerReason {
    /// The code.
    pub code: Name,
    /// The manifest's text for it.
    pub text: Name,
    /// Its weight.
    pub weight: f64,
}

/// The beginning of a record of any schema.
#[derive(Deserialize)]
struct Head {
    schema: u32,
}

impl Record {
    /// Parses the JSON of a record of any known schema.
    ///
    /// # Errors
    /// What is invalid, or that the schema is newer than this program.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        Self::read(serde_json::from_slice(bytes), || serde_json::from_slice(bytes))
    }

    /// Reads the binary form of a record of any known schema, written with the same `words`.
    ///
    /// # Errors
    /// What is invalid, or that the schema is newer than this program.
    pub fn decode(bytes: &[u8], words: &binary::Words) -> Result<Self, String> {
        Self::read(binary::decode(bytes, words), || binary::decode(bytes, words))
    }

    /// Fields of later schemas are optional, so one type parses all known schemas. The head is
    /// parsed separately only for the error message.
    fn read<E: std::fmt::Display>(
        read: Result<Self, E>,
        head: impl FnOnce() -> Result<Head, E>,
    ) -> Result<Self, String> {
        let wrong = match read {
            Ok(record) if (1..=SCHEMA).contains(&record.schema) => return Ok(record),
            read => read.err(),
        };
        let head = head().map_err(|e| format!("not a record: {e}"))?;
        Err(match (head.schema, wrong) {
            (known @ 1..=SCHEMA, Some(error)) => format!("not a record of schema {known}: {error}"),
            (other, _) => format!("schema {other} is not known here; known: 1 to {SCHEMA}"),
        })
    }

    /// The value of a feature as recorded; the request's context is the view `context`.
    pub fn feature(&self, view: &str, name: &str) -> Option<&Value> {
        if view == crate::manifest::CONTEXT_VIEW {
            return self.context.get(name);
        }
        self.features.get(view).and_then(|row| row.values.get(name))
    }

    /// The unit of the decision.
    pub fn unit(&self) -> Option<&Unit> {
        self.routing.unit.as_ref()
    }
}

/// A name from text.
pub fn name(text: &str) -> Name {
    Arc::from(text)
}
