//! Power analysis before an experiment runs: how many units and days an effect takes at the given
//! traffic, how often the spec raises false alarms, and which effects it misses.
//!
//! A formula ([`Needs`]) answers for one test at a fixed time. A host does more: it looks repeatedly,
//! follows a ramp, waits for outcomes to mature, and promotes only past guardrails. The spec is
//! therefore also simulated ([`Scenario`]) through the code that a host runs, with one look a day.
//!
//! Assumptions: units arrive evenly over each day, and each has one decision a day until it has had
//! all of its decisions. A unit that the ramp did not admit may enter at a later decision. A unit's
//! outcomes are drawn when it enters, uniformly over the metric's window, and posted after the
//! metric's lag. Numbers are lognormal, or normal where their mean is not above 0; the analysis
//! applies a metric's `cap`. An outcome that several metrics use is drawn once. A failure, or any
//! other event that a guardrail counts, occurs on one of a unit's decisions. There are two actions,
//! each for half of the units. The treatment is the first arm other than control; the remaining
//! arms behave like control.
//!
//! Not simulated: covariates, which would narrow the intervals; segments and fairness, for which
//! there are no prior data. Under adaptive allocation a unit has one decision. If the spec does not
//! ship by itself, the simulation assumes a person who follows the verdict daily; a pause for harm
//! ends the run.

mod draw;
mod entries;
mod feed;
mod model;
mod sample_size;
mod scenario;
mod setup;
mod simulate;
mod warnings;
mod world;

use std::sync::Arc;

use serde::Serialize;

use crate::experiment::Experiment;
use entries::Entries;

pub use sample_size::{Needed, Needs, POWER, detectable, detectable_as_analysed};
pub use scenario::{PlanPoint, Scenario, Should};
pub use world::Assumed;

/// A day in milliseconds.
const DAY: u64 = 86_400_000;

/// The expected traffic, and control's baselines.
#[derive(Debug, Clone, PartialEq)]
pub struct Traffic {
    /// New units a day in the whole layer. The slot and the coverage take their share of them.
    pub units_per_day: f64,
    /// Decisions per unit, a day apart; at least one.
    pub decisions_per_unit: f64,
    /// Baselines by metric position.
    pub baselines: Vec<Baseline>,
    /// The share of units with a failed decision.
    pub failures: f64,
}

/// A metric's baseline in control.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Baseline {
    /// Its mean over units, or its ratio; for a yes-or-no metric a share from 0 to 1.
    pub mean: f64,
    /// The standard deviation of a unit's number; none for a yes-or-no metric.
    pub sd: Option<f64>,
}

/// The result of a power analysis.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// The sample size of the first goal, by a formula; none without a goal, a treatment arm, or an
    /// effect.
    pub needs: Option<Needs>,
    /// The simulated worlds: see [`Assumed`].
    pub scenarios: Vec<Scenario>,
    /// Runs of each world in which the data are sound and one thing is true; fewer of the others.
    pub runs: u32,
    /// Days of a run that nothing ends.
    pub days: u32,
    /// Units of all arms that enter in the requested days, or until `max_duration`, if the ramp
    /// advances without delay.
    pub entered: f64,
    /// Problems with the plan, as sentences.
    pub warnings: Vec<String>,
}

/// The most simulated units in all: about a minute of work.
const MOST_ENTRIES: f64 = 10_000_000.0;
/// Rows and decisions that cost as much as the analysis of one unit.
const ROWS: f64 = 8.0;

/// Plans an experiment. `effect` is how much better each goal is in the treatment arm, in the
/// goal's own unit and direction. Each scenario is simulated `runs` times over `days`; if that is
/// too much work, fewer, with a warning. `progress` is called with the number of finished runs and
/// of all runs. The same arguments give the same plan.
pub fn plan(
    spec: &Arc<Experiment>,
    traffic: &Traffic,
    effect: f64,
    runs: u32,
    days: u32,
    seed: u64,
    progress: &mut dyn FnMut(u32, u32),
) -> Plan {
    plan_in(&|_| true, spec, traffic, effect, [runs, days], seed, progress)
}

