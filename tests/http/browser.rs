//! The admin listener and web pages: a page of another origin, or under a name of its own that
//! leads here, reads and changes nothing.

use serde_json::json;

use super::{outreach, problem};
use crate::support::{Host, Raw, collections};

#[test]
fn the_admin_listener_answers_to_its_own_names() {
    let deployment = collections();
    deployment.edit("serin.toml", "[server]", "[server]\nadmin_hosts = [\"Serin.internal\"]");
    let host = Host::start(&deployment).ready();
    let port = host.admin.address.rsplit(':').next().expect("a port").to_owned();
    let command = json!({ "reason": "because", "by": "mallory" }).to_string();
    let path = "/v1/experiments/outreach-score/pause";
    for name in ["evil.example", &format!("evil.example:{port}"), "127.0.0.1.evil.example", "", "10.9.8.7"] {
        let refused = host.admin.post_text(path, &command, &[("host", name), ("origin", "http://evil.example")]);
        problem(&refused.expect("answers"), 403, "host-not-allowed");
        for path in ["/v1/decisions", "/v1/experiments", "/metrics", "/nothing"] {
            problem(&host.admin.get_with(path, &[("host", name)]), 403, "host-not-allowed");
        }
        assert_eq!(host.admin.get_with("/readyz", &[("host", name)]).status, 200, "probes have names of their own");
    }
    assert_eq!(host.admin.get("/v1/experiments/outreach-score").json()["state"], "running");
    for name in ["localhost", &format!("LOCALHOST:{port}"), "127.0.0.1", "[::1]:80", "serin.internal:8081"] {
        assert_eq!(host.admin.get_with("/v1/experiments", &[("host", name)]).status, 200, "{name}");
    }
}

#[test]
fn a_page_of_another_origin_changes_nothing() {
    let deployment = collections();
    let host = Host::start(&deployment).ready();
    let command = json!({ "reason": "because", "by": "mallory" }).to_string();
    let address = host.admin.address.clone();
    let send = |path: &str, headers: &[(&str, &str)]| host.admin.post_text(path, &command, headers).expect("answers");
    let paths = ["/v1/experiments/outreach-score/pause", "/v1/freeze", "/v1/decisions", "/v1/decisions/x/replay"];
    for path in paths {
        for origin in ["http://evil.example", "null", "http://127.0.0.1:1", "https://localhost", "file://"] {
            problem(&send(path, &[("origin", origin)]), 403, "cross-origin");
        }
        problem(&send(path, &[("sec-fetch-site", "cross-site")]), 403, "cross-origin");
        problem(&send(path, &[("sec-fetch-site", "same-site")]), 403, "cross-origin");
        for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"] {
            problem(&send(path, &[("content-type", kind)]), 415, "unsupported-media-type");
        }
    }
    assert_eq!(host.admin.get("/v1/experiments/outreach-score").json()["state"], "running");
    let own = format!("http://{address}");
    let paused = send(paths[0], &[("origin", &own), ("sec-fetch-site", "same-origin")]);
    assert_eq!((paused.status, &paused.json()["state"]), (200, &json!("paused")), "{}", paused.text);
    // Applications are no pages, and have whatever names.
    let body = outreach("b-1").to_string();
    let public = host.public.post_text("/v1/decisions", &body, &[("host", "decisions.example")]).expect("answers");
    assert_eq!(public.status, 200);
}

#[test]
fn without_access_no_page_of_another_origin_has_use_of_the_public_listener() {
    let deployment = collections();
    let host = Host::start(&deployment).ready();
    let body = outreach("b-1").to_string();
    let port = host.public.address.rsplit(':').next().expect("a port").to_owned();
    let ask = |headers: &[(&str, &str)]| host.public.post_text("/v1/decisions", &body, headers).expect("answers");
    // A page that rebinds its name is of the same origin, for its browser.
    let rebound = format!("evil.example:{port}");
    problem(&ask(&[("host", &rebound), ("origin", &format!("http://{rebound}"))]), 403, "cross-origin");
    for origin in ["http://evil.example", "null", "http://127.0.0.1:1"] {
        problem(&ask(&[("origin", origin)]), 403, "cross-origin");
    }
    problem(&ask(&[("sec-fetch-site", "cross-site")]), 403, "cross-origin");
    let own = format!("http://{}", host.public.address);
    assert_eq!(ask(&[("origin", &own), ("sec-fetch-site", "same-origin")]).status, 200);
    assert_eq!(ask(&[("host", "decisions.example")]).status, 200, "no page");
    assert_eq!(host.public.get_with("/readyz", &[("host", "evil.example")]).status, 200);
    assert_eq!(host.admin.get("/v1/decisions").json()["decisions"].as_array().map(Vec::len), Some(2));
}

#[test]
fn who_is_refused_reads_why_though_the_body_comes_late() {
    let deployment = collections();
    let host = Host::start(&deployment).ready();
    let refused = [
        (&host.admin.address, "/v1/decisions", "origin: http://evil.example\r\ncontent-type: application/json", 403),
        (&host.admin.address, "/v1/decisions", "content-type: text/plain", 415),
        (&host.public.address, "/v1/decisions", "content-type: text/plain", 415),
        (&host.public.address, "/v1/decisions", "content-type: application/json\r\ncontent-encoding: br", 415),
        (&host.public.address, "/v1/decision", "content-type: application/json", 404),
        (&host.public.address, "/healthz", "content-type: application/json", 405),
    ];
    for (address, path, header, status) in refused {
        let mut client = Raw::connect(address).expect("connects");
        let head = format!("POST {path} HTTP/1.1\r\nhost: {address}\r\n{header}\r\ncontent-length: 9\r\n\r\n");
        for _ in 0..3 {
            // The connection goes on: nothing of the refused body is taken for the next request.
            assert!(client.send(&head), "{header}");
            // Time enough for an answer that does not wait for the body.
            assert_eq!(host.admin.get("/healthz").status, 200);
            assert!(client.send("GET / HTT"), "{header}");
            let answer = client.answer().expect("answers");
            assert_eq!((answer.status, answer.headers.get("connection")), (status, None), "{header}: {}", answer.text);
        }
    }
}

#[test]
fn answers_of_the_admin_listener_load_and_run_nothing() {
    let deployment = collections();
    let host = Host::start(&deployment).ready();
    host.decide(&outreach("b-1"));
    let report = host.admin.get("/v1/experiments/outreach-score/report?format=html");
    assert_eq!(report.status, 200, "{}", report.text);
    assert!(report.headers["content-type"].starts_with("text/html"));
    let policy = &report.headers["content-security-policy"];
    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
    assert!(
        policy.contains("style-src 'sha256-") && !policy.contains("unsafe") && !policy.contains("script-src"),
        "{policy}"
    );
    assert!(report.text.contains("<style>") && !report.text.contains("<script"));
    let json = host.admin.get("/v1/experiments");
    for answer in [&report, &json] {
        assert_eq!(answer.headers["x-content-type-options"], "nosniff");
        assert_eq!(answer.headers["cache-control"], "no-store");
    }
    assert!(json.headers["content-security-policy"].contains("default-src 'none'"));
}
