//! What would fill the host's memory, or its ledger.

use serde_json::json;
use serin_core::record::Record;

use super::{deployment, peak_mib, refused, request, serves};
use crate::support::{Host, eventually, misbehaving, outcome, run, wat};

/// More than any of these runs may take. A host without them has some hundred.
const PEAK_MIB: u64 = 700;

/// Limits that no host grants.
const GREEDY: &str = "\n[limits]\nfuel = 1000000000000\nmemory_bytes = 9000000000000000000\n\
     output_bytes = 9000000000000000000\ncandidates = 9000000000000000000\nlog_bytes = 9000000000000000000\n\
     host_calls = 9000000000000000000\nhost_call_rows = 9000000000000000000\n";

/// An artifact that nobody names, with one case.
fn greedy(name: &str, fields: &str, body: &str) -> Vec<u8> {
    let manifest = format!("{}{GREEDY}", wat::manifest(name, "1.0.0", name, "go"));
    let guest = wat::guest(&manifest, &format!("{fields} {}", wat::decide(body)));
    wat::with_cases(guest, &json!([{ "name": "all of it", "expect": { "candidates": [] } }]))
}

/// A hundred thousand candidates whose parameters are the same three million values.
fn shared_lists() -> Vec<u8> {
    let prelude = wat::PRELUDE.replace("(memory (export \"memory\") 1)", "(memory (export \"memory\") 900)");
    let body = "(loop $next
        (i32.store (i32.add (i32.const 1048592) (i32.mul (local.get $i) (i32.const 40))) (i32.const 8388608))
        (i32.store (i32.add (i32.const 1048596) (i32.mul (local.get $i) (i32.const 40))) (i32.const 3000000))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br_if $next (i32.lt_u (local.get $i) (i32.const 100000))))
      (i32.store (i32.const 1028) (i32.const 1048576))
      (i32.store (i32.const 1032) (i32.const 100000))
      (i32.const 1024)";
    greedy("shared", &prelude, body)
}

/// Fifty log lines of 40 MB.
fn long_lines() -> Vec<u8> {
    let prelude = wat::PRELUDE.replace("(memory (export \"memory\") 1)", "(memory (export \"memory\") 900)");
    let fields = format!("(import \"serin:decision/log@0.1.0\" \"log\" (func $log (param i32 i32 i32))) {prelude}");
    let body = "(loop $next
        (call $log (i32.const 1) (i32.const 65536) (i32.const 40000000))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br_if $next (i32.lt_u (local.get $i) (i32.const 50))))
      (i32.const 1024)";
    greedy("lines", &fields, body)
}

/// A call of a model with a hundred thousand rows that are the same three million values.
fn long_rows() -> Vec<u8> {
    let prelude = wat::PRELUDE.replace("(memory (export \"memory\") 1)", "(memory (export \"memory\") 900)");
    let import = "(import \"serin:decision/models@0.1.0\" \"score\" (func $score (param i32 i32 i32 i32)))";
    let body = "(loop $next
        (i32.store (i32.add (i32.const 1048576) (i32.mul (local.get $i) (i32.const 8))) (i32.const 8388608))
        (i32.store (i32.add (i32.const 1048580) (i32.mul (local.get $i) (i32.const 8))) (i32.const 3000000))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br_if $next (i32.lt_u (local.get $i) (i32.const 100000))))
      (call $score (i32.const 0) (i32.const 1048576) (i32.const 100000) (i32.const 2048))
      (i32.const 1024)";
    let model = "\n[[models]]\nname = \"default-risk\"\nversion = \"1.0.0\"\ncallable = true\n";
    let manifest = format!("{}{GREEDY}{model}", wat::manifest("rows", "1.0.0", "rows", "go"));
    let guest = wat::guest(&manifest, &format!("{import} {prelude} {}", wat::decide(body)));
    wat::with_cases(guest, &json!([{ "name": "all of it", "expect": { "candidates": [] } }]))
}

