//! Packing of records. Records of one kind share most of their text: names, digests, limits. So
//! each is compressed (LZ4) against a dictionary of its kind, to a fifth of its size, and a commit
//! writes that much less. A dictionary is a record of its kind without any data about its entity.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use parking_lot::Mutex;
use rusqlite::{Connection, OptionalExtension, params};
use serin_core::NameMap;
use serin_core::record::{Attempt, Entropy, Outcome, Record};
use serin_core::value::Value;
use sha2::Digest as _;

/// The most kinds known at a time; beyond that all are learned again.
const KINDS: usize = 256;

/// A kind's dictionary is written again every day, so that unexpired records need only recent
/// dictionaries.
pub(super) const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// The most bytes of a record that are compressed, and allocated when one is read.
const MAX_BYTES: usize = 64 << 20;

/// The most bytes of a shadow attempt's JSON. Model calls and log lines are dropped first: their
/// own bounds are meant for decisions that are served.
const MAX_ATTEMPT_BYTES: usize = 64 << 10;

/// A packed shadow attempt.
#[derive(Debug, Clone, Default)]
pub struct PackedAttempt {
    pub(super) bytes: Vec<u8>,
    pub(super) dictionary: Option<Arc<Dictionary>>,
    /// Bytes of its JSON that were left out.
    pub(super) cut: u64,
}

/// A dictionary: the text that records of a kind share.
#[derive(Debug)]
pub struct Dictionary {
    /// The beginning of the SHA-256 of its bytes.
    pub(super) id: i64,
    /// When it was last learned.
    pub(super) time_ms: u64,
    /// The text.
    pub(super) bytes: Vec<u8>,
}

/// Finds or creates the dictionary of a record's kind.
#[derive(Debug, Default)]
pub struct Packer {
    known: Mutex<HashMap<u64, Arc<Dictionary>>>,
}

impl Packer {
    /// A record's `bytes`, compressed, and their dictionary; uncompressed without one.
    pub(super) fn pack(&self, record: &Record, bytes: Vec<u8>) -> (Vec<u8>, Option<Arc<Dictionary>>) {
        if bytes.len() > MAX_BYTES {
            return (bytes, None);
        }
        let Some(dictionary) = self.dictionary(record) else {
            return (bytes, None);
        };
        (lz4_flex::block::compress_prepend_size_with_dict(&bytes, &dictionary.bytes), Some(dictionary))
    }

    fn dictionary(&self, record: &Record) -> Option<Arc<Dictionary>> {
        self.of_kind(kind(record), record.time_ms, || serde_json::to_vec(&without_anybody(record)).ok())
    }

    /// The dictionary of a kind, created if there is none yet.
    fn of_kind(&self, kind: u64, time_ms: u64, text: impl FnOnce() -> Option<Vec<u8>>) -> Option<Arc<Dictionary>> {
        if let Some(found) = self.known.lock().get(&kind) {
            return Some(Arc::clone(found));
        }
        let bytes = text()?;
        let digest = sha2::Sha256::digest(&bytes);
        let id = i64::from_be_bytes(digest[..8].try_into().ok()?);
        let made = Arc::new(Dictionary { id, time_ms, bytes });
        let mut known = self.known.lock();
        if known.len() >= KINDS {
            known.clear();
        }
        known.insert(kind, Arc::clone(&made));
        Some(made)
    }

    /// A shadow's attempt on a decision made at `time_ms`, compressed.
    pub(super) fn pack_attempt(&self, time_ms: u64, of: (&str, &str), attempt: &Attempt) -> PackedAttempt {
        let json = |attempt: &Attempt| serde_json::to_vec(attempt).unwrap_or_default();
        let mut bytes = json(attempt);
        let whole = bytes.len();
        if whole > MAX_ATTEMPT_BYTES {
            let mut less = attempt.clone();
            less.transcript.clear();
            less.logs.clear();
            less.logs_cut = true;
            bytes = json(&less);
            if bytes.len() > MAX_ATTEMPT_BYTES {
                bytes.clear();
            }
        }
        let cut = (whole - bytes.len()) as u64;
        let mut hasher = DefaultHasher::new();
        (time_ms / DAY_MS, of, &attempt.strategy.digest, attempt.outcome.label()).hash(&mut hasher);
        let blank = || {
            let mut blank = attempt.clone();
            clear_attempt(&mut blank);
            serde_json::to_vec(&blank).ok()
        };
        match self.of_kind(hasher.finish(), time_ms, blank) {
            Some(dictionary) if !bytes.is_empty() => {
                let bytes = lz4_flex::block::compress_prepend_size_with_dict(&bytes, &dictionary.bytes);
                PackedAttempt { bytes, dictionary: Some(dictionary), cut }
            }
            _ => PackedAttempt { bytes, dictionary: None, cut },
        }
    }
}

