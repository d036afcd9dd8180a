//! The record: one decision with everything that it saw, so that the decision is a pure
//! function of it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::limits::Limits;
use crate::manifest::ModelId;
use crate::row::Row;
use crate::value::Value;
use crate::{Name, NameMap};

/// The version of the record's shape. Older ones stay readable and replayable.
pub const SCHEMA: u32 = 1;

/// One decision, whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// [`SCHEMA`] when it was written.
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
    /// Milliseconds that the decision was given.
    pub deadline_ms: u64,
    /// Whom it is about, by kind.
    pub entities: NameMap<String>,
    /// The request's context.
    pub context: NameMap<Value>,
    /// The rows that were read, by feature view: the union of what anybody here needs.
    pub features: NameMap<FeatureRow>,
    /// How the unit was routed.
    pub routing: Routing,
    /// The runs, in order.
    pub attempts: Vec<Attempt>,
    /// The host's random bits for this decision, in hexadecimal.
    pub entropy: Entropy,
    /// What was answered.
    pub answer: Answer,
    /// Microseconds spent in each stage.
    pub timings_us: NameMap<u64>,
}

/// 64 random bits. Hexadecimal in JSON, since not every reader of JSON keeps 64 bits.
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

/// What was read of one feature view for this decision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FeatureRow {
    /// The entity's id that was looked up; none where the request had none of this kind.
    pub entity: Option<String>,
    /// The row's standing.
    pub status: RowStatus,
    /// When the row's values were true, in milliseconds since the Unix epoch.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub event_time_ms: Option<u64>,
    /// The values that the point's union names. Null: the row has none.
    pub values: Row<Value>,
}

/// Standing of a feature row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RowStatus {
    /// Read, and younger than the view's TTL.
    Present,
    /// There is no row.
    Missing,
    /// Read, but older than the view's TTL: its values are kept here, and not used.
    Stale,
    /// The store failed, or had no time left.
    Error,
}

/// One declared score and what it was computed from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScoreRecord {
    /// The model.
    pub model: ModelId,
    /// SHA-256 of the model's file.
    pub digest: Name,
    /// The model's inputs, in the order of the manifest's mapping.
    pub inputs: Row<f64>,
    /// The score; none where the model failed.
    pub value: Option<f64>,
    /// What happened to a score that is none: `timeout`, `unavailable`, `not_finite` or
    /// `input_missing`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<Name>,
}

/// How a unit was routed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Routing {
    /// Set where the decision point's `exclude` held, or could not be evaluated.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub excluded: Option<String>,
    /// The layer.
    pub layer: Name,
    /// The unit's kind and id; none where the request lacks the layer's entity.
    pub unit: Option<Unit>,
    /// The unit's place in its layer.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub place: Option<f64>,
    /// Set where the layer's holdout keeps the unit.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub held_out: bool,
    /// Why an experiment whose slot holds the unit did not enrol it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub not_enrolled: Option<NotEnrolled>,
    /// The experiment and arm that took the unit.
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

/// An experiment that held the unit's place and did not enrol it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NotEnrolled {
    /// The experiment.
    pub experiment: Name,
    /// `not_eligible`, or `missing: REFERENCE`, or why eligibility could not be evaluated.
    pub why: String,
}

/// An assignment. It comes before execution, and failure does not change it.
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
    /// Chosen by hand on the admin listener; stays out of analysis.
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

/// For whom an attempt ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// An experiment's arm.
    Arm,
    /// The decision point's own strategy, where no experiment applies.
    Strategy,
    /// The decision point's own strategy, after the arm gave no answer.
    FallbackStrategy,
}

/// One run of one version inside a decision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// For whom it ran.
    pub role: Role,
    /// What ran.
    pub strategy: StrategyId,
    /// The parameters in force, in the manifest's order.
    pub parameters: Vec<Value>,
    /// The limits granted.
    pub limits: Limits,
    /// Positions in the manifest of the features that took their default.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub defaulted: Vec<u32>,
    /// The declared scores, in the manifest's order.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub scores: Vec<ScoreRecord>,
    /// Every call of the `models` import and what it answered.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub transcript: Vec<ModelCall>,
    /// What it logged.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub logs: Vec<LogLine>,
    /// Set where lines were cut off by the limit.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub logs_cut: bool,
    /// What came of it.
    pub outcome: Outcome,
    /// Fuel used.
    pub fuel: u64,
    /// Microseconds from the instance's start to its end. The environment's, not replayed.
    pub time_us: u64,
}

impl Attempt {
    /// How an attempt that gave no answer is listed among what was degraded.
    pub fn trouble(&self) -> String {
        format!("strategy:{}@{}:{}", self.strategy.name, self.strategy.version, self.outcome.label())
    }
}

