//! Models: what a slow one costs, whom it keeps waiting, and what of a version stays as it was.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Deployment, Host, collections, eventually, misbehaving, outcome, root, run, wat};

const ONNX: &str = "models/default-risk.onnx";
const GOLDEN: &str = "models/default-risk.golden.json";
const BOUND: Duration = Duration::from_secs(20);

/// Puts a model that is quick where the first column is 0, and does not end elsewhere.
fn put_endless(deployment: &Deployment) {
    let mut golden: Value = serde_json::from_str(&deployment.read(GOLDEN)).expect("JSON");
    golden["rows"] =
        json!([[0, 0.0, 6, 36, 2, 7, 0, 0, 38, 39, 0, 0, 33], [0, 2.0, 6, 36, 2, 7, 0, 0, 38, 39, 0, 0, 33]]);
    golden["scores"] = json!([0.5, 0.880_797_078]);
    deployment.write(GOLDEN, golden.to_string());
    deployment.write(ONNX, std::fs::read(root().join("tests/data/models/long-by-input.onnx")).expect("a model"));
}

fn misbehave(mode: &str) -> Value {
    json!({ "decision_point": "misbehave", "entities": { "borrower": "b-1" }, "context": { "mode": mode } })
}

fn scores(host: &Host, outcome: &str) -> f64 {
    host.metric(&format!("serin_model_scores_total{{model=\"default-risk\",version=\"1.0.0\",outcome=\"{outcome}\"}}"))
}

/// A decision by the experiment's arm, which has a declared score.
fn forced(host: &Host) -> Value {
    let request = json!({
        "decision_point": "collections-outreach",
        "entities": { "borrower": "b-17", "loan": "l-88" },
        "context": { "days_past_due": 12 },
        "force": { "experiment": "outreach-score", "arm": "score" },
    });
    host.admin.post("/v1/decisions", &request).json()
}

/// What was not as it should be with a decision's models.
fn of_models(answer: &Value) -> Vec<&str> {
    let degraded = answer["degraded"].as_array().expect("a list").iter();
    degraded.filter_map(Value::as_str).filter(|what| what.starts_with("model:")).collect()
}

fn load_borrowers(deployment: &Deployment) {
    let (file, config) = (root().join("host/demo/borrowers.csv"), deployment.config());
    let (file, config) = (file.to_str().expect("a path"), config.to_str().expect("a path"));
    let loaded = run(["features", "load", "borrower-profile", file, "--config", config]);
    assert_eq!(loaded.code, Some(0), "{}", loaded.stderr);
}

#[test]
fn the_metrics_of_a_model_go_with_its_declaration() {
    let deployment = misbehaving();
    let config = deployment.read("serin.toml");
    deployment.write("models/next.onnx", std::fs::read(deployment.path().join(ONNX)).expect("reads"));
    let mut golden: Value = serde_json::from_str(&deployment.read(GOLDEN)).expect("JSON");
    golden["version"] = json!("2.0.0");
    deployment.write("models/next.golden.json", golden.to_string());
    let next = "[models.default-risk.\"2.0.0\"]\npath = \"models/next.onnx\"\n\n";
    deployment.write("serin.toml", format!("{next}{config}"));
    let host = Host::start(&deployment).ready();
    let series = |version: &str| {
        let text = host.admin.get("/metrics").text;
        text.lines().filter(|line| line.contains(&format!("model=\"default-risk\",version=\"{version}\""))).count()
    };
    eventually("both are loaded", BOUND, || (series("2.0.0") > 0 && series("1.0.0") > 0).then_some(()));
    deployment.write("serin.toml", config);
    eventually("those of the one that is gone are gone", BOUND, || (series("2.0.0") == 0).then_some(()));
    assert!(series("1.0.0") > 0);
    host.decide(&misbehave("ok"));
}

