//! ONNX Runtime, loaded at run time. The only place that touches it.

use std::path::{Path, PathBuf};

use ort::environment::Environment;
use ort::session::RunOptions;
use ort::session::builder::LoadCanceler;
use ort::value::{Shape, TensorElementType, TensorRef, ValueType};
use parking_lot::Mutex;

use super::Golden;

/// The loaded library.
#[derive(Clone)]
pub(super) struct Library(Environment);

/// Why the library was not loaded.
#[derive(Debug, thiserror::Error)]
#[error("ONNX Runtime: {0}")]
pub struct RuntimeError(pub(super) String);

impl Library {
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

/// A session: it runs one batch at a time.
pub(super) struct Session {
    inner: ort::session::Session,
    columns: usize,
    output: String,
    column: usize,
}

impl Session {
    /// Reads the model and plans its runs. `loading` may cut this short.
    pub(super) fn open(library: &Library, onnx: &[u8], golden: &Golden, loading: &Loading) -> Result<Self, String> {
        let inner = open(library, onnx, loading)?;
        check_shape(&inner, golden)?;
        let (output, column) = (golden.output.name.clone(), golden.output.column);
        Ok(Self { inner, columns: golden.inputs.len(), output, column })
    }

    /// Scores as many rows as `flat` has. `stop` ends it early.
    pub(super) fn run(&mut self, flat: &[f32], stop: &Stop) -> Result<Vec<f64>, String> {
        let rows = flat.len() / self.columns;
        let input = TensorRef::from_array_view(([rows, self.columns], flat)).map_err(|e| e.to_string())?;
        let outputs = self.inner.run_with_options(ort::inputs![input], &stop.0).map_err(|e| e.to_string())?;
        let tensor = outputs.get(&self.output).ok_or("the output is not there")?;
        let (shape, data) = tensor.try_extract_tensor::<f32>().map_err(|e| e.to_string())?;
        let width = data.len() / rows;
        if data.len() % rows != 0 || self.column >= width {
            let column = self.column;
            return Err(format!("its output has the shape {shape:?} for {rows} rows; column {column} is not in it"));
        }
        Ok(data.chunks_exact(width).map(|row| f64::from(row[self.column])).collect())
    }
}

/// Ends a run from another thread, as soon as one of its kernels ends.
pub(super) struct Stop(RunOptions);

impl Stop {
    pub(super) fn new() -> Result<Self, String> {
        RunOptions::new().map(Self).map_err(|e| e.to_string())
    }

    /// Ends the run under way, and those to come until [`Stop::clear`].
    pub(super) fn set(&self) {
        if let Err(error) = self.0.terminate() {
            tracing::error!(%error, "ONNX Runtime: a run cannot be ended early");
        }
    }

    pub(super) fn clear(&self) {
        if let Err(error) = self.0.unterminate() {
            tracing::error!(%error, "ONNX Runtime: a session cannot be used again");
        }
    }
}

/// Cuts the loading of a model short.
#[derive(Default)]
pub(super) struct Loading(Mutex<Option<LoadCanceler>>);

impl Loading {
    pub(super) fn cancel(&self) {
        if let Some(canceler) = &*self.0.lock() {
            // It ends by itself where this is refused, only later.
            let _ = canceler.cancel();
        }
    }
}

fn open(library: &Library, onnx: &[u8], loading: &Loading) -> Result<ort::session::Session, String> {
    let settings = |e: ort::Error<ort::session::builder::SessionBuilder>| e.to_string();
    let mut builder = ort::session::Session::builder(&library.0)
        .map_err(|e| e.to_string())?
        .with_intra_threads(1)
        .map_err(settings)?
        .with_inter_threads(1)
        .map_err(settings)?
        .with_intra_op_spinning(false)
        .map_err(settings)?
        .with_deterministic_compute(true)
        .map_err(settings)?;
    *loading.0.lock() = Some(builder.canceler());
    builder.commit_from_memory(onnx).map_err(|e| format!("not an ONNX model that can be run: {e}"))
}

fn check_shape(session: &ort::session::Session, golden: &Golden) -> Result<(), String> {
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
