//! Sixty days of canaries, by the code that a host runs, with nothing but the clock and the
//! borrowers made up: what is better ships, what does harm is stopped, and what is neither is
//! left alone, however often it is looked at.

use std::collections::HashSet;
use std::sync::Arc;

use serin_core::allocation::{Purpose, admitted, pick, place};
use serin_core::analysis::{Analysis, Decide, Decision, Happened, HarmStatus, Observed, analyse};
use serin_core::experiment::{Command, Experiment, Next, State, Status};

const DAY: u64 = 86_400_000;
const DAYS: u64 = 60;

const SPEC: &str = r#"
id = "canary"
decision_point = "p"
salt = "SALT"
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

/// SplitMix64.
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// What is true of an arm.
#[derive(Clone, Copy)]
struct Truth {
    cured: f64,
    /// The day, of fourteen, on which half of the cures have come.
    half_by: f64,
    complains: f64,
    /// Borrowers on whom it traps.
    traps: f64,
}

const CONTROL: Truth = Truth { cured: 0.31, half_by: 5.0, complains: 0.02, traps: 0.0 };
/// Cures more, and later: who counts those that are not mature as not cured takes it for worse.
const BETTER: Truth = Truth { cured: 0.34, half_by: 9.0, ..CONTROL };
const PUSHY: Truth = Truth { cured: 0.35, complains: 0.035, ..CONTROL };
const CRASHING: Truth = Truth { traps: 0.02, ..CONTROL };

struct Sixty {
    status: Status,
    last: Analysis,
    /// Days until it ended, where the host ended it.
    ended_on: Option<u64>,
    /// Whether a t-test that is looked at every day was ever significant.
    peeked: bool,
    /// The first ten days' difference of those cured so far among all that entered.
    naive_early: f64,
}

/// Borrowers enter over the first forty days, and are decided about four times, a day apart.
fn sixty_days(truth: Truth, borrowers: u64, seed: u64) -> Sixty {
    let spec = Arc::new(Experiment::parse(&SPEC.replace("SALT", &format!("salt-{seed}"))).expect("valid"));
    let mut status = Status::default().after(&Command::Start, &spec, 0).expect("starts");
    let mut observed = Observed::new(Arc::clone(&spec));
    let mut draw = Draw(seed.wrapping_mul(0x2545_f491_4f6c_dd1d) | 1);
    // What is going to be posted, by day: unit, name, when it happened.
    let mut posts: Vec<Vec<(String, &str, u64)>> = vec![Vec::new(); DAYS as usize + 40];
    let mut decisions: Vec<Vec<(String, bool)>> = vec![Vec::new(); DAYS as usize + 5];
    let mut cured = HashSet::new();
    let (mut ended_on, mut peeked, mut naive_early) = (None, false, 0.0);
    let mut last = analyse(&observed, 0);
    for day in 0..DAYS {
        let begins = day * DAY;
        if day < 40 {
            let today = borrowers / 40;
            decisions[day as usize].extend((0..today).map(|i| (format!("b-{}", day * today + i), true)));
        }
        for (at, (unit, is_first)) in std::mem::take(&mut decisions[day as usize]).into_iter().enumerate() {
            let [from, to] = admitted(spec.slot, status.coverage(&spec));
            if !place(Purpose::Layer, &format!("layer-{seed}"), "borrower", &unit).is_within(from, to) {
                continue;
            }
            let weights = spec.arms.iter().map(|arm| arm.weight);
            let arm = pick(place(Purpose::Arm, &spec.salt, "borrower", &unit), weights).expect("an arm");
            let truth = [CONTROL, truth][arm];
            let time_ms = begins + at as u64;
            // A trap is a borrower's, not a decision's: the same one every time.
            let traps = place(Purpose::Holdout, "traps", "borrower", &unit).is_below(truth.traps);
            observed.decision(&Decision {
                place: 0,
                unit: &unit,
                arm: &spec.arms[arm].name,
                time_ms,
                action: "call",
                outcome: if traps { "trap" } else { "answer" },
                fell_back: traps,
                took_us: 100,
                forced: false,
                batch: None,
                attributes: None,
            });
            if !is_first {
                continue;
            }
            for again in 1..4 {
                decisions[(day + again) as usize].push((unit.clone(), false));
            }
            if draw.next() < truth.cured {
                // Within the fourteen days, early or late; posted two days after.
                let early = draw.next() < 0.5;
                let span = if early { truth.half_by } else { 13.9 - truth.half_by };
                let after = draw.next() * span + if early { 0.0 } else { truth.half_by };
                let at = time_ms + (after * DAY as f64) as u64;
                posts[(at / DAY) as usize + 2].push((unit.clone(), "cured", at));
            }
            if draw.next() < truth.complains {
                let at = time_ms + (draw.next() * 6.0 * DAY as f64) as u64;
                posts[(at / DAY) as usize].push((unit, "complaint", at));
            }
        }
        for (unit, name, at) in &posts[day as usize] {
            let received_ms = begins.max(*at);
            observed.outcome(&Happened { unit, at_ms: *at, received_ms, after: 0 }, name, 1.0);
            if *name == "cured" {
                cured.insert(unit.clone());
            }
        }
        let now = begins + DAY;
        last = analyse(&observed, now);
        if let Some(found) = last.metrics[0].comparisons.first().and_then(|c| c.found.as_ref().ok()) {
            peeked |= found.estimate.difference.abs() > 1.96 * found.estimate.se;
        }
        if day == 12 {
            naive_early = naive(&observed, &cured);
        }
        if !status.state.takes_units() {
            continue;
        }
        if last.guardrails.iter().any(|g| g.status == HarmStatus::Harm) {
            status = status.after(&Command::Abort, &spec, now).expect("aborts");
            ended_on = Some(day);
        } else if let Next::Promote(_) = status.next(&spec, &last.evidence(), now) {
            status = status.after(&Command::Promote, &spec, now).expect("promotes");
        }
    }
    Sixty { status, last, ended_on, peeked, naive_early }
}

