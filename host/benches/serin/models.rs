//! What a slow model costs those that do not use it, and what memory a large one takes.

use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use crate::client::{Requests, closed, open};
use crate::process::{Server, resident_mb};
use crate::table::{Row, Table};
use crate::world::{Failure, Folders, artifact};

/// Names of the demo's columns do not matter here; their number does.
const COLUMNS: usize = 13;
/// The deadline of the demo's point, in milliseconds.
const DEADLINE_MS: f64 = 250.0;
/// Decisions a second that ask for the slow model: twenty times what it could answer.
const SLOW_RATE: f64 = 40.0;
/// Width of the large model's layers: the matrix between them has 40 MB.
const WIDTH: usize = 3_162;

const OTHER: &str = r#"
[decision_points.misbehave]
strategy = "misbehave@1.0.0"
entities = ["borrower"]
context = { mode = "text?" }
actions = ["none", "say", "scores"]
deadline = "250ms"
fallback = { action = "none" }
"#;

/// Measures both. `bodies` are requests of the demo's point whose arm has a declared score.
pub fn measure(bodies: Vec<String>, lasts: Duration, table: &mut Table) -> Result<(), Failure> {
    beside_a_slow_one(bodies, lasts, table)?;
    memory(table)
}

/// A point whose strategy asks no model, alone and beside the demo's point with a model whose
/// runs take half a second and more.
fn beside_a_slow_one(bodies: Vec<String>, lasts: Duration, table: &mut Table) -> Result<(), Failure> {
    let folders = Folders::lay_out()?;
    let config = std::fs::read_to_string(folders.config())?;
    std::fs::write(folders.config(), config + OTHER)?;
    std::fs::copy(
        artifact("../tests/guests/misbehave", "misbehave-1.0.0.wasm")?,
        folders.path("plugins/misbehave-1.0.0.wasm"),
    )?;
    let endless = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/models/long-by-input.onnx");
    std::fs::copy(endless, folders.path("models/default-risk.onnx"))?;
    let mut row = [0.0; COLUMNS];
    // Two hundred thousand trips round its loop: it is known to be slow from the start.
    row[0] = 2.0;
    golden(&folders, row, 0.5)?;
    let host = Server::serin(&folders.config())?;
    let body = r#"{"decision_point":"misbehave","entities":{"borrower":"b-1"},"context":{"mode":"ok"}}"#;
    let other = Rc::new(Requests::post("/v1/decisions", std::iter::once(body.to_owned())));
    let address = &host.addresses[0];
    closed(address, &other, 32, lasts / 30)?;
    let capacity = closed(address, &other, 32, lasts / 10)?.per_second();
    let at = capacity / 5.0;
    let alone = open(address, &other, 64, at, lasts / 5)?;
    let (slow_address, slow_lasts) = (address.clone(), lasts / 5 + Duration::from_secs(2));
    let slow = std::thread::spawn(move || {
        let requests = Rc::new(Requests::post("/v1/decisions", bodies.into_iter()));
        open(&slow_address, &requests, 64, SLOW_RATE, slow_lasts).map_err(|e| e.to_string())
    });
    std::thread::sleep(Duration::from_secs(1));
    let beside = open(address, &other, 64, at, lasts / 5)?;
    let slow = slow.join().map_err(|_| "the slow load panicked")??;
    if alone.failed + beside.failed + slow.failed > 0 {
        return Err("a decision beside a slow model was not answered".into());
    }
    table.section(
        format!("beside a model whose runs take 0.5 s and more, asked {SLOW_RATE} times a second"),
        vec![
            Row::new("another point, at a fifth of its capacity: p99", beside.ms(99.0), "ms")
                .against("without the slow model", alone.ms(99.0))
                .ratio_at_most(2.0),
            Row::new("its own point, served by the fallback score: p99.9", slow.ms(99.9), "ms").at_most(DEADLINE_MS),
        ],
    );
    Ok(())
}

fn memory(table: &mut Table) -> Result<(), Failure> {
    let resident = |onnx: Option<Vec<u8>>| {
        let folders = Folders::lay_out()?;
        let config = std::fs::read_to_string(folders.config())?;
        std::fs::write(folders.config(), config.replace("[server]", "[server]\nthreads = 32"))?;
        if let Some(onnx) = onnx {
            std::fs::write(folders.path("models/default-risk.onnx"), onnx)?;
            // No weight differs from 0, so that each score is the sigmoid of 0.
            golden(&folders, [0.0; COLUMNS], 0.5)?;
        }
        let host = Server::serin(&folders.config())?;
        std::thread::sleep(Duration::from_secs(2));
        Ok::<_, Failure>(resident_mb(host.pid()))
    };
    let (small, large) = (resident(None)?, resident(Some(large()))?);
    table.section(
        "memory of a host with 32 deciding threads",
        vec![Row::new("with a model of 40 MB", large, "MB").against("with the demo's, of 34 kB", small).at_most(300.0)],
    );
    Ok(())
}

fn golden(folders: &Folders, row: [f64; COLUMNS], score: f64) -> Result<PathBuf, Failure> {
    let path = folders.path("models/default-risk.golden.json");
    let mut golden: serde_json::Value = serde_json::from_slice(&std::fs::read(&path)?)?;
    golden["rows"] = serde_json::json!([row]);
    golden["scores"] = serde_json::json!([score]);
    std::fs::write(&path, golden.to_string())?;
    Ok(path)
}

/// A field of bytes in protobuf's wire format.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut message = vec![number << 3 | 2];
    let mut length = bytes.len();
    while length >= 0x80 {
        message.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    message.push(length as u8);
    message.extend_from_slice(bytes);
    message
}

/// A number in a field; below 2^14, which is all that is needed here.
fn number(field: u8, value: usize) -> Vec<u8> {
    match value {
        0..0x80 => vec![field << 3, value as u8],
        _ => vec![field << 3, (value & 0x7f) as u8 | 0x80, (value >> 7) as u8],
    }
}

/// A model of two hidden layers, as `onnx.proto` has it.
fn large() -> Vec<u8> {
    let matrix = |name: &str, rows: usize, columns: usize| {
        let head = [number(1, rows), number(1, columns), number(2, 1), field(8, name.as_bytes())].concat();
        field(5, &[head, field(9, &vec![0; 4 * rows * columns])].concat())
    };
    let node = |kind: &str, inputs: &[&str], output: &str| {
        let inputs: Vec<u8> = inputs.iter().flat_map(|input| field(1, input.as_bytes())).collect();
        field(1, &[inputs, field(2, output.as_bytes()), field(4, kind.as_bytes())].concat())
    };
    let tensor = |at: u8, name: &str, width: usize| {
        let shape = [field(1, &field(2, b"N")), field(1, &number(1, width))].concat();
        let kind = field(1, &[number(1, 1), field(2, &shape)].concat());
        field(at, &[field(1, name.as_bytes()), field(2, &kind)].concat())
    };
    let graph = [
        node("MatMul", &["row", "first"], "a"),
        node("MatMul", &["a", "second"], "b"),
        node("MatMul", &["b", "third"], "c"),
        node("Sigmoid", &["c"], "probabilities"),
        field(2, b"large"),
        matrix("first", COLUMNS, WIDTH),
        matrix("second", WIDTH, WIDTH),
        matrix("third", WIDTH, 2),
        tensor(11, "row", COLUMNS),
        tensor(12, "probabilities", 2),
    ]
    .concat();
    [number(1, 8), field(7, &graph), field(8, &number(2, 17))].concat()
}
