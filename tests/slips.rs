//! Slips of a first day: each is told with its place and with what would be valid.

use serde_json::{Value, json};

use crate::author::{edit, new, plugin};
use crate::experiments::{RAMP, RUNNING, command, decide, deployment, why};
use crate::features::try_load;
use crate::support::{Cli, Deployment, Host, collections, run, wat};

fn path(deployment: &Deployment, name: &str) -> String {
    deployment.path().join(name).to_str().expect("a path").to_owned()
}

fn check(deployment: &Deployment) -> Cli {
    run(["check", "--config", &path(deployment, "serin.toml")])
}

#[track_caller]
fn says(text: &str, needles: &[&str]) {
    assert!(needles.iter().all(|needle| text.contains(needle)), "{needles:?}: {text}");
}

#[test]
fn a_bad_cell_is_named_by_its_line_with_any_ends_of_lines() {
    let deployment = collections();
    let host = Host::start(&deployment).ready();
    let golden: Value = serde_json::from_str(&deployment.read("models/default-risk.golden.json")).expect("JSON");
    let inputs: Vec<&str> = golden["inputs"].as_array().expect("names").iter().filter_map(Value::as_str).collect();
    deployment.remove("models/default-risk.golden.json");
    let ones = vec!["1"; inputs.len()].join(",");
    for end in ["\n", "\r\n"] {
        let lines = |lines: &[&str]| lines.join(end) + end;
        let bad = ones.replacen('1', "much", 1);
        deployment.write("rows.csv", lines(&[&inputs.join(","), &ones, &ones, "", &bad]));
        let (model, rows) = (path(&deployment, "models/default-risk.onnx"), path(&deployment, "rows.csv"));
        says(&run(["models", "golden", &model, "--rows", &rows]).stderr, &["line 5: column", "'much'"]);
        let servicing = lines(&["entity,event_time,contacts_7d", "l-1,2026-01-01T00:00:00Z,1", "", "l-2,x,1"]);
        let loaded = try_load(&deployment, "servicing", "servicing.csv", servicing, &[]);
        says(&loaded.stderr, &["row 2 (line 4)"]);
        let uneven = lines(&["entity,event_time,contacts_7d", "l-1,2026-01-01T00:00:00Z,1", "l-2"]);
        says(
            &try_load(&deployment, "servicing", "uneven.csv", uneven, &[]).stderr,
            &["line 3", "1 fields, and the header has 3"],
        );
        deployment.write("outcomes.csv", lines(&["id,name,value,decision_id", "1,paid,1,d", "2,paid,much,d"]));
        let loaded = run(["outcomes", "load", &path(&deployment, "outcomes.csv"), "--url", &host.public.address]);
        says(&loaded.stderr, &["line 3: value: 'much'"]);
    }
    for (rows, why) in
        [("rows.csv", "is empty; valid: a header"), ("rows.json", "is empty"), ("rows.jsonl", "is empty")]
    {
        deployment.write(rows, "");
        let model = path(&deployment, "models/default-risk.onnx");
        says(&run(["models", "golden", &model, "--rows", &path(&deployment, rows)]).stderr, &[why]);
    }
    let loaded = try_load(&deployment, "servicing", "customers.csv", "customer,time\n", &[]);
    says(&loaded.stderr, &["column 'customer' is not of view 'servicing'", "valid: entity, event_time, contacts_7d"]);
    let loaded = try_load(&deployment, "servicing", "none.csv", "entity,event_time\n", &[]);
    assert_eq!(loaded.code, Some(0), "{}", loaded.stderr);
    says(&loaded.stderr, &["warning: ", "none.csv: no rows in it"]);
    deployment.write("outcomes.csv", "id,name,value\n");
    let loaded = run(["outcomes", "load", &path(&deployment, "outcomes.csv"), "--url", &host.public.address]);
    says(&loaded.stderr, &["warning: ", "outcomes.csv: no rows below its header"]);
}

