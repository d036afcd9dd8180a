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
        "host/CONFIGURATION.md",
        "host/EXPERIMENTS.md",
        "host/FEATURES.md",
        "host/MODELS.md",
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
