//! Dead feeds, watermarks, and rows that are posted too late.

use std::sync::Arc;

use super::*;
use crate::experiment::{Command, Experiment, Next, Status};

const DAY: u64 = 86_400_000;

const SPEC: &str = r#"
id = "e"
decision_point = "d"
ramp = [{ coverage = 0.5 }, { coverage = 1.0 }]

[[arms]]
name = "a"
strategy = "p@1.0.0"
weight = 0.5

[[arms]]
name = "b"
strategy = "q@1.0.0"
weight = 0.5

[[metrics]]
name = "cured"
role = "goal"
outcome = "cured"
window = "2d"
lag = "1d"
"#;

fn observed(spec: &str) -> Observed {
    Observed::new(Arc::new(Experiment::parse(spec).expect("valid")))
}

fn enter(observed: &mut Observed, unit: &str, arm: &str, time_ms: u64) {
    observed.decision(&Decision {
        place: 0,
        unit,
        arm,
        time_ms,
        action: "call",
        outcome: "answer",
        fell_back: false,
        took_us: 1,
        forced: false,
        batch: None,
        attributes: None,
    });
}

/// One unit a day for twenty days.
fn twenty_days(spec: &str) -> Observed {
    let mut observed = observed(spec);
    (0..20).for_each(|day| enter(&mut observed, &format!("b-{day}"), ["a", "b"][(day % 2) as usize], day * DAY));
    observed
}

fn feed(name: &str, heard_ms: Option<u64>, watermark_ms: Option<u64>, usual_gap_ms: u64) -> Feed {
    Feed { name: name.into(), heard_ms, watermark_ms, usual_gap_ms, outages: Vec::new() }
}

fn mature(observed: &Observed, now_ms: u64) -> u64 {
    let analysis = analyse(observed, now_ms);
    assert_eq!(analysis.metrics[0].not_mature + analysis.mature, analysis.entered);
    analysis.mature
}

#[test]
fn a_watermark_of_after_an_end_promises_nothing_of_before_it() {
    let mut observed = twenty_days(SPEC);
    let mut as_of_the_end = |watermark_ms| {
        let given = feed("cured", Some(10 * DAY), Some(watermark_ms), DAY);
        observed.set_feeds(vec![given.as_of(20 * DAY, Some(10 * DAY))]);
        mature(&observed, 20 * DAY)
    };
    assert_eq!(as_of_the_end(21 * DAY), 8, "as many as by what was heard");
    assert!(as_of_the_end(15 * DAY) > 8, "one of before the end counts");
}

#[test]
fn units_whose_feed_died_are_left_out_and_nothing_ships_or_widens() {
    let mut observed = twenty_days(SPEC);
    observed.set_feeds(vec![feed("cured", Some(10 * DAY), None, DAY)]);
    assert_eq!(mature(&observed, 10 * DAY), 8);
    assert_eq!(mature(&observed, 12 * DAY), 8, "of those who would be mature since, nobody knows");
    assert_eq!(analyse(&observed, 12 * DAY).feeds[0].state, FeedState::Alive);
    assert_eq!(mature(&observed, 13 * DAY), 8);
    assert_eq!(mature(&observed, 40 * DAY), 8, "nor does waiting tell");
    let analysis = analyse(&observed, 13 * DAY);
    let why = "the feed of 'cured' is silent: it was last posted at 1970-01-11T00:00:00Z; usual are 1 day between two \
               signs of life";
    assert_eq!((analysis.verdict.decision, &*analysis.verdict.why), (Decide::Hold, why));
    assert!(warnings(&observed, &analysis).iter().any(|warning| warning.starts_with(why)));
    let status = Status::default().after(&Command::Start, &observed.spec, 0).expect("starts");
    let next = |now_ms| status.next(&observed.spec, &analyse(&observed, now_ms).evidence(), now_ms);
    assert!(matches!(next(12 * DAY), Next::Promote(_)));
    assert!(matches!(next(13 * DAY), Next::Wait(why) if why.contains("silent")));
}

