//! A decision request, checked against its decision point.

use std::sync::Arc;

use indexmap::IndexMap;
use serin_core::value::Value;
use serin_core::{NameMap, identifier};

use super::{DeploymentSnapshot, Point};

/// A request as it arrived.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DecisionRequest {
    /// The decision point.
    pub decision_point: String,
    /// Ids by kind of entity.
    pub entities: IndexMap<String, String>,
    /// The context.
    pub context: IndexMap<String, Value>,
    /// The unit's local offset from UTC, in minutes.
    pub utc_offset_minutes: i32,
    /// A forced arm.
    pub force: Option<Force>,
    /// Its record is not kept, so the unit does not enter.
    pub dry_run: bool,
}

/// A forced arm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Force {
    /// The experiment.
    pub experiment: String,
    /// The arm.
    pub arm: String,
}

/// Why a request cannot be decided.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// No such decision point.
    #[error("decision point '{name}' is not known; known: {known}")]
    UnknownPoint {
        /// The name given.
        name: String,
        /// The points that there are.
        known: String,
    },
    /// A key is missing, unknown or of another type.
    #[error("{key}: {why}")]
    Invalid {
        /// The key.
        key: String,
        /// What is wrong, and what is valid.
        why: String,
    },
}

fn invalid<T>(key: impl Into<String>, why: impl Into<String>) -> Result<T, RequestError> {
    Err(RequestError::Invalid { key: key.into(), why: why.into() })
}

/// A request that fits its point.
pub(super) struct Admitted {
    pub point: Arc<Point>,
    pub entities: NameMap<String>,
    pub context: NameMap<Value>,
}

/// The largest offset of a local time from UTC, in minutes.
pub const MAX_OFFSET: i32 = 24 * 60;

pub(super) fn admit(deployment: &DeploymentSnapshot, request: &DecisionRequest) -> Result<Admitted, RequestError> {
    let Some(point) = deployment.points.get(request.decision_point.as_str()) else {
        let mut known: Vec<&str> = deployment.points.keys().map(|name| &**name).collect();
        known.sort_unstable();
        return Err(RequestError::UnknownPoint { name: clip(&request.decision_point), known: known.join(", ") });
    };
    let mut entities = NameMap::with_capacity_and_hasher(point.entities.len(), Default::default());
    for kind in &point.entities {
        match request.entities.get(&**kind) {
            Some(id) => match identifier::check(id) {
                Ok(()) => entities.insert(kind.clone(), id.clone()),
                Err(why) => return invalid(format!("entities.{kind}"), why),
            },
            None => {
                let all: Vec<&str> = point.entities.iter().map(|e| &**e).collect();
                return invalid(
                    format!("entities.{kind}"),
                    format!("is missing; '{}' needs: {}", point.name, all.join(", ")),
                );
            }
        };
    }
    if let Some(unknown) = request.entities.keys().find(|kind| !point.entities.iter().any(|e| **e == ***kind)) {
        let all: Vec<&str> = point.entities.iter().map(|e| &**e).collect();
        return invalid(
            format!("entities.{}", clip(unknown)),
            format!("is not an entity of '{}'; its entities: {}", point.name, all.join(", ")),
        );
    }
    let mut context = NameMap::with_capacity_and_hasher(point.context.len(), Default::default());
    for (name, field) in &point.context {
        let given = request.context.get(&**name).cloned().unwrap_or(Value::Missing);
        match field.value_type.admit(given) {
            Ok(Value::Missing) if !field.optional => {
                return invalid(
                    format!("context.{name}"),
                    format!("is missing; it is {} and required", field.value_type),
                );
            }
            Ok(value) => {
                if let Err(why) = value.check_size() {
                    return invalid(format!("context.{name}"), why);
                }
                context.insert(name.clone(), value)
            }
            Err(is) => return invalid(format!("context.{name}"), format!("is {is}, not {}", field.value_type)),
        };
    }
    if let Some(unknown) = request.context.keys().find(|key| !point.context.contains_key(key.as_str())) {
        let all: Vec<&str> = point.context.keys().map(|k| &**k).collect();
        return invalid(format!("context.{}", clip(unknown)), format!("is not declared; declared: {}", all.join(", ")));
    }
    if !(-MAX_OFFSET..=MAX_OFFSET).contains(&request.utc_offset_minutes) {
        return invalid("utc_offset_minutes", format!("valid: -{MAX_OFFSET} to {MAX_OFFSET}"));
    }
    Ok(Admitted { point: Arc::clone(point), entities, context })
}

/// A client's text, truncated for use in an error.
fn clip(text: &str) -> String {
    if text.chars().count() <= 64 { text.to_owned() } else { text.chars().take(64).chain(['…']).collect() }
}
