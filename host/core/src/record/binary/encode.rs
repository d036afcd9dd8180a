//! Writing.

use std::fmt::Display;

use serde::ser::{self, Serialize};

use super::words::{FORM, Words};
use super::{
    END, FALSE, FLOAT, LIST, MAP, MAX_SMALL, NEAR, NEAR_WORDS, NEGATIVE, NONE, SHORT_FLOAT, TEXT, TRUE, WHOLE, WORD,
};

/// Why a value has no binary form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct EncodeError(String);

impl ser::Error for EncodeError {
    fn custom<T: Display>(why: T) -> Self {
        Self(why.to_string())
    }
}

pub(super) fn put_varint(bytes: &mut Vec<u8>, mut number: u64) {
    while number > 0x7f {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// Where a value goes: into bytes, or only its texts into a list.
pub(super) trait Sink {
    fn tag(&mut self, byte: u8);
    fn whole(&mut self, number: u64);
    fn signed(&mut self, number: i64);
    fn float(&mut self, number: f64);
    fn text(&mut self, text: &str);
}

pub(super) struct Encoder<'w> {
    pub bytes: Vec<u8>,
    pub words: &'w Words,
    /// The position after the last near word.
    pub next: usize,
}

impl Sink for Encoder<'_> {
    fn tag(&mut self, byte: u8) {
        self.bytes.push(byte);
    }

    fn whole(&mut self, number: u64) {
        if number <= MAX_SMALL {
            self.bytes.push(number as u8);
        } else {
            self.bytes.push(WHOLE);
            put_varint(&mut self.bytes, number);
        }
    }

    fn signed(&mut self, number: i64) {
        match u64::try_from(number) {
            Ok(number) => self.whole(number),
            Err(_) => {
                self.bytes.push(NEGATIVE);
                put_varint(&mut self.bytes, !number as u64);
            }
        }
    }

    fn float(&mut self, number: f64) {
        let short = number as f32;
        if f64::from(short).to_bits() == number.to_bits() {
            self.bytes.push(SHORT_FLOAT);
            self.bytes.extend_from_slice(&short.to_le_bytes());
        } else {
            self.bytes.push(FLOAT);
            self.bytes.extend_from_slice(&number.to_le_bytes());
        }
    }

    fn text(&mut self, text: &str) {
        match self.words.find(self.next, text) {
            Some(at) => match at.checked_sub(self.next) {
                Some(ahead) if ahead < NEAR_WORDS => {
                    self.bytes.push(NEAR + ahead as u8);
                    self.next = at + 1;
                }
                // The words that follow this one in the list are not expected next.
                _ => {
                    self.bytes.push(WORD);
                    put_varint(&mut self.bytes, at as u64);
                }
            },
            None => {
                self.bytes.push(TEXT);
                put_varint(&mut self.bytes, text.len() as u64);
                self.bytes.extend_from_slice(text.as_bytes());
            }
        }
    }
}

/// Collects a value's texts.
#[derive(Default)]
pub(super) struct Collector {
    pub texts: Vec<Box<str>>,
}

impl Sink for Collector {
    fn tag(&mut self, _: u8) {}
    fn whole(&mut self, _: u64) {}
    fn signed(&mut self, _: i64) {}
    fn float(&mut self, _: f64) {}
    fn text(&mut self, text: &str) {
        if !text.is_empty() {
            self.texts.push(text.into());
        }
    }
}

/// Puts a value into a sink.
pub(super) struct Serializer<'s, S>(pub &'s mut S);

/// A list or map that goes on to its end.
pub(super) struct Open<'s, S> {
    sink: &'s mut S,
    /// How many ends it has: a variant's value stands in a map of its own.
    ends: u8,
}

impl<'s, S: Sink> Serializer<'s, S> {
    fn open(self, variant: Option<&str>, tag: u8) -> Open<'s, S> {
        if let Some(variant) = variant {
            self.0.tag(MAP);
            self.0.text(variant);
        }
        self.0.tag(tag);
        Open { sink: self.0, ends: if variant.is_some() { 2 } else { 1 } }
    }
}

/// One `serialize_…` for each of the kinds of number.
macro_rules! numbers {
    ($($method:ident($kind:ty) => $sink:ident as $wide:ty),*) => {
        $(fn $method(self, number: $kind) -> Result<(), EncodeError> {
            self.0.$sink(<$wide>::from(number));
            Ok(())
        })*
    };
}

impl<'s, S: Sink> ser::Serializer for Serializer<'s, S> {
    type Ok = ();
    type Error = EncodeError;
    type SerializeSeq = Open<'s, S>;
    type SerializeTuple = Open<'s, S>;
    type SerializeTupleStruct = Open<'s, S>;
    type SerializeTupleVariant = Open<'s, S>;
    type SerializeMap = Open<'s, S>;
    type SerializeStruct = Open<'s, S>;
    type SerializeStructVariant = Open<'s, S>;

