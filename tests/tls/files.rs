//! The files of `[server.tls]`: those that fit, those that do not, and one put in the other's place.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::client::{BOUND, connect, http2, run, trusting};
use super::{Authority, Until, deployment, encrypted, put, put_key, start};
use crate::support::{Cli, Client, Deployment, Host, eventually, root, run as serin};

const DAY: f64 = 24.0 * 3600.0;

fn tls_error(host: &Host) -> Option<String> {
    host.admin.get("/v1/deployment").json()["tls_error"].as_str().map(str::to_owned)
}

#[test]
fn a_replaced_certificate_is_for_new_connections_and_leaves_open_ones_alone() {
    let (old, new) = (Authority::new("Old"), Authority::new("New"));
    let deployment = encrypted(&old, "");
    let host = start(&deployment, &old);
    let served = |ca: &Authority| {
        let stream = run(connect(&host.public.address, &ca.pem, None, &[b"http/1.1"])).ok()?;
        stream.get_ref().1.peer_certificates().and_then(<[_]>::first).map(|der| der.as_ref().to_vec())
    };
    let first = served(&old).expect("a certificate");
    let mut kept = KeptAlive::open(&host.public.address, &old);
    kept.get();
    put(&deployment, &new.issue("serin.internal", Until::Later));
    let second = eventually("the new certificate is served", BOUND, || served(&new));
    assert_ne!(first, second);
    assert!(served(&old).is_none(), "and no longer the old one");
    kept.get();
    assert_eq!(tls_error(&host.over_tls(&trusting(&new.pem, None))), None);
}

/// A connection that goes on, in a runtime of its own.
struct KeptAlive(tokio::runtime::Runtime, TlsStream<TcpStream>);

impl KeptAlive {
    fn open(address: &str, ca: &Authority) -> Self {
        Self::with(address, ca, None)
    }

    fn with(address: &str, ca: &Authority, own: Option<&super::Pair>) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let stream = runtime.block_on(connect(address, &ca.pem, own, &[b"http/1.1"])).expect("connects");
        Self(runtime, stream)
    }

    /// The status of a probe; its answer is read whole.
    fn status(&mut self) -> u16 {
        let Self(runtime, stream) = self;
        runtime.block_on(async {
            stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: serin\r\n\r\n").await.expect("it goes on");
            let mut answer = Vec::new();
            loop {
                assert_ne!(stream.read_buf(&mut answer).await.expect("it goes on"), 0, "it goes on");
                let text = String::from_utf8_lossy(&answer).to_ascii_lowercase();
                let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
                if body.len() == length.parse::<usize>().expect("a number") {
                    return head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
                }
            }
        })
    }

    fn is_closed(&mut self) -> bool {
        let Self(runtime, stream) = self;
        runtime.block_on(async { stream.read_u8().await.is_err() })
    }

    fn get(&mut self) {
        let Self(runtime, stream) = self;
        runtime.block_on(async {
            stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: serin\r\n\r\n").await.expect("it goes on");
            let mut answer = Vec::new();
            while !answer.ends_with(b"ok\n") {
                assert_ne!(stream.read_buf(&mut answer).await.expect("it goes on"), 0, "it goes on");
            }
            assert!(answer.starts_with(b"HTTP/1.1 200 OK"));
        });
    }
}