#[test]
fn a_run_that_does_not_end_holds_up_nobody_at_another_point() {
    let deployment = misbehaving();
    put_endless(&deployment);
    // Time enough to decide elsewhere, on a busy machine too, while runs are under way.
    deployment.edit("serin.toml", "wall_ms = 2000", "wall_ms = 20000");
    deployment.edit("serin.toml", "deadline = \"5s\"", "deadline = \"12s\"");
    let quick = wat::points(&[("quick", wat::go("quick", "", "(i32.const 1024)"))]);
    let point = quick.read("serin.toml");
    let point = &point[point.find("[decision_points").expect("a point")..];
    deployment.write("serin.toml", format!("[server]\nthreads = 4\n{}\n{point}", deployment.read("serin.toml")));
    let artifact = std::fs::read(quick.path().join("plugins/quick-1.0.0.wasm")).expect("reads");
    deployment.write("plugins/quick-1.0.0.wasm", artifact);
    let host = Host::start(&deployment).ready();
    let answered = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let slow = || {
            let answer = host.decide(&misbehave("call_model"));
            answered.fetch_add(1, Ordering::SeqCst);
            let (kind, words) = outcome(&host.record(&answer));
            assert_eq!((answer["served_by"].as_str(), kind.as_str()), (Some("fallback_action"), "refusal"), "{words}");
            words
        };
        let asked: Vec<_> = (0..8).map(|_| scope.spawn(slow)).collect();
        let under_way = "serin_model_runs_under_way{model=\"default-risk\",version=\"1.0.0\"}";
        eventually("a run is under way", BOUND, || (host.metric(under_way) >= 1.0).then_some(()));
        for _ in 0..30 {
            let answer = host.decide(&json!({ "decision_point": "quick", "entities": { "borrower": "b-1" } }));
            assert_eq!(answer["served_by"], "strategy", "{answer}");
        }
        assert!(answered.load(Ordering::SeqCst) < 8, "the others waited for runs that do not end");
        assert!(host.metric(under_way) >= 1.0);
        // Each strategy was told in time to decide without scores: the first runs were ended, and
        // nobody waited behind them for nothing.
        let told: Vec<String> = asked.into_iter().map(|asked| asked.join().expect("answers")).collect();
        let known = ["MODEL_FAILED: timeout", "MODEL_FAILED: unavailable"];
        assert!(told.iter().all(|words| known.contains(&words.as_str())), "{told:?}");
        assert!(told.iter().any(|words| words == known[0]), "{told:?}");
        eventually("no run goes on for ever", BOUND, || (host.metric(under_way) == 0.0).then_some(()));
    });
    assert_eq!(host.stop(), Some(0));
}

#[test]
fn a_declared_score_that_is_late_is_the_fallback_score_and_its_model_is_left_alone() {
    let deployment = collections();
    put_endless(&deployment);
    deployment.edit("serin.toml", "deadline = \"5s\"", "deadline = \"1s\"");
    let host = Host::start(&deployment).ready();
    load_borrowers(&deployment);
    let late = forced(&host);
    assert_eq!((late["served_by"].as_str(), &of_models(&late)[..]), (Some("arm"), &["model:default-risk:timeout"][..]));
    let score = host.record(&late)["attempts"][0]["scores"][0].clone();
    assert_eq!((&score["error"], score["value"].is_null()), (&json!("timeout"), true), "{score}");
    eventually("it is not asked any more", BOUND, || {
        let answer = forced(&host);
        assert_eq!(answer["served_by"], "arm", "{answer}");
        (of_models(&answer) == ["model:default-risk:breaker_open"]).then_some(())
    });
    assert!(scores(&host, "timeout") >= 5.0 && scores(&host, "breaker_open") >= 1.0);
    let id = late["decision_id"].as_str().expect("an id");
    let replayed = host.admin.post(&format!("/v1/decisions/{id}/replay"), &json!({})).json();
    assert_eq!(replayed["identical"], true, "a late score is in the record: {replayed}");
}

