//! The readers of the host, each as a function of bytes that panics where something is wrong. The mutation loop and the
//! guided targets (`guided/host`) call the same ones.

#![allow(dead_code, reason = "each guided target uses one")]

use std::cell::OnceCell;
use std::path::Path;

use serin::config::Config;
use serin::features::{EmbeddedStore, LoadOptions, load_file};
use serin_core::value::ValueType;
use tempfile::TempDir;

use super::readers::is_short;

/// An artifact.
pub fn artifact(input: &[u8]) {
    drop(serin::registry::read(input).map_err(|e| is_short(&e.to_string())));
}

/// A CSV file of features, as `serin features load` reads it.
pub fn csv(input: &[u8]) {
    load(input, "rows.csv");
}

/// A Parquet file of features, as `serin features load` reads it.
pub fn parquet(input: &[u8]) {
    load(input, "rows.parquet");
}

/// A store of its own, and a file beside it.
struct Place {
    dir: TempDir,
    store: EmbeddedStore,
    config: Config,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let store = EmbeddedStore::open(&dir.path().join("features.db")).expect("opens");
        let path = dir.path().join("serin.toml");
        std::fs::write(&path, include_str!("../../host/demo/serin.toml")).expect("writes");
        Self { config: Config::load(&path).expect("valid"), dir, store }
    }
}

fn load(input: &[u8], name: &str) {
    thread_local!(static PLACE: OnceCell<Place> = const { OnceCell::new() });
    PLACE.with(|place| {
        let Place { dir, store, config } = place.get_or_init(Place::new);
        let path = dir.path().join(name);
        std::fs::write(&path, input).expect("writes");
        let options = LoadOptions { now_ms: 1_790_000_000_000, null: Vec::new() };
        for view in ["servicing", "borrower-profile"] {
            let spec = &config.views[view];
            assert!(spec.columns.values().any(|of| *of == ValueType::Number));
            match load_file(store, spec, Path::new(&path), &options, |_| {}) {
                Err(error) => is_short(&error.to_string()),
                Ok(loaded) => loaded.warnings.iter().for_each(|warning| is_short(warning)),
            }
        }
    });
}

const PATHS: [&str; 6] = [
    "/v1/decisions",
    "/v1/decisions/batch",
    "/v1/outcomes",
    "/v1/exposures",
    "/v1/features/servicing",
    "/v1/outcomes/watermarks",
];

/// The path's number, and the body of a request; `post` sends it to a host, and gives the status and the answer.
pub fn request(input: &[u8], post: impl Fn(&str, &[u8]) -> (u16, String)) {
    let Some((path, body)) = input.split_first() else { return };
    let path = PATHS[usize::from(*path) % PATHS.len()];
    let (status, answer) = post(path, body);
    // Of a batch, what was not begun in time is an item of its own.
    assert!(status < 500, "{path}: {status}: {answer}");
    let is_json = serde_json::from_str::<serde_json::Value>(&answer).is_ok();
    assert!(is_json && answer.len() < 4 << 20, "{path}: {} bytes", answer.len());
}
