//! What is known of an experiment's units. One unit is one observation, however often it was
//! decided about: what happened to it is gathered here as it comes, in any order that keeps a
//! unit's first decision ahead of what follows from it.

use std::collections::HashMap;
use std::sync::Arc;

use rustc_hash::FxBuildHasher;

use super::balance::Balance;
use super::course::{Course, Shipped};
use super::entry::{Attributes, EntryValues};
use crate::experiment::{Aggregate, Experiment, Measure, Metric, Quantity, Source, Watched};

/// A decision inside the experiment.
#[derive(Debug, Clone, Copy)]
pub struct Decision<'a> {
    /// The unit.
    pub unit: &'a str,
    /// The arm.
    pub arm: &'a str,
    /// When, in milliseconds since the Unix epoch.
    pub time_ms: u64,
    /// The action that was served.
    pub action: &'a str,
    /// What came of the arm's attempt: `answer`, `refusal`, or the kind of failure.
    pub outcome: &'a str,
    /// Whether somebody else than the arm served.
    pub fell_back: bool,
    /// Microseconds that it took.
    pub took_us: u64,
    /// Its arm was chosen by hand: it stays out of analysis.
    pub forced: bool,
    /// The batch that its arm was drawn in; none where shares are fixed.
    pub batch: Option<u32>,
    /// What analysis looks at of the unit, as a JSON object of [`Experiment::attributes`].
    pub attributes: Option<&'a str>,
}

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
    fn add(&mut self, value: f64) {
        self.rows += 1;
        self.not_zero += u32::from(value != 0.0);
        self.sum += value;
    }

    fn remove(&mut self, value: f64) {
        self.rows = self.rows.saturating_sub(1);
        self.not_zero = self.not_zero.saturating_sub(u32::from(value != 0.0));
        self.sum -= value;
    }

    /// The number that an aggregate makes of it.
    pub fn value(&self, aggregate: Aggregate) -> f64 {
        match aggregate {
            Aggregate::Any => f64::from(u8::from(self.not_zero > 0)),
            Aggregate::Sum => self.sum,
            Aggregate::Count => f64::from(self.rows),
        }
    }
}

/// A unit.
#[derive(Debug, Clone)]
pub struct Unit {
    /// Position of its arm.
    pub arm: usize,
    /// Its first decision inside the experiment.
    pub entry_ms: u64,
    /// It had a decision whose arm gave no answer.
    pub failed: bool,
    /// It had a decision that somebody else than the arm served.
    pub fell_back: bool,
    /// It had a decision that the arm declined.
    pub refused: bool,
    /// Its slowest decision, in microseconds.
    pub slowest_us: u64,
    /// It was exposed to what was decided.
    pub exposed: bool,
    /// Its place among those who entered, from 0.
    pub ordinal: u32,
    /// The batch that its arm was drawn in.
    pub batch: u32,
    /// Position of the action at its entry.
    pub(super) first_action: u16,
    /// Which fairness guardrails' adverse actions it had, one bit each.
    pub(super) adverse: u8,
    /// What was known of it at its entry.
    pub(super) known: EntryValues,
    totals: Vec<Total>,
}

impl Unit {
    /// The total of a slot of [`Observed`].
    pub(super) fn total(&self, slot: usize) -> &Total {
        &self.totals[slot]
    }

    /// Says whether it counts for a guardrail of this kind.
    pub(super) fn is_hit(&self, watched: &Watched) -> bool {
        match watched {
            Watched::Failures => self.failed,
            Watched::Fallbacks => self.fell_back,
            Watched::Refusals => self.refused,
            Watched::Slow(us) => self.slowest_us > *us,
            Watched::Metric(_) | Watched::ActionMix => false,
        }
    }
}

/// One thing that is totalled a unit: rows of a kind, within a time from the entry.
struct Slot {
    source: Source,
    name: Option<Arc<str>>,
    window_ms: u64,
}

/// The places of a metric's totals.
#[derive(Debug, Clone, Copy)]
pub(super) enum Slots {
    /// One number.
    One(usize, Aggregate),
    /// A ratio's two.
    Two([(usize, Aggregate); 2]),
}