#[test]
fn names_that_nothing_knows_are_told_of() {
    let deployment = collections();
    deployment.edit(
        "serin.toml",
        "[features.servicing]\nentity = \"loan\"",
        "[features.servicing]\nentity = \"loans\"",
    );
    deployment.write("experiments/foo.tml", "id = \"foo\"\n");
    deployment.write("experiments/notes.md", "# Notes\n");
    let checked = check(&deployment);
    says(
        &checked.stderr,
        &[
            "feature view 'servicing': no decision point has the entity 'loans'",
            "did you mean 'loan'?",
            "foo.tml: is ignored: its name does not end in .toml",
        ],
    );
    assert!(!checked.stderr.contains("notes.md"), "{}", checked.stderr);

    let deployment = collections();
    let metric =
        "\n[[metrics]]\nname = \"converted\"\nrole = \"secondary\"\noutcome = \"converted\"\nwindow = \"14d\"\n";
    let spec = deployment.read("experiments/outreach-score.toml");
    deployment.write("experiments/outreach-score.toml", spec + metric);
    let host = Host::start(&deployment).ready();
    let url = ["--url", &host.public.address];
    let marked = run(["outcomes", "watermark", "convertd", "2026-01-01T00:00:00Z"].into_iter().chain(url));
    assert_eq!(marked.code, Some(0), "{}", marked.stderr);
    says(&marked.stderr, &["did you mean 'converted'?"]);
    let marked = run(["outcomes", "watermark", "converted", "2026-01-01T00:00:00Z"].into_iter().chain(url));
    assert_eq!(marked.stderr, "");

    let unknown = host.admin.get("/v1/decisions?point=nonsense");
    assert_eq!(unknown.status, 422, "{}", unknown.text);
    says(&unknown.text, &["valid: collections-outreach"]);
    let known = host.admin.get("/v1/decisions?point=collections-outreach");
    assert_eq!((known.status, &known.json()["decisions"]), (200, &json!([])));
    says(&host.admin.get("/v1/decisions?limit=abc").text, &["limit: is not a whole number that fits"]);
    let request = json!({ "decision_point": "collections-outreach", "entities": {}, "utc_offset_minutes": 99999 });
    let refused = host.public.post("/v1/decisions", &request).text;
    says(&refused, &["integer `99999`", "-1440 to 1440"]);
}

#[test]
fn a_decision_point_that_was_taken_out_still_has_its_decisions() {
    let deployment = deployment(RUNNING, false);
    let host = Host::start(&deployment).ready();
    decide(&host, "b-1");
    host.kill();
    deployment.remove("experiments/e.toml");
    deployment.edit("serin.toml", "[decision_points.p]", "[decision_points.other]");
    let host = Host::start(&deployment);
    let decisions = |query: &str| {
        let answer = host.admin.get(&format!("/v1/decisions?point=p{query}"));
        (answer.status, answer.json()["decisions"].as_array().map(Vec::len))
    };
    assert_eq!(decisions(""), (200, Some(1)));
    assert_eq!(decisions("&unit=b-nobody"), (200, Some(0)), "it is known, if only from its records");
}

#[test]
fn a_pin_that_is_not_there_is_named_by_its_line_with_what_to_do() {
    let deployment = collections();
    deployment.edit("serin.toml", "outreach-rules@1.0.0", "outreach-rules@1.0.1");
    let line = deployment.read("serin.toml").lines().position(|line| line.contains("1.0.1")).expect("the pin") + 1;
    says(
        &check(&deployment).stderr,
        &[
            &format!("line {line}: decision_points.collections-outreach.strategy"),
            "did you mean 'outreach-rules@1.0.0'?",
            "copy outreach-rules-1.0.1.wasm into the plugins folder",
        ],
    );
}

#[test]
fn options_say_what_they_take() {
    let deployment = collections();
    let config = path(&deployment, "serin.toml");
    says(&run(["serve", "--config", &config, "--listen", "8080"]).stderr, &["valid: IP:PORT, like 127.0.0.1:8080"]);
    says(
        &run(["experiment", "plan", "e.toml", "--units-per-day", "-5"]).stderr,
        &["--units-per-day", "valid: a number above 0"],
    );
    says(&run(["token", "new", "--help"]).stdout, &["What it may do: ", "decide", "operate"]);
    let unreachable = run(["audit", "--admin", "http://127.0.0.1:9"]);
    assert!(unreachable.code == Some(1) && unreachable.stdout.is_empty(), "{unreachable:?}");
    let source = path(&deployment, "plugins");
    let served = run(["serve", "--config", &config, "--dev", "--source", &source]);
    assert_eq!(served.code, Some(1), "{served:?}");
    says(&served.stderr, &["--source", "has no plugin.toml in it", "a strategy's folder"]);
}