#[test]
fn a_feed_that_comes_back_has_a_day_to_post_what_it_owes() {
    let mut observed = twenty_days(SPEC);
    let outage = Outage { from_ms: 10 * DAY, to_ms: 16 * DAY };
    let back = Feed { outages: vec![outage], ..feed("cured", Some(16 * DAY), None, 6 * DAY) };
    observed.set_feeds(vec![feed("cured", Some(10 * DAY), None, DAY)]);
    assert_eq!(mature(&observed, 16 * DAY - 1), 8);
    observed.set_feeds(vec![back.clone()]);
    // Those of days 8 to 13 would have become mature during the outage.
    assert_eq!(mature(&observed, 16 * DAY), 8);
    assert_eq!(mature(&observed, 17 * DAY - 1), 8);
    assert_eq!(mature(&observed, 17 * DAY), 8, "it was not heard of since");
    observed.set_feeds(vec![Feed { heard_ms: Some(17 * DAY), ..back }]);
    assert_eq!(mature(&observed, 17 * DAY), 15, "with the one of day 14, who became mature in between");
    let owed = |unit: &'static str, day: u64, received_ms| Happened { unit, at_ms: day * DAY, received_ms, after: 0 };
    let mut post = |happened: Happened<'_>| {
        observed.outcome(&happened, "cured", 1.0);
        observed.too_late().iter().sum::<u64>()
    };
    assert_eq!(post(owed("b-7", 8, 16 * DAY)), 1, "it was mature before");
    assert_eq!(post(owed("b-8", 9, 16 * DAY)), 1);
    assert_eq!(post(owed("b-13", 14, 17 * DAY - 1)), 1);
    assert_eq!(post(owed("b-13", 14, 17 * DAY)), 2, "the day is over");
    let cured = |arm: &ArmResult| arm.mean.unwrap_or(0.0) * arm.units as f64;
    let found = analyse(&observed, 17 * DAY);
    let all: f64 = found.metrics[0].arms.iter().map(cured).sum();
    assert!((all - 2.0).abs() < 1e-9, "{all}");
}

#[test]
fn a_feed_is_silent_only_while_a_unit_waits_for_it() {
    let mut observed = twenty_days(SPEC);
    // The last unit became mature on day 22.
    observed.set_feeds(vec![feed("cured", Some(22 * DAY), None, DAY)]);
    let analysis = analyse(&observed, 90 * DAY);
    assert_eq!((analysis.mature, analysis.feeds[0].state), (20, FeedState::Alive));
    observed.set_feeds(vec![feed("cured", Some(22 * DAY - 1), None, DAY)]);
    let analysis = analyse(&observed, 90 * DAY);
    assert_eq!((analysis.mature, analysis.feeds[0].state), (19, FeedState::Silent));
}

#[test]
fn a_rare_outcome_is_not_silent_before_three_of_its_gaps_or_the_lag_have_passed() {
    let state = |spec: &str, gap_ms, now_ms| {
        let mut observed = twenty_days(spec);
        observed.set_feeds(vec![feed("cured", Some(0), None, gap_ms)]);
        analyse(&observed, now_ms).feeds[0].state
    };
    for (gap_ms, silent_ms) in [(60_000, DAY), (2 * DAY, 6 * DAY), (9 * DAY, 27 * DAY)] {
        assert_eq!(state(SPEC, gap_ms, silent_ms - 1), FeedState::Alive, "{gap_ms}");
        assert_eq!(state(SPEC, gap_ms, silent_ms), FeedState::Silent, "{gap_ms}");
    }
    let monthly = SPEC.replace("lag = \"1d\"", "lag = \"30d\"");
    assert_eq!(state(&monthly, DAY, 30 * DAY - 1), FeedState::Alive);
    assert_eq!(state(&monthly, DAY, 30 * DAY), FeedState::Silent);
}

#[test]
fn a_watermark_says_up_to_when_units_are_mature() {
    let mut observed = twenty_days(SPEC);
    observed.set_feeds(vec![feed("cured", Some(3 * DAY), Some(9 * DAY), DAY)]);
    // Entered up to day 7: what happened in their windows was posted, and their lag has passed.
    assert_eq!(mature(&observed, 10 * DAY), 8);
    assert_eq!(mature(&observed, 11 * DAY), 8);
    assert_eq!(analyse(&observed, 11 * DAY).feeds[0].state, FeedState::Alive);
    assert_eq!(analyse(&observed, 12 * DAY).feeds[0].state, FeedState::Silent, "nor is the next one given");
    observed.set_feeds(vec![feed("cured", Some(11 * DAY), Some(9 * DAY), DAY)]);
    assert_eq!(mature(&observed, 12 * DAY), 9, "an outcome is a sign of life, too");
}

