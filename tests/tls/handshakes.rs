//! Who gets a connection, and what it speaks.

use std::time::{Duration, Instant};

use tokio::io::AsyncReadExt as _;

use super::client::{BOUND, connect, decide, http2, run, trusting};
use super::{Authority, Pair, Until, closed, deployment, encrypted, outreach, put, start};
use crate::support::{Client, Host, Raw, eventually};

#[test]
fn a_decision_is_made_over_tls_by_http_1_1_and_by_http_2() {
    let ca = Authority::new("Lender");
    let deployment = encrypted(&ca, "");
    let host = start(&deployment, &ca);
    let answer = host.public.post("/v1/decisions", &outreach("b-1"));
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(host.admin.get("/v1/deployment").json()["tls_error"], serde_json::Value::Null);
    run(async {
        let stream = connect(&host.public.address, &ca.pem, None, &[b"h2", b"http/1.1"]).await.expect("connects");
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let client = http2(stream).await;
        for borrower in ["b-1", "b-2", "b-1"] {
            let (status, text) = decide(&client, borrower).await.expect("an answer");
            assert_eq!(status, 200, "{text}");
            assert!(text.contains("\"decision_id\""), "{text}");
        }
        let stream = connect(&host.public.address, &ca.pem, None, &[b"http/1.1"]).await.expect("connects");
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    });
    assert_eq!(host.admin.get("/v1/decisions").json()["decisions"].as_array().map(Vec::len), Some(4));
    assert_eq!(host.stop(), Some(0));
}

#[test]
fn a_decision_is_made_in_the_clear_by_http_2() {
    let deployment = crate::support::collections();
    let host = Host::start(&deployment).ready();
    run(async {
        let stream = tokio::net::TcpStream::connect(&host.public.address).await.expect("connects");
        assert_eq!(decide(&http2(stream).await, "b-1").await.expect("an answer").0, 200);
    });
    // A method that begins with the same letter, and arrives letter by letter.
    let mut slow = Raw::connect(&host.public.address).expect("connects");
    assert!("POST".split_inclusive(|_: char| true).all(|letter| slow.send(letter)));
    assert!(slow.send(" /v1/nothing HTTP/1.1\r\nhost: serin\r\ncontent-length: 0\r\n\r\n"));
    assert_eq!(slow.answer().expect("an answer").status, 404);
}

#[test]
fn a_client_that_says_nothing_or_speaks_no_tls_is_closed() {
    let ca = Authority::new("Lender");
    let deployment = encrypted(&ca, "header_timeout = \"300ms\"");
    let host = start(&deployment, &ca);
    let began = Instant::now();
    let mut silent = Raw::connect(&host.public.address).expect("connects");
    assert!(silent.is_closed());
    assert!((Duration::from_millis(300)..BOUND).contains(&began.elapsed()));
    eventually("it is counted", BOUND, || (closed(&host, "header-timeout") >= 1.0).then_some(()));
    let mut plain = Raw::connect(&host.public.address).expect("connects");
    assert!(plain.send("GET /healthz HTTP/1.1\r\nhost: serin\r\n\r\n"));
    assert!(plain.is_closed());
    eventually("it is counted", BOUND, || (closed(&host, "tls") >= 1.0).then_some(()));
    // A client that trusts another CA hangs up in the handshake.
    let other = Authority::new("Another");
    let refused = run(connect(&host.public.address, &other.pem, None, &[]));
    assert!(refused.expect_err("no handshake").to_string().contains("certificate"));
    eventually("it is counted", BOUND, || (closed(&host, "tls") >= 2.0).then_some(()));
    let log = host.log();
    assert!(!log.contains("WARN") && !log.contains("ERROR"), "attempts are not logged: {log}");
}

/// Whether a client gets an answer.
fn answers(host: &Host, ca: &Authority, own: Option<&Pair>) -> bool {
    let client = Client::over_tls(&host.public.address, trusting(&ca.pem, own));
    client.post_text("/v1/decisions", &outreach("b-1").to_string(), &[]).is_some_and(|answer| answer.status == 200)
}

