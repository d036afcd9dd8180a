//! The models that configurations name: loaded outside the deployment's lock, and reloaded when
//! their files change.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use serin_core::manifest::ModelId;

use crate::config::Config;
use crate::models::{
    Golden, Model, ModelError, ModelFiles, ModelSet, Runtime, RuntimeError, Trial, drop_series, golden_path,
};
use crate::registry::{AGAIN_MS, Archive, Stamp};
use crate::signatures::{self, Candidate, Judged, SignatureError, Trust};
use crate::status::ModelStatus;
use crate::telemetry::Metrics;

/// A model and its file.
type Key = (ModelId, PathBuf);

/// The state of a model's files at the last scan: the model, its golden file, and the signature of each.
type Stamps = [Option<Stamp>; 4];

/// By what models are judged before they are loaded.
pub(super) struct ModelAdmission {
    trust: Arc<Trust>,
    in_force: HashMap<ModelId, PathBuf>,
}

impl ModelAdmission {
    /// By the trusted keys, and by the configuration in force.
    pub fn of(in_force: &Config, trust: &Arc<Trust>) -> Self {
        Self { trust: Arc::clone(trust), in_force: in_force.models.clone().into_iter().collect() }
    }

    /// Judges a model and its golden file, each by the signature beside it, or the archived one. The golden file says
    /// which columns are the inputs and what the model has to answer: whoever changes it changes what is scored.
    ///
    /// # Errors
    /// Which file may not be loaded, and why.
    pub fn judge(
        &self,
        archive: Option<&Archive>,
        id: &ModelId,
        (onnx, golden): (&[u8], &[u8]),
        path: Option<&Path>,
    ) -> Result<JudgedModel, NotAdmitted> {
        let applied = archive.and_then(|archive| archive.applied("model", &id.to_string())).unwrap_or_default();
        let is_in_force = self.in_force.contains_key(id);
        let judge = |at: usize, bytes: &[u8], path: Option<&Path>| {
            let digest = crate::digest::digest(bytes);
            let is_serving = is_in_force && applied.get(at) == Some(&digest);
            let archived = archive.and_then(|archive| archive.signature(&digest));
            self.trust.judge(&Candidate { bytes, path, archived, is_serving })
        };
        let model = judge(0, onnx, path).map_err(|why| NotAdmitted { is_golden: false, why })?;
        let beside = path.map(golden_path);
        let golden = judge(1, golden, beside.as_deref()).map_err(|why| NotAdmitted { is_golden: true, why })?;
        Ok(JudgedModel { model, golden })
    }

    /// What a judgement follows from beside the files.
    fn grounds(&self, id: &ModelId) -> (String, bool) {
        (self.trust.fingerprint().to_owned(), self.in_force.contains_key(id))
    }
}

/// The result of checking the signatures of a model and of its golden file.
#[derive(Clone, Default)]
pub(super) struct JudgedModel {
    model: Judged,
    golden: Judged,
}

impl JudgedModel {
    /// A fault of one of them that does not keep the model from being loaded.
    pub fn why(&self) -> Option<String> {
        let of_golden = || self.golden.why.as_ref().map(|why| format!("its golden file: {why}"));
        self.model.why.clone().or_else(of_golden)
    }
}

/// Why a model may not be loaded.
pub(super) struct NotAdmitted {
    is_golden: bool,
    why: SignatureError,
}

impl NotAdmitted {
    /// As an error of the file that it is about.
    pub fn of(self, model: &Path) -> ModelError {
        let file = if self.is_golden { golden_path(model) } else { model.to_owned() };
        ModelError { file: file.display().to_string(), why: self.why.to_string() }
    }
}

