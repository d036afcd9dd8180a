//! The facts known about an experiment's units. One unit is one observation, however many decisions
//! it has. Facts are added in commit order of the ledger, and an outcome counts only for units that
//! had entered when it was stored. So the result depends on the ledger alone, not on when or in how
//! many steps it was read.

mod known;

use std::collections::HashMap;
use std::sync::Arc;

use rustc_hash::FxBuildHasher;

use super::balance::Balance;
use super::busiest::Busiest;
use super::course::{Course, Shipped};
use super::entry::Attributes;
use super::feeds::Feeds;
use super::never_posted::NeverPosted;
use super::row::{Decision, Happened};
use super::unit::{Slot, Slots, Unit, UnitRow, each_total, slots};
use crate::experiment::{Experiment, Source};
use crate::identifier::is_placeholder;

/// The positions of one unit id in [`Observed::units`].
enum Entries {
    /// Shares are fixed: the unit has one entry.
    One((u32, u32)),
    /// Adaptive shares: each batch that drew an arm for the unit, and the position of that entry.
    ByBatch(Vec<(u32, u32)>),
}

impl Entries {
    /// Batches and positions.
    fn as_slice(&self) -> &[(u32, u32)] {
        match self {
            Self::One(entry) => std::slice::from_ref(entry),
            Self::ByBatch(entries) => entries,
        }
    }
}

/// Rows that may be about the experiment, and that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// How many.
    pub rows: u64,
    /// The first one, and what is wrong with it.
    pub first: String,
}

impl Unreadable {
    /// In words.
    pub fn describe(&self) -> String {
        let rows =
            if self.rows == 1 { "1 row".to_owned() } else { format!("{} rows", crate::numbers::grouped(self.rows)) };
        format!("{rows} of the ledger cannot be read; the first: {}", self.first)
    }
}

/// Units in a block, which are summarized together. Summarizing a block takes about 20
/// microseconds, and a million units have 4,000 blocks to merge.
pub(super) const BLOCK: usize = 256;

/// Ids that stand for nobody and are named.
const PLACEHOLDERS: usize = 5;

type ByUnit<T> = HashMap<Box<str>, T, FxBuildHasher>;

/// The facts known about an experiment's units.
pub struct Facts {
    /// The spec used for the analysis.
    pub spec: Arc<Experiment>,
    /// How it was run.
    pub course: Course,
    /// Units that only have decisions with a forced arm.
    pub forced: ByUnit<()>,
    /// Units that left their arm when the winner shipped, or that entered before a person resumed the
    /// experiment without it. They are in no arm's results.
    pub moved: ByUnit<()>,
    /// Decisions in arms that the spec does not have, or of a unit that changed its arm. There
    /// should be none.
    pub astray: u64,
    /// Actions served, by arm.
    pub actions: Vec<HashMap<Box<str>, u64, FxBuildHasher>>,
    /// The actions at units' entries.
    pub(super) first_actions: Vec<Box<str>>,
    pub(super) attributes: Attributes,
    never_posted: Vec<NeverPosted>,
    pub(super) feeds: Feeds,
    newest_entry_ms: Option<u64>,
    unreadable: Option<Unreadable>,
    /// Outcomes that the spec names and that happened before their unit entered, by arm.
    before_entry: Vec<u64>,
    /// Rows that were received too late for a metric, by arm.
    too_late: Vec<u64>,
    /// By slot: rows that were received in time, and too late.
    rows: Vec<[u64; 2]>,
    /// Units that were excluded since they entered, and their decisions that were, by arm.
    excluded: Vec<[u64; 2]>,
    /// The first ids that stand for nobody.
    placeholders: Vec<Box<str>>,
    busiest: Busiest,
    shipped: Option<Shipped>,
    entries: ByUnit<Entries>,
    units: Vec<Unit>,
    slots: Vec<Slot>,
    pub(super) of_metric: Vec<Slots>,
    pub(super) srm: Balance,
    /// Versions: of each block's units, and of everything.
    block_versions: Vec<u64>,
    version: u64,
}

