//! What host/MODELS.md tells who brings a model: its blocks are run as they stand, up to a host
//! that gives Python's scores. And `serin models golden` by itself.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::support::{Cli, Deployment, Host, collections, root, run, serin, wat};

const DOCUMENT: &str = "host/MODELS.md";
/// Float32 has seven digits, and trees sum up fifty numbers.
const CLOSE: f64 = 2e-6;

/// The page's blocks: the text behind the fence, and what is inside.
fn blocks() -> Vec<(String, String)> {
    let page = std::fs::read_to_string(root().join(DOCUMENT)).expect("the page");
    let fenced: Vec<&str> = page.split("```").collect();
    assert_eq!(fenced.len() % 2, 1, "{DOCUMENT}: the last block has no end");
    fenced.iter().skip(1).step_by(2).map(|block| block.split_once('\n').expect("a block")).map(own).collect()
}

fn own((info, text): (&str, &str)) -> (String, String) {
    (info.to_owned(), text.to_owned())
}

fn block(info: &str) -> String {
    let found = blocks().into_iter().find(|(known, _)| known == info);
    found.unwrap_or_else(|| panic!("{DOCUMENT} has no block ```{info}")).1
}

fn python() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    let program = target.join("models-venv/bin/python");
    assert!(program.exists(), "{} is not there; 'make setup' makes it", program.display());
    std::path::absolute(program).expect("a path")
}

