//! The strategy author's loop: a new project, its cases in the real sandbox, and what looks wrong.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::support::{Host, collections, outreach_rules, root, serin, wat};

/// Builds beside the examples' own, so that nothing is compiled twice.
pub fn cargo_target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

pub fn plugin(dir: &Path, args: &[&str]) -> Ran {
    serin_in(dir, &[&["plugin"], args].concat())
}

/// A command that builds strategies, in a folder.
pub fn serin_in(dir: &Path, args: &[&str]) -> Ran {
    let mut command = Command::new(serin());
    command.args(args).current_dir(dir).env("CARGO_TARGET_DIR", cargo_target());
    let output = command.output().expect("serin runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ran { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
}

fn sdk() -> String {
    root().join("guest-sdk").display().to_string()
}

/// A new project in a folder of its own.
pub fn new(name: &str, lang: &str) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a folder");
    let made = plugin(dir.path(), &["new", name, "--lang", lang, "--sdk", &sdk()]);
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    let project = dir.path().join(name);
    (dir, project)
}

pub fn edit(path: &Path, from: &str, to: &str) {
    let text = std::fs::read_to_string(path).expect("reads");
    assert!(text.contains(from), "{} has no {from:?}", path.display());
    std::fs::write(path, text.replace(from, to)).expect("writes");
}

#[test]
fn a_component_that_traps_before_it_is_called_is_told_of() {
    let early = wat::go("early", "(func $early (unreachable)) (start $early)", "(i32.const 1024)");
    let early = wat::with_cases(early, &json!([{ "name": "any", "expect": { "candidates": [] } }]));
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("early.wasm"), early).expect("writes");
    let checked = plugin(dir.path(), &["check", "early.wasm"]);
    assert_eq!(checked.code, Some(1), "{}", checked.stdout);
    for part in ["FAILED  any", "unreachable", "while its component was started, before 'decide' was called"] {
        assert!(checked.stderr.contains(part), "{part}: {}", checked.stderr);
    }
}