impl Facts {
    /// No facts yet, for an experiment with this spec and course.
    pub fn over(spec: Arc<Experiment>, course: Course) -> Self {
        // Once a winner has shipped, units that enter are in its arm or held back.
        let shipped = course.shipped.as_ref().and_then(|winner| Shipped::of(&spec, winner, &course.unit));
        let spec = shipped.as_ref().map_or(spec, |shipped| Arc::clone(&shipped.spec));
        let (slots, of_metric) = slots(&spec);
        let fixed = || vec![spec.arms.iter().map(|arm| arm.weight).collect()];
        let srm = Balance::new(if course.batches.is_empty() { fixed() } else { course.batches.clone() });
        Self {
            forced: HashMap::default(),
            moved: HashMap::default(),
            astray: 0,
            actions: vec![HashMap::default(); spec.arms.len()],
            first_actions: Vec::new(),
            attributes: Attributes::of(&spec),
            never_posted: Vec::new(),
            feeds: Feeds::default(),
            newest_entry_ms: None,
            unreadable: None,
            before_entry: vec![0; spec.arms.len()],
            too_late: vec![0; spec.arms.len()],
            rows: vec![[0; 2]; slots.len()],
            excluded: vec![[0; 2]; spec.arms.len()],
            placeholders: Vec::new(),
            busiest: Busiest::default(),
            entries: HashMap::default(),
            units: Vec::new(),
            shipped,
            course,
            slots,
            of_metric,
            srm,
            spec,
            block_versions: Vec::new(),
            version: 0,
        }
    }

    /// Updates the course if only batches were added, arms were dropped or it has ended, and says whether
    /// that was the case. If not, nothing is changed, and the experiment's facts have to be read from the
    /// ledger again.
    pub fn continue_with(&mut self, course: &Course) -> bool {
        let before = self.course.batches.len();
        let (batches, dropped) = (self.course.batches.clone(), self.course.dropped.clone());
        let ended_ms = self.course.ended_ms;
        let same_but_those = Course { batches, dropped, ended_ms, ..course.clone() } == self.course
            && (ended_ms.is_none() || ended_ms == course.ended_ms);
        if !same_but_those || !course.batches.starts_with(&self.course.batches) {
            return false;
        }
        if course.batches.len() > before {
            if before == 0 {
                return false;
            }
            self.srm.add_batches(&course.batches[before..]);
        }
        if self.course != *course {
            self.course = course.clone();
            self.version += 1;
        }
        true
    }

    /// Adopts a spec that analyses units as the one before does, and says whether it does. If not,
    /// nothing is changed, and the experiment's facts have to be read from the ledger again.
    pub fn adopt(&mut self, spec: &Arc<Experiment>) -> bool {
        // After a winner has shipped, the comparison's spec is made from the whole one.
        let can_adopt = self.shipped.is_none() && spec.is_analysed_as(&self.spec);
        if can_adopt {
            self.spec = Arc::clone(spec);
            self.version += 1;
        }
        can_adopt
    }

    /// The number of changes so far. Equal versions at the same time have equal analyses.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Adds a decision.
    pub fn decision(&mut self, decision: &Decision<'_>) {
        self.version += 1;
        let unit = decision.unit;
        if decision.forced {
            if !self.has_seen(unit) && !self.forced.contains_key(unit) {
                self.forced.insert(unit.into(), ());
            }
            return;
        }
        if !self.entries.contains_key(unit) && self.is_of_another_time(decision) {
            return self.leave_out(unit);
        }
        let Some(arm) = self.spec.arms.iter().position(|arm| *arm.name == *decision.arm) else {
            self.astray += 1;
            return;
        };
        *match self.actions[arm].get_mut(decision.action) {
            Some(count) => count,
            None => self.actions[arm].entry(decision.action.into()).or_default(),
        } += 1;
        let batch = decision.batch.filter(|_| !self.course.batches.is_empty());
        let at = self.entry(unit, batch).unwrap_or_else(|| self.enter(arm, batch, decision));
        self.block_versions[at / BLOCK] += 1;
        self.units[at].decisions += 1;
        self.busiest.count(unit, self.units[at].decisions.into());
        let known = &mut self.units[at];
        if known.arm != arm {
            self.astray += 1;
            return;
        }
        known.refused |= decision.outcome == "refusal";
        known.failed |= !matches!(decision.outcome, "answer" | "refusal");
        known.fell_back |= decision.fell_back;
        known.slowest_us = known.slowest_us.max(decision.took_us);
        for (bit, fairness) in self.spec.fairness.iter().enumerate() {
            known.adverse |= u8::from(fairness.adverse.iter().any(|action| **action == *decision.action)) << bit;
        }
        let (name, at_ms) = (Some(decision.action), decision.time_ms);
        let row = UnitRow { source: Source::Decisions, name, at_ms, received_ms: at_ms };
        each_total(&self.slots, &self.feeds, known, row, |_, _, total| total.add(1.0));
    }

