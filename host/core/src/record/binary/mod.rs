//! The binary form of a record, in which it is stored since schema 3.
//!
//! Records of one kind share most of their texts: the names of fields, features and actions,
//! digests, the texts of reasons. These are its *words*, kept once for all records of the kind, in
//! the order in which a record has them, so that a record refers to most of its texts by one byte,
//! "the next one". What is left is numbers and what is the entity's own. Encoding costs a fraction
//! of JSON's, and the bytes to hash and write are few.
//!
//! The form describes itself, as JSON does: a struct is a map of its fields' names. A later schema
//! may add optional fields without another form. A value begins with one byte:
//!
//! | byte | value |
//! |---|---|
//! | `00`–`7f` | a whole number from 0 to 127 |
//! | `80` | none |
//! | `81`, `82` | false, true |
//! | `83` varint | a whole number |
//! | `84` varint | a negative whole number, as its bits inverted |
//! | `85` 8 bytes | a floating-point number of 64 bits, little-endian |
//! | `86` 4 bytes | one that 32 bits hold without loss |
//! | `87` varint bytes | a text: its length, and UTF-8 |
//! | `88` varint | the word at this position |
//! | `89` … `8b` | a list, to its end |
//! | `8a` … `8b` | a map, to its end: text, value, text, value |
//! | `c0`–`ff` | a near word: so many words after the last near word, from 0 to 63 |
//!
//! A varint has seven bits a byte, the least significant first (LEB128).

mod decode;
mod encode;
mod words;

use serde::Serialize;
use serde::de::Deserialize;

pub use decode::DecodeError;
pub use encode::EncodeError;
pub use words::Words;

const NONE: u8 = 0x80;
const FALSE: u8 = 0x81;
const TRUE: u8 = 0x82;
const WHOLE: u8 = 0x83;
const NEGATIVE: u8 = 0x84;
const FLOAT: u8 = 0x85;
const SHORT_FLOAT: u8 = 0x86;
const TEXT: u8 = 0x87;
const WORD: u8 = 0x88;
const LIST: u8 = 0x89;
const MAP: u8 = 0x8a;
const END: u8 = 0x8b;
/// The words that are near are the bytes from here on.
const NEAR: u8 = 0xc0;
/// How many words are near.
const NEAR_WORDS: usize = 64;
/// The largest whole number that is its own byte.
const MAX_SMALL: u64 = 0x7f;

/// The bytes of `value`, in which the texts among `words` are left out.
///
/// # Errors
/// The error of the value's own `Serialize`.
pub fn encode<T: Serialize + ?Sized>(value: &T, words: &Words) -> Result<Vec<u8>, EncodeError> {
    // A record takes some 600 bytes: it is written without growing twice.
    let mut encoder = encode::Encoder { bytes: Vec::with_capacity(1024), words, next: 0 };
    value.serialize(encode::Serializer(&mut encoder))?;
    Ok(encoder.bytes)
}

/// The value that [`encode`] has written as `bytes` with the same `words`.
///
/// # Errors
/// The byte at which it is wrong, and why.
pub fn decode<'b, T: Deserialize<'b>>(bytes: &'b [u8], words: &'b Words) -> Result<T, DecodeError> {
    let mut decoder = decode::Decoder::new(bytes, words);
    let value = T::deserialize(&mut decoder)?;
    decoder.end()?;
    Ok(value)
}

#[cfg(test)]
mod tests;
