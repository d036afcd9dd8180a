//! Every error is a problem document (RFC 9457), and says nothing of the host's insides.

use serde_json::json;

use super::{outreach, problem};
use crate::support::{Client, Host, collections, root};

#[test]
fn an_error_is_a_problem_document_wherever_it_comes_from() {
    let deployment = collections();
    let host = Host::start(&deployment).ready();
    let (public, admin) = (&host.public, &host.admin);
    let mut details = Vec::new();
    let mut post = |client: &Client, path: &str, body: &str, status, kind| {
        details.push(problem(&client.post_text(path, body, &[]).expect("answers"), status, kind));
    };
    for path in ["/v1/decisions", "/v1/decisions/batch", "/v1/outcomes", "/v1/exposures", "/v1/features/servicing"] {
        post(public, path, "{", 400, "malformed-body");
        post(public, path, "{}", 422, "invalid-request");
    }
    post(admin, "/v1/decisions", "{", 400, "malformed-body");
    post(public, "/v1/features/no-such-view", "{\"rows\":[]}", 404, "unknown-feature-view");
    // What is no UTF-8 is refused before any handler sees it.
    post(public, "/v1/features/%ff", "{\"rows\":[]}", 400, "malformed-path");
    post(public, "/v1/decisions", &outreach("b-1").to_string().replace("12", "\"12\""), 422, "invalid-request");
    post(admin, "/v1/decisions/0000/replay", "", 404, "unknown-decision");
    let mut get = |client: &Client, path: &str, status, kind| {
        details.push(problem(&client.get(path), status, kind));
    };
    get(public, "/", 404, "not-found");
    get(public, "/v1/nothing", 404, "not-found");
    get(public, "/v1/plugins", 404, "not-found");
    get(public, "/metrics", 404, "not-found");
    get(public, "/v1/decisions/", 404, "not-found");
    get(public, "/v1/decisions/../../etc/passwd", 404, "not-found");
    get(admin, "/v1/nothing", 404, "not-found");
    get(admin, "/v1/experiments/nobody", 404, "unknown-experiment");
    get(admin, "/v1/decisions/0199-nobody", 404, "unknown-decision");
    get(admin, "/v1/decisions/%ff", 400, "malformed-path");
    get(admin, "/v1/features/servicing/nobody", 404, "unknown-entity");
    get(admin, "/v1/features/nothing/nobody", 404, "unknown-feature-view");
    get(admin, "/v1/features/servicing/%ff", 400, "malformed-path");
    for query in ["limit=0", "limit=1001", "limit=x", "since=yesterday", "until=1"] {
        get(admin, &format!("/v1/decisions?{query}"), 422, "invalid-request");
    }
    let (folder, source) = (deployment.path().to_str().expect("a path"), root());
    for detail in details {
        assert!(!detail.is_empty());
        for path in [folder, source.to_str().expect("a path"), "/src/", ".rs:"] {
            assert!(!detail.contains(path), "{detail}");
        }
    }
}

#[test]
fn a_method_that_a_path_does_not_take_is_a_405_that_lists_those_it_does() {
    let deployment = collections();
    let host = Host::start(&deployment).ready();
    for (client, method, path, allow) in [
        (&host.public, "GET", "/v1/decisions", "POST"),
        (&host.public, "PUT", "/v1/decisions", "POST"),
        (&host.public, "DELETE", "/v1/outcomes", "POST"),
        (&host.public, "PATCH", "/v1/features/servicing", "POST"),
        (&host.public, "OPTIONS", "/v1/exposures", "POST"),
        (&host.public, "DELETE", "/healthz", "GET,HEAD"),
        (&host.public, "TRACE", "/readyz", "GET,HEAD"),
        (&host.admin, "DELETE", "/v1/decisions", "GET,HEAD,POST"),
        (&host.admin, "DELETE", "/v1/plugins", "GET,HEAD"),
    ] {
        let answer = client.send(method, path);
        problem(&answer, 405, "method-not-allowed");
        assert_eq!(answer.headers["allow"], allow, "{method} {path}");
    }
    // No method beyond those that OpenAPI knows gets through, either.
    assert_eq!(host.public.send("BREW", "/healthz").status, 405);
    let head = host.public.send("HEAD", "/healthz");
    assert_eq!((head.status, head.text.as_str()), (200, ""));
}

#[test]
fn a_body_that_is_not_sent_as_json_is_a_415() {
    let deployment = collections();
    let host = Host::start(&deployment).ready();
    let body = outreach("b-1").to_string();
    let send = |path: &str, kind: &str| host.public.post_text(path, &body, &[("content-type", kind)]).expect("answers");
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/jsonp",
        "json",
        "application/json-patch+json",
        ";",
    ] {
        for path in ["/v1/decisions", "/v1/decisions/batch", "/v1/outcomes", "/v1/exposures", "/v1/features/servicing"]
        {
            let detail = problem(&send(path, kind), 415, "unsupported-media-type");
            assert!(detail.contains("content-type: application/json"), "{detail}");
        }
    }
    for kind in ["application/json", "application/json; charset=utf-8", "Application/JSON"] {
        assert_eq!(send("/v1/decisions", kind).status, 200, "{kind}");
    }
}

#[test]
fn what_is_for_the_admin_listener_is_a_403_on_the_public_one() {
    let deployment = collections();
    let host = Host::start(&deployment).ready();
    for (key, value) in [
        ("force", json!({ "experiment": "outreach-score", "arm": "score" })),
        ("dry_run", json!(true)),
        ("dry_run", json!(false)),
    ] {
        let mut request = outreach("b-1");
        request[key] = value;
        let refused = host.public.post("/v1/decisions", &request);
        problem(&refused, 403, "admin-only");
        assert_eq!(refused.json()["key"], key);
        let batch = host.public.post("/v1/decisions/batch", &json!({ "requests": [request] })).json();
        assert_eq!(batch["results"][0]["status"], 403, "{batch}");
        assert_eq!(host.admin.post("/v1/decisions", &request).status, 200);
    }
    for (force, key) in [
        (json!({ "experiment": "nothing", "arm": "score" }), "force.experiment"),
        (json!({ "experiment": "outreach-score", "arm": "nothing" }), "force.arm"),
    ] {
        let mut request = outreach("b-1");
        request["force"] = force;
        let refused = host.admin.post("/v1/decisions", &request);
        problem(&refused, 422, "invalid-request");
        assert_eq!(refused.json()["key"], key, "{}", refused.text);
    }
}
