//! The boundary, met by code that no compiler would write: components in WebAssembly's text
//! format, from imports that nobody may have to answers that point nowhere.

use serde_json::json;

use crate::support::wat::{go, manifest, points, with_manifest};
use crate::support::{Host, outcome};

#[test]
fn what_only_hand_written_code_does_is_held_off_too() {
    // The answer lies at 1024; its parameter is the integer at 1112.
    let fine = |first: &str| format!("{first} (i32.const 1024)");
    let spin = "(func $spin (loop $again (br $again)))";
    let start = format!("{spin} (start $spin)");
    let cleanup = format!("{spin} (func (export \"cabi_post_decide\") (param i32) (call $spin))");
    let table = "(table 1 funcref)";
    let nan = "(f64.div (f64.convert_i32_u (local.get $i)) (f64.convert_i32_u (local.get $i)))";
    // A refusal whose message is the one byte 0xff.
    let words = [(2048, 1), (2056, 2064), (2060, 1), (2064, 255)];
    let not_utf8: String = words.map(|(at, word)| format!("(i32.store (i32.const {at}) (i32.const {word}))")).concat();
    let cases = [
        ("small-table", table, fine("(drop (table.grow 0 (ref.null func) (i32.const 6000)))"), "candidates", "\"n\":7"),
        (
            "large-table",
            table,
            fine("(drop (table.grow 0 (ref.null func) (i32.const 12000)))"),
            "tables",
            "10000 granted",
        ),
        ("more-memory", "", fine("(drop (memory.grow (i32.const 300)))"), "memory", "16777216 granted"),
        ("start", &start, fine(""), "fuel_exhausted", "fuel"),
        ("cleanup", &cleanup, fine(""), "fuel_exhausted", "fuel"),
        ("division", "", fine("(drop (i32.div_u (i32.const 1) (local.get $i)))"), "trap", "divide by zero"),
        ("beyond", "", "(i32.const 0x7ffffff0)".to_owned(), "output_invalid", ""),
        ("unaligned", "", "(i32.const 1026)".to_owned(), "output_invalid", "align"),
        ("huge-list", "", fine("(i32.store (i32.const 1032) (i32.const 0x7fffffff))"), "output_invalid", ""),
        ("no-variant", "", fine("(i32.store8 (i32.const 1104) (i32.const 99))"), "output_invalid", ""),
        ("not-utf8", "", format!("{not_utf8} (i32.const 2048)"), "output_invalid", "utf-8"),
        // Processors disagree about the sign of such a NaN; guests never see that they do.
        (
            "nan",
            "",
            fine(&format!("(i64.store (i32.const 1112) (i64.reinterpret_f64 {nan}))")),
            "candidates",
            "\"n\":9221120237041090560",
        ),
    ];
    let artifacts: Vec<_> = cases.iter().map(|(name, fields, body, ..)| (*name, go(name, fields, body))).collect();
    let deployment = points(&artifacts);
    let host = Host::start(&deployment).ready();
    for (name, _, _, kind, detail) in &cases {
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
    let deployment = points(&named);
    let host = Host::start(&deployment);
    let plugins = host.admin.get("/v1/plugins").json();
    for (i, (import, _)) in imports.iter().enumerate() {
        let name = format!("imports-{i}");
        let found =
            plugins["plugins"].as_array().expect("plugins").iter().find(|p| p["name"] == *name).expect("it is shown");
        let error = found["error"].as_str().expect("an error");
        assert_eq!(found["state"], "failed");
        let said = match *import {
            "serin:decision/log@0.2.0" => "made for serin:decision@0.2.0".to_owned(),
            _ => format!("imports '{import}'"),
        };
        assert!(error.contains(&said), "{import}: {error}");
    }
}
