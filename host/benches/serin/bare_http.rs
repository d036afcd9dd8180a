//! The floor under HTTP: one axum route with the same typed request and answer, on a runtime of
//! the same settings, in a process of its own, and nothing behind it.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::Command;

use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode, header};
use axum::routing::post;
use serde::{Deserialize, Serialize};
use serin_core::value::Value;

use crate::process::Server;
use crate::world::{Failure, POINT};

/// Set where this program is to be the server.
const ROLE: &str = "SERIN_BENCH_ROLE";

/// Whether this process was started to be the server.
pub fn is_wanted() -> bool {
    std::env::var_os(ROLE).is_some()
}

/// Starts the server.
pub fn start() -> Result<Server, Failure> {
    Server::start(Command::new(std::env::current_exe()?).env(ROLE, "bare-http"))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    decision_point: String,
    entities: indexmap::IndexMap<String, String>,
    #[serde(default)]
    context: indexmap::IndexMap<String, Value>,
}

#[derive(Serialize)]
struct Answer<'a> {
    decision_id: &'a str,
    decision_point: &'a str,
    action: &'a str,
    parameters: BTreeMap<&'a str, Value>,
    reasons: Vec<Reason<'a>>,
    strategy: Strategy<'a>,
    experiment: Experiment<'a>,
    propensity: f64,
    served_by: &'a str,
    degraded: &'a [String],
}

#[derive(Serialize)]
struct Reason<'a> {
    code: &'a str,
    text: &'a str,
    weight: f64,
}

#[derive(Serialize)]
struct Strategy<'a> {
    name: &'a str,
    version: &'a str,
    digest: &'a str,
}

#[derive(Serialize)]
struct Experiment<'a> {
    id: &'a str,
    arm: &'a str,
    phase: u32,
}

/// An answer of the same shape and size as a decision's.
async fn decide(headers: HeaderMap, body: Bytes) -> (StatusCode, [(header::HeaderName, &'static str); 1], Vec<u8>) {
    let is_json = headers.get(header::CONTENT_TYPE).is_some_and(|value| value == "application/json");
    let request: Option<Request> = serde_json::from_slice(&body).ok().filter(|_| is_json);
    let status = if request.is_some() { StatusCode::OK } else { StatusCode::BAD_REQUEST };
    let request = request.as_ref();
    let unit = request.and_then(|r| r.entities.get("borrower")).map_or("", String::as_str);
    let answer = Answer {
        decision_id: "01900000-0000-7000-8000-000000000000",
        decision_point: request.map_or(POINT, |r| r.decision_point.as_str()),
        action: if request.is_some_and(|r| r.context.is_empty()) { "no_contact" } else { "sms_reminder" },
        parameters: BTreeMap::from([("template", Value::Text("gentle".to_owned()))]),
        reasons: vec![Reason { code: "EARLY_STAGE", text: "Less than 15 days late", weight: 0.7 }],
        strategy: Strategy {
            name: "outreach-score",
            version: "1.1.0",
            digest: "sha256:0000000000000000000000000000000000000000000000000000000000000000",
        },
        experiment: Experiment { id: "outreach-score", arm: unit, phase: 1 },
        propensity: 1.0,
        served_by: "arm",
        degraded: &[],
    };
    (status, [(header::CONTENT_TYPE, "application/json")], serde_json::to_vec(&answer).unwrap_or_default())
}

/// Serves until it is killed.
pub fn serve() -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        println!("http://{}", listener.local_addr()?);
        std::io::stdout().flush()?;
        let listener = axum::serve::ListenerExt::tap_io(listener, |stream| {
            // As the host does.
            let _ = stream.set_nodelay(true);
        });
        Ok(axum::serve(listener, axum::Router::new().route("/v1/decisions", post(decide))).await?)
    })
}
