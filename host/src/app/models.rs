//! The models that configurations name: loaded outside the deployment's lock, and reloaded when
//! their files change.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use serin_core::manifest::ModelId;

use crate::config::Config;
use crate::models::{Golden, Model, ModelError, ModelFiles, ModelSet, Runtime, RuntimeError, Trial, golden_path};
use crate::registry::{AGAIN_MS, Archive, Stamp};
use crate::status::ModelStatus;

/// A model and its file.
type Key = (ModelId, PathBuf);

/// The state of a model's files at the last scan.
type Stamps = [Option<Stamp>; 2];

/// A model as of the last scan.
#[derive(Clone)]
struct Found {
    stamps: Stamps,
    /// When the files are read again even if they have not changed.
    again_ms: Option<u64>,
    model: Option<Arc<Model>>,
    error: Option<String>,
}

/// Why a model is not applied.
struct NotLoaded {
    why: String,
    /// The files are valid, but something else failed, such as a write to the archive.
    is_passing: bool,
}

/// The known models.
pub(super) struct Models {
    runtime: OnceLock<Runtime>,
    load_runtime: Box<dyn Fn() -> Result<Runtime, RuntimeError> + Send + Sync>,
    archive: Archive,
    /// Whether a version may change.
    dev: bool,
    known: Mutex<HashMap<Key, Found>>,
}

/// Checks that a published version of a model is unchanged, across restarts too. Otherwise an arm
/// with scores of two models would be compared as one. The meaning of its rows is part of the
/// version.
///
/// # Errors
/// What the version was published as, if these files are another model.
pub(super) fn admits(archive: &Archive, id: &ModelId, files: &ModelFiles) -> Result<(), String> {
    let Some(published) = archive.applied("model", &id.to_string()) else { return Ok(()) };
    let (Some(model), Some(golden)) = (published.first(), published.get(1)) else { return Ok(()) };
    let another = |why: String| {
        Err(format!(
            "{id} was published as {why}; a published version does not change: raise the version (or run 'serin serve --dev')"
        ))
    };
    let digest = crate::digest::digest(&files.onnx);
    if *model != digest {
        return another(format!("{model} already, and this file is {digest}"));
    }
    let parsed = |bytes: &[u8]| Golden::parse(bytes).ok().map(|golden| (golden.inputs, golden.output));
    match (archive.get(golden).and_then(|bytes| parsed(&bytes)), parsed(&files.golden)) {
        (Some(before), Some(now)) if before != now => {
            let (inputs, output) = before;
            let (name, column) = (output.name, output.column);
            another(format!("one with the inputs {} and the output {name}[{column}]", inputs.join(", ")))
        }
        _ => Ok(()),
    }
}

/// What a model has to show: less if these very files were put in force before.
fn trial(archive: &Archive, id: &ModelId, files: &ModelFiles) -> Trial {
    let digests = [&files.onnx[..], &files.golden[..]].map(crate::digest::digest);
    match archive.applied("model", &id.to_string()) {
        Some(applied) if applied == digests => Trial::Accepted,
        _ => Trial::Whole,
    }
}

impl Models {
    /// No models yet. ONNX Runtime is loaded once the first is declared, where it is not loaded yet.
    pub fn new(
        runtime: Option<Runtime>,
        load_runtime: impl Fn() -> Result<Runtime, RuntimeError> + Send + Sync + 'static,
        archive: Archive,
        dev: bool,
    ) -> Self {
        let runtime = runtime.map_or_else(OnceLock::new, OnceLock::from);
        Self { runtime, load_runtime: Box::new(load_runtime), archive, dev, known: Mutex::default() }
    }

    fn runtime(&self) -> Result<&Runtime, RuntimeError> {
        match self.runtime.get() {
            Some(runtime) => Ok(runtime),
            None => (self.load_runtime)().map(|runtime| self.runtime.get_or_init(|| runtime)),
        }
    }

    /// Loads new and changed models that these configurations name, and drops the rest. One caller
    /// at a time, otherwise models are loaded twice.
    pub fn refresh(&self, configs: &[&Config], now_ms: u64) {
        let keys: Vec<Key> =
            configs.iter().flat_map(|config| &config.models).map(|(id, path)| (id.clone(), path.clone())).collect();
        for key in &keys {
            let stamps = [Stamp::of(&key.1), Stamp::of(&golden_path(&key.1))];
            let before = self.known.lock().get(key).cloned();
            let is_due = |found: &Found| found.again_ms.is_some_and(|again_ms| now_ms >= again_ms);
            if before.as_ref().is_none_or(|found| found.stamps != stamps || is_due(found)) {
                let found = self.load(key, stamps, before, now_ms);
                self.known.lock().insert(key.clone(), found);
            }
        }
        self.known.lock().retain(|key, _| keys.contains(key));
    }

