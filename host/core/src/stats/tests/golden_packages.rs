//! Two arms against what gbstats, tea-tasting, statsmodels and scipy answer: `host/core/golden`.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::stats::*;

/// The cases of one group.
pub(crate) fn cases<C: DeserializeOwned>(group: &str) -> Vec<C> {
    let mut all: serde_json::Value =
        serde_json::from_str(include_str!("../../../golden/golden.json")).expect("the file of golden numbers parses");
    let cases = all.get_mut(group).unwrap_or_else(|| panic!("no group '{group}'")).take();
    let cases: Vec<C> = serde_json::from_value(cases).unwrap_or_else(|e| panic!("group '{group}': {e}"));
    assert!(cases.len() > 2, "group '{group}' has hardly a case");
    cases
}

/// Fails with the case and both numbers if they are farther apart than `relative`, or `absolute` where that is more.
#[track_caller]
pub(crate) fn near(name: &str, what: &str, found: f64, golden: f64, [relative, absolute]: [f64; 2]) {
    #[allow(clippy::float_cmp, reason = "two infinities are equal")]
    let is_near = found == golden || (found - golden).abs() <= (relative * golden.abs()).max(absolute);
    assert!(is_near, "{name}: {what} is {found:e}, and {golden:e} by the packages");
}

/// A closed form: what is lost is rounding.
const CLOSED: [f64; 2] = [1e-9, 0.0];

#[derive(Deserialize)]
struct Lift {
    name: String,
    kind: String,
    control: (u64, f64, f64),
    treatment: (u64, f64, f64),
    alpha: f64,
    df: f64,
    se: f64,
    multiplier: f64,
    low: f64,
    high: f64,
    p: f64,
    lift: Option<[f64; 2]>,
}

/// A lift is 1 less than a ratio of means, and has the rounding error of the ratio. Beside the root
/// where control is just clear of 0, that error grows with the lift.
fn near_lift(name: &str, found: Option<[f64; 2]>, golden: Option<[f64; 2]>) {
    let (Some(found), Some(golden)) = (found, golden) else {
        assert_eq!(found, golden, "{name}: the lift");
        return;
    };
    for (what, at) in [("lift's low", 0), ("lift's high", 1)] {
        near(name, what, found[at], golden[at], [1e-9, 1e-9]);
    }
}

#[test]
fn relative_lifts_are_those_that_a_test_does_not_reject() {
    for case in cases::<Lift>("lifts") {
        let name = &*case.name;
        let kind = if case.kind == "proportion" { Kind::Proportion } else { Kind::Mean };
        let moments = |(n, mean, variance): (u64, f64, f64)| Moments { n, mean, m2: variance * (n - 1) as f64 };
        let found = difference(&moments(case.control), &moments(case.treatment), kind).expect(name);
        near(name, "se", found.se, case.se, CLOSED);
        near(name, "df", found.df, case.df, CLOSED);
        let multiplier = welch_multiplier(&found, case.alpha);
        // Above 10⁸ degrees of freedom the normal distribution stands for Student's; far out in its
        // tail that shows in the seventh digit.
        let tail = if case.df > 1e8 { 1e-6 } else { 1e-7 };
        near(name, "multiplier", multiplier, case.multiplier, [1e-7, 0.0]);
        let interval = welch(&found, case.alpha);
        near(name, "low", interval.low, case.low, [1e-7, 1e-9 * case.se]);
        near(name, "high", interval.high, case.high, [1e-7, 1e-9 * case.se]);
        near(name, "p", interval.p, case.p, [tail, 0.0]);
        near_lift(name, found.relative_lift(case.multiplier), case.lift);
    }
}

#[derive(Deserialize)]
struct Pairs {
    name: String,
    control: Vec<(f64, f64)>,
    treatment: Vec<(f64, f64)>,
    difference: f64,
    se: f64,
    df: f64,
    low: f64,
    high: f64,
    p: f64,
    #[serde(default)]
    multiplier: f64,
    #[serde(default)]
    lift: Option<[f64; 2]>,
}