    numbers! {
        serialize_i8(i8) => signed as i64, serialize_i16(i16) => signed as i64,
        serialize_i32(i32) => signed as i64, serialize_i64(i64) => signed as i64,
        serialize_u8(u8) => whole as u64, serialize_u16(u16) => whole as u64,
        serialize_u32(u32) => whole as u64, serialize_u64(u64) => whole as u64,
        serialize_f32(f32) => float as f64, serialize_f64(f64) => float as f64
    }

    fn serialize_bool(self, value: bool) -> Result<(), EncodeError> {
        self.0.tag(if value { TRUE } else { FALSE });
        Ok(())
    }

    fn serialize_char(self, value: char) -> Result<(), EncodeError> {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, text: &str) -> Result<(), EncodeError> {
        self.0.text(text);
        Ok(())
    }

    fn serialize_bytes(self, bytes: &[u8]) -> Result<(), EncodeError> {
        self.collect_seq(bytes)
    }

    fn serialize_none(self) -> Result<(), EncodeError> {
        self.0.tag(NONE);
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), EncodeError> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), EncodeError> {
        self.serialize_none()
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), EncodeError> {
        self.serialize_none()
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<(), EncodeError> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T>(self, _: &'static str, value: &T) -> Result<(), EncodeError>
    where
        T: Serialize + ?Sized,
    {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), EncodeError>
    where
        T: Serialize + ?Sized,
    {
        self.0.tag(MAP);
        self.0.text(variant);
        value.serialize(Serializer(&mut *self.0))?;
        self.0.tag(END);
        Ok(())
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Open<'s, S>, EncodeError> {
        Ok(self.open(None, LIST))
    }

    fn serialize_tuple(self, _: usize) -> Result<Open<'s, S>, EncodeError> {
        Ok(self.open(None, LIST))
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Open<'s, S>, EncodeError> {
        Ok(self.open(None, LIST))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Open<'s, S>, EncodeError> {
        Ok(self.open(Some(variant), LIST))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Open<'s, S>, EncodeError> {
        Ok(self.open(None, MAP))
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Open<'s, S>, EncodeError> {
        Ok(self.open(None, MAP))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Open<'s, S>, EncodeError> {
        Ok(self.open(Some(variant), MAP))
    }
}

impl<S: Sink> Open<'_, S> {
    fn put<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
        value.serialize(Serializer(&mut *self.sink))
    }

    fn put_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), EncodeError> {
        self.sink.text(name);
        self.put(value)
    }

    fn close(self) -> Result<(), EncodeError> {
        (0..self.ends).for_each(|_| self.sink.tag(END));
        Ok(())
    }
}

/// The kinds of list.
macro_rules! lists {
    ($($kind:ident :: $method:ident),*) => {
        $(impl<S: Sink> ser::$kind for Open<'_, S> {
            type Ok = ();
            type Error = EncodeError;
            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
                self.put(value)
            }
            fn end(self) -> Result<(), EncodeError> {
                self.close()
            }
        })*
    };
}

lists! {
    SerializeSeq::serialize_element, SerializeTuple::serialize_element,
    SerializeTupleStruct::serialize_field, SerializeTupleVariant::serialize_field
}

/// The kinds of struct.
macro_rules! structs {
    ($($kind:ident),*) => {
        $(impl<S: Sink> ser::$kind for Open<'_, S> {
            type Ok = ();
            type Error = EncodeError;
            fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), EncodeError> {
                self.put_field(name, value)
            }
            fn end(self) -> Result<(), EncodeError> {
                self.close()
            }
        })*
    };
}

structs! { SerializeStruct, SerializeStructVariant }

impl<S: Sink> ser::SerializeMap for Open<'_, S> {
    type Ok = ();
    type Error = EncodeError;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), EncodeError> {
        self.put(key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
        self.put(value)
    }

    fn end(self) -> Result<(), EncodeError> {
        self.close()
    }
}

impl Words {
    /// The texts of an example that are not empty.
    ///
    /// # Errors
    /// The error of the example's own `Serialize`.
    pub fn of<T: Serialize + ?Sized>(example: &T) -> Result<Self, EncodeError> {
        let mut collector = Collector::default();
        example.serialize(Serializer(&mut collector))?;
        Ok(Self::new(collector.texts))
    }

    /// The words as they are stored: a byte for the form, and of each word its length as a varint, and UTF-8.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(1 + self.texts().iter().map(|text| text.len() + 2).sum::<usize>());
        bytes.push(FORM);
        for text in self.texts() {
            put_varint(&mut bytes, text.len() as u64);
            bytes.extend_from_slice(text.as_bytes());
        }
        bytes
    }
}
