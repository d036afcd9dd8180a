//! What facts say of themselves: what was read beside the rows, and what cannot be believed.

use super::{Facts, Unreadable};
use crate::analysis::feeds::{Feed, FeedResult, Feeds};
use crate::analysis::never_posted::NeverPosted;
use crate::analysis::unit::{Place, Unit};
use crate::experiment::Metric;

impl Facts {
    /// Takes note of a row that cannot be read: what it said is unknown.
    pub fn unreadable(&mut self, table: &str, place: Place, why: &str) {
        self.version += 1;
        let first = || Unreadable { rows: 0, first: format!("row {place} of {table}: {why}") };
        self.unreadable.get_or_insert_with(first).rows += 1;
    }

    /// The rows that cannot be read; none if all can.
    pub fn unreadable_rows(&self) -> Option<&Unreadable> {
        self.unreadable.as_ref()
    }

    /// Whether an arm was dropped.
    pub fn is_dropped(&self, arm: usize) -> bool {
        self.course.dropped.contains(&self.spec.arms[arm].name)
    }

    /// Units of arms that were dropped: they are in no arm.
    pub fn dropped(&self) -> u64 {
        let by_arm = self.entered().iter().enumerate();
        by_arm.filter(|(arm, _)| self.is_dropped(*arm)).map(|(_, units)| units).sum()
    }

    /// Says whether a winner has shipped: units that entered since are compared with those held back.
    pub fn is_against_held_back(&self) -> bool {
        self.shipped.is_some()
    }

    /// Takes over which of the spec's outcomes were never posted, as of what has been read.
    pub fn set_never_posted(&mut self, never_posted: Vec<NeverPosted>) {
        if self.never_posted != never_posted {
            self.never_posted = never_posted;
            self.version += 1;
        }
    }

    /// Those of the spec's outcomes that were never posted.
    pub fn never_posted(&self) -> &[NeverPosted] {
        &self.never_posted
    }

    /// The outcome that a metric is computed from, and that was never posted.
    pub(in crate::analysis) fn never_posted_of(&self, metric: &Metric) -> Option<&NeverPosted> {
        let mut names = metric.needed_outcomes();
        names.find_map(|name| self.never_posted.iter().find(|never| *never.name == **name))
    }

    /// Takes over the state of the feeds of the spec's outcomes. Call it before rows are added: whether
    /// one is too late depends on the outages before it. Says whether the state has changed.
    pub fn set_feeds(&mut self, feeds: Vec<Feed>) -> bool {
        let feeds = Feeds::of(&self.spec, feeds);
        let has_changed = !self.feeds.is_same(&feeds);
        if has_changed {
            self.version += 1;
        }
        if !self.feeds.has_same_outages(&feeds) {
            self.block_versions.iter_mut().for_each(|version| *version += 1);
        }
        self.feeds = feeds;
        has_changed
    }

    /// The feeds of the spec's outcomes at `now_ms`.
    pub fn feeds(&self, now_ms: u64) -> Vec<FeedResult> {
        self.feeds.at(now_ms, self.newest_entry_ms)
    }

    /// When a unit that entered at `entry_ms` becomes mature in the metric at a position.
    pub(in crate::analysis) fn mature_ms(&self, metric: usize, entry_ms: u64) -> u64 {
        self.feeds.mature_ms(metric, self.spec.metrics[metric].mature_ms(entry_ms))
    }

    /// The horizon of the metric at a position: the units that mature at it or before are mature at
    /// `now_ms`.
    pub(in crate::analysis) fn horizon(&self, metric: usize, now_ms: u64) -> u64 {
        self.feeds.horizon(&self.spec.metrics[metric], now_ms)
    }

    /// The horizons of all metrics.
    pub(in crate::analysis) fn horizons(&self, now_ms: u64) -> Vec<u64> {
        (0..self.spec.metrics.len()).map(|metric| self.horizon(metric, now_ms)).collect()
    }

    /// Rows that happened within a metric's window and were received after its lag, by arm: they do
    /// not count.
    pub fn too_late(&self) -> &[u64] {
        &self.too_late
    }

    /// Rows within the window of the metric at a position, and those of them that were received too
    /// late.
    pub fn late_rows(&self, metric: usize) -> (u64, u64) {
        let of_slots = self.of_metric[metric].positions().map(|slot| self.rows[slot]);
        of_slots.fold((0, 0), |(rows, late), [in_time, too_late]| (rows + in_time + too_late, late + too_late))
    }

    /// Outcomes that metrics name and that happened before their unit entered, by arm: they were
    /// stored since, and count for nothing.
    pub fn before_entry(&self) -> &[u64] {
        &self.before_entry
    }

    /// Units that were excluded since they entered, and their decisions that were, by arm.
    pub fn excluded(&self) -> &[[u64; 2]] {
        &self.excluded
    }

    /// The first few ids that stand for nobody.
    pub(in crate::analysis) fn placeholders(&self) -> &[Box<str>] {
        &self.placeholders
    }

    /// Units with an absurd share of all `decisions`, and how many they have.
    pub(in crate::analysis) fn busiest(&self, decisions: u64) -> impl Iterator<Item = (&str, u64)> {
        self.busiest.absurd(decisions, self.units.len() as u64)
    }

    /// Units that entered, by arm.
    pub fn entered(&self) -> &[u64] {
        &self.srm.counts
    }

    /// The units in order of entry. A unit that was drawn again in later batches appears once for each
    /// entry.
    pub fn units(&self) -> &[Unit] {
        &self.units
    }

    /// The units by id, in no order.
    pub fn by_id(&self) -> impl Iterator<Item = (&str, &Unit)> {
        self.entries.iter().flat_map(move |(id, entries)| {
            entries.as_slice().iter().map(move |(_, at)| (&**id, &self.units[*at as usize]))
        })
    }

    /// The number of changes of each block. Equal versions have equal summaries.
    pub(in crate::analysis) fn block_versions(&self) -> &[u64] {
        &self.block_versions
    }
}
