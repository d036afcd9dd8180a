//! Slow clients over HTTP/2, by byte: each stage has its time there as well.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::client::{BOUND, connect, decide, decision, http2, read, run, with};
use super::{Authority, closed, encrypted, start};
use crate::support::{Deployment, Host, collections, eventually};

/// What begins a connection: the preface and empty SETTINGS.
const HELLO: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

fn in_the_clear(server: &str) -> Deployment {
    let deployment = collections();
    deployment.edit("serin.toml", "[server]", &format!("[server]\n{server}"));
    deployment
}

/// Reads what the host still sends until it closes the connection.
async fn until_closed(stream: &mut TcpStream) {
    let mut bytes = [0; 4096];
    // A reset is an end as well.
    while stream.read(&mut bytes).await.is_ok_and(|read| read > 0) {}
}

#[test]
fn a_connection_without_a_request_has_the_time_of_a_head() {
    let deployment = in_the_clear("header_timeout = \"300ms\"");
    let host = Host::start(&deployment).ready();
    run(async {
        for hello in [&HELLO[..2], &HELLO[..10], HELLO] {
            let mut stream = TcpStream::connect(&host.public.address).await.expect("connects");
            stream.write_all(hello).await.expect("sends");
            until_closed(&mut stream).await;
        }
    });
    eventually("they are counted", BOUND, || (closed(&host, "header-timeout") >= 3.0).then_some(()));
}

