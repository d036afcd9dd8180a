//! Outcomes and exposures as CloudEvents, from the SDK of the specification's own project and by hand.

use serde_json::{Value, json};

use super::{answered, python};
use crate::support::{Answer, Host, collections, run};

const BATCH: (&str, &str) = ("content-type", "application/cloudevents-batch+json");
const ONE: (&str, &str) = ("content-type", "application/cloudevents+json");

fn decided(host: &Host) -> String {
    let decision = host.decide(&json!({
        "decision_point": "collections-outreach",
        "entities": { "borrower": "b-17", "loan": "l-88" },
        "context": { "days_past_due": 12 },
    }));
    decision["decision_id"].as_str().expect("an id").to_owned()
}

/// An outcome of a borrower.
fn paid(id: &str) -> Value {
    json!({
        "specversion": "1.0", "type": "serin.outcome.v1", "source": "/payments", "id": id,
        "data": { "name": "paid", "value": 12.5, "entity": { "borrower": "b-17" } },
    })
}

fn with(key: &str, value: Value) -> Value {
    let mut event = paid("p-7");
    event[key] = value;
    event
}

fn without(key: &str) -> Value {
    let mut event = paid("p-7");
    event.as_object_mut().expect("an object").remove(key);
    event
}

fn post(host: &Host, path: &str, body: &Value, header: (&str, &str)) -> Answer {
    host.public.post_text(path, &body.to_string(), &[header]).expect("answers")
}

#[test]
fn the_sdk_posts_in_all_three_modes_and_an_event_counts_once() {
    let deployment = collections();
    let host = Host::start(&deployment).ready();
    let id = decided(&host);
    let outcome = |n: &str, source: &str| {
        json!({
            "attributes": { "type": "serin.outcome.v1", "source": source, "id": n },
            "data": { "name": "paid", "value": 1, "decision_id": id },
        })
    };
    let reversal = json!({
        "attributes": { "type": "serin.outcome.v1", "source": "/payments", "id": "p-1-bounced" }, "data": { "reverses": "p-1" },
    });
    let exposure = json!({
        "attributes": { "type": "serin.exposure.v1", "source": "/app", "id": "e-1" }, "data": { "decision_id": id },
    });
    let asked = |mode: &str, path: &str, events: &[&Value]| json!({ "mode": mode, "path": path, "events": events });
    let (one, two, elsewhere) = (outcome("p-1", "/payments"), outcome("p-2", "/payments"), outcome("p-1", "/cards"));
    let said = answered(
        python("cloudevents_client.py").arg(format!("http://{}", host.public.address)),
        &json!([
            asked("binary", "/v1/outcomes", &[&one]),
            asked("structured", "/v1/outcomes", &[&one]),
            asked("structured", "/v1/outcomes", &[&two]),
            asked("batched", "/v1/outcomes", &[&one, &two, &elsewhere, &reversal]),
            asked("binary", "/v1/exposures", &[&exposure]),
            asked("batched", "/v1/exposures", &[&exposure]),
        ]),
    );
    let counts: Vec<_> = said
        .as_array()
        .expect("answers")
        .iter()
        .map(|said| (said["status"].clone(), said["answer"]["stored"].clone(), said["answer"]["duplicates"].clone()))
        .collect();
    let expected = [(200, 1, 0), (200, 0, 1), (200, 1, 0), (200, 2, 2), (200, 1, 0), (200, 0, 1)];
    assert_eq!(counts, expected.map(|(status, new, known)| (json!(status), json!(new), json!(known))), "{said}");
    // The event's time is the outcome's.
    let mut late = paid("p-9");
    late["time"] = json!("2999-01-01T00:00:00Z");
    let refused = post(&host, "/v1/outcomes", &late, ONE);
    assert!(refused.status == 422 && refused.text.contains("in the future"), "{}", refused.text);
    // The host's own JSON goes on as before, under ids of its own.
    let plain = json!({ "outcomes": [{ "id": "p-1", "name": "paid", "value": 1, "decision_id": id }] });
    assert_eq!(host.public.post("/v1/outcomes", &plain).json()["stored"], 1);
    let known = json!({ "outcomes": [{ "id": "/cards p-1", "name": "paid", "value": 1, "decision_id": id }] });
    assert_eq!(host.public.post("/v1/outcomes", &known).json()["duplicates"], 1, "by source and id");
}

/// An exposure of a decision.
fn seen(source: &str, id: &str, decision: &str) -> Value {
    json!({
        "specversion": "1.0", "type": "serin.exposure.v1", "source": source, "id": id, "data": { "decision_id": decision },
    })
}

