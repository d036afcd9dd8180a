//! Attempts: one run of one version inside a decision, with its outcome.

use serde::{Deserialize, Serialize};

use super::{ScoreRecord, StrategyId};
use crate::limits::Limits;
use crate::value::Value;
use crate::{Name, NameMap};

/// The role of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// An experiment's arm.
    Arm,
    /// The decision point's own strategy; no experiment applies.
    Strategy,
    /// The decision point's own strategy, after the arm gave no answer.
    FallbackStrategy,
    /// An experiment's shadow arm, after the answer left.
    Shadow,
}

/// One run of one version inside a decision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// Its role.
    pub role: Role,
    /// The strategy that ran.
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
    /// The calls of the `models` import with their answers, in order.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub transcript: Vec<ModelCall>,
    /// The log lines.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub logs: Vec<LogLine>,
    /// Whether lines were cut off by the limit.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub logs_cut: bool,
    /// The outcome.
    pub outcome: Outcome,
    /// The sum of the probabilities before the host normalized them for rounding; none if it did
    /// not.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub normalized_from: Option<f64>,
    /// Fuel used.
    pub fuel: u64,
    /// Microseconds from the instance's start to its end. Not replayed.
    pub time_us: u64,
}

impl Attempt {
    /// The entries in `degraded` for the scores that an attempt lacked, where it could not begin without them.
    pub fn missing_scores(&self) -> impl Iterator<Item = String> {
        let is_why = matches!(self.outcome, Outcome::Failure { kind: FailureKind::ScoreMissing, .. });
        let lacking = self.scores.iter().filter(move |_| is_why);
        lacking.filter_map(|score| Some(format!("model:{}:{}", score.model.name, score.error.as_deref()?)))
    }

    /// The entry in `degraded` for an attempt without an answer, after those of [`Self::missing_scores`].
    pub fn trouble(&self) -> String {
        format!("strategy:{}@{}:{}", self.strategy.name, self.strategy.version, self.outcome.label())
    }
}

/// A call of the `models` import.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelCall {
    /// Position of the callable model in the manifest.
    pub model: u32,
    /// SHA-256 of the model's file; none if no model was reached.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub digest: Option<Name>,
    /// The rows that the strategy sent.
    pub rows: Vec<Vec<Value>>,
    /// The answer.
    pub answer: Result<Vec<f64>, CallError>,
    /// The model's error message, which the strategy does not see.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cause: Option<String>,
}

/// The error that the `models` import returned instead of scores.
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

/// The outcome of an attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Candidates, all checked.
    Candidates(Vec<Candidate>),
    /// The strategy declined.
    Refusal {
        /// The reason code.
        code: Name,
        /// The message.
        message: String,
    },
    /// It gave no answer.
    Failure {
        /// The kind of failure.
        kind: FailureKind,
        /// Details.
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
    /// It requested more memory than granted.
    Memory,
    /// It requested larger tables than granted.
    Tables,
    /// Its answer breaks the contract.
    OutputInvalid,
    /// Its answer, or an argument of a host call, is larger than granted.
    OutputTooLarge,
    /// A feature without a default is missing.
    FeatureMissing,
    /// A score without a fallback is missing.
    ScoreMissing,
    /// No slot was free for this version, or the machine had no room for a run.
    Overloaded,
    /// The version's breaker is open: its last runs all ended without fuel or time.
    BreakerOpen,
    /// No time was left to start.
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

    /// Says whether the environment caused it. Such an outcome need not recur in a replay.
    pub fn is_environmental(self) -> bool {
        matches!(self, Self::Deadline | Self::Overloaded | Self::BreakerOpen | Self::NoTime | Self::NotLoaded)
    }
}

/// A proposed action, with names instead of positions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// The action.
    pub action: Name,
    /// Probability of drawing it.
    pub probability: f64,
    /// The action's parameters.
    #[serde(deserialize_with = "crate::unique::keys")]
    pub parameters: NameMap<Value>,
    /// The reasons.
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
