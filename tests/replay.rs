//! Replay: a decision is a pure function of its record, whatever its strategy did; and a record
//! that was altered does not pass for one that was not.

use rusqlite::{Connection, params};
use serde_json::{Value, json};
use serin::ledger::{DecisionFilter, LedgerReader, Reads as _};
use serin_core::record::{Record, ServedBy};
use serin_core::value::Value as Feature;

use crate::support::{Cli, Deployment, Host, collections, misbehave, misbehaving, root, run, wat};

const DECISIONS: usize = 10_000;
const BATCH: usize = 1_000;

fn replay(deployment: &Deployment, more: &[&str]) -> Cli {
    let config = deployment.config();
    run(["replay", "--config", config.to_str().expect("a path"), "--format", "json"].iter().chain(more))
}

/// Counts of a replay, by their names.
fn counts(replay: &Cli) -> [u64; 5] {
    let report: Value = serde_json::from_str(&replay.stdout).unwrap_or_else(|e| panic!("{e}: {}", replay.stderr));
    ["decisions", "identical", "different", "not_replayable", "environmental_attempts"]
        .map(|name| report[name].as_u64().unwrap_or_else(|| panic!("no {name}: {report}")))
}

/// A decision point `doubt` at which a score can be missing without a fallback, of an arm and of the point's own
/// strategy, and where `eligible` cannot be evaluated if the context's `n` is 0.
fn put_doubt(deployment: &Deployment) {
    let point = "\n[layers.doubt]\nunit = \"borrower\"\nsalt = \"doubt-1\"\n\n[decision_points.doubt]\n\
                 strategy = \"doubt@1.0.0\"\nlayer = \"doubt\"\nentities = [\"borrower\"]\n\
                 context = { n = \"integer\", income = \"number?\" }\nactions = [\"go\", \"none\"]\n\
                 deadline = \"5s\"\nfallback = { action = \"none\" }\n";
    deployment.write("serin.toml", format!("{}{point}", deployment.read("serin.toml")));
    let golden: Value = serde_json::from_str(&deployment.read("models/default-risk.golden.json")).expect("JSON");
    let names = golden["inputs"].as_array().expect("inputs").iter().filter_map(Value::as_str);
    let inputs: String = names.map(|name| format!("{name} = \"context.income\"\n")).collect();
    let model = "[[models]]\nname = \"default-risk\"\nversion = \"1.0.0\"";
    for (name, fallback) in [("doubt", ""), ("surer", ""), ("sure", "fallback = 0.05\n")] {
        let manifest = wat::manifest(name, "1.0.0", "doubt", "go");
        let feature = "[[features]]\nview = \"context\"\nname = \"income\"\ntype = \"number\"\n";
        let manifest = format!("{manifest}\n{feature}\n{model}\n{fallback}\n[models.inputs]\n{inputs}");
        let artifact = wat::guest(&manifest, &format!("{} {}", wat::PRELUDE, wat::decide("(i32.const 1024)")));
        deployment.write(&format!("plugins/{name}-1.0.0.wasm"), artifact);
    }
    let arm = |name: &str, version: &str| {
        format!("[[arms]]\nname = \"{name}\"\nstrategy = \"{version}@1.0.0\"\nweight = 0.5\n")
    };
    let keys = "id = \"doubtful\"\ndecision_point = \"doubt\"\nunit = \"borrower\"\nslot = [0.0, 1.0]\n\
                eligible = \"10 / context.n > 2\"\ncoverage = 1.0\ncontrol = \"control\"\n";
    let spec = format!("{keys}\n{}\n{}", arm("control", "surer"), arm("sure", "sure"));
    deployment.write("experiments/doubtful.toml", spec);
}

/// The `i`th decision at `doubt`: each has a score or none, and is eligible, not, or nobody knows.
fn doubtful(i: usize) -> Value {
    let n = [0, 1, 9][i % 3];
    let mut context = json!({ "n": n });
    if (i / 3).is_multiple_of(2) {
        context["income"] = json!(1.0);
    }
    json!({ "decision_point": "doubt", "entities": { "borrower": format!("d-{i}") }, "context": context })
}

