//! Values of features, parameters and requests, and their declared types.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::{Serialize, Serializer};

/// One value. In JSON and TOML it is the plain literal: `null`, `true`, `12`, `0.5`,
/// `"text"`. A number is always finite.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A missing value.
    Missing,
    /// True or false.
    Boolean(bool),
    /// A whole number.
    Integer(i64),
    /// A finite number.
    Number(f64),
    /// Text.
    Text(String),
}

/// The most bytes of an incoming text, in a feature or in a request's context. It is copied into
/// the record of every decision that reads it.
pub const MAX_TEXT_BYTES: usize = 4096;

/// The declared type of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ValueType {
    /// True or false.
    Boolean,
    /// A whole number of 64 bits.
    Integer,
    /// A finite number of 64 bits. An integer is accepted where a number is declared.
    Number,
    /// Text in UTF-8.
    Text,
}

impl ValueType {
    /// The names of all types, as written in files.
    pub const WRITTEN: &'static str = "boolean, integer, number, text";

    /// The type as it is written in files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Boolean => "boolean",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Text => "text",
        }
    }

    /// Parses a type as written in files.
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "boolean" => Self::Boolean,
            "integer" => Self::Integer,
            "number" => Self::Number,
            "text" => Self::Text,
            _ => return None,
        })
    }

    /// Converts `value` to this type. A value of this type and `Missing` are unchanged; an integer
    /// becomes a number if that loses nothing.
    ///
    /// # Errors
    /// The name of the type of `value`.
    pub fn admit(self, value: Value) -> Result<Value, &'static str> {
        match (self, value) {
            (_, Value::Missing) => Ok(Value::Missing),
            (Self::Number, Value::Integer(i)) if i.unsigned_abs() <= 1 << 53 => Ok(Value::Number(i as f64)),
            (Self::Number, Value::Number(x)) if !x.is_finite() => Err("a number that is not finite"),
            (wanted, value) if value.type_of() == Some(wanted) => Ok(value),
            (_, value) => Err(value.kind()),
        }
    }
}

impl fmt::Display for ValueType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Value {
    /// The value's type; none if it is missing.
    pub fn type_of(&self) -> Option<ValueType> {
        Some(match self {
            Self::Missing => return None,
            Self::Boolean(_) => ValueType::Boolean,
            Self::Integer(_) => ValueType::Integer,
            Self::Number(_) => ValueType::Number,
            Self::Text(_) => ValueType::Text,
        })
    }

    /// The kind of the value, for error messages.
    pub fn kind(&self) -> &'static str {
        self.type_of().map_or("null", ValueType::as_str)
    }

    /// Upper bound of the value's size in a record, in bytes.
    pub fn recorded_bytes(&self) -> u64 {
        match self {
            Self::Missing | Self::Boolean(_) => 5,
            Self::Integer(_) | Self::Number(_) => 25,
            Self::Text(text) => 2 + escaped_bytes(text),
        }
    }

    /// Says whether it is missing.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Missing)
    }

    /// Checks an incoming text against [`MAX_TEXT_BYTES`]. Not part of [`ValueType::admit`], which
    /// also checks the values of replayed records.
    ///
    /// # Errors
    /// Its length, and what is valid.
    pub fn check_size(&self) -> Result<(), String> {
        match self {
            Self::Text(text) if text.len() > MAX_TEXT_BYTES => {
                Err(format!("is a text of {} bytes; valid: up to {MAX_TEXT_BYTES}", text.len()))
            }
            _ => Ok(()),
        }
    }

    /// The value as a model's input: booleans are 0 and 1; none for a missing value or a text.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Boolean(b) => Some(f64::from(u8::from(*b))),
            Self::Integer(i) => Some(*i as f64),
            Self::Number(x) => Some(*x),
            Self::Missing | Self::Text(_) => None,
        }
    }
}

