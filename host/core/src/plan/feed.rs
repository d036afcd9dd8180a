//! Simulated events of units, and their delivery to the analysis in place of a ledger.

use super::DAY;
use super::model::Rows;
use super::setup::Setup;
use crate::analysis::{Decision, Happened, Observed};
use crate::experiment::{Source, Watched};

/// The two actions. They are not valid names, so no spec names them.
const ACTIONS: [&str; 2] = ["(first)", "(second)"];

/// An event of a unit.
#[derive(Clone, Copy)]
pub(super) struct UnitEvent {
    pub unit: u32,
    pub arm: usize,
    pub at_ms: u64,
    /// The batch in which its arm was drawn.
    pub batch: Option<u32>,
    pub what: UnitEventKind,
}

/// The kind of event.
#[derive(Clone, Copy)]
pub(super) enum UnitEventKind {
    /// A decision with one of two actions, and one bit for each hit of the model.
    Decision {
        action: usize,
        hits: u8,
    },
    /// A row of the model, by position; a decision if the row is of a named action.
    Row {
        rows: usize,
        value: f64,
    },
    Exposure,
}

impl UnitEvent {
    /// Adds it to the analysis, under the unit's id.
    pub fn give(self, observed: &mut Observed, unit: &str, setup: &Setup<'_>) {
        let (at_ms, model) = (self.at_ms, setup.model(self.arm));
        let received_ms = match self.what {
            UnitEventKind::Row { rows, .. } => model.rows[rows].received_ms(at_ms),
            UnitEventKind::Decision { .. } | UnitEventKind::Exposure => at_ms,
        };
        // Later events are stored later.
        let happened = Happened { unit, at_ms, received_ms, after: 0 };
        let decision = Decision {
            place: 0,
            unit,
            arm: &setup.spec.arms[self.arm].name,
            time_ms: at_ms,
            action: ACTIONS[0],
            outcome: "answer",
            fell_back: false,
            took_us: 0,
            forced: false,
            batch: self.batch,
            attributes: None,
        };
        match self.what {
            UnitEventKind::Exposure => observed.exposure(&happened),
            UnitEventKind::Decision { action, hits } => {
                let mut served = Decision { action: ACTIONS[action], ..decision };
                let happened = model.hits.iter().enumerate().filter(|(bit, _)| hits & (1 << bit) != 0);
                for (_, (watched, _)) in happened {
                    match watched {
                        Watched::Failures => (served.outcome, served.fell_back) = ("trap", true),
                        Watched::Refusals => served.outcome = "refusal",
                        Watched::Fallbacks => served.fell_back = true,
                        Watched::Slow(us) => served.took_us = us + 1,
                        Watched::ActionMix | Watched::Metric(_) => {}
                    }
                }
                observed.decision(&served);
            }
            UnitEventKind::Row { rows, value } => {
                let of = &model.rows[rows];
                match (of.source, of.name.as_deref()) {
                    (Source::Outcomes, name) => observed.outcome(&happened, name.unwrap_or(""), value),
                    (Source::Exposures, _) => observed.exposure(&happened),
                    (Source::Decisions, name) => {
                        observed.decision(&Decision { action: name.unwrap_or(ACTIONS[0]), ..decision });
                    }
                }
            }
        }
    }
}

impl Rows {
    /// The day on which a row of that time is posted.
    pub fn posted_on(&self, at_ms: u64) -> u64 {
        self.received_ms(at_ms) / DAY
    }

    /// When a row of that time is received. Decisions and exposures are known at once.
    fn received_ms(&self, at_ms: u64) -> u64 {
        at_ms + if self.source == Source::Outcomes { self.lag_ms } else { 0 }
    }
}