#[test]
fn a_head_that_does_not_end_has_its_time_after_other_requests_too() {
    let deployment = in_the_clear("header_timeout = \"300ms\"\nstall_timeout = \"300ms\"\nidle_timeout = \"10m\"");
    let host = Host::start(&deployment).ready();
    run(async {
        let mut stream = TcpStream::connect(&host.public.address).await.expect("connects");
        stream.write_all(HELLO).await.expect("sends");
        // GET /healthz by http at "a", whole (END_STREAM, END_HEADERS).
        let head = b"\x82\x86\x04\x08/healthz\x01\x01a";
        stream.write_all(&[&[0, 0, head.len() as u8, 1, 5, 0, 0, 0, 1], &head[..]].concat()).await.expect("sends");
        // Another one without its end, and a continuation of 1,000 bytes that come one by one.
        stream.write_all(&[&[0, 0, head.len() as u8, 1, 1, 0, 0, 0, 3], &head[..]].concat()).await.expect("sends");
        let (mut reads, mut writes) = stream.split();
        let endless = async {
            let mut next: &[u8] = &[0, 3, 0xe8, 9, 0, 0, 0, 0, 3];
            while writes.write_all(next).await.is_ok() {
                next = b"x";
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let closed = async {
            let mut bytes = [0; 4096];
            while reads.read(&mut bytes).await.is_ok_and(|read| read > 0) {}
        };
        let began = Instant::now();
        tokio::select! { () = endless => {}, () = closed => {} }
        assert!(began.elapsed() < BOUND);
    });
    assert_eq!(host.public.get("/healthz").status, 200);
}

#[test]
fn an_idle_connection_is_told_to_go_and_closed_whatever_it_pings() {
    let ca = Authority::new("Lender");
    let deployment = encrypted(&ca, "idle_timeout = \"300ms\"");
    let host = start(&deployment, &ca);
    run(async {
        let stream = connect(&host.public.address, &ca.pem, None, &[b"h2"]).await.expect("connects");
        let (client, mut connection) = h2::client::handshake(stream).await.expect("HTTP/2");
        let mut pings = connection.ping_pong().expect("the first");
        let driven = tokio::spawn(connection);
        assert_eq!(decide(&client, "b-1").await.expect("an answer").0, 200);
        while pings.ping(h2::Ping::opaque()).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // GOAWAY and an end in order, not a reset: what the client sent too late it can send again.
        // A ping may still meet the closed connection.
        let ended = driven.await.expect("no panic");
        let met_the_end =
            |error: h2::Error| error.get_io().map(std::io::Error::kind) == Some(std::io::ErrorKind::BrokenPipe);
        assert!(ended.map_or_else(met_the_end, |()| true), "an orderly end");
    });
    eventually("it is counted", BOUND, || (closed(&host, "idle") >= 1.0).then_some(()));
}

#[test]
fn a_slow_body_is_refused_and_its_connection_goes_on() {
    let ca = Authority::new("Lender");
    let deployment = encrypted(&ca, "body_timeout = \"10m\"\nstall_timeout = \"300ms\"");
    let host = start(&deployment, &ca);
    run(async {
        let client = http2(connect(&host.public.address, &ca.pem, None, &[b"h2"]).await.expect("connects")).await;
        let mut ready = client.clone().ready().await.expect("room");
        let (answer, mut body) = ready.send_request(decision(), false).expect("sends");
        body.send_data("{".into(), false).expect("sends");
        let (status, text) = read(answer.await.expect("an answer")).await.expect("a whole answer");
        assert_eq!(status, 408, "{text}");
        assert_eq!(decide(&client, "b-1").await.expect("an answer").0, 200);
    });
}

#[test]
fn an_answer_that_nobody_takes_cuts_the_connection_off() {
    let ca = Authority::new("Lender");
    let deployment = encrypted(&ca, "stall_timeout = \"300ms\"");
    let host = start(&deployment, &ca);
    let get = || axum::http::Request::get("https://localhost/openapi.json").body(()).expect("a request");
    run(async {
        // A small window, which is never opened again, for one of two answers.
        let mut small = h2::client::Builder::new();
        small.initial_window_size(1_000).initial_connection_window_size(10_000_000);
        let stream = connect(&host.public.address, &ca.pem, None, &[b"h2"]).await.expect("connects");
        let client = with(small, stream).await;
        let mut ready = client.clone().ready().await.expect("room");
        let (answer, _) = ready.send_request(get(), true).expect("sends");
        let deaf = answer.await.expect("a head");
        // Other requests go on meanwhile, and do not keep it.
        while decide(&client, "b-1").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        drop(deaf);
        // A client that takes its answers gets them whole, piece by piece.
        let stream = connect(&host.public.address, &ca.pem, None, &[b"h2"]).await.expect("connects");
        let mut small = h2::client::Builder::new();
        small.initial_window_size(1_000);
        let client = with(small, stream).await;
        let mut ready = client.clone().ready().await.expect("room");
        let (answer, _) = ready.send_request(get(), true).expect("sends");
        let (status, text) = read(answer.await.expect("a head")).await.expect("a whole answer");
        assert_eq!((status, text), (200, host.public.get("/openapi.json").text));
    });
    eventually("it is counted", BOUND, || (closed(&host, "stalled") >= 1.0).then_some(()));
}

#[test]
fn a_head_that_is_too_large_is_refused_over_http_2() {
    let ca = Authority::new("Lender");
    let deployment = encrypted(&ca, "");
    let host = start(&deployment, &ca);
    run(async {
        let client = http2(connect(&host.public.address, &ca.pem, None, &[b"h2"]).await.expect("connects")).await;
        let mut ready = client.clone().ready().await.expect("room");
        let mut request = axum::http::Request::get("https://localhost/healthz").body(()).expect("a request");
        for number in 0..4 {
            let name = axum::http::HeaderName::try_from(format!("x-padding-{number}")).expect("a name");
            request.headers_mut().insert(name, "x".repeat(10_000).parse().expect("a value"));
        }
        let (answer, _) = ready.send_request(request, true).expect("sends");
        match answer.await {
            Ok(answer) => assert_eq!(answer.status(), 431),
            Err(error) => assert!(error.is_reset() || error.is_go_away(), "{error}"),
        }
        assert_eq!(host.public.get("/healthz").status, 200);
    });
}
