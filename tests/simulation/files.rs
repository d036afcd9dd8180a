//! The files that people edit: three experiments at one decision point.

use std::sync::Arc;

use serin_core::experiment::Experiment;

/// The experiments' ids.
pub const IDS: [&str; 3] = ["a", "b", "c"];

pub const CONFIG: &str = r#"
[limits]
wall_ms = 2000

[decision_points.p]
strategy = "p@1.0.0"
entities = ["borrower"]
actions = ["go", "none"]
deadline = "30s"
fallback = { action = "none" }
"#;

/// What is written of an experiment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum File {
    /// A spec that is valid, one of several.
    Spec(usize),
    /// Text that is none.
    Broken,
    /// No file.
    Missing,
}

/// How many specs there are of each experiment.
pub const SPECS: usize = 5;

/// The text of an experiment's spec. They differ in what may be edited while it runs: who owns it,
/// the coverage, how long a step takes, the metrics.
pub fn text(id: &str, spec: usize) -> String {
    let (slot, start, success) = match id {
        "a" => ("[0.0, 0.4]", "on_apply", ""),
        "b" => ("[0.4, 0.8]", "on_apply", "on_success = \"ship\"\nholdback = 0.2\n"),
        _ => ("[0.8, 1.0]", "manual", "max_duration = \"60s\"\n"),
    };
    let (ramp, owner, aggregate) = match spec {
        0 => {
            ("[{ coverage = 0.5, hold = \"1s\" }, { coverage = 0.8, hold = \"2s\" }, { coverage = 1.0 }]", "ann", "sum")
        }
        1 => {
            ("[{ coverage = 0.5, hold = \"1s\" }, { coverage = 0.8, hold = \"2s\" }, { coverage = 1.0 }]", "bob", "sum")
        }
        2 => {
            ("[{ coverage = 0.6, hold = \"3s\" }, { coverage = 0.9, hold = \"1s\" }, { coverage = 1.0 }]", "ann", "sum")
        }
        3 => ("[{ coverage = 0.5, hold = \"1s\" }, { coverage = 1.0 }]", "ann", "count"),
        _ => {
            ("[{ coverage = 0.5, hold = \"1s\" }, { coverage = 0.8, hold = \"2s\" }, { coverage = 1.0 }]", "ann", "any")
        }
    };
    format!(
        r#"
id = "{id}"
decision_point = "p"
owner = "{owner}"
slot = {slot}
start = "{start}"
{success}ramp = {ramp}

[[arms]]
name = "control"
strategy = "p@1.0.0"
weight = 0.5

[[arms]]
name = "next"
strategy = "q@1.0.0"
weight = 0.5

[[metrics]]
name = "cured"
role = "goal"
outcome = "cured"
aggregate = "{aggregate}"
window = "8s"
lag = "1s"

[[metrics]]
name = "seen"
role = "secondary"
source = "exposures"
aggregate = "count"
window = "20s"

[[guardrails]]
metric = "complaint"
max_count = 6

[[metrics]]
name = "complaint"
role = "guardrail"
outcome = "complaint"
aggregate = "count"
window = "8s"
"#
    )
}

/// A spec as it is parsed.
pub fn parse(id: &str, spec: usize) -> Arc<Experiment> {
    Arc::new(Experiment::parse(&text(id, spec)).unwrap_or_else(|why| panic!("{id} {spec}: {why}")))
}