/// The demo's deployment, with the decision points `misbehave` and `doubt` beside it.
fn both() -> Deployment {
    let deployment = collections();
    put_doubt(&deployment);
    let other = misbehaving().read("serin.toml");
    let point = &other[other.find("[decision_points").expect("a point")..];
    deployment.write("serin.toml", format!("{}\n{point}", deployment.read("serin.toml")));
    deployment.write("plugins/misbehave-1.0.0.wasm", misbehave());
    deployment
}

/// The `i`th decision: a fifth call a model, an eighth fail or decline, half are real work.
fn request(i: usize) -> Value {
    let mode = match i % 40 {
        0..8 => "call_model",
        8 => "trap",
        9 => "spin",
        10 => "refuse",
        11 => "nan_parameter",
        12 => "memory",
        13 => "log_flood",
        14 => "call_model_too_often",
        15..18 => "explore",
        18 => "recurse",
        19 => "long_text",
        20..23 => return doubtful(i),
        _ => {
            return json!({
                "decision_point": "collections-outreach",
                "entities": { "borrower": format!("b-{}", i % 300), "loan": format!("l-{}", i % 100) },
                // Some are negative: both strategies decline those.
                "context": { "days_past_due": i as i64 % 50 - 1, "channel": "email" },
            });
        }
    };
    json!({ "decision_point": "misbehave", "entities": { "borrower": format!("b-{i}") }, "context": { "mode": mode } })
}

fn decide(host: &Host, range: std::ops::Range<usize>) {
    for begin in range.step_by(BATCH) {
        let requests: Vec<Value> = (begin..begin + BATCH).map(request).collect();
        let answer = host.public.post("/v1/decisions/batch", &json!({ "requests": requests })).json();
        let results = answer["results"].as_array().expect("results");
        let odd = results.iter().find(|result| result["status"] != 200);
        assert!(odd.is_none() && results.len() == BATCH, "{odd:?}");
    }
}

fn load_features(deployment: &Deployment, host: &Host) {
    let (file, config) = (root().join("host/demo/borrowers.csv"), deployment.config());
    let (file, config) = (file.to_str().expect("a path"), config.to_str().expect("a path"));
    let loaded = run(["features", "load", "borrower-profile", file, "--config", config]);
    assert_eq!(loaded.code, Some(0), "{}", loaded.stderr);
    let now = jiff::Timestamp::now().to_string();
    let values = json!({ "contacts_7d": 0, "last_contact_days": 3.5, "promises_broken": 1, "hardship_flag": false, "balance_due": 120.0, "cease_contact": false });
    let rows: Vec<Value> =
        (0..100).map(|i| json!({ "entity": format!("l-{i}"), "event_time": now, "values": values })).collect();
    let pushed = host.public.post("/v1/features/servicing", &json!({ "rows": rows }));
    assert_eq!(pushed.status, 200, "{}", pushed.text);
}

#[test]
fn ten_thousand_decisions_replay_to_the_byte_and_an_altered_one_does_not() {
    let deployment = both();
    let host = Host::start(&deployment).ready();
    load_features(&deployment, &host);
    decide(&host, 0..DECISIONS / 2);
    assert_eq!(host.stop(), Some(0));
    // The folder is the user's; replay does not depend on it.
    deployment.remove("plugins/outreach-score-1.1.0.wasm");
    let host = Host::start(&deployment).ready();
    decide(&host, DECISIONS / 2..DECISIONS);
    let attempts = |outcome: &str| {
        let metrics = host.admin.get("/metrics").text;
        metrics.lines().any(|l| l.starts_with("serin_attempts_total{") && l.contains(&format!("outcome=\"{outcome}\"")))
    };
    for outcome in ["answer", "refusal", "trap", "fuel_exhausted", "memory", "output_invalid", "output_too_large"] {
        assert!(attempts(outcome), "no {outcome} among them");
    }
    assert_eq!(host.stop(), Some(0));
    let all = replay(&deployment, &["--verify"]);
    assert_eq!(counts(&all), [DECISIONS as u64, DECISIONS as u64, 0, 0, 0], "{}", all.stdout);
    assert_eq!(all.code, Some(0));

    let database = Connection::open(deployment.path().join("data/serin.db")).expect("opens");
    altered_record_is_found(&deployment, &database);
}

