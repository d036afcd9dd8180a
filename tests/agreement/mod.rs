//! `serin check` says what a host would do: over generated deployments and edits of them, with commands
//! and restarts in between, the two agree on what is applied, on what is not, and on why.

mod choices;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use world::World;

use crate::support::seeds::{play_asked_for, say_how_to_repeat};

/// Steps of one seed.
const STEPS: usize = 30;

fn play(seed: u64) {
    let mut trace = Vec::new();
    let played = catch_unwind(AssertUnwindSafe(|| {
        let mut world = World::new(seed);
        world.compare();
        for _ in 0..STEPS {
            trace.push(world.step());
            world.compare();
        }
        world.stop();
    }));
    if let Err(panic) = played {
        trace.iter().for_each(|step| eprintln!("    {step}"));
        say_how_to_repeat(seed, "agreement");
        std::panic::resume_unwind(panic);
    }
}

// Two tests, so that they share the cores: 1,020 edits in all.
#[test]
fn check_and_a_running_host_agree_first_half() {
    (0..17).for_each(play);
}

#[test]
fn check_and_a_running_host_agree_second_half() {
    (17..34).for_each(play);
}

#[test]
fn seeds_that_are_asked_for() {
    play_asked_for(play);
}
