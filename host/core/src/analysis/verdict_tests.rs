//! What is concluded, and when harm is told.

use std::sync::Arc;

use super::*;
use crate::experiment::{Command, Experiment, State, Status};

const TWO: &str = "[[arms]]\nname = \"a\"\nstrategy = \"p@1.0.0\"\nweight = 0.5\n[[arms]]\nname = \"b\"\nstrategy = \"q@1.1.0\"\nweight = 0.5\n";
const UNEVEN: &str = "[[arms]]\nname = \"a\"\nstrategy = \"p@1.0.0\"\nweight = 0.95\n[[arms]]\nname = \"b\"\nstrategy = \"q@1.1.0\"\nweight = 0.05\n";
const THREE: &str = "[[arms]]\nname = \"a\"\nstrategy = \"p@1.0.0\"\nweight = 0.4\n[[arms]]\nname = \"b\"\nstrategy = \"q@1.1.0\"\nweight = 0.3\n\
                     [[arms]]\nname = \"c\"\nstrategy = \"q@1.1.0\"\nweight = 0.3\n";

fn spec(arms: &str, more: &str) -> Arc<Experiment> {
    let text = format!("id = \"e\"\ndecision_point = \"d\"\n{arms}{more}");
    Arc::new(Experiment::parse(&text).expect("valid"))
}

fn goal(name: &str, more: &str) -> String {
    format!(
        "[[metrics]]\nname = \"{name}\"\nrole = \"goal\"\noutcome = \"{name}\"\nwindow = \"1d\"\nplanned_units = 4000\n{more}\n"
    )
}

fn guarded(name: &str, more: &str) -> String {
    format!(
        "[[metrics]]\nname = \"{name}\"\nrole = \"guardrail\"\noutcome = \"{name}\"\nwindow = \"7d\"\ndirection = \"decrease\"\n\
         [[guardrails]]\nmetric = \"{name}\"\n{more}\n"
    )
}

/// Units by arm, and of them those with each outcome: exact shares, without chance.
fn observed(spec: &Arc<Experiment>, units: &[u64], outcomes: &[(&str, &[u64])]) -> Observed {
    let mut observed = Observed::new(Arc::clone(spec));
    // In turn, so that the split is even at any time.
    let most = units.iter().copied().max().unwrap_or_default();
    let ids = (0..most).flat_map(|i| {
        units
            .iter()
            .enumerate()
            .filter(move |(_, n)| i * **n / most < (i + 1) * **n / most)
            .map(move |(arm, n)| (arm, i * n / most))
    });
    for (arm, i) in ids {
        decide(&mut observed, spec, arm, i, "answer");
    }
    for (name, events) in outcomes {
        for (arm, events) in events.iter().enumerate() {
            (0..*events).for_each(|i| {
                observed.outcome(
                    &Happened { unit: &format!("{arm}-{i}"), at_ms: 2000, received_ms: 2000, after: 0 },
                    name,
                    1.0,
                )
            });
        }
    }
    observed
}

fn decide(observed: &mut Observed, spec: &Experiment, arm: usize, i: u64, outcome: &str) {
    observed.decision(&Decision {
        place: 0,
        unit: &format!("{arm}-{i}"),
        arm: &spec.arms[arm].name,
        time_ms: 1000,
        action: "call",
        outcome,
        fell_back: false,
        took_us: 1,
        forced: false,
        batch: None,
        attributes: None,
    });
}

/// Long after every window.
const LATER: u64 = 30 * 86_400_000;

#[test]
fn an_arm_that_is_worse_at_another_goal_does_not_ship() {
    let spec = spec(TWO, &(goal("cured", "") + &goal("repaid", "")));
    let apart = observed(&spec, &[4000, 4000], &[("cured", &[1200, 1600]), ("repaid", &[2000, 1200])]);
    let found = analyse(&apart, LATER);
    assert_eq!((found.winner, found.verdict.decision), (None, Decide::Hold));
    assert_eq!(
        found.verdict.why,
        "'cured' is better in arm 'b' (40.0 % against 30.0 %), and 'repaid' is significantly worse in arm 'b' (30.0 % against 50.0 %)"
    );
    let together = observed(&spec, &[4000, 4000], &[("cured", &[1200, 1600]), ("repaid", &[2000, 2000])]);
    assert_eq!(analyse(&together, LATER).winner.as_deref(), Some("b"));
}

