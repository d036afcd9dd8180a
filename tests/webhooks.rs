//! Webhooks: where a message goes, whether it is signed, and what is told of it.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::time::Duration;

use serde_json::{Value, json};

use crate::protocols::{answered, python};
use crate::support::{Deployment, Host, collections, eventually, run};

const FILE: &str = "experiments/outreach-score.toml";

fn with_hook(hook: &str) -> Deployment {
    let deployment = collections();
    let spec = deployment.read(FILE);
    deployment.write(FILE, format!("{spec}\n[[notify]]\nevents = [\"breach\", \"phase\", \"verdict\"]\n{hook}\n"));
    deployment
}

/// The next request to a listener, which gets this answer.
fn received(listener: &TcpListener, answer: &str) -> String {
    let (mut stream, _) = listener.accept().expect("a connection");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("sets");
    let mut request = Vec::new();
    while !request.ends_with(b"}") {
        let mut some = [0; 4096];
        let read = stream.read(&mut some).expect("a request");
        assert!(read > 0, "cut off");
        request.extend_from_slice(&some[..read]);
    }
    stream.write_all(answer.as_bytes()).expect("answers");
    String::from_utf8(request).expect("text")
}

/// What the libraries of Standard Webhooks and of CloudEvents make of a message.
fn verified(request: &str, secret: &str, kind: &str) -> Value {
    let (head, body) = request.split_once("\r\n\r\n").expect("a head");
    let headers = head.lines().skip(1).filter_map(|line| line.split_once(": "));
    let headers: serde_json::Map<_, _> = headers.map(|(name, value)| (name.to_lowercase(), json!(value))).collect();
    let input = json!({ "headers": headers, "body": body, "secret": secret, "kind": kind });
    answered(&mut python("webhook_receiver.py"), &input)
}

#[test]
fn a_redirect_is_no_delivery_and_is_not_followed() {
    let listen = || TcpListener::bind("127.0.0.1:0").expect("a port");
    let (hook, elsewhere) = (listen(), listen());
    let (address, other) = (hook.local_addr().expect("bound"), elsewhere.local_addr().expect("bound"));
    let deployment = with_hook(&format!("url = \"http://{address}/services/T0-hidden?token=hidden\""));
    let host = Host::start(&deployment).ready();
    let mut ids = std::collections::BTreeSet::new();
    for status in
        ["302 Found", "308 Permanent Redirect", "303 See Other", "301 Moved Permanently", "307 Temporary Redirect"]
    {
        let answer = format!("HTTP/1.1 {status}\r\nlocation: http://{other}/\r\ncontent-length: 0\r\n\r\n");
        let request = received(&hook, &answer);
        assert!(request.starts_with("POST /services/T0-hidden"), "{request}");
        assert!(!request.contains("serin-signature"), "no secret, no signature");
        let of = |name: &str| request.lines().find_map(|line| line.strip_prefix(name)).expect("an id").to_owned();
        ids.extend([of("ce-id: "), of("webhook-id: ")]);
    }
    assert_eq!(ids.len(), 1, "by which a receiver knows a repetition: {ids:?}");
    let failed = || host.metric("serin_notifications_total{reason=\"failed\"}") >= 1.0;
    eventually("it is given up", Duration::from_secs(10), || failed().then_some(()));
    assert_eq!(host.metric("serin_notifications_total{reason=\"delivered\"}"), 0.0);
    elsewhere.set_nonblocking(true).expect("sets");
    assert!(elsewhere.accept().is_err(), "a redirect was followed");
    let log = host.log();
    assert!(log.contains(&format!("http://{address}")) && log.contains("redirects are not followed"), "{log}");
    assert!(!log.contains("hidden"), "{log}");
}

#[test]
fn what_a_host_that_stops_has_not_delivered_is_told() {
    let hook = TcpListener::bind("127.0.0.1:0").expect("a port");
    let deployment = with_hook(&format!("url = \"http://{}/hook\"", hook.local_addr().expect("bound")));
    let host = Host::start(&deployment).ready();
    received(&hook, "HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n");
    // Whoever is there hears it again: nobody answers any more.
    drop(hook);
    host.signal("TERM");
    let told = "were not delivered before the host stopped";
    eventually("that is told", Duration::from_secs(20), || host.log().contains(told).then_some(()));
    assert_eq!(host.ended(), Some(0));
}

#[test]
fn a_message_is_signed_or_the_file_is_refused() {
    let hook = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("url = \"http://{}/hook\"", hook.local_addr().expect("bound"));
    let signed = with_hook(&format!("{url}\nsecret_env = \"SERIN_TEST_SECRET\""));
    for (secret, kind) in [("whsec_c2VyaW4tdGVzdC1zZWNyZXQtMjQtYnl0ZXM=", "base64"), ("any text: 7", "raw")] {
        let deployment = with_hook(&format!("{url}\nsecret_env = \"SERIN_TEST_SECRET\""));
        let host = Host::start_in(&deployment, &[("SERIN_TEST_SECRET", secret)]).ready();
        let request = received(&hook, "HTTP/1.1 204 No Content\r\n\r\n");
        assert!(request.contains("serin-signature: sha256="), "{request}");
        let said = verified(&request, secret, kind);
        assert_eq!(said["verified"], true, "{said}");
        let altered = verified(&request.replace("\"running\"", "\"paused!\""), secret, kind);
        assert!(altered["error"].as_str().is_some_and(|why| why.contains("No matching signature")), "{altered}");
        let event = &said["event"];
        assert_eq!(event["type"], "serin.experiment.phase.v1", "{said}");
        assert_eq!(
            (&event["source"], &event["specversion"]),
            (&json!("/v1/experiments/outreach-score"), &json!("1.0"))
        );
        assert_eq!((&event["subject"], &event["id"]), (&json!("outreach-score"), &said["webhook_id"]));
        assert_eq!((&said["data"]["command"], &said["data"]["state"]), (&json!("start"), &json!("running")), "{said}");
        drop(host);
    }
    let host = Host::start_in(&signed, &[("SERIN_TEST_SECRET", "whsec_not base64")]).ready();
    let shown = host.admin.get("/v1/experiments/outreach-score").json();
    assert!(shown["error"].as_str().is_some_and(|why| why.contains("is not base64")), "{shown}");
    drop(host);

    let deployment = with_hook(&format!("{url}\nsecret_env = \"SERIN_TEST_NOT_SET\""));
    let checked = run(["check", "--config", deployment.config().to_str().expect("a path")]);
    assert_eq!(checked.code, Some(1), "{}", checked.stdout);
    let said = format!("{}{}", checked.stdout, checked.stderr);
    assert!(said.contains("notify[0].secret_env") && said.contains("'SERIN_TEST_NOT_SET' is not set"), "{said}");
    let host = Host::start(&deployment).ready();
    let shown = host.admin.get("/v1/experiments/outreach-score").json();
    assert!(shown["error"].as_str().is_some_and(|why| why.contains("SERIN_TEST_NOT_SET")), "{shown}");
    assert_ne!(shown["state"], "running");
}
