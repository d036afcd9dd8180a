//! A decision as somebody sees it who may read and not audit: how it came about, and nothing of whom it is about.

use serde_json::{Value, json};

use super::{BOUND, Browser, admit, watched};
use crate::support::{Client, Host, eventually};

/// Everything in a record that is a person's, or follows from it, as it would be written.
fn personal(record: &Value) -> Vec<String> {
    let mut all = Vec::new();
    let mut keep = |value: &Value| match value {
        Value::Null | Value::Bool(_) => {}
        Value::String(text) => all.push(text.clone()),
        // A short number is part of many others.
        other => all.extend(Some(other.to_string()).filter(|text| text.len() > 4)),
    };
    for key in ["entities", "context"] {
        record[key].as_object().expect("a map").values().for_each(&mut keep);
    }
    for row in record["features"].as_object().expect("views").values() {
        row["values"].as_object().expect("columns").values().for_each(&mut keep);
        keep(&row["entity"]);
    }
    keep(&record["routing"]["place"]);
    keep(&record["entropy"]);
    for attempt in record["attempts"].as_array().expect("attempts") {
        keep(&attempt["fuel"]);
        for score in attempt["scores"].as_array().into_iter().flatten() {
            keep(&score["value"]);
            score["inputs"].as_object().expect("inputs").values().for_each(&mut keep);
        }
        for line in attempt["logs"].as_array().into_iter().flatten() {
            keep(&line["message"]);
        }
    }
    all
}

/// A decision in the score's arm about somebody of whom all is known, with an outcome.
fn decided(app: &Client, admin: &Client) -> (String, Value) {
    let at = jiff::Timestamp::now().to_string();
    let rows = |entity: &dyn Fn(u32) -> String, values: &Value| {
        let row = |i: u32| json!({ "entity": entity(i), "event_time": at, "values": values });
        json!({ "rows": (0..40).map(row).collect::<Vec<_>>() })
    };
    let loan = json!({ "contacts_7d": 2, "balance_due": 98_765.25, "hardship_flag": false, "promises_broken": 1 });
    let pushed = app.post("/v1/features/servicing", &rows(&|i| format!("loan-of-somebody-{i}"), &loan));
    assert_eq!(pushed.status, 200, "{}", pushed.text);
    let profile = json!({
        "annual_income": 54_321.5, "funded_amount": 12_345.75, "interest_rate": 11.99, "term_months": 60,
        "sub_grade": 11, "employment_years": 10, "delinquencies_2y": 0, "inquiries_6m": 0, "revolving_utilization": 82.25,
        "all_utilization": 77, "open_installment_12m": 1, "inquiries_12m": 0, "installment_balance": 49_187.5,
    });
    let pushed = app.post("/v1/features/borrower-profile", &rows(&|i| format!("somebody-{i}"), &profile));
    assert_eq!(pushed.status, 200, "{}", pushed.text);
    let decision = (0..40).find_map(|i| {
        let request = json!({
            "decision_point": "collections-outreach",
            "entities": { "borrower": format!("somebody-{i}"), "loan": format!("loan-of-somebody-{i}") },
            "context": { "days_past_due": 12, "channel": "by-carrier-pigeon" },
        });
        let answer = app.post("/v1/decisions", &request).json();
        (answer["experiment"]["arm"] == "score").then_some(answer)
    });
    let id = decision.expect("somebody is in the arm")["decision_id"].as_str().expect("an id").to_owned();
    let outcome =
        json!({ "outcomes": [{ "id": "outcome-of-somebody", "name": "cured", "value": 777_123, "decision_id": id }] });
    assert_eq!(app.post("/v1/outcomes", &outcome).status, 200);
    let reversal = json!({ "outcomes": [{ "id": "reversal-of-somebody", "reverses": "outcome-of-somebody" }] });
    assert_eq!(app.post("/v1/outcomes", &reversal).json()["stored"], 1);
    let record = admin.get(&format!("/v1/decisions/{id}")).json();
    (id, record)
}

fn audited(admin: &Client, who: &str) -> Vec<String> {
    let answer = admin.get(&format!("/v1/audit?who={who}")).json();
    let entries = answer["entries"].as_array().expect("entries");
    entries.iter().map(|entry| entry["what"].as_str().expect("what").to_owned()).collect()
}