#[test]
fn a_new_project_builds_tests_and_says_what_differs() {
    let (_dir, project) = new("late-texts", "rust");
    let test = |args: &[&str]| plugin(&project, &[&["test", "."], args].concat());
    let first = test(&[]);
    assert_eq!(first.code, Some(0), "{}{}", first.stdout, first.stderr);
    assert!(first.stdout.contains("late-texts@0.1.0: 3 cases, 0 failed"), "{}", first.stdout);
    // It passes here, so a host takes it: it is the host's own load path.
    let checked = plugin(&project, &["check", "."]);
    assert_eq!(checked.code, Some(0), "{}", checked.stderr);
    assert!(!checked.stdout.contains("warning"), "nobody has changed anything yet: {}", checked.stdout);

    let case = project.join("cases/a-little-late.json");
    let before = std::fs::read_to_string(&case).expect("reads");
    edit(&case, "\"template\": \"gentle\"", "\"template\": \"firm\"");
    let junit = project.join("results.xml");
    let failed = test(&["--junit", junit.to_str().expect("a path")]);
    assert_eq!(failed.code, Some(1));
    for line in ["-         \"template\": \"firm\"", "+         \"template\": \"gentle\""] {
        assert!(failed.stderr.contains(line), "{}", failed.stderr);
    }
    let xml = std::fs::read_to_string(junit).expect("results");
    assert!(xml.contains("tests=\"3\" failures=\"1\"") && xml.contains("who is a little late gets a text"), "{xml}");
    assert_eq!(test(&["--update"]).code, Some(0));
    // The artifact that is left has the case as it is now.
    assert_eq!(plugin(&project, &["check", "."]).code, Some(0));
    let after = std::fs::read_to_string(&case).expect("reads");
    assert!(after.contains("\"context\": { \"days_past_due\": 12 }"), "what the author wrote stays: {after}");
    let json = |text: &str| serde_json::from_str::<Value>(text).expect("JSON");
    assert_eq!(json(&after), json(&before));
    assert_eq!(test(&[]).code, Some(0));

    // What a panic says, with its place; and a failure is expected only by who asks for that.
    let source = project.join("src/lib.rs");
    let sound = std::fs::read_to_string(&source).expect("reads");
    edit(&source, "    let f = ", "    assert!(input.features.days_past_due != 12, \"twelve days\");\n    let f = ");
    let artifact = project.join("dist/late-texts-0.1.0.wasm");
    let panicked = test(&[]);
    let built = std::fs::read(&artifact).expect("built");
    assert_eq!(panicked.code, Some(1));
    for part in ["warn: panicked at src/lib.rs:", "twelve days"] {
        assert!(panicked.stderr.contains(part), "{part}: {}", panicked.stderr);
    }
    assert!(!panicked.stderr.contains("wasm trap"), "{}", panicked.stderr);
    let imports = |bytes: &[u8]| bytes.windows(19).any(|part| part == b"serin:decision/log@");
    assert!(!imports(&built), "what is served does not log");
    let checked = plugin(&project, &["check", "."]);
    assert!(checked.stderr.contains("twelve days"), "{}", checked.stderr);
    // So does the file by itself, as long as it is beside its source.
    let path = |path: &Path| path.to_str().expect("a path").to_owned();
    let checked = plugin(&project, &["check", &path(&artifact)]);
    assert!(checked.code == Some(1) && checked.stderr.contains("twelve days"), "{}", checked.stderr);
    let elsewhere = project.join("copied.wasm");
    std::fs::copy(&artifact, &elsewhere).expect("copies");
    let checked = plugin(&project, &["check", &path(&elsewhere)]);
    for part in ["wasm trap", "logs its panics with #[strategy(log_panics)]"] {
        assert!(checked.stderr.contains(part) && !checked.stderr.contains("twelve"), "{part}: {}", checked.stderr);
    }
    let kept = test(&["--update"]);
    assert!(kept.code == Some(1) && kept.stderr.contains("not written: it traps"), "{}", kept.stderr);
    assert_eq!(std::fs::read_to_string(&case).expect("reads"), after);
    assert_eq!(test(&["--update", "--accept-failures"]).code, Some(0));
    assert_eq!(json(&std::fs::read_to_string(&case).expect("reads"))["expect"], json!({ "failure": "trap" }));
    std::fs::write(&source, sound).expect("writes");
    std::fs::write(&case, &after).expect("writes");

    // A mistake in a case is named with its place; so is one in the source, by the compiler.
    edit(&case, "\"days_past_due\": 12", "\"days_late\": 12");
    let unknown = test(&[]);
    assert!(unknown.stderr.contains("context.days_late is not a declared feature"), "{}", unknown.stderr);
    for (wrong, told) in [
        (
            json!({ "context": { "days_past_due": "12" } }),
            "context.days_past_due is text, and it is declared as integer",
        ),
        (json!({ "features": { "servicing": { "contacts_7d": 1.5 } } }), "servicing.contacts_7d is number, and it is"),
        (
            json!({ "parameters": { "cap": 1 } }),
            "parameter 'cap' is not declared by late-texts@0.1.0; declared: contact_cap",
        ),
        (json!({ "time": "noon" }), "time is 'noon'; valid: RFC 3339"),
        (json!({ "calls": [{ "model": "m", "rows": [[1]] }] }), "calls[0]: 'm' is no callable model"),
    ] {
        let mut bad = json(&before);
        bad.as_object_mut().expect("a case").extend(wrong.as_object().expect("keys").clone());
        std::fs::write(&case, bad.to_string()).expect("writes");
        let refused = test(&[]);
        let told = format!("cases/a-little-late.json: case 'who is a little late gets a text': {told}");
        assert!(refused.code == Some(1) && refused.stderr.contains(&told), "{told}: {}", refused.stderr);
    }
    std::fs::write(&case, before.replace("\"days_past_due\": 12", "\"days_late\": 12")).expect("writes");
    edit(&case, "\"context\"", "\"kontext\"");
    let unknown = test(&[]).stderr;
    for part in ["cases/a-little-late.json: kontext: unknown field `kontext`", "at line 3 column"] {
        assert!(unknown.contains(part), "{part}: {unknown}");
    }
    std::fs::write(&case, before).expect("writes");
    edit(&project.join("src/lib.rs"), "f.days_past_due", "f.days_late");
    let refused = test(&[]);
    assert!(refused.code == Some(1) && refused.stderr.contains("src/lib.rs"), "{}", refused.stderr);
    assert!(refused.stderr.contains("no field `days_late`"), "an undeclared feature: {}", refused.stderr);
}

#[test]
fn a_name_that_cannot_be_and_a_folder_that_is_there_are_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let wrong = plugin(dir.path(), &["new", "1st", "--lang", "rust", "--sdk", &sdk()]);
    assert!(wrong.code == Some(1) && wrong.stderr.contains("is not a name; valid: a letter"), "{}", wrong.stderr);
    std::fs::create_dir(dir.path().join("here")).expect("a folder");
    let taken = plugin(dir.path(), &["new", "here", "--lang", "rust", "--sdk", &sdk()]);
    assert!(taken.stderr.contains("is there already"), "{}", taken.stderr);
    let lost = plugin(dir.path(), &["new", "there", "--lang", "rust", "--sdk", "nowhere"]);
    assert!(lost.stderr.contains("has no 'rust' in it") && !dir.path().join("there").exists(), "{}", lost.stderr);
}

