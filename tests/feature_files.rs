//! Feature files as the usual tools write them: what is read, what is refused, and how the error
//! says what to do.

use parquet::basic::{BrotliLevel, Compression, GzipLevel, ZstdLevel};
use serde_json::{Value, json};

use crate::features::try_load;
use crate::support::tables::{Column, compressed, parquet};
use crate::support::{Cli, Deployment, Host, run};

/// A view with a column of each type.
fn deployment() -> Deployment {
    let deployment = crate::support::collections();
    let config = deployment.read("serin.toml");
    let view = "\n[features.loan-file]\nentity = \"loan\"\ncolumns = { flag = \"boolean\", count = \"integer\", amount = \"number\", state = \"text\" }\n";
    deployment.write("serin.toml", format!("{config}{view}"));
    deployment
}

const NOW: i64 = 1_767_225_600; // 2026-01-01

fn entities() -> (&'static str, Column) {
    ("entity", Column::Text(vec![Some("l-1")]))
}

fn times() -> (&'static str, Column) {
    ("event_time", Column::Time(vec![Some(NOW * 1000)]))
}

fn csv(deployment: &Deployment, rows: &str, more: &[&str]) -> Cli {
    try_load(deployment, "loan-file", "rows.csv", rows, more)
}

fn values(host: &Host, entity: &str) -> Value {
    let shown = host.admin.get(&format!("/v1/features/loan-file/{entity}")).json();
    let values = shown["values"].as_object().unwrap_or_else(|| panic!("{shown}"));
    values.iter().map(|(column, shown)| (column.clone(), shown["value"].clone())).collect()
}

#[track_caller]
fn refused(loaded: &Cli, needles: &[&str]) {
    assert_eq!(loaded.code, Some(1), "{}", loaded.stdout);
    assert!(needles.iter().all(|needle| loaded.stderr.contains(needle)), "{needles:?}: {}", loaded.stderr);
    assert!(!loaded.stderr.contains("panicked"), "{}", loaded.stderr);
}

#[track_caller]
fn loaded(loaded: &Cli) {
    assert_eq!(loaded.code, Some(0), "{}", loaded.stderr);
}

#[test]
fn what_the_usual_tools_write_into_csv_is_read() {
    let deployment = deployment();
    let host = Host::start(&deployment).ready();
    // pandas, a spreadsheet, PostgreSQL, a person.
    let cells = [
        ("True", "3.0", true, 3),
        ("FALSE", "-4", false, -4),
        ("t", "5.00", true, 5),
        ("yes", "0", true, 0),
        ("0", "7", false, 7),
    ];
    let rows: String = cells
        .iter()
        .enumerate()
        .map(|(i, (flag, count, ..))| format!("l-{i},2026-01-01T00:00:00Z,{flag},{count},1.5,CA\n"))
        .collect();
    loaded(&csv(&deployment, &format!("entity,event_time,flag,count,amount,state\n{rows}"), &[]));
    for (i, (.., flag, count)) in cells.into_iter().enumerate() {
        let expected = json!({ "flag": flag, "count": count, "amount": 1.5, "state": "CA" });
        assert_eq!(values(&host, &format!("l-{i}")), expected);
    }
    // One bad cell: nothing of the file, and the error says where and what is valid.
    let bad =
        csv(&deployment, "entity,event_time,flag\nl-8,2026-01-01T00:00:00Z,yes\nl-9,2026-01-01T00:00:00Z,2\n", &[]);
    refused(&bad, &["row 2 (line 3)", "column 'flag': '2' is not boolean; valid: true, t, yes, y, on, 1 or false"]);
    assert_eq!(host.admin.get("/v1/features/loan-file/l-8").status, 404);
}

#[test]
fn a_null_may_be_named_and_a_text_that_looks_like_one_is_a_warning() {
    let deployment = deployment();
    let host = Host::start(&deployment).ready();
    let rows = "entity,event_time,count,state\nl-1,2026-01-01T00:00:00Z,\\N,\\N\nl-2,2026-01-01T00:00:00Z,1,NULL\n";
    refused(&csv(&deployment, rows, &[]), &["row 1 (line 2)", "column 'count': '\\N' is not integer", "--null '\\N'"]);
    let named = csv(&deployment, rows, &["--null", "\\N"]);
    loaded(&named);
    assert_eq!(values(&host, "l-1"), json!({ "flag": null, "count": null, "amount": null, "state": null }));
    let warning = "warning: column 'state' holds the text 'NULL' in 1 rows, first in row 2; if it stands for nothing, load with --null 'NULL'";
    assert!(named.stderr.contains(warning), "{}", named.stderr);
    let both = csv(&deployment, rows, &["--null", "\\N", "--null", "NULL"]);
    assert!(!both.stderr.contains("warning"), "{}", both.stderr);
    assert_eq!(values(&host, "l-2")["state"], Value::Null);
    let id = csv(&deployment, "entity,event_time,count\nNA,2026-01-01T00:00:00Z,1\n", &[]);
    assert!(id.stderr.contains("column 'entity' holds the text 'NA'"), "{}", id.stderr);
}

