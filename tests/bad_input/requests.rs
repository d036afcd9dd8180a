//! Requests that are not JSON, or do not fit. Each is refused with its key and what is valid.

use serde_json::{Value, json};

use super::request;
use crate::features::try_load;
use crate::support::tables::{Column, parquet};
use crate::support::{Answer, Deployment, Host, collections};

fn started(deployment: &Deployment) -> Host {
    Host::start(deployment).ready()
}

#[track_caller]
fn refused(answer: &Answer, status: u16, kind: &str, needles: &[&str]) {
    let problem = answer.json();
    assert_eq!(answer.status, status, "{}", answer.text);
    assert_eq!(problem["type"], format!("urn:serin:problem:{kind}"), "{problem}");
    let detail = problem["detail"].as_str().expect("a detail");
    assert!(needles.iter().all(|needle| detail.contains(needle)), "{needles:?}: {detail}");
}

fn send(host: &Host, path: &str, body: &str) -> Answer {
    host.public.post_text(path, body, &[]).expect("the host answers")
}

#[test]
fn what_is_not_json_is_a_400_on_every_path() {
    let deployment = collections();
    let host = started(&deployment);
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let deep_value = request().to_string().replace("\"batch\"", &deep);
    let bodies = [
        ("", "EOF"),
        ("{", "EOF"),
        ("decide!", "expected value"),
        ("{'decision_point': 1}", "key must be a string"),
        ("NaN", "expected value"),
        ("-Infinity", "invalid number"),
        ("\u{feff}{}", "expected value"),
    ];
    for path in ["/v1/decisions", "/v1/decisions/batch", "/v1/outcomes", "/v1/exposures", "/v1/features/servicing"] {
        for (body, needle) in bodies {
            refused(&send(&host, path, body), 400, "malformed-body", &["not JSON", needle]);
        }
        refused(&send(&host, path, "[]"), 422, "invalid-request", &["invalid type: sequence, expected an object"]);
        refused(&send(&host, path, "null"), 422, "invalid-request", &["invalid type: null, expected an object"]);
        refused(&send(&host, path, "{}"), 422, "invalid-request", &["missing field"]);
        refused(&send(&host, path, "{\"reqests\":[]}"), 422, "invalid-request", &["unknown field `reqests`, expected"]);
        // Neither the parser nor what answers for it goes down with the depth.
        assert!([400, 422].contains(&send(&host, path, &deep).status));
        assert!([400, 422].contains(&send(&host, path, &format!("{{\"outcomes\":{deep}}}")).status));
    }
    assert_eq!(send(&host, "/v1/decisions", &deep_value).status, 422);
    refused(&send(&host, "/v1/decisions", &format!("{}{{}}", request())), 400, "malformed-body", &["more follows"]);
    assert_eq!(host.public.post("/v1/decisions", &request()).status, 200);
}

#[test]
fn invalid_utf8_is_not_json() {
    use std::io::{Read as _, Write as _};
    let deployment = collections();
    let host = started(&deployment);
    let mut body = request().to_string().into_bytes();
    let at = body.windows(4).position(|w| w == b"b-17").expect("the borrower");
    body[at] = 0xff;
    let mut stream = std::net::TcpStream::connect(&host.public.address).expect("connects");
    let head = format!(
        "POST /v1/decisions HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body)).expect("writes");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("reads");
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("urn:serin:problem:malformed-body"), "{answer}");
}

#[test]
fn a_body_that_is_too_large_is_a_413() {
    let deployment = collections();
    deployment.edit("serin.toml", "[server]", "[server]\nmax_body_bytes = 2000");
    let host = started(&deployment);
    let padded = |bytes: usize| {
        let body = request().to_string();
        format!("{body}{}", " ".repeat(bytes - body.len()))
    };
    assert_eq!(send(&host, "/v1/decisions", &padded(2000)).status, 200);
    for path in ["/v1/decisions", "/v1/decisions/batch", "/v1/outcomes", "/v1/exposures", "/v1/features/servicing"] {
        refused(&send(&host, path, &padded(2001)), 413, "body-too-large", &["server.max_body_bytes"]);
    }
    let admin = host.admin.post_text("/v1/decisions", &padded(2001), &[]).expect("answers");
    refused(&admin, 413, "body-too-large", &["server.max_body_bytes"]);
}

/// The request with one key changed; null removes it.
fn changed(pointer: &str, value: Value) -> Value {
    let mut request = request();
    let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
    let parent = request.pointer_mut(parent).and_then(Value::as_object_mut).expect("an object");
    match value {
        Value::Null => drop(parent.remove(key)),
        value => drop(parent.insert(key.to_owned(), value)),
    }
    request
}

