//! ONNX Runtime, loaded at run time. The only place that touches it.

use std::path::{Path, PathBuf};

use ort::environment::Environment;
use ort::session::RunOptions;
use ort::session::builder::LoadCanceler;
use ort::value::{Outlet, Shape, TensorElementType, TensorRef, ValueType};
use parking_lot::Mutex;

use super::Golden;

/// The loaded library.
#[derive(Clone)]
pub(super) struct Library(Environment);

/// The library of this process, once it is loaded: it allows for one.
static LOADED: Mutex<Option<Library>> = Mutex::new(None);

/// Why the library was not loaded.
#[derive(Debug, thiserror::Error)]
#[error("ONNX Runtime: {0}")]
pub struct RuntimeError(pub(super) String);

impl Library {
    /// The library of this process, which is loaded by the first call: `ORT_DYLIB_PATH` if it is set,
    /// else the one that `make setup` lays into the build folder.
    ///
    /// # Errors
    /// Where it was looked for.
    pub fn load() -> Result<Self, RuntimeError> {
        let mut loaded = LOADED.lock();
        match &*loaded {
            Some(library) => Ok(library.clone()),
            None => Ok(loaded.insert(Self::load_first()?).clone()),
        }
    }

    fn load_first() -> Result<Self, RuntimeError> {
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
        let column = self.column;
        self.read(flat, stop, |shape, data, rows| {
            let width = data.len() / rows;
            if data.len() % rows != 0 || column >= width {
                return Err(format!(
                    "its output has the shape {shape:?} for {rows} rows; column {column} is not in it"
                ));
            }
            Ok(data.chunks_exact(width).map(|row| f64::from(row[column])).collect())
        })
    }

    /// How many columns the output has, and all of them for as many rows as `flat` has.
    pub(super) fn table(&mut self, flat: &[f32], stop: &Stop) -> Result<(usize, Vec<f32>), String> {
        self.read(flat, stop, |shape, data, rows| match data.len() / rows {
            width if width > 0 && data.len() % rows == 0 => Ok((width, data.to_vec())),
            _ => {
                Err(format!("its output has the shape {shape:?} for {rows} rows; valid: [{rows}] or [{rows}, COLUMNS]"))
            }
        })
    }

    /// Runs the model, and hands the output's shape and data on, with the number of rows.
    fn read<T>(
        &mut self,
        flat: &[f32],
        stop: &Stop,
        take: impl FnOnce(&Shape, &[f32], usize) -> Result<T, String>,
    ) -> Result<T, String> {
        let rows = flat.len() / self.columns;
        let input = TensorRef::from_array_view(([rows, self.columns], flat)).map_err(|e| e.to_string())?;
        let outputs = self.inner.run_with_options(ort::inputs![input], &stop.0).map_err(|e| e.to_string())?;
        let tensor = outputs.get(&self.output).ok_or("the output is not there")?;
        let (shape, data) = tensor.try_extract_tensor::<f32>().map_err(|e| e.to_string())?;
        take(shape, data, rows)
    }
}

/// What a model takes and gives.
pub(super) struct Signature {
    /// How many columns its input has; none if it takes any number.
    pub columns: Option<usize>,
    /// Its outputs that can hold a score.
    pub scores: Vec<String>,
    /// Its outputs with their types.
    pub outputs: Vec<String>,
    /// Why no output can hold a score.
    pub trouble: Option<String>,
}

impl Signature {
    /// Reads the model's signature. `loading` may cut this short.
    pub(super) fn read(library: &Library, onnx: &[u8], loading: &Loading) -> Result<Self, String> {
        let session = open(library, onnx, loading)?;
        let columns = check_input(&session, None)?;
        let is_score = |output: &&Outlet| check_output(output).is_ok();
        // A sequence of maps is what most likely was meant, and its remedy is known.
        let meant = session.outputs().iter().max_by_key(|output| output.dtype().is_sequence());
        Ok(Self {
            columns,
            scores: session.outputs().iter().filter(is_score).map(|o| o.name().to_owned()).collect(),
            outputs: session.outputs().iter().map(|o| format!("{} ({})", o.name(), o.dtype())).collect(),
            trouble: meant.and_then(|output| check_output(output).err()),
        })
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
    check_input(session, Some(golden.inputs.len()))?;
    let Some(output) = session.outputs().iter().find(|o| o.name() == golden.output.name) else {
        let names: Vec<&str> = session.outputs().iter().map(|o| o.name()).collect();
        return Err(format!("it has no output '{}'; its outputs: {}", golden.output.name, names.join(", ")));
    };
    check_output(output)
}

/// Checks the one input, and says how many columns it has; none if it takes any number.
fn check_input(session: &ort::session::Session, wanted: Option<usize>) -> Result<Option<usize>, String> {
    let columns = wanted.map_or_else(|| "FEATURES".to_owned(), |wanted| wanted.to_string());
    let valid = format!("valid: one float32 input of shape [N, {columns}]");
    let [input] = session.inputs() else {
        let count = session.inputs().len();
        return Err(format!(
            "it has {count} inputs; {valid}: export it with one tensor of all features in place of {count}"
        ));
    };
    let is = || format!("its input '{}' is {}; {valid}", input.name(), input.dtype());
    let ValueType::Tensor { ty, shape, .. } = input.dtype() else { return Err(is()) };
    let (rows, width) = match shape[..] {
        [rows, width] => (rows, width),
        _ => return Err(is()),
    };
    if *ty != TensorElementType::Float32 {
        return Err(format!("{}: export it with float32 inputs", is()));
    }
    if rows > 0 {
        return Err(format!("{}: export it for any number of rows, not for {rows}", is()));
    }
    let width = usize::try_from(width).ok().filter(|width| *width > 0);
    match (width, wanted) {
        (Some(width), Some(wanted)) if width != wanted => Err(is()),
        _ => Ok(width),
    }
}

fn check_output(output: &Outlet) -> Result<(), String> {
    let name = output.name();
    match output.dtype() {
        ValueType::Tensor { ty: TensorElementType::Float32, .. } => Ok(()),
        ValueType::Sequence(inner) if inner.is_map() => Err(format!(
            "its output '{name}' is a sequence of maps, which scikit-learn's converters make by default; valid: a float32 tensor: export it with zipmap off, options={{\"zipmap\": False}} in skl2onnx or zipmap=False in onnxmltools"
        )),
        other => Err(format!("its output '{name}' is {other}; valid: a float32 tensor")),
    }
}
