//! No more file descriptors: connections wait, those that are there go on.

use std::time::Duration;

use rustix::process::Resource;
use serde_json::json;

use super::{deployment, limit, recorded, replays, request};
use crate::support::{Host, Raw, collections, eventually, outcome, wat};

const BOUND: Duration = Duration::from_secs(20);

fn post(connection: &mut Raw, point: &str) -> Option<u16> {
    let body = request(point).to_string();
    let head = "POST /v1/decisions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length:";
    connection.send(&format!("{head} {}\r\n\r\n{body}", body.len()));
    Some(connection.answer()?.status)
}

#[test]
fn without_descriptors_open_connections_are_served_and_new_ones_wait() {
    let deployment = deployment();
    let host = Host::start(&deployment).ready();
    let mut open = Raw::connect(&host.public.address).expect("connects");
    let mut answered = 0;
    let mut decide = |connection: &mut Raw, point: &str| {
        assert_eq!(post(connection, point), Some(200), "{point}\n{}", host.log());
        answered += 1;
    };
    decide(&mut open, "strict");
    decide(&mut open, "loose");

    limit(&host, Resource::Nofile, Some(8));
    decide(&mut open, "strict");
    decide(&mut open, "loose");
    // The operating system accepts it; the host cannot yet.
    let mut late = Raw::connect(&host.public.address).expect("connects");
    deployment.write("plugins/late-1.0.0.wasm", wat::go("late", "", "(i32.const 1024)"));
    eventually("it says so", BOUND, || host.log().contains("no connection can be accepted").then_some(()));
    decide(&mut open, "strict");

    limit(&host, Resource::Nofile, None);
    decide(&mut late, "strict");
    eventually("what came meanwhile is loaded", BOUND, || {
        let plugins = host.admin.get("/v1/plugins").json();
        let is_late = |p: &&serde_json::Value| p["file"] == "late-1.0.0.wasm" && p["state"] == "active";
        plugins["plugins"].as_array()?.iter().find(is_late).map(drop)
    });
    let lines = host.log().matches("no connection can be accepted").count();
    assert!(lines < 10, "{lines} lines:\n{}", host.log());
    drop(open);
    assert_eq!(host.stop(), Some(0));
    assert_eq!(recorded(&deployment), answered);
    replays(&deployment);
}

#[test]
fn a_run_that_gets_no_descriptor_is_the_machines_failure_and_the_next_one_runs() {
    let deployment = deployment();
    let host = Host::start(&deployment).ready();
    let mut open = Raw::connect(&host.public.address).expect("connects");
    assert!(open.send("GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"));
    assert_eq!(open.answer().expect("an answer").status, 200);
    // The first run of a version needs one, for the memory that its instances begin with.
    limit(&host, Resource::Nofile, Some(3));
    assert_eq!(post(&mut open, "strict"), Some(200));
    limit(&host, Resource::Nofile, None);
    let first = eventually("it is listed", BOUND, || {
        let listed = host.admin.get("/v1/decisions").json();
        listed["decisions"].as_array()?.first().cloned()
    });
    let (kind, detail) = outcome(&first);
    assert_eq!(kind, "overloaded", "{first}");
    assert!(detail.contains("Too many open files"), "{detail}");
    let decided = host.decide(&request("strict"));
    assert_eq!(outcome(&host.record(&decided)).0, "candidates");
    drop(open);
    assert_eq!(host.stop(), Some(0));
    replays(&deployment);
}

/// A strategy that takes seconds to compile, and whose case passes.
fn slow_to_compile() -> Vec<u8> {
    let adds = "(local.set 0 (i32.add (i32.mul (local.get 0) (i32.const 3)) (i32.const 7)))".repeat(150);
    let functions = format!("(func (param i32) (result i32) {adds} (local.get 0))").repeat(1500);
    let case = json!([{ "name": "any", "expect": { "candidates": [
        { "action": "go", "probability": 1.0, "parameters": { "n": 7 }, "reasons": [] }
    ] } }]);
    wat::with_cases(wat::go("late", &functions, "(i32.const 1024)"), &case)
}

#[test]
fn an_artifact_that_is_loaded_without_descriptors_is_tried_again_by_itself() {
    let deployment = deployment();
    let host = Host::start(&deployment).ready();
    deployment.write("plugins/late-1.0.0.wasm", slow_to_compile());
    let is_begun = || host.log().lines().any(|line| line.contains("compiling") && line.contains("late-1.0.0.wasm"));
    eventually("it is being compiled", BOUND, || is_begun().then_some(()));
    limit(&host, Resource::Nofile, Some(3));
    let refused = eventually("it is refused", BOUND, || {
        let log = host.log();
        log.lines().find(|line| line.contains("artifact refused") && line.contains("late")).map(str::to_owned)
    });
    assert!(refused.contains("Too many open files") && !refused.contains("output_invalid"), "{refused}");
    limit(&host, Resource::Nofile, None);
    eventually("it is loaded, untouched", Duration::from_secs(60), || {
        let plugins = host.admin.get("/v1/plugins").json();
        let is_late = |p: &&serde_json::Value| p["file"] == "late-1.0.0.wasm" && p["state"] == "active";
        plugins["plugins"].as_array()?.iter().find(is_late).map(drop)
    });
}

#[test]
fn a_model_that_could_not_be_read_without_descriptors_is_read_again_by_itself() {
    let deployment = collections();
    let host = Host::start(&deployment).ready();
    let model = "models/default-risk.onnx";
    let bytes = std::fs::read(deployment.path().join(model)).expect("reads");
    limit(&host, Resource::Nofile, Some(3));
    deployment.write(model, bytes);
    eventually("it is told", BOUND, || {
        let is_told = |line: &str| line.contains("a model is not applied") && line.contains("Too many open files");
        host.log().lines().any(is_told).then_some(())
    });
    limit(&host, Resource::Nofile, None);
    eventually("it is applied, untouched", Duration::from_secs(60), || {
        let shown = host.admin.get("/v1/deployment").json();
        shown["models"].as_array()?.iter().all(|model| model["error"].is_null()).then_some(())
    });
}
