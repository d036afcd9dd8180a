//! Mergeable counts of well-treated units, by group.

use super::entry::UNKNOWN;
use super::facts::Facts;
use super::unit::{Slots, Unit};
use crate::experiment::Aggregate;
use crate::stats::Counts;

/// Units and well-treated units, by rate, arm and group.
pub(super) type Tally = Vec<Vec<Vec<Counts>>>;

/// The yes-or-no goals that were declared at the first unit. Each is a rate after `selection`, which comes first.
pub(super) fn goals(facts: &Facts) -> impl Iterator<Item = usize> + '_ {
    let is_goal = |position: &usize| {
        let metric = &facts.spec.metrics[*position];
        facts.course.is_goal(metric) && matches!(facts.of_metric[*position], Slots::One(_, Aggregate::Any))
    };
    (0..facts.spec.metrics.len()).filter(is_goal)
}

/// Tallies some units for a fairness guardrail.
pub(super) fn tally(facts: &Facts, at: usize, units: &[Unit], now_ms: u64) -> Tally {
    let spec = &facts.spec;
    let Some((place, groups)) = facts.attributes.grouping(&spec.fairness[at].attribute) else { return Vec::new() };
    let goals: Vec<(usize, u64)> = goals(facts).map(|goal| (goal, facts.horizon(goal, now_ms))).collect();
    let mut tally = vec![vec![vec![Counts::default(); groups.len()]; spec.arms.len()]; goals.len() + 1];
    for unit in units {
        let group = unit.known.group(place);
        if group == UNKNOWN {
            continue;
        }
        let mut count = |rate: usize, is_well: bool| {
            let counts = &mut tally[rate][unit.arm][usize::from(group)];
            counts.units += 1;
            counts.events += u64::from(is_well);
        };
        count(0, unit.adverse & (1 << at) == 0);
        for (rate, (goal, horizon_ms)) in goals.iter().enumerate() {
            let metric = &spec.metrics[*goal];
            if facts.mature_ms(*goal, unit.entry_ms) <= *horizon_ms
                && let Slots::One(slot, aggregate) = facts.of_metric[*goal]
            {
                count(rate + 1, (unit.total(slot).value(aggregate) != 0.0) == metric.more_is_better);
            }
        }
    }
    tally
}
