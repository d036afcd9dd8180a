//! Interfaces that evolve: what has changed between two versions of a plugin, and artifacts of older and
//! newer hosts.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};
use serin::registry::Archive;
use serin::replay::{ArchivedVersions, ReplayResult, replay};
use serin::sandbox::Engines;
use serin_core::experiment::Experiment;
use serin_core::record::Record;
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};

use crate::support::{Host, root, run, wat};

fn text(path: &Path) -> &str {
    path.to_str().expect("a path")
}

/// The frozen artifact of `serin:decision@0.1.0`.
const FROZEN: &str = "sha256:6fa719d1e70f93f32d2eb6bab911c7ce6394135c9d9c72e820f262ffff71aec2";

const OLD: &str = r#"
name = "offers"
version = "1.0.0"
decision_point = "offers"

[actions]
none = {}
discount = { parameters = { percent = "integer", code = "text" } }
call = {}

[reasons]
LOYAL = "You have been with us for long"
ASKED = "You asked"

[[features]]
view = "profile"
name = "orders"
type = "integer"
max_age = "1d"

[[features]]
view = "profile"
name = "spent"
type = "number"

[[models]]
name = "churn"
version = "1.0.0"
inputs = { orders = "profile.orders" }

[parameters]
threshold = { type = "number", default = 0.5, min = 0, max = 1 }
most = { type = "integer", default = 10 }

[limits]
fuel = 1000000
"#;

fn artifact(dir: &Path, name: &str, manifest: &str) -> PathBuf {
    let path = dir.join(name);
    let bytes = wat::guest(manifest, &format!("{} {}", wat::PRELUDE, wat::decide("(i32.const 1024)")));
    std::fs::write(&path, bytes).expect("writes");
    path
}

/// What `check --against` says of an edit of the old manifest: its exit status, and its document.
fn against(edits: &[(&str, &str)]) -> (Option<i32>, Value) {
    let dir = tempfile::tempdir().expect("a folder");
    let mut manifest = OLD.to_owned();
    for (from, to) in edits {
        assert!(manifest.contains(from), "{from}");
        manifest = manifest.replace(from, to);
    }
    let (old, new) = (artifact(dir.path(), "old.wasm", OLD), artifact(dir.path(), "new.wasm", &manifest));
    let said = run(["plugin", "check", text(&new), "--against", text(&old), "--format", "json"]);
    (said.code, serde_json::from_str(&said.stdout).unwrap_or_else(|e| panic!("{e}: {said:?}")))
}

const NEXT: (&str, &str) = ("version = \"1.0.0\"\ndecision_point", "version = \"1.1.0\"\ndecision_point");

