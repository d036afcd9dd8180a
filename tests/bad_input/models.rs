//! Models that cannot be served, and golden files that do not describe them.

use serde_json::{Value, json};

use super::{blamed, findings, forced, shown};
use crate::support::{Deployment, Host, collections, root};

/// The file to blame, how it is broken, and what has to be said.
type Case = (&'static str, fn(&Deployment), &'static [&'static str]);

const ONNX: &str = "default-risk.onnx";
const GOLDEN: &str = "default-risk.golden.json";

fn put(deployment: &Deployment, model: &str) {
    let bytes = std::fs::read(root().join("tests/data/models").join(model)).expect("a model of the tests");
    deployment.write("models/default-risk.onnx", bytes);
}

fn golden(deployment: &Deployment, from: &str, to: &str) {
    let text = deployment.read("models/default-risk.golden.json");
    assert!(text.contains(from), "{from}");
    deployment.write("models/default-risk.golden.json", text.replacen(from, to, 1));
}

/// A model whose golden file has one row, of which nothing shows that a batch scores otherwise.
fn lone_row(deployment: &Deployment, model: &str) {
    put(deployment, model);
    let mut golden: Value = serde_json::from_str(&deployment.read("models/default-risk.golden.json")).expect("JSON");
    golden["rows"] = json!([golden["rows"][0]]);
    golden["scores"] = json!([1.0]);
    deployment.write("models/default-risk.golden.json", golden.to_string());
}

/// More golden rows than are scored.
fn many_rows(deployment: &Deployment) {
    let mut golden: Value = serde_json::from_str(&deployment.read("models/default-risk.golden.json")).expect("JSON");
    golden["rows"] = json!(vec![&golden["rows"][0]; 10_001]);
    golden["scores"] = json!(vec![0.5; 10_001]);
    deployment.write("models/default-risk.golden.json", golden.to_string());
}

fn pipe(deployment: &Deployment) {
    deployment.remove("models/default-risk.onnx");
    let made = std::process::Command::new("mkfifo").arg(deployment.path().join("models/default-risk.onnx")).status();
    assert!(made.expect("mkfifo runs").success());
}

fn symlink(deployment: &Deployment, to: &str) {
    deployment.remove("models/default-risk.onnx");
    std::os::unix::fs::symlink(to, deployment.path().join("models/default-risk.onnx")).expect("links");
}

const CASES: &[Case] = &[
    (ONNX, |d| d.write("models/default-risk.onnx", ""), &["not an ONNX model"]),
    (ONNX, |d| d.write("models/default-risk.onnx", "PK\u{3}\u{4} a spreadsheet"), &["not an ONNX model"]),
    (ONNX, |d| d.remove("models/default-risk.onnx"), &["is not there: a trained model in the ONNX format"]),
    (GOLDEN, many_rows, &["10001 rows; valid: at most 10000"]),
    (ONNX, |d| put(d, "width-2.onnx"), &["input 'row'", "valid: one float32 input of shape [N, 13]"]),
    (ONNX, |d| put(d, "two-inputs.onnx"), &["2 inputs", "valid: one float32 input of shape [N, 13]"]),
    (ONNX, |d| put(d, "float64.onnx"), &["input 'row'", "f64", "valid: one float32 input of shape [N, 13]"]),
    (ONNX, |d| put(d, "integer-output.onnx"), &["output 'probabilities'", "i64", "valid: a float32 tensor"]),
    (ONNX, |d| put(d, "other-output.onnx"), &["no output 'probabilities'", "its outputs: label"]),
    (ONNX, |d| put(d, "one-column.onnx"), &["column 1 is not in it"]),
    (ONNX, |d| put(d, "not-a-number.onnx"), &["golden rows", "not finite"]),
    (
        ONNX,
        |d| put(d, "external.onnx"),
        &["in another file (\"external.onnx.data\")", "save it as one file", "onnx.save("],
    ),
    (ONNX, |d| lone_row(d, "over-the-batch.onnx"), &["golden row 0: scored 1 alone", "together with other rows"]),
    (ONNX, pipe, &["not a regular file"]),
    (ONNX, |d| symlink(d, "/proc/self/status"), &["says that it has 0 bytes, and holds more"]),
    (ONNX, |d| golden(d, "72520", "1e39"), &["golden rows", "input 'annual_income' is 1e39", "valid: a float32"]),
    (ONNX, |d| golden(d, "0.011964857578277588", "0.5"), &["golden row 0", "0.5 ± 0.000001 is expected"]),
    (ONNX, |d| golden(d, "6.49, 36, 2,", "28.99, 60, 35,"), &["golden row 0", "is expected"]),
    (ONNX, |d| golden(d, "\"1.0.0\"", "\"1.0.1\""), &["of default-risk@1.0.1, not of default-risk@1.0.0"]),
    (
        GOLDEN,
        |d| d.remove("models/default-risk.golden.json"),
        &["is not there: rows and scores", "serin models golden ", "default-risk.onnx --rows DATA.csv"],
    ),
    (GOLDEN, |d| d.write("models/default-risk.golden.json", "{"), &["EOF", "an example: {\"model\""]),
    (GOLDEN, |d| d.write("models/default-risk.golden.json", "[]"), &["an object", "an example: {\"model\""]),
    (GOLDEN, |d| golden(d, "\"model\": \"default-risk\",", ""), &["missing field `model`", "an example: {\"model\""]),
    (GOLDEN, |d| golden(d, "\"tolerance\"", "\"tolerence\""), &["unknown field `tolerence`", "`tolerance`"]),
    (GOLDEN, |d| golden(d, "1e-06", "-1"), &["tolerance must be a finite number from 0"]),
    (GOLDEN, |d| golden(d, "1e-06", "1e999"), &["number out of range"]),
    (GOLDEN, |d| golden(d, "[72520, 24000,", "[72520,"), &["row 0 has 12 values for 13 inputs"]),
    (GOLDEN, |d| golden(d, "\n    0.011964857578277588,", ""), &["one score a row"]),
];

#[test]
fn check_refuses_each_and_what_depends_on_it() {
    for (file, spoil, needles) in CASES {
        let deployment = collections();
        spoil(&deployment);
        let findings = findings(&deployment);
        blamed(&findings, file, needles);
        // The experiment's arm needs the model, the pinned strategy does not.
        blamed(
            &findings,
            "outreach-score.toml",
            &["arm 'score'", "model default-risk@1.0.0 is not loaded", "loaded: none"],
        );
        assert_eq!(findings.len(), 2, "nothing else is held up: {findings:#?}");
    }
}

fn model(shown: &Value) -> &Value {
    &shown["models"][0]
}

#[test]
fn a_running_host_scores_with_the_model_that_was_good() {
    let deployment = collections();
    let host = Host::start(&deployment).ready();
    let before = host.admin.get("/v1/deployment").json();
    let good = ["models/default-risk.onnx", "models/default-risk.golden.json"]
        .map(|file| (file, std::fs::read(deployment.path().join(file)).expect("reads")));
    for (file, spoil, needles) in CASES {
        for (file, bytes) in &good {
            deployment.write(file, bytes);
        }
        shown(&host.admin, "/v1/deployment", "the good model", |all| model(all)["error"].is_null().then_some(()));
        spoil(&deployment);
        let bad = shown(&host.admin, "/v1/deployment", needles[0], |all| {
            let error = model(all)["error"].as_str()?;
            needles.iter().all(|needle| error.contains(needle)).then(|| model(all).clone())
        });
        let error = bad["error"].as_str().expect("an error");
        assert!(error.starts_with(file) && !error.contains(deployment.path().to_str().expect("a path")), "{error}");
        assert_eq!((&bad["stale"], &bad["digest"]), (&Value::Bool(true), &model(&before)["digest"]));
        let decision = host.admin.post("/v1/decisions", &forced()).json();
        assert_eq!(decision["served_by"], "arm", "{decision}");
    }
    assert_eq!(host.stop(), Some(0));
}

#[test]
fn a_model_whose_columns_mean_something_else_is_not_fed() {
    let deployment = collections();
    golden(&deployment, "\"annual_income\"", "\"monthly_income\"");
    let findings = findings(&deployment);
    blamed(
        &findings,
        "outreach-score.toml",
        &["arm 'score'", "input 'monthly_income' is not mapped", "its inputs: monthly_income, funded_amount"],
    );
}
