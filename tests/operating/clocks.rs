//! A clock that is set while a host runs: nobody waits longer, no decision is lost, and nothing that
//! follows from the time alone happens.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use serin::app::{Looks, Options};
use serin::clock::{Clock, SimulatedClock};

use super::{deployment, recorded, replays, request};
use crate::support::{Client, Host};

const BEGIN_MS: u64 = 1_793_577_600_000;
const DAY: Duration = Duration::from_secs(86_400);

#[test]
fn decisions_go_on_by_a_clock_that_leaps_ahead_and_back() {
    let deployment = deployment();
    let clock = Arc::new(SimulatedClock::new(BEGIN_MS, 11));
    let any = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    let options =
        Options { config: deployment.config(), listen: any, admin: any, dev: false, looks: Looks::EverySecond };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let of_host: Arc<dyn Clock> = Arc::<SimulatedClock>::clone(&clock);
    let host = runtime.block_on(serin::app::Host::start(options, of_host)).expect("starts");
    let [public, admin] = [host.listen, host.admin].map(|address| Client::new(&address.to_string()));
    let mut ids = HashSet::new();
    let mut decide = |key: &str| -> Value {
        let asked = Instant::now();
        let headers = [("idempotency-key", key)];
        let answer = public.post_text("/v1/decisions", &request("strict").to_string(), &headers).expect("an answer");
        assert_eq!((answer.status, &answer.json()["served_by"]), (200, &json!("strategy")), "{}", answer.text);
        assert!(asked.elapsed() < Duration::from_secs(5), "waited {:?} for its deadline", asked.elapsed());
        let decision = answer.json();
        ids.insert(decision["decision_id"].as_str().expect("an id").to_owned());
        decision
    };
    let doubt = || admin.get("/v1/deployment").json()["clock_doubt"].clone();
    let first = decide("before");
    assert_eq!(doubt(), Value::Null);

    clock.leap(2 * DAY);
    decide("ahead");
    assert!(doubt().as_str().is_some_and(|why| why.contains("leapt from")), "{}", doubt());
    assert_eq!(public.get("/readyz").status, 200, "it goes on deciding");

    clock.set_back(4 * DAY);
    decide("behind");
    clock.leap(2 * DAY);
    let again = decide("before");
    assert_eq!(
        again["decision_id"], first["decision_id"],
        "a key is answered once, whatever the clock showed meanwhile"
    );
    assert_eq!(public.get("/readyz").status, 200);
    runtime.block_on(host.stop());

    assert_eq!((ids.len(), recorded(&deployment)), (3, 3), "an id each");
    replays(&deployment);
    drop(runtime);
}

/// A host whose clock was wrong for an hour, and is right at its next start, needs nobody.
#[test]
fn a_clock_that_is_right_again_at_a_start_is_believed() {
    let deployment = deployment();
    let host = Host::start(&deployment).ready();
    host.decide(&request("strict"));
    assert_eq!(host.stop(), Some(0));
    let ledger = rusqlite::Connection::open(deployment.path().join("data/serin.db")).expect("opens");
    let doubt = "the clock leapt from 2020-01-01T00:00:00Z to 2026-01-01T00:00:00Z within 1 s";
    assert_eq!(ledger.execute("UPDATE clock SET doubt = ?1", [doubt]).expect("updates"), 1);
    let host = Host::start(&deployment).ready();
    assert_eq!(host.admin.get("/v1/deployment").json()["clock_doubt"], Value::Null);
    host.decide(&request("strict"));
    assert_eq!(host.stop(), Some(0));
}