/// What is known of an experiment's units.
pub struct Observed {
    /// The spec that it is analysed by.
    pub spec: Arc<Experiment>,
    /// How it was run.
    pub course: Course,
    /// Units, by id; a unit that several batches drew an arm for is one of each.
    pub units: HashMap<Box<str>, Unit, FxBuildHasher>,
    /// Units that only had decisions whose arm was chosen by hand.
    pub forced: HashMap<Box<str>, (), FxBuildHasher>,
    /// Units that left their arm when the winner shipped: they are nobody's any more.
    pub moved: HashMap<Box<str>, (), FxBuildHasher>,
    /// Decisions in arms that the spec does not have, or of a unit that changed its arm: there
    /// should be none.
    pub astray: u64,
    /// Actions served, by arm.
    pub actions: Vec<HashMap<Box<str>, u64, FxBuildHasher>>,
    /// The actions at units' entries.
    pub(super) first_actions: Vec<Box<str>>,
    pub(super) attributes: Attributes,
    shipped: Option<Shipped>,
    /// The batches that drew an arm for a unit, where there are any.
    batches_of: HashMap<Box<str>, Vec<u32>, FxBuildHasher>,
    slots: Vec<Slot>,
    pub(super) of_metric: Vec<Slots>,
    pub(super) srm: Balance,
}

impl Observed {
    /// Nothing yet, of an experiment whose arms and shares are those of its spec.
    pub fn new(spec: Arc<Experiment>) -> Self {
        Self::over(spec, Course::default())
    }

