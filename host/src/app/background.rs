//! What a running host does beside its requests: watches files and experiments, runs shadows, and
//! deletes what has expired.

use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use serin_core::experiment::Experiment;
use tokio::sync::watch;

use super::Reloader;
use super::final_reports::keep_final_reports;
use crate::access::{AccessControl, Refused};
use crate::clock::{Budget, Clock};
use crate::config::{Config, Retain};
use crate::decide::{ShadowRun, Shadows};
use crate::experiments::{Controller, Observer, tick};
use crate::features::EmbeddedStore;
use crate::ledger::{AuditEntry, ClockGuard, Ledger, LedgerError, Note, Retention, RowsNeeded, ShadowRow};
use crate::registry::Watcher;
use crate::status::DeploymentStatus;
use crate::telemetry::{EventLabels, Metrics};

/// The interval of rescans of the folders, for changes without an event.
const RESCAN: Duration = Duration::from_secs(2);
/// The interval of evaluating experiments.
const LOOK: Duration = Duration::from_secs(1);
/// The interval in which it is noted what of the archive is in use, and the rest is dropped.
const TIDY_ARCHIVE: Duration = Duration::from_secs(60 * 60);
/// The interval of expiry.
const EXPIRE_EVERY: Duration = Duration::from_secs(60);
/// The interval in which refusals are counted together in the audit.
const AUDIT_EVERY: Duration = Duration::from_secs(60);
/// How long an answer is kept under its idempotency key.
const KEEP_KEYS: Duration = Duration::from_secs(24 * 60 * 60);

/// The folders whose files make up a deployment.
pub(super) fn watched_folders(config: &Config) -> Vec<PathBuf> {
    let parent = |path: &PathBuf| {
        path.parent()
            .map_or_else(|| PathBuf::from("."), |p| if p.as_os_str().is_empty() { ".".into() } else { p.to_path_buf() })
    };
    let mut folders = vec![config.fixed.plugins.clone(), config.fixed.experiments.clone(), parent(&config.path)];
    folders.extend(config.models.values().map(parent));
    let tls = config.fixed.tls.iter();
    folders.extend(tls.flat_map(|tls| [Some(&tls.cert), Some(&tls.key), tls.client_ca.as_ref()]).flatten().map(parent));
    folders.sort();
    folders.dedup();
    for folder in &folders {
        // The user's folders: created if they do not exist, so that they can be watched.
        if let Err(error) = std::fs::create_dir_all(folder) {
            tracing::warn!(%error, folder = %folder.display(), "cannot be made");
        }
    }
    folders
}

/// Runs shadow arms and records the runs. It holds no strong reference to the ledger, which must be
/// closed when the host has stopped.
pub(super) fn shadows(ledger: &Arc<Ledger>, metrics: &Arc<Metrics>) -> std::io::Result<Shadows> {
    let (ledger, metrics) = (Arc::downgrade(ledger), Arc::clone(metrics));
    Shadows::start(move |record, runs| {
        let Some(ledger) = ledger.upgrade() else { return };
        let row = |run: &ShadowRun| {
            Metrics::count(&metrics.shadows, run.attempt.outcome.label());
            metrics.shadows.get_or_create(&EventLabels { reason: "dropped".to_owned() }).inc_by(run.dropped);
            ShadowRow {
                decision_id: record.decision_id.clone(),
                experiment: run.experiment.to_string(),
                arm: run.arm.to_string(),
                served: record.answer.action.to_string(),
                action: run.action.as_ref().map(ToString::to_string),
                outcome: run.attempt.outcome.label(),
                took_us: run.attempt.time_us,
                served_us: record.attempts.last().map_or(0, |attempt| attempt.time_us),
                dropped: run.dropped,
                attempt: ledger.pack_attempt(record.time_ms, (&run.experiment, &run.arm), &run.attempt),
            }
        };
        let rows: Vec<ShadowRow> = runs.iter().map(row).collect();
        if let Err(error) = ledger.note(Note::Shadows(rows)) {
            crate::telemetry::log_limited!(warn, %error, "what shadows did is lost");
        }
    })
}

