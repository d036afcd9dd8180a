//! An experiment's life, from draft to its end.

use super::*;

fn spec() -> Experiment {
    Experiment::parse(
        "id = \"e\"\ndecision_point = \"d\"\n\
         ramp = [{ coverage = 0.1, hold = \"1h\", min_units = 100, gate = \"fast\" }, { coverage = 0.5, gate = \"non_inferior\" }, { coverage = 1.0 }]\n\
         [[arms]]\nname = \"a\"\nstrategy = \"p@1.0.0\"\nweight = 0.5\n[[arms]]\nname = \"b\"\nstrategy = \"q@1.1.0\"\nweight = 0.5\n\
         [[guardrails]]\nmetric = \"failures\"\nmax_increase = 0.01\n",
    )
    .expect("valid")
}

const HOUR: u64 = 3_600_000;

fn started() -> Status {
    Status::default().after(&Command::Start, &spec(), 1000).expect("starts")
}

#[test]
fn a_life_from_draft_to_conclusion() {
    let spec = spec();
    let status = started();
    assert_eq!((status.state, status.phase, status.generation, status.coverage(&spec)), (State::Running, 1, 1, 0.1));
    let status = status.after(&Command::Promote, &spec, 2000).expect("promotes");
    assert_eq!((status.phase, status.coverage(&spec), status.since_ms), (2, 0.5, 2000));
    let paused = status.after(&Command::Pause, &spec, 3000).expect("pauses");
    assert_eq!((paused.state, paused.coverage(&spec)), (State::Paused, 0.5), "who is in stays in");
    let status = paused.after(&Command::Resume, &spec, 4000).expect("resumes");
    let conclude = Command::Conclude { winner: "b".into() };
    let status = status.after(&conclude, &spec, 5000).expect("concludes");
    assert_eq!((status.state, status.coverage(&spec), status.winner.as_deref()), (State::Concluded, 0.0, Some("b")));
    assert_eq!((status.started_ms, status.ended_ms, status.generation), (Some(1000), Some(5000), 5));
}

#[test]
fn what_is_not_possible_says_what_is() {
    let spec = spec();
    let refused =
        |status: &Status, command: &Command| status.after(command, &spec, 9000).expect_err("refused").to_string();
    let draft = Status::default();
    assert!(refused(&draft, &Command::Promote).contains("is draft, and cannot promote; possible: start, abort"));
    let aborted = started().after(&Command::Abort, &spec, 2000).expect("aborts");
    for command in [Command::Start, Command::Promote, Command::Resume, Command::Abort] {
        assert!(refused(&aborted, &command).contains("it has ended: start another id"), "{command:?}");
    }
    let winner = Command::Conclude { winner: "c".into() };
    assert!(refused(&started(), &winner).contains("winner = \"c\" is not an arm; arms: a, b"));
    let mut last = started();
    for _ in 0..2 {
        last = last.after(&Command::Promote, &spec, 2000).expect("promotes");
    }
    assert!(refused(&last, &Command::Promote).contains("last step, 3 of 3"));
}

#[test]
fn a_step_is_left_when_it_has_shown_what_it_must() {
    let (spec, status) = (spec(), started());
    let evidence = |units, no_harm, non_inferior| Evidence { units, no_harm, non_inferior, ..Evidence::default() };
    let waits = |status: &Status, e: Evidence, at: u64| match status.next(&spec, &e, at) {
        Next::Wait(why) => why,
        other => panic!("{other:?}"),
    };
    assert!(waits(&status, evidence(500, true, true), 1000 + HOUR - 1).contains("held"));
    assert!(waits(&status, evidence(99, true, true), 1000 + HOUR).contains("99 of 100 units"));
    assert!(waits(&status, evidence(100, false, true), 1000 + HOUR).contains("shows harm"));
    assert!(matches!(status.next(&spec, &evidence(100, true, false), 1000 + HOUR), Next::Promote(_)));
    let second = status.after(&Command::Promote, &spec, 2000).expect("promotes");
    assert!(waits(&second, evidence(100, true, false), 3000).contains("inconclusive holds"));
    assert!(matches!(second.next(&spec, &evidence(100, true, true), 3000), Next::Promote(_)));
    let paused = second.after(&Command::Pause, &spec, 3000).expect("pauses");
    assert_eq!(paused.next(&spec, &evidence(100, true, true), 4000), Next::Stay);
    let last = second.after(&Command::Promote, &spec, 3000).expect("promotes");
    assert_eq!(last.next(&spec, &evidence(100, true, true), u64::MAX), Next::Stay);
}

