//! Strategies in Python and JavaScript: the same project, the same decisions, the same host.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::author::{cargo_target, edit, new, plugin};
use crate::support::{Host, artifact, collections, eventually, root, run, serin};

const CASES: usize = 1000;

/// Random numbers from a seed, by SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn number(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// A case without what has to come of it.
fn case(random: &mut Random, at: usize) -> Value {
    let days = if random.one_in(10) { -(random.below(5) as i64) } else { random.below(90) as i64 };
    let mut context = json!({ "days": days });
    let channels = ["sms", "email", "", "ligne fixe ☎"];
    if !random.one_in(3) {
        context["channel"] = json!(channels[random.below(4) as usize]);
    }
    let mut servicing = json!({});
    let balance = (!random.one_in(4)).then(|| (random.number() - 0.2) * 10_f64.powi(random.below(9) as i32));
    if let Some(balance) = balance {
        servicing["balance"] = json!(balance);
    }
    let many = if random.one_in(20) { 1 << 52 } else { 6 };
    let contacts = (!random.one_in(4)).then(|| random.below(many));
    if let Some(contacts) = contacts {
        servicing["contacts"] = json!(contacts);
    }
    if random.one_in(3) {
        servicing["asked-for-help"] = json!(random.one_in(2));
    }
    let mut case = json!({
        "name": format!("case {at}"),
        "time": format!("2026-0{}-1{}T{:02}:{:02}:07.25Z", 1 + random.below(9), random.below(10), random.below(24), random.below(60)),
        "utc_offset_minutes": random.below(1500) as i64 - 720,
        "context": context,
        "features": { "servicing": servicing },
        "expect": { "candidates": [] },
    });
    if random.one_in(2) {
        case["scores"] = json!({ "risk": random.number() });
    }
    let mut parameters = json!({ "sure": random.one_in(4), "share": random.number() * 3.0 });
    if random.one_in(3) {
        parameters["cap"] = json!(random.below(7));
        parameters["greeting"] = json!("\"Hi\"\n\tż\u{1f9f6}");
    }
    case["parameters"] = parameters;
    // Where no call is scripted, the model can't answer.
    if !random.one_in(4) {
        let rows = json!([[balance, 0, false], [balance, contacts.unwrap_or(0), true]]);
        let scores = [random.number() - 0.3, (random.number() - 0.3) * 1e-3];
        case["calls"] = json!([{ "model": "uplift", "rows": rows, "scores": scores }]);
    }
    case
}

/// A new project with the strategy of `tests/guests/alike` in it.
fn alike(lang: &str, source: &str, file: &str) -> (tempfile::TempDir, PathBuf) {
    let (dir, project) = new("alike", lang);
    let from = root().join("tests/guests/alike");
    for (from, to) in [(from.join("plugin.toml"), project.join("plugin.toml")), (from.join(source), project.join(file))]
    {
        std::fs::copy(&from, &to).unwrap_or_else(|e| panic!("{}: {e}", from.display()));
    }
    std::fs::remove_dir_all(project.join("cases")).expect("the template's cases");
    (dir, project)
}

fn copy_cases(from: &Path, to: &Path) {
    std::fs::create_dir_all(to.join("cases")).expect("a folder");
    for entry in std::fs::read_dir(from.join("cases")).expect("cases") {
        let path = entry.expect("an entry").path();
        std::fs::copy(&path, to.join("cases").join(path.file_name().expect("a name"))).expect("copies");
    }
}

fn passes(project: &Path, args: &[&str]) -> String {
    let ran = plugin(project, &[&["test", "."], args].concat());
    assert_eq!(ran.code, Some(0), "{}", ran.stderr.lines().take(60).collect::<Vec<_>>().join("\n"));
    ran.stdout
}