/// A model as of the last scan.
#[derive(Clone)]
struct Found {
    stamps: Stamps,
    grounds: (String, bool),
    /// The result of checking the signatures of the model in force.
    judged: JudgedModel,
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
    metrics: Arc<Metrics>,
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
        metrics: Arc<Metrics>,
        dev: bool,
    ) -> Self {
        let runtime = runtime.map_or_else(OnceLock::new, OnceLock::from);
        Self { metrics, runtime, load_runtime: Box::new(load_runtime), archive, dev, known: Mutex::default() }
    }

    fn runtime(&self) -> Result<&Runtime, RuntimeError> {
        match self.runtime.get() {
            Some(runtime) => Ok(runtime),
            None => (self.load_runtime)().map(|runtime| self.runtime.get_or_init(|| runtime)),
        }
    }

    /// Loads new and changed models that these configurations name, and drops the rest. One caller
    /// at a time, otherwise models are loaded twice.
    pub fn refresh(&self, configs: &[&Config], admission: &ModelAdmission, now_ms: u64) {
        let keys: Vec<Key> =
            configs.iter().flat_map(|config| &config.models).map(|(id, path)| (id.clone(), path.clone())).collect();
        for key in &keys {
            let golden = golden_path(&key.1);
            let signed = [signatures::path_of(&key.1), signatures::path_of(&golden)];
            let stamps = [&key.1, &golden, &signed[0], &signed[1]].map(|path| Stamp::of(path));
            let grounds = admission.grounds(&key.0);
            let before = self.known.lock().get(key).cloned();
            let is_due = |found: &Found| found.again_ms.is_some_and(|again_ms| now_ms >= again_ms);
            let is_known = |found: &Found| (found.stamps, &found.grounds) == (stamps, &grounds);
            if before.as_ref().is_none_or(|found| !is_known(found) || is_due(found)) {
                let found = self.load(key, (stamps, grounds), before, (admission, now_ms));
                self.known.lock().insert(key.clone(), found);
            }
        }
        let mut known = self.known.lock();
        let gone: Vec<Key> = known.extract_if(|key, _| !keys.contains(key)).map(|(key, _)| key).collect();
        // Under another file the same model is still there.
        for (id, _) in gone.iter().filter(|(id, _)| !keys.iter().any(|(known, _)| known == id)) {
            drop_series(&self.metrics, id);
        }
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
                signer: found.and_then(|found| found.judged.model.signer.clone()),
                unsigned: found.and_then(|found| found.judged.why()),
            });
            if let Some(model) = model {
                set.insert(id.clone(), model);
            }
        }
        (set, statuses)
    }

    /// Loads a model. If its file is invalid, the last valid one stays in force; if there is none,
    /// the last applied one is loaded from the archive.
    fn load(
        &self,
        (id, path): &Key,
        (stamps, grounds): (Stamps, (String, bool)),
        before: Option<Found>,
        (admission, now_ms): (&ModelAdmission, u64),
    ) -> Found {
        let found = |again_ms, model, judged, error| Found { stamps, grounds, judged, again_ms, model, error };
        let runtime = match self.runtime() {
            Ok(runtime) => runtime,
            // Tried again, so that installing the library needs no restart.
            Err(error) => {
                let again_ms = Some(now_ms + AGAIN_MS);
                return found(again_ms, None, JudgedModel::default(), Some(error.to_string()));
            }
        };
        let told = before.as_ref().and_then(|before| before.judged.why());
        match self.load_new(runtime, id, path, admission) {
            Ok((model, judged)) => {
                if let Some(why) = judged.why().filter(|why| told.as_ref() != Some(why)) {
                    tracing::warn!(model = %id, why, "a model serves without a valid signature");
                }
                found(None, Some(Arc::new(model)), judged, None)
            }
            Err(NotLoaded { why, is_passing }) => {
                let told = before.as_ref().and_then(|before| before.error.clone());
                // Repeated failures are logged once.
                if told.as_ref() != Some(&why) {
                    tracing::error!(model = %id, error = why, "a model is not applied");
                }
                // What serves is judged again: it may be this very file.
                let last = before.and_then(|before| {
                    let model = before.model?;
                    // Without the archive there is nothing to judge, and what serves goes on.
                    let Some((onnx, golden)) = archived_files(&self.archive, id) else {
                        return Some((model, before.judged));
                    };
                    Some((model, admission.judge(Some(&self.archive), id, (&onnx, &golden), None).ok()?))
                });
                let last = last.or_else(|| {
                    archived(&self.archive, runtime, id, path, admission)
                        .map(|(model, judged)| (Arc::new(model), judged))
                });
                let (model, judged) =
                    last.map_or((None, JudgedModel::default()), |(model, judged)| (Some(model), judged));
                found(is_passing.then_some(now_ms + AGAIN_MS), model, judged, Some(why))
            }
        }
    }

    fn load_new(
        &self,
        runtime: &Runtime,
        id: &ModelId,
        path: &Path,
        admission: &ModelAdmission,
    ) -> Result<(Model, JudgedModel), NotLoaded> {
        let broken = |error: ModelError| {
            let name = crate::files::shown_name(Path::new(&error.file));
            // Some errors tell what to run on the model. The host's folders are nobody's business.
            let why = error.why.replace(&*path.to_string_lossy(), &crate::files::shown_name(path));
            NotLoaded { why: format!("{name}: {why}"), is_passing: false }
        };
        let of_model = |why: String| broken(ModelError { file: path.display().to_string(), why });
        let files = ModelFiles::read(path).map_err(|error| {
            // Said by the system, as of descriptors that it lacks: the next look may read it.
            let is_passing = error.why.contains("(os error ");
            NotLoaded { is_passing, ..broken(error) }
        })?;
        // Before ONNX Runtime sees any of it.
        let judged = admission.judge(Some(&self.archive), id, (&files.onnx, &files.golden), Some(path));
        let judged = judged.map_err(|refused| broken(refused.of(path)))?;
        let trial = trial(&self.archive, id, &files);
        let loaded = serin_core::caught(|| Ok(Model::load(runtime, id.clone(), &files, trial))).map_err(of_model)?;
        let model = loaded.map_err(broken)?;
        if !self.dev {
            admits(&self.archive, id, &files).map_err(of_model)?;
        }
        let keep = || {
            let digests = [self.archive.put(&files.onnx)?, self.archive.put(&files.golden)?];
            for (digest, judged) in digests.iter().zip([&judged.model, &judged.golden]) {
                judged.text.as_ref().map_or(Ok(()), |text| self.archive.put_signature(digest, text))?;
            }
            self.archive.apply("model", &id.to_string(), &[&digests[0], &digests[1]])
        };
        keep().map_err(|e| NotLoaded {
            is_passing: true,
            ..of_model(format!("it could not be archived, and is tried again: {e}"))
        })?;
        Ok((model, judged))
    }
}

/// The files of the model that was last applied, from the archive: the model, and its golden file.
fn archived_files(archive: &Archive, id: &ModelId) -> Option<(Vec<u8>, Vec<u8>)> {
    let digests = archive.applied("model", &id.to_string())?;
    Some((archive.get(digests.first()?)?, archive.get(digests.get(1)?)?))
}

/// The model that was last applied, from the archive, where its signatures are valid or it serves.
pub(super) fn archived(
    archive: &Archive,
    runtime: &Runtime,
    id: &ModelId,
    path: &Path,
    admission: &ModelAdmission,
) -> Option<(Model, JudgedModel)> {
    let (onnx, golden) = archived_files(archive, id)?;
    let judged = admission.judge(Some(archive), id, (&onnx, &golden), None).ok()?;
    let files = ModelFiles { path: path.to_owned(), onnx: Arc::new(onnx), golden };
    let model = serin_core::caught(|| Ok(Model::load(runtime, id.clone(), &files, Trial::Accepted))).ok()?.ok()?;
    Some((model, judged))
}
