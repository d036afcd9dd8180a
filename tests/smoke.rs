//! The main path, once: a strategy decides about a real borrower over HTTP, and the decision
//! replays.

use serde_json::json;

use crate::support::{Host, collections, root, run};

#[test]
fn a_decision_about_a_real_borrower_is_recorded_and_replays() {
    let deployment = collections();
    let host = Host::start(&deployment).ready();
    let config = deployment.config();
    let borrowers = root().join("host/demo/borrowers.csv");
    let load = [
        "features",
        "load",
        "borrower-profile",
        borrowers.to_str().expect("a path"),
        "--config",
        config.to_str().expect("a path"),
    ];
    let loaded = run(load);
    assert_eq!(loaded.code, Some(0), "{}", loaded.stderr);

    let request = json!({
        "decision_point": "collections-outreach",
        "entities": { "borrower": "b-17", "loan": "l-88" },
        "context": { "days_past_due": 12, "channel": "batch" },
        "force": { "experiment": "outreach-score", "arm": "score" },
    });
    assert_eq!(host.public.post("/v1/decisions", &request).status, 403, "force is for the admin listener");
    let answer = host.admin.post("/v1/decisions", &request);
    assert_eq!(answer.status, 200, "{}", answer.text);
    let decision = answer.json();
    assert_eq!(decision["strategy"]["name"], "outreach-score");
    assert_eq!(decision["served_by"], "arm");

    let id = decision["decision_id"].as_str().expect("an id");
    let record = host.admin.get(&format!("/v1/decisions/{id}")).json();
    assert!(record["attempts"][0]["scores"][0]["value"].as_f64().expect("a score") > 0.0);
    assert_eq!(host.admin.post(&format!("/v1/decisions/{id}/replay"), &json!({})).json()["identical"], true);
    assert_eq!(host.stop(), Some(0));
    assert_eq!(run(["replay", "--verify", "--config", config.to_str().expect("a path")]).code, Some(0));
}
