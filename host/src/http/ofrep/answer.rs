//! Evaluated flags and why there are none, as they are sent.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::value::RawValue;
use serin_core::record::Record;
use serin_core::value::{Value, ValueType};
use serin_core::{Name, NameMap};
use utoipa::ToSchema;

use crate::deployment::FlagValue;
use crate::http::resolution::resolution;

/// A flag's value.
#[derive(Debug, Serialize, ToSchema)]
pub struct FlagEvaluation<'a> {
    /// The decision point.
    key: &'a str,
    /// The value. It is left out where the action does not have the parameter that is the flag's number: the client's
    /// default applies.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    value: Option<WireFlagValue<'a>>,
    /// `SPLIT` in an experiment, `TARGETING_MATCH` by the pinned strategy, `STATIC` for the fallback action, and
    /// `DISABLED` where the point's `exclude` allows no strategy.
    reason: &'static str,
    /// `EXPERIMENT/ARM`, the strategy's version, or `fallback_action` or `constraint`.
    #[schema(value_type = String)]
    variant: Cow<'static, str>,
    /// Where it comes from.
    metadata: FlagMetadata<'a>,
}

/// A flag's value: an action, a boolean, a number, or an action with its parameters.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
enum WireFlagValue<'a> {
    /// An action.
    Action(&'a str),
    /// Whether it is another action than the fallback's.
    Boolean(bool),
    /// A parameter of the action.
    #[schema(value_type = f64)]
    Number(&'a Value),
    /// An action with its parameters.
    Object(WireAction<'a>),
}

/// An action with its parameters.
#[derive(Debug, Serialize, ToSchema)]
struct WireAction<'a> {
    /// The action.
    action: &'a str,
    /// Its parameters.
    #[schema(value_type = std::collections::HashMap<String, crate::http::wire::WireValue>)]
    parameters: &'a NameMap<Value>,
}

/// Where a flag's value comes from.
#[derive(Debug, Serialize, ToSchema)]
struct FlagMetadata<'a> {
    /// Id of the decision: exposures, outcomes and audits refer to it. Left out where it is not recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    decision_id: Option<&'a str>,
    /// The strategy's version; left out where none decided, as its digest is.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Option<String>)]
    strategy: Option<Version<'a>>,
    /// SHA-256 of the strategy's artifact.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    digest: Option<&'a str>,
    /// The experiment; left out where none applies, as its arm and phase are.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    experiment: Option<&'a str>,
    /// The experiment's arm.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    arm: Option<&'a str>,
    /// The experiment's phase.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    phase: Option<u32>,
    /// Probability of the action, given the arm.
    #[schema(minimum = 0, maximum = 1)]
    propensity: f64,
    /// Who served: `arm`, `strategy`, `fallback_strategy`, `fallback_action` or `constraint`.
    served_by: &'static str,
}

/// `NAME@VERSION`, written where it is sent.
#[derive(Debug)]
struct Version<'a>(&'a str, &'a str);

impl Serialize for Version<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{}@{}", self.0, self.1))
    }
}

impl<'a> FlagEvaluation<'a> {
    /// The flag of a recorded decision.
    pub(super) fn recorded(record: &'a Record, flag: &FlagValue, fallback: &Name) -> Self {
        let evaluation = Self::unrecorded(record, flag, fallback);
        Self { metadata: FlagMetadata { decision_id: Some(&record.decision_id), ..evaluation.metadata }, ..evaluation }
    }

