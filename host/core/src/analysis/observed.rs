//! What is known of an experiment's units. One unit is one observation, however often it was
//! decided about: what happened to it is gathered here as it comes, in any order that keeps a
//! unit's first decision ahead of what follows from it.

use std::collections::HashMap;
use std::sync::Arc;

use rustc_hash::FxBuildHasher;

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
            Watched::Metric(_) => false,
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
    /// Units, by id.
    pub units: HashMap<Box<str>, Unit, FxBuildHasher>,
    /// Units that only had decisions whose arm was chosen by hand.
    pub forced: HashMap<Box<str>, (), FxBuildHasher>,
    /// Decisions in arms that the spec does not have, or of a unit that changed its arm: there
    /// should be none.
    pub astray: u64,
    /// Actions served, by arm.
    pub actions: Vec<HashMap<Box<str>, u64, FxBuildHasher>>,
    slots: Vec<Slot>,
    pub(super) of_metric: Vec<Slots>,
    pub(super) srm: Balance,
}

impl Observed {
    /// Nothing yet.
    pub fn new(spec: Arc<Experiment>) -> Self {
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
        let srm = Balance::new(spec.arms.iter().map(|arm| arm.weight).collect());
        Self {
            units: HashMap::default(),
            forced: HashMap::default(),
            astray: 0,
            actions: vec![HashMap::default(); spec.arms.len()],
            slots,
            of_metric,
            srm,
            spec,
        }
    }

    /// Takes a decision.
    pub fn decision(&mut self, decision: &Decision<'_>) {
        if decision.forced {
            if !self.units.contains_key(decision.unit) {
                self.forced.insert(decision.unit.into(), ());
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
        if !self.units.contains_key(decision.unit) {
            self.forced.remove(decision.unit);
            self.srm.enter(arm);
            let totals = vec![Total::default(); self.slots.len()];
            let unit = Unit {
                arm,
                entry_ms: decision.time_ms,
                failed: false,
                fell_back: false,
                refused: false,
                slowest_us: 0,
                totals,
            };
            self.units.insert(decision.unit.into(), unit);
        }
        let Some(unit) = self.units.get_mut(decision.unit) else { return };
        if unit.arm != arm {
            self.astray += 1;
            return;
        }
        unit.entry_ms = unit.entry_ms.min(decision.time_ms);
        unit.refused |= decision.outcome == "refusal";
        unit.failed |= !matches!(decision.outcome, "answer" | "refusal");
        unit.fell_back |= decision.fell_back;
        unit.slowest_us = unit.slowest_us.max(decision.took_us);
        each(&self.slots, unit, Source::Decisions, Some(decision.action), decision.time_ms, |total| total.add(1.0));
    }

    /// Takes an outcome of a unit; of one that has not entered it is none of this experiment's.
    pub fn outcome(&mut self, unit: &str, name: &str, value: f64, at_ms: u64) {
        if let Some(unit) = self.units.get_mut(unit) {
            each(&self.slots, unit, Source::Outcomes, Some(name), at_ms, |total| total.add(value));
        }
    }

    /// Takes an outcome back that was taken before.
    pub fn reversal(&mut self, unit: &str, name: &str, value: f64, at_ms: u64) {
        if let Some(unit) = self.units.get_mut(unit) {
            each(&self.slots, unit, Source::Outcomes, Some(name), at_ms, |total| total.remove(value));
        }
    }

    /// Takes an exposure of a unit.
    pub fn exposure(&mut self, unit: &str, at_ms: u64) {
        if let Some(unit) = self.units.get_mut(unit) {
            each(&self.slots, unit, Source::Exposures, None, at_ms, |total| total.add(1.0));
        }
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

/// Whether units fall to the arms as the weights say, looked at after every one of them: the
/// Dirichlet-multinomial Bayes factor of Lindon and Malek (2022), one predictive factor a unit.
pub(super) struct Balance {
    pub counts: Vec<u64>,
    weights: Vec<f64>,
    entered: f64,
    pub log_factor: f64,
    highest: f64,
}

/// Units that the prior is worth.
const PRIOR: f64 = 100.0;

impl Balance {
    pub fn new(weights: Vec<f64>) -> Self {
        Self { counts: vec![0; weights.len()], weights, entered: 0.0, log_factor: 0.0, highest: 0.0 }
    }

    pub fn enter(&mut self, arm: usize) {
        let weight = self.weights[arm];
        if weight > 0.0 {
            let predicted = (PRIOR * weight + self.counts[arm] as f64) / (PRIOR + self.entered);
            self.log_factor += (predicted / weight).ln();
        } else {
            self.log_factor = f64::INFINITY;
        }
        self.counts[arm] += 1;
        self.entered += 1.0;
        self.highest = self.highest.max(self.log_factor);
    }

    /// The smallest p so far; valid however often it is looked at.
    pub fn p(&self) -> f64 {
        (-self.highest).exp().min(1.0)
    }
}
