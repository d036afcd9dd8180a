//! What a host asks of its configuration and of its clients before anybody gets in.

use serde_json::json;

use super::{BOUND, admit, audit, problem};
use crate::support::{Host, Raw, collections, eventually, run, run_with};

#[test]
fn without_access_nobody_else_can_reach_a_host() {
    let deployment = collections();
    let config = deployment.config();
    let config = config.to_str().expect("a path");
    for (option, key) in [("--listen", "server.listen"), ("--admin", "server.admin")] {
        let refused = run(["serve", "--config", config, option, "0.0.0.0:0"]);
        assert_eq!(refused.code, Some(1));
        for part in [key, "[[access.tokens]]", "serin token new", "127.0.0.1"] {
            assert!(refused.stderr.contains(part), "{part} in {}", refused.stderr);
        }
    }
    let text = deployment.read("serin.toml");
    deployment.write("serin.toml", text.replace("listen = \"127.0.0.1:8080\"", "listen = \"[::]:8080\""));
    let checked = run(["check", "--config", config]);
    assert!(
        checked.code == Some(1) && checked.stdout.contains("server.listen") | checked.stderr.contains("server.listen"),
        "{checked:?}"
    );
    admit(&deployment, "app", "decide", &[]);
    let checked = run(["check", "--config", config]);
    assert_eq!(checked.code, Some(0), "{checked:?}");
}

#[test]
fn a_mistake_in_access_is_told_with_what_is_valid() {
    let deployment = collections();
    let text = deployment.read("serin.toml");
    let hash = "a".repeat(64);
    let tls = "[server.tls]\ncert = \"a\"\nkey = \"b\"\n";
    let certificate = "[[access.certificates]]\nname = \"app\"\nroles = [\"decide\"]\ndns = \"a b\"\n";
    let entry =
        |more: &str| format!("[[access.tokens]]\nname = \"app\"\nroles = [\"decide\"]\nsha256 = \"{hash}\"\n{more}");
    for (lines, parts) in [
        ("[access]\n".to_owned(), &["serin token new"][..]),
        (
            entry("").replace("\"decide\"", "\"root\""),
            &["access.tokens[0].roles", "\"root\"", "decide, ingest, read, audit, operate, approve"],
        ),
        (entry("").replace("[\"decide\"]", "[]"), &["access.tokens[0].roles", "at least one"]),
        (entry("").replace("name = \"app\"", "name = \"a b\""), &["access.tokens[0].name", "letters"]),
        (entry("").replace("name = \"app\"", "name = \"serin\""), &["the host itself"]),
        (
            entry("").replace(&hash, "serin_abc"),
            &["access.tokens[0].sha256", "64 hexadecimal digits", "never the token"],
        ),
        (entry("points = [\"colections\"]\n"), &["access.tokens[0].points", "colections", "collections-outreach"]),
        (entry("points = []\n"), &["access.tokens[0].points"]),
        (entry("expires = \"soon\"\n"), &["access.tokens[0].expires", "RFC 3339"]),
        (entry("expire = \"soon\"\n"), &["expire", "expires"]),
        (entry("") + &entry("").replace("app", "twin"), &["access.tokens[1].sha256", "another entry"]),
        (
            entry("") + &entry("").replace("decide", "read").replace(&hash, &"b".repeat(64)),
            &["access.tokens[1]", "other roles", "access.tokens[0]"],
        ),
        (certificate.to_owned(), &["access.certificates", "nobody in", "server.tls.client_ca"]),
        (format!("{tls}{certificate}"), &["access.certificates", "nobody in", "server.tls.client_ca"]),
        (format!("{tls}client_ca = \"c\"\n{certificate}"), &["access.certificates[0].dns", "app.internal"]),
    ] {
        deployment.write("serin.toml", format!("{text}\n{lines}"));
        let checked = run(["check", "--config", deployment.config().to_str().expect("a path")]);
        let said = format!("{}{}", checked.stdout, checked.stderr);
        assert_eq!(checked.code, Some(1), "{lines}");
        parts.iter().for_each(|part| assert!(said.contains(part), "{part} in {said}"));
    }
    let wrong = run(["token", "new", "--name", "app", "--role", "root"]);
    assert!(wrong.code == Some(2) && wrong.stderr.contains("decide, ingest"), "{}", wrong.stderr);
}

#[test]
fn probes_are_asked_for_nothing_and_told_their_status_alone() {
    let deployment = collections();
    deployment.remove("plugins/outreach-rules-1.0.0.wasm");
    let host = Host::start(&deployment);
    assert!(host.public.get("/readyz").text.contains("collections-outreach"), "who may do everything may know it");
    assert_eq!(host.stop(), Some(0));
    admit(&deployment, "app", "decide", &[]);
    let host = Host::start(&deployment);
    for client in [&host.public, &host.admin] {
        assert_eq!(client.get("/healthz").text, "ok\n");
        let probed = client.get("/readyz");
        assert_eq!(problem(&probed), (503, "not-ready".to_owned()));
        assert!(!probed.text.contains("outreach"), "{}", probed.text);
    }
}