/// All cases pass on a draft, which only Python has.
fn drafted_passes(project: &Path) {
    if !project.join("strategy.py").exists() {
        return;
    }
    let built = plugin(project, &["build", "--draft", "."]);
    assert_eq!(built.code, Some(0), "{}", built.stderr);
    let (file, _) = built.stdout.split_once(" (").expect("a path");
    assert!(file.contains("dist/.draft/"), "{}{}", built.stdout, built.stderr);
    let checked = plugin(project, &["check", file]);
    assert_eq!(checked.code, Some(0), "{}", checked.stderr.lines().take(60).collect::<Vec<_>>().join("\n"));
    assert!(checked.stdout.contains("is a draft"), "{}", checked.stdout);
}

#[test]
fn one_strategy_in_three_languages_decides_a_thousand_cases_alike() {
    let (_rust, rust) = alike("rust", "strategy.rs", "src/lib.rs");
    std::fs::create_dir(rust.join("cases")).expect("a folder");
    let mut random = Random(20_261_123);
    for at in 0..CASES {
        let text = serde_json::to_string_pretty(&case(&mut random, at)).expect("JSON");
        std::fs::write(rust.join(format!("cases/{at:04}.json")), text).expect("writes");
    }
    // What has to come is what comes of Rust; whether that is varied enough is looked at below.
    passes(&rust, &["--update"]);
    let came: Vec<Value> = (0..CASES)
        .map(|at| std::fs::read_to_string(rust.join(format!("cases/{at:04}.json"))).expect("reads"))
        .map(|text| serde_json::from_str::<Value>(&text).expect("JSON")["expect"].clone())
        .collect();
    let count = |is: &dyn Fn(&Value) -> bool| came.iter().filter(|expect| is(expect)).count();
    let candidates = |expect: &Value| expect["candidates"].as_array().map_or(0, Vec::len);
    let because = |expect: &Value, code: &str| expect["candidates"][0]["reasons"][0]["code"] == code;
    assert!(count(&|e| e["refusal"]["code"] == "INVALID") > 20, "refusals");
    assert!(count(&|e| candidates(e) == 3) > 100 && count(&|e| candidates(e) == 2) > 5, "several candidates");
    for code in ["NIGHT", "HELP", "CAP", "GAIN", "BLIND"] {
        assert!(count(&|e| because(e, code)) > 20, "{code}");
    }
    assert_eq!(count(&|e| e["failure"].is_string()), 0, "failures");

    let (_python, python) = alike("python", "strategy.py", "strategy.py");
    let (_javascript, javascript) = alike("javascript", "strategy.js", "strategy.js");
    for project in [python, javascript] {
        copy_cases(&rust, &project);
        drafted_passes(&project);
        let said = passes(&project, &[]);
        assert!(said.ends_with("alike@0.1.0: 1,000 cases, 0 failed\n"), "{said}");
    }
}

#[test]
fn the_examples_pass_in_the_sandbox_and_build_to_the_same_bytes_in_another_folder() {
    for (name, source) in [("outreach-hardship", "strategy.py"), ("outreach-uplift", "strategy.js")] {
        let file = format!("{name}-1.0.0.wasm");
        let here = artifact(&format!("plugins/{name}"), &file);
        let elsewhere = tempfile::tempdir().expect("a folder");
        let (from, to) = (root().join("plugins").join(name), elsewhere.path());
        for file in ["plugin.toml", source] {
            std::fs::copy(from.join(file), to.join(file)).expect("copies");
        }
        copy_cases(&from, to);
        let said = passes(to, &[]);
        assert!(said.contains("cases, 0 failed"), "{said}");
        let there = std::fs::read(to.join("dist").join(file)).expect("the artifact");
        assert_eq!(serin_core::digest(&here), serin_core::digest(&there), "{name}");
    }
}

