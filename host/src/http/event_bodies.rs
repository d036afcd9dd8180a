//! Bodies of events: the host's own JSON, the data of CloudEvents, and how the OpenAPI documents describe both.

use indexmap::IndexMap;
use serde::Deserialize;
use serin_core::unique;
use utoipa::{IntoParams, ToSchema};

use super::cloudevents::CloudEvent;
use super::wire::Object;

/// Outcomes.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WireOutcomes {
    /// The outcomes; each is answered for itself.
    #[serde(deserialize_with = "Object::list")]
    #[schema(max_items = 10000)]
    pub(super) outcomes: Vec<WireOutcome>,
}

/// What happened after a decision.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WireOutcome {
    /// The sender's id for it: sent twice, it counts once.
    #[schema(min_length = 1, max_length = 256)]
    pub(super) id: String,
    /// What happened; needed unless `reverses` is given.
    #[schema(example = "cured", min_length = 1, max_length = 64, nullable = false)]
    pub(super) name: Option<String>,
    /// How much; 1 for a plain event. Needed unless `reverses` is given.
    #[schema(nullable = false)]
    pub(super) value: Option<f64>,
    /// The outcome that is taken back, by its id; it may be sent later. A correction is a reversal and an
    /// outcome with a new id.
    #[schema(min_length = 1, max_length = 256, nullable = false)]
    pub(super) reverses: Option<String>,
    /// When, RFC 3339; now where left out.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(super) at: Option<String>,
    /// The decision that it is about; or `entity`.
    pub(super) decision_id: Option<String>,
    /// The one entity that it is about: kind and id; or `decision_id`.
    #[serde(default, deserialize_with = "unique::optional_keys")]
    #[schema(value_type = Option<std::collections::HashMap<String, String>>)]
    pub(super) entity: Option<IndexMap<String, String>>,
}

/// Exposures.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WireExposures {
    /// The exposures; each is answered for itself.
    #[serde(deserialize_with = "Object::list")]
    #[schema(max_items = 10000)]
    pub(super) exposures: Vec<WireExposure>,
}

/// Somebody saw what a decision led to.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WireExposure {
    /// The decision.
    pub(super) decision_id: String,
    /// When, RFC 3339; now where left out.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(super) at: Option<String>,
}

/// The data of an outcome's event. Id and time are attributes of the event.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct OutcomeData {
    /// What happened; needed unless `reverses` is given.
    #[schema(example = "cured", min_length = 1, max_length = 64, nullable = false)]
    pub(super) name: Option<String>,
    /// How much; 1 for a plain event. Needed unless `reverses` is given.
    #[schema(nullable = false)]
    pub(super) value: Option<f64>,
    /// The outcome that is taken back: the id of an event of the same source. It stands alone.
    #[schema(nullable = false)]
    pub(super) reverses: Option<String>,
    /// The decision that it is about; or `entity`.
    pub(super) decision_id: Option<String>,
    /// The one entity that it is about: kind and id; or `decision_id`.
    #[serde(default, deserialize_with = "unique::optional_keys")]
    #[schema(value_type = Option<std::collections::HashMap<String, String>>)]
    pub(super) entity: Option<IndexMap<String, String>>,
}

/// The data of an exposure's event. Id and time are attributes of the event.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ExposureData {
    /// The decision.
    pub(super) decision_id: String,
}

impl From<CloudEvent<OutcomeData>> for WireOutcome {
    fn from(event: CloudEvent<OutcomeData>) -> Self {
        let (id, reverses) = (event.key(), event.data.reverses.as_deref().map(|id| event.key_of(id)));
        let CloudEvent { time, data: OutcomeData { name, value, decision_id, entity, .. }, .. } = event;
        Self { id, name, value, reverses, at: time, decision_id, entity }
    }
}

/// Outcomes; or in CloudEvents' binary mode, with the `ce-` headers, the data of one event.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
#[allow(dead_code, reason = "describes bodies in the OpenAPI document")]
pub(super) enum OutcomesBody {
    Plain(WireOutcomes),
    Data(OutcomeData),
}

