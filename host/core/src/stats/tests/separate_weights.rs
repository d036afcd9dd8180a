//! A mutant of [`batch_difference`]: adaptively weighted AIPW with separate weights for each arm
//! (Hadad, Hirshberg, Zhan, Wager & Athey, arXiv 1911.02768). It is valid only if no arm's mean
//! changes over time.

use crate::stats::bandit::Batch;
use crate::stats::*;

#[derive(Debug, Clone, Copy, PartialEq)]
struct Value {
    mean: f64,
    se: f64,
    units: u64,
}

fn value(batches: &[Batch], arm: usize) -> Result<Value, NotEnough> {
    let units = batches.iter().map(|batch| batch.arms[arm].n).sum();
    if units < 2 {
        return Err(NotEnough::Units { have: units, need: 2 });
    }
    let scores = scores(batches, arm)?;
    let total: f64 = scores.iter().map(|score| score.root * score.all).sum();
    let mean = scores.iter().map(|score| score.root * score.sum()).sum::<f64>() / total;
    let squares: f64 = scores.iter().map(|score| score.root * score.root * score.squares_around(mean)).sum();
    let se = squares.sqrt() / total;
    let is_known = mean.is_finite() && se.is_finite() && se > 0.0;
    if is_known { Ok(Value { mean, se, units }) } else { Err(NotEnough::Variance) }
}

pub fn value_difference(batches: &[Batch], control: usize, arm: usize) -> Result<Estimate, NotEnough> {
    let (control, treatment) = (value(batches, control)?, value(batches, arm)?);
    Ok(Estimate {
        difference: treatment.mean - control.mean,
        se: control.se.hypot(treatment.se),
        n: control.units + treatment.units,
        control: control.mean,
        treatment: treatment.mean,
        df: f64::INFINITY,
        ..Estimate::default()
    })
}

struct Scores {
    root: f64,
    all: f64,
    plain: f64,
    own: f64,
    mean: f64,
    m2: f64,
}

impl Scores {
    fn sum(&self) -> f64 {
        self.own * self.mean + (self.all - self.own) * self.plain
    }

    fn squares_around(&self, value: f64) -> f64 {
        let others = (self.all - self.own) * (self.plain - value).powi(2);
        self.m2 + self.own * (self.mean - value).powi(2) + others
    }
}

fn scores(batches: &[Batch], arm: usize) -> Result<Vec<Scores>, NotEnough> {
    let (mut before, mut found) = (Moments::default(), Vec::new());
    for batch in batches {
        let (own, weight) = (batch.arms[arm], batch.weights[arm]);
        let takes = weight > 0.0;
        if own.n > 0 && !takes {
            return Err(NotEnough::Variance);
        }
        let is_first = before.n == 0;
        let expected = if is_first { own.mean } else { before.mean };
        before += own;
        if before.n == 0 || !takes {
            continue;
        }
        // Corrects for distances from the sample mean, which are smaller than those from the true
        // mean.
        let m2 = if is_first { own.variance().unwrap_or_default() * own.n as f64 } else { own.m2 };
        found.push(Scores {
            root: weight.sqrt(),
            all: batch.arms.iter().map(|arm| arm.n).sum::<u64>() as f64,
            plain: expected,
            own: own.n as f64,
            mean: expected + (own.mean - expected) / weight,
            m2: m2 / (weight * weight),
        });
    }
    Ok(found)
}
