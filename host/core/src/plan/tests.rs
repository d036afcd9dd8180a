//! Plans of known specs, against what a formula and a simulation of its own say of them.

use super::*;

const CANARY: &str = r#"
id = "canary"
decision_point = "p"
ramp = [{ coverage = 0.1, hold = "1d", min_units = 300, gate = "fast" }, { coverage = 0.5, hold = "2d", gate = "fast" }, { coverage = 1.0 }]

[[arms]]
name = "control"
strategy = "p@1.0.0"
weight = 0.5

[[arms]]
name = "canary"
strategy = "p@1.1.0"
weight = 0.5

[[metrics]]
name = "cured_14d"
role = "goal"
outcome = "cured"
window = "14d"
lag = "2d"
planned_units = 20000

[[metrics]]
name = "complaints"
role = "guardrail"
outcome = "complaint"
window = "7d"
planned_units = 20000
direction = "decrease"

[[guardrails]]
metric = "complaints"
max_increase = 0.01

[[guardrails]]
metric = "failures"
max_increase = 0.01
min_units = 100
"#;

/// One goal that is known at once, two arms.
const QUICK: &str = r#"
id = "quick"
decision_point = "p"

[[arms]]
name = "a"
strategy = "p@1.0.0"
weight = 0.5

[[arms]]
name = "b"
strategy = "p@1.1.0"
weight = 0.5

[[metrics]]
name = "m"
role = "goal"
outcome = "done"
window = "1d"
planned_units = 4000
"#;

fn spec(text: &str) -> Arc<Experiment> {
    Arc::new(Experiment::parse(text).expect("valid"))
}

fn share(mean: f64) -> Baseline {
    Baseline { mean, sd: None }
}

fn traffic(units_per_day: f64, baselines: &[Baseline]) -> Traffic {
    Traffic { units_per_day, decisions_per_unit: 2.0, baselines: baselines.to_vec(), failures: 0.0 }
}

fn planned(spec: &Arc<Experiment>, traffic: &Traffic, effect: f64, runs: u32, days: u32) -> Plan {
    let is_sound = |world: Assumed| !world.is_side();
    plan_in(&is_sound, spec, traffic, effect, [runs, days], 7, &mut |_, _| {})
}

fn simulated(text: &str, traffic: &Traffic, days: u32, seed: u64) -> crate::analysis::Analysis {
    let spec = spec(text);
    let model = || model::OutcomeModel::of(&spec, traffic, &model::Truth::default());
    let setup =
        setup::Setup { spec: &spec, traffic, days, tried: 1, assumed: Assumed::Nothing, models: [model(), model()] };
    let (ran, observed) = simulate::run(&setup, seed);
    crate::analysis::analyse(&observed, u64::from(ran.days) * DAY)
}

#[test]
fn the_canaries_spec_finds_what_it_is_for() {
    let traffic = Traffic { decisions_per_unit: 4.0, ..traffic(1000.0, &[share(0.31), share(0.02)]) };
    let plan = planned(&spec(CANARY), &traffic, 0.03, 6, 60);
    let [nothing, effect, complaints, failures] = &plan.scenarios[..] else { panic!("{plan:?}") };
    assert!(effect.won >= 0.8 && effect.median.is_some_and(|at| at.day < 60), "{effect:?}");
    assert!(nothing.false_wins <= 0.1 && nothing.stopped <= 0.1, "{nothing:?}");
    assert!(complaints.stopped >= 0.8 && failures.stopped == 1.0, "{complaints:?}\n{failures:?}");
    assert!(complaints.false_wins + failures.false_wins == 0.0, "{complaints:?}\n{failures:?}");
    assert!(failures.median.is_some_and(|at| at.day <= 7 && at.units < 4000), "{failures:?}");
    let needs = plan.needs.expect("a goal");
    // (1.960 + 0.842)² (0.31 · 0.69 + 0.34 · 0.66) · 2 / 0.03²
    assert!((needs.fixed.units - 7645.0).abs() <= 1.0 && needs.sequence.units > needs.fixed.units, "{needs:?}");
    assert!((needs.fixed.days - 23.645).abs() < 1e-9 && (needs.detectable - 0.018324).abs() < 1e-6, "{needs:?}");
    assert!(plan.warnings.is_empty(), "{:?}", plan.warnings);
}

