//! How an experiment ends: it ships, is taken back, runs out of time, or waits for people to agree.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::experiments::{RUNNING, command, decide, deployment, enter, heard, report, state, taken, why};
use crate::support::{Host, eventually, run, wat};

const SHIP: &str = r#"
[[metrics]]
name = "cured"
role = "goal"
outcome = "cured"
window = "5s"
lag = "3s"
planned_units = 600

[[metrics]]
name = "complaints"
role = "guardrail"
outcome = "complaint"
window = "1h"
direction = "decrease"

[[guardrails]]
metric = "complaints"
max_count = 0
"#;

pub(crate) fn won(on_success: &str, more: &str) -> String {
    let keys = format!("coverage = 1.0\non_success = \"{on_success}\"\nholdback = 0.2\n{more}");
    RUNNING.replace("coverage = 1.0", &keys) + SHIP
}

pub(crate) fn arm(host: &Host, i: u32) -> String {
    decide(host, &format!("b-{i}"))["experiment"]["arm"].as_str().unwrap_or_default().to_owned()
}

pub(crate) fn now() -> String {
    jiff::Timestamp::now().to_string()
}

pub(crate) fn post(host: &Host, name: &str, units: &[u32], at: &str) {
    let outcome = |i: &u32| json!({ "id": format!("{name}-{i}"), "name": name, "value": 1.0, "at": at, "entity": { "borrower": format!("b-{i}") } });
    let outcomes: Vec<Value> = units.iter().map(outcome).collect();
    assert_eq!(host.public.post("/v1/outcomes", &json!({ "outcomes": outcomes })).status, 200);
}

/// Six hundred units enter, of which most in `next` are cured, and few in control. Complaints are
/// known, of somebody else.
fn cure(host: &Host) {
    post(host, "complaint", &[100_000], &now());
    cure_alone(host);
}

pub(crate) fn cure_alone(host: &Host) {
    enter(host, 0..600);
    // Soon after they entered, however long the rest takes.
    let at = now();
    let is_cured = |i: &u32| if arm(host, *i) == "next" { i % 10 != 1 } else { i.is_multiple_of(10) };
    let cured: Vec<u32> = (0..600).filter(is_cured).collect();
    post(host, "cured", &cured, &at);
}

/// Waits for a state, while cures are posted.
pub(crate) fn is(host: &Host, wanted: &str) {
    let in_time = Duration::from_secs(20);
    eventually(&format!("it is {wanted}"), in_time, || {
        heard(host, &["cured"]);
        (state(host) == wanted).then_some(())
    });
}

fn last_change(host: &Host) -> Value {
    let shown = host.admin.get("/v1/experiments/e").json();
    shown["history"].as_array().and_then(|all| all.last()).cloned().unwrap_or_default()
}

