//! `serin plugin bench`: what a decision costs, on a fresh instance each, over the cases.

use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::{Format, Outcome, caches};
use crate::registry::{CaseResult, Plugin, read_file};

/// Runs before those that count.
const WARM_UP: u32 = 20;

/// What runs of an artifact came to.
#[derive(Debug, Serialize)]
struct Measured {
    id: String,
    size_bytes: usize,
    runs: usize,
    /// Microseconds a decision: half of all, and 99 of a hundred, took less.
    p50_us: u64,
    p99_us: u64,
    /// Microseconds of a run with what surrounds it, half of all took less: the case's values checked, the instance
    /// made and dropped, the answer checked and compared.
    whole_p50_us: f64,
    /// Microseconds until the instance was there, p50 and p99.
    start_p50_us: u64,
    start_p99_us: u64,
    /// Shares of all time: starting, the guest itself, and answering its calls.
    start_share: f64,
    guest_share: f64,
    calls_share: f64,
    memory_bytes: u64,
    fuel: u64,
}

pub(super) fn run(file: &Path, against: Option<&Path>, runs: u32, format: Format) -> Outcome {
    let engines = caches::engines()?;
    let load = |file: &Path| -> Result<Plugin, String> {
        let bytes = read_file(file).map_err(|e| format!("{}: {e}", file.display()))?;
        Plugin::link(&engines, &bytes).map_err(|e| format!("{}: {e}", file.display()))
    };
    let plugin = load(file)?;
    if plugin.contents.cases.is_empty() {
        return Err(format!(
            "{}: has no cases to measure with; add some under cases/, and build it again",
            file.display()
        )
        .into());
    }
    let other = against.map(load).transpose()?;
    let plugins: Vec<&Plugin> = std::iter::once(&plugin).chain(&other).collect();
    // Taken in turns, so that a noisy moment of the machine is everybody's.
    let mut taken: Vec<Vec<(CaseResult, Duration)>> = plugins.iter().map(|_| Vec::new()).collect();
    for run in 0..WARM_UP + runs {
        for case in &plugin.contents.cases {
            for (plugin, taken) in plugins.iter().zip(&mut taken) {
                let started = Instant::now();
                let result = plugin.run_case(case);
                if run >= WARM_UP {
                    taken.push((result, started.elapsed()));
                }
            }
        }
    }
    let measured: Vec<Measured> = plugins.iter().zip(taken).map(|(plugin, taken)| summed(plugin, &taken)).collect();
    if format == Format::Json {
        println!("{}", serde_json::to_string_pretty(&measured)?);
        return Ok(true);
    }
    for one in &measured {
        print(one);
    }
    if let [one, other] = &measured[..] {
        let ratio = |a: u64, b: u64| a as f64 / b.max(1) as f64;
        println!(
            "{} against {}: p50 {:.2} x, p99 {:.2} x, memory {:.2} x, fuel {:.2} x",
            one.id,
            other.id,
            ratio(one.p50_us, other.p50_us),
            ratio(one.p99_us, other.p99_us),
            ratio(one.memory_bytes, other.memory_bytes),
            ratio(one.fuel, other.fuel)
        );
    }
    Ok(true)
}

fn summed(plugin: &Plugin, taken: &[(CaseResult, Duration)]) -> Measured {
    let mut wholes: Vec<Duration> = taken.iter().map(|(_, whole)| *whole).collect();
    wholes.sort_unstable();
    let quantile = |of: fn(&CaseResult) -> u64, q: f64| {
        let mut all: Vec<u64> = taken.iter().map(|(result, _)| of(result)).collect();
        all.sort_unstable();
        all.get(((all.len().saturating_sub(1)) as f64 * q).round() as usize).copied().unwrap_or(0)
    };
    let sum = |of: fn(&CaseResult) -> u64| taken.iter().map(|(result, _)| of(result)).sum::<u64>() as f64;
    let (all, start, calls) = (sum(|r| r.time_us).max(1.0), sum(|r| r.start_us), sum(|r| r.calls_us));
    Measured {
        id: plugin.manifest().id(),
        size_bytes: plugin.contents.size,
        runs: taken.len(),
        p50_us: quantile(|r| r.time_us, 0.5),
        p99_us: quantile(|r| r.time_us, 0.99),
        whole_p50_us: wholes.get(wholes.len() / 2).map_or(0.0, |whole| whole.as_secs_f64() * 1e6),
        start_p50_us: quantile(|r| r.start_us, 0.5),
        start_p99_us: quantile(|r| r.start_us, 0.99),
        start_share: start / all,
        guest_share: (all - start - calls) / all,
        calls_share: calls / all,
        memory_bytes: taken.iter().map(|(result, _)| result.memory_bytes).max().unwrap_or(0),
        fuel: quantile(|r| r.fuel, 0.5),
    }
}

fn print(m: &Measured) {
    println!("{} ({} bytes), {} runs, a fresh instance each", m.id, m.size_bytes, m.runs);
    println!("  a decision     p50 {} us, p99 {} us", m.p50_us, m.p99_us);
    println!("  with checks    p50 {:.1} us: its values' and its answer's", m.whole_p50_us);
    println!("  of it, start   p50 {} us, p99 {} us", m.start_p50_us, m.start_p99_us);
    println!(
        "  shares         start {:.0} %, guest {:.0} %, host calls {:.0} %",
        m.start_share * 100.0,
        m.guest_share * 100.0,
        m.calls_share * 100.0
    );
    println!("  memory         {} KiB; fuel {}", m.memory_bytes / 1024, m.fuel);
}