/// Reloads on file events, and on a timer as a safety net, from a thread of its own.
pub(super) fn watch_files(
    reloader: &Arc<Reloader>,
    clock_guard: &Arc<ClockGuard>,
    folders: &[PathBuf],
) -> Option<Watcher> {
    // A queue of one: any number of events during a reload cause one more reload.
    let (wake, events) = crossbeam_channel::bounded::<()>(1);
    let loaded = wake.clone();
    reloader.folder.on_loaded(move || {
        let _ = loaded.try_send(());
    });
    let watcher = Watcher::new(folders, move || {
        // A pending wake-up already covers this change.
        let _ = wake.try_send(());
    });
    let watcher = match watcher {
        Ok(watcher) => Some(watcher),
        Err(error) => {
            tracing::warn!(%error, "file events are not to be had; the folders are looked at every {RESCAN:?}");
            None
        }
    };
    let has_events = watcher.is_some();
    let (reloader, clock_guard) = (Arc::downgrade(reloader), Arc::downgrade(clock_guard));
    let mut is_tidy_for = Budget::new(Duration::ZERO);
    let spawned = std::thread::Builder::new().name("serin-reload".into()).spawn(move || {
        let mut wait = RESCAN;
        loop {
            match events.recv_timeout(wait) {
                Err(crossbeam_channel::RecvTimeoutError::Disconnected) if has_events => return,
                Err(crossbeam_channel::RecvTimeoutError::Disconnected) => std::thread::sleep(wait),
                Ok(()) | Err(crossbeam_channel::RecvTimeoutError::Timeout) => {}
            }
            let (Some(reloader), Some(guard)) = (reloader.upgrade(), clock_guard.upgrade()) else { return };
            reloader.reload();
            wait = reloader.due_in().map_or(RESCAN, |due| RESCAN.min(due));
            if is_tidy_for.left().is_zero() {
                reloader.tidy_archive(guard.is_trusted());
                is_tidy_for = Budget::new(TIDY_ARCHIVE);
            }
        }
    });
    if let Err(error) = spawned {
        tracing::error!(%error, "no thread for reloading; files are not watched");
    }
    watcher
}

/// Evaluates the experiments, acts on the results, and puts changes in force. Says whether any
/// status has changed.
pub(super) fn look(reloader: &Reloader, controller: &Controller, observer: &Observer, now_ms: u64) -> bool {
    let changed = tick(controller, observer, now_ms);
    if changed {
        reloader.apply();
    }
    if keep_final_reports(reloader, controller, observer) {
        reloader.apply();
    }
    changed
}

/// Evaluates the experiments and acts on the results, on a thread of its own.
pub(super) fn watch_experiments(
    reloader: &Arc<Reloader>,
    controller: &Arc<Controller>,
    observer: &Arc<Observer>,
    store: &Arc<EmbeddedStore>,
    clock_guard: &Arc<ClockGuard>,
    clock: Arc<dyn Clock>,
) -> std::io::Result<()> {
    // Weak references, because these hold the databases, which must be closed when the host has
    // stopped.
    let store = Arc::downgrade(store);
    let held =
        (Arc::downgrade(reloader), Arc::downgrade(controller), Arc::downgrade(observer), Arc::downgrade(clock_guard));
    let look = move || {
        while let (Some(reloader), Some(controller), Some(observer), Some(guard)) =
            (held.0.upgrade(), held.1.upgrade(), held.2.upgrade(), held.3.upgrade())
        {
            // A panic must not leave canaries unwatched.
            let look = || guard.is_trusted() && look(&reloader, &controller, &observer, clock.now_ms());
            if std::panic::catch_unwind(std::panic::AssertUnwindSafe(look)).is_err() {
                tracing::error!("the experiments could not be looked at");
            }
            drop((reloader, controller, observer, guard));
            if let Some(Err(error)) = store.upgrade().map(|store| store.hold()) {
                tracing::debug!(%error, "no read is held open");
            }
            std::thread::sleep(LOOK);
        }
    };
    std::thread::Builder::new().name("serin-experiments".into()).spawn(look).map(drop)
}

