//! What all engines are asked, and Serin's deployment of the same decision.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

/// What any of this may fail with.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Numbers in a request.
pub const NUMBERS: usize = 30;

/// Requests that are asked in turn.
const REQUESTS: usize = 64;

/// The program that is measured.
pub fn serin() -> &'static str {
    static PROGRAM: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    PROGRAM.get_or_init(|| std::env::var("SERIN_PEERS_PROGRAM").unwrap_or_else(|_| "serin".to_owned()))
}

/// Serin's artifact of the decision.
fn artifact() -> Result<PathBuf, Failure> {
    Ok(std::env::var_os("SERIN_PEERS_STRATEGY").ok_or("SERIN_PEERS_STRATEGY: the artifact's file is needed")?.into())
}

/// Requests whose means lie on both sides of the threshold, about half each.
pub fn bodies() -> Vec<Value> {
    let body = |request: usize| {
        let number = |n: usize| {
            (format!("n{n:02}"), Value::from(((request * 37 + n * 61) % 100) as f64 / 100.0 + shift(request)))
        };
        let context: serde_json::Map<String, Value> = (1..=NUMBERS).map(number).collect();
        json!({ "decision_point": "mean", "entities": { "borrower": format!("b-{request}") }, "context": context })
    };
    (0..REQUESTS).map(body).collect()
}

/// Moves every other request above the threshold.
fn shift(request: usize) -> f64 {
    if request % 2 == 0 { 0.25 } else { -0.25 }
}

/// The action that is right.
pub fn right(body: &Value) -> &'static str {
    let numbers: Vec<f64> = body["context"].as_object().into_iter().flatten().filter_map(|(_, v)| v.as_f64()).collect();
    if numbers.iter().sum::<f64>() / numbers.len() as f64 > 0.5 { "call" } else { "no_contact" }
}

/// Writes a deployment into `dir`; the path of its configuration.
pub fn lay_out(dir: &Path, logging: &str) -> Result<PathBuf, Failure> {
    std::fs::create_dir_all(dir.join("plugins"))?;
    std::fs::create_dir_all(dir.join("experiments"))?;
    std::fs::copy(artifact()?, dir.join("plugins/mean-1.0.0.wasm"))?;
    let context: Vec<String> = (1..=NUMBERS).map(|n| format!("n{n:02} = \"number\"")).collect();
    let text = format!(
        "[plugins]\ndir = \"plugins\"\n\n[experiments]\ndir = \"experiments\"\n\n[ledger]\nurl = \"sqlite:data/serin.db\"\n\n\
         [decision_points.mean]\nstrategy = \"mean@1.0.0\"\nentities = [\"borrower\"]\ncontext = {{ {} }}\n\
         actions = [\"no_contact\", \"call\"]\nfallback = {{ action = \"no_contact\" }}\nlogging = \"{logging}\"\n",
        context.join(", ")
    );
    let config = dir.join("serin.toml");
    std::fs::write(&config, text)?;
    Ok(config)
}

/// Microseconds of one whole run in Serin's sandbox: values checked, instance made, called and dropped, answer
/// checked. The program measures itself, over the artifact's cases.
pub fn run_in_serin() -> Result<f64, Failure> {
    let output = Command::new(serin())
        .args(["plugin", "bench", "--runs", "10000", "--format", "json"])
        .arg(artifact()?)
        .output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    let measured: Value = serde_json::from_slice(&output.stdout)?;
    Ok(measured[0]["whole_p50_us"].as_f64().ok_or("no whole_p50_us")?)
}