#[test]
fn a_winner_serves_the_slot_less_the_holdback_until_the_pin_is_edited() {
    let deployment = deployment(&won("hold", ""), false);
    let host = Host::start(&deployment).ready();
    cure(&host);
    let arms = taken(&host);
    let in_time = Duration::from_secs(20);
    eventually("it has won", in_time, || {
        heard(&host, &["cured"]);
        (report(&host)["verdict"]["decision"] == "ship").then_some(())
    });
    assert_eq!(state(&host), "running", "nothing is shipped that does not say so");
    deployment.edit("experiments/e.toml", "on_success = \"hold\"", "on_success = \"ship\"");
    is(&host, "shipped");
    let shown = host.admin.get("/v1/experiments/e").json();
    assert_eq!((&shown["winner"], &shown["coverage"], &shown["phase"]), (&json!("next"), &json!(1.0), &json!(2)));
    let after = taken(&host);
    assert_eq!(after.len(), 100);
    let held_back: Vec<_> = after.iter().filter(|(_, arm)| arm == "control").collect();
    assert!((8..35).contains(&held_back.len()), "a fifth: {}", held_back.len());
    assert!(held_back.iter().all(|unit| arms.contains(unit)), "nobody is moved to control");
    let id = decide(&host, &format!("b-{}", held_back[0].0))["decision_id"].as_str().expect("an id").to_owned();
    let assignment = host.admin.get(&format!("/v1/decisions/{id}")).json()["routing"]["assignment"].clone();
    assert_eq!((&assignment["shipped"], &assignment["propensity"]), (&json!(true), &json!(0.2)), "{assignment}");
    // The counts reconcile, and those who moved are in neither arm since.
    let found = report(&host);
    let (units, changes) = (found["since_ship"]["units"].clone(), found["changes"].as_array().expect("changes"));
    let commands: Vec<&Value> = changes.iter().map(|change| &change["command"]).collect();
    assert_eq!((commands.first(), commands.last()), (Some(&&json!("start")), Some(&&json!("ship"))), "{found}");
    let text = run(["report", "e", "--admin", &format!("http://{}", host.admin.address)]).stdout;
    let (shipped, since) = ("\nShipped 20", "\nSince then, against those held back: ");
    assert!(text.find(shipped).zip(text.find(since)).is_some_and(|(first, then)| first < then), "{text}");
    assert!(
        text.contains(" moved by shipping\n") && !text.contains("= 0 ") && !text.contains("+ 0 "),
        "what is zero is left out: {text}"
    );
    let n = |key: &str| units["left_out"][key].as_u64().expect("a count");
    assert!(n("moved") > 10, "{units}");
    let sum = units["mature"].as_u64().unwrap_or(0) + n("not_mature") + n("forced") + n("moved");
    assert_eq!(units["entered"].as_u64(), Some(sum), "{units}");

    // It lasts over a restart, and replays.
    host.kill();
    let host = Host::start(&deployment).ready();
    assert_eq!(taken(&host), after);
    let config = deployment.config();
    let replay = run(["replay", "--verify", "--config", config.to_str().expect("a path")]);
    assert_eq!(replay.code, Some(0), "{} {}", replay.stdout, replay.stderr);
    // What is pinned changes in serin.toml alone; then the experiment has done its work.
    deployment.edit("serin.toml", "strategy = \"p@1.0.0\"", "strategy = \"q@1.0.0\"");
    is(&host, "concluded");
    assert_eq!(decide(&host, "b-1")["strategy"]["name"], "q");
    let last = last_change(&host);
    assert!(last["reason"].as_str().is_some_and(|why| why.contains("pins q@1.0.0")), "{last}");
}

#[test]
fn late_harm_against_the_holdback_takes_the_winner_back() {
    let deployment = deployment(&won("ship", ""), false);
    let host = Host::start(&deployment).ready();
    cure(&host);
    is(&host, "shipped");
    // Units that entered before are the evidence that shipped; harm is judged on those who enter since.
    enter(&host, 600..900);
    let of_next: Vec<u32> = (600..900).filter(|i| arm(&host, *i) == "next").collect();
    post(&host, "complaint", &of_next, &now());
    is(&host, "paused");
    assert_eq!(decide(&host, "b-1")["served_by"], "strategy", "everybody is on the pinned strategy");
    let last = last_change(&host);
    assert_eq!((&last["command"], &last["by"]), (&json!("reopen"), &json!("serin")), "{last}");
    // A count is told as one, not as a mean.
    let reason = last["reason"].as_str().unwrap_or_default();
    assert!(reason.starts_with("'complaints' happened ") && reason.ends_with("at most 0 are allowed"), "{reason}");
    let evidence = &last["evidence"];
    assert!(evidence["kind"] == "count" && evidence["events"].as_u64() > Some(0) && evidence["most"] == 0, "{last}");
    let shown = host.admin.get("/v1/experiments/e").json();
    assert!(shown["why"].as_str().is_some_and(|why| why.contains("taken back")), "{shown}");
    let found = report(&host);
    assert_eq!(found["stopped_by"], "complaints");
    let srm = &found["since_ship"]["srm"];
    assert!(srm["sequential_p"].as_f64() > Some(0.01), "{srm}");
    let looks = || host.metric("serin_experiment_looks_total");
    let before = looks();
    eventually("it is looked at again", Duration::from_secs(20), || (looks() >= before + 2.0).then_some(()));
    assert_eq!(state(&host), "paused", "however often it is looked at, a person decides");
    let (status, refused) = command(&host, "promote", why());
    let detail = refused["detail"].as_str().unwrap_or_default();
    assert!(status == 409 && detail.contains("resume, abort, conclude"), "{refused}");
    assert_eq!(command(&host, "abort", why()).0, 200);
}

