//! An experiment's units with a summary of each block, so that the cost of an analysis is
//! proportional to what is new. A block is summarized again only if it has new facts or a unit in
//! it has become mature.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use super::blocks::Block;
use super::course::Course;
use super::facts::{BLOCK, Facts};
use crate::experiment::Experiment;
use crate::stats::Counts;
use crate::stats::rare::{difference_lower, difference_upper};

/// An experiment's units and their summaries.
pub struct Observed {
    facts: Facts,
    /// By block; none if it was never summarized.
    blocks: RefCell<Vec<Option<Block>>>,
    /// By guardrail and arm: the last bounds, and the counts they were computed for.
    bounds: RefCell<BTreeMap<(usize, usize), KeptBounds>>,
}

/// Bounds of a difference of rates: the lower and the upper one.
type KeptBounds = ([Counts; 2], [f64; 2]);

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
        Self { facts: Facts::over(spec, course), blocks: RefCell::default(), bounds: RefCell::default() }
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

    /// The lower and the upper bound of the second rate less the first, each at its error rate in
    /// `alphas`. Computing them takes about 100 microseconds, so they are cached by guardrail and
    /// arm, whose error rates are constant, until the counts change.
    pub(super) fn bounds(&self, of: (usize, usize), counts: [Counts; 2], alphas: [f64; 2]) -> [f64; 2] {
        let mut kept = self.bounds.borrow_mut();
        if let Some((_, bounds)) = kept.get(&of).filter(|(known, _)| *known == counts) {
            return *bounds;
        }
        let [control, arm] = counts;
        let bounds = [difference_lower(control, arm, alphas[0]), difference_upper(control, arm, alphas[1])];
        kept.insert(of, (counts, bounds));
        bounds
    }

    /// The time at which the next unit becomes mature or the next feed falls silent. Until then, and
    /// without new facts, an analysis equals the one at `now_ms`.
    pub fn valid_until(&self, now_ms: u64) -> u64 {
        let metrics = &self.spec.metrics;
        let until: Vec<u64> = metrics.iter().map(|metric| self.feeds.until(metric, now_ms)).collect();
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
