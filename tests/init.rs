//! From an empty folder to a decision: `serin init`, in each language and for any domain.

use std::path::Path;

use serde_json::json;

use crate::author::{Ran, plugin, serin_in};
use crate::support::{Host, root, run};

/// `serin init` in a folder, with the repository's SDKs.
fn init(dir: &Path, args: &[&str]) -> Ran {
    let sdk = root().join("guest-sdk").display().to_string();
    serin_in(dir, &[&["init"], args, &["--sdk", &sdk]].concat())
}

#[test]
fn an_empty_folder_becomes_a_deployment_in_each_language_and_serves() {
    for lang in ["rust", "python", "javascript"] {
        let dir = tempfile::tempdir().expect("a folder");
        let domain = [
            "--decision-point",
            "checkout-offer",
            "--entity",
            "visitor",
            "--actions",
            "nothing,free-shipping,discount",
        ];
        let made = init(dir.path(), &[&["shop", "--lang", lang], &domain[..]].concat());
        assert_eq!(made.code, Some(0), "{lang}: {}{}", made.stdout, made.stderr);
        assert!(made.stderr.contains("building the strategy") && made.stderr.contains(" s\n"), "{}", made.stderr);
        let project = dir.path().join("shop/strategies/checkout-offer-rules");
        let artifact = dir.path().join("shop/plugins/checkout-offer-rules-0.1.0.wasm");
        assert!(artifact.exists(), "{lang}: {}", made.stderr);
        if lang != "rust" {
            // To compile its artifact for this machine takes a
            // minute, and other tests serve such ones.
            continue;
        }
        let tested = plugin(&project, &["test", "."]);
        assert_eq!(tested.code, Some(0), "{lang}: {}{}", tested.stdout, tested.stderr);
        assert!(tested.stdout.contains("2 cases, 0 failed"), "{}", tested.stdout);
        let checked = plugin(&project, &["check", "."]);
        assert!(!checked.stdout.contains("warning"), "nobody has changed anything yet: {}", checked.stdout);
        let config = dir.path().join("shop/serin.toml");
        let checked = run(["check", "--config", config.to_str().expect("a path")]);
        assert_eq!(checked.code, Some(0), "{lang}: {}{}", checked.stdout, checked.stderr);
        assert!(!checked.stderr.contains("warning"), "{}", checked.stderr);
        let host = Host::start_with(&config, &[]).ready();
        for (value, action) in [(99.0, "nothing"), (120.0, "free-shipping")] {
            let request = json!({ "decision_point": "checkout-offer", "entities": { "visitor": "v-1" }, "context": { "value": value } });
            let answer = host.public.post("/v1/decisions", &request).json();
            assert_eq!((&answer["action"], &answer["degraded"]), (&json!(action), &json!([])), "{lang}: {answer}");
            assert_eq!(answer["strategy"]["name"], "checkout-offer-rules", "{answer}");
        }
        assert_eq!(host.stop(), Some(0));
    }
}

#[test]
fn the_canary_that_is_written_beside_it_runs_once_its_version_is_there() {
    let dir = tempfile::tempdir().expect("a folder");
    assert_eq!(init(dir.path(), &["shop"]).code, Some(0));
    let shop = dir.path().join("shop");
    let project = shop.join("strategies/decide-rules");
    crate::author::edit(&project.join("plugin.toml"), "version = \"0.1.0\"", "version = \"0.2.0\"");
    let built = plugin(&project, &["build", "."]);
    assert_eq!(built.code, Some(0), "{}", built.stderr);
    let artifact = "decide-rules-0.2.0.wasm";
    std::fs::copy(project.join("dist").join(artifact), shop.join("plugins").join(artifact)).expect("copies");
    let experiments = shop.join("experiments");
    std::fs::rename(experiments.join("canary.toml.example"), experiments.join("canary.toml")).expect("renames");
    let config = shop.join("serin.toml");
    let checked = run(["check", "--config", config.to_str().expect("a path")]);
    assert_eq!(checked.code, Some(0), "{}{}", checked.stdout, checked.stderr);
    let host = Host::start_with(&config, &[]).ready();
    crate::support::eventually("the canary runs", std::time::Duration::from_secs(30), || {
        (host.admin.get("/v1/experiments/canary").json()["state"] == "running").then_some(())
    });
    assert_eq!(host.stop(), Some(0));
}

#[test]
fn what_cannot_be_made_is_told_and_nothing_is_written() {
    let dir = tempfile::tempdir().expect("a folder");
    for (args, said) in [
        (&["shop", "--decision-point", "1st"][..], "--decision-point: '1st' is not a name"),
        (&["shop", "--actions", "Offer"], "like offer"),
        (&["shop", "--entity", "a b"], "--entity: 'a b' is not a name"),
        (&["shop", "--strategy", "-x"], "-x"),
    ] {
        let refused = init(dir.path(), args);
        assert!(refused.code != Some(0) && refused.stderr.contains(said), "{args:?}: {}", refused.stderr);
        assert!(!dir.path().join("shop").exists(), "{args:?}");
    }
    std::fs::create_dir(dir.path().join("full")).expect("makes");
    std::fs::write(dir.path().join("full/notes.txt"), "mine").expect("writes");
    let refused = init(dir.path(), &["full"]);
    assert!(refused.code == Some(1) && refused.stderr.contains("is not empty"), "{}", refused.stderr);
}

#[test]
fn a_project_of_any_domain_is_made_beside_a_deployment() {
    let dir = tempfile::tempdir().expect("a folder");
    let sdk = root().join("guest-sdk").display().to_string();
    let made = plugin(
        dir.path(),
        &["new", "prices", "--lang", "rust", "--sdk", &sdk, "--decision-point", "pricing", "--actions", "keep,lower"],
    );
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    let tested = plugin(&dir.path().join("prices"), &["test", "."]);
    assert_eq!(tested.code, Some(0), "{}{}", tested.stdout, tested.stderr);
    let manifest = std::fs::read_to_string(dir.path().join("prices/plugin.toml")).expect("reads");
    assert!(manifest.contains("decision_point = \"pricing\"") && manifest.contains("lower = {}"), "{manifest}");
}
