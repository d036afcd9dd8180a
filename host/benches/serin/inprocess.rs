//! One decision on one thread, and what it is made of.

use std::cell::Cell;
use std::hint::black_box;
use std::sync::Arc;

use serin::clock::SystemClock;
use serin::decide::{Thread, decide};
use serin::ledger::{DecisionRow, Packer, StoredRecord};
use serin::sandbox::{Bare, Run};
use serin_core::projection;
use serin_core::record::Record;
use serin_core::value::Value;
use serin_guest::bindings;

use crate::measure::{Timed, TimedCall, interleaved};
use crate::table::{Row, Table};
use crate::world::{DEADLINE, Failure, World, budget};

/// What the other sections set their own measurements against, in microseconds.
#[derive(Clone, Copy)]
pub struct Parts {
    /// A whole decision.
    pub decision: f64,
    /// Its record as bytes, and their digest.
    pub record: f64,
    /// A bare call.
    pub bare: f64,
    /// A stored record, its digest compared, decoded.
    pub decode: f64,
}

/// Goes round through prepared inputs, so that no single row stays warmer than in service.
struct Round<T> {
    items: Vec<T>,
    at: Cell<usize>,
}

impl<T> Round<T> {
    fn new(items: impl Iterator<Item = T>) -> Self {
        Self { items: items.collect(), at: Cell::new(0) }
    }

    fn next(&self) -> &T {
        let at = self.at.get();
        self.at.set(if at + 1 == self.items.len() { 0 } else { at + 1 });
        &self.items[at]
    }
}

/// The inputs of the arm's strategy, as the recorded decision had them.
fn inputs(record: &Record, world: &World) -> (Vec<Value>, Vec<f64>, Vec<Value>) {
    let manifest = world.arm().plugin.manifest();
    let features = projection::features(record, manifest).expect("it was decided on these features").features;
    let (scores, _) = projection::scores(&record.attempts[0].scores, manifest).expect("it was decided on these scores");
    (features, scores, record.attempts[0].parameters.clone())
}

fn bare<'w>(record: &Record, world: &'w World) -> Bare<'w> {
    let (features, scores, parameters) = inputs(record, world);
    let run = Run {
        decision_point: &record.decision_point,
        time_ms: record.time_ms,
        utc_offset_minutes: record.utc_offset_minutes,
        features: &features,
        scores: &scores,
        parameters: &parameters,
    };
    Bare::new(&world.arm().plugin.linked, &run, world.arm().limits)
}

fn native(record: &Record, world: &World) -> bindings::Context {
    let value = |value: &Value| match value {
        Value::Missing => bindings::Value::Missing,
        Value::Boolean(b) => bindings::Value::Boolean(*b),
        Value::Integer(i) => bindings::Value::Integer(*i),
        Value::Number(x) => bindings::Value::Number(*x),
        Value::Text(text) => bindings::Value::Text(text.clone()),
    };
    let (features, scores, parameters) = inputs(record, world);
    bindings::Context {
        decision_point: record.decision_point.to_string(),
        time_ms: record.time_ms,
        utc_offset_minutes: record.utc_offset_minutes,
        features: features.iter().map(value).collect(),
        scores,
        parameters: parameters.iter().map(value).collect(),
        extra: Vec::new(),
    }
}

// The timed calls, in their order.
const NATIVE: usize = 0;
const BARE: usize = 1;
const INSTANTIATE: usize = 2;
const AGAIN: usize = 3;
const FEATURES: usize = 4;
const ONNX: usize = 5;
const DECISION: usize = 6;
const SEQUENCE: usize = 7;
const RECORD: usize = 8;
const DECODE: usize = 9;

