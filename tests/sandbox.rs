//! The sandbox: whatever a strategy does, the application gets an answer, the record says what
//! happened, and nobody else waits for it.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::wat::{PRELUDE, decide, guest, manifest, with_manifest};
use crate::support::{Deployment, Host, eventually, misbehave, misbehaving};

fn request(mode: &str) -> Value {
    json!({ "decision_point": "misbehave", "entities": { "borrower": "b-1" }, "context": { "mode": mode } })
}

/// What came of the only attempt: a kind of failure, `refusal` or `candidates`; and its words.
fn outcome(record: &Value) -> (String, String) {
    assert_eq!(record["attempts"].as_array().map(Vec::len), Some(1), "{record}");
    let outcome = &record["attempts"][0]["outcome"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    match (outcome.get("failure"), outcome.get("refusal")) {
        (Some(failure), _) => (text(&failure["kind"]), text(&failure["detail"])),
        (_, Some(refusal)) => {
            ("refusal".to_owned(), format!("{}: {}", text(&refusal["code"]), text(&refusal["message"])))
        }
        _ => ("candidates".to_owned(), outcome.to_string()),
    }
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
        let answer = host.decide(&request(mode));
        assert_eq!(
            (answer["action"].as_str(), answer["served_by"].as_str()),
            (Some("none"), Some("fallback_action")),
            "{mode}"
        );
        assert_eq!(answer["degraded"], json!([format!("strategy:misbehave@1.0.0:{kind}")]), "{mode}");
        let (found, words) = outcome(&host.record(&answer));
        assert!(found == kind && words.contains(detail), "{mode}: {found}: {words}");
        let labels = "decision_point=\"misbehave\",strategy=\"misbehave\",version=\"1.0.0\",arm=\"\"";
        assert!(
            host.metric(&format!("serin_attempts_total{{{labels},outcome=\"{kind}\"}}")) >= 1.0,
            "{mode}: not counted"
        );
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

/// A deployment with a decision point for each of the guests, named as they are.
fn guests(guests: &[(&str, Vec<u8>)]) -> Deployment {
    let points: String = guests
        .iter()
        .map(|(name, _)| {
            format!(
                "[decision_points.{name}]\nstrategy = \"{name}@1.0.0\"\nentities = [\"borrower\"]\n\
                 actions = [\"go\", \"none\"]\ndeadline = \"5s\"\nfallback = {{ action = \"none\" }}\n\n"
            )
        })
        .collect();
    let deployment = Deployment::new(&format!("[limits]\nwall_ms = 2000\n\n{points}"));
    for (name, artifact) in guests {
        deployment.write(&format!("plugins/{name}-1.0.0.wasm"), artifact);
    }
    deployment
}

fn go(name: &str, fields: &str, body: &str) -> Vec<u8> {
    guest(&manifest(name, "1.0.0", name, "go"), &format!("{PRELUDE} {fields} {}", decide(body)))
}

#[test]
fn what_only_hand_written_code_does_is_held_off_too() {
    // The answer lies at 1024; its parameter is the integer at 1112.
    const FINE: &str = "(i32.const 1024)";
    const SPIN: &str = "(func $spin (loop $again (br $again)))";
    let grow = |table: u32, by: u32| format!("(drop (table.grow {table} (ref.null func) (i32.const {by})))");
    let two = "(table 1 funcref) (table 1 funcref)";
    let nan = |zero: &str| format!("(i64.store (i32.const 1112) (i64.reinterpret_f64 (f64.div {zero} {zero}))) {FINE}");
    let zero = "(f64.convert_i64_u (i64.and (local.get 2) (i64.const 0)))";
    let bad_text = "(i32.store8 (i32.const 2048) (i32.const 1)) (i32.store (i32.const 2056) (i32.const 2064)) \
                    (i32.store (i32.const 2060) (i32.const 1)) (i32.store8 (i32.const 2064) (i32.const 255)) (i32.const 2048)";
    let cases: Vec<(&str, Vec<u8>, &str, &str)> = vec![
        ("one-table", go("one-table", two, &format!("{} {FINE}", grow(0, 6000))), "candidates", "\"n\":7"),
        (
            "two-tables",
            go("two-tables", two, &format!("{} {} {FINE}", grow(0, 6000), grow(1, 6000))),
            "tables",
            "10000 granted",
        ),
        (
            "more-memory",
            go("more-memory", "", &format!("(drop (memory.grow (i32.const 300))) {FINE}")),
            "memory",
            "16777216 granted",
        ),
        ("start", go("start", &format!("{SPIN} (start $spin)"), FINE), "fuel_exhausted", "fuel"),
        (
            "division",
            go("division", "", &format!("(drop (i32.div_u (i32.const 1) (local.get $i))) {FINE}")),
            "trap",
            "divide by zero",
        ),
        ("beyond", go("beyond", "", "(i32.const 0x7ffffff0)"), "output_invalid", ""),
        ("unaligned", go("unaligned", "", "(i32.const 1026)"), "output_invalid", "align"),
        (
            "huge-list",
            go("huge-list", "", &format!("(i32.store (i32.const 1032) (i32.const 0x7fffffff)) {FINE}")),
            "output_invalid",
            "",
        ),
        (
            "no-variant",
            go("no-variant", "", &format!("(i32.store8 (i32.const 1104) (i32.const 99)) {FINE}")),
            "output_invalid",
            "",
        ),
        ("not-utf8", go("not-utf8", "", bad_text), "output_invalid", "utf-8"),
        (
            "cleanup",
            go("cleanup", &format!("{SPIN} (func (export \"cabi_post_decide\") (param i32) (call $spin))"), FINE),
            "fuel_exhausted",
            "fuel",
        ),
        // Processors disagree about the sign and the payload of a NaN: guests never see that.
        ("nan", go("nan", "", &nan(zero)), "candidates", "\"n\":9221120237041090560"),
    ];
    let artifacts: Vec<_> = cases.iter().map(|(name, artifact, ..)| (*name, artifact.clone())).collect();
    let deployment = guests(&artifacts);
    let host = Host::start(&deployment).ready();
    for (name, _, kind, detail) in &cases {
        let answer = host.decide(&json!({ "decision_point": name, "entities": { "borrower": "b-1" } }));
        let (found, words) = outcome(&host.record(&answer));
        assert!(found == *kind && words.to_lowercase().contains(detail), "{name}: {found}: {words}");
        assert_eq!(answer["action"], if found == "candidates" { "go" } else { "none" }, "{name}");
    }
}

#[test]
fn an_import_from_elsewhere_is_refused_by_name() {
    let imports = [
        ("wasi:clocks/wall-clock@0.2.0", "(instance)"),
        ("wasi:random/random@0.2.0", "(instance)"),
        ("wasi:sockets/tcp@0.2.0", "(instance)"),
        ("serin:decision/secrets@0.1.0", "(instance)"),
        ("serin:decision/log@0.2.0", "(instance)"),
        ("now", "(func (result u64))"),
    ];
    let artifacts: Vec<_> = imports
        .iter()
        .enumerate()
        .map(|(i, (import, kind))| {
            let component = wat::parse_str(format!("(component (import \"{import}\" {kind}))")).expect("a component");
            (format!("imports-{i}"), with_manifest(component, &manifest(&format!("imports-{i}"), "1.0.0", "p", "go")))
        })
        .collect();
    let named: Vec<_> = artifacts.iter().map(|(name, artifact)| (name.as_str(), artifact.clone())).collect();
    let deployment = guests(&named);
    let host = Host::start(&deployment);
    let plugins = host.admin.get("/v1/plugins").json();
    for (i, (import, _)) in imports.iter().enumerate() {
        let name = format!("imports-{i}");
        let found =
            plugins["plugins"].as_array().expect("plugins").iter().find(|p| p["name"] == *name).expect("it is shown");
        let error = found["error"].as_str().expect("an error");
        assert_eq!(found["state"], "failed");
        assert!(error.contains(&format!("imports '{import}'")), "{import}: {error}");
    }
}

#[test]
fn a_version_that_burns_time_is_capped_and_holds_up_nobody_else() {
    let deployment = guests(&[("quick", go("quick", "", "(i32.const 1024)"))]);
    let burning = "[decision_points.misbehave]\nstrategy = \"misbehave@1.0.0\"\nentities = [\"borrower\"]\n\
                   context = { mode = \"text?\" }\nactions = [\"none\", \"say\", \"scores\"]\ndeadline = \"10s\"\nfallback = { action = \"none\" }\n";
    let models = "[models.default-risk.\"1.0.0\"]\npath = \"models/default-risk.onnx\"\n\n";
    let config = deployment.read("serin.toml").replace("wall_ms = 2000\n", "wall_ms = 3000\nfuel = 1000000000000\n");
    deployment.write("serin.toml", format!("[server]\nthreads = 4\n\n{models}{config}{burning}"));
    for name in ["models/default-risk.onnx", "models/default-risk.golden.json"] {
        deployment.write(name, std::fs::read(misbehaving().path().join(name)).expect("the model"));
    }
    deployment.write("plugins/misbehave-1.0.0.wasm", misbehave());
    let host = Host::start(&deployment).ready();
    std::thread::scope(|scope| {
        let spins: Vec<_> = (0..12)
            .map(|_| {
                scope.spawn(|| {
                    let answer = host.decide(&request("spin"));
                    assert_eq!(answer["served_by"], "fallback_action");
                    outcome(&host.record(&answer)).0
                })
            })
            .collect();
        let labels = "decision_point=\"misbehave\",strategy=\"misbehave\",version=\"1.0.0\",arm=\"\"";
        eventually("the cap is reached", Duration::from_secs(2), || {
            (host.metric(&format!("serin_attempts_total{{{labels},outcome=\"overloaded\"}}")) >= 9.0).then_some(())
        });
        // Three of four threads spin now, for 3 s, on two processors or less.
        for _ in 0..20 {
            let asked = Instant::now();
            let answer = host.decide(&json!({ "decision_point": "quick", "entities": { "borrower": "b-1" } }));
            assert_eq!(answer["served_by"], "strategy");
            assert!(asked.elapsed() < Duration::from_millis(1500), "waited {:?} for another version", asked.elapsed());
        }
        let mut ended: Vec<String> = spins.into_iter().map(|spin| spin.join().expect("answers")).collect();
        ended.sort();
        assert_eq!(ended, [vec!["deadline".to_owned(); 3], vec!["overloaded".to_owned(); 9]].concat());
    });
}
