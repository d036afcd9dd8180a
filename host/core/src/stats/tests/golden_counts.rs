//! Counts of events and of units against what statsmodels, scipy and mpmath answer: `host/core/golden`.

use serde::Deserialize;

use super::golden_packages::{cases, near};
use crate::stats::rare::{
    bounds, difference_bounds, log_e_value_of_equality, log_e_value_of_ratio, ratio_lower, ratio_upper,
};
use crate::stats::*;

type Arm = (f64, f64);

fn sum((units, sum): Arm) -> BoundedSum {
    BoundedSum { units, sum }
}

#[derive(Deserialize)]
struct Exact {
    name: String,
    events: u64,
    units: u64,
    alpha: f64,
    low: f64,
    high: f64,
}

#[test]
fn exact_bounds_are_those_of_statsmodels() {
    for case in cases::<Exact>("exact_bounds") {
        let [low, high] = clopper_pearson(case.events, case.units, case.alpha);
        // A bisection of [0, 1] ends 10⁻¹⁵ from the bound. The logarithm of Γ(10⁹) has five digits
        // after the point, which leaves six of a bound of 10⁻⁸.
        near(&case.name, "low", low, case.low, [1e-9, 1e-14]);
        near(&case.name, "high", high, case.high, [1e-9, 1e-14]);
    }
}

#[derive(Deserialize)]
struct OneLook {
    name: String,
    control: (u64, u64),
    treatment: (u64, u64),
    alpha: f64,
    low: f64,
    high: f64,
    p: f64,
}

#[test]
fn one_look_has_the_difference_of_two_exact_intervals() {
    for case in cases::<OneLook>("one_looks") {
        let arms = [case.control, case.treatment].map(|(units, events)| BoundedSum::from(Counts { units, events }));
        let found = one_look(arms, case.alpha);
        near(&case.name, "low", found.low, case.low, [1e-9, 1e-14]);
        near(&case.name, "high", found.high, case.high, [1e-9, 1e-14]);
        // The logarithm of p is found by 25 bisections of [-700, 0].
        near(&case.name, "p", found.p, case.p, [2.2e-5, 0.0]);
    }
}

#[derive(Deserialize)]
struct EValues {
    name: String,
    control: Arm,
    treatment: Arm,
    equal: f64,
    differences: Vec<(f64, f64)>,
    ratios: Vec<(f64, f64)>,
}

#[test]
fn e_values_are_mixtures_over_the_likeliest_rates() {
    for case in cases::<EValues>("e_values") {
        let (control, treatment) = (sum(case.control), sum(case.treatment));
        // Differences of logarithms of likelihoods, which may be a million times larger.
        let near = |what: &str, found, golden| near(&case.name, what, found, golden, [1e-7, 1e-7]);
        near("equality", log_e_value_of_equality(control, treatment), case.equal);
        for (alarm, golden) in &case.differences {
            near(&format!("difference {alarm}"), log_e_value(control, treatment, *alarm), *golden);
        }
        for (factor, golden) in &case.ratios {
            near(&format!("ratio {factor}"), log_e_value_of_ratio(control, treatment, *factor), *golden);
        }
    }
}

#[derive(Deserialize)]
struct Bounds {
    name: String,
    control: Arm,
    treatment: Arm,
    alpha: f64,
    rate: [f64; 2],
    low: f64,
    high: f64,
    ratio: Option<f64>,
}

#[test]
fn bounds_are_where_e_values_reach_the_level() {
    for case in cases::<Bounds>("bounds") {
        let (control, treatment) = (sum(case.control), sum(case.treatment));
        // A bisection ends 10⁻¹² from the bound.
        let near = |what: &str, found, golden| near(&case.name, what, found, golden, [1e-7, 1e-11]);
        let rate = bounds(treatment, case.alpha);
        near("rate's low", rate.0, case.rate[0]);
        near("rate's high", rate.1, case.rate[1]);
        let (low, high) = difference_bounds(control, treatment, case.alpha);
        near("low", low, case.low);
        near("high", high, case.high);
        let golden = case.ratio.unwrap_or(f64::INFINITY);
        near("ratio", ratio_upper(control, treatment, case.alpha), golden);
        near("inverse ratio", ratio_lower(treatment, control, case.alpha), 1.0 / golden);
    }
}

#[derive(Deserialize)]
struct Conditional {
    name: String,
    control: u64,
    treatment: u64,
    weight: f64,
    log_e: f64,
    p: f64,
}

#[test]
fn e_values_of_events_alone_are_the_integral() {
    for case in cases::<Conditional>("conditional") {
        let found = conditional::log_e_value(case.control, case.treatment, case.weight);
        // How much the events speak against harm is the small rest of 1 less an integral, and unused.
        if case.log_e > -5.0 {
            near(&case.name, "log e", found, case.log_e, [1e-7, 1e-7]);
        } else {
            assert!(found < -5.0, "{}: log e is {found}, and {} by the packages", case.name, case.log_e);
        }
        near(&case.name, "p", conditional::p(case.control, case.treatment, case.weight), case.p, [1e-7, 0.0]);
    }
}

#[derive(Deserialize)]
struct Split {
    name: String,
    counts: Vec<u64>,
    weights: Vec<f64>,
    p: Option<f64>,
}

#[test]
fn a_split_is_tested_as_by_scipy() {
    for case in cases::<Split>("chi_squared") {
        match (chi_squared(&case.counts, &case.weights), case.p) {
            (Ok(found), Some(golden)) => near(&case.name, "p", found, golden, [1e-9, 0.0]),
            (found, golden) => assert!(found == Err(NotEnough::Variance) && golden.is_none(), "{}", case.name),
        }
    }
}

#[derive(Deserialize)]
struct Factor {
    name: String,
    counts: Vec<u64>,
    weights: Vec<f64>,
    k: f64,
    log_factor: f64,
}

#[test]
fn bayes_factors_are_of_two_distributions() {
    for case in cases::<Factor>("bayes_factors") {
        let found = log_bayes_factor(&case.counts, &case.weights, case.k);
        near(&case.name, "log factor", found, case.log_factor, [1e-7, 1e-9]);
    }
}
