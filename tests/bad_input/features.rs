//! Feature rows that do not fit their view: pushed, in CSV and in Parquet. One bad row, and
//! nothing of the request or file is written.

use serde_json::{Value, json};

use crate::support::tables::{Column, parquet};
use crate::support::{Cli, Deployment, Host, collections, run};

const VIEW: &str = "/v1/features/servicing";

fn row(entity: &str, values: Value) -> Value {
    json!({ "entity": entity, "event_time": "2026-01-01T00:00:00Z", "values": values })
}

#[test]
fn a_push_with_a_bad_row_is_refused_whole_and_the_row_is_named() {
    let deployment = collections();
    let host = Host::start(&deployment).ready();
    let good = row("l-good", json!({ "contacts_7d": 1 }));
    let time = |time: &str| json!({ "entity": "l-1", "event_time": time, "values": {} });
    for (bad, needles) in [
        (row("l-1", json!({ "contacts_7d": "three" })), ["column 'contacts_7d' is text", "not integer"]),
        (row("l-1", json!({ "contacts_7d": 1.5 })), ["column 'contacts_7d' is number", "not integer"]),
        (row("l-1", json!({ "hardship_flag": 1 })), ["column 'hardship_flag' is integer", "not boolean"]),
        (row("l-1", json!({ "balance_due": true })), ["column 'balance_due' is boolean", "not number"]),
        (
            row("l-1", json!({ "balance": 1.0 })),
            ["column 'balance' is not of view 'servicing'", "columns: contacts_7d"],
        ),
        (row("", json!({})), ["entity", "1 to 256 bytes"]),
        (row(&"x".repeat(257), json!({})), ["entity", "1 to 256 bytes"]),
        (row("l-1 ", json!({})), ["entity: \"l-1 \"", "begins or ends with a blank"]),
        (row("l\u{1f}1", json!({})), ["entity: \"l\\u{1f}1\"", "has a control character"]),
        (time("yesterday"), ["event_time: 'yesterday'", "valid: RFC 3339"]),
        (time("1969-12-31T23:59:59Z"), ["event_time", "before 1970"]),
        (time("2999-01-01T00:00:00Z"), ["event_time", "in the future"]),
    ] {
        let answer = host.public.post(VIEW, &json!({ "rows": [good, bad] }));
        let problem = answer.json();
        assert_eq!((answer.status, &problem["key"]), (422, &json!("rows[1]")), "{}", answer.text);
        let detail = problem["detail"].as_str().expect("a detail");
        assert!(needles.iter().all(|needle| detail.contains(needle)), "{detail}");
        assert!(detail.contains("no row was written"), "{detail}");
        assert_eq!(host.admin.get(&format!("{VIEW}/l-good")).status, 404, "nothing of the request is written");
    }
    for (bad, needle) in [
        (row("l-1", json!({ "contacts_7d": [1] })), "invalid type: sequence"),
        (row("l-1", json!({ "contacts_7d": { "n": 1 } })), "invalid type: map"),
        (json!({ "entity": "l-1", "values": {} }), "missing field `event_time`"),
        (json!({ "entity": 1, "event_time": "2026-01-01T00:00:00Z", "values": {} }), "expected a string"),
    ] {
        let answer = host.public.post(VIEW, &json!({ "rows": [good, bad] }));
        assert_eq!(answer.status, 422, "{}", answer.text);
        let problem = answer.json();
        assert!(problem["key"].as_str().is_some_and(|key| key.starts_with("rows[1]")), "{problem}");
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains(needle)), "{problem}");
    }
    let unknown = host.public.post("/v1/features/servcing", &json!({ "rows": [good] }));
    assert_eq!((unknown.status, &unknown.json()["type"]), (404, &json!("urn:serin:problem:unknown-feature-view")));
    assert!(unknown.text.contains("known: borrower-profile, servicing"), "{}", unknown.text);
    assert_eq!(host.admin.get(&format!("{VIEW}/l-good")).status, 404);
    assert_eq!(host.public.post(VIEW, &json!({ "rows": [good] })).json(), json!({ "written": 1, "older": 0 }));
}

fn load(deployment: &Deployment, view: &str, file: &str, bytes: impl AsRef<[u8]>) -> Cli {
    deployment.write(file, bytes);
    let (config, file) = (deployment.config(), deployment.path().join(file));
    let text = |path: &std::path::Path| path.to_str().expect("a path").to_owned();
    run(["features", "load", view, &text(&file), "--config", &text(&config)])
}

#[track_caller]
fn refused(host: &Host, loaded: &Cli, needles: &[&str]) {
    assert_eq!(loaded.code, Some(1), "{}", loaded.stdout);
    assert!(needles.iter().all(|needle| loaded.stderr.contains(needle)), "{needles:?}: {}", loaded.stderr);
    assert_eq!(host.admin.get(&format!("{VIEW}/l-1")).status, 404, "nothing of the file is loaded");
}

