//! What a decision costs as an OpenFeature flag, beside `POST /v1/decisions`: in turns, on the same host.

use std::rc::Rc;
use std::time::Duration;

use crate::client::{Requests, closed};
use crate::measure::median;
use crate::process::Server;
use crate::table::{Row, Table};
use crate::world::{Failure, Folders};

/// Turns of each.
const TURNS: usize = 7;
/// Connections.
const CONNECTIONS: usize = 64;

/// Measures the demo's point.
pub fn measure(lasts: Duration, table: &mut Table) -> Result<(), Failure> {
    let folders = Folders::lay_out()?;
    let host = Server::serin(&folders.config())?;
    let address = &host.addresses[0];
    let decision = |i: u32| {
        format!(
            r#"{{"decision_point":"collections-outreach","entities":{{"borrower":"b-{i}","loan":"l-{i}"}},"context":{{"days_past_due":{}}}}}"#,
            i % 60
        )
    };
    let flag =
        |i: u32| format!(r#"{{"context":{{"targetingKey":"b-{i}","loan":"l-{i}","days_past_due":{}}}}}"#, i % 60);
    let decisions = Rc::new(Requests::post("/v1/decisions", (1..=64).map(decision)));
    let path = "/ofrep/v1/evaluate/flags/collections-outreach";
    let flags = Rc::new(Requests::post(path, (1..=64).map(flag)));
    let turn = lasts / 20;
    closed(address, &decisions, CONNECTIONS, turn)?;
    let (mut plain, mut as_flags, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..TURNS {
        let rate = |requests| {
            let load = closed(address, requests, CONNECTIONS, turn)?;
            match load.failed {
                0 => Ok::<_, Failure>(load.per_second()),
                failed => Err(format!("{failed} of {} answers were not a 200", load.latency.len()).into()),
            }
        };
        let (decided, evaluated) = (rate(&decisions)?, rate(&flags)?);
        ratios.push(evaluated / decided);
        plain.push(decided);
        as_flags.push(evaluated);
    }
    table.section(
        format!("OFREP: single evaluations of a flag, {CONNECTIONS} connections"),
        vec![
            Row::new("throughput: flags", median(as_flags), "/s")
                .against("POST /v1/decisions", median(plain))
                .ratio(median(ratios))
                .ratio_at_least(0.9),
        ],
    );
    Ok(())
}
