//! CloudEvents 1.0 as bodies of events: binary, structured and batched, beside plain JSON.
//!
//! The format is read here, and not by the `cloudevents-sdk` crate: one event that is not valid must not hold up the
//! others of its batch, and has to say why; the crate reads a batch as a whole. It would bring `chrono`, `snafu` and
//! `delegate-attr` along.

use std::borrow::Cow;
use std::marker::PhantomData;
use std::sync::Arc;

use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, HeaderValue, header};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::wire::{Body, Object, in_plain_words};
use super::{Problem, Service};

/// The version of the specification.
const VERSION: &str = "1.0";
const STRUCTURED: &str = "application/cloudevents+json";
const BATCHED: &str = "application/cloudevents-batch+json";
/// Bytes of source and id together: the ledger's ids have one more.
const MAX_KEY: usize = 255;

/// An event with its data.
#[derive(Debug)]
pub struct CloudEvent<T> {
    /// What it is known by: source and id.
    source: String,
    id: String,
    /// When it happened, RFC 3339.
    pub time: Option<String>,
    /// What it says.
    pub data: T,
}

impl<T> CloudEvent<T> {
    /// The id under which the ledger knows it, or another event of its source.
    pub fn key_of(&self, id: &str) -> String {
        format!("{} {id}", self.source)
    }

    /// The id under which the ledger knows it.
    pub fn key(&self) -> String {
        self.key_of(&self.id)
    }
}

/// The attributes of an event that matter here. Others, and extensions, are ignored.
#[derive(Debug, Default, Deserialize)]
struct Attributes {
    specversion: Option<String>,
    id: Option<String>,
    source: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    time: Option<String>,
    datacontenttype: Option<String>,
    data: Option<Box<RawValue>>,
    data_base64: Option<Box<RawValue>>,
}

/// How events are written.
#[derive(Debug)]
enum Form {
    /// Plain JSON, the host's own.
    Plain,
    /// One event: its attributes are headers.
    Binary(Box<Attributes>),
    /// One event.
    Structured,
    /// A list of events.
    Batched,
}

/// A body of events.
pub struct EventBody {
    form: Form,
    body: Body,
}

/// Events as they were read, each for itself.
pub type ReadEvents<T> = Vec<Result<T, String>>;

impl FromRequest<Arc<Service>> for EventBody {
    type Rejection = Problem;

    async fn from_request(mut request: Request, service: &Arc<Service>) -> Result<Self, Problem> {
        let form = Form::of(request.headers()).map_err(|problem| service.refuse(problem))?;
        // SDKs leave the type of the data out in binary mode where it is JSON.
        let says_nothing = matches!(form, Form::Binary(_)) && !request.headers().contains_key(header::CONTENT_TYPE);
        if says_nothing || matches!(form, Form::Structured | Form::Batched) {
            // The rest of what is said of JSON holds for it, too.
            request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        Ok(Self { form, body: Body::from_request(request, service).await.map_err(names_types)? })
    }
}

impl EventBody {
    /// Whether it is written as CloudEvents.
    pub fn is_cloudevents(&self) -> bool {
        !matches!(self.form, Form::Plain)
    }

    /// Whether it is one event, whose refusal is that of the request.
    pub fn is_single(&self) -> bool {
        matches!(self.form, Form::Binary(_) | Form::Structured)
    }

