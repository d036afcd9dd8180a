//! `make bench`: what a decision costs, each row beside a baseline of the same work that was
//! measured in the same run. Prints one table, and writes it as JSON beside the build.
//!
//! `SERIN_BENCH_SECONDS` shortens the run: how long the open loop lasts, 60 by default.
//! `SERIN_BENCH_ONLY` is `decisions`, `http`, `neighbours`, `versions`, `flags`, `doors`, `consoles`, `languages`, `looks` or
//! `resets` where a part of it will do; `http` is the first half of `decisions`.

// A measurement is told in one function, however long it is.
#![allow(clippy::too_many_lines)]

mod bare_http;
mod client;
mod commits;
mod consoles;
mod cpu;
mod disk;
mod doors;
mod experiments;
mod flags;
mod handoff;
mod inprocess;
mod languages;
mod load;
mod looks;
mod measure;
mod models;
mod neighbours;
mod process;
mod replay;
mod resets;
mod table;
mod versions;
mod world;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use world::{Failure, Folders, World};

/// The program's own.
#[global_allocator]
static HEAP: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match if bare_http::is_wanted() { bare_http::serve() } else { run() } {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Failure> {
    let seconds = match std::env::var("SERIN_BENCH_SECONDS") {
        Ok(text) => {
            text.parse().ok().filter(|n| *n > 0).ok_or("SERIN_BENCH_SECONDS: a whole number from 1 is needed")?
        }
        Err(_) => 60,
    };
    let lasts = Duration::from_secs(seconds);
    let mut table = table::Table::default();
    let folders = Folders::lay_out()?;
    match std::env::var("SERIN_BENCH_ONLY").as_deref() {
        Err(_) => {
            let bodies = decisions(&folders, lasts, &mut table, true)?;
            progress("beside a version that spins");
            neighbours::measure(lasts, &mut table)?;
            progress("beside many versions");
            versions::measure(lasts, &mut table)?;
            progress("flags");
            flags::measure(lasts, &mut table)?;
            progress("tokens and TLS");
            doors::measure(lasts, &mut table)?;
            progress("consoles");
            consoles::measure(lasts, &mut table)?;
            in_languages(&folders, bodies, lasts, &mut table)?;
            progress("looks at a hundred experiments");
            looks::measure(&mut table)?;
            progress("memories given back");
            resets::measure(&mut table)?;
        }
        Ok(part @ ("decisions" | "http")) => drop(decisions(&folders, lasts, &mut table, part == "decisions")?),
        Ok("neighbours") => neighbours::measure(lasts, &mut table)?,
        Ok("versions") => versions::measure(lasts, &mut table)?,
        Ok("doors") => doors::measure(lasts, &mut table)?,
        Ok("consoles") => consoles::measure(lasts, &mut table)?,
        Ok("flags") => flags::measure(lasts, &mut table)?,
        Ok("languages") => in_languages(&folders, World::open(&folders)?.bodies(), lasts, &mut table)?,
        Ok("looks") => looks::measure(&mut table)?,
        Ok("resets") => resets::measure(&mut table)?,
        Ok(other) => {
            let valid = "decisions, http, neighbours, versions, flags, doors, consoles, languages, looks, resets";
            return Err(format!("SERIN_BENCH_ONLY={other}; valid: {valid}").into());
        }
    }
    table.print();
    // Beside the build, wherever that is.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().ok_or("no build folder")?;
    table.write(&target.join("bench.json"))?;
    match table.missed() {
        missed if missed.is_empty() => println!("\nEvery target is met."),
        missed => println!("\nMissed: {}", missed.join("; ")),
    }
    Ok(())
}

/// Measures a decision, in process and over HTTP, and with `is_whole` what its records are for. Returns the
/// requests: a world can be opened once only, since ONNX Runtime can.
fn decisions(
    folders: &Folders,
    lasts: Duration,
    table: &mut table::Table,
    is_whole: bool,
) -> Result<Vec<String>, Failure> {
    let (parts, commit, bodies, decided) = {
        let world = World::open(folders)?;
        progress("one decision, on one thread");
        let parts = inprocess::measure(&world, 100, table)?;
        progress("hand-off between threads");
        handoff::measure(&world, lasts / 120, table)?;
        progress("commits");
        let commit = commits::measure(&world, &folders.path("bench.db"), lasts / 60, table)?;
        progress("routing among many experiments");
        experiments::routing(&world, folders, table)?;
        (parts, commit, world.bodies(), world.decided[0].1.clone())
    };
    folders.forget()?;
    progress("HTTP: closed and open loops");
    let recorded = load::measure(folders, bodies.clone(), parts, commit, lasts, table)?;
    if !is_whole {
        return Ok(bodies);
    }
    progress("beside a slow model, and with a large one");
    models::measure(bodies.clone(), lasts, table)?;
    progress("replay");
    replay::measure(folders, &recorded, parts, table)?;
    progress("experiments: a million decisions");
    experiments::measure(&decided, table)?;
    Ok(bodies)
}

fn in_languages(
    folders: &Folders,
    bodies: Vec<String>,
    lasts: Duration,
    table: &mut table::Table,
) -> Result<(), Failure> {
    progress("strategies in Rust, Python and JavaScript");
    languages::measure(folders, bodies, 60, lasts / 2, table)
}

/// Says what is being measured: a run takes minutes.
fn progress(what: &str) {
    eprintln!("bench: {what}");
}
