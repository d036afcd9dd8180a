//! Values by name, for many rows with the same names: feature rows, model inputs.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde::ser::{Serialize, Serializer};

use crate::Name;

/// Values by name. The names are shared by all rows of a kind. In JSON it is an object. There is no
/// hash: names are few, and most callers know the likely position.
#[derive(Debug, Clone, PartialEq)]
pub struct Row<V> {
    names: Arc<[Name]>,
    values: Vec<V>,
}

impl<V> Row<V> {
    /// A row of `values`, one for each of `names`.
    ///
    /// # Panics
    /// If the numbers of names and values differ.
    pub fn new(names: Arc<[Name]>, values: Vec<V>) -> Self {
        assert_eq!(names.len(), values.len(), "one value for each name");
        Self { names, values }
    }

    /// The names, for sharing with other rows.
    pub fn names(&self) -> &Arc<[Name]> {
        &self.names
    }

    /// The value of `name`.
    pub fn get(&self, name: &str) -> Option<&V> {
        self.find(0, name).map(|(_, value)| value)
    }

    /// The position and the value of `name`, searched from `near` on.
    pub fn find(&self, near: usize, name: &str) -> Option<(usize, &V)> {
        let place = find(&self.names, near, name)?;
        Some((place, &self.values[place]))
    }

    /// Replaces the value of `name`, and returns the old one.
    pub fn replace(&mut self, name: &str, value: V) -> Option<V> {
        find(&self.names, 0, name).map(|place| std::mem::replace(&mut self.values[place], value))
    }

    /// Replaces all values by one.
    pub fn fill(&mut self, value: &V)
    where
        V: Clone,
    {
        self.values.fill(value.clone());
    }

    /// The names with their values, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&Name, &V)> {
        self.names.iter().zip(&self.values)
    }
}

/// The position of `name`, searched from `near` on. Reading a row in its own order finds each name
/// at once.
pub fn find(names: &[Name], near: usize, name: &str) -> Option<usize> {
    let near = if near < names.len() { near } else { 0 };
    let is_it = |found: &Name| **found == *name;
    let behind = || names[..near].iter().position(is_it);
    names[near..].iter().position(is_it).map(|at| near + at).or_else(behind)
}

impl<V> Default for Row<V> {
    fn default() -> Self {
        Self { names: Arc::default(), values: Vec::new() }
    }
}

impl<V> FromIterator<(Name, V)> for Row<V> {
    fn from_iter<I: IntoIterator<Item = (Name, V)>>(pairs: I) -> Self {
        let (names, values): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
        Self { names: names.into(), values }
    }
}

impl<V: Serialize> Serialize for Row<V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Row<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfMap<V>(PhantomData<V>);
        impl<'de, V: Deserialize<'de>> Visitor<'de> for OfMap<V> {
            type Value = Row<V>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of values by name")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let (mut names, mut values) = (Vec::new(), Vec::new());
                while let Some((name, value)) = map.next_entry::<Name, V>()? {
                    names.push(name);
                    values.push(value);
                }
                Ok(Row { names: names.into(), values })
            }
        }
        deserializer.deserialize_map(OfMap(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_wherever_the_look_begins() {
        let row: Row<u32> = ["a", "b", "c"].into_iter().map(Name::from).zip(1..).collect();
        for near in 0..5 {
            assert_eq!(row.find(near, "b"), Some((1, &2)), "from {near}");
            assert_eq!(row.find(near, "d"), None, "from {near}");
        }
        assert_eq!(Row::<u32>::default().get("a"), None);
    }

    #[test]
    fn a_row_comes_back_from_json_as_it_was() {
        let row: Row<u32> = [("b".into(), 1), ("a".into(), 2)].into_iter().collect();
        let text = serde_json::to_string(&row).expect("serializes");
        assert_eq!(text, r#"{"b":1,"a":2}"#, "in its own order");
        assert_eq!(serde_json::from_str::<Row<u32>>(&text).expect("parses"), row);
    }
}
