//! Loading a model, with an end: what ONNX Runtime does with a file has none of its own. It
//! computes what is constant while it loads, loops included.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, bounded};
use parking_lot::Mutex;
use prometheus_client::metrics::gauge::Gauge;
use serin_core::manifest::ModelId;

use super::onnx::{Loading, Session};
use super::pace::Pace;
use super::runner::Shared;
use super::runtime::{Loads, Runtime};
use super::sessions::{Lease, RunError, RunGuard, Sessions, count};
use super::{Golden, ModelError, external_data, flat, golden_path};
use crate::clock::Stopwatch;
use crate::files;
use crate::telemetry::ModelLabels;

/// The largest model that is read. Its weights are in memory a few times while it is loaded.
const MAX_MODEL: u64 = 512 << 20;
/// The largest golden file that is read.
const MAX_GOLDEN: u64 = 16 << 20;
/// Loads that took too long and may still be under way. Each holds a thread and a model.
const OVERDUE: usize = 4;
/// How often a run is timed, and of how many rows, at most; one that takes longer than this, in
/// microseconds, once.
const RUNS: usize = 5;
const LONG_US: f64 = 10_000.0;

/// A model's file and the golden file beside it, as read.
#[derive(Clone)]
pub struct ModelFiles {
    /// Where the model's file is.
    pub path: PathBuf,
    /// The model.
    pub onnx: Arc<Vec<u8>>,
    /// The golden file.
    pub golden: Vec<u8>,
}

impl ModelFiles {
    /// Reads both files.
    ///
    /// # Errors
    /// The file that cannot be read.
    pub fn read(path: &Path) -> Result<Self, ModelError> {
        let onnx = Self::read_model(path)?;
        let missing = || {
            let model = path.display();
            format!(
                "is not there: rows and scores that the model is checked by; write it with: serin models golden {model} --rows DATA.csv"
            )
        };
        let golden = read(&golden_path(path), MAX_GOLDEN, missing)?;
        Ok(Self { path: path.to_owned(), onnx, golden })
    }

    /// Reads the model alone.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub fn read_model(path: &Path) -> Result<Arc<Vec<u8>>, ModelError> {
        let missing = || "is not there: a trained model in the ONNX format; export it to this path".to_owned();
        read(path, MAX_MODEL, missing).map(Arc::new)
    }
}

fn read(path: &Path, most: u64, missing: impl Fn() -> String) -> Result<Vec<u8>, ModelError> {
    let why = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => missing(),
        _ => error.to_string(),
    };
    files::read_bounded(path, most).map_err(|error| ModelError { file: path.display().to_string(), why: why(error) })
}

/// How much of its golden rows a model has to score before it is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trial {
    /// All, alone and together.
    Whole,
    /// The first: these files scored all of them before, and a restart does not wait for the rest.
    Accepted,
}

/// What cuts a load short.
#[derive(Default)]
pub(super) struct Progress {
    is_over: AtomicBool,
    pub loading: Loading,
    shared: Mutex<Option<Arc<Shared>>>,
}

impl Progress {
    fn cancel(&self) {
        self.is_over.store(true, Ordering::Release);
        self.loading.cancel();
        if let Some(shared) = &*self.shared.lock() {
            shared.sessions.end_all();
        }
    }

    fn go_on(&self) -> Result<(), String> {
        if self.is_over.load(Ordering::Acquire) { Err("it took too long".to_owned()) } else { Ok(()) }
    }
}

/// Opens the sessions of a model and checks it against its golden rows, within the runtime's
/// time for loading.
pub(super) fn prepare(
    runtime: &Runtime,
    id: &ModelId,
    files: &ModelFiles,
    golden: &Golden,
    trial: Trial,
) -> Result<Arc<Shared>, String> {
    let labels = ModelLabels { model: id.name.to_string(), version: id.version.to_string() };
    let gauge = runtime.metrics.model_runs.get_or_create(&labels).clone();
    let (of, onnx, golden) = (runtime.clone(), Arc::clone(&files.onnx), golden.clone());
    in_time(runtime, move |progress| open(&of, &onnx, &golden, trial, &gauge, progress))
}