#[test]
fn rare_failures_are_caught_within_ten_thousand_units() {
    let goal = QUICK.find("[[metrics]]").expect("a goal");
    let rail = format!("{}[[guardrails]]\nmetric = \"failures\"\nmax_increase = 0.01\n", &QUICK[..goal]);
    let traffic = Traffic { failures: 0.001, ..traffic(1000.0, &[]) };
    let plan = planned(&spec(&rail), &traffic, 0.1, 60, 10);
    let [nothing, harm] = &plan.scenarios[..] else { panic!("{plan:?}") };
    assert_eq!(harm.assumed, Assumed::Harm { guardrail: 0, by: 0.02 });
    assert!(harm.stopped >= 0.9 && harm.p80.is_some_and(|at| at.units <= 10_000), "{harm:?}");
    assert!(nothing.stopped <= 0.05, "{nothing:?}");
    assert!(plan.warnings.iter().any(|text| text.contains("no goal")), "{:?}", plan.warnings);
}

#[test]
fn the_same_seed_gives_the_same_plan() {
    let (spec, traffic) = (spec(QUICK), traffic(123.4, &[share(0.3)]));
    let mut told = Vec::new();
    let first = plan(&spec, &traffic, 0.1, 20, 10, 1, &mut |done, of| told.push((done, of)));
    let with = |seed| plan(&spec, &traffic, 0.1, 20, 10, seed, &mut |_, _| {});
    assert_eq!(first, with(1));
    assert_ne!(first, with(2));
    assert_eq!((told.len(), told.last()), (160, Some(&(160, 160))));
}

#[test]
fn false_wins_are_as_frequent_as_the_method_and_alpha_have_them() {
    let traffic = traffic(200.0, &[share(0.3)]);
    let false_wins = |from: &str, to: &str| {
        let plan = planned(&spec(&QUICK.replace(from, to)), &traffic, 0.05, 150, 20);
        assert!(plan.scenarios[0].unbalanced <= 0.03, "{plan:?}");
        (plan.scenarios[0].false_wins, plan.warnings.join("\n"))
    };
    let fixed = |alpha: &str| format!("planned_units = 400\nmethod = \"fixed\"\nalpha = {alpha}");
    let (sequence, quiet) = false_wins("planned_units = 4000", "planned_units = 4000");
    let (strict, _) = false_wins("planned_units = 4000", &fixed("0.05"));
    let (lax, _) = false_wins("planned_units = 4000", &fixed("0.45"));
    // One look, at the units that were planned, however many come after them: half of alpha is on
    // the side of a win.
    assert!(sequence <= 0.06 && strict <= 0.065 && lax > 0.12, "{sequence} {strict} {lax}");
    assert!(!quiet.contains("of runs ship an arm"), "{quiet}");
}

#[test]
fn slot_and_coverage_take_their_share() {
    let traffic = traffic(400.0, &[share(0.3)]);
    let of = |head: &str| planned(&spec(&format!("{head}\n{QUICK}")), &traffic, 0.08, 40, 40);
    let (whole, half) = (of("coverage = 1.0"), of("coverage = 0.5\nslot = [0.25, 0.75]"));
    assert_eq!((whole.entered, half.entered), (16_000.0, 4_000.0));
    let (all, part) = (whole.needs.expect("a goal"), half.needs.expect("a goal"));
    assert_eq!(all.fixed.units, part.fixed.units);
    assert!(((part.fixed.days - 1.0) / (all.fixed.days - 1.0) - 4.0).abs() < 1e-9);
    let median = |plan: &Plan| plan.scenarios[1].median.expect("half win");
    let (all, part) = (median(&whole), median(&half));
    assert!((2.0..6.0).contains(&(f64::from(part.day) / f64::from(all.day))), "{all:?} {part:?}");
    assert!((0.6..1.6).contains(&(part.units as f64 / all.units as f64)), "{all:?} {part:?}");
}

