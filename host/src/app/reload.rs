//! Reloading: files are read, checked and loaded off the request path; then one pointer is
//! swapped. What is broken leaves what was in force.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use serin_core::experiment::Experiment;
use serin_core::manifest::ModelId;
use tokio::sync::watch;

use super::build::{build, load_model, wanted};
use crate::clock::Clock;
use crate::config::Config;
use crate::decide::Deployment;
use crate::experiments::{ExperimentState, ExperimentStatus, Specs};
use crate::features::EmbeddedStore;
use crate::http::{ModelStatus, Standing};
use crate::models::{Model, ModelSet, Runtime, golden_path};
use crate::registry::{Archive, Folder, Stamp, files_in};
use crate::telemetry::Metrics;

/// Where the files' trouble is shown.
pub type Status = Arc<ArcSwap<Standing>>;

struct LoadedModel {
    stamp: [Option<Stamp>; 2],
    model: Option<Arc<Model>>,
    error: Option<String>,
}

struct Inner {
    config: Config,
    specs: Specs,
    models: HashMap<(ModelId, PathBuf), LoadedModel>,
    fingerprint: String,
    generation: u64,
}

/// Keeps the deployment up to date with the files.
pub struct Reloader {
    /// The deployment in force.
    pub deployment: Arc<ArcSwap<Deployment>>,
    /// The standing of the files.
    pub standing: Status,
    /// The plugins folder.
    pub folder: Arc<Folder>,
    archive: Archive,
    store: Arc<EmbeddedStore>,
    runtime: Option<Runtime>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    retain: watch::Sender<Option<Duration>>,
    inner: Mutex<Inner>,
}

impl Reloader {
    /// A reloader over a configuration, with nothing loaded yet.
    #[allow(clippy::too_many_arguments, reason = "a composition root takes the parts that it composes")]
    pub fn new(
        config: Config,
        folder: Arc<Folder>,
        archive: Archive,
        store: Arc<EmbeddedStore>,
        runtime: Option<Runtime>,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let generation =
            archive.applied("deployment", "generation").and_then(|lines| lines.first()?.parse().ok()).unwrap_or(0);
        let empty = Deployment {
            generation,
            points: HashMap::new(),
            views: config.views.clone(),
            models: Arc::default(),
            store: Arc::clone(&store),
            slots_per_version: 1,
        };
        Self {
            deployment: Arc::new(ArcSwap::from_pointee(empty)),
            standing: Arc::default(),
            folder,
            archive,
            store,
            runtime,
            clock,
            metrics,
            retain: watch::Sender::new(config.retain),
            inner: Mutex::new(Inner {
                config,
                specs: Specs::default(),
                models: HashMap::new(),
                fingerprint: String::new(),
                generation,
            }),
        }
    }

    /// How long decisions are kept, as the file in force has it.
    pub fn retain(&self) -> watch::Receiver<Option<Duration>> {
        self.retain.subscribe()
    }

    /// Looks at every file, and swaps the deployment where something changed.
    pub fn reload(&self) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let inner = &mut *inner;
        let mut standing = Standing::default();
        self.read_config(inner, &mut standing);
        let files = files_in(&inner.config.fixed.experiments, "toml").unwrap_or_default();
        let files = Specs::read(&files);
        let archived = |name: &str| {
            let digest = self.archive.applied("experiment", name)?.into_iter().next()?;
            String::from_utf8(self.archive.get(&digest)?).ok()
        };
        let candidates = inner.specs.candidates(&files, &archived);
        let now_ms = self.clock.now_ms();
        self.folder.scan(&wanted(&inner.config, &candidates), now_ms);
        let versions = self.folder.active();
        let models = self.load_models(inner, &mut standing);

        let before = |path: &PathBuf| {
            inner.specs.applied(path).cloned().or_else(|| {
                let text = archived(&path.file_name()?.to_string_lossy())?;
                Some((Arc::new(Experiment::parse(&text).ok()?), text))
            })
        };
        let built = build(
            &inner.config,
            inner.generation + 1,
            &versions,
            Arc::new(models),
            candidates,
            before,
            Arc::clone(&self.store),
        );
        standing.experiments = built.experiments;
        for (path, spec) in inner.specs.missing(&files) {
            // A file that has another name now is not missing.
            if standing.experiments.iter().any(|known| *known.id == *spec.id) {
                continue;
            }
            standing.experiments.push(ExperimentStatus {
                id: spec.id.to_string(),
                file: path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default(),
                state: ExperimentState::SpecMissing,
                why: "its file is gone: new decisions are on the pinned strategy; put the file back to go on"
                    .to_owned(),
                error: None,
                spec: Some(spec),
                source: None,
                phase: 0,
                stale: false,
            });
        }
        self.archive_specs(&built.applied);
        for (path, spec, text) in built.applied {
            inner.specs.apply(path, spec, text);
        }

