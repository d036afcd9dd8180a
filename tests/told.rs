//! What a host or `check` does not apply, cannot reach or does not know is told: once, with the
//! reason, and with what would be valid.

use std::time::Duration;

use serde_json::{Value, json};

use crate::experiments::{RAMP, RUNNING, command, decide, deployment, why};
use crate::support::{Cli, Deployment, Host, collections, eventually, run, two_arms, wat};

const IN_TIME: Duration = Duration::from_secs(20);
const NEXT: &str = two_arms!("slot = [0.5, 1.0]", "");

fn check(deployment: &Deployment) -> Cli {
    run(["check", "--config", deployment.config().to_str().expect("a path")])
}

/// How many lines of the log hold all of `words`; waits for the first one.
fn logged(host: &Host, words: &[&str]) -> usize {
    let count = || host.log().lines().filter(|line| words.iter().all(|word| line.contains(word))).count();
    eventually(&format!("{words:?} is logged"), IN_TIME, || Some(count()).filter(|count| *count > 0))
}

fn listed(host: &Host) -> String {
    run(["experiment", "list", "--admin", &host.admin.address]).stdout
}

#[test]
fn a_file_that_is_not_applied_is_logged_once_and_listed_with_its_reason() {
    let deployment = deployment(RUNNING, false);
    let host = Host::start(&deployment).ready();
    deployment.write("experiments/f.toml", RUNNING.replace("id = \"e\"", "id = \"f\""));
    assert_eq!(logged(&host, &["WARN", "f.toml", "overlaps that of 'e'"]), 1);
    deployment.edit("experiments/e.toml", "weight = 0.5\n\n[[arms]]", "weight = 0.4\n\n[[arms]]");
    assert_eq!(logged(&host, &["WARN", "e.toml", "weights sum to 0.9"]), 1);
    deployment.remove("plugins/q-1.0.0.wasm");
    assert_eq!(logged(&host, &["WARN", "file is gone", "q@1.0.0"]), 1);
    let list = listed(&host);
    for words in ["overlaps that of 'e'", "e.toml: ", "weights sum to 0.9", "the file of q@1.0.0 is gone"] {
        assert!(list.contains(words), "{words}: {list}");
    }
    let before = host.log().len();
    // The scan repeats every two seconds.
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!(host.log().len(), before, "{}", host.log());
    host.kill();
    let host = Host::start(&deployment).ready();
    assert_eq!(logged(&host, &["WARN", "f.toml", "overlaps that of 'e'"]), 2, "at a start, too");
    logged(&host, &["INFO", "artifact found, compiling"]);
}

#[test]
fn check_knows_what_the_ledger_knows() {
    let deployment = deployment(RUNNING, false);
    assert_eq!(check(&deployment).code, Some(0));
    let host = Host::start(&deployment).ready();
    decide(&host, "b-1");
    assert!(check(&deployment).stdout.contains("by this ledger e is running"));
    deployment.edit("experiments/e.toml", "weight = 0.5\n", "weight = 0.25\n");
    deployment.edit("experiments/e.toml", "weight = 0.25\n\n[[arms]]", "weight = 0.75\n\n[[arms]]");
    let refused = check(&deployment);
    assert_eq!(refused.code, Some(1), "{}", refused.stdout);
    assert!(refused.stderr.contains("weight may not change while the experiment runs"), "{}", refused.stderr);
    deployment.write("experiments/e.toml", RUNNING);
    let point = "entities = [\"borrower\"]";
    deployment.edit("serin.toml", "[limits]", "[layers.l]\nunit = \"borrower\"\nsalt = \"other\"\n\n[limits]");
    deployment.edit("serin.toml", point, &format!("layer = \"l\"\n{point}"));
    let refused = check(&deployment);
    assert!(
        refused.stderr.contains("the layer's salt of decision_points.p changed, and 'e' runs there"),
        "{}",
        refused.stderr
    );
    deployment.edit("serin.toml", &format!("layer = \"l\"\n{point}"), point);
    assert_eq!(command(&host, "abort", why()).0, 200);
    // The aborted file stays, and the next one is on the slot that it held: as the host has it.
    deployment
        .write("experiments/f.toml", format!("reuse_slot = true\n{}", RUNNING.replace("id = \"e\"", "id = \"f\"")));
    eventually("f runs", IN_TIME, || (host.admin.get("/v1/experiments/f").json()["state"] == "running").then_some(()));
    let checked = check(&deployment);
    assert_eq!(checked.code, Some(0), "{}", checked.stderr);
    assert!(checked.stdout.contains("by this ledger e is aborted: its file changes nothing"), "{}", checked.stdout);
    deployment.remove("experiments/f.toml");
    assert!(check(&deployment).stderr.contains("its file is gone, and by this ledger it is running"));
    let approved = command(&host, "approve", why());
    assert!(
        approved.1["detail"].as_str().is_some_and(|d| d.ends_with("nothing of it waits for an approval any more")),
        "{}",
        approved.1
    );
}

