//! What an analysis says of made-up units, again and again: how often it errs, and what it catches.

use std::sync::Arc;

use super::*;
use crate::experiment::Experiment;

/// SplitMix64.
pub(super) struct Draw(pub(super) u64);

impl Draw {
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub(super) fn happens(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// Near enough to a normal: twelve uniforms.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.unit()).sum::<f64>() - 6.0
    }
}

const ARMS: &str = "id = \"e\"\ndecision_point = \"d\"\n\
    [[arms]]\nname = \"a\"\nstrategy = \"p@1.0.0\"\nweight = 0.5\n[[arms]]\nname = \"b\"\nstrategy = \"q@1.1.0\"\nweight = 0.5\n";

pub(super) fn observed(more: &str) -> Observed {
    Observed::new(Arc::new(Experiment::parse(&format!("{ARMS}{more}")).expect("valid")))
}

pub(super) fn decide(observed: &mut Observed, i: u64, arm: &str, action: &str, attributes: Option<&str>) {
    observed.decision(&Decision {
        place: 0,
        unit: &format!("b-{i}"),
        arm,
        time_ms: 1000 + i,
        action,
        outcome: "answer",
        fell_back: false,
        took_us: 1,
        forced: false,
        batch: None,
        attributes,
    });
}

fn happened(unit: &str, at_ms: u64) -> Happened<'_> {
    Happened { unit, at_ms, received_ms: at_ms, after: 0 }
}

pub(super) fn arm(i: u64) -> &'static str {
    if i.is_multiple_of(2) { "a" } else { "b" }
}

pub(super) const FAIR: &str = "[[fairness]]\nattribute = \"features.m.age\"\nreference = \"young\"\nadverse_actions = [\"call\"]\n\
    min_ratio = 0.8\nmin_group_units = 100\n";

/// Says whether a group is ever said to be harmed in arm `b`, looked at after every hundred units,
/// where the well-treated are so many of the old and of the young.
fn is_called_unfair(seed: u64, units: u64, old: f64, young: f64) -> bool {
    let (mut observed, mut draw) = (observed(FAIR), Draw(seed));
    for i in 0..units {
        let is_old = draw.happens(0.3);
        let well = draw.happens(if is_old { old } else { young });
        let age = if is_old { "{\"features.m.age\":\"old\"}" } else { "{\"features.m.age\":\"young\"}" };
        decide(&mut observed, i, arm(i), if well { "email" } else { "call" }, Some(age));
        if i % 100 == 99 && analyse(&observed, u64::MAX).unfair().is_some() {
            return true;
        }
    }
    false
}

#[test]
fn a_group_at_the_edge_of_what_is_allowed_is_seldom_called_harmed_and_one_beyond_it_is() {
    // A ratio of exactly 0.8 is allowed: the edge is where false alarms are most frequent.
    let alarms = (0..200).filter(|seed| is_called_unfair(*seed, 3000, 0.48, 0.6)).count();
    assert!(alarms <= 10, "{alarms} of 200, looked at thirty times");
    let caught = (0..50).filter(|seed| is_called_unfair(1000 + seed, 6000, 0.4, 0.7)).count();
    assert!(caught >= 45, "{caught} of 50");
}

#[test]
fn a_group_of_which_too_little_is_known_says_so() {
    let mut observed = observed(FAIR);
    for i in 0..300 {
        let age = if i % 10 < 2 { "{\"features.m.age\":\"old\"}" } else { "{\"features.m.age\":\"young\"}" };
        decide(&mut observed, i, arm(i), "email", Some(age));
    }
    let found = analyse(&observed, u64::MAX).fairness;
    let why: Vec<_> = found.iter().map(|found| found.why.as_deref()).collect();
    assert_eq!(why, [Some("30 units in the smaller group; 100 are needed"); 2]);
}

const MIX: &str = "[[guardrails]]\nmetric = \"action_mix\"\nmax_increase = 0.1\nmin_units = 100\n";

