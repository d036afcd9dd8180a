//! Reading what was decided, and deciding without leaving a trace.

use serde_json::{Value, json};

use super::outreach;
use crate::support::{Host, collections};

fn list(host: &Host, query: &str) -> Vec<Value> {
    let answer = host.admin.get(&format!("/v1/decisions{query}"));
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()["decisions"].as_array().expect("a list").clone()
}

#[test]
fn a_dry_run_decides_and_leaves_no_record() {
    let deployment = collections();
    let host = Host::start(&deployment).ready();
    let mut request = outreach("b-1");
    request["dry_run"] = json!(true);
    let decision = host.admin.post("/v1/decisions", &request).json();
    assert_eq!(decision["strategy"]["name"], "outreach-rules", "{decision}");
    let id = decision["decision_id"].as_str().expect("an id");
    assert_eq!(host.admin.get(&format!("/v1/decisions/{id}")).status, 404);
    assert_eq!(list(&host, ""), Vec::<Value>::new());
    assert_eq!(host.metric("serin_records_committed_total"), 0.0);
}

#[test]
fn decisions_are_found_by_unit_point_and_time_newest_first() {
    let deployment = collections();
    let other = deployment.read("serin.toml").split_once("[decision_points.").expect("a point").1.replacen(
        "collections-outreach",
        "elsewhere",
        1,
    );
    // A point without a strategy of its own is answered by its fallback, and recorded all the same.
    deployment.write("serin.toml", format!("{}\n[decision_points.{other}", deployment.read("serin.toml")));
    let host = Host::start(&deployment);
    let ids: Vec<String> = ["b-1", "b-2", "b-1", "b-3"]
        .iter()
        .map(|borrower| host.decide(&outreach(borrower))["decision_id"].as_str().expect("an id").to_owned())
        .collect();
    let mut elsewhere = outreach("b-1");
    elsewhere["decision_point"] = json!("elsewhere");
    let last = host.decide(&elsewhere);

    let found = |query: &str| -> Vec<String> {
        list(&host, query).iter().map(|r| r["decision_id"].as_str().expect("an id").to_owned()).collect()
    };
    let last = last["decision_id"].as_str().expect("an id").to_owned();
    assert_eq!(found("?point=elsewhere"), std::slice::from_ref(&last));
    assert_eq!(found("?unit=b-1&point=collections-outreach"), [ids[2].clone(), ids[0].clone()]);
    assert_eq!(found("?unit=b-1"), [last.clone(), ids[2].clone(), ids[0].clone()]);
    assert_eq!(found("?unit=nobody"), Vec::<String>::new());
    assert_eq!(found("?limit=2"), [last, ids[3].clone()]);
    assert_eq!(found("").len(), 5);
    let time = host.admin.get(&format!("/v1/decisions/{}", ids[0])).json()["time_ms"].as_u64().expect("a time");
    assert_eq!(found(&format!("?since={time}")).len(), 5);
    assert_eq!(found("?since=2999-01-01T00:00:00Z"), Vec::<String>::new());
    let beyond = host.admin.get(&format!("/v1/decisions?since={}", u64::MAX));
    assert_eq!(beyond.status, 422, "a time that no clock shows is not taken for an early one: {}", beyond.text);
    assert_eq!(found("?since=2020-01-01T00:00:00Z&limit=1000").len(), 5);
}

#[test]
fn features_show_their_values_and_standing() {
    let deployment = collections();
    let host = Host::start(&deployment).ready();
    let push = |view: &str, entity: &str, time: &str, values: Value| {
        let rows = json!({ "rows": [{ "entity": entity, "event_time": time, "values": values }] });
        let answer = host.public.post(&format!("/v1/features/{view}"), &rows);
        assert_eq!(answer.status, 200, "{}", answer.text);
    };
    // The servicing view forgets after a day, the profile never does.
    push("servicing", "l/1 ü", "2026-01-01T00:00:00Z", json!({ "contacts_7d": 2 }));
    push("borrower-profile", "b-1", "2020-01-01T00:00:00Z", json!({ "annual_income": 50_000, "state": null }));
    let is = |row: &Value, column: &str, value: Value, status: &str| {
        let found = &row["values"][column];
        assert_eq!((&found["value"], &found["status"]), (&value, &json!(status)), "{column}: {row}");
    };
    let servicing = host.admin.get("/v1/features/servicing/l%2F1%20%C3%BC").json();
    is(&servicing, "contacts_7d", json!(2), "stale");
    is(&servicing, "balance_due", json!(null), "missing");
    assert_eq!(servicing["values"]["contacts_7d"]["event_time"], "2026-01-01T00:00:00Z");
    assert!(servicing["age_s"].as_u64().is_some_and(|age| age > 24 * 3600));
    let profile = host.admin.get("/v1/features/borrower-profile/b-1").json();
    is(&profile, "annual_income", json!(50_000.0), "present");
    is(&profile, "state", json!(null), "missing");
    assert_eq!((&profile["entity"], &profile["event_time"]), (&json!("b-1"), &json!("2020-01-01T00:00:00Z")));
}