#[test]
fn a_metric_that_nobody_guards_still_forbids_what_makes_it_worse() {
    let lawsuits = "[[metrics]]\nname = \"sued\"\nrole = \"guardrail\"\noutcome = \"sued\"\nwindow = \"1d\"\ndirection = \"decrease\"\n";
    let spec = spec(TWO, &(goal("cured", "") + lawsuits));
    let found = analyse(&observed(&spec, &[4000, 4000], &[("cured", &[1200, 1600]), ("sued", &[200, 1200])]), LATER);
    assert_eq!(found.winner, None, "{:?}", found.verdict);
    assert!(found.verdict.why.contains("'sued' is significantly worse"), "{:?}", found.verdict);
}

#[test]
fn another_goal_has_to_be_within_what_the_file_tolerates() {
    let spec = |tolerate: f64| spec(TWO, &(goal("cured", "") + &goal("repaid", &format!("tolerate = {tolerate}"))));
    let winner = |tolerate: f64| {
        let spec = spec(tolerate);
        analyse(&observed(&spec, &[4000, 4000], &[("cured", &[1200, 1600]), ("repaid", &[2000, 1980])]), LATER)
    };
    assert_eq!(winner(0.1).winner.as_deref(), Some("b"));
    let held = winner(0.01);
    assert_eq!(held.winner, None);
    assert!(held.verdict.why.contains("'repaid' may be worse by more than the tolerated 0.01"), "{:?}", held.verdict);
}

#[test]
fn of_several_arms_the_best_ships() {
    let spec = spec(THREE, &goal("cured", ""));
    let found = analyse(&observed(&spec, &[4000, 3000, 3000], &[("cured", &[1200, 1290, 1830])]), LATER);
    assert!(found.arms.iter().all(|arm| arm.decision == Decide::Ship), "{:?}", found.arms);
    assert_eq!(found.winner.as_deref(), Some("c"));
}

#[test]
fn one_arms_harm_hides_no_other_arm_where_it_is_dropped() {
    let dropped = |on_breach: &str| {
        let rail = guarded("complaint", &format!("max_increase = 0.02\non_breach = \"{on_breach}\""));
        let spec = spec(THREE, &(goal("cured", "") + &rail));
        (
            analyse(
                &observed(&spec, &[4000, 3000, 3000], &[("cured", &[1200, 1290, 1830]), ("complaint", &[4, 900, 3])]),
                LATER,
            ),
            spec,
        )
    };
    let (stopped, _) = dropped("abort");
    assert_eq!(stopped.verdict.decision, Decide::Stop);
    let (found, spec) = dropped("drop_arm");
    let of = |arm: &str| found.arms.iter().find(|verdict| *verdict.arm == *arm).expect("a verdict").decision;
    assert_eq!((of("b"), of("c"), found.winner.as_deref()), (Decide::Stop, Decide::Ship, Some("c")));
    // Once it is dropped it is in no comparison, and alpha and the split stay as they were.
    let status = Status::default()
        .after(&Command::Start, &spec, 1)
        .and_then(|s| s.after(&Command::Drop { arm: "b".into() }, &spec, 2));
    let status = status.expect("is dropped");
    assert_eq!((status.state, &*status.dropped), (State::Running, &["b".into()][..]));
    let mut facts =
        observed(&spec, &[4000, 3000, 3000], &[("cured", &[1200, 1290, 1830]), ("complaint", &[4, 900, 3])]);
    let course = Course { dropped: status.dropped, ..facts.course.clone() };
    assert!(facts.continue_with(&course), "nothing is read again");
    let after = analyse(&facts, LATER);
    assert_eq!(
        (after.metrics[0].alpha, after.guardrails[0].alarm_alpha),
        (found.metrics[0].alpha, found.guardrails[0].alarm_alpha)
    );
    assert_eq!((&after.counts, facts.dropped()), (&vec![4000, 3000, 3000], 3000));
    assert!(after.guardrails.iter().all(|rail| *rail.arm != *"b") && after.metrics[0].comparisons.len() == 1);
    assert_eq!(after.winner.as_deref(), Some("c"));
}

