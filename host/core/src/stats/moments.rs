//! Counts, means and centred sums: the sufficient statistics of all comparisons.
//!
//! Sums are centred on the mean, never plain sums of squares: for numbers around 10⁹ that differ by
//! 10, the difference of two sums of squares has no correct digit.

use std::ops::{Add, AddAssign};

use serde::{Deserialize, Serialize};

/// Sufficient statistics of one number per unit.
///
/// Numbers are added one by one with Welford's update (Technometrics 4, 1962). Two summaries are
/// combined with the pairwise update of Chan, Golub & LeVeque (1979). Numbers must be finite.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Moments {
    /// Units.
    pub n: u64,
    /// Their mean; 0 without units.
    pub mean: f64,
    /// The sum of their squared distances from the mean.
    pub m2: f64,
}

impl Moments {
    /// The moments of `units` numbers, of which `events` are 1 and all others 0.
    pub fn from_counts(units: u64, events: u64) -> Self {
        if units == 0 {
            return Self::default();
        }
        let rate = events as f64 / units as f64;
        Self { n: units, mean: rate, m2: events as f64 * (1.0 - rate) }
    }

    /// Adds one unit's number.
    pub fn push(&mut self, x: f64) {
        self.n += 1;
        let away = x - self.mean;
        self.mean += away / self.n as f64;
        self.m2 += away * (x - self.mean);
    }

    /// The unbiased variance, over n − 1; none with fewer than two units.
    pub fn variance(&self) -> Option<f64> {
        (self.n > 1).then(|| self.m2 / (self.n - 1) as f64)
    }

    /// The variance of these units themselves, over n; none without units. For zeros and ones it is
    /// p(1 − p).
    pub fn population_variance(&self) -> Option<f64> {
        (self.n > 0).then(|| self.m2 / self.n as f64)
    }

    /// The sum of all numbers.
    pub fn sum(&self) -> f64 {
        self.mean * self.n as f64
    }
}

impl Add for Moments {
    type Output = Self;

    /// Adding an empty value leaves the other bit-identical.
    fn add(self, other: Self) -> Self {
        if self.n == 0 || other.n == 0 {
            return if self.n == 0 { other } else { self };
        }
        let n = self.n + other.n;
        let share = other.n as f64 / n as f64;
        let apart = other.mean - self.mean;
        Self { n, mean: self.mean + apart * share, m2: self.m2 + other.m2 + apart * apart * share * self.n as f64 }
    }
}

impl AddAssign for Moments {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl FromIterator<f64> for Moments {
    fn from_iter<I: IntoIterator<Item = f64>>(numbers: I) -> Self {
        let mut moments = Self::default();
        numbers.into_iter().for_each(|x| moments.push(x));
        moments
    }
}

/// Sufficient statistics of two numbers per unit: an outcome `y` with its covariate `x`, or a numerator `y`
/// with its denominator `x`. Updated as [`Moments`] are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Joint {
    /// Units.
    pub n: u64,
    /// The mean of `y`.
    pub y_mean: f64,
    /// The mean of `x`.
    pub x_mean: f64,
    /// The sum of the squared distances of `y` from its mean.
    pub y_m2: f64,
    /// The sum of the squared distances of `x` from its mean.
    pub x_m2: f64,
    /// The sum of the products of both distances.
    pub cross: f64,
}

impl Joint {
    /// Adds one unit's two numbers.
    pub fn push(&mut self, y: f64, x: f64) {
        self.n += 1;
        let n = self.n as f64;
        let (y_away, x_away) = (y - self.y_mean, x - self.x_mean);
        self.y_mean += y_away / n;
        self.x_mean += x_away / n;
        self.y_m2 += y_away * (y - self.y_mean);
        self.x_m2 += x_away * (x - self.x_mean);
        self.cross += y_away * (x - self.x_mean);
    }

    /// The unbiased covariance, over n − 1; none with fewer than two units.
    pub fn covariance(&self) -> Option<f64> {
        (self.n > 1).then(|| self.cross / (self.n - 1) as f64)
    }

    /// The moments of `y` alone.
    pub fn y(&self) -> Moments {
        Moments { n: self.n, mean: self.y_mean, m2: self.y_m2 }
    }

    /// The moments of `x` alone.
    pub fn x(&self) -> Moments {
        Moments { n: self.n, mean: self.x_mean, m2: self.x_m2 }
    }
}

impl Add for Joint {
    type Output = Self;

    /// Adding an empty value leaves the other bit-identical.
    fn add(self, other: Self) -> Self {
        if self.n == 0 || other.n == 0 {
            return if self.n == 0 { other } else { self };
        }
        let (y, x) = (self.y() + other.y(), self.x() + other.x());
        let apart = (other.y_mean - self.y_mean) * (other.x_mean - self.x_mean);
        let weight = self.n as f64 * (other.n as f64 / y.n as f64);
        Self {
            n: y.n,
            y_mean: y.mean,
            x_mean: x.mean,
            y_m2: y.m2,
            x_m2: x.m2,
            cross: self.cross + other.cross + apart * weight,
        }
    }
}

impl AddAssign for Joint {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl FromIterator<(f64, f64)> for Joint {
    fn from_iter<I: IntoIterator<Item = (f64, f64)>>(pairs: I) -> Self {
        let mut joint = Self::default();
        pairs.into_iter().for_each(|(y, x)| joint.push(y, x));
        joint
    }
}
