//! Edits of an experiment's file while it runs, and what comes after a ship: the rule at the first
//! unit stays unless a person decides, and each part of the evidence stays apart.

use std::time::Duration;

use serde_json::{Value, json};

use crate::course::{is, now, post, won};
use crate::experiments::{RUNNING, command, deployment, enter, heard, report, state, taken, why};
use crate::support::{Deployment, Host, eventually, run};

const IN_TIME: Duration = Duration::from_secs(20);

const FAILURES: &str = "\n[[guardrails]]\nmetric = \"failures\"\nmax_increase = 0.02\nmin_units = 50\n";

fn shown(host: &Host) -> Value {
    host.admin.get("/v1/experiments/e").json()
}

fn history(host: &Host) -> Vec<Value> {
    shown(host)["history"].as_array().cloned().unwrap_or_default()
}

/// Waits until the current edit is refused, and returns why.
fn refused(host: &Host, needle: &str) -> String {
    eventually("the edit is refused", IN_TIME, || {
        let error = shown(host)["error"].as_str().map(str::to_owned);
        error.filter(|error| error.contains(needle))
    })
}

/// Waits until an edit is recorded that changes this key.
fn edited(host: &Host, key: &str) -> Value {
    eventually(&format!("an edit of {key} is recorded"), IN_TIME, || {
        let changed = |change: &Value| {
            change["command"] == "edit"
                && change["evidence"]["changes"].as_array().is_some_and(|all| all.iter().any(|one| one["key"] == key))
        };
        history(host).into_iter().rev().find(changed)
    })
}

fn stays(host: &Host, wanted: &str) {
    let looks = || host.metric("serin_experiment_looks_total");
    let before = looks();
    eventually("it is looked at again", IN_TIME, || (looks() >= before + 3.0).then_some(()));
    assert_eq!(state(host), wanted);
}

fn offline(deployment: &Deployment) -> Value {
    let config = deployment.config();
    let said = run(["report", "e", "--format", "json", "--config", config.to_str().expect("a path")]);
    serde_json::from_str(&said.stdout).unwrap_or_else(|_| panic!("{}", said.stderr))
}

#[test]
fn an_edit_that_tightens_is_recorded_and_one_that_loosens_waits_for_a_decision() {
    let deployment = deployment(&format!("{RUNNING}{FAILURES}"), false);
    let host = Host::start(&deployment).ready();
    let arms = taken(&host);
    deployment.edit("experiments/e.toml", "max_increase = 0.02", "max_increase = 0.01");
    let tightened = edited(&host, "guardrails.failures.max_increase");
    assert_eq!((&tightened["by"], &tightened["phase"]), (&json!("serin"), &json!(1)), "{tightened}");
    let change =
        json!({ "key": "guardrails.failures.max_increase", "old": "0.02", "new": "0.01", "effect": "tightens" });
    assert_eq!(tightened["evidence"]["changes"], json!([change]));
    assert_eq!(tightened["evidence"]["spec_digest_before"], history(&host)[0]["spec_digest"]);
    let in_force = shown(&host)["spec"]["digest"].clone();
    assert_eq!(tightened["spec_digest"], in_force);

    deployment.edit("experiments/e.toml", "max_increase = 0.01", "max_increase = 0.05");
    let error = refused(&host, "guardrails.failures.max_increase 0.01 -> 0.05 (loosens)");
    assert!(error.contains("a person's decision") && error.contains("serin experiment amend e --reason"), "{error}");
    let waiting = shown(&host);
    assert_eq!((&waiting["spec"]["digest"], &waiting["state"]), (&in_force, &json!("running")), "{waiting}");
    assert_eq!(waiting["pending"]["changes"][0]["effect"], "loosens", "{waiting}");
    assert_eq!(taken(&host), arms, "nobody has moved");
    // A restart decides nothing.
    assert_eq!(host.stop(), Some(0));
    assert_eq!(offline(&deployment)["spec_digest"], in_force);
    let host = Host::start(&deployment).ready();
    refused(&host, "0.01 -> 0.05");
    let generation = shown(&host)["generation"].as_u64().expect("a number");
    let stale = host.admin.post_text(
        "/v1/experiments/e/amend",
        &why().to_string(),
        &[("if-match", &*format!("\"{}\"", generation + 1))],
    );
    assert_eq!(stale.expect("answers").status, 412);

    let admin = format!("http://{}", host.admin.address);
    let amend = ["experiment", "amend", "e", "--by", "ann", "--reason", "two per cent was a typing error"];
    let amended = run(amend.into_iter().chain(["--admin", admin.as_str()]));
    assert_eq!(amended.code, Some(0), "{}", amended.stderr);
    let applied = shown(&host);
    assert_eq!((&applied["error"], &applied["pending"]), (&Value::Null, &Value::Null), "it is in force: {applied}");
    let changes = history(&host);
    let commands: Vec<_> = changes.iter().map(|change| (change["command"].clone(), change["by"].clone())).collect();
    let [amend, edit] = [("amend", "ann"), ("edit", "serin")].map(|(command, by)| (json!(command), json!(by)));
    assert_eq!(commands[2..], [amend, edit]);
    for change in &changes[2..] {
        assert_eq!(change["evidence"]["changes"], waiting["pending"]["changes"], "{change}");
        assert_eq!(change["spec_digest"], applied["spec"]["digest"], "{change}");
    }
    assert_eq!(command(&host, "amend", why()).0, 409, "nothing waits any more");
    // It was for that file alone.
    deployment.edit("experiments/e.toml", "max_increase = 0.05", "max_increase = 0.06");
    refused(&host, "0.05 -> 0.06");
    let said = report(&host)["changes"].as_array().cloned().unwrap_or_default();
    let reason = said.last().and_then(|change| change["reason"].as_str()).unwrap_or_default();
    let sentence = "its file was edited, as was decided: guardrails.failures.max_increase 0.01 -> 0.05 (loosens)";
    assert_eq!(reason, sentence);
    host.kill();
    let host = Host::start(&deployment).ready();
    refused(&host, "0.05 -> 0.06");
    assert_eq!(history(&host), changes, "after a restart, too");
}