#[test]
fn no_winner_before_its_time_and_an_end_after_it() {
    let deployment = deployment(&won("ship", "min_duration = \"1h\""), false);
    let host = Host::start(&deployment).ready();
    cure(&host);
    let why = eventually("it has won, too early", Duration::from_secs(20), || {
        heard(&host, &["cured"]);
        let why = report(&host)["verdict"]["why"].as_str().unwrap_or_default().to_owned();
        why.contains("it has run").then_some(why)
    });
    assert!(why.contains("'cured' is better in arm 'next'"), "{why}");
    assert_eq!(state(&host), "running");
    deployment.write("experiments/e.toml", won("hold", "max_duration = \"1s\""));
    eventually("its rule stays", Duration::from_secs(20), || {
        let error = host.admin.get("/v1/experiments/e").json()["error"].as_str().map(str::to_owned);
        error.filter(|error| error.contains("min_duration 1h -> 0s (loosens)"))
    });
    assert_eq!(command(&host, "amend", crate::experiments::why()).0, 200);
    is(&host, "concluded");
    let last = last_change(&host);
    assert!(last["reason"].as_str().is_some_and(|why| why.contains("max_duration has passed")), "{last}");
    let shown = host.admin.get("/v1/experiments/e").json();
    assert_eq!(shown["winner"], "next", "what is known by then says who");
}

#[test]
fn an_experiment_starts_and_widens_only_when_enough_people_agree_to_it_as_it_is() {
    let deployment = deployment(&RUNNING.replace("coverage = 1.0", "coverage = 0.3"), false);
    let governance = "[governance]\napprovals = 2\napprovers = [\"ann\", \"bob\", \"cy\"]\n\n";
    deployment.write("serin.toml", format!("{governance}{}", deployment.read("serin.toml")));
    let host = Host::start(&deployment).ready();
    assert_eq!(taken(&host), []);
    let shown = host.admin.get("/v1/experiments/e").json();
    assert!(shown["why"].as_str().is_some_and(|why| why.contains("waits for approval: 0 of 2")), "{shown}");
    let (status, refused) = command(&host, "start", why());
    assert_eq!((status, &refused["type"]), (409, &json!("urn:serin:problem:not-approved")), "{refused}");
    let approve = |by: &str| command(&host, "approve", json!({ "by": by, "reason": "read it" })).0;
    assert_eq!([approve("mallory"), approve("ann"), approve("ann")], [409, 200, 200]);
    assert_eq!(taken(&host), [], "said twice, it is one");
    let admin = format!("http://{}", host.admin.address);
    let bob = run(["experiment", "approve", "e", "--by", "bob", "--reason", "looks well", "--admin", &admin]);
    assert!(bob.code == Some(0) && bob.stdout.contains("by bob: looks well"), "{} {}", bob.stdout, bob.stderr);
    is(&host, "running");
    let first = taken(&host);
    assert!(!first.is_empty());
    // A wider coverage is another spec, which nobody has agreed to.
    deployment.edit("experiments/e.toml", "coverage = 0.3", "coverage = 1.0");
    eventually("it waits", Duration::from_secs(10), || {
        let shown = host.admin.get("/v1/experiments/e").json();
        shown["why"].as_str().is_some_and(|why| why.contains("0 of 2 approvals")).then_some(())
    });
    assert_eq!(taken(&host), first, "what was agreed to goes on");
    // A pause is to contain, and brings nothing in that waits.
    for (name, state) in [("pause", "paused"), ("resume", "running")] {
        assert_eq!(command(&host, name, why()).0, 200);
        is(&host, state);
        assert_eq!(taken(&host), first, "{name}");
        let shown = host.admin.get("/v1/experiments/e").json();
        assert!(shown["why"].as_str().is_some_and(|why| why.contains("0 of 2 approvals")), "{shown}");
    }
    assert_eq!([approve("cy"), approve("ann")], [200, 200]);
    eventually("it widens", Duration::from_secs(10), || (taken(&host).len() == 100).then_some(()));
    // To stop what does harm nobody has to be asked.
    assert_eq!(command(&host, "abort", why()).0, 200);
}

