//! Models: scores for rows of numbers, several versions side by side.

mod golden;
mod onnx;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serin_core::Name;
use serin_core::manifest::ModelId;
use serin_core::row::Row;

pub use golden::Golden;
pub use onnx::{Runtime, RuntimeError};

/// Why there are no scores.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScoreError {
    /// No session was free in the time left.
    #[error("no session was free in time")]
    Timeout,
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
    sessions: onnx::Sessions,
}

impl Model {
    /// Loads a model and its golden vectors from bytes, warms its sessions, and checks every
    /// golden score.
    ///
    /// # Errors
    /// What keeps it from being served.
    pub fn load(
        runtime: &Runtime,
        id: ModelId,
        file: &Path,
        onnx: &[u8],
        golden: &[u8],
        sessions: usize,
    ) -> Result<Self, ModelError> {
        let shown = file.display().to_string();
        let fail = |why: String| ModelError { file: shown.clone(), why };
        let golden =
            Golden::parse(golden).map_err(|why| ModelError { file: golden_path(file).display().to_string(), why })?;
        if golden.model != *id.name || golden.version != *id.version {
            return Err(fail(format!("its golden file is of {}@{}, not of {id}", golden.model, golden.version)));
        }
        let sessions = onnx::Sessions::new(runtime, onnx, &golden, sessions).map_err(fail)?;
        let model = Self {
            digest: serin_core::digest(onnx).into(),
            inputs: golden.inputs.iter().map(|i| Name::from(i.as_str())).collect(),
            sessions,
            id,
        };
        let rows: Vec<Vec<f64>> = golden.rows.clone();
        let scores = model.score(&rows, Duration::from_secs(60)).map_err(|e| fail(format!("golden rows: {e}")))?;
        for (row, (got, wanted)) in scores.iter().zip(&golden.scores).enumerate() {
            if (got - wanted).abs() > golden.tolerance {
                return Err(fail(format!(
                    "golden row {row}: scored {got}, and {wanted} ± {} is expected; the model is not the one that its golden file describes",
                    golden.tolerance
                )));
            }
        }
        Ok(model)
    }

    /// Scores rows, each in the model's own order. Waits for a session at most `left`.
    ///
    /// # Errors
    /// Why there are no scores.
    pub fn score(&self, rows: &[Vec<f64>], left: Duration) -> Result<Vec<f64>, ScoreError> {
        if let Some((i, row)) = rows.iter().enumerate().find(|(_, row)| row.len() != self.inputs.len()) {
            return Err(ScoreError::InvalidRow(format!(
                "row {i} has {} values, and {} has {} inputs",
                row.len(),
                self.id,
                self.inputs.len()
            )));
        }
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let scores = self.sessions.run(rows, left)?;
        if scores.iter().all(|x| x.is_finite()) { Ok(scores) } else { Err(ScoreError::NotFinite) }
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

/// The models of a deployment.
pub type ModelSet = HashMap<ModelId, Arc<Model>>;

/// The golden file beside a model's file: `NAME.golden.json`.
pub fn golden_path(model: &Path) -> std::path::PathBuf {
    model.with_extension("golden.json")
}
