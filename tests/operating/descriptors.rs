//! No more file descriptors: connections wait, those that are there go on.

use std::time::Duration;

use rustix::process::Resource;

use super::{deployment, limit, recorded, replays, request};
use crate::support::{Host, Raw, eventually, wat};

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