/// Plans an experiment in some of the worlds, for so many runs and days.
fn plan_in(
    is_wanted: &dyn Fn(Assumed) -> bool,
    spec: &Arc<Experiment>,
    traffic: &Traffic,
    effect: f64,
    [runs, days]: [u32; 2],
    seed: u64,
    progress: &mut dyn FnMut(u32, u32),
) -> Plan {
    let worlds = |tried, effect, days| {
        let mut worlds = world::all(spec, traffic, tried, effect, days);
        worlds.retain(|world| is_wanted(*world));
        worlds
    };
    let days = days.max(1);
    let lasts = spec.max_duration_ms.map_or(days, |most| days.min(most.div_ceil(DAY).try_into().unwrap_or(days)));
    let entries = Entries::of(spec, traffic, lasts);
    let mut warnings = warnings::of(spec, traffic, effect, &entries, lasts);
    let control = spec.control_at();
    let tried = (0..spec.arms.len()).find(|arm| *arm != control && spec.arms[*arm].weight > 0.0);
    let effect = if effect > 0.0 { effect } else { 0.0 };
    let assumed = worlds(tried, effect, lasts);
    let (simulated, fewer_days) = affordable(spec, traffic, &assumed, runs.max(1), days);
    let wanted = (runs.max(1), days);
    let instead = match (simulated, fewer_days) {
        done if done == wanted => None,
        (0, _) => Some("nothing was, and there is only what a formula says".to_owned()),
        (runs, days) => Some(format!("it was done for {runs} runs of {days} days")),
    };
    warnings
        .extend(instead.map(|instead| format!("{runs} runs of {days} days are too many units to simulate: {instead}")));
    let assumed = worlds(tried, effect, fewer_days.min(lasts));
    let seeds = scenario::Seeds { effect, seed, runs: simulated, days: fewer_days };
    let scenarios = match simulated {
        0 => Vec::new(),
        _ => scenario::simulate(spec, traffic, tried, &assumed, seeds, progress),
    };
    warnings.extend(warnings::after(spec, &scenarios));
    let needs = tried.filter(|_| effect > 0.0).and_then(|tried| sample_size::needs(spec, traffic, tried, effect));
    Plan { needs, scenarios, runs: simulated, days: fewer_days, entered: entries.all(), warnings }
}

/// Runs and days within the work limit; none if a single day exceeds it.
fn affordable(spec: &Experiment, traffic: &Traffic, assumed: &[Assumed], runs: u32, days: u32) -> (u32, u32) {
    let counts = spec.metrics.iter().zip(&traffic.baselines).filter(|(metric, _)| model::is_count(metric));
    let rows = traffic.decisions_per_unit.max(1.0) + counts.map(|(_, baseline)| baseline.mean.max(0.0)).sum::<f64>();
    // Each batch re-analyses all units.
    let again = if spec.allocation.is_some() { f64::from(days) / 4.0 } else { 1.0 };
    let each = (rows / ROWS).max(1.0) * again.max(1.0);
    // A unit that does not enter costs one hash; one that enters is analysed daily.
    let of_run = |days: u32| {
        let passing = traffic.units_per_day.max(0.0) * f64::from(days) / 20.0;
        (passing + Entries::of(spec, traffic, days).all() * each).max(1.0)
    };
    let all_runs = |runs: u32| assumed.iter().map(|assumed| f64::from(scenario::runs_of(*assumed, runs))).sum::<f64>();
    let fewest = scenario::FEWEST_RUNS.min(runs);
    let most = MOST_ENTRIES / of_run(days);
    if let Some(runs) = (fewest..=runs).rev().find(|runs| all_runs(*runs) <= most) {
        return (runs, days);
    }
    let fits = (1..days).rev().find(|days| of_run(*days) * all_runs(fewest) <= MOST_ENTRIES);
    fits.map_or((0, 0), |days| (fewest, days))
}

#[cfg(test)]
mod tests;