#[test]
fn who_expects_no_outcome_waits_for_no_feed_unless_a_watermark_was_given() {
    let mut observed = twenty_days(&SPEC.replace("lag = \"1d\"", "lag = \"1d\"\nexpects_none = true"));
    observed.set_feeds(vec![feed("cured", Some(0), None, DAY)]);
    assert_eq!(mature(&observed, 30 * DAY), 20);
    assert_eq!(analyse(&observed, 30 * DAY).feeds[0].state, FeedState::NotNeeded);
    observed.set_feeds(vec![feed("cured", Some(0), Some(9 * DAY), DAY)]);
    assert_eq!(mature(&observed, 30 * DAY), 8);
    assert!(analyse(&observed, 30 * DAY).evidence().is_silent);
}

#[test]
fn a_name_that_was_never_heard_of_is_told_as_one_that_nobody_posts() {
    let mut observed = twenty_days(SPEC);
    observed.set_feeds(vec![feed("cured", None, None, 0)]);
    assert_eq!(mature(&observed, 30 * DAY), 20);
    assert_eq!(analyse(&observed, 30 * DAY).feeds[0].state, FeedState::NeverHeard);
}

#[test]
fn harm_acts_while_a_feed_is_silent_and_a_count_of_none_is_no_proof() {
    let spec = SPEC.to_owned() + "[[guardrails]]\nmetric = \"cured\"\nmax_count = 0\n";
    let mut observed = twenty_days(&spec);
    observed.set_feeds(vec![feed("cured", Some(DAY), None, DAY)]);
    let rail = |observed: &Observed, now_ms| analyse(observed, now_ms).guardrails[0].status;
    assert_eq!(rail(&observed, 2 * DAY), HarmStatus::Holds);
    assert_eq!(rail(&observed, 30 * DAY), HarmStatus::Inconclusive);
    observed.outcome(&Happened { unit: "b-1", at_ms: DAY, received_ms: DAY, after: 0 }, "cured", 1.0);
    assert_eq!(rail(&observed, 30 * DAY), HarmStatus::Harm);
    assert_eq!(analyse(&observed, 30 * DAY).verdict.decision, Decide::Stop);
}

#[test]
fn a_cached_analysis_follows_feeds_as_they_fall_silent_and_come_back() {
    let secondary = "\n[[metrics]]\nname = \"seen\"\nrole = \"secondary\"\nsource = \"exposures\"\naggregate = \"count\"\n\
                     window = \"5d\"\n\n[[metrics]]\nname = \"paid\"\nrole = \"secondary\"\noutcome = \"paid\"\n\
                     window = \"1d\"\nlag = \"4d\"\n";
    let spec = SPEC.to_owned() + secondary;
    let mut live = observed(&spec);
    (0..600_u64).for_each(|i| enter(&mut live, &format!("b-{i}"), ["a", "b"][(i % 2) as usize], i * DAY / 30));
    let mut kept = None;
    let states = [
        [feed("cured", Some(8 * DAY), None, DAY), feed("paid", Some(9 * DAY), None, 3 * DAY)],
        [feed("cured", Some(8 * DAY), None, DAY), feed("paid", Some(9 * DAY), Some(12 * DAY), DAY)],
        [feed("cured", Some(13 * DAY), None, 5 * DAY), feed("paid", Some(14 * DAY), Some(12 * DAY), DAY)],
    ];
    let mut states = states.to_vec();
    let outages = vec![Outage { from_ms: 8 * DAY, to_ms: 13 * DAY }];
    states.push([Feed { outages, ..states[2][0].clone() }, states[2][1].clone()]);
    for feeds in states {
        live.set_feeds(feeds.to_vec());
        // Hours forth, and now and then back.
        for step in 0..400_u64 {
            let now_ms = 8 * DAY + (step * 7919 % 480) * DAY / 24 + step % 3;
            let shown = format!("{:?}", KeptAnalysis::at(&mut kept, &live, now_ms).0);
            assert_eq!(shown, format!("{:?}", whole(&spec, &feeds, now_ms)), "at {now_ms}");
        }
        for hour in 0..480_u64 {
            let now_ms = 8 * DAY + hour * DAY / 24;
            let shown = format!("{:?}", KeptAnalysis::at(&mut kept, &live, now_ms).0);
            assert_eq!(shown, format!("{:?}", whole(&spec, &feeds, now_ms)), "at {now_ms}");
        }
    }
}