#[test]
fn a_client_that_hangs_up_takes_back_no_entry_of_what_it_did() {
    let deployment = collections();
    let ann = admit(&deployment, "ann", "read,operate,audit", &[]);
    let host = Host::start(&deployment).ready();
    let admin = host.admin.bearing(&ann);
    // One change is the host's own: the start.
    let changes = || admin.get("/v1/experiments/outreach-score").json()["history"].as_array().map_or(0, Vec::len) - 1;
    let send = |command: &str| {
        let mut raw = Raw::connect(&host.admin.address).expect("connects");
        let body = json!({ "reason": "a try" }).to_string();
        raw.send(&format!(
            "POST /v1/experiments/outreach-score/{command} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {ann}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        ));
        raw
    };
    // Who hangs up too soon is not heard at all, and so some stay a while.
    eventually("some are carried out", BOUND, || {
        ["pause", "resume"].iter().for_each(|command| drop(send(command)));
        let _staying = ["pause", "resume"].map(send);
        (changes() >= 20).then_some(())
    });
    eventually("each of them is in the audit", BOUND, || {
        let entries = audit(&admin, "who=ann&limit=1000");
        let is_change = |entry: &&serde_json::Value| {
            entry["what"].as_str().is_some_and(|what| what.starts_with("experiment.")) && entry["result"] == "done"
        };
        (entries.iter().filter(is_change).count() == changes()).then_some(())
    });
}

#[test]
fn a_refusal_names_what_was_asked_for_and_the_role_that_it_needs() {
    let deployment = collections();
    let app = admit(&deployment, "app", "decide", &[]);
    let auditor = admit(&deployment, "auditor", "audit", &[]);
    let host = Host::start(&deployment).ready();
    let admin = host.admin.bearing(&app);
    let why = json!({ "reason": "looks well" });
    assert_eq!(problem(&admin.post("/v1/freeze", &why)).0, 403);
    assert_eq!(problem(&admin.post("/v1/experiments/outreach-score/approve", &why)).0, 403);
    assert_eq!(problem(&host.admin.get("/v1/plugins")).0, 401);
    assert_eq!(host.stop(), Some(0));
    let host = Host::start(&deployment).ready();
    let refused = audit(&host.admin.bearing(&auditor), "what=access.refused");
    let has = |who: serde_json::Value, target: &str| {
        refused.iter().any(|entry| entry["who"] == who && entry["target"] == target)
    };
    assert!(has(json!("app"), "POST /v1/freeze, needs operate"), "{refused:?}");
    assert!(has(json!("app"), "POST /v1/experiments/{id}/{command}, needs approve"), "{refused:?}");
    assert!(has(json!(null), "GET /v1/plugins, needs read"), "{refused:?}");
    // A kind that there is not is told as that, with those that there are.
    let asked = |what: &str| {
        let admin = format!("http://{}", host.admin.address);
        run_with(["audit", "--what", what, "--since", "1h", "--admin", &admin], &[("SERIN_TOKEN", &auditor)])
    };
    let unknown = asked("foo.bar");
    let said = "--what foo.bar: no entry is of this kind; valid: access.applied, access.refused";
    assert!(unknown.code == Some(1) && unknown.stderr.contains(said), "{unknown:?}");
    assert_eq!(asked("clock.confirm").code, Some(0));
    let without = run(["status", "--admin", &host.admin.address]);
    assert!(without.stderr.contains("--token-file FILE or the variable SERIN_TOKEN"), "{}", without.stderr);
}

#[test]
fn a_token_is_made_only_of_what_a_host_accepts() {
    let made = |more: &[&str]| run([&["token", "new", "--role", "decide"], more].concat());
    for (more, valid) in [
        (&["--name", "a b"][..], "1 to 64 letters, digits"),
        (&["--name", ""], "1 to 64 letters, digits"),
        (&["--name", "serin"], "the host itself acts under this name"),
        (&["--name", "app", "--point", "a b"], "a letter, then up to 63 letters"),
        (&["--name", "app", "--expires", "tomorrow"], "RFC 3339, like 2027-01-01T00:00:00Z"),
        (&["--name", "app", "--expires", "1960-01-01T00:00:00Z"], "RFC 3339, like 2027-01-01T00:00:00Z"),
    ] {
        let refused = made(more);
        assert!(refused.code == Some(2) && refused.stderr.contains(valid), "{more:?}: {}", refused.stderr);
        assert_eq!(refused.stdout, "", "no token is shown");
    }
    let past = made(&["--name", "app", "--expires", "2026-01-01T00:00:00Z"]);
    assert!(past.code == Some(0) && past.stderr.contains("--expires lies in the past"), "{}", past.stderr);
}
