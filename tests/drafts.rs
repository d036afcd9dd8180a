//! Drafts: what is made of a Python strategy while its author waits. They decide as the build does, and never pass for it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::json;
use serin::registry::Plugin;
use serin::sandbox::Engines;

use crate::author::{edit, new, plugin};
use crate::support::{Client, Host, collections, eventually, run, serin};

/// An interpreter is compiled within it, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(240);

/// Builds a draft, which has to be one.
fn draft(project: &Path) -> PathBuf {
    let built = plugin(project, &["build", "--draft", "."]);
    assert_eq!(built.code, Some(0), "{}", built.stderr);
    let (file, _) = built.stdout.split_once(" (").expect("a path");
    assert!(file.ends_with("dist/.draft/quick-0.1.0.wasm"), "{}{}", built.stdout, built.stderr);
    file.into()
}

/// A strategy with all that its build gives it: files, modules of its own, and the library's, some of them late.
const RICH: &str = r#"
import calendar
import csv
import dataclasses
import logging
import queue
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

from plugin import Action, Candidate, Input, Reason, strategy
from scales.steps import STEPS, Step

HERE = Path(__file__).parent
with open(HERE / "limits.csv", encoding="utf-8", newline="") as lines:
    LIMITS = {row["name"]: Decimal(row["days"]) for row in csv.DictReader(lines)}
WORDS = (HERE / "words.txt").read_text(encoding="utf-8").split()
WEIGHTS = (HERE / "weights.bin").read_bytes()


@dataclasses.dataclass(frozen=True)
class Seen:
    step: Step
    day: str


@strategy
def decide(input: Input) -> Candidate:
    import statistics

    f = input.features
    seen = Seen(STEPS[f.days_past_due % 2], datetime.fromtimestamp(input.time_ms / 1000, UTC).strftime("%A"))
    try:
        raise queue.Empty(calendar.isleap(2024))
    except queue.Empty:
        logging.exception("told with its lines")
    print(seen, sorted(set(WORDS)), {word for word in WORDS})
    logging.warning("%s of %s", statistics.fmean(WEIGHTS), seen.step.name)
    if f.contacts_7d >= input.parameters.contact_cap:
        return Action.no_contact().because(Reason.CONTACT_CAP, 1.0)
    if f.days_past_due < LIMITS["late"]:
        return Action.sms_reminder(template=WORDS[0]).because(Reason.EARLY, WEIGHTS[0] / 255 * 0.7)
    return Action.call().because(Reason.LATE, 0.9)
"#;

fn rich() -> (tempfile::TempDir, PathBuf) {
    let (dir, project) = new("quick", "python");
    let write = |file: &str, bytes: &[u8]| std::fs::write(project.join(file), bytes).expect("writes");
    write("strategy.py", RICH.as_bytes());
    write("limits.csv", b"name,days\r\nlate,30\r\n");
    write("words.txt", "gentle s\u{f8}t ord gentle".as_bytes());
    write("weights.bin", &[255, 0, 128, 200]);
    std::fs::create_dir(project.join("scales")).expect("a folder");
    write("scales/__init__.py", b"");
    write("scales/steps.py", b"from enum import Enum\n\nfrom . import names\n\n\nclass Step(Enum):\n    ONE = names.FIRST\n    TWO = names.LAST\n\n\nSTEPS = [*Step]\n");
    // The library's modules come first, in a build, too.
    write("calendar.py", b"raise ImportError('hides the library')\n");
    std::fs::create_dir(project.join("queue")).expect("a folder");
    write("queue/data.txt", b"");
    write("scales/names.py", b"FIRST, LAST = 'one', 'two'\n");
    (dir, project)
}

