//! The host over HTTP, as a process of its own, beside a bare route: throughput, latency, and
//! where the time goes.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use serin::clock::{Clock as _, SystemClock};
use serin::ledger::{DecisionFilter, LedgerReader, Reads as _};
use serin_core::record::ServedBy;

use crate::bare_http;
use crate::client::{Load, Requests, closed, open};
use crate::cpu::{Cpu, with_cpu};
use crate::disk;
use crate::inprocess::Parts;
use crate::measure::median;
use crate::process::{Server, cpu_by_threads, resident_mb};
use crate::table::{Row, Table};
use crate::world::{Failure, Folders};

/// Connections of the closed loop: with 32 the cores still idle a tenth of the time.
const CLOSED: usize = 64;
/// Connections of the open loop: enough that a short stall does not become the client's.
const OPEN: usize = 128;
/// Turns of the closed loops.
const TURNS: usize = 5;

/// The records of the closed loop: from and until, in milliseconds.
pub struct Recorded {
    /// From.
    pub since_ms: u64,
    /// Until.
    pub until_ms: u64,
}

/// The host's CPU time a request since `before`, by threads.
fn by_threads(host: &Server, before: &BTreeMap<String, f64>, requests: f64) -> Vec<Row> {
    let mut rows: Vec<(String, f64)> = cpu_by_threads(host.pid())
        .into_iter()
        .map(|(name, used)| (used - before.get(&name).copied().unwrap_or(0.0), name))
        .map(|(used, name)| (name, used * 1e6 / requests))
        .filter(|(_, us)| *us >= 0.1)
        .collect();
    rows.sort_by(|a, b| b.1.total_cmp(&a.1));
    rows.into_iter().map(|(name, us)| Row::new(format!("the host's threads: {name}"), us, "µs")).collect()
}

/// Measures; `commit` is the CPU time of one record in a group.
pub fn measure(
    folders: &Folders,
    bodies: Vec<String>,
    parts: Parts,
    commit: f64,
    lasts: Duration,
    table: &mut Table,
) -> Result<Recorded, Failure> {
    let requests = Rc::new(Requests::post("/v1/decisions", bodies.into_iter()));
    let (bare_server, host) = (bare_http::start()?, Server::serin(&folders.config())?);
    std::thread::sleep(Duration::from_secs(2));
    let idle = resident_mb(host.pid());
    let turn = lasts / 15;
    let loaded = |server: &Server, connections, lasts| {
        with_cpu(server, || closed(&server.addresses[0], &requests, connections, lasts))
    };
    loaded(&bare_server, CLOSED, turn / 4)?;
    loaded(&host, CLOSED, turn / 4)?;

    let since_ms = SystemClock.now_ms();
    let (threads, mut requests_sent) = (cpu_by_threads(host.pid()), 0.0);
    let (mut rates, mut cpus, mut bare_rates, mut bare_cpus) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..TURNS {
        for (server, rates, cpus) in [(&bare_server, &mut bare_rates, &mut bare_cpus), (&host, &mut rates, &mut cpus)] {
            let (load, cpu) = loaded(server, CLOSED, turn)?;
            rates.push(load.per_second());
            cpus.push(cpu);
            if server.pid() == host.pid() {
                requests_sent += load.latency.len() as f64;
            }
        }
    }
    let until_ms = SystemClock.now_ms();
    let by_threads = by_threads(&host, &threads, requests_sent);
    let (rate, bare_rate) = (median(rates), median(bare_rates));
    let (cpu, bare) = (Cpu::median(&cpus), Cpu::median(&bare_cpus));
    let bare_cpu = bare.whole();
    let cores = std::thread::available_parallelism().map_or(1, usize::from) as f64;
    let predicted = cores * 1e6 / (bare_cpu + parts.decision + parts.record + commit);

    stages(folders, &host, || Ok(loaded(&host, 1, turn)?.0), table)?;

    let at = rate / 2.0;
    let paced = |server: &Server, lasts| {
        Ok::<_, Failure>(with_cpu(server, || open(&server.addresses[0], &requests, OPEN, at, lasts))?.0)
    };
    let floor = paced(&bare_server, lasts / 4)?;
    let lasts = match std::env::var("SERIN_BENCH_OPEN_SECONDS") {
        Ok(text) => {
            let seconds = text.parse().map_err(|_| "SERIN_BENCH_OPEN_SECONDS: a whole number is needed")?;
            Duration::from_secs(seconds)
        }
        Err(_) => lasts,
    };
    let (load, disk) = disk::beside(&folders.path("data"), || paced(&host, lasts))?;
    let load = load?;
    let percentile =
        |p: f64| Row::new(format!("open loop: p{p}"), load.ms(p), "ms").against("bare axum route", floor.ms(p));
    table.section(
        format!("HTTP: POST /v1/decisions, recorded before it is answered; {CLOSED} connections, client on the same {cores} cores"),
        vec![
            Row::new("throughput: bare axum route", bare_rate, "/s"),
            Row::new("throughput: decisions", rate, "/s").against("predicted from the parts", predicted).ratio_at_least(0.75),
            Row::new("CPU a request, the client's included", cpu.whole(), "µs").against("bare axum route", bare_cpu),
            Row::new("CPU a request: the client", cpu.client, "µs").against("bare axum route", bare.client),
            Row::new("CPU a request: the host", cpu.server, "µs").against("bare axum route", bare.server),
            Row::new("open loop: requests", at, "/s"),
            percentile(50.0),
            percentile(99.0).at_most(5.0),
            percentile(99.9).at_most(25.0),
        ],
    );
    disk.tabulate(&load.stalls(), lasts, table);
    table.section("the host's CPU time a request, by threads", by_threads);
    memory(table, idle, resident_mb(host.pid()));
    table.note(format!(
        "Predicted throughput: {cores} cores / ({bare_cpu:.0} µs of CPU for a bare request, server and client, + {:.0} µs a decision + {:.0} µs its \
         record's bytes and digest + {commit:.0} µs of CPU for its share of a grouped commit) = {predicted:.0} a second.",
        parts.decision, parts.record
    ));
    table.note(format!(
        "Open loop: requests are due at a fixed rate, half of the measured maximum, for {} s; latency runs from when a request was due.",
        lasts.as_secs()
    ));
    Ok(Recorded { since_ms, until_ms })
}