/// Measures the parts and the whole.
pub fn measure(world: &World, rounds: usize, table: &mut Table) -> Result<Parts, Failure> {
    let records: Vec<&Record> = world.decided.iter().map(|(_, record)| record).collect();
    let contexts = Round::new(records.iter().map(|record| native(record, world)));
    let bares = Round::new(records.iter().map(|record| bare(record, world)));
    let mut resident = bare(records[0], world).resident().map_err(|e| e.to_string())?;
    let model = world.deployment.models.values().next().ok_or("the demo has a model")?;
    let rows = records.iter().map(|record| model.arrange(&record.attempts[0].scores[0].inputs));
    let rows = Round::new(rows.collect::<Result<Vec<_>, _>>()?.into_iter().map(|row| [row]));
    let union = &world.deployment.points[crate::world::POINT].union;
    let keys = Round::new(records.iter().map(|record| {
        let key = |view: &'_ serin::decide::UnionView| record.entities[&view.spec.entity].clone();
        union.iter().map(key).collect::<Vec<String>>()
    }));
    let requests = Round::new(world.decided.iter().map(|(request, _)| request));
    let whole = Round::new(records.iter().copied());
    let packer = Packer::default();
    let stored = Round::new(
        records
            .iter()
            .map(|record| DecisionRow::of(record, &[], &packer))
            .collect::<Result<Vec<_>, _>>()?
            .into_iter()
            .map(StoredRecord::from),
    );
    let store = Arc::clone(&world.deployment.store);

    let subjects: Vec<TimedCall<'_>> = vec![
        Box::new(|| {
            let context = contexts.next().clone();
            black_box(serin_guest::boundary::run(outreach_score::decide, context).is_ok());
        }),
        Box::new(|| assert_eq!(bares.next().call().expect("runs"), 1)),
        Box::new(|| bares.next().instantiate().expect("starts")),
        Box::new(move || assert_eq!(resident().expect("runs"), 1)),
        Box::new(|| {
            let ids = keys.next();
            let keys: Vec<_> = union.iter().zip(ids).map(|(v, id)| (&v.spec.name, id.as_str(), &v.columns)).collect();
            black_box(store.read(&keys).expect("reads"));
        }),
        Box::new(|| {
            black_box(model.score(rows.next(), DEADLINE).expect("scores"));
        }),
        Box::new(|| {
            black_box(
                decide(Thread::Deciding, &world.deployment, requests.next(), &SystemClock, budget(), DEADLINE)
                    .expect("decides"),
            );
        }),
        Box::new(|| {
            let ids = keys.next();
            let keys: Vec<_> = union.iter().zip(ids).map(|(v, id)| (&v.spec.name, id.as_str(), &v.columns)).collect();
            black_box(store.read(&keys).expect("reads"));
            black_box(model.score(rows.next(), DEADLINE).expect("scores"));
            assert_eq!(bares.next().call().expect("runs"), 1)
        }),
        Box::new(|| {
            black_box(DecisionRow::of(whole.next(), &[], &packer).expect("serializes"));
        }),
        Box::new(|| {
            black_box(stored.next().parse().expect("parses"));
        }),
    ];
    let timed = interleaved(rounds, subjects);
    Ok(tabulate(&timed, table))
}

/// Writes the table's section.
fn tabulate(timed: &Timed, table: &mut Table) -> Parts {
    let parts = Parts {
        decision: timed.us(DECISION),
        record: timed.us(RECORD),
        bare: timed.us(BARE),
        decode: timed.us(DECODE),
    };
    table.section(
        "one strategy with 21 features and a score, on one thread",
        vec![
            Row::new("native code", timed.us(NATIVE), "µs"),
            Row::new("bare wasmtime: instantiate, call, drop", timed.us(BARE), "µs")
                .against("native code", timed.us(NATIVE))
                .ratio(timed.ratio(BARE, &[NATIVE])),
            Row::new("  of it: instantiate and drop", timed.us(INSTANTIATE), "µs"),
            Row::new("  the same instance called again (never done)", timed.us(AGAIN), "µs"),
            Row::new("features: one read of both views", timed.us(FEATURES), "µs"),
            Row::new("model: one row", timed.us(ONNX), "µs"),
            Row::new("a whole decision, not recorded", parts.decision, "µs")
                .against("features, model, bare call in turn", timed.us(SEQUENCE))
                .ratio(timed.ratio(DECISION, &[SEQUENCE]))
                .ratio_at_most(1.3),
            Row::new("record to bytes, and their digest", parts.record, "µs"),
            Row::new("stored record, digest compared, decoded", parts.decode, "µs"),
        ],
    );
    parts
}