#[test]
fn each_change_of_a_plugin_is_said_with_whether_it_breaks_what_refers_to_it() {
    for (edit, what, name, is_compatible) in [
        (("name = \"offers\"\n", "name = \"other\"\n"), "name", "other", false),
        (("decision_point = \"offers\"", "decision_point = \"welcome\""), "decision_point", "welcome", false),
        (("call = {}\n", ""), "action", "call", false),
        (("call = {}\n", "call = {}\nmail = {}\n"), "action", "mail", true),
        (("percent = \"integer\"", "percent = \"number\""), "action parameter", "discount.percent", false),
        ((", code = \"text\"", ""), "action parameter", "discount.code", false),
        (("code = \"text\"", "code = \"text\", days = \"integer\""), "action parameter", "discount.days", true),
        (("ASKED = \"You asked\"\n", ""), "reason", "ASKED", true),
        (("You asked", "You asked us"), "reason", "ASKED", true),
        (
            ("name = \"spent\"\ntype = \"number\"", "name = \"spent\"\ntype = \"integer\""),
            "feature",
            "profile.spent",
            false,
        ),
        (("name = \"spent\"", "name = \"paid\""), "feature", "profile.paid", false),
        (("max_age = \"1d\"", "max_age = \"2d\""), "feature", "profile.orders", true),
        (("max_age = \"1d\"", "max_age = \"1d\"\non_missing = \"error\""), "feature", "profile.orders", true),
        (
            ("name = \"churn\"\nversion = \"1.0.0\"", "name = \"churn\"\nversion = \"2.0.0\""),
            "model",
            "churn@2.0.0",
            false,
        ),
        (("orders = \"profile.orders\" }", "orders = \"profile.spent\" }"), "model", "churn@1.0.0", false),
        (
            ("\n[parameters]", "\n[[models]]\nname = \"uplift\"\nversion = \"1.0.0\"\ncallable = true\n\n[parameters]"),
            "callable model",
            "uplift@1.0.0",
            false,
        ),
        (("threshold = { type = \"number\", default = 0.5, min = 0, max = 1 }\n", ""), "parameter", "threshold", false),
        (("max = 1 }", "max = 0.8 }"), "parameter", "threshold", false),
        (("max = 1 }", "max = 2 }"), "parameter", "threshold", true),
        (("default = 0.5", "default = 0.6"), "parameter", "threshold", true),
        (
            ("most = { type = \"integer\", default = 10", "most = { type = \"number\", default = 10"),
            "parameter",
            "most",
            true,
        ),
        (
            ("most = { type = \"integer\", default = 10", "most = { type = \"text\", default = \"10\""),
            "parameter",
            "most",
            false,
        ),
        (("fuel = 1000000", "fuel = 2000000"), "limit", "fuel", true),
    ] {
        let (code, said) = against(&[NEXT, edit]);
        let changes = said["changes"].as_array().expect("changes");
        let found = changes.iter().find(|change| change["what"] == what && change["name"] == name);
        let found = found.unwrap_or_else(|| panic!("{edit:?}: {said}"));
        assert_eq!(found["compatible"], is_compatible, "{edit:?}: {said}");
        let all = changes.iter().all(|change| change["compatible"] == true);
        assert_eq!((code, &said["compatible"]), (Some(i32::from(!all)), &json!(all)), "{edit:?}: {said}");
        assert!(all || !is_compatible, "{edit:?}: nothing else breaks: {said}");
    }
}

#[test]
fn a_version_that_declares_the_same_is_compatible_and_the_same_version_is_not() {
    let (code, said) = against(&[NEXT]);
    assert_eq!((code, &said["changes"]), (Some(0), &json!([])));
    assert_eq!((&said["old"]["version"], &said["new"]["version"]), (&json!("1.0.0"), &json!("1.1.0")));
    assert_eq!((&said["new"]["wit"], said["new"]["digest"].is_string()), (&json!("0.1.0"), true));
    let (code, said) = against(&[("You asked", "You asked us")]);
    let last = said["changes"].as_array().expect("changes").last().expect("one").clone();
    assert_eq!((code, &last["what"], &last["compatible"]), (Some(1), &json!("version"), &json!(false)), "{said}");
    // As text, a line a change.
    let dir = tempfile::tempdir().expect("a folder");
    let old = artifact(dir.path(), "old.wasm", OLD);
    let new = artifact(dir.path(), "new.wasm", &OLD.replace(NEXT.0, NEXT.1).replace("call = {}\n", ""));
    let said = run(["plugin", "check", text(&new), "--against", text(&old)]);
    let lines: Vec<&str> = said.stdout.lines().collect();
    assert_eq!((said.code, lines[0]), (Some(1), "offers@1.1.0 against offers@1.0.0"));
    assert!(lines[1].starts_with("  BREAKS  action call: removed"), "{lines:?}");
    assert_eq!(lines[2], "not compatible: 1 of 1 change breaks what refers to offers@1.0.0");
}