    /// Whether a unit that has not entered belongs to the time before the results: it has moved, or
    /// enters by shares that are not in force any more.
    fn is_of_another_time(&self, decision: &Decision<'_>) -> bool {
        self.moved.contains_key(decision.unit)
            || decision.time_ms < self.course.from_ms
            || self.shipped.as_ref().is_some_and(|shipped| !shipped.is_in(decision.unit, decision.arm))
    }

    /// Leaves out a unit that has moved to another arm.
    pub(super) fn leave_out(&mut self, unit: &str) {
        self.forced.remove(unit);
        if !self.moved.contains_key(unit) {
            self.moved.insert(unit.into(), ());
            self.version += 1;
        }
    }

    /// Whether a unit has entered, or is left out since it moved.
    pub(super) fn has_seen(&self, unit: &str) -> bool {
        self.entries.contains_key(unit) || self.moved.contains_key(unit)
    }

    /// The arm of a unit that has entered.
    pub(super) fn arm_of(&self, unit: &str) -> Option<&str> {
        let (_, at) = self.entries.get(unit)?.as_slice().last()?;
        Some(&self.spec.arms[self.units[*at as usize].arm].name)
    }

    /// Takes a decision about a unit that the point's `exclude` kept from being served. A unit that has
    /// entered stays in its arm.
    pub fn exclusion(&mut self, unit: &str) {
        let Some((_, at)) = self.entries.get(unit).and_then(|entries| entries.as_slice().last()) else { return };
        let unit = &mut self.units[*at as usize];
        let [units, decisions] = &mut self.excluded[unit.arm];
        *units += u64::from(!unit.excluded);
        *decisions += 1;
        unit.excluded = true;
        self.version += 1;
    }

    /// The position of a unit that has entered; with adaptive shares, its entry in `batch`.
    fn entry(&self, unit: &str, batch: Option<u32>) -> Option<usize> {
        match (self.entries.get(unit)?, batch) {
            (Entries::One((_, at)), _) => Some(*at as usize),
            (Entries::ByBatch(entries), batch) => {
                let of_batch = entries.iter().find(|(known, _)| Some(*known) == batch);
                of_batch.map(|(_, at)| *at as usize)
            }
        }
    }

    fn enter(&mut self, arm: usize, batch: Option<u32>, decision: &Decision<'_>) -> usize {
        self.forced.remove(decision.unit);
        // Four billion units are beyond any experiment.
        let at = u32::try_from(self.units.len()).unwrap_or(u32::MAX);
        match (batch, self.entries.get_mut(decision.unit)) {
            (None, _) => drop(self.entries.insert(decision.unit.into(), Entries::One((0, at)))),
            (Some(batch), Some(Entries::ByBatch(entries))) => entries.push((batch, at)),
            (Some(batch), _) => {
                self.entries.insert(decision.unit.into(), Entries::ByBatch(vec![(batch, at)]));
            }
        }
        let placeholders = &mut self.placeholders;
        let is_known = placeholders.iter().any(|id| **id == *decision.unit);
        if is_placeholder(decision.unit) && placeholders.len() < PLACEHOLDERS && !is_known {
            placeholders.push(decision.unit.into());
        }
        self.newest_entry_ms = self.newest_entry_ms.max(Some(decision.time_ms));
        let batch = batch.unwrap_or(0);
        self.srm.enter(arm, batch as usize);
        let first_action = self.first_actions.iter().position(|known| **known == *decision.action);
        let first_action = first_action.unwrap_or_else(|| {
            self.first_actions.push(decision.action.into());
            self.first_actions.len() - 1
        });
        self.units.push(Unit {
            arm,
            entry_ms: decision.time_ms,
            place: decision.place,
            failed: false,
            fell_back: false,
            refused: false,
            slowest_us: 0,
            exposed: false,
            batch,
            // A decision point has far fewer actions than 2^16.
            decisions: 0,
            excluded: false,
            first_action: u16::try_from(first_action).unwrap_or(u16::MAX),
            adverse: 0,
            known: self.attributes.read(decision.attributes),
            totals: vec![Default::default(); self.slots.len()].into(),
            too_late: None,
        });
        let at = self.units.len() - 1;
        self.block_versions.resize(at / BLOCK + 1, 0);
        at
    }

