//! What experiments cost: an assignment, a report over a million decisions, and outcomes as they
//! come in.

use std::hint::black_box;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use serin::clock::{Clock as _, SystemClock};
use serin::decide::{self, DeploymentSnapshot};
use serin::ledger::{Commit, DecisionRow, Durability, Ledger};
use serin::telemetry::Metrics;
use serin_core::allocation::{Purpose, admitted, pick, place};
use serin_core::record::Record;

use crate::measure::{TimedCall, interleaved};
use crate::process::{Server, peak_mb};
use crate::table::{Row, Table};
use crate::world::{Failure, Folders, POINT, World, serin};

const UNITS: u64 = 250_000;
const DECISIONS: u64 = 1_000_000;
const OUTCOMES: u64 = 300_000;
/// Outcomes of one request.
const BATCH: u64 = 10_000;
/// Decisions of one commit.
const ROWS: u64 = 500;
const DAY_MS: u64 = 86_400_000;

const METRICS: &str = r#"
[[metrics]]
name = "cured_14d"
role = "goal"
outcome = "cured"
window = "14d"
lag = "2d"

[[metrics]]
name = "calls"
role = "secondary"
source = "decisions"
outcome = "call"
aggregate = "count"
window = "14d"

[[guardrails]]
metric = "failures"
max_increase = 0.01
"#;

/// Experiments at one decision point.
const MANY: usize = 100;

/// What routing costs with many experiments at the point, against one.
pub fn routing(world: &World, folders: &Folders, table: &mut Table) -> Result<(), Failure> {
    let many = world.with_experiments(folders, MANY)?;
    let route = |deployment: &Arc<DeploymentSnapshot>| -> TimedCall<'_> {
        let (point, mut at) = (Arc::clone(&deployment.points[POINT]), 0);
        Box::new(move || {
            at = (at + 1) % world.decided.len();
            let record = &world.decided[at].1;
            black_box(decide::routing(&point, &record.entities, &record.context, &record.features).expect("routes"));
        })
    };
    let timed = interleaved(50, vec![route(&world.deployment), route(&many)]);
    table.section(
        format!("routing at a point with {MANY} experiments"),
        vec![
            Row::new("one experiment", timed.us(0) * 1e3, "ns"),
            Row::new(format!("{MANY} experiments"), timed.us(1) * 1e3, "ns"),
            Row::new("  against one", timed.ratio(1, &[0]), "x").at_most(1.2),
        ],
    );
    Ok(())
}

/// Measures in a deployment of its own, whose decisions are all like `decided`.
pub fn measure(decided: &Record, table: &mut Table) -> Result<(), Failure> {
    let assignment = assignment();
    let folders = Folders::lay_out()?;
    let file = folders.path("experiments/outreach-score.toml");
    std::fs::write(&file, std::fs::read_to_string(&file)? + METRICS)?;
    // Applies the spec, and begins the experiment.
    drop(Server::serin(&folders.config())?);
    fill(&folders, decided)?;
    let host = Server::serin(&folders.config())?;
    // Its first look at all these units is not part of what follows.
    let report = || ureq::get(format!("http://{}/v1/experiments/outreach-score/report", host.addresses[1])).call();
    report()?;
    let ingested = ingest(&host.addresses[0])?;
    let began = Instant::now();
    report()?;
    let live = began.elapsed().as_secs_f64();
    drop(host);
    let (seconds, peak) = whole_report(&folders)?;
    let title = format!("experiments: {DECISIONS} decisions of {UNITS} units, {OUTCOMES} outcomes");
    table.section(
        title,
        vec![
            Row::new("assignment: place, slot, holdout, arm", assignment * 1e3, "ns").at_most(200.0),
            Row::new(format!("outcomes over HTTP, {BATCH} a batch"), ingested, "/s").at_least(50_000.0),
            Row::new("report of a running host, after these outcomes", live, "s"),
            Row::new("serin report on a stopped host's ledger", seconds, "s").at_most(5.0),
            Row::new("  its memory at most", peak, "MB").at_most(1000.0),
        ],
    );
    Ok(())
}