#[test]
fn a_csv_file_with_a_bad_row_loads_nothing_and_the_row_is_numbered() {
    let deployment = collections();
    let host = Host::start(&deployment).ready();
    let head = "entity,event_time,contacts_7d,balance_due,hardship_flag\nl-1,2026-01-01T00:00:00Z,1,10.5,false\n";
    let time = "2026-01-01T00:00:00Z";
    for (bad, needles) in [
        (format!("l-2,{time},three,1,false"), ["row 2", "column 'contacts_7d': 'three' is not integer"]),
        (format!("l-2,{time},1.5,1,false"), ["row 2 (line 3)", "column 'contacts_7d': '1.5' is not integer"]),
        (format!("l-2,{time},1,NaN,false"), ["row 2", "column 'balance_due': 'NaN' is not number"]),
        (format!("l-2,{time},1,inf,false"), ["row 2", "column 'balance_due': 'inf' is not number"]),
        (format!("l-2,{time},1,1e999,false"), ["row 2", "column 'balance_due': '1e999' is not number"]),
        (format!("l-2,{time},99999999999999999999,1,false"), ["row 2", "contacts_7d"]),
        (format!("l-2,{time},1,1,maybe"), ["row 2", "column 'hardship_flag': 'maybe' is not boolean; valid: true, t"]),
        ("l-2,01/02/2026,1,1,false".to_owned(), ["row 2", "event_time: '01/02/2026' is not a time"]),
        (format!(",{time},1,1,false"), ["row 2", "entity"]),
        (format!("l-2,{time},1,1"), ["row 2", "4 fields"]),
        (format!("l-2,{time},1,1,false\nl-3,{time},x,1,false"), ["row 3", "'x' is not integer"]),
    ] {
        refused(&host, &load(&deployment, "servicing", "rows.csv", format!("{head}{bad}\n")), &needles);
    }
    for (file, needles) in [
        ("event_time,contacts_7d\n2026-01-01T00:00:00Z,1\n", ["rows.csv", "no column 'entity'"]),
        ("entity,contacts_7d\nl-1,1\n", ["rows.csv", "no column 'event_time'"]),
        (
            "entity,event_time,contacts\nl-1,2026-01-01T00:00:00Z,1\n",
            ["column 'contacts' is not of view", "valid: entity, event_time, contacts_7d"],
        ),
        (
            "entity,event_time,contacts_7d,contacts_7d\nl-1,2026-01-01T00:00:00Z,1,2\n",
            ["column 'contacts_7d'", "twice"],
        ),
        ("", ["no column 'entity'", "event_time"]),
    ] {
        refused(&host, &load(&deployment, "servicing", "rows.csv", file), &needles);
    }
    refused(
        &host,
        &load(&deployment, "servcing", "rows.csv", head),
        &["'servcing' is not declared", "declared: borrower-profile, servicing"],
    );
    refused(&host, &load(&deployment, "servicing", "rows.txt", head), &["rows.txt", "valid: .csv or .parquet"]);
    let loaded = load(&deployment, "servicing", "rows.csv", head);
    assert_eq!(loaded.code, Some(0), "the rows before the bad ones were good: {}", loaded.stderr);
    assert_eq!(host.admin.get(&format!("{VIEW}/l-1")).status, 200);
}

#[test]
fn a_parquet_file_with_a_bad_row_loads_nothing_and_the_row_is_numbered() {
    let deployment = collections();
    let host = Host::start(&deployment).ready();
    let entities = || ("entity", Column::Text(vec![Some("l-1"), Some("l-2")]));
    let times = || ("event_time", Column::Text(vec![Some("2026-01-01T00:00:00Z"); 2]));
    let good = parquet(&[entities(), times(), ("contacts_7d", Column::Integer(vec![Some(1), Some(2)]))]);
    for (bytes, needles) in [
        (
            parquet(&[entities(), times(), ("contacts_7d", Column::Number(vec![None, Some(1.5)]))]),
            &["row 2", "column 'contacts_7d' is number, not integer"][..],
        ),
        (
            parquet(&[entities(), times(), ("balance_due", Column::Number(vec![Some(1.0), Some(f64::INFINITY)]))]),
            &["row 2", "column 'balance_due'", "not finite"],
        ),
        (
            parquet(&[entities(), times(), ("hardship_flag", Column::Text(vec![None, Some("yes")]))]),
            &["row 2", "column 'hardship_flag' is text, not boolean"],
        ),
        (
            parquet(&[entities(), ("event_time", Column::Text(vec![Some("2026-01-01T00:00:00Z"), None]))]),
            &["row 2", "event_time is null"],
        ),
        (
            parquet(&[entities(), ("event_time", Column::Integer(vec![Some(1), Some(2)]))]),
            &["row 1", "event_time is integer, not text"],
        ),
        (
            parquet(&[times(), ("contacts_7d", Column::Integer(vec![Some(1), Some(2)]))]),
            &["rows.parquet", "no column 'entity'"],
        ),
        (
            parquet(&[entities(), times(), ("contacts", Column::Integer(vec![None, None]))]),
            &["column 'contacts' is not of view"],
        ),
        (good[..good.len() / 2].to_vec(), &["rows.parquet", "not a Parquet file"]),
        (b"entity,event_time\n".to_vec(), &["rows.parquet", "not a Parquet file"]),
        (Vec::new(), &["rows.parquet", "not a Parquet file"]),
    ] {
        refused(&host, &load(&deployment, "servicing", "rows.parquet", bytes), needles);
    }
    assert_eq!(load(&deployment, "servicing", "rows.parquet", good).code, Some(0));
    assert_eq!(host.admin.get(&format!("{VIEW}/l-2")).json()["values"]["contacts_7d"]["value"], 2);
}
