//! What the ledger and the archive of a deployment tell `check`, which starts no host: where the
//! experiments stand, and what was in force.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use serin_core::Name;
use serin_core::experiment::{Experiment, Status};

use super::archived::last_spec;
use super::in_force::{last_config, last_specs};
use super::moved::moved;
use crate::config::Config;
use crate::experiments::{Life, SpecCandidate, SpecFile, Specs, lacks};
use crate::ledger::{LedgerError, LedgerReader, Reads as _, SCHEMA, schema_version};
use crate::registry::Archive;

/// The recorded past of a deployment; nothing where no host has served it yet.
#[derive(Default)]
pub(super) struct Recorded {
    pub archive: Option<Archive>,
    /// The specs in force.
    pub specs: Specs,
    /// Why the ledger cannot be read, where it is there: a host does not start on it.
    pub trouble: Option<String>,
    /// The ledger's schema, where it is older than this program's: a host migrates it.
    pub older: Option<i64>,
    ledger: Option<LedgerReader>,
    statuses: HashMap<Name, Status>,
    /// The configuration in force.
    pub config: Option<Config>,
}

impl Recorded {
    pub(super) fn of(config: &Config) -> Self {
        let mut recorded = Self { archive: Archive::at(&config.fixed.data_dir().join("archive")), ..Self::default() };
        if config.fixed.ledger.exists() {
            match schema_version(&config.fixed.ledger).map(|version| (version, read(config, version))) {
                Ok((_, Ok((ledger, statuses)))) => {
                    recorded.ledger = Some(ledger);
                    recorded.statuses = statuses;
                }
                // It may lack what is read.
                Ok((version, Err(_))) if version < SCHEMA => recorded.older = Some(version),
                Ok((_, Err(error))) | Err(error) => recorded.trouble = Some(error.to_string()),
            }
        }
        if let (Some(archive), Some(_)) = (&recorded.archive, &recorded.ledger) {
            recorded.config = last_config(archive, config);
            recorded.specs = last_specs(archive, config, |id| recorded.status(id));
        }
        recorded
    }

    /// Where an experiment stands; a draft where nothing is recorded of it.
    pub(super) fn status(&self, id: &str) -> Status {
        self.statuses.get(id).cloned().unwrap_or_default()
    }

    /// Where a spec stands, and where it will once the command that follows from its file is recorded.
    pub(super) fn life(&self, spec: &Experiment, pin: &str, config: &Config, now_ms: u64) -> Life {
        Life::of(self.status(&spec.id), spec, pin, now_ms, |command, status| match &self.ledger {
            Some(ledger) => lacks(ledger, (spec, command, status), config.governance.as_ref(), now_ms),
            None => Ok(None),
        })
    }

    /// Says whether an experiment ever enrolled a unit.
    pub(super) fn has_entered(&self, id: &str) -> bool {
        self.ledger.as_ref().is_some_and(|ledger| ledger.has_entered(id).unwrap_or(true))
    }

    /// The specs of the files, and those that stay in force in place of them.
    pub(super) fn candidates(&self, files: &[SpecFile]) -> Vec<SpecCandidate> {
        self.specs.candidates(files, |id| self.status(id).state.takes_units())
    }

    /// Experiments that have ended and that no file has any more: they may hold their slots.
    pub(super) fn ended(&self, candidates: &[SpecCandidate]) -> Vec<(Arc<Experiment>, Status)> {
        let (Some(ledger), Some(archive)) = (&self.ledger, &self.archive) else { return Vec::new() };
        let is_there = |id: &str| candidates.iter().any(|c| c.spec.as_ref().is_some_and(|(spec, _)| *spec.id == *id));
        let ended = self.statuses.iter().filter(|(id, status)| status.state.is_ended() && !is_there(id));
        ended.filter_map(|(id, status)| Some((last_spec(id, ledger, archive)?.0, status.clone()))).collect()
    }

    /// The experiments in force whose files are gone.
    pub(super) fn gone(&self, candidates: &[SpecCandidate]) -> Vec<(PathBuf, Arc<Experiment>, Status)> {
        let gone = self.specs.missing(candidates).into_iter();
        gone.map(|(path, spec)| (path, Arc::clone(&spec), self.status(&spec.id))).collect()
    }

    /// Why `serve` would not apply this configuration to the experiments that run.
    pub(super) fn moved(&self, config: &Config, candidates: &[SpecCandidate]) -> Option<String> {
        let gone = self.specs.missing(candidates);
        let goes_on = self.specs.in_force().filter(|spec| !gone.iter().any(|(_, gone)| gone.id == spec.id));
        moved(self.config.as_ref()?, config, goes_on, |id| self.status(id))
    }
}

fn read(config: &Config, version: i64) -> Result<(LedgerReader, HashMap<Name, Status>), LedgerError> {
    let ledger = LedgerReader::open_older(&config.fixed.ledger)?;
    let statuses = ledger.statuses()?.into_iter().collect();
    if version == SCHEMA {
        // What a start reads, too.
        ledger.last_seen()?;
        ledger.with_final_report()?;
    }
    Ok((ledger, statuses))
}