/// Does what loads or runs a model, within the runtime's time for loading. Past that the thread
/// that does it is left to itself.
pub(super) fn in_time<T: Send + 'static>(
    runtime: &Runtime,
    work: impl FnOnce(&Progress) -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    let under_way = UnderWay::begin(&runtime.loads).ok_or_else(|| {
        format!("{OVERDUE} models that took too long are still being loaded; touch its file when they are done")
    })?;
    let progress = Arc::new(Progress::default());
    let (sender, receiver) = bounded(1);
    let work = {
        let progress = Arc::clone(&progress);
        move || {
            // Nobody may be there to be told any more.
            let _ = sender.send(work(&progress));
            drop(under_way);
        }
    };
    let thread = std::thread::Builder::new().name("serin-model-load".into()).spawn(work);
    thread.map_err(|e| format!("a thread to load it: {e}"))?;
    receiver.recv_timeout(runtime.load_time).unwrap_or_else(|error| {
        progress.cancel();
        Err(match error {
            RecvTimeoutError::Timeout => {
                let seconds = runtime.load_time.as_secs_f64();
                format!("it was not loaded, and its rows scored, within {seconds} s")
            }
            RecvTimeoutError::Disconnected => "loading it panicked".to_owned(),
        })
    })
}

/// One load under way, until it is dropped.
struct UnderWay(Loads);

