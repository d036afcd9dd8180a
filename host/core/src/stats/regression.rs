//! A difference of means, adjusted for several covariates.
//!
//! For one covariate there is [`super::cuped`], with one slope for both arms. Here each arm has its
//! own slopes. So in large samples the adjusted difference is never less precise than the plain
//! one, whatever the covariates and however poor the linear fit (Lin, Agnostic notes on regression
//! adjustments to experimental data, Annals of Applied Statistics 7, 2013).

use std::ops::{Add, AddAssign};

use serde::{Deserialize, Serialize};

use super::compare::{ArmMoments, Centre, Estimate, NotEnough, estimate};
use super::moments::Moments;

/// A covariate counts as a combination of the ones already taken if they leave no more than this
/// share of its variance.
const COLLINEAR: f64 = 1e-10;

/// Sufficient statistics of an outcome `y` and k covariates `x` per unit: count, means and centred
/// sums of products. Updated and combined as [`Moments`] are; numbers must be finite.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cross {
    /// Units.
    pub n: u64,
    /// The mean of `y`, then of each covariate.
    means: Vec<f64>,
    /// The sums of products of distances from the means, in the means' order: a symmetric
    /// matrix's lower triangle, row by row.
    products: Vec<f64>,
}

impl Default for Cross {
    /// No units yet, and no covariates: the neutral element of addition.
    fn default() -> Self {
        Self::new(0)
    }
}

impl Cross {
    /// No units yet, of `k` covariates each.
    pub fn new(k: usize) -> Self {
        Self { n: 0, means: vec![0.0; k + 1], products: vec![0.0; (k + 1) * (k + 2) / 2] }
    }

    /// Adds one unit's outcome and its covariates.
    ///
    /// # Panics
    /// If the number of covariates is not that of [`Cross::new`].
    pub fn push(&mut self, y: f64, x: &[f64]) {
        assert_eq!(x.len(), self.covariates(), "one number for each covariate");
        let number = |i: usize| if i == 0 { y } else { x[i - 1] };
        self.n += 1;
        // From the last row up: the rows above still have the mean without this unit, so each
        // product has one distance from the mean before and one from the mean after.
        for row in (0..self.means.len()).rev() {
            let away = number(row) - self.means[row];
            self.means[row] += away / self.n as f64;
            let rest = number(row) - self.means[row];
            for column in 0..row {
                self.products[place(row, column)] += (number(column) - self.means[column]) * rest;
            }
            self.products[place(row, row)] += away * rest;
        }
    }

    /// How many covariates a unit has.
    pub fn covariates(&self) -> usize {
        self.means.len() - 1
    }

    /// The moments of `y` alone.
    pub fn y(&self) -> Moments {
        self.moments(0)
    }

    /// The moments of the covariate at place `i`, counted from 0, alone.
    ///
    /// # Panics
    /// If there is no covariate at that place.
    pub fn x(&self, i: usize) -> Moments {
        self.moments(i + 1)
    }

    fn moments(&self, i: usize) -> Moments {
        Moments { n: self.n, mean: self.means[i], m2: self.product(i, i) }
    }

    fn product(&self, i: usize, j: usize) -> f64 {
        self.products[place(i.max(j), i.min(j))]
    }
}

/// The index in a lower triangle of a product, with column at most row.
fn place(row: usize, column: usize) -> usize {
    row * (row + 1) / 2 + column
}

impl AddAssign<&Self> for Cross {
    /// Adding an empty value leaves the other bit-identical, whatever its number of covariates.
    ///
    /// # Panics
    /// If both have units and different numbers of covariates.
    fn add_assign(&mut self, other: &Self) {
        if other.n == 0 {
            return;
        }
        if self.n == 0 {
            self.clone_from(other);
            return;
        }
        assert_eq!(self.covariates(), other.covariates(), "the same covariates");
        let n = self.n + other.n;
        let share = other.n as f64 / n as f64;
        let apart: Vec<f64> = self.means.iter().zip(&other.means).map(|(mean, other)| other - mean).collect();
        for row in 0..apart.len() {
            self.means[row] += apart[row] * share;
            for column in 0..=row {
                let at = place(row, column);
                self.products[at] += other.products[at] + apart[row] * apart[column] * share * self.n as f64;
            }
        }
        self.n = n;
    }
}

impl AddAssign for Cross {
    fn add_assign(&mut self, other: Self) {
        *self += &other;
    }
}

impl Add for Cross {
    type Output = Self;

    fn add(mut self, other: Self) -> Self {
        self += &other;
        self
    }
}

