//! Features: what a decision reads, what stands in for what is missing or too old, and how
//! rows get in while the host runs.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::tables::{Column, parquet};
use crate::support::wat::{PRELUDE, decide, guest};
use crate::support::{Cli, Deployment, Host, collections, run};

/// The time `ago`, as requests write it.
fn time(ago: Duration) -> String {
    (jiff::Timestamp::now() - ago).to_string()
}

const HOUR: Duration = Duration::from_secs(3600);

fn push(host: &Host, view: &str, entity: &str, ago: Duration, values: Value) -> Value {
    let rows = json!({ "rows": [{ "entity": entity, "event_time": time(ago), "values": values }] });
    let answer = host.public.post(&format!("/v1/features/{view}"), &rows);
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()
}

/// A request about a loan that is three weeks late.
fn late(borrower: &str, loan: &str) -> Value {
    json!({
        "decision_point": "collections-outreach",
        "entities": { "borrower": borrower, "loan": loan },
        "context": { "days_past_due": 20 },
    })
}

fn degraded(decision: &Value) -> Vec<&str> {
    decision["degraded"].as_array().expect("a list").iter().filter_map(Value::as_str).collect()
}

#[test]
fn a_value_older_than_its_views_ttl_gives_way_to_the_default_and_the_answer_says_so() {
    let deployment = collections();
    // Whom to leave alone is not known of a stale row, and so nobody would decide about it.
    let config = deployment.read("serin.toml");
    deployment.write("serin.toml", config.lines().filter(|l| !l.starts_with("exclude")).collect::<Vec<_>>().join("\n"));
    let host = Host::start(&deployment).ready();
    let hardship = json!({ "hardship_flag": true, "promises_broken": 2, "contacts_7d": 0 });
    push(&host, "servicing", "l-fresh", 23 * HOUR, hardship.clone());
    push(&host, "servicing", "l-stale", 25 * HOUR, hardship);

    let fresh = host.decide(&late("b-1", "l-fresh"));
    assert_eq!((&fresh["action"], &fresh["parameters"]), (&json!("hardship_offer"), &json!({ "months": 6 })));
    assert_eq!(degraded(&fresh), Vec::<&str>::new());

    let stale = host.decide(&late("b-1", "l-stale"));
    assert_eq!(stale["action"], "sms_reminder", "as if nothing were known: {stale}");
    for feature in ["hardship_flag", "promises_broken", "contacts_7d"] {
        assert!(degraded(&stale).contains(&format!("feature:servicing.{feature}:stale").as_str()), "{stale}");
    }
    // What was read is kept as it was, so that the record explains the answer.
    let row = &host.record(&stale)["features"]["servicing"];
    assert_eq!((&row["status"], &row["values"]["hardship_flag"]), (&json!("stale"), &json!(true)));
    assert!(row["event_time_ms"].is_u64());
}

/// A strategy that answers the same to everything, and declares one feature of each kind.
fn declares_all() -> Deployment {
    let deployment = Deployment::new(
        r#"
[limits]
wall_ms = 2000

[features.profile]
entity = "borrower"
columns = { needed = "number", replaced = "integer", passed = "text", young = "boolean" }

[decision_points.small]
strategy = "small@1.0.0"
entities = ["borrower"]
actions = ["go", "none"]
deadline = "5s"
fallback = { action = "none" }
"#,
    );
    let manifest = r#"
name = "small"
version = "1.0.0"
decision_point = "small"

[actions]
go = { parameters = { n = "integer" } }

[[features]]
view = "profile"
name = "needed"
type = "number"
on_missing = "error"

[[features]]
view = "profile"
name = "replaced"
type = "integer"
on_missing = { default = 7 }

[[features]]
view = "profile"
name = "passed"
type = "text"
on_missing = "pass"

[[features]]
view = "profile"
name = "young"
type = "boolean"
max_age = "1h"
"#;
    let artifact = guest(manifest, &format!("{PRELUDE} {}", decide("i32.const 1024")));
    deployment.write("plugins/small-1.0.0.wasm", artifact);
    deployment
}

