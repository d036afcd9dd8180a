//! Long lists come in pages, bounded in number and in bytes; so do the answers of a batch.

use serde_json::json;

use super::{outreach, problem};
use crate::support::{Deployment, Host, collections};

/// A deployment whose fallback answers with a text of so many bytes, and nothing else does.
fn with_large_answers(bytes: usize) -> Deployment {
    let deployment = collections();
    deployment.remove("plugins/outreach-rules-1.0.0.wasm");
    let text = "x".repeat(bytes);
    let fallback = format!("fallback = {{ action = \"no_contact\", parameters = {{ text = \"{text}\" }} }}");
    deployment.edit("serin.toml", "fallback = { action = \"no_contact\" }", &fallback);
    deployment
}

#[test]
fn a_page_begins_before_a_decision_and_before_nothing_else() {
    let deployment = collections();
    let host = Host::start(&deployment).ready();
    let id = host.decide(&outreach("b-1"))["decision_id"].as_str().expect("an id").to_owned();
    for path in ["/v1/decisions?", "/decisions?unit=b-1&"] {
        assert_eq!(host.admin.get(&format!("{path}before={id}")).status, 200, "{path}");
        for before in ["garbage", "~", &id.to_uppercase(), &id[..8]] {
            let refused = host.admin.get(&format!("{path}before={before}"));
            assert_eq!(refused.status, 422, "{path} {before}: {}", refused.text);
            assert!(refused.text.contains("`next` of the page before"), "{}", refused.text);
        }
    }
}

#[test]
fn a_list_of_decisions_comes_in_pages_that_are_bounded_in_bytes() {
    let deployment = with_large_answers(512 << 10);
    let host = Host::start(&deployment);
    let decide = |i| host.decide(&outreach(&format!("b-{i}")))["decision_id"].as_str().expect("an id").to_owned();
    let mut ids: Vec<String> = (0..24).map(decide).collect();
    ids.reverse();
    let page = |query: &str| {
        let answer = host.admin.get(&format!("/v1/decisions?{query}"));
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert!(answer.text.len() < 10 << 20, "{} bytes", answer.text.len());
        let page = answer.json();
        let shown = page["decisions"].as_array().expect("a list");
        let shown: Vec<String> = shown.iter().map(|d| d["decision_id"].as_str().expect("an id").to_owned()).collect();
        (shown, page["next"].as_str().map(str::to_owned))
    };
    for limit in [3, 1000] {
        let (mut all, mut before) = (Vec::new(), String::new());
        loop {
            let (shown, next) = page(&format!("limit={limit}{before}"));
            assert!(!shown.is_empty() && shown.len() <= limit && shown.len() < 20);
            all.extend(shown);
            let Some(next) = next else { break };
            assert_eq!(all.last(), Some(&next));
            before = format!("&before={next}");
        }
        assert_eq!(all, ids, "all of them, once, newest first");
    }
    assert_eq!(page("unit=b-3").1, None);
}

#[test]
fn the_answers_of_a_batch_are_bounded_in_bytes() {
    let deployment = with_large_answers(64 << 10);
    let host = Host::start(&deployment);
    let batch = json!({ "requests": vec![outreach("b-1"); 1000] }).to_string();
    let send = || host.public.post_text("/v1/decisions/batch", &batch, &[("idempotency-key", "k")]).expect("answers");
    let answer = send();
    assert!(answer.status == 200 && answer.text.len() < 18 << 20, "{} bytes", answer.text.len());
    let results = answer.json()["results"].as_array().expect("results").clone();
    let decided = results.iter().filter(|item| item["status"] == 200).count();
    assert!((100..300).contains(&decided), "{decided}");
    let rest = results.iter().filter(|item| item["status"] != 200);
    assert!(rest.clone().all(|item| item["status"] == 413), "{}", answer.text);
    assert_eq!(rest.count(), 1000 - decided);
    assert_eq!(host.metric("serin_records_committed_total"), decided as f64, "no item is decided and thrown away");
    assert_eq!(send().headers["idempotent-replayed"], "true", "a repeat would not cure it");
    assert_eq!(host.metric("serin_bytes_in_flight"), 0.0);
}

#[test]
fn a_record_that_is_broken_hides_no_other() {
    let deployment = collections();
    let host = Host::start(&deployment).ready();
    let ids = ["b-1", "b-2"].map(|b| host.decide(&outreach(b))["decision_id"].as_str().expect("an id").to_owned());
    let ledger = rusqlite::Connection::open(deployment.path().join("data/serin.db")).expect("opens");
    let spoil = "UPDATE decisions SET record = x'00000000' WHERE decision_id = ?1";
    assert_eq!(ledger.execute(spoil, [&ids[0]]).expect("updates"), 1);
    let listed = host.admin.get("/v1/decisions").json()["decisions"].clone();
    assert_eq!((&listed[0]["decision_id"], &listed[1]["decision_id"]), (&json!(ids[1]), &json!(ids[0])));
    assert!(listed[0]["answer"].is_object() && listed[1]["error"]["type"].is_string(), "{listed}");
}

#[test]
fn a_read_of_the_admin_listener_has_its_time() {
    let deployment = collections();
    deployment.edit("serin.toml", "[server]", "[server]\nadmin_timeout = \"10ms\"");
    assert_eq!(Host::start(&deployment).ready().stop(), Some(0));
    let rows = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300000)
        INSERT INTO decisions (decision_id, time_ms, point, served_by, action, took_us, forced, digest, record)
        SELECT printf('%08d', i), i, 'p', 'strategy', 'go', 1, 0, '', x'7b7d' FROM n";
    let ledger = rusqlite::Connection::open(deployment.path().join("data/serin.db")).expect("opens");
    ledger.execute_batch(rows).expect("inserts");
    let host = Host::start(&deployment).ready();
    // More than there are places for such reads: each gives its place back.
    for _ in 0..6 {
        let detail = problem(&host.admin.get("/v1/decisions?point=nowhere"), 503, "read-timeout");
        assert!(detail.contains("server.admin_timeout"), "{detail}");
    }
    assert_eq!(host.public.post("/v1/decisions", &outreach("b-1")).status, 200);
    let command = json!({ "reason": "because", "by": "ann" });
    assert_eq!(host.admin.post("/v1/experiments/outreach-score/pause", &command).status, 200, "commands do not wait");
}
