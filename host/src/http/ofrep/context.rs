//! An evaluation context: from OpenFeature's attributes to a request of a decision point.

use std::fmt;

use indexmap::IndexMap;
use serde::de::{self, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serin_core::unique;
use serin_core::value::{Value, ValueType};
use utoipa::ToSchema;

use super::fault::Fault;
use crate::decide::{DecisionRequest, Point};

/// Attributes of one context. Clients merge it from several sources; beyond this it is a mistake.
const MAX_ATTRIBUTES: usize = 1000;
/// Whole numbers up to here are the same in every language.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// What is asked for. Keys that a later version of the protocol adds are ignored.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct WireEvaluation {
    /// Whom it is about, and what is known.
    #[serde(default, deserialize_with = "unique::optional_keys")]
    #[schema(value_type = WireEvaluationContext, required = true)]
    context: Option<IndexMap<String, Attribute>>,
}

/// An evaluation context.
#[derive(ToSchema)]
#[allow(dead_code, reason = "describes the context in the OpenAPI document")]
pub(super) struct WireEvaluationContext {
    /// The unit: the id of the entity that the decision point's layer randomizes.
    #[serde(rename = "targetingKey")]
    targeting_key: String,
    /// The ids of the decision point's other entities and its typed context, each under its own name. What the decision
    /// point does not declare is ignored.
    #[serde(flatten)]
    attributes: std::collections::HashMap<String, serde_json::Value>,
}

/// An attribute of a context.
#[derive(Debug, Clone)]
enum Attribute {
    /// What a context's field may be.
    Value(Value),
    /// What none may be.
    Other(&'static str),
}

impl<'de> Deserialize<'de> for Attribute {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Attribute;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }
            fn visit_unit<E: de::Error>(self) -> Result<Attribute, E> {
                Ok(Attribute::Value(Value::Missing))
            }
            fn visit_bool<E: de::Error>(self, v: bool) -> Result<Attribute, E> {
                Ok(Attribute::Value(Value::Boolean(v)))
            }
            fn visit_i64<E: de::Error>(self, v: i64) -> Result<Attribute, E> {
                Ok(Attribute::Value(Value::Integer(v)))
            }
            fn visit_u64<E: de::Error>(self, v: u64) -> Result<Attribute, E> {
                Ok(i64::try_from(v).map_or(Attribute::Other("a whole number of more than 64 bits"), |v| {
                    Attribute::Value(Value::Integer(v))
                }))
            }
            fn visit_f64<E: de::Error>(self, v: f64) -> Result<Attribute, E> {
                Ok(if v.is_finite() { Attribute::Value(Value::Number(v)) } else { Attribute::Other("not finite") })
            }
            fn visit_str<E: de::Error>(self, v: &str) -> Result<Attribute, E> {
                Ok(Attribute::Value(Value::Text(v.to_owned())))
            }
            fn visit_string<E: de::Error>(self, v: String) -> Result<Attribute, E> {
                Ok(Attribute::Value(Value::Text(v)))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Attribute, A::Error> {
                while items.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Attribute::Other("a list"))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Attribute, A::Error> {
                while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Attribute::Other("an object"))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

/// A context that says whom it is about.
#[derive(Debug)]
pub(super) struct EvaluationContext {
    targeting_key: String,
    attributes: IndexMap<String, Attribute>,
}

const TARGETING_KEY: &str = "targetingKey";
const NEEDED: &str = "targetingKey: the unit's id is needed, a text, like \"targetingKey\": \"b-17\"";
const OFFSET: &str = "utc_offset_minutes";

impl WireEvaluation {
    /// The context, with a targeting key.
    pub(super) fn context(self) -> Result<EvaluationContext, Fault> {
        let Some(mut attributes) = self.context else { return Err(Fault::no_targeting_key(NEEDED)) };
        if attributes.len() > MAX_ATTRIBUTES {
            let found = attributes.len();
            return Err(Fault::invalid(format!("context: {found} attributes; valid: at most {MAX_ATTRIBUTES}")));
        }
        match attributes.swap_remove(TARGETING_KEY) {
            Some(Attribute::Value(Value::Text(key))) if !key.is_empty() => {
                Ok(EvaluationContext { targeting_key: key, attributes })
            }
            None | Some(Attribute::Value(Value::Missing | Value::Text(_))) => Err(Fault::no_targeting_key(NEEDED)),
            Some(other) => Err(Fault::invalid(format!("targetingKey: is {}, not text", other.kind()))),
        }
    }
}

impl Attribute {
    fn kind(&self) -> &'static str {
        match self {
            Self::Value(value) => value.kind(),
            Self::Other(kind) => kind,
        }
    }
}

impl EvaluationContext {
    /// The request of a decision point. Attributes that the point does not declare are those of other flags.
    pub(super) fn request(&self, point: &Point) -> Result<DecisionRequest, Fault> {
        let mut request = DecisionRequest { decision_point: point.name.to_string(), ..DecisionRequest::default() };
        for kind in &point.entities {
            request.entities.insert(kind.to_string(), self.id(point, kind)?);
        }
        for (name, field) in &point.context {
            if let Some(value) = self.value(name, field.value_type)? {
                request.context.insert(name.to_string(), value);
            }
        }
        if !point.context.contains_key(OFFSET) {
            match self.value(OFFSET, ValueType::Integer)? {
                None | Some(Value::Missing) => {}
                Some(Value::Integer(minutes)) if i32::try_from(minutes).is_ok() => {
                    request.utc_offset_minutes = minutes as i32;
                }
                Some(_) => return Err(Fault::invalid(format!("{OFFSET}: a whole number of minutes is needed"))),
            }
        }
        Ok(request)
    }

