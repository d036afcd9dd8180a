//! Drafts golden files: runs a model on rows as the host would, and takes its scores for golden.

use std::sync::Arc;

use serin_core::manifest::ModelId;

use super::golden::{Golden, GoldenOutput};
use super::load::in_time;
use super::onnx::{Session, Signature, Stop};
use super::runtime::Runtime;
use super::{external_data, flat};

/// The tolerance for scores up to 1, as a power of ten. Processors differ in the order in which
/// they add, so float32 scores agree to about six digits.
const TOLERANCE_EXPONENT: i32 = -5;

/// What a model takes and gives, of a model that the host can serve.
pub struct Outline {
    /// How many columns its input has; none if it takes any number.
    pub columns: Option<usize>,
    signature: Signature,
}

/// What a golden file is to say, as far as it is known.
pub struct Wish {
    /// The model and version.
    pub id: ModelId,
    /// Names of the input's columns, in order.
    pub inputs: Vec<String>,
    /// The output with the score; the only one that can hold it if left out.
    pub output: Option<String>,
    /// Its column; the only one, or the second of two if left out.
    pub column: Option<usize>,
    /// How far a score may be from the golden one; by the size of the scores if left out.
    pub tolerance: Option<f64>,
    /// The rows.
    pub rows: Vec<Vec<f64>>,
}

/// A golden file to be.
pub struct Drafted {
    /// What is in it.
    pub golden: Golden,
    /// How many columns the output has.
    pub width: usize,
}

impl Outline {
    /// Reads what a model takes and gives.
    ///
    /// # Errors
    /// Why the host cannot serve it.
    pub fn of(runtime: &Runtime, onnx: &Arc<Vec<u8>>) -> Result<Self, String> {
        external_data::check(onnx)?;
        let (library, onnx) = (runtime.library.clone(), Arc::clone(onnx));
        let signature = in_time(runtime, move |progress| Signature::read(&library, &onnx, &progress.loading))?;
        Ok(Self { columns: signature.columns, signature })
    }

    /// The output with the score.
    fn output(&self, wanted: Option<&str>) -> Result<String, String> {
        let Signature { scores, outputs, trouble, .. } = &self.signature;
        let listed = outputs.join(", ");
        match (wanted, &scores[..]) {
            // One of another type is refused with its type when the session is opened.
            (Some(wanted), _) => Ok(wanted.to_owned()),
            (None, [one]) => Ok(one.clone()),
            (None, []) => {
                let why = trouble.clone().unwrap_or_else(|| "it has no outputs".to_owned());
                Err(format!("no output can hold a score: {why}; its outputs: {listed}"))
            }
            (None, [first, ..]) => Err(format!(
                "several outputs can hold the score; name one, as in --output {first}; its outputs: {listed}"
            )),
        }
    }

    /// Runs the model on the rows, and takes its scores for golden.
    ///
    /// # Errors
    /// What is missing, or what keeps the model from being served.
    pub fn draft(&self, runtime: &Runtime, onnx: &Arc<Vec<u8>>, wish: Wish) -> Result<Drafted, String> {
        let name = self.output(wish.output.as_deref())?;
        let rows = flat(&wish.rows, &wish.inputs).map_err(|e| e.to_string())?;
        let mut golden = Golden {
            model: wish.id.name.to_string(),
            version: wish.id.version.to_string(),
            inputs: wish.inputs,
            output: GoldenOutput { name, column: 0 },
            tolerance: 0.0,
            rows: wish.rows,
            scores: Vec::new(),
        };
        let (width, table) = {
            let (library, onnx, golden) = (runtime.library.clone(), Arc::clone(onnx), golden.clone());
            in_time(runtime, move |progress| {
                Session::open(&library, &onnx, &golden, &progress.loading)?.table(&rows, &Stop::new()?)
            })?
        };
        golden.output.column = column(&golden.output.name, width, wish.column, &table)?;
        golden.scores = table.chunks_exact(width).map(|row| f64::from(row[golden.output.column])).collect();
        golden.tolerance = wish.tolerance.unwrap_or_else(|| tolerance(&golden.scores));
        Ok(Drafted { golden, width })
    }
}

fn column(output: &str, width: usize, wanted: Option<usize>, table: &[f32]) -> Result<usize, String> {
    match (wanted, width) {
        (Some(wanted), _) if wanted < width => Ok(wanted),
        (Some(wanted), _) => {
            Err(format!("output '{output}' has no column {wanted}; valid: --column from 0 to {}", width - 1))
        }
        (None, 1) => Ok(0),
        // Of a classifier with two classes: the probability of the class that counts as positive.
        (None, 2) => Ok(1),
        (None, _) => {
            let first: Vec<String> = table[..width].iter().take(10).map(f32::to_string).collect();
            let (first, most) = (first.join(", "), width - 1);
            Err(format!(
                "output '{output}' has {width} columns; say which is the score with --column, from 0 to {most}; the first row's: {first}"
            ))
        }
    }
}

/// A power of ten.
fn tolerance(scores: &[f64]) -> f64 {
    let largest = scores.iter().fold(1.0_f64, |most, score| most.max(score.abs()));
    let exponent = TOLERANCE_EXPONENT + largest.log10().ceil() as i32;
    // As written in decimal: powers are off in the last digit.
    format!("1e{exponent}").parse().unwrap_or(f64::EPSILON)
}