#[test]
fn another_id_in_the_file_of_an_experiment_takes_neither_its_place_nor_its_slot() {
    let windowed =
        RUNNING.to_owned() + "\n[[metrics]]\nname = \"m\"\nrole = \"goal\"\noutcome = \"cured\"\nwindow = \"1d\"\n";
    let deployment = deployment(&windowed, false);
    let host = Host::start(&deployment).ready();
    let first = taken(&host);
    assert!(!first.is_empty());
    deployment.edit("experiments/e.toml", "id = \"e\"", "id = \"f\"");
    let shown = |host: &Host, id: &str| host.admin.get(&format!("/v1/experiments/{id}")).json();
    let refused = |host: &Host, id: &str, words: &str| {
        eventually(words, Duration::from_secs(10), || {
            shown(host, id)["error"].as_str().filter(|error| error.contains(words)).map(str::to_owned)
        });
    };
    refused(&host, "e", "id = \"f\" in the file of 'e', which takes units");
    let checked = run(["check", "--config", deployment.config().to_str().expect("a path")]);
    assert!(checked.code != Some(0) && checked.stderr.contains("in the file of 'e'"), "{}", checked.stderr);
    host.kill();
    let host = Host::start(&deployment).ready();
    assert_eq!((taken(&host), &shown(&host, "e")["state"]), (first, &json!("running")));

    // Once it has ended, its file may be another one's, and its units keep their slot for a day.
    assert_eq!(command(&host, "abort", why()).0, 200);
    refused(&host, "f", "overlaps that of 'e'");
    assert_eq!(taken(&host), []);
    assert_eq!(host.stop(), Some(0));
    let checked = run(["check", "--config", deployment.config().to_str().expect("a path")]);
    assert!(checked.code != Some(0) && checked.stderr.contains("overlaps that of 'e'"), "{}", checked.stderr);
    let host = Host::start(&deployment).ready();
    refused(&host, "f", "overlaps that of 'e'");
    assert_eq!((taken(&host), &shown(&host, "e")["state"]), (vec![], &json!("aborted")));
}

#[test]
fn a_copy_of_an_experiments_file_does_not_take_it_over() {
    let deployment = deployment(RUNNING, false);
    let host = Host::start(&deployment).ready();
    deployment.write("experiments/a.toml", deployment.read("experiments/e.toml"));
    let refused = |host: &Host| {
        eventually("the copy is refused", Duration::from_secs(10), || {
            let shown = host.admin.get("/v1/experiments").json().to_string();
            shown.contains("id \\\"e\\\" is taken by e.toml").then_some(())
        });
        let shown = host.admin.get("/v1/experiments/e").json();
        assert_eq!((&shown["state"], &shown["file"]), (&json!("running"), &json!("e.toml")));
    };
    refused(&host);
    assert_eq!(host.stop(), Some(0));
    refused(&Host::start(&deployment).ready());
}

#[test]
fn what_takes_the_name_of_a_file_that_is_gone_brings_its_experiment_back_no_more_than_itself() {
    let deployment = deployment(RUNNING, false);
    let host = Host::start(&deployment).ready();
    let first = taken(&host);
    assert!(!first.is_empty());
    let whole = deployment.read("experiments/e.toml");
    let file = deployment.path().join("experiments/e.toml");
    let states = |host: &Host| {
        let shown = host.admin.get("/v1/experiments").json();
        let text = |shown: &Value, key: &str| shown[key].as_str().unwrap_or_default().to_owned();
        let state = |shown: &Value| (text(shown, "id"), text(shown, "state"));
        shown["experiments"].as_array().expect("a list").iter().map(state).collect::<BTreeSet<_>>()
    };
    let are = |host: &Host, expected: &[(&str, &str)]| {
        let expected: BTreeSet<_> =
            expected.iter().map(|(id, state)| ((*id).to_owned(), (*state).to_owned())).collect();
        eventually("the experiments", Duration::from_secs(10), || (states(host) == expected).then_some(()));
        assert_eq!(taken(host), [], "{expected:?}");
    };
    std::fs::remove_file(&file).expect("removes");
    are(&host, &[("e", "spec_missing")]);
    // Neither another experiment there nor a mistake is the file that is missed.
    deployment.write("experiments/e.toml", whole.replace("id = \"e\"", "id = \"f\""));
    are(&host, &[("e", "spec_missing"), ("e.toml", "invalid")]);
    let error = host.admin.get("/v1/experiments").json().to_string();
    assert!(error.contains("in what was the file of 'e', which has not ended"), "{error}");
    host.kill();
    let host = Host::start(&deployment).ready();
    are(&host, &[("e", "spec_missing"), ("e.toml", "invalid")]);
    deployment.write("experiments/e.toml", "id = ");
    are(&host, &[("e", "spec_missing"), ("e.toml", "invalid")]);
    deployment.write("experiments/e.toml", whole);
    eventually("it goes on", Duration::from_secs(10), || (taken(&host) == first).then_some(()));
    assert_eq!(states(&host), BTreeSet::from([("e".to_owned(), "running".to_owned())]));
}

