//! `serin replay --verify` on the load's records.

use std::process::Command;
use std::time::Instant;

use crate::inprocess::Parts;
use crate::load::Recorded;
use crate::table::{Row, Table};
use crate::world::{Failure, Folders, serin};

/// Replays, and compares with what cores could do that only ran and decoded.
pub fn measure(folders: &Folders, recorded: &Recorded, parts: Parts, table: &mut Table) -> Result<(), Failure> {
    let started = Instant::now();
    let output = Command::new(serin())
        .args(["replay", "--verify", "--format", "json", "--config"])
        .arg(folders.config())
        .args(["--since", &recorded.since_ms.to_string(), "--until", &recorded.until_ms.to_string()])
        .output()?;
    let took = started.elapsed();
    if !output.status.success() {
        return Err(format!("serin replay: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    let found: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let decisions = found["decisions"].as_u64().ok_or("no count of decisions")?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from) as f64;
    let ideal = cores * 1e6 / (parts.bare + parts.decode);
    table.section(
        format!("replay of {decisions} records, all verified, the program's start included"),
        vec![
            Row::new("records replayed", decisions as f64 / took.as_secs_f64(), "/s")
                .against(format!("{cores} cores / (bare call + decoding)"), ideal)
                .ratio_at_least(0.7),
        ],
    );
    Ok(())
}