#[test]
fn a_goal_that_replaces_another_does_not_win() {
    let other = won("ship", "").replace("\"cured\"", "\"repaid\"");
    let deployment = deployment(&other, false);
    let host = Host::start(&deployment).ready();
    post(&host, "complaint", &[100_000], &now());
    post(&host, "repaid", &[100_000], &now());
    crate::course::cure_alone(&host);
    deployment.write("experiments/e.toml", won("ship", ""));
    let error = refused(&host, "metrics.repaid removed");
    assert!(error.contains("it was goal; loosens"), "{error}");
    stays(&host, "running");
    assert_eq!(report(&host)["metrics"][0]["name"], "repaid");
    // Even after a decision the new goal is exploratory.
    assert_eq!(command(&host, "amend", why()).0, 200);
    let found = eventually("it is better", IN_TIME, || {
        heard(&host, &["cured"]);
        let found = report(&host);
        let goal = &found["metrics"][0];
        (goal["name"] == "cured" && goal["comparisons"][0]["better"] == true).then_some(found)
    });
    let goal = &found["metrics"][0];
    assert_eq!((&goal["exploratory"], &goal["role"], &goal["alpha"]), (&json!(true), &json!("goal"), &json!(0.05)));
    assert_eq!(found["verdict"]["decision"], "hold", "{found}");
    stays(&host, "running");
    let text = run(["report", "e", "--admin", &format!("http://{}", host.admin.address)]).stdout;
    assert!(text.contains("exploratory: added after the first unit"), "{text}");
    // It comes back as it was, and is not what was declared.
    deployment.write("experiments/e.toml", &other);
    edited(&host, "metrics.repaid");
    let back = eventually("it is analysed", IN_TIME, || {
        let answer = host.admin.get("/v1/experiments/e/report");
        (answer.status == 200).then(|| answer.json()).filter(|found| found["metrics"][0]["name"] == "repaid")
    });
    assert_eq!(back["metrics"][0]["exploratory"], true);
}

#[test]
fn a_guardrail_that_is_removed_stays_in_force_and_one_that_is_added_acts() {
    for (before, after) in [(FAILURES, ""), ("", FAILURES)] {
        let deployment = deployment(&format!("{RUNNING}{before}"), true);
        let host = Host::start(&deployment).ready();
        deployment.write("experiments/e.toml", format!("{RUNNING}{after}"));
        if before.is_empty() {
            let added = edited(&host, "guardrails.failures");
            assert_eq!(added["evidence"]["changes"][0]["effect"], "adds", "{added}");
        } else {
            refused(&host, "guardrails.failures removed");
        }
        enter(&host, 0..400);
        is(&host, "aborted");
        assert_eq!(report(&host)["stopped_by"], "failures");
    }
}

