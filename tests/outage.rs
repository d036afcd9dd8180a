//! A ledger that is down: 503, never an unrecorded answer.

use serde_json::json;

use crate::support::{Host, eventually, misbehaving};
use std::time::Duration;

#[test]
fn while_the_ledger_cannot_commit_there_is_no_answer_and_afterwards_there_is() {
    let deployment = misbehaving();
    let host = Host::start(&deployment).ready();
    let request = json!({ "decision_point": "misbehave", "entities": { "borrower": "b-1" } });
    assert_eq!(host.public.post("/v1/decisions", &request).status, 200);

    // Another program holds the database's write lock: the host's commits fail.
    let ledger = rusqlite::Connection::open(deployment.path().join("data/serin.db")).expect("opens");
    ledger.execute_batch("BEGIN IMMEDIATE").expect("locks");
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
