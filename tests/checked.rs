//! `serin check` finds what keeps a host from starting, and changes nothing.

use std::fs::{File, OpenOptions};
use std::path::Path;

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::support::{Cli, Deployment, Host, misbehaving, run};

fn with(deployment: &Deployment, args: &[&str]) -> Cli {
    let config = deployment.config();
    run(args.iter().copied().chain(["--config", config.to_str().expect("a path")]))
}

/// A deployment that a host has served, with a ledger of a few pages and a feature store.
fn served() -> Deployment {
    let deployment = misbehaving();
    let host = Host::start(&deployment).ready();
    host.decide(&json!({ "decision_point": "misbehave", "entities": { "borrower": "b-1" } }));
    let checked = with(&deployment, &["check"]);
    assert_eq!(checked.code, Some(0), "beside a running host: {}{}", checked.stdout, checked.stderr);
    assert_eq!(host.stop(), Some(0));
    deployment
}

fn overwrite(path: &Path) {
    std::fs::write(path, "garbage, and more of it than a header has".repeat(200)).expect("writes");
}

fn cut(path: &Path) {
    let bytes = std::fs::metadata(path).expect("is there").len();
    OpenOptions::new().write(true).open(path).and_then(|file| file.set_len(bytes / 2)).expect("cuts");
}

fn newer(path: &Path) {
    let database = Connection::open(path).expect("opens");
    let version: i64 = database.pragma_query_value(None, "user_version", |row| row.get(0)).expect("reads");
    database.pragma_update(None, "user_version", version + 1).expect("writes");
}

#[test]
fn check_refuses_the_data_that_a_start_refuses() {
    type Damage = fn(&Path);
    let cases: [(&str, Damage, &str); 9] = [
        ("serin.db", overwrite, "not a database"),
        ("serin.db", cut, "malformed"),
        ("serin.db", newer, "use a newer serin"),
        (
            "serin.db",
            |path| drop(std::fs::remove_file(path).and_then(|()| std::fs::create_dir(path))),
            "unable to open",
        ),
        ("features.db", overwrite, "not a database"),
        ("features.db", cut, "malformed"),
        ("features.db", newer, "use a newer one"),
        (
            "archive",
            |path| drop(std::fs::remove_dir_all(path).and_then(|()| File::create(path).map(drop))),
            "is no folder",
        ),
        ("restore-unfinished", |path| drop(File::create(path).expect("makes")), "a restore was cut off"),
    ];
    for (name, damage, needle) in cases {
        let deployment = served();
        let path = deployment.path().join("data").join(name);
        damage(&path);
        let before = std::fs::read(&path).ok();
        let checked = with(&deployment, &["check"]);
        assert_eq!(checked.code, Some(1), "{name}, {needle}: {}{}", checked.stdout, checked.stderr);
        let failed = checked.stderr.lines().find(|line| line.starts_with("FAILED") && line.contains(needle));
        assert!(failed.is_some(), "{name}, {needle}: {}", checked.stderr);
        let json: Value =
            serde_json::from_str(&with(&deployment, &["check", "--format", "json"]).stdout).expect("JSON");
        assert_eq!(json["ok"], false, "{name}, {needle}: {json}");
        assert_eq!(std::fs::read(&path).ok(), before, "{name} is as it was");
        let started = with(&deployment, &["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
        assert_eq!(started.code, Some(1), "{name}, {needle}: {}", started.stderr);
    }
}

#[test]
fn check_passes_a_ledger_that_a_start_makes_or_migrates() {
    let deployment = served();
    let path = deployment.path().join("data/serin.db");
    std::fs::write(&path, "").expect("empties");
    let checked = with(&deployment, &["check"]);
    assert_eq!(checked.code, Some(0), "{}{}", checked.stdout, checked.stderr);
    assert!(checked.stderr.contains("is of schema 0, which serve brings to"), "{}", checked.stderr);
    Host::start(&deployment).ready();
}

#[test]
fn a_folder_of_experiments_in_the_experiments_folder_is_told_of() {
    let deployment = misbehaving();
    std::fs::create_dir(deployment.path().join("experiments/old")).expect("a folder");
    std::fs::create_dir(deployment.path().join("experiments/notes")).expect("a folder");
    deployment.write("experiments/old/e.toml", "id = \"e\"\n");
    deployment.write("experiments/notes/e.md", "# Notes\n");
    let checked = with(&deployment, &["check"]);
    assert_eq!(checked.code, Some(0), "{}{}", checked.stdout, checked.stderr);
    assert!(checked.stderr.contains("experiments/old: is ignored, and so is what is in it"), "{}", checked.stderr);
    assert!(!checked.stderr.contains("notes"), "{}", checked.stderr);
}
