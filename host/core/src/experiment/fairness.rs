//! Fairness as a guardrail: how a group of people fares against another one.
//!
//! The thresholds are monitors that somebody chose, not a finding of law.

use super::attribute::Attribute;
use super::raw::RawFairness;
use crate::Name;

/// A group's share of the well-treated, against a reference group's.
#[derive(Debug, Clone, PartialEq)]
pub struct Fairness {
    /// What people are grouped by.
    pub attribute: Attribute,
    /// The group that the others are compared with.
    pub reference: Name,
    /// Actions that nobody wants to be the object of.
    pub adverse: Vec<Name>,
    /// How small a group's share of the well-treated may be, by the reference's: 0.8 is the
    /// four-fifths rule.
    pub min_ratio: f64,
    /// Units a group before it may speak.
    pub min_units: u64,
    /// Pauses the ramp where it would otherwise abort.
    pub pauses: bool,
}

/// Fairness guardrails of one experiment; a unit keeps a bit for each.
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