fn memory(table: &mut Table, idle: f64, loaded: f64) {
    table.section(
        "memory of the demo's host",
        vec![Row::new("idle, everything loaded", idle, "MB").at_most(200.0), Row::new("after the load", loaded, "MB")],
    );
}

/// The sum and the count of commits so far, in seconds.
fn commits(host: &Server) -> Result<(f64, f64), Failure> {
    let text = ureq::get(format!("http://{}/metrics", host.addresses[1])).call()?.body_mut().read_to_string()?;
    let value = |name: &str| {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(&format!("serin_stage_duration_seconds_{name}{{stage=\"commit\"}} ")));
        line.and_then(|value| value.parse::<f64>().ok()).ok_or_else(|| format!("no metric of commits: {name}"))
    };
    Ok((value("sum")?, value("count")?))
}

/// Where the time of one decision goes while nothing else is under way.
fn stages(
    folders: &Folders,
    host: &Server,
    load: impl FnOnce() -> Result<Load, Failure>,
    table: &mut Table,
) -> Result<(), Failure> {
    let (since_ms, before) = (SystemClock.now_ms(), commits(host)?);
    let load = load()?;
    let after = commits(host)?;
    let commit = (after.0 - before.0) * 1e6 / (after.1 - before.1);
    let ledger = LedgerReader::open(&folders.path("data/serin.db"))?;
    let (mut sums, mut records, mut unlike) = (BTreeMap::<String, u64>::new(), 0_u64, 0_u64);
    let filter = DecisionFilter { since_ms: Some(since_ms), ..DecisionFilter::default() };
    let mut broken = None;
    ledger.for_each(&filter, |stored| {
        match stored.parse() {
            Ok(record) => {
                record.timings_us.iter().for_each(|(stage, us)| *sums.entry(stage.to_string()).or_default() += us);
                let scored = record.attempts.iter().any(|a| a.scores.iter().any(|score| score.value.is_some()));
                unlike += u64::from(record.answer.served_by != ServedBy::Arm || !scored);
            }
            Err(why) => broken = Some(why),
        }
        records += 1;
        records < 20_000
    })?;
    if let Some(why) = broken {
        return Err(why.into());
    }
    // Else it would be set against parts that it does not have.
    if unlike > 0 || records == 0 {
        return Err(format!("{unlike} of {records} decisions were not by the arm that was measured in process").into());
    }
    let whole = load.latency.mean();
    let mean = |stage: &str| sums.get(stage).copied().unwrap_or(0) as f64 / records as f64;
    let named = [
        ("hand-over to a deciding thread", mean("queue")),
        ("gather: the features", mean("gather")),
        ("route: constraint, place, arm", mean("route")),
        ("score: the model", mean("score")),
        ("run: the strategy", mean("run")),
        ("commit, with the hand-over to the writer and back", commit),
    ];
    let known: f64 = named.iter().map(|(_, us)| us).sum();
    let share = |(what, us): (&str, f64)| Row::new(what, us, "µs").against("the whole", whole);
    let mut rows: Vec<Row> = named.into_iter().map(share).collect();
    rows.push(share(("HTTP, both processes; record to bytes; hand-back", whole - known)));
    table.section("where the time of one decision goes over HTTP, one connection, mean", rows);
    Ok(())
}
