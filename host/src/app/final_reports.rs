//! Final reports: the report of an ended experiment, stored as of its end. From then on the
//! experiment costs nothing, and its report does not change. The evidence that ships a winner is
//! stored in the same way.

use crate::experiments::{Controller, Observer, Seen};
use crate::ledger::{FinalReport, LedgerError, ship_report};
use crate::report::{Report, ReportContext};

use serin_core::Name;

use super::Reloader;

/// Stores the report of each experiment that has ended or shipped since the last call. Says whether
/// there was one. Failures are retried at the next call.
pub fn keep_final_reports(reloader: &Reloader, controller: &Controller, observer: &Observer) -> bool {
    let status = reloader.status.load();
    let mut kept = false;
    for shown in &status.experiments {
        let (id, status) = (&shown.id, &shown.status);
        let (key, at_ms) = match (status.ended_ms, status.shipped_ms) {
            (Some(ended_ms), _) => (Name::from(id.as_str()), ended_ms),
            (None, Some(shipped_ms)) if status.served.is_some() => (ship_report(id, shipped_ms), shipped_ms),
            _ => continue,
        };
        if status.started_ms.is_none() || controller.has_final_report(&key) {
            continue;
        }
        let keep = || -> Result<bool, LedgerError> {
            let context = ReportContext::of(controller.ledger(), id)?;
            let report = observer.with(id, |followed| Report::new(&followed.observed, status, context, at_ms))?;
            let Seen::Whole(mut report) = report else { return Ok(false) };
            if status.ended_ms.is_some() {
                report = report.as_shipped(controller.ledger(), status.shipped_ms)?;
            }
            let report = serde_json::to_string(&report)
                .map_err(|error| LedgerError::Database(format!("the report of '{id}': {error}")))?;
            let generation = status.generation;
            controller.keep_final_report(FinalReport { experiment: key, generation, time_ms: at_ms, report })?;
            Ok(true)
        };
        match keep() {
            Ok(is_kept) => kept |= is_kept,
            Err(error) => {
                tracing::error!(%error, experiment = id, "its report as of its end or ship could not be kept")
            }
        }
    }
    kept
}