    /// Reads the events: `plain` from the host's own JSON, `event` from a CloudEvent of the type `kind`.
    ///
    /// # Errors
    /// That the body as a whole cannot be read.
    pub async fn read<W, D, T>(
        self,
        service: &Service,
        plain: impl FnOnce(W) -> ReadEvents<T> + Send + 'static,
        kind: &'static str,
        event: impl Fn(CloudEvent<D>) -> Result<T, String> + Send + 'static,
    ) -> Result<ReadEvents<T>, Problem>
    where
        W: DeserializeOwned,
        D: DeserializeOwned,
        T: Send + 'static,
    {
        let body = self.body;
        match self.form {
            Form::Plain => body.parse_then(service, plain).await,
            Form::Binary(attributes) => {
                let with_data = move |bytes: &[u8]| {
                    let data = serde_json::from_slice(bytes).map_err(|error| malformed(&error))?;
                    Ok(vec![admit(Attributes { data: Some(data), ..*attributes }, kind).and_then(event)])
                };
                body.bytes_then(service, with_data).await?
            }
            Form::Structured => {
                let one = move |bytes: &[u8]| {
                    let whole: Box<RawValue> = serde_json::from_slice(bytes).map_err(|error| malformed(&error))?;
                    Ok(vec![parse(&whole, kind).and_then(event)])
                };
                body.bytes_then(service, one).await?
            }
            Form::Batched => {
                let all = move |bytes: &[u8]| {
                    let items: Vec<Box<RawValue>> = serde_json::from_slice(bytes).map_err(|error| malformed(&error))?;
                    Ok(items.iter().map(|item| parse(item, kind).and_then(&event)).collect())
                };
                body.bytes_then(service, all).await?
            }
        }
    }
}

/// What a body of events has to be sent as.
pub(super) const MEDIA_TYPES: &str = "the body has to be JSON, sent with 'content-type: application/json'; or CloudEvents, \
                                      with application/cloudevents+json or application/cloudevents-batch+json";

/// A refusal of a body's type, with the types of events.
fn names_types(problem: Problem) -> Problem {
    match problem.status == 415 && !problem.names_codings {
        true => Problem { detail: MEDIA_TYPES.to_owned(), ..problem },
        false => problem,
    }
}

/// Why an event is refused, in the words of CloudEvents: its time is an attribute, and what it says is its data.
pub(super) fn in_words_of_events(why: &str) -> String {
    match why.split_once(": ") {
        Some(("at", rest)) => format!("time: {rest}"),
        Some(("name" | "value" | "decision_id" | "entity", _)) => format!("data.{why}"),
        Some(("reverses", _)) => {
            format!("data.{}", why.replace("only id and at may", "only the event's id and time may"))
        }
        _ if why.starts_with("either decision_id") => format!("data: {why}"),
        _ => why.to_owned(),
    }
}

fn malformed(error: &serde_json::Error) -> Problem {
    if error.is_data() {
        return Problem::invalid("", format!("a batch is a list of events: {error}"));
    }
    Problem::new(axum::http::StatusCode::BAD_REQUEST, "malformed-body", format!("not JSON: {error}"))
}

/// Says whether a body is declared as CloudEvents.
pub(super) fn is_cloudevents(headers: &HeaderMap) -> bool {
    [STRUCTURED, BATCHED].contains(&&*media_type(headers))
}

fn media_type(headers: &HeaderMap) -> String {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

impl Form {
    fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        match &*media_type(headers) {
            STRUCTURED => return Ok(Self::Structured),
            BATCHED => return Ok(Self::Batched),
            _ => {}
        }
        let attribute = |name: &'static str| {
            let mut values = headers.get_all(name).iter();
            let Some(value) = values.next() else { return Ok(None) };
            if values.next().is_some() {
                return Err(Problem::invalid(name, format!("{name}: there are two such headers; valid: one")));
            }
            let value = unquoted(value.as_bytes());
            // What is replaced here would make one id of several.
            let text = percent_encoding::percent_decode(&value).decode_utf8();
            let text = text.map_err(|_| Problem::invalid(name, format!("{name}: not UTF-8, percent-encoded")))?;
            Ok(Some(text.into_owned()))
        };
        let attributes = Attributes {
            specversion: attribute("ce-specversion")?,
            id: attribute("ce-id")?,
            source: attribute("ce-source")?,
            kind: attribute("ce-type")?,
            time: attribute("ce-time")?,
            ..Attributes::default()
        };
        let Attributes { specversion, id, source, kind, .. } = &attributes;
        Ok(match [specversion, id, source, kind].iter().any(|attribute| attribute.is_some()) {
            true => Self::Binary(Box::new(attributes)),
            false => Self::Plain,
        })
    }
}

