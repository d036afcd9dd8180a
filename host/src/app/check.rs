//! `serin check`: reads every file of a deployment as `serve` does, without starting or storing
//! anything.

mod plugins;
mod surroundings;
mod tls;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serin_core::experiment::{Experiment, Pin, Status};
use serin_core::manifest::ModelId;

use super::build::{build_pinned, unfit, wanted};
use super::experiments::{Binder, Statuses};
use super::models::{ModelAdmission, admits, archived};
use super::offline::Recorded;
use super::reach::{unreached, unread_views};
use crate::clock::{Clock as _, SystemClock};
use crate::config::Config;
use crate::experiments::{ExperimentState, ExperimentStatus, SpecCandidate, SpecFile, Specs};
use crate::files;
use crate::models::{Model, ModelError, ModelFiles, ModelSet, Runtime, Trial};
use crate::registry::{Scan, Unserved, VersionsByPin, files_in};
use crate::signatures::Trust;

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

/// Checks a deployment against its files, and against what its ledger and archive have recorded.
pub fn check(path: &Path) -> Vec<Finding> {
    let config = match Config::load(path) {
        Ok(config) => config,
        Err(error) => return vec![finding(path, "configuration", Some(error.why))],
    };
    let recorded = Recorded::of(&config);
    let (files, unreadable) = read_experiments(&config);
    let candidates = recorded.candidates(&files);
    let moved = recorded.moved(&config, &candidates).map(|why| format!("the edit is not applied: {why}"));
    let mut findings = vec![finding(path, "configuration", moved)];
    findings.extend(unreadable);
    surroundings::check(&config, &recorded, &mut findings);
    tls::check(&config, &mut findings);
    let pins: Vec<Pin> = wanted(&config, &candidates).into_iter().chain(recorded.specs.pins()).collect();
    let trust = Arc::new(Trust::read(&config.trusted_keys, config.require_signature));
    findings.extend(trust.troubles().iter().map(|trouble| finding(path, "trusted key", Some(trouble.clone()))));
    let in_force = recorded.config.as_ref().map_or_else(Vec::new, |config| wanted(config, &[]));
    let in_force: Vec<Pin> = in_force.into_iter().chain(recorded.specs.pins()).collect();
    let scan = Scan { wanted: &pins, in_force: &in_force, trust: &trust };
    let (versions, unserved) = plugins::check(&config, &scan, recorded.archive.as_ref(), &mut findings);
    let admission = ModelAdmission::of(recorded.config.as_ref().unwrap_or(&config), &trust);
    let models = Arc::new(check_models(&config, &recorded, &admission, &mut findings));
    for name in config.points.keys() {
        if let Err(why) = build_pinned(&config, name, &versions, &unserved, &models) {
            let pin = &config.points[name].strategy;
            let line = line_of(path, &pin.to_string()).map(|line| format!("line {line}: ")).unwrap_or_default();
            findings.push(finding(path, "", Some(format!("{line}{}", unfit(name, pin, &why)))));
        }
    }
    let gone = recorded.gone(&candidates);
    let statuses = check_experiments(&config, (&versions, &unserved), &models, &recorded, candidates);
    findings[0].warnings = unreached(&config, &statuses);
    findings[0].warnings.extend(unread_views(&config));
    findings.extend(statuses.into_iter().map(|status| of_experiment(&config, &recorded, status)));
    add_gone(&mut findings, gone);
    findings
}

/// Adds the experiments whose files are gone: to what was found in their place, where there is something.
fn add_gone(findings: &mut Vec<Finding>, gone: Vec<(PathBuf, Arc<Experiment>, Status)>) {
    // One that ended, or never began, leaves nothing behind.
    let goes_on = |status: &Status| status.started_ms.is_some() && !status.state.is_ended();
    for (path, spec, status) in gone.into_iter().filter(|(_, _, status)| goes_on(status)) {
        let warning = format!(
            "its file is gone, and by this ledger it is {}: new decisions are on the pinned strategy; put the file back to \
             go on, or abort it",
            status.state.as_str()
        );
        let of_its_own = finding(&path, format!("experiment {}", spec.id), None);
        let is_there = |found: &&mut Finding| found.file == of_its_own.file && found.what.starts_with("experiment ");
        match findings.iter_mut().find(is_there) {
            Some(found) => found.warnings.push(warning),
            None => findings.push(Finding { warnings: vec![warning], ..of_its_own }),
        }
    }
}

