//! The models that configurations name: loaded off every lock, and again where their files change.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use serin_core::manifest::ModelId;

use crate::config::Config;
use crate::models::{Model, ModelSet, Runtime, golden_path};
use crate::registry::{AGAIN_MS, Archive, Stamp};
use crate::status::ModelStatus;

/// A model and the file that it is from.
type Key = (ModelId, PathBuf);

/// The files of a model, as they were when they were looked at.
type Stamps = [Option<Stamp>; 2];

/// A model as it was found.
#[derive(Clone)]
struct Found {
    stamps: Stamps,
    /// When the files are looked at again though they have not changed.
    again_ms: Option<u64>,
    model: Option<Arc<Model>>,
    error: Option<String>,
}

/// Why a model is not applied.
struct NotLoaded {
    why: String,
    /// Nothing is wrong with its files: the archive's disk is full, say.
    is_passing: bool,
}

/// The models that are known.
pub(super) struct Models {
    runtime: Option<Runtime>,
    archive: Archive,
    known: Mutex<HashMap<Key, Found>>,
}

impl Models {
    /// None so far.
    pub fn new(runtime: Option<Runtime>, archive: Archive) -> Self {
        Self { runtime, archive, known: Mutex::default() }
    }

    /// Loads what these configurations name and is new or has changed, and forgets the rest.
    /// One caller at a time, or models are loaded twice.
    pub fn refresh(&self, configs: &[&Config], now_ms: u64) {
        let keys: Vec<Key> =
            configs.iter().flat_map(|config| &config.models).map(|(id, path)| (id.clone(), path.clone())).collect();
        let sessions = configs.first().map_or(1, |config| config.fixed.threads);
        for key in &keys {
            let stamps = [Stamp::of(&key.1), Stamp::of(&golden_path(&key.1))];
            let before = self.known.lock().get(key).cloned();
            let is_due = |found: &Found| found.again_ms.is_some_and(|again_ms| now_ms >= again_ms);
            if before.as_ref().is_none_or(|found| found.stamps != stamps || is_due(found)) {
                let found = self.load(key, stamps, before, sessions, now_ms);
                self.known.lock().insert(key.clone(), found);
            }
        }
        self.known.lock().retain(|key, _| keys.contains(key));
    }

    /// Those that a configuration names, as they were found, and how they stand.
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

    /// Loads a model. One that was good stays in force where its file is broken now; where none
    /// was, the one applied last is taken from the archive.
    fn load(&self, key: &Key, stamps: Stamps, before: Option<Found>, sessions: usize, now_ms: u64) -> Found {
        let (id, path) = key;
        let Some(runtime) = &self.runtime else {
            let error = "ONNX Runtime is not loaded; restart the host to use models".to_owned();
            return Found { stamps, again_ms: None, model: None, error: Some(error) };
        };
        match self.load_new(runtime, id, path, sessions) {
            Ok(model) => Found { stamps, again_ms: None, model: Some(Arc::new(model)), error: None },
            Err(NotLoaded { why, is_passing }) => {
                let (model, told) = before.map_or((None, None), |found| (found.model, found.error));
                // What is tried again and again is told once.
                if told.as_ref() != Some(&why) {
                    tracing::error!(model = %id, error = why, "a model is not applied");
                }
                let model = model.or_else(|| self.archived(runtime, id, path, sessions).map(Arc::new));
                Found { stamps, again_ms: is_passing.then_some(now_ms + AGAIN_MS), model, error: Some(why) }
            }
        }
    }

    fn load_new(&self, runtime: &Runtime, id: &ModelId, path: &Path, sessions: usize) -> Result<Model, NotLoaded> {
        let broken = |file: &Path, why: String| {
            let name =
                file.file_name().map_or_else(|| file.display().to_string(), |n| n.to_string_lossy().into_owned());
            NotLoaded { why: format!("{name}: {why}"), is_passing: false }
        };
        let read = |file: &Path| std::fs::read(file).map_err(|e| broken(file, e.to_string()));
        let (onnx, vectors) = (read(path)?, read(&golden_path(path))?);
        let model = Model::load(runtime, id.clone(), path, &onnx, &vectors, sessions)
            .map_err(|e| broken(Path::new(&e.file), e.why))?;
        let keep = || {
            let digests = [self.archive.put(&onnx)?, self.archive.put(&vectors)?];
            self.archive.apply("model", &id.to_string(), &[&digests[0], &digests[1]])
        };
        keep().map_err(|e| NotLoaded {
            is_passing: true,
            ..broken(path, format!("it could not be archived, and is tried again: {e}"))
        })?;
        Ok(model)
    }

    fn archived(&self, runtime: &Runtime, id: &ModelId, path: &Path, sessions: usize) -> Option<Model> {
        let digests = self.archive.applied("model", &id.to_string())?;
        let (onnx, vectors) = (self.archive.get(digests.first()?)?, self.archive.get(digests.get(1)?)?);
        Model::load(runtime, id.clone(), path, &onnx, &vectors, sessions).ok()
    }
}
