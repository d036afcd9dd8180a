//! A panic while one file is read is that file's error: what was in force stays, and every other
//! file is read as before. A build for tests panics over a text that asks for it.
#![cfg(debug_assertions)]

use std::time::Duration;

use serde_json::{Value, json};
use serin_core::DEFECT;

use crate::support::{Deployment, Host, collections, eventually, run, wat};

const IN_TIME: Duration = Duration::from_secs(20);
const SPEC: &str = "experiments/outreach-score.toml";
const GOLDEN: &str = "models/default-risk.golden.json";

/// Waits until what the admin listener shows of `path` has the error of a defect in it.
#[track_caller]
fn told(host: &Host, path: &str) {
    eventually(&format!("{path} tells of the defect"), IN_TIME, || {
        let shown = host.admin.get(path).text;
        (shown.contains("a defect") && shown.contains("the file asks for it")).then_some(())
    });
}

fn decides(host: &Host) -> Value {
    host.decide(&json!({
        "decision_point": "collections-outreach",
        "entities": { "borrower": "b-17", "loan": "l-88" },
        "context": { "days_past_due": 12 },
    }))
}

/// An edit of the experiment is applied.
#[track_caller]
fn reloading_goes_on(host: &Host, deployment: &Deployment, owner: &str) {
    let spec = deployment.read(SPEC);
    let line = spec.lines().find(|line| line.starts_with("owner")).expect("an owner").to_owned();
    deployment.edit(SPEC, &line, &format!("owner = \"{owner}\""));
    eventually(&format!("{owner} is the owner"), IN_TIME, || {
        (host.admin.get("/v1/experiments/outreach-score").json()["spec"]["owner"] == owner).then_some(())
    });
    decides(host);
}

#[test]
fn a_panic_over_one_file_is_its_error_and_reloading_goes_on() {
    let deployment = collections();
    let host = Host::start(&deployment).ready();
    reloading_goes_on(&host, &deployment, "before");
    // An artifact, whose manifest is looked at by the scan, too.
    let manifest = format!("{}# {DEFECT}\n", wat::manifest("bad", "1.0.0", "p", "go"));
    deployment.write(
        "plugins/bad-1.0.0.wasm",
        wat::guest(&manifest, &format!("{} {}", wat::PRELUDE, wat::decide("(i32.const 1024)"))),
    );
    told(&host, "/v1/plugins");
    reloading_goes_on(&host, &deployment, "after-artifact");
    // Another experiment.
    deployment.write("experiments/bad.toml", format!("# {DEFECT}\n"));
    told(&host, "/v1/experiments");
    reloading_goes_on(&host, &deployment, "after-experiment");
    // A model that was good.
    let golden = deployment.read(GOLDEN);
    deployment.write(GOLDEN, golden.replacen('{', &format!("{{\"{DEFECT}\": 1,"), 1));
    told(&host, "/v1/deployment");
    reloading_goes_on(&host, &deployment, "after-model");
    deployment.write(GOLDEN, golden);
    // The configuration.
    let config = deployment.read("serin.toml");
    deployment.write("serin.toml", format!("# {DEFECT}\n{config}"));
    told(&host, "/v1/deployment");
    reloading_goes_on(&host, &deployment, "after-configuration");
    deployment.write("serin.toml", &config);
    eventually("the configuration is read again", IN_TIME, || {
        host.admin.get("/v1/deployment").json()["config_error"].is_null().then_some(())
    });
    // A plan says so, too.
    let file = deployment.path().join("experiments/bad.toml");
    let plan = run(["experiment", "plan", file.to_str().expect("a path")]);
    assert!(plan.code == Some(1) && plan.stderr.contains("a defect in the host"), "{plan:?}");
}