/// The difference of the means of `y`, adjusted for the covariates (Lin 2013). An arm's adjusted
/// mean is ȳ − Σ β (x̄ − x̄ of both arms), with β its own least-squares slopes: the result of a
/// regression on the arm, the centred covariates and their products with the arm. As with
/// [`super::cuped`], covariates must be known at the unit's entry.
///
/// The variance is the residual variance over n − 1 less the number of slopes, which is also the
/// degrees of freedom. Lin's variance is for the given units, while the other comparisons are for
/// the population that they were drawn from. So the uncertainty of the common centre is added,
/// which matters if slopes differ: with m of N units in an arm, (m / N)² of the variance there of Σ
/// (β − β′) x.
///
/// A covariate that is constant in one of the arms, or a combination of others there, is left out
/// in both. Without covariates, or with none left, this is the difference of the means.
///
/// # Errors
/// [`NotEnough::Units`] with fewer than k + 3 units in an arm, of k covariates;
/// [`NotEnough::Variance`] if no variance is left in either arm, or numbers are not finite.
///
/// # Panics
/// If the arms have different numbers of covariates.
pub fn adjusted(control: &Cross, treatment: &Cross) -> Result<Estimate, NotEnough> {
    let (have, need) = (control.n.min(treatment.n), control.covariates().max(treatment.covariates()) as u64 + 3);
    if have < need {
        return Err(NotEnough::Units { have, need });
    }
    assert_eq!(control.covariates(), treatment.covariates(), "the same covariates");
    // Both arms must leave out the same covariates, or they would be adjusted differently.
    let all: Vec<usize> = (1..=control.covariates()).collect();
    let usable = Fit::new(treatment, &Fit::new(control, &all).taken).taken;
    let fits = [Fit::new(control, &usable), Fit::new(treatment, &usable)];

    let n = (control.n + treatment.n) as f64;
    let apart = |i: usize| fits[1].slopes[i] - fits[0].slopes[i];
    let arm = |arm: &Cross, other: &Cross, fit: &Fit| {
        let (mut mean, mut of_centre) = (arm.means[0], 0.0);
        for &i in &usable {
            // The distance from the arm's own mean to that of both is the other arm's share of the
            // difference.
            mean -= fit.slopes[i] * (arm.means[i] - other.means[i]) * (other.n as f64 / n);
            of_centre += usable.iter().map(|&j| apart(i) * apart(j) * arm.product(i, j)).sum::<f64>();
        }
        let (df, share) = (arm.n - 1 - fit.taken.len() as u64, arm.n as f64 / n);
        let of_centre = beyond_rounding(of_centre, arm.product(0, 0));
        let variance = fit.left / df as f64 + share * share * of_centre / (arm.n - 1) as f64;
        ArmMoments { n: arm.n, df, mean, variance }
    };
    let adjusted = estimate(arm(control, treatment, &fits[0]), arm(treatment, control, &fits[1]))?;
    // The covariances of the covariates over all units, along two directions, of their mean.
    let along = |one: &dyn Fn(usize) -> f64, other: &dyn Fn(usize) -> f64| {
        let both = control.clone() + treatment.clone();
        let sum = |i: usize| usable.iter().map(|&j| one(i) * other(j) * both.product(i, j)).sum::<f64>();
        usable.iter().map(|&i| sum(i)).sum::<f64>() / ((n - 1.0) * n)
    };
    let of_control = |i: usize| fits[0].slopes[i];
    let centre = Centre { mixed: along(&apart, &of_control), of_control: along(&of_control, &of_control) };
    Ok(Estimate { centre, ..adjusted })
}

/// The least-squares line of one arm.
struct Fit {
    /// Slopes by position in [`Cross`]; 0 for covariates that were not taken.
    slopes: Vec<f64>,
    /// The places of the covariates that were taken.
    taken: Vec<usize>,
    /// The residual sum of squares of `y`.
    left: f64,
}

impl Fit {
    /// Sweeps one covariate after the other out of the matrix of products (sweep operator:
    /// Goodnight, The American Statistician 33, 1979), always the one that has kept the largest
    /// part of its variance. One that has kept next to nothing is left out.
    fn new(arm: &Cross, offered: &[usize]) -> Self {
        let size = arm.means.len();
        let mut matrix: Vec<f64> = (0..size * size).map(|at| arm.product(at / size, at % size)).collect();
        let mut taken = Vec::new();
        let kept = |matrix: &[f64], i: usize| matrix[i * size + i] / arm.product(i, i);
        loop {
            let open = offered.iter().copied().filter(|i| !taken.contains(i));
            // A constant covariate gives 0 / 0, which compares as not greater.
            let varying = open.filter(|&i| kept(&matrix, i) > COLLINEAR);
            let Some(next) = varying.max_by(|&a, &b| kept(&matrix, a).total_cmp(&kept(&matrix, b))) else { break };
            sweep(&mut matrix, size, next);
            taken.push(next);
        }
        let mut slopes = vec![0.0; size];
        taken.iter().for_each(|&i| slopes[i] = matrix[i * size]);
        Self { slopes, taken, left: beyond_rounding(matrix[0], arm.product(0, 0)) }
    }
}

/// A part of a sum of squares; zero if only rounding error is left.
fn beyond_rounding(part: f64, whole: f64) -> f64 {
    if part <= 1e-13 * whole { 0.0 } else { part }
}

/// Sweeps the matrix by the number at place `by`: every entry becomes the residual, and that
/// number's column and row become the slopes on it, with and without a minus.
fn sweep(matrix: &mut [f64], size: usize, by: usize) {
    let pivot = matrix[by * size + by];
    let row: Vec<f64> = (0..size).map(|j| matrix[by * size + j] / pivot).collect();
    for i in (0..size).filter(|&i| i != by) {
        let factor = matrix[i * size + by];
        for j in (0..size).filter(|&j| j != by) {
            matrix[i * size + j] -= factor * row[j];
        }
        matrix[i * size + by] = -factor / pivot;
    }
    for j in 0..size {
        matrix[by * size + j] = row[j];
    }
    matrix[by * size + by] = 1.0 / pivot;
}