#[test]
fn a_ca_of_clients_that_is_taken_away_lets_nobody_in_on_open_connections_either() {
    let (ca, old, new) = (Authority::new("Lender"), Authority::new("Old"), Authority::new("New"));
    let deployment = deployment("", "client_ca = \"clients.pem\"");
    put(&deployment, &ca.issue("serin.internal", Until::Later));
    deployment.write("clients.pem", &old.pem);
    let (before, after) = (old.issue("app", Until::Later), new.issue("app", Until::Later));
    let host = Host::start(&deployment).over_tls(&trusting(&ca.pem, Some(&before))).ready();
    let mut kept = KeptAlive::with(&host.public.address, &ca, Some(&before));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let multiplexed = runtime.block_on(async {
        let stream = connect(&host.public.address, &ca.pem, Some(&before), &[b"h2"]).await.expect("connects");
        http2(stream).await
    });
    let decide = || runtime.block_on(super::client::decide(&multiplexed, "b-1")).map(|(status, _)| status);
    let lets_in = |pair: &super::Pair| {
        let client = Client::over_tls(&host.public.address, trusting(&ca.pem, Some(pair)));
        let answer = client.post_text("/v1/decisions", &super::outreach("b-1").to_string(), &[]);
        answer.is_some_and(|answer| answer.status == 200)
    };
    assert_eq!((kept.status(), decide().expect("answers")), (200, 200));
    // While both are trusted, open connections go on.
    deployment.write("clients.pem", format!("{}{}", old.pem, new.pem));
    eventually("the new CA is trusted", BOUND, || lets_in(&after).then_some(()));
    assert_eq!((kept.status(), decide().expect("answers")), (200, 200));
    deployment.write("clients.pem", &new.pem);
    eventually("the old CA is not trusted any more", BOUND, || (!lets_in(&before)).then_some(()));
    // Each is told why, and its connection ends.
    assert_eq!((kept.status(), decide().expect("answers")), (401, 401));
    assert!(kept.is_closed(), "HTTP/1.1");
    eventually("HTTP/2", BOUND, || decide().is_err().then_some(()));
    let host = host.over_tls(&trusting(&ca.pem, Some(&after)));
    assert!(host.metric("serin_access_refused_total{reason=\"certificate-not-trusted\"}") >= 2.0);
}

/// What a start and a check say of a deployment that cannot start.
fn refused(deployment: &Deployment, case: &str, words: &[&str]) {
    let config = deployment.config();
    let config = config.to_str().expect("a path");
    let Cli { code, stderr, .. } =
        serin(["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--config", config]);
    assert_eq!(code, Some(1), "{case}: {stderr}");
    let Cli { code, stdout, stderr: checked } = serin(["check", "--config", config]);
    assert_eq!(code, Some(1), "{case}: {stdout}{checked}");
    for word in words {
        assert!(stderr.contains(word), "{case}: serve does not say {word:?}: {stderr}");
        assert!(
            checked.contains(word) || stdout.contains(word),
            "{case}: check does not say {word:?}: {stdout}{checked}"
        );
    }
}

/// A key with a password in the form that OpenSSL wrote before PKCS#8.
const ENCRYPTED: &str = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,\
    97DFB945A1E1BCFD9900708AD02A18F2\n\nYWJj\n-----END RSA PRIVATE KEY-----\n";

