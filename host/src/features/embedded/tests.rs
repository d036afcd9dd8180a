//! What the store keeps, merges and leaves to others.

use serin_core::value::Value;

use super::write::{LOAD_ROWS, within};
use super::*;
use crate::features::{FeatureInput, Upserted};

fn values(entity: &str, event_time_ms: u64, values: &[(&str, Value)]) -> FeatureInput {
    let values = values.iter().map(|(column, value)| (Name::from(*column), value.clone())).collect();
    FeatureInput { entity: entity.into(), event_time_ms, values }
}

fn row(entity: &str, event_time_ms: u64, dti: f64) -> FeatureInput {
    values(entity, event_time_ms, &[("dti", Value::Number(dti)), ("state", Value::Text("CA".into()))])
}

#[test]
fn an_older_row_never_replaces_a_newer_one() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = EmbeddedStore::open(&dir.path().join("features.db")).expect("opens");
    let view: Name = "profile".into();
    store.upsert(&view, [row("b-1", 200, 2.0)]).expect("writes");
    let second = store.upsert(&view, [row("b-1", 100, 1.0), row("b-2", 100, 5.0)]).expect("writes");
    assert_eq!(second, Upserted { written: 1, older: 1 });
    let columns: Arc<[Name]> = ["absent".into(), "dti".into()].into();
    let rows = store.read(&[(&view, "b-1", &columns), (&view, "nobody", &columns)]).expect("reads");
    let first = rows[0].as_ref().expect("there");
    assert_eq!((first.event_time_ms, first.values.get("dti")), (200, Some(&Value::Number(2.0))));
    assert_eq!(first.values.get("absent"), Some(&Value::Missing));
    assert!(first.values.get("state").is_none(), "only what was asked for");
    assert_eq!(rows[1], None);
}

#[test]
fn a_read_that_is_held_hides_nothing_and_ends_where_somebody_writes() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("features.db");
    let store = EmbeddedStore::open(&path).expect("opens");
    let view: Name = "profile".into();
    let columns: Arc<[Name]> = ["dti".into()].into();
    let truncated = || {
        let other = Connection::open(&path).expect("opens");
        other.busy_timeout(Duration::ZERO).expect("waits for nobody");
        let busy = other.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0));
        busy.expect("is asked") == 0
    };
    store.upsert(&view, [row("b-1", 1, 1.0)]).expect("writes");
    (0..2).for_each(|_| store.hold().expect("holds"));
    store.upsert(&view, [row("b-1", 2, 2.0)]).expect("writes");
    assert!(!truncated(), "a read is open");
    let read = store.read(&[(&view, "b-1", &columns)]).expect("reads");
    assert_eq!(read[0].as_ref().and_then(|row| row.values.get("dti")), Some(&Value::Number(2.0)));
    store.hold().expect("lets go");
    assert!(truncated(), "the log can be emptied");
}

#[test]
fn the_log_has_an_end_though_reads_are_held_between_writes() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("features.db");
    let store = EmbeddedStore::open(&path).expect("opens");
    let view: Name = "profile".into();
    let mut length = 0;
    for round in 0..60 {
        // Some 60 pages; SQLite empties the log by itself from 1000 on.
        store.upsert(&view, (0..2_000).map(|i| row(&format!("b-{i}"), round, 1.0))).expect("writes");
        (0..3).for_each(|_| store.hold().expect("holds"));
        length = std::fs::metadata(path.with_extension("db-wal")).expect("a log").len();
    }
    assert!(length < 1000 * 4096, "{length} bytes");
}

/// A value and its event time.
fn known(store: &EmbeddedStore, column: &str) -> (Value, u64) {
    let columns: Arc<[Name]> = [column.into()].into();
    let row = store.read(&[(&"profile".into(), "b-1", &columns)]).expect("reads").remove(0).expect("a row");
    let time = row.column_times_ms.get(column).copied().unwrap_or(row.event_time_ms);
    (row.values.get(column).cloned().expect("the column"), time)
}

#[test]
fn columns_merge_each_by_its_own_event_time() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = EmbeddedStore::open(&dir.path().join("features.db")).expect("opens");
    let view: Name = "profile".into();
    let push = |time, pairs: &[(&str, Value)]| store.upsert(&view, [values("b-1", time, pairs)]).expect("writes");
    let (a, b, c) = (Value::Integer(1), Value::Integer(2), Value::Integer(3));
    let (written, older) = (Upserted { written: 1, older: 0 }, Upserted { written: 0, older: 1 });
    assert_eq!(push(100, &[("x", a.clone()), ("y", a.clone())]), written);
    assert_eq!(push(200, &[("y", b.clone())]), written);
    assert_eq!((known(&store, "x"), known(&store, "y")), ((a.clone(), 100), (b.clone(), 200)), "x stays as it was");
    // Older than y and newer than x: each goes by its own time.
    assert_eq!(push(150, &[("x", c.clone()), ("y", c.clone()), ("z", c.clone())]), written);
    assert_eq!((known(&store, "x"), known(&store, "y")), ((c.clone(), 150), (b, 200)));
    assert_eq!(known(&store, "z"), (c.clone(), 150));
    assert_eq!(push(120, &[("x", a.clone())]), older);
    // Null clears, and what is older does not come back.
    assert_eq!(push(160, &[("x", Value::Missing)]), written);
    assert_eq!(push(155, &[("x", a.clone())]), older);
    assert_eq!(known(&store, "x"), (Value::Missing, 160));
    // Of the same time, the later one corrects the earlier.
    assert_eq!(push(160, &[("x", a.clone())]), written);
    assert_eq!(known(&store, "x"), (a.clone(), 160));
    assert_eq!(push(300, &[("x", c.clone()), ("y", c.clone()), ("z", c.clone())]), written);
    assert_eq!(
        [known(&store, "x"), known(&store, "y"), known(&store, "z")],
        [(c.clone(), 300), (c.clone(), 300), (c, 300)]
    );
    // A row without values is an entity that is known, and changes nothing of what is known of it.
    assert_eq!(push(400, &[]), written);
    assert_eq!(known(&store, "x").1, 300);
    assert_eq!(known(&store, "absent"), (Value::Missing, 400));
}