#[test]
fn who_is_left_in_must_not_depend_on_the_arm() {
    let mean = "[[metrics]]\nname = \"paid\"\nrole = \"goal\"\noutcome = \"paid\"\naggregate = \"any\"\nwindow = \"1d\"\nmissing = \"drop\"\n";
    let spec = spec(TWO, mean);
    // All of control have a row, and half of the arm: all that have one paid.
    let mut facts = observed(&spec, &[2000, 2000], &[("paid", &[1000, 1000])]);
    (1000..2000).for_each(|i| {
        facts.outcome(&Happened { unit: &format!("0-{i}"), at_ms: 2000, received_ms: 2000, after: 0 }, "paid", 0.0)
    });
    let found = analyse(&facts, LATER);
    assert_eq!((found.winner, found.verdict.decision), (None, Decide::Hold));
    assert!(found.metrics[0].comparisons[0].is_better(), "or else this shows nothing");
    assert!(
        found
            .verdict
            .why
            .contains("1,000 of 2,000 mature units of arm 'b' are in it (50.0 %), and 2,000 of 2,000 of control")
    );
    assert_eq!(found.metrics[0].left_out, [0, 1000]);
}

#[test]
fn no_event_in_a_small_arm_is_no_result() {
    for aggregate in ["count", "any"] {
        let more = format!(
            "[[metrics]]\nname = \"m\"\nrole = \"goal\"\noutcome = \"m\"\naggregate = \"{aggregate}\"\ndirection = \"decrease\"\nwindow = \"1d\"\n"
        );
        let spec = spec(UNEVEN, &(more + "[[guardrails]]\nmetric = \"m\"\nmax_increase = 0.0001\n"));
        let found = analyse(&observed(&spec, &[10_485, 515], &[("m", &[19, 0])]), LATER);
        assert_eq!((found.winner, found.guardrails[0].status), (None, HarmStatus::Inconclusive), "{aggregate}");
    }
}

#[test]
fn harm_to_everybody_is_told_at_ten_units() {
    for (arms, units) in [(TWO, [10, 10]), (UNEVEN, [190, 10])] {
        // Long before the window of seven days has passed, and far fewer than min_units.
        let spec = spec(arms, &guarded("optout", "max_increase = 0.01"));
        let found = analyse(&observed(&spec, &units, &[("optout", &[0, units[1]])]), 3000);
        assert_eq!(found.guardrails[0].status, HarmStatus::Harm, "{:?}", found.guardrails[0]);
    }
    let spec = spec(TWO, &guarded("optout", "max_increase = 0.01"));
    let all = analyse(&observed(&spec, &[1500, 1500], &[("optout", &[0, 1500])]), LATER);
    assert_eq!(all.guardrails[0].status, HarmStatus::Harm, "there is no variance, and no doubt");
    let none = analyse(&observed(&spec, &[10_000, 10_000], &[("optout", &[1, 0])]), LATER);
    assert_eq!(none.guardrails[0].status, HarmStatus::Holds, "{:?}", none.guardrails[0]);
}

/// SplitMix64: a number in [0, 1).
fn unit(state: &mut u64) -> f64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
}

/// Failures on a base of one in a thousand, two points more in the arm.
#[test]
fn two_points_more_of_a_rare_failure_are_caught_and_none_more_are_not() {
    for (arms, weight, units, harm, least, most) in
        [(TWO, 0.5, 2_500, 0.02, 90, 100), (UNEVEN, 0.05, 11_000, 0.02, 90, 100), (TWO, 0.5, 5_000, 0.0, 0, 5)]
    {
        let spec = spec(arms, "[[guardrails]]\nmetric = \"failures\"\nmax_increase = 0.01\n");
        let caught = (0..100_u64).filter(|run| {
            let (mut state, mut observed) = (run * 7_919 + 1, Observed::new(Arc::clone(&spec)));
            (0..units).any(|i| {
                let arm = usize::from(unit(&mut state) < weight);
                let failed = unit(&mut state) < 0.001 + harm * arm as f64;
                decide(&mut observed, &spec, arm, i, if failed { "trap" } else { "answer" });
                i % 100 == 99 && analyse(&observed, 2000).guardrails[0].status == HarmStatus::Harm
            })
        });
        let caught = caught.count();
        assert!((least..=most).contains(&caught), "{weight} {harm}: {caught} of 100");
    }
}

