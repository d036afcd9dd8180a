//! What a request costs in CPU time, the client's and the server's apart.

use crate::client::Load;
use crate::measure::median;
use crate::process::{Server, cpu_seconds};
use crate::world::Failure;

/// Microseconds of CPU time a request.
#[derive(Clone, Copy)]
pub struct Cpu {
    /// The client's.
    pub client: f64,
    /// The server's.
    pub server: f64,
}

impl Cpu {
    /// Both sides'.
    pub fn whole(self) -> f64 {
        self.client + self.server
    }

    /// The medians of several turns.
    pub fn median(of: &[Self]) -> Self {
        let median = |side: fn(&Self) -> f64| median(of.iter().map(side).collect());
        Self { client: median(|cpu| cpu.client), server: median(|cpu| cpu.server) }
    }
}

/// Runs a load, and measures the CPU time of both sides.
pub fn with_cpu(server: &Server, load: impl FnOnce() -> Result<Load, Failure>) -> Result<(Load, Cpu), Failure> {
    let used = || [std::process::id(), server.pid()].map(cpu_seconds);
    let before = used();
    let load = load()?;
    if load.failed > 0 {
        return Err(format!("{} of {} answers were not a 200", load.failed, load.latency.len()).into());
    }
    let after = used();
    let a_request = |side: usize| (after[side] - before[side]) * 1e6 / load.latency.len() as f64;
    let cpu = Cpu { client: a_request(0), server: a_request(1) };
    Ok((load, cpu))
}