/// Everything that a metric can be computed from.
const METRICS: &str = r#"
[[metrics]]
name = "early"
role = "secondary"
outcome = "paid"
window = "2d"
lag = "4d"

[[metrics]]
name = "late"
role = "secondary"
outcome = "paid"
window = "5d"
lag = "4d"

[[metrics]]
name = "amount"
role = "secondary"
outcome = "paid"
aggregate = "sum"
window = "5d"
lag = "4d"

[[metrics]]
name = "calls"
role = "secondary"
source = "decisions"
outcome = "call"
aggregate = "count"
window = "2d"

[[metrics]]
name = "seen"
role = "secondary"
source = "exposures"
window = "2d"

[[metrics]]
name = "score"
role = "secondary"
outcome = "score"
aggregate = "mean"
window = "2d"
population = "exposed"

[[metrics]]
name = "errors"
role = "secondary"
aggregate = "ratio"
numerator = { outcome = "error", aggregate = "count" }
denominator = { source = "decisions", aggregate = "count" }
window = "3d"
"#;

#[test]
fn units_are_as_the_baselines_say() {
    let known = |mean, sd| Baseline { mean, sd: Some(sd) };
    // A payment, where there is one, is of 50 on average.
    let baselines =
        [share(0.1), share(0.2), known(10.0, 25.0), known(1.5, 1.0), share(0.6), known(7.0, 3.0), known(0.25, 0.5)];
    let goal = QUICK.find("[[metrics]]").expect("a goal");
    let analysis = simulated(&format!("{}{METRICS}", &QUICK[..goal]), &traffic(2000.0, &baselines), 15, 3);
    for ((result, baseline), slack) in
        analysis.metrics.iter().zip(&baselines).zip([0.01, 0.012, 0.9, 0.05, 0.015, 0.1, 1.0])
    {
        for arm in &result.arms {
            let mean = arm.mean.expect("units");
            // Named decisions are decisions, too: the ratio of errors to all is below its baseline.
            let expected = if result.metric == 6 { 0.5 / 3.5 } else { baseline.mean };
            let slack = if result.metric == 6 { 0.03 } else { slack };
            assert!((mean - expected).abs() < slack, "{}: {mean}, not {expected}", result.metric);
        }
    }
}

#[test]
fn shares_that_follow_from_what_is_seen_are_simulated() {
    let arms = ["a", "b", "c"].map(|arm| format!("[[arms]]\nname = \"{arm}\"\nstrategy = \"p@1.0.0\"\n")).concat();
    let goal = QUICK.find("[[metrics]]").expect("a goal");
    let text = format!(
        "id = \"e\"\ndecision_point = \"d\"\nmax_duration = \"12d\"\n\
         allocation = {{ policy = \"thompson\", metric = \"m\", update_every = \"2d\" }}\n{arms}{}",
        &QUICK[goal..]
    );
    let plan = planned(&spec(&text), &traffic(300.0, &[share(0.2)]), 0.15, 10, 15);
    let [nothing, effect] = &plan.scenarios[..] else { panic!("{plan:?}") };
    assert!(nothing.over >= 0.8 && nothing.open == 0.0 && nothing.mean_days <= 12.0, "{nothing:?}");
    assert!(effect.won >= 0.8 && effect.false_wins == 0.0, "{effect:?}");
}

