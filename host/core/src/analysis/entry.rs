//! The values known of a unit at its entry: covariates and groups.

use std::collections::HashMap;

use rustc_hash::FxBuildHasher;

use crate::experiment::{Attribute, Experiment};
use crate::value::Value;

/// The most groups of one attribute; further ones are counted as `(other)`.
const MAX_GROUPS: usize = 64;
/// Bytes of a group's name.
const MAX_NAME: usize = 64;

/// A unit's values: numbers by covariate, groups by grouping attribute. Unknown values are NaN and
/// [`UNKNOWN`].
#[derive(Debug, Clone, Default)]
pub(super) struct EntryValues {
    numbers: Box<[f64]>,
    groups: Box<[u16]>,
}

/// The group of units whose value is unknown.
pub(super) const UNKNOWN: u16 = u16::MAX;

/// The attributes that an experiment's analysis looks at.
pub(super) struct Attributes {
    covariates: Vec<Attribute>,
    /// Each with its groups' names, in order of first occurrence.
    groupings: Vec<(Attribute, Vec<Box<str>>)>,
}

fn distinct<'a>(all: impl Iterator<Item = &'a Attribute>) -> Vec<Attribute> {
    let mut distinct: Vec<Attribute> = Vec::new();
    for attribute in all {
        if !distinct.contains(attribute) {
            distinct.push(attribute.clone());
        }
    }
    distinct
}

impl Attributes {
    pub fn of(spec: &Experiment) -> Self {
        let groups = spec.segments.iter().chain(spec.fairness.iter().map(|fairness| &fairness.attribute));
        Self {
            covariates: distinct(spec.metrics.iter().flat_map(|metric| &metric.cuped)),
            groupings: distinct(groups).into_iter().map(|attribute| (attribute, Vec::new())).collect(),
        }
    }

    /// Reads a JSON object of values by attribute.
    pub fn read(&mut self, json: Option<&str>) -> EntryValues {
        if self.covariates.is_empty() && self.groupings.is_empty() {
            return EntryValues::default();
        }
        let values: HashMap<String, Value, FxBuildHasher> =
            json.and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default();
        let value = |attribute: &Attribute| values.get(&attribute.to_string()).filter(|value| !value.is_missing());
        let number = |attribute| value(attribute).and_then(Value::as_f64).filter(|x| x.is_finite());
        let numbers = self.covariates.iter().map(|attribute| number(attribute).unwrap_or(f64::NAN)).collect();
        let groups = self
            .groupings
            .iter_mut()
            .map(|(attribute, names)| value(attribute).map_or(UNKNOWN, |value| group(names, &label(value))))
            .collect();
        EntryValues { numbers, groups }
    }

    /// How many covariates there are.
    pub fn covariates(&self) -> usize {
        self.covariates.len()
    }

    /// The places of covariates in [`EntryValues`].
    pub fn places(&self, covariates: &[Attribute]) -> Vec<usize> {
        covariates.iter().filter_map(|wanted| self.covariates.iter().position(|known| known == wanted)).collect()
    }

    /// The place of a grouping, and the names of its groups.
    pub fn grouping(&self, attribute: &Attribute) -> Option<(usize, &[Box<str>])> {
        let at = self.groupings.iter().position(|(known, _)| known == attribute)?;
        Some((at, &self.groupings[at].1))
    }
}

impl EntryValues {
    /// The value of a covariate; NaN if unknown.
    pub fn number(&self, place: usize) -> f64 {
        self.numbers.get(place).copied().unwrap_or(f64::NAN)
    }

    /// The unit's group in a grouping.
    pub fn group(&self, place: usize) -> u16 {
        self.groups.get(place).copied().unwrap_or(UNKNOWN)
    }
}

fn label(value: &Value) -> String {
    let text = match value {
        Value::Text(text) => text.clone(),
        Value::Boolean(is) => is.to_string(),
        other => other.as_f64().map(|x| x.to_string()).unwrap_or_default(),
    };
    text.chars().take(MAX_NAME).collect()
}

fn group(names: &mut Vec<Box<str>>, name: &str) -> u16 {
    let at = names.iter().position(|known| **known == *name).unwrap_or_else(|| {
        if names.len() <= MAX_GROUPS {
            names.push(if names.len() < MAX_GROUPS { name.into() } else { "(other)".into() });
        }
        names.len() - 1
    });
    at as u16
}
