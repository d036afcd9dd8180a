//! Running a case in the real sandbox.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use serin_core::case::{Case, CaseCall, Expectation};
use serin_core::limits::Limits;
use serin_core::manifest::{Manifest, ModelId};
use serin_core::record::{CallError, FailureKind, LogLine, Outcome};
use serin_core::value::Value;
use serin_core::{printable, printable_to};

use crate::clock::Budget;
use crate::sandbox::{Linked, Run, Scored, Scorer};

/// Fuel that a case may use when it is run by itself.
pub(super) const FUEL: u64 = 5_000_000_000;

/// Fuel that so many cases of an artifact may use together: a few seconds, whatever its manifest
/// asks for.
pub(super) fn fuel_of_all(cases: usize) -> u64 {
    (1_000_000_000 + cases as u64 * Limits::default().fuel).min(FUEL)
}

/// Wall time that a case may take: far more than its fuel lasts, unless the machine is busy.
const WALL_MS: u64 = 30_000;

/// Characters of a difference, of a call, and of a surprise that are shown.
const SHOWN: usize = 2_000;
/// Surprises that are kept of a case.
const SURPRISES: usize = 20;

/// What came of a case.
#[derive(Debug)]
pub struct CaseResult {
    /// The case's name.
    pub name: String,
    /// What the strategy answered.
    pub outcome: Outcome,
    /// What differs from the expectation; none where it is met.
    pub difference: Option<String>,
    /// Calls that were not the ones that the case answers, each in words.
    pub surprises: Vec<String>,
    /// What the strategy logged.
    pub logs: Vec<LogLine>,
    /// Fuel used.
    pub fuel: u64,
    /// Microseconds.
    pub time_us: u64,
    /// Of them, until the instance was there.
    pub start_us: u64,
    /// The instance was there, and the strategy called.
    pub has_started: bool,
    /// Of them, in answering calls of the `models` import.
    pub calls_us: u64,
    /// Bytes of linear memory at its end.
    pub memory_bytes: u64,
}

/// Answers calls from the case, in order, and only to the rows that it expects.
struct CaseScorer {
    calls: std::vec::IntoIter<CaseCall>,
    surprises: Arc<Mutex<Vec<String>>>,
}

impl Scorer for CaseScorer {
    fn score(&mut self, _: usize, model: &ModelId, rows: &[Vec<Value>], _: Duration) -> Scored {
        let shown = |model: &str, rows: &[Vec<Value>]| {
            printable_to(&format!("{model} with rows {}", serde_json::to_string(rows).unwrap_or_default()), SHOWN)
        };
        let note = |surprise: String| {
            let mut surprises = self.surprises.lock();
            if surprises.len() < SURPRISES {
                surprises.push(surprise);
            }
        };
        match self.calls.next() {
            Some(call) if call.is_of(&model.name, rows) => match call.error {
                Some(error) => error.into(),
                None => Scored { digest: None, answer: Ok(call.scores), cause: None },
            },
            Some(call) => {
                let expected = format!("the case answers {} here", shown(&call.model, &call.rows));
                note(format!("called {}; {expected}", shown(&model.name, rows)));
                CallError::InvalidRow(expected).into()
            }
            None => {
                note(format!("called {}; the case answers no more calls", shown(&model.name, rows)));
                CallError::Unavailable.into()
            }
        }
    }
}

/// Midday of 1 January 2026, where a case names no time.
const DEFAULT_TIME_MS: u64 = 1_767_268_800_000;