/// A header's value without the quotes that HTTP allows around one, which the binding has taken away before
/// percent-encoding is (CloudEvents 1.0, HTTP binding, 3.1.3.2).
fn unquoted(value: &[u8]) -> Cow<'_, [u8]> {
    let Some(inner) = value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")) else {
        return Cow::Borrowed(value);
    };
    let mut plain = Vec::with_capacity(inner.len());
    let mut bytes = inner.iter();
    while let Some(&byte) = bytes.next() {
        plain.push(if byte == b'\\' { bytes.next().copied().unwrap_or(byte) } else { byte });
    }
    Cow::Owned(plain)
}

fn parse<D: DeserializeOwned>(text: &RawValue, kind: &str) -> Result<CloudEvent<D>, String> {
    let event = serde_json::from_str::<Object<Attributes>>(text.get());
    admit(event.map_err(|error| format!("not an event: {error}"))?.0, kind)
}

/// Checks an event, and reads its data.
fn admit<D: DeserializeOwned>(event: Attributes, wanted: &str) -> Result<CloudEvent<D>, String> {
    let shown = |text: &str| serin_core::printable_to(text, 64);
    match event.specversion.as_deref() {
        Some(VERSION) => {}
        Some(other) => return Err(format!("specversion: is '{}'; valid: {VERSION}", shown(other))),
        None => return Err(format!("specversion: is missing; valid: {VERSION}")),
    }
    let needed = |name: &str, value: Option<String>| {
        value.filter(|value| !value.is_empty()).ok_or_else(|| format!("{name}: is missing, or empty"))
    };
    let (id, source) = (needed("id", event.id)?, needed("source", event.source)?);
    if source.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err("source: has a blank or a control character; valid: a URI reference, like /payments".to_owned());
    }
    if id.len() + source.len() > MAX_KEY {
        return Err(format!("id and source: {} bytes; valid: at most {MAX_KEY} together", id.len() + source.len()));
    }
    let kind = needed("type", event.kind)?;
    if kind != wanted {
        return Err(format!("type: is '{}'; valid here: {wanted}", shown(&kind)));
    }
    let media = event.datacontenttype.unwrap_or_else(|| "application/json".to_owned());
    let media = media.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if media != "application/json" && !media.ends_with("+json") {
        return Err(format!("datacontenttype: is '{}'; valid: application/json", shown(&media)));
    }
    if event.data_base64.is_some() {
        return Err("data_base64: valid: data, as JSON".to_owned());
    }
    let data = event.data.ok_or("data: is missing")?;
    let data = serde_json::from_str::<Object<D>>(data.get()).map_err(|_| unfit(data.get(), PhantomData::<D>))?.0;
    Ok(CloudEvent { source, id, time: event.time, data })
}

/// What is wrong with an event's data, and where. Finding out the key costs time that a good event need not pay.
fn unfit<D: DeserializeOwned>(data: &str, _: PhantomData<D>) -> String {
    let mut deserializer = serde_json::Deserializer::from_str(data);
    let Err(error) = serde_path_to_error::deserialize::<_, Object<D>>(&mut deserializer) else {
        return "data: more follows the value".to_owned();
    };
    let why = in_plain_words(&error.inner().to_string());
    match error.path().to_string().as_str() {
        "." => format!("data: {why}"),
        key => format!("data.{key}: {why}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_decoded_and_without_attributes_it_is_plain() {
        let mut headers = HeaderMap::new();
        assert!(matches!(Form::of(&headers), Ok(Form::Plain)));
        headers.insert("ce-id", HeaderValue::from_static("Euro%20%E2%82%AC"));
        let Ok(Form::Binary(attributes)) = Form::of(&headers) else { panic!("binary") };
        assert_eq!(attributes.id.as_deref(), Some("Euro €"));
        headers.insert("content-type", HeaderValue::from_static("Application/CloudEvents+JSON; charset=utf-8"));
        assert!(matches!(Form::of(&headers), Ok(Form::Structured)) && is_cloudevents(&headers));
    }
}