/// The line of a file that says `text` in quotes.
fn line_of(path: &Path, text: &str) -> Option<usize> {
    let lines = files::read_text(path, files::MAX_TEXT_BYTES).ok()?;
    let quoted = [format!("\"{text}\""), format!("'{text}'")];
    lines.lines().position(|line| quoted.iter().any(|quoted| line.contains(quoted.as_str()))).map(|at| at + 1)
}

/// The files of the experiments folder, or why it cannot be read.
fn read_experiments(config: &Config) -> (Vec<SpecFile>, Option<Finding>) {
    let dir = &config.fixed.experiments;
    match files_in(dir, "toml") {
        Ok(files) => (Specs::read(&files), None),
        // A deployment without experiments needs no experiments folder.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => (Vec::new(), None),
        Err(error) => (Vec::new(), Some(finding(dir, "experiments folder", Some(error.to_string())))),
    }
}

fn check_experiments(
    config: &Config,
    (versions, unserved): (&VersionsByPin, &Unserved),
    models: &Arc<ModelSet>,
    recorded: &Recorded,
    candidates: Vec<SpecCandidate>,
) -> Vec<ExperimentStatus> {
    let now_ms = SystemClock.now_ms();
    let gone = recorded.gone(&candidates).into_iter().map(|(_, spec, status)| (spec, status));
    let gone: Vec<_> = gone.chain(recorded.ended(&candidates)).collect();
    let binder = Binder {
        config,
        versions,
        unserved,
        models,
        before: &|path: &PathBuf, id: Option<&str>| recorded.specs.applied(path, id).cloned(),
        life: &|spec, pin| recorded.life(spec, pin, config, now_ms),
        has_entered: &|id| recorded.has_entered(id),
        gone: &gone,
        which: Statuses::Due,
        now_ms,
        windows: &|_, _| Ok(None),
    };
    binder.bind(candidates).statuses
}

fn of_experiment(config: &Config, recorded: &Recorded, status: ExperimentStatus) -> Finding {
    let before = recorded.status(&status.id);
    let waits = (status.state == ExperimentState::Waiting).then(|| status.why.clone());
    let path = config.fixed.experiments.join(&status.file);
    let found = finding(&path, format!("experiment {}", status.id), status.error.or(waits));
    // What it would stop for matters as long as it can.
    let is_open = found.error.is_none() && !before.state.is_ended();
    let said = status.spec.map(|spec| (spec.advice(), if is_open { spec.meanings() } else { Vec::new() }));
    let (warnings, mut notes) = said.unwrap_or_default();
    if before.generation > 0 {
        notes.insert(0, format!("by this ledger {} is {}", status.id, before.state.as_str()));
        if found.error.is_none() && before.state.is_ended() {
            notes[0].push_str(": its file changes nothing any more");
        }
    }
    Finding { warnings, notes, ..found }
}

fn check_models(
    config: &Config,
    recorded: &Recorded,
    admission: &ModelAdmission,
    findings: &mut Vec<Finding>,
) -> ModelSet {
    let mut models = ModelSet::new();
    if config.models.is_empty() {
        return models;
    }
    let archive = recorded.archive.as_ref();
    let runtime = match Runtime::load(1, Arc::default()) {
        Ok(runtime) => runtime,
        Err(error) => {
            let without =
                |(id, path): (&ModelId, &PathBuf)| finding(path, format!("model {id}"), Some(error.to_string()));
            findings.extend(config.models.iter().map(without));
            return models;
        }
    };
    for (id, path) in &config.models {
        let loaded = ModelFiles::read(path).and_then(|files| {
            let wrong = |why: String| ModelError { file: path.display().to_string(), why };
            let judged = admission.judge(archive, id, (&files.onnx, &files.golden), Some(path));
            let judged = judged.map_err(|refused| refused.of(path))?;
            let model = Model::load(&runtime, id.clone(), &files, Trial::Whole)?;
            let admitted = archive.map_or(Ok(()), |archive| admits(archive, id, &files));
            admitted.map_err(wrong)?;
            Ok((model, judged))
        });
        match loaded {
            Ok((model, judged)) => {
                let warnings = judged.why().into_iter().collect();
                findings.push(Finding { warnings, ..finding(path, format!("model {id}"), None) });
                models.insert(id.clone(), Arc::new(model));
            }
            Err(ModelError { file, why }) => {
                let mut found = finding(Path::new(&file), format!("model {id}"), Some(why));
                // As `serve` goes on with it: what depends on it is no mistake of its own.
                let last = archive.and_then(|archive| archived(archive, &runtime, id, path, admission));
                if let Some((model, _)) = last {
                    found.notes.push("serve goes on with the last good one, from the archive".to_owned());
                    models.insert(id.clone(), Arc::new(model));
                }
                findings.push(found);
            }
        }
    }
    models
}