#[test]
fn files_that_do_not_fit_stop_a_start_and_change_nothing_in_a_running_host() {
    let ca = Authority::new("Lender");
    let deployment = encrypted(&ca, "");
    let (good, other) = (ca.issue("serin.internal", Until::Later), ca.issue("serin.internal", Until::Later));
    let expired = ca.issue("serin.internal", Until::Days(-2));
    let half = |text: &str| text[..text.len() / 2].to_owned();
    let cases: [(&str, &str, &str, u32, &[&str]); 10] = [
        ("expired", &expired.cert, &expired.key, 0o600, &["host.pem", "expired on 20"]),
        ("of another key", &good.cert, &other.key, 0o600, &["host.key", "is not the key of the certificate"]),
        ("truncated certificate", &half(&good.cert), &good.key, 0o600, &["host.pem", "no whole PEM file"]),
        ("truncated key", &good.cert, &half(&good.key), 0o600, &["host.key", "no whole PEM file"]),
        ("no PEM", "certificate", &good.key, 0o600, &["host.pem", "holds no certificate", "BEGIN CERTIFICATE"]),
        ("of another kind", &good.cert, &good.cert, 0o600, &["host.key", "holds no private key", "swapped?"]),
        ("swapped", &good.key, &good.cert, 0o644, &["host.pem", "holds no certificate, but", "swapped?"]),
        ("encrypted, as before", &good.cert, ENCRYPTED, 0o600, &["host.key", "is encrypted"]),
        ("readable by others", &good.cert, &good.key, 0o644, &["host.key", "mode 644", "chmod 600"]),
        ("writable by the group", &good.cert, &good.key, 0o620, &["host.key", "mode 620", "chmod 600"]),
    ];
    for (case, cert, key, mode, words) in cases {
        deployment.write("host.pem", cert);
        put_key(&deployment, key, mode);
        refused(&deployment, case, words);
    }
    deployment.remove("host.key");
    refused(&deployment, "missing", &["server.tls.key: ", "host.key", "No such file"]);
    put(&deployment, &good);
    let host = start(&deployment, &ca);
    for (case, cert, key, mode, words) in cases {
        deployment.write("host.pem", cert);
        put_key(&deployment, key, mode);
        let error = eventually(case, BOUND, || tls_error(&host).filter(|e| words.iter().all(|word| e.contains(word))));
        assert!(error.starts_with("server.tls."), "{error}");
        // A new connection: the pair that was good is served.
        assert!(run(connect(&host.public.address, &ca.pem, None, &[])).is_ok(), "{case}");
    }
    deployment.remove("host.key");
    eventually("missing", BOUND, || tls_error(&host).filter(|error| error.contains("No such file")));
    put(&deployment, &other);
    eventually("mended", BOUND, || tls_error(&host).is_none().then_some(()));
    let log = host.log();
    // (Of the modes, 644 may be seen between two cases, too: the pair is put there in two steps.)
    assert_eq!(log.matches("(mode 620)").count(), 1, "each error is logged once: {log}");
}

#[test]
fn a_clients_own_certificate_is_no_ca_of_clients() {
    let ca = Authority::new("Lender");
    let deployment = deployment("", "client_ca = \"clients.pem\"");
    put(&deployment, &ca.issue("serin.internal", Until::Later));
    let leaf = ca.issue("app.internal", Until::Later).cert;
    for wrong in [leaf.clone(), format!("{}{leaf}", ca.pem)] {
        deployment.write("clients.pem", wrong);
        refused(
            &deployment,
            "a leaf",
            &["client_ca", "clients.pem", "is no CA's", "valid: the certificates of the CAs"],
        );
    }
    deployment.write("clients.pem", &ca.pem);
    let checked = serin(["check", "--config", deployment.config().to_str().expect("a path")]);
    assert_eq!(checked.code, Some(0), "{}{}", checked.stdout, checked.stderr);
}

#[test]
fn a_certificate_that_expires_soon_is_warned_of() {
    let ca = Authority::new("Lender");
    let deployment = encrypted(&ca, "");
    let host = start(&deployment, &ca);
    let expiry = || host.metric("serin_tls_certificate_expiry_seconds");
    let now = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a time").as_secs_f64();
    let warnings = || host.admin.get("/v1/deployment").json()["warnings"].to_string();
    assert!(expiry() > now() + 10_000.0 * DAY && !warnings().contains("expires"));
    put(&deployment, &ca.issue("serin.internal", Until::Days(10)));
    eventually("it is warned of", BOUND, || warnings().contains("host.pem: expires on ").then_some(()));
    assert!((now() + 8.0 * DAY..now() + 11.0 * DAY).contains(&expiry()), "{}", expiry());
    let checked = serin(["check", "--config", deployment.config().to_str().expect("a path")]);
    assert_eq!(checked.code, Some(0), "{}{}", checked.stdout, checked.stderr);
    let all = checked.stdout + &checked.stderr;
    assert!(all.contains("TLS certificate") && all.contains("host.pem: expires on "), "{all}");
    put(&deployment, &ca.issue("serin.internal", Until::Days(20)));
    eventually("it is no longer warned of", BOUND, || (!warnings().contains("expires on ")).then_some(()));
    assert_eq!(host.log().matches("expires on ").count(), 1, "{}", host.log());
}

