//! A token that stands where none belongs is shown nowhere.

use serde_json::json;

use super::{admit, audit, problem};
use crate::support::{Host, collections, run, run_with};

#[test]
fn a_token_in_a_path_is_in_no_entry_of_the_audit_however_it_is_written() {
    let deployment = collections();
    let auditor = admit(&deployment, "auditor", "audit,read", &[]);
    let secret = admit(&deployment, "secret", "decide", &[]);
    let digits = secret.strip_prefix("serin_").expect("a token").to_owned();
    let host = Host::start(&deployment).ready();
    let reading = host.admin.bearing(&auditor);
    let digest = format!("sha256:{digits}");
    let paths = [
        format!("%2573erin_{digits}"),
        format!("%252573erin%25255F{digits}"),
        format!("Serin_{digits}"),
        format!("SERIN_{}", digits.to_uppercase()),
        format!("x{digits}"),
        format!("serin_%2F{digits}"),
    ];
    for path in &paths {
        reading.get(&format!("/v1/decisions/{path}"));
    }
    reading.get(&format!("/v1/decisions?unit=%2573erin_{digits}&point=p"));
    reading.get(&format!("/v1/decisions/{digest}"));
    let entries = audit(&reading, "limit=100");
    let targets: Vec<&str> = entries.iter().filter_map(|entry| entry["target"].as_str()).collect();
    let shown = targets.iter().filter(|target| target.to_lowercase().contains(&digits));
    assert_eq!(shown.collect::<Vec<_>>(), [&format!("/v1/decisions/{digest}")], "a digest is no token: {targets:#?}");
    assert!(targets.len() >= paths.len() + 2 && targets.contains(&"/v1/decisions/Serin_…"), "{targets:#?}");
}

#[test]
fn a_token_is_no_part_of_a_reason_or_of_an_address() {
    let deployment = collections();
    let operator = admit(&deployment, "operator", "operate,read,audit", &[]);
    let secret = admit(&deployment, "secret", "decide", &[]);
    let host = Host::start(&deployment).ready();
    let client = host.admin.bearing(&operator);
    let reason = format!("the job used {}", secret.to_uppercase());
    let refused = client.post("/v1/experiments/outreach-score/pause", &json!({ "reason": reason }));
    assert_eq!(problem(&refused), (422, "invalid-request".to_owned()));
    assert!(refused.text.contains("reason: has a token in it"), "{}", refused.text);
    let digits = secret.strip_prefix("serin_").expect("a token");
    let shown = client.get("/v1/experiments/outreach-score").text;
    for text in [&refused.text, &shown, &host.log()] {
        assert!(!text.to_lowercase().contains(digits), "{text}");
    }
    let two = client.post("/v1/experiments/outreach-score/pause", &json!({ "reason": "wrong\nnumbers" }));
    assert_eq!(two.status, 200, "a reason may have lines: {}", two.text);

    for address in [format!("http://x:{secret}@{}", host.admin.address), format!("x:{secret}@{}", host.admin.address)] {
        let refused = run_with(["status", "--admin", &address], &[("SERIN_TOKEN", &operator)]);
        assert_eq!(refused.code, Some(1), "{}", refused.stdout);
        assert!(
            refused.stderr.contains("a user or a password") && !refused.stderr.contains(digits),
            "{}",
            refused.stderr
        );
    }
    let pulled = run(["plugin", "pull", &format!("http://x:{secret}@registry.example/a:1.0.0")]);
    assert!(pulled.code == Some(1) && !pulled.stderr.contains(digits), "{}", pulled.stderr);
}