    /// The flag of a decision that nobody can refer to.
    pub(super) fn unrecorded(record: &'a Record, flag: &FlagValue, fallback: &Name) -> Self {
        let (answer, assignment) = (&record.answer, record.routing.assignment.as_ref());
        let strategy = answer.strategy.as_ref();
        let (reason, variant) = resolution(record);
        Self {
            key: &record.decision_point,
            value: value(record, flag, fallback),
            reason,
            variant,
            metadata: FlagMetadata {
                decision_id: None,
                strategy: strategy.map(|strategy| Version(&strategy.name, &strategy.version)),
                digest: strategy.map(|strategy| &*strategy.digest),
                experiment: assignment.map(|assignment| &*assignment.experiment),
                arm: assignment.map(|assignment| &*assignment.arm),
                phase: assignment.map(|assignment| assignment.phase),
                propensity: answer.propensity,
                served_by: answer.served_by.as_str(),
            },
        }
    }
}

fn value<'a>(record: &'a Record, flag: &FlagValue, fallback: &Name) -> Option<WireFlagValue<'a>> {
    let answer = &record.answer;
    Some(match flag {
        FlagValue::Action => WireFlagValue::Action(&answer.action),
        FlagValue::Boolean => WireFlagValue::Boolean(answer.action != *fallback),
        FlagValue::Number(parameter) => {
            let value = answer.parameters.get(parameter)?;
            let is_number = matches!(value.type_of(), Some(ValueType::Integer | ValueType::Number));
            return is_number.then_some(WireFlagValue::Number(value));
        }
        FlagValue::Object => {
            WireFlagValue::Object(WireAction { action: &answer.action, parameters: &answer.parameters })
        }
    })
}

/// OFREP's codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ErrorCode {
    /// Not JSON.
    ParseError,
    /// Nobody to decide about.
    TargetingKeyMissing,
    /// The context does not fit the decision point.
    InvalidContext,
    /// No such decision point.
    FlagNotFound,
    /// Anything else.
    General,
}

/// Why a flag has no value.
#[derive(Debug, Serialize, ToSchema)]
pub struct FlagFault<'a> {
    /// The decision point.
    pub(super) key: &'a str,
    /// The kind of error.
    #[serde(rename = "errorCode")]
    pub(super) code: ErrorCode,
    /// What is wrong, and what would be valid.
    #[serde(rename = "errorDetails")]
    pub(super) details: &'a str,
}

impl<'a> FlagFault<'a> {
    fn general(key: &'a str, details: &'a str) -> Self {
        Self { key, code: ErrorCode::General, details }
    }
}

/// Why there are no flags.
#[derive(Debug, Serialize, ToSchema)]
pub struct BulkFault<'a> {
    /// The kind of error.
    #[serde(rename = "errorCode")]
    pub(super) code: ErrorCode,
    /// What is wrong, and what would be valid.
    #[serde(rename = "errorDetails")]
    pub(super) details: &'a str,
}

/// All flags.
#[derive(Debug, Serialize, ToSchema)]
pub struct BulkEvaluation {
    /// Each with its value, or with why it has none.
    flags: Vec<FlagResult>,
}

impl BulkEvaluation {
    pub(super) fn of(flags: Vec<FlagResult>) -> Self {
        Self { flags }
    }
}

/// A flag of a bulk evaluation.
#[derive(Debug, Serialize)]
pub(super) struct FlagResult(Box<RawValue>);

impl FlagResult {
    /// A flag that has a value.
    pub(super) fn of(flag: &FlagEvaluation<'_>) -> Option<Self> {
        serde_json::value::to_raw_value(flag).ok().map(Self)
    }

    /// A flag that has none.
    pub(super) fn without_value(fault: &FlagFault<'_>) -> Self {
        Self(serde_json::value::to_raw_value(fault).unwrap_or_default())
    }

    /// A flag that has none, for this reason.
    pub(super) fn general(key: &str, why: &str) -> Self {
        Self::without_value(&FlagFault::general(key, why))
    }
}

impl utoipa::PartialSchema for FlagResult {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
        use utoipa::openapi::{OneOfBuilder, Ref};
        OneOfBuilder::new()
            .item(Ref::from_schema_name("FlagEvaluation"))
            .item(Ref::from_schema_name("FlagFault"))
            .into()
    }
}

impl ToSchema for FlagResult {}
