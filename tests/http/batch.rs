//! `POST /v1/decisions/batch`.

use serde_json::{Value, json};

use super::{meanwhile, misbehave, outreach, problem, spinning, waiting};
use crate::support::{Answer, Host, collections, eventually};

fn send(host: &Host, requests: &[Value], headers: &[(&str, &str)]) -> Answer {
    host.public
        .post_text("/v1/decisions/batch", &json!({ "requests": requests }).to_string(), headers)
        .expect("answers")
}

#[test]
fn a_batch_answers_in_order_and_each_item_for_itself() {
    let deployment = collections();
    let host = Host::start(&deployment).ready();
    let requests: Vec<Value> = (0..60)
        .map(|i| {
            let mut request = outreach(&format!("b-{i}"));
            match i % 5 {
                3 => request["context"]["days_past_due"] = json!("late"),
                4 => request["decision_point"] = json!("nothing"),
                _ => {}
            }
            request
        })
        .collect();
    let answer = send(&host, &requests, &[]);
    assert_eq!(answer.status, 200, "{}", answer.text);
    let results = answer.json()["results"].as_array().expect("results").clone();
    assert_eq!(results.len(), requests.len());
    for (i, (request, result)) in requests.iter().zip(&results).enumerate() {
        if i % 5 < 3 {
            assert_eq!((&result["status"], &result["error"]), (&json!(200), &Value::Null));
            // All are committed before the answer leaves.
            assert_eq!(host.record(&result["decision"])["entities"], request["entities"], "item {i}");
            continue;
        }
        let (kind, key) = if i % 5 == 3 {
            ("invalid-request", "context.days_past_due")
        } else {
            ("unknown-decision-point", "decision_point")
        };
        assert_eq!((&result["status"], &result["decision"]), (&json!(422), &Value::Null));
        assert_eq!(result["error"]["type"], format!("urn:serin:problem:{kind}"));
        assert_eq!(result["error"]["key"], key);
    }
}

#[test]
fn a_batch_has_at_most_a_thousand_items() {
    let deployment = collections();
    let host = Host::start(&deployment).ready();
    assert_eq!(send(&host, &[], &[]).json(), json!({ "results": [] }));
    let detail = problem(&send(&host, &vec![outreach("b-1"); 1001], &[]), 422, "invalid-request");
    assert_eq!(detail, "requests: 1001 items; at most 1000");
    let full = send(&host, &vec![outreach("b-1"); 1000], &[]).json();
    assert!(full["results"].as_array().is_some_and(|all| all.len() == 1000 && all.iter().all(|r| r["status"] == 200)));
}

#[test]
fn what_a_batch_did_not_begin_in_time_is_a_503_item() {
    let deployment = spinning(1, 1_000, "");
    let host = Host::start(&deployment).ready();
    let both = [0, 1].map(|_| meanwhile(&host.public, misbehave("spin")));
    eventually("the only thread is taken", std::time::Duration::from_secs(10), || (waiting(&host) > 0).then_some(()));
    let answer = send(
        &host,
        &[misbehave("ok"), misbehave("ok"), json!({ "decision_point": "nothing", "entities": {} })],
        &[("serin-deadline-ms", "20")],
    );
    assert_eq!(answer.status, 200, "{}", answer.text);
    for item in &answer.json()["results"].as_array().expect("results")[..2] {
        assert_eq!(item["status"], 503, "{item}");
        assert_eq!(item["error"]["type"], "urn:serin:problem:deadline-passed");
    }
    for answer in both {
        assert_eq!(answer.join().expect("asks").status, 200, "a short deadline is the batch's alone");
    }
}
