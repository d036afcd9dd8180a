//! How many deciding threads may wait for models at a time. A thread that waits decides nothing
//! else, so that a model that is slow would take all of them from points that do not use it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Places to wait in, for all models of a host.
#[derive(Debug)]
pub(super) struct Admission {
    all: Arc<AtomicUsize>,
    for_all: usize,
    for_one: usize,
}

impl Admission {
    /// Of `threads` that decide, half may wait for one model, and three quarters for all
    /// together; at least one.
    pub fn new(threads: usize) -> Self {
        Self { all: Arc::default(), for_all: (threads * 3 / 4).max(1), for_one: (threads / 2).max(1) }
    }

    /// The places of one model.
    pub fn of_model(&self) -> Places {
        Places { one: Count::default(), all: Arc::clone(&self.all), for_one: self.for_one, for_all: self.for_all }
    }
}

type Count = AtomicUsize;

/// The places of one model.
#[derive(Debug)]
pub(super) struct Places {
    one: Count,
    all: Arc<Count>,
    for_one: usize,
    for_all: usize,
}

impl Places {
    /// How many may wait for this model.
    pub fn count(&self) -> usize {
        self.for_one
    }

    /// A place to wait in, where `elsewhere` threads are held by runs of this model without one;
    /// none where all are taken.
    pub fn take(&self, elsewhere: usize) -> Option<Place<'_>> {
        let one = claim(&self.one, self.for_one.saturating_sub(elsewhere))?;
        let all = claim(&self.all, self.for_all.saturating_sub(elsewhere))?;
        Some(Place { _one: one, _all: all })
    }
}

/// A place, until it is dropped.
#[derive(Debug)]
pub(super) struct Place<'a> {
    _one: Claim<'a>,
    _all: Claim<'a>,
}

#[derive(Debug)]
struct Claim<'a>(&'a Count);

fn claim(count: &Count, most: usize) -> Option<Claim<'_>> {
    let free = |taken: usize| (taken < most).then_some(taken + 1);
    count.fetch_update(Ordering::AcqRel, Ordering::Relaxed, free).is_ok().then(|| Claim(count))
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_model_takes_all_threads_and_neither_do_all_models() {
        let admission = Admission::new(8);
        let (one, other) = (admission.of_model(), admission.of_model());
        let taken: Vec<_> = std::iter::from_fn(|| one.take(0)).collect();
        assert_eq!((taken.len(), one.take(0).is_none()), (4, true));
        let others: Vec<_> = std::iter::from_fn(|| other.take(0)).collect();
        assert_eq!(others.len(), 2);
        drop(taken);
        assert!(other.take(2).is_none(), "runs on deciding threads hold them, too");
        assert!(other.take(1).is_some(), "places are given back");
        assert!(Admission::new(1).of_model().take(0).is_some());
    }
}