#[test]
fn turning_tls_off_needs_a_restart() {
    let ca = Authority::new("Lender");
    let deployment = encrypted(&ca, "");
    let host = start(&deployment, &ca);
    deployment.edit("serin.toml", "[server.tls]\ncert = \"host.pem\"\nkey = \"host.key\"\n", "");
    eventually("it is said", BOUND, || {
        let deployment = host.admin.get("/v1/deployment").json();
        (deployment["restart_required"] == serde_json::json!(["server.tls"])).then_some(())
    });
    assert_eq!(host.public.get("/healthz").status, 200);
}

#[test]
fn commands_speak_to_a_host_over_mutual_tls() {
    let (ca, clients) = (Authority::new("Lender"), Authority::new("Clients"));
    let deployment = deployment("", "client_ca = \"clients.pem\"");
    put(&deployment, &ca.issue("serin.internal", Until::Later));
    deployment.write("clients.pem", &clients.pem);
    deployment.write("ca.pem", &ca.pem);
    let me = clients.issue("ann", Until::Later);
    let host = Host::start(&deployment).over_tls(&trusting(&ca.pem, Some(&me))).ready();
    // Its own files, not the host's.
    let own = tempfile::tempdir().expect("a folder");
    let at = |name: &str| own.path().join(name).display().to_string();
    std::fs::write(at("me.pem"), &me.cert).expect("writes");
    std::fs::write(at("me.key"), &me.key).expect("writes");
    let status = |more: &[&str]| {
        let (cert, key) = (at("me.pem"), at("me.key"));
        let own = if more.contains(&"own") { vec!["--cert", &cert, "--key", &key] } else { Vec::new() };
        let more = more.iter().filter(|word| **word != "own").copied();
        serin(["status", "--admin"].into_iter().chain(more).chain(own))
    };
    let ca = deployment.path().join("ca.pem").display().to_string();
    let url = format!("https://{}", host.admin.address);
    let said = |cli: Cli, word: &str| {
        assert_eq!(cli.code, Some(1), "{}", cli.stdout);
        assert!(cli.stderr.contains(word), "{}", cli.stderr);
    };
    said(status(&[&url, "--ca", &ca, "own"]), "chmod 600");
    std::fs::set_permissions(at("me.key"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("sets");
    let shown = status(&[&url, "--ca", &ca, "own"]);
    assert_eq!(shown.code, Some(0), "{}", shown.stderr);
    assert!(shown.stdout.contains("collections-outreach"), "{}", shown.stdout);
    let without_scheme = status(&[&host.admin.address, "--ca", &ca, "own"]);
    assert_eq!(without_scheme.code, Some(0), "{}", without_scheme.stderr);
    said(status(&[&url, "own"]), "--ca FILE");
    said(status(&[&url, "--ca", &ca]), "--cert FILE --key FILE");
    said(status(&[&url, "--ca", "/dev/null"]), "/dev/null: is not a regular file");
    let readme = root().join("README.md").display().to_string();
    said(status(&[&url, "--ca", &readme]), "holds no certificate");
    // In the clear, and with files that do not fit.
    said(status(&[&format!("http://{}", host.admin.address)]), "its URL begins with https://");
    let other = clients.issue("bob", Until::Later);
    let with = |cert: &str, key: &str| serin(["status", "--admin", &url, "--ca", &ca, "--cert", cert, "--key", key]);
    std::fs::write(at("bob.key"), &other.key).expect("writes");
    std::fs::set_permissions(at("bob.key"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("sets");
    let cert = at("me.pem");
    said(with(&cert, &at("bob.key")), &format!("bob.key: is not the key of the certificate in {cert}"));
    said(with(&at("me.key"), &cert), "holds no certificate, but a private key; are the two files swapped?");
    assert_eq!(host.stop(), Some(0));
}
