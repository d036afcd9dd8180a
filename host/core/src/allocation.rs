//! Assignment of units to layers, holdouts and arms. An assignment is a hash of ids and salts; it
//! is never stored.
//!
//! The hash is a contract that does not change between versions, so that any program can compute an
//! assignment. It is XXH64 with seed 0 over four parts, each preceded by its length in bytes as a
//! little-endian u32. The parts are a purpose (`serin/layer/1`, `serin/holdout/1`, `serin/arm/1`,
//! `serin/shadow/1`), a salt, the unit's kind and the unit's id, in UTF-8. Read as an unsigned
//! 64-bit fraction, the result is the unit's place in `[0, 1)`. Test vectors:
//! `tests/data/allocation-vectors.json`.
//!
//! Each purpose has a hash of its own. With one hash for both a gate and a split the two would be
//! correlated: all units of a 10 % gate would be in the first arms of the split.

use xxhash_rust::xxh64::Xxh64;

/// A place in `[0, 1)` with 64 bits of resolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place(pub u64);

impl Place {
    /// The place as a number, for records and reports.
    pub fn as_f64(self) -> f64 {
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Says whether the place is below `bound`, a number in `[0, 1]`.
    pub fn is_below(self, bound: f64) -> bool {
        // 2^64 as a float is exact; a bound of 1 must hold every place.
        u128::from(self.0) < (bound.clamp(0.0, 1.0) * 18_446_744_073_709_551_616.0) as u128
    }

    /// Says whether the place is in `[from, to)`.
    pub fn is_within(self, from: f64, to: f64) -> bool {
        !self.is_below(from) && self.is_below(to)
    }
}

/// The purpose of a place. Each has a hash of its own.
#[derive(Debug, Clone, Copy)]
pub enum Purpose {
    /// A unit's fixed place in its layer.
    Layer,
    /// Whether the layer holds the unit out of all experiments.
    Holdout,
    /// The arm of an admitted unit.
    Arm,
    /// Whether a shadow arm runs on a decision.
    Shadow,
}

/// The place of the unit `unit` of kind `unit_kind`, for a purpose, under a salt.
pub fn place(purpose: Purpose, salt: &str, unit_kind: &str, unit: &str) -> Place {
    let purpose = match purpose {
        Purpose::Layer => "serin/layer/1",
        Purpose::Holdout => "serin/holdout/1",
        Purpose::Arm => "serin/arm/1",
        Purpose::Shadow => "serin/shadow/1",
    };
    let mut hash = Xxh64::new(0);
    for part in [purpose, salt, unit_kind, unit] {
        hash.update(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_le_bytes());
        hash.update(part.as_bytes());
    }
    Place(hash.digest())
}

/// The part of its layer that an experiment takes at `coverage` of its slot `[a, b)`:
/// `[a, a + coverage (b - a))`. The start is fixed, so ramping up moves no enrolled unit.
pub fn admitted(slot: [f64; 2], coverage: f64) -> [f64; 2] {
    [slot[0], slot[0] + coverage * (slot[1] - slot[0])]
}

/// The position in `weights`, which sum to 1, whose cumulated interval contains `place`. Never one
/// of weight 0; `None` if there is no positive weight.
pub fn pick(place: Place, weights: impl Iterator<Item = f64>) -> Option<usize> {
    let (mut edge, mut last) = (0.0, None);
    for (position, weight) in weights.enumerate() {
        if weight <= 0.0 {
            continue;
        }
        edge += weight;
        last = Some(position);
        if place.is_below(edge) {
            return last;
        }
    }
    // If weights sum to 1 - 1e-16, the remainder at the top belongs to the last one.
    last
}

/// Says whether a shipped experiment holds a unit back: the first `holdback` of control's share
/// stays with control. So no unit moves away from the winner, and every held-back unit has always
/// been in control.
pub fn is_held_back(place: Place, weights: impl Iterator<Item = f64>, control: usize, holdback: f64) -> bool {
    let from: f64 = weights.take(control).sum();
    place.is_within(from, from + holdback)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn purposes_are_independent_of_each_other() {
        // A unit's chance of arm 0 must not depend on its place in the layer.
        let units: Vec<String> = (0..40_000).map(|i| format!("b-{i}")).collect();
        let low: Vec<&String> =
            units.iter().filter(|u| place(Purpose::Layer, "s", "borrower", u).is_below(0.1)).collect();
        let in_first = low.iter().filter(|u| place(Purpose::Arm, "s", "borrower", u).is_below(0.5)).count() as f64;
        assert!((3_700..4_300).contains(&low.len()), "{}", low.len());
        assert!((in_first / low.len() as f64 - 0.5).abs() < 0.04, "{in_first} of {}", low.len());
    }

    #[test]
    fn ramping_up_keeps_whoever_is_in() {
        for i in 0..5_000 {
            let place = place(Purpose::Layer, "ramp", "borrower", &i.to_string());
            let mut was_in = false;
            for coverage in [0.0, 0.02, 0.2, 0.7, 1.0] {
                let [from, to] = admitted([0.25, 0.75], coverage);
                let is_in = place.is_within(from, to);
                assert!(is_in || !was_in);
                was_in = is_in;
            }
        }
    }

    #[test]
    fn the_edges_of_the_unit_interval_hold() {
        assert!(Place(u64::MAX).is_below(1.0) && !Place(0).is_below(0.0));
        assert_eq!(pick(Place(u64::MAX), [0.5, 0.5, 0.0].into_iter()), Some(1));
        assert_eq!(pick(Place(0), [0.0, 1.0].into_iter()), Some(1));
        assert_eq!(pick(Place(0), std::iter::empty()), None);
    }
}