#[test]
fn what_stands_in_the_way_is_said() {
    let rails = "[[guardrails]]\nmetric = \"m\"\nmax_count = 3\non_breach = \"pause\"\n\
                 [[guardrails]]\nmetric = \"slow\"\nthreshold = \"20ms\"\nmax_increase = 0.05\nmin_units = 9999\n";
    let text = QUICK.replace("window = \"1d\"", "window = \"9d\"");
    let said = |text: &str, units_per_day: f64, days: u32| {
        let plan = planned(&spec(text), &traffic(units_per_day, &[share(0.01)]), 0.02, 4, days);
        plan.warnings.join("\n")
    };
    assert!(said(&text, 50.0, 9).contains("no unit is mature"));
    let few = said(&format!("min_duration = \"30d\"\n{text}"), 100.0, 20);
    assert!(few.contains("it never speaks in 20 days: 5.0 events are expected"), "{few}");
    assert!(few.contains("planned_units = 4000, and 1100 units") && few.contains("min_duration is 30 days"), "{few}");
    let far = said(&format!("{QUICK}{rails}"), 100.0, 20);
    assert!(far.contains("guardrail 'slow' never speaks: 1000 units"), "{far}");
    assert!(far.contains("of runs are stopped"), "a count of 3 in a hundred units a day: {far}");
    assert!(!said(QUICK, 400.0, 20).contains("never"));
}

#[test]
fn what_is_too_much_to_simulate_is_cut_down() {
    let spec = spec(QUICK);
    let sound = [Assumed::Nothing, Assumed::Effect];
    let of = |units_per_day: f64| affordable(&spec, &traffic(units_per_day, &[share(0.3)]), &sound, 200, 60);
    assert_eq!(of(500.0), (158, 60));
    assert_eq!(of(50_000.0), (20, 4));
    assert_eq!(of(1e9), (0, 0));
    let plan = planned(&spec, &traffic(1e9, &[share(0.3)]), 0.1, 200, 60);
    assert!(plan.scenarios.is_empty() && plan.warnings.iter().any(|text| text.contains("only what a formula")));
}

/// The demo's canaries, and what is true of them there.
fn canary(text: &str, effects: &[f64], failing: f64, right: fn(simulate::End) -> bool) {
    let spec = spec(text);
    // Calls are counted, about one a unit; the others are shares of units.
    let known = [share(0.31), share(0.02), Baseline { mean: 1.2, sd: Some(1.0) }];
    let traffic = Traffic { decisions_per_unit: 4.0, ..traffic(1000.0, &known[..spec.metrics.len()]) };
    let hits = (failing > 0.0).then_some((crate::experiment::Watched::Failures, failing));
    let truth = model::Truth { effects: effects.to_vec(), hits };
    let model = |truth: &model::Truth| model::OutcomeModel::of(&spec, &traffic, truth);
    let models = [model(&model::Truth::default()), model(&truth)];
    let setup = setup::Setup { spec: &spec, traffic: &traffic, days: 60, tried: 1, assumed: Assumed::Effect, models };
    let ends: Vec<simulate::End> = (1..=10).map(|seed| simulate::run(&setup, draw::Draw(seed).bits()).0.end).collect();
    assert!(ends.iter().filter(|end| right(**end)).count() >= 8, "{ends:?}");
    let is_wrong = |end: &simulate::End| matches!(end, simulate::End::Won(_)) && !right(*end);
    assert!(!ends.iter().any(is_wrong), "a wrong ship: {ends:?}");
}

#[test]
fn ten_fresh_seeds_of_each_of_the_demos_canaries_come_out_right_and_none_ships_wrongly() {
    use simulate::End;
    let ships = |end| end == End::Won(1);
    let is_stopped = |end| matches!(end, End::Harm(_));
    canary(include_str!("../../../demo/sixty/better.toml"), &[0.03, 0.0, -0.22], 0.0, ships);
    canary(include_str!("../../../demo/sixty/pushy.toml"), &[0.04, 0.015], 0.0, is_stopped);
    canary(include_str!("../../../demo/sixty/crashing.toml"), &[], 0.02, is_stopped);
}

#[test]
fn a_confidence_sequence_finds_larger_effects_than_one_look_at_the_same_units() {
    let traffic = traffic(1000.0, &[share(0.31), share(0.02)]);
    let fixed = CANARY.replacen("planned_units", "method = \"fixed\"\nplanned_units", 1);
    assert_ne!(fixed, CANARY);
    let of = |text: &str| {
        let spec = spec(text);
        let [one, own] = [detectable(&spec, &traffic), detectable_as_analysed(&spec, &traffic)];
        own.zip(one).map(|(own, one)| own / one).expect("a goal")
    };
    // 3.035 standard errors instead of 1.960, and 0.842 for the power.
    assert!((of(CANARY) - (3.035 + 0.842) / (1.960 + 0.842)).abs() < 0.002, "{}", of(CANARY));
    assert!((of(&fixed) - 1.0).abs() < 1e-12, "{}", of(&fixed));
}

