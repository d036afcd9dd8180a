//! The sandbox: whatever a strategy does, the application gets an answer, the record says what
//! happened, and nobody else waits for it.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use serin::clock::{Budget, thread_cpu};
use serin::registry::Plugin;
use serin::sandbox::{Engines, Granted, Run};
use serin_core::limits::Limits;

use crate::hostile::fails;
use crate::support::{Host, artifact, eventually, misbehaving, outcome, wat};

fn request(mode: &str) -> Value {
    json!({ "decision_point": "misbehave", "entities": { "borrower": "b-1" }, "context": { "mode": mode } })
}

#[test]
fn every_broken_answer_is_a_typed_failure_and_the_fallback_serves() {
    let deployment = misbehaving();
    let host = Host::start(&deployment).ready();
    for (mode, kind, detail) in [
        ("trap", "trap", "unreachable"),
        ("recurse", "trap", "stack"),
        ("spin", "fuel_exhausted", "fuel"),
        ("memory", "memory", "16777216 granted"),
        ("refuse", "refusal", "ASKED: asked to refuse"),
        ("no_such_mode", "refusal", "UNKNOWN_MODE: no_such_mode"),
        ("no_candidates", "output_invalid", "no candidate"),
        ("many_candidates", "output_too_large", ""),
        ("duplicate_candidates", "output_invalid", "twice with equal parameters"),
        ("long_text", "output_too_large", ""),
        ("long_refusal", "output_too_large", ""),
        ("large_extra", "output_too_large", ""),
        ("probabilities_off", "output_invalid", "sum to 0.7"),
        ("negative_probability", "output_invalid", "not in [0, 1]"),
        ("nan_probability", "output_invalid", "not in [0, 1]"),
        ("unknown_action", "output_invalid", "action 99 of 3"),
        ("wrong_parameter_type", "output_invalid", "is integer, not text"),
        ("wrong_parameter_count", "output_invalid", "0 parameters for 'say', which has 1"),
        ("missing_parameter", "output_invalid", "'text' has no value"),
        ("nan_parameter", "output_invalid", "not finite"),
        ("bad_reason", "output_invalid", "reason 99 of 3"),
        ("bad_refusal", "output_invalid", "reason 99 of 3"),
        ("nan_weight", "output_invalid", "not finite"),
        ("call_model_bad_row", "refusal", "MODEL_FAILED: row 0"),
        ("call_model_unknown", "refusal", "MODEL_FAILED: unknown-model"),
    ] {
        fails(&host, &request(mode), Duration::from_secs(5), [kind, detail]);
    }
    // After all of that, it still decides.
    assert_eq!(host.decide(&request("ok"))["served_by"], "strategy");
}

#[test]
fn what_is_allowed_is_served_and_kept_within_its_bounds() {
    let deployment = misbehaving();
    let host = Host::start(&deployment).ready();
    let served = |mode: &str| {
        let answer = host.decide(&request(mode));
        assert_eq!(answer["served_by"], "strategy", "{mode}: {answer}");
        let record = host.record(&answer);
        (answer, record["attempts"][0].clone())
    };
    // An attribute of a later 0.x is for whoever knows it.
    assert_eq!(served("unknown_extra").0["action"], "none");

    let (_, attempt) = served("log_flood");
    let kept: usize =
        attempt["logs"].as_array().expect("lines").iter().map(|l| l["message"].as_str().map_or(0, str::len)).sum();
    assert_eq!((kept, &attempt["logs_cut"]), (4096, &json!(true)));

    let (answer, attempt) = served("call_model");
    let call = &attempt["transcript"][0];
    assert_eq!((call["rows"].as_array().map(Vec::len), call["rows"][0].as_array().map(Vec::len)), (Some(3), Some(13)));
    let scores = ["a", "b", "c"].map(|name| answer["parameters"][name].clone());
    assert_eq!(call["answer"]["Ok"], json!(scores), "the record holds what the strategy was told");
    assert!(scores.iter().all(|s| s.as_f64().is_some_and(|s| s > 0.0 && s < 1.0)), "{scores:?}");

    let (answer, attempt) = served("call_model_too_often");
    assert_eq!((answer["parameters"]["a"].as_f64(), answer["parameters"]["b"].as_f64()), (Some(16.0), Some(984.0)));
    let transcript = attempt["transcript"].as_array().expect("calls");
    assert_eq!(transcript.len(), 17, "one call beyond the limit is kept, to show it");
    assert_eq!(transcript[16]["answer"]["Err"], "limit_reached");

    let mut drawn = std::collections::BTreeSet::new();
    for _ in 0..60 {
        let (answer, attempt) = served("explore");
        let action = answer["action"].as_str().expect("an action").to_owned();
        let probability = match action.as_str() {
            "none" => 0.5,
            "say" => 0.3,
            _ => 0.2,
        };
        assert_eq!(answer["propensity"].as_f64(), Some(probability), "the propensity is the drawn action's");
        assert_eq!(attempt["outcome"]["candidates"].as_array().map(Vec::len), Some(3), "the whole vector is recorded");
        drawn.insert(action);
    }
    assert_eq!(drawn.len(), 3, "60 draws never took one of probability 0.2");
}

