//! What is stored of records, and reading it: the binary form since schema 3 of records, and before it
//! JSON, compressed (LZ4) against a JSON that its kind shared.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use rusqlite::{Connection, OptionalExtension as _};
use serde::de::DeserializeOwned;
use serin_core::record::Record;
use serin_core::record::binary::{self, Words};

/// The first byte of what is stored, where the binary form follows as it is.
pub(super) const PLAIN: u8 = 1;
/// The first byte where it follows compressed.
pub(super) const COMPRESSED: u8 = 2;
/// The first byte of JSON, which needs no dictionary.
const JSON: u8 = b'{';

/// The most bytes of a record that are compressed, and allocated when one is read.
pub(super) const MAX_BYTES: usize = 64 << 20;

/// The words of a kind, and the SHA-256 of the bytes that they are stored as.
#[derive(Debug, Default)]
pub(super) struct SharedWords {
    pub words: Words,
    pub digest: [u8; 32],
}

impl SharedWords {
    pub fn new(words: Words, bytes: &[u8]) -> Self {
        Self { words, digest: crate::digest::sha256(&[bytes]) }
    }

    /// The digest of a record in the binary form: SHA-256 of the words' own, and its bytes.
    pub fn digest_of(&self, bytes: &[u8]) -> String {
        crate::digest::digest_of(&[&self.digest, bytes])
    }
}

/// A stored dictionary.
#[derive(Debug, Clone)]
pub(super) enum StoredDictionary {
    /// Of the binary form.
    Words(Arc<SharedWords>),
    /// Of compressed JSON.
    Json(Arc<[u8]>),
    /// It is not there, or was altered; then no record that needs it can be read.
    Unreadable(Arc<str>),
}

impl StoredDictionary {
    fn parse(bytes: Option<Vec<u8>>) -> Self {
        match bytes {
            None => Self::Unreadable("its dictionary is not there".into()),
            Some(bytes) if bytes.first() == Some(&JSON) => Self::Json(bytes.into()),
            Some(bytes) => match Words::parse(&bytes) {
                Ok(words) => Self::Words(Arc::new(SharedWords::new(words, &bytes))),
                Err(error) => Self::Unreadable(format!("its dictionary was altered: {error}").into()),
            },
        }
    }
}

/// A stored value, unpacked.
pub(super) enum Unpacked<'s> {
    /// JSON.
    Json(Cow<'s, [u8]>),
    /// The binary form.
    Binary(Cow<'s, [u8]>, Arc<SharedWords>),
}

/// Unpacks what is stored, with its dictionary if it has one.
pub(super) fn unpack<'s>(stored: &'s [u8], dictionary: Option<&StoredDictionary>) -> Result<Unpacked<'s>, String> {
    let words = match dictionary {
        Some(StoredDictionary::Json(json)) => return of_json(stored, json).map(|json| Unpacked::Json(json.into())),
        Some(StoredDictionary::Unreadable(why)) => return Err(format!("the record cannot be read: {why}")),
        None if stored.first() == Some(&JSON) => return Ok(Unpacked::Json(stored.into())),
        None => Arc::default(),
        Some(StoredDictionary::Words(words)) => Arc::clone(words),
    };
    match stored.split_first() {
        Some((&PLAIN, bytes)) => Ok(Unpacked::Binary(bytes.into(), words)),
        Some((&COMPRESSED, bytes)) => {
            let (size, rest) = size_of(bytes)?;
            let bytes = lz4_flex::block::decompress(rest, size).map_err(broken)?;
            Ok(Unpacked::Binary(bytes.into(), words))
        }
        _ => Err(broken("it begins like none that is known here")),
    }
}

fn of_json(stored: &[u8], dictionary: &[u8]) -> Result<Vec<u8>, String> {
    let (size, rest) = size_of(stored)?;
    lz4_flex::block::decompress_with_dict(rest, size, dictionary).map_err(broken)
}

fn size_of(compressed: &[u8]) -> Result<(usize, &[u8]), String> {
    let (size, rest) = lz4_flex::block::uncompressed_size(compressed).map_err(broken)?;
    if size > MAX_BYTES {
        return Err(broken(format_args!("{size} bytes, {MAX_BYTES} at most")));
    }
    Ok((size, rest))
}

fn broken(why: impl std::fmt::Display) -> String {
    format!("the record is broken: {why}")
}

impl Unpacked<'_> {
    /// The digest that is stored beside it.
    pub fn digest(&self) -> String {
        match self {
            Self::Json(json) => crate::digest::digest(json),
            Self::Binary(bytes, words) => words.digest_of(bytes),
        }
    }

    /// The record that it is.
    pub fn record(&self) -> Result<Record, String> {
        match self {
            Self::Json(json) => Record::parse(json),
            Self::Binary(bytes, words) => Record::decode(bytes, &words.words),
        }
    }

    /// The value that it is.
    pub fn value<T: DeserializeOwned>(&self) -> Option<T> {
        match self {
            Self::Json(json) => serde_json::from_slice(json).ok(),
            Self::Binary(bytes, words) => binary::decode(bytes, &words.words).ok(),
        }
    }
}

/// Cached dictionaries.
#[derive(Debug, Default)]
pub struct Dictionaries(Mutex<HashMap<i64, StoredDictionary>>);

/// The most cached dictionaries.
const DICTIONARIES: usize = 256;

impl Dictionaries {
    pub(super) fn get(&self, db: &Connection, id: i64) -> rusqlite::Result<StoredDictionary> {
        if let Some(found) = self.0.lock().get(&id) {
            return Ok(found.clone());
        }
        let sql = "SELECT bytes FROM dictionaries WHERE id = ?1";
        let read: Option<Vec<u8>> = db.prepare_cached(sql)?.query_row([id], |row| row.get(0)).optional()?;
        let read = StoredDictionary::parse(read);
        if matches!(read, StoredDictionary::Unreadable(_)) {
            return Ok(read);
        }
        let mut known = self.0.lock();
        if known.len() >= DICTIONARIES {
            known.clear();
        }
        known.insert(id, read.clone());
        Ok(read)
    }
}
