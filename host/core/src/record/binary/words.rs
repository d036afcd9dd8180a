//! The words that records of a kind share.

use std::collections::HashMap;

use rustc_hash::FxBuildHasher;

/// The first byte of stored words: how they, and what is written with them, are to be read.
pub(super) const FORM: u8 = 1;
/// How many of the next words are looked at before all are searched.
const LOOK_AHEAD: usize = 4;

/// Texts, in the order in which a value of the kind has them. One may be there more than once.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Words {
    texts: Vec<Box<str>>,
    /// The positions of each, in order.
    positions: HashMap<Box<str>, Vec<usize>, FxBuildHasher>,
}

impl Words {
    pub(super) fn new(texts: Vec<Box<str>>) -> Self {
        let mut positions: HashMap<_, Vec<usize>, _> = HashMap::default();
        for (at, text) in texts.iter().enumerate() {
            positions.entry(text.clone()).or_default().push(at);
        }
        Self { texts, positions }
    }

    /// A position of `text`: the first from `next` on, or the first of all.
    pub(super) fn find(&self, next: usize, text: &str) -> Option<usize> {
        let ahead = self.texts.get(next..).unwrap_or_default().iter().take(LOOK_AHEAD);
        if let Some(ahead) = ahead.into_iter().position(|word| **word == *text) {
            return Some(next + ahead);
        }
        let positions = self.positions.get(text)?;
        positions.iter().find(|at| **at >= next).or_else(|| positions.first()).copied()
    }

    /// All texts, in order.
    pub(super) fn texts(&self) -> &[Box<str>] {
        &self.texts
    }

    pub(super) fn get(&self, at: usize) -> Option<&str> {
        self.texts.get(at).map(|text| &**text)
    }
}
