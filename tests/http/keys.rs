//! What is kept under an `Idempotency-Key`: only what a repeat cannot cure.

use std::time::Duration;

use serde_json::{Value, json};

use super::{outreach, problem};
use crate::support::{Answer, Deployment, Host, collections, eventually, wat};

fn send(host: &Host, path: &str, key: &str, body: &Value) -> Answer {
    host.public.post_text(path, &body.to_string(), &[("idempotency-key", key)]).expect("answers")
}

fn is_replayed(answer: &Answer) -> bool {
    answer.headers.get("idempotent-replayed").is_some_and(|value| value == "true")
}

fn later(borrower: &str) -> Value {
    let mut request = outreach(borrower);
    request["decision_point"] = json!("later");
    request
}

/// Adds the decision point `later`, which is a second one like the first.
fn deploy_later(deployment: &Deployment, host: &Host) {
    let config = deployment.read("serin.toml");
    let point = config.split_once("[decision_points.").expect("a point").1;
    let point = point.replacen("collections-outreach", "later", 1).replace("outreach-rules@1.0.0", "later@1.0.0");
    let manifest = wat::manifest("later", "1.0.0", "later", "email");
    let artifact = wat::guest(&manifest, &format!("{} {}", wat::PRELUDE, wat::decide("(i32.const 1024)")));
    deployment.write("plugins/later-1.0.0.wasm", artifact);
    deployment.write("serin.toml", format!("{config}\n[decision_points.{point}"));
    eventually("it is deployed", Duration::from_secs(20), || {
        (host.public.post("/v1/decisions", &later("b-9")).status == 200).then_some(())
    });
}

#[test]
fn a_refusal_that_a_deployment_cures_is_not_kept() {
    let deployment = collections();
    let host = Host::start(&deployment).ready();
    let mut unfit = outreach("b-1");
    unfit["context"]["colour"] = json!("red");
    problem(&send(&host, "/v1/decisions", "k1", &later("b-1")), 422, "unknown-decision-point");
    problem(&send(&host, "/v1/decisions", "k2", &unfit), 422, "invalid-request");
    deployment.edit("serin.toml", "channel = \"text?\"", "channel = \"text?\", colour = \"text?\"");
    deploy_later(&deployment, &host);
    for (key, request) in [("k1", later("b-1")), ("k2", unfit)] {
        let decided = send(&host, "/v1/decisions", key, &request);
        assert!(decided.status == 200 && !is_replayed(&decided), "{}", decided.text);
        let again = send(&host, "/v1/decisions", key, &request);
        assert!(is_replayed(&again));
        assert_eq!(again.text, decided.text);
    }
}

#[test]
fn a_batch_that_is_sent_again_decides_what_a_repeat_can_cure_and_nothing_else() {
    let deployment = collections();
    let host = Host::start(&deployment).ready();
    let mut forced = outreach("b-3");
    forced["force"] = json!({ "experiment": "outreach-score", "arm": "score" });
    let batch = json!({ "requests": [outreach("b-1"), later("b-2"), forced] });
    let statuses = |answer: &Answer| {
        let results = answer.json()["results"].as_array().expect("results").clone();
        results.iter().map(|item| item["status"].as_u64().expect("a status")).collect::<Vec<_>>()
    };
    let first = send(&host, "/v1/decisions/batch", "k", &batch);
    assert_eq!(statuses(&first), [200, 422, 403], "{}", first.text);
    deploy_later(&deployment, &host);
    let second = send(&host, "/v1/decisions/batch", "k", &batch);
    assert!(statuses(&second) == [200, 200, 403] && !is_replayed(&second), "{}", second.text);
    let item = |answer: &Answer, i: usize| answer.json()["results"][i].clone();
    for stands in [0, 2] {
        assert_eq!(item(&second, stands), item(&first, stands), "what was answered stands");
    }
    assert_eq!(host.record(&item(&second, 1)["decision"])["decision_point"], "later");
    let third = send(&host, "/v1/decisions/batch", "k", &batch);
    assert!(is_replayed(&third));
    assert_eq!(third.text, second.text);
    let of = |unit: &str| host.admin.get(&format!("/v1/decisions?unit={unit}")).json()["decisions"].clone();
    assert_eq!((of("b-1").as_array().map(Vec::len), of("b-2").as_array().map(Vec::len)), (Some(1), Some(1)));
    let other = json!({ "requests": [outreach("b-1")] });
    problem(&send(&host, "/v1/decisions/batch", "k", &other), 409, "idempotency-conflict");
}
