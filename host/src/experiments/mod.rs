//! Experiment files and their status. A file is applied whole; one that is broken leaves
//! what was applied before in force, and says so.

mod controller;
mod governance;
mod hooks;
mod moment;
mod observer;
mod tick;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

pub use controller::{CommandError, Controller, HOST, Life, Motive};
pub use governance::Governance;
pub use hooks::Notifier;
pub use moment::{Effect, Moment, counts};
pub use observer::{AnalysisSubject, Followed, Observer, Seen, read_whole};
use serin_core::experiment::{Experiment, Pin, State, Status};
pub use tick::{Proposal, carry_out, evidence, judge, tick};

use crate::files;

/// What the host makes of an experiment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExperimentState {
    /// As the controller has it: a draft that waits for `start`, running, paused, or ended.
    Life(State),
    /// Waits for an artifact that is not there yet.
    Waiting,
    /// The file has a mistake and nothing was applied before it.
    Invalid,
    /// The file is gone: new decisions are on the pinned strategy.
    SpecMissing,
}

impl ExperimentState {
    /// The name in answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Life(state) => state.as_str(),
            Self::Waiting => "waiting",
            Self::Invalid => "invalid",
            Self::SpecMissing => "spec_missing",
        }
    }
}

/// An experiment as the admin listener shows it.
#[derive(Debug, Clone)]
pub struct ExperimentStatus {
    /// Its id; the file's name where the id could not be read.
    pub id: String,
    /// The file.
    pub file: String,
    /// Its state.
    pub state: ExperimentState,
    /// Why it is in this state.
    pub why: String,
    /// A mistake in the file as it is now, while an earlier one is in force.
    pub error: Option<String>,
    /// The spec that is in force, or waits.
    pub spec: Option<Arc<Experiment>>,
    /// The file's text that is in force.
    pub source: Option<String>,
    /// How far it has come.
    pub status: Status,
    /// In force, though its file says something else now, or nothing that can be applied.
    pub stale: bool,
}

/// A file as it was read.
#[derive(Debug, Clone)]
pub struct SpecFile {
    /// Where it is.
    pub path: PathBuf,
    /// Its text, or why it could not be read.
    pub text: Result<String, String>,
}

/// A spec that could be in force, and the trouble with the file that it is from.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// Where the file is.
    pub path: PathBuf,
    /// The spec and its text; none where nothing valid is known.
    pub spec: Option<(Arc<Experiment>, String)>,
    /// The mistake in the file as it is now.
    pub error: Option<String>,
}

/// The specs that were applied, by file, so that a broken edit leaves the last good one.
#[derive(Debug, Default)]
pub struct Specs {
    applied: BTreeMap<PathBuf, (Arc<Experiment>, String)>,
}

impl Specs {
    /// Reads the files of the experiments folder.
    pub fn read(files: &[PathBuf]) -> Vec<SpecFile> {
        files
            .iter()
            .map(|path| {
                let text = files::read_text(path, files::MAX_TEXT_BYTES).map_err(|e| e.to_string());
                SpecFile { path: path.clone(), text }
            })
            .collect()
    }

    /// Parses files, and puts the last good spec in the place of one that is broken.
    pub fn candidates(&self, files: &[SpecFile]) -> Vec<Candidate> {
        let mut ids: BTreeMap<String, String> = BTreeMap::new();
        files
            .iter()
            .map(|file| {
                let name = files::shown_name(&file.path);
                let parse = |text: &str| {
                    let read = || Experiment::parse(text).and_then(|spec| hooks::check(&spec).map(|()| spec));
                    serin_core::caught(read).map(Arc::new)
                };
                let parsed = file.text.clone().and_then(|text| Ok((parse(&text)?, text)));
                let parsed = parsed.and_then(|(spec, text)| match ids.get(&*spec.id) {
                    // The name alone: the message is shown over HTTP, too.
                    Some(other) => Err(format!("id \"{}\" is taken by {other}", spec.id)),
                    None => Ok((spec, text)),
                });
                match parsed {
                    Ok((spec, text)) => {
                        ids.insert(spec.id.to_string(), name);
                        Candidate { path: file.path.clone(), spec: Some((spec, text)), error: None }
                    }
                    Err(error) => {
                        let spec = self.applied.get(&file.path).cloned();
                        Candidate { path: file.path.clone(), spec, error: Some(error) }
                    }
                }
            })
            .collect()
    }

    /// The files whose specs are in force.
    pub fn files(&self) -> Vec<PathBuf> {
        self.applied.keys().cloned().collect()
    }

    /// The specs in force.
    pub fn in_force(&self) -> impl Iterator<Item = &Arc<Experiment>> {
        self.applied.values().map(|(spec, _)| spec)
    }

    /// The versions that the specs in force name.
    pub fn pins(&self) -> impl Iterator<Item = Pin> {
        let arms = |spec: &Experiment| {
            let shadows = spec.shadows.iter().map(|shadow| &shadow.arm);
            spec.arms.iter().chain(shadows).map(|arm| arm.strategy.clone()).collect::<Vec<_>>()
        };
        self.applied.values().flat_map(move |(spec, _)| arms(spec))
    }

    /// The spec of a file that was applied last; of a file that has another name now, by `id`.
    pub fn applied(&self, path: &PathBuf, id: Option<&str>) -> Option<&(Arc<Experiment>, String)> {
        let is_same = |spec: &Experiment| id.is_none_or(|id| *spec.id == *id);
        let here = self.applied.get(path).filter(|(spec, _)| is_same(spec));
        here.or_else(|| self.applied.values().find(|(spec, _)| id.is_some_and(|id| *spec.id == *id)))
    }

    /// Notes that a spec is in force, from this file and from no other.
    pub fn apply(&mut self, path: PathBuf, spec: Arc<Experiment>, text: String) {
        self.applied.retain(|other, (known, _)| *other == path || known.id != spec.id);
        self.applied.insert(path, (spec, text));
    }

    /// The files whose spec was in force and that are gone.
    pub fn missing(&self, files: &[SpecFile]) -> Vec<(PathBuf, Arc<Experiment>)> {
        self.applied
            .iter()
            .filter(|(path, _)| !files.iter().any(|file| file.path == **path))
            .map(|(path, (spec, _))| (path.clone(), Arc::clone(spec)))
            .collect()
    }
}