    /// Adds a row to its unit; or removes it, if it is reversed. Each total is credited in one entry
    /// only: the first that existed when the row was stored, and whose window contains it.
    fn row(&mut self, happened: &Happened<'_>, (source, name): (Source, Option<&str>), value: f64, is_reversed: bool) {
        let Some(entries) = self.entries.get(happened.unit) else { return };
        let entries = entries.as_slice();
        let row = UnitRow { source, name, at_ms: happened.at_ms, received_ms: happened.received_ms };
        let count = |rows: &mut u64| *rows = if is_reversed { rows.saturating_sub(1) } else { *rows + 1 };
        let mut credited = Vec::new();
        for (_, at) in entries {
            let at = *at as usize;
            let unit = &mut self.units[at];
            if !unit.had_entered(happened.after) {
                continue;
            }
            let (arm, mut is_too_late) = (unit.arm, false);
            each_total(&self.slots, &self.feeds, unit, row, |slot, is_late, total| {
                if credited.contains(&slot) {
                    return;
                }
                // Nobody else is left to be credited where there is one entry.
                if entries.len() > 1 {
                    credited.push(slot);
                }
                if is_reversed {
                    total.remove(value)
                } else {
                    total.add(value)
                }
                count(&mut self.rows[slot][usize::from(is_late)]);
                is_too_late |= is_late;
            });
            if is_too_late {
                count(&mut self.too_late[arm]);
            }
            self.block_versions[at / BLOCK] += 1;
            self.version += 1;
        }
    }

    /// The arm of the first entry of a unit that was there when something was stored, where that
    /// happened before the entry.
    fn arm_before_entry(&self, happened: &Happened<'_>) -> Option<usize> {
        let entries = self.entries.get(happened.unit)?.as_slice().iter().map(|(_, at)| &self.units[*at as usize]);
        let first = entries.filter(|unit| unit.had_entered(happened.after)).min_by_key(|unit| unit.entry_ms)?;
        (happened.at_ms < first.entry_ms).then_some(first.arm)
    }

    fn is_measured(&self, name: &str) -> bool {
        self.slots.iter().any(|slot| slot.source == Source::Outcomes && slot.name.as_deref() == Some(name))
    }

    /// Adds an outcome of a unit. It is ignored if the unit has not entered.
    pub fn outcome(&mut self, happened: &Happened<'_>, name: &str, value: f64) {
        if let Some(arm) = self.arm_before_entry(happened).filter(|_| self.is_measured(name)) {
            self.before_entry[arm] += 1;
        }
        self.row(happened, (Source::Outcomes, Some(name)), value, false);
    }

    /// Removes an outcome that was added before and is now reversed; `happened` is that of the
    /// outcome.
    pub fn reversal(&mut self, happened: &Happened<'_>, name: &str, value: f64) {
        if let Some(arm) = self.arm_before_entry(happened).filter(|_| self.is_measured(name)) {
            self.before_entry[arm] = self.before_entry[arm].saturating_sub(1);
        }
        self.row(happened, (Source::Outcomes, Some(name)), value, true);
    }

    /// Adds an exposure of a unit.
    pub fn exposure(&mut self, happened: &Happened<'_>) {
        self.row(happened, (Source::Exposures, None), 1.0, false);
        let entries = self.entries.get(happened.unit).map_or(&[][..], Entries::as_slice);
        let since = |at: &usize| {
            let unit = &self.units[*at];
            unit.had_entered(happened.after) && unit.entry_ms <= happened.at_ms
        };
        // The arm in which it was exposed is that of its latest entry.
        if let Some(at) = entries.iter().map(|(_, at)| *at as usize).rfind(since) {
            self.units[at].exposed = true;
        }
    }
}