/// An artifact for another version of the interface, from this repository's WIT with that version in it.
fn of_interface(version: &str) -> Vec<u8> {
    let dir = tempfile::tempdir().expect("a folder");
    for entry in std::fs::read_dir(root().join("wit")).expect("reads") {
        let path = entry.expect("an entry").path();
        let text = std::fs::read_to_string(&path)
            .expect("text")
            .replace("serin:decision@0.1.0", &format!("serin:decision@{version}"));
        std::fs::write(dir.path().join(path.file_name().expect("a name")), text).expect("writes");
    }
    let mut resolve = wit_parser::Resolve::default();
    let (package, _) = resolve.push_dir(dir.path()).expect("a package");
    let world = resolve.select_world(&[package], Some("strategy")).expect("its world");
    let mut module = wat::parse(&format!("(module {} {})", wat::PRELUDE, wat::decide("(i32.const 1024)")));
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).expect("a module");
    let component = ComponentEncoder::default().module(&module).expect("of the world").encode().expect("a component");
    wat::with_manifest(component, &wat::manifest("one", "1.0.0", "one", "go"))
}

#[test]
fn an_artifact_for_a_newer_interface_is_refused_by_both_versions() {
    let dir = tempfile::tempdir().expect("a folder");
    let check = |version: &str| {
        let path = dir.path().join("one.wasm");
        std::fs::write(&path, of_interface(version)).expect("writes");
        run(["plugin", "check", text(&path)])
    };
    for newer in ["0.1.9", "0.2.0", "1.0.0"] {
        let refused = check(newer);
        let said = format!("made for serin:decision@{newer}, and this host has serin:decision@0.1.0");
        assert!(refused.code == Some(1) && refused.stderr.contains(&said), "{refused:?}");
    }
    assert_eq!(check("0.1.0").code, Some(0), "{:?}", check("0.1.0"));
    for newer in ["0.1.9", "0.2.0"] {
        let deployment = wat::points(&[("one", of_interface(newer))]);
        let host = Host::start(&deployment);
        let plugins = host.admin.get("/v1/plugins").json();
        let error = plugins["plugins"][0]["error"].as_str().unwrap_or_default().to_owned();
        let both = [newer, "0.1.0"].map(|version| format!("serin:decision@{version}"));
        assert!(both.iter().all(|version| error.contains(version)), "{plugins}");
    }
}

#[test]
fn an_artifact_of_a_released_interface_loads_passes_its_cases_and_replays_its_record() {
    let path = root().join("tests/data/artifacts/outreach-score-1.1.0.wasm");
    let bytes = std::fs::read(&path).expect("a frozen artifact");
    let inspected = run(["plugin", "inspect", text(&path), "--format", "json"]);
    let inspected: Value = serde_json::from_str(&inspected.stdout).expect("JSON");
    assert_eq!((&inspected["wit"], &inspected["digest"]), (&json!("0.1.0"), &json!(FROZEN)), "it was built anew");
    let checked = run(["plugin", "check", text(&path)]);
    let passed = checked.stdout.lines().filter(|line| line.starts_with("  ok ")).count();
    assert_eq!((checked.code, json!(passed)), (Some(0), inspected["cases"].clone()), "{checked:?}");
    assert!(passed > 0, "it has cases");

    let record = std::fs::read(root().join("tests/data/records/v1/record.json")).expect("its record");
    let record = Record::parse(&record).expect("readable");
    assert_eq!(*record.attempts[0].strategy.digest, *FROZEN);
    let spec = std::fs::read_to_string(root().join("host/demo/experiments/outreach-score.toml")).expect("the demo's");
    let spec = Arc::new(Experiment::parse(&spec).expect("valid"));
    let dir = tempfile::tempdir().expect("a folder");
    let archive = Archive::open(dir.path()).expect("an archive");
    archive.put(&bytes).expect("archived");
    let versions = ArchivedVersions::new(Arc::new(Engines::new(2).expect("engines")), archive);
    let again = replay(&record, |digest| versions.get(digest), |_| Some(Arc::clone(&spec)), |_| None);
    assert!(matches!(again, ReplayResult::Identical { environmental: 0, .. }), "{again:?}");
}
