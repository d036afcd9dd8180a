//! Statistics that were combined are those of all units together.

use super::draw::Draw;
use crate::stats::{Counts, Joint, Moments};

/// Numbers around a billion that differ by tens: what cancels if sums aren't centred.
fn far(units: usize) -> Vec<(f64, f64)> {
    let mut draw = Draw(7);
    let pair = |_| {
        let (a, b) = draw.normals();
        (1e9 + 10.0 * a, -3e9 + 4.0 * a + 3.0 * b)
    };
    (0..units).map(pair).collect()
}

fn near(found: f64, expected: f64, digits: f64) {
    assert!((found - expected).abs() <= digits * expected.abs(), "{found}, not {expected}");
}

#[test]
fn shards_add_up_to_the_whole() {
    let pairs = far(1000);
    let whole: Joint = pairs.iter().copied().collect();
    // Shards of every size, some empty, merged from both ends.
    for cuts in [vec![0, 1, 2, 3], vec![500], vec![999], vec![0, 0, 1000], (0..1000).step_by(7).collect()] {
        let edges: Vec<usize> = std::iter::once(0).chain(cuts).chain([1000]).collect();
        let shards: Vec<Joint> = edges.windows(2).map(|e| pairs[e[0]..e[1]].iter().copied().collect()).collect();
        let forth = shards.iter().fold(Joint::default(), |sum, shard| sum + *shard);
        let mut back = Joint::default();
        shards.iter().rev().for_each(|shard| back += *shard);
        for merged in [forth, back] {
            assert_eq!(merged.n, whole.n);
            near(merged.y_mean, whole.y_mean, 1e-15);
            near(merged.x_mean, whole.x_mean, 1e-15);
            near(merged.y_m2, whole.y_m2, 1e-7);
            near(merged.x_m2, whole.x_m2, 1e-7);
            near(merged.cross, whole.cross, 1e-7);
        }
    }
}

#[test]
fn two_numbers_are_summed_up_as_each_alone_is() {
    let pairs = far(200);
    let joint: Joint = pairs.iter().copied().collect();
    let y: Moments = pairs.iter().map(|pair| pair.0).collect();
    let x: Moments = pairs.iter().map(|pair| pair.1).collect();
    assert_eq!((joint.y(), joint.x()), (y, x));
    let same: Joint = pairs.iter().map(|pair| (pair.0, pair.0)).collect();
    near(same.covariance().expect("enough"), y.variance().expect("enough"), 1e-9);
    near(y.sum(), pairs.iter().map(|pair| pair.0).sum(), 1e-14);
}

#[test]
fn large_numbers_keep_their_variance_exactly() {
    // 4, 7, 13 and 16 have the variance 30, wherever they are.
    let shard = |values: &[f64]| values.iter().map(|x| 1e9 + x).collect::<Moments>();
    for moments in [shard(&[4.0, 7.0, 13.0, 16.0]), shard(&[16.0]) + shard(&[7.0, 4.0]) + shard(&[13.0])] {
        near(moments.variance().expect("enough"), 30.0, 1e-9);
        near(moments.population_variance().expect("enough"), 22.5, 1e-9);
    }
}

#[test]
fn counts_are_moments_of_zeros_and_ones() {
    let numbers = (0..10).map(|i| if i < 3 { 1.0 } else { 0.0 });
    let (pushed, counted): (Moments, _) = (numbers.collect(), Moments::from_counts(10, 3));
    assert_eq!(pushed.n, counted.n);
    near(counted.mean, 0.3, 1e-15);
    near(pushed.m2, counted.m2, 1e-14);
    near(counted.population_variance().expect("units"), 0.21, 1e-14);
    let sum = Counts { units: 3, events: 1 } + Counts { units: 7, events: 2 };
    assert_eq!(sum, Counts { units: 10, events: 3 });
}

#[test]
fn what_is_stored_comes_back_to_the_bit() {
    let joint: Joint = far(50).into_iter().collect();
    let text = serde_json::to_string(&(joint, joint.y())).expect("serializes");
    assert_eq!(serde_json::from_str::<(Joint, Moments)>(&text).expect("parses"), (joint, joint.y()));
}
