//! `make bench`: what a decision costs, each row beside a baseline of the same work that was
//! measured in the same run. Prints one table, and writes it as JSON beside the build.
//!
//! `SERIN_BENCH_SECONDS` shortens the run: how long the open loop lasts, 60 by default.

mod inprocess;
mod measure;
mod table;
mod world;

use std::path::Path;
use std::process::ExitCode;

use world::{Failure, Folders, World};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Failure> {
    let mut table = table::Table::default();
    let folders = Folders::lay_out()?;
    {
        let world = World::open(&folders)?;
        inprocess::measure(&world, 100, &mut table)?;
    }
    table.print();
    // Beside the build, wherever that is.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().ok_or("no build folder")?;
    table.write(&target.join("bench.json"))?;
    Ok(())
}