#[test]
fn nothing_survives_a_decision() {
    let deployment = misbehaving();
    let host = Host::start(&deployment).ready();
    let requests = vec![request("count"); 300];
    // In parallel, too: instances are pooled, and a page that was not reset would show.
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let batch = host.public.post("/v1/decisions/batch", &json!({ "requests": requests }));
                for result in batch.json()["results"].as_array().expect("results") {
                    assert_eq!(result["decision"]["parameters"]["a"], 1.0, "{result}");
                }
            });
        }
    });
}

#[test]
fn a_version_that_burns_time_is_capped_and_holds_up_nobody_else() {
    let deployment = misbehaving();
    deployment.edit("serin.toml", "wall_ms = 2000", "wall_ms = 3000\nfuel = 1000000000000");
    deployment.edit("serin.toml", "deadline = \"5s\"", "deadline = \"4s\"");
    let quick = wat::points(&[("quick", wat::go("quick", "", "(i32.const 1024)"))]);
    let point = quick.read("serin.toml");
    let point = &point[point.find("[decision_points").expect("a point")..];
    deployment.write("serin.toml", format!("[server]\nthreads = 4\n{}\n{point}", deployment.read("serin.toml")));
    deployment.write(
        "plugins/quick-1.0.0.wasm",
        std::fs::read(quick.path().join("plugins/quick-1.0.0.wasm")).expect("reads"),
    );
    let host = Host::start(&deployment).ready();
    std::thread::scope(|scope| {
        let spin = || {
            let answer = host.decide(&request("spin"));
            assert_eq!(answer["served_by"], "fallback_action");
            outcome(&host.record(&answer)).0
        };
        let spins: Vec<_> = (0..12).map(|_| scope.spawn(spin)).collect();
        eventually("one version has its share of the threads", Duration::from_secs(2), || {
            (host.admin.get("/v1/deployment").json()["waiting_decisions"].as_u64()? >= 9).then_some(())
        });
        // Three of four threads spin now, for 3 s, on two processors or less.
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(2) {
            let asked = Instant::now();
            let answer = host.decide(&json!({ "decision_point": "quick", "entities": { "borrower": "b-1" } }));
            assert_eq!(answer["served_by"], "strategy");
            assert!(asked.elapsed() < Duration::from_secs(1), "waited {:?} for another version", asked.elapsed());
        }
        let ended: Vec<String> = spins.into_iter().map(|spin| spin.join().expect("answers")).collect();
        let count = |kind: &str| ended.iter().filter(|end| *end == kind).count();
        assert!(count("deadline") >= 3 && count("overloaded") >= 6, "{ended:?}");
    });
}

