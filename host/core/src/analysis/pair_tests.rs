//! How often a pair of arms is called wrongly, and how often an effect is seen: many made-up
//! experiments, looked at again and again.

use super::super::metric_summary::{ArmSummary, By};
use super::*;
use crate::experiment::Experiment;
use crate::stats::regression::Cross;
use crate::stats::{Joint, cuped, ratio_difference};

const RUNS: u64 = 4_000;
const PLANNED: u64 = 3_000;
const UNITS: u64 = 4_000;
/// A rate of one in a thousand.
const RARE: f64 = 0.001;

/// SplitMix64: a number in [0, 1).
struct Draw(u64);

impl Draw {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn happens(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// A lognormal number of σ = 2 and the mean 1, cut at its 99th percentile.
    fn amount(&mut self) -> f64 {
        let normal = (0..12).map(|_| self.unit()).sum::<f64>() - 6.0;
        (2.0 * normal - 2.0).exp().min(14.2)
    }
}

/// The error rate that may be seen at most: three standard errors above it.
fn most(alpha: f64, runs: u64) -> f64 {
    alpha + 3.0 * (alpha * (1.0 - alpha) / runs as f64).sqrt()
}

fn metric(aggregate: &str, more: &str) -> Metric {
    let named = if aggregate == "ratio" { "" } else { "outcome = \"o\"\n" };
    let text = format!(
        "id = \"e\"\ndecision_point = \"d\"\n[[arms]]\nname = \"a\"\nstrategy = \"p@1.0.0\"\nweight = 1.0\n\
         [[metrics]]\nname = \"m\"\nrole = \"goal\"\n{named}window = \"1d\"\naggregate = \"{aggregate}\"\n\
         planned_units = {PLANNED}\n{more}\n"
    );
    Experiment::parse(&text).expect("valid").metrics[0].clone()
}

/// How the numbers of units come about.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Numbers {
    /// 1 for this share of units, else 0; rows of 1.
    Share(f64),
    /// Amounts with a long tail.
    HeavyTail,
}

/// Two arms that are filled unit by unit.
struct Arms {
    by: By,
    kind: Kind,
    arms: [ArmSummary; 2],
}

impl Arms {
    fn new(aggregate: &str) -> Self {
        let (by, kind) = match aggregate {
            "any" => (By::Plain, Kind::Proportion),
            "mean" => (By::Ratio, Kind::Mean),
            _ => (By::Plain, Kind::Mean),
        };
        let empty = || ArmSummary {
            moments: Moments::default(),
            events: 0,
            mature: 0,
            joint: Joint::default(),
            cross: Cross::new(0),
        };
        Self { by, kind, arms: [empty(), empty()] }
    }

    fn push(&mut self, arm: usize, numbers: Numbers, lift: f64, draw: &mut Draw) {
        let into = &mut self.arms[arm];
        let y = match numbers {
            Numbers::Share(share) => f64::from(u8::from(draw.happens(share * lift))),
            Numbers::HeavyTail => draw.amount() * lift,
        };
        let y = if self.kind == Kind::Proportion { f64::from(u8::from(y > 0.5)) } else { y };
        into.mature += 1;
        into.events += u64::from(y != 0.0);
        into.moments.push(y);
        if self.by == By::Ratio {
            // One to three rows.
            into.joint.push(y, 1.0 + (draw.bits() % 3) as f64);
        }
    }

    fn summed(&self, metric: &Metric, is_time: bool) -> Summed {
        Summed::of_arms(metric, self.by.clone(), self.kind, self.arms.to_vec(), is_time)
    }

    fn found(&self, metric: &Metric, is_time: bool) -> Option<Found> {
        Pair::of_metric(&self.summed(metric, is_time), metric, 0, 1).interval(metric, 0.05, is_time).ok()
    }

    /// The mutant: speaks from the first units on.
    fn unguarded(&self) -> Option<Estimate> {
        let [control, arm] = &self.arms;
        match self.by {
            By::Ratio => ratio_difference(&control.joint, &arm.joint).ok(),
            _ => difference(&control.moments, &arm.moments, self.kind).ok(),
        }
    }
}

const AGGREGATES: [(&str, &str); 5] = [
    ("any", ""),
    ("count", ""),
    ("sum", "cap = 14.2"),
    ("mean", "cap = 14.2"),
    (
        "ratio",
        "numerator = { outcome = \"o\", aggregate = \"count\" }\ndenominator = { outcome = \"n\", aggregate = \"count\" }",
    ),
];