impl Pairs {
    fn check(&self, estimate: fn(&Joint, &Joint) -> Result<Estimate, NotEnough>) -> Estimate {
        let joint = |pairs: &[(f64, f64)]| pairs.iter().copied().collect::<Joint>();
        let found = estimate(&joint(&self.control), &joint(&self.treatment)).expect(&self.name);
        check(&self.name, &found, [self.difference, self.se, self.df, self.low, self.high, self.p]);
        found
    }
}

/// Student's distribution is inverted by bisection, by the packages in another way.
fn check(name: &str, found: &Estimate, [difference, se, df, low, high, p]: [f64; 6]) {
    let interval = welch(found, 0.05);
    near(name, "difference", found.difference, difference, CLOSED);
    near(name, "se", found.se, se, CLOSED);
    near(name, "df", found.df, df, CLOSED);
    near(name, "low", interval.low, low, [1e-9, 1e-9 * se]);
    near(name, "high", interval.high, high, [1e-9, 1e-9 * se]);
    near(name, "p", interval.p, p, [1e-9, 0.0]);
}

#[test]
fn ratios_are_those_of_gbstats_and_tea_tasting() {
    for case in cases::<Pairs>("ratios") {
        case.check(ratio_difference);
    }
}

#[test]
fn a_covariate_takes_out_what_a_regression_takes_out() {
    for case in cases::<Pairs>("covariates") {
        let found = case.check(cuped);
        near_lift(&case.name, found.relative_lift(case.multiplier), case.lift);
    }
}

#[derive(Deserialize)]
struct Regression {
    name: String,
    control: Vec<Vec<f64>>,
    treatment: Vec<Vec<f64>>,
    difference: f64,
    se: f64,
    df: f64,
    low: f64,
    high: f64,
    p: f64,
}

#[test]
fn several_covariates_take_out_what_a_regression_takes_out() {
    for case in cases::<Regression>("regressions") {
        let cross = |rows: &[Vec<f64>]| {
            let mut cross = Cross::new(rows[0].len() - 1);
            rows.iter().for_each(|row| cross.push(row[0], &row[1..]));
            cross
        };
        let found = adjusted(&cross(&case.control), &cross(&case.treatment)).expect(&case.name);
        check(&case.name, &found, [case.difference, case.se, case.df, case.low, case.high, case.p]);
    }
}

#[derive(Deserialize)]
struct Sequence {
    name: String,
    control: (u64, u64),
    treatment: (u64, u64),
    planned: u64,
    alpha: f64,
    low: f64,
    high: f64,
    p: f64,
    lower: f64,
    upper: f64,
}

#[test]
fn sequences_are_those_of_gbstats() {
    for case in cases::<Sequence>("sequences") {
        let name = &*case.name;
        let moments = |(units, events)| Moments::from_counts(units, events);
        let found = difference(&moments(case.control), &moments(case.treatment), Kind::Proportion).expect(name);
        let interval = two_sided(&found, case.alpha, case.planned);
        let near = |what, found, golden| near(name, what, found, golden, CLOSED);
        near("low", interval.low, case.low);
        near("high", interval.high, case.high);
        near("p", interval.p, case.p);
        near("lower", lower(&found, case.alpha, case.planned), case.lower);
        near("upper", upper(&found, case.alpha, case.planned), case.upper);
    }
}

#[derive(Deserialize)]
struct Adjusted {
    name: String,
    values: Vec<f64>,
    benjamini_hochberg: Vec<f64>,
    bonferroni: Vec<f64>,
}

#[test]
fn adjusted_values_are_those_of_statsmodels() {
    for case in cases::<Adjusted>("adjusted") {
        let both = [
            (benjamini_hochberg(&case.values), &case.benjamini_hochberg),
            (bonferroni(&case.values), &case.bonferroni),
        ];
        for (found, golden) in both {
            assert_eq!(found.len(), golden.len(), "{}", case.name);
            found.iter().zip(golden).for_each(|(found, golden)| near(&case.name, "p", *found, *golden, CLOSED));
        }
    }
}
