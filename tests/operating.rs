//! What a machine runs out of, and what is taken away from under a host: the disk, file descriptors,
//! folders, the clock. A `must_log` point answers 503 and never without a record; a `best_effort`
//! point serves, and counts what it lost. Afterwards the host recovers by itself.

mod clocks;
mod descriptors;
mod disk;
mod folders;

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use serde_json::{Value, json};

use crate::support::{Deployment, Host, run, wat};

/// A deployment of two points: `strict` logs `must_log`, `loose` logs `best_effort`.
fn deployment() -> Deployment {
    let guest = |name: &'static str| (name, wat::go(name, "", "(i32.const 1024)"));
    let deployment = wat::points(&[guest("strict"), guest("loose")]);
    let pin = "strategy = \"loose@1.0.0\"";
    deployment.edit("serin.toml", pin, &format!("{pin}\nlogging = \"best_effort\""));
    deployment
}

fn request(point: &str) -> Value {
    json!({ "decision_point": point, "entities": { "borrower": "b-1" } })
}

/// Sets a soft limit of a running host; none lifts it again.
fn limit(host: &Host, resource: Resource, most: Option<u64>) {
    let pid = i32::try_from(host.pid()).ok().and_then(Pid::from_raw);
    // The hard limit is inherited from this process.
    let maximum = getrlimit(resource).maximum;
    prlimit(pid, resource, Rlimit { current: most.or(maximum), maximum }).expect("a process of one's own");
}

fn recorded(deployment: &Deployment) -> i64 {
    let ledger = rusqlite::Connection::open(deployment.path().join("data/serin.db")).expect("opens");
    ledger.query_row("SELECT count(*) FROM decisions", [], |row| row.get(0)).expect("counts")
}

/// All records of a stopped host replay identically.
#[track_caller]
fn replays(deployment: &Deployment) {
    let config = deployment.config();
    let replay = run(["replay", "--verify", "--config", config.to_str().expect("a path")]);
    assert_eq!(replay.code, Some(0), "{}{}", replay.stdout, replay.stderr);
}
