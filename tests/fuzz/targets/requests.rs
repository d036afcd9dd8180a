//! Bodies of requests, sent to a host in this process.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use serde_json::json;
use serin::app::{Host, Looks, Options};
use serin::clock::SystemClock;

use super::super::host_readers;
use super::Target;
use crate::support::{Client, Deployment, collections};

/// The path's number, and the body.
pub const REQUEST: Target = Target {
    name: "request",
    read: request,
    seeds: || {
        // Here, so that a host that does not start is nobody's input.
        SERVED.get_or_init(start);
        let decision = json!({
            "decision_point": "collections-outreach", "entities": { "borrower": "b-1", "loan": "l-1" },
            "context": { "days_past_due": 12, "channel": "app", "stage": null }, "utc_offset_minutes": -300,
        });
        let outcome = json!({ "id": "o-1", "name": "cured", "value": 1.5, "entity": { "borrower": "b-1" }, "at": "2026-01-01T00:00:00Z" });
        let row = json!({ "entity": "l-1", "event_time": "2026-01-01T00:00:00Z", "values": { "contacts_7d": 2 } });
        let bodies = [
            decision.clone(),
            json!({ "requests": [decision.clone(), decision] }),
            json!({ "outcomes": [outcome] }),
            json!({ "exposures": [{ "decision_id": "0199d3a0-0000-7000-8000-000000000000", "at": "2026-01-01T00:00:00Z" }] }),
            json!({ "rows": [row] }),
            json!({ "watermarks": [{ "name": "cured", "time": "2026-01-01T00:00:00Z" }] }),
        ];
        bodies
            .iter()
            .enumerate()
            .map(|(path, body)| [vec![path as u8], body.to_string().into_bytes()].concat())
            .collect()
    },
};

static SERVED: OnceLock<Served> = OnceLock::new();

struct Served {
    client: Client,
    _host: Host,
    _deployment: Deployment,
    _runtime: tokio::runtime::Runtime,
}

fn start() -> Served {
    let deployment = collections();
    let any = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    let options = Options { config: deployment.config(), listen: any, admin: any, dev: false, looks: Looks::WhenAsked };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let host = runtime.block_on(Host::start(options, Arc::new(SystemClock))).expect("starts");
    Served { client: Client::new(&host.listen.to_string()), _host: host, _deployment: deployment, _runtime: runtime }
}

fn request(input: &[u8]) {
    host_readers::request(input, |path, body| {
        let answer = SERVED.get_or_init(start).client.post_bytes(path, body, &[]).expect("an answer");
        (answer.status, answer.text)
    });
}