/// Runs a program in a folder; what it printed.
fn ran(command: &mut Command, dir: &Path) -> String {
    let output = command.current_dir(dir).env_remove("RUST_LOG").output().expect("runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// A deployment as the page has it, with a strategy of its manifest.
fn deployment() -> Deployment {
    let config = block("toml file=serin.toml");
    assert!(config.contains("deadline = \"250ms\""));
    // On a busy machine the page's deadline would speak in a test about other things.
    let config = config.replace("deadline = \"250ms\"", "deadline = \"5s\"");
    let deployment = Deployment::new(&format!("{config}\n[limits]\nwall_ms = 2000\n"));
    let fields = format!("{} {}", wat::PRELUDE, wat::decide("(i32.const 1024)"));
    let artifact = wat::guest(&block("toml file=plugin.toml"), &fields);
    deployment.write("plugins/churn-offers-1.0.0.wasm", artifact);
    deployment
}

/// Writes the page's files of Python, and makes its data.
fn prepare(dir: &Path) {
    for (info, text) in blocks() {
        if let Some(name) = info.strip_prefix("python file=") {
            std::fs::write(dir.join(name), text).expect("writes");
        }
    }
    ran(Command::new(python()).arg("data.py"), dir);
}

/// The command of the page that writes the golden file, and what the page says that it prints.
fn golden(dir: &Path) {
    let bin = Path::new(serin()).parent().expect("a folder");
    let path = std::env::join_paths(
        std::iter::once(bin.to_path_buf()).chain(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())),
    );
    let printed = ran(Command::new("bash").args(["-euc", &block("sh")]).env("PATH", path.expect("a path")), dir);
    // `…` stands for anything.
    let shown = block("text");
    let mut rest = &*printed;
    for (at, part) in shown.split('…').enumerate() {
        let after = if at == 0 { rest.strip_prefix(part) } else { rest.split_once(part).map(|(_, after)| after) };
        rest = after.unwrap_or_else(|| panic!("{DOCUMENT} shows\n{shown}but printed was\n{printed}"));
    }
}

/// The host's scores of the first customers in the page's data.
fn served(deployment: &Deployment, customers: usize) -> Vec<f64> {
    let config = deployment.config();
    let checked = run(["check", "--config", config.to_str().expect("a path")]);
    assert_eq!(checked.code, Some(0), "{}{}", checked.stdout, checked.stderr);
    let host = Host::start(deployment).ready();
    let data = deployment.read("churn.csv");
    let scores = data.lines().skip(1).take(customers).enumerate().map(|(at, line)| {
        let cells: Vec<f64> = line.split(',').map(|cell| cell.parse().expect("a number")).collect();
        let values = json!({ "tenure_months": cells[0] as i64, "orders_90d": cells[1] as i64, "spend_90d": cells[2] });
        let customer = format!("c-{at}");
        let rows = json!({ "rows": [{ "entity": customer, "event_time": "2026-01-01T00:00:00Z", "values": values }] });
        let pushed = host.public.post("/v1/features/profile", &rows);
        assert_eq!(pushed.status, 200, "{}", pushed.text);
        let answer = host.decide(&json!({ "decision_point": "offers", "entities": { "customer": customer } }));
        let decided = (answer["action"].as_str(), answer["degraded"].as_array().map(Vec::len));
        assert_eq!(decided, (Some("discount"), Some(0)), "{answer}");
        let score = &host.record(&answer)["attempts"][0]["scores"][0];
        score["value"].as_f64().unwrap_or_else(|| panic!("no score: {score}"))
    });
    let scores = scores.collect();
    assert_eq!(host.stop(), Some(0));
    scores
}

fn a_block_gives_a_model_that_scores_as_python_does(script: &str) {
    let deployment = deployment();
    prepare(deployment.path());
    let printed = ran(Command::new(python()).arg(script), deployment.path());
    let expected: Vec<f64> = serde_json::from_str(printed.lines().last().expect("a line")).expect("Python's scores");
    assert_eq!(expected.len(), 5);
    golden(deployment.path());
    let scores = served(&deployment, expected.len());
    let near = scores.iter().zip(&expected).all(|(got, wanted)| (got - wanted).abs() <= CLOSE);
    assert!(near, "{script}: the host scores {scores:?}, and Python {expected:?}");
    assert!(expected.iter().any(|x| (x - expected[0]).abs() > 0.01), "scores that differ: {expected:?}");
}

#[test]
fn the_export_from_scikit_learn_serves_pythons_scores() {
    a_block_gives_a_model_that_scores_as_python_does("export_sklearn.py");
}

#[test]
fn the_export_from_lightgbm_serves_pythons_scores() {
    a_block_gives_a_model_that_scores_as_python_does("export_lightgbm.py");
}

#[test]
fn the_export_from_xgboost_serves_pythons_scores() {
    a_block_gives_a_model_that_scores_as_python_does("export_xgboost.py");
}

#[test]
fn every_block_of_python_is_run_or_says_that_it_is_not() {
    let tried = ["data.py", "churn.py", "export_sklearn.py", "export_lightgbm.py", "export_xgboost.py"];
    for (info, _) in blocks() {
        let is_known = info.strip_prefix("python file=").is_some_and(|name| tried.contains(&name));
        let is_data = ["sh", "text", "json", "toml file=serin.toml", "toml file=plugin.toml"].contains(&&*info);
        assert!(is_known || is_data || info == "python not-run", "{DOCUMENT}: ```{info} is not run");
    }
    let page = std::fs::read_to_string(root().join(DOCUMENT)).expect("the page");
    assert_eq!(page.matches("```python not-run").count(), page.matches("**The tests do not run this block**").count());
    let example: Value = serde_json::from_str(&block("json")).expect("JSON");
    serin::models::Golden::parse(example.to_string().as_bytes()).expect("a golden file");
}

#[test]
fn every_version_that_the_page_installs_is_the_one_that_its_blocks_are_run_with() {
    let page = std::fs::read_to_string(root().join(DOCUMENT)).expect("the page");
    let pinned = std::fs::read_to_string(root().join("tests/models/requirements.txt")).expect("the tests' versions");
    let words = page.split_whitespace().map(|word| word.trim_end_matches('`'));
    let installed: Vec<&str> = words.filter(|word| word.contains("==")).collect();
    assert!(installed.len() >= 10, "{installed:?}");
    for package in installed {
        assert!(pinned.lines().any(|line| line == package), "{DOCUMENT} installs {package}, and the tests another");
    }
}

#[test]
fn scikit_learns_default_is_refused_with_its_remedy() {
    let deployment = deployment();
    prepare(deployment.path());
    let script = block("python file=export_sklearn.py").replace(", options={\"zipmap\": False}", "");
    deployment.write("export.py", script);
    ran(Command::new(python()).arg("export.py"), deployment.path());
    let inputs = ["--inputs", "tenure_months,orders_90d,spend_90d"];
    let refused = written(&deployment, "churn", "churn.csv", &inputs);
    says(&refused, &["churn.onnx: no output can hold a score", "sequence of maps", "{\"zipmap\": False}"]);
    // With a golden file of its own the host says the same.
    let golden = block("json").replace("\"probabilities\"", "\"output_probability\"");
    deployment.write("models/churn.golden.json", golden);
    let config = deployment.config();
    let checked = run(["check", "--config", config.to_str().expect("a path")]);
    says(&checked, &["output 'output_probability' is a sequence of maps", "{\"zipmap\": False}", "zipmap=False"]);
}

/// `serin models golden` on a model in the deployment.
fn written(deployment: &Deployment, model: &str, rows: &str, more: &[&str]) -> Cli {
    let model = deployment.path().join(format!("models/{model}.onnx"));
    let rows = deployment.path().join(rows);
    let (model, rows) = (model.to_str().expect("a path"), rows.to_str().expect("a path"));
    run([&["models", "golden", model, "--rows", rows], more].concat())
}

fn says(refused: &Cli, needles: &[&str]) {
    assert_eq!(refused.code, Some(1), "{}{}", refused.stdout, refused.stderr);
    assert!(needles.iter().all(|needle| refused.stderr.contains(needle)), "{needles:?}: {}", refused.stderr);
}

/// The demo's model without a golden file, its borrowers, and the inputs that it takes.
fn demo() -> (Deployment, Value, String) {
    let deployment = collections();
    let golden: Value = serde_json::from_str(&deployment.read("models/default-risk.golden.json")).expect("JSON");
    deployment.remove("models/default-risk.golden.json");
    deployment.write("rows.csv", std::fs::read(root().join("host/demo/borrowers.csv")).expect("the demo's"));
    let inputs: Vec<&str> = golden["inputs"].as_array().expect("names").iter().filter_map(Value::as_str).collect();
    let inputs = inputs.join(",");
    (deployment, golden, inputs)
}

#[test]
fn a_golden_file_is_written_that_the_host_accepts() {
    let (deployment, shipped, inputs) = demo();
    let config = deployment.config();
    let config = config.to_str().expect("a path");
    let missing = run(["check", "--config", config]);
    says(&missing, &["default-risk.golden.json: is not there", "serin models golden", "--rows DATA.csv"]);
    let made = written(&deployment, "default-risk", "rows.csv", &["--inputs", &inputs]);
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    assert!(made.stderr.contains("rows with an empty value were left out"), "{}", made.stderr);
    let golden: Value = serde_json::from_str(&deployment.read("models/default-risk.golden.json")).expect("JSON");
    for key in ["model", "version", "inputs", "output"] {
        assert_eq!(golden[key], shipped[key], "{key}");
    }
    let rows: Vec<&Value> = golden["rows"].as_array().expect("rows").iter().collect();
    assert_eq!(rows.len(), 20);
    // From the file's first row to its last.
    let data = deployment.read("rows.csv");
    let whole: Vec<&str> = data.lines().skip(1).filter(|line| !line.contains(",,")).collect();
    for (row, line) in [(rows[0], whole[0]), (rows[19], whole[whole.len() - 1])] {
        let income: f64 = line.split(',').nth(2).expect("a cell").parse().expect("a number");
        assert_eq!(row[0].as_f64(), Some(income), "{line}");
    }
    let checked = run(["check", "--config", config]);
    assert_eq!(checked.code, Some(0), "{}{}", checked.stdout, checked.stderr);
    // Nothing is overwritten unasked.
    says(&written(&deployment, "default-risk", "rows.csv", &["--inputs", &inputs]), &["is there already; --force"]);
    let again = ["--inputs", &inputs, "--force", "--count", "2", "--as", "risk@2.0.0", "--column", "0"];
    deployment.write("models/default-risk.golden.json.minisig", "of the file as it was");
    let forced = written(&deployment, "default-risk", "rows.csv", &again);
    assert!(forced.code == Some(0) && forced.stderr.contains("sign it again"), "{}", forced.stderr);
    let golden: Value = serde_json::from_str(&deployment.read("models/default-risk.golden.json")).expect("JSON");
    assert_eq!((&golden["model"], &golden["version"]), (&json!("risk"), &json!("2.0.0")));
    assert_eq!((golden["rows"].as_array().map(Vec::len), &golden["output"]["column"]), (Some(2), &json!(0)));
}

#[test]
fn rows_are_read_from_json_in_the_order_of_their_keys() {
    let (deployment, _, inputs) = demo();
    let row: Vec<String> = inputs.split(',').enumerate().map(|(at, input)| format!("\"{input}\": {at}")).collect();
    let row = format!("{{{}}}", row.join(", "));
    for (name, text) in [("rows.json", format!("[{row}]")), ("rows.jsonl", format!("{row}\n\n{row}\n"))] {
        deployment.write(name, text);
        let made = written(&deployment, "default-risk", name, &["--force"]);
        assert_eq!(made.code, Some(0), "{}", made.stderr);
        let golden: Value = serde_json::from_str(&deployment.read("models/default-risk.golden.json")).expect("JSON");
        assert_eq!(golden["rows"][0], json!((0..13).collect::<Vec<_>>()), "{name}");
    }
}

#[test]
fn what_cannot_be_drafted_says_what_would_be_valid() {
    let (deployment, _, inputs) = demo();
    let rows = |name: &str, text: &str| deployment.write(name, text);
    let row = |income: &str| format!("{inputs}\n{income}{}\n", ",1".repeat(12));
    rows("text.csv", &row("much"));
    rows("empty.csv", &row(""));
    rows("none.csv", &format!("{inputs}\n"));
    rows("large.csv", &row("1e39"));
    rows("open.csv", &row("\"1"));
    rows("text.jsonl", "{\"annual_income\": 1}\n{\"annual_income\": \"much\"}\n");
    rows("list.json", "[[1, 2]]");
    rows("rows.xlsx", "");
    for (model, file) in [("two", "two-inputs"), ("double", "float64"), ("integer", "integer-output")] {
        let bytes = std::fs::read(root().join(format!("tests/data/models/{file}.onnx"))).expect("a model of the tests");
        deployment.write(&format!("models/{model}.onnx"), bytes);
    }
    let all = ["--inputs", &*inputs];
    let cases: &[(&str, &str, &[&str], &[&str])] = &[
        ("none", "rows.csv", &all, &["none.onnx: is not there", "ONNX"]),
        ("default-risk", "nowhere.csv", &all, &["nowhere.csv: is not there"]),
        ("default-risk", "rows.csv", &[], &["16 columns, and the model takes 13", "--inputs", "annual_income"]),
        ("default-risk", "rows.csv", &["--inputs", "a,b"], &["no column 'a'; its columns: entity"]),
        ("default-risk", "rows.csv", &["--inputs", "sub_grade"], &["names 1 columns, and the model takes 13"]),
        ("default-risk", "text.csv", &all, &["line 2: column 'annual_income' is 'much'", "a finite number"]),
        ("default-risk", "empty.csv", &all, &["each of its 1 rows has no value"]),
        ("default-risk", "none.csv", &all, &["no rows", "at least one"]),
        ("default-risk", "large.csv", &all, &["'annual_income' is 1e39", "a float32"]),
        ("default-risk", "open.csv", &all, &["line 2", "never closed"]),
        ("default-risk", "text.jsonl", &["--inputs", "annual_income"], &["names 1 columns"]),
        ("default-risk", "list.json", &all, &["list.json", "valid: objects of numbers"]),
        ("default-risk", "rows.xlsx", &all, &["valid: .csv, .json, .jsonl"]),
        ("default-risk", "rows.csv", &[all[0], all[1], "--output", "label"], &["no output 'label'", "probabilities"]),
        ("default-risk", "rows.csv", &[all[0], all[1], "--column", "2"], &["no column 2", "from 0 to 1"]),
        ("default-risk", "rows.csv", &[all[0], all[1], "--as", "risk"], &["valid: NAME@VERSION"]),
        ("default-risk", "rows.csv", &[all[0], all[1], "--tolerance", "NaN"], &["a finite number from 0"]),
        ("two", "rows.csv", &all, &["2 inputs", "one tensor of all features"]),
        ("double", "rows.csv", &all, &["f64", "export it with float32 inputs"]),
        ("integer", "rows.csv", &all, &["no output can hold a score", "valid: a float32 tensor"]),
    ];
    for (model, file, more, needles) in cases {
        says(&written(&deployment, model, file, more), needles);
        assert!(!deployment.path().join(format!("models/{model}.golden.json")).exists(), "{file}: nothing is written");
    }
}
