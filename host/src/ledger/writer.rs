//! The single writer. It commits everything that is queued as one transaction and then releases the
//! waiting callers (group commit). Under load the cost of a commit is shared; a single commit waits
//! for no others.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender};

use rusqlite::{Connection, ErrorCode, TransactionBehavior};
use tokio::sync::oneshot;

use super::approvals::store_approval;
use super::audit::store_entry;
use super::checkpoint;
use super::events::{Arrival, Event, EventResult, NotedNames, store_event};
use super::expiry::{Expiry, Retention, expire};
use super::final_reports::store_final_report;
use super::history::store_point;
use super::last_seen;
use super::pace::Pace;
use super::packing::Written;
use super::positions::Positions;
use super::shadows::store_shadows;
use super::store::store_commit;
use super::transitions::{Transition, store_transition};
use super::{Commit, Durability, LedgerError, Note};
use crate::clock::Stopwatch;
use crate::telemetry::{Metrics, log_limited};

/// The most jobs in one transaction.
const GROUP: usize = 512;
/// The most rows in one transaction, which bounds the wait of later jobs.
const GROUP_ROWS: usize = 12_000;
/// Rows after which a checkpoint is requested. A write to a page that is being written to disk
/// waits for it and for everything before it, so each checkpoint must be small.
const MOVE_ROWS: usize = 128;
/// Called with the result of a commit.
pub type OnCommitted = Box<dyn FnOnce(Result<(), LedgerError>) + Send>;
type Done<T> = oneshot::Sender<Result<T, LedgerError>>;

pub(super) enum Job {
    Commit(Commit, Option<OnCommitted>),
    Events(Vec<Event>, Arrival, Done<Vec<EventResult>>),
    Expire(Box<Retention>, Done<bool>),
    Transition(Box<Transition>, SyncSender<Result<bool, LedgerError>>),
    Note(Note, Option<SyncSender<Result<(), LedgerError>>>),
}

impl Job {
    fn rows(&self) -> usize {
        match self {
            Self::Commit(commit, _) => commit.decisions.len(),
            Self::Events(events, ..) => events.len(),
            Self::Expire(..) | Self::Transition(..) | Self::Note(..) => 1,
        }
    }

    fn records(&self) -> usize {
        if let Self::Commit(commit, _) = self { commit.decisions.len() } else { 0 }
    }

    fn decides(&self) -> bool {
        matches!(self, Self::Commit(..))
    }

    /// Status changes, approvals and clock confirmations must survive a power cut, whatever the
    /// durability of decisions: an acknowledged abort must not be undone.
    fn has_to_be_on_disk(&self) -> bool {
        matches!(
            self,
            Self::Transition(..) | Self::Note(Note::Approval(..) | Note::Clock(..) | Note::FinalReport(..), _)
        )
    }
}

/// The writer.
pub(super) struct Writer {
    connection: Connection,
    durability: Durability,
    metrics: Arc<Metrics>,
    healthy: Arc<AtomicBool>,
    written: Written,
    /// None at first, and after a failed transaction.
    positions: Option<Positions>,
    expiry: Expiry,
}

/// What the jobs of a transaction share.
struct State<'w> {
    written: &'w mut Written,
    expiry: &'w mut Expiry,
    positions: Positions,
}

impl Writer {
    pub fn new(
        connection: Connection,
        durability: Durability,
        metrics: Arc<Metrics>,
        healthy: Arc<AtomicBool>,
    ) -> Self {
        let (written, expiry) = (Written::default(), Expiry::default());
        Self { connection, durability, metrics, healthy, written, positions: None, expiry }
    }

