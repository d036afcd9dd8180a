//! schemathesis against a running host: whatever a listener's OpenAPI document allows is answered as
//! it says, whatever it does not allow is refused, and nothing is a 5xx.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use crate::support::{Client, Deployment, Host, collections, root};

/// Where `make setup` installs it: in the build folder.
fn schemathesis() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("a build folder");
    let program = target.join("schemathesis-venv/bin/schemathesis");
    assert!(program.exists(), "{} is not there; run 'make setup'", program.display());
    program
}

/// Fuzzes a listener by its own document; `known` is what the hooks are told of the deployment. Returns
/// what was printed.
fn fuzz(host: &Host, deployment: &Deployment, listener: &Client, known: &[(&str, &str)]) -> String {
    let fuzz = root().join("tests/fuzz");
    let ran = Command::new(schemathesis())
        .arg("--no-color")
        .arg("--config-file")
        .arg(fuzz.join("schemathesis.toml"))
        .arg("run")
        .arg(format!("http://{}/openapi.json", listener.address))
        .env("SCHEMATHESIS_HOOKS", "hooks")
        .env("PYTHONPATH", &fuzz)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("NO_PROXY", "127.0.0.1")
        .envs(known.iter().copied())
        .current_dir(deployment.path())
        .output()
        .expect("schemathesis runs");
    let said = format!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success(), "{said}\n{}", host.log());
    let internal = host.admin.get("/metrics").text.lines().any(|line| line.contains("reason=\"internal\""));
    assert!(!internal && !host.log().contains("panicked"), "{}", host.log());
    said
}

#[test]
fn the_host_is_what_its_openapi_document_says() {
    let deployment = collections();
    let host = Host::start(&deployment).ready();
    let said = fuzz(&host, &deployment, &host.public, &[]);
    // That all was refused would satisfy the document, too.
    let decided = host.metric("serin_records_committed_total");
    assert!(decided > 200.0, "only {decided} decisions were made\n{said}");
    assert_eq!(host.stop(), Some(0));
}

/// What gives reports, records and histories something to show.
const WATCHED: &str = r#"
[[arms]]
name = "beside"
strategy = "outreach-score@1.1.0"
mode = "shadow"

[[metrics]]
name = "cured"
outcome = "cured"
role = "goal"
direction = "increase"
window = "1s"

[[guardrails]]
metric = "failures"
max_increase = 0.01
min_units = 10
"#;

#[test]
fn the_admin_listener_is_what_its_openapi_document_says() {
    let deployment = collections();
    let spec = deployment.read("experiments/outreach-score.toml");
    deployment.write("experiments/outreach-score.toml", format!("{spec}{WATCHED}"));
    // Commands go to an experiment of their own, so that the other one keeps running.
    let commanded = spec.replace("id = \"outreach-score\"", "id = \"commanded\"").replace("[0.0, 0.5]", "[0.5, 1.0]");
    deployment.write("experiments/commanded.toml", commanded);
    let host = Host::start(&deployment).ready();
    let rows = json!({ "rows": [{ "entity": "l-0", "event_time": jiff::Timestamp::now().to_string(), "values": { "contacts_7d": 2 } }] });
    assert_eq!(host.public.post("/v1/features/servicing", &rows).status, 200);
    let decided = (0..60).map(|i| {
        host.decide(&json!({
            "decision_point": "collections-outreach",
            "entities": { "borrower": format!("b-{i}"), "loan": format!("l-{i}") },
            "context": { "days_past_due": 12 },
        }))
    });
    let decisions: Vec<String> =
        decided.filter_map(|decision| decision["decision_id"].as_str().map(str::to_owned)).collect();
    let outcomes: Vec<_> = decisions
        .iter()
        .map(|id| json!({ "id": format!("o-{id}"), "name": "cured", "value": 1, "decision_id": id }))
        .collect();
    assert_eq!(host.public.post("/v1/outcomes", &json!({ "outcomes": outcomes })).json()["stored"], 60);

    fuzz(&host, &deployment, &host.admin, &[("SERIN_DECISION", &decisions[0])]);
    // That nothing was found and nothing carried out would satisfy the document, too.
    let commanded = host.admin.get("/v1/experiments/commanded").json();
    assert!(commanded["history"].as_array().is_some_and(|history| history.len() > 2), "{commanded}");
    let report = host.admin.get("/v1/experiments/outreach-score/report").json();
    assert!(report["units"]["entered"].as_u64().is_some_and(|units| units > 10), "{report}");
    assert_eq!(host.stop(), Some(0));
}
