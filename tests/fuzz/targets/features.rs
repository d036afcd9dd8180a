//! Files of features, loaded as `serin features load` does.

use std::cell::OnceCell;
use std::path::Path;

use parquet::basic::Compression;
use serin::config::Config;
use serin::features::{EmbeddedStore, LoadOptions, load_file};
use serin_core::value::ValueType;
use tempfile::TempDir;

use super::Target;
use crate::support::root;
use crate::support::tables::{Column, compressed, parquet};

pub const CSV: Target = Target {
    name: "csv",
    read: |input| load(input, "rows.csv"),
    seeds: || {
        let borrowers = std::fs::read_to_string(root().join("host/demo/borrowers.csv")).expect("reads");
        let head: String = borrowers.lines().take(4).flat_map(|line| [line, "\n"]).collect();
        let servicing = "entity,event_time,contacts_7d,balance_due,hardship_flag,cease_contact\r\n\
                         l-1,2026-01-01T00:00:00Z,3,12.5,true,\r\n\"l, \"\"2\"\"\",2026-01-01T00:00:00+02:00,,-1e3,false,true\r\n";
        vec![servicing.as_bytes().to_vec(), head.into_bytes(), "\u{feff}entity,event_time\n".into()]
    },
};

pub const PARQUET: Target = Target {
    name: "parquet",
    read: |input| load(input, "rows.parquet"),
    seeds: || {
        let columns = || {
            [
                ("entity", Column::Text(vec![Some("l-1"), Some("l-2"), Some("l-3")])),
                ("event_time", Column::Time(vec![Some(1_760_000_000_000); 3])),
                ("contacts_7d", Column::Integer(vec![Some(1), None, Some(-3)])),
                ("balance_due", Column::Number(vec![Some(0.5), None, Some(1e9)])),
                ("hardship_flag", Column::Boolean(vec![Some(true), None, Some(false)])),
            ]
        };
        vec![
            parquet(&columns()),
            compressed(Compression::SNAPPY, &columns()),
            compressed(Compression::LZ4_RAW, &columns()),
        ]
    },
};

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
        let config = Config::load(&root().join("host/demo/serin.toml")).expect("valid");
        Self { dir, store, config }
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
                Err(error) => super::is_short(&error.to_string()),
                Ok(loaded) => loaded.warnings.iter().for_each(|warning| super::is_short(warning)),
            }
        }
    });
}
