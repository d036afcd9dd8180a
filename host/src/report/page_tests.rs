//! The page and the text of a report in the states that an experiment can be in.

use std::sync::Arc;

use serin_core::analysis::{Course, Decision, Happened, Observed, Place};
use serin_core::experiment::{Experiment, State, Status};

use super::*;

const DAY: u64 = 86_400_000;
const START: u64 = 1_795_000_000_000;

/// Two goals, and two guardrails.
const SPEC: &str = r#"
id = "e"
decision_point = "p"
owner = "science"
description = "calls earlier"
min_duration = "14d"
on_success = "ship"
holdback = 0.1
ramp = [{ coverage = 0.1, hold = "1d", min_units = 300, gate = "fast" }, { coverage = 1.0 }]
[[metrics]]
name = "cured"
role = "goal"
outcome = "cured"
window = "1d"
planned_units = 4000
[[metrics]]
name = "paid"
role = "goal"
outcome = "paid"
window = "1d"
planned_units = 4000
[[metrics]]
name = "complaints"
role = "guardrail"
outcome = "complaint"
window = "1d"
direction = "decrease"
[[guardrails]]
metric = "failures"
max_increase = 0.01
[[guardrails]]
metric = "complaints"
max_increase = 0.05
on_breach = "drop_arm"
[[arms]]
name = "control"
strategy = "s@1.0.0"
weight = 0.4
[[arms]]
name = "next"
strategy = "s@1.1.0"
weight = 0.4
[[arms]]
name = "other"
strategy = "s@1.2.0"
weight = 0.2
"#;

/// Two arms.
fn two() -> String {
    let (two, _) = SPEC.rsplit_once("[[arms]]").expect("a third arm");
    two.replace("0.4", "0.5")
}

/// In an arm: the shares of units that are cured, pay, complain, and have a failed decision.
type Rates = [f64; 4];

/// What is known of `units`, of which each arm gets its weight.
fn observed(spec: &str, units: u64, rates: &[Rates], course: Course) -> Observed {
    let spec = Arc::new(Experiment::parse(spec).expect("a spec"));
    let arms: Vec<(String, f64)> = spec.arms.iter().map(|arm| (arm.name.to_string(), arm.weight)).collect();
    let mut observed = Observed::over(spec, course);
    let mut seen = vec![0.0; arms.len()];
    for i in 0..units {
        // The arm that is furthest behind its weight.
        let behind = |arm: &usize| arms[*arm].1 * (i + 1) as f64 - seen[*arm];
        let arm = (0..arms.len()).max_by(|one, other| behind(one).total_cmp(&behind(other))).expect("an arm");
        let nth = seen[arm];
        seen[arm] += 1.0;
        let happens = |rate: f64| ((nth + 1.0) * rate).floor() > (nth * rate).floor();
        let (unit, time_ms, place) = (format!("u-{i}"), START + i * 5 * DAY / units, i as Place + 1);
        observed.decision(&Decision {
            place,
            unit: &unit,
            arm: &arms[arm].0,
            time_ms,
            action: "call",
            outcome: if happens(rates[arm][3]) { "trap" } else { "answer" },
            fell_back: false,
            took_us: 10,
            forced: false,
            batch: None,
            attributes: None,
        });
        for (name, rate) in ["cured", "paid", "complaint"].into_iter().zip(rates[arm]) {
            if happens(rate) {
                let happened = Happened { unit: &unit, at_ms: time_ms + 1000, after: place };
                observed.outcome(&happened, name, 1.0);
            }
        }
    }
    observed
}

fn running() -> Status {
    let started_ms = Some(START);
    Status { state: State::Running, phase: 1, since_ms: START, started_ms, applied: 0.1, ..Status::default() }
}

fn changes(commands: &[(&str, &str)]) -> Vec<TransitionRow> {
    let change = |(i, (command, to)): (usize, &(&str, &str))| TransitionRow {
        generation: i as u64,
        time_ms: START + i as u64 * 20 * DAY,
        command: (*command).to_owned(),
        from: "running".to_owned(),
        to: (*to).to_owned(),
        phase: i as u32 + 1,
        by: HOST.to_owned(),
        reason: "it was due".to_owned(),
        spec_digest: "sha256:0123456789".to_owned(),
        evidence: Value::Null,
    };
    commands.iter().enumerate().map(change).collect()
}

