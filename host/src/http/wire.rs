//! What is sent and received.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Instant;

use axum::body::Bytes;
use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use indexmap::IndexMap;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, DeserializeOwned, MapAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serin_core::NameMap;
use serin_core::record::Record;
use serin_core::unique;
use serin_core::value::Value;
use tokio::sync::OwnedSemaphorePermit;
use utoipa::ToSchema;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, SchemaType, Type};

use super::bytes::HeldBytes;
use super::rejudged::still_accepted;
use super::{Problem, Service};
use crate::decide::{DecisionRequest, Force, MAX_OFFSET};

/// A decision request.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "decision_point": "collections-outreach",
    "entities": { "borrower": "b-17", "loan": "l-88" },
    "context": { "days_past_due": 12, "channel": "batch" }
}))]
pub struct WireRequest {
    /// The decision point.
    pub decision_point: String,
    /// Ids by kind of entity: 1 to 256 bytes each, without control characters, and without blanks around them.
    #[serde(deserialize_with = "unique::keys")]
    #[schema(value_type = std::collections::HashMap<String, String>)]
    pub entities: IndexMap<String, String>,
    /// The typed context that the decision point declares.
    #[serde(default, deserialize_with = "unique::keys")]
    #[schema(value_type = std::collections::HashMap<String, WireValue>)]
    pub context: IndexMap<String, Value>,
    /// The unit's local offset from UTC, in minutes.
    #[serde(default, deserialize_with = "offset")]
    #[schema(minimum = -1440, maximum = 1440)]
    pub utc_offset_minutes: i32,
    /// An arm chosen by hand; on the admin listener only.
    #[serde(default, deserialize_with = "Object::option")]
    pub force: Option<WireForce>,
    /// Decide without recording; on the admin listener only.
    pub dry_run: Option<bool>,
}

/// An arm chosen by hand.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WireForce {
    /// The experiment.
    pub experiment: String,
    /// The arm.
    pub arm: String,
}

/// A value: null, a boolean, a whole number of 64 bits, a finite number or text. Stands in
/// the OpenAPI document for [`Value`], which serializes as the plain literal.
pub struct WireValue;

impl utoipa::PartialSchema for WireValue {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(SchemaType::from_iter([Type::Null, Type::Boolean, Type::Number, Type::String]))
            .description(Some(
                "null, a boolean, a whole number of 64 bits, a finite number or text, in requests of at most 4096 bytes",
            ))
            .into()
    }
}

impl ToSchema for WireValue {}

impl From<WireRequest> for DecisionRequest {
    fn from(wire: WireRequest) -> Self {
        Self {
            decision_point: wire.decision_point,
            entities: wire.entities,
            context: wire.context,
            utc_offset_minutes: wire.utc_offset_minutes,
            force: wire.force.map(|f| Force { experiment: f.experiment, arm: f.arm }),
            dry_run: wire.dry_run == Some(true),
        }
    }
}

/// A decision.
#[derive(Debug, Serialize, ToSchema)]
pub struct WireDecision<'a> {
    /// Id of the decision: exposures, outcomes and audits refer to it.
    pub decision_id: &'a str,
    /// The decision point.
    pub decision_point: &'a str,
    /// The action to take.
    pub action: &'a str,
    /// Its parameters.
    #[schema(value_type = std::collections::HashMap<String, WireValue>)]
    pub parameters: &'a NameMap<Value>,
    /// Why, most important first.
    pub reasons: Vec<WireReason<'a>>,
    /// The strategy that decided; null where the fallback action or a constraint did.
    pub strategy: Option<WireStrategy<'a>>,
    /// The experiment and arm; null where none applies.
    pub experiment: Option<WireAssignment<'a>>,
    /// Probability of the action, given the arm.
    #[schema(minimum = 0, maximum = 1)]
    pub propensity: f64,
    /// Who served: `arm`, `strategy`, `fallback_strategy`, `fallback_action` or `constraint`.
    pub served_by: &'a str,
    /// What was not as it should be.
    pub degraded: &'a [String],
}

/// A reason.
#[derive(Debug, Serialize, ToSchema)]
pub struct WireReason<'a> {
    /// The code.
    pub code: &'a str,
    /// The code in words.
    pub text: &'a str,
    /// How much it weighed.
    pub weight: f64,
}

/// A strategy's version.
#[derive(Debug, Serialize, ToSchema)]
pub struct WireStrategy<'a> {
    /// The plugin's name.
    pub name: &'a str,
    /// Its version.
    pub version: &'a str,
    /// SHA-256 of the artifact.
    pub digest: &'a str,
}