/// The size of a text in JSON, in bytes; a control character takes six.
pub fn escaped_bytes(text: &str) -> u64 {
    let extra = |byte: u8| match byte {
        b'"' | b'\\' => 1,
        0..0x20 => 5,
        _ => 0,
    };
    text.bytes().map(|byte| 1 + extra(byte)).sum()
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("null"),
            Self::Boolean(b) => write!(f, "{b}"),
            Self::Integer(i) => write!(f, "{i}"),
            Self::Number(x) => write!(f, "{x}"),
            Self::Text(t) => write!(f, "{t:?}"),
        }
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Missing => serializer.serialize_unit(),
            Self::Boolean(b) => serializer.serialize_bool(*b),
            Self::Integer(i) => serializer.serialize_i64(*i),
            Self::Number(x) => serializer.serialize_f64(*x),
            Self::Text(t) => serializer.serialize_str(t),
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyValue;
        impl Visitor<'_> for AnyValue {
            type Value = Value;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("null, a boolean, a whole number of 64 bits, a finite number or text")
            }
            fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
                Ok(Value::Missing)
            }
            fn visit_none<E: de::Error>(self) -> Result<Value, E> {
                Ok(Value::Missing)
            }
            fn visit_bool<E: de::Error>(self, v: bool) -> Result<Value, E> {
                Ok(Value::Boolean(v))
            }
            fn visit_i64<E: de::Error>(self, v: i64) -> Result<Value, E> {
                Ok(Value::Integer(v))
            }
            fn visit_u64<E: de::Error>(self, v: u64) -> Result<Value, E> {
                i64::try_from(v).map(Value::Integer).map_err(|_| E::invalid_value(de::Unexpected::Unsigned(v), &self))
            }
            fn visit_f64<E: de::Error>(self, v: f64) -> Result<Value, E> {
                if v.is_finite() {
                    Ok(Value::Number(v))
                } else {
                    Err(E::invalid_value(de::Unexpected::Float(v), &self))
                }
            }
            fn visit_str<E: de::Error>(self, v: &str) -> Result<Value, E> {
                Ok(Value::Text(v.to_owned()))
            }
            fn visit_string<E: de::Error>(self, v: String) -> Result<Value, E> {
                Ok(Value::Text(v))
            }
        }
        deserializer.deserialize_any(AnyValue)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_number_and_a_fraction_stay_apart_through_json() {
        for (value, json) in [
            (Value::Integer(1), "1"),
            (Value::Number(1.0), "1.0"),
            (Value::Number(0.1 + 0.2), "0.30000000000000004"),
            (Value::Missing, "null"),
            (Value::Text("1".into()), "\"1\""),
        ] {
            assert_eq!(serde_json::to_string(&value).expect("serializes"), json);
            assert_eq!(serde_json::from_str::<Value>(json).expect("parses"), value);
        }
    }

    #[test]
    fn a_value_takes_no_more_than_is_counted() {
        for value in [
            Value::Missing,
            Value::Boolean(false),
            Value::Integer(i64::MIN),
            Value::Number(-f64::MIN_POSITIVE),
            Value::Number(f64::MAX),
            Value::Text("\u{1}\"\\ä\n".into()),
        ] {
            let json = serde_json::to_string(&value).expect("serializes");
            assert!(json.len() as u64 <= value.recorded_bytes(), "{json}");
        }
        assert_eq!(Value::Text("\u{1}".repeat(10)).recorded_bytes(), 62);
    }

    #[test]
    fn only_an_exact_integer_passes_for_a_number() {
        assert_eq!(ValueType::Number.admit(Value::Integer(3)), Ok(Value::Number(3.0)));
        assert!(ValueType::Number.admit(Value::Integer(i64::MAX)).is_err());
        assert_eq!(ValueType::Integer.admit(Value::Number(3.0)), Err("number"));
        assert!(serde_json::from_str::<Value>("18446744073709551615").is_err());
    }
}
