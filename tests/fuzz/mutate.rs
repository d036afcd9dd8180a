//! Inputs that are almost right: one or a few changes of one of the corpus.

use crate::support::seeds::Random;

/// The most bytes of an input.
const MOST: usize = 1 << 20;

/// Texts on which parsers of numbers, times, names and nesting tell right from wrong.
const WORDS: [&str; 24] = [
    "0",
    "-1",
    "1e999",
    "-0.0",
    "nan",
    "inf",
    "9223372036854775808",
    "18446744073709551616",
    "0.1e-400",
    "null",
    "{}",
    "[[[[",
    "\"\"",
    "\\u0000",
    "\\ud800",
    "\u{202e}",
    "\u{1f600}",
    "9999-12-31T23:59:60Z",
    "-1d",
    "9999999999w",
    "true",
    "''",
    "\n",
    "\r\n",
];

/// Numbers at the edges of their types, as they stand in binary files.
const NUMBERS: [u64; 10] = [0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0xffff, 0x7fff_ffff, 0xffff_ffff, u64::MAX];

/// A mutation of one of the corpus.
pub fn mutated(corpus: &[Vec<u8>], random: &Random) -> Vec<u8> {
    let mut input = random.pick(corpus).clone();
    // Mostly one change: two that are wrong hide each other.
    let changes = 1 << random.below(4).saturating_sub(1);
    for _ in 0..changes {
        change(&mut input, corpus, random);
    }
    input.truncate(MOST);
    input
}

fn change(input: &mut Vec<u8>, corpus: &[Vec<u8>], random: &Random) {
    let at = random.below(input.len() + 1);
    let length = 1 + random.below(1 << random.below(9));
    let end = (at + length).min(input.len());
    match random.below(10) {
        0 if at < end => input[at] ^= 1 << random.below(8),
        1 if at < end => input[at] = random.below(256) as u8,
        2 => drop(input.drain(at..end)),
        3 => drop(input.splice(at..at, input[at..end].repeat(1 + random.below(64)))),
        4 => {
            let other = random.pick(corpus);
            let from = random.below(other.len() + 1);
            let to = (from + length).min(other.len());
            drop(input.splice(at..end, other[from..to].iter().copied()));
        }
        5 => drop(input.splice(at..at, random.pick(&WORDS).bytes())),
        6 => {
            let (from, to) = number(input, at);
            drop(input.splice(from..to, random.pick(&WORDS).bytes()));
        }
        7 => {
            let width = 1 << random.below(4);
            let to = (at + width).min(input.len());
            let bytes = random.pick(&NUMBERS).to_le_bytes();
            input[at..to].copy_from_slice(&bytes[..to - at]);
        }
        8 => input.truncate(at),
        _ => drop(input.splice(at..at, (0..length).map(|_| random.below(256) as u8).collect::<Vec<_>>())),
    }
}

/// The digits at or after a place; nothing where there are none.
fn number(input: &[u8], at: usize) -> (usize, usize) {
    let is_digit = |byte: &u8| byte.is_ascii_digit();
    let from = input[at..].iter().position(is_digit).map_or(at, |offset| at + offset);
    let to = input[from..].iter().position(|byte| !is_digit(byte)).map_or(input.len(), |offset| from + offset);
    if input.get(from).is_some_and(is_digit) { (from, to) } else { (at, at) }
}
