//! An experiment's units with summaries of them, a block each, so that the cost of an analysis
//! follows what is new: only blocks in which something has happened, or a unit has become mature,
//! are summed up again.

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
    /// By block; none where it was never summed up.
    blocks: RefCell<Vec<Option<Block>>>,
    /// By guardrail and arm: for which counts bounds were computed last, and what they are.
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
    /// Nothing yet, of an experiment whose arms and shares are those of its spec.
    pub fn new(spec: Arc<Experiment>) -> Self {
        Self::over(spec, Course::default())
    }

    /// Nothing yet, of an experiment that was run in this way.
    pub fn over(spec: Arc<Experiment>, course: Course) -> Self {
        Self { facts: Facts::over(spec, course), blocks: RefCell::default(), bounds: RefCell::default() }
    }

    /// Calls `read` with the summaries of all blocks of units as they are at `now_ms`.
    pub(super) fn with_blocks<T>(&self, now_ms: u64, read: impl FnOnce(&[Option<Block>]) -> T) -> T {
        let mut blocks = self.blocks.borrow_mut();
        blocks.resize_with(self.block_versions().len(), || None);
        for (at, (block, version)) in blocks.iter_mut().zip(self.block_versions()).enumerate() {
            if block.as_ref().is_none_or(|block| !block.is_valid(*version, now_ms)) {
                let last = ((at + 1) * BLOCK).min(self.units().len());
                *block = Some(Block::of(&self.facts, at * BLOCK..last, *version, now_ms));
            }
        }
        drop(blocks);
        read(&self.blocks.borrow())
    }

    /// Bounds of the second rate less the first, the lower and the upper one, each at its error rate of
    /// `alphas`. They are searched for, which takes some 100 microseconds, and so are kept for a
    /// guardrail and arm, whose error rates stay, until its counts have changed.
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

    /// The time from which on an analysis differs from one at `now_ms`, though no fact is added:
    /// that at which the next unit becomes mature.
    pub fn valid_until(&self, now_ms: u64) -> u64 {
        self.with_blocks(now_ms, |blocks| blocks.iter().flatten().map(Block::valid_until).min().unwrap_or(u64::MAX))
    }
}
