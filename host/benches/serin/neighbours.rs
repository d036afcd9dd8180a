//! What a version that spins costs a point that has nothing to do with it: in turns, alone and beside it.

use std::rc::Rc;
use std::time::Duration;

use crate::client::{Requests, closed, open};
use crate::measure::median;
use crate::process::Server;
use crate::table::{Row, Table};
use crate::world::{Failure, Folders, artifact};

/// Pairs of turns.
const PAIRS: usize = 5;
/// Connections that ask for the spinning version: more than it ever has slots.
const SPINNING: usize = 16;
/// How long one of its runs may take, in milliseconds. The callers say so and not the point: a caller's deadline is not
/// held against a version, so its breaker stays closed.
const SPINS_MS: u64 = 400;
/// Until its slots are all taken.
const SETTLES: Duration = Duration::from_secs(1);

const SPINNER: &str = r#"
[decision_points.misbehave]
strategy = "misbehave@1.0.0"
entities = ["borrower"]
context = { mode = "text?" }
actions = ["none", "say", "scores"]
deadline = "5s"
fallback = { action = "none" }
"#;

/// Measures the demo's point at a fifth of its capacity.
pub fn measure(lasts: Duration, table: &mut Table) -> Result<(), Failure> {
    let folders = Folders::lay_out()?;
    let config = std::fs::read_to_string(folders.config())?;
    let granted = "wall_ms = 5000\nfuel = 1000000000000\n";
    let config = config.lines().map(|line| if line.starts_with("wall_ms") { granted.trim_end() } else { line });
    std::fs::write(folders.config(), config.collect::<Vec<_>>().join("\n") + SPINNER)?;
    let spinner = artifact("../tests/guests/misbehave", "misbehave-1.0.0.wasm")?;
    std::fs::copy(spinner, folders.path("plugins/misbehave-1.0.0.wasm"))?;
    let host = Server::serin(&folders.config())?;
    let address = &host.addresses[0];
    let body = |i: u32| {
        format!(
            r#"{{"decision_point":"collections-outreach","entities":{{"borrower":"b-{i}","loan":"l-{i}"}},"context":{{"days_past_due":{}}}}}"#,
            i % 60
        )
    };
    let requests = Rc::new(Requests::post("/v1/decisions", (1..=64).map(body)));
    let turn = lasts / 12;
    closed(address, &requests, 32, turn / 2)?;
    let at = closed(address, &requests, 32, turn)?.per_second() / 5.0;
    let (mut rows, mut ratios, mut spun, mut failed) = (Vec::new(), Vec::new(), 0.0, 0);
    for pair in 1..=PAIRS {
        let alone = open(address, &requests, 64, at, turn)?;
        let (beside_address, spins) = (address.clone(), turn + 2 * SETTLES);
        let spinning = std::thread::spawn(move || spin(&beside_address, spins));
        std::thread::sleep(SETTLES);
        let beside = open(address, &requests, 64, at, turn)?;
        spun += spinning.join().map_err(|_| "the spinning load panicked")??;
        failed += alone.failed + beside.failed;
        ratios.push(beside.ms(99.0) / alone.ms(99.0));
        rows.push(Row::new(format!("pair {pair}: p99"), beside.ms(99.0), "ms").against("alone", alone.ms(99.0)));
        // Until the last of its runs has ended.
        std::thread::sleep(SETTLES);
    }
    let of_all = median(ratios);
    rows.push(Row::new("p99 beside it by p99 alone, the median pair", of_all, "x").at_most(2.0));
    rows.push(Row::new("decisions that were not a 200", failed as f64, "").at_most(0.0));
    rows.push(Row::new("answers of the point that spins, a second", spun / PAIRS as f64, "/s"));
    table.section(
        format!("beside a version that spins in all of its slots; another point, {at:.0} decisions a second"),
        rows,
    );
    Ok(())
}

/// Asks for the spinning version all the time; its answers a second.
fn spin(address: &str, lasts: Duration) -> Result<f64, String> {
    let body = r#"{"decision_point":"misbehave","entities":{"borrower":"b-1"},"context":{"mode":"spin"}}"#.to_owned();
    let deadline = format!("serin-deadline-ms: {SPINS_MS}");
    let requests = Rc::new(Requests::post_with(&deadline, "/v1/decisions", std::iter::once(body)));
    closed(address, &requests, SPINNING, lasts).map(|load| load.per_second()).map_err(|e| e.to_string())
}
