//! Reload under fire. A seed orders what people and deployments do to the files of a running host (add, replace,
//! truncate, rename, delete, link elsewhere, change the mode), its restarts and kills, while decisions are asked for.
//! After each step the host's state equals that of a plain model, and no decision has failed.

mod load;
mod model;
mod world;

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

use world::World;

use crate::support::seeds::{play_asked_for, say_how_to_repeat};

/// Steps of one seed.
const STEPS: usize = 200;

/// Plays one seed; on a failure says what led to it, and how to play it again.
fn play(seed: u64) {
    let mut trace = Vec::new();
    let played = catch_unwind(AssertUnwindSafe(|| {
        let mut world = World::new(seed);
        for at in 0..STEPS {
            trace.push(format!("{at:>4}  {}", world.step()));
            world.compare();
        }
        world.end();
    }));
    if let Err(panic) = played {
        let told: Vec<String> = trace.iter().map(|step| format!("    {step}\n")).collect();
        eprintln!("seed {seed}:\n{}", told.concat());
        say_how_to_repeat(seed, "churn");
        std::panic::resume_unwind(panic);
    }
}

/// Plays seeds beside each other: each waits for its host most of the time.
fn play_all(seeds: Range<u64>) {
    std::thread::scope(|scope| {
        let played: Vec<_> = seeds.map(|seed| scope.spawn(move || play(seed))).collect();
        for seed in played {
            if let Err(panic) = seed.join() {
                std::panic::resume_unwind(panic);
            }
        }
    });
}

#[test]
fn files_that_change_under_load_are_in_force_as_they_are_and_no_decision_fails_first_half() {
    play_all(0..5);
}

#[test]
fn files_that_change_under_load_are_in_force_as_they_are_and_no_decision_fails_second_half() {
    play_all(5..10);
}

#[test]
fn seeds_that_are_asked_for() {
    play_asked_for(play);
}