#[test]
fn what_a_float32_cannot_hold_reaches_no_model() {
    let deployment = collections();
    let host = Host::start(&deployment).ready();
    load_borrowers(&deployment);
    assert!(of_models(&forced(&host)).is_empty());
    let mut row = json!({
        "annual_income": 1e39, "funded_amount": 24_000, "interest_rate": 6.49, "term_months": 36, "sub_grade": 2,
        "employment_years": 7, "delinquencies_2y": 0, "inquiries_6m": 0, "revolving_utilization": 38.9,
        "all_utilization": 39, "open_installment_12m": 0, "inquiries_12m": 0, "installment_balance": 33_516, "state": "CA",
    });
    let push = |row: &Value| {
        let now = serin::clock::Clock::now_ms(&serin::clock::SystemClock);
        let at = jiff::Timestamp::from_millisecond(now as i64).expect("a time").to_string();
        let rows = json!({ "rows": [{ "entity": "b-17", "event_time": at, "values": row }] });
        let answer = host.public.post("/v1/features/borrower-profile", &rows);
        assert_eq!(answer.status, 200, "{}", answer.text);
    };
    push(&row);
    let answer = forced(&host);
    let found = (answer["served_by"].as_str(), of_models(&answer));
    assert_eq!(found, (Some("arm"), vec!["model:default-risk:invalid_row"]));
    assert_eq!(scores(&host, "invalid_row"), 1.0);
    // The largest number that rounds to one that is finite.
    row["annual_income"] = json!(3.402_823_4e38);
    push(&row);
    assert!(of_models(&forced(&host)).is_empty());
}

#[test]
fn what_a_float32_cannot_hold_is_told_to_the_strategy_that_asks() {
    let deployment = misbehaving();
    let host = Host::start(&deployment).ready();
    let answer = host.decide(&misbehave("call_model_too_large"));
    let record = host.record(&answer);
    assert_eq!(outcome(&record).0, "refusal");
    let why = &record["attempts"][0]["transcript"][0]["answer"]["Err"]["invalid_row"];
    let wanted = "row 0: input 'annual_income' is 1e39; valid: a float32, from -3.4028235e38 to 3.4028235e38";
    assert_eq!(why, wanted, "{record}");
}

#[test]
fn a_published_version_of_a_model_does_not_change() {
    let deployment = collections();
    let host = Host::start(&deployment).ready();
    let standing = |host: &Host, what: &str, is: fn(&Value) -> bool| {
        eventually(what, BOUND, || Some(host.admin.get("/v1/deployment").json()["models"][0].clone()).filter(is))
    };
    let published = standing(&host, "it is served", |model| model["error"].is_null());
    let (onnx, golden) = (std::fs::read(deployment.path().join(ONNX)).expect("reads"), deployment.read(GOLDEN));
    // The same model, with a word about it: the field `doc_string` of ONNX.
    deployment.write(ONNX, [&onnx[..], &[0x32, 1, b'x']].concat());
    let refused = standing(&host, "another file is refused", |model| model["error"].is_string());
    let error = refused["error"].as_str().expect("an error");
    assert!(error.contains("was published as sha256:") && error.contains("raise the version"), "{error}");
    assert_eq!((&refused["digest"], &refused["stale"]), (&published["digest"], &json!(true)));
    let scored = |host: &Host| host.record(&forced(host))["attempts"][0]["scores"][0]["digest"].clone();
    assert_eq!(scored(&host), published["digest"]);
    let checked = run(["check", "--config", deployment.config().to_str().expect("a path")]);
    assert!(checked.code == Some(1) && checked.stderr.contains("was published as"), "{}", checked.stderr);
    assert_eq!(host.stop(), Some(0));
    let host = Host::start(&deployment).ready();
    assert!(standing(&host, "after a restart, too", |model| model["error"].is_string())["error"] == error);
    assert_eq!(scored(&host), published["digest"]);
    // What its columns mean is part of it; rows to check it by are not.
    deployment.write(ONNX, &onnx);
    deployment.write(GOLDEN, golden.replacen("\"column\": 1", "\"column\": 0", 1).replace("1e-06", "2"));
    let refused = standing(&host, "another output is refused", |model| {
        model["error"].as_str().is_some_and(|error| error.contains("the output probabilities[1]"))
    });
    assert_eq!(refused["digest"], published["digest"]);
    deployment.write(GOLDEN, golden.replace("1e-06", "1e-05"));
    standing(&host, "a wider tolerance is not another model", |model| model["error"].is_null());
    assert_eq!(host.stop(), Some(0));
    deployment.write(ONNX, [&onnx[..], &[0x32, 1, b'x']].concat());
    let host = Host::start_with(&deployment.config(), &["--dev"]).ready();
    let applied = standing(&host, "in --dev it is the point", |model| model["error"].is_null());
    assert_ne!(applied["digest"], published["digest"]);
}