#[test]
fn a_decision_request_that_does_not_fit_names_its_key() {
    let deployment = collections();
    let host = started(&deployment);
    for (pointer, value, key, needles) in [
        ("/entities/loan", Value::Null, "entities.loan", &["is missing", "needs: borrower, loan"][..]),
        ("/entities/loan", json!(""), "entities.loan", &["1 to 256 bytes"]),
        ("/entities/loan", json!("x".repeat(257)), "entities.loan", &["1 to 256 bytes"]),
        ("/entities/loan", json!("l-1 "), "entities.loan", &["\"l-1 \" begins or ends with a blank"]),
        ("/entities/loan", json!("\u{a0}l-1"), "entities.loan", &["begins or ends with a blank"]),
        ("/entities/loan", json!("l\u{1f}1"), "entities.loan", &["\"l\\u{1f}1\" has a control character"]),
        ("/entities/loan", json!("l-1\n"), "entities.loan", &["has a control character"]),
        ("/entities/loan", json!(7), "entities.loan", &["invalid type: integer", "expected a string"]),
        ("/entities/household", json!("h-1"), "entities.household", &["is not an entity", "borrower, loan"]),
        ("/context/days_past_due", Value::Null, "context.days_past_due", &["is missing", "integer and required"]),
        ("/context/days_past_due", json!("12"), "context.days_past_due", &["is text, not integer"]),
        ("/context/days_past_due", json!(12.5), "context.days_past_due", &["is number, not integer"]),
        ("/context/days_past_due", json!([12]), "context.days_past_due", &["invalid type: sequence"]),
        ("/context/days_past_due", json!(u64::MAX), "context.days_past_due", &["a whole number of 64 bits"]),
        ("/context/channel", json!(true), "context.channel", &["is boolean, not text"]),
        (
            "/context/chanel",
            json!("app"),
            "context.chanel",
            &["is not declared", "declared: days_past_due, channel, stage"],
        ),
        ("/utc_offset_minutes", json!(1441), "utc_offset_minutes", &["valid: -1440 to 1440"]),
        ("/utc_offset_minutes", json!(i32::MIN), "utc_offset_minutes", &["valid: -1440 to 1440"]),
        ("/utc_offset_minutes", json!("+02:00"), "utc_offset_minutes", &["invalid type: string"]),
    ] {
        let answer = host.public.post("/v1/decisions", &changed(pointer, value));
        refused(&answer, 422, "invalid-request", needles);
        assert_eq!(answer.json()["key"], key, "{}", answer.text);
    }
    let unknown = host.public.post("/v1/decisions", &changed("/decision_point", json!("collections")));
    refused(&unknown, 422, "unknown-decision-point", &["'collections' is not known", "known: collections-outreach"]);
    let long = host.public.post("/v1/decisions", &changed("/decision_point", json!("x".repeat(100_000))));
    refused(&long, 422, "unknown-decision-point", &["known: collections-outreach"]);
    assert!(long.text.len() < 1000, "what was sent is not sent back whole");
    let array = json!(["collections-outreach", request()["entities"], request()["context"], 0, null, null]);
    refused(&host.public.post("/v1/decisions", &array), 422, "invalid-request", &["expected an object"]);
    let batch = host.public.post("/v1/decisions/batch", &json!({ "requests": [request(), array] }));
    refused(&batch, 422, "invalid-request", &["expected an object"]);
    assert_eq!(batch.json()["key"], "requests[1]");
}

/// Numbers that JSON does not have, or that no finite number stands for.
#[test]
fn a_number_that_is_not_finite_gets_in_nowhere() {
    let deployment = collections();
    let host = started(&deployment);
    let outcome =
        json!({ "outcomes": [{ "id": "o-1", "name": "cured", "value": 7, "entity": { "borrower": "b-1" } }] });
    let rows =
        json!({ "rows": [{ "entity": "l-1", "event_time": "2026-01-01T00:00:00Z", "values": { "balance_due": 7 } }] });
    let asked = changed("/context/days_past_due", json!(7));
    for (path, body) in [("/v1/outcomes", &outcome), ("/v1/features/servicing", &rows), ("/v1/decisions", &asked)] {
        for number in ["NaN", "-NaN", "Infinity", "-Infinity", "1e999", "-1e999", "1e309"] {
            let answer = send(&host, path, &body.to_string().replace(":7", &format!(":{number}")));
            refused(&answer, 400, "malformed-body", &["not JSON"]);
        }
        assert_eq!(host.public.post(path, body).status, 200);
    }
}

