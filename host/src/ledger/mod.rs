//! The ledger: where decisions, exposures and outcomes are kept. One writer commits for
//! everybody who waits, in groups; an answer leaves only after its commit.

mod affected;
mod bounded;
mod checkpoint;
mod events;
mod facts;
mod moments;
mod packing;
mod read;
mod schema;
mod shadows;
mod store;
mod transitions;
mod writer;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use serin_core::Name;
use serin_core::experiment::Attribute;
use serin_core::record::{Record, RowStatus};
use tokio::sync::{OwnedMutexGuard, oneshot};

pub use affected::{AffectedOutcome, AffectedUnit};
pub use events::{Event, EventResult, ExposureInput, OutcomeInput, OutcomeSubject, ReversalInput};
pub use facts::{Cursor, DecisionFact, ExposureFact, Fact, OutcomeFact, Snapshot, UnitFact};
pub use moments::{Approval, FinalReport};
pub use packing::{Dictionary, Packer};
pub use read::{DecisionFilter, StoredAnswer, StoredRecord};
pub use shadows::{ShadowCount, ShadowLatency, ShadowRow};
pub use transitions::{Transition, TransitionRow};
pub use writer::Then;

use crate::files;
use crate::telemetry::Metrics;
use writer::Job;

/// Commits that may wait for the writer.
const QUEUE: usize = 4096;
/// Reading connections kept open.
const READERS: usize = 16;

/// What a commit survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// The death of the process, at any instant.
    Process,
    /// A power cut, too.
    Power,
}

/// Why the ledger could not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LedgerError {
    /// More is waiting than the queue holds.
    #[error("the ledger's queue is full")]
    QueueFull,
    /// A read took longer than it may.
    #[error("the ledger took too long to read")]
    TimedOut,
    /// The database failed.
    #[error("ledger: {0}")]
    Database(String),
    /// Another host has the ledger.
    #[error("ledger {0}: another host is running on it; stop that one, or give this one a ledger of its own")]
    Locked(String),
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
        if bounded::is_interrupted(&error) { Self::TimedOut } else { Self::Database(error.to_string()) }
    }
}

/// A decision's row: the record's bytes, and what is looked up by.
#[derive(Debug, Clone)]
pub struct DecisionRow {
    /// Id of the decision.
    pub decision_id: String,
    /// When it was made.
    pub time_ms: u64,
    /// Decision point.
    pub point: String,
    /// The unit's id.
    pub unit: Option<String>,
    /// The experiment and arm.
    pub assignment: Option<(String, String)>,
    /// Who served.
    pub served_by: &'static str,
    /// What came of the first attempt; none where nothing was tried.
    pub outcome: Option<&'static str>,
    /// The action.
    pub action: Name,
    /// Microseconds that it took.
    pub took_us: u64,
    /// Whether its arm was chosen by hand.
    pub forced: bool,
    /// The batch that its arm was drawn in.
    pub batch: Option<u32>,
    /// What its experiment's analysis looks at of the unit, as JSON.
    pub attributes: Option<String>,
    /// The record's JSON, packed.
    pub record: Vec<u8>,
    /// What it is unpacked with; none where it lies there as it is.
    pub dictionary: Option<Arc<Dictionary>>,
    /// SHA-256 of the record's JSON.
    pub digest: String,
}

impl DecisionRow {
    /// The row of a record whose experiment's analysis looks at `attributes`.
    ///
    /// # Errors
    /// That the record has no form in JSON, which a finished one always has.
    pub fn of(record: &Record, attributes: &[Attribute], packer: &Packer) -> serde_json::Result<Self> {
        let bytes = serde_json::to_vec(record)?;
        let digest = serin_core::digest(&bytes);
        let (bytes, dictionary) = packer.pack(record, bytes);
        Ok(Self {
            decision_id: record.decision_id.clone(),
            time_ms: record.time_ms,
            point: record.decision_point.to_string(),
            unit: record.unit().map(|unit| unit.id.clone()),
            assignment: record.routing.assignment.as_ref().map(|a| (a.experiment.to_string(), a.arm.to_string())),
            served_by: record.answer.served_by.as_str(),
            outcome: record.attempts.first().map(|attempt| attempt.outcome.label()),
            action: record.answer.action.clone(),
            took_us: record.timings_us.values().sum(),
            forced: record.routing.assignment.as_ref().is_some_and(|a| a.forced),
            batch: record.routing.assignment.as_ref().and_then(|a| a.batch),
            attributes: looked_at(record, attributes),
            record: bytes,
            dictionary,
            digest,
        })
    }
}