/// Alters one feature of one record, in two ways: whoever does not know of the digest, and
/// whoever computes it again.
fn altered_record_is_found(deployment: &Deployment, database: &Connection) {
    type Alter = fn(&mut Record);
    let contacts: Alter = |record| {
        let row = record.features.get_mut("servicing").expect("the view");
        assert_eq!(row.values.replace("contacts_7d", Feature::Integer(5)), Some(Feature::Integer(0)));
    };
    let interest: Alter = |record| {
        let row = record.features.get_mut("borrower-profile").expect("the view");
        assert!(row.values.replace("interest_rate", Feature::Number(29.0)).is_some());
    };
    type Is = fn(&Record) -> bool;
    let served_by_rules: Is = |record| record.routing.assignment.is_none() && *record.answer.action == *"email";
    let scored: Is = |record| {
        let arm = record.routing.assignment.as_ref().is_some_and(|a| *a.arm == *"score");
        arm && record.answer.served_by == ServedBy::Arm && record.attempts[0].scores[0].value.is_some()
    };
    for (which, alter, forged, field) in [
        (served_by_rules, contacts, false, "record"),
        (served_by_rules, contacts, true, "attempts[0].outcome.candidates[0].action"),
        (scored, interest, true, "attempts[0].scores[0].inputs.interest_rate"),
    ] {
        let mut found = None;
        let point = DecisionFilter { point: Some("collections-outreach".into()), ..DecisionFilter::default() };
        let search =
            LedgerReader::open(&deployment.path().join("data/serin.db")).expect("opens").for_each(&point, |stored| {
                found = stored.parse().ok().filter(which);
                found.is_none()
            });
        search.expect("reads");
        let mut record = found.expect("a decision of this kind");
        let (id, time_ms) = (record.decision_id.clone(), record.time_ms);
        let (packed, digest, dictionary): (Vec<u8>, String, Option<i64>) = database
            .query_row("SELECT record, digest, dictionary FROM decisions WHERE decision_id = ?1", [&id], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })
            .expect("its row");
        alter(&mut record);
        let altered = serde_json::to_vec(&record).expect("JSON");
        let set = |bytes: &[u8], digest: &str, dictionary: Option<i64>| {
            let update = "UPDATE decisions SET record = ?2, digest = ?3, dictionary = ?4 WHERE decision_id = ?1";
            database.execute(update, params![id, bytes, digest, dictionary]).expect("updates");
        };
        // Without a dictionary, a record lies there as it is.
        set(&altered, if forged { serin_core::digest(&altered) } else { digest.clone() }.as_str(), None);
        let (since, until) = (time_ms.to_string(), (time_ms + 1).to_string());
        let window = ["--verify", "--since", &since, "--until", &until];
        let found = replay(deployment, &window);
        assert_eq!((found.code, counts(&found)[2]), (Some(1), 1), "{field}: {}", found.stdout);
        let report: Value = serde_json::from_str(&found.stdout).expect("JSON");
        assert_eq!(report["shown"][0]["decision_id"], *id);
        let differences = report["shown"][0]["differences"].as_array().expect("differences");
        assert!(differences.iter().any(|d| d["field"] == field), "{field}: {differences:?}");
        let config = deployment.config();
        let text = run(["replay", "--config", config.to_str().expect("a path")].iter().chain(&window));
        assert!(text.stderr.contains(&id) && text.stderr.contains(field), "people are told, too: {}", text.stderr);
        set(&packed, &digest, dictionary);
        assert_eq!(replay(deployment, &window).code, Some(0));
    }
}

