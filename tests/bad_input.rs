//! What is wrong is refused: by `serin check` before anything is deployed, and by a running
//! host, which stays up, keeps serving what was good, and shows the mistake on the admin
//! listener. Each message names the file, the key and what would be valid.

mod artifacts;
mod components;
mod config;
mod experiments;
mod features;
mod manifest;
mod models;
mod requests;
mod secrets;
mod sizes;

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Client, Deployment, run};

/// How long a change of a file may take to show. Far more than it needs: only a busy machine gets near it.
const SHOWN: Duration = Duration::from_secs(20);

/// Runs `serin check`, which has to fail; what it said of each file, the first line with the file.
fn findings(deployment: &Deployment) -> Vec<String> {
    let config = deployment.config();
    let checked = run(["check", "--config", config.to_str().expect("a path")]);
    assert_eq!(checked.code, Some(1), "{}{}", checked.stdout, checked.stderr);
    checked.stderr.split("FAILED  ").skip(1).map(str::to_owned).collect()
}

/// Asserts that `serin check` blames `file`, with all of `needles` in the same message.
#[track_caller]
fn blamed(findings: &[String], file: &str, needles: &[&str]) {
    let of_file: Vec<&String> =
        findings.iter().filter(|text| text.split(": ").next().is_some_and(|path| path.ends_with(file))).collect();
    assert!(
        of_file.iter().any(|text| needles.iter().all(|needle| text.contains(needle))),
        "{file} is not blamed with {needles:?}, but: {of_file:#?} of {findings:#?}"
    );
}

/// A request of the demo's decision point.
fn request() -> Value {
    json!({
        "decision_point": "collections-outreach",
        "entities": { "borrower": "b-17", "loan": "l-88" },
        "context": { "days_past_due": 12, "channel": "batch" },
    })
}

/// The same, for the admin listener: served by the experiment's arm `score`, model and all.
fn forced() -> Value {
    let mut request = request();
    request["force"] = json!({ "experiment": "outreach-score", "arm": "score" });
    request
}

/// Waits until `path` on the admin listener shows `what`.
#[track_caller]
fn shown<T>(admin: &Client, path: &str, what: &str, found: impl Fn(&Value) -> Option<T>) -> T {
    // As `eventually`, with the last answer in the message.
    let end = Instant::now() + SHOWN;
    loop {
        let last = admin.get(path).json();
        if let Some(value) = found(&last) {
            return value;
        }
        assert!(Instant::now() < end, "{path} never showed {what}, but: {last:#}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
