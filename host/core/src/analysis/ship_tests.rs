//! Units before and since a ship, and what was declared when the experiment started.

use std::sync::Arc;

use super::*;
use crate::allocation::{Purpose, is_held_back, pick, place};
use crate::experiment::{Declared, Experiment, Status};

const SPEC: &str = "id = \"e\"\ndecision_point = \"d\"\nholdback = 0.2\n\
    [[arms]]\nname = \"a\"\nstrategy = \"p@1.0.0\"\nweight = 0.5\n[[arms]]\nname = \"b\"\nstrategy = \"q@1.1.0\"\nweight = 0.5\n\
    [[metrics]]\nname = \"cured\"\nrole = \"goal\"\noutcome = \"cured\"\nwindow = \"1s\"\nplanned_units = 4000\n\
    [[guardrails]]\nmetric = \"failures\"\nmax_increase = 0.05\nmin_units = 50\n";

/// When the winner ships.
const SHIP_MS: u64 = 1_000_000;

fn spec(text: &str) -> Arc<Experiment> {
    Arc::new(Experiment::parse(text).expect("valid"))
}

fn shipped() -> Course {
    let unit = "borrower".into();
    Course { unit, shipped: Some("b".into()), shipped_ms: SHIP_MS, ..Course::default() }
}

/// The arm that a unit enters, before the ship and since.
fn arm_of(unit: &str, is_shipped: bool) -> &'static str {
    let drawn = place(Purpose::Arm, "e", "borrower", unit);
    let weights = || [0.5, 0.5].into_iter();
    match is_shipped {
        true if is_held_back(drawn, weights(), 0, 0.2) => "a",
        true => "b",
        false => ["a", "b"][pick(drawn, weights()).expect("a weight")],
    }
}

fn decide(observed: &mut Observed, unit: &str, arm: &str, time_ms: u64, outcome: &str) {
    observed.decision(&Decision {
        place: 0,
        unit,
        arm,
        time_ms,
        action: "call",
        outcome,
        fell_back: false,
        took_us: 1,
        forced: false,
        batch: None,
        attributes: None,
    });
}

fn cure(observed: &mut Observed, unit: &str, at_ms: u64) {
    observed.set_stored(at_ms);
    observed.outcome(&Happened { unit, at_ms, received_ms: at_ms, after: 0 }, "cured", 1.0);
}

#[test]
fn units_before_a_ship_and_since_share_no_fact() {
    let mut observed = Observed::over(spec(SPEC), shipped());
    let unit = |i: u64| format!("b-{i}");
    for i in 0..400 {
        let (unit, at) = (unit(i), SHIP_MS - 400 + i);
        decide(&mut observed, &unit, arm_of(&unit, false), at, "answer");
        if i % 4 == 0 {
            cure(&mut observed, &unit, at);
        }
    }
    let evidence = |observed: &Observed| {
        let (before, at) = observed.at_ship().expect("shipped");
        format!("{:?} {:?} {:?}", analyse(before, at), before.actions, before.excluded())
    };
    let (before, entered) = (evidence(&observed), observed.at_ship().expect("shipped").0.units().len());
    assert_eq!((entered, observed.units().len()), (400, 0));
    // Everything that comes later, of units that entered before, changes no evidence.
    let mut moved = 0;
    for i in 0..400 {
        let unit = unit(i);
        decide(&mut observed, &unit, arm_of(&unit, true), SHIP_MS + i, "trap");
        cure(&mut observed, &unit, SHIP_MS + i);
        moved += u64::from(arm_of(&unit, true) != arm_of(&unit, false));
    }
    observed.set_stored(SHIP_MS);
    observed.exclusion("b-1");
    assert_eq!(evidence(&observed), before);
    let since = analyse(&observed, SHIP_MS + 10_000);
    assert!(moved > 80, "{moved}");
    assert_eq!((since.entered, since.moved, &*since.counts), (0, moved, &[0, 0][..]));
    // All who enter since count, in the shares of the ship.
    for i in 400..1400 {
        let unit = unit(i);
        decide(&mut observed, &unit, arm_of(&unit, true), SHIP_MS + i, "answer");
    }
    // Drawn before the ship and committed since, into an arm that nobody enters any more.
    let late = (2000..).map(unit).find(|unit| arm_of(unit, false) != arm_of(unit, true)).expect("one");
    decide(&mut observed, &late, arm_of(&late, false), SHIP_MS + 1, "answer");
    let since = analyse(&observed, SHIP_MS + 10_000);
    assert_eq!((since.entered, since.moved), (1000, moved + 1));
    assert!((150..250).contains(&since.counts[0]), "{:?}", since.counts);
    assert!(since.srm_sequential_p > 0.01, "{}", since.srm_sequential_p);
    assert_eq!(evidence(&observed), before);
}