#[test]
fn mutual_tls_lets_in_whom_its_ca_vouches_for_and_nobody_else() {
    let (ca, clients) = (Authority::new("Lender"), Authority::new("Clients"));
    let deployment = deployment("", "client_ca = \"clients.pem\"");
    put(&deployment, &ca.issue("serin.internal", Until::Later));
    deployment.write("clients.pem", &clients.pem);
    let right = clients.issue("collections-app", Until::Later);
    let host = Host::start(&deployment).over_tls(&trusting(&ca.pem, Some(&right))).ready();
    assert!(answers(&host, &ca, Some(&right)));
    let refused = [None, Some(ca.issue("collections-app", Until::Later)), Some(clients.issue("app", Until::Days(-2)))];
    for (number, own) in (1..).zip(&refused) {
        assert!(!answers(&host, &ca, own.as_ref()), "client {number}");
        eventually("it is counted", BOUND, || (closed(&host, "tls") >= f64::from(number)).then_some(()));
    }
    // The handshake is what refuses it: before any byte of HTTP is read.
    run(async {
        let stream = connect(&host.admin.address, &ca.pem, None, &[b"h2"]).await;
        let refused = match stream {
            Ok(mut stream) => stream.read_u8().await.map(drop),
            Err(error) => Err(error),
        };
        assert!(refused.expect_err("refused").to_string().contains("CertificateRequired"));
    });
    assert_eq!(host.admin.get("/v1/decisions").json()["decisions"].as_array().map(Vec::len), Some(1));
}

#[test]
fn a_clients_certificate_names_an_identity() {
    let (ca, clients) = (Authority::new("Lender"), Authority::new("Clients"));
    let deployment = deployment("", "client_ca = \"clients.pem\"");
    put(&deployment, &ca.issue("serin.internal", Until::Later));
    deployment.write("clients.pem", &clients.pem);
    let entry = |name: &str, roles: &str| {
        format!("\n[[access.certificates]]\nname = \"{name}\"\nroles = {roles}\ndns = \"{name}.internal\"\n")
    };
    let entries = entry("app", "[\"decide\"]") + &entry("auditor", "[\"audit\"]");
    deployment.write("serin.toml", deployment.read("serin.toml") + &entries);
    let own = |name: &str| trusting(&ca.pem, Some(&clients.issue(&format!("{name}.internal"), Until::Later)));
    let host = Host::start(&deployment).over_tls(&own("app")).ready();
    assert_eq!(host.public.post("/v1/decisions", &outreach("b-1")).status, 200);
    assert_eq!(host.admin.get("/v1/decisions").status, 403, "it is not an auditor");
    let listed = Client::over_tls(&host.admin.address, own("auditor")).get("/v1/audit?what=records.list");
    assert_eq!(listed.status, 200, "{}", listed.text);
    let unknown = Client::over_tls(&host.public.address, own("stranger")).post("/v1/decisions", &outreach("b-1"));
    assert_eq!(unknown.status, 401, "the CA vouches for it, and nobody knows it here: {}", unknown.text);
}

#[test]
fn an_older_version_of_tls_than_the_oldest_is_refused() {
    let ca = Authority::new("Lender");
    let deployment = deployment("", "min_version = \"1.3\"");
    put(&deployment, &ca.issue("serin.internal", Until::Later));
    let host = start(&deployment, &ca);
    let old = |address: &str| {
        let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS12])
            .expect("a version")
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config));
        let name = rustls::pki_types::ServerName::try_from("localhost").expect("a name");
        run(async {
            let stream = tokio::net::TcpStream::connect(address).await.expect("connects");
            connector.connect(name, stream).await.map(drop)
        })
    };
    assert!(old(&host.public.address).expect_err("refused").to_string().contains("ProtocolVersion"));
}
