//! Credentials while something is under way: the file that names them is written, or a request arrives.

use std::io::Write as _;
use std::time::{Duration, Instant};

use super::{BOUND, admit, problem, request, token};
use crate::support::{Host, Raw, collections, eventually};

#[test]
fn a_file_that_is_being_written_gives_nobody_access_and_takes_nobodys() {
    let deployment = collections();
    let reader = admit(&deployment, "reader", "read", &[]);
    let before = deployment.read("serin.toml");
    let app = admit(&deployment, "app", "decide", &[]);
    let host = Host::start(&deployment).ready();
    let asks = |token: &str| {
        let answer = host.public.bearing(token).post("/v1/decisions", &request("collections-outreach"));
        answer.status
    };
    assert_eq!(asks(&app), 200);
    let (past, entry) = token(&["--name", "past", "--role", "decide", "--expires", "2026-01-01T00:00:00Z"]);
    let (next, next_entry) = token(&["--name", "next", "--role", "decide"]);
    let (without_end, end) = entry.split_at(entry.find("expires").expect("a line"));
    let own = deployment.read("serin.toml")[before.len()..].to_owned();

    // Valid TOML, in which one token has no end and another is not there. The writer goes on all the time.
    let mut file = std::fs::File::create(deployment.config()).expect("opens");
    write!(file, "{before}{without_end}").expect("writes");
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(3) {
        assert_eq!((asks(&app), asks(&past)), (200, 401));
        writeln!(file, "# …").expect("writes");
        // Of too many that are refused none is told why.
        for _ in 0..10 {
            assert_eq!(asks(&app), 200);
        }
    }
    write!(file, "{end}{own}{next_entry}").expect("writes");
    drop(file);
    eventually("what is whole is in force", BOUND, || (asks(&next) == 200).then_some(()));
    assert_eq!((asks(&app), asks(&past)), (200, 401));

    deployment.write("serin.toml", &before);
    let began = Instant::now();
    eventually("it is revoked", BOUND, || (asks(&app) == 401).then_some(()));
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert_eq!(host.admin.bearing(&reader).get("/v1/deployment").status, 200);
}

#[test]
fn a_request_whose_body_comes_after_its_token_was_revoked_is_not_carried_out() {
    let deployment = collections();
    deployment.edit("serin.toml", "[server]\n", "[server]\nbody_timeout = \"10m\"\nstall_timeout = \"10m\"\n");
    let reader = admit(&deployment, "reader", "read,audit", &[]);
    let before = deployment.read("serin.toml");
    let app = admit(&deployment, "app", "decide,operate", &[]);
    let host = Host::start(&deployment).ready();
    let post = |address: &str, path: &str, length: usize| {
        let mut connection = Raw::connect(address).expect("connects");
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {app}\r\ncontent-type: application/json\r\n\
             content-length: {length}\r\n\r\n"
        );
        assert!(connection.send(&head));
        connection
    };
    let (body, command) = (request("collections-outreach").to_string(), r#"{"reason":"numbers"}"#);
    let mut decision = post(&host.public.address, "/v1/decisions", body.len());
    let mut pause = post(&host.admin.address, "/v1/experiments/outreach-score/pause", command.len());
    assert!(decision.send(&body[..10]) && pause.send(&command[..5]), "they are under way");
    let reading = host.admin.bearing(&reader);
    eventually("both were let in", BOUND, || {
        let metrics = reading.get("/metrics").text;
        metrics.lines().any(|line| line == "serin_requests_in_flight 2").then_some(())
    });

    deployment.write("serin.toml", &before);
    let asks = || host.public.bearing(&app).get("/openapi.json").status;
    eventually("the token is revoked", BOUND, || (asks() == 401).then_some(()));
    assert!(decision.send(&body[10..]) && pause.send(&command[5..]));
    for connection in [&mut decision, &mut pause] {
        assert_eq!(problem(&connection.answer().expect("an answer")), (401, "credential-changed".to_owned()));
    }
    let paused = reading.get("/v1/experiments/outreach-score").json();
    assert_eq!(paused["state"], "running", "{paused}");
    let listed = reading.get("/v1/decisions").json();
    let decided = listed["decisions"].as_array().map(Vec::len);
    assert!(decided == Some(0), "{listed}");
}