#[test]
fn a_draft_decides_and_logs_as_the_build_does() {
    let (_dir, project) = rich();
    let drafted = draft(&project);
    let whole = project.join("dist/quick-0.1.0.wasm");
    assert!(!whole.exists(), "a draft is a file of its own");
    assert_eq!(plugin(&project, &["build", "--quiet", "."]).code, Some(0));
    let engines = Engines::new(2).expect("engines").drafting();
    let [drafted, whole] = [drafted, whole].map(|file| {
        let bytes = std::fs::read(file).expect("an artifact");
        Plugin::link(&engines, &bytes).expect("links")
    });
    assert!(drafted.contents.is_draft && !whole.contents.is_draft);
    assert!(whole.contents.cases.len() >= 3);
    for case in &whole.contents.cases {
        let [came, expected] = [&drafted, &whole].map(|plugin| plugin.run_case(case));
        assert_eq!(came.difference, None, "{}", case.name);
        assert_eq!(came.outcome, expected.outcome, "{}", case.name);
        assert_eq!(came.logs, expected.logs, "{}", case.name);
        assert!(came.logs.len() >= 2, "{:?}", came.logs);
    }
}

#[test]
fn a_mistake_in_a_draft_is_told_with_the_authors_file_and_line() {
    let (_dir, project) = new("quick", "python");
    let strategy = project.join("strategy.py");
    edit(&strategy, "@strategy", "LIMIT = 30 / 0\n\n\n@strategy");
    let line = std::fs::read_to_string(&strategy).expect("reads").lines().position(|line| line.contains("30 / 0"));
    let line = line.expect("the line") + 1;
    let built = plugin(&project, &["build", "--draft", "."]);
    assert_eq!(built.code, Some(1));
    let expected = format!("File \"{}\", line {line}, in <module>\n    LIMIT = 30 / 0\n", strategy.display());
    assert!(built.stderr.contains(&expected), "{}", built.stderr);
    assert!(built.stderr.contains("ZeroDivisionError: division by zero"), "{}", built.stderr);
    assert!(!built.stderr.contains("no draft"), "{}", built.stderr);
}

#[test]
fn what_no_draft_can_be_made_of_is_built() {
    let (_dir, project) = new("quick", "python");
    // Of the system's files a draft knows none.
    edit(&project.join("strategy.py"), "@strategy", "import os\n\nFILES = os.listdir('/0')\n\n\n@strategy");
    let built = plugin(&project, &["build", "--draft", "."]);
    assert_eq!(built.code, Some(0), "{}", built.stderr);
    assert!(built.stderr.contains("no draft is made, but a build"), "{}", built.stderr);
    assert!(project.join("dist/quick-0.1.0.wasm").exists() && !project.join("dist/.draft/quick-0.1.0.wasm").exists());
    edit(&project.join("strategy.py"), "import os\n", "import numpy\n");
    let built = plugin(&project, &["build", "--draft", "."]);
    assert!(built.code == Some(1) && built.stderr.contains("packages.txt"), "{}", built.stderr);
}

#[test]
fn a_draft_is_not_pushed_and_not_served_but_with_dev() {
    let (_dir, project) = new("quick", "python");
    let drafted = draft(&project);
    let file = drafted.to_str().expect("a path");
    let pushed = run(["plugin", "push", file, "127.0.0.1:9/quick:1"]);
    assert!(pushed.code != Some(0) && pushed.stderr.contains("is a draft"), "{}", pushed.stderr);
    assert!(pushed.stderr.contains("nothing is pushed"), "{}", pushed.stderr);
    let deployment = collections();
    deployment.shares_compiled_code();
    let place = "plugins/quick-0.1.0.wasm";
    deployment.write(place, std::fs::read(&drafted).expect("reads"));
    let config = deployment.config();
    let checked = run(["check", "--config", config.to_str().expect("a path")]);
    let said = checked.stdout + &checked.stderr;
    assert!(checked.code == Some(1) && said.contains("quick@0.1.0 is a draft"), "{said}");
    let quick = |host: &Host| {
        let plugins = host.admin.get("/v1/plugins").json();
        let plugins = plugins["plugins"].as_array().expect("plugins");
        plugins.iter().find(|plugin| plugin["name"] == "quick").cloned().unwrap_or_default()
    };
    let host = Host::start_with(&config, &["--dev"]).ready();
    eventually("the draft is served", PATIENCE, || (quick(&host)["state"] == "active").then_some(()));
    assert_eq!(host.stop(), Some(0));
    let host = Host::start(&deployment).ready();
    eventually("the draft is refused", PATIENCE, || {
        quick(&host)["error"].as_str().is_some_and(|error| error.contains("is a draft")).then_some(())
    });
    // What was served with --dev is no version that was published: what is built of it is accepted.
    let built = plugin(&project, &["build", "--quiet", "."]);
    assert_eq!(built.code, Some(0), "{}", built.stderr);
    deployment.write(place, std::fs::read(project.join("dist/quick-0.1.0.wasm")).expect("reads"));
    eventually("the build is served", PATIENCE, || (quick(&host)["state"] == "active").then_some(()));
    assert_eq!(host.stop(), Some(0));
}

