//! Putting in force what the files ask for: a deployment is proposed, held to what works and to what
//! can be archived, and then swapped in.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serin_core::experiment::{self, Experiment};

use super::{Files, Inner, Reloader};
use crate::app::archiving::{
    Generation, archive_specs, digests_of, fingerprint_of, forget_applied, keep_applied, keep_gone, keep_pending,
};
use crate::app::build::{Built, build, unfit};
use crate::app::experiments::{Binder, Statuses};
use crate::app::moved::moved;
use crate::app::reach::{unreached, unread_views};
use crate::app::subjects::{missing, name_by_file, subjects};
use crate::config::Config;
use crate::deployment::PointSpec;
use crate::experiments::{AnalysisSubject, ExperimentState, ExperimentStatus, SpecCandidate};
use crate::ledger::Reads as _;
use crate::mutant::Mutant;
use crate::status::DeploymentStatus;
use crate::telemetry::Metrics;

/// What may be put in force, and what was built from it.
struct DeploymentProposal {
    config: Config,
    candidates: Vec<SpecCandidate>,
    /// Experiments whose files are gone.
    gone: Vec<(Arc<Experiment>, experiment::Status)>,
    built: Built,
    /// What the files will be shown as.
    status: DeploymentStatus,
}

impl Reloader {
    /// Builds a deployment from the files, and puts it in force if it differs.
    pub(super) fn swap(&self, inner: &mut Inner, files: Arc<Files>) {
        let mut proposal = self.propose(inner, &files);
        for (path, is_gone) in inner.specs.look(&proposal.candidates) {
            keep_gone(&self.archive, &path, is_gone);
        }
        self.leave_out_unarchived(inner, &mut proposal);
        let can_be_explained = self.archive_generation(inner, &mut proposal);
        self.say(&proposal.status);
        if !can_be_explained {
            self.status.store(Arc::new(proposal.status));
            return;
        }
        self.record(inner, &mut proposal);
        // The deployment in force uses the recorded statuses, which may differ from the trial's.
        let recorded = if Mutant::UnrecordedStatus.is_on() { Statuses::Due } else { Statuses::Recorded };
        self.rebuild(inner, &mut proposal, recorded);
        self.put_in_force(inner, files, proposal);
    }

    /// What the files ask for; the configuration in force where an edit of it would lose what works.
    fn propose(&self, inner: &mut Inner, files: &Files) -> DeploymentProposal {
        let mut status = DeploymentStatus {
            config_error: files.config_error.clone(),
            restart_required: files.restart_required.clone(),
            experiments_error: files.experiments_error.clone(),
            tls_error: self.tls.as_ref().and_then(|tls| tls.error()),
            plugins_error: self.folder.trouble(),
            has_trusted_keys: !files.trust.is_empty(),
            ..DeploymentStatus::default()
        };
        status.archive_error = keep_pending(&self.archive, &mut inner.unarchived).map(|error| error.to_string());
        let candidates = self.candidates(inner, files);
        let gone: Vec<_> = inner.specs.missing(&candidates).into_iter().map(|(_, spec)| spec).collect();
        let goes_on = inner.specs.in_force().filter(|spec| !gone.iter().any(|gone| gone.id == spec.id));
        let moved = moved(&inner.config, &files.config, goes_on, |id| self.controller.status(id));
        let gone = gone.into_iter().map(|spec| (Arc::clone(&spec), self.controller.status(&spec.id)));
        // Until the effects of what has ended have passed it holds its slot, whatever its file has now.
        let is_there = |id: &str| candidates.iter().any(|c| c.spec.as_ref().is_some_and(|(spec, _)| *spec.id == *id));
        let ended = inner.archived.beside(is_there, &self.controller, &self.archive).into_iter();
        let ended = ended.filter_map(|known| Some((Arc::clone(known.spec.as_ref()?), known.status.clone())));
        let gone: Vec<_> = gone.chain(ended).collect();
        let config = files.config.clone();
        let built = self.build(inner, &config, candidates.clone(), &gone, Statuses::Due, &mut status);
        let mut proposal = DeploymentProposal { config, candidates, gone, built, status };
        if proposal.config.digest != inner.config.digest
            && let Some(why) = moved.or_else(|| self.lost(&proposal.built))
        {
            // A working deployment is not replaced by an edit that does not work.
            proposal.status.config_error = Some(format!("the edit is not applied: {why}"));
            proposal.config = inner.config.clone();
            self.rebuild(inner, &mut proposal, Statuses::Due);
        }
        proposal
    }