#[test]
fn check_warns_of_what_no_case_depends_on() {
    let (_dir, project) = new("unread", "rust");
    let toml = project.join("plugin.toml");
    let more = "\n[[features]]\nview = \"servicing\"\nname = \"balance_due\"\ntype = \"number\"\n\n[reasons]\n";
    let text = std::fs::read_to_string(&toml).expect("reads");
    // Declared, never read; and a reason that nobody gives. One more is read, where it is missing alone.
    let features = more.trim_end_matches("\n[reasons]\n").to_owned()
        + "\n[[features]]\nview = \"servicing\"\nname = \"orders_90d\"\ntype = \"integer\"\non_missing = { default = 0 }\n";
    let source = project.join("src/lib.rs");
    edit(
        &source,
        "    if f.contacts_7d >=",
        "    if f.orders_90d == 0 {\n        Action::Call.because(Reason::Late, 0.1)\n    } else if f.contacts_7d >=",
    );
    for case in ["a-little-late", "contacted-often", "very-late"] {
        edit(
            &project.join("cases").join(case).with_extension("json"),
            "\"contacts_7d\"",
            "\"orders_90d\": 3, \"contacts_7d\"",
        );
    }
    std::fs::write(&toml, text.replace("LATE = ", "NEVER = \"Never\"\nLATE = ") + &features).expect("writes");
    assert_eq!(plugin(&project, &["build", "--quiet", "."]).code, Some(0));
    let checked = plugin(&project, &["check", "."]);
    assert_eq!(checked.code, Some(0), "{}", checked.stderr);
    for needle in
        ["warning feature servicing.balance_due: no case depends on it", "warning reason NEVER: no case comes"]
    {
        assert!(checked.stdout.contains(needle), "{needle}: {}", checked.stdout);
    }
    for read in ["feature context.days_past_due", "feature servicing.orders_90d", "is newer than"] {
        assert!(!checked.stdout.contains(read), "{read}: {}", checked.stdout);
    }
    // What was built before the source was changed is not taken for the source.
    edit(&source, "orders_90d == 0", "orders_90d <= 0");
    let stale = plugin(&project, &["check", "."]).stdout;
    assert!(stale.contains("lib.rs is newer than"), "{stale}");
    // The next version, which is far larger, says so.
    edit(&toml, "version = \"0.1.0\"", "version = \"0.2.0\"");
    edit(&project.join("Cargo.toml"), "version = \"0.1.0\"", "version = \"0.2.0\"");
    let table = "#[used]\nstatic LARGE: [u8; 60_000] = [7; 60_000];\n";
    edit(&project.join("src/lib.rs"), "#[cfg(test)]", &format!("{table}\n#[cfg(test)]"));
    assert_eq!(plugin(&project, &["build", "--quiet", "."]).code, Some(0));
    let checked = plugin(&project, &["check", "."]).stdout;
    assert!(checked.contains("times those of version 0.1.0"), "{checked}");
}

#[test]
fn bench_measures_over_the_cases_and_against_another_artifact() {
    let (_dir, project) = new("quick", "rust");
    assert_eq!(plugin(&project, &["build", "--quiet", "."]).code, Some(0));
    let other = project.join("other.wasm");
    std::fs::write(&other, std::fs::read(project.join("dist/quick-0.1.0.wasm")).expect("built")).expect("writes");
    let args = ["bench", ".", "--runs", "20", "--format", "json", "--against", other.to_str().expect("a path")];
    let measured = plugin(&project, &args);
    assert_eq!(measured.code, Some(0), "{}", measured.stderr);
    let measured: Value = serde_json::from_str(&measured.stdout).expect("JSON");
    let of = |at: usize, key: &str| measured[at][key].as_f64().expect("a number");
    assert_eq!((of(0, "runs"), of(0, "fuel")), (60.0, of(1, "fuel")));
    assert!(of(0, "p50_us") <= of(0, "p99_us") && of(0, "memory_bytes") >= 65_536.0, "{measured}");
    let shares = of(0, "start_share") + of(0, "guest_share") + of(0, "calls_share");
    assert!((shares - 1.0).abs() < 1e-9, "{measured}");
}

