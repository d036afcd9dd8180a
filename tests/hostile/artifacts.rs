//! Artifacts that take long to load: what serves goes on serving, and nobody waits.

use std::time::Duration;

use serde_json::json;
use wasm_encoder::{Component, NestedComponentSection};

use super::{deployment, plugin, refused, request, serves};
use crate::support::{Host, eventually, outcome, wat};

/// How many artifacts take long: all together longer than a host waits before it listens.
const SLOW: usize = 6;

/// An artifact that nobody names, with cases that have no end.
fn spinning(name: &str) -> Vec<u8> {
    let manifest = format!("{}\n[limits]\nfuel = 1000000000000\n", wat::manifest(name, "1.0.0", name, "go"));
    let fields = format!("{} {}", wat::PRELUDE, wat::decide("(loop $l (br $l)) (i32.const 1024)"));
    let case = |i: usize| json!({ "name": format!("endless {i}"), "expect": { "candidates": [] } });
    wat::with_cases(wat::guest(&manifest, &fields), &(0..20).map(case).collect())
}

#[test]
fn neither_a_start_nor_a_change_of_pins_waits_for_a_file_that_nobody_names() {
    let deployment = deployment();
    for i in 0..SLOW {
        deployment.write(&format!("plugins/slow-{i}-1.0.0.wasm"), spinning(&format!("slow-{i}")));
    }
    let other = wat::manifest("other", "1.0.0", "good", "none").replace("n = \"integer\"", "");
    let other = format!("{other}\n");
    let body = "(i32.store (i32.const 1060) (i32.const 0)) (i32.const 1024)";
    let guest = wat::guest(&other, &format!("{} {}", wat::PRELUDE, wat::decide(body)));
    deployment.write("plugins/other-1.0.0.wasm", guest);
    let host = Host::start(&deployment).ready();
    serves(&host);
    let is_loading = || (0..SLOW).any(|i| plugin(&host, &format!("slow-{i}-1.0.0.wasm"), "loading").is_some());
    assert!(is_loading(), "it listens before all was tried");
    // What is pinned now is there or is loaded first, whatever else is being loaded.
    deployment.edit("serin.toml", "good@1.0.0", "other@1.0.0");
    eventually("the pin applies", Duration::from_secs(30), || {
        (host.decide(&request("good"))["strategy"]["name"] == "other").then_some(())
    });
    assert!(is_loading(), "and the others are still being loaded");
    for i in 0..SLOW {
        let error = refused(&host, &format!("slow-{i}-1.0.0.wasm"));
        assert!(error.contains("case 'endless 0' fails: all cases together used more than 1400000000"), "{error}");
    }
}

#[test]
fn what_only_a_compiler_could_be_kept_busy_with_is_not_compiled() {
    let deployment = deployment();
    let mut deep = Component::new();
    for _ in 0..2_000 {
        let mut outer = Component::new();
        outer.section(&NestedComponentSection(&deep));
        deep = outer;
    }
    let wide = format!("(component {})", "(component)".repeat(600));
    let large = "(drop (i32.const 1))".repeat(240_000);
    let large = format!("(component (core module (func {large})))");
    let locals = "(local i64) ".repeat(1_500);
    let branches = "(if (i64.eqz (local.get 7)) (then (local.set 9 (i64.const 1))))".repeat(1_000);
    let live = format!("(component (core module (func {locals} {branches})))");
    let cases = [
        ("live", wat::parse(&live), "1500000 locals times blocks in one function; valid: at most 1000000"),
        ("deep", deep.finish(), "components in each other; valid: at most 16"),
        ("wide", wat::parse(&wide), "modules and components; valid: at most 500"),
        ("large", wat::parse(&large), "bytes in one function; valid: at most 655360"),
    ];
    for (name, component, _) in &cases {
        let artifact = wat::with_manifest(component.clone(), &wat::manifest(name, "1.0.0", "p", "go"));
        deployment.write(&format!("plugins/{name}-1.0.0.wasm"), artifact);
    }
    let host = Host::start(&deployment).ready();
    for (name, _, needle) in &cases {
        let error = refused(&host, &format!("{name}-1.0.0.wasm"));
        assert!(error.contains(needle), "{name}: {error}");
    }
    serves(&host);
}

#[test]
fn a_table_that_cannot_grow_reaches_no_limit() {
    let grow = "(drop (table.grow 0 (ref.null func) (i32.const 6000)))";
    let body = format!("{grow} {grow} (i32.const 1024)");
    let bounded = wat::go("bounded", "(table 10 20 funcref)", &body);
    let deployment = wat::points(&[("bounded", bounded), ("free", wat::go("free", "(table 10 funcref)", &body))]);
    let host = Host::start(&deployment).ready();
    let ended = |point: &str| outcome(&host.record(&host.decide(&request(point)))).0;
    assert_eq!((ended("bounded").as_str(), ended("free").as_str()), ("candidates", "tables"));
}