    /// Runs until every sender is gone and the queue is empty.
    pub fn run(mut self, queue: &Receiver<Job>, finish: &AtomicBool, nudge: &SyncSender<()>) {
        let mut unmoved = 0;
        let mut pace = Pace::new();
        while let Ok(first) = queue.recv() {
            let waited = pace.wait();
            let (mut rows, mut group) = (first.rows(), vec![first]);
            let mut expiry = None;
            while group.len() < GROUP && rows < GROUP_ROWS {
                let Ok(job) = queue.try_recv() else { break };
                rows += job.rows();
                group.push(job);
            }
            pace.begin(waited, group.len());
            if let Some(at) = group.iter().position(|job| matches!(job, Job::Expire(..))) {
                expiry = Some(group.remove(at));
            }
            unmoved += rows;
            self.commit_group(group);
            if let Some(job) = expiry {
                // In a transaction of its own, so that no commit waits for it.
                let mut watch = Stopwatch::new();
                self.commit_group(vec![job]);
                self.expiry.took(watch.lap_us());
            }
            if unmoved >= MOVE_ROWS {
                unmoved = 0;
                // One pending nudge is enough.
                let _ = nudge.try_send(());
            }
            if finish.swap(false, Ordering::Relaxed)
                && let Err(error) = checkpoint::round(&self.connection)
            {
                log_limited!(warn, %error, "the ledger's log was not checkpointed");
            }
        }
    }

    /// One transaction for all jobs. If a job fails, as by a constraint or a row that was altered, each is retried in its
    /// own transaction, so that the others succeed. A full disk or a lock would only fail again.
    fn commit_group(&mut self, jobs: Vec<Job>) {
        if jobs.is_empty() {
            return;
        }
        let records: usize = jobs.iter().map(Job::records).sum();
        match self.transact(&jobs) {
            Ok(results) => {
                self.healthy.store(true, Ordering::Relaxed);
                self.metrics.records_committed.inc_by(records as u64);
                if records > 0 {
                    self.metrics.commit_size.observe(records as f64);
                }
                for (job, result) in jobs.into_iter().zip(results) {
                    answer(job, Ok(result));
                }
            }
            Err(error) if jobs.len() > 1 && !is_everybodys(&error) => {
                log_limited!(warn, %error, "a group did not commit; each of its jobs is tried alone");
                self.forget();
                for job in jobs {
                    self.commit_group(vec![job]);
                }
            }
            Err(error) => {
                // What is amiss with the rows that one job meets keeps no decision from being committed.
                if is_everybodys(&error) || jobs.iter().any(Job::decides) {
                    self.healthy.store(false, Ordering::Relaxed);
                }
                self.forget();
                log_limited!(error, %error, records, "the ledger did not commit");
                for job in jobs {
                    if matches!(job, Job::Commit(_, None)) {
                        self.metrics.records_dropped.inc_by(job.records() as u64);
                    }
                    answer(job, Err(LedgerError::Database(error.to_string())));
                }
            }
        }
    }

    fn transact(&mut self, jobs: &[Job]) -> rusqlite::Result<Vec<Applied>> {
        let waits = jobs.iter().any(Job::has_to_be_on_disk);
        if waits && self.durability != Durability::Power {
            // It syncs the log, and with it all earlier commits.
            self.connection.pragma_update(None, "synchronous", "FULL")?;
        }
        let committed = (|| {
            let known = self.positions.map_or_else(|| Positions::of(&self.connection), Ok)?;
            let mut state = State { written: &mut self.written, expiry: &mut self.expiry, positions: known };
            // Begun as a write: one that begins with a read and then writes does not wait for a lock.
            let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let apply = |job| apply(&transaction, &mut state, job);
            let results = jobs.iter().map(apply).collect::<rusqlite::Result<Vec<_>>>()?;
            let positions = state.positions;
            transaction.commit()?;
            self.positions = Some(positions);
            Ok(results)
        })();
        if waits {
            // If this fails, the commit stands.
            let level = self.connection.pragma_query_value(None, "synchronous", |row| row.get::<_, i64>(0));
            if committed.is_ok() && level.is_ok_and(|level| level >= FULL) {
                self.metrics.synced_commits.inc();
            }
            if self.durability != Durability::Power
                && let Err(error) = self.connection.pragma_update(None, "synchronous", "NORMAL")
            {
                log_limited!(warn, %error, "every commit waits for the disk, since that could not be undone");
            }
        }
        committed
    }