/// The shares of runs in which somebody calls the arm better, ever: the metric's own rule, and the
/// mutant.
fn called(aggregate: (&str, &str), treated: f64, numbers: Numbers, lift: f64, runs: u64) -> [f64; 2] {
    // Until a dozen events have come where they are rare: before, even the mutant has nothing to say.
    let units = if numbers == Numbers::Share(RARE) { 3 * UNITS } else { UNITS };
    let metric = metric(aggregate.0, aggregate.1);
    let kind = if aggregate.0 == "ratio" { "mean" } else { aggregate.0 };
    let mut called = [0_u64; 2];
    for run in 0..runs {
        let (mut draw, mut arms) = (Draw(run * 7_919 + 13), Arms::new(kind));
        let mut is_called = [false; 2];
        for n in 1..=units {
            let arm = usize::from(draw.happens(treated));
            arms.push(arm, numbers, if arm == 1 { lift } else { 1.0 }, &mut draw);
            // Some thirty looks, more of them early.
            if n % 20 == 0 && (n <= 200 || n % (units / 20) == 0) {
                is_called[0] |= arms.found(&metric, false).is_some_and(|found| found.better);
                is_called[1] |= arms.unguarded().is_some_and(|e| two_sided(&e, 0.05, PLANNED).low > 0.0);
            }
        }
        for (called, is) in called.iter_mut().zip(is_called) {
            *called += u64::from(is);
        }
    }
    called.map(|n| n as f64 / runs as f64)
}

/// No effect: nobody ships by more than half of alpha, since a ship is on one side.
fn no_false_wins(numbers: Numbers, runs: u64) {
    for aggregate in AGGREGATES {
        if aggregate.0 == "any" && numbers == Numbers::HeavyTail {
            continue;
        }
        for treated in [0.5, 0.05] {
            let [found, _] = called(aggregate, treated, numbers, 1.0, runs);
            assert!(found <= most(0.025, runs), "{} at {treated}: {found}", aggregate.0);
        }
    }
}

#[test]
fn no_aggregate_wins_by_chance_at_a_rate_of_thirty_percent() {
    no_false_wins(Numbers::Share(0.3), RUNS);
}

#[test]
fn no_aggregate_wins_by_chance_at_a_rate_of_two_percent() {
    no_false_wins(Numbers::Share(0.02), RUNS);
}

#[test]
fn no_aggregate_wins_by_chance_at_a_rate_of_one_in_a_thousand() {
    no_false_wins(Numbers::Share(RARE), RUNS);
}

#[test]
fn no_aggregate_wins_by_chance_with_a_heavy_tail() {
    no_false_wins(Numbers::HeavyTail, RUNS);
}

#[test]
fn without_the_rule_for_speaking_rare_events_win_by_chance() {
    for aggregate in [AGGREGATES[1], AGGREGATES[4]] {
        let [_, mutant] = called(aggregate, 0.95, Numbers::Share(RARE), 1.0, 500);
        assert!(mutant > most(0.025, 500), "{}: {mutant}", aggregate.0);
    }
}

#[test]
fn an_effect_is_seen_whatever_the_aggregate() {
    for aggregate in AGGREGATES {
        let [found, _] = called(aggregate, 0.5, Numbers::Share(0.3), 1.25, 400);
        assert!(found >= 0.9, "{}: {found}", aggregate.0);
    }
    let [found, _] = called(AGGREGATES[2], 0.5, Numbers::HeavyTail, 1.4, 400);
    assert!(found >= 0.8, "amounts: {found}");
}

/// A fixed method looks once. The mutant looks as often as a sequence does.
#[test]
fn a_fixed_method_errs_as_often_as_it_says_and_only_if_it_is_looked_at_once() {
    let even = [(0, 0.3), (0, 0.001), (1, 0.02), (1, 0.001), (4, 0.02), (2, 0.3)];
    let even = even.map(|(aggregate, share)| (aggregate, Numbers::Share(share), 0.5));
    let uneven = [(0, 0.3), (0, 0.02), (0, 0.001), (1, 0.02), (3, 0.3), (4, 0.02)];
    let uneven = uneven.map(|(aggregate, share)| (aggregate, Numbers::Share(share), 0.05));
    let heavy = [0.5, 0.05].map(|treated| (2, Numbers::HeavyTail, treated));
    for (aggregate, numbers, treated) in even.into_iter().chain(uneven).chain(heavy) {
        let (name, more) = AGGREGATES[aggregate];
        let metric = metric(name, &format!("method = \"fixed\"\n{more}"));
        let (mut once, mut often) = (0_u64, 0_u64);
        for run in 0..RUNS {
            let mut draw = Draw(run * 104_729 + 7);
            let mut arms = Arms::new(if name == "ratio" { "mean" } else { name });
            let mut peeked = false;
            for n in 1..=PLANNED {
                let arm = usize::from(draw.happens(treated));
                arms.push(arm, numbers, 1.0, &mut draw);
                if n % 200 == 0 && run < 500 {
                    peeked |= arms.found(&metric, true).is_some_and(|found| found.better);
                }
            }
            once += u64::from(arms.found(&metric, true).is_some_and(|found| found.better));
            often += u64::from(peeked);
            assert!(arms.found(&metric, false).is_none_or(|found| !found.significant && !found.is_final));
        }
        let rate = once as f64 / RUNS as f64;
        assert!(rate <= most(0.025, RUNS), "{name} of {numbers:?} at {treated}: {rate}");
        if numbers == Numbers::Share(0.3) && treated == 0.5 {
            assert!(often as f64 / 500.0 > most(0.025, 500), "{name}: the mutant errs in {often} of 500");
        }
    }
}

