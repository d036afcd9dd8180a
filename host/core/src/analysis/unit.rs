//! The facts known about one unit.

use std::sync::Arc;

use super::entry::EntryValues;
use super::feeds::Feeds;
use crate::experiment::{Aggregate, Experiment, Measure, Metric, Quantity, Source, Watched};

/// The position of a decision's row in the ledger, in the order of commits.
pub type Place = i64;

/// A running total of one measure.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Total {
    /// Rows.
    pub rows: u32,
    /// Rows whose value is not 0.
    pub not_zero: u32,
    /// Sum of the values.
    pub sum: f64,
}

impl Total {
    /// Adds a row.
    pub(super) fn add(&mut self, value: f64) {
        self.rows += 1;
        self.not_zero += u32::from(value != 0.0);
        self.sum += value;
    }

    /// Removes a row that was added before.
    pub(super) fn remove(&mut self, value: f64) {
        self.rows = self.rows.saturating_sub(1);
        self.not_zero = self.not_zero.saturating_sub(u32::from(value != 0.0));
        self.sum -= value;
    }

    /// The total as the number of an aggregate.
    pub fn value(&self, aggregate: Aggregate) -> f64 {
        match aggregate {
            Aggregate::Any => f64::from(u8::from(self.not_zero > 0)),
            Aggregate::Sum => self.sum,
            Aggregate::Count => f64::from(self.rows),
        }
    }
}

/// A unit. Units are in order of entry.
#[derive(Debug, Clone)]
pub struct Unit {
    /// Position of its arm.
    pub arm: usize,
    /// When its first decision inside the experiment was made: the first in the order of commits.
    pub entry_ms: u64,
    /// The position of that decision in the ledger.
    pub place: Place,
    /// It had a decision to which the arm gave no answer.
    pub failed: bool,
    /// It had a decision that was not served by the arm.
    pub fell_back: bool,
    /// It had a decision that the arm declined.
    pub refused: bool,
    /// Its slowest decision, in microseconds.
    pub slowest_us: u64,
    /// It had an exposure since its entry.
    pub exposed: bool,
    /// The batch in which its arm was drawn.
    pub batch: u32,
    /// Its decisions.
    pub(super) decisions: u32,
    /// The point's `exclude` kept it from being served, after its entry.
    pub(super) excluded: bool,
    /// Position of the action at its entry.
    pub(super) first_action: u16,
    /// One bit for each fairness guardrail: whether it had an adverse action.
    pub(super) adverse: u8,
    /// Its values at entry.
    pub(super) known: EntryValues,
    pub(super) totals: Box<[Total]>,
    /// Totals of rows that were received too late; none if there are no such rows.
    pub(super) too_late: Option<Box<[Total]>>,
}

impl Unit {
    /// The total at a slot of [`super::Observed`].
    pub(super) fn total(&self, slot: usize) -> &Total {
        &self.totals[slot]
    }

    /// The total at a slot, with the rows that were received too late.
    pub(super) fn whole_total(&self, slot: usize) -> Total {
        let Total { mut rows, mut not_zero, mut sum } = self.totals[slot];
        if let Some(too_late) = &self.too_late {
            rows += too_late[slot].rows;
            not_zero += too_late[slot].not_zero;
            sum += too_late[slot].sum;
        }
        Total { rows, not_zero, sum }
    }

    /// Says whether it has an event of this guardrail.
    pub(super) fn is_hit(&self, watched: &Watched) -> bool {
        match watched {
            Watched::Failures => self.failed,
            Watched::Fallbacks => self.fell_back,
            Watched::Refusals => self.refused,
            Watched::Slow(us) => self.slowest_us > *us,
            Watched::Metric(_) | Watched::ActionMix => false,
        }
    }

    /// Says whether the unit had entered when an event was stored; `after` is the newest decision
    /// at that time. An event that was stored before the unit entered is no effect of the
    /// experiment.
    pub(super) fn had_entered(&self, after: Place) -> bool {
        self.place <= after
    }
}

/// A total kept for each unit: rows of one kind, within a time from entry, received in time.
pub(super) struct Slot {
    pub source: Source,
    pub name: Option<Arc<str>>,
    pub window_ms: u64,
    /// From a unit's entry, when a row is too late.
    pub until_ms: u64,
}

/// The positions of a metric's totals.
#[derive(Debug, Clone, Copy)]
pub(super) enum Slots {
    /// One number.
    One(usize, Aggregate),
    /// The two of a ratio.
    Two([(usize, Aggregate); 2]),
}

impl Slots {
    /// The positions.
    pub fn positions(self) -> impl Iterator<Item = usize> {
        let positions = match self {
            Self::One(slot, _) => [Some(slot), None],
            Self::Two([(over, _), (under, _)]) => [Some(over), Some(under)],
        };
        positions.into_iter().flatten()
    }
}

/// The totals that each unit needs, and their positions by metric.
pub(super) fn slots(spec: &Experiment) -> (Vec<Slot>, Vec<Slots>) {
    let mut slots: Vec<Slot> = Vec::new();
    let mut slot = |measure: &Measure, metric: &Metric| {
        let (source, name) = (measure.source, measure.outcome.clone());
        let (window_ms, until_ms) = (metric.window_ms, metric.mature_ms(0));
        let same = |s: &Slot| (s.source, &s.name, s.window_ms, s.until_ms) == (source, &name, window_ms, until_ms);
        let at = slots.iter().position(same).unwrap_or_else(|| {
            slots.push(Slot { source, name: name.clone(), window_ms, until_ms });
            slots.len() - 1
        });
        (at, measure.aggregate)
    };
    let of_metric = spec
        .metrics
        .iter()
        .map(|metric| match &metric.quantity {
            Quantity::Mean(measure) => {
                let (at, aggregate) = slot(measure, metric);
                Slots::One(at, aggregate)
            }
            Quantity::Ratio(over, under) => Slots::Two([slot(over, metric), slot(under, metric)]),
        })
        .collect();
    (slots, of_metric)
}

/// A row about a unit.
#[derive(Clone, Copy)]
pub(super) struct UnitRow<'r> {
    pub source: Source,
    pub name: Option<&'r str>,
    /// When it happened.
    pub at_ms: u64,
    /// When the ledger received it.
    pub received_ms: u64,
}

/// Updates the totals that a row counts for: those of its source and name whose window, from the
/// unit's entry on, it falls into. A row that was received when the lag had passed, too, counts for the
/// total of late rows, unless its feed was silent then and is still catching up. Calls `change` with the
/// slot, whether the row is late for it, and the total.
pub(super) fn each_total(
    slots: &[Slot],
    feeds: &Feeds,
    unit: &mut Unit,
    row: UnitRow<'_>,
    mut change: impl FnMut(usize, bool, &mut Total),
) {
    for (at, slot) in slots.iter().enumerate() {
        let is_named = slot.name.as_deref().is_none_or(|wanted| Some(wanted) == row.name);
        let is_within = unit.entry_ms <= row.at_ms && row.at_ms - unit.entry_ms < slot.window_ms;
        if slot.source != row.source || !is_named || !is_within {
            continue;
        }
        let mature_ms = unit.entry_ms.saturating_add(slot.until_ms);
        let is_late = row.received_ms >= mature_ms
            && match (slot.source, row.name) {
                (Source::Outcomes, Some(name)) => row.received_ms >= feeds.cut_off_ms(name, mature_ms),
                _ => true,
            };
        let totals = match is_late {
            true => unit.too_late.get_or_insert_with(|| vec![Total::default(); slots.len()].into()),
            false => &mut unit.totals,
        };
        change(at, is_late, &mut totals[at]);
    }
}
