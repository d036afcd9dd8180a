//! The readers of the core, each as a function of bytes that panics where something is wrong. The mutation loop and
//! the guided targets (`guided/`) call the same ones.

#![allow(dead_code, reason = "each guided target uses one")]

use indexmap::IndexMap;
use serin_core::case::Case;
use serin_core::experiment::Experiment;
use serin_core::expression::{Predicate, Reference, Schema, Scope};
use serin_core::manifest::Manifest;
use serin_core::record::Record;
use serin_core::record::binary::{self, Words};
use serin_core::value::{Value, ValueType};

/// Messages are logged and answered, so each has an end.
pub fn is_short(message: &str) {
    assert!(
        message.len() <= 8_000,
        "a message of {} bytes: {}…",
        message.len(),
        &message[..message.floor_char_boundary(200)]
    );
}

/// The input as text; none where it is none, or holds the word that stands for a defect.
pub fn text(input: &[u8]) -> Option<&str> {
    std::str::from_utf8(input).ok().filter(|text| !text.contains(serin_core::DEFECT))
}

/// A plugin's manifest.
pub fn manifest(input: &[u8]) {
    let Some(text) = text(input) else { return };
    match Manifest::parse(text) {
        Err(error) => is_short(&error.to_string()),
        Ok(manifest) => {
            manifest.parameters_with(&IndexMap::new()).expect("the defaults are valid");
            assert_eq!(Manifest::parse(text).expect("valid again").hash, manifest.hash);
        }
    }
}

/// A case of a plugin.
pub fn case(input: &[u8]) {
    let manifest = Manifest::parse(include_str!("../../plugins/outreach-score/plugin.toml")).expect("valid");
    let Ok(case) = serde_json::from_slice::<Case>(input) else { return };
    match case.check(&manifest) {
        Err(_) => {}
        Ok(()) => drop((case.positional_features(&manifest), case.positional_scores(&manifest))),
    }
    let json = serde_json::to_string(&case).expect("JSON");
    let again = serde_json::from_str::<Case>(&json).expect("what is written can be read");
    assert_eq!(serde_json::to_string(&again).expect("JSON"), json);
}

/// An experiment's file.
pub fn experiment(input: &[u8]) {
    let Some(text) = text(input) else { return };
    match Experiment::parse(text) {
        Err(error) => is_short(&error),
        Ok(spec) => {
            drop((spec.attributes(), spec.longest_ms(), spec.reward_window_ms()));
            assert!(spec.control_at() < spec.arms.len());
            assert_eq!(spec.fixed_key_changed(&spec), None, "it is the same as itself");
        }
    }
}

/// The length of the words, the words, the record; or a record as JSON.
pub fn record(input: &[u8]) {
    if input.first() == Some(&b'{') {
        if let Ok(record) = Record::parse(input) {
            let json = serde_json::to_vec(&record).expect("JSON");
            assert_eq!(Record::parse(&json).expect("what is written can be read"), record);
        }
        return;
    }
    let Some((length, rest)) = input.split_first_chunk::<2>() else { return };
    let length = usize::from(u16::from_le_bytes(*length)).min(rest.len());
    let (words, bytes) = rest.split_at(length);
    let words = if words.is_empty() { Words::default() } else { Words::parse(words).unwrap_or_default() };
    match Record::decode(bytes, &words) {
        Err(error) => is_short(&error),
        Ok(record) => {
            // Compared as bytes: a number that is none differs from itself.
            let written = binary::encode(&record, &words).expect("encodes");
            let again = Record::decode(&written, &words).expect("what is written can be read");
            assert_eq!(binary::encode(&again, &words).expect("encodes"), written);
        }
    }
}

/// A condition of an experiment or of a decision point.
pub fn expression(input: &[u8]) {
    let Some(text) = text(input) else { return };
    match Predicate::compile(text, &Declared) {
        Err(error) => is_short(&error.to_string()),
        Ok(predicate) => assert_eq!(predicate.evaluate(&Declared), predicate.evaluate(&Declared)),
    }
}

/// What an expression may refer to, with a value for each type.
struct Declared;

impl Schema for Declared {
    fn type_of(&self, reference: &Reference) -> Option<ValueType> {
        match reference {
            Reference::Entity(kind) => (kind == "borrower").then_some(ValueType::Text),
            Reference::Context(name) => match name.as_str() {
                "days_past_due" => Some(ValueType::Integer),
                "channel" | "stage" => Some(ValueType::Text),
                _ => None,
            },
            Reference::Feature(view, name) => match (view.as_str(), name.as_str()) {
                ("servicing", "cease_contact") => Some(ValueType::Boolean),
                ("servicing", "balance_due") => Some(ValueType::Number),
                ("borrower-profile", "state") => Some(ValueType::Text),
                _ => None,
            },
        }
    }

    fn declared(&self) -> String {
        "context.days_past_due, context.channel, context.stage, features.servicing.cease_contact".to_owned()
    }
}

impl Scope for Declared {
    fn value(&self, reference: &Reference) -> &Value {
        static TEXT: std::sync::LazyLock<Value> = std::sync::LazyLock::new(|| Value::Text("a text".to_owned()));
        match self.type_of(reference) {
            Some(ValueType::Boolean) => &Value::Boolean(true),
            Some(ValueType::Integer) => &Value::Integer(i64::MIN),
            Some(ValueType::Number) => &Value::Number(-0.5),
            Some(ValueType::Text) => &TEXT,
            None => &Value::Missing,
        }
    }

    fn is_there(&self, reference: &Reference) -> Option<bool> {
        Some(self.type_of(reference).is_some())
    }
}
