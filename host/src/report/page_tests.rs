//! The page and the text of a report in the states that an experiment can be in.

use std::sync::Arc;

use serin_core::analysis::{Course, Decision, Happened, Observed, Place};
use serin_core::experiment::{Experiment, State, Status};

use super::*;

const DAY: u64 = 86_400_000;
const START: u64 = 1_795_000_000_000;

/// Two goals, and two guardrails.
const SPEC: &str = r#"
id = "e"
decision_point = "p"
owner = "science"
description = "calls earlier"
min_duration = "14d"
on_success = "ship"
holdback = 0.1
ramp = [{ coverage = 0.1, hold = "1d", min_units = 300, gate = "fast" }, { coverage = 1.0 }]
[[metrics]]
name = "cured"
role = "goal"
outcome = "cured"
window = "1d"
planned_units = 4000
[[metrics]]
name = "paid"
role = "goal"
outcome = "paid"
window = "1d"
planned_units = 4000
[[metrics]]
name = "complaints"
role = "guardrail"
outcome = "complaint"
window = "1d"
direction = "decrease"
[[guardrails]]
metric = "failures"
max_increase = 0.01
[[guardrails]]
metric = "complaints"
max_increase = 0.05
on_breach = "drop_arm"
[[arms]]
name = "control"
strategy = "s@1.0.0"
weight = 0.4
[[arms]]
name = "next"
strategy = "s@1.1.0"
weight = 0.4
[[arms]]
name = "other"
strategy = "s@1.2.0"
weight = 0.2
"#;

/// Two arms.
fn two() -> String {
    let (two, _) = SPEC.rsplit_once("[[arms]]").expect("a third arm");
    two.replace("0.4", "0.5")
}

/// In an arm: the shares of units that are cured, pay, complain, and have a failed decision.
type Rates = [f64; 4];

/// What is known of `units`, of which each arm gets its weight.
fn observed(spec: &str, units: u64, rates: &[Rates], course: Course) -> Observed {
    let spec = Arc::new(Experiment::parse(spec).expect("a spec"));
    let arms: Vec<(String, f64)> = spec.arms.iter().map(|arm| (arm.name.to_string(), arm.weight)).collect();
    let mut observed = Observed::over(spec, course);
    let mut seen = vec![0.0; arms.len()];
    for i in 0..units {
        // The arm that is furthest behind its weight.
        let behind = |arm: &usize| arms[*arm].1 * (i + 1) as f64 - seen[*arm];
        let arm = (0..arms.len()).max_by(|one, other| behind(one).total_cmp(&behind(other))).expect("an arm");
        let nth = seen[arm];
        seen[arm] += 1.0;
        let happens = |rate: f64| ((nth + 1.0) * rate).floor() > (nth * rate).floor();
        let (unit, time_ms, place) = (format!("u-{i}"), START + i * 5 * DAY / units, i as Place + 1);
        observed.decision(&Decision {
            place,
            unit: &unit,
            arm: &arms[arm].0,
            time_ms,
            action: "call",
            outcome: if happens(rates[arm][3]) { "trap" } else { "answer" },
            fell_back: false,
            took_us: 10,
            forced: false,
            batch: None,
            attributes: None,
        });
        for (name, rate) in ["cured", "paid", "complaint"].into_iter().zip(rates[arm]) {
            if happens(rate) {
                let happened =
                    Happened { unit: &unit, at_ms: time_ms + 1000, received_ms: time_ms + 1000, after: place };
                observed.outcome(&happened, name, 1.0);
            }
        }
    }
    observed
}

fn running() -> Status {
    let started_ms = Some(START);
    Status { state: State::Running, phase: 1, since_ms: START, started_ms, applied: 0.1, ..Status::default() }
}

fn changes(commands: &[(&str, &str)]) -> Vec<TransitionRow> {
    let change = |(i, (command, to)): (usize, &(&str, &str))| TransitionRow {
        generation: i as u64,
        time_ms: START + i as u64 * 20 * DAY,
        command: (*command).to_owned(),
        from: "running".to_owned(),
        to: (*to).to_owned(),
        phase: i as u32 + 1,
        by: HOST.to_owned(),
        reason: "it was due".to_owned(),
        spec_digest: "sha256:0123456789".to_owned(),
        evidence: Value::Null,
    };
    commands.iter().enumerate().map(change).collect()
}

