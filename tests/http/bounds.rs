//! Bounds: deadlines, the queue, requests in flight, and stopping.

use std::time::Duration;

use super::{meanwhile, misbehave, occupy, outreach, problem, spinning, waiting};
use crate::support::{Answer, Client, Host, Raw, collections, eventually, misbehaving};

const BOUND: Duration = Duration::from_secs(10);

fn within(client: &Client, mode: &str, ms: &str) -> Answer {
    client.post_text("/v1/decisions", &misbehave(mode).to_string(), &[("serin-deadline-ms", ms)]).expect("answers")
}

#[test]
fn a_deadline_is_a_whole_number_of_milliseconds() {
    let deployment = misbehaving();
    let host = Host::start(&deployment).ready();
    for ms in ["0", "-1", "1.5", "1e3", "soon", "", "99999999999", "50ms", "0x10"] {
        let refused = within(&host.public, "ok", ms);
        assert!(problem(&refused, 422, "invalid-request").contains("milliseconds from 1"), "{ms:?}");
        assert_eq!(refused.json()["key"], "Serin-Deadline-Ms");
    }
    // More than the point's own deadline is the point's own.
    let long = within(&host.public, "ok", "4294967295");
    assert_eq!(host.record(&long.json())["deadline_ms"], 5000);
    assert_eq!(host.record(&within(&host.public, "ok", "4000").json())["deadline_ms"], 4000);
}

#[test]
fn what_did_not_begin_in_time_is_a_503_and_leaves_no_record() {
    let deployment = spinning(1, 1_000, "");
    let host = Host::start(&deployment).ready();
    // Whichever comes first: one has the only thread, and the other waits for it.
    let both = [0, 1].map(|_| meanwhile(&host.public, misbehave("spin")));
    eventually("the only thread is taken", BOUND, || (waiting(&host) > 0).then_some(()));
    let late = within(&host.public, "ok", "20");
    problem(&late, 503, "deadline-passed");
    assert_eq!(late.headers["retry-after"], "1");
    for asked in both {
        assert_eq!(asked.join().expect("asks").status, 200, "a short deadline is one request's alone");
    }
    assert_eq!(host.admin.get("/v1/decisions").json()["decisions"].as_array().map(Vec::len), Some(2));
    assert_eq!(host.metric("serin_rejected_total{reason=\"deadline-passed\"}"), 1.0);
}

#[test]
fn a_full_queue_is_a_503_that_says_when_to_come_back() {
    let deployment = spinning(1, 700, "queue = 2");
    let host = Host::start(&deployment).ready();
    let long = occupy(&host);
    let behind = [0, 1].map(|_| meanwhile(&host.public, misbehave("spin")));
    eventually("the queue is full", BOUND, || (waiting(&host) == 2).then_some(()));
    // Before the first one has the only slot, another may still be served.
    let refused = eventually("one is refused", BOUND, || {
        Some(host.public.post("/v1/decisions", &misbehave("ok"))).filter(|answer| answer.status != 200)
    });
    assert!(problem(&refused, 503, "overloaded").contains("waiting"), "{}", refused.text);
    assert_eq!(refused.headers["retry-after"], "1");
    assert!(host.metric("serin_rejected_total{reason=\"overloaded\"}") >= 1.0);
    assert_eq!(host.public.get("/healthz").status, 200, "a busy host is a live one");
    for asked in [long].into_iter().chain(behind) {
        assert_eq!(asked.join().expect("asks").status, 200, "who had a place is answered");
    }
    assert_eq!(host.public.post("/v1/decisions", &misbehave("ok")).status, 200, "and then there is room again");
}

#[test]
fn requests_in_flight_are_bounded_on_every_path_that_works() {
    let deployment = spinning(2, 2_000, "max_concurrent = 1");
    let host = Host::start(&deployment).ready();
    let long = occupy(&host);
    let empty = |path: &str| host.public.post_text(path, "{\"outcomes\":[]}", &[]).expect("answers");
    let refused = empty("/v1/outcomes");
    assert!(problem(&refused, 503, "overloaded").contains("in flight"));
    assert_eq!(refused.headers["retry-after"], "1");
    for path in ["/v1/decisions", "/v1/decisions/batch", "/v1/exposures", "/v1/features/none"] {
        problem(&empty(path), 503, "overloaded");
    }
    // A client reads why though its body comes after the refusal.
    let mut late = Raw::connect(&host.public.address).expect("connects");
    for _ in 0..3 {
        let head = "POST /v1/outcomes HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n";
        assert!(late.send(head));
        assert_eq!(host.admin.get("/healthz").status, 200, "time for an answer that does not wait");
        assert!(late.send("{}"));
        let answer = late.answer().expect("answers");
        assert_eq!((answer.status, answer.headers.get("connection")), (503, None), "{}", answer.text);
    }
    assert_eq!(host.public.get("/readyz").status, 200, "an operator still gets through");
    assert_eq!(host.admin.get("/metrics").status, 200);
    assert_eq!(long.join().expect("asks").status, 200);
    assert_eq!(empty("/v1/outcomes").status, 200);
}

#[test]
fn a_host_that_is_stopped_answers_what_it_accepted() {
    let deployment = spinning(2, 500, "");
    let host = Host::start(&deployment).ready();
    let asked: Vec<_> = (0..6).map(|_| meanwhile(&host.public, misbehave("spin"))).collect();
    eventually("some run and some wait", BOUND, || (waiting(&host) >= 4).then_some(()));
    assert_eq!(host.stop(), Some(0));
    let mut ids: Vec<String> = Vec::new();
    for answer in asked {
        let answer = answer.join().expect("asks");
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert_eq!(answer.json()["served_by"], "fallback_action");
        ids.push(answer.json()["decision_id"].as_str().expect("an id").to_owned());
    }
    // Each was recorded before it was answered.
    let host = Host::start(&deployment).ready();
    for id in ids {
        assert_eq!(host.admin.get(&format!("/v1/decisions/{id}")).status, 200);
    }
}

#[test]
fn a_best_effort_point_keeps_no_keys() {
    let deployment = collections();
    deployment.edit("serin.toml", "\"must_log\"", "\"best_effort\"");
    let host = Host::start(&deployment).ready();
    let send =
        |path: &str, body: &str| host.public.post_text(path, body, &[("idempotency-key", "k-1")]).expect("answers");
    let request = outreach("b-1").to_string();
    let refused = send("/v1/decisions", &request);
    assert!(problem(&refused, 422, "invalid-request").contains("logs best_effort"));
    assert_eq!(refused.json()["key"], "Idempotency-Key");
    let batch = send("/v1/decisions/batch", &format!("{{\"requests\":[{request}]}}"));
    assert_eq!(batch.json()["results"][0]["error"]["key"], "Idempotency-Key", "{}", batch.text);
    assert_eq!(host.public.post("/v1/decisions", &outreach("b-1")).status, 200);
}
