//! The protocols that users' tools already speak, with these tools.

mod cloudevents;
mod ofrep;
mod otlp;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::root;

/// A folder that `make setup` fills with clients.
pub fn clients(name: &str) -> PathBuf {
    let target = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("a build folder");
    let folder = target.join(name);
    assert!(folder.exists(), "{} is not there; run 'make setup'", folder.display());
    folder
}

/// A client in Python, by its script.
pub fn python(script: &str) -> Command {
    let mut command = Command::new(clients("protocols-venv").join("bin/python"));
    command.arg(root().join("tests/protocols").join(script)).env("PYTHONDONTWRITEBYTECODE", "1");
    command.env("NO_PROXY", "127.0.0.1");
    command
}

/// A client in Node, by its script.
pub fn node(script: &str) -> Command {
    let mut command = Command::new("node");
    command.arg(root().join("tests/protocols").join(script)).env("SERIN_CLIENTS", clients("protocols-node"));
    command
}

/// Runs a client that reads JSON and prints JSON.
pub fn answered(command: &mut Command, input: &Value) -> Value {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("{command:?}: {e}"));
    child.stdin.take().expect("piped").write_all(input.to_string().as_bytes()).expect("writes");
    let output = child.wait_with_output().expect("ends");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {:?} {said}", output.stdout))
}