#[test]
fn odd_specs_are_concluded_without_a_slip() {
    let all_equal = spec(TWO, &(goal("cured", "") + &guarded("complaint", "max_increase = 0.0")));
    let found = analyse(&observed(&all_equal, &[3000, 3000], &[("cured", &[3000, 3000])]), LATER);
    assert_eq!(
        (found.winner, found.guardrails[0].status),
        (None, HarmStatus::Inconclusive),
        "a margin of 0 never holds"
    );
    let nobody = analyse(&Observed::new(Arc::clone(&all_equal)), LATER);
    assert_eq!(nobody.verdict.decision, Decide::Hold);
    // Nine goals, one of them a guardrail too.
    let nine = (0..9).map(|i| goal(&format!("g{i}"), "")).collect::<String>()
        + "[[guardrails]]\nmetric = \"g0\"\nmax_decrease = 0.05\n";
    let nine = spec(TWO, &nine);
    let found = analyse(&observed(&nine, &[4000, 4000], &[("g0", &[2000, 2010]), ("g8", &[1200, 1600])]), LATER);
    assert!(found.metrics.iter().all(|metric| (metric.alpha - 0.05 / 9.0).abs() < 1e-12));
    assert_eq!(found.winner.as_deref(), Some("b"), "{:?}", found.verdict);
    let none = analyse(&observed(&spec(TWO, ""), &[10, 10], &[]), LATER);
    assert_eq!(none.verdict.why, "guardrails only: there is no goal, so nothing ships by itself");
}

#[test]
fn a_unit_with_a_million_rows_is_one_unit() {
    let count =
        "[[metrics]]\nname = \"calls\"\nrole = \"goal\"\noutcome = \"calls\"\naggregate = \"count\"\nwindow = \"1d\"\n";
    let spec = spec(TWO, count);
    let mut facts = observed(&spec, &[600, 600], &[]);
    (0..1_000_000)
        .for_each(|_| facts.outcome(&Happened { unit: "1-7", at_ms: 2000, received_ms: 2000, after: 0 }, "calls", 1.0));
    let found = analyse(&facts, LATER);
    assert!(
        found.metrics[0].comparisons[0].found.is_err() && found.winner.is_none(),
        "{:?}",
        found.metrics[0].comparisons
    );
}

#[test]
fn a_base_below_zero_and_one_at_zero_are_told_right() {
    let sum = "[[metrics]]\nname = \"net\"\nrole = \"goal\"\noutcome = \"net\"\naggregate = \"sum\"\nwindow = \"1d\"\nmin = -10.0\nmax = 10.0\n\
               [[guardrails]]\nmetric = \"net\"\nmax_decrease = 0.5\nmargin_type = \"relative\"\n";
    let spec = spec(TWO, sum);
    let with = |control: f64, arm: f64| {
        let mut facts = observed(&spec, &[2000, 2000], &[]);
        for i in 0..2000 {
            let noise = f64::from((i % 7) as u8) - 3.0;
            for (side, mean) in [control, arm].into_iter().enumerate() {
                facts.outcome(
                    &Happened { unit: &format!("{side}-{i}"), at_ms: 2000, received_ms: 2000, after: 0 },
                    "net",
                    mean + noise,
                );
            }
        }
        analyse(&facts, LATER)
    };
    let found = with(-2.0, -1.6);
    let found = found.metrics[0].comparisons[0].found.as_ref().expect("speaks");
    let [low, high] = found.lift.expect("is defined");
    assert!(found.better && low > 0.0 && high < 0.5, "an increase of a negative mean is a positive lift: {low} {high}");
    let at_zero = with(0.0, 0.01);
    let rail = &at_zero.guardrails[0];
    assert_eq!((rail.status, rail.upper), (HarmStatus::Inconclusive, None));
    assert!(rail.why.as_ref().is_some_and(|why| why.contains("not clearly different from 0")), "{rail:?}");
}
