//! Golden vectors: rows and the scores that the model gave when it was exported. They also
//! say what the columns of its input tensor are, which ONNX does not.

use std::fmt::Write as _;

use serde::Deserialize;

/// The file beside a model.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
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

/// Golden rows: each is scored alone, and all are scored together.
pub const MAX_ROWS: usize = 10_000;

/// A whole golden file, for messages.
const EXAMPLE: &str = r#"{"model": "churn", "version": "1.0.0", "inputs": ["age", "spend"], "output": {"name": "probabilities", "column": 1}, "tolerance": 1e-5, "rows": [[41, 12.5]], "scores": [0.31]}"#;

/// A column of an output tensor.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object of name and column")]
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
        serin_core::meet_defect(bytes);
        let broken = |error: serde_json::Error| {
            format!("{error}; an example: {EXAMPLE}; 'serin models golden' writes it from rows of data")
        };
        let golden: Self = serde_json::from_slice(bytes).map_err(broken)?;
        if golden.inputs.is_empty() || golden.rows.is_empty() || golden.rows.len() != golden.scores.len() {
            return Err("needs inputs, at least one row, and one score a row".to_owned());
        }
        if golden.rows.len() > MAX_ROWS {
            return Err(format!("{} rows; valid: at most {MAX_ROWS}", golden.rows.len()));
        }
        if let Some(row) = golden.rows.iter().position(|row| row.len() != golden.inputs.len()) {
            return Err(format!("row {row} has {} values for {} inputs", golden.rows[row].len(), golden.inputs.len()));
        }
        if !(golden.tolerance.is_finite() && golden.tolerance >= 0.0) {
            return Err("tolerance must be a finite number from 0".to_owned());
        }
        Ok(golden)
    }

    /// The text of its file, a row a line.
    pub fn to_text(&self) -> String {
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        let listed =
            |numbers: &[f64], between: &str| numbers.iter().map(|x| number(*x)).collect::<Vec<_>>().join(between);
        let mut text = String::new();
        let inputs: Vec<String> = self.inputs.iter().map(|input| quoted(input)).collect();
        let rows: Vec<String> = self.rows.iter().map(|row| format!("[{}]", listed(row, ", "))).collect();
        // Writing to a String does not fail.
        let _ = write!(
            text,
            "{{\n  \"model\": {},\n  \"version\": {},\n  \"inputs\": [{}],\n  \"output\": {{\"name\": {}, \"column\": {}}},\n  \"tolerance\": {},\n  \"rows\": [\n    {}\n  ],\n  \"scores\": [\n    {}\n  ]\n}}\n",
            quoted(&self.model),
            quoted(&self.version),
            inputs.join(", "),
            quoted(&self.output.name),
            self.output.column,
            number(self.tolerance),
            rows.join(",\n    "),
            listed(&self.scores, ",\n    "),
        );
        text
    }
}

/// A number as JSON, whole ones without `.0`.
fn number(x: f64) -> String {
    match x.fract() == 0.0 && x.abs() < 1e15 {
        true => format!("{x:.0}"),
        false => serde_json::Value::from(x).to_string(),
    }
}

/// Rows that a lone golden row is scored with.
const COMPANY: [f64; 3] = [0.5, 0.9, 1.7];

impl Golden {
    /// Checks that a model gives the golden scores, to each row alone and to all of them together.
    ///
    /// # Errors
    /// The row whose score differs, or what `run` said.
    pub(super) fn verify(&self, mut run: impl FnMut(&[Vec<f64>]) -> Result<Vec<f64>, String>) -> Result<(), String> {
        let mut alone = Vec::with_capacity(self.rows.len());
        for row in &self.rows {
            alone.extend(run(std::slice::from_ref(row))?);
        }
        let together = self.together(&mut run)?;
        for (row, (alone, together)) in alone.iter().zip(&together).enumerate() {
            if (alone - together).abs() > self.tolerance {
                return Err(format!(
                    "golden row {row}: scored {alone} alone and {together} together with other rows; a row's score must not depend on the rows beside it"
                ));
            }
        }
        self.compare(&alone)
    }

    /// Checks the scores of the first rows, as many as there are.
    ///
    /// # Errors
    /// The row whose score differs.
    pub(super) fn compare(&self, scores: &[f64]) -> Result<(), String> {
        for (row, (got, wanted)) in scores.iter().zip(&self.scores).enumerate() {
            if (got - wanted).abs() > self.tolerance {
                return Err(format!(
                    "golden row {row}: scored {got}, and {wanted} ± {} is expected; the model is not the one that its golden file describes",
                    self.tolerance
                ));
            }
        }
        Ok(())
    }

    /// The scores of all rows in one run.
    fn together(&self, run: &mut impl FnMut(&[Vec<f64>]) -> Result<Vec<f64>, String>) -> Result<Vec<f64>, String> {
        let first = &self.rows[0];
        if self.rows.iter().any(|row| row != first) {
            return run(&self.rows);
        }
        // Beside copies of itself a row may score as it does alone, so its company differs. What
        // it is made of may be no row of this model; then it is copies all the same.
        let near = |by: f64| first.iter().map(|x| x * by + 1.0).collect();
        let with = |company: Vec<Vec<f64>>| [self.rows.clone(), company].concat();
        run(&with(COMPANY.map(near).to_vec())).or_else(|_| run(&with(vec![first.clone(); COMPANY.len()])))
    }
}