fn whole(spec: &str, feeds: &[Feed], now_ms: u64) -> Analysis {
    let mut whole = observed(spec);
    (0..600_u64).for_each(|i| enter(&mut whole, &format!("b-{i}"), ["a", "b"][(i % 2) as usize], i * DAY / 30));
    whole.set_feeds(feeds.to_vec());
    analyse(&whole, now_ms)
}

fn fixed() -> Observed {
    let mut observed = observed(&SPEC.replace("lag = \"1d\"", "lag = \"1d\"\nmethod = \"fixed\"\nplanned_units = 400"));
    for i in 0..400_u64 {
        enter(&mut observed, &format!("b-{i}"), ["a", "b"][(i % 2) as usize], i);
        if i % 4 < 2 {
            let unit = format!("b-{i}");
            let (at_ms, received_ms) = (i + DAY, i + 2 * DAY);
            observed.outcome(&Happened { unit: &unit, at_ms, received_ms, after: 0 }, "cured", 1.0);
        }
    }
    observed
}

#[test]
fn a_fixed_result_does_not_move_by_what_is_posted_too_late() {
    let mut observed = fixed();
    let shown = |observed: &Observed| format!("{:?}", analyse(observed, 4 * DAY).metrics);
    let before = shown(&observed);
    // Within the window of b-7, and received when its lag has just passed.
    let late = |received_ms| Happened { unit: "b-7", at_ms: DAY, received_ms, after: 0 };
    observed.outcome(&late(7 + 3 * DAY), "cured", 1.0);
    assert_eq!(shown(&observed), before);
    assert_eq!((observed.too_late(), observed.late_rows(0)), (&[0, 1][..], (201, 1)));
    let told = |observed: &Observed| warnings(observed, &analyse(observed, 4 * DAY)).join("; ");
    assert!(!told(&observed).contains("too late"), "a few always are");
    for _ in 0..3 {
        observed.outcome(&late(5 * DAY), "cured", 1.0);
    }
    let sentence = "metric 'cured': 4 of 204 rows were posted too late and do not count; a longer lag would count them";
    assert!(told(&observed).contains(sentence), "{}", told(&observed));
    // One that is taken back is none, and one that came in time counts.
    observed.reversal(&late(5 * DAY), "cured", 1.0);
    assert_eq!((observed.too_late(), shown(&observed)), (&[0, 3][..], before.clone()));
    observed.outcome(&late(7 + 3 * DAY - 1), "cured", 1.0);
    assert_ne!(shown(&observed), before);
}

#[test]
fn a_reversal_of_what_was_posted_in_time_is_applied_whenever_it_comes() {
    let mut observed = fixed();
    let mean = |observed: &Observed| analyse(observed, 4 * DAY).metrics[0].arms[0].mean;
    let is = |mean: Option<f64>, wanted: f64| mean.is_some_and(|mean| (mean - wanted).abs() < 1e-9);
    assert!(is(mean(&observed), 0.5));
    observed.reversal(&Happened { unit: "b-4", at_ms: 4 + DAY, received_ms: 4 + 2 * DAY, after: 0 }, "cured", 1.0);
    assert!(is(mean(&observed), 0.495));
}

#[test]
fn metrics_on_one_outcome_with_other_lags_each_have_their_own_cut() {
    let slow =
        "\n[[metrics]]\nname = \"slow\"\nrole = \"secondary\"\noutcome = \"cured\"\nwindow = \"2d\"\nlag = \"9d\"\n";
    let mut observed = observed(&(SPEC.to_owned() + slow + "[[guardrails]]\nmetric = \"cured\"\nmax_count = 0\n"));
    enter(&mut observed, "b-1", "b", 0);
    let happened = Happened { unit: "b-1", at_ms: DAY, received_ms: 5 * DAY, after: 0 };
    observed.outcome(&happened, "cured", 1.0);
    let found = analyse(&observed, 20 * DAY);
    let means: Vec<_> = found.metrics.iter().map(|metric| metric.arms[1].mean).collect();
    assert_eq!(means, [Some(0.0), Some(1.0)]);
    assert_eq!((observed.late_rows(0), observed.late_rows(1), observed.too_late()), ((1, 1), (1, 0), &[0, 1][..]));
    assert_eq!(found.guardrails[0].status, HarmStatus::Harm, "what is harm at once is so however late it is known");
}
