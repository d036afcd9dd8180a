//! Fairness guardrails: the treatment of a group of people compared with a reference group.
//!
//! The thresholds are monitors that somebody chose, not a finding of law.

use super::attribute::Attribute;
use super::raw::RawFairness;
use crate::Name;

/// A guardrail on the ratio of a group's share of well-treated units to the reference group's.
#[derive(Debug, Clone, PartialEq)]
pub struct Fairness {
    /// What people are grouped by.
    pub attribute: Attribute,
    /// The group that the others are compared with.
    pub reference: Name,
    /// Adverse actions: the ones to which people would rather not be subject.
    pub adverse: Vec<Name>,
    /// The smallest allowed ratio of the two shares, above 0 and up to 1; 0.8 is the four-fifths
    /// rule.
    pub min_ratio: f64,
    /// Units needed in each of the two groups before it is evaluated.
    pub min_units: u64,
    /// On harm the host pauses; otherwise it aborts.
    pub pauses: bool,
}

/// The most fairness guardrails of an experiment; each unit has a bit for each.
pub const MAX_FAIRNESS: usize = 8;

impl Fairness {
    pub(super) fn of(raw: &RawFairness) -> Result<Self, String> {
        let at = |key: &str| format!("fairness on '{}': {key}", raw.attribute);
        let pauses = match raw.on_breach.as_deref() {
            None | Some("pause") => true,
            Some("abort") => false,
            Some(other) => return Err(at(&format!("on_breach = \"{other}\"; valid: pause, abort"))),
        };
        let min_ratio = raw.min_ratio.unwrap_or(0.8);
        if !(min_ratio > 0.0 && min_ratio <= 1.0) {
            return Err(at(&format!("min_ratio = {min_ratio}; valid: a ratio above 0, up to 1")));
        }
        if raw.adverse_actions.is_empty() {
            return Err(at("adverse_actions: name at least one action"));
        }
        Ok(Self {
            attribute: Attribute::parse(&raw.attribute).map_err(|e| format!("fairness: attribute = {e}"))?,
            reference: raw.reference.as_str().into(),
            adverse: raw.adverse_actions.iter().map(|action| action.as_str().into()).collect(),
            min_ratio,
            min_units: raw.min_group_units.unwrap_or(300),
            pauses,
        })
    }
}
