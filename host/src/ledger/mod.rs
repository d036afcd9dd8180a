//! The ledger stores decisions, exposures, outcomes and experiment status. One writer commits in
//! groups; an answer leaves only after its commit.

mod affected;
mod approvals;
mod audit;
mod bounded;
mod cells;
mod checkpoint;
mod clock_guard;
mod consequences;
mod entries;
mod events;
mod expiry;
mod facts;
mod feeds;
mod feeds_as_of;
mod final_reports;
mod history;
mod last_seen;
mod log_readers;
mod pace;
mod packed;
mod packing;
mod place;
mod positions;
mod read;
mod reader;
mod references;
mod rows;
mod schema;
mod shadows;
mod store;
mod stored;
mod transitions;
mod writer;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use arc_swap::ArcSwapOption;
use parking_lot::RwLock;
use reader::reader;
use rusqlite::Connection;
use serin_core::Name;
use serin_core::experiment::Attribute;
use serin_core::record::binary::EncodeError;
use serin_core::record::{Attempt, Record};
use tokio::sync::oneshot;

pub use affected::{AffectedOutcome, AffectedUnit};
pub use approvals::Approval;
pub use audit::{AuditEntry, AuditFilter, StoredAuditEntry};
pub use clock_guard::{ClockGuard, ConfirmError};
pub use consequences::{Consequence, Consequences, TakenBack};
pub use events::{Arrival, Event, EventResult, ExposureInput, OutcomeInput, OutcomeSubject, ReversalInput};
pub use expiry::{Retention, RowsNeeded};
pub use facts::{
    Cursor, DecisionFact, ExcludedFact, ExposureFact, Fact, OutcomeFact, Snapshot, UnitFact, UnreadableFact,
};
pub use feeds::WatermarkInput;
pub use final_reports::{FinalReport, ship_report};
pub use last_seen::{ClockState, LastSeen};
pub use packing::{Dictionary, PackedAttempt, Packer};
pub use place::Trouble;
pub use read::{DecisionFilter, Reads, StoredAnswer};
pub use reader::{LedgerReader, lock, schema_version};
pub use rows::{Commit, DecisionRow, IdempotentAnswer, Note};
pub use schema::SCHEMA;
pub use shadows::{ShadowAttempt, ShadowCount, ShadowLatency, ShadowRow};
pub use stored::{RecordError, StoredRecord};
pub use transitions::{Transition, TransitionRow};
pub use writer::OnCommitted;

use crate::files;
use crate::telemetry::Metrics;
use writer::Job;

/// The most commits that may wait for the writer.
const QUEUE: usize = 4096;
/// Reading connections kept open.
const READERS: usize = 16;

/// What a commit survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// A process crash at any instant.
    Process,
    /// Also a power cut.
    Power,
}

impl Durability {
    /// The name in `serin.toml` and in answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Power => "power",
        }
    }

    /// What an answered decision with its idempotency key survives, and what a change of an
    /// experiment's status survives.
    pub fn survives(self) -> [(&'static str, &'static str); 2] {
        const ALL: &str = "the death of the process, and a power cut";
        let decisions = match self {
            Self::Process => "the death of the process; a power cut may take the last seconds",
            Self::Power => ALL,
        };
        [("decisions", decisions), ("transitions", ALL)]
    }
}

/// Why an operation of the ledger failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LedgerError {
    /// The queue is full.
    #[error("the ledger's queue is full")]
    QueueFull,
    /// A read exceeded its deadline.
    #[error("the ledger took too long to read")]
    TimedOut,
    /// It is closed, because the host is stopping.
    #[error("the ledger is closed")]
    Closed,
    /// The database failed.
    #[error("ledger: {0}")]
    Database(String),
    /// A row was altered from outside so that it cannot be read.
    #[error("ledger: {0}")]
    Altered(String),
    /// Another host has opened the ledger.
    #[error("ledger {0}: another host is running on it; stop that one, or give this one a ledger of its own")]
    Locked(String),
    /// Its file was moved or removed while it was open.
    #[error(
        "ledger {0}: its file was moved or removed, and what is written to it would be lost; put it back, or restore a backup before a start"
    )]
    Moved(String),
    /// It was written by an earlier version.
    #[error("ledger: schema {found} is older than what this program reads ({known}); serin serve brings it to {known}")]
    TooOld {
        /// The schema found.
        found: i64,
        /// The one that is read.
        known: i64,
    },
    /// It was written by a newer version.
    #[error("ledger: schema {found} is newer than this program knows ({known}); use a newer serin")]
    TooNew {
        /// The schema found.
        found: i64,
        /// The newest one known.
        known: i64,
    },
}

