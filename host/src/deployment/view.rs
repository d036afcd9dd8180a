//! Feature views as they are declared.

use serin_core::value::ValueType;
use serin_core::{Name, NameMap};

/// A feature view as the deployment declares it.
#[derive(Debug, Clone, PartialEq)]
pub struct ViewSpec {
    /// The view's name.
    pub name: Name,
    /// The kind of entity whose id is the key.
    pub entity: Name,
    /// How old a value may be, in milliseconds; none: for ever.
    pub ttl_ms: Option<u64>,
    /// How far in the future an event time may lie, in milliseconds. Farther, it is a mistake that
    /// would keep every later value out.
    pub future_tolerance_ms: u64,
    /// The columns and their types.
    pub columns: NameMap<ValueType>,
    /// No strategy and no expression can read it: analyses alone do.
    pub analysis_only: bool,
}

impl ViewSpec {
    /// Says whether a value of this event time is older than the view allows.
    pub fn is_stale(&self, event_time_ms: u64, now_ms: u64) -> bool {
        self.ttl_ms.is_some_and(|ttl| now_ms.saturating_sub(event_time_ms) > ttl)
    }

    /// The column's name and type.
    ///
    /// # Errors
    /// That the view has no such column, and which it has.
    pub fn column(&self, column: &str) -> Result<(&Name, ValueType), String> {
        self.columns.get_key_value(column).map(|(name, value_type)| (name, *value_type)).ok_or_else(|| {
            let known: Vec<&str> = self.columns.keys().map(|c| &**c).collect();
            // What somebody sent is not sent back whole.
            let column: String = column.chars().take(64).collect();
            format!("column '{column}' is not of view '{}'; columns: {}", self.name, known.join(", "))
        })
    }
}
