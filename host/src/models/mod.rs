//! Models: scores for rows of numbers, several versions side by side.

mod admission;
mod breaker;
mod draft;
mod external_data;
mod golden;
mod load;
mod onnx;
mod pace;
mod runner;
mod runtime;
mod sessions;
mod watchdog;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use serin_core::Name;
use serin_core::manifest::ModelId;
use serin_core::row::Row;

use crate::telemetry::{Metrics, ModelLabels, ScoreLabels};

pub use draft::{Drafted, Outline, Wish};
pub use golden::Golden;
pub use load::{ModelFiles, Trial};
pub use onnx::RuntimeError;
pub use runtime::Runtime;

use runner::{Caller, Runner};

/// The largest model card that is shown.
const MAX_CARD: u64 = 64 << 10;

/// Why there are no scores.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScoreError {
    /// The run did not end in the time left.
    #[error("the run did not end in time")]
    Timeout,
    /// Too many wait for this model, or all models, already; or no session was free in time.
    #[error("too many runs are waiting")]
    Overloaded,
    /// Runs ended too late again and again, and none is begun for a while.
    #[error("runs ended too late again and again; none is begun for a while")]
    BreakerOpen,
    /// The row does not fit the model.
    #[error("{0}")]
    InvalidRow(String),
    /// The runtime failed.
    #[error("{0}")]
    Failed(String),
    /// The score is not a finite number.
    #[error("the score is not finite")]
    NotFinite,
}

impl ScoreError {
    /// A short name, for records and metric labels.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Overloaded => "overloaded",
            Self::BreakerOpen => "breaker_open",
            Self::InvalidRow(_) => "invalid_row",
            Self::Failed(_) => "unavailable",
            Self::NotFinite => "not_finite",
        }
    }
}

/// Why a model was not loaded: the file, and what would be valid.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{file}: {why}")]
pub struct ModelError {
    /// The file.
    pub file: String,
    /// What is wrong.
    pub why: String,
}

/// A model that passed its golden vectors.
pub struct Model {
    /// Its name and version.
    pub id: ModelId,
    /// SHA-256 of the file.
    pub digest: Name,
    /// Names of its inputs, in its own order.
    pub inputs: Vec<Name>,
    /// Golden rows whose scores were compared.
    pub golden_rows: usize,
    /// How far a score may be from the golden one.
    pub golden_tolerance: f64,
    /// What its authors say of it: the text file beside it, as of its load.
    pub card: Option<String>,
    runner: Runner,
    outcomes: Outcomes,
}

impl Model {
    /// Loads a model and its golden vectors, warms its sessions, and checks golden scores: all of
    /// them, or the first if the same files were accepted before.
    ///
    /// # Errors
    /// What keeps it from being served.
    pub fn load(runtime: &Runtime, id: ModelId, files: &ModelFiles, trial: Trial) -> Result<Self, ModelError> {
        let fail = |file: &Path, why: String| ModelError { file: file.display().to_string(), why };
        let golden = Golden::parse(&files.golden).map_err(|why| fail(&golden_path(&files.path), why))?;
        let fail = |why: String| fail(&files.path, why);
        if golden.model != *id.name || golden.version != *id.version {
            return Err(fail(format!(
                "its golden file is of {}@{}, not of {id}; valid there: \"model\": \"{}\", \"version\": \"{}\"",
                golden.model, golden.version, id.name, id.version
            )));
        }
        let shared = load::prepare(runtime, &id, files, &golden, trial).map_err(fail)?;
        Ok(Self {
            digest: crate::digest::digest(&files.onnx).into(),
            inputs: golden.inputs.iter().map(|i| Name::from(i.as_str())).collect(),
            golden_rows: golden.rows.len(),
            golden_tolerance: golden.tolerance,
            card: card(&files.path),
            runner: Runner::new(runtime.clone(), shared),
            outcomes: Outcomes::of(&runtime.metrics, &id),
            id,
        })
    }

    /// Scores rows, each in the model's own order, within `left`.
    ///
    /// # Errors
    /// Why there are no scores.
    pub fn score(&self, rows: &[Vec<f64>], left: Duration) -> Result<Vec<f64>, ScoreError> {
        self.ask(rows, left, Caller::Decision)
    }

    /// As [`Self::score`], with what decisions leave over.
    ///
    /// # Errors
    /// Why there are no scores.
    pub fn score_for_shadow(&self, rows: &[Vec<f64>], left: Duration) -> Result<Vec<f64>, ScoreError> {
        self.ask(rows, left, Caller::Shadow)
    }

    /// As [`Self::score`] for one row, on a thread that must not be kept; none where the model may
    /// take long, or has no free session.
    pub fn score_at_once(&self, row: &[f64], left: Duration) -> Option<Result<Vec<f64>, ScoreError>> {
        let rows = std::slice::from_ref(&row);
        let answer = match flat(rows, &self.inputs) {
            Ok(flat) => self.runner.score_at_once(&flat, 1, left)?,
            Err(error) => Err(error),
        };
        Some(self.checked(answer))
    }

    fn ask(&self, rows: &[Vec<f64>], left: Duration, caller: Caller) -> Result<Vec<f64>, ScoreError> {
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let scored = flat(rows, &self.inputs).and_then(|flat| self.runner.score(flat, rows.len(), left, caller));
        self.checked(scored)
    }

    /// An answer whose scores are all finite, counted.
    fn checked(&self, scored: Result<Vec<f64>, ScoreError>) -> Result<Vec<f64>, ScoreError> {
        let answer = scored.and_then(|scores| match scores.iter().all(|x| x.is_finite()) {
            true => Ok(scores),
            false => Err(ScoreError::NotFinite),
        });
        self.outcomes.note(&self.id, &answer);
        answer
    }