/// What whoever counts the immature as not cured would say: canary less control.
fn naive(observed: &Observed, cured: &HashSet<String>) -> f64 {
    let mut arms = [(0.0, 0.0); 2];
    for (id, unit) in observed.by_id() {
        arms[unit.arm].0 += 1.0;
        arms[unit.arm].1 += f64::from(u8::from(cured.contains(id)));
    }
    let rate = |(n, cured): (f64, f64)| cured / n;
    rate(arms[1]) - rate(arms[0])
}

#[test]
fn what_is_better_ships_though_its_cures_come_late() {
    let runs: Vec<Sixty> = (1..=10).map(|seed| sixty_days(BETTER, 40_000, seed)).collect();
    let shipped = runs.iter().filter(|run| run.last.verdict.decision == Decide::Ship).count();
    let ramped = runs.iter().filter(|run| run.status.step == 2 && run.status.state == State::Running).count();
    assert!(shipped >= 8 && ramped >= 8, "{shipped} ship, {ramped} at the last step");
    assert!(runs.iter().all(|run| run.last.verdict.decision != Decide::Stop), "it is never called harmful");
    let fooled = runs.iter().filter(|run| run.naive_early < 0.0).count();
    assert!(fooled >= 8, "the mutant that counts the immature calls it worse: {fooled}");
}

#[test]
fn what_does_harm_is_stopped_and_never_ships() {
    for (name, truth, by_day) in [("pushy", PUSHY, 30), ("crashing", CRASHING, 6)] {
        let runs: Vec<Sixty> = (1..=10).map(|seed| sixty_days(truth, 40_000, seed)).collect();
        let stopped = runs.iter().filter(|run| run.ended_on.is_some_and(|day| day <= by_day)).count();
        let days: Vec<_> = runs.iter().map(|run| run.ended_on).collect();
        assert!(stopped >= 8, "{name}: stopped on {days:?}");
        assert!(runs.iter().all(|run| run.last.verdict.decision != Decide::Ship), "{name} ships");
        assert!(runs.iter().all(|run| run.ended_on.is_none() || run.status.state == State::Aborted));
    }
}

#[test]
fn what_is_neither_is_left_alone_however_often_it_is_looked_at() {
    const RUNS: u64 = 200;
    let runs: Vec<Sixty> = (1..=RUNS).map(|seed| sixty_days(CONTROL, 8_000, 1000 + seed)).collect();
    let won = runs.iter().filter(|run| run.last.verdict.decision == Decide::Ship).count();
    let stopped = runs.iter().filter(|run| run.ended_on.is_some()).count();
    let peeked = runs.iter().filter(|run| run.peeked).count();
    assert!(won <= 10, "{won} of {RUNS} ship");
    assert!(stopped <= 7, "{stopped} of {RUNS} are stopped: two guardrails at 1 % in all");
    assert!(peeked >= 30, "the mutant, a t-test looked at every day, wins: {peeked}");
}
