//! What a look at experiments costs: one at which nothing is new, and one at which units become mature.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serin::clock::{Clock as _, SimulatedClock};
use serin::experiments::{AnalysisSubject, Controller, Observer, tick};
use serin::ledger::{Commit, DecisionRow, Durability, Ledger};
use serin::telemetry::Metrics;
use serin_core::analysis::Course;
use serin_core::experiment::Experiment;

use crate::table::{Row, Table};
use crate::world::Failure;

const EXPERIMENTS: u64 = 100;
const UNITS: u64 = 10_000;
/// A unit of each experiment enters so often, and so becomes mature.
const APART: Duration = Duration::from_millis(10);
const LOOKS: u32 = 20;

fn spec(id: u64) -> Result<Arc<Experiment>, String> {
    Experiment::parse(&format!(
        "id = \"e{id}\"\ndecision_point = \"p\"\n\
         [[arms]]\nname = \"control\"\nstrategy = \"p@1.0.0\"\nweight = 0.5\n\
         [[arms]]\nname = \"next\"\nstrategy = \"q@1.0.0\"\nweight = 0.5\n\
         [[metrics]]\nname = \"cured\"\nrole = \"goal\"\noutcome = \"cured\"\nwindow = \"200s\"\n\
         [[metrics]]\nname = \"paid\"\nrole = \"secondary\"\noutcome = \"paid\"\naggregate = \"sum\"\nwindow = \"400s\"\n\
         [[guardrails]]\nmetric = \"failures\"\nmax_increase = 0.01\n"
    ))
    .map(Arc::new)
}

/// Measures in a ledger of its own.
pub fn measure(table: &mut Table) -> Result<(), Failure> {
    let dir = tempfile::tempdir()?;
    let metrics = Arc::new(Metrics::default());
    let clock = Arc::new(SimulatedClock::new(1_800_000_000_000, 1));
    let ledger = Arc::new(Ledger::open(&dir.path().join("serin.db"), Durability::Process, Arc::clone(&metrics))?);
    let controller = Controller::open(Arc::clone(&ledger), clock.clone(), metrics)?;
    let observer = Observer::new(Arc::clone(&ledger));
    let mut subjects = Vec::new();
    for id in 0..EXPERIMENTS {
        let spec = spec(id)?;
        controller.applied(&spec, "p@1.0.0");
        let course = Course::of(&controller.status(&spec.id), &"borrower".into());
        subjects.push(AnalysisSubject { spec, course, pin: "p@1.0.0".to_owned() });
    }
    observer.follow(&subjects, |id| controller.has_started(id));
    for unit in 0..UNITS {
        let row = |experiment: u64| DecisionRow {
            identity: None,
            decision_id: format!("{unit:08x}-{experiment:x}"),
            time_ms: clock.now_ms(),
            point: "p".into(),
            unit: Some(format!("u-{unit}")),
            unit_kind: Some("borrower".into()),
            assignment: Some((format!("e{experiment}"), ["control", "next"][unit as usize % 2].to_owned())),
            served_by: "arm",
            outcome: Some("answer"),
            action: "go".into(),
            took_us: 30,
            forced: false,
            batch: None,
            attributes: None,
            record: Vec::new(),
            dictionary: None,
            digest: String::new(),
        };
        let commit = Commit { decisions: (0..EXPERIMENTS).map(row).collect(), ..Commit::default() };
        ledger.commit(commit)?.blocking_recv()??;
        clock.advance(APART);
    }
    // On to where units become mature all the time.
    clock.advance(Duration::from_secs(150));
    let look = || {
        let began = Instant::now();
        tick(&controller, &observer, clock.now_ms());
        began.elapsed().as_secs_f64() * 1e3
    };
    look();
    let median = |mut of: Vec<f64>| {
        of.sort_by(f64::total_cmp);
        of[of.len() / 2]
    };
    let idle = median((0..LOOKS).map(|_| look()).collect());
    let maturing = median(
        (0..LOOKS)
            .map(|_| {
                clock.advance(10 * APART);
                look()
            })
            .collect(),
    );
    table.section(
        format!("a look at {EXPERIMENTS} experiments of {UNITS} units"),
        vec![
            Row::new("nothing is new", idle, "ms").at_most(2.0),
            Row::new("1,000 units become mature", maturing, "ms").at_most(10.0),
        ],
    );
    Ok(())
}
