//! A constraint that is written while an experiment runs: it protects at once, and the report says
//! whom it took out.

use std::time::Duration;

use serde_json::{Value, json};

use crate::experiments::{RUNNING, decide, deployment, report};
use crate::support::{Host, eventually, run};

const IN_TIME: Duration = Duration::from_secs(20);

#[test]
fn a_wider_exclude_applies_at_once_and_whom_it_took_out_stays_counted_in_its_arm() {
    let deployment = deployment(RUNNING, false);
    let host = Host::start(&deployment).ready();
    let arms: Vec<String> = (0..20)
        .map(|i| decide(&host, &format!("b-{i}"))["experiment"]["arm"].as_str().expect("an arm").to_owned())
        .collect();
    let before = report(&host);
    assert_eq!(before["excluded"]["next"], json!({ "units": 0, "decisions": 0 }));
    deployment.edit(
        "serin.toml",
        "[decision_points.p]\n",
        "[decision_points.p]\nexclude = \"entities.borrower < 'b-2'\"\n",
    );
    eventually("nobody of them is contacted any more", IN_TIME, || {
        (decide(&host, "b-1")["served_by"] == "constraint").then_some(())
    });
    assert!(host.admin.get("/v1/deployment").json()["config_error"].is_null());
    // b-0, b-1, and b-10 to b-19; one that never was in is nobody's.
    let out: Vec<usize> = (0..20).filter(|i| *i < 2 || *i >= 10).collect();
    for i in &out {
        assert_eq!(decide(&host, &format!("b-{i}"))["served_by"], "constraint");
        assert_eq!(decide(&host, "b-199")["served_by"], "constraint");
    }
    let now = report(&host);
    assert_eq!(
        (&now["srm"]["counts"], &now["units"]),
        (&before["srm"]["counts"], &before["units"]),
        "intention to treat"
    );
    for arm in ["control", "next"] {
        let units = out.iter().filter(|i| arms[**i] == arm).count();
        assert_eq!(now["excluded"][arm]["units"], units, "{now}");
        let decisions = now["excluded"][arm]["decisions"].as_u64().unwrap_or(0);
        assert!(decisions >= units as u64, "{now}");
    }
    let warning = now["warnings"][0].as_str().unwrap_or_default();
    assert!(warning.starts_with("units that the decision point excludes since they entered"), "{now}");
    let text = host.admin.get("/v1/experiments/e/report?format=text").text;
    let html = host.admin.get("/v1/experiments/e/report?format=html").text;
    for form in [&text, &html] {
        assert!(form.contains("excluded since their entry, and still counted in their arms: control "), "{form}");
    }
    // A stopped host's ledger says the same.
    host.kill();
    let config = deployment.config();
    let offline = run(["report", "e", "--format", "json", "--config", config.to_str().expect("a path")]).stdout;
    let offline: Value = serde_json::from_str(&offline).expect("JSON");
    assert_eq!((&offline["excluded"], &offline["warnings"]), (&now["excluded"], &now["warnings"]));
}
