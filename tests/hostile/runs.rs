//! Served strategies that no compiler would write: each run ends in time as a typed failure.

use std::time::Duration;

use super::{fails, request, serves};
use crate::support::{Host, eventually, wat};

/// Ten thousand candidates whose parameters are the same half million values.
fn shared_lists() -> Vec<u8> {
    let fields = "(func $fill (local $i i32) (local $at i32)
      (loop $next
        (local.set $at (i32.add (i32.const 1048576) (i32.mul (local.get $i) (i32.const 40))))
        (i32.store (i32.add (local.get $at) (i32.const 16)) (i32.const 2097152))
        (i32.store (i32.add (local.get $at) (i32.const 20)) (i32.const 500000))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br_if $next (i32.lt_u (local.get $i) (i32.const 10000)))))";
    let body =
        "(call $fill) (i32.store (i32.const 1028) (i32.const 1048576)) (i32.store (i32.const 1032) (i32.const 10000))
      (i32.const 1024)";
    with_pages("shared", 170, fields, body)
}

fn with_pages(name: &str, pages: u32, fields: &str, body: &str) -> Vec<u8> {
    let prelude = wat::PRELUDE.replace("\"memory\") 1)", &format!("\"memory\") {pages})"));
    wat::guest(&wat::manifest(name, "1.0.0", name, "go"), &format!("{prelude} {fields} {}", wat::decide(body)))
}

/// One candidate with three thousand times the same reason.
fn many_reasons() -> Vec<u8> {
    let body = "(i32.store (i32.const 1064) (i32.const 65536)) (i32.store (i32.const 1068) (i32.const 3000))
      (i32.const 1024)";
    with_pages("reasons", 4, "", body)
}

/// A log line of half a megabyte, again and again.
fn long_lines() -> Vec<u8> {
    let import = "(import \"serin:decision/log@0.1.0\" \"log\" (func $log (param i32 i32 i32)))";
    let body =
        "(loop $next (call $log (i32.const 1) (i32.const 65536) (i32.const 500000)) (br $next)) (i32.const 1024)";
    let prelude = wat::PRELUDE.replace("\"memory\") 1)", "\"memory\") 10)");
    let manifest = wat::manifest("lines", "1.0.0", "lines", "go");
    wat::guest(&manifest, &format!("{import} {prelude} {}", wat::decide(body)))
}

#[test]
fn an_answer_that_would_fill_the_memory_is_a_typed_failure() {
    let outside = wat::go("outside", "", "(i32.const 2147483632)");
    let unaligned = wat::go("unaligned", "", "(i32.const 1025)");
    let text = "(i32.store8 (i32.const 1104) (i32.const 4)) (i32.store (i32.const 1112) (i32.const 4096))
      (i32.store (i32.const 1116) (i32.const 2)) (i32.store8 (i32.const 4096) (i32.const 255)) (i32.const 1024)";
    let guests = [
        ("good", wat::go("good", "", "(i32.const 1024)"), ["", ""]),
        ("shared", shared_lists(), ["output_too_large", "more data to the host than granted"]),
        ("reasons", many_reasons(), ["output_invalid", "3000 reasons of 1; each counts once"]),
        ("outside", outside, ["output_invalid", "out of bounds"]),
        ("unaligned", unaligned, ["output_invalid", "not aligned"]),
        ("text", wat::go("text", "", text), ["output_invalid", "utf-8"]),
    ];
    let deployment = wat::points(&guests.clone().map(|(name, artifact, _)| (name, artifact)));
    let host = Host::start(&deployment).ready();
    for (name, _, expected) in &guests[1..] {
        fails(&host, &request(name), Duration::from_secs(5), *expected);
    }
    serves(&host);
}

#[test]
fn host_calls_without_end_end_with_the_runs_time() {
    let good = ("good", wat::go("good", "", "(i32.const 1024)"));
    let deployment = wat::points(&[good, ("lines", long_lines())]);
    deployment.edit("serin.toml", "wall_ms = 2000", "wall_ms = 100\nfuel = 1000000000000");
    let host = Host::start(&deployment).ready();
    // Busy as the machine is, the time that passes is what ends it.
    std::thread::scope(|scope| {
        let busy: Vec<_> = (0..2).map(|_| scope.spawn(|| fails(&host, &request("lines"), WITHIN, DEADLINE))).collect();
        fails(&host, &request("lines"), WITHIN, DEADLINE);
        busy.into_iter().for_each(|thread| thread.join().expect("ends"));
    });
    let decided = host.decide(&request("lines"));
    let took = host.record(&decided)["attempts"][0]["time_us"].as_u64().expect("a time");
    assert!(took < 1_000_000, "{took} µs of 100,000");
    eventually("the other one serves", Duration::from_secs(5), || {
        (host.decide(&request("good"))["served_by"] == "strategy").then_some(())
    });
}

const WITHIN: Duration = Duration::from_secs(5);
const DEADLINE: [&str; 2] = ["deadline", ""];
