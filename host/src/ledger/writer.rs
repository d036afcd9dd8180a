//! The single writer. It takes whatever is queued, commits it as one transaction, and then
//! answers everybody who waits: under load the cost of a commit is shared, and alone
//! nobody waits for company.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender};

use rusqlite::{Connection, ErrorCode};
use tokio::sync::oneshot;

use super::checkpoint;
use super::events::{Event, EventResult, store_event};
use super::moments::{store_approval, store_final_report, store_moment};
use super::shadows::store_shadows;
use super::store::{EXPIRE_ROWS, Written, expire, store_commit};
use super::transitions::{Transition, store_transition};
use super::{Commit, LedgerError, Note};
use crate::telemetry::Metrics;

/// Jobs in one transaction.
const GROUP: usize = 512;
/// Rows in one transaction: what comes after them is never behind more than this.
const GROUP_ROWS: usize = 12_000;
/// Rows after which the log's content is moved on. A write that meets a page on its way to the
/// disk waits for it, and for all that went before: what goes at once has to be little.
const MOVE_ROWS: usize = 128;
/// Learns of a commit's end.
pub type Then = Box<dyn FnOnce(Result<(), LedgerError>) + Send>;
type Done<T> = oneshot::Sender<Result<T, LedgerError>>;

pub(super) enum Job {
    Commit(Commit, Option<Then>),
    Events(Vec<Event>, u64, Done<Vec<EventResult>>),
    Expire { before_ms: Option<u64>, keys_before_ms: u64, done: Done<bool> },
    Transition(Box<Transition>, SyncSender<Result<bool, LedgerError>>),
    Note(Note, Option<SyncSender<Result<(), LedgerError>>>),
}

impl Job {
    fn rows(&self) -> usize {
        match self {
            Self::Commit(commit, _) => commit.decisions.len(),
            Self::Events(events, ..) => events.len(),
            Self::Expire { .. } => EXPIRE_ROWS as usize,
            Self::Transition(..) | Self::Note(..) => 1,
        }
    }

    fn records(&self) -> usize {
        if let Self::Commit(commit, _) = self { commit.decisions.len() } else { 0 }
    }
}

/// Runs until every sender is gone and the queue is empty.
pub(super) fn run(
    mut connection: Connection,
    queue: &Receiver<Job>,
    metrics: &Metrics,
    healthy: &AtomicBool,
    finish: &AtomicBool,
    nudge: &SyncSender<()>,
) {
    let mut unmoved = 0;
    let mut written = Written::default();
    while let Ok(first) = queue.recv() {
        let (mut rows, mut group) = (first.rows(), vec![first]);
        while group.len() < GROUP && rows < GROUP_ROWS {
            let Ok(job) = queue.try_recv() else { break };
            rows += job.rows();
            group.push(job);
        }
        unmoved += rows;
        commit_group(&mut connection, &mut written, group, metrics, healthy);
        if unmoved >= MOVE_ROWS {
            unmoved = 0;
            // One nudge that is not yet taken stands for all.
            let _ = nudge.try_send(());
        }
        if finish.swap(false, Ordering::Relaxed)
            && let Err(error) = checkpoint::round(&connection)
        {
            tracing::warn!(%error, "the ledger's log was not checkpointed");
        }
    }
}

/// One transaction for all. Where a job breaks a constraint, each is tried again by itself, so
/// that it does not take its neighbours along; a full disk or a lock would only fail again.
fn commit_group(
    connection: &mut Connection,
    written: &mut Written,
    jobs: Vec<Job>,
    metrics: &Metrics,
    healthy: &AtomicBool,
) {
    let records: usize = jobs.iter().map(Job::records).sum();
    let attempt = (|| {
        let transaction = connection.transaction()?;
        let results = jobs.iter().map(|job| apply(&transaction, written, job)).collect::<Result<Vec<_>, _>>()?;
        transaction.commit()?;
        Ok::<_, rusqlite::Error>(results)
    })();
    match attempt {
        Ok(results) => {
            healthy.store(true, Ordering::Relaxed);
            metrics.records_committed.inc_by(records as u64);
            if records > 0 {
                metrics.commit_size.observe(records as f64);
            }
            for (job, result) in jobs.into_iter().zip(results) {
                answer(job, Ok(result));
            }
        }
        Err(error) if jobs.len() > 1 && error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => {
            tracing::warn!(%error, "a group did not commit; each of its jobs is tried alone");
            written.clear();
            for job in jobs {
                commit_group(connection, written, vec![job], metrics, healthy);
            }
        }
        Err(error) => {
            healthy.store(false, Ordering::Relaxed);
            written.clear();
            tracing::error!(%error, records, "the ledger did not commit");
            for job in jobs {
                if matches!(job, Job::Commit(_, None)) {
                    metrics.records_dropped.inc_by(job.records() as u64);
                }
                answer(job, Err(LedgerError::Database(error.to_string())));
            }
        }
    }
}

/// What applying a job yields, before it is durable.
enum Applied {
    Commit,
    Events(Vec<EventResult>),
    Expire(bool),
    Transition(bool),
    Note,
}

fn apply(transaction: &Connection, written: &mut Written, job: &Job) -> Result<Applied, rusqlite::Error> {
    match job {
        Job::Commit(commit, _) => {
            store_commit(transaction, written, commit)?;
            Ok(Applied::Commit)
        }
        Job::Events(events, now_ms, _) => Ok(Applied::Events(
            events.iter().map(|event| store_event(transaction, event, *now_ms)).collect::<Result<_, _>>()?,
        )),
        Job::Expire { before_ms, keys_before_ms, .. } => {
            expire(transaction, *before_ms, *keys_before_ms).map(Applied::Expire)
        }
        Job::Transition(transition, _) => store_transition(transaction, transition).map(Applied::Transition),
        Job::Note(note, _) => {
            match note {
                Note::Shadows(rows) => store_shadows(transaction, rows)?,
                Note::Moment(experiment, time_ms, json) => store_moment(transaction, experiment, *time_ms, json)?,
                Note::Approval(experiment, approval) => store_approval(transaction, experiment, approval)?,
                Note::FinalReport(report) => store_final_report(transaction, report)?,
            }
            Ok(Applied::Note)
        }
    }
}

fn answer(job: Job, result: Result<Applied, LedgerError>) {
    // Whoever waited may be gone; what is committed stays committed.
    match (job, result) {
        (Job::Commit(_, Some(done)), result) => done(result.map(drop)),
        (Job::Commit(_, None), _) => {}
        (Job::Events(_, _, done), Ok(Applied::Events(results))) => drop(done.send(Ok(results))),
        (Job::Expire { done, .. }, Ok(Applied::Expire(more))) => drop(done.send(Ok(more))),
        (Job::Transition(_, done), Ok(Applied::Transition(changed))) => drop(done.send(Ok(changed))),
        (Job::Transition(_, done), Err(error)) => drop(done.send(Err(error))),
        (Job::Note(_, None), _) => {}
        (Job::Note(_, Some(done)), result) => drop(done.send(result.map(drop))),
        (Job::Events(_, _, done), Err(error)) => drop(done.send(Err(error))),
        (Job::Expire { done, .. }, Err(error)) => drop(done.send(Err(error))),
        (Job::Events(..) | Job::Expire { .. } | Job::Transition(..), Ok(_)) => {}
    }
}
