//! How a host stops: not ready first, then without new connections, and nobody is cut off.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use super::{outreach, problem};
use crate::support::{Answer, Host, Raw, collections, eventually};

const BOUND: Duration = Duration::from_secs(20);

fn post(connection: &mut Raw, body: &str) -> Option<Answer> {
    let length = body.len();
    let head = "POST /v1/decisions HTTP/1.1\r\nhost: serin\r\ncontent-type: application/json";
    let sent = connection.send(&format!("{head}\r\ncontent-length: {length}\r\n\r\n{body}"));
    if sent { connection.answer() } else { None }
}

#[test]
fn a_host_that_is_terminated_is_not_ready_first_and_cuts_nobody_off() {
    let deployment = collections();
    deployment.edit("serin.toml", "[server]", "[server]\nshutdown_delay = \"3s\"");
    let host = Host::start(&deployment).ready();
    let (sends, answered, closed) = (AtomicBool::new(true), AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        // Kept-alive clients behind a balancer that goes by readiness.
        let client = || {
            let mut connection = Raw::connect(&host.public.address).expect("connects");
            while sends.load(Ordering::SeqCst) {
                let answer = post(&mut connection, &outreach("b-1").to_string()).expect("nobody is cut off");
                assert_eq!(answer.status, 200, "{}", answer.text);
                answered.fetch_add(1, Ordering::SeqCst);
                if answer.headers.get("connection").is_some_and(|value| value == "close") {
                    assert!(connection.is_closed());
                    closed.fetch_add(1, Ordering::SeqCst);
                    connection = Raw::connect(&host.public.address).expect("still listens");
                }
            }
        };
        let clients = [(); 8].map(|()| scope.spawn(client));
        eventually("all are at it", BOUND, || (answered.load(Ordering::SeqCst) > 80).then_some(()));
        host.signal("TERM");
        eventually("it says that it leaves", BOUND, || (host.public.get("/readyz").status == 503).then_some(()));
        assert!(problem(&host.public.get("/readyz"), 503, "not-ready").contains("stopping"));
        assert_eq!(host.public.get("/healthz").status, 200, "not ready is not dead");
        let before = answered.load(Ordering::SeqCst);
        eventually("it serves all the same, and closes what it answers", BOUND, || {
            (answered.load(Ordering::SeqCst) > before + 80 && closed.load(Ordering::SeqCst) >= 8).then_some(())
        });
        sends.store(false, Ordering::SeqCst);
        clients.into_iter().for_each(|client| client.join().expect("nobody is cut off"));
    });
    let address = host.public.address.clone();
    assert_eq!(host.ended(), Some(0));
    assert!(Raw::connect(&address).is_none(), "nobody listens any more");
}

#[test]
fn a_host_that_says_where_it_listens_can_be_asked_to_stop() {
    let deployment = collections();
    let host = Host::start(&deployment);
    let status = std::fs::read_to_string(format!("/proc/{}/status", host.pid())).expect("it runs");
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).expect("the signals it handles");
    let caught = u64::from_str_radix(caught.trim(), 16).expect("a mask");
    // SIGINT and SIGTERM, whose default action would end it at once.
    assert_eq!(caught & 0x4002, 0x4002, "{caught:x}");
    assert_eq!(host.stop(), Some(0));
}

#[test]
fn a_request_whose_head_is_under_way_is_answered_and_idle_connections_hold_up_nobody() {
    let deployment = collections();
    let host = Host::start(&deployment).ready();
    let connect = || Raw::connect(&host.public.address).expect("connects");
    let (mut idle, mut begun, mut fresh) = (connect(), connect(), connect());
    assert_eq!(post(&mut idle, &outreach("b-1").to_string()).expect("an answer").status, 200);
    assert!(begun.send("GET /healthz HTTP/1.1\r\nho"));
    // The host has read what was sent so far when it has answered what was sent later.
    assert_eq!(host.public.get("/healthz").status, 200);
    host.signal("INT");
    assert!(idle.is_closed() && fresh.is_closed());
    assert!(begun.send("st: serin\r\n\r\n"));
    let answer = begun.answer().expect("what was begun is finished");
    assert_eq!((answer.status, answer.headers["connection"].as_str()), (200, "close"));
    assert_eq!(host.ended(), Some(0));
}

#[test]
fn a_request_that_does_not_end_keeps_a_host_no_longer_than_it_may_drain() {
    let deployment = collections();
    let bounds = "[server]\ndrain_timeout = \"300ms\"\nheader_timeout = \"10m\"";
    deployment.edit("serin.toml", "[server]", bounds);
    let host = Host::start(&deployment).ready();
    let mut endless = Raw::connect(&host.public.address).expect("connects");
    assert!(endless.send("GET /healthz HTTP/1.1\r\n"));
    assert_eq!(host.public.get("/healthz").status, 200);
    assert_eq!(host.stop(), Some(0));
    assert!(endless.is_closed());
}

#[test]
fn a_second_signal_stops_a_host_at_once() {
    let deployment = collections();
    deployment.edit("serin.toml", "[server]", "[server]\nshutdown_delay = \"10m\"");
    let host = Host::start(&deployment).ready();
    host.signal("TERM");
    eventually("it leaves", BOUND, || (host.public.get("/readyz").status == 503).then_some(()));
    host.signal("TERM");
    assert_eq!(host.ended(), Some(0));
}