/// A JSON object of the values that are known. A stale one is not.
fn looked_at(record: &Record, attributes: &[Attribute]) -> Option<String> {
    if attributes.is_empty() || record.routing.assignment.is_none() {
        return None;
    }
    let value = |attribute: &Attribute| {
        let row = record.features.get(&attribute.view);
        let is_fresh = row.is_none_or(|row| row.status_of(&attribute.name) == RowStatus::Present);
        record.feature(&attribute.view, &attribute.name).filter(|value| is_fresh && !value.is_missing())
    };
    let known = attributes.iter().filter_map(|attribute| Some((attribute.to_string(), value(attribute)?)));
    serde_json::to_string(&known.collect::<std::collections::BTreeMap<_, _>>()).ok()
}

/// An answer to be kept under an idempotency key.
#[derive(Debug, Clone)]
pub struct IdempotentAnswer {
    /// The key.
    pub key: String,
    /// SHA-256 of the request's body.
    pub request: String,
    /// HTTP status.
    pub status: u16,
    /// The answer's body.
    pub body: Vec<u8>,
    /// When it was given.
    pub time_ms: u64,
}

/// What is committed together.
#[derive(Debug, Default)]
pub struct Commit {
    /// Decisions.
    pub decisions: Vec<DecisionRow>,
    /// The answer that goes with them.
    pub answer: Option<IdempotentAnswer>,
    /// Held until the commit is done, whether or not anybody still waits for it: the answer's
    /// key must not be looked up in between.
    pub guard: Option<OwnedMutexGuard<()>>,
}

/// Small things that are written beside decisions.
#[derive(Debug)]
pub enum Note {
    /// What shadow arms did.
    Shadows(Vec<ShadowRow>),
    /// What was known of an experiment, as JSON, and when.
    Moment(Name, u64, String),
    /// Somebody's agreement to an experiment's spec.
    Approval(Name, Approval),
    /// An experiment's report as of its end.
    FinalReport(FinalReport),
}

/// The ledger of a host. Dropping it commits what is queued.
pub struct Ledger {
    path: PathBuf,
    jobs: Option<mpsc::SyncSender<Job>>,
    writer: Option<std::thread::JoinHandle<()>>,
    checkpoints: Option<std::thread::JoinHandle<()>>,
    readers: Mutex<Vec<Connection>>,
    bounded: Mutex<Vec<LedgerReader>>,
    packer: Packer,
    dictionaries: read::Dictionaries,
    healthy: Arc<AtomicBool>,
    _lock: File,
}

