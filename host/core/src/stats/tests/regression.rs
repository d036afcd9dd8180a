//! Several covariates at once: exact answers, shards, what they take out, and what is left out.

use super::draw::{Draw, share};
use crate::stats::*;

/// The units of one arm, each an outcome and its covariates.
fn cross<const K: usize>(units: &[(f64, [f64; K])]) -> Cross {
    let mut cross = Cross::new(K);
    units.iter().for_each(|(y, x)| cross.push(*y, x));
    cross
}

fn near(found: f64, expected: f64, digits: f64) {
    assert!((found - expected).abs() <= digits * expected.abs(), "{found}, not {expected}");
}

type Unit = (f64, [f64; 2]);

const CONTROL: [Unit; 6] =
    [(3.0, [1.0, 2.0]), (5.0, [2.0, 1.0]), (4.0, [2.0, 5.0]), (8.0, [4.0, 3.0]), (7.0, [5.0, 4.0]), (6.0, [3.0, 7.0])];
const TREATMENT: [Unit; 7] = [
    (9.0, [2.0, 3.0]),
    (6.0, [1.0, 1.0]),
    (12.0, [4.0, 2.0]),
    (8.0, [3.0, 6.0]),
    (14.0, [6.0, 4.0]),
    (10.0, [5.0, 8.0]),
    (11.0, [4.0, 9.0]),
];

#[test]
fn it_is_the_regression_with_interactions() {
    // Least squares of y on 1, x − x̄ in each arm, solved in exact fractions.
    for origin in [0.0, 1e6] {
        let moved = |arm: &[Unit]| cross(&arm.iter().map(|(y, x)| (*y, x.map(|x| x + origin))).collect::<Vec<_>>());
        let found = adjusted(&moved(&CONTROL), &moved(&TREATMENT)).expect("enough");
        near(found.control, 5.933066933066933, 1e-9);
        near(found.treatment, 9.586063898136791, 1e-9);
        near(found.difference, 3.652996965069858, 1e-9);
        near(found.se, 0.6634017951990024, 1e-9);
        near(found.df, 6.984011376269148, 1e-8);
        assert_eq!(found.n, 13);
    }
}

#[test]
fn without_covariates_it_is_the_plain_difference() {
    let arm = |units: &[Unit]| cross(&units.iter().map(|(y, _)| (*y, [])).collect::<Vec<_>>());
    let (control, treatment) = (arm(&CONTROL), arm(&TREATMENT));
    let (found, plain) = (
        adjusted(&control, &treatment).expect("enough"),
        difference(&control.y(), &treatment.y(), Kind::Mean).expect("enough"),
    );
    assert_eq!((found.difference, found.n), (plain.difference, plain.n));
    near(found.se, plain.se, 1e-14);
    near(found.df, plain.df, 1e-14);
}

/// An arm in which `y` is `effect` + Σ `slopes` x and a normal number.
fn arm<const K: usize>(draw: &mut Draw, units: u32, effect: f64, slopes: [f64; K]) -> Vec<(f64, [f64; K])> {
    let mut unit = |_| {
        let x = [(); K].map(|()| draw.normals().0);
        (effect + draw.normals().0 + x.iter().zip(slopes).map(|(x, slope)| x * slope).sum::<f64>(), x)
    };
    (0..units).map(&mut unit).collect()
}

#[test]
fn one_covariate_is_as_with_cuped() {
    let mut draw = Draw(11);
    let (control, treatment) = (arm(&mut draw, 20_000, 5.0, [0.8]), arm(&mut draw, 10_000, 5.2, [0.8]));
    let joint = |units: &[(f64, [f64; 1])]| units.iter().map(|(y, x)| (*y, x[0])).collect::<Joint>();
    let found = adjusted(&cross(&control), &cross(&treatment)).expect("enough");
    let known = cuped(&joint(&control), &joint(&treatment)).expect("enough");
    assert!((found.difference - known.difference).abs() < 0.02 * known.se, "{found:?} {known:?}");
    near(found.se, known.se, 1e-3);
    near(found.df, known.df, 1e-2);
}

