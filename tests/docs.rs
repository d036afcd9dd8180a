//! What the README says holds as it stands.

use serin_core::manifest::Manifest;

use crate::support::root;

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

#[test]
fn the_strategy_in_the_readme_is_the_one_in_plugins() {
    let readme = read("README.md");
    let block = readme.split("```rust\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a block of Rust");
    let source = read("plugins/outreach-rules-next/src/lib.rs");
    assert!(source.contains(block), "the README's strategy is not in plugins/outreach-rules-next");
    assert!(Manifest::parse(&read("plugins/outreach-rules-next/plugin.toml")).is_ok());
}

#[test]
fn every_link_of_the_documents_leads_somewhere() {
    for document in [
        "README.md",
        "ARCHITECTURE.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "host/CONFIGURATION.md",
        "host/CONSOLE.md",
        "host/EXPERIMENTS.md",
        "host/FEATURES.md",
        "host/MODELS.md",
        "host/OPERATING.md",
        "host/OUTCOMES.md",
        "host/PROTOCOLS.md",
        "host/demo/models/default-risk.md",
    ] {
        let text = read(document);
        let folder = root().join(document).parent().expect("in a folder").to_path_buf();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next()) {
            let leads = link.is_empty() || link.starts_with("http") || folder.join(link).exists();
            assert!(leads, "{document} links to {link}, which is not there");
        }
    }
}

#[test]
fn the_request_in_the_readme_is_one_that_the_demo_answers() {
    let readme = read("README.md");
    let body = readme.split("-d '").nth(1).and_then(|rest| rest.split('\'').next()).expect("a request");
    let request: serde_json::Value = serde_json::from_str(body).expect("the README's request is JSON");
    let deployment = crate::support::collections();
    let host = crate::support::Host::start(&deployment).ready();
    let answer = host.public.post("/v1/decisions", &request);
    assert_eq!(answer.status, 200, "{}", answer.text);
}

#[test]
fn the_outcomes_of_the_page_and_of_the_readme_are_stored() {
    let deployment = crate::support::collections();
    let host = crate::support::Host::start(&deployment).ready();
    let decided = host.decide(&serde_json::json!({
        "decision_point": "collections-outreach", "entities": { "borrower": "b-17", "loan": "l-88" },
        "context": { "days_past_due": 12 },
    }));
    let id = decided["decision_id"].as_str().expect("an id");
    let stored = |body: &str, at: &str| {
        let request: serde_json::Value = serde_json::from_str(body).unwrap_or_else(|e| panic!("{e}: {body}"));
        let answer = host.public.post(at, &request).json();
        let rows = request["outcomes"].as_array().or(request["exposures"].as_array()).expect("rows").len() as u64;
        // A second exposure of a decision is a duplicate.
        let taken = answer["stored"].as_u64().zip(answer["duplicates"].as_u64()).map(|(new, known)| new + known);
        assert_eq!((taken, &answer["refused"]), (Some(rows), &serde_json::json!([])), "{answer}\n{body}");
    };
    let mut seen = 0;
    for document in ["README.md", "host/OUTCOMES.md"] {
        let text = read(document);
        for at in ["/v1/outcomes", "/v1/exposures"] {
            for command in text.split(at).skip(1).filter(|rest| rest.trim_start_matches('`').starts_with(" -")) {
                let body = command.split("-d '").nth(1).and_then(|rest| rest.split('\'').next()).expect("a body");
                // The same ids are on both pages, for other rows.
                let body = body.replace("order-", &format!("{document}-")).replace("DECISION_ID", id);
                stored(&body.replace("01a21d4d-5bd6-7be6-9b88-2737e76606ed", id), at);
                seen += 1;
            }
        }
    }
    assert!(seen >= 4, "{seen} requests");
    let page = read("host/OUTCOMES.md");
    let csv = page.split("```\nid,").nth(1).and_then(|rest| rest.split("```").next()).expect("a CSV file");
    deployment.write("orders.csv", format!("id,{csv}"));
    let file = deployment.path().join("orders.csv");
    let args = ["outcomes", "load", file.to_str().expect("a path"), "--url", &host.public.address];
    let loaded = crate::support::run(args);
    assert_eq!(loaded.code, Some(0), "{}{}", loaded.stdout, loaded.stderr);
}
