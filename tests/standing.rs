//! What an experiment does whose file is gone, or is edited after its end.

use std::time::Duration;

use serde_json::{Value, json};

use crate::experiments::{RAMP, command, deployment, taken, why};
use crate::support::{Host, eventually, run, two_arms};

const BOUND: Duration = Duration::from_secs(40);

const STEPS: &str = two_arms!("ramp = [{ coverage = 0.1, hold = \"3s\" }, { coverage = 1.0 }]\n", "");

fn shown(host: &Host) -> Value {
    host.admin.get("/v1/experiments/e").json()
}

#[test]
fn a_ramp_stands_still_while_its_file_is_gone_and_that_needs_a_person() {
    let deployment = deployment(STEPS, false);
    let host = Host::start(&deployment).ready();
    assert_eq!(shown(&host)["state"], "running");
    deployment.remove("experiments/e.toml");
    eventually("its file is missed", BOUND, || (shown(&host)["state"] == "spec_missing").then_some(()));
    // The host looks once a second.
    let looks = || host.metric("serin_experiment_looks_total");
    let before = looks();
    eventually("the step's time passes", BOUND, || (looks() >= before + 6.0).then_some(()));
    let gone = shown(&host);
    assert_eq!((&gone["coverage"], &gone["phase"]), (&json!(0.1), &json!(1)), "nobody can enter: {gone}");
    let admin = format!("http://{}", host.admin.address);
    let status = run(["status", "--admin", &admin]).stdout;
    let not_applied = status.split_once("NOT APPLIED").expect("a section").1;
    assert!(not_applied.contains("e.toml: its file is gone"), "{status}");
    let report = host.admin.get("/v1/experiments/e/report?format=text").text;
    assert!(report.contains("next: nothing by itself: its file is gone"), "{report}");

    deployment.write("experiments/e.toml", STEPS);
    let back = eventually("it goes on", BOUND, || Some(shown(&host)).filter(|shown| shown["state"] == "running"));
    assert_eq!(back["coverage"], 0.1, "the time without a file does not count: {back}");
    eventually("its ramp goes on", BOUND, || (shown(&host)["coverage"] == 1.0).then_some(()));
    assert!(run(["status", "--admin", &admin]).stdout.contains("nothing: the files are in force"));
}

#[test]
fn the_file_of_an_experiment_that_has_ended_changes_nothing_and_is_no_mistake() {
    for end in ["abort", "conclude"] {
        let deployment = deployment(RAMP, false);
        let host = Host::start(&deployment).ready();
        let body = |name: &str| match name {
            "conclude" => json!({ "by": "ann", "reason": "done", "winner": "next" }),
            _ => why(),
        };
        for name in ["start", end] {
            assert_eq!(command(&host, name, body(name)).0, 200, "{name}");
        }
        let before = shown(&host);
        for (from, to) in [("id = \"e\"", "id = \"e\"\neligible = \"entities.borrower < 'b-5'\""), ("weight", "wait")] {
            deployment.edit("experiments/e.toml", from, to);
            let now = eventually("the edit is seen", BOUND, || {
                let now = shown(&host);
                let said = now["why"].as_str().is_some_and(|why| why.ends_with("which changes nothing any more"));
                (said || now["error"].is_string()).then_some(now)
            });
            assert_eq!((&now["error"], &now["state"]), (&Value::Null, &before["state"]), "{now}");
            assert_eq!(now["spec"]["digest"], before["spec"]["digest"], "{now}");
            let checked = run(["check", "--config", deployment.config().to_str().expect("a path")]);
            assert_eq!(checked.code, Some(0), "{}{}", checked.stdout, checked.stderr);
            assert!(checked.stdout.contains("its file changes nothing any more"), "{}", checked.stdout);
        }
        let matters = host.admin.get("/v1/attention").json();
        assert!(!matters.to_string().contains("file not applied"), "{matters}");
        assert_eq!(host.stop(), Some(0));
        let host = Host::start(&deployment).ready();
        assert_eq!((&shown(&host)["error"], &shown(&host)["state"]), (&Value::Null, &before["state"]));
    }
}

#[test]
fn a_report_names_the_arm_that_a_person_chose() {
    let deployment = deployment(RAMP, false);
    let host = Host::start(&deployment).ready();
    assert_eq!(command(&host, "start", why()).0, 200);
    assert!(!taken(&host).is_empty());
    let chosen = json!({ "by": "ann", "reason": "cheaper", "winner": "next" });
    assert_eq!(command(&host, "conclude", chosen).0, 200);
    let report = |query: &str| host.admin.get(&format!("/v1/experiments/e/report?format={query}"));
    for query in ["text", "html", "text&recompute=true"] {
        let text = report(query).text;
        assert!(text.contains("with arm 'next': ") || text.contains("with arm &#39;next&#39;: "), "{query}: {text}");
    }
    assert_eq!(report("json").json()["winner"], "next");
    let admin = format!("http://{}", host.admin.address);
    assert!(run(["report", "e", "--admin", &admin]).stdout.contains("with arm 'next': "));
}
