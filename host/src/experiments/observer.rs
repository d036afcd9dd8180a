//! What the ledger knows of the experiments' units, kept up to date a little at a time.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use serin_core::Name;
use serin_core::analysis::{Course, Decision, Observed};
use serin_core::experiment::Experiment;

use crate::ledger::{DecisionFact, Ledger, LedgerError, LedgerReader, OutcomeFact};

/// A spec that is analysed, and how it was run.
#[derive(Debug, Clone)]
pub struct AnalysisSubject {
    /// The spec.
    pub spec: Arc<Experiment>,
    /// How it was run.
    pub course: Course,
    /// What its decision point is pinned to.
    pub pin: String,
}

/// The units of some experiments.
#[derive(Default)]
pub struct Observations {
    by_id: BTreeMap<Name, (AnalysisSubject, Observed)>,
}

impl Observations {
    fn new(subjects: &[AnalysisSubject]) -> Self {
        let observed = |subject: &AnalysisSubject| {
            (subject.clone(), Observed::over(Arc::clone(&subject.spec), subject.course.clone()))
        };
        Self { by_id: subjects.iter().map(|subject| (subject.spec.id.clone(), observed(subject))).collect() }
    }

    /// All that a ledger has.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn read(ledger: &LedgerReader, subjects: &[AnalysisSubject]) -> Result<Self, LedgerError> {
        let mut all = Self::new(subjects);
        ledger.decision_facts(|fact| all.decision(&fact))?;
        ledger.outcome_facts(|fact| all.outcome(&fact))?;
        ledger.exposure_facts(|fact| all.outcome(&fact))?;
        Ok(all)
    }

    /// An experiment's units.
    pub fn get(&self, id: &str) -> Option<&Observed> {
        self.by_id.get(id).map(|(_, observed)| observed)
    }

    fn is_of(&self, subjects: &[AnalysisSubject]) -> bool {
        let same = |subject: &AnalysisSubject| {
            let known = self.by_id.get(&subject.spec.id);
            known.is_some_and(|(known, _)| known.spec.digest == subject.spec.digest && known.course == subject.course)
        };
        self.by_id.len() == subjects.len() && subjects.iter().all(same)
    }

    fn decision(&mut self, fact: &DecisionFact<'_>) {
        if let Some((_, observed)) = self.by_id.get_mut(fact.experiment) {
            observed.decision(&Decision {
                unit: fact.unit,
                arm: fact.arm,
                time_ms: fact.time_ms,
                action: fact.action,
                outcome: fact.outcome,
                fell_back: fact.served_by.starts_with("fallback"),
                took_us: fact.took_us,
                forced: fact.forced,
                batch: fact.batch,
                attributes: fact.attributes,
            });
        }
    }

    fn outcome(&mut self, fact: &OutcomeFact<'_>) {
        for (subject, observed) in self.by_id.values_mut() {
            if fact.kind.is_some_and(|kind| *kind != *subject.course.unit) {
                continue;
            }
            // Who saw what another experiment led to was not exposed to this one.
            if fact.experiment.is_some_and(|experiment| *experiment != *subject.spec.id) {
                continue;
            }
            match fact.name {
                Some(name) if fact.is_reversed => observed.reversal(fact.unit, name, fact.value, fact.at_ms),
                Some(name) => observed.outcome(fact.unit, name, fact.value, fact.at_ms),
                None => observed.exposure(fact.unit, fact.at_ms),
            }
        }
    }
}

/// How far the ledger was read.
#[derive(Default)]
struct Read {
    observations: Observations,
    decisions: i64,
    outcomes: i64,
    exposures: i64,
}

/// Follows a running host's ledger.
pub struct Observer {
    ledger: Arc<Ledger>,
    read: Mutex<Read>,
}

impl Observer {
    /// Follows `ledger`.
    pub fn new(ledger: Arc<Ledger>) -> Self {
        Self { ledger, read: Mutex::default() }
    }

    /// Reads what is new, and gives all to `look`. Where the
    /// specs are others than before, all is read again: what is counted follows from them.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn look<T>(
        &self,
        subjects: &[AnalysisSubject],
        look: impl FnOnce(&Observations) -> T,
    ) -> Result<T, LedgerError> {
        let mut read = self.read.lock();
        if !read.observations.is_of(subjects) {
            *read = Read { observations: Observations::new(subjects), ..Read::default() };
        }
        if !subjects.is_empty() && !self.read_on(&mut read)? {
            *read = Read { observations: Observations::new(subjects), ..Read::default() };
            self.read_on(&mut read)?;
        }
        Ok(look(&read.observations))
    }

    /// Reads what is new. Says whether it is: where everything has expired, the ledger's places
    /// begin anew, and what comes then would be taken for known.
    fn read_on(&self, read: &mut Read) -> Result<bool, LedgerError> {
        let Read { observations, decisions, outcomes, exposures } = read;
        let on = |place: &mut i64, now: i64| std::mem::replace(place, now) <= now;
        // Decisions first: what follows from one never comes before it.
        Ok(on(decisions, self.ledger.decision_facts(*decisions, |fact| observations.decision(&fact))?)
            && on(outcomes, self.ledger.outcome_facts(*outcomes, |fact| observations.outcome(&fact))?)
            && on(exposures, self.ledger.exposure_facts(*exposures, |fact| observations.outcome(&fact))?))
    }
}