#[test]
fn shards_add_up_to_the_whole() {
    let far = |(y, x): Unit| (1e9 + 10.0 * y, [5.0 * x[0] - 3e9, 5.0 * x[1]]);
    let units: Vec<Unit> = arm(&mut Draw(7), 1000, 0.0, [1.0, -2.0]).into_iter().map(far).collect();
    let whole = cross(&units);
    let parts = |cross: &Cross| [cross.y(), cross.x(0), cross.x(1)];
    for cuts in [vec![0, 1, 2, 3], vec![500], vec![0, 0, 1000], (0..1000).step_by(7).collect()] {
        let edges: Vec<usize> = std::iter::once(0).chain(cuts).chain([1000]).collect();
        let shards: Vec<Cross> = edges.windows(2).map(|e| cross(&units[e[0]..e[1]])).collect();
        let forth = shards.iter().cloned().fold(Cross::default(), |sum, shard| sum + shard);
        let mut back = Cross::new(2);
        shards.into_iter().rev().for_each(|shard| back += shard);
        let other = cross(&TREATMENT);
        let known = adjusted(&whole, &other).expect("enough");
        for merged in [forth, back] {
            for (merged, whole) in parts(&merged).into_iter().zip(parts(&whole)) {
                assert_eq!(merged.n, whole.n);
                near(merged.mean, whole.mean, 1e-14);
                near(merged.m2, whole.m2, 1e-7);
            }
            near(adjusted(&merged, &other).expect("enough").se, known.se, 1e-7);
        }
    }
    let y: Moments = units.iter().map(|(y, _)| *y).collect();
    assert_eq!(whole.y(), y);
    for sum in [whole.clone() + Cross::new(2), Cross::default() + whole.clone(), whole.clone() + Cross::default()] {
        assert_eq!(sum, whole, "to the bit");
    }
    let text = serde_json::to_string(&whole).expect("serializes");
    assert_eq!(serde_json::from_str::<Cross>(&text).expect("parses"), whole);
}

/// Of experiments with 400 units an arm and the slopes of each: the adjusted difference's
/// variance by the plain one's, its mean, how often Welch's interval holds `effect`, and how often
/// one does that leaves out what the common centre adds to the variance.
fn experiments(effect: f64, slopes: [[f64; 2]; 2]) -> (f64, Moments, f64, f64) {
    let (mut plain, mut found, mut narrow) = (Moments::default(), Moments::default(), 0);
    let of_centre = (0..2).map(|i| (slopes[0][i] - slopes[1][i]).powi(2)).sum::<f64>() / 800.0;
    let covered = share(2000, |draw| {
        let (control, treatment) = (arm(draw, 400, 1.0, slopes[0]), arm(draw, 400, 1.0 + effect, slopes[1]));
        let (control, treatment) = (cross(&control), cross(&treatment));
        plain.push(difference(&control.y(), &treatment.y(), Kind::Mean).expect("enough").difference);
        let estimate = adjusted(&control, &treatment).expect("enough");
        found.push(estimate.difference);
        narrow += u32::from((estimate.difference - effect).powi(2) < 3.8416 * (estimate.se.powi(2) - of_centre));
        let interval = welch(&estimate, 0.05);
        interval.low <= effect && effect <= interval.high
    });
    let ratio = found.variance().expect("enough") / plain.variance().expect("enough");
    (ratio, found, covered, f64::from(narrow) / 2000.0)
}

#[test]
fn covariates_take_their_shares_of_the_variance() {
    // Two independent covariates of which y is 1.2 x + 0.8 z and a normal number: 1 / 3.08 is left.
    let (ratio, found, covered, _) = experiments(0.0, [[1.2, 0.8]; 2]);
    assert!((ratio - 1.0 / 3.08).abs() < 0.03, "{ratio}");
    assert!(found.mean.abs() < 3.0 * (2.0 / 400.0 / 2000.0_f64).sqrt(), "{found:?}");
    assert!((0.935..=0.965).contains(&covered), "{covered}");
    // What foretells nothing takes nothing.
    let (ratio, _, covered, _) = experiments(0.0, [[0.0; 2]; 2]);
    assert!((ratio - 1.0).abs() < 0.02 && (0.935..=0.965).contains(&covered), "{ratio} {covered}");
}

