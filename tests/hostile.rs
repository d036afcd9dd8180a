//! Files and strategies that mean harm: the host stays up, stays small, goes on serving what is
//! good, and says what is wrong with the rest.

mod artifacts;
mod files;
mod links;
mod memory;
mod modes;
mod runs;

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Deployment, Host, outcome, wat};

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
    let bound = Duration::from_secs(60);
    let failed = crate::support::eventually(&format!("{file} is refused"), bound, || plugin(host, file, "failed"));
    failed["error"].as_str().expect("an error").to_owned()
}

/// The most memory that the host ever had, in MiB.
fn peak_mib(host: &Host) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", host.pid())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("its peak");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") / 1024
}

/// The only strategy of a point fails: the fallback serves within the point's time, the record has the kind of failure
/// and words on it, the metrics count it, and a replay comes to the same.
#[track_caller]
pub(crate) fn fails(host: &Host, request: &Value, deadline: Duration, [kind, detail]: [&str; 2]) {
    let asked = Instant::now();
    let answer = host.decide(request);
    let took = asked.elapsed();
    assert!(took < deadline, "{kind}: answered after {took:?} of {deadline:?}");
    assert_eq!((&answer["action"], &answer["served_by"]), (&json!("none"), &json!("fallback_action")), "{request}");
    let record = host.record(&answer);
    let (found, words) = outcome(&record);
    assert!(found == kind && words.contains(detail), "{request}: {found}: {words}");
    let strategy = &record["attempts"][0]["strategy"];
    let [point, name, version] = [&request["decision_point"], &strategy["name"], &strategy["version"]];
    let unquoted = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let degraded = format!("strategy:{}@{}:{kind}", unquoted(name), unquoted(version));
    assert_eq!(answer["degraded"], json!([degraded]), "{request}");
    let labels = format!("decision_point={point},strategy={name},version={version},arm=\"\",outcome=\"{kind}\"");
    assert!(host.metric(&format!("serin_attempts_total{{{labels}}}")) >= 1.0, "{request}: not counted");
    let id = unquoted(&answer["decision_id"]);
    let replayed = host.admin.post(&format!("/v1/decisions/{id}/replay"), &json!({})).json();
    assert_eq!(replayed["identical"], true, "{request}: {replayed}");
}
