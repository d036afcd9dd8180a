//! The status of the files that the deployment was built from. `app` writes it, `http` shows it.

use std::sync::Arc;

use crate::experiments::{AnalysisSubject, ExperimentStatus};
use crate::signatures::Signer;

/// The status of everything that the deployment was built from.
#[derive(Debug, Clone, Default)]
pub struct DeploymentStatus {
    /// A mistake in `serin.toml` as it is now; the one before is in force.
    pub config_error: Option<String>,
    /// Keys of `serin.toml` that differ from those in force, and need a restart.
    pub restart_required: Vec<&'static str>,
    /// Why the files of `[server.tls]` are not in force as they are now; those before are.
    pub tls_error: Option<String>,
    /// Why the plugins folder cannot be read.
    pub plugins_error: Option<String>,
    /// Why nothing that is new could be applied: it could not be archived.
    pub archive_error: Option<String>,
    /// Why the experiments folder cannot be read.
    pub experiments_error: Option<String>,
    /// Some key's signatures count.
    pub has_trusted_keys: bool,
    /// The experiments.
    pub experiments: Vec<ExperimentStatus>,
    /// Experiments that have ended, and of which no file is left.
    pub archived: Vec<Arc<ExperimentStatus>>,
    /// Those that have begun, to be analysed.
    pub subjects: Vec<AnalysisSubject>,
    /// What is in force and hardly what was meant, in sentences.
    pub warnings: Vec<String>,
    /// The models.
    pub models: Vec<ModelStatus>,
}

impl DeploymentStatus {
    /// The experiments, those of which no file is left included.
    pub fn every_experiment(&self) -> impl Iterator<Item = &ExperimentStatus> {
        self.experiments.iter().chain(self.archived.iter().map(|archived| &**archived))
    }
}

/// A model as the admin listener shows it.
#[derive(Debug, Clone)]
pub struct ModelStatus {
    /// Its name and version.
    pub id: String,
    /// SHA-256 of the file in force.
    pub digest: Option<String>,
    /// Why the file is not in force.
    pub error: Option<String>,
    /// In force from the archive, since the file is broken or gone.
    pub stale: bool,
    /// Who signed it; none where nobody who is trusted did.
    pub signer: Option<Signer>,
    /// What is wrong with its signature, where it is in force all the same.
    pub unsigned: Option<String>,
}