#[test]
fn cases_run_within_what_any_host_grants() {
    let deployment = deployment();
    deployment.write("plugins/shared-1.0.0.wasm", shared_lists());
    deployment.write("plugins/lines-1.0.0.wasm", long_lines());
    deployment.write("plugins/rows-1.0.0.wasm", long_rows());
    let host = Host::start(&deployment).ready();
    for file in ["shared-1.0.0.wasm", "lines-1.0.0.wasm", "rows-1.0.0.wasm"] {
        let error = refused(&host, file);
        assert!(error.contains("case 'all of it' fails") && error.contains("output_too_large"), "{file}: {error}");
    }
    serves(&host);
    assert!(peak_mib(&host) < PEAK_MIB, "{} MiB", peak_mib(&host));
    assert_eq!(host.stop(), Some(0));
    let config = deployment.config();
    let checked = run(["check", "--config", config.to_str().expect("a path")]);
    assert_eq!(checked.code, Some(1), "{}{}", checked.stdout, checked.stderr);
}

#[test]
fn a_reason_counts_once_and_its_text_has_a_bound() {
    let deployment = deployment();
    // The answer at 1024 has one candidate at 1040, whose reasons are at 1064.
    let reasons = |at: &str, count: u32| {
        format!(
            "(f64.store (i32.const 2056) (f64.const 1)) (f64.store (i32.const 2072) (f64.const 1))
             (i32.store (i32.const 1064) (i32.const {at})) (i32.store (i32.const 1068) (i32.const {count}))
             (i32.const 1024)"
        )
    };
    let point = wat::points(&[("twice", wat::go("twice", "", &reasons("2048", 2)))]);
    let host = Host::start(&point).ready();
    let (kind, words) = outcome(&host.record(&host.decide(&request("twice"))));
    assert!(kind == "output_invalid" && words.contains("2 reasons of 1; each counts once"), "{kind}: {words}");

    let long = wat::manifest("long", "1.0.0", "long", "go").replace("Asked to", &"because ".repeat(50_000));
    let guest = wat::guest(&long, &format!("{} {}", wat::PRELUDE, wat::decide("(i32.const 1024)")));
    deployment.write("plugins/long-1.0.0.wasm", guest);
    let host = Host::start(&deployment).ready();
    let error = refused(&host, "long-1.0.0.wasm");
    assert!(error.starts_with("manifest: ") && error.contains("valid: at most"), "{error}");
    assert!(error.len() < 2_000, "{} bytes", error.len());
    serves(&host);
}

#[test]
fn the_rows_of_model_calls_do_not_fill_the_ledger() {
    let deployment = misbehaving();
    let host = Host::start(&deployment).ready();
    let mut request = request("misbehave");
    request["context"] = json!({ "mode": "call_model_long_rows" });
    let answer = host.decide(&request);
    assert_eq!(answer["served_by"], "strategy", "{answer}");
    assert_eq!(answer["parameters"]["a"], 0.0, "no call was answered");
    let record = host.record(&answer);
    let bytes = record.to_string().len();
    assert!(bytes < 100_000, "a record of {bytes} bytes");
    let transcript = record["attempts"][0]["transcript"].as_array().expect("calls");
    assert!(transcript.iter().all(|call| call["answer"]["Err"] == "limit_reached"), "{transcript:?}");
    let id = answer["decision_id"].as_str().expect("an id");
    let replayed = host.admin.post(&format!("/v1/decisions/{id}/replay"), &json!({})).json();
    assert_eq!(replayed["identical"], true, "{replayed}");
    Record::parse(record.to_string().as_bytes()).expect("readable");
}

#[test]
fn a_model_of_millions_of_messages_takes_no_more_memory_than_its_file() {
    let deployment = misbehaving();
    // Graphs with nothing in them, two bytes each.
    deployment.write("models/default-risk.onnx", [0x3a, 0x00].repeat(32 << 20));
    let host = Host::start(&deployment);
    let error = eventually("the model is refused", std::time::Duration::from_secs(60), || {
        host.admin.get("/v1/deployment").json()["models"][0]["error"].as_str().map(str::to_owned)
    });
    assert!(error.contains("default-risk.onnx"), "{error}");
    assert!(peak_mib(&host) < PEAK_MIB, "{} MiB: {error}", peak_mib(&host));
}
