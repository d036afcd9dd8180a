//! The loop that steers experiments, simulated. One process, a simulated clock, and a seed that
//! orders everything: decisions and their commits, outcomes early, late and reversed, exposures,
//! people's commands, edits of files, looks of the host, errors of the ledger, restarts and expiry.
//! The ledger, the controller, the observer, the reloader and the sandbox are the host's own; what
//! they may do is held to a plain model after each step.

mod checks;
mod faults;
mod feeds;
mod files;
mod model;
mod steps;
mod world;

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;

use serin_core::experiment::Command::Start;
use world::World;

use crate::support::seeds::{play_asked_for, say_how_to_repeat};

/// Steps of one seed.
const STEPS: usize = 220;

/// Plays one seed; on a failure says what led to it, and how to play it again.
fn play(seed: u64) {
    let mut trace = Vec::new();
    let played = catch_unwind(AssertUnwindSafe(|| {
        let mut world = World::new(seed);
        checks::all(&mut world);
        for at in 0..STEPS {
            let step = steps::next(&world);
            trace.push(format!("{at:>4} {:>7} ms  {step:?}", world.passed_ms()));
            world.take(step);
            checks::all(&mut world);
        }
    }));
    if let Err(panic) = played {
        eprintln!("the last steps of seed {seed}:");
        trace.iter().skip(trace.len().saturating_sub(60)).for_each(|line| eprintln!("{line}"));
        say_how_to_repeat(seed, "simulation");
        std::panic::resume_unwind(panic);
    }
}

fn play_all(seeds: Range<u64>) {
    seeds.for_each(play);
}

// Four tests, so that they share the cores: each seed takes a fraction of a second.
#[test]
fn no_order_of_steps_breaks_an_invariant_first_quarter() {
    play_all(0..50);
}

#[test]
fn no_order_of_steps_breaks_an_invariant_second_quarter() {
    play_all(50..100);
}

#[test]
fn no_order_of_steps_breaks_an_invariant_third_quarter() {
    play_all(100..150);
}

#[test]
fn no_order_of_steps_breaks_an_invariant_last_quarter() {
    play_all(150..200);
}

#[test]
fn seeds_that_are_asked_for() {
    play_asked_for(play);
}

/// Plays seeds with a defect put back, in a process of its own, until one fails.
fn is_found(mutant: &str, expected: &str) {
    let played = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "simulation::seeds_that_are_asked_for", "--nocapture"])
        .env("SERIN_MUTANT", mutant)
        .env("SERIN_SEEDS", "0..60")
        .output()
        .expect("runs");
    let said = String::from_utf8_lossy(&played.stderr);
    assert!(!played.status.success(), "no seed of 0..60 finds {mutant}");
    assert!(said.contains(expected), "{mutant} is found by another invariant than \"{expected}\":\n{said}");
    assert!(said.contains("repeat it: SERIN_SEEDS="), "{said}");
}

#[test]
fn a_host_that_carries_out_stale_commands_is_found() {
    is_found("StaleCommand", "was judged on another generation");
}

#[test]
fn an_observer_that_reads_outcomes_before_decisions_is_found() {
    is_found("OutcomesFirst", "live analysis");
}

#[test]
fn a_deployment_of_a_status_that_was_not_recorded_is_found() {
    is_found("UnrecordedStatus", "was never recorded");
}

#[test]
fn expiry_of_what_a_running_experiment_needs_is_found() {
    is_found("ForgottenFacts", "units that entered");
}

#[test]
fn the_host_stops_what_does_harm_and_ends_what_has_run_long_enough() {
    for seed in 0..3 {
        let mut world = World::new(seed);
        let spec = world.spec("c").expect("a spec");
        world::person(&world.host().controller, &spec, &Start, None).expect("possible");
        world.apply();
        (0..200).for_each(|unit| world.take(steps::Step::Decide(vec![unit])));
        world.take(steps::Step::Commit(0, 200));
        let complaint = |unit: &u32| model::Row::Outcome {
            id: format!("o-{unit}"),
            name: "complaint".to_owned(),
            value: 1.0,
            at_ms: world.now_ms(),
            received_ms: world.now_ms(),
            about: model::About::Unit(format!("b-{unit}")),
            is_known: true,
        };
        let complaints = (0..200).collect::<Vec<u32>>().iter().map(complaint).collect();
        world.take(steps::Step::Post(complaints));
        let mut look = |pass_ms: u64| {
            for step in [steps::Step::Pass(pass_ms), steps::Step::Read, steps::Step::Judge, steps::Step::CarryOut] {
                world.take(step);
                checks::all(&mut world);
            }
            world.take(steps::Step::Apply);
            checks::all(&mut world);
            ["a", "b", "c"].map(|id| world.model.statuses[id].state.clone())
        };
        assert_eq!(look(10)[..2], ["aborted", "aborted"], "more complaints than the guardrails allow");
        let ended = look(70_000);
        assert!(["aborted", "concluded"].contains(&&*ended[2]), "harm, or its max_duration: {ended:?}");
    }
}
