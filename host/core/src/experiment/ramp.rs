//! The steps of an experiment's coverage.

use super::raw::RawExperiment;
use crate::manifest::duration_ms;

/// A step of a ramp.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// The share of the slot in use, from 0 to 1.
    pub coverage: f64,
    /// Its minimum duration, in milliseconds.
    pub hold_ms: u64,
    /// Units that must have entered before the next step.
    pub min_units: u64,
    /// The condition for the next step.
    pub gate: Gate,
}

/// The condition for leaving a ramp step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// Nothing.
    None,
    /// No guardrail shows harm.
    Fast,
    /// Every guardrail holds, on mature outcomes.
    NonInferior,
}

pub(super) fn ramp(raw: &RawExperiment) -> Result<Vec<Step>, String> {
    let in_range = |c: f64| (0.0..=1.0).contains(&c);
    let fixed = |coverage| vec![Step { coverage, hold_ms: 0, min_units: 0, gate: Gate::None }];
    let steps = match (raw.coverage, &raw.ramp) {
        (Some(_), Some(_)) => return Err("coverage and ramp exclude each other: give one".to_owned()),
        (Some(c), None) if in_range(c) => return Ok(fixed(c)),
        (Some(c), None) => return Err(format!("coverage = {c}; valid: a share of the slot, from 0 to 1")),
        (None, None) => return Ok(fixed(1.0)),
        (None, Some(steps)) => steps,
    };
    let mut ramp: Vec<Step> = Vec::with_capacity(steps.len());
    for (i, step) in steps.iter().enumerate() {
        let last = ramp.last().map_or(0.0, |step| step.coverage);
        if !in_range(step.coverage) || step.coverage < last {
            return Err(format!("ramp[{i}].coverage = {}; valid: shares from 0 to 1 that never fall", step.coverage));
        }
        let hold = step.hold.as_deref().map(duration_ms).transpose();
        ramp.push(Step {
            coverage: step.coverage,
            hold_ms: hold.map_err(|e| format!("ramp[{i}].hold: {e}"))?.unwrap_or(0),
            min_units: step.min_units.unwrap_or(0),
            gate: match step.gate.as_deref() {
                None => Gate::None,
                Some("fast") => Gate::Fast,
                Some("non_inferior") => Gate::NonInferior,
                Some(gate) => return Err(format!("ramp[{i}].gate = \"{gate}\"; valid: fast, non_inferior")),
            },
        });
    }
    if ramp.is_empty() { Err("ramp has no steps".to_owned()) } else { Ok(ramp) }
}