fn mix(seed: u64, units: u64, calls: [f64; 2]) -> HarmStatus {
    let (mut observed, mut draw) = (observed(MIX), Draw(seed));
    for i in 0..units {
        let share = calls[(i % 2) as usize];
        let action = if draw.happens(share) { "call" } else { "email" };
        decide(&mut observed, i, arm(i), action, None);
    }
    analyse(&observed, u64::MAX).guardrails[0].status
}

#[test]
fn a_mix_of_actions_may_shift_by_its_margin_either_way() {
    let statuses = |calls: [f64; 2]| (0..60).map(|seed| mix(seed, 8000, calls)).collect::<Vec<_>>();
    let count = |all: &[HarmStatus], wanted: HarmStatus| all.iter().filter(|s| **s == wanted).count();
    assert!(count(&statuses([0.3, 0.3]), HarmStatus::Holds) >= 57);
    for shifted in [[0.3, 0.5], [0.5, 0.3]] {
        assert!(count(&statuses(shifted), HarmStatus::Harm) >= 57, "{shifted:?}");
    }
    assert!(count(&statuses([0.3, 0.4]), HarmStatus::Harm) <= 3, "at the margin itself it is no harm yet");
}

#[test]
fn one_is_enough_where_none_is_allowed_whether_or_not_its_window_has_passed() {
    let more = "[[metrics]]\nname = \"m\"\nrole = \"guardrail\"\noutcome = \"lawsuit\"\nwindow = \"90d\"\n\
                [[guardrails]]\nmetric = \"m\"\nmax_count = 0\n";
    let mut observed = observed(more);
    (0..10).for_each(|i| decide(&mut observed, i, arm(i), "call", None));
    assert_eq!(analyse(&observed, 5000).guardrails[0].status, HarmStatus::Holds);
    observed.outcome(&happened("b-2", 4000), "lawsuit", 1.0);
    assert_eq!(analyse(&observed, 5000).guardrails[0].status, HarmStatus::Holds, "control's is nobody's fault");
    observed.outcome(&happened("b-3", 4000), "lawsuit", 1.0);
    assert_eq!(analyse(&observed, 5000).guardrails[0].status, HarmStatus::Harm);
    observed.reversal(&happened("b-3", 4000), "lawsuit", 1.0);
    assert_eq!(analyse(&observed, 5000).guardrails[0].status, HarmStatus::Holds);
}

#[test]
fn a_covariate_takes_its_share_of_the_variance_out_and_who_lacks_it_stays_in() {
    let metric = |name: &str, more: &str| {
        format!(
            "[[metrics]]\nname = \"{name}\"\nrole = \"secondary\"\noutcome = \"paid\"\naggregate = \"sum\"\ncap = 9.0\nwindow = \"1d\"\n{more}\n"
        )
    };
    let specs = metric("plain", "") + &metric("adjusted", "cuped = [\"features.v.x\"]");
    let (mut observed, mut draw) = (observed(&specs), Draw(5));
    for i in 0..20_000 {
        let (x, noise) = (draw.normal(), draw.normal());
        // A correlation of 0.7; one in ten has no covariate.
        let y = 0.7 * x + (1.0_f64 - 0.49).sqrt() * noise;
        let known = if i % 10 == 9 { None } else { Some(format!("{{\"features.v.x\":{x}}}")) };
        decide(&mut observed, i, arm(i), "call", known.as_deref());
        observed.outcome(&happened(&format!("b-{i}"), 1000 + i), "paid", y);
    }
    let found = analyse(&observed, u64::MAX);
    let estimate = |metric: usize| found.metrics[metric].comparisons[0].found.expect("found").estimate;
    assert_eq!(estimate(0).n, estimate(1).n, "nobody is left out");
    let ratio = (estimate(1).se / estimate(0).se).powi(2);
    // Nine tenths of 0.49 is taken out.
    assert!((ratio - (1.0 - 0.9 * 0.49)).abs() < 0.04, "{ratio}");
}