/// Unpacks bytes.
pub(super) fn unpack(packed: &[u8], dictionary: &[u8]) -> Result<Vec<u8>, String> {
    let (size, rest) = lz4_flex::block::uncompressed_size(packed).map_err(|e| format!("the record is broken: {e}"))?;
    if size > MAX_BYTES {
        return Err(format!("the record is broken: {size} bytes, {MAX_BYTES} at most"));
    }
    lz4_flex::block::decompress_with_dict(rest, size, dictionary).map_err(|e| format!("the record is broken: {e}"))
}

/// A kind of record: made by the same deployment parts on the same day.
fn kind(record: &Record) -> u64 {
    let mut hasher = DefaultHasher::new();
    (record.time_ms / DAY_MS, record.generation, &record.decision_point).hash(&mut hasher);
    if let Some(assignment) = &record.routing.assignment {
        (&assignment.spec_digest, &assignment.arm).hash(&mut hasher);
    }
    for attempt in &record.attempts {
        (&attempt.strategy.digest, attempt.outcome.label()).hash(&mut hasher);
    }
    hasher.finish()
}

/// A record with its kind's names but no value that was read, sent or computed.
fn without_anybody(record: &Record) -> Record {
    let mut blank = record.clone();
    blank.decision_id.clear();
    blank.trace_id = None;
    blank.time_ms = 0;
    blank.generation = 0;
    blank.entities.values_mut().for_each(String::clear);
    blank.context = missing(&record.context);
    for row in blank.features.values_mut() {
        row.entity = row.entity.as_ref().map(|_| String::new());
        row.event_time_ms = row.event_time_ms.map(|_| 0);
        row.column_times_ms.clear();
        row.stale_columns.clear();
        row.values.fill(&Value::Missing);
    }
    blank.routing.excluded = None;
    blank.routing.not_enrolled = None;
    blank.routing.place = blank.routing.place.map(|_| 0.0);
    if let Some(unit) = &mut blank.routing.unit {
        unit.id.clear();
    }
    blank.attempts.iter_mut().for_each(clear_attempt);
    blank.entropy = Entropy(0);
    blank.answer.parameters = missing(&record.answer.parameters);
    blank.answer.reasons.iter_mut().for_each(|reason| reason.weight = 0.0);
    blank.timings_us.values_mut().for_each(|us| *us = 0);
    blank
}

/// Removes all values from an attempt that were read, sent or computed.
fn clear_attempt(attempt: &mut Attempt) {
    for score in &mut attempt.scores {
        score.inputs.fill(&0.0);
        score.value = score.value.map(|_| 0.0);
    }
    attempt.transcript.clear();
    attempt.logs.clear();
    match &mut attempt.outcome {
        Outcome::Candidates(candidates) => {
            for candidate in candidates {
                candidate.parameters = missing(&candidate.parameters);
                candidate.reasons.iter_mut().for_each(|reason| reason.weight = 0.0);
            }
        }
        Outcome::Refusal { message: text, .. } | Outcome::Failure { detail: text, .. } => text.clear(),
    }
    (attempt.fuel, attempt.time_us) = (0, 0);
}

fn missing(values: &NameMap<Value>) -> NameMap<Value> {
    values.keys().map(|name| (name.clone(), Value::Missing)).collect()
}

/// Dictionaries known to be in the database, with their stored times. Cleared when a transaction
/// fails.
pub(super) type Written = HashMap<i64, u64>;

/// Stored in the transaction of the first record that needs it, so that no record lacks its
/// dictionary.
pub(super) fn store_dictionary(
    transaction: &Connection,
    written: &mut Written,
    dictionary: &Dictionary,
) -> Result<(), rusqlite::Error> {
    if written.get(&dictionary.id) == Some(&dictionary.time_ms) {
        return Ok(());
    }
    transaction
        .prepare_cached(
            "INSERT INTO dictionaries (id, time_ms, bytes) VALUES (?1, ?2, ?3)
             ON CONFLICT (id) DO UPDATE SET time_ms = max(time_ms, excluded.time_ms)",
        )?
        .execute(params![dictionary.id, dictionary.time_ms as i64, dictionary.bytes])?;
    written.insert(dictionary.id, dictionary.time_ms);
    Ok(())
}

/// Cached dictionaries.
#[derive(Debug, Default)]
pub struct Dictionaries(Mutex<HashMap<i64, Arc<[u8]>>>);

/// The most cached dictionaries.
const DICTIONARIES: usize = 256;

impl Dictionaries {
    pub(super) fn get(&self, db: &Connection, id: i64) -> rusqlite::Result<Arc<[u8]>> {
        if let Some(found) = self.0.lock().get(&id) {
            return Ok(Arc::clone(found));
        }
        let sql = "SELECT bytes FROM dictionaries WHERE id = ?1";
        let read: Option<Vec<u8>> = db.prepare_cached(sql)?.query_row([id], |row| row.get(0)).optional()?;
        let Some(read) = read else {
            // Without it the record is unreadable, which its digest detects.
            return Ok(Arc::default());
        };
        let read: Arc<[u8]> = read.into();
        let mut known = self.0.lock();
        if known.len() >= DICTIONARIES {
            known.clear();
        }
        known.insert(id, Arc::clone(&read));
        Ok(read)
    }
}