    /// Nothing yet, of an experiment that was run in this way.
    pub fn over(spec: Arc<Experiment>, course: Course) -> Self {
        // What a winner is compared with once it serves everybody else is what was held back.
        let shipped = course.shipped.as_ref().and_then(|winner| Shipped::of(&spec, winner, &course.unit));
        let spec = shipped.as_ref().map_or(spec, |shipped| Arc::clone(&shipped.spec));
        let mut slots: Vec<Slot> = Vec::new();
        let mut slot = |measure: &Measure, metric: &Metric| {
            let (source, name, window_ms) = (measure.source, measure.outcome.clone(), metric.window_ms);
            let same = |s: &Slot| (s.source, &s.name, s.window_ms) == (source, &name, window_ms);
            let at = slots.iter().position(same).unwrap_or_else(|| {
                slots.push(Slot { source, name: name.clone(), window_ms });
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
        let fixed = || vec![spec.arms.iter().map(|arm| arm.weight).collect()];
        let srm = Balance::new(if course.batches.is_empty() { fixed() } else { course.batches.clone() });
        Self {
            units: HashMap::default(),
            forced: HashMap::default(),
            moved: HashMap::default(),
            astray: 0,
            actions: vec![HashMap::default(); spec.arms.len()],
            first_actions: Vec::new(),
            attributes: Attributes::of(&spec),
            batches_of: HashMap::default(),
            shipped,
            course,
            slots,
            of_metric,
            srm,
            spec,
        }
    }

    /// Takes a decision.
    pub fn decision(&mut self, decision: &Decision<'_>) {
        let unit = decision.unit;
        if self.shipped.as_ref().is_some_and(|shipped| shipped.moves(unit)) {
            if !decision.forced && !self.moved.contains_key(unit) {
                self.moved.insert(unit.into(), ());
            }
            return;
        }
        let drawn_for: String;
        let key = match decision.batch {
            Some(batch) if !self.course.batches.is_empty() => {
                drawn_for = in_batch(unit, batch);
                &*drawn_for
            }
            _ => unit,
        };
        if decision.forced {
            let has_entered = self.units.contains_key(key) || self.batches_of.contains_key(unit);
            if !has_entered && !self.forced.contains_key(unit) {
                self.forced.insert(unit.into(), ());
            }
            return;
        }
        let Some(arm) = self.spec.arms.iter().position(|arm| *arm.name == *decision.arm) else {
            self.astray += 1;
            return;
        };
        *match self.actions[arm].get_mut(decision.action) {
            Some(count) => count,
            None => self.actions[arm].entry(decision.action.into()).or_default(),
        } += 1;
        if !self.units.contains_key(key) {
            self.enter(key, arm, decision);
        }
        let Some(known) = self.units.get_mut(key) else { return };
        if known.arm != arm {
            self.astray += 1;
            return;
        }
        known.entry_ms = known.entry_ms.min(decision.time_ms);
        known.refused |= decision.outcome == "refusal";
        known.failed |= !matches!(decision.outcome, "answer" | "refusal");
        known.fell_back |= decision.fell_back;
        known.slowest_us = known.slowest_us.max(decision.took_us);
        for (bit, fairness) in self.spec.fairness.iter().enumerate() {
            known.adverse |= u8::from(fairness.adverse.iter().any(|action| **action == *decision.action)) << bit;
        }
        each(&self.slots, known, Source::Decisions, Some(decision.action), decision.time_ms, |total| total.add(1.0));
    }

    fn enter(&mut self, key: &str, arm: usize, decision: &Decision<'_>) {
        self.forced.remove(decision.unit);
        let batch = decision.batch.filter(|_| !self.course.batches.is_empty());
        if let Some(batch) = batch {
            self.batches_of.entry(decision.unit.into()).or_default().push(batch);
        }
        let batch = batch.unwrap_or(0);
        self.srm.enter(arm, batch as usize);
        let first_action = self.first_actions.iter().position(|known| **known == *decision.action);
        let first_action = first_action.unwrap_or_else(|| {
            self.first_actions.push(decision.action.into());
            self.first_actions.len() - 1
        });
        let unit = Unit {
            arm,
            entry_ms: decision.time_ms,
            failed: false,
            fell_back: false,
            refused: false,
            slowest_us: 0,
            exposed: false,
            ordinal: u32::try_from(self.units.len()).unwrap_or(u32::MAX),
            batch,
            // A decision point has far fewer actions.
            first_action: u16::try_from(first_action).unwrap_or(u16::MAX),
            adverse: 0,
            known: self.attributes.read(decision.attributes),
            totals: vec![Total::default(); self.slots.len()],
        };
        self.units.insert(key.into(), unit);
    }

    /// Calls `change` with what is known of a unit, once for each batch that drew an arm for it.
    fn of_unit(&mut self, unit: &str, mut change: impl FnMut(&[Slot], &mut Unit)) {
        match self.batches_of.get(unit) {
            None => self.units.get_mut(unit).into_iter().for_each(|unit| change(&self.slots, unit)),
            Some(batches) => {
                for batch in batches {
                    let unit = self.units.get_mut(&*in_batch(unit, *batch));
                    unit.into_iter().for_each(|unit| change(&self.slots, unit));
                }
            }
        }
    }

    /// Takes an outcome of a unit; of one that has not entered it is none of this experiment's.
    pub fn outcome(&mut self, unit: &str, name: &str, value: f64, at_ms: u64) {
        self.of_unit(unit, |slots, unit| {
            each(slots, unit, Source::Outcomes, Some(name), at_ms, |total| total.add(value));
        });
    }

    /// Takes an outcome back that was taken before.
    pub fn reversal(&mut self, unit: &str, name: &str, value: f64, at_ms: u64) {
        self.of_unit(unit, |slots, unit| {
            each(slots, unit, Source::Outcomes, Some(name), at_ms, |total| total.remove(value));
        });
    }

    /// Takes an exposure of a unit.
    pub fn exposure(&mut self, unit: &str, at_ms: u64) {
        self.of_unit(unit, |slots, unit| {
            unit.exposed |= unit.entry_ms <= at_ms;
            each(slots, unit, Source::Exposures, None, at_ms, |total| total.add(1.0));
        });
    }

    /// Says whether the winner's own units are compared with those held back, and nobody else.
    pub fn is_against_held_back(&self) -> bool {
        self.shipped.is_some()
    }

    /// Units that entered, by arm.
    pub fn entered(&self) -> &[u64] {
        &self.srm.counts
    }
}

/// Outcomes count if entry <= at < entry + window.
fn each(
    slots: &[Slot],
    unit: &mut Unit,
    source: Source,
    name: Option<&str>,
    at_ms: u64,
    mut change: impl FnMut(&mut Total),
) {
    for (slot, total) in slots.iter().zip(&mut unit.totals) {
        let is_named = slot.name.as_deref().is_none_or(|wanted| Some(wanted) == name);
        let in_time = unit.entry_ms <= at_ms && at_ms - unit.entry_ms < slot.window_ms;
        if slot.source == source && is_named && in_time {
            change(total);
        }
    }
}

/// The key of a unit in a batch. No id holds this character.
fn in_batch(unit: &str, batch: u32) -> String {
    format!("{unit}\u{1f}{batch}")
}
