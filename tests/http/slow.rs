//! Slow clients, and many of them: each stage of a connection has its time, and each peer its number.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::{outreach, problem};
use crate::support::{Deployment, Host, Raw, collections, eventually};

const BOUND: Duration = Duration::from_secs(20);

fn with(server: &str) -> Deployment {
    let deployment = collections();
    deployment.edit("serin.toml", "[server]", &format!("[server]\n{server}"));
    deployment
}

fn closed(host: &Host, reason: &str) -> f64 {
    host.metric(&format!("serin_connections_closed_total{{reason=\"{reason}\"}}"))
}

#[test]
fn clients_that_send_a_header_byte_by_byte_give_their_places_back() {
    let deployment = with("max_connections = 16\nmax_connections_per_peer = 16\nheader_timeout = \"500ms\"");
    let host = Host::start(&deployment).ready();
    let goes_on = AtomicBool::new(true);
    std::thread::scope(|scope| {
        let slow = || {
            while goes_on.load(Ordering::SeqCst) {
                let Some(mut connection) = Raw::connect(&host.public.address) else { continue };
                connection.send("GET /healthz HTTP/1.1\r\nhost: serin\r\nx-slow: ");
                // Something moves on it all the time.
                while goes_on.load(Ordering::SeqCst) && connection.send("x") {
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
        };
        for _ in 0..20 {
            scope.spawn(slow);
        }
        eventually("they are cut off", BOUND, || (closed(&host, "header-timeout") >= 16.0).then_some(()));
        for _ in 0..3 {
            let answer = host.public.post("/v1/decisions", &outreach("b-1"));
            assert_eq!(answer.status, 200, "the others are answered");
        }
        goes_on.store(false, Ordering::SeqCst);
    });
}

#[test]
fn a_peer_has_so_many_connections_and_no_more() {
    let deployment = with("max_connections_per_peer = 8");
    let host = Host::start(&deployment).ready();
    let mut many: Vec<Raw> = (0..12).map(|_| Raw::connect(&host.public.address).expect("connects")).collect();
    eventually("some are not let in", BOUND, || (closed(&host, "peer-limit") >= 4.0).then_some(()));
    let open = |one: &mut Raw| one.send("GET /healthz HTTP/1.1\r\nhost: serin\r\n\r\n") && one.answer().is_some();
    let open = many.iter_mut().map(open).filter(|is_open| *is_open).count();
    assert!((7..=8).contains(&open), "{open} of 12");
    assert!(host.metric("serin_connections{listener=\"public\"}") <= 8.0);
    drop(many);
    eventually("they have given their places back", BOUND, || {
        (host.metric("serin_connections{listener=\"public\"}") <= 1.0).then_some(())
    });
    assert_eq!(host.public.post("/v1/decisions", &outreach("b-1")).status, 200);
}

#[test]
fn a_trusted_proxy_brings_more_connections_than_a_peer_may_have() {
    let deployment = with("max_connections_per_peer = 2\ntrusted_proxies = [\"127.0.0.0/8\"]");
    let host = Host::start(&deployment).ready();
    let mut many: Vec<Raw> = (0..12).map(|_| Raw::connect(&host.public.address).expect("connects")).collect();
    for one in &mut many {
        assert!(one.send("GET /healthz HTTP/1.1\r\nhost: serin\r\n\r\n"));
        assert_eq!(one.answer().expect("an answer").status, 200);
    }
    assert_eq!(closed(&host, "peer-limit"), 0.0);
}

#[test]
fn a_connection_that_says_nothing_is_closed() {
    let deployment = with("header_timeout = \"300ms\"\nidle_timeout = \"200ms\"");
    let host = Host::start(&deployment).ready();
    let mut silent = Raw::connect(&host.public.address).expect("connects");
    assert!(silent.is_closed());
    let mut kept = Raw::connect(&host.public.address).expect("connects");
    assert!(kept.send("GET /healthz HTTP/1.1\r\nhost: serin\r\n\r\n"));
    assert_eq!(kept.answer().expect("an answer").status, 200);
    assert!(kept.is_closed());
    assert!(closed(&host, "header-timeout") >= 1.0 && closed(&host, "idle") >= 1.0);
}

#[test]
fn a_body_has_its_time_whole_and_from_byte_to_byte() {
    let begin = |host: &Host| {
        let mut connection = Raw::connect(&host.public.address).expect("connects");
        let head = "POST /v1/decisions HTTP/1.1\r\nhost: serin\r\ncontent-type: application/json";
        assert!(connection.send(&format!("{head}\r\ncontent-length: 100000\r\n\r\n{{")));
        connection
    };
    let deployment = with("body_timeout = \"10m\"\nstall_timeout = \"300ms\"");
    let host = Host::start(&deployment).ready();
    problem(&begin(&host).answer().expect("an answer"), 408, "body-too-slow");
    drop(host);

    let deployment = with("body_timeout = \"500ms\"\nstall_timeout = \"10m\"");
    let host = Host::start(&deployment).ready();
    let mut dribbling = begin(&host);
    let goes_on = eventually("it is refused while bytes come", BOUND, || {
        let taken = dribbling.send(" ");
        (host.metric("serin_rejected_total{reason=\"body-too-slow\"}") >= 1.0).then_some(taken)
    });
    assert!(goes_on, "the peer was still sending");
}

#[test]
fn a_body_that_says_that_it_is_too_large_is_refused_before_it_comes() {
    let deployment = with("body_timeout = \"10m\"\nstall_timeout = \"10m\"");
    let host = Host::start(&deployment).ready();
    for expect in ["", "\r\nexpect: 100-continue"] {
        let mut connection = Raw::connect(&host.public.address).expect("connects");
        let head = "POST /v1/decisions HTTP/1.1\r\nhost: serin\r\ncontent-type: application/json";
        assert!(connection.send(&format!("{head}{expect}\r\ncontent-length: 5000000000\r\n\r\n")));
        let answer = connection.answer().expect("an answer");
        assert!(problem(&answer, 413, "body-too-large").contains("max_body_bytes"), "{}", answer.text);
    }
}

#[test]
fn a_client_that_does_not_read_is_cut_off() {
    let deployment = with("stall_timeout = \"300ms\"");
    let host = Host::start(&deployment).ready();
    let mut deaf = Raw::connect(&host.public.address).expect("connects");
    let asks = "GET /openapi.json HTTP/1.1\r\nhost: serin\r\n\r\n".repeat(50);
    std::thread::scope(|scope| {
        // The host takes no more requests once its answers are not taken.
        scope.spawn(move || while deaf.send(&asks) {});
        eventually("it is cut off", BOUND, || (closed(&host, "stalled") >= 1.0).then_some(()));
    });
    assert_eq!(host.public.post("/v1/decisions", &outreach("b-1")).status, 200);
}

#[test]
fn a_large_head_is_refused() {
    let deployment = collections();
    let host = Host::start(&deployment).ready();
    let mut connection = Raw::connect(&host.public.address).expect("connects");
    let padding = "x".repeat(40_000);
    connection.send(&format!("GET /healthz HTTP/1.1\r\nhost: serin\r\nx-padding: {padding}\r\n\r\n"));
    assert_eq!(connection.answer().expect("an answer").status, 431);
    // As the reference has it: 32 KiB, and a hundred headers.
    let status = |head: String| {
        let mut connection = Raw::connect(&host.public.address).expect("connects");
        connection.send(&head);
        connection.answer().expect("an answer").status
    };
    let headers = |many: usize| {
        let more: String = (1..many).map(|at| format!("x-{at}: y\r\n")).collect();
        format!("GET /healthz HTTP/1.1\r\nhost: serin\r\n{more}\r\n")
    };
    assert_eq!((status(headers(100)), status(headers(101))), (200, 431));
    let bytes = |many: usize| {
        let rest = "GET /healthz HTTP/1.1\r\nhost: serin\r\nx: \r\n\r\n".len();
        format!("GET /healthz HTTP/1.1\r\nhost: serin\r\nx: {}\r\n\r\n", "y".repeat(many - rest))
    };
    assert_eq!((status(bytes(32 << 10)), status(bytes((32 << 10) + 1))), (200, 431));
}

#[test]
fn the_bytes_of_bodies_in_flight_are_bounded() {
    let deployment = with("max_body_bytes = 1000000\nmax_bytes_in_flight = 1000000");
    let host = Host::start(&deployment).ready();
    let body = format!("{}{}", outreach("b-1"), " ".repeat(900_000));
    let mut slow = Raw::connect(&host.public.address).expect("connects");
    let head = "POST /v1/decisions HTTP/1.1\r\nhost: serin\r\ncontent-type: application/json";
    assert!(slow.send(&format!("{head}\r\ncontent-length: {}\r\n\r\n{}", body.len(), &body[..850_000])));
    let held = || host.metric("serin_bytes_in_flight");
    eventually("its bytes count", BOUND, || (held() >= 850_000.0).then_some(()));
    let large = format!("{}{}", outreach("b-2"), " ".repeat(200_000));
    let refused = host.public.post_text("/v1/decisions", &large, &[]).expect("answers");
    assert!(problem(&refused, 503, "overloaded").contains("server.max_bytes_in_flight"));
    assert_eq!(host.public.post("/v1/decisions", &outreach("b-3")).status, 200, "a small one has room");
    assert!(slow.send(&body[850_000..]));
    assert_eq!(slow.answer().expect("an answer").status, 200);
    eventually("they are given back", BOUND, || (held() == 0.0).then_some(()));
    assert_eq!(host.public.post_text("/v1/decisions", &large, &[]).expect("answers").status, 200);
}
