//! Golden vectors: rows and the scores that the model gave when it was exported. They also
//! say what the columns of its input tensor are, which ONNX does not.

use serde::Deserialize;

/// The file beside a model.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Golden {
    /// The model's name.
    pub model: String,
    /// Its version.
    pub version: String,
    /// Names of the columns of its one input tensor, in order.
    pub inputs: Vec<String>,
    /// Where in its outputs the score is.
    pub output: GoldenOutput,
    /// How far a score may be from the golden one.
    pub tolerance: f64,
    /// Rows, one value a column.
    pub rows: Vec<Vec<f64>>,
    /// Their scores.
    pub scores: Vec<f64>,
}

/// A column of an output tensor.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GoldenOutput {
    /// The output's name.
    pub name: String,
    /// The column, counted from 0.
    pub column: usize,
}

impl Golden {
    /// Reads and checks a golden file.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let golden: Self = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
        if golden.inputs.is_empty() || golden.rows.is_empty() || golden.rows.len() != golden.scores.len() {
            return Err("needs inputs, at least one row, and one score a row".to_owned());
        }
        if let Some(row) = golden.rows.iter().position(|row| row.len() != golden.inputs.len()) {
            return Err(format!("row {row} has {} values for {} inputs", golden.rows[row].len(), golden.inputs.len()));
        }
        if !(golden.tolerance.is_finite() && golden.tolerance >= 0.0) {
            return Err("tolerance must be a finite number from 0".to_owned());
        }
        Ok(golden)
    }
}