#[test]
fn slopes_that_differ_are_known_less_well() {
    let (_, _, covered, narrow) = experiments(0.3, [[1.0, 0.5], [-0.5, 1.5]]);
    assert!((0.935..=0.965).contains(&covered), "{covered}");
    assert!(narrow < 0.9, "{narrow}");
}

#[test]
fn what_is_no_further_covariate_is_left_out() {
    let mut draw = Draw(5);
    let (control, treatment) = (arm(&mut draw, 50, 0.0, [1.0, 1.0]), arm(&mut draw, 60, 0.4, [1.0, 0.0]));
    let known = adjusted(&cross(&control), &cross(&treatment)).expect("enough");
    // A constant, a copy, and a sum of the two others in another unit.
    let more = |arm: &[Unit]| {
        let unit = |(y, [a, b]): &Unit| (*y, [7.1, *a, *b, *a, 1e6 * (a - 3.0 * b)]);
        cross(&arm.iter().map(unit).collect::<Vec<_>>())
    };
    let found = adjusted(&more(&control), &more(&treatment)).expect("enough");
    near(found.difference, known.difference, 1e-9);
    near(found.se, known.se, 1e-9);
    near(found.df, known.df, 1e-9);
    // What does not vary in one arm is left out in the other, too.
    let half = |arm: &[Unit], still: bool| {
        let unit = |(y, [a, b]): &Unit| (*y, [*a, if still { 3.0 } else { *b }]);
        cross(&arm.iter().map(unit).collect::<Vec<_>>())
    };
    let alone = |arm: &[Unit]| cross(&arm.iter().map(|(y, [a, _])| (*y, [*a])).collect::<Vec<_>>());
    let known = adjusted(&alone(&control), &alone(&treatment)).expect("enough");
    for (still, other) in [(true, false), (false, true)] {
        let found = adjusted(&half(&control, still), &half(&treatment, other)).expect("enough");
        near(found.difference, known.difference, 1e-12);
        near(found.se, known.se, 1e-12);
    }
}

#[test]
fn too_little_is_no_estimate() {
    let (control, treatment) = (cross(&CONTROL), cross(&TREATMENT));
    assert_eq!(adjusted(&cross(&CONTROL[..4]), &treatment), Err(NotEnough::Units { have: 4, need: 5 }));
    assert_eq!(adjusted(&control, &Cross::default()), Err(NotEnough::Units { have: 0, need: 5 }));
    assert!(adjusted(&cross(&CONTROL[..5]), &treatment).is_ok());
    assert_eq!((Cross::new(2).x(1), Cross::default().y()), (Moments::default(), Moments::default()));
    // A covariate that is the outcome, or two that make it up.
    let told = |arm: &[Unit]| cross(&arm.iter().map(|(_, [a, b])| (0.3 * a + 7.0 * b, [*a, *b])).collect::<Vec<_>>());
    assert_eq!(adjusted(&told(&CONTROL), &told(&TREATMENT)), Err(NotEnough::Variance));
    let still = |arm: &[Unit]| cross(&arm.iter().map(|(_, x)| (2.0, *x)).collect::<Vec<_>>());
    assert_eq!(adjusted(&still(&CONTROL), &still(&TREATMENT)), Err(NotEnough::Variance));
    for bad in [f64::NAN, f64::INFINITY] {
        let mut broken = control.clone();
        broken.push(bad, &[1.0, 2.0]);
        assert_eq!(adjusted(&broken, &treatment), Err(NotEnough::Variance));
        let mut broken = control.clone();
        broken.push(1.0, &[bad, 2.0]);
        let found = adjusted(&broken, &treatment);
        assert!(found.is_ok_and(|found| found.se.is_finite()), "it is left out: {found:?}");
    }
}
