//! Recorded before answered: killed at any instant, the host has lost no decision whose answer
//! arrived.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;
use serin::clock::{Clock as _, SimulatedClock};
use serin::ledger::{LedgerReader, Reads as _};

use crate::support::{Deployment, Host, collections, eventually, run};

const ROUNDS: u64 = 20;
const CONNECTIONS: usize = 32;

/// Whether another program holds the ledger's write lock for the last moments.
#[derive(Clone, Copy, PartialEq)]
enum Ledger {
    Free,
    /// What is answered under the lock cannot have been committed.
    Locked,
}

/// One life of a host: clients ask for decisions until it is killed, `after` its first answers.
/// The ids of all decisions whose answers arrived whole.
fn live(deployment: &Deployment, round: u64, ledger: Ledger, after: Duration) -> HashSet<String> {
    let host = Host::start(deployment).ready();
    let answered = AtomicUsize::new(0);
    let database = rusqlite::Connection::open(deployment.path().join("data/serin.db")).expect("opens");
    let ids = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CONNECTIONS)
            .map(|connection| {
                let (client, answered) = (host.public.clone(), &answered);
                scope.spawn(move || {
                    let mut ids = Vec::new();
                    for i in 0.. {
                        let request = json!({
                            "decision_point": "collections-outreach",
                            "entities": { "borrower": format!("b-{round}-{connection}-{i}"), "loan": "l-1" },
                            "context": { "days_past_due": i % 40 },
                        });
                        let answer = client.post_text("/v1/decisions", &request.to_string(), &[]);
                        // The connection broke: the host is gone.
                        let Some(answer) = answer else { break };
                        assert_eq!(answer.status, 200, "{}", answer.text);
                        let id = answer.json()["decision_id"].as_str().expect("a whole answer").to_owned();
                        answered.fetch_add(1, Ordering::Relaxed);
                        ids.push(id);
                    }
                    ids
                })
            })
            .collect();
        eventually("the first answers", Duration::from_secs(20), || {
            (answered.load(Ordering::Relaxed) >= CONNECTIONS).then_some(())
        });
        if ledger == Ledger::Locked {
            eventually("the lock", Duration::from_secs(5), || database.execute_batch("BEGIN IMMEDIATE").ok());
        }
        // Not waiting for anything: this is the random moment.
        std::thread::sleep(after);
        host.kill();
        clients.into_iter().flat_map(|client| client.join().expect("a client")).collect()
    });
    if ledger == Ledger::Locked {
        database.execute_batch("ROLLBACK").expect("unlocks");
    }
    ids
}

/// The decisions that were answered and are not in the ledger, or not whole.
fn lost<'a>(deployment: &Deployment, answered: &'a HashSet<String>) -> Vec<&'a String> {
    let reader = LedgerReader::open(&deployment.path().join("data/serin.db")).expect("the ledger opens");
    let is_whole = |id: &str| reader.decision(id).expect("reads").is_some_and(|stored| stored.parse().is_ok());
    answered.iter().filter(|id| !is_whole(id)).collect()
}

#[test]
fn twenty_kills_at_random_moments_lose_no_answered_decision() {
    let deployment = collections();
    let seed = SimulatedClock::new(0, 20_261_123);
    let mut all = HashSet::new();
    for round in 0..ROUNDS {
        let after = Duration::from_millis(5 + seed.entropy() % 146);
        // In every fourth life the last answers would have to be given before their commit.
        let ledger = if round % 4 == 3 { Ledger::Locked } else { Ledger::Free };
        let answered = live(&deployment, round, ledger, after);
        assert!(answered.len() >= CONNECTIONS);
        let lost = lost(&deployment, &answered);
        assert!(lost.is_empty(), "round {round}, killed after {after:?}: {} of {} lost", lost.len(), answered.len());
        all.extend(answered);
    }
    // What later lives did to the ledger took nothing away, and every record is fit to replay.
    assert_eq!(lost(&deployment, &all), Vec::<&String>::new());
    let config = deployment.config();
    let replay = run(["replay", "--verify", "--config", config.to_str().expect("a path")]);
    assert_eq!(replay.code, Some(0), "{}{}", replay.stdout, replay.stderr);
    let host = Host::start(&deployment).ready();
    for id in all.iter().take(20) {
        assert_eq!(host.admin.get(&format!("/v1/decisions/{id}")).status, 200);
    }
}

#[test]
fn what_is_answered_before_its_commit_would_be_found_lost() {
    for (logging, loses) in [("must_log", false), ("best_effort", true)] {
        let deployment = collections();
        deployment.edit("serin.toml", "logging = \"must_log\"", &format!("logging = \"{logging}\""));
        let answered = live(&deployment, 0, Ledger::Locked, Duration::from_millis(100));
        let lost = lost(&deployment, &answered);
        assert_eq!(!lost.is_empty(), loses, "{logging}: {} of {} lost", lost.len(), answered.len());
    }
}
