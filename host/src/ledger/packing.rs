//! Packing of records. Records of one kind share most of their texts: names, digests, reasons. These
//! are their dictionary, which is stored once, and a record is stored in the core's binary form,
//! without them: a quarter of its JSON in the example. A dictionary is made from
//! a record of its kind, without any data about its entity.

use std::collections::HashMap;
use std::hash::{Hash as _, Hasher as _};
use std::sync::Arc;

use parking_lot::Mutex;
use rusqlite::{Connection, params};
use rustc_hash::FxHasher;
use serde::Serialize;
use serin_core::NameMap;
use serin_core::record::binary::{self, EncodeError, Words};
use serin_core::record::{Attempt, Entropy, Outcome, Record};
use serin_core::value::Value;

use super::packed::{COMPRESSED, MAX_BYTES, PLAIN, SharedWords};

/// The most kinds known at a time; beyond that all are learned again.
const KINDS: usize = 256;

/// A kind's dictionary is written again every day, so that unexpired records need only recent
/// dictionaries.
pub(super) const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// From this length on the binary form is compressed (LZ4): it has texts of its own, which a strategy
/// has logged for example. Below, compressing costs more than it saves.
const COMPRESSED_FROM: usize = 4 << 10;

/// The most bytes of a shadow attempt. Model calls and log lines are dropped first: their own bounds
/// are meant for decisions that are served.
const MAX_ATTEMPT_BYTES: usize = 64 << 10;

/// A packed shadow attempt.
#[derive(Debug, Clone, Default)]
pub struct PackedAttempt {
    pub(super) bytes: Vec<u8>,
    pub(super) dictionary: Option<Arc<Dictionary>>,
    /// Bytes that were left out.
    pub(super) cut: u64,
}

/// A dictionary: the words that records of a kind share.
#[derive(Debug)]
pub struct Dictionary {
    /// The beginning of the SHA-256 of its bytes.
    pub(super) id: i64,
    /// When it was last learned.
    pub(super) time_ms: u64,
    /// The words, as they are stored.
    pub(super) bytes: Vec<u8>,
    /// The same, for reading and writing.
    pub(super) words: Arc<SharedWords>,
}

/// Finds or creates the dictionary of a record's kind.
#[derive(Debug, Default)]
pub struct Packer {
    known: Mutex<HashMap<u64, Arc<Dictionary>>>,
}

/// What a record or attempt is stored as.
pub(super) struct Packed {
    pub bytes: Vec<u8>,
    pub dictionary: Arc<Dictionary>,
    pub digest: String,
}

impl Packer {
    /// A record as it is stored.
    pub(super) fn pack(&self, record: &Record) -> Result<Packed, EncodeError> {
        let dictionary = self.of_kind(kind(record), record.time_ms, || Words::of(&without_anybody(record)))?;
        pack(record, dictionary)
    }

    /// The dictionary of a kind, created if there is none yet.
    fn of_kind(
        &self,
        kind: u64,
        time_ms: u64,
        words: impl FnOnce() -> Result<Words, EncodeError>,
    ) -> Result<Arc<Dictionary>, EncodeError> {
        if let Some(found) = self.known.lock().get(&kind) {
            return Ok(Arc::clone(found));
        }
        let words = words()?;
        let bytes = words.to_bytes();
        let words = SharedWords::new(words, &bytes);
        let id = i64::from_be_bytes(*words.digest.first_chunk().unwrap_or(&[0; 8]));
        let made = Arc::new(Dictionary { id, time_ms, bytes, words: Arc::new(words) });
        let mut known = self.known.lock();
        if known.len() >= KINDS {
            known.clear();
        }
        known.insert(kind, Arc::clone(&made));
        Ok(made)
    }

    /// A shadow's attempt on a decision made at `time_ms`.
    pub(super) fn pack_attempt(&self, time_ms: u64, of: (&str, &str), attempt: &Attempt) -> PackedAttempt {
        let mut hasher = FxHasher::default();
        (time_ms / DAY_MS, of, &attempt.strategy.digest, attempt.outcome.label()).hash(&mut hasher);
        let blank = || {
            let mut blank = attempt.clone();
            clear_attempt(&mut blank);
            Words::of(&blank)
        };
        let Ok(dictionary) = self.of_kind(hasher.finish(), time_ms, blank) else {
            return PackedAttempt::default();
        };
        let encode = |attempt: &Attempt| binary::encode(attempt, &dictionary.words.words).unwrap_or_default();
        let mut bytes = encode(attempt);
        let whole = bytes.len();
        if whole > MAX_ATTEMPT_BYTES {
            let mut less = attempt.clone();
            less.transcript.clear();
            less.logs.clear();
            less.logs_cut = true;
            bytes = encode(&less);
            if bytes.len() > MAX_ATTEMPT_BYTES {
                bytes.clear();
            }
        }
        let cut = (whole - bytes.len()) as u64;
        if bytes.is_empty() {
            return PackedAttempt { bytes, dictionary: None, cut };
        }
        PackedAttempt { bytes: formed(bytes), dictionary: Some(dictionary), cut }
    }
}

fn pack<T: Serialize>(value: &T, dictionary: Arc<Dictionary>) -> Result<Packed, EncodeError> {
    let bytes = binary::encode(value, &dictionary.words.words)?;
    let digest = dictionary.words.digest_of(&bytes);
    Ok(Packed { bytes: formed(bytes), dictionary, digest })
}

/// The bytes that are stored: which form they have, and the binary form, compressed if that is worth it.
fn formed(bytes: Vec<u8>) -> Vec<u8> {
    let form = |form: u8, bytes: &[u8]| [&[form], bytes].concat();
    if (COMPRESSED_FROM..=MAX_BYTES).contains(&bytes.len()) {
        let compressed = lz4_flex::block::compress_prepend_size(&bytes);
        if compressed.len() < bytes.len() {
            return form(COMPRESSED, &compressed);
        }
    }
    form(PLAIN, &bytes)
}

/// A kind of record: made by the same deployment parts on the same day.
fn kind(record: &Record) -> u64 {
    let mut hasher = FxHasher::default();
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