#[test]
fn an_exposure_counts_once_by_source_and_id_and_once_for_its_decision() {
    let deployment = collections();
    let host = Host::start(&deployment).ready();
    let (one, two) = (decided(&host), decided(&host));
    let said = |events: &Value| {
        let answer = post(&host, "/v1/exposures", events, BATCH);
        assert_eq!(answer.status, 200, "{}", answer.text);
        let answer = answer.json();
        (answer["stored"].clone(), answer["duplicates_at"].clone(), answer["refused"].clone())
    };
    let (none, why) = (json!([]), "id: taken by an exposure of another decision");
    // Sent again, and of another source, it says nothing new.
    let again = json!([seen("/app", "e-1", &one), seen("/app", "e-1", &one), seen("/mail", "e-1", &one)]);
    assert_eq!(said(&again), (json!(1), json!([1, 2]), none.clone()));
    // An event is known by source and id, whatever it says: it counts for no other decision.
    let moved = json!([seen("/app", "e-1", &two), seen("/mail", "e-1", &two), seen("/app", "e-2", &two)]);
    let refused = json!([{ "index": 0, "why": why }, { "index": 1, "why": why }]);
    assert_eq!(said(&moved), (json!(1), none.clone(), refused));
    let alone = post(&host, "/v1/exposures", &seen("/app", "e-1", &two), ONE);
    assert!(alone.status == 422 && alone.text.contains(why), "{}", alone.text);
    // In plain JSON the decision alone says which exposure it is.
    let plain = json!({ "exposures": [{ "decision_id": one }, { "decision_id": two }] });
    assert_eq!(host.public.post("/v1/exposures", &plain).json()["duplicates_at"], json!([0, 1]));
    // Outcomes say which were duplicates, too.
    let outcomes = post(&host, "/v1/outcomes", &json!([paid("p-1"), paid("p-2"), paid("p-1")]), BATCH).json();
    assert_eq!((&outcomes["stored"], &outcomes["duplicates_at"]), (&json!(2), &json!([2])), "{outcomes}");
}

#[test]
fn the_document_of_the_listener_has_every_form_of_an_event() {
    let document: Value = serde_json::from_str(&run(["openapi"]).stdout).expect("JSON");
    let name = |schema: &Value| schema["$ref"].as_str().and_then(|name| name.rsplit('/').next()).map(str::to_owned);
    for (path, event) in [("/v1/outcomes", "OutcomeEvent"), ("/v1/exposures", "ExposureEvent")] {
        let operation = &document["paths"][path]["post"];
        let content = &operation["requestBody"]["content"];
        assert_eq!(name(&content[ONE.1]["schema"]).as_deref(), Some(event), "{content}");
        assert_eq!(name(&content[BATCH.1]["schema"]["items"]).as_deref(), Some(event), "{content}");
        assert!(name(&content["application/json"]["schema"]).is_some(), "{content}");
        let event = &document["components"]["schemas"][event];
        assert_eq!(event["required"], json!(["specversion", "type", "source", "id", "data"]), "{event}");
        let headers: Vec<&str> = operation["parameters"]
            .as_array()
            .expect("parameters")
            .iter()
            .filter(|parameter| parameter["in"] == "header" && parameter["required"] != true)
            .filter_map(|parameter| parameter["name"].as_str())
            .collect();
        assert_eq!(headers, ["ce-specversion", "ce-type", "ce-source", "ce-id", "ce-time"]);
    }
}

