//! Arms that were dropped: their units have control's strategy, so nothing of it is theirs.

use super::tests::{FAIR, arm, bandit, decide, observed};
use super::*;

#[test]
fn a_dropped_arm_treats_nobody_unfairly() {
    let mut observed = observed(FAIR);
    for i in 0..4000 {
        let is_old = i % 4 < 2;
        let age = if is_old { "{\"features.m.age\":\"old\"}" } else { "{\"features.m.age\":\"young\"}" };
        decide(&mut observed, i, arm(i), if is_old && arm(i) == "b" { "call" } else { "email" }, Some(age));
    }
    let unfair = |observed: &Observed| analyse(observed, u64::MAX).unfair().is_some();
    assert!(unfair(&observed), "all of the old in 'b' are called");
    let course = Course { dropped: vec!["b".into()], ..observed.course.clone() };
    assert!(observed.continue_with(&course));
    assert!(!unfair(&observed), "they have control's strategy now");
}

#[test]
fn a_dropped_arm_gets_no_share_of_the_next_batch() {
    let mut observed = bandit("");
    let shares = next_shares(&observed, 10_000).expect("adaptive");
    assert!(shares.iter().all(|share| *share > 0.0), "{shares:?}");
    let course = Course { dropped: vec!["b".into()], ..observed.course.clone() };
    assert!(observed.continue_with(&course));
    let after = next_shares(&observed, 10_000).expect("adaptive");
    assert_eq!((after[0], after[1]), (shares[0], 0.0));
    assert!((after.iter().sum::<f64>() - 1.0).abs() < 1e-12, "{after:?}");
}