#[test]
fn a_case_cut_from_a_fallback_says_why_there_is_none() {
    let deployment = deployment(RUNNING, false);
    deployment.remove("experiments/e.toml");
    deployment.remove("plugins/p-1.0.0.wasm");
    let host = Host::start(&deployment);
    let decided = decide(&host, "b-1");
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("plugin.toml"), wat::manifest("p", "1.0.0", "p", "go")).expect("writes");
    let id = decided["decision_id"].as_str().expect("an id");
    let admin = format!("http://{}", host.admin.address);
    let cut = plugin(dir.path(), &["case", "--from-decision", id, ".", "--admin", &admin]);
    assert_eq!(cut.code, Some(1), "{}", cut.stdout);
    says(&cut.stderr, &["was not made by p: the fallback action served; no strategy ran (not_loaded)"]);
}

#[test]
fn cases_are_run_beside_a_comparison_and_their_lack_is_told_of() {
    let dir = tempfile::tempdir().expect("a folder");
    let artifact = |version: &str, action: &str| {
        let fields = format!("{} {}", wat::PRELUDE, wat::decide("(i32.const 1024)"));
        let guest = wat::guest(&wat::manifest("p", version, "p", "go"), &fields);
        let came = json!([{ "action": action, "probability": 1.0, "parameters": { "n": 7 }, "reasons": [] }]);
        let name = format!("p-{version}.wasm");
        let cases = json!([{ "name": "the case", "expect": { "candidates": came } }]);
        std::fs::write(dir.path().join(&name), wat::with_cases(guest, &cases)).expect("writes");
        name
    };
    let (old, new_one) = (artifact("1.0.0", "go"), artifact("1.1.0", "other"));
    let checked = plugin(dir.path(), &["check", &new_one, "--against", &old]);
    assert_eq!(checked.code, Some(1), "{}", checked.stdout);
    says(&checked.stdout, &["p@1.1.0 against p@1.0.0"]);
    says(&checked.stderr, &["FAILED  the case"]);
    let checked = plugin(dir.path(), &["check", &new_one, "--against", &old, "--format", "json"]);
    let said: Value = serde_json::from_str(&checked.stdout).expect("JSON");
    assert_eq!((checked.code, &said["cases"]), (Some(1), &json!({ "run": 1, "failed": ["the case"] })), "{said}");

    let (_dir, project) = new("slips", "rust");
    let toml = project.join("plugin.toml");
    edit(&toml, "EARLY = \"Less than 30 days late\"", "EARLY = \"\"");
    let refused = plugin(&project, &["test", "."]);
    assert_eq!(refused.code, Some(1), "{}", refused.stdout);
    says(&refused.stderr, &["plugin.toml: reasons.EARLY: has no words"]);
    edit(&toml, "EARLY = \"\"", "EARLY = \"Less than 30 days late\"");
    std::fs::copy(project.join("cases/very-late.json"), project.join("cases/very-late-too.json")).expect("copies");
    let refused = plugin(&project, &["test", "."]);
    assert_eq!(refused.code, Some(1), "{}", refused.stdout);
    says(
        &refused.stderr,
        &["very-late.json: name: 'who is very late gets a call' is the name of very-late-too.json, too"],
    );
    std::fs::remove_dir_all(project.join("cases")).expect("removes");
    let tested = plugin(&project, &["test", "."]);
    assert_eq!(tested.code, Some(0), "{}", tested.stderr);
    says(&tested.stderr, &["warning: ", "no cases, so nothing was tested"]);
}

#[test]
fn what_has_ended_is_not_explained_again_and_a_promotion_says_its_coverage() {
    let rail = "\n[[guardrails]]\nmetric = \"failures\"\nmax_increase = 0.01\n";
    let deployment = deployment(&format!("{RAMP}{rail}"), false);
    let host = Host::start(&deployment).ready();
    says(&check(&deployment).stdout, &["guardrail 'failures': "]);
    assert_eq!(command(&host, "start", why()).0, 200);
    assert_eq!(command(&host, "promote", why()).0, 200);
    let shown = run(["experiment", "show", "e", "--admin", &host.admin.address]);
    says(&shown.stdout, &["running, phase 2: coverage 1, by ann"]);
    assert!(!shown.stdout.contains("running -> running"), "{}", shown.stdout);
    assert_eq!(command(&host, "abort", why()).0, 200);
    let (status, refused) = command(&host, "abort", why());
    assert_eq!(status, 409);
    says(&refused.to_string(), &["the experiment is aborted already"]);
    assert!(!check(&deployment).stdout.contains("guardrail 'failures': "), "{}", check(&deployment).stdout);
}