#[test]
fn where_people_have_to_agree_they_agree_to_what_loosens_the_rule() {
    let deployment = deployment(&format!("{RUNNING}{FAILURES}"), false);
    let governance = "[governance]\napprovals = 1\napprovers = [\"bob\"]\n\n";
    deployment.write("serin.toml", format!("{governance}{}", deployment.read("serin.toml")));
    let host = Host::start(&deployment).ready();
    let approve = || command(&host, "approve", json!({ "by": "bob", "reason": "read it" })).0;
    assert_eq!(approve(), 200);
    is(&host, "running");
    deployment.edit("experiments/e.toml", "max_increase = 0.02", "max_increase = 0.05");
    refused(&host, "0.02 -> 0.05");
    let (status, lacking) = command(&host, "amend", why());
    assert_eq!((status, &lacking["type"]), (409, &json!("urn:serin:problem:not-approved")), "{lacking}");
    assert_eq!((approve(), command(&host, "amend", why()).0), (200, 200));
    edited(&host, "guardrails.failures.max_increase");
}

#[test]
fn a_draft_may_be_changed_freely() {
    let draft = RUNNING.replace("coverage = 1.0", "coverage = 1.0\nstart = \"manual\"");
    let deployment = deployment(&format!("{draft}{FAILURES}"), false);
    let host = Host::start(&deployment).ready();
    deployment.write("experiments/e.toml", &draft);
    eventually("it is applied", IN_TIME, || (shown(&host)["spec"]["guardrails"] == json!([])).then_some(()));
    assert_eq!((history(&host), &shown(&host)["error"]), (vec![], &Value::Null));
    assert_eq!(command(&host, "start", why()).0, 200);
}

/// Units enter, and so many of twenty in each arm are cured.
fn cured(host: &Host, units: std::ops::Range<u32>, control: usize, next: usize) {
    let request = |i: u32| json!({ "decision_point": "p", "entities": { "borrower": format!("b-{i}") } });
    let requests: Vec<Value> = units.clone().map(request).collect();
    let mut of_arm = [vec![], vec![]];
    for (some, first) in requests.chunks(100).zip(units.step_by(100)) {
        let answer = host.public.post("/v1/decisions/batch", &json!({ "requests": some })).json();
        for (at, item) in answer["results"].as_array().expect("results").iter().enumerate() {
            let is_next = item["decision"]["experiment"]["arm"] == "next";
            of_arm[usize::from(is_next)].push(first + at as u32);
        }
    }
    let at = now();
    for (arm, of_twenty) in of_arm.iter().zip([control, next]) {
        let cured = arm.iter().enumerate().filter(|(at, _)| at % 20 < of_twenty).map(|(_, unit)| *unit);
        post(host, "cured", &cured.collect::<Vec<_>>(), &at);
    }
}