/// The rows that an experiment's analysis needs.
pub fn needed_rows(spec: &Experiment) -> RowsNeeded {
    RowsNeeded { point: spec.decision_point.clone(), after_end_ms: spec.longest_ms() }
}

/// Runs expiry in small batches.
pub(super) async fn expire(
    ledger: Arc<Ledger>,
    clock: Arc<ClockGuard>,
    status: Arc<ArcSwap<DeploymentStatus>>,
    mut retain: watch::Receiver<Retain>,
    mut stopped: watch::Receiver<bool>,
) {
    loop {
        let specs = status.load().experiments.iter().filter_map(|known| known.spec.clone()).collect::<Vec<_>>();
        let retained = *retain.borrow_and_update();
        let retention = Retention {
            clock: clock.look(),
            keep_ms: retained.decisions.map(|keep| keep.as_millis() as u64),
            keep_keys_ms: KEEP_KEYS.as_millis() as u64,
            keep_audit_ms: retained.audit.map(|keep| keep.as_millis() as u64),
            experiments: specs.iter().map(|spec| (spec.id.clone(), needed_rows(spec))).collect(),
        };
        let more = match ledger.expire(retention) {
            Ok(done) => matches!(done.await, Ok(Ok(true))),
            Err(LedgerError::Closed) => return,
            Err(_) => false,
        };
        let pause = match more {
            // Twice as long as a batch occupies the writer.
            true => Duration::from_millis(20),
            // A host that is not ready gets no traffic, and so no commit that could make it ready
            // again. This commit can.
            false if !ledger.is_healthy() => Duration::from_secs(1),
            false => EXPIRE_EVERY,
        };
        tokio::select! {
            _ = stopped.wait_for(|stop| *stop) => return,
            Ok(()) = retain.changed() => {}
            () = while_as_it_is(&ledger, &clock, pause) => {}
        }
    }
}

/// Writes what was refused for its credential into the audit, by the minute: a stranger who tries
/// for days fills no disk.
pub(super) async fn audit_refusals(
    ledger: Weak<Ledger>,
    access: Arc<AccessControl>,
    clock: Arc<dyn Clock>,
    mut stopped: watch::Receiver<bool>,
) {
    loop {
        let is_over = tokio::select! {
            _ = stopped.wait_for(|stop| *stop) => true,
            () = tokio::time::sleep(AUDIT_EVERY) => false,
        };
        let Some(ledger) = ledger.upgrade() else { return };
        for (Refused { reason, who, address, on }, count) in access.take_refused() {
            let entry = AuditEntry {
                time_ms: clock.now_ms(),
                who,
                address: address.map(|address| address.to_string()),
                what: "access.refused".to_owned(),
                target: on,
                result: reason.to_owned(),
                count,
            };
            if let Err(error) = ledger.note(Note::Audit(entry)) {
                crate::telemetry::log_limited!(warn, %error, reason, count, "refusals are not in the audit");
            }
        }
        if is_over {
            return;
        }
    }
}

/// Waits; returns early if the ledger stops committing or the clock is confirmed.
async fn while_as_it_is(ledger: &Ledger, clock: &ClockGuard, pause: Duration) {
    let was_trusted = clock.is_trusted();
    let mut left = pause;
    while !left.is_zero() {
        let step = left.min(Duration::from_secs(1));
        left -= step;
        tokio::time::sleep(step).await;
        if !ledger.is_healthy() || clock.is_trusted() != was_trusted {
            return;
        }
    }
}
