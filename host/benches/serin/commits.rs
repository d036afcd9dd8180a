//! Commits to the ledger: one at a time, and many that wait together.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serin::ledger::{Commit, DecisionRow, Durability, Ledger};
use serin::telemetry::Metrics;

use crate::measure::median;
use crate::process::cpu_seconds;
use crate::table::{Row, Table};
use crate::world::{Failure, World};

/// Commits that wait together: one a connection of the load.
const TOGETHER: usize = 32;

/// Wall and CPU microseconds a record, with `waiting` commits under way.
fn run(
    ledger: &Ledger,
    rows: &[DecisionRow],
    next: &mut u64,
    waiting: usize,
    lasts: Duration,
) -> Result<(f64, f64), Failure> {
    let (started, cpu) = (Instant::now(), cpu_seconds(std::process::id()));
    let mut under_way = VecDeque::with_capacity(waiting);
    let mut made = 0_u64;
    while started.elapsed() < lasts || !under_way.is_empty() {
        if started.elapsed() < lasts {
            let row = &rows[*next as usize % rows.len()];
            // Ids that sort by time, as a host's do.
            let decision_id = format!("01900000-0000-7000-8000-{next:012}");
            *next += 1;
            let commit =
                Commit { decisions: vec![DecisionRow { decision_id, ..row.clone() }], answer: None, guard: None };
            under_way.push_back(ledger.commit(commit)?);
        }
        let is_full = under_way.len() == waiting || started.elapsed() >= lasts;
        if let Some(done) = is_full.then(|| under_way.pop_front()).flatten() {
            done.blocking_recv()??;
            made += 1;
        }
    }
    let us = |seconds: f64| seconds * 1e6 / made as f64;
    Ok((us(started.elapsed().as_secs_f64()), us(cpu_seconds(std::process::id()) - cpu)))
}

/// What a commit that survives a power cut costs: on this disk, and that is what it is about.
fn power(rows: &[DecisionRow], path: &Path, lasts: Duration, against: [f64; 2]) -> Result<Vec<Row>, Failure> {
    let ledger = Ledger::open(path, Durability::Power, Arc::new(Metrics::default()))?;
    let (mut next, mut alone, mut together) = (0, Vec::new(), Vec::new());
    for _ in 0..3 {
        alone.push(run(&ledger, rows, &mut next, 1, lasts)?.0);
        together.push(run(&ledger, rows, &mut next, TOGETHER, lasts)?.0);
    }
    let kinds = ["one at a time".to_owned(), format!("{TOGETHER} that wait together: wall a record")];
    let measured = [median(alone), median(together)].into_iter().zip(against).zip(kinds);
    let row = |((us, process), kind): ((f64, f64), String)| Row::new(kind, us, "µs").against("process", process);
    Ok(measured.map(row).collect())
}

/// Measures, and gives the CPU microseconds of a record in a group.
pub fn measure(world: &World, path: &Path, lasts: Duration, table: &mut Table) -> Result<f64, Failure> {
    let ledger = Ledger::open(path, Durability::Process, Arc::new(Metrics::default()))?;
    let rows = world.decided.iter().map(|(_, record)| ledger.row(record, &[])).collect::<Result<Vec<_>, _>>()?;
    let mut next = 0;
    let (mut alone, mut together, mut cpu) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..5 {
        alone.push(run(&ledger, &rows, &mut next, 1, lasts)?.0);
        let (wall, used) = run(&ledger, &rows, &mut next, TOGETHER, lasts)?;
        together.push(wall);
        cpu.push(used);
    }
    let (alone, together, cpu) = (median(alone), median(together), median(cpu));
    let bytes = rows.iter().map(|row| row.record.len()).sum::<usize>() / rows.len();
    table.section(
        format!("ledger: commits of one record of {bytes} bytes, durability \"process\""),
        vec![
            Row::new("one at a time", alone, "µs"),
            Row::new(format!("{TOGETHER} that wait together: wall a record"), together, "µs")
                .against("one at a time", alone),
            Row::new(format!("{TOGETHER} that wait together: CPU a record"), cpu, "µs"),
        ],
    );
    let synced = power(&rows, &path.with_extension("power.db"), lasts, [alone, together])?;
    table.section("ledger: the same, durability \"power\"".to_owned(), synced);
    Ok(cpu)
}
