//! Everything that reads what comes from outside, fed with what is almost right: a panic, an overflow, a hang or memory
//! without bound is that input's fault, and never the host's end.
//!
//! Each target is a plain function of bytes. `make test` gives it its corpus, and some seeded mutations; `make fuzz`
//! goes on for as long as is asked for, with new ones. An input that is found is written to
//! `tests/fuzz/corpus/TARGET`, and is part of every later run. So is what coverage has led to: `tests/fuzz/guided` is
//! built with libFuzzer, outside of the workspace, and `make fuzz` runs it where it can be built.

mod corpus;
mod host_readers;
mod mutate;
mod readers;
mod run;
mod targets;

use std::time::{Duration, Instant};

use serin::clock::{Clock as _, SystemClock};

use crate::support::seeds::Random;
use mutate::mutated;
use run::Runner;
use targets::Target;

/// Mutations of each target in every run of the tests.
const MUTATIONS: usize = 150;

/// Gives a target its corpus, and mutations of it: a fixed number of fixed ones, or new ones for `FUZZ_SECONDS`.
fn fuzz(target: &Target) {
    let corpus = corpus::of(target);
    assert!(corpus.len() > 1, "{}: nothing to begin with", target.name);
    let runner = Runner::of(target);
    corpus.iter().for_each(|input| runner.run(input));
    let Some(lasts) = asked_for() else {
        let random = Random::new(20_261_127);
        (0..MUTATIONS).for_each(|_| runner.run(&mutated(&corpus, &random)));
        return;
    };
    corpus::keep_for_guided(target);
    let (random, end) = (Random::new(SystemClock.entropy()), Instant::now() + lasts);
    let runs = std::iter::repeat_with(|| runner.run(&mutated(&corpus, &random))).take_while(|()| Instant::now() < end);
    println!("{}: {} inputs, nothing found", target.name, runs.count());
}

/// `FUZZ_SECONDS`.
fn asked_for() -> Option<Duration> {
    let seconds = std::env::var("FUZZ_SECONDS").ok()?;
    Some(Duration::from_secs(seconds.parse().expect("FUZZ_SECONDS: a whole number")))
}

#[test]
fn mutated_artifacts() {
    fuzz(&targets::ARTIFACT);
}

#[test]
fn mutated_manifests() {
    fuzz(&targets::MANIFEST);
}

#[test]
fn mutated_cases() {
    fuzz(&targets::CASE);
}

#[test]
fn mutated_experiments() {
    fuzz(&targets::EXPERIMENT);
}

#[test]
fn mutated_expressions() {
    fuzz(&targets::EXPRESSION);
}

#[test]
fn mutated_requests() {
    fuzz(&targets::REQUEST);
}

#[test]
fn mutated_csv_files() {
    fuzz(&targets::CSV);
}

#[test]
fn mutated_parquet_files() {
    fuzz(&targets::PARQUET);
}

#[test]
fn mutated_records() {
    fuzz(&targets::RECORD);
}

#[test]
fn mutated_rows_of_the_ledger() {
    fuzz(&targets::PACKED);
}

/// What the runner is for: an input that panics is kept, and the run fails.
#[test]
fn what_is_found_is_kept_and_fails_the_run() {
    let folder = tempfile::tempdir().expect("a folder");
    let read = |input: &[u8]| assert!(input.len() < 3, "too long: {}", input.len());
    let target = Target { name: "example", read, seeds: || vec![b"a".to_vec(), b"b".to_vec()] };
    let runner = Runner { target: &target, kept: folder.path().to_path_buf() };
    runner.run(b"ab");
    let failed = std::panic::catch_unwind(|| runner.run(b"abc")).expect_err("found");
    let said = failed.downcast_ref::<String>().expect("a text");
    assert!(said.contains("example: panicked: too long: 3"), "{said}");
    let found: Vec<_> = std::fs::read_dir(folder.path()).expect("reads").collect();
    assert_eq!(found.len(), 1);
    let kept = std::fs::read(found[0].as_ref().expect("an entry").path()).expect("reads");
    assert_eq!(kept, b"abc");
}
