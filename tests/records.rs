//! Records of every schema that was ever written stay readable and replayable. One of each is
//! kept in `tests/data/records`, with the artifact that decided; a new schema adds a folder.

use std::sync::Arc;

use serin::decide::RoutingTable;
use serin::registry::Archive;
use serin::replay::{ArchivedVersions, ReplayResult, replay};
use serin::sandbox::Engines;
use serin_core::record::binary::{self, Words};
use serin_core::record::{NotEnrolled, Record, SCHEMA};

use crate::support::root;

/// What the archive has, with the table that routing read where the record's schema names one.
fn table(schema: u32) -> impl Fn(&str) -> Option<Arc<RoutingTable>> {
    move |digest| {
        let file = root().join(format!("tests/data/records/v{schema}/routing.json"));
        let table = RoutingTable::parse(&std::fs::read(file).ok()?).expect("an old table is readable");
        assert_eq!(*table.digest, *digest, "the table is the one that routed");
        Some(Arc::new(table))
    }
}

/// The experiment that the records are of.
fn spec() -> serin_core::experiment::Experiment {
    let text = std::fs::read_to_string(root().join("host/demo/experiments/outreach-score.toml")).expect("the demo's");
    serin_core::experiment::Experiment::parse(&text).expect("valid")
}

#[test]
fn a_record_of_every_schema_replays_on_its_archived_artifact() {
    for schema in 1..=SCHEMA {
        let folder = root().join(format!("tests/data/records/v{schema}"));
        let read = |name: &str| std::fs::read(folder.join(name)).unwrap_or_else(|e| panic!("v{schema}/{name}: {e}"));
        // Stored in the binary form since schema 3; at the door it is JSON as before.
        let json = Record::parse(&read("record.json")).expect("an old record is readable");
        let record = match schema {
            1 | 2 => json,
            _ => {
                let words = Words::parse(&read("record.words")).expect("the words of its kind");
                let record = Record::decode(&read("record.binary"), &words).expect("an old record is readable");
                assert_eq!(record, json, "v{schema}: both forms say the same");
                record
            }
        };
        assert_eq!(record.schema, schema);

        let dir = tempfile::tempdir().expect("a folder");
        let archive = Archive::open(dir.path()).expect("an archive");
        let digest = archive.put(&read("artifact.wasm")).expect("archived");
        assert_eq!(*digest, *record.attempts[0].strategy.digest, "the artifact is the one that decided");
        let versions = ArchivedVersions::new(Arc::new(Engines::new(2).expect("engines")), archive);
        let again =
            |record: &Record| replay(record, |digest| versions.get(digest), |_| Some(Arc::new(spec())), table(schema));
        match again(&record) {
            ReplayResult::Identical { environmental: 0, not_recomputed } => {
                // What routing read is known since schema 2, and the verdict says what is not.
                assert_eq!(not_recomputed.is_some(), schema == 1, "{not_recomputed:?}");
            }
            other => panic!("v{schema}: {other:?}"),
        }

        // The same, with one feature altered: the risk that it was decided on is another one.
        let mut altered = record;
        let profile = altered.features.get_mut("borrower-profile").expect("read for every arm");
        profile.values.replace("interest_rate", serin_core::value::Value::Number(28.0));
        match again(&altered) {
            ReplayResult::Different(differences) => {
                assert!(differences.iter().any(|d| d.field.contains("interest_rate")), "{differences:?}");
            }
            other => panic!("an altered feature went unnoticed: {other:?}"),
        }
    }
}

#[test]
fn an_old_record_may_name_in_degraded_what_could_not_be_evaluated_or_not() {
    let folder = root().join("tests/data/records/v1");
    let read = |name: &str| std::fs::read(folder.join(name)).expect("kept");
    let mut record = Record::parse(&read("record.json")).expect("readable");
    let dir = tempfile::tempdir().expect("a folder");
    let archive = Archive::open(dir.path()).expect("an archive");
    archive.put(&read("artifact.wasm")).expect("archived");
    let versions = ArchivedVersions::new(Arc::new(Engines::new(2).expect("engines")), archive);
    record.routing.assignment = None;
    record.routing.not_enrolled =
        Some(NotEnrolled { experiment: "outreach-score".into(), why: "a division by zero".to_owned() });
    let is_identical = |record: &Record| matches!(versions.replay(record), ReplayResult::Identical { .. });
    assert!(is_identical(&record), "hosts did not name it once");
    record.answer.degraded.push("eligible:outreach-score:error".to_owned());
    assert!(is_identical(&record), "and later they did");
    record.answer.degraded.push("eligible:another:error".to_owned());
    assert!(!is_identical(&record));
}

#[test]
fn a_record_is_written_as_ever_in_the_form_of_its_schema() {
    let folder = root().join(format!("tests/data/records/v{SCHEMA}"));
    let read = |name: &str| std::fs::read(folder.join(name)).expect("kept");
    let record = Record::parse(&read("record.json")).expect("readable");
    let words = Words::parse(&read("record.words")).expect("the words of its kind");
    assert_eq!(words.to_bytes(), read("record.words"));
    assert_eq!(binary::encode(&record, &words).expect("encodes"), read("record.binary"));
}

#[test]
fn a_newer_schema_is_refused_by_its_number() {
    let newer = format!("{{\"schema\":{}}}", SCHEMA + 1);
    let value: serde_json::Value = serde_json::from_str(&newer).expect("JSON");
    let bytes = binary::encode(&value, &Words::default()).expect("encodes");
    for error in [Record::parse(newer.as_bytes()), Record::decode(&bytes, &Words::default())] {
        let error = error.expect_err("not known here");
        assert!(error.contains(&format!("schema {}", SCHEMA + 1)), "{error}");
    }
}