#[test]
fn each_language_is_served_recorded_and_replayed() {
    let deployment = collections();
    deployment.remove("experiments/outreach-score.toml");
    deployment.shares_compiled_code();
    // Compiled in half the time.
    let host = Host::start_with(&deployment.config(), &["--dev"]).ready();
    let config = deployment.config();
    let config = config.to_str().expect("a path");
    let borrowers = root().join("host/demo/borrowers.csv");
    let loaded = run(["features", "load", "borrower-profile", borrowers.to_str().expect("a path"), "--config", config]);
    assert_eq!(loaded.code, Some(0), "{}", loaded.stderr);
    let rows = json!({ "rows": [{ "entity": "l-88", "event_time": jiff::Timestamp::now().to_string(), "values": { "hardship_flag": true, "promises_broken": 2 } }] });
    let pushed = host.public.post("/v1/features/servicing", &rows);
    assert_eq!(pushed.status, 200, "{}", pushed.text);

    let mut before = "outreach-rules@1.0.0".to_owned();
    for (name, months) in [("outreach-hardship", json!(3)), ("outreach-uplift", json!(6)), ("outreach-rank", json!(12))]
    {
        let file = format!("{name}-1.0.0.wasm");
        deployment.write(&format!("plugins/{file}"), artifact(&format!("plugins/{name}"), &file));
        let pin = format!("{name}@1.0.0");
        deployment.edit("serin.toml", &format!("strategy = \"{before}\""), &format!("strategy = \"{pin}\""));
        before = pin;
        let request = json!({
            "decision_point": "collections-outreach",
            "entities": { "borrower": "b-17", "loan": "l-88" },
            "context": { "days_past_due": 12 },
        });
        let decision = eventually(name, Duration::from_secs(110), || {
            let answer = host.public.post("/v1/decisions", &request);
            assert_eq!(answer.status, 200, "{}", answer.text);
            Some(answer.json()).filter(|decision| decision["strategy"]["name"] == name)
        });
        assert_eq!(decision["served_by"], "strategy", "{decision}");
        assert_eq!(
            (&decision["action"], &decision["parameters"]["months"]),
            (&json!("hardship_offer"), &months),
            "{decision}"
        );
        let id = decision["decision_id"].as_str().expect("an id");
        let replayed = host.admin.post(&format!("/v1/decisions/{id}/replay"), &json!({})).json();
        assert_eq!(replayed["identical"], true, "{replayed}");
        if name == "outreach-uplift" {
            // A third more where the engine makes what the bindings use in each decision anew.
            let record = host.admin.get(&format!("/v1/decisions/{id}")).json();
            assert!(record["attempts"][0]["fuel"].as_u64().is_some_and(|fuel| fuel < 1_250_000), "{record}");
        }
        if name == "outreach-rank" {
            let record = host.admin.get(&format!("/v1/decisions/{id}")).json();
            let call = &record["attempts"][0]["transcript"][0];
            assert_eq!(call["rows"].as_array().map(Vec::len), Some(4), "one row for each offer: {record}");
        }
    }
    assert_eq!(host.stop(), Some(0));
    let verified = run(["replay", "--verify", "--config", config]);
    assert_eq!(verified.code, Some(0), "{}{}", verified.stdout, verified.stderr);
}

