//! ONNX Runtime, loaded at run time. The only place that touches it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ort::environment::Environment;
use ort::session::Session;
use ort::value::{Shape, TensorElementType, TensorRef, ValueType};
use parking_lot::{Condvar, Mutex};

use super::{Golden, ScoreError};

/// The loaded library.
pub struct Runtime(Environment);

/// Why the library was not loaded.
#[derive(Debug, thiserror::Error)]
#[error("ONNX Runtime: {0}")]
pub struct RuntimeError(String);

impl Runtime {
    /// Loads the library: `ORT_DYLIB_PATH` if it is set, else the one that `make setup` lays
    /// into the build folder.
    ///
    /// # Errors
    /// Where it was looked for.
    pub fn load() -> Result<Self, RuntimeError> {
        let path = library().ok_or_else(|| {
            RuntimeError("libonnxruntime.so was not found; run 'make setup', or name it in ORT_DYLIB_PATH".to_owned())
        })?;
        let builder = ort::init_from(&path).map_err(|e| RuntimeError(format!("{}: {e}", path.display())))?;
        let environment =
            builder.with_name("serin").with_telemetry(false).build().map_err(|e| RuntimeError(e.to_string()))?;
        // What it has to say of a broken model comes back as an error, with the file's name.
        environment.set_log_level(ort::logging::LogLevel::Fatal);
        Ok(Self(environment))
    }
}

fn library() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("ORT_DYLIB_PATH") {
        return Some(path.into());
    }
    // target/release/serin, target/debug/deps/tests-…: the build folder is above the program.
    let program = std::env::current_exe().ok()?;
    program.ancestors().map(|dir| dir.join("onnxruntime/libonnxruntime.so")).find(|path: &PathBuf| Path::exists(path))
}

/// A pool of sessions of one model. A session runs one batch at a time. The one that was used
/// last is used next: what it works on is still in the processor's caches.
pub(super) struct Sessions {
    free: Mutex<Vec<Session>>,
    freed: Condvar,
    columns: usize,
    output: String,
    column: usize,
}

impl Sessions {
    pub(super) fn new(runtime: &Runtime, onnx: &[u8], golden: &Golden, count: usize) -> Result<Self, String> {
        let mut free = Vec::with_capacity(count.max(1));
        let columns = golden.inputs.len();
        for _ in 0..count.max(1) {
            let mut session = open(runtime, onnx)?;
            check_shape(&session, golden)?;
            // The first run of a session allocates and plans; it must not be a decision's.
            run(&mut session, &golden.rows[..1], columns, &golden.output.name, golden.output.column)
                .map_err(|e| format!("warm-up: {e}"))?;
            free.push(session);
        }
        Ok(Self {
            free: Mutex::new(free),
            freed: Condvar::new(),
            columns,
            output: golden.output.name.clone(),
            column: golden.output.column,
        })
    }

    pub(super) fn run(&self, rows: &[Vec<f64>], left: Duration) -> Result<Vec<f64>, ScoreError> {
        let mut free = self.free.lock();
        if free.is_empty() {
            let _ = self.freed.wait_while_for(&mut free, |free| free.is_empty(), left);
        }
        let mut session = free.pop().ok_or(ScoreError::Timeout)?;
        drop(free);
        let scores = run(&mut session, rows, self.columns, &self.output, self.column);
        self.free.lock().push(session);
        self.freed.notify_one();
        scores.map_err(ScoreError::Failed)
    }
}

fn open(runtime: &Runtime, onnx: &[u8]) -> Result<Session, String> {
    let settings = |e: ort::Error<ort::session::builder::SessionBuilder>| e.to_string();
    Session::builder(&runtime.0)
        .map_err(|e| e.to_string())?
        .with_intra_threads(1)
        .map_err(settings)?
        .with_inter_threads(1)
        .map_err(settings)?
        .with_intra_op_spinning(false)
        .map_err(settings)?
        .with_deterministic_compute(true)
        .map_err(settings)?
        .commit_from_memory(onnx)
        .map_err(|e| format!("not an ONNX model that can be run: {e}"))
}

fn check_shape(session: &Session, golden: &Golden) -> Result<(), String> {
    let wanted = format!("valid: one float32 input of shape [N, {}]", golden.inputs.len());
    let [input] = session.inputs() else {
        return Err(format!("it has {} inputs; {wanted}", session.inputs().len()));
    };
    match input.dtype() {
        ValueType::Tensor { ty: TensorElementType::Float32, shape, .. } if fits(shape, golden.inputs.len()) => {}
        other => return Err(format!("its input '{}' is {other}; {wanted}", input.name())),
    }
    let Some(output) = session.outputs().iter().find(|o| o.name() == golden.output.name) else {
        let names: Vec<&str> = session.outputs().iter().map(|o| o.name()).collect();
        return Err(format!("it has no output '{}'; its outputs: {}", golden.output.name, names.join(", ")));
    };
    match output.dtype() {
        ValueType::Tensor { ty: TensorElementType::Float32, .. } => Ok(()),
        other => Err(format!(
            "its output '{}' is {other}; valid: a float32 tensor (export with zipmap off)",
            golden.output.name
        )),
    }
}

fn fits(shape: &Shape, columns: usize) -> bool {
    matches!(shape[..], [rows, width] if (rows < 1 || rows == -1) && (width == columns as i64 || width == -1))
}

fn run(
    session: &mut Session,
    rows: &[Vec<f64>],
    columns: usize,
    output: &str,
    column: usize,
) -> Result<Vec<f64>, String> {
    let flat: Vec<f32> = rows.iter().flatten().map(|x| *x as f32).collect();
    let input = TensorRef::from_array_view(([rows.len(), columns], flat.as_slice())).map_err(|e| e.to_string())?;
    let outputs = session.run(ort::inputs![input]).map_err(|e| e.to_string())?;
    let tensor = outputs.get(output).ok_or("the output is not there")?;
    let (shape, data) = tensor.try_extract_tensor::<f32>().map_err(|e| e.to_string())?;
    let width = data.len() / rows.len();
    if data.len() % rows.len() != 0 || column >= width {
        return Err(format!(
            "its output has the shape {shape:?} for {} rows; column {column} is not in it",
            rows.len()
        ));
    }
    Ok(data.chunks_exact(width).map(|row| f64::from(row[column])).collect())
}