#[test]
fn what_is_saved_in_python_is_served_as_a_draft() {
    use std::io::{BufRead as _, BufReader};
    let (_dir, project) = new("quick", "python");
    let deployment = collections();
    deployment.write("plugins/quick-0.1.0.wasm", std::fs::read(draft(&project)).expect("reads"));
    deployment.edit("serin.toml", "strategy = \"outreach-rules@1.0.0\"", "strategy = \"quick@0.1.0\"");
    deployment.remove("experiments/outreach-score.toml");
    let mut child = Command::new(serin())
        .args(["serve", "--dev", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--log", "off", "--source"])
        .arg(&project)
        .arg("--config")
        .arg(deployment.config())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("serin runs");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines().map(|line| line.expect("a line"));
    let address =
        lines.next().expect("the address").split_whitespace().nth(3).expect("a URL").trim_end_matches(',').to_owned();
    let mut until =
        |needle: &str| lines.find(|line| line.contains(needle)).unwrap_or_else(|| panic!("never said: {needle}"));
    until("quick@0.1.0 served");
    let public = Client::new(address.trim_start_matches("http://"));
    let decide = || {
        let entities = json!({ "borrower": "b-1", "loan": "l-1" });
        let request = json!({ "decision_point": "collections-outreach", "entities": entities, "context": { "days_past_due": 20 } });
        public.post("/v1/decisions", &request).json()["action"].clone()
    };
    assert_eq!(decide(), "sms_reminder");
    edit(&project.join("strategy.py"), "days_past_due < 30", "days_past_due < 15");
    std::fs::remove_dir_all(project.join("cases")).expect("the template's cases");
    until("quick@0.1.0 served");
    assert_eq!(decide(), "call");
    assert!(project.join("dist/.draft/quick-0.1.0.wasm").exists() && !project.join("dist/quick-0.1.0.wasm").exists());
    child.kill().expect("kills");
    child.wait().expect("ends");
}

#[test]
fn what_is_saved_is_tested_again() {
    use std::io::{BufRead as _, BufReader};
    let (_dir, project) = new("quick", "python");
    let mut child = Command::new(serin())
        .args(["plugin", "test", "--watch"])
        .arg(&project)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("serin runs");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines().map(|line| line.expect("a line"));
    let mut until =
        |needle: &str| lines.find(|line| line.contains(needle)).unwrap_or_else(|| panic!("never said: {needle}"));
    until(", 0 failed");
    // Also what is saved before it waits.
    edit(&project.join("strategy.py"), "Reason.EARLY, 0.7", "Reason.EARLY, 0.8");
    until(", 1 failed");
    until("waits for a change");
    edit(&project.join("strategy.py"), "Reason.EARLY, 0.8", "Reason.EARLY, 0.7");
    until(", 0 failed");
    child.kill().expect("kills");
    child.wait().expect("ends");
}