/// `serin plugin` with one variable changed.
fn plugin_with(dir: &Path, args: &[&str], key: &str, value: &std::ffi::OsStr) -> String {
    let output = std::process::Command::new(serin())
        .arg("plugin")
        .args(args)
        .current_dir(dir)
        .env_remove("VIRTUAL_ENV")
        // What is installed there would be found.
        .env_remove("CARGO_TARGET_DIR")
        .env(key, value)
        .output()
        .expect("serin runs");
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A program that only says its version, as an old interpreter does.
fn old(folder: &Path, program: &str, version: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::create_dir_all(folder).expect("a folder");
    let path = folder.join(program);
    std::fs::write(&path, format!("#!/bin/sh\necho '{version}'\n")).expect("writes");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("permissions");
}

#[test]
fn a_toolchain_that_is_missing_old_or_half_there_is_told_with_what_to_do() {
    let (_python, python) = new("late", "python");
    let (_javascript, javascript) = new("late", "javascript");
    let dir = tempfile::tempdir().expect("a folder");
    let says =
        |text: &str, parts: &[&str]| parts.iter().for_each(|part| assert!(text.contains(part), "{part}: {text}"));

    let nothing = dir.path().join("nothing");
    std::fs::create_dir(&nothing).expect("a folder");
    let missing = plugin_with(&javascript, &["build", "."], "PATH", nothing.as_os_str());
    says(&missing, &["node: No such file", "needed is Node 20 or later, from https://nodejs.org"]);

    old(&dir.path().join("old"), "node", "v18.20.4");
    let outdated = plugin_with(&javascript, &["build", "."], "PATH", dir.path().join("old").as_os_str());
    says(&outdated, &["node: it is v18.20.4", "needed is Node 20 or later"]);
    old(&dir.path().join("venv/bin"), "python", "Python 3.9.2");
    let outdated = plugin_with(&python, &["build", "."], "VIRTUAL_ENV", dir.path().join("venv").as_os_str());
    says(&outdated, &["bin/python: it is Python 3.9.2", "needed is Python 3.11 or later"]);

    // An environment of its own, without the package that builds.
    let made = std::process::Command::new("python3")
        .args(["-m", "venv", "--without-pip", "half"])
        .current_dir(dir.path())
        .status();
    assert!(made.expect("python3 runs").success());
    let half = plugin_with(&python, &["build", "."], "VIRTUAL_ENV", dir.path().join("half").as_os_str());
    says(&half, &["componentize-py is not installed; run:", "-m pip install -r "]);
    // The project's own environment comes first, whatever else is active.
    old(&python.join(".venv/bin"), "python", "Python 3.9.3");
    let own = plugin_with(&python, &["build", "."], "VIRTUAL_ENV", dir.path().join("half").as_os_str());
    says(&own, &[".venv/bin/python: it is Python 3.9.3"]);
    std::fs::remove_dir_all(python.join(".venv")).expect("removes");
    let sdk = dir.path().join("sdk/javascript");
    for part in ["bin", "src"] {
        std::fs::create_dir_all(sdk.join(part)).expect("a folder");
        for entry in std::fs::read_dir(root().join("guest-sdk/javascript").join(part)).expect("the SDK") {
            let path = entry.expect("an entry").path();
            std::fs::copy(&path, sdk.join(part).join(path.file_name().expect("a name"))).expect("copies");
        }
    }
    for file in ["package.json", "package-lock.json"] {
        std::fs::copy(root().join("guest-sdk/javascript").join(file), sdk.join(file)).expect("copies");
    }
    let half = plugin_with(&javascript, &["build", "."], "SERIN_SDK", dir.path().join("sdk").as_os_str());
    says(&half, &["is not installed; run:", "npm ci --prefix"]);

    let lost = plugin_with(&javascript, &["build", "."], "SERIN_SDK", nothing.as_os_str());
    says(&lost, &["no folder 'guest-sdk/javascript'", "SERIN_SDK"]);
}

/// An artifact of `serin plugin build` without its last section, the cases.
fn without_cases(artifact: &[u8]) -> Vec<u8> {
    let name = serin_core::manifest::CASES_SECTION.as_bytes();
    let at = artifact.windows(name.len()).rposition(|window| window == name).expect("cases");
    // Before the name are its length, the section's length in groups of 7 bits, and the kind.
    let length = artifact.len() - at + 1;
    let groups = (1..).find(|groups| length >> (7 * groups) == 0).expect("a length");
    artifact[..at - 1 - groups - 1].to_vec()
}

/// The lines in the record of a decision that ends in a trap, by a strategy `late` 0.1.0.
fn logged_by_a_decision(artifact: &[u8]) -> Vec<String> {
    let deployment = collections();
    deployment.remove("experiments/outreach-score.toml");
    deployment.shares_compiled_code();
    deployment.write("plugins/late-0.1.0.wasm", artifact);
    deployment.edit("serin.toml", "strategy = \"outreach-rules@1.0.0\"", "strategy = \"late@0.1.0\"");
    let host = Host::start_with(&deployment.config(), &["--dev"]);
    eventually("it is compiled", Duration::from_secs(110), || (host.public.get("/readyz").status == 200).then_some(()));
    let decision = host.decide(&json!({
        "decision_point": "collections-outreach",
        "entities": { "borrower": "b-17", "loan": "l-88" },
        "context": { "days_past_due": 12 },
    }));
    assert_eq!(decision["degraded"], json!(["strategy:late@0.1.0:trap"]));
    let record = host.record(&decision);
    let lines = record["attempts"][0]["logs"].as_array().unwrap_or_else(|| panic!("no lines: {record}"));
    lines.iter().filter_map(|line| line["message"].as_str().map(str::to_owned)).collect()
}

#[test]
fn a_mistake_in_the_source_is_told_in_the_authors_file_and_line() {
    let (_python, python) = new("late", "python");
    let (_javascript, javascript) = new("late", "javascript");
    edit(&javascript.join("strategy.js"), "Reason, strategy", "Reason, log, strategy");
    for (project, file, find, wrong, (before, looked), told) in [
        (
            &python,
            "strategy.py",
            "f.days_past_due",
            "f.days_late",
            ("f = input.features", "; print(\"looked\")"),
            "strategy.py:11: error: \"Features\" has no attribute \"days_late\"",
        ),
        (
            &javascript,
            "strategy.js",
            "features.days_past_due",
            "features.days_late",
            ("parameters }) => {", " log.info(\"looked\");"),
            "strategy.js(8,16): error TS2339: Property 'days_late' does not exist",
        ),
    ] {
        edit(&project.join(file), find, wrong);
        edit(&project.join(file), before, &format!("{before}{looked}"));
        let checked = plugin(project, &["check", "."]);
        assert!(checked.code == Some(1) && checked.stderr.contains(told), "{}", checked.stderr);
        assert!(checked.stderr.contains("the types do not check"), "{}", checked.stderr);
    }
    // Who does not look at the types finds it in the sandbox, where a case gets there.
    let tested = plugin(&python, &["test", "."]);
    assert!(tested.code == Some(1) && tested.stderr.contains("FAILED  a-little-late.json"), "{}", tested.stderr);
    let told = "warn: AttributeError: 'Features' object has no attribute 'days_late' (strategy.py, line 11, in decide)";
    assert!(tested.stderr.contains(told), "{}", tested.stderr);
    for inner in ["wasm trap", "/0/", "Traceback"] {
        assert!(!tested.stderr.contains(inner), "{inner}: {}", tested.stderr);
    }
    let built = dir_file(&python, "dist/late-0.1.0.wasm");
    let checked = plugin(&python, &["check", &built]);
    assert!(checked.code == Some(1) && checked.stderr.contains("FAILED  who is a little late"), "{}", checked.stderr);

    // It is in the record of a decision that meets it, too; a host would not take it with the case.
    let built = std::fs::read(python.join("dist/late-0.1.0.wasm")).expect("the artifact");
    assert_eq!(logged_by_a_decision(&without_cases(&built)), ["looked", told.trim_start_matches("warn: ")]);
    edit(&javascript.join("strategy.js"), "features.days_late", "/** @type {any} */ (features).days_late");
    for case in ["a-little-late", "very-late"] {
        std::fs::remove_file(javascript.join(format!("cases/{case}.json"))).expect("removes");
    }
    let made = plugin(&javascript, &["build", "."]);
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    let built = std::fs::read(javascript.join("dist/late-0.1.0.wasm")).expect("the artifact");
    let logged = logged_by_a_decision(&built);
    assert_eq!((logged.len(), &*logged[0]), (2, "looked"), "{logged:?}");
    for words in ["days_late", "strategy.js:8"] {
        assert!(logged[1].contains(words), "{words}: {logged:?}");
    }

    edit(&python.join("strategy.py"), "def decide", "def decide(");
    let refused = plugin(&python, &["build", "."]);
    for part in ["strategy.py\", line 7", "SyntaxError", "python failed on"] {
        assert!(refused.stderr.contains(part), "{part}: {}", refused.stderr);
    }
    edit(&javascript.join("strategy.js"), "=> {", "=> {{ (;");
    let refused = plugin(&javascript, &["build", "."]);
    assert!(refused.code == Some(1) && refused.stderr.contains("strategy.js(6,"), "{}", refused.stderr);
}

/// The expressions in a cell of a table.
fn code(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

#[test]
fn the_standard_library_works_as_the_table_says() {
    let page = std::fs::read_to_string(root().join("guest-sdk/LIBRARIES.md")).expect("the page");
    let table = page.split("| module | works | raises |").nth(1).expect("the table");
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let (mut modules, mut tried) = (Vec::new(), String::new());
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split('|').collect();
        let [module, works, raises] = cells[..] else { panic!("three cells: {row}") };
        modules.extend(code(module));
        // A colon begins what to do instead; names there are no expressions.
        let raises = raises.split(": ").next().expect("a part");
        let is_call = |text: &&str| text.contains('(') || text.contains('*');
        for (cell, fails) in [(works, "False"), (raises, "True")] {
            for text in code(cell).into_iter().filter(is_call) {
                tried += &format!("    ({text:?}, lambda: {text}, {fails}),\n");
            }
        }
    }
    assert!(modules.len() > 20 && tried.lines().count() > 30, "{tried}");
    let (_dir, project) = new("library", "python");
    let imports: String = modules.iter().map(|module| format!("import {module}\n")).collect();
    let source = format!(
        "{imports}from datetime import UTC, date, datetime, timedelta\n\
         from plugin import Action, Candidate, Input, Reason, strategy\n\nTRIED = [\n{tried}]\n\n\n\
         @strategy\ndef decide(input: Input) -> Candidate:\n    for text, call, fails in TRIED:\n        try:\n\
         \x20           call()\n        except Exception as error:\n\
         \x20           assert fails and \"strategy\" in str(error), f\"{{text}}: {{error!r}}\"\n        else:\n\
         \x20           assert not fails, f\"{{text}} works\"\n\
         \x20   return Action.no_contact().because(Reason.CONTACT_CAP, 1.0)\n"
    );
    std::fs::write(project.join("strategy.py"), source).expect("writes");
    let toml = project.join("plugin.toml");
    // Fuel for thirty things at once.
    let text = std::fs::read_to_string(&toml).expect("reads");
    std::fs::write(&toml, text + "\n[limits]\nfuel = 500000000\nmemory_bytes = 67108864\n").expect("writes");
    for case in ["a-little-late", "very-late"] {
        std::fs::remove_file(project.join(format!("cases/{case}.json"))).expect("removes");
    }
    passes(&project, &[]);
}

#[test]
fn the_unit_tests_of_a_new_project_run_without_wasm() {
    let run = |dir: &Path, program: &Path, args: &[&str]| {
        let output = std::process::Command::new(program)
            .args(args)
            .current_dir(dir)
            .env("PYTHONPATH", root().join("guest-sdk/python"))
            .env("MYPYPATH", root().join("guest-sdk/python"))
            .env("SERIN_NODE", cargo_target().join("node"))
            .output()
            .unwrap_or_else(|e| panic!("{}: {e}", program.display()));
        let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        assert!(output.status.success(), "{}: {text}", program.display());
        text
    };
    let (_python, python) = new("late", "python");
    let bin = cargo_target().join("python-venv/bin");
    assert!(run(&python, &bin.join("python"), &["-m", "pytest", "-q"]).contains("1 passed"));
    assert!(run(&python, &bin.join("python"), &["-m", "mypy"]).contains("no issues found"));
    let (_javascript, javascript) = new("late", "javascript");
    assert!(run(&javascript, Path::new("npm"), &["test"]).contains("# pass 1"));
    run(&javascript, Path::new("npm"), &["run", "check"]);
    // TypeScript is one name away.
    std::fs::rename(javascript.join("strategy.js"), javascript.join("strategy.ts")).expect("renames");
    assert!(run(&javascript, Path::new("npm"), &["test"]).contains("# pass 1"));
    run(&javascript, Path::new("npm"), &["run", "check"]);
}

fn dir_file(dir: &Path, file: &str) -> String {
    dir.join(file).display().to_string()
}
