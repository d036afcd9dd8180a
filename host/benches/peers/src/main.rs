//! `make bench-peers`: one decision (thirty numbers, their mean against a threshold, a reason) in Serin, and in what
//! else a team would pick. In process with the numbers at hand, and over HTTP; engines take turns, and each row is
//! set beside Serin's.
//!
//! `SERIN_PEERS_PROGRAM` is the host, `SERIN_PEERS_STRATEGY` and `SERIN_PEERS_EXTISM` the decision as built for the
//! two sandboxes, `SERIN_PEERS_OUTPUT` where the table goes as JSON, `SERIN_PEERS_TURN_MS` the length of a turn over
//! HTTP, 2,000 by default.

mod engines;
mod http;
mod world;

#[path = "../../serin/client.rs"]
#[allow(dead_code)]
mod client;
#[path = "../../serin/cpu.rs"]
mod cpu;
#[path = "../../serin/measure.rs"]
#[allow(dead_code)]
mod measure;
#[path = "../../serin/process.rs"]
#[allow(dead_code)]
mod process;
#[path = "../../serin/table.rs"]
#[allow(dead_code)]
mod table;

use std::hint::black_box;
use std::path::Path;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use client::{Requests, closed};
use cpu::{Cpu, with_cpu};
use engines::{Cel, Engine, Extism, ExtismFresh, Rego, RegoMachine, Zen};
use measure::{TimedCall, interleaved, median};
use process::Server;
use table::{Row, Table};
use world::Failure;

#[global_allocator]
static HEAP: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Connections of the closed loop, as in the host's own benchmark.
const CONNECTIONS: usize = 64;
/// Turns over which medians are taken.
const TURNS: usize = 5;

/// Name over HTTP, name in the table, and what it does besides deciding.
const ENGINES: [(&str, &str, &str); 6] = [
    ("cel", "cel 0.15.0", "no sandbox is needed: an expression cannot loop; records and replays nothing"),
    (
        "regorus-vm",
        "regorus 0.14.1, virtual machine",
        "interpreted, one policy cannot touch memory; records and replays nothing",
    ),
    (
        "regorus",
        "regorus 0.14.1, interpreter",
        "interpreted, one policy cannot touch memory; records and replays nothing",
    ),
    (
        "extism",
        "extism 1.30.0, the same instance again",
        "a sandbox, whose memory one request leaves to the next; records and replays nothing",
    ),
    ("zen-engine", "zen-engine 2.1.6", "interpreted; a trace on request; records and replays nothing"),
    ("extism-fresh", "extism 1.30.0, a fresh instance each", "a sandbox a request; records and replays nothing"),
];

fn main() -> ExitCode {
    match http::served().unwrap_or_else(run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-peers: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Failure> {
    let mut table = Table::default();
    in_process(&mut table)?;
    over_http(&mut table)?;
    table.note(
        "Serin: a sandbox a request, bounded by fuel, memory and time; the record is replayed to the same answer.",
    );
    for (_, name, does) in ENGINES {
        table.note(format!("{name}: {does}."));
    }
    table.print();
    if let Some(path) = std::env::var_os("SERIN_PEERS_OUTPUT") {
        table.write(Path::new(&path))?;
    }
    Ok(())
}

/// The engine's decisions in turn, each compared with what is right first.
fn subject<E: Engine>() -> Result<TimedCall<'static>, Failure> {
    let mut engine = E::new()?;
    let mut inputs = Vec::new();
    for body in world::bodies() {
        let input = engine.read(&body)?;
        let (action, _) = engine.decide(&input)?;
        if action != world::right(&body) {
            return Err(format!("{}: {action} is wrong", std::any::type_name::<E>()).into());
        }
        inputs.push(input);
    }
    let mut at = 0;
    Ok(Box::new(move || {
        at = (at + 1) % inputs.len();
        black_box(engine.decide(&inputs[at]).expect("it did before"));
    }))
}

fn in_process(table: &mut Table) -> Result<(), Failure> {
    let (mut serin, mut others) = (Vec::new(), vec![Vec::new(); ENGINES.len()]);
    for turn in 0..TURNS {
        eprintln!("bench-peers: in process, turn {} of {TURNS}", turn + 1);
        serin.push(world::run_in_serin()?);
        let subjects = vec![
            subject::<Cel>()?,
            subject::<RegoMachine>()?,
            subject::<Rego>()?,
            subject::<Extism>()?,
            subject::<Zen>()?,
            subject::<ExtismFresh>()?,
        ];
        let timed = interleaved(25, subjects);
        others.iter_mut().enumerate().for_each(|(engine, all)| all.push(timed.us(engine)));
    }
    let serin = median(serin);
    let mut rows = vec![Row::new("Serin: a fresh sandbox each, values and answer checked", serin, "µs")];
    for ((_, name, _), us) in ENGINES.iter().zip(others) {
        rows.push(Row::new(*name, median(us), "µs").against("Serin", serin));
    }
    table.section("in process, one thread: thirty numbers, their mean, a threshold, a reason", rows);
    Ok(())
}

fn over_http(table: &mut Table) -> Result<(), Failure> {
    let turn = match std::env::var("SERIN_PEERS_TURN_MS") {
        Ok(text) => text.parse().map_err(|_| "SERIN_PEERS_TURN_MS: a whole number is needed")?,
        Err(_) => 2_000,
    };
    let turn = Duration::from_millis(turn);
    let dir = tempfile::tempdir()?;
    let recorded = world::lay_out(&dir.path().join("recorded"), "must_log")?;
    let best_effort = world::lay_out(&dir.path().join("best-effort"), "best_effort")?;
    let mut servers: Vec<(&str, Server)> = vec![
        ("Serin, recorded before it answers", Server::serin(&recorded)?),
        ("Serin, recorded afterwards (best_effort)", Server::serin(&best_effort)?),
    ];
    for (engine, name, _) in ENGINES {
        servers.push((name, http::start(engine)?));
    }
    let requests = Rc::new(Requests::post("/v1/decisions", world::bodies().iter().map(ToString::to_string)));
    let mut measured: Vec<(Vec<f64>, Vec<Cpu>)> = servers.iter().map(|_| Default::default()).collect();
    for at in 0..=TURNS {
        eprintln!("bench-peers: over HTTP, turn {at} of {TURNS}");
        for ((_, server), (rates, cpus)) in servers.iter().zip(&mut measured) {
            let (load, cpu) = with_cpu(server, || closed(&server.addresses[0], &requests, CONNECTIONS, turn))?;
            // The first turn warms up.
            if at > 0 {
                rates.push(load.per_second());
                cpus.push(cpu);
            }
        }
    }
    let cpus: Vec<Cpu> = measured.iter().map(|(_, cpus)| Cpu::median(cpus)).collect();
    let rows = servers.iter().zip(&cpus).map(|((name, _), cpu)| {
        Row::new(format!("CPU a request, the client's included: {name}"), cpu.whole(), "µs")
            .against("Serin, recorded", cpus[0].whole())
    });
    let rates = servers
        .iter()
        .zip(measured)
        .map(|((name, _), (rates, _))| Row::new(format!("requests: {name}"), median(rates), "/s"));
    let rows: Vec<Row> = rows.chain(rates).collect();
    table.section(
        format!("over HTTP, one minimal axum route each beside `serin serve`; {CONNECTIONS} connections"),
        rows,
    );
    Ok(())
}