/// A report as it is when all of the units are mature, `days` after the start.
fn report_at(observed: &Observed, status: &Status, commands: &[(&str, &str)], days: u64) -> Report {
    let history = (1..=8_u64).map(|day| {
        let now_ms = START + day * DAY;
        let analysis = analyse(observed, now_ms);
        serde_json::to_string(&HistoryPoint::of(observed, &analysis, status, now_ms)).expect("json")
    });
    let context = ReportContext { changes: changes(commands), history: history.collect(), shadows: Vec::new() };
    Report::new(observed, status, context, START + days * DAY)
}

fn early() -> Report {
    let none = [0.1, 0.3, 0.02, 0.0];
    report_at(&observed(&two(), 112, &[none, none], Course::default()), &running(), &[("start", "running")], 0)
}

/// Better at one goal, worse at the other.
fn conflict() -> Report {
    let rates = [[0.10, 0.30, 0.02, 0.001], [0.16, 0.22, 0.02, 0.001]];
    let status = Status { step: 1, phase: 2, ..running() };
    let commands = [("start", "running"), ("promote", "running")];
    report_at(&observed(&two(), 6000, &rates, Course::default()), &status, &commands, 20)
}

fn shipped() -> Report {
    let rates = [[0.10, 0.30, 0.02, 0.0], [0.18, 0.31, 0.02, 0.0]];
    let winner: Option<serin_core::Name> = Some("next".into());
    let status = Status { state: State::Shipped, phase: 3, served: winner.clone(), winner, ..running() };
    let commands = [("start", "running"), ("ship", "shipped")];
    report_at(&observed(&two(), 6000, &rates, Course::default()), &status, &commands, 21)
}

fn aborted() -> Report {
    let rates = [[0.10, 0.30, 0.02, 0.0], [0.10, 0.31, 0.02, 0.08]];
    let status = Status { state: State::Aborted, ended_ms: Some(START + 20 * DAY), ..running() };
    let commands = [("start", "running"), ("abort", "aborted")];
    report_at(&observed(&two(), 3000, &rates, Course::default()), &status, &commands, 20)
}

/// Three arms, one of which was dropped.
fn dropped() -> Report {
    let rates = [[0.10, 0.30, 0.02, 0.001], [0.12, 0.31, 0.02, 0.001], [0.1, 0.3, 0.2, 0.001]];
    let status = Status { dropped: vec!["other".into()], step: 1, phase: 2, ..running() };
    let course = Course { dropped: vec!["other".into()], started_ms: Some(START), ..Course::default() };
    report_at(&observed(SPEC, 5000, &rates, course), &status, &[("start", "running"), ("drop", "running")], 10)
}

/// A fixed metric before its time.
fn provisional() -> Report {
    let fixed = two().replacen("planned_units = 4000", "planned_units = 40000\nmethod = \"fixed\"", 1);
    let rates = [[0.10, 0.30, 0.02, 0.001], [0.16, 0.30, 0.02, 0.001]];
    let status = Status { step: 1, phase: 2, ..running() };
    report_at(&observed(&fixed, 6000, &rates, Course::default()), &status, &[("start", "running")], 10)
}