#[test]
fn an_outcome_that_does_not_fit_is_named_and_the_others_are_stored() {
    let deployment = collections();
    let host = started(&deployment);
    let outcome = |id: &str, more: Value| {
        let mut outcome = json!({ "id": id, "name": "cured", "value": 1 });
        for (key, value) in more.as_object().expect("an object") {
            outcome[key] = value.clone();
        }
        outcome
    };
    let borrower = json!({ "borrower": "b-1" });
    let answer = host.public.post(
        "/v1/outcomes",
        &json!({ "outcomes": [
            outcome("o-0", json!({ "entity": borrower })),
            outcome("", json!({ "entity": borrower })),
            outcome("o-2", json!({ "entity": borrower, "name": "" })),
            outcome("o-3", json!({})),
            outcome("o-4", json!({ "entity": borrower, "decision_id": "d-1" })),
            outcome("o-5", json!({ "entity": { "borrower": "b-1", "loan": "l-1" } })),
            outcome("o-6", json!({ "entity": {} })),
            outcome("o-7", json!({ "entity": borrower, "at": "tomorrow" })),
            outcome("o-8", json!({ "entity": borrower, "at": "2999-01-01T00:00:00Z" })),
            outcome("o-9", json!({ "entity": borrower, "at": "1969-01-01T00:00:00Z" })),
            outcome("o-10", json!({ "decision_id": "" })),
            outcome("o-11", json!({ "decision_id": "no-such-decision" })),
            outcome("o-0", json!({ "entity": borrower, "value": 2 })),
            outcome("o-0", json!({ "entity": borrower })),
            outcome("o-14", json!({ "entity": { "borrower": " b-1" } })),
            outcome("o-15", json!({ "entity": { "borrower": "b\u{1f}1" } })),
            outcome("o-16\t", json!({ "entity": borrower })),
            outcome("o-17", json!({ "entity": borrower, "name": "cured " })),
            outcome("o-18", json!({ "decision_id": "d-1\n" })),
            json!({ "id": "o-19", "reverses": " o-0" }),
        ] }),
    );
    assert_eq!(answer.status, 200, "{}", answer.text);
    let answer = answer.json();
    assert_eq!(
        (&answer["stored"], &answer["duplicates"], &answer["unknown_decisions"]),
        (&json!(1), &json!(1), &json!(1))
    );
    let refused: Vec<(u64, &str)> = answer["refused"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|r| (r["index"].as_u64().expect("an index"), r["why"].as_str().expect("a reason")))
        .collect();
    for ((index, why), (wanted, needle)) in refused.iter().zip([
        (1, "id: 1 to 256 bytes"),
        (2, "name: 1 to 64 bytes"),
        (3, "either decision_id, or entity"),
        (4, "either decision_id, or entity"),
        (5, "either decision_id, or entity"),
        (6, "either decision_id, or entity"),
        (7, "at: not a time; valid: RFC 3339"),
        (8, "at: lies more than 5m in the future; valid: up to ledger.clock_tolerance"),
        (9, "at: lies before 1970"),
        (10, "decision_id: 1 to 256 bytes"),
        (12, "id: taken by an outcome that says something else"),
        (14, "entity: \" b-1\" begins or ends with a blank"),
        (15, "entity: \"b\\u{1f}1\" has a control character"),
        (16, "id: \"o-16\\t\" has a control character"),
        (17, "name: \"cured \" begins or ends with a blank"),
        (18, "decision_id: \"d-1\\n\" has a control character"),
        (19, "reverses: \" o-0\" begins or ends with a blank"),
    ]) {
        assert!(*index == wanted && why.contains(needle), "{index} {why}, not {wanted} {needle}");
    }
    assert_eq!(refused.len(), 17);
    let seen = json!({ "exposures": [{ "decision_id": "d\u{7f}1" }, { "decision_id": "d-1 " }] });
    let answer = host.public.post("/v1/exposures", &seen).json();
    let why = |at: usize| answer["refused"][at]["why"].as_str().unwrap_or_default();
    assert!(why(0).contains("has a control character") && why(1).contains("a blank"), "{answer}");
}

/// Ids that a program writes where it has none are decided about, since somebody's may be so; they are counted.
#[test]
fn ids_that_look_like_none_are_counted_by_their_kind() {
    let deployment = collections();
    let host = started(&deployment);
    let count = || host.metric("serin_placeholder_ids_total{reason=\"borrower\"}");
    for (i, id) in ["undefined", "null", "NaN", "[object Object]"].into_iter().enumerate() {
        let answer = host.public.post("/v1/decisions", &changed("/entities/borrower", json!(id)));
        assert_eq!((answer.status, count()), (200, (i + 1) as f64), "{}", answer.text);
    }
    host.decide(&request());
    assert_eq!(count(), 4.0);
    assert_eq!(host.metric("serin_placeholder_ids_total{reason=\"loan\"}"), 0.0);
}