#[test]
fn a_count_is_told_as_a_count_and_has_no_bounds() {
    let more = "[[metrics]]\nname = \"sued\"\nrole = \"guardrail\"\noutcome = \"lawsuit\"\nwindow = \"90d\"\n\
                [[guardrails]]\nmetric = \"sued\"\nmax_count = 2\n";
    let mut observed = observed(more);
    (0..10).for_each(|i| decide(&mut observed, i, arm(i), "call", None));
    for i in [1, 3, 5, 7] {
        observed.outcome(&happened(&format!("b-{i}"), 4000), "lawsuit", 1.0);
    }
    let analysis = analyse(&observed, 5000);
    let found = &analysis.guardrails[0];
    assert_eq!((found.kind, found.count, found.lower, found.margin), (HarmKind::Count, Some([4, 2]), None, None));
    assert_eq!(analysis.verdict.why, "'sued' happened 4 times in arm 'b'; at most 2 are allowed");
}

#[test]
fn a_decrease_is_told_as_one_and_the_alarm_is_kept() {
    let more = |alarm: &str| {
        format!(
            "[[metrics]]\nname = \"m\"\nrole = \"secondary\"\noutcome = \"cured\"\nwindow = \"1d\"\n\
             [[guardrails]]\nmetric = \"m\"\nmax_decrease = 0.5\n{alarm}"
        )
    };
    // The new arm loses a half of them; the alarm is the only thing that differs.
    let judged = |alarm: &str| {
        let mut observed = observed(&more(alarm));
        for i in 0..4000_u64 {
            decide(&mut observed, i, arm(i), "call", None);
            if i % 4 != 1 {
                observed.outcome(&happened(&format!("b-{i}"), 1000 + i), "cured", 1.0);
            }
        }
        let found = analyse(&observed, u64::MAX).guardrails.remove(0);
        let said = found.describe(&observed);
        (found, said)
    };
    let (found, said) = judged("");
    assert_eq!((found.kind, found.status, found.alarm), (HarmKind::Decrease, HarmStatus::Harm, Some(0.0)));
    assert_eq!(said, "guardrail 'm' shows harm by its decrease: 50.00 % in arm 'b', 100.00 % in control");
    let (found, said) = judged("alarm = 0.6\n");
    assert_eq!((found.status, found.alarm), (HarmStatus::Inconclusive, Some(0.6)));
    assert!(said.contains("the decrease lies in [45.92, 54.08] percentage points; the margin is 50"), "{said}");
}

#[test]
fn the_action_that_shifted_is_named() {
    let mut observed = observed(MIX);
    for i in 0..4000 {
        let action = if arm(i) == "b" && i % 3 > 0 { "call" } else { "email" };
        decide(&mut observed, i, arm(i), action, None);
    }
    let analysis = analyse(&observed, u64::MAX);
    let found = &analysis.guardrails[0];
    assert_eq!((found.kind, found.alarm), (HarmKind::Mix, Some(0.1)));
    assert!(found.action.is_some());
    let why = &analysis.verdict.why;
    assert!(why.starts_with("guardrail 'action_mix' shows harm: share of '") && why.contains(" in arm 'b', "), "{why}");
}

#[test]
fn where_the_events_decide_no_bound_is_made_up() {
    let more = "[[guardrails]]\nmetric = \"failures\"\nmax_increase = 0.5\nmin_units = 100\n";
    let mut observed = observed(more);
    (0..2000).for_each(|i| decide(&mut observed, i, arm(i), "call", None));
    // One failure of the new arm after the other, until the host would stop it.
    let first = (0..100).find_map(|i| {
        let unit = format!("b-{}", 2 * i + 1);
        observed.decision(&Decision {
            place: 0,
            unit: &unit,
            arm: "b",
            time_ms: 9000,
            action: "call",
            outcome: "trap",
            fell_back: false,
            took_us: 1,
            forced: false,
            batch: None,
            attributes: None,
        });
        let found = analyse(&observed, u64::MAX).guardrails.remove(0);
        (found.status == HarmStatus::Harm).then_some(found)
    });
    let found = first.expect("it is stopped");
    assert!(found.p.is_some_and(|p| p <= found.alarm_alpha), "{found:?}");
    assert_eq!(found.lower, Some(0.0), "the bounds alone do not show it yet");
}