/// A report as it is when all of the units are mature, `days` after the start.
fn report_at(observed: &Observed, status: &Status, commands: &[(&str, &str)], days: u64) -> Report {
    let history = (1..=8_u64).map(|day| {
        let now_ms = START + day * DAY;
        let analysis = analyse(observed, now_ms);
        serde_json::to_string(&HistoryPoint::of(observed, &analysis, status, now_ms)).expect("json")
    });
    let context = ReportContext { changes: changes(commands), history: history.collect(), shadows: Vec::new() };
    Report::new(observed, status, context, START + days * DAY)
}

fn early() -> Report {
    let none = [0.1, 0.3, 0.02, 0.0];
    report_at(&observed(&two(), 112, &[none, none], Course::default()), &running(), &[("start", "running")], 0)
}

/// Better at one goal, worse at the other.
fn conflict() -> Report {
    let rates = [[0.10, 0.30, 0.02, 0.001], [0.16, 0.22, 0.02, 0.001]];
    let status = Status { step: 1, phase: 2, ..running() };
    let commands = [("start", "running"), ("promote", "running")];
    report_at(&observed(&two(), 6000, &rates, Course::default()), &status, &commands, 20)
}

fn shipped() -> Report {
    let rates = [[0.10, 0.30, 0.02, 0.0], [0.18, 0.31, 0.02, 0.0]];
    let status = Status { state: State::Shipped, phase: 3, winner: Some("next".into()), ..running() };
    let commands = [("start", "running"), ("ship", "shipped")];
    report_at(&observed(&two(), 6000, &rates, Course::default()), &status, &commands, 21)
}

fn aborted() -> Report {
    let rates = [[0.10, 0.30, 0.02, 0.0], [0.10, 0.31, 0.02, 0.08]];
    let status = Status { state: State::Aborted, ended_ms: Some(START + 20 * DAY), ..running() };
    let commands = [("start", "running"), ("abort", "aborted")];
    report_at(&observed(&two(), 3000, &rates, Course::default()), &status, &commands, 20)
}

/// Three arms, one of which was dropped.
fn dropped() -> Report {
    let rates = [[0.10, 0.30, 0.02, 0.001], [0.12, 0.31, 0.02, 0.001], [0.1, 0.3, 0.2, 0.001]];
    let status = Status { dropped: vec!["other".into()], step: 1, phase: 2, ..running() };
    let course = Course { dropped: vec!["other".into()], started_ms: Some(START), ..Course::default() };
    report_at(&observed(SPEC, 5000, &rates, course), &status, &[("start", "running"), ("drop", "running")], 10)
}

/// A fixed metric before its time.
fn provisional() -> Report {
    let fixed = two().replacen("planned_units = 4000", "planned_units = 40000\nmethod = \"fixed\"", 1);
    let rates = [[0.10, 0.30, 0.02, 0.001], [0.16, 0.30, 0.02, 0.001]];
    let status = Status { step: 1, phase: 2, ..running() };
    report_at(&observed(&fixed, 6000, &rates, Course::default()), &status, &[("start", "running")], 10)
}

fn all() -> [(&'static str, Report); 6] {
    [
        ("early", early()),
        ("conflict", conflict()),
        ("shipped", shipped()),
        ("aborted", aborted()),
        ("dropped", dropped()),
        ("provisional", provisional()),
    ]
}

#[test]
fn dump() {
    for (name, report) in all() {
        std::fs::write(format!("/tmp/rep_{name}.html"), report.html()).expect("w");
        std::fs::write(format!("/tmp/rep_{name}.txt"), report.to_string()).expect("w");
        std::fs::write(format!("/tmp/rep_{name}.json"), serde_json::to_string_pretty(&report).expect("j")).expect("w");
    }
}