#[test]
fn of_a_batch_each_event_that_is_not_valid_is_named_and_the_others_are_stored() {
    let deployment = collections();
    let host = Host::start(&deployment).ready();
    let cases = [
        (with("specversion", json!("0.3")), "specversion: is '0.3'; valid: 1.0"),
        (without("specversion"), "specversion: is missing"),
        (without("id"), "id: is missing"),
        (with("id", json!("")), "id: is missing, or empty"),
        (with("id", json!(7)), "not an event: invalid type: integer `7`"),
        (without("source"), "source: is missing"),
        (with("source", json!("a b")), "source: has a blank"),
        (with("id", json!("x".repeat(256))), "valid: at most 255 together"),
        (with("type", json!("com.example.paid")), "type: is 'com.example.paid'; valid here: serin.outcome.v1"),
        (with("type", json!("serin.exposure.v1")), "valid here: serin.outcome.v1"),
        (with("datacontenttype", json!("text/xml")), "datacontenttype: is 'text/xml'; valid: application/json"),
        (with("data_base64", json!("e30=")), "data_base64: valid: data"),
        (without("data"), "data: is missing"),
        (with("data", json!([1])), "data: invalid type"),
        (with("data", json!({ "name": "paid", "value": 1, "at": "now" })), "unknown field `at`"),
        (with("data", json!({ "name": "paid", "entity": { "borrower": "b" } })), "data.value: a number"),
        (with("data", json!({ "name": "paid", "value": "much" })), "data.value: invalid type: string"),
        (with("data", json!({ "name": "paid", "value": 1 })), "data: either decision_id, or entity"),
        (
            with("data", json!({ "reverses": "p-0", "value": 1 })),
            "data.reverses: the outcome that it names says the rest; only the event's id",
        ),
        (with("time", json!("yesterday")), "time: not a time"),
        (json!("an event"), "not an event"),
    ];
    let mut batch: Vec<Value> = cases.iter().map(|(event, _)| event.clone()).collect();
    batch.push(paid("p-1"));
    let answer = post(&host, "/v1/outcomes", &json!(batch), BATCH);
    let said = answer.json();
    assert_eq!((answer.status, &said["stored"]), (200, &json!(1)), "{said}");
    let refused = said["refused"].as_array().expect("a list");
    assert_eq!(refused.len(), cases.len(), "{said}");
    for (at, (event, why)) in cases.iter().enumerate() {
        assert_eq!(refused[at]["index"], at);
        assert!(refused[at]["why"].as_str().is_some_and(|said| said.contains(why)), "{why}: {}", refused[at]);
        // A sender of one event reads the status alone.
        let alone = post(&host, "/v1/outcomes", event, ONE);
        assert!([400, 422].contains(&alone.status) && alone.text.contains(*why), "{event}: {}", alone.text);
    }
    // The same id says something else.
    let mut other = paid("p-1");
    other["data"]["value"] = json!(99);
    let conflict = post(&host, "/v1/outcomes", &other, ONE);
    assert!(conflict.status == 422 && conflict.text.contains("taken by an outcome"), "{}", conflict.text);
    assert_eq!(post(&host, "/v1/outcomes", &paid("p-1"), BATCH).status, 422, "one event is no batch");
    assert_eq!(post(&host, "/v1/outcomes", &json!([paid("p-2")]), ONE).status, 422, "nor the other way round");
}

#[test]
fn a_body_that_is_no_event_is_refused_as_a_whole() {
    let deployment = collections();
    let host = Host::start(&deployment).ready();
    let large = with("data", json!({ "name": "x".repeat(10 << 20) }));
    assert_eq!(post(&host, "/v1/outcomes", &large, ONE).status, 413);
    assert_eq!(post(&host, "/v1/outcomes", &json!([large]), BATCH).status, 413);
    let xml = ("content-type", "application/cloudevents+xml");
    for client in [&host.public, &host.admin] {
        let refused = client.post_text("/v1/outcomes", &paid("p").to_string(), &[xml]).expect("answers");
        assert!(
            refused.status == 415 && refused.text.contains("application/cloudevents-batch+json"),
            "{}",
            refused.text
        );
    }
    let binary = |headers: &[(&str, &str)]| {
        let data = json!({ "name": "paid", "value": 1, "entity": { "borrower": "b-17" } });
        host.public.post_text("/v1/outcomes", &data.to_string(), headers).expect("answers")
    };
    let valid = [("ce-specversion", "1.0"), ("ce-type", "serin.outcome.v1"), ("ce-source", "/p"), ("ce-id", "1")];
    assert_eq!(binary(&valid).json()["stored"], 1);
    // In quotes, which HTTP's headers may have, they are the same.
    let quoted = [("ce-specversion", "\"1.0\""), valid[1], ("ce-source", "\"/\\p\""), ("ce-id", "\"%31\"")];
    assert_eq!(binary(&quoted).json()["duplicates"], 1, "{}", binary(&quoted).text);
    for (name, value) in [("ce-id", "%ff"), ("ce-source", "/%C3"), ("ce-type", "serin.outcome.v1%fe")] {
        let mut headers = valid.to_vec();
        headers.iter_mut().filter(|header| header.0 == name).for_each(|header| header.1 = value);
        let answer = binary(&headers);
        assert!(answer.status == 422 && answer.text.contains(&format!("{name}: not UTF-8")), "{}", answer.text);
    }
    let twice = binary(&[&valid[..], &[("ce-id", "2")]].concat());
    assert!(twice.status == 422 && twice.text.contains("ce-id: there are two"), "{}", twice.text);
    for left_out in 0..valid.len() {
        let mut headers = valid.to_vec();
        let (name, _) = headers.remove(left_out);
        let answer = binary(&headers);
        let attribute = name.trim_start_matches("ce-");
        assert!(answer.status == 422 && answer.text.contains(&format!("{attribute}: is missing")), "{}", answer.text);
    }
    assert_eq!(host.public.post_text("/v1/outcomes", "{", &[ONE]).expect("answers").status, 400);
    assert_eq!(host.admin.post_text("/v1/outcomes", &paid("q").to_string(), &[ONE]).expect("answers").status, 200);
}
