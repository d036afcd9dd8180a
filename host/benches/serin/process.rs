//! What the operating system says of a process: CPU time, and memory that is in use.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::world::{Failure, serin};

/// Clock ticks a second in `/proc`: 100 on every Linux that Rust runs on.
const TICKS: f64 = 100.0;

/// Seconds of CPU time that a process has used, in user and in kernel mode.
pub fn cpu_seconds(pid: u32) -> f64 {
    cpu_seconds_of(&format!("/proc/{pid}/stat"))
}

fn cpu_seconds_of(file: &str) -> f64 {
    let stat = std::fs::read_to_string(file).unwrap_or_default();
    // The name, in parentheses, may hold anything; the fields are counted from behind it.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |field: usize| fields.get(field).and_then(|text| text.parse::<f64>().ok()).unwrap_or(f64::NAN);
    (ticks(11) + ticks(12)) / TICKS
}

/// Seconds of CPU time that a process's threads have used, by their names without numbers.
pub fn cpu_by_threads(pid: u32) -> BTreeMap<String, f64> {
    let mut used = BTreeMap::new();
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().filter_map(Result::ok);
    for thread in threads {
        let read = |file: &str| std::fs::read_to_string(thread.path().join(file)).unwrap_or_default();
        let name = read("comm").trim().trim_end_matches(|c: char| c.is_ascii_digit() || c == '-').to_owned();
        let Ok(id) = thread.file_name().to_string_lossy().parse::<u32>() else { continue };
        // The same fields as a process's.
        *used.entry(name).or_insert(0.0) += cpu_seconds_of(&format!("/proc/{pid}/task/{id}/stat"));
    }
    used
}

/// Page faults of this process so far that needed no disk.
pub fn faults() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    fields.get(7).and_then(|text| text.parse().ok()).unwrap_or(f64::NAN)
}

/// Mebibytes of a process that are resident.
pub fn resident_mb(pid: u32) -> f64 {
    status_mb(pid, "VmRSS:")
}

/// Mebibytes of a process that were resident at most; NaN once it has ended.
pub fn peak_mb(pid: u32) -> f64 {
    status_mb(pid, "VmHWM:")
}

fn status_mb(pid: u32, key: &str) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(key));
    let kb = line.and_then(|rest| rest.trim().strip_suffix("kB")?.trim().parse::<f64>().ok());
    kb.unwrap_or(f64::NAN) / 1024.0
}

/// How long a server has to stop when it is asked to.
const PATIENCE: Duration = Duration::from_secs(10);

/// A server in a process of its own. Stopped when it is dropped.
pub struct Server {
    child: Child,
    /// The addresses that it printed, in order.
    pub addresses: Vec<String>,
}

impl Server {
    /// `serin serve` on free ports, ready.
    pub fn serin(config: &Path) -> Result<Self, Failure> {
        Self::ready(config, |address| ureq::get(format!("http://{address}/readyz")).call().is_ok())
    }

    /// As [`Self::serin`], where only the caller can ask whether it is ready.
    pub fn ready(config: &Path, is_ready: impl Fn(&str) -> bool) -> Result<Self, Failure> {
        let mut command = Command::new(serin());
        command.args(["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--config"]);
        let server = Self::start(command.arg(config).stderr(Stdio::null()))?;
        let end = Instant::now() + Duration::from_secs(30);
        while !is_ready(&server.addresses[0]) {
            if Instant::now() > end {
                return Err("the host did not get ready".into());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(server)
    }

    /// Starts `command`, which prints a line with the addresses that it listens on.
    pub fn start(command: &mut Command) -> Result<Self, Failure> {
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().ok_or("piped")?).read_line(&mut line)?;
        let addresses: Vec<String> =
            line.split("://").skip(1).filter_map(|rest| Some(rest.split([',', '\n']).next()?.to_owned())).collect();
        let server = Self { child, addresses };
        if server.addresses.is_empty() { Err("the server did not start".into()) } else { Ok(server) }
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // As an operator stops it: its ledger is left tidy, and replay does not begin with a repair.
        let asked = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw);
        let asked = asked.is_some_and(|pid| rustix::process::kill_process(pid, rustix::process::Signal::INT).is_ok());
        let end = Instant::now() + PATIENCE;
        while asked && Instant::now() < end && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(20));
        }
        // It may have ended already, and then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