#[test]
fn harm_among_units_since_a_ship_is_found_and_that_before_it_is_not_pooled() {
    let harm = |fails: &dyn Fn(u64, &str) -> bool| {
        let mut observed = Observed::over(spec(SPEC), shipped());
        for i in 0..2000_u64 {
            let (unit, is_shipped) = (format!("b-{i}"), i >= 1000);
            let arm = arm_of(&unit, is_shipped);
            let at = if is_shipped { SHIP_MS + i } else { SHIP_MS - 2000 + i };
            decide(&mut observed, &unit, arm, at, if fails(i, arm) { "trap" } else { "answer" });
        }
        analyse(&observed, SHIP_MS + 10_000).guardrails[0].status
    };
    assert_eq!(harm(&|i, arm| i >= 1000 && i % 5 == 0 && arm == "b"), HarmStatus::Harm);
    assert_ne!(harm(&|i, arm| i < 1000 && i % 5 == 0 && arm == "b"), HarmStatus::Harm);
}

#[test]
fn a_course_changes_only_with_what_the_analysis_needs() {
    let course = |since_ms: u64, served: Option<&str>| {
        Course::of(&Status { since_ms, served: served.map(Into::into), ..Status::default() }, &"borrower".into())
    };
    assert_eq!(course(1, None), course(2, None), "a pause reads nothing of the ledger again");
    assert_ne!(course(1, Some("b")), course(2, Some("b")), "of an earlier version, without the time of its ship");
}

#[test]
fn units_from_before_a_withdrawal_are_left_out_once_it_is_resumed() {
    let course = Course { unit: "borrower".into(), from_ms: SHIP_MS, ..Course::default() };
    let mut observed = Observed::over(spec(SPEC), course);
    for i in 0..100 {
        decide(&mut observed, &format!("b-{i}"), "b", SHIP_MS - 1, "answer");
        decide(&mut observed, &format!("b-{i}"), "a", SHIP_MS + 1, "answer");
    }
    decide(&mut observed, "new", "a", SHIP_MS, "answer");
    let analysis = analyse(&observed, SHIP_MS);
    assert_eq!((analysis.entered, analysis.moved, observed.astray), (1, 100, 0));
}

/// Ships the first time that a goal is better, at looks of 200 units, and follows the units since.
/// Says at which looks the interval missed the true difference since, and whether that of all units
/// together did.
fn misses(seed: u64, before: [f64; 2], since: [f64; 2]) -> Option<[bool; 2]> {
    let mut draw = tests::Draw(seed);
    let (mut pooled, mut rates) = (Observed::new(spec(SPEC)), before);
    let mut now: Option<Observed> = None;
    let (mut missed, mut pooled_missed, mut looks) = (false, false, 0);
    let truth = since[1] - since[0];
    for i in 0..12_000_u64 {
        let (unit, is_shipped) = (format!("{seed}-{i}"), now.is_some());
        let arm = arm_of(&unit, is_shipped);
        let at = SHIP_MS + i;
        let is_cured = draw.happens(rates[usize::from(arm == "b")]);
        for observed in now.iter_mut().chain([&mut pooled]) {
            decide(observed, &unit, arm, at, "answer");
            if is_cured {
                cure(observed, &unit, at);
            }
        }
        if i % 200 != 199 {
            continue;
        }
        let found = |observed: &Observed| analyse(observed, u64::MAX).metrics[0].comparisons[0].found;
        match &now {
            Some(since_ship) => {
                looks += 1;
                let misses = |observed: &Observed| {
                    found(observed).is_ok_and(|found| truth < found.interval.low || truth > found.interval.high)
                };
                missed |= misses(since_ship);
                pooled_missed |= misses(&pooled);
                if looks == 25 {
                    return Some([missed, pooled_missed]);
                }
            }
            None if found(&pooled).is_ok_and(|found| found.better) => {
                rates = since;
                now = Some(Observed::over(spec(SPEC), Course { shipped_ms: at + 1, ..shipped() }));
            }
            None => {}
        }
    }
    None
}

