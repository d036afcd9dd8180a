//! Structs of files, read from tables only.
//!
//! Derived code reads a struct from a list too, by position: `governance = [7]` would be seven
//! approvals. In a file that is a mistake. These functions are for `deserialize_with`.

use std::fmt;

use indexmap::IndexMap;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// A struct.
///
/// # Errors
/// The deserializer's, or that there is no table.
pub fn one<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    Table::deserialize(deserializer).map(|Table(value)| value)
}

/// A struct that may be left out.
///
/// # Errors
/// As [`one`].
pub fn optional<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    Ok(Option::deserialize(deserializer)?.map(|Table(value)| value))
}

/// Structs by name.
///
/// # Errors
/// As [`one`].
pub fn map<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<IndexMap<String, T>, D::Error> {
    Ok(named(IndexMap::deserialize(deserializer)?))
}

/// Structs by two names.
///
/// # Errors
/// As [`one`].
pub fn maps<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<IndexMap<String, IndexMap<String, T>>, D::Error> {
    let tables: IndexMap<String, IndexMap<String, Table<T>>> = IndexMap::deserialize(deserializer)?;
    Ok(tables.into_iter().map(|(name, tables)| (name, named(tables))).collect())
}

/// A list of structs.
///
/// # Errors
/// As [`one`].
pub fn list<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    Ok(unwrapped(Vec::deserialize(deserializer)?))
}

/// A list of structs that may be left out.
///
/// # Errors
/// As [`one`].
pub fn optional_list<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Vec<T>>, D::Error> {
    Ok(Option::deserialize(deserializer)?.map(unwrapped))
}

fn named<T>(tables: IndexMap<String, Table<T>>) -> IndexMap<String, T> {
    tables.into_iter().map(|(name, Table(value))| (name, value)).collect()
}

fn unwrapped<T>(tables: Vec<Table<T>>) -> Vec<T> {
    tables.into_iter().map(|Table(value)| value).collect()
}

/// A value that is read from a table.
struct Table<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Table<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(TableOnly(deserializer)).map(Self)
    }
}

/// Passes a table on, and nothing else.
struct TableOnly<D>(D);

impl<'de, D: Deserializer<'de>> Deserializer<'de> for TableOnly<D> {
    type Error = D::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_map(OfTable(visitor))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

/// What the visitor makes of a table. All else is an error, in its words.
struct OfTable<V>(V);

impl<'de, V: Visitor<'de>> Visitor<'de> for OfTable<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(f)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<V::Value, A::Error> {
        self.0.visit_map(map)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize, Debug, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        a: u64,
    }

    #[derive(Deserialize, Debug)]
    #[allow(dead_code, reason = "what is read matters, not what for")]
    struct Outer {
        #[serde(deserialize_with = "one")]
        one: Inner,
        #[serde(default, deserialize_with = "optional")]
        optional: Option<Inner>,
        #[serde(default, deserialize_with = "map")]
        map: IndexMap<String, Inner>,
        #[serde(default, deserialize_with = "maps")]
        maps: IndexMap<String, IndexMap<String, Inner>>,
        #[serde(default, deserialize_with = "list")]
        list: Vec<Inner>,
        #[serde(default, deserialize_with = "optional_list")]
        optional_list: Option<Vec<Inner>>,
    }

    #[test]
    fn a_table_is_read_and_a_list_in_its_place_is_an_error_with_its_line() {
        let read = |text: &str| toml::from_str::<Outer>(&format!("one = {{ a = 1 }}\n{text}"));
        assert_eq!(read("").expect("valid").one, Inner { a: 1 });
        for (table, list) in [
            ("optional = { a = 1 }", "optional = [1]"),
            ("map.x = { a = 1 }", "map.x = [1]"),
            ("maps.x.y = { a = 1 }", "maps.x.y = [1]"),
            ("list = [{ a = 1 }]", "list = [[1]]"),
            ("optional_list = [{ a = 1 }]", "optional_list = [[1]]"),
        ] {
            assert!(read(table).is_ok(), "{table}: {:?}", read(table));
            let error = read(list).expect_err(list).to_string();
            assert!(error.contains("at line 2") && error.contains("expected struct Inner"), "{error}");
        }
        let error = read("optional = { b = 1 }").expect_err("another key").to_string();
        assert!(error.contains("at line 2") && error.contains("unknown field `b`"), "{error}");
        let error = read("optional = {}").expect_err("no key").to_string();
        assert!(error.contains("at line 2") && error.contains("missing field `a`"), "{error}");
        assert!(toml::from_str::<Outer>("one = [1]").is_err());
    }
}