/// A thousand units an arm, of which 200 and 300 are cured.
fn cured(method: &str, planned: u64) -> Observed {
    let text = format!(
        "id = \"e\"\ndecision_point = \"d\"\n\
         [[arms]]\nname = \"a\"\nstrategy = \"p@1.0.0\"\nweight = 0.5\n\
         [[arms]]\nname = \"b\"\nstrategy = \"q@1.1.0\"\nweight = 0.5\n\
         [[metrics]]\nname = \"m\"\nrole = \"goal\"\noutcome = \"cured\"\nwindow = \"1d\"\n\
         method = \"{method}\"\nplanned_units = {planned}\n"
    );
    let mut observed = Observed::new(Arc::new(Experiment::parse(&text).expect("valid")));
    for i in 0..2000_u64 {
        let (unit, arm) = (format!("b-{i}"), if i % 2 == 0 { "a" } else { "b" });
        observed.decision(&Decision {
            place: 0,
            unit: &unit,
            arm,
            time_ms: 1000 + i,
            action: "call",
            outcome: "answer",
            fell_back: false,
            took_us: 1,
            forced: false,
            batch: None,
            attributes: None,
        });
        if i / 2 < if arm == "a" { 200 } else { 300 } {
            observed.outcome(&happened(&unit, 1000 + i), "cured", 1.0);
        }
    }
    observed
}

#[test]
fn an_interval_for_one_look_decides_nothing_before_it_is_time() {
    let decided = |method, planned| analyse(&cured(method, planned), u64::MAX).verdict.decision;
    assert_eq!(decided("fixed", 2001), Decide::Hold);
    assert_eq!(decided("fixed", 2000), Decide::Ship);
    assert_eq!(decided("asymptotic_cs", 5000), Decide::Ship, "it may be looked at any time");
}

/// What an experiment of several kinds of metrics is told: it covers each path of a summary.
const EVERYTHING: &str = "[[metrics]]\nname = \"cured\"\nrole = \"goal\"\noutcome = \"cured\"\nwindow = \"3s\"\nlag = \"1s\"\n\
    [[metrics]]\nname = \"paid\"\nrole = \"secondary\"\noutcome = \"paid\"\naggregate = \"sum\"\nwindow = \"5s\"\n\
    cuped = [\"features.m.dti\"]\n\
    [[metrics]]\nname = \"seen\"\nrole = \"secondary\"\noutcome = \"cured\"\nwindow = \"2s\"\npopulation = \"exposed\"\n\
    [[metrics]]\nname = \"once\"\nrole = \"secondary\"\noutcome = \"paid\"\naggregate = \"count\"\nwindow = \"2s\"\n\
    method = \"fixed\"\nplanned_units = 700\n\
    [[guardrails]]\nmetric = \"failures\"\nmax_increase = 0.01\nmin_units = 50\n\
    [[guardrails]]\nmetric = \"action_mix\"\nmax_increase = 0.1\nmin_units = 50\n\
    [[fairness]]\nattribute = \"features.m.age\"\nreference = \"young\"\nadverse_actions = [\"call\"]\nmin_ratio = 0.8\nmin_group_units = 50\n";

