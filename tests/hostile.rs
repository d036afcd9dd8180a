//! Files and strategies that mean harm: the host stays up, stays small, goes on serving what is
//! good, and says what is wrong with the rest.

mod artifacts;
mod files;
mod memory;

use serde_json::Value;

use crate::support::{Deployment, Host, wat};

/// A deployment with one good strategy at the point `good`.
fn deployment() -> Deployment {
    wat::points(&[("good", wat::go("good", "", "(i32.const 1024)"))])
}

fn request(point: &str) -> Value {
    serde_json::json!({ "decision_point": point, "entities": { "borrower": "b-1" } })
}

/// The good strategy serves.
#[track_caller]
fn serves(host: &Host) {
    let answer = host.decide(&request("good"));
    assert_eq!((&answer["action"], &answer["served_by"]), (&"go".into(), &"strategy".into()), "{answer}");
}

/// What the admin listener shows of a file, once it has a state.
fn plugin(host: &Host, file: &str, state: &str) -> Option<Value> {
    let plugins = host.admin.get("/v1/plugins").json();
    plugins["plugins"].as_array()?.iter().find(|p| p["file"] == file && p["state"] == state).cloned()
}

/// The error of a file that is refused.
#[track_caller]
fn refused(host: &Host, file: &str) -> String {
    let bound = std::time::Duration::from_secs(60);
    let failed = crate::support::eventually(&format!("{file} is refused"), bound, || plugin(host, file, "failed"));
    failed["error"].as_str().expect("an error").to_owned()
}

/// The most memory that the host ever had, in MiB.
fn peak_mib(host: &Host) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", host.pid())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("its peak");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") / 1024
}
