//! An experiment's life: it starts, ramps, stops and ends as its file and people say, and as the
//! evidence allows.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Deployment, Host, eventually, run, wat};

const RAMP: &str = r#"
id = "e"
decision_point = "p"
start = "manual"
ramp = [{ coverage = 0.2 }, { coverage = 1.0 }]

[[arms]]
name = "control"
strategy = "p@1.0.0"
weight = 0.5

[[arms]]
name = "next"
strategy = "q@1.0.0"
weight = 0.5
"#;

/// A decision point `p`, pinned to `p`, and `q`, which is tried in an experiment. `q` answers
/// the same, or traps.
fn deployment(experiment: &str, q_traps: bool) -> Deployment {
    let deployment = wat::points(&[("p", wat::go("p", "", "(i32.const 1024)"))]);
    let body = if q_traps { "unreachable" } else { "(i32.const 1024)" };
    let q = wat::guest(&wat::manifest("q", "1.0.0", "p", "go"), &format!("{} {}", wat::PRELUDE, wat::decide(body)));
    deployment.write("plugins/q-1.0.0.wasm", q);
    deployment.write("experiments/e.toml", experiment);
    deployment
}

fn decide(host: &Host, unit: &str) -> Value {
    host.decide(&json!({ "decision_point": "p", "entities": { "borrower": unit } }))
}

/// The units, of a hundred, that the experiment takes, and their arms.
fn taken(host: &Host) -> Vec<(u32, String)> {
    let arm = |i: u32| Some((i, decide(host, &format!("b-{i}"))["experiment"]["arm"].as_str()?.to_owned()));
    (0..100).filter_map(arm).collect()
}

fn command(host: &Host, command: &str, body: Value) -> (u16, Value) {
    let answer = host.admin.post(&format!("/v1/experiments/e/{command}"), &body);
    (answer.status, answer.json())
}

fn why() -> Value {
    json!({ "by": "ann", "reason": "a test" })
}

#[test]
fn a_person_leads_an_experiment_through_its_life() {
    let deployment = deployment(RAMP, false);
    let host = Host::start(&deployment).ready();
    assert_eq!(taken(&host), [], "it waits for somebody to start it");
    let (status, refused) = command(&host, "promote", why());
    assert_eq!((status, &refused["type"]), (409, &json!("urn:serin:problem:not-possible")));
    assert!(refused["detail"].as_str().is_some_and(|d| d.contains("possible: start, abort")), "{refused}");
    assert_eq!(command(&host, "start", json!({ "by": "ann", "reason": " " })).0, 422);

    let (status, started) = command(&host, "start", why());
    assert_eq!((status, &started["state"], &started["coverage"]), (200, &json!("running"), &json!(0.2)));
    let first = taken(&host);
    assert!((8..35).contains(&first.len()), "a fifth of a hundred: {}", first.len());
    assert_eq!(decide(&host, &format!("b-{}", first[0].0))["experiment"]["phase"], 1);

    // The command line does the same, and what it is told is recorded.
    let admin = format!("http://{}", host.admin.address);
    let promoted = run(["experiment", "promote", "e", "--by", "bob", "--reason", "looks well", "--admin", &admin]);
    assert_eq!(promoted.code, Some(0), "{}", promoted.stderr);
    assert!(promoted.stdout.contains("by bob: looks well"), "{}", promoted.stdout);
    let all = taken(&host);
    assert_eq!(all.len(), 100);
    assert!(first.iter().all(|unit| all.contains(unit)), "who was in stays in, in the same arm");
    assert_eq!(decide(&host, "b-1")["experiment"]["phase"], 2);
    assert!(run(["experiment", "promote", "e", "--reason", "more", "--admin", &admin]).stderr.contains("last step"));

    // A restart goes on where it was, whatever `start` says.
    host.kill();
    let host = Host::start(&deployment).ready();
    assert_eq!(taken(&host), all);
    assert_eq!(command(&host, "pause", why()).1["state"], "paused");
    assert_eq!(taken(&host), all, "its ramp stands still, and who is in stays in");
    assert_eq!(command(&host, "resume", why()).0, 200);

    assert_eq!(command(&host, "abort", why()).1["state"], "aborted");
    assert_eq!(taken(&host), [], "the command has returned: it is in force");
    assert_eq!(decide(&host, "b-1")["served_by"], "strategy");
    host.kill();
    let host = Host::start(&deployment).ready();
    assert_eq!(taken(&host), [], "ended stays ended");
    assert_eq!(command(&host, "start", why()).0, 409);
    let shown = host.admin.get("/v1/experiments/e").json();
    let history: Vec<String> = shown["history"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|c| format!("{} {} {}", c["command"].as_str().unwrap_or("?"), c["to"].as_str().unwrap_or("?"), c["by"]))
        .collect();
    let expected = [
        "start running \"ann\"",
        "promote running \"bob\"",
        "pause paused \"ann\"",
        "resume running \"ann\"",
        "abort aborted \"ann\"",
    ];
    assert_eq!(history, expected);
    assert_eq!(shown["history"][0]["spec_digest"], shown["spec"]["digest"]);
}

#[test]
fn an_ended_experiment_keeps_its_slot_and_names_its_winner() {
    let deployment = deployment(&RAMP.replace("start = \"manual\"", ""), false);
    let host = Host::start(&deployment).ready();
    assert!(!taken(&host).is_empty(), "it starts when it is applied");
    let (status, refused) = command(&host, "conclude", json!({ "by": "ann", "reason": "won", "winner": "nobody" }));
    assert!(
        status == 409 && refused["detail"].as_str().is_some_and(|d| d.contains("arms: control, next")),
        "{refused}"
    );
    let (_, concluded) = command(&host, "conclude", json!({ "by": "ann", "reason": "won", "winner": "next" }));
    assert_eq!((&concluded["state"], &concluded["winner"]), (&json!("concluded"), &json!("next")));
    assert_eq!(decide(&host, "b-1")["strategy"]["name"], "p", "what is pinned changes in serin.toml alone");
    deployment.write("experiments/f.toml", RAMP.replace("id = \"e\"", "id = \"f\"").replace("start = \"manual\"", ""));
    let error = eventually("the overlap is told of", Duration::from_secs(10), || {
        host.admin.get("/v1/experiments/f").json()["error"].as_str().map(str::to_owned)
    });
    assert!(error.contains("overlaps that of 'e'") && error.contains("it has ended"), "{error}");
    deployment.remove("experiments/e.toml");
    eventually("the slot is free", Duration::from_secs(10), || (!taken(&host).is_empty()).then_some(()));
}