#[test]
fn each_way_to_do_without_a_feature_is_taken_and_recorded() {
    let deployment = declares_all();
    let host = Host::start(&deployment).ready();
    let ask = |borrower: &str| {
        let decision =
            host.decide(&json!({ "decision_point": "small", "entities": { "borrower": borrower }, "context": {} }));
        let record = host.record(&decision);
        (decision, record["attempts"][0].clone())
    };
    let failed = json!({ "failure": { "kind": "feature_missing", "detail": "profile.needed is missing" } });

    let (decision, attempt) = ask("b-unknown");
    assert_eq!((&decision["served_by"], &attempt["outcome"]), (&json!("fallback_action"), &failed));
    assert_eq!(degraded(&decision), ["strategy:small@1.0.0:feature_missing"]);

    push(&host, "profile", "b-null", HOUR / 2, json!({ "needed": null, "replaced": 1 }));
    assert_eq!(ask("b-null").1["outcome"], failed, "a null is as good as nothing");

    push(&host, "profile", "b-some", HOUR / 2, json!({ "needed": 0.5 }));
    let (decision, attempt) = ask("b-some");
    assert_eq!((&decision["served_by"], &decision["action"]), (&json!("strategy"), &json!("go")));
    assert_eq!(degraded(&decision), ["feature:profile.replaced:defaulted"]);
    assert_eq!(attempt["defaulted"], json!([1]), "positions in the manifest");

    // The view has no ttl, and the one feature that declares a greatest age is too old.
    push(&host, "profile", "b-aged", 2 * HOUR, json!({ "needed": 1, "replaced": 2, "passed": "x", "young": true }));
    let (decision, attempt) = ask("b-aged");
    assert_eq!((&decision["served_by"], &attempt["defaulted"]), (&json!("strategy"), &Value::Null));
    assert_eq!(degraded(&decision), ["feature:profile.young:stale"]);
    assert_eq!(host.metric("serin_degraded_total{reason=\"feature:profile.young:stale\"}"), 1.0);
    assert_eq!(host.metric("serin_degraded_total{reason=\"strategy:small@1.0.0:feature_missing\"}"), 2.0);
}

#[test]
fn the_views_are_listed_with_how_fresh_they_are() {
    let deployment = collections();
    let host = Host::start(&deployment).ready();
    let listed = || {
        let mut views = host.admin.get("/v1/features").json()["views"].clone();
        for view in views.as_array_mut().expect("a list") {
            let keys = ["name", "entity", "ttl_ms", "newest", "is_stale"];
            view.as_object_mut().expect("a view").retain(|key, _| keys.contains(&key.as_str()));
        }
        views
    };
    let profile =
        json!({ "name": "borrower-profile", "entity": "borrower", "ttl_ms": null, "newest": null, "is_stale": false });
    let servicing = |newest: &Value, is_stale: bool| json!({ "name": "servicing", "entity": "loan", "ttl_ms": 86_400_000, "newest": newest, "is_stale": is_stale });
    assert_eq!(listed(), json!([profile, servicing(&Value::Null, false)]), "no rows are not old ones");
    let status = || run(["status", "--admin", &host.admin.address]).stdout;
    assert!(status().contains("no rows"), "{}", status());

    let event_time =
        |entity: &str| host.admin.get(&format!("/v1/features/servicing/{entity}")).json()["event_time"].clone();
    push(&host, "servicing", "l-old", 25 * HOUR, json!({ "contacts_7d": 1 }));
    assert_eq!(listed(), json!([profile, servicing(&event_time("l-old"), true)]));
    assert!(status().contains("older than its ttl"), "{}", status());
    push(&host, "servicing", "l-new", HOUR, json!({ "contacts_7d": 1 }));
    push(&host, "servicing", "l-between", 2 * HOUR, json!({ "contacts_7d": 1 }));
    assert_eq!(listed(), json!([profile, servicing(&event_time("l-new"), false)]), "the newest row counts");
}