fn all() -> [(&'static str, Report); 6] {
    [
        ("early", early()),
        ("conflict", conflict()),
        ("shipped", shipped()),
        ("aborted", aborted()),
        ("dropped", dropped()),
        ("provisional", provisional()),
    ]
}

#[test]
fn sections_stand_in_the_order_in_which_a_reader_needs_them() {
    for (name, report) in all() {
        let page = report.html();
        let mut order =
            vec!["<h1>", "id=\"verdict\"", "<b>Next</b>", "id=\"checks\"", "id=\"ramp\"", "id=\"scorecard\""];
        order.extend([
            "id=\"progress\"",
            "id=\"chart\"",
            "id=\"details\"",
            "<h2>Units</h2>",
            "<h2>Metrics in full</h2>",
        ]);
        order.extend(["<h2>Guardrails in full</h2>", "<h2>Decisions by action</h2>", "<h2>What happened</h2>"]);
        order.extend(["<h2>What is tested</h2>", "<h2>Experiment file</h2>"]);
        if name == "shipped" {
            // Nothing is ramped or planned any more.
            order.retain(|part| !matches!(*part, "id=\"ramp\"" | "id=\"progress\""));
            assert!(!page.contains("id=\"ramp\"") && !page.contains("id=\"progress\""));
        }
        let at: Vec<usize> = order.iter().map(|part| page.find(part).unwrap_or(usize::MAX)).collect();
        assert!(at.is_sorted() && at.last().is_some_and(|at| *at < page.len()), "{name}: {at:?}");
        // What is below is folded, all of it.
        let (_, details) = page.split_once("id=\"details\">").expect("details");
        assert_eq!(details.matches("<details>").count(), details.matches("<h2>").count(), "{name}");
    }
}

#[test]
fn each_state_is_told_in_words() {
    let needles = |name: &str| match name {
        "early" => ["day 1; ", "112 of 300 units entered", "not before 2026-11-19 11:06 UTC", "<b>too early</b>"],
        "conflict" => {
            ["<b>HOLD</b>", "<b>better</b>", "<b>worse</b>", "6,000 units are mature, and 4,000 were planned"]
        }
        "shipped" => ["<b>SHIPPED</b>", "less a holdback of 10 %", "<b>better</b>", "<b>holds</b>"],
        "aborted" => ["<b>ABORTED</b>", "<b>harm</b>", "the experiment has ended", "no more units enter"],
        "dropped" => ["<b>Arm other</b> <span class=\"badge bad\">", "was dropped", "<b>Arm next</b>", "<b>hold</b>"],
        _ => [
            "<b>provisional</b>",
            "6,000 of 40,000 planned units",
            "days left at the pace so far",
            "no difference shown",
        ],
    };
    for (name, report) in all() {
        let page = report.html();
        for needle in needles(name) {
            assert!(page.contains(needle), "{name}: {needle}: {page}");
        }
    }
}

#[test]
fn numbers_are_rounded_and_shares_are_in_percent() {
    let page = conflict().html();
    for needle in ["10.0 %, 16.0 %", "<b>+60\u{a0}%</b>", "+28 to +103\u{a0}%", "alpha 0.05 shared by 2"] {
        assert!(page.contains(needle), "{needle}: {page}");
    }
    assert!(page.contains("for the alarm shared by 2") && page.contains("surely below 1 percentage point"), "{page}");
    for (name, report) in all() {
        let (page, text) = (report.html(), report.to_string());
        let is_long = |word: &str| {
            word.split_once('.').is_some_and(|(_, d)| d.len() > 6 && d.bytes().all(|b| b.is_ascii_digit()))
        };
        let long = page.split(['<', '>', ' ', '"', '(']).chain(text.split([' ', '('])).find(|word| is_long(word));
        assert_eq!(long, None, "{name}");
    }
}

#[test]
fn the_plan_tells_the_effect_that_it_finds_and_the_observed_one_does_not_change_it() {
    let progress = |report: Report| report.outlook.progress.expect("a goal");
    let rates = |arm: f64| [[0.2, 0.3, 0.02, 0.0], [arm, 0.3, 0.02, 0.0]];
    let with = |one: f64, other: f64| {
        let [mut rates, other] = [rates(one), rates(other)];
        rates[0][0] = other[1][0];
        progress(report_at(&observed(&two(), 2000, &rates, Course::default()), &running(), &[], 10))
    };
    // The same units, with the effect one way and the other.
    let (up, down) = (with(0.25, 0.15), with(0.15, 0.25));
    assert!(up.detectable.is_some() && up.detectable == down.detectable, "{up:?} {down:?}");
    // 2000 in ten days: 2000 more take ten, and a day to mature.
    assert!(up.days_left.is_some_and(|days| (days - 11.0).abs() < 1e-9), "{up:?}");
    // (3.03 to 3.3 for two goals + 0.84) · 2 · sqrt(0.2 · 0.8 / 4000)
    assert!(up.detectable.is_some_and(|effect| (0.048..0.054).contains(&effect)), "{up:?}");
}

#[test]
fn all_panels_of_the_chart_are_there_and_one_is_chosen() {
    let page = conflict().html();
    let count = |what: &str| page.matches(what).count();
    assert_eq!((count("type=\"radio\""), count("class=\"panel\""), count(" checked")), (3, 3, 1));
    assert!(!page.contains("<script") && !page.contains("http"), "it needs nothing else");
    // Print shows all panels and opens what is folded.
    let print = page.split_once("@media print").map_or("", |(_, print)| print);
    assert!(
        print.contains(".choice>.panel{display:block}") && print.contains("details::details-content{display:block")
    );
}

#[test]
fn the_text_has_the_verdict_by_arm_what_forbids_and_the_lift() {
    let mut report = dropped();
    report.forbids.push("a feed is silent".to_owned());
    let text = report.to_string();
    for needle in [
        "\n  other                    stop: ",
        "\nforbids shipping: a feed is silent\n",
        "\nnext: the host ships the best arm that qualifies",
    ] {
        assert!(text.contains(needle), "{needle}: {text}");
    }
    let text = conflict().to_string();
    assert!(text.contains("(+60\u{a0}% of control's, surely +28 to +103\u{a0}%)"), "{text}");
    assert!(provisional().to_string().contains("provisional: not all planned units are mature"));
}

/// What is said to come next, of this spec and these rates.
fn next(spec: &str, rates: &[Rates]) -> String {
    let status = Status { step: 1, phase: 2, ..running() };
    let report = report_at(&observed(spec, 6000, rates, Course::default()), &status, &[("start", "running")], 20);
    report.outlook.next.expect("it runs").sentence()
}

#[test]
fn what_comes_next_is_what_may_happen() {
    let same = [[0.10, 0.30, 0.02, 0.001]; 2];
    assert_eq!(next(&two(), &same), "the host ships the best arm that qualifies");
    let conflict = next(&two(), &[[0.10, 0.30, 0.02, 0.001], [0.16, 0.22, 0.02, 0.001]]);
    assert!(conflict.starts_with("arm 'next' does not ship while it is significantly worse at 'paid'"), "{conflict}");
    let watching = two().replace("role = \"goal\"", "role = \"secondary\"").replace("on_success = \"ship\"\n", "");
    assert!(next(&watching, &same).starts_with("guardrails act on harm"));
    let mut altered = observed(&two(), 6000, &same, Course::default());
    altered.unreadable("outcomes", 7, "the row was altered");
    let status = Status { step: 1, phase: 2, ..running() };
    let report = report_at(&altered, &status, &[("start", "running")], 20);
    let what = report.outlook.next.map(|next| next.what);
    assert_eq!(what.as_deref(), Some("nothing ships until what forbids shipping is put right"));
}

#[test]
fn a_file_that_only_watches_is_told_so_by_every_arm() {
    let watching = two().replace("role = \"goal\"", "role = \"secondary\"").replace("on_success = \"ship\"\n", "");
    let same = [[0.10, 0.30, 0.02, 0.001]; 2];
    let report = report_at(&observed(&watching, 600, &same, Course::default()), &running(), &[], 20);
    for why in [&report.verdict.why, &report.arms[0].why] {
        assert_eq!(why, "guardrails only: there is no goal, so nothing ships by itself");
    }
}

#[test]
fn a_loss_that_the_file_tolerates_is_told_with_the_verdict() {
    let tolerant = two().replace("outcome = \"paid\"\n", "outcome = \"paid\"\ntolerate = 0.3\n");
    let rates = [[0.10, 0.30, 0.02, 0.0], [0.20, 0.10, 0.02, 0.0]];
    let status = Status { step: 1, phase: 2, ..running() };
    let report = report_at(&observed(&tolerant, 6000, &rates, Course::default()), &status, &[], 20);
    assert_eq!(report.verdict.decision, "ship", "{}", report.verdict.why);
    let said = "it is worse at 'paid' by 20.0\u{a0}pp, which its tolerate = 0.3 allows";
    for shown in [report.html().replace("&#39;", "'"), report.to_string()] {
        assert!(shown.contains(said), "{shown}");
    }
    assert!(!conflict().to_string().contains("tolerate"));
}

#[test]
fn adaptive_shares_are_shown_with_their_batch_and_arms_differ_by_what_is_compared() {
    let shares = "[allocation]\npolicy = \"thompson\"\nmetric = \"cured\"\nupdate_every = \"2d\"\n";
    let ramp = "ramp = [{ coverage = 0.1, hold = \"1d\", min_units = 300, gate = \"fast\" }, { coverage = 1.0 }]\n";
    let spec = SPEC
        .replace("weight = 0.4\n", "")
        .replace("weight = 0.2\n", "")
        .replace(ramp, "")
        .replace("on_success = \"ship\"\n", "")
        + shares;
    let batches = vec![vec![0.2, 0.4, 0.4], vec![0.3, 0.6, 0.1]];
    let course = Course { batches: batches.clone(), ..Course::default() };
    let status = Status { batches, batch_ms: START + 2 * DAY, ..running() };
    let rates = [[0.10, 0.30, 0.02, 0.0], [0.16, 0.30, 0.02, 0.0], [0.12, 0.30, 0.02, 0.0]];
    let report = report_at(&observed(&spec, 3000, &rates, course), &status, &[("start", "running")], 3);
    let (page, text) = (report.html(), report.to_string());
    let batch = "batch 2 since 2026-11-20 11:06 UTC; the next one is due on 2026-11-22 11:06 UTC";
    assert!(page.contains("id=\"allocation\"") && page.contains(batch) && !page.contains("id=\"ramp\""), "{page}");
    assert!(text.contains(&format!("\nshares: {batch}: control 30.0 %, next 60.0 %, other 10.0 %\n")), "{text}");
    assert!(text.contains("batch 3 begins on 2026-11-22 11:06 UTC"), "{text}");
    let cured = &report.metrics[0];
    let [control, arm] = ["control", "next"].map(|arm| cured.arms[arm].mean.expect("units"));
    assert!(cured.comparisons[0].difference.is_some_and(|difference| (arm - control - difference).abs() < 1e-12));
}

#[test]
fn the_page_has_the_file_and_one_minus_sign() {
    let page = conflict().html();
    assert!(page.contains("<pre>\nid = &quot;e&quot;"), "{page}");
    for (name, report) in all() {
        let hyphen = |text: &str| {
            let signs: Vec<usize> = text.match_indices([' ', '(', '[']).map(|(at, _)| at + 1).collect();
            signs.into_iter().find(|at| text[*at..].strip_prefix('-').is_some_and(|n| n.starts_with(char::is_numeric)))
        };
        assert_eq!(hyphen(&report.to_string()), None, "{name}");
    }
}

#[test]
fn a_report_of_an_older_host_is_still_read_and_drawn() {
    let mut json = serde_json::to_value(conflict()).expect("json");
    let fields = json.as_object_mut().expect("an object");
    for key in ["started_at", "next", "ramp", "allocation", "spec_text", "progress", "checks", "arms", "forbids"] {
        assert!(fields.remove(key).is_some(), "{key}");
    }
    for list in ["metrics", "guardrails"] {
        for entry in fields[list].as_array_mut().expect("a list") {
            let entry = entry.as_object_mut().expect("an object");
            ["shared_by", "is_share", "rule"].into_iter().for_each(|key| drop(entry.remove(key)));
        }
    }
    let old: Report = serde_json::from_value(json).expect("it is still a report");
    let page = old.html();
    assert!(
        page.contains("<b>Split (SRM)</b>") && page.contains("alpha 0.025") && !page.contains("id=\"ramp\""),
        "{page}"
    );
    assert!(!old.to_string().contains("\nnext: "));
}