impl Ledger {
    /// Opens the ledger at `path` for the one host that writes to it.
    ///
    /// # Errors
    /// That another host has it, that it is of a newer version, or what SQLite says.
    pub fn open(path: &Path, durability: Durability, metrics: Arc<Metrics>) -> Result<Self, LedgerError> {
        let failed = |e: std::io::Error| LedgerError::Database(format!("{}: {e}", path.display()));
        if let Some(dir) = path.parent() {
            files::create_private_dir(dir).map_err(failed)?;
        }
        let lock = files::open_private(&path.with_extension("lock")).map_err(failed)?;
        lock.try_lock().map_err(|_| LedgerError::Locked(path.display().to_string()))?;
        // SQLite gives its write-ahead log the mode of the database.
        files::open_private(path).map_err(failed)?;
        let connection = schema::open(path, durability)?;
        let beside = schema::connect(path, durability)?;
        let finish = Arc::new(AtomicBool::new(false));
        let (nudge, nudges) = mpsc::sync_channel(1);
        let asked = Arc::clone(&finish);
        let mut log = path.as_os_str().to_owned();
        log.push("-wal");
        let checkpoints = std::thread::Builder::new()
            .name("serin-checkpoint".into())
            .spawn(move || checkpoint::run(&beside, log.into(), &nudges, &asked))
            .map_err(failed)?;
        let (jobs, queue) = mpsc::sync_channel(QUEUE);
        let healthy = Arc::new(AtomicBool::new(true));
        let health = Arc::clone(&healthy);
        let writer = std::thread::Builder::new()
            .name("serin-ledger".into())
            .spawn(move || writer::run(connection, &queue, &metrics, &health, &finish, &nudge))
            .map_err(failed)?;
        Ok(Self {
            path: path.to_owned(),
            jobs: Some(jobs),
            writer: Some(writer),
            checkpoints: Some(checkpoints),
            readers: Mutex::new(Vec::new()),
            bounded: Mutex::default(),
            packer: Packer::default(),
            dictionaries: read::Dictionaries::default(),
            healthy,
            _lock: lock,
        })
    }

    /// Says whether the last commit succeeded, and the writer is there for the next one.
    pub fn is_healthy(&self) -> bool {
        self.healthy.load(Ordering::Relaxed) && self.writer.as_ref().is_some_and(|writer| !writer.is_finished())
    }

    /// Notes that a commit was waited for in vain. The next one that succeeds clears it.
    pub fn suspect(&self) {
        self.healthy.store(false, Ordering::Relaxed);
    }

    /// The row of a record whose experiment's analysis looks at `attributes`, to be committed.
    ///
    /// # Errors
    /// That the record has no form in JSON, which a finished one always has.
    pub fn row(&self, record: &Record, attributes: &[Attribute]) -> serde_json::Result<DecisionRow> {
        DecisionRow::of(record, attributes, &self.packer)
    }

