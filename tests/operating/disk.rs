//! A full disk and a read-only one.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::process::Resource;
use serde_json::json;

use super::{deployment, limit, recorded, replays, request};
use crate::support::{Deployment, Host, eventually, serin};

const BOUND: Duration = Duration::from_secs(20);

/// Every write to a file fails from here on, the log's included.
fn fill(host: &Host) {
    limit(host, Resource::Fsize, Some(0));
}

#[test]
fn a_full_disk_costs_a_strict_point_its_answers_and_a_loose_one_its_records() {
    let deployment = deployment();
    let host = Host::start(&deployment).ready();
    for point in ["strict", "loose"] {
        host.decide(&request(point));
    }
    let lost = || host.metric("serin_records_dropped_total");
    eventually("both are recorded", BOUND, || (recorded(&deployment) == 2).then_some(()));

    fill(&host);
    for _ in 0..20 {
        let refused = host.public.post("/v1/decisions", &request("strict"));
        assert_eq!((refused.status, &refused.json()["type"]), (503, &json!("urn:serin:problem:ledger-unavailable")));
        assert!(refused.headers.contains_key("retry-after"), "{:?}", refused.headers);
    }
    let before = lost();
    for _ in 0..20 {
        let answer = host.public.post("/v1/decisions", &request("loose"));
        assert_eq!((answer.status, &answer.json()["served_by"]), (200, &json!("strategy")), "{}", answer.text);
    }
    eventually("each is counted", BOUND, || (lost() >= before + 20.0).then_some(()));
    assert_eq!(lost(), before + 20.0, "and once");
    let outcome = json!({ "id": "o-1", "name": "paid", "value": 1, "entity": { "borrower": "b-1" } });
    let refused = host.public.post("/v1/outcomes", &json!({ "outcomes": [outcome] }));
    assert!(refused.status == 503 && !refused.text.contains("decision"), "an outcome is none: {}", refused.text);
    assert_eq!(host.public.get("/readyz").status, 503);
    assert_eq!(host.public.get("/healthz").status, 200);

    limit(&host, Resource::Fsize, None);
    eventually("it is ready again, though nobody asks it for anything", BOUND, || {
        (host.public.get("/readyz").status == 200).then_some(())
    });
    for point in ["strict", "loose"] {
        host.decide(&request(point));
    }
    assert_eq!(host.public.post("/v1/outcomes", &json!({ "outcomes": [outcome] })).json()["stored"], 1);
    assert_eq!(host.stop(), Some(0));
    assert_eq!(recorded(&deployment), 4, "nothing of what was refused or lost");
    replays(&deployment);
}

#[test]
fn a_log_that_cannot_be_written_stops_nothing() {
    let deployment = deployment();
    // Where the host's standard error goes.
    std::os::unix::fs::symlink("/dev/full", deployment.path().join("serin.log")).expect("links");
    let host = Host::start(&deployment).ready();
    let ledger = rusqlite::Connection::open(deployment.path().join("data/serin.db")).expect("opens");
    ledger.execute_batch("BEGIN IMMEDIATE").expect("locks");
    let refused = host.public.post("/v1/decisions", &request("strict"));
    assert_eq!(refused.status, 503, "the writer has something to log: {}", refused.text);
    ledger.execute_batch("ROLLBACK").expect("unlocks");
    eventually("it is ready again", BOUND, || (host.public.get("/readyz").status == 200).then_some(()));
    host.decide(&request("strict"));
    assert_eq!(host.stop(), Some(0));
}

/// A command in which `folder` is on a read-only disk. None where this machine allows no namespaces.
fn read_only(folder: &Path) -> Option<Command> {
    let mount = "mount --bind \"$1\" \"$1\" && mount -o remount,bind,ro \"$1\" && shift && exec \"$@\"";
    let inside = |program: &str| {
        let mut command = Command::new("unshare");
        command.args(["-rm", "sh", "-c", mount, "sh"]).arg(folder).arg(program);
        command
    };
    inside("true").output().is_ok_and(|ran| ran.status.success()).then(|| inside(serin()))
}

fn started_on(mut command: Command, deployment: &Deployment) -> (Option<i32>, String) {
    let any = "127.0.0.1:0";
    command.args(["serve", "--listen", any, "--admin", any, "--config"]).arg(deployment.config());
    let ended = command.output().expect("runs");
    (ended.status.code(), String::from_utf8_lossy(&ended.stderr).into_owned())
}

#[test]
fn on_a_read_only_disk_a_host_does_not_start_and_says_which_file() {
    let deployment = deployment();
    let host = Host::start(&deployment).ready();
    host.decide(&request("strict"));
    assert_eq!(host.stop(), Some(0));
    let Some(command) = read_only(&deployment.path().join("data")) else {
        eprintln!("not tested: this machine allows no mount namespaces");
        return;
    };
    let (code, said) = started_on(command, &deployment);
    assert!(code == Some(1) && said.contains("serin.lock") && said.contains("Read-only"), "{code:?}: {said}");
    let (config, file) = (deployment.config(), deployment.path().join("the.backup"));
    for args in [&["replay"][..], &["backup", file.to_str().expect("a path")]] {
        let mut command = read_only(&deployment.path().join("data")).expect("as above");
        let ended = command.args(args).arg("--config").arg(&config).output().expect("runs");
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(1), "{args:?}: {said}");
        assert!(said.contains("serin.db") && said.contains("Read-only file system"), "{args:?}: {said}");
    }
    let host = Host::start(&deployment).ready();
    host.decide(&request("strict"));
    assert_eq!(host.stop(), Some(0));
    assert_eq!(recorded(&deployment), 2);
    replays(&deployment);
}
