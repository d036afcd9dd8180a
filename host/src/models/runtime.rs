//! The runtime of models: ONNX Runtime, and what all models of a host share.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use super::admission::Admission;
use super::onnx::{Library, RuntimeError};
use super::watchdog::Watchdog;
use crate::telemetry::Metrics;

/// The time that a model has to be loaded and to score its golden rows.
const LOAD_TIME: Duration = Duration::from_secs(60);

/// Counts the loads of a host that are under way.
pub(super) type Loads = Arc<AtomicUsize>;

/// What models run by.
#[derive(Clone)]
pub struct Runtime {
    pub(super) library: Library,
    pub(super) admission: Arc<Admission>,
    pub(super) watchdog: Arc<Watchdog>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) loads: Loads,
    /// The time that a model has to be loaded.
    pub(super) load_time: Duration,
}

impl Runtime {
    /// Loads ONNX Runtime. Of `threads` that decide, some may wait for models at a time.
    ///
    /// # Errors
    /// Where the library was looked for, or that a thread cannot be started.
    pub fn load(threads: usize, metrics: Arc<Metrics>) -> Result<Self, RuntimeError> {
        let library = Library::load()?;
        let watchdog = Watchdog::start().map_err(|e| RuntimeError(format!("a thread that ends late runs: {e}")))?;
        Ok(Self {
            library,
            admission: Arc::new(Admission::new(threads)),
            watchdog: Arc::new(watchdog),
            metrics,
            loads: Loads::default(),
            load_time: LOAD_TIME,
        })
    }
}