#[test]
fn an_older_event_time_never_overwrites_a_newer_one() {
    let deployment = collections();
    let host = Host::start(&deployment).ready();
    let shown = || host.admin.get("/v1/features/servicing/l-1").json();
    assert_eq!(push(&host, "servicing", "l-1", HOUR, json!({ "contacts_7d": 2 })), json!({ "written": 1, "older": 0 }));
    let written = shown();
    assert_eq!(
        push(&host, "servicing", "l-1", 2 * HOUR, json!({ "contacts_7d": 9 })),
        json!({ "written": 0, "older": 1 })
    );
    assert_eq!(shown()["event_time"], written["event_time"]);
    assert_eq!(shown()["values"]["contacts_7d"]["value"], 2);
    // Of the same time: the later one corrects the earlier. What it does not name stays as it is.
    let again = json!({ "rows": [
        { "entity": "l-1", "event_time": written["event_time"], "values": { "balance_due": 10 } },
        { "entity": "l-2", "event_time": written["event_time"], "values": { "balance_due": 20 } },
    ] });
    assert_eq!(host.public.post("/v1/features/servicing", &again).json(), json!({ "written": 2, "older": 0 }));
    assert_eq!(shown()["values"]["balance_due"]["value"], 10.0);
    assert_eq!(shown()["values"]["contacts_7d"]["value"], 2);
    // A file is held to the same rule.
    let csv = format!("entity,event_time,contacts_7d\nl-1,{},5\nl-2,{},6\n", time(2 * HOUR), time(Duration::ZERO));
    let loaded = load(&deployment, "servicing", "rows.csv", csv);
    assert_eq!(loaded, "servicing: 1 row written, 1 older than what is there\n");
    assert_eq!(shown()["values"]["contacts_7d"]["value"], 2);
}

/// Who served, and whether that was in doubt of a constraint.
fn served(host: &Host, loan: &str) -> (Value, Value) {
    let decision = host.decide(&late("b-1", loan));
    (decision["served_by"].clone(), decision["degraded"].clone())
}

#[test]
fn a_push_of_one_column_leaves_what_a_constraint_reads_of_the_others() {
    let deployment = collections();
    let host = Host::start(&deployment).ready();
    let constraint = || (json!("constraint"), json!([]));
    push(&host, "servicing", "l-900", HOUR, json!({ "cease_contact": true, "contacts_7d": 1, "balance_due": 900.0 }));
    assert_eq!(served(&host, "l-900"), constraint());
    push(&host, "servicing", "l-900", Duration::ZERO, json!({ "balance_due": 850.0 }));
    assert_eq!(served(&host, "l-900"), constraint(), "nobody said that contact may begin again");
    let shown = host.admin.get("/v1/features/servicing/l-900").json();
    assert_eq!(
        (&shown["values"]["balance_due"]["value"], &shown["values"]["contacts_7d"]["value"]),
        (&json!(850.0), &json!(1))
    );
    assert!(shown["values"]["contacts_7d"]["event_time"].as_str() < shown["event_time"].as_str(), "{shown}");
    let never_sent = json!({ "value": null, "status": "missing", "event_time": null });
    assert_eq!(shown["values"]["promises_broken"], never_sent, "{shown}");
    // Each column has an age of its own: between the two pushes, one is written and one is older.
    let between = push(&host, "servicing", "l-900", HOUR / 2, json!({ "cease_contact": false, "balance_due": 1.0 }));
    assert_eq!(between, json!({ "written": 1, "older": 0 }));
    assert_ne!(served(&host, "l-900").0, "constraint");
    assert_eq!(host.admin.get("/v1/features/servicing/l-900").json()["values"]["balance_due"]["value"], 850.0);
    // Null is a statement, too: it is not known any more, which the demo's condition asks about with has().
    push(&host, "servicing", "l-900", HOUR / 4, json!({ "cease_contact": null }));
    assert_eq!(host.admin.get("/v1/features/servicing/l-900").json()["values"]["cease_contact"]["status"], "missing");
    assert_ne!(served(&host, "l-900").0, "constraint");
}