/// JSON lets a key repeat, and most parsers keep the last: of two wishes, one would be lost.
#[test]
fn a_key_that_repeats_is_refused_and_named_on_every_path() {
    let deployment = collections();
    let host = started(&deployment);
    let decision = request().to_string();
    let twice = |body: &str, key: &str| {
        let at = body.find(&format!("\"{key}\":")).expect("the key");
        let end = at + body[at..].find([',', '}']).expect("its end");
        format!("{},{}", &body[..end], &body[at..])
    };
    let rows = r#"{"rows":[{"entity":"l-1","event_time":"2026-01-01T00:00:00Z","values":{"cease_contact":true}}]}"#;
    let outcome = r#"{"outcomes":[{"id":"o-1","name":"cured","value":1,"entity":{"borrower":"b-1"}}]}"#;
    for (path, body, key, named) in [
        ("/v1/decisions", decision.as_str(), "borrower", "entities.borrower"),
        ("/v1/decisions", &decision, "channel", "context.channel"),
        ("/v1/decisions", &decision, "decision_point", ""),
        ("/v1/features/servicing", rows, "cease_contact", "rows[0].values.cease_contact"),
        ("/v1/features/servicing", rows, "event_time", "rows[0]"),
        ("/v1/outcomes", outcome, "borrower", "outcomes[0].entity.borrower"),
        ("/v1/outcomes", outcome, "value", "outcomes[0]"),
    ] {
        assert_eq!(host.public.post_text(path, body, &[]).expect("answers").status, 200, "{body}");
        let answer = send(&host, path, &twice(body, key));
        refused(&answer, 422, "invalid-request", &[key]);
        assert_eq!(answer.json()["key"].as_str().unwrap_or_default(), named, "{}", answer.text);
    }
    let batch = format!("{{\"requests\":[{decision},{}]}}", twice(&decision, "loan"));
    let answer = send(&host, "/v1/decisions/batch", &batch);
    refused(&answer, 422, "invalid-request", &["key 'loan' is given twice; valid: each key once"]);
    assert_eq!(answer.json()["key"], "requests[1].entities.loan", "{}", answer.text);
    let admin = host.admin.post_text("/v1/decisions", &twice(&decision, "borrower"), &[]).expect("answers");
    refused(&admin, 422, "invalid-request", &["key 'borrower' is given twice"]);
}

#[test]
fn a_text_has_a_bound_on_every_way_in() {
    let deployment = collections();
    let host = started(&deployment);
    let text = |length: usize| json!("x".repeat(length));
    assert_eq!(host.public.post("/v1/decisions", &changed("/context/channel", text(4096))).status, 200);
    let answer = host.public.post("/v1/decisions", &changed("/context/channel", text(4097)));
    refused(&answer, 422, "invalid-request", &["is a text of 4097 bytes; valid: up to 4096"]);
    assert_eq!(answer.json()["key"], "context.channel");
    let row = |length| json!({ "rows": [{ "entity": "b-1", "event_time": "2026-01-01T00:00:00Z", "values": { "state": text(length) } }] });
    assert_eq!(host.public.post("/v1/features/borrower-profile", &row(4096)).status, 200);
    let answer = host.public.post("/v1/features/borrower-profile", &row(3_000_000));
    refused(
        &answer,
        422,
        "invalid-request",
        &["rows[0]: column 'state' is a text of 3000000 bytes; valid: up to 4096"],
    );
    for (file, bytes) in [
        ("long.csv", format!("entity,event_time,state\nb-1,2026-01-01T00:00:00Z,{}\n", "x".repeat(5000)).into_bytes()),
        (
            "long.parquet",
            parquet(&[
                ("entity", Column::Text(vec![Some("b-1")])),
                ("event_time", Column::Text(vec![Some("2026-01-01T00:00:00Z")])),
                ("state", Column::Text(vec![Some("x".repeat(5000).leak())])),
            ]),
        ),
    ] {
        let loaded = try_load(&deployment, "borrower-profile", file, bytes, &[]);
        assert_eq!(loaded.code, Some(1), "{}", loaded.stdout);
        assert!(
            loaded.stderr.contains("column 'state' is a text of 5000 bytes; valid: up to 4096"),
            "{}",
            loaded.stderr
        );
    }
    // What was sent is not sent back whole.
    let long = json!({ "rows": [{ "entity": "b-1", "event_time": "x".repeat(100_000), "values": {} }] });
    assert!(host.public.post("/v1/features/borrower-profile", &long).text.len() < 1000);
    let named = json!({ "rows": [{ "entity": "b-1", "event_time": "2026-01-01T00:00:00Z", "values": { "x".repeat(100_000): 1 } }] });
    assert!(host.public.post("/v1/features/borrower-profile", &named).text.len() < 2000);
}
