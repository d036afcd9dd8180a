//! One run of a target: what it must not do, and what becomes of an input with which it does.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::corpus;
use super::targets::Target;

/// The longest that an input may take; with others on the machine, far longer than any does.
const LONGEST: Duration = Duration::from_secs(20);
/// The most memory that an input may take, in MiB.
const MOST_MIB: u64 = 512;

/// Runs a target.
pub struct Runner<'t> {
    pub target: &'t Target,
    /// Where inputs are kept that are found.
    pub kept: PathBuf,
}

impl<'t> Runner<'t> {
    /// Keeps what is found in the target's corpus.
    pub fn of(target: &'t Target) -> Self {
        Self { target, kept: corpus::folder(target) }
    }

    /// Runs the target once.
    pub fn run(&self, input: &[u8]) {
        // What ends the process, as a stack overflow does, leaves it behind.
        let last = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fuzz-{}.last", self.target.name));
        std::fs::write(&last, input).expect("writes");
        let (began, before) = (Instant::now(), peak_mib());
        let ended = catch_unwind(AssertUnwindSafe(|| (self.target.read)(input)));
        let (took, grew) = (began.elapsed(), peak_mib().saturating_sub(before));
        match ended {
            Err(panic) => {
                let said = panic.downcast_ref::<String>().cloned();
                let said = said.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
                self.found(input, &format!("panicked: {}", said.unwrap_or_default()));
            }
            Ok(()) if took > LONGEST => self.found(input, &format!("took {took:?}")),
            Ok(()) if grew > MOST_MIB => self.found(input, &format!("took {grew} MiB")),
            Ok(()) => {}
        }
    }

    fn found(&self, input: &[u8], why: &str) {
        std::fs::create_dir_all(&self.kept).expect("makes");
        let digest = serin_core::digest(input);
        let path = self.kept.join(format!("found-{}", &digest["sha256:".len()..][..12]));
        std::fs::write(&path, input).expect("writes");
        panic!("{}: {why}; with {}", self.target.name, path.display());
    }
}

/// The most memory that this process ever had.
fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0) / 1024
}
