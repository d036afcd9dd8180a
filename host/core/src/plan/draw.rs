//! Pseudo-random numbers from a seed.

/// SplitMix64 (Steele, Lea & Flood, 2014).
pub(super) struct Draw(pub u64);

impl Draw {
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in (0, 1).
    pub fn number(&mut self) -> f64 {
        ((self.bits() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    }

    /// True with probability `p`.
    pub fn happens(&mut self, p: f64) -> bool {
        self.number() < p
    }

    /// A time in `[from, to)`.
    pub fn between(&mut self, from: u64, to: u64) -> u64 {
        from + (self.number() * to.saturating_sub(from) as f64) as u64
    }

    /// One of the two integers around `x`, with mean `x`.
    pub fn whole(&mut self, x: f64) -> u32 {
        // Counts of rows are below 2^32.
        let below = x.max(0.0).floor();
        below as u32 + u32::from(self.happens(x.max(0.0) - below))
    }

    /// A standard normal number (Box & Muller; the second one is discarded).
    fn normal(&mut self) -> f64 {
        (-2.0 * self.number().ln()).sqrt() * (std::f64::consts::TAU * self.number()).cos()
    }

    /// A number with this mean and standard deviation: lognormal, like amounts, if the mean is
    /// above 0, otherwise normal. Neither is truncated, so both keep their mean.
    pub fn amount(&mut self, mean: f64, sd: f64) -> f64 {
        if sd <= 0.0 {
            return mean;
        }
        if mean <= 0.0 {
            return mean + sd * self.normal();
        }
        let variance = (sd * sd / (mean * mean)).ln_1p();
        (mean.ln() - 0.5 * variance + variance.sqrt() * self.normal()).exp()
    }
}