    /// Whether a decision may wait for this model for as long as it has time.
    pub fn is_slow(&self) -> bool {
        self.runner.is_slow()
    }

    /// Whether its runs ended too late again and again.
    pub fn is_resting(&self) -> bool {
        self.runner.is_resting()
    }

    /// How many decisions may wait for this model at a time.
    pub fn places(&self) -> usize {
        self.runner.places()
    }

    /// Puts inputs by name into the model's own order.
    ///
    /// # Errors
    /// The input that is missing or not the model's.
    pub fn arrange(&self, inputs: &Row<f64>) -> Result<Vec<f64>, ScoreError> {
        let value = |(at, name): (usize, &Name)| {
            let value = inputs.find(at, name).map(|(_, value)| *value);
            value.ok_or_else(|| ScoreError::InvalidRow(format!("no input '{name}'")))
        };
        self.inputs.iter().enumerate().map(value).collect()
    }

    /// Checks that a manifest's mapping feeds exactly this model's inputs.
    ///
    /// # Errors
    /// The input that is missing or unknown.
    pub fn accepts(&self, mapped: &[Name]) -> Result<(), String> {
        let listed = || self.inputs.iter().map(|i| &**i).collect::<Vec<_>>().join(", ");
        if let Some(missing) = self.inputs.iter().find(|input| !mapped.contains(input)) {
            return Err(format!("model {}: input '{missing}' is not mapped; its inputs: {}", self.id, listed()));
        }
        match mapped.iter().find(|m| !self.inputs.contains(m)) {
            Some(unknown) => Err(format!("model {}: has no input '{unknown}'; its inputs: {}", self.id, listed())),
            None => Ok(()),
        }
    }
}

/// The rows as the model's input tensor has them: float32, one after the other.
///
/// # Errors
/// The row that has another number of values than the model has inputs, or the value that is
/// beyond what a float32 can hold. A model would answer to infinity, too.
fn flat<R: AsRef<[f64]>, N: AsRef<str>>(rows: &[R], inputs: &[N]) -> Result<Vec<f32>, ScoreError> {
    let mut flat = Vec::with_capacity(rows.len() * inputs.len());
    for (i, row) in rows.iter().map(AsRef::as_ref).enumerate() {
        if row.len() != inputs.len() {
            let (has, wanted) = (row.len(), inputs.len());
            return Err(ScoreError::InvalidRow(format!("row {i} has {has} values, and the model has {wanted} inputs")));
        }
        for (value, input) in row.iter().zip(inputs) {
            let narrow = *value as f32;
            if !narrow.is_finite() {
                let input = input.as_ref();
                return Err(ScoreError::InvalidRow(format!(
                    "row {i}: input '{input}' is {value:e}; valid: a float32, from {:e} to {:e}",
                    f32::MIN,
                    f32::MAX
                )));
            }
            flat.push(narrow);
        }
    }
    Ok(flat)
}

/// Counts what came of asking a model. The counters are looked up once: a label is a string.
struct Outcomes {
    ok: Counter,
    /// In the order of [`LABELS`].
    not: [Counter; LABELS.len()],
    /// Whether the last run failed: a model that does is told of once.
    is_failing: AtomicBool,
}

const LABELS: [&str; 6] = ["timeout", "overloaded", "breaker_open", "invalid_row", "unavailable", "not_finite"];

/// The labels of an outcome.
fn labels(id: &ModelId, outcome: &'static str) -> ScoreLabels {
    ScoreLabels { model: id.name.to_string(), version: id.version.to_string(), outcome }
}

/// Drops the series of a model that is not declared any more.
pub fn drop_series(metrics: &Metrics, id: &ModelId) {
    for outcome in LABELS.into_iter().chain(["ok"]) {
        metrics.model_scores.remove(&labels(id, outcome));
    }
    let of_runs = ModelLabels { model: id.name.to_string(), version: id.version.to_string() };
    metrics.model_runs.remove(&of_runs);
}

impl Outcomes {
    fn of(metrics: &Metrics, id: &ModelId) -> Self {
        let counter = |outcome| metrics.model_scores.get_or_create(&labels(id, outcome)).clone();
        Self { ok: counter("ok"), not: LABELS.map(counter), is_failing: AtomicBool::new(false) }
    }

    fn note(&self, id: &ModelId, answer: &Result<Vec<f64>, ScoreError>) {
        match answer {
            Ok(_) => {
                self.ok.inc();
                if self.is_failing.load(Ordering::Relaxed) {
                    self.is_failing.store(false, Ordering::Relaxed);
                }
            }
            Err(error) => {
                if let Some(at) = LABELS.iter().position(|label| *label == error.label()) {
                    self.not[at].inc();
                }
                let is_new = matches!(error, ScoreError::Failed(_)) && !self.is_failing.swap(true, Ordering::Relaxed);
                if is_new {
                    tracing::error!(model = %id, %error, "a score failed");
                }
            }
        }
    }
}

/// The models of a deployment.
pub type ModelSet = HashMap<ModelId, Arc<Model>>;

/// The model card beside a model's file, `NAME.md`; none where it is not there or not a text.
fn card(model: &Path) -> Option<String> {
    crate::files::read_text(&model.with_extension("md"), MAX_CARD).ok()
}

/// The golden file beside a model's file: `NAME.golden.json`.
pub fn golden_path(model: &Path) -> std::path::PathBuf {
    model.with_extension("golden.json")
}
