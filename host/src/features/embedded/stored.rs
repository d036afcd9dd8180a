//! Rows as they are stored: two JSON objects by column, of values and of event times.

use std::marker::PhantomData;
use std::sync::Arc;

use serde::de::{Deserialize, DeserializeSeed, IgnoredAny, MapAccess, Visitor};
use serin_core::row::{self, Row};
use serin_core::value::Value;
use serin_core::{Name, NameMap};

use crate::features::FeatureInput;

/// A whole row.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct WholeRow {
    /// The newest of its event times.
    pub event_time_ms: u64,
    /// The values by column. Null: it was said that nothing is known.
    pub values: NameMap<Value>,
    /// The event times that are older than the newest.
    pub times: NameMap<u64>,
}

impl From<FeatureInput> for WholeRow {
    fn from(input: FeatureInput) -> Self {
        Self { event_time_ms: input.event_time_ms, values: input.values, times: NameMap::default() }
    }
}

impl WholeRow {
    pub fn parse(event_time_ms: u64, values: &str, times: Option<&str>) -> Result<Self, serde_json::Error> {
        let times = times.map_or(Ok(NameMap::default()), serde_json::from_str)?;
        Ok(Self { event_time_ms, values: serde_json::from_str(values)?, times })
    }

    /// Takes over the values of `input`, column by column: a value never gives way to one of an
    /// older event time, and a column that `input` does not name stays as it is. Says whether
    /// anything was taken over.
    pub fn merge(&mut self, input: FeatureInput) -> bool {
        let (at, before) = (input.event_time_ms, self.event_time_ms);
        let newest = before.max(at);
        let mut is_taken = at >= before && input.values.is_empty();
        if newest > before {
            let unnamed = self.values.keys().filter(|column| !input.values.contains_key(*column));
            for column in unnamed {
                self.times.entry(column.clone()).or_insert(before);
            }
        }
        for (column, value) in input.values {
            let known_at =
                self.values.contains_key(&column).then(|| self.times.get(&column).copied().unwrap_or(before));
            if known_at.is_some_and(|known_at| known_at > at) {
                continue;
            }
            is_taken = true;
            if at == newest {
                self.times.swap_remove(&column);
            } else {
                self.times.insert(column.clone(), at);
            }
            self.values.insert(column, value);
        }
        self.event_time_ms = newest;
        is_taken
    }
}

/// Some columns of a stored row, in their order; those that it lacks are missing.
pub(super) fn values_of(text: &str, columns: &Arc<[Name]>) -> Result<Row<Value>, serde_json::Error> {
    let mut values = vec![Value::Missing; columns.len()];
    let each = Each { columns, take: |place, value| values[place] = value, of: PhantomData::<Value> };
    each.deserialize(&mut serde_json::Deserializer::from_str(text))?;
    Ok(Row::new(Arc::clone(columns), values))
}

/// The event times of some columns, where they are not the row's own.
pub(super) fn times_of(text: &str, columns: &[Name]) -> Result<NameMap<u64>, serde_json::Error> {
    let mut times = NameMap::default();
    let take = |place: usize, time: u64| {
        times.insert(columns[place].clone(), time);
    };
    Each { columns, take, of: PhantomData::<u64> }.deserialize(&mut serde_json::Deserializer::from_str(text))?;
    Ok(times)
}

/// Takes what an object has for some columns; the rest is skipped without a copy.
struct Each<'a, V, F> {
    columns: &'a [Name],
    take: F,
    of: PhantomData<V>,
}

impl<'de, V: Deserialize<'de>, F: FnMut(usize, V)> DeserializeSeed<'de> for Each<'_, V, F> {
    type Value = ();
    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, V: Deserialize<'de>, F: FnMut(usize, V)> Visitor<'de> for Each<'_, V, F> {
    type Value = ();
    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object by column")
    }
    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        let mut near = 0;
        while let Some(place) = map.next_key_seed(Place { columns: self.columns, near })? {
            match place {
                Some(place) => {
                    (self.take)(place, map.next_value()?);
                    near = place + 1;
                }
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

/// A key's place among the columns, without a copy of the key.
struct Place<'a> {
    columns: &'a [Name],
    near: usize,
}

impl<'de> DeserializeSeed<'de> for Place<'_> {
    type Value = Option<usize>;
    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Place<'_> {
    type Value = Option<usize>;
    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a column's name")
    }
    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(row::find(self.columns, self.near, name))
    }
}