/// An experiment's arm.
#[derive(Debug, Serialize, ToSchema)]
pub struct WireAssignment<'a> {
    /// The experiment.
    pub id: &'a str,
    /// The arm.
    pub arm: &'a str,
    /// The phase.
    pub phase: u32,
}

impl<'a> From<&'a Record> for WireDecision<'a> {
    fn from(record: &'a Record) -> Self {
        let answer = &record.answer;
        Self {
            decision_id: &record.decision_id,
            decision_point: &record.decision_point,
            action: &answer.action,
            parameters: &answer.parameters,
            reasons: answer
                .reasons
                .iter()
                .map(|r| WireReason { code: &r.code, text: &r.text, weight: r.weight })
                .collect(),
            strategy: answer.strategy.as_ref().map(|s| WireStrategy {
                name: &s.name,
                version: &s.version,
                digest: &s.digest,
            }),
            experiment: record.routing.assignment.as_ref().map(|a| WireAssignment {
                id: &a.experiment,
                arm: &a.arm,
                phase: a.phase,
            }),
            propensity: answer.propensity,
            served_by: answer.served_by.as_str(),
            degraded: &answer.degraded,
        }
    }
}

/// Reads an offset, written in either way that JSON has for a whole number: 120 or 120.0.
fn offset<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i32, D::Error> {
    struct Minutes;
    impl Visitor<'_> for Minutes {
        type Value = i32;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a whole number of minutes; valid: -1440 to 1440")
        }
        fn visit_i64<E: de::Error>(self, v: i64) -> Result<i32, E> {
            let fits = i32::try_from(v).ok().filter(|v| (-MAX_OFFSET..=MAX_OFFSET).contains(v));
            fits.ok_or_else(|| E::invalid_value(Unexpected::Signed(v), &self))
        }
        fn visit_u64<E: de::Error>(self, v: u64) -> Result<i32, E> {
            let fits = i32::try_from(v).ok().filter(|v| *v <= MAX_OFFSET);
            fits.ok_or_else(|| E::invalid_value(Unexpected::Unsigned(v), &self))
        }
        fn visit_f64<E: de::Error>(self, v: f64) -> Result<i32, E> {
            let fits = v.fract() == 0.0 && v.abs() <= f64::from(MAX_OFFSET);
            if fits { Ok(v as i32) } else { Err(E::invalid_value(Unexpected::Float(v), &self)) }
        }
    }
    deserializer.deserialize_any(Minutes)
}

/// Parts of the path, with a problem document where they are not text.
pub struct InPath<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for InPath<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path(value) = Path::from_request_parts(parts, state)
            .await
            .map_err(|rejection| Problem::new(rejection.status(), "malformed-path", rejection.body_text()))?;
        Ok(Self(value))
    }
}

/// A value that is written as a JSON object and in no other way. What serde derives for a
/// struct would also take an array of its fields in their order, which is no part of the contract.
pub struct Object<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfMap<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for OfMap<T> {
            type Value = T;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map))
            }
        }
        deserializer.deserialize_map(OfMap(PhantomData)).map(Self)
    }
}

impl<'de, T: Deserialize<'de>> Object<T> {
    /// Reads an array of objects.
    ///
    /// # Errors
    /// What does not fit.
    pub fn list<D: Deserializer<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
        Ok(Vec::<Self>::deserialize(deserializer)?.into_iter().map(|object| object.0).collect())
    }

    /// Reads an object that may be null.
    ///
    /// # Errors
    /// What does not fit.
    pub fn option<D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
        Ok(Option::<Self>::deserialize(deserializer)?.map(|object| object.0))
    }
}

/// Bytes of a body that are parsed where they arrive. More would hold up a worker of the
/// listeners for long enough that other requests notice.
const PARSED_IN_PLACE: usize = 32 << 10;

/// A body of JSON, with errors that name the key. It takes a place among the requests in
/// flight before the first byte is kept, and gives it back when it is dropped.
pub struct Body {
    /// The bytes, decompressed.
    pub bytes: Bytes,
    /// When the request's head was read: its time runs from here.
    pub arrived: Instant,
    _held: HeldBytes,
    _place: OwnedSemaphorePermit,
}

impl FromRequest<Arc<Service>> for Body {
    type Rejection = Problem;

