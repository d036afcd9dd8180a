//! Seeded draws, and experiments made of them.

use crate::stats::Counts;

/// SplitMix64 (Steele, Lea & Flood, 2014).
pub struct Draw(pub u64);

impl Draw {
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number in (0, 1).
    pub fn number(&mut self) -> f64 {
        ((self.bits() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    }

    /// Two independent normal numbers (Box & Muller).
    pub fn normals(&mut self) -> (f64, f64) {
        let (radius, angle) = ((-2.0 * self.number().ln()).sqrt(), std::f64::consts::TAU * self.number());
        (radius * angle.cos(), radius * angle.sin())
    }

    /// 64 independent bits, each set with probability `p`: 64 fractions are compared with `p`
    /// digit by digit, all at once, until none is undecided.
    pub fn mask(&mut self, p: f64) -> u64 {
        let (mut set, mut undecided, mut digits) = (0, u64::MAX, p);
        while undecided != 0 && digits > 0.0 {
            digits *= 2.0;
            let drawn = self.bits();
            if digits >= 1.0 {
                digits -= 1.0;
                set |= undecided & !drawn;
                undecided &= drawn;
            } else {
                undecided &= !drawn;
            }
        }
        set
    }
}

/// An experiment on something that a unit has or has not.
#[derive(Clone, Copy)]
pub struct Trial {
    /// The chance to be in the treatment.
    pub share: f64,
    /// The control's rate.
    pub control: f64,
    /// The treatment's.
    pub treatment: f64,
    /// Units of both arms.
    pub units: u64,
}

impl Trial {
    /// Runs the experiment, looking after every 8 units at first, then after every 64. Says
    /// whether a look made an end of it.
    pub fn run(&self, draw: &mut Draw, mut look: impl FnMut(Counts, Counts) -> bool) -> bool {
        let (mut control, mut treatment) = (Counts::default(), Counts::default());
        for word in 0..self.units / 64 {
            let treated = draw.mask(self.share);
            let of_control = draw.mask(self.control);
            let of_treatment =
                if self.control.to_bits() == self.treatment.to_bits() { of_control } else { draw.mask(self.treatment) };
            let width = if word < 16 { 8 } else { 64 };
            for from in (0..64).step_by(width) {
                let these = (u64::MAX >> (64 - width)) << from;
                let count = |units: u64, events: u64| Counts {
                    units: u64::from((units & these).count_ones()),
                    events: u64::from((units & these & events).count_ones()),
                };
                control = control + count(!treated, of_control);
                treatment = treatment + count(treated, of_treatment);
                if look(control, treatment) {
                    return true;
                }
            }
        }
        false
    }
}

/// The share of `runs`, each with a seed of its own, of which `run` is true.
pub fn share(runs: u64, mut run: impl FnMut(&mut Draw) -> bool) -> f64 {
    let hits = (0..runs).filter(|seed| run(&mut Draw(seed.wrapping_mul(0xD1B5_4A32_D192_ED03)))).count();
    hits as f64 / runs as f64
}

/// The most that a share of `runs` may be if its truth is at most `alpha`: three standard errors
/// above it.
pub fn most(alpha: f64, runs: u64) -> f64 {
    alpha + 3.0 * (alpha * (1.0 - alpha) / runs as f64).sqrt()
}

#[test]
fn draws_are_what_they_claim_to_be() {
    // The first three of the published generator for the seed 1234567.
    let mut draw = Draw(1_234_567);
    assert_eq!([draw.bits(), draw.bits()], [6_457_827_717_110_365_317, 3_203_168_211_198_807_973]);
    for p in [0.5, 0.3, 0.021, 0.001] {
        let set: u32 = (0..20_000).map(|_| draw.mask(p).count_ones()).sum();
        let n = 20_000.0 * 64.0;
        assert!((f64::from(set) / n - p).abs() < 4.0 * (p * (1.0 - p) / n).sqrt(), "{p}: {set}");
    }
    assert_eq!((draw.mask(0.0), draw.mask(1.0)), (0, u64::MAX));
}
