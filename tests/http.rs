//! HTTP as clients see it: statuses, problem documents, bounds, and what operators read.

mod batch;
mod bounds;
mod browser;
mod decisions;
mod drain;
mod encoding;
mod keys;
mod metrics;
mod pages;
mod problems;
mod ready;
mod slow;
mod threads;

use serde_json::{Value, json};

use crate::support::{Answer, Client, Deployment, Host, eventually, misbehaving};

/// A request of the demo's decision point.
fn outreach(borrower: &str) -> Value {
    json!({
        "decision_point": "collections-outreach",
        "entities": { "borrower": borrower, "loan": "l-88" },
        "context": { "days_past_due": 12, "channel": "batch" },
    })
}

/// A request that makes the strategy behave in this way.
fn misbehave(mode: &str) -> Value {
    json!({ "decision_point": "misbehave", "entities": { "borrower": "b-1" }, "context": { "mode": mode } })
}

/// A deployment whose `spin` takes one of `threads` for `wall_ms`, since fuel does not end it.
fn spinning(threads: usize, wall_ms: u64, more: &str) -> Deployment {
    let deployment = misbehaving();
    let limits =
        format!("[server]\nthreads = {threads}\n{more}\n\n[limits]\nfuel = 1000000000000\nwall_ms = {wall_ms}");
    deployment.edit("serin.toml", "[limits]\nwall_ms = 2000", &limits);
    deployment
}

/// Posts from a thread of its own.
fn meanwhile(client: &Client, request: Value) -> std::thread::JoinHandle<Answer> {
    let client = client.clone();
    std::thread::spawn(move || client.post("/v1/decisions", &request))
}

/// Posts what takes long, from a thread of its own, and returns when it has its place.
fn occupy(host: &Host) -> std::thread::JoinHandle<Answer> {
    let long = meanwhile(&host.public, misbehave("spin"));
    eventually("the long one has its place", std::time::Duration::from_secs(10), || {
        let deployment = host.admin.get("/v1/deployment").json();
        (deployment["requests_in_flight"] == 1 && deployment["waiting_decisions"] == 0).then_some(())
    });
    long
}

/// How many decisions wait for a thread.
fn waiting(host: &Host) -> u64 {
    host.admin.get("/v1/deployment").json()["waiting_decisions"].as_u64().expect("a number")
}

/// Asserts that an answer is a problem document of this kind; its detail.
#[track_caller]
fn problem(answer: &Answer, status: u16, kind: &str) -> String {
    let document = answer.json();
    assert_eq!(answer.status, status, "{}", answer.text);
    assert_eq!(answer.headers["content-type"], "application/problem+json", "{}", answer.text);
    assert_eq!(document["type"], format!("urn:serin:problem:{kind}"), "{document}");
    assert_eq!(document["status"], status);
    assert!(document["title"].as_str().is_some_and(|title| !title.is_empty()), "{document}");
    document["detail"].as_str().expect("a detail").to_owned()
}