    /// Discards the state of a failed transaction.
    fn forget(&mut self) {
        self.written.clear();
        self.positions = None;
        self.expiry.forget();
    }
}

/// Says whether an error is the disk's or a lock's: whatever is written, it fails again.
fn is_everybodys(error: &rusqlite::Error) -> bool {
    use ErrorCode::{
        CannotOpen, DatabaseBusy, DatabaseLocked, DiskFull, NotADatabase, OutOfMemory, ReadOnly, SystemIoFailure,
    };
    let of_disk =
        [DiskFull, SystemIoFailure, DatabaseBusy, DatabaseLocked, ReadOnly, CannotOpen, OutOfMemory, NotADatabase];
    error.sqlite_error_code().is_some_and(|code| of_disk.contains(&code))
}

/// SQLite's number of `synchronous = FULL`: a commit waits for the disk.
const FULL: i64 = 2;

/// The result of applying a job, before it is durable.
enum Applied {
    Commit,
    Events(Vec<EventResult>),
    Expire(bool),
    Transition(bool),
    Note,
}

fn apply(transaction: &Connection, state: &mut State<'_>, job: &Job) -> Result<Applied, rusqlite::Error> {
    let State { written, expiry, positions } = state;
    match job {
        Job::Commit(commit, _) => {
            store_commit(transaction, written, positions, commit)?;
            Ok(Applied::Commit)
        }
        Job::Events(events, arrival, _) => {
            let mut noted = NotedNames::default();
            let store = |event| store_event(transaction, (positions, &mut noted), event, arrival);
            Ok(Applied::Events(events.iter().map(store).collect::<Result<_, _>>()?))
        }
        Job::Expire(retention, _) => {
            // Its rows may be the newest.
            positions.store(transaction)?;
            expire(transaction, expiry, retention).map(Applied::Expire)
        }
        Job::Transition(transition, _) => store_transition(transaction, transition).map(Applied::Transition),
        Job::Note(note, _) => {
            match note {
                Note::Shadows(rows) => store_shadows(transaction, written, rows)?,
                Note::HistoryPoint(experiment, time_ms, json) => store_point(transaction, experiment, *time_ms, json)?,
                Note::Approval(experiment, approval) => store_approval(transaction, experiment, approval)?,
                Note::FinalReport(report) => store_final_report(transaction, report)?,
                Note::Clock(clock) => last_seen::store(transaction, clock)?,
                Note::Audit(entry) => store_entry(transaction, entry)?,
            }
            Ok(Applied::Note)
        }
    }
}

fn answer(job: Job, result: Result<Applied, LedgerError>) {
    // The receiver may be gone; the commit stands.
    match (job, result) {
        (Job::Commit(_, Some(done)), result) => done(result.map(drop)),
        (Job::Commit(_, None), _) => {}
        (Job::Events(_, _, done), Ok(Applied::Events(results))) => drop(done.send(Ok(results))),
        (Job::Expire(_, done), Ok(Applied::Expire(more))) => drop(done.send(Ok(more))),
        (Job::Transition(_, done), Ok(Applied::Transition(changed))) => drop(done.send(Ok(changed))),
        (Job::Transition(_, done), Err(error)) => drop(done.send(Err(error))),
        (Job::Note(_, None), _) => {}
        (Job::Note(_, Some(done)), result) => drop(done.send(result.map(drop))),
        (Job::Events(_, _, done), Err(error)) => drop(done.send(Err(error))),
        (Job::Expire(_, done), Err(error)) => drop(done.send(Err(error))),
        (Job::Events(..) | Job::Expire(..) | Job::Transition(..), Ok(_)) => {}
    }
}
