//! The demo's deployment on disk, and its host as a process of its own: only a real process
//! can be killed.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::super::build::{BuildOptions, build};
use super::super::client::Client;
use super::Failure;

/// The deployment's files, as they are in the repository under `host/demo`.
const FILES: &[(&str, &[u8])] = &[
    ("serin.toml", include_bytes!("../../../demo/serin.toml")),
    ("experiments/outreach-score.toml", include_bytes!("../../../demo/experiments/outreach-score.toml")),
    ("models/default-risk.onnx", include_bytes!("../../../demo/models/default-risk.onnx")),
    ("models/default-risk.golden.json", include_bytes!("../../../demo/models/default-risk.golden.json")),
    ("borrowers.csv", include_bytes!("../../../demo/borrowers.csv")),
];

/// How long anything in the demo may take before it counts as failed: a busy machine compiles for minutes.
const PATIENCE: Duration = Duration::from_secs(15 * 60);
/// After this a wait is announced.
const UNSAID: Duration = Duration::from_secs(30);

/// A folder with the deployment in it.
pub(super) struct Stage {
    pub(super) dir: PathBuf,
}

impl Stage {
    /// Lays the deployment out anew.
    pub(super) fn lay_out() -> Result<Self, Failure> {
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
        let dir = target.join("demo");
        if dir.exists() {
            std::fs::remove_dir_all(&dir)?;
        }
        let stage = Self { dir };
        for folder in ["plugins", "experiments", "models"] {
            std::fs::create_dir_all(stage.path(folder))?;
        }
        for (name, bytes) in FILES {
            stage.write(name, bytes)?;
        }
        for (plugin, file) in
            [("outreach-rules", "outreach-rules-1.0.0.wasm"), ("outreach-score", "outreach-score-1.1.0.wasm")]
        {
            stage.write(&format!("plugins/{file}"), &artifact(plugin, file)?)?;
        }
        Ok(stage)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Replaces a file in one step: whoever reads it sees the old one or the new one.
    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> Result<(), Failure> {
        let path = self.path(name);
        let part = path.with_extension("part");
        std::fs::write(&part, bytes)?;
        Ok(std::fs::rename(&part, &path)?)
    }

    /// Replaces text in a file.
    pub(super) fn edit(&self, name: &str, from: &str, to: &str) -> Result<(), Failure> {
        let text = std::fs::read_to_string(self.path(name))?;
        if !text.contains(from) {
            return Err(Failure(format!("{name} does not contain {from}")));
        }
        self.write(name, text.replace(from, to).as_bytes())
    }
}

/// An example's artifact, built where it was not built yet.
pub(super) fn artifact(plugin: &str, file: &str) -> Result<Vec<u8>, Failure> {
    let dir = Path::new("plugins").join(plugin);
    let path = dir.join("dist").join(file);
    if !path.exists() {
        build(&dir, BuildOptions { quiet: true, ..BuildOptions::default() })
            .map_err(|e| Failure(format!("{e}; run the demo from the repository's root, as 'make demo' does")))?;
    }
    std::fs::read(&path).map_err(|e| Failure(format!("{}: {e}", path.display())))
}

/// The demo's host.
pub(super) struct HostProcess {
    child: Child,
}

impl HostProcess {
    /// Starts it, and waits until it is ready.
    pub(super) fn start(
        stage: &Stage,
        listen: SocketAddr,
        admin: SocketAddr,
        client: &Client,
    ) -> Result<Self, Failure> {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(stage.path("host.log"))?;
        let mut child = Command::new(std::env::current_exe()?)
            .args(["serve", "--listen", &listen.to_string(), "--admin", &admin.to_string(), "--config"])
            .arg(stage.path("serin.toml"))
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        let host = Self { child };
        if line.is_empty() {
            let log = std::fs::read_to_string(stage.path("host.log")).unwrap_or_default();
            return Err(Failure(format!(
                "the host did not start: {}",
                log.lines().last().unwrap_or("no word from it")
            )));
        }
        wait_for("the host is ready", || {
            Ok(client.get_any("/readyz").is_ok_and(|(status, _)| status == 200).then_some(()))
        })?;
        Ok(host)
    }

    /// `kill -9`.
    pub(super) fn kill(mut self) -> Result<(), Failure> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Asks it to stop, and waits until everything accepted is answered.
    pub(super) fn stop(mut self) -> Result<(), Failure> {
        Command::new("kill").args(["-INT", &self.child.id().to_string()]).status()?;
        wait_for("the host stops", || Ok(self.child.try_wait()?))?;
        Ok(())
    }
}

impl Drop for HostProcess {
    fn drop(&mut self) {
        // Where it has ended there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Polls until there is something, at most [`PATIENCE`]. A long wait is announced.
pub(super) fn wait_for<T>(what: &str, mut poll: impl FnMut() -> Result<Option<T>, Failure>) -> Result<T, Failure> {
    let (began, mut is_said) = (Instant::now(), false);
    loop {
        if let Some(found) = poll()? {
            return Ok(found);
        }
        if began.elapsed() > UNSAID && !is_said {
            println!("   ... still waiting until {what}; the machine is busy");
            is_said = true;
        }
        if began.elapsed() > PATIENCE {
            return Err(Failure(format!(
                "it was waited {} minutes until {what}, in vain; the host's log, host.log in the demo's folder, says \
                 more; on a machine that does other work, try again when it is done",
                PATIENCE.as_secs() / 60
            )));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}