    async fn from_request(mut request: Request, service: &Arc<Service>) -> Result<Self, Problem> {
        let arrived = Instant::now();
        let place = service.enter()?;
        let read = super::body::read(&mut request, service, arrived).await;
        let (bytes, held) = read.map_err(|problem| service.refuse(problem))?;
        still_accepted(service, &request)?;
        Ok(Self { bytes, arrived, _held: held, _place: place })
    }
}

impl Body {
    /// Parses the body, and makes of it what `then` makes; a large one apart from the listeners'
    /// workers.
    ///
    /// # Errors
    /// 400 where it is not JSON, 422 with the key where it does not fit.
    pub async fn parse_then<T: DeserializeOwned, U: Send + 'static>(
        &self,
        service: &Service,
        then: impl FnOnce(T) -> U + Send + 'static,
    ) -> Result<U, Problem> {
        if self.bytes.len() <= PARSED_IN_PLACE {
            return parse(&self.bytes).map(then);
        }
        let bytes = self.bytes.clone();
        service.lanes.compute(move || parse(&bytes).map(then)).await?
    }

    /// Makes of the bytes what `then` makes; of many apart from the listeners' workers.
    ///
    /// # Errors
    /// That the host is stopping, or failed.
    pub async fn bytes_then<U: Send + 'static>(
        &self,
        service: &Service,
        then: impl FnOnce(&[u8]) -> U + Send + 'static,
    ) -> Result<U, Problem> {
        if self.bytes.len() <= PARSED_IN_PLACE {
            return Ok(then(&self.bytes));
        }
        let bytes = self.bytes.clone();
        service.lanes.compute(move || then(&bytes)).await
    }

    /// Parses the body, which is small.
    ///
    /// # Errors
    /// 400 where it is not JSON, 422 with the key where it does not fit.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        parse(&self.bytes)
    }
}

/// An error of JSON without the names of Rust's types.
pub fn in_plain_words(why: &str) -> String {
    // What the standard library says of a number that it cannot read.
    if ["invalid digit found in string", "number too large to fit", "number too small to fit", "cannot parse integer"]
        .iter()
        .any(|words| why.starts_with(words))
    {
        return "is not a whole number that fits; valid: digits alone, like 100".to_owned();
    }
    let Some((found, rest)) = why.split_once(", expected ") else { return why.to_owned() };
    let (expected, place) = rest.find(" at line ").map_or((rest, ""), |at| rest.split_at(at));
    let expected = match expected {
        "f32" | "f64" => "a number",
        "usize" | "u8" | "u16" | "u32" | "u64" => "a whole number from 0",
        "isize" | "i8" | "i16" | "i32" | "i64" => "a whole number",
        object if object.starts_with("struct ") => "an object",
        other => other,
    };
    format!("{found}, expected {expected}{place}")
}

/// What is wrong with a query, without the words of the library that reads it.
pub fn unfit_query(rejection: &QueryRejection) -> Problem {
    let text = rejection.body_text();
    let why = text.strip_prefix("Failed to deserialize query string: ").unwrap_or(&text);
    let is_key = |key: &&str| key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let (key, why) = why.split_once(": ").filter(|(key, _)| is_key(key)).unwrap_or(("", why));
    let unknown = why.split_once("unknown field `").and_then(|(_, rest)| rest.split_once("`, expected "));
    match unknown {
        Some((key, valid)) => {
            let (key, valid) =
                (serin_core::printable_to(key, 64), valid.trim_start_matches("one of ").replace('`', ""));
            Problem::invalid(&*key, format!("{key}: no such key of this address; valid: {valid}"))
        }
        None if key.is_empty() => Problem::invalid("", in_plain_words(why)),
        None => Problem::invalid(key, format!("{key}: {}", in_plain_words(why))),
    }
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    // The plain parser first: finding out the key costs time that a good request need not pay.
    serde_json::from_slice(bytes).map(|Object(value)| value).map_err(|_| {
        let mut deserializer = serde_json::Deserializer::from_slice(bytes);
        match serde_path_to_error::deserialize::<_, Object<T>>(&mut deserializer) {
            Ok(_) => Problem::new(StatusCode::BAD_REQUEST, "malformed-body", "not JSON: more follows the value"),
            Err(error) => {
                let key = error.path().to_string();
                let why = in_plain_words(&error.inner().to_string());
                if error.inner().is_data() {
                    Problem::invalid(if key == "." { String::new() } else { key }, why)
                } else {
                    Problem::new(StatusCode::BAD_REQUEST, "malformed-body", format!("not JSON: {why}"))
                }
            }
        }
    })
}