    /// The models that a configuration names, and their status.
    pub fn of(&self, config: &Config) -> (ModelSet, Vec<ModelStatus>) {
        let known = self.known.lock();
        let (mut set, mut statuses) = (ModelSet::new(), Vec::new());
        for (id, path) in &config.models {
            let found = known.get(&(id.clone(), path.clone()));
            let model = found.and_then(|found| found.model.clone());
            let error = found.map_or_else(|| Some("is not loaded yet".to_owned()), |found| found.error.clone());
            statuses.push(ModelStatus {
                id: id.to_string(),
                digest: model.as_ref().map(|model| model.digest.to_string()),
                stale: error.is_some() && model.is_some(),
                error,
            });
            if let Some(model) = model {
                set.insert(id.clone(), model);
            }
        }
        (set, statuses)
    }

    /// Loads a model. If its file is invalid, the last valid one stays in force; if there is none,
    /// the last applied one is loaded from the archive.
    fn load(&self, key: &Key, stamps: Stamps, before: Option<Found>, now_ms: u64) -> Found {
        let (id, path) = key;
        let runtime = match self.runtime() {
            Ok(runtime) => runtime,
            // Tried again, so that installing the library needs no restart.
            Err(error) => {
                let again_ms = Some(now_ms + AGAIN_MS);
                return Found { stamps, again_ms, model: None, error: Some(error.to_string()) };
            }
        };
        match self.load_new(runtime, id, path) {
            Ok(model) => Found { stamps, again_ms: None, model: Some(Arc::new(model)), error: None },
            Err(NotLoaded { why, is_passing }) => {
                let (model, told) = before.map_or((None, None), |found| (found.model, found.error));
                // Repeated failures are logged once.
                if told.as_ref() != Some(&why) {
                    tracing::error!(model = %id, error = why, "a model is not applied");
                }
                let model = model.or_else(|| archived(&self.archive, runtime, id, path).map(Arc::new));
                Found { stamps, again_ms: is_passing.then_some(now_ms + AGAIN_MS), model, error: Some(why) }
            }
        }
    }

    fn load_new(&self, runtime: &Runtime, id: &ModelId, path: &Path) -> Result<Model, NotLoaded> {
        let broken = |error: ModelError| {
            let name = crate::files::shown_name(Path::new(&error.file));
            // Some errors tell what to run on the model. The host's folders are nobody's business.
            let why = error.why.replace(&*path.to_string_lossy(), &crate::files::shown_name(path));
            NotLoaded { why: format!("{name}: {why}"), is_passing: false }
        };
        let of_model = |why: String| broken(ModelError { file: path.display().to_string(), why });
        let files = ModelFiles::read(path).map_err(broken)?;
        let trial = trial(&self.archive, id, &files);
        let loaded = serin_core::caught(|| Ok(Model::load(runtime, id.clone(), &files, trial))).map_err(of_model)?;
        let model = loaded.map_err(broken)?;
        if !self.dev {
            admits(&self.archive, id, &files).map_err(of_model)?;
        }
        let keep = || {
            let digests = [self.archive.put(&files.onnx)?, self.archive.put(&files.golden)?];
            self.archive.apply("model", &id.to_string(), &[&digests[0], &digests[1]])
        };
        keep().map_err(|e| NotLoaded {
            is_passing: true,
            ..of_model(format!("it could not be archived, and is tried again: {e}"))
        })?;
        Ok(model)
    }
}

/// The model that was last applied, from the archive.
pub(super) fn archived(archive: &Archive, runtime: &Runtime, id: &ModelId, path: &Path) -> Option<Model> {
    let digests = archive.applied("model", &id.to_string())?;
    let (onnx, golden) = (archive.get(digests.first()?)?, archive.get(digests.get(1)?)?);
    let files = ModelFiles { path: path.to_owned(), onnx: Arc::new(onnx), golden };
    serin_core::caught(|| Ok(Model::load(runtime, id.clone(), &files, Trial::Accepted))).ok()?.ok()
}