impl From<rusqlite::Error> for LedgerError {
    fn from(error: rusqlite::Error) -> Self {
        match cells::fault(&error) {
            _ if bounded::is_interrupted(&error) => Self::TimedOut,
            Some(why) => Self::Altered(why),
            None => Self::Database(error.to_string()),
        }
    }
}

/// The ledger of a host. [`Ledger::close`] or dropping it commits what is queued.
pub struct Ledger {
    path: PathBuf,
    place: Arc<place::Place>,
    durability: Durability,
    /// None once it is closed. A job that is offered meanwhile is committed or returned.
    jobs: ArcSwapOption<mpsc::SyncSender<Job>>,
    /// The writer's and the checkpointing thread. Closing holds the lock until they have ended.
    threads: RwLock<Vec<std::thread::JoinHandle<()>>>,
    readers: Mutex<Vec<Connection>>,
    bounded: Mutex<Vec<LedgerReader>>,
    packer: Packer,
    dictionaries: packed::Dictionaries,
    healthy: Arc<AtomicBool>,
    lock: Mutex<Option<File>>,
}

impl Ledger {
    /// Opens the ledger at `path` for the one host that writes to it.
    ///
    /// # Errors
    /// That another host has opened it, that it is of a newer version, or SQLite's error.
    pub fn open(path: &Path, durability: Durability, metrics: Arc<Metrics>) -> Result<Self, LedgerError> {
        let failed = |e: std::io::Error| LedgerError::Database(format!("{}: {e}", path.display()));
        if let Some(dir) = path.parent() {
            files::create_private_dir(dir).map_err(failed)?;
        }
        let lock = lock(path)?;
        // SQLite gives its write-ahead log the mode of the database.
        files::open_private(path).map_err(failed)?;
        let connection = schema::open(path, durability)?;
        if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
            // A new file's name is stored in its folder: without this sync a power cut could lose
            // it.
            File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed)?;
        }
        let beside = schema::connect(path, durability)?;
        let finish = Arc::new(AtomicBool::new(false));
        let (nudge, nudges) = mpsc::sync_channel(1);
        let asked = Arc::clone(&finish);
        let mut log = checkpoint::Log::of(path, Arc::clone(&metrics));
        let place = Arc::new(place::Place::of(path));
        let looked_at = Arc::clone(&place);
        let checkpoints = std::thread::Builder::new()
            .name("serin-checkpoint".into())
            .spawn(move || checkpoint::run(&beside, &mut log, &nudges, &asked, &looked_at))
            .map_err(failed)?;
        let (jobs, queue) = mpsc::sync_channel(QUEUE);
        let healthy = Arc::new(AtomicBool::new(true));
        let health = Arc::clone(&healthy);
        let writer = writer::Writer::new(connection, durability, metrics, health);
        let writer = std::thread::Builder::new()
            .name("serin-ledger".into())
            .spawn(move || writer.run(&queue, &finish, &nudge))
            .map_err(failed)?;
        Ok(Self {
            path: path.to_owned(),
            place,
            durability,
            jobs: ArcSwapOption::from_pointee(jobs),
            threads: RwLock::new(vec![writer, checkpoints]),
            readers: Mutex::new(Vec::new()),
            // Open from the start: where the file was moved, what it has can still be shown.
            bounded: Mutex::new(vec![LedgerReader::open(path)?]),
            packer: Packer::default(),
            dictionaries: packed::Dictionaries::default(),
            healthy,
            lock: Mutex::new(Some(lock)),
        })
    }

    /// Closes the ledger. When this returns, queued jobs are committed, the writer has ended, and
    /// another host may open the file. Later operations fail with [`LedgerError::Closed`], whoever
    /// still holds a reference.
    pub fn close(&self) {
        // The writer ends with its queue, the queue with the last sender, and the other thread with
        // the writer.
        let mut threads = self.threads.write();
        drop(self.jobs.swap(None));
        for thread in threads.drain(..) {
            // A panic was reported on its own thread.
            let _ = thread.join();
        }
        self.readers.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.bounded.lock().unwrap_or_else(PoisonError::into_inner).clear();
        // Closing the file releases the lock.
        drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    /// What a commit survives.
    pub fn durability(&self) -> Durability {
        self.durability
    }

    /// Says whether the last commit succeeded, and the next one can.
    pub fn is_healthy(&self) -> bool {
        self.trouble().is_none()
    }

    /// Why nothing is recorded; none where the last commit succeeded, and the writer is there for the next one.
    pub fn trouble(&self) -> Option<Trouble> {
        if self.place.is_lost() {
            return Some(Trouble::Moved);
        }
        // Locked while it is being closed.
        let is_running =
            || self.threads.try_read().is_some_and(|threads| threads.first().is_some_and(|t| !t.is_finished()));
        (!self.healthy.load(Ordering::Relaxed) || !is_running()).then_some(Trouble::CommitFailed)
    }

    /// Refuses what would be written into a data folder that is gone.
    ///
    /// # Errors
    /// That the ledger's file was moved or removed.
    pub fn check_place(&self) -> Result<(), LedgerError> {
        self.place.check()
    }

    /// Notes that a commit timed out or failed. The next successful one clears it.
    pub fn suspect(&self) {
        self.healthy.store(false, Ordering::Relaxed);
    }

    /// The row of a record, with the attributes that its experiment's analysis uses, ready to
    /// commit.
    ///
    /// # Errors
    /// That the record cannot be encoded, which never happens to a finished one.
    pub fn row(&self, record: &Record, attributes: &[Attribute]) -> Result<DecisionRow, EncodeError> {
        DecisionRow::of(record, attributes, &self.packer)
    }

    /// Queues a job. A job that was not accepted is returned with the reason.
    fn offer(&self, job: Job) -> Option<(Job, LedgerError)> {
        if let Err(error) = self.place.check() {
            return Some((job, error));
        }
        let jobs = self.jobs.load();
        let Some(jobs) = &*jobs else {
            return Some((job, LedgerError::Closed));
        };
        Some(match jobs.try_send(job).err()? {
            mpsc::TrySendError::Full(job) => (job, LedgerError::QueueFull),
            mpsc::TrySendError::Disconnected(job) => (job, LedgerError::Database("the writer has stopped".to_owned())),
        })
    }

    fn send(&self, job: Job) -> Result<(), LedgerError> {
        self.offer(job).map_or(Ok(()), |(_, error)| Err(error))
    }

    /// Queues a commit. The receiver learns when it is durable.
    ///
    /// # Errors
    /// That the queue is full; then nothing is committed.
    pub fn commit(&self, commit: Commit) -> Result<oneshot::Receiver<Result<(), LedgerError>>, LedgerError> {
        let (done, wait) = oneshot::channel();
        // The receiver may be gone; the commit stands.
        self.send(Job::Commit(commit, Some(Box::new(move |result| drop(done.send(result))))))?;
        Ok(wait)
    }

    /// Queues a commit. `then` is called with the result on the writer's thread, so it must be
    /// quick; if the queue is full it is called at once.
    pub fn commit_then(&self, commit: Commit, then: OnCommitted) {
        if let Some((Job::Commit(_, Some(then)), error)) = self.offer(Job::Commit(commit, Some(then))) {
            then(Err(error));
        }
    }

    /// Queues a commit without waiting for it.
    ///
    /// # Errors
    /// That the queue is full; then the records are lost, and the caller counts them.
    pub fn commit_unwaited(&self, commit: Commit) -> Result<(), LedgerError> {
        self.send(Job::Commit(commit, None))
    }

    /// Queues events; each has its own result.
    ///
    /// # Errors
    /// That the queue is full.
    pub fn events(
        &self,
        events: Vec<Event>,
        arrival: Arrival,
    ) -> Result<oneshot::Receiver<Result<Vec<EventResult>, LedgerError>>, LedgerError> {
        let (done, wait) = oneshot::channel();
        self.send(Job::Events(events, arrival, done))?;
        Ok(wait)
    }

    /// Runs one batch of expiry, which occupies the writer for some milliseconds. Says whether more
    /// is left.
    ///
    /// # Errors
    /// That the queue is full.
    pub fn expire(&self, retention: Retention) -> Result<oneshot::Receiver<Result<bool, LedgerError>>, LedgerError> {
        let (done, wait) = oneshot::channel();
        self.send(Job::Expire(Box::new(retention), done))?;
        Ok(wait)
    }

    /// Commits a change of an experiment's status, and waits until it is on disk, whatever the
    /// ledger's durability. Says whether the status was still the one that the change starts from.
    ///
    /// # Errors
    /// That the queue is full, or SQLite's error.
    pub fn transition(&self, transition: Transition) -> Result<bool, LedgerError> {
        let (done, wait) = mpsc::sync_channel(1);
        self.send(Job::Transition(Box::new(transition), done))?;
        wait.recv().unwrap_or_else(|_| Err(LedgerError::Database("the writer has stopped".to_owned())))
    }

    /// Queues what nobody waits for: what shadows did, a point of an experiment's history.
    ///
    /// # Errors
    /// That the queue is full; then it is lost.
    pub fn note(&self, note: Note) -> Result<(), LedgerError> {
        self.send(Job::Note(note, None))
    }

    /// Records an approval of a spec, and waits until it is on disk, whatever the ledger's
    /// durability.
    ///
    /// # Errors
    /// That the queue is full, or SQLite's error.
    pub fn approve(&self, experiment: Name, approval: Approval) -> Result<(), LedgerError> {
        self.note_and_wait(Note::Approval(experiment, approval))
    }

    /// Stores an experiment's final report, and waits until it is on the disk, whatever the
    /// ledger's durability.
    ///
    /// # Errors
    /// That the queue is full, or SQLite's error.
    pub fn keep_final_report(&self, report: FinalReport) -> Result<(), LedgerError> {
        self.note_and_wait(Note::FinalReport(report))
    }

    /// Records whether the clock is trusted, and waits until it is on disk.
    ///
    /// # Errors
    /// That the queue is full, or SQLite's error.
    pub fn note_clock(&self, clock: ClockState) -> Result<(), LedgerError> {
        self.note_and_wait(Note::Clock(clock))
    }

    /// Adds an entry to the audit, and waits until it is committed.
    ///
    /// # Errors
    /// That the queue is full, or SQLite's error; then it is not known to be there.
    pub fn audit(&self, entry: AuditEntry) -> Result<(), LedgerError> {
        self.note_and_wait(Note::Audit(entry))
    }

    fn note_and_wait(&self, note: Note) -> Result<(), LedgerError> {
        let (done, wait) = mpsc::sync_channel(1);
        self.send(Job::Note(note, Some(done)))?;
        wait.recv().unwrap_or_else(|_| Err(LedgerError::Database("the writer has stopped".to_owned())))
    }

    /// A shadow arm's attempt on a decision, packed like records, and bounded. `kind` identifies
    /// attempts of this arm that share a dictionary.
    pub fn pack_attempt(&self, time_ms: u64, kind: (&str, &str), attempt: &Attempt) -> PackedAttempt {
        self.packer.pack_attempt(time_ms, kind, attempt)
    }

    /// Runs `read` on a reading connection.
    fn with_reader<T>(&self, read: impl FnOnce(&Connection) -> Result<T, LedgerError>) -> Result<T, LedgerError> {
        if self.jobs.load().is_none() {
            return Err(LedgerError::Closed);
        }
        let free = self.readers.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let reader = match free {
            Some(reader) => reader,
            // At its path there may be another one.
            None => self.place.check().and_then(|()| reader(&self.path))?,
        };
        let answer = read(&reader);
        let mut free = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        if free.len() < READERS && self.jobs.load().is_some() {
            free.push(reader);
        }
        answer
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        self.close();
    }
}