#[test]
fn another_coverage_in_the_file_is_another_phase() {
    let (spec, status) = (spec(), started());
    assert_eq!((status.due(&spec, "p@1.0.0"), Status::default().due(&spec, "")), (None, Some(Command::Start)));
    let mut edited = spec.clone();
    edited.ramp[0].coverage = 0.3;
    assert_eq!(status.due(&edited, ""), Some(Command::Edit));
    let status = status.after(&Command::Edit, &edited, 2000).expect("takes it over");
    assert_eq!((status.phase, status.step, status.applied, status.due(&edited, "")), (2, 0, 0.3, None));
}

#[test]
fn a_shipped_winner_serves_until_the_pin_is_edited_or_harm_is_seen() {
    let spec = spec();
    let ship = Command::Ship { winner: "b".into(), pin: "p@1.0.0".to_owned() };
    let shipped = started().after(&ship, &spec, 2000).expect("ships");
    assert_eq!((shipped.state, shipped.phase, shipped.coverage(&spec)), (State::Shipped, 2, 1.0));
    assert_eq!(shipped.due(&spec, "p@1.0.0"), None);
    assert_eq!(shipped.due(&spec, "p@1.0.0 {}"), None, "it was recorded without parameters");
    let conclude = Some(Command::Conclude { winner: "b".into() });
    assert_eq!(shipped.due(&spec, "q@1.1.0 {}"), conclude);
    let ship = Command::Ship { winner: "b".into(), pin: "p@1.0.0 {}".to_owned() };
    let with_parameters = started().after(&ship, &spec, 2000).expect("ships");
    assert_eq!(with_parameters.due(&spec, "p@1.0.0 {}"), None);
    assert_eq!(with_parameters.due(&spec, "p@1.0.0 {\"cap\":4}"), conclude);
    assert!(shipped.after(&Command::Pause, &spec, 3000).is_err());
    let reopened = shipped.after(&Command::Reopen, &spec, 3000).expect("reopens");
    assert_eq!((reopened.state, reopened.coverage(&spec), &reopened.winner), (State::Paused, 0.0, &None));
    let refused = reopened.after(&Command::Promote, &spec, 4000).expect_err("withdrawn").to_string();
    assert!(refused.contains("possible: resume, abort, conclude"), "{refused}");
    let again = reopened.after(&Command::Resume, &spec, 4000).expect("resumes");
    assert_eq!((again.state, again.step, again.coverage(&spec)), (State::Running, 0, 0.1));
}

#[test]
fn another_batch_has_other_shares_and_moves_no_ramp() {
    let (spec, status) = (spec(), started());
    assert_eq!((status.weights(&spec), status.batch()), (vec![0.5, 0.5], None));
    let next = status.after(&Command::Allocate { weights: vec![0.2, 0.8] }, &spec, 5000).expect("allocates");
    assert_eq!((next.weights(&spec), next.batch(), next.since_ms), (vec![0.2, 0.8], Some(0), 1000));
}

#[test]
fn only_what_is_agreed_to_brings_in_an_edited_coverage() {
    let (status, mut wide) = (started(), spec());
    wide.ramp[0].coverage = 0.9;
    let dropped = Command::Drop { arm: "b".into() };
    let batch = Command::Allocate { weights: vec![0.2, 0.8] };
    let mut at = status;
    for command in [dropped, batch, Command::Pause, Command::Resume] {
        at = at.after(&command, &wide, 2000).expect("is possible");
        assert_eq!((at.applied, at.due(&wide, "")), (0.1, Some(Command::Edit)), "{command:?}");
    }
    assert_eq!(at.after(&Command::Edit, &wide, 3000).expect("is agreed to").applied, 0.9);
    let mut narrow = spec();
    narrow.ramp[0].coverage = 0.05;
    assert_eq!(at.after(&Command::Pause, &narrow, 3000).expect("pauses").applied, 0.05);
    assert_eq!(at.after(&Command::Abort, &wide, 3000).expect("aborts").applied, 0.0);
}

#[test]
fn a_clock_that_goes_back_undoes_nothing() {
    let paused = started().after(&Command::Pause, &spec(), 10).expect("pauses");
    assert_eq!(paused.since_ms, 1000);
}
