//! An outcome that was taken back is told as such wherever outcomes are listed, and is counted nowhere.

use serde_json::{Value, json};

use super::Browser;
use crate::experiments::{RUNNING, decide, deployment};
use crate::support::{Host, run};

fn post(host: &Host, rows: Value) -> Value {
    host.public.post("/v1/outcomes", &json!({ "outcomes": rows })).json()
}

#[test]
fn an_outcome_that_was_taken_back_is_told_as_such_wherever_it_is_listed() {
    let deployment = deployment(RUNNING, false);
    let host = Host::start(&deployment).ready();
    let decided = decide(&host, "b-1");
    let id = decided["decision_id"].as_str().expect("an id");
    let of_decision = |row: &str| json!({ "id": row, "name": "cured", "value": 1, "decision_id": id });
    let of_unit = json!({ "id": "stays", "name": "paid", "value": 3, "entity": { "borrower": "b-1" } });
    // One is taken back before it comes, and another one twice.
    let early = json!({ "id": "r-early", "reverses": "late" });
    assert_eq!(post(&host, json!([of_decision("c-0"), of_unit, early, of_decision("late")]))["stored"], 4);
    let at = "2026-01-02T03:04:05Z";
    let twice = json!([{ "id": "r-0", "reverses": "c-0", "at": at }, { "id": "r-again", "reverses": "c-0" }]);
    assert_eq!(post(&host, twice)["stored"], 2);

    let listed = host.admin.get(&format!("/v1/decisions/{id}/outcomes")).json();
    let rows = listed["outcomes"].as_array().expect("rows");
    let row = |id: &str| rows.iter().find(|row| row["id"] == id).unwrap_or_else(|| panic!("{id}: {listed}"));
    assert_eq!((rows.len(), &row("c-0")["value"]), (5, &json!(1.0)), "{listed}");
    assert_eq!((&row("c-0")["taken_back_by"], &row("c-0")["taken_back_at"]), (&json!("r-0"), &json!(at)));
    assert_eq!(row("late")["taken_back_by"], "r-early");
    assert_eq!((&row("stays")["taken_back_by"], &row("stays")["taken_back_at"]), (&Value::Null, &Value::Null));
    let reversal = row("r-0");
    let said = [&reversal["reverses"], &reversal["name"], &reversal["value"], &reversal["at"]];
    assert_eq!(said, [&json!("c-0"), &json!("cured"), &Value::Null, &json!(at)]);

    let summary = host.admin.get(&format!("/v1/decisions/{id}/summary")).json();
    let masked = summary["outcomes"].as_array().expect("rows");
    let count = |key: &str| masked.iter().filter(|row| row[key] == true).count();
    assert_eq!((masked.len(), count("takes_back"), count("is_taken_back")), (5, 2, 2), "{summary}");

    let page = Browser::of(&host).page(&format!("/decisions/{id}"));
    assert!(page.contains("<b>taken back</b>") && page.contains("by r-0") && page.contains("<del>1</del>"), "{page}");

    let affected = host.admin.get("/v1/experiments/e/affected").json();
    let unit = &affected["units"][0];
    assert_eq!((&unit["outcome_count"], unit["outcomes"].as_array().map(Vec::len)), (&json!(1), Some(3)), "{affected}");
    let outcomes = unit["outcomes"].as_array().expect("rows");
    let taken: Vec<&Value> =
        outcomes.iter().filter(|row| row["name"] == "cured").map(|row| &row["taken_back_by"]).collect();
    assert!(taken.contains(&&json!("r-0")) && taken.contains(&&json!("r-early")), "{affected}");
    let admin = format!("http://{}", host.admin.address);
    let text = run(["experiment", "affected", "e", "--admin", &admin]).stdout;
    assert!(text.contains("cured=1.0(taken back by r-0)") && text.contains("paid=3.0"), "{text}");
    assert!(!text.contains("paid=3.0("), "{text}");
}

#[test]
fn nothing_takes_back_a_reversal() {
    let deployment = deployment(RUNNING, false);
    let host = Host::start(&deployment).ready();
    // Who sends everything twice is not refused what was taken.
    let ahead = json!([{ "id": "rr-ahead", "reverses": "r-1" }, { "id": "r-1", "reverses": "o-1" }]);
    assert_eq!(post(&host, ahead.clone())["stored"], 2);
    assert_eq!(post(&host, ahead)["duplicates"], 2);
    let refused = post(&host, json!([{ "id": "rr-1", "reverses": "r-1" }, { "id": "self", "reverses": "self" }]));
    assert_eq!(refused["stored"], 0, "{refused}");
    for row in 0..2 {
        let why = refused["refused"][row]["why"].as_str().unwrap_or_default();
        assert!(why.contains("names a reversal") && why.contains("the id of an outcome"), "{refused}");
    }
    // The id is free for what it is meant for.
    assert_eq!(post(&host, json!([{ "id": "self", "reverses": "o-1" }]))["stored"], 1);
}
