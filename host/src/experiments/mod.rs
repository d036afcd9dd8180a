//! Experiment files and their status. A file is applied as a whole. An invalid one leaves the
//! applied one in force, and the error is shown.

mod controller;
mod edits;
mod governance;
mod history;
mod hooks;
mod life;
pub mod next_commands;
mod observer;
mod statuses;
mod stood;
mod tick;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

pub use controller::{CommandError, Controller, HOST, Motive};
pub use edits::{PendingEdit, recorded, refusal, rule_changes};
pub use governance::Governance;
pub use history::{Effect, HistoryPoint, counts};
pub use hooks::Notifier;
pub use life::{Life, lacks};
pub use observer::{AnalysisSubject, Followed, Observer, Seen, read_whole};
use serin_core::experiment::{Experiment, Pin, State, Status};
pub use stood::StoodTimes;
pub use tick::{MAX_BATCHES, Proposal, carry_out, evidence, judge, tick};

use crate::files;

/// The state of an experiment as shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExperimentState {
    /// The controller's state.
    Life(State),
    /// It waits for an artifact that is not loaded yet.
    Waiting,
    /// The file is invalid, and nothing is in force by it.
    Invalid,
    /// The file is gone; new decisions use the pinned strategy.
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
    /// Its id; the file's name if the id could not be read.
    pub id: String,
    /// The file.
    pub file: String,
    /// Its state.
    pub state: ExperimentState,
    /// Why it is in this state.
    pub why: String,
    /// The error of the current file, while an earlier one is in force.
    pub error: Option<String>,
    /// The spec that is in force, or is waiting.
    pub spec: Option<Arc<Experiment>>,
    /// The text of the spec in force.
    pub source: Option<String>,
    /// Its status.
    pub status: Status,
    /// The edit of its file that waits for a person's decision.
    pub pending: Option<PendingEdit>,
    /// Whether it is in force although its file is now different or invalid.
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

/// A spec that could be in force, and the error of its file.
#[derive(Debug, Clone)]
pub struct SpecCandidate {
    /// Where the file is.
    pub path: PathBuf,
    /// The spec and its text; none if no valid one is known.
    pub spec: Option<(Arc<Experiment>, String)>,
    /// The error of the current file.
    pub error: Option<String>,
}

/// The applied specs by file, so that an invalid edit leaves the last valid one in force.
#[derive(Debug, Default)]
pub struct Specs {
    applied: BTreeMap<PathBuf, (Arc<Experiment>, String)>,
    /// Applied files that were found gone since: whatever comes back there, only the experiment itself goes on.
    gone: BTreeSet<PathBuf>,
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

    /// Parses files. The last valid spec replaces an invalid one, and one whose experiment `takes_units`
    /// replaces that of another id, unless the file was gone meanwhile.
    pub fn candidates(&self, files: &[SpecFile], takes_units: impl Fn(&str) -> bool) -> Vec<SpecCandidate> {
        let mut candidates = self.parsed(files);
        let ids: BTreeSet<serin_core::Name> =
            candidates.iter().filter_map(|candidate| Some(candidate.spec.as_ref()?.0.id.clone())).collect();
        for candidate in &mut candidates {
            let Some((next, _)) = &candidate.spec else { continue };
            let Some(before) = self.applied.get(&candidate.path).filter(|(before, _)| !ids.contains(&before.id)) else {
                continue;
            };
            let (old, new) = (&before.0.id, &next.id);
            if !takes_units(old) {
                continue;
            }
            let ends = format!("serin experiment conclude {old} or abort {old}");
            if self.gone.contains(&candidate.path) {
                candidate.error = Some(format!(
                    "id = \"{new}\" in what was the file of '{old}', which has not ended: put its text back, or end it first \
                     ({ends}), or put '{new}' into a file of its own"
                ));
                candidate.spec = None;
            } else {
                candidate.error = Some(format!(
                    "the edit is not applied: id = \"{new}\" in the file of '{old}', which takes units; end it first \
                     ({ends}), or put '{new}' into a file of its own"
                ));
                candidate.spec = Some(before.clone());
            }
        }
        candidates
    }

