//! Archives specs and the parts of each generation of the deployment before they are put in force,
//! so that records can be explained and a restart continues with them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serin_core::experiment::Experiment;

use super::in_force::GONE;
use crate::config::Config;
use crate::decide::DeploymentSnapshot;
use crate::registry::{Archive, ArchiveError};
use crate::telemetry::log_limited;

/// The archived parts of a generation of the deployment.
pub(super) struct Generation {
    number: u64,
    /// The text of `serin.toml`.
    config: String,
    /// Digests of the specs in force.
    specs: Vec<String>,
    /// The routing tables, by decision point.
    routing: Vec<Vec<u8>>,
}

impl Generation {
    pub fn of(number: u64, config: &Config, deployment: &DeploymentSnapshot) -> Self {
        let mut points: Vec<_> = deployment.points.values().collect();
        points.sort_by(|a, b| a.name.cmp(&b.name));
        let specs = points.iter().flat_map(|p| &p.experiments).map(|e| e.routed.spec_digest.to_string());
        Self {
            number,
            config: config.text.clone(),
            specs: specs.collect(),
            routing: points.iter().map(|point| point.routing.archived.clone()).collect(),
        }
    }

    fn digests(&self) -> Vec<String> {
        let routing = self.routing.iter().map(|routing| crate::digest::digest(routing));
        [crate::digest::digest(self.config.as_bytes())]
            .into_iter()
            .chain(self.specs.iter().cloned())
            .chain(routing)
            .collect()
    }

    /// Archives it.
    pub fn keep(&self, archive: &Archive) -> Result<(), ArchiveError> {
        archive.put(self.config.as_bytes())?;
        for routing in &self.routing {
            archive.put(routing)?;
        }
        let (number, digests) = (self.number.to_string(), self.digests());
        let digests: Vec<&str> = digests.iter().map(String::as_str).collect();
        archive.apply("generation", &number, &digests)?;
        archive.apply("deployment", "generation", &[&number])
    }

    /// Says whether the previous generation is the same and was archived: a restart without changes
    /// continues even if nothing can be written.
    pub fn is_as_before(&self, archive: &Archive) -> bool {
        let before = archive.applied("generation", &self.number.saturating_sub(1).to_string());
        before.is_some_and(|before| before == self.digests())
    }
}

/// The digests of what a deployment runs and routes by: what records of its decisions refer to.
pub(super) fn digests_of(deployment: &DeploymentSnapshot) -> Vec<String> {
    let mut digests: Vec<String> = deployment.models.values().map(|model| model.digest.to_string()).collect();
    for point in deployment.points.values() {
        digests.push(point.routing.digest.to_string());
        digests.extend(point.experiments.iter().map(|experiment| experiment.routed.spec_digest.to_string()));
        let shadows = point.experiments.iter().flat_map(|experiment| &experiment.shadows).map(|shadow| &shadow.arm);
        let arms = point.experiments.iter().flat_map(|experiment| &experiment.arms);
        digests.extend(point.strategy.iter().chain(arms).chain(shadows).map(|arm| arm.plugin.id.digest.to_string()));
    }
    digests
}

/// Retries the pending archive writes, oldest first. Returns the first error.
pub(super) fn keep_pending(archive: &Archive, pending: &mut Vec<Generation>) -> Option<ArchiveError> {
    while let Some(oldest) = pending.first() {
        if let Err(error) = oldest.keep(archive) {
            return Some(error);
        }
        pending.remove(0);
    }
    None
}

/// Archives the specs that are about to be in force. Returns those that could not be archived, with
/// the reason.
pub(super) fn archive_specs(
    archive: &Archive,
    applied: &[(PathBuf, Arc<Experiment>, String)],
) -> HashMap<PathBuf, String> {
    let keep = |(path, _, text): &(PathBuf, Arc<Experiment>, String)| {
        let file = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let kept = archive.put(text.as_bytes());
        let error = kept.and_then(|digest| archive.apply("experiment", &file, &[&digest])).err()?;
        log_limited!(error, %error, file, "the spec could not be archived, and is not put in force");
        Some((path.clone(), format!("it could not be archived, and is not put in force; tried again: {error}")))
    };
    applied.iter().filter_map(keep).collect()
}

/// Notes that the spec before an edit stays in force, so that a restart continues with it. If that fails,
/// the recorded rule says so, too.
pub(super) fn keep_applied(archive: &Archive, path: &Path, spec: &Experiment) {
    let file = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    if let Err(error) = archive.apply("experiment", &file, &[&spec.digest]) {
        log_limited!(error, %error, file, "the spec in force could not be noted");
    }
}

/// Notes that a file, which was renamed, has no spec in force any more: a restart must not continue with it.
pub(super) fn forget_applied(archive: &Archive, path: &Path) {
    let file = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    if let Err(error) = archive.withdraw("experiment", &file) {
        log_limited!(error, %error, file, "that a spec's file was renamed could not be noted");
    }
}

/// Notes that the file of a spec in force is gone, or is there again: a restart finds it as it was left.
pub(super) fn keep_gone(archive: &Archive, path: &Path, is_gone: bool) {
    let file = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let kept = if is_gone { archive.apply(GONE, &file, &[]) } else { archive.withdraw(GONE, &file) };
    if let Err(error) = kept {
        log_limited!(error, %error, file, is_gone, "that a spec's file is gone could not be noted");
    }
}

/// The fingerprint of a deployment's inputs. Equal fingerprints need no swap.
pub(super) fn fingerprint_of(config: &Config, deployment: &DeploymentSnapshot) -> String {
    let mut parts = vec![config.digest.clone()];
    for point in deployment.points.values() {
        // It includes why a point is not ready, so that the shown reason is current.
        let strategy = match (&point.strategy, &point.unready) {
            (Some(arm), _) => &*arm.plugin.id.digest,
            (None, why) => why.as_deref().unwrap_or_default(),
        };
        let mut part = format!("{}:{strategy}:{}", point.name, point.routing.digest);
        for experiment in &point.experiments {
            let routed = &experiment.routed;
            part.push_str(&format!(
                ";{}:{}:{}:{}:{:?}",
                routed.id, routed.spec_digest, routed.phase, routed.coverage, routed.batch
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