/// Microseconds.
fn assignment() -> f64 {
    let units: Vec<String> = (0..1024).map(|i| format!("b-{i}")).collect();
    let mut at = 0;
    let assign = move || {
        at = (at + 1) % units.len();
        let unit = units[at].as_str();
        let [from, to] = admitted([0.0, 0.5], 0.9);
        let inside = place(Purpose::Layer, "outreach-1", "borrower", unit).is_within(from, to);
        let out = place(Purpose::Holdout, "outreach-1", "borrower", unit).is_below(0.02);
        let arm = pick(place(Purpose::Arm, "outreach-score", "borrower", unit), [0.5, 0.5].into_iter());
        black_box((inside, out, arm));
    };
    interleaved(50, vec![Box::new(assign)]).us(0)
}

/// Writes decisions as a host does, four a unit, from forty days ago on.
fn fill(folders: &Folders, decided: &Record) -> Result<(), Failure> {
    let ledger = Ledger::open(&folders.path("data/serin.db"), Durability::Process, Metrics::default().into())?;
    let row = ledger.row(decided, &[])?;
    let since_ms = SystemClock.now_ms() - 40 * DAY_MS;
    for first in (0..DECISIONS).step_by(ROWS as usize) {
        let row = |i: u64| {
            let (unit, time_ms) = (i % UNITS, since_ms + i * 10 * DAY_MS / DECISIONS);
            let arm = if unit % 2 == 0 { "control" } else { "score" };
            DecisionRow {
                decision_id: format!("{:08x}-{:04x}-7000-8000-{i:012x}", time_ms >> 16, time_ms & 0xffff),
                time_ms,
                unit: Some(format!("u-{unit}")),
                assignment: Some(("outreach-score".to_owned(), arm.to_owned())),
                ..row.clone()
            }
        };
        let commit = Commit { decisions: (first..first + ROWS).map(row).collect(), ..Commit::default() };
        ledger.commit(commit)?.blocking_recv()??;
    }
    Ok(())
}

/// Outcomes a second, one request after the other.
fn ingest(address: &str) -> Result<f64, Failure> {
    let at = jiff::Timestamp::from_millisecond((SystemClock.now_ms() - 28 * DAY_MS) as i64)?.to_string();
    let outcome = |i: u64| json!({ "id": format!("o-{i}"), "name": "cured", "value": 1.0, "at": at, "entity": { "borrower": format!("u-{}", i * 7 % UNITS) } });
    let bodies: Vec<String> = (0..OUTCOMES)
        .step_by(BATCH as usize)
        .map(|first| json!({ "outcomes": (first..first + BATCH).map(outcome).collect::<Vec<_>>() }).to_string())
        .collect();
    let began = Instant::now();
    for body in bodies {
        let mut answer = ureq::post(format!("http://{address}/v1/outcomes"))
            .header("content-type", "application/json")
            .send(&body)?;
        let answer: serde_json::Value = serde_json::from_str(&answer.body_mut().read_to_string()?)?;
        if answer["stored"] != BATCH {
            return Err(format!("outcomes were not stored: {answer}").into());
        }
    }
    Ok(OUTCOMES as f64 / began.elapsed().as_secs_f64())
}

/// Seconds and mebibytes of `serin report`.
fn whole_report(folders: &Folders) -> Result<(f64, f64), Failure> {
    let began = Instant::now();
    let mut child = Command::new(serin())
        .args(["report", "outreach-score", "--format", "json", "--config"])
        .arg(folders.config())
        .stdout(Stdio::null())
        .spawn()?;
    let mut peak = 0.0_f64;
    let status = loop {
        peak = peak.max(peak_mb(child.id()));
        if let Some(status) = child.try_wait()? {
            break status;
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    if !status.success() {
        return Err(format!("serin report: {status}").into());
    }
    Ok((began.elapsed().as_secs_f64(), peak))
}