    /// Archives the proposed specs. One that a restart would not find again is not put in force.
    fn leave_out_unarchived(&self, inner: &Inner, proposal: &mut DeploymentProposal) {
        let refused = archive_specs(&self.archive, &proposal.built.applied);
        if !refused.is_empty() {
            proposal.take_back(inner, |candidate| refused.get(&candidate.path).cloned());
            self.rebuild(inner, proposal, Statuses::Due);
        }
    }

    /// Archives what records will be explained by. Where that fails, what was in force is proposed
    /// instead, and this is tried again. False where nothing can be put in force at all.
    fn archive_generation(&self, inner: &Inner, proposal: &mut DeploymentProposal) -> bool {
        if fingerprint_of(&proposal.config, &proposal.built.deployment) == inner.fingerprint {
            return true;
        }
        let generation = Generation::of(inner.generation + 1, &proposal.config, &proposal.built.deployment);
        let Err(error) = generation.keep(&self.archive) else { return true };
        let why = format!("the files are not applied, since records could not be explained later: {error}");
        proposal.status.archive_error = Some(why.clone());
        if inner.fingerprint.is_empty() {
            return generation.is_as_before(&self.archive);
        }
        proposal.config = inner.config.clone();
        proposal.take_back(inner, |candidate| is_edited(candidate, inner).then(|| why.clone()));
        self.rebuild(inner, proposal, Statuses::Due);
        true
    }

    /// Records what the files ask for, each command by itself.
    fn record(&self, inner: &mut Inner, proposal: &mut DeploymentProposal) {
        if inner.config.digest != proposal.config.digest || inner.fingerprint.is_empty() {
            self.audit("configuration.applied", &proposal.config.digest);
        }
        inner.config = proposal.config.clone();
        self.controller.govern(inner.config.governance.clone());
        let retain = inner.config.retain;
        let before = *self.retain.borrow();
        self.retain.send_if_modified(|retain| std::mem::replace(retain, inner.config.retain) != inner.config.retain);
        let is_shorter = |before: Option<Duration>, now: Option<Duration>| {
            now.is_some_and(|now| before.is_none_or(|before| now < before))
        };
        if !inner.fingerprint.is_empty() && is_shorter(before.decisions, retain.decisions) {
            tracing::warn!(
                before = before.decisions.map(|before| before.as_secs()),
                now = retain.decisions.map(|now| now.as_secs()),
                "ledger.retain is shorter, in seconds: older decisions are deleted now, and for good"
            );
        }
        for (path, spec, text) in std::mem::take(&mut proposal.built.applied) {
            let before = inner.specs.applied(&path, Some(&spec.id)).cloned();
            if let Some((old, _)) = before.filter(|(old, _)| old.digest != spec.digest)
                && let Err(error) = self.controller.edited(&old, &spec)
            {
                // The spec before it stays in force; the edit is retried at the next scan.
                tracing::error!(%error, experiment = %spec.id, "an edit of its rule could not be recorded");
                keep_applied(&self.archive, &path, &old);
                continue;
            }
            let pin = inner.config.points.get(&spec.decision_point).map(PointSpec::pinned);
            self.controller.applied(&spec, &pin.unwrap_or_default());
            for before in inner.specs.before(&path, &spec.id) {
                forget_applied(&self.archive, &before);
            }
            if inner.specs.apply(path.clone(), spec, text) {
                keep_gone(&self.archive, &path, false);
            }
        }
    }

