//! Numbers of a program that shares no code with this one: `tests/data/statistics_golden.py`.

use serde::Deserialize;

use crate::stats::*;

#[derive(Deserialize)]
struct Golden {
    moments: Sums,
    proportions: Vec<Fixed<(u64, u64)>>,
    means: Fixed<Vec<f64>>,
    ratio: Fixed<Vec<(f64, f64)>>,
    cuped: Fixed<Vec<(f64, f64)>>,
    sequence: Vec<Sequence>,
    width_at_plan: f64,
    chi_squared: Vec<Split>,
    bayes_factor: Vec<Factor>,
    rare: Vec<Rare>,
    benjamini_hochberg: Adjusted,
}

#[derive(Deserialize)]
struct Sums {
    values: Vec<f64>,
    mean: f64,
    variance: f64,
}

#[derive(Deserialize)]
struct Fixed<A> {
    control: A,
    treatment: A,
    control_mean: f64,
    treatment_mean: f64,
    difference: f64,
    se: f64,
    df: f64,
    alpha: f64,
    low: f64,
    high: f64,
    p: f64,
}

#[derive(Deserialize)]
struct Sequence {
    control: (u64, u64),
    treatment: (u64, u64),
    planned: u64,
    alpha: f64,
    se: f64,
    low: f64,
    high: f64,
    p: f64,
    lower: f64,
    upper: f64,
}

#[derive(Deserialize)]
struct Split {
    counts: Vec<u64>,
    weights: Vec<f64>,
    p: f64,
}

#[derive(Deserialize)]
struct Factor {
    rows: Vec<Vec<u64>>,
    weights: Vec<f64>,
    k: f64,
    log_factor: f64,
}

#[derive(Deserialize)]
struct Rare {
    control: (u64, u64),
    treatment: (u64, u64),
    alarm: f64,
    log_e: f64,
}

#[derive(Deserialize)]
struct Adjusted {
    p_values: Vec<f64>,
    adjusted: Vec<f64>,
}

fn golden() -> Golden {
    let text = include_str!("../../../../../tests/data/statistics-golden.json");
    serde_json::from_str(text).expect("the file of golden numbers parses")
}

/// To more than six digits.
fn near(what: &str, found: f64, expected: f64) {
    assert!((found - expected).abs() <= 2e-8 * expected.abs(), "{what}: {found}, not {expected}");
}

impl<A> Fixed<A> {
    fn check(&self, estimate: Estimate, units: u64) {
        let interval = welch(&estimate, self.alpha);
        assert_eq!(estimate.n, units);
        near("control", estimate.control, self.control_mean);
        near("treatment", estimate.treatment, self.treatment_mean);
        near("difference", estimate.difference, self.difference);
        near("se", estimate.se, self.se);
        near("df", estimate.df, self.df);
        near("low", interval.low, self.low);
        near("high", interval.high, self.high);
        near("p", interval.p, self.p);
    }
}

fn proportions(control: (u64, u64), treatment: (u64, u64)) -> Estimate {
    let moments = |(units, events)| Moments::from_counts(units, events);
    difference(&moments(control), &moments(treatment), Kind::Proportion).expect("enough")
}

#[test]
fn fixed_horizon_answers_are_the_golden_ones() {
    let golden = golden();
    for case in &golden.proportions {
        case.check(proportions(case.control, case.treatment), case.control.0 + case.treatment.0);
    }
    let moments = |values: &[f64]| values.iter().copied().collect::<Moments>();
    let joint = |pairs: &[(f64, f64)]| pairs.iter().copied().collect::<Joint>();
    let case = &golden.means;
    let estimate = difference(&moments(&case.control), &moments(&case.treatment), Kind::Mean);
    case.check(estimate.expect("enough"), 31);
    let case = &golden.ratio;
    case.check(ratio_difference(&joint(&case.control), &joint(&case.treatment)).expect("enough"), 19);
    let case = &golden.cuped;
    case.check(cuped(&joint(&case.control), &joint(&case.treatment)).expect("enough"), 17);
}

#[test]
fn moments_of_large_numbers_are_the_golden_ones() {
    let Sums { values, mean, variance } = golden().moments;
    let moments: Moments = values.iter().copied().collect();
    near("mean", moments.mean, mean);
    near("variance", moments.variance().expect("enough"), variance);
    // What a difference of sums of squares would make of these.
    let (sum, squares) = values.iter().fold((0.0, 0.0), |(sum, squares), x| (sum + x, squares + x * x));
    let naive = (squares - sum * sum / 7.0) / 6.0;
    assert!((naive / variance - 1.0).abs() > 0.1, "{naive}");
}

#[test]
fn sequences_are_the_golden_ones() {
    let golden = golden();
    for case in &golden.sequence {
        let estimate = proportions(case.control, case.treatment);
        let interval = two_sided(&estimate, case.alpha, case.planned);
        near("se", estimate.se, case.se);
        near("low", interval.low, case.low);
        near("high", interval.high, case.high);
        near("p", interval.p, case.p);
        near("lower", lower(&estimate, case.alpha, case.planned), case.lower);
        near("upper", upper(&estimate, case.alpha, case.planned), case.upper);
    }
    let estimate =
        Estimate { difference: 0.0, se: 1.0, n: 5000, control: 0.0, treatment: 0.0, df: 4998.0, ..Estimate::default() };
    near("width", two_sided(&estimate, 0.05, 5000).high, golden.width_at_plan);
    assert!((golden.width_at_plan / 3.035 - 1.0).abs() < 0.01);
    // Another plan shows.
    assert!((two_sided(&estimate, 0.05, 10_000).high / 3.035 - 1.0).abs() > 0.01);
}

#[test]
fn tests_of_the_split_are_the_golden_ones() {
    let golden = golden();
    for case in &golden.chi_squared {
        near("p", chi_squared(&case.counts, &case.weights).expect("enough"), case.p);
    }
    for Factor { rows, weights, k, log_factor } in &golden.bayes_factor {
        let counts: Vec<u64> = (0..weights.len()).map(|arm| rows.iter().map(|row| row[arm]).sum()).collect();
        near("factor", log_bayes_factor(&counts, weights, *k), *log_factor);
        // In any unit.
        let percents: Vec<f64> = weights.iter().map(|weight| weight * 100.0).collect();
        near("factor", log_bayes_factor(&counts, &percents, *k), *log_factor);
        // Not the product of factors that each begin anew.
        let product: f64 = rows.iter().map(|row| log_bayes_factor(row, weights, *k)).sum();
        assert!((product - log_factor).abs() > 0.5, "{product}");
    }
    assert!((golden.bayes_factor[0].log_factor.exp() - 33.4825).abs() < 0.0001);
}

#[test]
fn e_values_are_the_golden_ones() {
    for Rare { control, treatment, alarm, log_e } in golden().rare {
        let counts = |(units, events)| Counts { units, events };
        near("log e", log_e_value(counts(control), counts(treatment), alarm), log_e);
    }
}

#[test]
fn adjusted_p_values_are_the_golden_ones() {
    let Adjusted { p_values, adjusted } = golden().benjamini_hochberg;
    for (found, expected) in benjamini_hochberg(&p_values).into_iter().zip(adjusted) {
        near("adjusted", found, expected);
    }
}