#[test]
fn the_numbers_at_the_ship_stay_and_units_since_are_an_estimate_of_their_own() {
    let spec = won("ship", "").replace("planned_units = 600", "planned_units = 2000\nprior_sd = 0.1");
    let deployment = deployment(&spec, false);
    let host = Host::start(&deployment).ready();
    post(&host, "complaint", &[100_000], &now());
    cured(&host, 0..2000, 6, 9);
    is(&host, "shipped");
    stays(&host, "shipped");
    let at_ship = report(&host);
    let goal = |found: &Value| found["metrics"][0]["comparisons"][0].clone();
    let found = goal(&at_ship);
    assert_eq!((&found["better"], &at_ship["verdict"]["decision"]), (&json!(true), &json!("ship")), "{at_ship}");
    let number = |value: &Value| value.as_f64().expect("a number");
    assert!((number(&found["difference"]) - 0.15).abs() < 0.02, "{found}");
    let shrunken = number(&found["shrunken"]["difference"]);
    assert!(shrunken > 0.1 && shrunken < number(&found["difference"]), "{found}");

    // Since then both are alike, as one who moved would know.
    cured(&host, 2000..4000, 9, 9);
    let moved: Vec<u32> = taken(&host).into_iter().map(|(unit, _)| unit).collect();
    post(&host, "again", &moved, &now());
    let later = eventually("they are mature", IN_TIME, || {
        heard(&host, &["cured"]);
        let found = report(&host);
        (found["since_ship"]["units"]["left_out"]["not_mature"] != 0).then_some(())?;
        let goal = &found["since_ship"]["metrics"][0];
        (goal["left_out"]["not_mature"] == 0).then_some(found)
    });
    for key in ["metrics", "units", "srm", "guardrails", "actions", "verdict"] {
        assert_eq!(later[key], at_ship[key], "{key} at the ship");
    }
    let since = &later["since_ship"];
    let of_goal = &since["metrics"][0]["comparisons"][0];
    assert_eq!(since["units"]["entered"], 2000 + since["units"]["left_out"]["moved"].as_u64().expect("a count"));
    assert!(since["units"]["left_out"]["moved"].as_u64() > Some(10), "{since}");
    assert_eq!((&of_goal["significant"], &of_goal["shrunken"]), (&json!(false), &Value::Null), "{since}");
    assert!(number(&of_goal["difference"]).abs() < 0.01, "{of_goal}");
    assert!((number(&since["srm"]["expected"]["control"]) - 0.2).abs() < 1e-9, "{since}");
    let text = run(["report", "e", "--admin", &format!("http://{}", host.admin.address)]).stdout;
    for needle in
        ["\nas of the ship, 20", "\nSince then, against those held back: ", "shrunken to ", "\nsince the ship, units"]
    {
        assert!(text.contains(needle), "{needle}: {text}");
    }
    let page = host.admin.get("/v1/experiments/e/report?format=html").text;
    assert!(page.contains("Since the ship") && page.contains("Units that entered since"), "{page}");
    // Nor does a promise about the time before the ship change what was decided by.
    let promised = json!({ "watermarks": [{ "name": "cured", "time": now() }] });
    assert_eq!(host.public.post("/v1/outcomes/watermarks", &promised).json()["stored"], 1);
    stays(&host, "shipped");
    assert_eq!(report(&host)["units"], at_ship["units"]);
    // It lasts over a restart, and a stopped host's ledger says the same.
    assert_eq!(host.stop(), Some(0));
    let stopped = offline(&deployment);
    let host = Host::start(&deployment).ready();
    for again in [stopped, report(&host)] {
        assert_eq!((&again["metrics"], &again["units"]), (&at_ship["metrics"], &at_ship["units"]));
        assert_eq!(again["since_ship"]["metrics"], since["metrics"]);
    }
    // Late harm of those who entered before is known, and takes nothing back; that of units since does.
    let old: Vec<u32> = (0..2000).collect();
    post(&host, "complaint", &old, &now());
    stays(&host, "shipped");
    assert_eq!(report(&host)["guardrails"], at_ship["guardrails"]);
    let new: Vec<u32> = (2000..2050).collect();
    post(&host, "complaint", &new, &now());
    is(&host, "paused");
    let taken_back = history(&host).last().cloned().unwrap_or_default();
    assert_eq!((&taken_back["command"], &taken_back["by"]), (&json!("reopen"), &json!("serin")), "{taken_back}");
    let found = report(&host);
    assert_eq!((&found["verdict"]["decision"], &found["metrics"]), (&json!("stop"), &at_ship["metrics"]), "{found}");
}

#[test]
fn a_restart_goes_on_with_the_spec_of_a_file_that_was_renamed_and_not_with_its_older_one() {
    let deployment = deployment(RUNNING, false);
    let host = Host::start(&deployment).ready();
    assert_eq!(state(&host), "running");
    std::fs::rename(deployment.path().join("experiments/e.toml"), deployment.path().join("experiments/a.toml"))
        .expect("renames");
    eventually("it has another name", IN_TIME, || (shown(&host)["file"] == "a.toml").then_some(()));
    let before = shown(&host)["spec"]["digest"].clone();
    deployment.edit("experiments/a.toml", "coverage = 1.0", "coverage = 1.0\nowner = \"bob\"");
    let edited = eventually("the edit is in force", IN_TIME, || {
        Some(shown(&host)["spec"]["digest"].clone()).filter(|digest| *digest != before)
    });
    // A mistake leaves what was in force, across a restart too.
    deployment.write("experiments/a.toml", "id = ");
    eventually("the mistake is shown", IN_TIME, || shown(&host)["error"].is_string().then_some(()));
    assert_eq!(host.stop(), Some(0));
    let host = Host::start(&deployment).ready();
    let shown = shown(&host);
    assert_eq!(
        [&shown["state"], &shown["file"], &shown["spec"]["digest"], &shown["stale"]],
        [&json!("running"), &json!("a.toml"), &edited, &json!(true)]
    );
}