#[test]
fn a_decision_point_does_not_go_while_an_experiment_runs_there() {
    let deployment = deployment(RUNNING, false);
    let whole = deployment.read("serin.toml");
    let host = Host::start(&deployment).ready();
    let first = taken(&host);
    deployment.write("serin.toml", whole.replace("decision_points.p]", "decision_points.q]"));
    let error = eventually("the edit waits", Duration::from_secs(10), || {
        host.admin.get("/v1/deployment").json()["config_error"].as_str().map(str::to_owned)
    });
    assert!(error.contains("decision_points.p is gone, and 'e' runs there"), "{error}");
    assert_eq!(taken(&host), first);
}

#[test]
fn a_command_is_in_force_at_once_while_an_artifact_is_slow_to_load() {
    let deployment = deployment(RUNNING, false);
    let host = Host::start(&deployment).ready();
    assert!(!taken(&host).is_empty());
    // Ten seconds of its own time for a case that has no end.
    let manifest = format!("{}\n[limits]\nfuel = 1000000000000\n", wat::manifest("slow", "1.0.0", "p", "go"));
    let fields = format!("{} {}", wat::PRELUDE, wat::decide("(loop $l (br $l)) (i32.const 1024)"));
    let case = json!([{ "name": "endless", "expect": { "candidates": [] } }]);
    deployment.write("plugins/slow-1.0.0.wasm", wat::with_cases(wat::guest(&manifest, &fields), &case));
    let slow = |state: &str| {
        let plugins = host.admin.get("/v1/plugins").json();
        let found = plugins["plugins"].as_array()?.iter().find(|p| p["file"] == "slow-1.0.0.wasm");
        found.filter(|p| p["state"] == state).cloned()
    };
    eventually("it is being loaded", Duration::from_secs(5), || slow("loading"));
    let (status, answer) = command(&host, "abort", why());
    assert_eq!((status, &answer["state"]), (200, &json!("aborted")), "{answer}");
    assert!(taken(&host).is_empty(), "nobody is enrolled any more");
    assert!(slow("loading").is_some(), "and it is still being loaded");
    let failed = eventually("it is refused", Duration::from_secs(30), || slow("failed"));
    assert!(failed["error"].as_str().is_some_and(|error| error.contains("endless")), "{failed}");
}

#[test]
fn a_layers_salt_and_unit_stay_while_an_experiment_runs_there() {
    let deployment = deployment(RUNNING, false);
    let layer = |salt: &str| format!("[layers.l]\nunit = \"borrower\"\nsalt = \"{salt}\"\n\n");
    let plain = deployment.read("serin.toml").replace("[decision_points.p]", "[decision_points.p]\nlayer = \"l\"");
    deployment.write("serin.toml", layer("one") + &plain);
    let host = Host::start(&deployment).ready();
    let before = taken(&host);
    deployment.write("serin.toml", layer("two") + &plain);
    let refused = |host: &Host| {
        let refused = eventually("the edit is refused", Duration::from_secs(10), || {
            host.admin.get("/v1/deployment").json()["config_error"].as_str().map(str::to_owned)
        });
        assert!(refused.contains("the layer's salt") && refused.contains("'e' runs there"), "{refused}");
        assert_eq!(taken(host), before, "nobody has moved");
    };
    refused(&host);
    assert_eq!(host.stop(), Some(0));
    let host = Host::start(&deployment).ready();
    refused(&host);
    assert_eq!(command(&host, "abort", why()).0, 200);
    eventually("the edit applies", Duration::from_secs(10), || {
        host.admin.get("/v1/deployment").json()["config_error"].is_null().then_some(())
    });
}

/// The configuration that an experiment runs under, with everything that decides who is in it.
const WHO_IS_IN: &str = r#"
[layers.l]
unit = "borrower"
holdout = 0.02

[global_holdout]
unit = "borrower"
share = 0.02

[features.v]
entity = "borrower"
ttl = "1h"
columns = { gone = "boolean", score = "number" }

[features.unread]
entity = "borrower"
ttl = "1h"
columns = { x = "number" }

"#;