#[test]
fn a_column_that_is_too_old_protects_though_the_rest_of_its_row_is_new_and_the_record_replays() {
    let deployment = collections();
    let host = Host::start(&deployment).ready();
    push(&host, "servicing", "l-1", 25 * HOUR, json!({ "cease_contact": false, "contacts_7d": 9 }));
    push(&host, "servicing", "l-1", HOUR, json!({ "balance_due": 10.0 }));
    let doubt = (json!("constraint"), json!(["exclude:missing: features.servicing.cease_contact"]));
    assert_eq!(served(&host, "l-1"), doubt, "has() does not help: whether it still holds is not known");
    push(&host, "servicing", "l-1", HOUR, json!({ "cease_contact": false }));
    let decision = host.decide(&late("b-1", "l-1"));
    assert_ne!(decision["served_by"], "constraint");
    assert!(degraded(&decision).contains(&"feature:servicing.contacts_7d:stale"), "{decision}");
    let row = host.record(&decision)["features"]["servicing"].clone();
    assert_eq!((&row["status"], &row["stale_columns"]), (&json!("present"), &json!(["contacts_7d"])));
    assert!(row["column_times_ms"]["contacts_7d"].as_u64() < row["event_time_ms"].as_u64(), "{row}");
    let id = decision["decision_id"].as_str().expect("an id");
    let replayed = host.admin.post(&format!("/v1/decisions/{id}/replay"), &json!({}));
    assert_eq!(replayed.json()["identical"], true, "{}", replayed.text);
}

#[test]
fn how_far_an_event_time_may_lie_ahead_is_configured_for_every_way_in() {
    let deployment = collections();
    let ahead = |seconds: i64| jiff::Timestamp::now() + jiff::SignedDuration::from_secs(seconds);
    let row =
        |seconds| json!({ "rows": [{ "entity": "l-1", "event_time": ahead(seconds).to_string(), "values": {} }] });
    let csv = |seconds| format!("entity,event_time,contacts_7d\nl-1,{},1\n", ahead(seconds));
    let table = |seconds| {
        parquet(&[
            ("entity", Column::Text(vec![Some("l-1")])),
            ("event_time", Column::Time(vec![Some(ahead(seconds).as_millisecond())])),
        ])
    };
    let check = |deployment: &Deployment, host: &Host, near: i64, far: i64, tolerance: &str| {
        assert_eq!(host.public.post("/v1/features/servicing", &row(near)).status, 200);
        let refused = host.public.post("/v1/features/servicing", &row(far));
        assert_eq!(refused.status, 422);
        let needle = format!("lies more than {tolerance} in the future; valid: up to server.future_tolerance");
        assert!(refused.text.contains(&needle), "{}", refused.text);
        load(deployment, "servicing", "near.csv", csv(near));
        load(deployment, "servicing", "near.parquet", table(near));
        for (file, bytes) in [("far.csv", csv(far).into_bytes()), ("far.parquet", table(far))] {
            let loaded = try_load(deployment, "servicing", file, bytes, &[]);
            assert!(loaded.code == Some(1) && loaded.stderr.contains(&needle), "{}", loaded.stderr);
        }
    };
    let host = Host::start(&deployment).ready();
    check(&deployment, &host, 200, 400, "5m");
    deployment.edit("serin.toml", "[server]\n", "[server]\nfuture_tolerance = \"30m\"\n");
    crate::support::eventually("the other tolerance is in force", Duration::from_secs(20), || {
        (host.public.post("/v1/features/servicing", &row(400)).status == 200).then_some(())
    });
    check(&deployment, &host, 1_700, 1_900, "30m");
}

/// `serin features load` of a file of these bytes.
pub fn try_load(deployment: &Deployment, view: &str, file: &str, bytes: impl AsRef<[u8]>, more: &[&str]) -> Cli {
    deployment.write(file, bytes);
    let (config, file) = (deployment.config(), deployment.path().join(file));
    let text = |path: &std::path::Path| path.to_str().expect("a path").to_owned();
    run(["features", "load", view, &text(&file), "--config", &text(&config)].iter().chain(more))
}

