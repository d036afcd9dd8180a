//! An experiment's units with a summary of each block, so that the cost of an analysis is
//! proportional to what is new. A block is summarized again only if it has new facts or a unit in
//! it has become mature.
//!
//! Once a winner has shipped there are two populations, which share no unit and no fact. Units that
//! entered before, as of the ship, are the evidence that shipped. Units that entered since are an
//! estimate of their own.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use super::blocks::Block;
use super::course::Course;
use super::facts::{BLOCK, Facts};
use super::feeds::Feed;
use super::never_posted::NeverPosted;
use super::row::{Decision, Happened};
use super::unit::Place;
use crate::experiment::Experiment;

/// An experiment's units and their summaries.
pub struct Observed {
    facts: Facts,
    /// By block; none if it was never summarized.
    blocks: RefCell<Vec<Option<Block>>>,
    /// Once a winner has shipped, the units that entered before.
    at_ship: Option<Box<Observed>>,
    /// When the outcomes, exposures and exclusions that are added now were stored.
    stored_ms: u64,
    /// The newest time of what was added: of decisions when they were made, of all else when it was stored.
    newest_ms: u64,
}

impl Deref for Observed {
    type Target = Facts;

    fn deref(&self) -> &Facts {
        &self.facts
    }
}

impl DerefMut for Observed {
    fn deref_mut(&mut self) -> &mut Facts {
        &mut self.facts
    }
}

impl Observed {
    /// No facts yet, for an experiment whose arms and shares are those of its spec.
    pub fn new(spec: Arc<Experiment>) -> Self {
        Self::over(spec, Course::default())
    }

    /// No facts yet, for an experiment with this spec and course.
    pub fn over(spec: Arc<Experiment>, course: Course) -> Self {
        let before = Course { shipped: None, shipped_ms: 0, ..course.clone() };
        let facts = Facts::over(Arc::clone(&spec), course);
        let at_ship = facts.is_against_held_back().then(|| Box::new(Self::over(spec, before)));
        Self { facts, blocks: RefCell::default(), at_ship, stored_ms: 0, newest_ms: 0 }
    }

    /// The units that entered before the winner shipped, as of then, and when that was, in milliseconds
    /// since the Unix epoch.
    pub fn at_ship(&self) -> Option<(&Self, u64)> {
        self.at_ship.as_deref().map(|before| (before, self.facts.course.shipped_ms))
    }

    /// Says when the outcomes, exposures and exclusions that are added next were stored, in milliseconds
    /// since the Unix epoch. Those stored after a winner shipped are no part of the evidence that
    /// shipped.
    pub fn set_stored(&mut self, stored_ms: u64) {
        self.stored_ms = stored_ms;
    }

    /// The evidence that shipped, if a fact of this time is part of it.
    fn before_ship(&mut self, time_ms: u64) -> Option<&mut Self> {
        let shipped_ms = self.facts.course.shipped_ms;
        self.at_ship.as_deref_mut().filter(|_| time_ms < shipped_ms)
    }

    /// Updates the course: see [`Facts::continue_with`]. Once facts were added that came after its end, they
    /// have to be read again without them.
    pub fn continue_with(&mut self, course: &Course) -> bool {
        let has_more = course.ended_ms.is_some_and(|ended_ms| ended_ms < self.newest_ms);
        !has_more && self.facts.continue_with(course)
    }

    /// Whether a fact of this time is to be added: one that came after the end is no part of the results,
    /// whenever they are computed. What came in the same millisecond may be what it was ended for.
    fn takes(&mut self, time_ms: u64) -> bool {
        let is_after = self.facts.course.ended_ms.is_some_and(|ended_ms| ended_ms < time_ms);
        self.newest_ms = if is_after { self.newest_ms } else { self.newest_ms.max(time_ms) };
        !is_after
    }

    /// Adds a decision: see [`Facts::decision`].
    pub fn decision(&mut self, decision: &Decision<'_>) {
        if !self.takes(decision.time_ms) {
            return;
        }
        let Some(before) = self.at_ship.as_deref_mut().filter(|_| !self.facts.has_seen(decision.unit)) else {
            return self.facts.decision(decision);
        };
        if decision.time_ms < self.facts.course.shipped_ms {
            before.decision(decision);
        } else if before.has_seen(decision.unit) {
            // It entered before. The winner serves it now, unless it is held back.
            let is_moved = before.arm_of(decision.unit).is_some_and(|arm| *arm != *decision.arm);
            if is_moved && !decision.forced {
                self.facts.leave_out(decision.unit);
            }
        } else {
            self.facts.decision(decision);
        }
    }