#[test]
fn a_file_without_some_of_the_columns_leaves_them_as_they_are_and_says_so() {
    let deployment = deployment();
    let host = Host::start(&deployment).ready();
    loaded(&csv(&deployment, "entity,event_time,flag,count\nl-1,2026-01-01T00:00:00Z,true,3\n", &[]));
    let partial = csv(&deployment, "entity,event_time,amount,flag\nl-1,2026-01-02T00:00:00Z,2.5,\n", &[]);
    loaded(&partial);
    assert!(
        partial.stderr.contains("note: the file has no column count, state; what is known there stays as it is"),
        "{}",
        partial.stderr
    );
    // An empty cell is null, and clears.
    assert_eq!(values(&host, "l-1"), json!({ "flag": null, "count": 3, "amount": 2.5, "state": null }));
}

#[test]
fn a_quote_that_is_not_closed_is_an_error_with_its_line() {
    let deployment = deployment();
    let host = Host::start(&deployment).ready();
    let head = "entity,event_time,state\nl-1,2026-01-01T00:00:00Z,CA\n";
    for (rest, needles) in [
        (
            "l-2,2026-01-01T00:00:00Z,\"CA\nl-3,2026-01-01T00:00:00Z,NY\n",
            ["line 3: a quote is opened and never closed"],
        ),
        ("l-2,2026-01-01T00:00:00Z,\"CA\nl-3,2026-01-01T00:00:00Z,\"NY\"\n", ["line 4: the quote that line 3 opens"]),
    ] {
        refused(&csv(&deployment, &format!("{head}{rest}"), &[]), &needles);
        assert_eq!(host.admin.get("/v1/features/loan-file/l-1").status, 404, "nothing of the file is loaded");
    }
    let outcomes = "id,name,value,entity_kind,entity\no-1,cured,1,borrower,b-1\no-2,cured,1,borrower,\"b-2\no-3,cured,1,borrower,b-3\n";
    deployment.write("outcomes.csv", outcomes);
    let file = deployment.path().join("outcomes.csv");
    let url = format!("http://{}", host.public.address);
    let told = run(["outcomes", "load", file.to_str().expect("a path"), "--url", &url]);
    assert_eq!(
        (told.code, told.stdout.as_str()),
        (Some(1), "1 stored, 0 there already, 0 of unknown decisions, 1 refused\n")
    );
    assert!(
        told.stderr.contains("line 3: a quote is opened and never closed; it and what follows was not read"),
        "{}",
        told.stderr
    );
}

#[test]
fn the_types_of_parquet_are_read_where_a_feature_can_hold_them() {
    let deployment = deployment();
    let host = Host::start(&deployment).ready();
    let decimal = |unscaled: i128| Some(unscaled.to_be_bytes().to_vec());
    for (name, columns, expected) in [
        (
            "timestamp[ns]",
            vec![
                ("event_time", Column::LongAs("TIMESTAMP(NANOS,true)", vec![Some(NOW * 1_000_000_000)])),
                ("count", Column::Integer(vec![Some(1)])),
            ],
            json!(["count", 1]),
        ),
        (
            "timestamp[us]",
            vec![
                ("event_time", Column::LongAs("TIMESTAMP(MICROS,true)", vec![Some(NOW * 1_000_000)])),
                ("count", Column::Integer(vec![Some(2)])),
            ],
            json!(["count", 2]),
        ),
        (
            "DECIMAL(18,2)",
            vec![times(), ("amount", Column::LongAs("DECIMAL(18,2)", vec![Some(125_050)]))],
            json!(["amount", 1250.5]),
        ),
        (
            "DECIMAL(9,2)",
            vec![times(), ("amount", Column::IntAs("DECIMAL(9,2)", vec![Some(-7)]))],
            json!(["amount", -0.07]),
        ),
        (
            "DECIMAL(38,4)",
            vec![times(), ("amount", Column::BytesAs(16, "DECIMAL(38,4)", vec![decimal(-123_456)]))],
            json!(["amount", -12.3456]),
        ),
        (
            "whole DECIMAL",
            vec![times(), ("count", Column::LongAs("DECIMAL(18,2)", vec![Some(300)]))],
            json!(["count", 3]),
        ),
        (
            "DECIMAL as text",
            vec![times(), ("state", Column::LongAs("DECIMAL(18,2)", vec![Some(123_456_789_012_345_678)]))],
            json!(["state", "1234567890123456.78"]),
        ),
        ("DATE", vec![times(), ("state", Column::IntAs("DATE", vec![Some(20_454)]))], json!(["state", "2026-01-01"])),
        ("whole DOUBLE", vec![times(), ("count", Column::Number(vec![Some(4.0)]))], json!(["count", 4])),
        ("INT8", vec![times(), ("count", Column::IntAs("INTEGER(8,true)", vec![Some(-5)]))], json!(["count", -5])),
        ("UINT64", vec![times(), ("count", Column::LongAs("INTEGER(64,false)", vec![Some(6)]))], json!(["count", 6])),
    ] {
        let columns: Vec<_> = [entities()].into_iter().chain(columns).collect();
        let told = try_load(&deployment, "loan-file", "rows.parquet", parquet(&columns), &[]);
        assert_eq!(told.code, Some(0), "{name}: {}", told.stderr);
        assert_eq!(values(&host, "l-1")[expected[0].as_str().expect("a column")], expected[1], "{name}");
    }
}

