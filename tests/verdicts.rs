//! What follows from a verdict on an arm, and what `check` says of a spec beforehand.

use std::time::Duration;

use serde_json::{Value, json};

use crate::experiments::{decide, deployment};
use crate::support::{Host, eventually, run, two_arms};

const BOUND: Duration = Duration::from_secs(30);

/// The first of three arms beside control fails always.
const THREE: &str = r#"
id = "e"
decision_point = "p"

[[arms]]
name = "control"
strategy = "p@1.0.0"
weight = 0.4

[[arms]]
name = "next"
strategy = "q@1.0.0"
weight = 0.3

[[arms]]
name = "third"
strategy = "p@1.0.0"
weight = 0.3

[[guardrails]]
metric = "failures"
max_increase = 0.01
on_breach = "drop_arm"
"#;

#[test]
fn an_arm_that_does_harm_is_dropped_alone_and_its_units_have_controls_strategy() {
    let deployment = deployment(THREE, true);
    let host = Host::start(&deployment).ready();
    let arms: Vec<(String, Value)> = (0..120)
        .map(|i| {
            let unit = format!("b-{i}");
            let arm = decide(&host, &unit)["experiment"]["arm"].clone();
            (unit, arm)
        })
        .collect();
    let shown = |host: &Host| host.admin.get("/v1/experiments/e").json();
    eventually("the arm is dropped", BOUND, || {
        shown(&host)["history"].as_array()?.iter().find(|c| c["command"] == "drop").cloned()
    });
    let now = shown(&host);
    assert_eq!((&now["state"], &now["history"][1]["by"]), (&json!("running"), &json!("serin")), "{now}");
    assert!(now["history"][1]["reason"].as_str().is_some_and(|why| why.contains("in arm 'next'")), "{now}");

    let served = |host: &Host| {
        for (unit, arm) in &arms {
            let answer = decide(host, unit);
            assert_eq!((&answer["experiment"]["arm"], &answer["served_by"]), (arm, &json!("arm")), "{unit}: {answer}");
            assert_eq!(answer["strategy"]["name"], "p", "{unit}: {answer}");
            let record =
                host.admin.get(&format!("/v1/decisions/{}", answer["decision_id"].as_str().expect("an id"))).json();
            let assignment = &record["routing"]["assignment"];
            assert_eq!(assignment["dropped"] == json!(true), *arm == "next", "{assignment}");
        }
    };
    served(&host);
    let report = host.admin.get("/v1/experiments/e/report").json();
    let of_next = arms.iter().filter(|(_, arm)| *arm == "next").count();
    assert_eq!(
        (&report["units"]["left_out"]["dropped"], &report["srm"]["counts"]["next"]),
        (&json!(of_next), &json!(of_next))
    );
    let verdict =
        report["arms"].as_array().and_then(|arms| arms.iter().find(|arm| arm["arm"] == "next")).expect("a verdict");
    assert_eq!(verdict["decision"], "stop", "{report}");
    assert!(report["guardrails"].as_array().expect("a list").iter().all(|rail| rail["arm"] != "next"), "{report}");

    host.kill();
    let host = Host::start(&deployment).ready();
    served(&host);
    assert_eq!(host.stop(), Some(0));
    let config = deployment.config();
    let verified = run(["replay", "--verify", "--config", config.to_str().expect("a path")]);
    assert_eq!(verified.code, Some(0), "{}{}", verified.stdout, verified.stderr);
}

/// Beside what drops an arm, an outcome that pauses the experiment for good.
const PAUSED: &str = r#"
[[metrics]]
name = "lawsuit"
role = "guardrail"
outcome = "lawsuit"
window = "90d"

[[guardrails]]
metric = "lawsuit"
max_count = 0
on_breach = "pause"
"#;

#[test]
fn what_pauses_an_experiment_hides_no_arm_that_does_harm_and_no_end() {
    let deployment = deployment(&format!("{THREE}{PAUSED}"), true);
    let host = Host::start(&deployment).ready();
    let mut asked = (0..100).map(|i| decide(&host, &format!("c-{i}")));
    let of_third = asked.find(|answer| answer["experiment"]["arm"] == "third").expect("one of many");
    let lawsuit = json!({ "id": "l-1", "name": "lawsuit", "value": 1, "decision_id": of_third["decision_id"] });
    let posted = host.public.post("/v1/outcomes", &json!({ "outcomes": [lawsuit] }));
    assert!(posted.status == 200 && posted.json()["refused"] == json!([]), "{}", posted.text);
    let shown = || host.admin.get("/v1/experiments/e").json();
    eventually("it is paused", BOUND, || (shown()["state"] == "paused").then_some(()));
    (0..120).for_each(|i| drop(decide(&host, &format!("b-{i}"))));
    eventually("the arm is dropped", BOUND, || {
        shown()["history"].as_array()?.iter().find(|change| change["command"] == "drop").cloned()
    });
    assert_eq!(shown()["state"], "paused");
    deployment.edit("experiments/e.toml", "id = \"e\"", "id = \"e\"\nmax_duration = \"1s\"");
    eventually("it ends in time", BOUND, || (shown()["state"] == "concluded").then_some(()));
}

const NEVER: &str = two_arms!(
    "",
    r#"
[[metrics]]
name = "repaid"
role = "goal"
outcome = "repaid"
aggregate = "sum"
window = "1d"

[[guardrails]]
metric = "failures"
max_increase = 0.2
"#
);

#[test]
fn check_says_what_stops_what_ships_and_what_can_never_work() {
    let deployment = deployment(NEVER, false);
    let config = deployment.config();
    let path = config.to_str().expect("a path");
    let checked = run(["check", "--config", path]);
    assert_eq!(checked.code, Some(0), "{}", checked.stderr);
    assert!(
        checked.stdout.contains("guardrail 'failures': stops the experiment at any significant increase"),
        "{}",
        checked.stdout
    );
    assert!(
        checked.stderr.contains("metric 'repaid': a sum or mean of values never speaks without a limit"),
        "{}",
        checked.stderr
    );
    let json: Value = serde_json::from_str(&run(["check", "--config", path, "--format", "json"]).stdout).expect("JSON");
    let file = json["files"]
        .as_array()
        .and_then(|files| files.iter().find(|f| f["what"] == "experiment e"))
        .expect("the file");
    assert_eq!(
        (file["warnings"].as_array().map(Vec::len), file["notes"].as_array().map(Vec::len)),
        (Some(1), Some(1)),
        "{file}"
    );
}