/// Runs one case with at most `fuel`.
pub(super) fn run_case(linked: &Linked, manifest: &Manifest, case: &Case, fuel: u64) -> CaseResult {
    let surprises = Arc::<Mutex<Vec<String>>>::default();
    let (outcome, logs, has_started, [fuel, time_us, start_us, calls_us, memory_bytes]) = match prepare(manifest, case)
    {
        Ok((features, scores, parameters, time_ms)) => {
            // What the manifest asks for, within what any host grants, whatever this one's operator
            // does: a case is about the strategy, and so is not the machine's wall clock, which only
            // bounds it here.
            let most = Limits { fuel, ..Limits::MOST };
            let asked = manifest.limits.over(Limits::default()).at_most(most);
            // Its author is to read all that it says, whatever a record has room for.
            let limits = Limits { wall_ms: WALL_MS, log_bytes: most.log_bytes, ..asked };
            let run = Run {
                decision_point: &manifest.decision_point,
                time_ms,
                utc_offset_minutes: case.utc_offset_minutes,
                features: &features,
                scores: &scores,
                parameters: &parameters,
            };
            let scorer =
                Box::new(CaseScorer { calls: case.calls.clone().into_iter(), surprises: Arc::clone(&surprises) });
            let budget = Budget::new(Duration::from_millis(WALL_MS));
            let ran = linked.run(&run, manifest, limits, budget, Some(scorer));
            (
                ran.outcome,
                ran.logs,
                ran.has_started,
                [ran.fuel, ran.time_us, ran.start_us, ran.calls_us, ran.memory_bytes],
            )
        }
        Err(outcome) => (outcome, Vec::new(), false, [0; 5]),
    };
    let difference = (!case.expect.is_met_by(&outcome)).then(|| difference(&case.expect, &outcome, &logs));
    let surprises = std::mem::take(&mut *surprises.lock());
    CaseResult {
        name: case.name.clone(),
        outcome,
        difference,
        surprises,
        logs,
        fuel,
        time_us,
        start_us,
        has_started,
        calls_us,
        memory_bytes,
    }
}

/// Holds a case to the manifest that it is for.
///
/// # Errors
/// The first mistake, and what would be valid.
pub fn check_case(case: &Case, manifest: &Manifest) -> Result<(), String> {
    case.check(manifest)?;
    time_of(case).map(drop)
}

fn time_of(case: &Case) -> Result<u64, String> {
    let Some(text) = &case.time else { return Ok(DEFAULT_TIME_MS) };
    let time = text.parse::<jiff::Timestamp>().ok().and_then(|time| u64::try_from(time.as_millisecond()).ok());
    time.ok_or_else(|| {
        format!(
            "case '{}': time is '{}'; valid: RFC 3339, like 2026-01-01T12:00:00Z",
            printable(&case.name),
            printable(text)
        )
    })
}

type Prepared = (Vec<Value>, Vec<f64>, Vec<Value>, u64);

fn prepare(manifest: &Manifest, case: &Case) -> Result<Prepared, Outcome> {
    let failed = |kind, detail: &str| Outcome::Failure { kind, detail: detail.to_owned() };
    let features = case
        .positional_features(manifest)
        .ok_or_else(|| failed(FailureKind::FeatureMissing, "a feature without a default is missing"))?;
    let scores = case
        .positional_scores(manifest)
        .ok_or_else(|| failed(FailureKind::ScoreMissing, "a score without a fallback is missing"))?;
    let parameters =
        manifest.parameters_with(&case.parameters).map_err(|why| failed(FailureKind::OutputInvalid, &why))?;
    let time_ms = time_of(case).map_err(|why| failed(FailureKind::OutputInvalid, &why))?;
    Ok((features, scores, parameters, time_ms))
}

fn difference(expected: &Expectation, outcome: &Outcome, logs: &[LogLine]) -> String {
    let json = |value: Result<String, serde_json::Error>| printable_to(&value.unwrap_or_else(|e| e.to_string()), SHOWN);
    let advice = serin_core::answer::advice(outcome).map(|advice| format!("; {advice}")).unwrap_or_default();
    // The SDKs log the error that ends a run.
    let said = logs.last().filter(|_| matches!(outcome, Outcome::Failure { .. }));
    let said = said.map(|line| format!("; it said: {}", printable_to(&line.message, SHOWN))).unwrap_or_default();
    format!(
        "expected {}, got {}{advice}{said}",
        json(serde_json::to_string(expected)),
        json(serde_json::to_string(outcome))
    )
}