#[test]
fn what_is_saved_is_built_tested_and_served_and_compared_with_what_was_decided() {
    use std::io::{BufRead as _, BufReader};
    let (_dir, project) = new("late-texts", "rust");
    assert_eq!(plugin(&project, &["build", "--quiet", "."]).code, Some(0));
    let deployment = collections();
    let artifact = std::fs::read(project.join("dist/late-texts-0.1.0.wasm")).expect("built");
    deployment.write("plugins/late-texts-0.1.0.wasm", artifact);
    deployment.edit("serin.toml", "strategy = \"outreach-rules@1.0.0\"", "strategy = \"late-texts@0.1.0\"");
    deployment.remove("experiments/outreach-score.toml");
    let mut child = Command::new(serin())
        .args(["serve", "--dev", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--log", "off", "--source"])
        .arg(&project)
        .arg("--config")
        .arg(deployment.config())
        .env("CARGO_TARGET_DIR", cargo_target())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("serin runs");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines().map(|line| line.expect("a line"));
    let address =
        lines.next().expect("the address").split_whitespace().nth(3).expect("a URL").trim_end_matches(',').to_owned();
    let mut until =
        |needle: &str| lines.find(|line| line.contains(needle)).unwrap_or_else(|| panic!("never said: {needle}"));
    until("served");
    let public = crate::support::Client::new(address.trim_start_matches("http://"));
    let decide = |n: u32| {
        let entities = json!({ "borrower": format!("b-{n}"), "loan": format!("l-{n}") });
        let request = json!({ "decision_point": "collections-outreach", "entities": entities, "context": { "days_past_due": 20 + n } });
        public.post("/v1/decisions", &request).json()["action"].clone()
    };
    let before: Vec<Value> = (0..20).map(decide).collect();
    assert_eq!((&before[0], &before[19]), (&json!("sms_reminder"), &json!("call")));
    edit(&project.join("src/lib.rs"), "days_past_due < 30", "days_past_due < 35");
    assert!(until("cases pass").contains("late-texts@0.1.0 checked; 3 cases pass"));
    let took = until("served");
    let seconds: f64 = took.split_whitespace().nth(3).and_then(|s| s.parse().ok()).expect("seconds");
    assert!(seconds < 10.0, "{took}");
    assert!(until("of the last").contains("15 would be the same, 5 not"));
    assert!(until("->").contains("call -> sms_reminder: 5"));
    assert_eq!(decide(12), "sms_reminder", "the running host serves it");
    edit(&project.join("plugin.toml"), "version = \"0.1.0\"", "version = \"0.1.1\"");
    until("late-texts@0.1.1 loaded");
    until("nobody is served by it: 'collections-outreach' is pinned to late-texts@0.1.0");
    child.kill().expect("kills");
    child.wait().expect("ends");
}

#[test]
fn a_case_is_cut_from_a_record_and_passes_in_the_sandbox() {
    let deployment = collections();
    let host = Host::start(&deployment).ready();
    let request = json!({
        "decision_point": "collections-outreach",
        "entities": { "borrower": "b-nobody", "loan": "l-1" },
        "context": { "days_past_due": 20, "channel": "email" },
        "force": { "experiment": "outreach-score", "arm": "control" },
    });
    let decided = host.admin.post("/v1/decisions", &request).json();
    let id = decided["decision_id"].as_str().expect("an id");
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::copy(root().join("plugins/outreach-rules/plugin.toml"), dir.path().join("plugin.toml")).expect("copies");
    let admin = format!("http://{}", host.admin.address);
    let cut = plugin(dir.path(), &["case", "--from-decision", id, ".", "--admin", &admin]);
    assert_eq!(cut.code, Some(0), "{}", cut.stderr);
    let file = dir.path().join(format!("cases/decision-{id}.json"));
    let case: Value = serde_json::from_slice(&std::fs::read(&file).expect("the case")).expect("JSON");
    assert_eq!(case["context"], json!({ "days_past_due": 20, "channel": "email" }));
    assert_eq!(case["expect"]["candidates"][0]["action"], decided["action"]);
    let case: serin_core::case::Case = serde_json::from_value(case).expect("a case");
    let engines = serin::sandbox::Engines::new(2).expect("engines");
    let rules = serin::registry::Plugin::link(&engines, &outreach_rules()).expect("links");
    assert_eq!(rules.run_case(&case).difference, None);
    let twice = plugin(dir.path(), &["case", "--from-decision", id, ".", "--admin", &admin]);
    assert!(twice.code == Some(1) && twice.stderr.contains("is there already"), "{}", twice.stderr);
}
