//! The words that records of a kind share.

use std::collections::HashMap;

use rustc_hash::FxBuildHasher;
use serde::Serialize;

use super::decode::{DecodeError, Decoder};
use super::encode::{Collector, EncodeError, Serializer, put_varint};

/// The first byte of stored words: how they, and what is written with them, are to be read.
const FORM: u8 = 1;
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
    /// The texts of an example that are not empty.
    ///
    /// # Errors
    /// What the example says against it.
    pub fn of<T: Serialize + ?Sized>(example: &T) -> Result<Self, EncodeError> {
        let mut collector = Collector::default();
        example.serialize(Serializer(&mut collector))?;
        Ok(Self::new(collector.texts))
    }

    fn new(texts: Vec<Box<str>>) -> Self {
        let mut positions: HashMap<_, Vec<usize>, _> = HashMap::default();
        for (at, text) in texts.iter().enumerate() {
            positions.entry(text.clone()).or_default().push(at);
        }
        Self { texts, positions }
    }

    /// The words as they are stored: a byte for the form, and of each word its length as a varint, and UTF-8.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(1 + self.texts.iter().map(|text| text.len() + 2).sum::<usize>());
        bytes.push(FORM);
        for text in &self.texts {
            put_varint(&mut bytes, text.len() as u64);
            bytes.extend_from_slice(text.as_bytes());
        }
        bytes
    }

    /// Reads what [`Self::to_bytes`] has written.
    ///
    /// # Errors
    /// That it is something else.
    pub fn parse(bytes: &[u8]) -> Result<Self, DecodeError> {
        let none = Self::default();
        let mut decoder = Decoder::new(bytes, &none);
        decoder.form(FORM)?;
        let mut texts = Vec::new();
        while !decoder.is_at_end() {
            texts.push(decoder.text()?.into());
        }
        Ok(Self::new(texts))
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

    pub(super) fn get(&self, at: usize) -> Option<&str> {
        self.texts.get(at).map(|text| &**text)
    }
}
