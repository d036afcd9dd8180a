//! The evidence that shipped a winner, as it was then. What is posted or promised later may change
//! what would be said of that time, and not what was decided by.

use super::Report;
use crate::ledger::{LedgerError, Reads, ship_report};

impl Report {
    /// This report with the evidence that shipped, where a winner has shipped and its report was kept.
    ///
    /// # Errors
    /// The ledger's error. A kept report that cannot be read is replaced by what is known now, and a
    /// warning says so.
    pub fn as_shipped(mut self, ledger: &impl Reads, shipped_ms: Option<u64>) -> Result<Self, LedgerError> {
        let Some(shipped_ms) = shipped_ms.filter(|_| self.since_ship.is_some()) else { return Ok(self) };
        let kept = ledger.final_report(&ship_report(&self.experiment, shipped_ms))?;
        match kept.map(|json| serde_json::from_str::<Self>(&json)) {
            Some(Ok(kept)) => return Ok(self.with_evidence_of(kept)),
            Some(Err(error)) => self.warnings.push(format!(
                "the evidence that shipped cannot be read ({error}): what is shown of it is computed anew"
            )),
            None => {}
        }
        Ok(self)
    }

    fn with_evidence_of(self, kept: Self) -> Self {
        let is_taken_back = self.since_ship.as_ref().is_some_and(|since| since.verdict.decision == "stop");
        let verdict = if is_taken_back { self.verdict } else { kept.verdict };
        Self {
            units: kept.units,
            srm: kept.srm,
            metrics: kept.metrics,
            guardrails: kept.guardrails,
            fairness: kept.fairness,
            segments: kept.segments,
            actions: kept.actions,
            arms: kept.arms,
            forbids: kept.forbids,
            verdict,
            ..self
        }
    }
}