    /// The id of an entity: the targeting key is the unit's.
    fn id(&self, point: &Point, kind: &str) -> Result<String, Fault> {
        let is_unit = *point.routing.layer.unit == *kind;
        match self.attributes.get(kind) {
            Some(Attribute::Value(Value::Text(id))) if !is_unit => Ok(id.clone()),
            Some(Attribute::Value(Value::Text(id))) if *id == self.targeting_key => Ok(id.clone()),
            None | Some(Attribute::Value(Value::Missing)) if is_unit => Ok(self.targeting_key.clone()),
            None | Some(Attribute::Value(Value::Missing)) => {
                let others = point.entities.iter().filter(|other| **other != point.routing.layer.unit);
                let others: Vec<&str> = others.map(|other| &**other).collect();
                Err(Fault::invalid(format!(
                    "{kind}: is missing; '{}' needs the ids of: {} (as targetingKey), {}",
                    point.name,
                    point.routing.layer.unit,
                    others.join(", ")
                )))
            }
            Some(Attribute::Value(Value::Text(_))) => Err(Fault::invalid(format!(
                "{kind}: is another id than targetingKey, which is the {kind}'s at '{}'; valid: the same, or leave it out",
                point.name
            ))),
            Some(other) => Err(Fault::invalid(format!("{kind}: is {}, not text", other.kind()))),
        }
    }

    /// The value of a field; none where it is not given. Many languages have one type of number, and write 12 as 12.0.
    fn value(&self, name: &str, wanted: ValueType) -> Result<Option<Value>, Fault> {
        Ok(match (self.attributes.get(name), wanted) {
            (None, _) => None,
            (Some(Attribute::Value(Value::Number(x))), ValueType::Integer) if x.fract() == 0.0 && x.abs() <= EXACT => {
                Some(Value::Integer(*x as i64))
            }
            (Some(Attribute::Value(value)), _) => Some(value.clone()),
            (Some(Attribute::Other(kind)), _) => {
                return Err(Fault::invalid(format!("{name}: is {kind}, not {wanted}")));
            }
        })
    }
}
