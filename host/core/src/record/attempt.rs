//! One run of one version inside a decision, and what came of it.

use serde::{Deserialize, Serialize};

use super::{ScoreRecord, StrategyId};
use crate::limits::Limits;
use crate::value::Value;
use crate::{Name, NameMap};

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
    /// An experiment's shadow arm, after the answer had left.
    Shadow,
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
    /// What the probabilities summed to, where rounding had kept that from being 1 and the host
    /// divided them by it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub normalized_from: Option<f64>,
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
    /// This version's last runs all ended without fuel or time, and it is left alone for a while.
    BreakerOpen,
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
            Self::BreakerOpen => "breaker_open",
            Self::NoTime => "no_time",
            Self::NotLoaded => "not_loaded",
        }
    }

    /// Says whether the machine's state caused it, not the record: such an outcome need not
    /// come again in a replay.
    pub fn is_environmental(self) -> bool {
        matches!(self, Self::Deadline | Self::Overloaded | Self::BreakerOpen | Self::NoTime | Self::NotLoaded)
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
    #[serde(deserialize_with = "crate::unique::keys")]
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
