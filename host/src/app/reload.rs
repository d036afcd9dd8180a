//! Reloading: files are read, checked and loaded off the request path; then one pointer is
//! swapped. What is broken leaves what was in force.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use serin_core::analysis::Course;
use serin_core::experiment::{self, Experiment, Pin};
use serin_core::manifest::ModelId;
use tokio::sync::watch;

use super::build::{Built, build, load_model, wanted};
use crate::clock::Clock;
use crate::config::Config;
use crate::decide::{Deployment, Layer, RunningExperiment};
use crate::experiments::{Candidate, Controller, ExperimentState, ExperimentStatus, SpecFile, Specs, Subject};
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
    controller: Arc<Controller>,
    retain: watch::Sender<Option<Duration>>,
    /// Held while artifacts are loaded: seconds, where one carries an interpreter.
    loading: Mutex<()>,
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
        controller: Arc<Controller>,
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
        let mut specs = Specs::default();
        for name in archive.names("experiment") {
            // What was in force before a restart still is, until its file says otherwise.
            let text = archive.applied("experiment", &name).and_then(|digests| archive.get(digests.first()?));
            if let Some(text) = text.and_then(|bytes| String::from_utf8(bytes).ok())
                && let Ok(spec) = Experiment::parse(&text)
            {
                specs.apply(config.fixed.experiments.join(&name), Arc::new(spec), text);
            }
        }
        Self {
            deployment: Arc::new(ArcSwap::from_pointee(empty)),
            standing: Arc::default(),
            folder,
            archive,
            store,
            runtime,
            clock,
            metrics,
            controller,
            retain: watch::Sender::new(config.retain),
            loading: Mutex::default(),
            inner: Mutex::new(Inner { config, specs, models: HashMap::new(), fingerprint: String::new(), generation }),
        }
    }

    /// How long decisions are kept, as the file in force has it.
    pub fn retain(&self) -> watch::Receiver<Option<Duration>> {
        self.retain.subscribe()
    }

    /// The plugins folder.
    pub fn plugins(&self) -> PathBuf {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).config.fixed.plugins.clone()
    }

    /// Looks at every file, and swaps the deployment where something changed.
    pub fn reload(&self) {
        let _loading = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        let pins = self.pins();
        self.folder.scan(&pins, self.clock.now_ms());
        self.apply();
    }

    /// The versions that somebody names: the files as they are, or what is in force.
    fn pins(&self) -> Vec<Pin> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let mut unused = Standing::default();
        let proposed = self.read_config(&inner, &mut unused);
        let candidates = inner.specs.candidates(&Specs::read(&self.spec_files(&inner, &mut unused)));
        let named = wanted(&proposed, &candidates).into_iter();
        named.chain(wanted(&inner.config, &[])).chain(inner.specs.pins()).collect()
    }

    /// Looks at every file but the artifacts, and swaps the deployment where something changed.
    /// What a person or a guardrail commands is in force when this has returned, whatever is
    /// being loaded meanwhile.
    pub fn apply(&self) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let inner = &mut *inner;
        let mut standing = Standing { plugins_error: self.folder.trouble(), ..Standing::default() };
        let proposed = self.read_config(inner, &mut standing);
        let files = Specs::read(&self.spec_files(inner, &mut standing));
        let candidates = inner.specs.candidates(&files);
        let models = proposed.models.clone();

        self.controller.govern(proposed.governance.clone());
        let gone: Vec<_> = inner.specs.missing(&files).into_iter().map(|(_, spec)| spec).collect();
        let gone: Vec<_> = gone.into_iter().map(|spec| (Arc::clone(&spec), self.controller.status(&spec.id))).collect();
        let mut built = self.build(inner, &proposed, candidates.clone(), &gone, &mut standing);
        match self.lost(&built).filter(|_| proposed.digest != inner.config.digest) {
            None => inner.config = proposed,
            Some(why) => {
                // What works is not given up for an edit that does not.
                standing.config_error = Some(format!("the edit is not applied: {why}"));
                self.controller.govern(inner.config.governance.clone());
                built = self.build(inner, &inner.config.clone(), candidates, &gone, &mut standing);
            }
        }
        self.say(&standing);
        self.retain.send_if_modified(|retain| std::mem::replace(retain, inner.config.retain) != inner.config.retain);
        let config = &inner.config;
        // Those of an edit that is not applied yet are not loaded again at each look.
        inner.models.retain(|(id, path), _| [&config.models, &models].iter().any(|of| of.get(id) == Some(path)));

        standing.experiments = built.experiments;
        standing.experiments.extend(missing(&inner.specs, &files, &standing.experiments, &self.controller));
        standing.subjects = subjects(&inner.config, &standing.experiments);
        self.archive_specs(&built.applied);
        for (path, spec, text) in built.applied {
            let pin = inner.config.points.get(&spec.decision_point).map(|point| point.strategy.to_string());
            self.controller.applied(&spec, &pin.unwrap_or_default());
            inner.specs.apply(path, spec, text);
        }
        let fingerprint = fingerprint(&inner.config, &built.deployment);
        if fingerprint != inner.fingerprint {
            inner.generation += 1;
            inner.fingerprint = fingerprint;
            self.archive_generation(inner, &built.deployment);
            self.deployment.store(Arc::new(built.deployment));
            Metrics::count(&self.metrics.reloads, "applied");
            tracing::info!(generation = inner.generation, "deployment applied");
        }
        self.standing.store(Arc::new(standing));
        self.folder.publish();
    }

    /// The experiment files; where the folder cannot be read, those in force.
    fn spec_files(&self, inner: &Inner, standing: &mut Standing) -> Vec<PathBuf> {
        files_in(&inner.config.fixed.experiments, "toml").unwrap_or_else(|error| {
            standing.experiments_error = Some(format!("the experiments folder cannot be read: {error}"));
            inner.specs.files()
        })
    }

    fn build(
        &self,
        inner: &mut Inner,
        config: &Config,
        candidates: Vec<Candidate>,
        gone: &[(Arc<Experiment>, experiment::Status)],
        standing: &mut Standing,
    ) -> Built {
        let models = self.load_models(inner, config, standing);
        let before = |path: &PathBuf, id: Option<&str>| inner.specs.applied(path, id).cloned();
        let (generation, store) = (inner.generation + 1, Arc::clone(&self.store));
        build(
            config,
            generation,
            &self.folder.to_serve(),
            Arc::new(models),
            candidates,
            before,
            |spec, pin| self.controller.life(spec, pin),
            gone,
            self.clock.now_ms(),
            store,
        )
    }

    /// What the deployment in force does, and this one cannot: serve a point's strategy, or go
    /// on with a running experiment, each unit in the arm that it is in. Who takes a point or a
    /// file away means it.
    fn lost(&self, built: &Built) -> Option<String> {
        let now = self.deployment.load();
        now.points.values().filter(|point| point.strategy.is_some()).find_map(|point| {
            let next = built.deployment.points.get(&point.name)?;
            let goes_on = |running: &&RunningExperiment| next.experiments.iter().any(|e| e.id == running.id);
            if let Some(key) = moved(&point.layer, &next.layer)
                && let Some(running) = point.experiments.iter().find(goes_on)
            {
                return Some(format!(
                    "{key} of decision_points.{} changed, and '{}' runs there: its units would move; conclude it first",
                    point.name, running.id
                ));
            }
            if next.strategy.is_none() {
                let why = next.unready.as_deref().unwrap_or("is not loaded");
                return Some(format!("decision_points.{}.strategy = \"{}\": {why}", next.name, next.pin));
            }
            point.experiments.iter().find_map(|running| {
                let status = built.experiments.iter().find(|status| *status.id == *running.id)?;
                let why = status.error.as_deref().unwrap_or(&status.why);
                (!matches!(status.state, ExperimentState::Life(_)))
                    .then(|| format!("running experiment '{}': {why}", running.id))
            })
        })
    }

    /// The configuration to try: the file as it is, or the one in force where it has a mistake.
    fn read_config(&self, inner: &Inner, standing: &mut Standing) -> Config {
        match Config::load(&inner.config.path) {
            Ok(mut config) => {
                standing.restart_required = config.fixed.differences(&inner.config.fixed);
                config.fixed = inner.config.fixed.clone();
                config
            }
            Err(error) => {
                standing.config_error = Some(error.why);
                inner.config.clone()
            }
        }
    }

    /// Logs what is new in the standing. The files are looked at again and again; trouble with
    /// them is told once.
    fn say(&self, standing: &Standing) {
        let before = self.standing.load();
        if standing.config_error != before.config_error
            && let Some(error) = &standing.config_error
        {
            Metrics::count(&self.metrics.reloads, "refused");
            tracing::error!(error, "serin.toml is not applied; what was in force stays");
        }
        if standing.restart_required != before.restart_required && !standing.restart_required.is_empty() {
            tracing::warn!(keys = ?standing.restart_required, "restart required for these keys; the rest applies");
        }
        if standing.experiments_error != before.experiments_error
            && let Some(error) = &standing.experiments_error
        {
            tracing::error!(error, "what was in force stays");
        }
    }

    fn load_models(&self, inner: &mut Inner, config: &Config, standing: &mut Standing) -> ModelSet {
        let mut set = ModelSet::new();
        let sessions = config.fixed.threads;
        standing.models.clear();
        for (id, path) in &config.models {
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
        set
    }

    /// Keeps what a generation was made of, so that a record's generation can be explained: the
    /// digests of `serin.toml` and of the specs in force.
    fn archive_generation(&self, inner: &Inner, deployment: &Deployment) {
        let number = inner.generation.to_string();
        let kept = self.archive.put(inner.config.text.as_bytes()).and_then(|config| {
            let specs = deployment.points.values().flat_map(|p| &p.experiments).map(|e| &*e.spec_digest);
            let digests: Vec<&str> = std::iter::once(config.as_str()).chain(specs).collect();
            self.archive.apply("generation", &number, &digests)?;
            self.archive.apply("deployment", "generation", &[&number])
        });
        if let Err(error) = kept {
            tracing::error!(%error, "the generation could not be archived");
        }
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

/// What moves units to other places and arms.
fn moved(now: &Layer, next: &Layer) -> Option<&'static str> {
    [("the layer's unit", now.unit != next.unit), ("the layer's salt", now.salt != next.salt)]
        .into_iter()
        .find_map(|(key, is_other)| is_other.then_some(key))
}

/// The experiments whose file is gone. A file that has another name now is not.
fn missing(
    specs: &Specs,
    files: &[SpecFile],
    known: &[ExperimentStatus],
    controller: &Controller,
) -> Vec<ExperimentStatus> {
    let gone = specs.missing(files).into_iter().filter(|(_, spec)| !known.iter().any(|status| *status.id == *spec.id));
    gone.map(|(path, spec)| ExperimentStatus {
        id: spec.id.to_string(),
        file: file_name(&path.to_string_lossy()),
        state: ExperimentState::SpecMissing,
        why: "its file is gone: new decisions are on the pinned strategy; put the file back to go on".to_owned(),
        error: None,
        status: controller.status(&spec.id),
        spec: Some(spec),
        source: None,
        stale: false,
    })
    .collect()
}

/// The experiments that have begun, or begin now, and what they randomize by.
fn subjects(config: &Config, experiments: &[ExperimentStatus]) -> Vec<Subject> {
    let begun = experiments.iter().filter(|status| status.status.started_ms.is_some());
    let subject = |status: &ExperimentStatus| {
        let spec = status.spec.clone()?;
        let point = config.points.get(&spec.decision_point)?;
        let (course, pin) = (Course::of(&status.status, &point.layer.unit), point.strategy.to_string());
        Some(Subject { spec, course, pin })
    };
    begun.filter_map(subject).collect()
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
            part.push_str(&format!(
                ";{}:{}:{}:{}:{:?}",
                experiment.id, experiment.spec_digest, experiment.phase, experiment.coverage, experiment.batch
            ));
            for arm in experiment.arms.iter().chain(experiment.shadows.iter().map(|shadow| &shadow.arm)) {
                part.push_str(&format!(",{}", arm.plugin.id.digest));
            }
        }
        parts.push(part);
    }
    parts.extend(deployment.models.values().map(|model| format!("{}:{}", model.id, model.digest)));
    parts.sort();
    parts.join("\n")
}
