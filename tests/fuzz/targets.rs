//! The targets: one for each parser of what comes from outside. Each asks for more than that nothing panics where there
//! is more to ask for.

mod features;
mod ledger;
mod requests;

use super::host_readers;
use super::readers::{case, experiment, expression, manifest, record};
use crate::support::{misbehave, outreach_rules, root, wat};
pub use features::{CSV, PARQUET};
pub use ledger::PACKED;
pub use requests::REQUEST;

/// A reader of input.
pub struct Target {
    /// Its name, and that of its folder.
    pub name: &'static str,
    /// Reads an input. Panics where something is wrong with the reader.
    pub read: fn(&[u8]),
    /// What it begins with.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

pub const ARTIFACT: Target = Target {
    name: "artifact",
    read: host_readers::artifact,
    seeds: || {
        let small = wat::go("small", "", "(i32.const 1024)");
        let cases = serde_json::json!([{ "name": "a case", "expect": { "candidates": [] } }]);
        vec![wat::with_cases(small.clone(), &cases), small, outreach_rules(), misbehave(), wat::parse("(component)")]
    },
};

pub const MANIFEST: Target = Target { name: "manifest", read: manifest, seeds: || files("plugin.toml") };

pub const CASE: Target = Target { name: "case", read: case, seeds: || files("cases") };

pub const EXPERIMENT: Target = Target {
    name: "experiment",
    read: experiment,
    seeds: || {
        let documented = std::fs::read_to_string(root().join("host/EXPERIMENTS.md")).expect("reads");
        let blocks = documented.split("```toml").skip(1).filter_map(|rest| Some(rest.split("```").next()?.into()));
        let demo = std::fs::read(root().join("host/demo/experiments/outreach-score.toml")).expect("reads");
        blocks.chain([demo]).collect()
    },
};

pub const EXPRESSION: Target = Target {
    name: "expression",
    read: expression,
    seeds: || {
        [
            "context.days_past_due >= 5 && context.days_past_due < 30",
            "has(features.servicing.cease_contact) && features.servicing.cease_contact",
            "features.servicing.balance_due / 2.0 > 100.0 ? context.channel == \"app\" : !(entities.borrower in [\"a\", \"b\"])",
            "context.channel.startsWith(\"a\") || context.stage.contains('late') // a comment",
            "-context.days_past_due % 3 == 0 && features.borrower-profile.state != \"CA\"",
            "size(context.channel) > 3 && [1, 2, 3].exists(x, x > 2)",
        ]
        .map(|text| text.as_bytes().to_vec())
        .into()
    },
};

pub const RECORD: Target = Target {
    name: "record",
    read: record,
    seeds: || {
        let read = |name: &str| std::fs::read(root().join("tests/data/records").join(name)).expect("reads");
        let words = read("v3/record.words");
        let length = u16::try_from(words.len()).expect("short").to_le_bytes().to_vec();
        let none = [vec![0, 0], read("v3/record.binary")].concat();
        vec![[length, words, read("v3/record.binary")].concat(), none, read("v1/record.json"), read("v3/record.json")]
    },
};

/// The files of a kind of the plugins in this repository.
fn files(kind: &str) -> Vec<Vec<u8>> {
    let plugins = std::fs::read_dir(root().join("plugins")).expect("reads");
    let mut folders: Vec<_> = plugins.map(|entry| entry.expect("an entry").path().join(kind)).collect();
    folders.push(root().join("tests/guests/misbehave").join(kind));
    folders.sort();
    let inside = |path: &std::path::PathBuf| match std::fs::read_dir(path) {
        Ok(entries) => entries.filter_map(|entry| Some(entry.ok()?.path())).collect(),
        Err(_) => vec![path.clone()],
    };
    folders.iter().flat_map(inside).filter_map(|path| std::fs::read(path).ok()).collect()
}
