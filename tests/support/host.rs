//! A host as a real process.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Client, Deployment, eventually, root};

/// The program under test.
pub fn serin() -> &'static str {
    env!("CARGO_BIN_EXE_serin")
}

/// What a command printed, and its exit status.
#[derive(Debug)]
pub struct Cli {
    /// Exit status.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// Runs `serin` with arguments.
pub fn run<S: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = S>) -> Cli {
    run_with(args, &[])
}

/// As [`run`], with variables of the environment.
pub fn run_with<S: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = S>, variables: &[(&str, &str)]) -> Cli {
    let mut command = command();
    let output = command.args(args).envs(variables.iter().copied()).output();
    let Output { status, stdout, stderr } = output.expect("serin runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    Cli { code: status.code(), stdout: text(stdout), stderr: text(stderr) }
}

fn command() -> Command {
    let mut command = Command::new(serin());
    command.env_remove("RUST_LOG").env_remove("RUST_BACKTRACE");
    command
}

/// Free ports.
const ANY: [&str; 2] = ["127.0.0.1:0"; 2];

/// A running host. Killed when it is dropped.
pub struct Host {
    child: Child,
    /// The public listener.
    pub public: Client,
    /// The admin listener.
    pub admin: Client,
    log: PathBuf,
}

impl Host {
    /// Starts a host on free ports, and waits until it listens.
    pub fn start(deployment: &Deployment) -> Self {
        Self::start_with(&deployment.config(), &[])
    }

    /// As [`Host::start`], with more arguments.
    pub fn start_with(config: &Path, args: &[&str]) -> Self {
        Self::spawn(command(), config, &ANY, args)
    }

    /// As [`Host::start`], at the addresses of a host that has ended.
    pub fn start_at(deployment: &Deployment, [public, admin]: &[String; 2]) -> Self {
        Self::spawn(command(), &deployment.config(), &[public, admin], &[])
    }

    /// As [`Host::start`], with variables of the environment.
    pub fn start_in(deployment: &Deployment, variables: &[(&str, &str)]) -> Self {
        let mut command = command();
        command.envs(variables.iter().copied());
        Self::spawn(command, &deployment.config(), &ANY, &[])
    }

    /// As [`Host::start`], with a umask of the shell's notation.
    pub fn start_under(umask: &str, deployment: &Deployment) -> Self {
        let mut shell = Command::new("sh");
        shell.args(["-c", "umask \"$0\" && exec \"$@\"", umask, serin()]);
        shell.env_remove("RUST_LOG").env_remove("RUST_BACKTRACE");
        Self::spawn(shell, &deployment.config(), &ANY, &[])
    }

    fn spawn(mut command: Command, config: &Path, [public, admin]: &[&str; 2], args: &[&str]) -> Self {
        let log = config.with_extension("log");
        let errors = std::fs::OpenOptions::new().create(true).append(true).open(&log).expect("a log file");
        let mut child = command
            .args(["serve", "--listen", public, "--admin", admin, "--config"])
            .arg(config)
            .args(args)
            .current_dir(root())
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()
            .expect("serin runs");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("reads");
        let mut addresses =
            line.split("://").skip(1).map(|rest| rest.split([',', '\n']).next().unwrap_or_default().to_owned());
        let (Some(public), Some(admin)) = (addresses.next(), addresses.next()) else {
            panic!("the host did not start: {line:?}\n{}", log_at(&log));
        };
        Self { child, public: Client::new(&public), admin: Client::new(&admin), log }
    }

    /// A host that speaks TLS: its clients use these settings.
    pub fn over_tls(mut self, tls: &ureq::tls::TlsConfig) -> Self {
        self.public = Client::over_tls(&self.public.address, tls.clone());
        self.admin = Client::over_tls(&self.admin.address, tls.clone());
        self
    }

    /// Waits until `/readyz` says so.
    pub fn ready(self) -> Self {
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            let ready = self.public.get("/readyz");
            if ready.status == 200 {
                return self;
            }
            assert!(Instant::now() < end, "not ready: {}\n{}", ready.text, self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// A decision that has to be answered.
    pub fn decide(&self, request: &Value) -> Value {
        let answer = self.public.post("/v1/decisions", request);
        assert_eq!(answer.status, 200, "{}\n{}", answer.text, self.log());
        answer.json()
    }

    /// The record of an answered decision.
    pub fn record(&self, decision: &Value) -> Value {
        let id = decision["decision_id"].as_str().expect("an answered decision");
        let record = self.admin.get(&format!("/v1/decisions/{id}"));
        assert_eq!(record.status, 200, "{}", record.text);
        record.json()
    }

    /// A counter or gauge by its line in `/metrics`, labels and all; 0 where there is none.
    pub fn metric(&self, line: &str) -> f64 {
        let text = self.admin.get("/metrics").text;
        let value = text.lines().find_map(|l| l.strip_prefix(line)?.strip_prefix(' ')?.parse().ok());
        value.unwrap_or(0.0)
    }

    /// The process's id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        log_at(&self.log)
    }

    /// `kill -9`.
    pub fn kill(mut self) {
        self.child.kill().expect("kills");
        self.child.wait().expect("ends");
    }

    /// Sends it a signal, as `kill` names it.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args([format!("-{name}"), self.child.id().to_string()]).status();
        assert!(status.expect("kill runs").success());
    }

    /// Asks it to stop as Ctrl-C does, and waits until it did; its exit status.
    pub fn stop(self) -> Option<i32> {
        self.signal("INT");
        self.ended()
    }

    /// Waits until it has ended; its exit status.
    pub fn ended(mut self) -> Option<i32> {
        eventually("the host stops", Duration::from_secs(40), || self.child.try_wait().expect("waits")).code()
    }
}

/// A log, which may be a device without end.
fn log_at(path: &Path) -> String {
    let mut log = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(64 << 20).read_to_end(&mut log));
    read.map_or_else(|e| e.to_string(), |_| String::from_utf8_lossy(&log).into_owned())
}

impl Drop for Host {
    fn drop(&mut self) {
        // It may have ended already, and then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What came of the only attempt: a kind of failure, `refusal` or `candidates`; and its words.
pub fn outcome(record: &Value) -> (String, String) {
    assert_eq!(record["attempts"].as_array().map(Vec::len), Some(1), "{record}");
    let outcome = &record["attempts"][0]["outcome"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    match (outcome.get("failure"), outcome.get("refusal")) {
        (Some(failure), _) => (text(&failure["kind"]), text(&failure["detail"])),
        (_, Some(refusal)) => {
            ("refusal".to_owned(), format!("{}: {}", text(&refusal["code"]), text(&refusal["message"])))
        }
        _ => ("candidates".to_owned(), outcome.to_string()),
    }
}