#[test]
fn a_shorter_retention_is_told_of_as_it_begins_to_delete() {
    let deployment = deployment(RUNNING, false);
    let host = Host::start(&deployment).ready();
    let whole = deployment.read("serin.toml");
    let words = ["WARN", "ledger.retain is shorter"];
    for (retain, times) in [("400d", 1), ("30d", 2)] {
        deployment.write("serin.toml", format!("[ledger]\nretain = \"{retain}\"\n\n{whole}"));
        eventually(retain, IN_TIME, || (logged(&host, &words) == times).then_some(()));
    }
}

#[test]
fn a_pin_that_is_not_control_is_told_of() {
    let deployment = deployment(NEXT, false);
    assert!(!check(&deployment).stderr.contains("reaches"));
    deployment.edit("serin.toml", "strategy = \"p@1.0.0\"", "strategy = \"q@1.0.0\"");
    let said = "the pin q@1.0.0 reaches 75 % of the borrower units of 'p': 'e' holds [0.5, 1], and its control is p@1.0.0, not the pin";
    assert!(check(&deployment).stderr.contains(said), "{}", check(&deployment).stderr);
    let host = Host::start(&deployment).ready();
    assert_eq!(logged(&host, &["WARN", said]), 1);
    assert_eq!(host.admin.get("/v1/deployment").json()["warnings"], json!([said]));
    let status = run(["status", "--admin", &host.admin.address]);
    for words in ["ready, generation", "q@1.0.0", "the pin, and in e", "running", "nothing: the files", said] {
        assert!(status.stdout.contains(words), "{words}: {}{}", status.stdout, status.stderr);
    }
}

#[test]
fn an_arm_with_an_action_that_its_decision_point_lacks_is_refused_by_check_and_by_a_host() {
    let deployment = deployment(RUNNING, false);
    let guest = |action: &str| {
        let fields = format!("{} {}", wat::PRELUDE, wat::decide("(i32.const 1024)"));
        wat::guest(&wat::manifest("q", "1.0.0", "p", action), &fields)
    };
    deployment.write("plugins/q-1.0.0.wasm", guest("stop"));
    let said = "q@1.0.0: action 'stop' is not of 'p'; its actions: go, none";
    let checked = check(&deployment);
    assert_eq!(checked.code, Some(1), "{}", checked.stdout);
    assert!(checked.stderr.contains("e.toml") && checked.stderr.contains(said), "{}", checked.stderr);
    let host = Host::start_with(&deployment.config(), &["--dev"]).ready();
    let refused = host.admin.get("/v1/experiments/e").json();
    assert_eq!(refused["state"], "invalid", "{refused}");
    assert!(refused["error"].as_str().is_some_and(|error| error.contains(said)), "{refused}");
    assert_eq!(decide(&host, "b-1")["served_by"], "strategy", "the pin serves without it");

    // The pin does not declare `none`, the decision point does.
    deployment.write("plugins/q-1.0.0.wasm", guest("none"));
    let state = || host.admin.get("/v1/experiments/e").json()["state"].clone();
    eventually("the experiment runs", IN_TIME, || (state() == "running").then_some(()));
    assert_eq!(check(&deployment).code, Some(0), "{}", check(&deployment).stderr);
}

#[test]
fn a_fallback_has_the_parameters_that_its_action_declares() {
    let deployment = collections();
    let valid = "fallback = { action = \"no_contact\" }";
    for (written, words) in [
        (
            "{ action = \"email\" }",
            "needs template (text); like { action = \"email\", parameters = { template = \"none\" } }",
        ),
        ("{ action = \"email\", parameters = { template = 3 } }", "has template as text, and it is integer here"),
        ("{ action = \"call\", parameters = { month = 3 } }", "has no parameter 'month'"),
    ] {
        let spoilt = collections();
        spoilt.edit("serin.toml", valid, &format!("fallback = {written}"));
        let said = check(&spoilt).stderr;
        assert!(
            said.contains("decision_points.collections-outreach.fallback: action") && said.contains(words),
            "{said}"
        );
    }
    let host = Host::start(&deployment).ready();
    deployment.edit("serin.toml", valid, "fallback = { action = \"email\" }");
    logged(&host, &["ERROR", "the edit is not applied", "needs template (text)"]);
    assert_eq!(host.public.get("/readyz").status, 200);
}