#[test]
fn a_database_of_the_first_schema_keeps_its_rows_and_a_newer_one_is_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("features.db");
    let old = Connection::open(&path).expect("opens");
    old.execute_batch(
        "CREATE TABLE feature_rows (view TEXT NOT NULL, entity TEXT NOT NULL, event_time_ms INTEGER NOT NULL, row TEXT NOT NULL, \
         PRIMARY KEY (view, entity)) WITHOUT ROWID;
         INSERT INTO feature_rows VALUES ('profile', 'b-1', 100, '{\"x\":1,\"y\":null}');",
    )
    .expect("as the first schema was");
    let store = EmbeddedStore::open(&path).expect("migrates");
    assert_eq!((known(&store, "x"), known(&store, "y")), ((Value::Integer(1), 100), (Value::Missing, 100)));
    let view: Name = "profile".into();
    let push = |time, pairs: &[(&str, Value)]| store.upsert(&view, [values("b-1", time, pairs)]).expect("writes");
    assert_eq!(push(50, &[("x", Value::Integer(9)), ("y", Value::Integer(9))]).older, 1);
    push(200, &[("y", Value::Integer(2))]);
    assert_eq!((known(&store, "x"), known(&store, "y")), ((Value::Integer(1), 100), (Value::Integer(2), 200)));
    drop(store);
    assert!(EmbeddedStore::open(&path).is_ok(), "a second time there is nothing to migrate");
    old.pragma_update(None, "user_version", 99).expect("writes");
    let error = EmbeddedStore::open(&path).err().expect("refused").to_string();
    assert!(error.contains("version 99") && error.contains("up to 2"), "{error}");
}

#[test]
fn what_is_written_is_read_at_once_and_another_processs_after_a_moment() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("features.db");
    let (store, other) = (EmbeddedStore::open(&path).expect("opens"), EmbeddedStore::open(&path).expect("opens"));
    let view: Name = "profile".into();
    let columns: Arc<[Name]> = ["dti".into()].into();
    let read = |entity: &str| {
        let row = store.read(&[(&view, entity, &columns)]).expect("reads").remove(0);
        row.map(|row| row.values.get("dti").cloned().expect("the column"))
    };
    assert_eq!(read("b-1"), None);
    for round in 1..200 {
        store.upsert(&view, [row("b-1", round, round as f64)]).expect("writes");
        assert_eq!(read("b-1"), Some(Value::Number(round as f64)), "also where its absence was known");
        assert_eq!(read("b-1"), Some(Value::Number(round as f64)), "from memory");
    }
    other.upsert(&view, [row("b-1", 1_000, 0.5), row("b-2", 1_000, 0.5)]).expect("writes");
    // Bounded by the test's own end: no time passes that it waits for.
    let seen = std::iter::from_fn(|| Some(read("b-1"))).position(|value| value == Some(Value::Number(0.5)));
    assert!(seen.is_some());
    assert_eq!(read("b-2"), Some(Value::Number(0.5)), "a look forgets all rows");
}

#[test]
fn a_load_leaves_the_writer_to_others_after_every_few_rows() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("features.db");
    let store = EmbeddedStore::open(&path).expect("opens");
    let other = Connection::open(&path).expect("opens");
    other.busy_timeout(Duration::ZERO).expect("waits for nobody");
    let count = || other.query_row("SELECT count(*) FROM feature_rows", [], |row| row.get::<_, i64>(0)).expect("reads");
    let view: Name = "profile".into();
    let total = 4 * LOAD_ROWS + 1;
    let mut before = 0;
    let rows = (0..total).map(|i| {
        // Wherever the load gets its next row from, it holds no lock that keeps a push waiting.
        other.execute_batch("BEGIN IMMEDIATE; ROLLBACK").expect("the writer is free");
        let now = count();
        assert!(now - before <= LOAD_ROWS as i64, "{now} rows after {before}: one transaction is that large");
        before = now;
        Ok::<_, StoreError>(row(&format!("b-{i}"), 1, 1.0))
    });
    let mut told = Vec::new();
    let loaded = store.load(&view, rows, |upserted| told.push(upserted.written)).expect("loads");
    assert_eq!((loaded.written as usize, count()), (total, total as i64));
    assert_eq!(told.last(), Some(&(total as u64)));
    assert!(told.len() >= 5, "{told:?}");
}

#[test]
fn a_transaction_that_takes_long_ends_early_and_loses_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = EmbeddedStore::open(&dir.path().join("features.db")).expect("opens");
    let view: Name = "profile".into();
    let mut rows = (0..10).map(|i| row(&format!("b-{i}"), 1, 1.0));
    let mut asked = 0;
    let third = || {
        asked += 1;
        asked < 3
    };
    let mut writer = store.writer.lock().expect("free");
    let writer = &mut writer.connection;
    let first = within(writer, (&view, None), &mut rows, third).expect("writes");
    let rest = within(writer, (&view, None), &mut rows, || true).expect("writes");
    assert_eq!((first.written, rest.written), (3, 7));
}
