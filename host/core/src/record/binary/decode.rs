//! Reading.

use std::fmt::Display;

use serde::de::{self, IntoDeserializer as _, Visitor};

use super::words::{FORM, Words};
use super::{END, FALSE, FLOAT, LIST, MAP, MAX_SMALL, NEAR, NEGATIVE, NONE, SHORT_FLOAT, TEXT, TRUE, WHOLE, WORD};

/// Lists and maps that stand in each other, at most. A record has some ten.
const MAX_DEPTH: u32 = 64;

/// Why bytes are not what is read from them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DecodeError(String);

impl de::Error for DecodeError {
    fn custom<T: Display>(why: T) -> Self {
        Self(why.to_string())
    }
}

pub(super) struct Decoder<'b> {
    bytes: &'b [u8],
    at: usize,
    words: &'b Words,
    /// The position after the last near word.
    next: usize,
    depth: u32,
}

impl<'b> Decoder<'b> {
    pub fn new(bytes: &'b [u8], words: &'b Words) -> Self {
        Self { bytes, at: 0, words, next: 0, depth: 0 }
    }

    pub fn is_at_end(&self) -> bool {
        self.at == self.bytes.len()
    }

    /// Checks that there is nothing more.
    pub fn end(&self) -> Result<(), DecodeError> {
        if self.is_at_end() { Ok(()) } else { Err(self.wrong("the value has ended, and more follows")) }
    }

    fn wrong(&self, why: &str) -> DecodeError {
        DecodeError(format!("byte {}: {why}", self.at))
    }

    fn peek(&self) -> Result<u8, DecodeError> {
        self.bytes.get(self.at).copied().ok_or_else(|| self.wrong("the bytes end in the middle of a value"))
    }

    fn take(&mut self, count: usize) -> Result<&'b [u8], DecodeError> {
        let rest = &self.bytes[self.at..];
        let taken = rest.get(..count).ok_or_else(|| self.wrong("the bytes end in the middle of a value"))?;
        self.at += count;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, DecodeError> {
        Ok(self.take(1)?[0])
    }

    /// Checks the byte that says how what follows is to be read.
    pub fn form(&mut self, known: u8) -> Result<(), DecodeError> {
        match self.byte()? {
            form if form == known => Ok(()),
            other => Err(self.wrong(&format!("form {other} is not known here; known: {known}"))),
        }
    }

    fn varint(&mut self) -> Result<u64, DecodeError> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                break;
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(self.wrong("a number of more than 64 bits"))
    }

    /// A length as a varint, and that many bytes of UTF-8.
    pub fn text(&mut self) -> Result<&'b str, DecodeError> {
        let length = self.varint()?;
        let bytes = self.take(usize::try_from(length).unwrap_or(usize::MAX))?;
        std::str::from_utf8(bytes).map_err(|_| self.wrong("a text that is not UTF-8"))
    }

    fn word(&self, at: u64) -> Result<&'b str, DecodeError> {
        let word = usize::try_from(at).ok().and_then(|at| self.words.get(at));
        word.ok_or_else(|| self.wrong("a word that its kind does not have"))
    }

    /// Reads a list or a map, to its end.
    fn within<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, DecodeError>) -> Result<T, DecodeError> {
        if self.depth == MAX_DEPTH {
            return Err(self.wrong("lists and maps stand in each other without end"));
        }
        self.depth += 1;
        let value = read(self)?;
        self.depth -= 1;
        match self.byte()? {
            END => Ok(value),
            _ => Err(self.wrong("a list or map has more than is known of it")),
        }
    }

    fn value<V: Visitor<'b>>(&mut self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.byte()? {
            NONE => visitor.visit_unit(),
            FALSE => visitor.visit_bool(false),
            TRUE => visitor.visit_bool(true),
            small if u64::from(small) <= MAX_SMALL => visitor.visit_u64(small.into()),
            WHOLE => visitor.visit_u64(self.varint()?),
            NEGATIVE => match i64::try_from(self.varint()?) {
                Ok(bits) => visitor.visit_i64(!bits),
                Err(_) => Err(self.wrong("a number of more than 64 bits")),
            },
            FLOAT => {
                let bytes = self.take(8)?;
                visitor.visit_f64(f64::from_le_bytes(bytes.try_into().unwrap_or_default()))
            }
            SHORT_FLOAT => {
                let bytes = self.take(4)?;
                visitor.visit_f64(f32::from_le_bytes(bytes.try_into().unwrap_or_default()).into())
            }
            TEXT => visitor.visit_str(self.text()?),
            WORD => {
                let at = self.varint()?;
                visitor.visit_str(self.word(at)?)
            }
            near if near >= NEAR => {
                let at = self.next + usize::from(near - NEAR);
                let word = self.word(at as u64)?;
                self.next = at + 1;
                visitor.visit_str(word)
            }
            LIST => self.within(|decoder| visitor.visit_seq(Elements(decoder))),
            MAP => self.within(|decoder| visitor.visit_map(Elements(decoder))),
            _ => Err(self.wrong("no value begins like this")),
        }
    }
}

impl<'de> de::Deserializer<'de> for &mut Decoder<'de> {
    type Error = DecodeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.value(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        if self.peek()? == NONE {
            self.at += 1;
            return visitor.visit_none();
        }
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        if self.peek()? != MAP {
            let name: String = de::Deserialize::deserialize(self)?;
            return visitor.visit_enum(name.into_deserializer());
        }
        self.at += 1;
        self.within(|decoder| visitor.visit_enum(Variant(decoder)))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct identifier ignored_any
    }
}

/// The elements of a list, or the keys and values of a map.
struct Elements<'d, 'b>(&'d mut Decoder<'b>);

impl<'de> Elements<'_, 'de> {
    fn next<S: de::DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, DecodeError> {
        if self.0.peek()? == END { Ok(None) } else { seed.deserialize(&mut *self.0).map(Some) }
    }
}

impl<'de> de::SeqAccess<'de> for Elements<'_, 'de> {
    type Error = DecodeError;

    fn next_element_seed<S: de::DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, DecodeError> {
        self.next(seed)
    }
}

impl<'de> de::MapAccess<'de> for Elements<'_, 'de> {
    type Error = DecodeError;

    fn next_key_seed<S: de::DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, DecodeError> {
        self.next(seed)
    }

    fn next_value_seed<S: de::DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, DecodeError> {
        seed.deserialize(&mut *self.0)
    }
}

/// A variant with a value: a map of one entry.
struct Variant<'d, 'b>(&'d mut Decoder<'b>);

impl<'de> de::EnumAccess<'de> for Variant<'_, 'de> {
    type Error = DecodeError;
    type Variant = Self;

    fn variant_seed<S: de::DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), DecodeError> {
        Ok((seed.deserialize(&mut *self.0)?, self))
    }
}

impl<'de> de::VariantAccess<'de> for Variant<'_, 'de> {
    type Error = DecodeError;

    fn unit_variant(self) -> Result<(), DecodeError> {
        de::Deserialize::deserialize(self.0)
    }

    fn newtype_variant_seed<S: de::DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, DecodeError> {
        seed.deserialize(self.0)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, DecodeError> {
        self.0.value(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], visitor: V) -> Result<V::Value, DecodeError> {
        self.0.value(visitor)
    }
}

impl Words {
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
}