#[test]
fn pages_are_read_however_they_are_compressed() {
    let deployment = deployment();
    let host = Host::start(&deployment).ready();
    let codecs = [
        Compression::SNAPPY,
        Compression::GZIP(GzipLevel::default()),
        Compression::BROTLI(BrotliLevel::default()),
        Compression::LZ4,
        Compression::LZ4_RAW,
        Compression::ZSTD(ZstdLevel::default()),
    ];
    for (i, codec) in codecs.into_iter().enumerate() {
        let columns = [entities(), times(), ("count", Column::Integer(vec![Some(i as i64)]))];
        let told = try_load(&deployment, "loan-file", "rows.parquet", compressed(codec, &columns), &[]);
        assert_eq!(told.code, Some(0), "{codec:?}: {}", told.stderr);
        assert_eq!(values(&host, "l-1")["count"], i, "{codec:?}");
    }
}

#[test]
fn a_type_of_parquet_that_no_feature_holds_is_named_with_its_column_and_the_way_to_convert_it() {
    let deployment = deployment();
    let host = Host::start(&deployment).ready();
    let count = || ("count", Column::Integer(vec![Some(1)]));
    let long = |kind, at| Column::LongAs(kind, vec![Some(at)]);
    for (columns, needles) in [
        (
            vec![("event_time", long("TIMESTAMP(MILLIS,false)", NOW * 1000)), count()],
            &["column 'event_time' is of type TIMESTAMP without a time zone", "tz_localize"][..],
        ),
        (vec![("event_time", long("TIMESTAMP(NANOS,false)", NOW * 1_000_000_000)), count()], &["without a time zone"]),
        (
            vec![("event_time", Column::Int96(vec![Some([0, 0, 2_461_042])])), count()],
            &["column 'event_time'", "INT96", "TIMESTAMP_MICROS"],
        ),
        (
            vec![("event_time", Column::IntAs("DATE", vec![Some(20_454)])), count()],
            &["row 1", "event_time: '2026-01-01' is not a time"],
        ),
        (
            vec![times(), ("amount", Column::BytesAs(12, "INTERVAL", vec![Some(vec![0; 12])]))],
            &["column 'amount' is of type INTERVAL", "convert it to a number"],
        ),
        (
            vec![times(), ("amount", Column::IntAs("TIME(MILLIS,true)", vec![Some(1)]))],
            &["column 'amount' is of type TIME", "seconds since midnight"],
        ),
        (
            vec![times(), ("state", Column::BytesAs(16, "UUID", vec![Some(vec![7; 16])]))],
            &["column 'state' is of type UUID", "astype(str)"],
        ),
        (
            vec![times(), ("amount", Column::IntAs("DATE", vec![Some(1)]))],
            &["row 1", "column 'amount' is of type DATE, not number"],
        ),
        (
            vec![times(), ("amount", long("DECIMAL(18,2)", 123_456_789_012_345_678))],
            &[
                "row 1",
                "column 'amount' is 1234567890123456.78, with more digits than a number holds",
                "declare the column as text",
            ],
        ),
        (
            vec![times(), ("count", long("DECIMAL(18,2)", 350))],
            &["row 1", "column 'count' is 3.50, not a whole number"],
        ),
        (vec![times(), ("count", long("INTEGER(64,false)", -1))], &["row 1", "column 'count' is 18446744073709551615"]),
    ] {
        let columns: Vec<_> = [entities()].into_iter().chain(columns).collect();
        refused(&try_load(&deployment, "loan-file", "rows.parquet", parquet(&columns), &[]), needles);
        assert_eq!(host.admin.get("/v1/features/loan-file/l-1").status, 404);
    }
}

#[test]
fn a_file_with_damaged_bytes_is_an_error_and_loads_nothing() {
    let deployment = deployment();
    let host = Host::start(&deployment).ready();
    let columns = [
        ("entity", Column::Text(vec![Some("l-1"), Some("l-2"), Some("l-3")])),
        ("event_time", Column::Time(vec![Some(NOW * 1000); 3])),
        ("state", Column::Text(vec![Some("CA"), None, Some("NY")])),
    ];
    let whole = parquet(&columns);
    for at in (4..whole.len() - 8).step_by(23) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0xff;
        let told = try_load(&deployment, "loan-file", "rows.parquet", bytes, &[]);
        // A value may have become another one; what may not happen is that the program dies.
        assert!(matches!(told.code, Some(0 | 1)), "byte {at}: {:?} {}", told.code, told.stderr);
    }
    assert_eq!(host.public.get("/healthz").status, 200);
    let config = deployment.config();
    let endless = run(["features", "load", "loan-file", "/dev/zero", "--config", config.to_str().expect("a path")]);
    refused(&endless, &["/dev/zero", "not a regular file"]);
}
