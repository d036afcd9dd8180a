//! The reference pages are true: they have each key of `serin.toml` and of an experiment's file with
//! its default and an example. And each slip in a key has a message that helps.

mod document;
mod files;
mod mistakes;
mod pages;

use std::collections::{BTreeMap, BTreeSet};

use crate::support::{Deployment, root, run};
use files::Kind;
use mistakes::Mistake;
use pages::Row;

const KINDS: [Kind; 2] = [Kind::Configuration, Kind::Experiment];

/// Keys whose examples change nothing in the smallest file: they are what it has without them.
const SAME: [&str; 1] = ["control"];

fn page(kind: Kind) -> String {
    let path = match kind {
        Kind::Configuration => "host/CONFIGURATION.md",
        Kind::Experiment => "host/EXPERIMENTS.md",
    };
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn rows(kind: Kind) -> Vec<Row> {
    pages::rows(&page(kind))
}

/// The keys of the page, by table.
fn keys(kind: Kind) -> BTreeMap<String, BTreeSet<String>> {
    let mut tables: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for row in rows(kind) {
        let is_new = tables.entry(kind.table(&row.heading)).or_default().insert(row.key.clone());
        assert!(is_new, "{} is on the page twice under '{}'", row.key, row.heading);
    }
    if kind == Kind::Configuration {
        tables.insert(String::new(), pages::first_column(&page(kind), "section").into_iter().collect());
    }
    tables
}

#[test]
fn every_key_is_on_its_page_and_every_key_on_a_page_exists() {
    for (kind, tables) in [(Kind::Configuration, 16), (Kind::Experiment, 8)] {
        let keys = keys(kind);
        assert_eq!(keys.len(), tables, "tables of the page: {:?}", keys.keys());
        for (table, on_the_page) in keys {
            let valid: BTreeSet<String> = kind.valid_keys(&table).into_iter().collect();
            assert_eq!(on_the_page, valid, "the keys of [{table}]: the page's, and the parser's");
        }
    }
}

#[test]
fn every_example_in_the_tables_is_valid_and_changes_something() {
    for kind in KINDS {
        for row in rows(kind) {
            let Some(file) = kind.example(&row) else { continue };
            let table = kind.table(&row.heading);
            let with = kind.read(&file.text());
            let with = with.unwrap_or_else(|e| panic!("{} = {:?} of [{table}]: {e}", row.key, row.example));
            if let Ok(without) = kind.read(&file.without(&table, &row.key).text()) {
                assert_eq!(with == without, SAME.contains(&&*row.key), "[{table}] {} has no effect", row.key);
            }
        }
    }
}

#[test]
fn every_default_on_a_page_is_what_a_file_without_the_key_has() {
    for (kind, least) in [(Kind::Configuration, 30), (Kind::Experiment, 30)] {
        let mut tested = 0;
        for row in rows(kind) {
            let (Some(file), Some(default)) = (kind.example(&row), row.default_value()) else { continue };
            let table = kind.table(&row.heading);
            let without = file.clone().without(&table, &row.key).text();
            // Some keys exclude what they stand in for.
            let Ok(without) = kind.read(&without) else { continue };
            let with = kind.read(&file.with(&table, &row.key, &default).text());
            assert_eq!(with, Ok(without), "[{table}] {} = {default} is not the default", row.key);
            tested += 1;
        }
        assert!(tested >= least, "{kind:?}: only {tested} defaults are compared");
    }
}

#[test]
fn the_configuration_at_the_top_of_the_page_lacks_only_its_artifact() {
    let page = page(Kind::Configuration);
    let example = pages::blocks(&page)[0];
    Kind::Configuration.read(example).unwrap_or_else(|e| panic!("{e}"));
    let deployment = Deployment::new(example);
    let checked = run(["check", "--config", deployment.config().to_str().expect("a path")]);
    let failed: Vec<&str> = checked.stderr.lines().filter(|line| line.contains("FAILED")).collect();
    assert!(failed.iter().all(|line| line.contains("offers-rules")), "{}{}", checked.stdout, checked.stderr);
}

/// Every mistake with every key of a page.
fn all_mistakes(kind: Kind) -> Vec<Mistake> {
    let mut all = Vec::new();
    for row in rows(kind) {
        let (Some(mut file), Some(value)) = (kind.example(&row), row.example.as_deref()) else { continue };
        let table = kind.table(&row.heading);
        let known = [kind.valid_keys(&table), file.keys(&table)].concat();
        all.extend(mistakes::of_key(&file, &table, &row.key, value, &known));
        if row.is_required() {
            all.push(mistakes::missing(&file, &table, &row.key));
        }
    }
    let known = kind.valid_keys("");
    let tables = match kind {
        Kind::Configuration => known.clone(),
        Kind::Experiment => {
            ["arms", "ramp", "guardrails", "metrics", "fairness", "allocation", "notify"].map(str::to_owned).into()
        }
    };
    for table in tables {
        all.extend(mistakes::of_tables(&kind.base(&table, "mode"), &table, &known));
    }
    all
}

#[test]
fn every_slip_in_a_key_is_answered_with_its_file_line_key_and_what_is_valid() {
    let mut bad: BTreeMap<(&str, String), Vec<String>> = BTreeMap::new();
    let mut count = 0;
    for kind in KINDS {
        for mistake in all_mistakes(kind) {
            count += 1;
            let text = mistake.file.text();
            let reads = |text: &str| kind.read(text).err().is_none_or(|e| !e.contains("TOML parse error"));
            if let Some(lacks) = mistake.lacks(kind.file(), kind.read(&text), reads) {
                let what = lacks.split(": ").next().unwrap_or_default().to_owned();
                let shown = format!("[{}] {}: {lacks}", mistake.table, mistake.written);
                bad.entry((mistake.kind, what)).or_default().push(shown);
            }
        }
    }
    assert!(count > 3000, "only {count} mistakes");
    let listed = bad.iter().map(|((kind, what), cases)| {
        format!("{kind}: {what}: {} cases, such as\n{}", cases.len(), cases[..cases.len().min(3)].join("\n"))
    });
    assert!(bad.is_empty(), "of {count} mistakes:\n{}", listed.collect::<Vec<_>>().join("\n\n"));
}
