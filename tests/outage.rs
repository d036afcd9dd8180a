//! A ledger that is down: 503, never an unrecorded answer.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::experiments::{RAMP, command, why};
use crate::support::{Deployment, Host, eventually, misbehaving};

/// Another program holds the database's write lock until this is dropped or rolled back.
fn held(deployment: &Deployment) -> rusqlite::Connection {
    let ledger = rusqlite::Connection::open(deployment.path().join("data/serin.db")).expect("opens");
    ledger.execute_batch("BEGIN IMMEDIATE").expect("locks");
    ledger
}

#[test]
fn while_the_ledger_cannot_commit_there_is_no_answer_and_afterwards_there_is() {
    let deployment = misbehaving();
    let host = Host::start(&deployment).ready();
    let request = json!({ "decision_point": "misbehave", "entities": { "borrower": "b-1" } });
    assert_eq!(host.public.post("/v1/decisions", &request).status, 200);

    // The host's commits fail.
    let ledger = held(&deployment);
    let refused = host.public.post("/v1/decisions", &request);
    assert_eq!(refused.status, 503, "{}", refused.text);
    assert_eq!(refused.json()["type"], "urn:serin:problem:ledger-unavailable");
    assert!(refused.headers.contains_key("retry-after"), "{:?}", refused.headers);
    let ready = host.public.get("/readyz");
    assert_eq!(ready.status, 503, "a host that cannot record is not ready: {}", ready.text);
    let recorded: i64 = ledger.query_row("SELECT count(*) FROM decisions", [], |row| row.get(0)).expect("counts");
    assert_eq!(recorded, 1, "nothing was recorded of the refused decision");

    ledger.execute_batch("ROLLBACK").expect("unlocks");
    // Nobody sends a decision to a host that is not ready: it finds out by itself.
    eventually("it is ready again", Duration::from_secs(10), || {
        (host.public.get("/readyz").status == 200).then_some(())
    });
    assert_eq!(host.public.post("/v1/decisions", &request).status, 200);
}

#[test]
fn who_sends_a_key_again_is_told_in_time_that_the_ledger_is_down() {
    let deployment = misbehaving();
    deployment.edit("serin.toml", "deadline = \"5s\"", "deadline = \"250ms\"");
    let host = Host::start(&deployment).ready();
    let body = |unit: &str| json!({ "decision_point": "misbehave", "entities": { "borrower": unit } });
    let send = || {
        let (body, key) = (body("b-1").to_string(), [("idempotency-key", "k")]);
        host.public.post_text("/v1/decisions", &body, &key).expect("answers")
    };
    let ledger = held(&deployment);
    std::thread::scope(|scope| {
        // The writer gives up on a commit after five seconds; the key's is the one after it.
        let before = scope.spawn(|| host.public.post("/v1/decisions", &body("b-0")).status);
        eventually("the writer has one to commit", Duration::from_secs(10), || {
            let decided = host.metric("serin_decisions_total{thread=\"listener\"}")
                + host.metric("serin_decisions_total{thread=\"deciding\"}");
            (decided >= 1.0).then_some(())
        });
        assert_eq!(send().json()["type"], "urn:serin:problem:ledger-unavailable");
        let began = Instant::now();
        let again = send();
        let took = began.elapsed();
        assert_eq!((again.status, &again.json()["type"]), (503, &json!("urn:serin:problem:ledger-unavailable")));
        assert!(took < Duration::from_secs(5), "{took:?}: it waited for the commit of the first, which does not end");
        assert_eq!(before.join().expect("answers"), 503);
    });
    ledger.execute_batch("ROLLBACK").expect("unlocks");
    eventually("it is answered", Duration::from_secs(20), || (send().status == 200).then_some(()));
    let of = host.admin.get("/v1/decisions?unit=b-1").json()["decisions"].clone();
    assert_eq!(of.as_array().map(Vec::len), Some(1), "decided once: {of}");
}

#[test]
fn a_command_that_waits_for_the_disk_keeps_nobody_waiting() {
    let deployment = crate::experiments::deployment(RAMP, false);
    let host = Host::start(&deployment).ready();
    assert_eq!(command(&host, "start", why()).0, 200);
    let ledger = held(&deployment);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let pause = scope.spawn(|| {
            let began = Instant::now();
            let status = command(&host, "pause", why()).0;
            done.store(true, Ordering::Relaxed);
            (status, began.elapsed())
        });
        let longest = || {
            let mut longest = Duration::ZERO;
            while !done.load(Ordering::Relaxed) {
                let began = Instant::now();
                let listed = host.admin.get("/v1/experiments").json();
                assert_eq!(listed["experiments"][0]["state"], "running", "{listed}");
                assert_eq!(host.public.get("/healthz").status, 200);
                longest = longest.max(began.elapsed());
            }
            longest
        };
        let looks: Vec<_> = (0..4).map(|_| scope.spawn(longest)).collect();
        let longest = looks.into_iter().map(|looks| looks.join().expect("is answered")).max().expect("four");
        let (status, took) = pause.join().expect("answers");
        assert_eq!(status, 503);
        assert!(longest * 2 < took, "{longest:?} of {took:?}: they waited until the command was done");
    });
    ledger.execute_batch("ROLLBACK").expect("unlocks");
    eventually("it is paused", Duration::from_secs(20), || (command(&host, "pause", why()).0 == 200).then_some(()));
}
