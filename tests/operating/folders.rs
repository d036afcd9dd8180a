//! Folders that are unmounted while a host runs, and mounted again.

use std::cell::Cell;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use super::{deployment, recorded, replays, request};
use crate::support::{Deployment, Host, eventually, two_arms, wat};

const BOUND: Duration = Duration::from_secs(20);

const EXPERIMENT: &str = two_arms!("", "");

fn moved(deployment: &Deployment, folder: &str) -> (PathBuf, PathBuf) {
    (deployment.path().join(folder), deployment.path().join(format!("{folder}-elsewhere")))
}

fn error(host: &Host, key: &str) -> Option<String> {
    host.admin.get("/v1/deployment").json()[key].as_str().map(str::to_owned)
}

fn plugin(host: &Host, digest: &Value) -> Option<Value> {
    let plugins = host.admin.get("/v1/plugins").json();
    plugins["plugins"].as_array()?.iter().find(|plugin| plugin["digest"] == *digest).cloned()
}

#[test]
fn a_plugins_folder_that_goes_and_comes_back_is_followed_again() {
    let deployment = deployment();
    let host = Host::start(&deployment).ready();
    let digest = host.decide(&request("strict"))["strategy"]["digest"].clone();
    let serves = || {
        let answer = host.decide(&request("strict"));
        assert_eq!((&answer["served_by"], &answer["strategy"]["digest"]), (&json!("strategy"), &digest), "{answer}");
    };
    let (folder, elsewhere) = moved(&deployment, "plugins");
    for (round, is_empty) in [false, true].into_iter().enumerate() {
        std::fs::rename(&folder, &elsewhere).expect("moves");
        // After an unmount the mount point is there, with nothing in it.
        if is_empty {
            std::fs::create_dir(&folder).expect("makes");
        }
        eventually("it is noticed", BOUND, || {
            let is_said = error(&host, "plugins_error").is_some_and(|e| e.contains("cannot be read"));
            (is_said || plugin(&host, &digest)?["stale"] == true).then_some(())
        });
        serves();
        assert_eq!(host.public.get("/readyz").status, 200);
        if is_empty {
            std::fs::remove_dir(&folder).expect("removes");
        }
        std::fs::rename(&elsewhere, &folder).expect("moves back");
        eventually("it is read again", BOUND, || {
            (error(&host, "plugins_error").is_none() && plugin(&host, &digest)?["stale"] == false).then_some(())
        });
        let name = format!("late{round}");
        deployment.write(&format!("plugins/{name}-1.0.0.wasm"), wat::go(&name, "", "(i32.const 1024)"));
        eventually("and what comes into it", BOUND, || {
            let plugins = host.admin.get("/v1/plugins").json();
            let is_there = |p: &&Value| p["name"] == name.as_str() && p["state"] == "active";
            plugins["plugins"].as_array()?.iter().find(is_there).map(drop)
        });
        serves();
    }
    assert_eq!(host.stop(), Some(0));
    replays(&deployment);
}

#[test]
fn an_experiments_folder_that_cannot_be_read_ends_no_experiment() {
    let deployment = crate::experiments::deployment(EXPERIMENT, false);
    let host = Host::start(&deployment).ready();
    let experiment = || host.admin.get("/v1/experiments/e").json();
    let before = experiment();
    assert_eq!(before["state"], "running", "{before}");
    let (folder, elsewhere) = moved(&deployment, "experiments");
    std::fs::rename(&folder, &elsewhere).expect("moves");
    eventually("it is said", BOUND, || error(&host, "experiments_error"));
    let arm = |host: &Host| crate::experiments::decide(host, "b-1")["experiment"]["arm"].clone();
    let of_before = arm(&host);
    assert!(of_before.is_string(), "{of_before}");
    assert_eq!(experiment()["generation"], before["generation"]);
    std::fs::rename(&elsewhere, &folder).expect("moves back");
    eventually("it is read again", BOUND, || error(&host, "experiments_error").is_none().then_some(()));
    assert_eq!((&experiment()["generation"], arm(&host)), (&before["generation"], of_before));
    assert_eq!(host.stop(), Some(0));
    replays(&deployment);
}

#[test]
fn a_data_folder_that_is_gone_costs_a_strict_point_its_answers_until_it_is_back() {
    let deployment = deployment();
    let view = "\n[features.v]\nentity = \"borrower\"\ncolumns = { n = \"integer\" }\n";
    deployment.write("serin.toml", deployment.read("serin.toml") + view);
    let host = Host::start(&deployment).ready();
    host.decide(&request("strict"));
    eventually("it is recorded", BOUND, || (recorded(&deployment) == 1).then_some(()));
    let (folder, elsewhere) = moved(&deployment, "data");
    let answered = Cell::new(1);
    let strict = || {
        let answer = host.public.post("/v1/decisions", &request("strict"));
        answered.set(answered.get() + i64::from(answer.status == 200));
        answer
    };
    for is_replaced in [false, true] {
        std::fs::rename(&folder, &elsewhere).expect("moves");
        if is_replaced {
            std::fs::create_dir(&folder).expect("makes");
            std::fs::write(folder.join("serin.db"), "another file").expect("writes");
        }
        let refused = eventually("it is noticed", BOUND, || Some(strict()).filter(|answer| answer.status != 200));
        assert_eq!((refused.status, &refused.json()["type"]), (503, &json!("urn:serin:problem:ledger-unavailable")));
        assert!(refused.headers.contains_key("retry-after"), "{:?}", refused.headers);
        let lost = host.metric("serin_records_dropped_total");
        host.decide(&request("loose"));
        eventually("it is served, and counted", BOUND, || {
            (host.metric("serin_records_dropped_total") == lost + 1.0).then_some(())
        });
        let outcome = json!({ "id": "o-1", "name": "paid", "value": 1, "entity": { "borrower": "b-1" } });
        let refused = host.public.post("/v1/outcomes", &json!({ "outcomes": [outcome] }));
        assert!(refused.status == 503 && !refused.text.contains("decision"), "{}", refused.text);
        let row = json!({ "entity": "b-1", "event_time": "2026-01-01T00:00:00Z", "values": { "n": 1 } });
        let refused = host.public.post("/v1/features/v", &json!({ "rows": [row] }));
        assert_eq!(refused.status, 503, "{}", refused.text);
        let ready = host.public.get("/readyz");
        assert!(ready.status == 503 && ready.text.contains("file was moved or removed"), "{}", ready.text);
        assert!(error(&host, "ledger_error").is_some_and(|error| error.contains("put it back")));
        assert!(host.admin.get("/v1/attention").text.contains("its file was moved or removed"));
        assert!(host.log().contains("the ledger's file was moved or removed"), "{}", host.log());
        if is_replaced {
            std::fs::remove_dir_all(&folder).expect("removes");
        }
        std::fs::rename(&elsewhere, &folder).expect("moves back");
        eventually("it goes on by itself", BOUND, || (strict().status == 200).then_some(()));
        assert_eq!((host.public.get("/readyz").status, error(&host, "ledger_error")), (200, None));
    }
    assert_eq!(host.stop(), Some(0));
    assert_eq!(recorded(&deployment), answered.get(), "what was answered, and nothing else");
    replays(&deployment);
}