fn load(deployment: &Deployment, view: &str, file: &str, bytes: impl AsRef<[u8]>) -> String {
    let loaded = try_load(deployment, view, file, bytes, &[]);
    assert_eq!(loaded.code, Some(0), "{}", loaded.stderr);
    loaded.stdout
}

#[test]
fn files_load_while_the_host_runs_and_the_next_decision_sees_them() {
    let deployment = collections();
    let host = Host::start(&deployment).ready();
    let seen = |loan: &str| host.record(&host.decide(&late("b-1", loan)))["features"]["servicing"].clone();
    assert_eq!(seen("l-csv")["status"], "missing");

    // Quoted, and with cells that are not known.
    let csv = format!(
        "event_time,entity,hardship_flag,balance_due,contacts_7d\n\"{0}\",\"l-csv\",true,1250.50,\n{0},17,,,3\n",
        time(HOUR)
    );
    assert_eq!(
        load(&deployment, "servicing", "rows.csv", csv),
        "servicing: 2 rows written, 0 older than what is there\n"
    );
    let row = seen("l-csv");
    assert_eq!(row["status"], "present");
    assert_eq!((&row["values"]["hardship_flag"], &row["values"]["balance_due"]), (&json!(true), &json!(1250.5)));
    assert_eq!(row["values"]["contacts_7d"], Value::Null);
    assert_eq!(host.decide(&late("b-1", "l-csv"))["action"], "hardship_offer");
    assert_eq!(seen("17")["values"]["contacts_7d"], 3);

    let now = jiff::Timestamp::now().as_millisecond();
    let file = parquet(&[
        ("entity", Column::Text(vec![Some("l-parquet"), Some("l-csv"), Some("l-nan")])),
        ("event_time", Column::Time(vec![Some(now - 1000); 3])),
        ("contacts_7d", Column::Integer(vec![Some(7), Some(1), None])),
        ("balance_due", Column::Number(vec![Some(10.0), None, Some(f64::NAN)])),
        ("hardship_flag", Column::Boolean(vec![Some(false), Some(false), None])),
    ]);
    assert_eq!(
        load(&deployment, "servicing", "rows.parquet", file),
        "servicing: 3 rows written, 0 older than what is there\n"
    );
    let row = seen("l-parquet");
    assert_eq!((&row["event_time_ms"], &row["values"]["contacts_7d"]), (&json!(now - 1000), &json!(7)));
    assert_eq!(host.decide(&late("b-1", "l-parquet"))["reasons"][0]["code"], "CONTACT_CAP");
    assert_eq!(seen("l-csv")["values"]["hardship_flag"], false, "the newer row is in force");
    // Data frames write NaN where nothing is known.
    assert_eq!(seen("l-nan")["values"]["balance_due"], Value::Null);

    // A key may be a number there, too.
    let numbered = parquet(&[
        ("entity", Column::Integer(vec![Some(42)])),
        ("event_time", Column::Time(vec![Some(now)])),
        ("contacts_7d", Column::Integer(vec![Some(1)])),
    ]);
    load(&deployment, "servicing", "numbered.parquet", numbered);
    assert_eq!(seen("42")["values"]["contacts_7d"], 1);
}

