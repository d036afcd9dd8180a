//! Decision points as they are declared.

use std::time::Duration;

use indexmap::IndexMap;
use serin_core::experiment::Pin;
use serin_core::expression::Predicate;
use serin_core::value::{Value, ValueType};
use serin_core::{Name, NameMap};

use super::{FlagValue, Layer};

/// A decision point as it is configured; its versions are not bound yet.
#[derive(Debug, Clone)]
pub struct PointSpec {
    /// The pinned strategy.
    pub strategy: Pin,
    /// Its parameters in place of the defaults.
    pub parameters: IndexMap<String, Value>,
    /// Its layer.
    pub layer: Layer,
    /// The kinds of entity.
    pub entities: Vec<Name>,
    /// The typed context.
    pub context: NameMap<ContextField>,
    /// The actions.
    pub actions: Vec<Name>,
    /// Whom no strategy decides about.
    pub exclude: Option<Predicate>,
    /// The time that a decision has.
    pub deadline: Duration,
    /// The action of last resort.
    pub fallback: FallbackAction,
    /// Whether answers wait for their records.
    pub must_log: bool,
    /// What it answers as a flag.
    pub flag: FlagValue,
}

impl PointSpec {
    /// The version that it is pinned to, with its parameters: what a pin is compared by.
    pub fn pinned(&self) -> String {
        let parameters = serde_json::to_string(&self.parameters).unwrap_or_default();
        format!("{} {parameters}", self.strategy)
    }
}

/// A key of a request's context.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContextField {
    /// Its type.
    pub value_type: ValueType,
    /// Whether a request may leave it out.
    pub optional: bool,
}

/// The action of last resort.
#[derive(Debug, Clone)]
pub struct FallbackAction {
    /// The action.
    pub action: Name,
    /// Its parameters.
    pub parameters: NameMap<Value>,
}
