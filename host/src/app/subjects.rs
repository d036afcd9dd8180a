//! Selects the experiments that are shown although their file is gone, and the ones that are
//! analysed.

use std::path::Path;
use std::sync::Arc;

use serin_core::analysis::Course;
use serin_core::experiment::Experiment;

use crate::config::Config;
use crate::experiments::{AnalysisSubject, Controller, ExperimentState, ExperimentStatus, SpecCandidate, Specs};
use crate::files;

/// The experiments whose file is gone. A renamed file is not gone.
pub(super) fn missing(specs: &Specs, candidates: &[SpecCandidate], controller: &Controller) -> Vec<ExperimentStatus> {
    specs.missing(candidates).into_iter().map(|(path, spec)| without_file(&path, spec, controller)).collect()
}

/// An experiment whose file is gone. One that has ended has no need of it.
fn without_file(path: &Path, spec: Arc<Experiment>, controller: &Controller) -> ExperimentStatus {
    let status = controller.status(&spec.id);
    let (state, why) = match status.state.is_ended() {
        true => (ExperimentState::Life(status.state), "ended; its file is gone, and is not needed any more"),
        false => (
            ExperimentState::SpecMissing,
            "its file is gone: new decisions are on the pinned strategy; put the file back to go on, or abort it",
        ),
    };
    ExperimentStatus {
        id: spec.id.to_string(),
        file: files::shown_name(path),
        state,
        why: why.to_owned(),
        error: None,
        status,
        spec: Some(spec),
        source: None,
        pending: None,
        stale: false,
    }
}

/// Names files without a valid spec by their whole names, where their names without `.toml` are ids of experiments:
/// `is_known` says so of those that have no file.
pub(super) fn name_by_file(experiments: &mut [ExperimentStatus], is_known: impl Fn(&str) -> bool) {
    let with_spec = |status: &&ExperimentStatus| status.spec.is_some();
    let ids: Vec<String> = experiments.iter().filter(with_spec).map(|status| status.id.clone()).collect();
    for status in experiments.iter_mut().filter(|status| status.spec.is_none()) {
        if ids.contains(&status.id) || is_known(&status.id) {
            status.id = status.file.clone();
        }
    }
}

/// The experiments that have started, or start now, with their randomization units.
pub(super) fn subjects(config: &Config, experiments: &[ExperimentStatus]) -> Vec<AnalysisSubject> {
    let begun = experiments.iter().filter(|status| status.status.started_ms.is_some());
    let subject = |status: &ExperimentStatus| {
        let spec = status.spec.clone()?;
        let point = config.points.get(&spec.decision_point)?;
        let (course, pin) = (Course::of(&status.status, &point.layer.unit), point.pinned());
        Some(AnalysisSubject { spec, course, pin })
    };
    begun.filter_map(subject).collect()
}