        let fingerprint = fingerprint(&inner.config, &built.deployment);
        if fingerprint != inner.fingerprint {
            inner.generation += 1;
            inner.fingerprint = fingerprint;
            if let Err(error) = self.archive.apply("deployment", "generation", &[&inner.generation.to_string()]) {
                tracing::error!(%error, "the generation could not be kept");
            }
            self.deployment.store(Arc::new(built.deployment));
            Metrics::count(&self.metrics.reloads, "applied");
            tracing::info!(generation = inner.generation, "deployment applied");
        }
        self.standing.store(Arc::new(standing));
        self.folder.publish();
    }

    fn read_config(&self, inner: &mut Inner, standing: &mut Standing) {
        match Config::load(&inner.config.path) {
            Ok(mut config) => {
                standing.restart_required = config.fixed.differences(&inner.config.fixed);
                config.fixed = inner.config.fixed.clone();
                if !standing.restart_required.is_empty() && config.digest != inner.config.digest {
                    tracing::warn!(keys = ?standing.restart_required, "restart required for these keys; the rest applies");
                }
                self.retain.send_if_modified(|retain| std::mem::replace(retain, config.retain) != config.retain);
                inner.config = config;
            }
            Err(error) => {
                // Once: the file is looked at again and again, and a log beside it is an event, too.
                if self.standing.load().config_error.as_ref() != Some(&error.why) {
                    tracing::error!(%error, "serin.toml is not applied; what was in force stays");
                }
                standing.config_error = Some(error.why);
            }
        }
    }

    fn load_models(&self, inner: &mut Inner, standing: &mut Standing) -> ModelSet {
        let mut set = ModelSet::new();
        let sessions = inner.config.fixed.threads;
        for (id, path) in &inner.config.models {
            let stamp = [Stamp::of(path), Stamp::of(&golden_path(path))];
            let key = (id.clone(), path.clone());
            if inner.models.get(&key).is_none_or(|known| known.stamp != stamp) {
                let (model, error) = match &self.runtime {
                    Some(runtime) => load_model(runtime, &self.archive, id, path, sessions),
                    None => (None, None),
                };
                let error = match (&self.runtime, error) {
                    (None, _) => Some("ONNX Runtime is not loaded; restart the host to use models".to_owned()),
                    (Some(_), error) => error.map(|e| format!("{}: {}", file_name(&e.file), e.why)),
                };
                if let Some(error) = &error {
                    tracing::error!(model = %id, error, "a model is not applied");
                }
                // A model that was good stays in force where its file is broken now.
                let before = inner.models.remove(&key).and_then(|known| known.model);
                let loaded =
                    LoadedModel { stamp, model: if error.is_some() { before.or(model) } else { model }, error };
                inner.models.insert(key.clone(), loaded);
            }
            let loaded = &inner.models[&key];
            standing.models.push(ModelStatus {
                id: id.to_string(),
                digest: loaded.model.as_ref().map(|m| m.digest.to_string()),
                error: loaded.error.clone(),
                stale: loaded.error.is_some() && loaded.model.is_some(),
            });
            if let Some(model) = &loaded.model {
                set.insert(id.clone(), Arc::clone(model));
            }
        }
        let config = &inner.config;
        inner.models.retain(|(id, path), _| config.models.get(id) == Some(path));
        set
    }

    /// Keeps the specs in force, so that records that name their digest can be explained.
    fn archive_specs(&self, applied: &[(PathBuf, Arc<Experiment>, String)]) {
        for (path, spec, text) in applied {
            let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
            let kept = self
                .archive
                .put(text.as_bytes())
                .and_then(|digest| self.archive.apply("experiment", &name, &[&digest]));
            if let Err(error) = kept {
                tracing::error!(%error, experiment = %spec.id, "the spec could not be archived");
            }
        }
    }
}

fn file_name(path: &str) -> String {
    std::path::Path::new(path).file_name().map_or_else(|| path.to_owned(), |n| n.to_string_lossy().into_owned())
}

/// What a deployment was built from; equal fingerprints need no swap.
fn fingerprint(config: &Config, deployment: &Deployment) -> String {
    let mut parts = vec![config.digest.clone()];
    for point in deployment.points.values() {
        // Why a point is not ready is part of it: the reason that is shown has to be today's.
        let strategy = match (&point.strategy, &point.unready) {
            (Some(arm), _) => &*arm.plugin.id.digest,
            (None, why) => why.as_deref().unwrap_or_default(),
        };
        let mut part = format!("{}:{strategy}", point.name);
        for experiment in &point.experiments {
            part.push_str(&format!(";{}:{}", experiment.id, experiment.spec_digest));
            for arm in &experiment.arms {
                part.push_str(&format!(",{}", arm.plugin.id.digest));
            }
        }
        parts.push(part);
    }
    parts.extend(deployment.models.values().map(|model| format!("{}:{}", model.id, model.digest)));
    parts.sort();
    parts.join("\n")
}