    /// Adds a decision that was excluded: see [`Facts::exclusion`].
    pub fn exclusion(&mut self, unit: &str) {
        if !self.takes(self.stored_ms) {
            return;
        }
        if let Some(before) = self.before_ship(self.stored_ms) {
            before.exclusion(unit);
        }
        self.facts.exclusion(unit);
    }

    /// Adds an outcome: see [`Facts::outcome`].
    pub fn outcome(&mut self, happened: &Happened<'_>, name: &str, value: f64) {
        if !self.takes(self.stored_ms) {
            return;
        }
        if let Some(before) = self.before_ship(self.stored_ms) {
            before.outcome(happened, name, value);
        }
        self.facts.outcome(happened, name, value);
    }

    /// Removes an outcome: see [`Facts::reversal`].
    pub fn reversal(&mut self, happened: &Happened<'_>, name: &str, value: f64) {
        if !self.takes(self.stored_ms) {
            return;
        }
        if let Some(before) = self.before_ship(self.stored_ms) {
            before.reversal(happened, name, value);
        }
        self.facts.reversal(happened, name, value);
    }

    /// Adds an exposure: see [`Facts::exposure`].
    pub fn exposure(&mut self, happened: &Happened<'_>) {
        if !self.takes(self.stored_ms) {
            return;
        }
        if let Some(before) = self.before_ship(self.stored_ms) {
            before.exposure(happened);
        }
        self.facts.exposure(happened);
    }

    /// Takes over the state of the feeds: see [`Facts::set_feeds`].
    pub fn set_feeds(&mut self, feeds: Vec<Feed>) -> bool {
        if let Some(before) = self.at_ship.as_deref_mut() {
            before.set_feeds(feeds.clone());
        }
        self.facts.set_feeds(feeds)
    }

    /// Takes note of a row that cannot be read: see [`Facts::unreadable`].
    pub fn unreadable(&mut self, table: &str, place: Place, why: &str) {
        if let Some(before) = self.at_ship.as_deref_mut() {
            before.unreadable(table, place, why);
        }
        self.facts.unreadable(table, place, why);
    }

    /// Takes over which outcomes were never posted: see [`Facts::set_never_posted`].
    pub fn set_never_posted(&mut self, never_posted: Vec<NeverPosted>) {
        if let Some(before) = self.at_ship.as_deref_mut() {
            before.set_never_posted(never_posted.clone());
        }
        self.facts.set_never_posted(never_posted);
    }

    /// Calls `read` with the summaries of all blocks of units as they are at `now_ms`.
    pub(super) fn with_blocks<T>(&self, now_ms: u64, read: impl FnOnce(&[Option<Block>]) -> T) -> T {
        let mut blocks = self.blocks.borrow_mut();
        blocks.resize_with(self.block_versions().len(), || None);
        let horizons = self.horizons(now_ms);
        for (at, (block, version)) in blocks.iter_mut().zip(self.block_versions()).enumerate() {
            if block.as_ref().is_none_or(|block| !block.is_valid(*version, &horizons)) {
                let last = ((at + 1) * BLOCK).min(self.units().len());
                *block = Some(Block::of(&self.facts, at * BLOCK..last, *version, now_ms));
            }
        }
        drop(blocks);
        read(&self.blocks.borrow())
    }

    /// The time at which the next unit becomes mature or the next feed falls silent. Until then, and
    /// without new facts, an analysis equals the one at `now_ms`.
    pub fn valid_until(&self, now_ms: u64) -> u64 {
        let metrics = &self.spec.metrics;
        let until: Vec<u64> = metrics.iter().map(|metric| self.feeds.until(metric)).collect();
        self.with_blocks(now_ms, |blocks| {
            // A unit beyond what is known of a feed does not become mature by waiting.
            let next = |block: &Block| {
                let next = until.iter().enumerate().map(|(metric, until)| (block.next_mature(metric), *until));
                next.filter(|(next, until)| next <= until).map(|(next, _)| next).min()
            };
            let next = blocks.iter().flatten().filter_map(next).min().unwrap_or(u64::MAX);
            next.min(self.feeds.next_silence(now_ms))
        })
    }
}