#[test]
fn a_version_that_burns_its_fuel_again_and_again_is_left_alone_and_then_tried() {
    let deployment = misbehaving();
    let host = Host::start(&deployment).ready();
    let ended = |mode: &str| outcome(&host.record(&host.decide(&request(mode)))).0;
    for _ in 0..20 {
        assert_eq!(ended("spin"), "fuel_exhausted");
    }
    let answer = host.decide(&request("ok"));
    let record = host.record(&answer);
    assert_eq!(
        (&answer["served_by"], outcome(&record).0.as_str()),
        (&json!("fallback_action"), "breaker_open"),
        "{record}"
    );
    // It is the machine's state that had it so, and a replay does not ask for it again.
    let id = answer["decision_id"].as_str().expect("an id");
    let replayed = host.admin.post(&format!("/v1/decisions/{id}/replay"), &json!({})).json();
    assert_eq!(replayed["identical"], true, "{replayed}");
    let labels = "decision_point=\"misbehave\",strategy=\"misbehave\",version=\"1.0.0\",arm=\"\"";
    assert_eq!(host.metric(&format!("serin_attempts_total{{{labels},outcome=\"breaker_open\"}}")), 1.0);
    eventually("it is tried again, and answers", Duration::from_secs(20), || {
        (host.decide(&request("ok"))["served_by"] == "strategy").then_some(())
    });
    assert_ne!(ended("ok"), "breaker_open", "one that answers closes it");
}

#[test]
fn a_callers_short_deadline_is_not_held_against_a_version() {
    let deployment = misbehaving();
    deployment.edit("serin.toml", "wall_ms = 2000", "wall_ms = 2000\nfuel = 1000000000000");
    let host = Host::start(&deployment).ready();
    let spin = request("spin").to_string();
    let labels = "decision_point=\"misbehave\",strategy=\"misbehave\",version=\"1.0.0\",arm=\"\"";
    eventually("more runs are cut short than a breaker bears", Duration::from_secs(20), || {
        let headers = [("content-type", "application/json"), ("serin-deadline-ms", "20")];
        let answer = host.public.post_text("/v1/decisions", &spin, &headers).expect("an answer");
        assert!(matches!(answer.status, 200 | 503), "{}", answer.text);
        (host.metric(&format!("serin_attempts_total{{{labels},outcome=\"deadline\"}}")) >= 21.0).then_some(())
    });
    let answer = host.decide(&request("ok"));
    assert_eq!(answer["served_by"], "strategy", "{answer}");
}

#[test]
fn a_run_is_given_up_for_the_cpu_time_that_it_used_and_not_for_the_time_that_it_waited() {
    let engines = Engines::new(1).expect("engines");
    let bytes = artifact("tests/guests/misbehave", "misbehave-1.0.0.wasm");
    let plugin = Plugin::link(&engines, &bytes).expect("links");
    let manifest = plugin.manifest();
    let features = [serin_core::value::Value::Text("spin".to_owned())];
    let run = Run {
        decision_point: &manifest.decision_point,
        time_ms: 0,
        utc_offset_minutes: 0,
        features: &features,
        scores: &[],
        parameters: &[],
    };
    let limits = Limits { fuel: u64::MAX, wall_ms: 60_000, ..Limits::default() };
    let spin = |wall: Duration, cpu: Duration| {
        let granted = Granted { budget: Budget::new(wall), cpu: Some(cpu), takes_turns: false };
        let before = thread_cpu();
        let ran = plugin.linked.run_within(&run, manifest, limits, granted, None);
        (ran, thread_cpu() - before)
    };
    let (given_up, used) = spin(Duration::from_secs(60), Duration::from_millis(2));
    assert!(given_up.has_reached_cpu && used >= Duration::from_millis(2), "{used:?}: {given_up:?}");
    let (late, _) = spin(Duration::from_millis(20), Duration::from_secs(60));
    assert!(!late.has_reached_cpu, "its wall time ended it: {late:?}");
    assert_eq!(given_up.outcome, late.outcome);
}
