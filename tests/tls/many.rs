//! Many requests on one HTTP/2 connection: in parallel, taken back, and while the host stops.

use std::time::Duration;

use h2::Reason;
use tokio::task::JoinSet;

use super::client::{BOUND, connect, decide, decision, http2, read, run};
use super::{Authority, closed, encrypted, outreach, start};
use crate::support::{Host, eventually};

#[test]
fn a_hundred_requests_share_a_connection() {
    let ca = Authority::new("Lender");
    let deployment = encrypted(&ca, "");
    let host = start(&deployment, &ca);
    let connections = host.metric("serin_connections{listener=\"public\"}");
    run(async {
        let client = http2(connect(&host.public.address, &ca.pem, None, &[b"h2"]).await.expect("connects")).await;
        let mut open = Vec::new();
        for number in 0..100 {
            let mut ready = client.clone().ready().await.expect("room for one more");
            let (answer, body) = ready.send_request(decision(), false).expect("sends");
            open.push((number, answer, body));
        }
        // All heads are there before the first body, so all are under way at once.
        for (number, _, body) in &mut open {
            let request = outreach(&format!("b-{number}")).to_string();
            body.send_data(request.into(), true).expect("sends");
        }
        for (_, answer, _) in open {
            let (status, text) = read(answer.await.expect("an answer")).await.expect("a whole answer");
            assert_eq!(status, 200, "{text}");
        }
    });
    assert!(host.metric("serin_connections{listener=\"public\"}") <= connections + 1.0);
    let decisions = host.admin.get("/v1/decisions?limit=200").json();
    assert_eq!(decisions["decisions"].as_array().map(Vec::len), Some(100));
}

/// The bytes of memory that a process has.
fn resident(host: &Host) -> f64 {
    let statm = std::fs::read_to_string(format!("/proc/{}/statm", host.pid())).expect("a process");
    statm.split(' ').nth(1).expect("pages").parse::<f64>().expect("a number") * 4096.0
}

/// Sends requests and takes each back at once, until the host closes the connection; how many.
async fn flood(host: &Host, ca: &Authority, is_seen: bool) -> usize {
    let client = http2(connect(&host.public.address, &ca.pem, None, &[b"h2"]).await.expect("connects")).await;
    let mut sent = 0;
    while let Ok(mut ready) = client.clone().ready().await {
        let Ok((answer, mut body)) = ready.send_request(decision(), false) else { break };
        // The client's own task sends it.
        tokio::task::yield_now().await;
        if is_seen {
            // Time enough for the host to begin with it.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        body.send_reset(Reason::CANCEL);
        drop(answer);
        sent += 1;
        tokio::task::yield_now().await;
        assert!(sent < 100_000, "nobody stops it");
    }
    sent
}

#[test]
fn a_client_that_takes_requests_back_is_cut_off_and_others_are_served() {
    let ca = Authority::new("Lender");
    let deployment = encrypted(&ca, "");
    let host = start(&deployment, &ca);
    run(async {
        flood(&host, &ca, false).await;
        let before = resident(&host);
        for _ in 0..20 {
            flood(&host, &ca, false).await;
        }
        let grown = resident(&host) - before;
        assert!(grown < 64e6, "{grown} bytes more");
        let sent = flood(&host, &ca, true).await;
        assert!(sent < 5_000, "{sent} requests were begun and taken back");
    });
    eventually("it is counted", BOUND, || (closed(&host, "resets") >= 1.0).then_some(()));
    assert_eq!(host.public.post("/v1/decisions", &outreach("b-1")).status, 200);
    eventually("nothing is left under way", BOUND, || {
        (host.admin.get("/v1/deployment").json()["requests_in_flight"] == 0).then_some(())
    });
}

#[test]
fn a_client_that_takes_some_requests_back_is_served_on() {
    let ca = Authority::new("Lender");
    let deployment = encrypted(&ca, "");
    let host = start(&deployment, &ca);
    run(async {
        let client = http2(connect(&host.public.address, &ca.pem, None, &[b"h2"]).await.expect("connects")).await;
        for number in 0..600 {
            let mut ready = client.clone().ready().await.expect("it is served on");
            let (answer, mut body) = ready.send_request(decision(), false).expect("sends");
            let (status, _) = decide(&client, "b-1").await.unwrap_or_else(|e| panic!("request {number}: {e}"));
            assert_eq!(status, 200);
            body.send_reset(Reason::CANCEL);
            drop(answer);
        }
    });
    assert_eq!(closed(&host, "resets"), 0.0);
}

#[test]
fn a_host_that_stops_finishes_the_requests_of_an_http_2_connection() {
    let ca = Authority::new("Lender");
    let deployment = encrypted(&ca, "shutdown_delay = \"0s\"");
    let host = start(&deployment, &ca);
    run(async {
        let client = http2(connect(&host.public.address, &ca.pem, None, &[b"h2"]).await.expect("connects")).await;
        let mut open = Vec::new();
        for number in 0..50 {
            let mut ready = client.clone().ready().await.expect("room for one more");
            let (answer, body) = ready.send_request(decision(), false).expect("sends");
            open.push((number, answer, body));
        }
        // It has read all of these heads when it has answered what came after them.
        assert_eq!(decide(&client, "b-1").await.expect("an answer").0, 200);
        host.signal("TERM");
        while client.clone().ready().await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let mut answers = JoinSet::new();
        for (number, answer, mut body) in open {
            body.send_data(outreach(&format!("b-{number}")).to_string().into(), true).expect("sends");
            answers.spawn(async move { read(answer.await?).await });
        }
        while let Some(answer) = answers.join_next().await {
            let (status, text) = answer.expect("no panic").expect("what was accepted is answered");
            assert_eq!(status, 200, "{text}");
        }
    });
    assert_eq!(host.ended(), Some(0));
}

#[test]
fn a_host_that_leaves_sends_http_2_clients_elsewhere_and_still_serves() {
    let ca = Authority::new("Lender");
    let deployment = encrypted(&ca, "shutdown_delay = \"10m\"");
    let host = start(&deployment, &ca);
    run(async {
        let client = http2(connect(&host.public.address, &ca.pem, None, &[b"h2"]).await.expect("connects")).await;
        assert_eq!(decide(&client, "b-1").await.expect("an answer").0, 200);
        host.signal("TERM");
        let mut served = 0;
        // The last request that it takes is answered too; then the client has to go.
        while let Ok((status, _)) = decide(&client, "b-1").await {
            assert_eq!(status, 200);
            served += 1;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(served > 0);
        let again = http2(connect(&host.public.address, &ca.pem, None, &[b"h2"]).await.expect("still listens")).await;
        assert_eq!(decide(&again, "b-2").await.expect("an answer").0, 200);
    });
    host.signal("TERM");
    assert_eq!(host.ended(), Some(0));
}