/// Exposures; or in CloudEvents' binary mode, with the `ce-` headers, the data of one event.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
#[allow(dead_code, reason = "describes bodies in the OpenAPI document")]
pub(super) enum ExposuresBody {
    Plain(WireExposures),
    Data(ExposureData),
}

/// An outcome as a CloudEvent. Other attributes and extensions are ignored.
#[derive(ToSchema)]
#[schema(example = json!({
    "specversion": "1.0", "type": "serin.outcome.v1", "source": "/payments", "id": "p-1",
    "data": { "name": "paid", "value": 59.9, "entity": { "borrower": "b-17" } }
}))]
#[allow(dead_code, reason = "describes bodies in the OpenAPI document")]
pub(super) struct OutcomeEvent {
    /// The version of the specification.
    #[schema(pattern = "^1\\.0$")]
    specversion: String,
    /// What the event is.
    #[schema(rename = "type", pattern = "^serin\\.outcome\\.v1$")]
    kind: String,
    /// Who sends it: a URI reference. With the id it is at most 255 bytes.
    #[schema(min_length = 1, max_length = 254, pattern = "^\\S+$")]
    source: String,
    /// The event's id, unique in its source: sent twice, it counts once.
    #[schema(min_length = 1, max_length = 254)]
    id: String,
    /// When it happened, RFC 3339; now where left out.
    #[schema(format = DateTime, nullable = false)]
    time: Option<String>,
    /// The media type of the data.
    #[schema(pattern = "^application/json$", nullable = false)]
    datacontenttype: Option<String>,
    /// What happened.
    data: OutcomeData,
}

/// An exposure as a CloudEvent. Other attributes and extensions are ignored.
#[derive(ToSchema)]
#[schema(example = json!({
    "specversion": "1.0", "type": "serin.exposure.v1", "source": "/app", "id": "e-1",
    "data": { "decision_id": "01a21d4d-5bd6-7be6-9b88-2737e76606ed" }
}))]
#[allow(dead_code, reason = "describes bodies in the OpenAPI document")]
pub(super) struct ExposureEvent {
    /// The version of the specification.
    #[schema(pattern = "^1\\.0$")]
    specversion: String,
    /// What the event is.
    #[schema(rename = "type", pattern = "^serin\\.exposure\\.v1$")]
    kind: String,
    /// Who sends it: a URI reference. With the id it is at most 255 bytes.
    #[schema(min_length = 1, max_length = 254, pattern = "^\\S+$")]
    source: String,
    /// The event's id, unique in its source: sent twice, it counts once.
    #[schema(min_length = 1, max_length = 254)]
    id: String,
    /// When it happened, RFC 3339; now where left out.
    #[schema(format = DateTime, nullable = false)]
    time: Option<String>,
    /// The media type of the data.
    #[schema(pattern = "^application/json$", nullable = false)]
    datacontenttype: Option<String>,
    /// The decision.
    data: ExposureData,
}

/// The attributes of an event in CloudEvents' binary mode. The first four go together.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[allow(dead_code, reason = "describes bodies in the OpenAPI document")]
pub(super) struct BinaryMode {
    /// CloudEvents, binary mode: the version of the specification
    #[param(rename = "ce-specversion", pattern = "^1\\.0$", nullable = false)]
    specversion: Option<String>,
    /// CloudEvents, binary mode: `serin.outcome.v1` or `serin.exposure.v1`, as the path has it
    #[param(rename = "ce-type", pattern = "^serin\\.(outcome|exposure)\\.v1$", nullable = false)]
    kind: Option<String>,
    /// CloudEvents, binary mode: who sends the event, a URI reference
    #[param(rename = "ce-source", pattern = "^[!-~]+$", nullable = false)]
    source: Option<String>,
    /// CloudEvents, binary mode: the event's id, unique in its source
    #[param(rename = "ce-id", pattern = "^[!-~]+$", nullable = false)]
    id: Option<String>,
    /// CloudEvents, binary mode: when it happened, RFC 3339; now where left out
    #[param(rename = "ce-time", format = DateTime, nullable = false)]
    time: Option<String>,
}