#[test]
fn outcomes_that_nothing_reads_are_stored_and_told_of() {
    let deployment = collections();
    let spec = deployment.read("experiments/outreach-score.toml");
    let metric =
        "\n[[metrics]]\nname = \"complaints\"\nrole = \"secondary\"\noutcome = \"complaint\"\nwindow = \"14d\"\n";
    deployment.write("experiments/outreach-score.toml", spec + metric);
    let host = Host::start(&deployment).ready();
    let post = |outcomes: Value| host.public.post("/v1/outcomes", &json!({ "outcomes": outcomes })).json();
    let known = post(json!([{ "id": "1", "name": "complaint", "value": 1, "entity": { "borrower": "b-1" } }]));
    assert_eq!((&known["stored"], &known["warnings"]), (&json!(1), &json!([])), "{known}");
    let odd = post(json!([{ "id": "2", "name": "complant", "value": 1, "entity": { "borower": "b-1" } }]));
    let warnings = odd["warnings"].to_string();
    assert_eq!(odd["stored"], 1, "{odd}");
    for words in ["did you mean 'complaint'?", "did you mean 'borrower'?", "known: "] {
        assert!(warnings.contains(words), "{words}: {warnings}");
    }
    let wrong =
        post(json!([{ "id": "3", "name": "complaint", "value": 1, "entity": { "kind": "customer", "id": "c-3" } }]));
    let why = wrong["refused"][0]["why"].as_str().unwrap_or_default();
    assert!(why.ends_with("like \"entity\": {\"customer\":\"c-3\"}"), "{wrong}");
    deployment.write("o.csv", "id,name,value,decision_id\n4,complaint,1,nobody\n");
    let file = deployment.path().join("o.csv");
    let file = file.to_str().expect("a path");
    for (address, named) in [(["--url", &*host.public.address], true), (["--admin", &*host.admin.address], false)] {
        let loaded = run(["outcomes", "load", file].into_iter().chain(address));
        assert_eq!(loaded.code, Some(0), "{}", loaded.stderr);
        // The second time it is there already.
        assert_eq!(loaded.stderr.contains("line 2: stored, though no decision"), named, "{}", loaded.stderr);
    }
    let said = host
        .public
        .post(
            "/v1/outcomes",
            &json!({ "outcomes": [
        { "id": "5", "name": "complaint", "value": 1, "decision_id": "nobody" }] }),
        )
        .json();
    assert_eq!(said["unknown_at"], json!([0]), "{said}");
}

#[test]
fn a_machine_that_cannot_carry_a_deployment_is_told_of() {
    let deployment = collections();
    std::fs::remove_dir_all(deployment.path().join("data")).expect("removes");
    std::fs::write(deployment.path().join("data"), "a file").expect("writes");
    assert!(check(&deployment).stderr.contains("data: cannot be made"), "{}", check(&deployment).stderr);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
    let address = taken.local_addr().expect("an address").to_string();
    let deployment = collections();
    let config = deployment.config();
    let served =
        run(["serve", "--config", config.to_str().expect("a path"), "--admin", "127.0.0.1:0", "--listen", &address]);
    assert!(served.stderr.contains("another program listens there; stop it, or choose"), "{}", served.stderr);
    deployment.edit("serin.toml", "127.0.0.1:8081", "127.0.0.1:8080");
    assert!(check(&deployment).stderr.contains("take the same port"), "{}", check(&deployment).stderr);
    let deployment = collections();
    deployment.edit("serin.toml", "wall_ms = 2000", "fuel = 100\nwall_ms = 2000");
    let said = check(&deployment).stderr;
    assert!(said.contains("units of fuel, and this deployment grants 100 (limits.fuel in serin.toml)"), "{said}");
    std::fs::remove_dir_all(deployment.path().join("plugins")).expect("removes");
    assert!(check(&deployment).stdout.contains("is not there, and serve makes it"));
}

