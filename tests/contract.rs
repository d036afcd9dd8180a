//! What is public stays as it is until somebody means to change it: the OpenAPI document, and
//! the help of every command. After a change that is meant, `INSTA_UPDATE=always cargo nextest
//! run -p serin contract` writes the snapshots anew; what changed is then in the diff.

use serde_json::Value;

use crate::support::{root, run};

#[test]
fn the_openapi_document_is_as_it_was() {
    let printed = run(["openapi"]);
    assert_eq!(printed.code, Some(0), "{}", printed.stderr);
    let mut document: Value = serde_json::from_str(&printed.stdout).expect("JSON");
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    // It changes with every release, and nothing else with it.
    document["info"]["version"] = "of the release".into();
    insta::assert_json_snapshot!("openapi", document);
}

#[test]
fn each_listeners_document_has_every_path_that_it_routes() {
    let source = std::fs::read_to_string(root().join("host/src/http/mod.rs")).expect("reads");
    let (public, admin) = source.split_once("pub fn admin(").expect("both listeners");
    for (routes, args, own) in [(public, &["openapi"][..], "/openapi.json"), (admin, &["openapi", "--admin"], "")] {
        let routes = routes.split(".route(\"").skip(1).filter_map(|rest| rest.split('"').next());
        // The public document has never described itself.
        let mut routes: Vec<String> = routes.filter(|route| *route != own).map(str::to_owned).collect();
        routes.sort();
        let document: Value = serde_json::from_str(&run(args).stdout).expect("JSON");
        let paths: Vec<String> = document["paths"].as_object().expect("paths").keys().cloned().collect();
        assert!(!routes.is_empty() && routes.iter().all(|route| paths.contains(route)), "{routes:?} of {paths:?}");
        assert_eq!(routes.len(), paths.len(), "{routes:?} and {paths:?}");
    }
}

/// Every command, as its words.
fn commands(command: &clap::Command, words: &[String], all: &mut Vec<Vec<String>>) {
    all.push(words.to_vec());
    for inner in command.get_subcommands().filter(|inner| inner.get_name() != "help") {
        commands(inner, &[words, &[inner.get_name().to_owned()]].concat(), all);
    }
}

#[test]
fn the_help_of_every_command_is_as_it_was() {
    let mut all = Vec::new();
    commands(&serin::cli::command(), &[], &mut all);
    assert!(all.len() > 10, "{all:?}");
    let mut text = String::new();
    for words in all {
        let help = run(words.iter().map(String::as_str).chain(["--help"]));
        assert_eq!(help.code, Some(0), "{words:?}: {}", help.stderr);
        text.push_str(&format!(
            "$ serin {}\n{}\n",
            [&words[..], &["--help".to_owned()]].concat().join(" "),
            help.stdout
        ));
    }
    insta::assert_snapshot!("help", text);
}

#[test]
fn wrong_usage_is_status_2_and_names_what_is_valid() {
    for (args, needle) in [
        (&["sevre"][..], "serve"),
        (&["serve"], "--config"),
        (&["check", "--config", "x", "--format", "xml"], "text, json"),
        (&["experiment", "show"], "<ID>"),
        (&["serve", "--config", "x", "--listen", "here"], "--listen"),
        (&["replay", "--config", "x", "--verify", "--candidate", "y"], "cannot be used with"),
    ] {
        let refused = run(args);
        assert_eq!(refused.code, Some(2), "{args:?}: {}", refused.stderr);
        assert!(refused.stderr.contains(needle) && refused.stdout.is_empty(), "{args:?}: {}", refused.stderr);
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_defect() {
    use std::process::{Command, Stdio};
    let mut serin = Command::new(crate::support::serin());
    let mut child = serin.arg("openapi").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("serin runs");
    // Closed before there is anything to read.
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("ends");
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""));
}
