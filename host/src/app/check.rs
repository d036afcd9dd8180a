//! `serin check`: reads every file of a deployment as `serve` does, without starting or storing
//! anything.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serin_core::experiment::Pin;

use super::build::build_pinned;
use super::experiments::{Binder, Statuses};
use super::models::admits;
use crate::config::Config;
use crate::experiments::{ExperimentState, Life, Specs};
use crate::files;
use crate::models::{Model, ModelError, ModelFiles, ModelSet, Runtime, Trial};
use crate::registry::{Archive, VersionsByPin, files_in, load_within_patience, read_file};
use crate::sandbox::Engines;

/// The result for a file.
#[derive(Debug, Clone)]
pub struct Finding {
    /// The file.
    pub file: String,
    /// Its kind.
    pub what: String,
    /// Its errors.
    pub error: Option<String>,
    /// What is valid and can never work, in sentences.
    pub warnings: Vec<String>,
    /// What it means, in sentences.
    pub notes: Vec<String>,
}

fn finding(file: &Path, what: impl Into<String>, error: Option<String>) -> Finding {
    Finding { file: files::shown(file), what: what.into(), error, warnings: Vec::new(), notes: Vec::new() }
}

/// Checks a deployment.
pub fn check(path: &Path) -> Vec<Finding> {
    let config = match Config::load(path) {
        Ok(config) => config,
        Err(error) => return vec![finding(path, "configuration", Some(error.why))],
    };
    let mut findings = vec![finding(path, "configuration", None)];
    let versions = check_plugins(&config, &mut findings);
    let models = Arc::new(check_models(&config, &mut findings));
    for name in config.points.keys() {
        if let Err(why) = build_pinned(&config, name, &versions, &models) {
            let pin = &config.points[name].strategy;
            findings.push(finding(path, "", Some(format!("decision_points.{name}.strategy = \"{pin}\": {why}"))));
        }
    }
    check_experiments(&config, &versions, &models, &mut findings);
    findings
}

fn check_plugins(config: &Config, findings: &mut Vec<Finding>) -> VersionsByPin {
    let mut versions = VersionsByPin::new();
    let dir = &config.fixed.plugins;
    let (files, engines) = match (files_in(dir, "wasm"), Engines::new(4)) {
        (Ok(files), Ok(engines)) => (files, Arc::new(engines)),
        (Err(error), _) => {
            findings.push(finding(dir, "plugins folder", Some(error.to_string())));
            return versions;
        }
        (_, Err(error)) => {
            findings.push(finding(dir, "sandbox", Some(format!("{error:#}"))));
            return versions;
        }
    };
    let archive = Archive::at(&config.fixed.data_dir().join("archive"));
    let mut seen: BTreeMap<Pin, String> = BTreeMap::new();
    for file in files {
        let loaded =
            read_file(&file).and_then(|bytes| load_within_patience(&engines, bytes)).map_err(|error| error.to_string());
        match loaded {
            Ok(plugin) => {
                let pin = Pin { name: plugin.id.name.clone(), version: plugin.manifest().version.clone() };
                let digest = plugin.id.digest.to_string();
                let taken = seen.get(&pin).filter(|known| **known != digest);
                let error = taken
                    .map(|known| format!("{pin} is {known} in another file; a published version does not change"))
                    .or_else(|| archive.as_ref()?.admits(&pin, &digest).err());
                findings.push(finding(&file, format!("plugin {pin}"), error));
                seen.entry(pin.clone()).or_insert(digest);
                versions.entry(pin).or_insert_with(|| Arc::new(plugin));
            }
            Err(error) => findings.push(finding(&file, "plugin", Some(error))),
        }
    }
    versions
}

fn check_models(config: &Config, findings: &mut Vec<Finding>) -> ModelSet {
    let mut models = ModelSet::new();
    if config.models.is_empty() {
        return models;
    }
    let archive = Archive::at(&config.fixed.data_dir().join("archive"));
    let runtime = match Runtime::load(1, Arc::default()) {
        Ok(runtime) => runtime,
        Err(error) => {
            findings.push(finding(&config.path, "models", Some(error.to_string())));
            return models;
        }
    };
    for (id, path) in &config.models {
        let loaded = ModelFiles::read(path).and_then(|files| {
            let model = Model::load(&runtime, id.clone(), &files, Trial::Whole)?;
            let admitted = archive.as_ref().map_or(Ok(()), |archive| admits(archive, id, &files));
            admitted.map_err(|why| ModelError { file: path.display().to_string(), why })?;
            Ok(model)
        });
        match loaded {
            Ok(model) => {
                findings.push(finding(path, format!("model {id}"), None));
                models.insert(id.clone(), Arc::new(model));
            }
            Err(ModelError { file, why }) => {
                findings.push(finding(Path::new(&file), format!("model {id}"), Some(why)));
            }
        }
    }
    models
}

fn check_experiments(config: &Config, versions: &VersionsByPin, models: &Arc<ModelSet>, findings: &mut Vec<Finding>) {
    let dir = &config.fixed.experiments;
    let files = match files_in(dir, "toml") {
        Ok(files) => files,
        // A deployment without experiments needs no experiments folder.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return,
        Err(error) => return findings.push(finding(dir, "experiments folder", Some(error.to_string()))),
    };
    let candidates = Specs::default().candidates(&Specs::read(&files));
    let binder = Binder {
        config,
        versions,
        models,
        before: &|_, _| None,
        life: &|_, _| Life::default(),
        gone: &[],
        which: Statuses::Due,
        now_ms: 0,
        windows: &|_, _| Ok(None),
    };
    for status in binder.bind(candidates).statuses {
        let waits = (status.state == ExperimentState::Waiting).then_some(status.why);
        let found = finding(&dir.join(&status.file), format!("experiment {}", status.id), status.error.or(waits));
        let (warnings, notes) = status.spec.map(|spec| (spec.advice(), spec.meanings())).unwrap_or_default();
        findings.push(Finding { warnings, notes, ..found });
    }
}