    /// Queues a job; one that was not taken is given back with the reason.
    fn offer(&self, job: Job) -> Option<(Job, LedgerError)> {
        let Some(jobs) = &self.jobs else {
            return Some((job, LedgerError::Database("closed".to_owned())));
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
    /// That the queue is full; then nothing is going to be committed.
    pub fn commit(&self, commit: Commit) -> Result<oneshot::Receiver<Result<(), LedgerError>>, LedgerError> {
        let (done, wait) = oneshot::channel();
        // Whoever waited may be gone; what is committed stays committed.
        self.send(Job::Commit(commit, Some(Box::new(move |result| drop(done.send(result))))))?;
        Ok(wait)
    }

    /// Queues a commit. `then` learns of its end on the writer's thread, and so does little; or
    /// at once, that the queue is full.
    pub fn commit_then(&self, commit: Commit, then: Then) {
        if let Some((Job::Commit(_, Some(then)), error)) = self.offer(Job::Commit(commit, Some(then))) {
            then(Err(error));
        }
    }

    /// Queues a commit that nobody waits for.
    ///
    /// # Errors
    /// That the queue is full; then the records are lost, and the caller counts them.
    pub fn commit_unwaited(&self, commit: Commit) -> Result<(), LedgerError> {
        self.send(Job::Commit(commit, None))
    }

    /// Queues events; each of them is answered for itself.
    ///
    /// # Errors
    /// That the queue is full.
    pub fn events(
        &self,
        events: Vec<Event>,
        now_ms: u64,
    ) -> Result<oneshot::Receiver<Result<Vec<EventResult>, LedgerError>>, LedgerError> {
        let (done, wait) = oneshot::channel();
        self.send(Job::Events(events, now_ms, done))?;
        Ok(wait)
    }

    /// Deletes decisions older than `before_ms` and idempotency keys older than
    /// `keys_before_ms`, a bounded number at a time; says whether more are left.
    ///
    /// # Errors
    /// That the queue is full.
    pub fn expire(
        &self,
        before_ms: Option<u64>,
        keys_before_ms: u64,
    ) -> Result<oneshot::Receiver<Result<bool, LedgerError>>, LedgerError> {
        let (done, wait) = oneshot::channel();
        self.send(Job::Expire { before_ms, keys_before_ms, done })?;
        Ok(wait)
    }

    /// Commits a change of an experiment's status, and waits for it; says whether it was still the one that
    /// the change is from.
    ///
    /// # Errors
    /// That the queue is full, or what SQLite says.
    pub fn transition(&self, transition: Transition) -> Result<bool, LedgerError> {
        let (done, wait) = mpsc::sync_channel(1);
        self.send(Job::Transition(Box::new(transition), done))?;
        wait.recv().unwrap_or_else(|_| Err(LedgerError::Database("the writer has stopped".to_owned())))
    }

    /// Queues what nobody waits for: what shadows did, what was known at a moment.
    ///
    /// # Errors
    /// That the queue is full; then it is lost.
    pub fn note(&self, note: Note) -> Result<(), LedgerError> {
        self.send(Job::Note(note, None))
    }

    /// Records an agreement to a spec, and waits until it is.
    ///
    /// # Errors
    /// That the queue is full, or what SQLite says.
    pub fn approve(&self, experiment: Name, approval: Approval) -> Result<(), LedgerError> {
        self.note_and_wait(Note::Approval(experiment, approval))
    }

    /// Keeps an experiment's report as of its end, and waits until it is kept.
    ///
    /// # Errors
    /// That the queue is full, or what SQLite says.
    pub fn keep_final_report(&self, report: FinalReport) -> Result<(), LedgerError> {
        self.note_and_wait(Note::FinalReport(report))
    }

    fn note_and_wait(&self, note: Note) -> Result<(), LedgerError> {
        let (done, wait) = mpsc::sync_channel(1);
        self.send(Job::Note(note, Some(done)))?;
        wait.recv().unwrap_or_else(|_| Err(LedgerError::Database("the writer has stopped".to_owned())))
    }

    /// A reading view of its own, for reads that take long.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn reader(&self) -> Result<LedgerReader, LedgerError> {
        LedgerReader::open(&self.path)
    }

    /// Runs `read` on a reading connection.
    fn with_reader<T>(&self, read: impl FnOnce(&Connection) -> Result<T, LedgerError>) -> Result<T, LedgerError> {
        let free = self.readers.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let reader = match free {
            Some(reader) => reader,
            None => reader(&self.path)?,
        };
        let answer = read(&reader);
        let mut free = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        if free.len() < READERS {
            free.push(reader);
        }
        answer
    }
}

/// A reading view of a ledger, of a stopped host's or beside a running one.
pub struct LedgerReader {
    connection: Connection,
    dictionaries: read::Dictionaries,
}

impl LedgerReader {
    /// Opens the ledger at `path` for reading.
    ///
    /// # Errors
    /// What SQLite says, or that the schema is newer.
    pub fn open(path: &Path) -> Result<Self, LedgerError> {
        let connection = reader(path)?;
        schema::check_version(&connection)?;
        Ok(Self { connection, dictionaries: read::Dictionaries::default() })
    }
}

fn reader(path: &Path) -> Result<Connection, LedgerError> {
    // Not read-only: a reader of a write-ahead log needs its shared-memory file, and makes
    // it where the host has stopped.
    let connection =
        Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)
            .map_err(|e| LedgerError::Database(format!("{}: {e}", path.display())))?;
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.pragma_update(None, "query_only", true)?;
    Ok(connection)
}

impl Drop for Ledger {
    fn drop(&mut self) {
        self.jobs = None;
        // The writer ends with its queue, and the other with the writer.
        for thread in [self.writer.take(), self.checkpoints.take()].into_iter().flatten() {
            // One that panicked has said so on its own thread.
            let _ = thread.join();
        }
    }
}
