//! Whom an outcome is about that names a decision: the decision's unit, of its own kind, for as long as the outcome is
//! kept.

use std::time::Duration;

use serin::clock::{Clock as _, decision_id};
use serin::ledger::{
    ClockState, DecisionRow, Event, OutcomeSubject as About, Reads as _, Retention, ReversalInput, RowsNeeded,
};

use crate::steering::Loop;

/// A decision about a unit at another point, which runs no experiment. Returns its id.
fn elsewhere(steering: &Loop, kind: &str, unit: &str) -> String {
    let id = decision_id(&*steering.clock, steering.clock.now_ms());
    let row = steering.row(&id, unit, "");
    steering.commit(DecisionRow {
        point: "other".into(),
        unit_kind: Some(kind.into()),
        assignment: None,
        served_by: "strategy",
        ..row
    });
    id
}

/// The mean of the arm `next` once all are mature, as a host knows it that has followed all along.
fn mean(steering: &Loop) -> Option<f64> {
    // The feed is heard of: units mature up to here.
    let id = decision_id(&*steering.clock, steering.clock.now_ms());
    steering.outcome(&id, Loop::of_unit("somebody"), 0.0);
    steering.agree();
    let means = steering.observer.each(|followed, _| {
        let (_, analysis, _) = followed.analysis(steering.clock.now_ms() + 10_000_000);
        Some(analysis.metrics[0].arms[1].mean)
    });
    *means.first().expect("it is followed")
}

#[test]
fn an_outcome_about_a_decision_counts_for_units_of_its_kind_alone() {
    let steering = Loop::new();
    let of = |unit: &str| decision_id(&*steering.clock, steering.clock.now_ms()) + unit;
    steering.decision(&of("17"), "17", "next");
    steering.decision(&of("18"), "18", "next");
    let (order, borrower) = (elsewhere(&steering, "order", "17"), elsewhere(&steering, "borrower", "18"));
    steering.clock.advance(Duration::from_secs(60));
    steering.outcome("o-1", About::Decision(order), 8.0);
    steering.outcome("o-2", About::Decision(borrower), 2.0);
    steering.clock.advance(Duration::from_secs(2 * 3600));
    assert_eq!(mean(&steering), Some(1.0), "order 17 is not borrower 17");
    // An outcome of before kinds were kept counts as it did.
    let ledger = rusqlite::Connection::open(&steering.path).expect("opens");
    ledger.execute("UPDATE outcomes SET unit_kind = NULL", []).expect("updates");
    let again = serin::experiments::Observer::new(steering.ledger.clone());
    again.follow(&[steering.subject()], |_| false);
    let seen =
        again.with("e", |followed| followed.analysis(steering.clock.now_ms() + 10_000_000).1.metrics[0].arms[1].mean);
    assert!(matches!(seen, Ok(serin::experiments::Seen::Whole(Some(5.0)))), "{:?}", seen.is_ok());
}

#[test]
fn an_outcome_whose_decision_has_expired_counts_as_it_did() {
    let steering = Loop::new();
    steering.decision(&decision_id(&*steering.clock, steering.clock.now_ms()), "17", "next");
    let [told, taken_back] = [(); 2].map(|()| elsewhere(&steering, "borrower", "17"));
    steering.clock.advance(Duration::from_secs(60));
    steering.outcome("o-1", About::Decision(told.clone()), 8.0);
    steering.outcome("o-2", About::Decision(taken_back), 2.0);
    steering.clock.advance(Duration::from_secs(2 * 3600));
    assert_eq!(mean(&steering), Some(10.0));
    let retention = Retention {
        clock: ClockState::Trusted(steering.clock.now_ms()),
        keep_ms: Some(3_600_000),
        keep_keys_ms: 3_600_000,
        keep_audit_ms: None,
        experiments: [("e".into(), RowsNeeded { point: "p".into(), after_end_ms: 0 })].into(),
    };
    let expire = || steering.ledger.expire(retention.clone()).expect("queued").blocking_recv().expect("answered");
    while expire().expect("deletes") {}
    assert!(steering.ledger.decision(&told).expect("reads").is_none(), "nothing needs the decision itself");
    assert_eq!(mean(&steering), Some(10.0), "to a host that runs and to one that reads all anew");
    let at_ms = steering.clock.now_ms();
    steering.event(Event::Reversal(ReversalInput { id: "r-2".to_owned(), reverses: "o-2".to_owned(), at_ms }));
    assert_eq!(mean(&steering), Some(8.0), "what is taken back is known to both");
}