#[test]
fn who_may_read_and_not_audit_sees_how_a_decision_came_about_and_nothing_of_whom() {
    let deployment = watched();
    let app = admit(&deployment, "app", "decide,ingest", &[]);
    let support = admit(&deployment, "sam", "read", &[]);
    let auditor = admit(&deployment, "audra", "read,audit", &[]);
    let host = Host::start(&deployment).ready();
    let [app, reading, auditing] =
        [(&host.public, &app), (&host.admin, &support), (&host.admin, &auditor)].map(|(at, token)| at.bearing(token));
    let (id, record) = decided(&app, &auditing);
    let mut browser = Browser::of(&host);
    assert_eq!(browser.sign_in(&support).status, 303);

    let page = browser.page(&format!("/decisions/{id}"));
    let json = reading.get(&format!("/v1/decisions/{id}/summary"));
    assert_eq!(json.status, 200, "{}", json.text);
    let secrets = personal(&record);
    for secret in ["somebody-", "by-carrier-pigeon", "98765.25", "54321.5", "49187.5"] {
        assert!(secrets.iter().any(|known| known.contains(secret)), "{secret} is in {secrets:?}");
    }
    for secret in secrets.iter().map(String::as_str).chain(["-of-somebody", "777123", "777,123"]) {
        assert!(!page.contains(secret), "{secret}: {page}");
        assert!(!json.text.contains(secret), "{secret}: {}", json.text);
    }
    assert!(record["attempts"][0]["scores"][0]["value"].is_f64(), "there is a score to hide: {record}");
    let reason = record["answer"]["reasons"][0]["text"].as_str().expect("a reason");
    let action = record["answer"]["action"].as_str().expect("an action");
    for said in [
        "masked",
        "<b>audit</b>",
        "<b>audra</b>",
        &format!("{action} for borrower \u{2026}"),
        reason,
        "balance_due",
        "present",
        "missing",
        "arm <b>score</b>",
        "default-risk@1.0.0",
        "computed",
        "cured",
        "taken back",
        "takes another back",
        "this decision",
    ] {
        assert!(page.contains(said), "{said}: {page}");
    }
    let json = json.json();
    assert_eq!(
        (&json["answer"]["action"], &json["answer"]["reasons"][0]["text"]),
        (&record["answer"]["action"], &json!(reason))
    );
    assert_eq!(json["routing"]["assignment"]["arm"], "score", "{json}");
    let columns = json["features"].as_array().expect("features");
    let balance = columns.iter().find(|column| column["name"] == "balance_due").expect("the column");
    assert!(balance["status"] == "present" && balance["age_ms"].as_u64().is_some_and(|age| age < 600_000), "{balance}");
    assert_eq!((&json["outcomes"][0]["name"], json["outcomes"][0].get("value")), (&json!("cured"), None));
    let [outcome, reversal] = [&json["outcomes"][0], &json["outcomes"][1]];
    assert_eq!((&outcome["takes_back"], &outcome["is_taken_back"]), (&json!(false), &json!(true)), "{outcome}");
    assert_eq!((&reversal["takes_back"], &reversal["at"]), (&json!(true), &outcome["taken_back_at"]), "{reversal}");

    // It is no read of a record. What is one is refused as before.
    assert_eq!(audited(&auditing, "sam"), ["access.sign_in"]);
    for path in ["", "/outcomes"] {
        assert_eq!(reading.get(&format!("/v1/decisions/{id}{path}")).status, 403, "{path}");
    }
    let key = super::hidden(&browser.page("/"), "form_key").expect("a key");
    assert_eq!(browser.send(&format!("/decisions/{id}/replay"), &[("form_key", &key)]).status, 403);
    let mut full = Browser::of(&host);
    assert_eq!(full.sign_in(&auditor).status, 303);
    assert!(full.page(&format!("/decisions/{id}")).contains("98765.25"));
    assert!(audited(&auditing, "audra").contains(&"record.read".to_owned()));
}

#[test]
fn a_masked_decision_is_opened_by_its_id_and_not_found_by_its_unit() {
    let deployment = watched();
    let reader = admit(&deployment, "reader", "read", &[]);
    let elsewhere = admit(&deployment, "far", "read", &["--point", "other"]);
    let operator = admit(&deployment, "olga", "operate", &[]);
    let auditor = admit(&deployment, "audra", "audit,decide", &[]);
    deployment.write("serin.toml", deployment.read("serin.toml") + super::sessions::OTHER_POINT);
    let host = Host::start(&deployment);
    let app = host.public.bearing(&auditor);
    let id = eventually("it decides", BOUND, || {
        app.post("/v1/decisions", &super::outreach("b-1")).json()["decision_id"].as_str().map(str::to_owned)
    });
    let [mut read, mut far, mut operate] = [(); 3].map(|()| Browser::of(&host));
    for (browser, token) in [(&mut read, &reader), (&mut far, &elsewhere), (&mut operate, &operator)] {
        assert_eq!(browser.sign_in(token).status, 303);
    }
    let form = read.page("/decisions");
    assert!(form.contains("name=\"id\"") && !form.contains("name=\"unit\""), "{form}");
    assert!(form.contains("<b>audra</b>"), "it says who searches: {form}");
    let found = read.get(&format!("/decisions?id={id}"));
    assert_eq!((found.status, &*found.headers["location"]), (303, &*format!("/decisions/{id}")));
    assert_eq!(read.get(&format!("/decisions/{id}")).status, 200);
    for query in ["unit=b-1", "point=collections-outreach", "since=1h"] {
        let refused = read.get(&format!("/decisions?{query}"));
        assert!(refused.status == 403 && refused.text.contains("role 'audit'"), "{query}: {}", refused.text);
    }
    assert_eq!(read.get("/decisions/nowhere").status, 404);
    // Roles are for decision points here, too, and another role opens nothing.
    assert_eq!(far.get(&format!("/decisions/{id}")).status, 403);
    let limited = host.admin.bearing(&elsewhere).get(&format!("/v1/decisions/{id}/summary"));
    assert_eq!(limited.status, 403, "{}", limited.text);
    let refused = operate.get(&format!("/decisions/{id}"));
    assert!(refused.status == 403 && refused.text.contains("role 'read'"), "{}", refused.text);
    let whole = host.admin.bearing(&auditor);
    assert_eq!(whole.get(&format!("/v1/decisions/{id}/summary")).status, 403, "no role contains another");
    assert_eq!(whole.get(&format!("/v1/decisions/{id}")).status, 200);
}
