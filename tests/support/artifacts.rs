//! Real artifacts, built by `serin plugin build` from the sources in this repository.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use super::{root, serin};

/// `outreach-rules` 1.0.0.
pub fn outreach_rules() -> Vec<u8> {
    artifact("plugins/outreach-rules", "outreach-rules-1.0.0.wasm")
}

/// `outreach-score` 1.1.0.
pub fn outreach_score() -> Vec<u8> {
    artifact("plugins/outreach-score", "outreach-score-1.1.0.wasm")
}

/// `misbehave` 1.0.0: its `mode` says how.
pub fn misbehave() -> Vec<u8> {
    artifact("tests/guests/misbehave", "misbehave-1.0.0.wasm")
}

/// Builds the plugin in `dir` where its artifact is missing or older than its sources.
pub fn artifact(dir: &str, file: &str) -> Vec<u8> {
    let dir = root().join(dir);
    let path = dir.join("dist").join(file);
    // Tests run as processes of their own: one of them builds, the others wait.
    let lock =
        std::fs::File::create(PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("artifacts.lock")).expect("a lock file");
    lock.lock().expect("the lock");
    let built = modified(&path);
    let sdk = match () {
        () if dir.join("strategy.py").exists() => "guest-sdk/python/serin_guest",
        () if dir.join("strategy.js").exists() => "guest-sdk/javascript/src",
        () => "guest-sdk/rust",
    };
    let sources = ["plugin.toml", "src", "strategy.py", "strategy.js", "cases", "Cargo.toml"];
    // What builds it: a program that was built from other sources than these may build another artifact.
    let builder =
        ["cli/build.rs", "cli/build_scripted.rs", "cli/merge", "cli/sdk.rs"].map(|file| format!("host/src/{file}"));
    let builder =
        builder.into_iter().chain(["host/core/src/manifest.rs".to_owned(), "host/core/src/case.rs".to_owned()]);
    let stale = builder.into_iter().any(|file| newest(&root().join(file)) > built)
        || sources.iter().any(|part| newest(&dir.join(part)) > built)
        || newest(&root().join(sdk)) > built
        || newest(&root().join("wit")) > built;
    if stale {
        let output = Command::new(serin()).args(["plugin", "build", "--quiet"]).arg(&dir).output().expect("serin runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn modified(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).ok()?.modified().ok()
}

fn newest(path: &Path) -> Option<SystemTime> {
    // What Python compiles for itself is no source.
    if path.ends_with("__pycache__") {
        return None;
    }
    if !path.is_dir() {
        return modified(path);
    }
    let entries = std::fs::read_dir(path).ok()?;
    entries.filter_map(|entry| newest(&entry.ok()?.path())).max()
}

/// The same artifact with another digest: a custom section that nobody reads is added.
pub fn with_nonce(artifact: &[u8], nonce: u64) -> Vec<u8> {
    use wasm_encoder::{ComponentSection as _, CustomSection};
    let mut bytes = artifact.to_vec();
    CustomSection { name: "nonce".into(), data: nonce.to_le_bytes().as_slice().into() }.append_to_component(&mut bytes);
    bytes
}