/// A call of the `models` import.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelCall {
    /// Position of the callable model in the manifest.
    pub model: u32,
    /// SHA-256 of the model's file; none where no model was reached.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub digest: Option<Name>,
    /// The rows that the strategy sent.
    pub rows: Vec<Vec<Value>>,
    /// The answer.
    pub answer: Result<Vec<f64>, CallError>,
    /// What a model that failed said, which the strategy is not told.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cause: Option<String>,
}

/// What the `models` import answered instead of scores.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallError {
    /// No callable model at that position.
    UnknownModel,
    /// A row does not fit.
    InvalidRow(String),
    /// The decision's time ran out.
    Timeout,
    /// The model failed.
    Unavailable,
    /// Too many calls or rows.
    LimitReached,
}

/// A line that a strategy logged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// `debug`, `info` or `warn`.
    pub level: Name,
    /// The line.
    pub message: String,
}

/// What came of an attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Candidates, all checked.
    Candidates(Vec<Candidate>),
    /// The strategy declined.
    Refusal {
        /// The reason code.
        code: Name,
        /// Its words.
        message: String,
    },
    /// It gave no answer.
    Failure {
        /// The kind of failure.
        kind: FailureKind,
        /// What happened.
        detail: String,
    },
}

impl Outcome {
    /// A short name, for metric labels.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Candidates(_) => "answer",
            Self::Refusal { .. } => "refusal",
            Self::Failure { kind, .. } => kind.as_str(),
        }
    }
}

/// Why an attempt gave no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The guest trapped: a panic, a division by zero, a stack overflow.
    Trap,
    /// Its fuel ran out.
    FuelExhausted,
    /// Its wall time ran out.
    Deadline,
    /// It asked for more memory than granted.
    Memory,
    /// It asked for larger tables than granted.
    Tables,
    /// Its answer breaks the contract.
    OutputInvalid,
    /// Its answer, or what it passed to the host in a call, is larger than granted.
    OutputTooLarge,
    /// A feature without a default is missing.
    FeatureMissing,
    /// A score without a fallback is missing.
    ScoreMissing,
    /// No slot was free for this version.
    Overloaded,
    /// No time was left to begin.
    NoTime,
    /// The version is not loaded.
    NotLoaded,
}

impl FailureKind {
    /// The name in records and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trap => "trap",
            Self::FuelExhausted => "fuel_exhausted",
            Self::Deadline => "deadline",
            Self::Memory => "memory",
            Self::Tables => "tables",
            Self::OutputInvalid => "output_invalid",
            Self::OutputTooLarge => "output_too_large",
            Self::FeatureMissing => "feature_missing",
            Self::ScoreMissing => "score_missing",
            Self::Overloaded => "overloaded",
            Self::NoTime => "no_time",
            Self::NotLoaded => "not_loaded",
        }
    }

    /// Says whether the machine's state caused it, not the record: such an outcome need not
    /// come again in a replay.
    pub fn is_environmental(self) -> bool {
        matches!(self, Self::Deadline | Self::Overloaded | Self::NoTime | Self::NotLoaded)
    }
}

/// An action proposed, with names in place of positions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// The action.
    pub action: Name,
    /// Probability of drawing it.
    pub probability: f64,
    /// The action's parameters.
    pub parameters: NameMap<Value>,
    /// Why.
    pub reasons: Vec<ReasonWeight>,
}

/// A reason code and its weight.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReasonWeight {
    /// The code.
    pub code: Name,
    /// Its weight.
    pub weight: f64,
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

/// The answer, as the application receives it but for the ids.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The action.
    pub action: Name,
    /// Its parameters.
    pub parameters: NameMap<Value>,
    /// Why.
    pub reasons: Vec<AnswerReason>,
    /// The strategy that served; none where the fallback action did.
    pub strategy: Option<StrategyId>,
    /// Probability of the drawn action, given the arm.
    pub propensity: f64,
    /// Who served.
    pub served_by: ServedBy,
    /// What was not as it should be.
    pub degraded: Vec<String>,
}

/// A reason in words.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AnswerReason {
    /// The code.
    pub code: Name,
    /// The manifest's text for it.
    pub text: Name,
    /// Its weight.
    pub weight: f64,
}

impl Record {
    /// Reads a record of any known schema.
    ///
    /// # Errors
    /// What does not fit, or that the schema is newer than this program.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Head {
            schema: u32,
        }
        // Nearly all are of this schema: only where one is not is its head looked at.
        let wrong = match serde_json::from_slice::<Self>(bytes) {
            Ok(record) if record.schema == SCHEMA => return Ok(record),
            read => read.err(),
        };
        let head: Head = serde_json::from_slice(bytes).map_err(|e| format!("not a record: {e}"))?;
        Err(match (head.schema, wrong) {
            (SCHEMA, Some(error)) => format!("not a record of schema {SCHEMA}: {error}"),
            (other, _) => format!("schema {other} is not known here; known: {SCHEMA}"),
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