/// A second goal, that `QUICK` has not, and a guardrail.
const MORE: &str = r#"
[[metrics]]
name = "repaid"
role = "goal"
outcome = "repaid"
window = "1d"
planned_units = 4000

[[metrics]]
name = "complaints"
role = "guardrail"
outcome = "complaint"
window = "1d"
planned_units = 4000
direction = "decrease"

[[guardrails]]
metric = "complaints"
max_increase = 0.04
"#;

#[test]
fn a_sound_spec_concludes_as_it_should_in_every_world() {
    let spec = spec(&format!("{QUICK}{MORE}"));
    let traffic = Traffic { decisions_per_unit: 1.0, ..traffic(600.0, &[share(0.3), share(0.4), share(0.05)]) };
    let plan = plan(&spec, &traffic, 0.1, 20, 20, 1, &mut |_, _| {});
    let named: Vec<Assumed> = plan.scenarios.iter().map(|world| world.assumed).collect();
    let [Assumed::Nothing, Assumed::Effect, Assumed::Harm { .. }, Assumed::Conflict { metric: 1, .. }, ..] = named[..]
    else {
        panic!("{named:?}")
    };
    let [.., Assumed::Drift, dead, Assumed::WrongName { metric: 0 }, Assumed::BrokenSplit, missing, segment] =
        named[..]
    else {
        panic!("{named:?}")
    };
    assert_eq!(
        (dead, missing, segment),
        (Assumed::DeadFeed { day: 6, noticed: 9 }, Assumed::HalfMissing, Assumed::OneSegment)
    );
    for world in &plan.scenarios {
        assert!(world.right >= 0.9 && world.runs == 20, "{world:?}");
    }
    let says = |assumed: Assumed| {
        let world = plan.scenarios.iter().find(|world| world.assumed == assumed);
        world.map(|world| world.concludes.as_str()).expect("a world")
    };
    assert!(says(Assumed::WrongName { metric: 0 }).contains("no outcome 'done' was ever posted"), "{plan:?}");
    assert!(says(Assumed::BrokenSplit).contains("do not fall to the arms as the weights say"), "{plan:?}");
    assert!(says(Assumed::Effect).starts_with("ship: "), "{plan:?}");
}

#[test]
fn a_feed_that_dies_before_it_shows_anything_is_named_and_nothing_ships() {
    let text = QUICK.replace("window = \"1d\"", "window = \"5d\"");
    let traffic = Traffic { decisions_per_unit: 1.0, ..traffic(600.0, &[share(0.3)]) };
    let is_dead = |world: Assumed| matches!(world, Assumed::DeadFeed { .. });
    let plan = plan_in(&is_dead, &spec(&text), &traffic, 0.04, [20, 15], 1, &mut |_, _| {});
    let [dead] = &plan.scenarios[..] else { panic!("{plan:?}") };
    assert!(dead.open >= 0.8 && dead.right == 1.0, "{dead:?}");
    assert!(dead.concludes.contains("the feed of 'done' is silent"), "{dead:?}");
}

#[test]
fn a_goal_that_falls_by_losing_outcomes_is_warned_of() {
    let text = QUICK.replace("planned_units", "direction = \"decrease\"\nplanned_units");
    let traffic = Traffic { decisions_per_unit: 1.0, ..traffic(600.0, &[share(0.3)]) };
    let is_missing = |world: Assumed| world == Assumed::HalfMissing;
    let plan = plan_in(&is_missing, &spec(&text), &traffic, 0.1, [20, 15], 1, &mut |_, _| {});
    assert_eq!(plan.scenarios[0].false_wins, 1.0, "{plan:?}");
    assert!(plan.warnings.iter().any(|text| text.contains("outcomes are lost on their way, 100.0 %")), "{plan:?}");
}