enum Step {
    Decide { unit: u64, arm: &'static str, action: &'static str, fails: bool, time_ms: u64, known: Option<String> },
    Happen { unit: u64, name: &'static str, value: f64, at_ms: u64, after: Place, is_reversed: bool },
    See { unit: u64, at_ms: u64, after: Place },
}

fn steps(seed: u64) -> Vec<Step> {
    let mut draw = Draw(seed);
    (0..6000_u64)
        .map(|i| {
            let unit = (draw.unit() * 1200.0) as u64;
            let (time_ms, after) = (i, i as Place - (draw.unit() * 20.0) as Place);
            match draw.unit() {
                x if x < 0.4 => Step::Decide {
                    unit,
                    arm: arm(unit),
                    action: if draw.happens(0.3) { "call" } else { "email" },
                    fails: draw.happens(0.01),
                    time_ms,
                    known: draw.happens(0.9).then(|| {
                        let age = if unit.is_multiple_of(3) { "old" } else { "young" };
                        format!("{{\"features.m.age\":\"{age}\",\"features.m.dti\":{}}}", unit % 17)
                    }),
                },
                x if x < 0.5 => Step::See { unit, at_ms: time_ms, after },
                x => Step::Happen {
                    unit,
                    name: if x < 0.7 { "cured" } else { "paid" },
                    value: (draw.unit() * 100.0).round(),
                    at_ms: time_ms.saturating_sub((draw.unit() * 500.0) as u64),
                    after,
                    is_reversed: draw.happens(0.05),
                },
            }
        })
        .collect()
}

fn take(observed: &mut Observed, place: usize, step: &Step) {
    match step {
        Step::Decide { unit, arm, action, fails, time_ms, known } => observed.decision(&Decision {
            place: place as Place,
            unit: &format!("b-{unit}"),
            arm,
            time_ms: *time_ms,
            action,
            outcome: if *fails { "trap" } else { "answer" },
            fell_back: *fails,
            took_us: 1,
            forced: false,
            batch: None,
            attributes: known.as_deref(),
        }),
        Step::Happen { unit, name, value, at_ms, after, is_reversed } => {
            let id = format!("b-{unit}");
            let happened = Happened { unit: &id, at_ms: *at_ms, received_ms: *at_ms, after: *after };
            match is_reversed {
                true => observed.reversal(&happened, name, *value),
                false => observed.outcome(&happened, name, *value),
            }
        }
        Step::See { unit, at_ms, after } => {
            let (id, received_ms) = (format!("b-{unit}"), *at_ms);
            observed.exposure(&Happened { unit: &id, at_ms: *at_ms, received_ms, after: *after });
        }
    }
}

#[test]
fn an_analysis_is_the_same_however_often_and_whenever_it_was_made_before() {
    for seed in 1..=3 {
        let steps = steps(seed);
        let (mut live, mut kept, mut draw) = (observed(EVERYTHING), None, Draw(seed + 100));
        for (place, step) in steps.iter().enumerate() {
            take(&mut live, place, step);
            if !draw.happens(0.01) {
                continue;
            }
            // Forward and, now and then, back: a report may be of an earlier time.
            let now_ms = (place as f64 + draw.unit() * 4000.0) as u64;
            let shown = format!("{:?}", KeptAnalysis::at(&mut kept, &live, now_ms).0);
            let mut whole = observed(EVERYTHING);
            steps[..=place].iter().enumerate().for_each(|(place, step)| take(&mut whole, place, step));
            assert_eq!(
                shown,
                format!("{:?}", analyse(&whole, now_ms)),
                "seed {seed}, after {place} steps, at {now_ms}"
            );
            assert_eq!(format!("{:?}", by_segment(&live, now_ms)), format!("{:?}", by_segment(&whole, now_ms)));
        }
    }
}

#[test]
fn what_was_stored_before_a_unit_entered_is_no_effect_of_it() {
    let mut observed = observed("[[metrics]]\nname = \"m\"\nrole = \"goal\"\noutcome = \"cured\"\nwindow = \"9s\"\n");
    let decision = |place, unit| Decision {
        place,
        unit,
        arm: "a",
        time_ms: 1000,
        action: "call",
        outcome: "answer",
        fell_back: false,
        took_us: 1,
        forced: false,
        batch: None,
        attributes: None,
    };
    observed.decision(&decision(7, "b-1"));
    observed.decision(&decision(8, "b-2"));
    // Stored when the seventh decision was the newest, whenever it is read.
    for unit in ["b-1", "b-2"] {
        observed.outcome(&Happened { unit, at_ms: 2000, received_ms: 2000, after: 7 }, "cured", 1.0);
    }
    let found = analyse(&observed, 100_000);
    assert_eq!(found.metrics[0].arms[0].mean, Some(0.5), "of two units one was cured");
}

/// A bandit in its second batch, with metrics of two seconds and of an hour.
pub(super) fn bandit(more: &str) -> Observed {
    let arms = ["a", "b", "c"].map(|arm| format!("[[arms]]\nname = \"{arm}\"\nstrategy = \"p@1.0.0\"\n")).concat();
    let metric = |name: &str, window: &str| {
        format!("[[metrics]]\nname = \"{name}\"\nrole = \"goal\"\noutcome = \"cured\"\nwindow = \"{window}\"\n")
    };
    let text = format!(
        "id = \"e\"\ndecision_point = \"d\"\n\
         allocation = {{ policy = \"thompson\", metric = \"m\", update_every = \"1s\" }}\n{arms}{}{}{more}",
        metric("m", "2s"),
        metric("long", "1h")
    );
    let batches = vec![vec![0.2, 0.4, 0.4], vec![0.2, 0.7, 0.1]];
    let course = Course { batches, ..Course::default() };
    Observed::over(Arc::new(Experiment::parse(&text).expect("valid")), course)
}

fn enter(observed: &mut Observed, arm: &str, batch: u32, time_ms: u64) {
    observed.decision(&Decision {
        place: i64::from(batch),
        unit: "u",
        arm,
        time_ms,
        action: "call",
        outcome: "answer",
        fell_back: false,
        took_us: 1,
        forced: false,
        batch: Some(batch),
        attributes: None,
    });
}

#[test]
fn an_outcome_is_credited_to_one_entry_of_its_unit() {
    let mut observed = bandit("");
    enter(&mut observed, "a", 0, 1000);
    // As older hosts did: before the first window has closed.
    enter(&mut observed, "b", 1, 2500);
    let at = |at_ms| Happened { unit: "u", at_ms, received_ms: at_ms, after: 1 };
    let rows = |observed: &Observed| [0, 1].map(|entry| [0, 1].map(|slot| observed.units()[entry].total(slot).rows));
    observed.outcome(&at(2600), "cured", 1.0);
    assert_eq!(rows(&observed), [[1, 1], [0, 0]], "by entry and metric");
    observed.outcome(&at(3100), "cured", 1.0);
    assert_eq!(rows(&observed), [[1, 2], [1, 0]], "the short window of the first entry has closed");
    observed.outcome(&Happened { after: 0, ..at(3200) }, "cured", 1.0);
    assert_eq!(rows(&observed), [[1, 3], [1, 0]], "stored before the second entry");
    observed.reversal(&at(2600), "cured", 1.0);
    assert_eq!(rows(&observed), [[0, 2], [1, 0]]);
    observed.exposure(&at(2700));
    assert_eq!([0, 1].map(|entry: usize| observed.units()[entry].exposed), [false, true], "the arm that it was in");
}

#[test]
fn counts_over_changing_shares_are_warned_of() {
    let rail = "[[guardrails]]\nmetric = \"failures\"\nmax_increase = 0.01\n";
    let warned = |observed: &Observed| {
        let found = warnings(observed, &analyse(observed, 1));
        found.iter().any(|warning| warning.contains("compare rates over all batches: failures;"))
    };
    assert!(warned(&bandit(rail)));
    assert!(!warned(&bandit("")) && !warned(&observed(rail)), "metrics are compared within batches");
}
