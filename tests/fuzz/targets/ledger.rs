//! Rows of a ledger that somebody wrote to.

use std::cell::OnceCell;
use std::path::PathBuf;

use rusqlite::{Connection, params};
use serin::ledger::{Durability, Ledger, LedgerReader, Reads as _};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use super::super::readers::is_short;
use super::Target;
use crate::support::root;

/// The length of the dictionary, the dictionary, what is stored of the record.
pub const PACKED: Target = Target {
    name: "packed",
    read: packed,
    seeds: || {
        let read = |name: &str| std::fs::read(root().join("tests/data/records/v3").join(name)).expect("reads");
        let (words, record) = (read("record.words"), read("record.binary"));
        let length = u16::try_from(words.len()).expect("short").to_le_bytes();
        let seed = |form: u8, stored: Vec<u8>| [length.to_vec(), words.clone(), vec![form], stored].concat();
        let json = read("record.json");
        vec![
            seed(PLAIN, record.clone()),
            seed(COMPRESSED, lz4_flex::block::compress_prepend_size(&record)),
            [vec![0, 0], json.clone()].concat(),
            [vec![1, 0], b"{".to_vec(), lz4_flex::block::compress_prepend_size(&json)].concat(),
        ]
    },
};

/// The first byte of what is stored, as the ledger writes it.
const PLAIN: u8 = 1;
const COMPRESSED: u8 = 2;
const ID: &str = "0199d3a0-0000-7000-8000-000000000000";

/// A ledger with one decision.
struct Place {
    _dir: TempDir,
    path: PathBuf,
    database: Connection,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("serin.db");
        drop(Ledger::open(&path, Durability::Process, std::sync::Arc::default()).expect("opens"));
        let database = Connection::open(&path).expect("opens");
        database.pragma_update(None, "synchronous", "OFF").expect("sets");
        database
            .execute(
                "INSERT INTO decisions (decision_id, time_ms, point, served_by, action, took_us, forced, digest, dictionary, record)
                 VALUES (?1, 0, 'p', 'strategy', 'a', 0, 0, '', 1, x'00')",
                [ID],
            )
            .expect("inserts");
        database.execute("INSERT INTO dictionaries (id, time_ms, bytes) VALUES (1, 0, x'00')", []).expect("inserts");
        Self { _dir: dir, path, database }
    }
}

/// The digest that fits: of a record that is not compressed, so that what follows the check is reached.
fn digest(words: &[u8], stored: &[u8]) -> String {
    match stored.split_first() {
        Some((&PLAIN, bytes)) => {
            let of_words = if words.is_empty() { [0; 32] } else { Sha256::digest(words).into() };
            format!("sha256:{:x}", Sha256::new().chain_update(of_words).chain_update(bytes).finalize())
        }
        _ => serin_core::digest(stored),
    }
}

fn packed(input: &[u8]) {
    thread_local!(static PLACE: OnceCell<Place> = const { OnceCell::new() });
    let Some((length, rest)) = input.split_first_chunk::<2>() else { return };
    let (words, stored) = rest.split_at(usize::from(u16::from_le_bytes(*length)).min(rest.len()));
    PLACE.with(|place| {
        let Place { path, database, .. } = place.get_or_init(Place::new);
        database.execute("UPDATE dictionaries SET bytes = ?1", [words]).expect("updates");
        let dictionary = (!words.is_empty()).then_some(1);
        let set = "UPDATE decisions SET digest = ?1, dictionary = ?2, record = ?3";
        database.execute(set, params![digest(words, stored), dictionary, stored]).expect("updates");
        // A reader of its own: dictionaries never change, and are kept in memory.
        let reader = LedgerReader::open(path).expect("opens");
        let found = reader.decision(ID).expect("reads").expect("it is there");
        for error in [found.parse().err(), found.json().err()].into_iter().flatten() {
            is_short(&error.to_string());
        }
    });
}
