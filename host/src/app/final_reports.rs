//! Final reports: the report of an ended experiment, stored as of its end. From then on the
//! experiment costs nothing, and its report does not change.

use crate::experiments::{Controller, Observer, Seen};
use crate::ledger::{FinalReport, LedgerError};
use crate::report::{Report, ReportContext};

use super::Reloader;

/// Stores the report of each experiment that has ended since the last call. Says whether there was
/// one. Failures are retried at the next call.
pub(super) fn keep_final_reports(reloader: &Reloader, controller: &Controller, observer: &Observer) -> bool {
    let status = reloader.status.load();
    let mut kept = false;
    for shown in &status.experiments {
        let (id, Some(ended_ms)) = (&shown.id, shown.status.ended_ms) else { continue };
        if shown.status.started_ms.is_none() || controller.has_final_report(id) {
            continue;
        }
        let keep = || -> Result<bool, LedgerError> {
            let context = ReportContext::of(controller.ledger(), id)?;
            let report =
                observer.with(id, |followed| Report::new(&followed.observed, &shown.status, context, ended_ms))?;
            let Seen::Whole(report) = report else { return Ok(false) };
            let report = serde_json::to_string(&report)
                .map_err(|error| LedgerError::Database(format!("the report of '{id}': {error}")))?;
            let generation = shown.status.generation;
            let experiment = id.as_str().into();
            controller.keep_final_report(FinalReport { experiment, generation, time_ms: ended_ms, report })?;
            Ok(true)
        };
        match keep() {
            Ok(is_kept) => kept |= is_kept,
            Err(error) => tracing::error!(%error, experiment = id, "its report as of its end could not be kept"),
        }
    }
    kept
}
