//! Deployments in folders of their own.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::{misbehave, outreach_rules, outreach_score, root};

/// A deployment: `serin.toml`, `plugins/`, `experiments/`, `models/`, `data/`.
pub struct Deployment {
    dir: TempDir,
}

impl Deployment {
    /// A deployment of this configuration, with nothing in its folders.
    pub fn new(config: &str) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        for folder in ["plugins", "experiments", "models", "data"] {
            std::fs::create_dir(dir.path().join(folder)).expect("a folder");
        }
        let deployment = Self { dir };
        deployment.write("serin.toml", config);
        deployment
    }

    /// Its folder.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The path of its `serin.toml`.
    pub fn config(&self) -> PathBuf {
        self.path().join("serin.toml")
    }

    /// Writes a file, replacing it in one step as a careful deployment would.
    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path().join(name);
        let part = path.with_extension("part");
        std::fs::write(&part, bytes).expect("writes");
        std::fs::rename(&part, &path).expect("renames");
    }

    /// Reads a file.
    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path().join(name)).expect("reads")
    }

    /// Removes a file.
    pub fn remove(&self, name: &str) {
        std::fs::remove_file(self.path().join(name)).expect("removes");
    }

    /// Replaces text in a file; it has to be there.
    pub fn edit(&self, name: &str, from: &str, to: &str) {
        let text = self.read(name);
        assert!(text.contains(from), "{name} has no {from:?}");
        self.write(name, text.replace(from, to));
    }

    /// Keeps compiled code where other tests find it: an interpreter is compiled once for all.
    pub fn shares_compiled_code(&self) {
        let shared = Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiled");
        let key = format!("[plugins]\ncompiled_dir = \"{}\"\n", shared.display());
        self.edit("serin.toml", "[plugins]\n", &key);
    }

    /// The files of compiled code, each with what is in it.
    pub fn compiled(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let folder = self.path().join("data/compiled");
        let files = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
        let mut files: Vec<_> = files.filter(|path| path.extension().is_some_and(|e| e == "cwasm")).collect();
        files.sort();
        files.into_iter().map(|path| (path.clone(), std::fs::read(path).expect("reads"))).collect()
    }
}

/// The demo's deployment: two strategies, a real model, one experiment.
pub fn collections() -> Deployment {
    let demo = root().join("host/demo");
    let read = |name: &str| std::fs::read(demo.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
    let config = String::from_utf8(read("serin.toml")).expect("text");
    // Under load on a busy machine the demo's deadline would speak in tests about other things.
    let deployment = Deployment::new(&config.replace("deadline = \"250ms\"", "deadline = \"5s\""));
    deployment.edit("serin.toml", "wall_ms = 100 ", "wall_ms = 2000 ");
    deployment.write("experiments/outreach-score.toml", read("experiments/outreach-score.toml"));
    for name in ["models/default-risk.onnx", "models/default-risk.golden.json"] {
        deployment.write(name, read(name));
    }
    deployment.write("plugins/outreach-rules-1.0.0.wasm", outreach_rules());
    deployment.write("plugins/outreach-score-1.1.0.wasm", outreach_score());
    deployment
}

/// A decision point `misbehave` with one strategy, whose context's `mode` says how it fails.
pub fn misbehaving() -> Deployment {
    let demo = root().join("host/demo/models");
    let deployment = Deployment::new(
        r#"
[limits]
wall_ms = 2000

[models.default-risk."1.0.0"]
path = "models/default-risk.onnx"

[decision_points.misbehave]
strategy = "misbehave@1.0.0"
entities = ["borrower"]
context = { mode = "text?" }
actions = ["none", "say", "scores"]
deadline = "5s"
fallback = { action = "none" }
"#,
    );
    for name in ["default-risk.onnx", "default-risk.golden.json"] {
        deployment.write(&format!("models/{name}"), std::fs::read(demo.join(name)).expect("the demo's model"));
    }
    deployment.write("plugins/misbehave-1.0.0.wasm", misbehave());
    deployment
}