#[test]
fn what_could_not_be_scored_or_evaluated_comes_again() {
    let deployment = collections();
    put_doubt(&deployment);
    let host = Host::start(&deployment).ready();
    let mut seen = std::collections::BTreeSet::new();
    for i in 0..36 {
        let answer = host.decide(&doubtful(i));
        seen.insert(format!("{} {}", answer["served_by"].as_str().expect("one"), answer["degraded"]));
        let id = answer["decision_id"].as_str().expect("an id");
        let replayed = host.admin.post(&format!("/v1/decisions/{id}/replay"), &json!({})).json();
        assert_eq!(replayed["identical"], true, "{answer}: {replayed}");
    }
    let missing = |version: &str| format!("\"model:default-risk:input_missing\",\"strategy:{version}:score_missing\"");
    let (arm, own) = (missing("surer@1.0.0"), missing("doubt@1.0.0"));
    for expected in [
        "arm []".to_owned(),
        "arm [\"model:default-risk:input_missing\"]".to_owned(),
        "strategy []".to_owned(),
        "strategy [\"eligible:doubtful:error\"]".to_owned(),
        format!("fallback_action [{arm},{own}]"),
        format!("fallback_action [{own}]"),
        format!("fallback_action [{own},\"eligible:doubtful:error\"]"),
    ] {
        assert!(seen.remove(&expected), "no {expected} among {seen:?}");
    }
    assert!(seen.is_empty(), "{seen:?}");
}

#[test]
fn what_the_environment_caused_is_counted_apart() {
    let deployment = misbehaving();
    deployment.edit("serin.toml", "wall_ms = 2000", "wall_ms = 1\nfuel = 1000000000000");
    let host = Host::start(&deployment).ready();
    let spin =
        json!({ "decision_point": "misbehave", "entities": { "borrower": "b-1" }, "context": { "mode": "spin" } });
    for _ in 0..10 {
        let answer = host.decide(&spin);
        assert_eq!(answer["degraded"], json!(["strategy:misbehave@1.0.0:deadline"]));
        let id = answer["decision_id"].as_str().expect("an id");
        let replayed = host.admin.post(&format!("/v1/decisions/{id}/replay"), &json!({})).json();
        assert_eq!((&replayed["identical"], &replayed["environmental"]), (&json!(true), &json!(1)), "{replayed}");
    }
    assert_eq!(host.stop(), Some(0));
    let all = replay(&deployment, &["--verify"]);
    assert_eq!((all.code, counts(&all)), (Some(0), [10, 10, 0, 0, 10]), "{}", all.stdout);
}

#[test]
fn a_replay_that_recompiles_uses_no_compiled_code_that_is_kept() {
    let deployment = collections();
    let host = Host::start(&deployment).ready();
    decide_real(&host, 20);
    assert_eq!(host.stop(), Some(0));
    for (path, mut bytes) in deployment.compiled() {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(path, bytes).expect("writes");
    }
    let spoilt = deployment.compiled();
    let anew = replay(&deployment, &["--verify", "--recompile"]);
    assert_eq!((anew.code, counts(&anew)), (Some(0), [20, 20, 0, 0, 0]), "{}", anew.stderr);
    assert!(deployment.compiled() == spoilt, "what is kept was neither replaced nor added to");
    // Without the option the folder is used: what was changed is compiled again, and written over.
    let kept = replay(&deployment, &["--verify"]);
    assert_eq!((kept.code, counts(&kept)), (Some(0), [20, 20, 0, 0, 0]), "{}", kept.stderr);
    assert!(deployment.compiled() != spoilt);
}

/// Decisions of the demo's point, which need no features.
fn decide_real(host: &Host, many: usize) {
    for i in 0..many {
        let request = json!({
            "decision_point": "collections-outreach",
            "entities": { "borrower": format!("b-{i}"), "loan": format!("l-{i}") },
            "context": { "days_past_due": 5, "channel": "email" },
        });
        assert_eq!(host.public.post("/v1/decisions", &request).status, 200);
    }
}