    /// Each file, parsed. One that is in force keeps its id: a copy of it must not take that by its name.
    fn parsed(&self, files: &[SpecFile]) -> Vec<SpecCandidate> {
        let mut ids: BTreeMap<String, String> = BTreeMap::new();
        let mut files: Vec<&SpecFile> = files.iter().collect();
        files.sort_by_key(|file| !self.applied.contains_key(&file.path) || self.gone.contains(&file.path));
        files
            .into_iter()
            .map(|file| {
                let name = files::shown_name(&file.path);
                let parse = |text: &str| {
                    let read = || Experiment::parse(text).and_then(|spec| hooks::check(&spec).map(|()| spec));
                    serin_core::caught(read).map(Arc::new)
                };
                let parsed = file.text.clone().and_then(|text| Ok((parse(&text)?, text)));
                let parsed = parsed.and_then(|(spec, text)| match ids.get(&*spec.id) {
                    // Only the name, because the message is also shown over HTTP.
                    Some(other) => Err(format!("id \"{}\" is taken by {other}", spec.id)),
                    None => Ok((spec, text)),
                });
                match parsed {
                    Ok((spec, text)) => {
                        ids.insert(spec.id.to_string(), name);
                        SpecCandidate { path: file.path.clone(), spec: Some((spec, text)), error: None }
                    }
                    Err(error) => {
                        let is_there = !self.gone.contains(&file.path);
                        let spec = self.applied.get(&file.path).filter(|_| is_there).cloned();
                        SpecCandidate { path: file.path.clone(), spec, error: Some(error) }
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

    /// The versions named by the specs in force.
    pub fn pins(&self) -> impl Iterator<Item = Pin> {
        let arms = |spec: &Experiment| {
            let shadows = spec.shadows.iter().map(|shadow| &shadow.arm);
            spec.arms.iter().chain(shadows).map(|arm| arm.strategy.clone()).collect::<Vec<_>>()
        };
        self.applied.values().flat_map(move |(spec, _)| arms(spec))
    }

    /// The spec that was last applied from a file; if the file was renamed, by `id`.
    pub fn applied(&self, path: &PathBuf, id: Option<&str>) -> Option<&(Arc<Experiment>, String)> {
        let is_same = |spec: &Experiment| id.is_none_or(|id| *spec.id == *id);
        let here = self.applied.get(path).filter(|(spec, _)| is_same(spec));
        here.or_else(|| self.applied.values().find(|(spec, _)| id.is_some_and(|id| *spec.id == *id)))
    }

    /// The other files from which an experiment was in force.
    pub fn before(&self, path: &PathBuf, id: &str) -> Vec<PathBuf> {
        let others = self.applied.iter().filter(|(other, (known, _))| *other != path && *known.id == *id);
        others.map(|(other, _)| other.clone()).collect()
    }

    /// Notes which applied files are there, with their own experiment. Gives those that have gone or come back since,
    /// and whether they are gone.
    pub fn look(&mut self, candidates: &[SpecCandidate]) -> Vec<(PathBuf, bool)> {
        let mut changed = Vec::new();
        for (path, (applied, _)) in &self.applied {
            let found = candidates.iter().find(|candidate| candidate.path == *path);
            let is_its_own = |found: &SpecCandidate| found.spec.as_ref().is_some_and(|(spec, _)| spec.id == applied.id);
            match found {
                None if self.gone.insert(path.clone()) => changed.push((path.clone(), true)),
                Some(found) if is_its_own(found) && self.gone.remove(path) => changed.push((path.clone(), false)),
                _ => {}
            }
        }
        changed
    }

    /// Notes that a file was found gone.
    pub fn lose(&mut self, path: PathBuf) {
        self.gone.insert(path);
    }

    /// Notes that a spec is in force, from this file only. Says whether the file had been found gone.
    pub fn apply(&mut self, path: PathBuf, spec: Arc<Experiment>, text: String) -> bool {
        let was_gone = self.gone.remove(&path);
        self.applied.retain(|other, (known, _)| *other == path || known.id != spec.id);
        self.applied.insert(path, (spec, text));
        was_gone
    }

    /// The specs that were in force and that no file has any more.
    pub fn missing(&self, candidates: &[SpecCandidate]) -> Vec<(PathBuf, Arc<Experiment>)> {
        let has =
            |candidate: &SpecCandidate, id: &str| candidate.spec.as_ref().is_some_and(|(spec, _)| *spec.id == *id);
        self.applied
            .iter()
            .filter(|(_, (spec, _))| !candidates.iter().any(|candidate| has(candidate, &spec.id)))
            .map(|(path, (spec, _))| (path.clone(), Arc::clone(spec)))
            .collect()
    }
}