    /// Swaps the deployment where it is another one, and publishes the status of the files.
    fn put_in_force(&self, inner: &mut Inner, files: Arc<Files>, proposal: DeploymentProposal) {
        let DeploymentProposal { built, mut status, candidates, .. } = proposal;
        status.experiments = built.experiments;
        status.experiments.extend(missing(&inner.specs, &candidates, &self.controller));
        name_by_file(&mut status.experiments, |id| self.controller.status(id).started_ms.is_some());
        let is_served = |known: &ExperimentStatus| matches!(known.state, ExperimentState::Life(_));
        let known = status.experiments.iter().map(|known| (known.id.as_str(), &known.status, is_served(known)));
        self.controller.stood.note(known, self.steady.now_ms());
        let is_shown = |id: &str| status.experiments.iter().any(|shown| shown.id == id);
        status.archived = inner.archived.beside(is_shown, &self.controller, &self.archive);
        status.warnings = unreached(&inner.config, &status.experiments);
        status.warnings.extend(unread_views(&inner.config));
        status.warnings.extend(self.tls.as_ref().and_then(|tls| tls.warning(self.clock.now_ms())));
        status.subjects = subjects(&inner.config, &status.experiments);
        self.say_experiments(&status);
        self.follow(&status);
        inner.judged = Some(files);
        let fingerprint = fingerprint_of(&inner.config, &built.deployment);
        if fingerprint != inner.fingerprint {
            let generation = Generation::of(inner.generation + 1, &inner.config, &built.deployment);
            if let Err(error) = generation.keep(&self.archive) {
                // An abort must not wait for the archive; archiving is retried.
                status.archive_error.get_or_insert(error.to_string());
                inner.unarchived.push(generation);
            }
            inner.generation += 1;
            inner.fingerprint = fingerprint;
            let replaced = self.deployment.swap(Arc::new(built.deployment));
            let used = digests_of(&replaced);
            self.archive.note_use(used.iter().map(String::as_str), self.clock.now_ms());
            Metrics::count(&self.metrics.reloads, "applied");
            tracing::info!(generation = inner.generation, "deployment applied");
        }
        let deployment = self.deployment.load();
        let in_force = || deployment.points.values().flat_map(|point| &point.experiments);
        self.windows.keep(|id| in_force().any(|experiment| *experiment.routed.id == *id));
        self.status.store(Arc::new(status));
        self.folder.publish();
    }

    fn rebuild(&self, inner: &Inner, proposal: &mut DeploymentProposal, statuses: Statuses) {
        let DeploymentProposal { config, candidates, gone, built, status } = proposal;
        *built = self.build(inner, config, candidates.clone(), gone, statuses, status);
    }

    fn build(
        &self,
        inner: &Inner,
        config: &Config,
        candidates: Vec<SpecCandidate>,
        gone: &[(Arc<Experiment>, experiment::Status)],
        statuses: Statuses,
        status: &mut DeploymentStatus,
    ) -> Built {
        let (models, model_statuses) = self.models.of(config);
        status.models = model_statuses;
        let binder = Binder {
            config,
            versions: &self.folder.to_serve(),
            unserved: &self.folder.unserved(),
            models: &Arc::new(models),
            before: &|path: &PathBuf, id: Option<&str>| inner.specs.applied(path, id).cloned(),
            life: &|spec: &Experiment, pin: &str| self.controller.life(spec, pin, config.governance.as_ref()),
            // A ledger that cannot be read keeps the slot held.
            has_entered: &|id| self.controller.ledger().has_entered(id).unwrap_or(true),
            gone,
            which: statuses,
            now_ms: self.steady.now_ms(),
            windows: &|spec: &Experiment, status: &experiment::Status| {
                self.windows.of(self.controller.ledger(), spec, status, self.steady.now_ms())
            },
        };
        build(&binder, candidates, inner.generation + 1, Arc::clone(&self.store))
    }

    /// Starts following the facts of experiments before the next deployment makes decisions in
    /// them. An ended experiment is followed until its final report is stored.
    fn follow(&self, status: &DeploymentStatus) {
        let is_over = |subject: &AnalysisSubject| self.controller.has_final_report(&subject.spec.id);
        let subjects: Vec<AnalysisSubject> =
            status.subjects.iter().filter(|subject| !is_over(subject)).cloned().collect();
        self.observer.follow(&subjects, |id| self.controller.has_started(id));
    }

