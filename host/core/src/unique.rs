//! Maps that reject repeated keys.
//!
//! JSON leaves the meaning of a repeated key open, and most parsers keep the last value. A request
//! with `"cease_contact": true` and, later, `"cease_contact": false` would silently lose the first.
//! Every map of a request or a file is read through this module.

use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::marker::PhantomData;

use indexmap::IndexMap;
use indexmap::map::Entry;
use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, MapAccess, Visitor};

/// A map that is refused if a key repeats.
#[derive(Debug, Clone, PartialEq)]
pub struct Unique<M>(pub M);

impl<'de, K, V, S> Deserialize<'de> for Unique<IndexMap<K, V, S>>
where
    K: Deserialize<'de> + Eq + Hash + AsRef<str>,
    V: Deserialize<'de>,
    S: BuildHasher + Default,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfMap<K, V, S>(PhantomData<(K, V, S)>);
        impl<'de, K, V, S> Visitor<'de> for OfMap<K, V, S>
        where
            K: Deserialize<'de> + Eq + Hash + AsRef<str>,
            V: Deserialize<'de>,
            S: BuildHasher + Default,
        {
            type Value = IndexMap<K, V, S>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
                let mut map = IndexMap::with_hasher(S::default());
                while let Some(key) = entries.next_key::<K>()? {
                    match map.entry(key) {
                        Entry::Vacant(vacant) => drop(vacant.insert(entries.next_value()?)),
                        Entry::Occupied(known) => entries.next_value_seed(Repeated(known.key().as_ref()))?,
                    }
                }
                Ok(map)
            }
        }
        deserializer.deserialize_map(OfMap(PhantomData)).map(Self)
    }
}

/// Fails at the repeated key's value, so that the error's path includes the key.
struct Repeated<'k>(&'k str);

impl<'de> DeserializeSeed<'de> for Repeated<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, _: D) -> Result<(), D::Error> {
        let shown: String = self.0.chars().take(64).collect();
        Err(de::Error::custom(format_args!("key '{shown}' is given twice; valid: each key once")))
    }
}

/// Deserializes a map, for `#[serde(deserialize_with)]`.
///
/// # Errors
/// The repeated key, or another error of the input.
pub fn keys<'de, D: Deserializer<'de>, M>(deserializer: D) -> Result<M, D::Error>
where
    Unique<M>: Deserialize<'de>,
{
    Unique::deserialize(deserializer).map(|map| map.0)
}

/// As [`keys`], for a map that may be left out or null.
///
/// # Errors
/// As [`keys`].
pub fn optional_keys<'de, D: Deserializer<'de>, M>(deserializer: D) -> Result<Option<M>, D::Error>
where
    Unique<M>: Deserialize<'de>,
{
    Ok(Option::<Unique<M>>::deserialize(deserializer)?.map(|map| map.0))
}

/// As [`keys`], for a map of maps.
///
/// # Errors
/// As [`keys`], at either level.
pub fn nested_keys<'de, D: Deserializer<'de>, K, M, S>(deserializer: D) -> Result<IndexMap<K, M, S>, D::Error>
where
    K: Deserialize<'de> + Eq + Hash + AsRef<str>,
    Unique<M>: Deserialize<'de>,
    S: BuildHasher + Default,
{
    let outer = Unique::<IndexMap<K, Unique<M>, S>>::deserialize(deserializer)?;
    Ok(outer.0.into_iter().map(|(key, inner)| (key, inner.0)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    type Map = IndexMap<String, i64>;

    #[test]
    fn a_key_that_repeats_is_named_and_order_is_kept() {
        let read = |text: &str| keys::<_, Map>(&mut serde_json::Deserializer::from_str(text));
        let map = read(r#"{"b":1,"a":2}"#).expect("reads");
        assert_eq!(map.keys().collect::<Vec<_>>(), ["b", "a"]);
        // The same key, written in two ways.
        for text in [r#"{"a":1,"a":1}"#, r#"{"a":1,"b":2,"\u0061":3}"#] {
            let error = read(text).expect_err(text).to_string();
            assert!(error.contains("key 'a' is given twice"), "{error}");
        }
    }

    #[test]
    fn a_case_gives_each_value_once() {
        let read = |context: &str, parameters: &str| {
            let expect = format!(
                r#"{{"candidates":[{{"action":"call","probability":1,"parameters":{parameters},"reasons":[]}}]}}"#
            );
            serde_json::from_str::<crate::case::Case>(&format!(
                r#"{{"name":"c","context":{context},"expect":{expect}}}"#
            ))
        };
        read(r#"{"days":1}"#, r#"{"n":1}"#).expect("reads");
        for (context, parameters, key) in
            [(r#"{"days":1,"days":2}"#, "{}", "'days'"), ("{}", r#"{"n":1,"n":2}"#, "'n'")]
        {
            let error = read(context, parameters).expect_err(key).to_string();
            assert!(error.contains(&format!("key {key} is given twice")), "{error}");
        }
    }

    #[test]
    fn a_map_within_a_map_and_one_left_out_are_held_to_it_too() {
        let nested = |text: &str| {
            nested_keys::<_, String, Map, std::hash::RandomState>(&mut serde_json::Deserializer::from_str(text))
        };
        assert_eq!(nested(r#"{"v":{"a":1},"w":{"a":2}}"#).expect("reads").len(), 2);
        assert!(nested(r#"{"v":{"a":1,"a":2}}"#).is_err());
        assert!(nested(r#"{"v":{"a":1},"v":{"b":2}}"#).is_err());
        let optional = |text: &str| optional_keys::<_, Map>(&mut serde_json::Deserializer::from_str(text));
        assert_eq!(optional("null").expect("reads"), None);
        assert!(optional(r#"{"a":1,"a":2}"#).is_err());
    }
}