#[test]
fn what_decides_who_is_in_stays_while_an_experiment_runs() {
    let deployment = deployment(RUNNING, false);
    let exclude = "exclude = \"has(features.v.gone) && features.v.gone\"";
    let point = format!("[decision_points.p]\nlayer = \"l\"\n{exclude}");
    let good = WHO_IS_IN.to_owned() + &deployment.read("serin.toml").replace("[decision_points.p]", &point);
    deployment.write("serin.toml", &good);
    let host = Host::start(&deployment).ready();
    let before = taken(&host);
    let refused = |host: &Host, needle: &str| {
        let error = eventually(needle, Duration::from_secs(20), || {
            let error = host.admin.get("/v1/deployment").json()["config_error"].as_str().map(str::to_owned);
            error.filter(|error| error.contains(needle))
        });
        assert!(error.contains("'e' runs there") && error.contains("conclude or abort it first"), "{error}");
        assert_eq!(taken(host), before, "nobody has moved");
    };
    for (from, to, needle) in [
        ("holdout = 0.02", "holdout = 0.5", "the layer's holdout of decision_points.p changed"),
        ("holdout = 0.02", "holdout = 0.0", "the layer's holdout of decision_points.p changed"),
        ("share = 0.02", "share = 0.5", "the global holdout of decision_points.p changed"),
        ("share = 0.02", "share = 0.02\nsalt = \"other\"", "the global holdout of decision_points.p changed"),
        ("[global_holdout]\nunit = \"borrower\"\nshare = 0.02", "", "the global holdout of decision_points.p changed"),
        (
            "ttl = \"1h\"",
            "ttl = \"1m\"",
            "the ttl of features.v, which decides who is in, of decision_points.p changed",
        ),
        ("layer = \"l\"\n", "", "the layer's salt of decision_points.p changed"),
    ] {
        assert!(good.contains(from), "{from}");
        deployment.write("serin.toml", good.replacen(from, to, 1));
        refused(&host, needle);
    }
    let applied = |text: &str| {
        let number = || host.admin.get("/v1/deployment").json()["generation"].as_u64();
        let before = number();
        // A comment of its own makes it another file.
        deployment.write("serin.toml", format!("{text}\n# after {before:?}\n"));
        eventually("the edit applies", Duration::from_secs(20), || (number() > before).then_some(()));
    };
    // Nobody is moved by the rest.
    let edited = |from: &str, to: &str, text: &str| {
        assert!(text.contains(from), "{from}");
        text.replacen(from, to, 1)
    };
    let unread = "entity = \"borrower\"\nttl = \"1h\"\ncolumns = { x";
    let no_ttl = edited("ttl = \"1h\"\ncolumns = { gone", "columns = { gone", &good);
    for text in [
        edited("holdout = 0.02", "holdout = 2e-2", &good),
        edited(exclude, "exclude = \"has( features.v.gone )&&features.v.gone // who is gone\"", &good),
        edited(unread, &unread.replace("1h", "1m"), &good),
        no_ttl.clone(),
        edited(exclude, "", &no_ttl),
    ] {
        applied(&text);
        assert_eq!(taken(&host), before, "nobody has moved");
    }
    // Nor by a restart.
    deployment.write("serin.toml", edited("share = 0.02", "share = 0.5", &no_ttl));
    refused(&host, "the global holdout of decision_points.p changed");
    assert_eq!(host.stop(), Some(0));
    let host = Host::start(&deployment).ready();
    refused(&host, "the global holdout of decision_points.p changed");
    assert_eq!(command(&host, "abort", why()).0, 200);
    eventually("the edit applies", Duration::from_secs(20), || {
        host.admin.get("/v1/deployment").json()["config_error"].is_null().then_some(())
    });
}

#[test]
fn who_is_eligible_stays_while_an_experiment_runs() {
    let deployment = deployment(RUNNING, false);
    let host = Host::start(&deployment).ready();
    let before = taken(&host);
    deployment.edit("experiments/e.toml", "id = \"e\"", "id = \"e\"\neligible = \"entities.borrower < 'b-5'\"");
    let shown = eventually("the edit is refused", Duration::from_secs(20), || {
        Some(host.admin.get("/v1/experiments/e").json()).filter(|shown| shown["error"].is_string())
    });
    assert!(shown["error"].as_str().is_some_and(|error| error.contains("eligible may not change while")), "{shown}");
    assert_eq!((taken(&host), &shown["state"]), (before, &json!("running")));
}