    /// What the deployment in force can do and this one cannot: serve a point's strategy, or
    /// continue a running experiment. Removing a file is deliberate; so is removing a point where nothing runs.
    fn lost(&self, built: &Built) -> Option<String> {
        let now = self.deployment.load();
        // A new point without a strategy would make a host that is ready unready.
        let is_ready = !now.points.is_empty() && now.points.values().all(|point| point.strategy.is_some());
        let unready = built
            .deployment
            .points
            .values()
            .find(|next| next.strategy.is_none() && !now.points.contains_key(&next.name));
        if let Some(next) = unready.filter(|_| is_ready) {
            let why = next.unready.as_deref().unwrap_or("is not loaded");
            return Some(unfit(&next.name, &next.pin, why));
        }
        now.points.values().filter(|point| point.strategy.is_some()).find_map(|point| {
            let next = built.deployment.points.get(&point.name)?;
            if next.strategy.is_none() {
                let why = next.unready.as_deref().unwrap_or("is not loaded");
                return Some(unfit(&next.name, &next.pin, why));
            }
            point.experiments.iter().find_map(|running| {
                let status = built.experiments.iter().find(|status| *status.id == *running.routed.id)?;
                let why = status.error.as_deref().unwrap_or(&status.why);
                (!matches!(status.state, ExperimentState::Life(_)))
                    .then(|| format!("running experiment '{}': {why}", running.routed.id))
            })
        })
    }

    /// Logs new errors of the status. The scan repeats, so each error is logged once.
    fn say(&self, status: &DeploymentStatus) {
        let before = self.status.load();
        if status.config_error != before.config_error
            && let Some(error) = &status.config_error
        {
            Metrics::count(&self.metrics.reloads, "refused");
            tracing::error!(error, "serin.toml is not applied; what was in force stays");
        }
        if status.restart_required != before.restart_required && !status.restart_required.is_empty() {
            tracing::warn!(keys = ?status.restart_required, "restart required for these keys; the rest applies");
        }
        if status.tls_error != before.tls_error
            && let Some(error) = &status.tls_error
        {
            tracing::error!(error, "the TLS files are not applied; those that were in force stay");
        }
        if status.archive_error != before.archive_error
            && let Some(error) = &status.archive_error
        {
            Metrics::count(&self.metrics.reloads, "refused");
            tracing::error!(error, "the archive cannot be written");
        }
        if status.experiments_error != before.experiments_error
            && let Some(error) = &status.experiments_error
        {
            tracing::error!(error, "what was in force stays");
        }
    }

    /// Logs what keeps an experiment's file from being in force, once. To be called when the
    /// experiments of the status are known: before that, there is nothing to tell of.
    fn say_experiments(&self, status: &DeploymentStatus) {
        let before = self.status.load();
        for warning in status.warnings.iter().filter(|warning| !before.warnings.contains(warning)) {
            tracing::warn!("{warning}");
        }
        for experiment in &status.experiments {
            let known = before.experiments.iter().find(|known| known.file == experiment.file);
            let (id, file) = (&experiment.id, &experiment.file);
            if let Some(error) = &experiment.error {
                if known.is_none_or(|known| known.error.as_ref() != Some(error)) {
                    tracing::warn!(experiment = id, file, error, "an experiment's file is not applied");
                }
                continue;
            }
            let is_news = known.is_none_or(|known| known.state != experiment.state);
            match experiment.state {
                ExperimentState::Waiting if is_news => {
                    tracing::warn!(experiment = id, file, why = experiment.why, "an experiment waits");
                }
                ExperimentState::SpecMissing if is_news && !experiment.status.state.is_ended() => {
                    tracing::warn!(experiment = id, file, why = experiment.why, "an experiment's file is gone");
                }
                _ => {}
            }
        }
    }
}

impl DeploymentProposal {
    /// Proposes what is in force in place of each candidate that `why` says something against.
    fn take_back(&mut self, inner: &Inner, why: impl Fn(&SpecCandidate) -> Option<String>) {
        for candidate in &mut self.candidates {
            if let Some(why) = why(candidate) {
                candidate.spec = in_force(candidate, inner).cloned();
                candidate.error = Some(why);
            }
        }
    }
}

/// Says whether a candidate's spec differs from the one in force from its file.
fn is_edited(candidate: &SpecCandidate, inner: &Inner) -> bool {
    let digest = |(spec, _): &(Arc<Experiment>, String)| spec.digest.clone();
    candidate.spec.as_ref().map(digest) != in_force(candidate, inner).map(digest)
}

/// The spec in force that a candidate's file has or, where the file was renamed, that has its id.
fn in_force<'i>(candidate: &SpecCandidate, inner: &'i Inner) -> Option<&'i (Arc<Experiment>, String)> {
    inner.specs.applied(&candidate.path, candidate.spec.as_ref().map(|(spec, _)| &*spec.id))
}
