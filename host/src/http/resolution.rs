//! Why a decision has its action, in the words of feature flags.

use std::borrow::Cow;

use serin_core::record::{Record, ServedBy};

/// The reason and the variant. Both follow from the assignment, whoever served.
pub fn resolution(record: &Record) -> (&'static str, Cow<'static, str>) {
    let answer = &record.answer;
    if let Some(assignment) = &record.routing.assignment {
        return ("SPLIT", format!("{}/{}", assignment.experiment, assignment.arm).into());
    }
    match (&answer.strategy, answer.served_by) {
        (_, ServedBy::Constraint) => ("DISABLED", ServedBy::Constraint.as_str().into()),
        (Some(strategy), _) => ("TARGETING_MATCH", format!("{}@{}", strategy.name, strategy.version).into()),
        (None, served_by) => ("STATIC", served_by.as_str().into()),
    }
}