impl UnderWay {
    fn begin(loads: &Loads) -> Option<Self> {
        let free = |loads: usize| (loads < OVERDUE).then_some(loads + 1);
        loads.fetch_update(Ordering::AcqRel, Ordering::Relaxed, free).ok().map(|_| Self(Arc::clone(loads)))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

fn open(
    runtime: &Runtime,
    onnx: &[u8],
    golden: &Golden,
    trial: Trial,
    gauge: &Gauge,
    progress: &Progress,
) -> Result<Arc<Shared>, String> {
    external_data::check(onnx)?;
    let pace = Arc::new(Pace::default());
    let sessions = (0..count(onnx.len())).map(|_| {
        progress.go_on()?;
        let session = Session::open(&runtime.library, onnx, golden, &progress.loading)?;
        let guard = Arc::new(RunGuard::new(Arc::clone(&pace), gauge.clone())?);
        runtime.watchdog.add(&guard);
        Ok((session, guard))
    });
    let sessions = Sessions::new(sessions.collect::<Result<_, String>>()?);
    let shared = Arc::new(Shared { sessions, pace });
    *progress.shared.lock() = Some(Arc::clone(&shared));
    let score = |rows: &[Vec<f64>]| {
        progress.go_on()?;
        let lease = shared.sessions.take(Duration::ZERO).ok_or("no session is free")?;
        run(lease, rows, golden)
    };
    // The first run of a session allocates and plans; it must not be a decision's.
    let all: Vec<Lease<'_>> = std::iter::from_fn(|| shared.sessions.take(Duration::ZERO)).collect();
    for lease in all {
        progress.go_on()?;
        let scores = run(lease, &golden.rows[..1], golden).map_err(|e| format!("golden rows: {e}"))?;
        golden.compare(&scores)?;
    }
    let timed = match trial {
        Trial::Whole => {
            golden.verify(|rows| score(rows).map_err(|e| format!("golden rows: {e}")))?;
            &golden.rows[..]
        }
        Trial::Accepted => &golden.rows[..golden.rows.len().min(2)],
    };
    let (first_us, more_us) = measure(timed, score)?;
    shared.pace.set(first_us, more_us);
    Ok(shared)
}

fn run(lease: Lease<'_>, rows: &[Vec<f64>], golden: &Golden) -> Result<Vec<f64>, String> {
    let flat = flat(rows, &golden.inputs).map_err(|e| e.to_string())?;
    lease.begin(rows.len(), None);
    let scores = lease.run(&flat).map_err(|error| match error {
        RunError::Stopped => "they took too long".to_owned(),
        RunError::Failed(why) => why,
    })?;
    if scores.iter().all(|x| x.is_finite()) { Ok(scores) } else { Err("the score is not finite".to_owned()) }
}

/// Microseconds that a run of one row takes, and each row more. Of a few runs the quickest
/// counts: the others say what else the machine did.
fn measure(golden: &[Vec<f64>], score: impl Fn(&[Vec<f64>]) -> Result<Vec<f64>, String>) -> Result<(f64, f64), String> {
    let timed = |rows: &[Vec<f64>]| {
        let mut quickest = f64::INFINITY;
        for _ in 0..RUNS {
            let mut watch = Stopwatch::new();
            score(rows)?;
            quickest = quickest.min(watch.lap_us() as f64);
            if quickest > LONG_US {
                break;
            }
        }
        Ok::<_, String>(quickest)
    };
    let mut first = 0.0_f64;
    // Rows differ in what they take; the longest counts.
    for row in golden.iter().take(RUNS) {
        first = first.max(timed(std::slice::from_ref(row))?);
    }
    let more = match golden.len() {
        1 => first,
        rows => (timed(golden)? - first) / (rows - 1) as f64,
    };
    Ok((first, more))
}

#[cfg(test)]
mod tests {
    use super::super::Model;
    use super::*;

    #[test]
    fn loading_ends_whatever_a_model_does() {
        let runtime = Runtime::load(4, Arc::default()).expect("the library; 'make setup' lays it there");
        let runtime = Runtime { load_time: Duration::from_millis(300), ..runtime };
        let model = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/models/never-ends.onnx");
        let inputs: Vec<String> = (0..13).map(|i| format!("input-{i}")).collect();
        let golden = serde_json::json!({
            "model": "never-ends", "version": "1.0.0", "inputs": inputs, "tolerance": 1e-6,
            "output": { "name": "probabilities", "column": 0 }, "rows": [vec![0; 13]], "scores": [0.5],
        });
        let onnx = Arc::new(std::fs::read(model).expect("a model of the tests"));
        let files = ModelFiles { path: model.into(), onnx, golden: golden.to_string().into_bytes() };
        let id = ModelId { name: "never-ends".into(), version: "1.0.0".into() };
        let error = Model::load(&runtime, id, &files, Trial::Whole).err().expect("refused");
        assert!(error.why.contains("within 0.3 s"), "{error}");
        // The run is ended as well, and its thread with it.
        let ended = (0..1_000).any(|_| {
            std::thread::yield_now();
            std::thread::park_timeout(Duration::from_millis(10));
            runtime.loads.load(Ordering::Acquire) == 0
        });
        assert!(ended, "a thread goes on");
    }

    #[test]
    fn a_model_that_was_accepted_is_not_tried_whole_again() {
        let runtime = Runtime::load(4, Arc::default()).expect("the library; 'make setup' lays it there");
        let model = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/models/long-by-input.onnx");
        let inputs: Vec<String> = (0..13).map(|i| format!("input-{i}")).collect();
        // The first column says how long a row takes: the last takes for ever.
        let rows = [0.0, 0.0, 5e12].map(|first| [vec![first], vec![0.0; 12]].concat());
        let golden = serde_json::json!({
            "model": "long", "version": "1.0.0", "inputs": inputs, "tolerance": 1e-6,
            "output": { "name": "probabilities", "column": 0 }, "rows": rows, "scores": [0.5, 0.5, 1.0],
        });
        let onnx = Arc::new(std::fs::read(model).expect("a model of the tests"));
        let files = ModelFiles { path: model.into(), onnx, golden: golden.to_string().into_bytes() };
        let load = |load_time: Duration, trial| {
            let id = ModelId { name: "long".into(), version: "1.0.0".into() };
            Model::load(&Runtime { load_time, ..runtime.clone() }, id, &files, trial)
        };
        assert!(load(Duration::from_secs(60), Trial::Accepted).is_ok());
        assert!(load(Duration::from_millis(500), Trial::Whole).is_err());
        // Files that score otherwise are refused all the same.
        let files = ModelFiles { golden: golden.to_string().replace("[0.5,", "[0.6,").into_bytes(), ..files };
        let id = ModelId { name: "long".into(), version: "1.0.0".into() };
        let error = Model::load(&runtime, id, &files, Trial::Accepted).err().expect("refused");
        assert!(error.why.contains("golden row 0: scored 0.5"), "{error}");
    }

    #[test]
    fn a_large_model_has_few_sessions() {
        assert_eq!(count(40 << 20), 1);
        assert!(count(34_000) >= 1 && count(34_000) <= std::thread::available_parallelism().map_or(1, usize::from));
        assert!(count(0) >= 1);
    }
}