#[test]
fn every_arm_reads_the_same_union_and_sees_its_own_part() {
    let deployment = collections();
    let host = Host::start(&deployment).ready();
    push(&host, "borrower-profile", "b-1", HOUR, json!({ "annual_income": 50_000, "state": "CA" }));
    push(&host, "servicing", "l-1", HOUR, json!({ "contacts_7d": 1, "cease_contact": false }));
    let of_arm = |arm: &str| {
        let mut request = late("b-1", "l-1");
        request["force"] = json!({ "experiment": "outreach-score", "arm": arm });
        let answer = host.admin.post("/v1/decisions", &request);
        assert_eq!(answer.json()["experiment"]["arm"], arm, "{}", answer.text);
        host.record(&answer.json())
    };
    let (control, score) = (of_arm("control"), of_arm("score"));
    assert_eq!(control["features"], score["features"], "what is read is not shaped by the arm");
    let read = |view: &str| -> Vec<String> {
        control["features"][view]["values"].as_object().expect("a row").keys().cloned().collect()
    };
    // The rules know nothing of the profile; the score's arm does. `exclude` alone needs the last.
    assert!(read("borrower-profile").contains(&"installment_balance".to_owned()));
    assert!(read("servicing").contains(&"cease_contact".to_owned()));
    assert!(!read("borrower-profile").contains(&"state".to_owned()), "nobody declares it");
    assert_eq!((&control["attempts"][0]["scores"], score["attempts"][0]["scores"].is_array()), (&Value::Null, true));
}

#[test]
fn eligibility_over_what_is_missing_means_not_enrolled_and_is_counted() {
    let deployment = collections();
    deployment.edit(
        "experiments/outreach-score.toml",
        "eligible = \"context.days_past_due >= 5\"",
        "eligible = 'features[\"borrower-profile\"].annual_income > 10000.0'",
    );
    let host = Host::start(&deployment).ready();
    let routing = |borrower: &str| host.record(&host.decide(&late(borrower, "l-1")))["routing"].clone();
    // Who is in the slot depends on the id alone.
    let borrower = (0..100)
        .map(|i| format!("b-{i}"))
        .find(|borrower| routing(borrower)["not_enrolled"].is_object())
        .expect("half of all are in the slot");
    let why = "missing: features[\"borrower-profile\"].annual_income";
    assert_eq!(routing(&borrower)["not_enrolled"], json!({ "experiment": "outreach-score", "why": why }));
    let counted =
        host.metric(&format!("serin_not_enrolled_total{{reason=\"outreach-score: {}\"}}", why.replace('"', "\\\"")));
    assert!(counted >= 2.0, "{counted}");

    push(&host, "borrower-profile", &borrower, HOUR, json!({ "annual_income": 9_000 }));
    assert_eq!(routing(&borrower)["not_enrolled"]["why"], "not_eligible");
    push(&host, "borrower-profile", &borrower, Duration::ZERO, json!({ "annual_income": 90_000 }));
    assert_eq!(routing(&borrower)["assignment"]["experiment"], "outreach-score");
}

#[test]
fn a_constraint_asks_with_has_or_protects_in_doubt() {
    let deployment = collections();
    let host = Host::start(&deployment).ready();
    push(&host, "servicing", "l-left-alone", HOUR, json!({ "cease_contact": true }));
    push(&host, "servicing", "l-other", HOUR, json!({ "cease_contact": false }));
    push(&host, "servicing", "l-null", HOUR, json!({ "cease_contact": null }));
    let served = |loan: &str| {
        let decision = host.decide(&late("b-1", loan));
        (
            decision["served_by"].as_str().expect("who").to_owned(),
            degraded(&decision).iter().any(|d| d.starts_with("exclude:")),
        )
    };
    let constraint = || "constraint".to_owned();
    assert_eq!(served("l-left-alone"), (constraint(), false));
    for loan in ["l-other", "l-null", "l-unknown"] {
        assert!(served(loan).0 != "constraint", "{loan} has no known wish");
    }
    // Without has(), what is not known protects. Another constraint waits for the experiment's end.
    let why = json!({ "by": "ann", "reason": "another constraint" });
    assert_eq!(host.admin.post("/v1/experiments/outreach-score/abort", &why).status, 200);
    deployment.edit("serin.toml", "has(features.servicing.cease_contact) && ", "");
    crate::support::eventually("the other condition is in force", Duration::from_secs(20), || {
        (served("l-unknown") == (constraint(), true)).then_some(())
    });
    assert_eq!(served("l-null"), (constraint(), true));
    assert_eq!(served("l-left-alone"), (constraint(), false));
    assert!(served("l-other").0 != "constraint");
}
