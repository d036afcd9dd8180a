//! An experiment's units with a summary of each block, so that the cost of an analysis is
//! proportional to what is new. A block is summarized again only if it has new facts or a unit in
//! it has become mature.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use super::blocks::Block;
use super::course::Course;
use super::facts::{BLOCK, Facts};
use crate::experiment::Experiment;

/// An experiment's units and their summaries.
pub struct Observed {
    facts: Facts,
    /// By block; none if it was never summarized.
    blocks: RefCell<Vec<Option<Block>>>,
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
        Self { facts: Facts::over(spec, course), blocks: RefCell::default() }
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

    /// The time at which the next unit becomes mature. Until then, and without new facts, an
    /// analysis equals the one at `now_ms`.
    pub fn valid_until(&self, now_ms: u64) -> u64 {
        self.with_blocks(now_ms, |blocks| blocks.iter().flatten().map(Block::valid_until).min().unwrap_or(u64::MAX))
    }
}
