//! Shares that follow from what was seen: each batch draws anew, by unit and batch, and is
//! analysed with the shares that it had.

use std::time::Duration;

use serde_json::{Value, json};

use crate::experiments::{decide, report};
use crate::support::{Deployment, Host, eventually, run, wat};

const SPEC: &str = r#"
id = "e"
decision_point = "p"
allocation = { policy = "thompson", metric = "cured", update_every = "2s", floor = 0.1, control_share = 0.2 }

[[arms]]
name = "control"
strategy = "p@1.0.0"

[[arms]]
name = "good"
strategy = "p@1.0.0"
parameters = {}

[[arms]]
name = "bad"
strategy = "p@1.0.0"

[[metrics]]
name = "cured"
role = "goal"
outcome = "cured"
window = "3s"
"#;

fn deployment() -> Deployment {
    let deployment = wat::points(&[("p", wat::go("p", "", "(i32.const 1024)"))]);
    deployment.write("experiments/e.toml", SPEC);
    deployment
}

/// Three hundred units of a round enter, and are cured or not by their arm.
fn round(host: &Host, round: u32) {
    let unit = |i: u32| format!("r{round}-{i}");
    let request = |i: u32| json!({ "decision_point": "p", "entities": { "borrower": unit(i) } });
    for from in [0, 100, 200] {
        let requests: Vec<Value> = (from..from + 100).map(request).collect();
        let answer = host.public.post("/v1/decisions/batch", &json!({ "requests": requests })).json();
        let mut outcomes = Vec::new();
        for (at, item) in answer["results"].as_array().expect("results").iter().enumerate() {
            let i = from + at as u32;
            let of_ten = match item["decision"]["experiment"]["arm"].as_str() {
                Some("good") => 8,
                Some("bad") => 2,
                _ => 4,
            };
            if (i * 7) % 10 < of_ten {
                outcomes
                    .push(json!({ "id": unit(i), "name": "cured", "value": 1.0, "entity": { "borrower": unit(i) } }));
            }
        }
        assert_eq!(host.public.post("/v1/outcomes", &json!({ "outcomes": outcomes })).status, 200);
    }
}

fn shown(host: &Host) -> Value {
    host.admin.get("/v1/experiments/e").json()
}

#[test]
fn units_go_where_rewards_are_and_every_batch_is_what_its_record_says() {
    let deployment = deployment();
    let host = Host::start(&deployment).ready();
    assert_eq!(shown(&host)["shares"], json!([0.2, 0.4, 0.4]));
    let mut rounds = 0;
    let shares = eventually("the good arm has the most", Duration::from_secs(60), || {
        round(&host, rounds);
        rounds += 1;
        let shares = shown(&host)["shares"].clone();
        (shares[1].as_f64() > Some(0.6)).then_some(shares)
    });
    let share = |at: usize| shares[at].as_f64().expect("a share");
    assert_eq!(share(0), 0.2, "control's stays: {shares}");
    assert!(share(2) >= 0.1 - 1e-9 && (share(0) + share(1) + share(2) - 1.0).abs() < 1e-9, "{shares}");
    // An arm is drawn by unit and batch: in one batch, the same again.
    let first = decide(&host, "b-1");
    let id = first["decision_id"].as_str().expect("an id").to_owned();
    let assignment = host.admin.get(&format!("/v1/decisions/{id}")).json()["routing"]["assignment"].clone();
    let drawn = assignment["shares"].as_array().expect("shares").clone();
    let arm = ["control", "good", "bad"].iter().position(|arm| assignment["arm"] == *arm).expect("an arm");
    assert_eq!(assignment["propensity"], drawn[arm], "{assignment}");
    assert!(assignment["batch"].as_u64() >= Some(1), "{assignment}");
    let found = report(&host);
    let metric = &found["metrics"][0];
    assert_eq!(metric["adjustment"], "batch by batch, adaptively weighted AIPW");
    let of = |arm: &str| metric["arms"][arm]["mean"].as_f64().expect("a mean");
    assert!((of("good") - 0.8).abs() < 0.12 && (of("bad") - 0.2).abs() < 0.15, "{metric}");
    assert!(found["srm"]["sequential_p"].as_f64() > Some(0.01), "{}", found["srm"]);
    let history = shown(&host)["history"].as_array().expect("a list").clone();
    let last = history.iter().rev().find(|change| change["command"] == "allocate").expect("a batch");
    assert!(last["reason"].as_str().is_some_and(|why| why.contains("good 0.")), "{last}");
    // A restart goes on with the batch that was in force, and replay draws the same arms.
    let before = shown(&host)["shares"].clone();
    assert_eq!(host.stop(), Some(0));
    let config = deployment.config();
    let replay = run(["replay", "--verify", "--config", config.to_str().expect("a path")]);
    assert_eq!(replay.code, Some(0), "{} {}", replay.stdout, replay.stderr);
    let report = run(["report", "e", "--format", "json", "--config", config.to_str().expect("a path")]);
    let stopped: Value = serde_json::from_str(&report.stdout).expect("JSON");
    assert!(stopped["units"]["entered"].as_u64() >= found["units"]["entered"].as_u64(), "{stopped}");
    let host = Host::start(&deployment).ready();
    let again = shown(&host)["shares"].clone();
    assert_eq!(again.as_array().map(Vec::len), before.as_array().map(Vec::len));
    assert!(again[1].as_f64() > Some(0.5), "{again}");
}