#[test]
fn what_is_missing_or_mistyped_is_told_with_an_example() {
    let deployment = Deployment::new("[decision_points.offers]\n\n[features.profile]\nttl = \"1d\"\n");
    let said = check(&deployment).stderr;
    for words in [
        "[decision_points.offers] needs strategy = \"",
        "fallback = { action = \"none\" }",
        "[features.profile] needs entity",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    for (from, to, words) in [
        ("fallback = { action = \"no_contact\" }", "fallback = \"none\"", "like fallback = { action = \"none\" }"),
        ("deadline = \"5s\"", "deadline = 1000", "expected a text in quotes; like deadline = \"50ms\""),
        ("[models.default-risk.\"1.0.0\"]", "[models.default-risk]", "like [models.churn.\"1.0.0\"] with path"),
    ] {
        let deployment = collections();
        deployment.edit("serin.toml", from, to);
        let said = check(&deployment).stderr;
        assert!(said.contains(words) && !said.contains("Raw"), "{words}: {said}");
    }
}

#[test]
fn a_replay_takes_a_time_ago_and_no_candidate_of_another_point() {
    let deployment = collections();
    let host = Host::start(&deployment).ready();
    host.decide(&json!({
        "decision_point": "collections-outreach", "entities": { "borrower": "b-17", "loan": "l-88" },
        "context": { "days_past_due": 12 },
    }));
    deployment.write("other.wasm", crate::support::misbehave());
    let (config, other) = (deployment.config(), deployment.path().join("other.wasm"));
    let replay = |args: &[&str]| run(["replay", "--config", config.to_str().expect("a path")].iter().chain(args));
    let verified = replay(&["--verify", "--since", "1h"]);
    assert_eq!(verified.code, Some(0), "{}", verified.stderr);
    assert!(replay(&["--since", "soon"]).stderr.contains("how long ago, like 1h"));
    let refused = replay(&["--candidate", other.to_str().expect("a path")]);
    assert_eq!(refused.code, Some(1), "{}", refused.stdout);
    assert!(refused.stderr.contains("decides at 'misbehave', and no such decision point"), "{}", refused.stderr);
}

#[test]
fn a_candidate_that_changes_parameters_alone_is_told_from_the_recorded_version() {
    let deployment = deployment(RUNNING, false);
    deployment.remove("experiments/e.toml");
    let host = Host::start(&deployment).ready();
    (0..3).for_each(|unit| drop(decide(&host, &format!("b-{unit}"))));
    let candidate = |n: &str| {
        let fields = wat::PRELUDE.replace("\\07", n);
        let artifact = wat::guest(
            &wat::manifest("p", "1.1.0", "p", "go"),
            &format!("{fields} {}", wat::decide("(i32.const 1024)")),
        );
        deployment.write("candidate.wasm", artifact);
        let [config, candidate] = ["serin.toml", "candidate.wasm"].map(|file| deployment.path().join(file));
        let paths = [config, candidate].map(|path| path.to_str().expect("a path").to_owned());
        run(["replay", "--format", "json", "--config", &paths[0], "--candidate", &paths[1]]).stdout
    };
    let row = |has_other: bool| json!([{ "recorded": "go", "candidate": "go", "other_parameters": has_other, "decisions": 3 }]);
    for (n, has_other) in [("\\08", true), ("\\07", false)] {
        let compared: Value = serde_json::from_str(&candidate(n)).expect("JSON");
        assert_eq!(compared["actions"], row(has_other), "{n}");
    }
}

#[test]
fn an_experiment_that_enrolled_nobody_leaves_its_slot_free() {
    let metric = "[[metrics]]\nname = \"m\"\nrole = \"goal\"\noutcome = \"cured\"\nwindow = \"14d\"\n";
    let deployment = deployment(&format!("{}\n{metric}", RAMP.replace("start = \"manual\"", "")), false);
    let host = Host::start(&deployment).ready();
    assert_eq!(command(&host, "abort", why()).1["state"], "aborted");
    deployment.write("experiments/f.toml", RAMP.replace("id = \"e\"", "id = \"f\"").replace("start = \"manual\"", ""));
    // Once the last decisions that it could have made are in the ledger.
    eventually("the slot is free", Duration::from_secs(20), || {
        (host.admin.get("/v1/experiments/f").json()["state"] == "running").then_some(())
    });
}

#[test]
fn who_concludes_is_told_what_to_pin() {
    let with_parameters = RUNNING.replace(
        "name = \"next\"\nstrategy = \"q@1.0.0\"",
        "name = \"next\"\nparameters = { cap = 4, tone = \"soft\" }\nstrategy = \"q@1.0.0\"",
    );
    let deployment = deployment(&with_parameters, false);
    let declared = "\n[parameters.cap]\ntype = \"integer\"\ndefault = 3\n\n[parameters.tone]\ntype = \"text\"\ndefault = \"firm\"\n";
    let manifest = wat::manifest("q", "1.0.0", "p", "go") + declared;
    let q = wat::guest(&manifest, &format!("{} {}", wat::PRELUDE, wat::decide("(i32.const 1024)")));
    deployment.write("plugins/q-1.0.0.wasm", q);
    let host = Host::start(&deployment).ready();
    decide(&host, "b-1");
    let args = ["experiment", "conclude", "e", "--winner", "next", "--reason", "won", "--admin", &host.admin.address];
    let concluded = run(args);
    assert_eq!(concluded.code, Some(0), "{}", concluded.stderr);
    let pin = "[decision_points.p]\nstrategy = \"q@1.0.0\"\nparameters = { cap = 4, tone = \"soft\" }\n";
    assert!(concluded.stdout.ends_with(pin), "{}", concluded.stdout);
}
