//! What shadow arms would have done.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::ledger::{LedgerError, ShadowCount, ShadowLatency};

/// What a shadow arm would have done.
#[derive(Debug, Serialize, Deserialize)]
pub struct ReportedShadow {
    /// The arm.
    pub arm: String,
    /// Decisions that it was run on.
    pub decisions: u64,
    /// The share of them where it would have had the same action served.
    pub agreement: f64,
    /// Runs without an answer, by what came of them.
    pub failures: IndexMap<String, u64>,
    /// Runs that were dropped, since decisions came first.
    pub dropped: u64,
    /// Decisions by the action that was served, then by the shadow's.
    pub matrix: IndexMap<String, IndexMap<String, u64>>,
    /// Microseconds a run, p50 and p99.
    pub took_us: [u64; 2],
    /// The same of the runs that served.
    pub served_us: [u64; 2],
}

/// The name in a matrix of a run that gave no answer.
const NO_ANSWER: &str = "(no answer)";

/// What an experiment's shadows would have done, from counts, and `latency` by arm.
///
/// # Errors
/// What `latency` says.
pub fn shadows(
    counts: Vec<ShadowCount>,
    latency: impl Fn(&str) -> Result<Option<ShadowLatency>, LedgerError>,
) -> Result<Vec<ReportedShadow>, LedgerError> {
    let mut shadows: IndexMap<String, (ReportedShadow, u64)> = IndexMap::new();
    for count in counts {
        let empty = || ReportedShadow {
            arm: count.arm.clone(),
            decisions: 0,
            agreement: 0.0,
            failures: IndexMap::new(),
            dropped: 0,
            matrix: IndexMap::new(),
            took_us: [0; 2],
            served_us: [0; 2],
        };
        let (shadow, agreed) = shadows.entry(count.arm.clone()).or_insert_with(|| (empty(), 0));
        shadow.decisions += count.decisions;
        shadow.dropped += count.dropped;
        if count.action.as_ref() == Some(&count.served) {
            *agreed += count.decisions;
        }
        if count.outcome != "answer" {
            *shadow.failures.entry(count.outcome).or_default() += count.decisions;
        }
        let action = count.action.unwrap_or_else(|| NO_ANSWER.to_owned());
        *shadow.matrix.entry(count.served).or_default().entry(action).or_default() += count.decisions;
    }
    let finish = |(mut shadow, agreed): (ReportedShadow, u64)| {
        shadow.agreement = agreed as f64 / shadow.decisions.max(1) as f64;
        if let Some(took) = latency(&shadow.arm)? {
            shadow.took_us = [took.p50_us, took.p99_us];
            shadow.served_us = [took.served_p50_us, took.served_p99_us];
        }
        Ok(shadow)
    };
    shadows.into_values().map(finish).collect()
}