#[test]
fn intervals_since_a_ship_cover_the_truth_at_every_look() {
    // The winner was chosen by its data; since then both arms are alike.
    const RUNS: u64 = 300;
    let runs: Vec<[bool; 2]> =
        (0..2 * RUNS).filter_map(|seed| misses(seed, [0.3, 0.36], [0.4, 0.4])).take(RUNS as usize).collect();
    let missed = |which: usize| runs.iter().filter(|run| run[which]).count() as f64 / runs.len() as f64;
    assert!(runs.len() as u64 == RUNS, "{} ship", runs.len());
    assert!(missed(0) <= 0.065, "the interval misses in {} of the runs", missed(0));
    // Together with the data that chose the winner, it would nearly always.
    assert!(missed(1) > 0.5, "{}", missed(1));
}

#[test]
fn what_is_added_later_decides_nothing_and_takes_nothing_from_what_was_declared() {
    let added = "[[metrics]]\nname = \"also\"\nrole = \"goal\"\noutcome = \"also\"\nwindow = \"1s\"\n\
                 [[guardrails]]\nmetric = \"refusals\"\nmax_increase = 0.5\nmin_units = 50\n";
    let run = |text: &str, declared: Option<Declared>, outcome: &str| {
        let mut observed = Observed::over(spec(text), Course { declared, ..Course::default() });
        for i in 0..4000_u64 {
            let (unit, arm) = (format!("b-{i}"), if i % 2 == 0 { "a" } else { "b" });
            decide(&mut observed, &unit, arm, 1000 + i, "answer");
            if i % 20 < if arm == "b" { 15 } else { 5 } {
                observed.outcome(
                    &Happened { unit: &unit, at_ms: 1000 + i, received_ms: 1000 + i, after: 0 },
                    outcome,
                    1.0,
                );
            }
        }
        analyse(&observed, u64::MAX)
    };
    let declared = || Some(Declared::of(&spec(SPEC)));
    let both = format!("{SPEC}{added}");
    let alphas = |analysis: &Analysis| {
        let goals = analysis.metrics.iter().map(|metric| (metric.exploratory, metric.alpha)).collect::<Vec<_>>();
        (goals, analysis.guardrails.iter().map(|guardrail| guardrail.alarm_alpha).collect::<Vec<_>>())
    };
    let before = run(SPEC, declared(), "cured");
    assert_eq!((alphas(&before), before.verdict.decision), ((vec![(false, 0.05)], vec![0.01]), Decide::Ship));
    let after = run(&both, declared(), "cured");
    assert_eq!(alphas(&after), (vec![(false, 0.05), (true, 0.05)], vec![0.01, 0.005]));
    // Both were declared: they share.
    let shared = run(&both, Some(Declared::of(&spec(&both))), "cured");
    assert_eq!(alphas(&shared), (vec![(false, 0.025), (false, 0.025)], vec![0.005, 0.005]));
    // A goal of later is better, and does not win.
    let other = run(&both, declared(), "also");
    assert!(other.metrics[1].comparisons[0].found.as_ref().is_ok_and(|found| found.better));
    assert_eq!((other.verdict.decision, other.winner), (Decide::Hold, None));
    // What was removed gives nobody its share.
    let two = Declared { goals_at_start: 2, guardrails_at_start: 4, ..Declared::of(&spec(SPEC)) };
    assert_eq!(alphas(&run(SPEC, Some(two), "cured")), (vec![(false, 0.025)], vec![0.0025]));
}
