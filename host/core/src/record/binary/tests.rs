//! What is written comes back, and nothing else passes for it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::*;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Shape {
    Point,
    Round(f64),
    Pair(i64, String),
    Wide { left: u64, right: Option<bool> },
}

/// A generator of numbers (SplitMix64), so that each test is the same in every run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// Any JSON value, its numbers of every size.
fn any(numbers: &mut Numbers, depth: u32) -> Value {
    let text = |numbers: &mut Numbers| {
        let length = numbers.below(40).saturating_sub(10);
        (0..length).map(|_| char::from_u32(numbers.below(0x300) as u32 + 32).unwrap_or('x')).collect::<String>()
    };
    match numbers.below(if depth == 0 { 6 } else { 8 }) {
        0 => Value::Null,
        1 => json!(numbers.below(2) == 0),
        2 => json!(numbers.next() >> numbers.below(64)),
        3 => json!((numbers.next() as i64) >> numbers.below(63)),
        4 => match f64::from_bits(numbers.next()) {
            x if x.is_finite() => json!(x),
            _ => json!(-0.0),
        },
        5 => json!(text(numbers)),
        6 => (0..numbers.below(5)).map(|_| any(numbers, depth - 1)).collect(),
        _ => Value::Object((0..numbers.below(6)).map(|_| (text(numbers), any(numbers, depth - 1))).collect()),
    }
}

#[test]
fn any_value_comes_back_with_any_words() {
    let mut numbers = Numbers(1);
    for _ in 0..2_000 {
        let (value, other) = (any(&mut numbers, 4), any(&mut numbers, 3));
        for words in [Words::default(), Words::of(&value).expect("texts"), Words::of(&other).expect("texts")] {
            let bytes = encode(&value, &words).expect("encodes");
            assert_eq!(decode::<Value>(&bytes, &words).as_ref(), Ok(&value), "{words:?}");
            let stored = Words::parse(&words.to_bytes()).expect("words");
            assert_eq!(stored, words);
        }
    }
}

#[test]
fn every_kind_of_variant_and_the_edges_of_numbers_come_back() {
    let shapes = vec![
        Shape::Point,
        Shape::Round(0.1),
        Shape::Pair(i64::MIN, "Point".into()),
        Shape::Wide { left: u64::MAX, right: None },
        Shape::Wide { left: 128, right: Some(true) },
    ];
    let words = Words::of(&shapes).expect("texts");
    for words in [&words, &Words::default()] {
        let bytes = encode(&shapes, words).expect("encodes");
        assert_eq!(decode::<Vec<Shape>>(&bytes, words).as_ref(), Ok(&shapes));
    }
    for number in [0.0, -0.0, 0.5, 0.1, f64::MAX, f64::MIN_POSITIVE, f64::NAN, f64::NEG_INFINITY] {
        let bytes = encode(&number, &words).expect("encodes");
        assert_eq!(decode::<f64>(&bytes, &words).expect("a number").to_bits(), number.to_bits());
    }
    assert_eq!(encode(&0.5, &words).expect("encodes").len(), 5, "32 bits hold it");
    for number in [0, 127, 128, u64::MAX] {
        let bytes = encode(&number, &words).expect("encodes");
        assert_eq!(decode::<u64>(&bytes, &words), Ok(number));
    }
}

fn decoded(map: &BTreeMap<&str, &str>) -> BTreeMap<String, String> {
    map.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn words_in_their_order_are_a_byte_each() {
    fn of(ids: [&str; 3]) -> BTreeMap<&str, &str> {
        ["customer", "household", "product"].into_iter().zip(ids).collect()
    }
    let words = Words::of(&of(["", "", ""])).expect("texts");
    // A map, three words, three texts with their lengths, and its end.
    assert_eq!(encode(&of(["a", "b", "c"]), &words).expect("encodes").len(), 1 + 3 + 9 + 1);
    // A value that is a word by chance makes the ones after it longer, and no other.
    let by_chance = of(["product", "b", "c"]);
    let bytes = encode(&by_chance, &words).expect("encodes");
    assert_eq!(decode::<BTreeMap<String, String>>(&bytes, &words).expect("decodes"), decoded(&by_chance));
}

#[test]
fn altered_bytes_are_an_error_or_another_value_and_never_more() {
    let mut numbers = Numbers(2);
    let value = any(&mut numbers, 5);
    let words = Words::of(&json!({"a": "b", "c": ["d"]})).expect("texts");
    let bytes = encode(&json!([value, {"a": [1.5, "b", {"c": -7}]}]), &words).expect("encodes");
    for length in 0..bytes.len() {
        decode::<Value>(&bytes[..length], &words).expect_err("cut off");
    }
    for _ in 0..20_000 {
        let mut altered = bytes.clone();
        let at = numbers.below(bytes.len() as u64) as usize;
        altered[at] = numbers.next() as u8;
        let _ = decode::<Value>(&altered, &words);
    }
    let deep = vec![LIST; 1_000_000];
    assert!(decode::<Value>(&deep, &words).expect_err("deep").to_string().contains("without end"));
    let long = [TEXT, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
    assert!(decode::<Value>(&long, &words).expect_err("long").to_string().contains("byte 7"));
    let error = decode::<Value>(&[0, 0], &words).expect_err("more").to_string();
    assert!(error.contains("byte 1"), "{error}");
}