/// On the boundary of a margin, mature units, looked at all the time: false "holds".
fn false_holds(base: f64, raised: f64, is_relative: bool, alpha: f64, runs: u64) -> [f64; 2] {
    let margin = if is_relative { raised / base - 1.0 } else { raised - base };
    let mut errs = [0_u64; 2];
    for run in 0..runs {
        let (mut draw, mut counts) = (Draw(run * 15_485_863 + 3), [Counts::default(); 2]);
        let mut held = [false; 2];
        for n in 1..=UNITS {
            let arm = usize::from(draw.happens(0.5));
            counts[arm].units += 1;
            counts[arm].events += u64::from(draw.happens([base, raised][arm]));
            if n % 500 == 0 {
                let pair = Pair::of_counts(counts, PLANNED);
                let high = match is_relative {
                    true => pair.relatively_worse(alpha, true),
                    false => pair.worse([alpha; 2], true).ok().map(|[_, high]| high),
                };
                held[0] |= high.is_some_and(|high| high < margin);
                // The mutant takes control's mean for known.
                let known = pair.worse([alpha; 2], true).ok().map(|[_, high]| high);
                held[1] |= known.is_some_and(|high| high < margin * if is_relative { pair.means[0] } else { 1.0 });
            }
        }
        for (errs, held) in errs.iter_mut().zip(held) {
            *errs += u64::from(held);
        }
    }
    errs.map(|errs| errs as f64 / runs as f64)
}

#[test]
fn nothing_holds_on_the_boundary_of_its_margin() {
    for (base, raised) in [(0.1, 0.12), (0.002, 0.012)] {
        let [found, _] = false_holds(base, raised, false, 0.01, RUNS);
        assert!(found <= most(0.01, RUNS), "{base} {raised}: {found}");
    }
    for times in [1.5, 2.0, 3.0] {
        let [found, mutant] = false_holds(0.1, 0.1 * times, true, 0.01, RUNS);
        assert!(found <= most(0.01, RUNS), "{times}: {found}");
        assert!(times < 3.0 || mutant > most(0.01, RUNS), "the mutant errs in {mutant}");
    }
}

#[test]
fn a_relative_margin_holds_where_the_truth_is_well_below_it() {
    let held = (0..200).filter(|run| {
        let (mut draw, mut counts) = (Draw(*run), [Counts::default(); 2]);
        for _ in 0..20_000 {
            let arm = usize::from(draw.happens(0.5));
            counts[arm].units += 1;
            counts[arm].events += u64::from(draw.happens([0.1, 0.12][arm]));
        }
        Pair::of_counts(counts, PLANNED).relatively_worse(0.01, true).is_some_and(|high| high < 0.5)
    });
    assert!(held.count() >= 180);
}

/// With a covariate, a relative margin depends on its centre as well.
#[test]
fn a_relative_margin_with_a_covariate_does_not_hold_on_its_boundary() {
    let (runs, alpha, times) = (2_000_u64, 0.02, 3.0);
    let mut errs = 0_u64;
    for run in 0..runs {
        let (mut draw, mut arms) = (Draw(run * 32_452_843 + 11), [Joint::default(); 2]);
        for _ in 0..1_500 {
            let arm = usize::from(draw.happens(0.5));
            let x = draw.unit() * 4.0 - 2.0;
            let y = [1.0, times][arm] + x + draw.unit() - 0.5;
            arms[arm].push(y, x);
        }
        let estimate = cuped(&arms[0], &arms[1]).expect("varies");
        // One look: a one-sided normal bound.
        let lift = estimate.relative_lift(2.054).expect("is clear");
        errs += u64::from(lift[1] < times - 1.0);
    }
    let rate = errs as f64 / runs as f64;
    assert!(rate <= most(alpha, runs) && rate >= alpha - 3.0 * (alpha / runs as f64).sqrt(), "{rate}");
}

#[test]
fn no_complaint_among_ten_thousand_holds() {
    let none = Counts { units: 10_000, events: 0 };
    let high = Pair::of_counts([none; 2], PLANNED).worse([0.01; 2], true).expect("exact")[1];
    assert!(high < 0.002, "{high}");
}

#[test]
fn a_sum_without_any_event_needs_a_declared_maximum() {
    let bounds = |more: &str| {
        let mut arms = Arms::new("sum");
        let metric = metric("sum", more);
        (0..2_000).for_each(|n| arms.push(n % 2, Numbers::Share(0.0), 1.0, &mut Draw(1)));
        Pair::of_metric(&arms.summed(&metric, false), &metric, 0, 1).worse([0.01; 2], true)
    };
    assert!(bounds("cap = 100.0").is_err(), "without a lower limit nothing is bounded");
    let [_, high] = bounds("max = 100.0").expect("bounded");
    assert!(high > 0.1 && high < 2.0, "{high}");
}
