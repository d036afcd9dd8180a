//! Adaptive allocation, and inference that stays valid under it.
//!
//! [`thompson`] computes the next batch's allocation from the rewards known by then. Under adaptive
//! allocation an arm with early bad luck gets few further units: its sample mean is biased downward,
//! and a plain interval covers less often than its level.
//! [`value`] and [`value_difference`] weigh each unit by the probability with which its arm was
//! drawn, and batches so that none dominates (Hadad, Hirshberg, Zhan, Wager & Athey, Confidence
//! intervals for policy evaluation in adaptive experiments, arXiv 1911.02768).
//!
//! This requires that each unit is in one batch, drawn independently with that batch's weights, and
//! that no weight of a batch depends on rewards of the same batch or of a later one. Rewards that
//! were too late for it do no harm. An arm's mean must not change over time: the two arms' weights
//! concentrate on different batches, so a difference would include part of the change.

use super::compare::{Centre, Estimate, Kind, NotEnough};
use super::moments::Moments;

/// Posterior draws. The standard error of a probability is at most 0.008.
const DRAWS: u32 = 4000;
/// The weight, in units, of the variance of all arms in an arm's own variance. Without it, a few
/// equal rewards would make an arm's mean seem exact, and the arm would never be tried again.
const PRIOR: f64 = 2.0;

/// The share of the next units for each arm: the probability that it is the best, given the
/// rewards known so far (Thompson, Biometrika 25, 1933), of `share`.
///
/// A proportion is drawn from Beta(1 + s, 1 + f), with its successes s and failures f. A mean is
/// drawn from Student's distribution around the arm's mean, with a variance that includes the
/// variance over all arms' units with the weight of two units. The shares are equal with fewer than
/// two units in an arm, without any variance, or with numbers that are not finite.
///
/// `share` is the share of all units for these arms together; the result sums to it. `floor` is the
/// smallest share of all units for each: an arm below it is raised to it, at the expense of the
/// others in proportion. If `share` is too small for that, the shares are equal.
///
/// `seed` determines the 4,000 draws: the same seed gives the same shares.
pub fn thompson(arms: &[Moments], kind: Kind, more_is_better: bool, share: f64, floor: f64, seed: u64) -> Vec<f64> {
    thompson_of(DRAWS, arms, kind, more_is_better, (share, floor), seed)
}

/// [`thompson`] with another number of draws; simulations need fewer.
pub(super) fn thompson_of(
    times: u32,
    arms: &[Moments],
    kind: Kind,
    more_is_better: bool,
    (share, floor): (f64, f64),
    seed: u64,
) -> Vec<f64> {
    let equal = vec![share / arms.len() as f64; arms.len()];
    let all = arms.iter().fold(Moments::default(), |sum, arm| sum + *arm);
    let spread = all.variance().unwrap_or_default();
    let is_known = arms.iter().all(|arm| arm.n >= 2) && spread > 0.0 && (all.mean + spread).is_finite();
    if !is_known || floor * arms.len() as f64 >= share {
        return equal;
    }
    let mut draws = Draws(seed);
    let mut wins = vec![0_u32; arms.len()];
    for _ in 0..times {
        let mut best = (0, f64::NEG_INFINITY);
        for (place, arm) in arms.iter().enumerate() {
            let drawn = match kind {
                Kind::Proportion => {
                    let events = arm.n as f64 * arm.mean.clamp(0.0, 1.0);
                    draws.beta(1.0 + events, 1.0 + (arm.n as f64 - events))
                }
                Kind::Mean => {
                    let df = arm.n as f64 - 1.0 + PRIOR;
                    let variance = (arm.m2 + PRIOR * spread) / (2.0 * draws.gamma(df / 2.0));
                    arm.mean + draws.normal() * (variance / arm.n as f64).sqrt()
                }
            };
            let drawn = if more_is_better { drawn } else { -drawn };
            if drawn > best.1 {
                best = (place, drawn);
            }
        }
        wins[best.0] += 1;
    }
    raised(&wins, share, floor)
}

/// Shares in proportion to `wins`, none below `floor`.
fn raised(wins: &[u32], share: f64, floor: f64) -> Vec<f64> {
    let mut low = vec![false; wins.len()];
    loop {
        let free: u32 = wins.iter().zip(&low).filter(|(_, low)| !**low).map(|(wins, _)| wins).sum();
        let left = share - floor * low.iter().filter(|low| **low).count() as f64;
        let part = |wins: u32| left * f64::from(wins) / f64::from(free);
        // Raising one lowers the others, which may bring another one below the floor.
        let next = (0..wins.len()).find(|&arm| !low[arm] && part(wins[arm]) < floor);
        let Some(next) = next else {
            return wins.iter().zip(&low).map(|(wins, low)| if *low { floor } else { part(*wins) }).collect();
        };
        low[next] = true;
    }
}

/// A batch: units that were split by the same weights.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// The probability of each arm for a unit. All arms are included, also those with a fixed
    /// share, so they sum to 1.
    pub weights: Vec<f64>,
    /// The rewards of each arm's units, in the weights' order.
    pub arms: Vec<Moments>,
}

/// An arm's mean reward, had all units been drawn into it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Value {
    /// In the metric's unit.
    pub mean: f64,
    /// Its standard error, in the same unit; above 0.
    pub se: f64,
    /// The arm's own units.
    pub units: u64,
}

/// The mean reward of the arm at place `arm`, from batches in the order in which they were drawn.
///
/// A unit's score is m + 1{in the arm} (y − m) / e, with e the arm's weight in the unit's batch
/// and m the mean of the arm's rewards in earlier batches. The value is the mean of the scores of
/// all units, in any arm, weighted with h = √e, so that each unit's part has about the same
/// variance; that is Σ h² (score − value)² / (Σ h)². It is about normal with enough units.
///
/// The first batch with rewards of the arm has no earlier ones. There m is the batch's own mean,
/// because its weights do not depend on the arm's rewards. The score is that mean for all of its
/// units, which is unbiased and, unlike m = 0, equivariant under a shift of the rewards. Earlier
/// batches, and those in which the arm has weight 0, have no information on the arm and are left
/// out.
///
/// # Errors
/// [`NotEnough::Units`] with fewer than two units in the arm; [`NotEnough::Variance`] if its
/// rewards do not vary, numbers are not finite, or units are in an arm of weight 0.
///
/// # Panics
/// If a batch has no such arm.
pub fn value(batches: &[Batch], arm: usize) -> Result<Value, NotEnough> {
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

/// The difference of two arms' values, `arm` less `control`, from batches in the order in which
/// they were drawn. Of the paper's two methods this is the one with separate weights for each arm:
/// each value is [`value`], and the variance is the sum of both. No unit is in both arms, so the
/// covariance of the values vanishes as the means of earlier batches converge.
///
/// `n` is the number of units in these two arms together. The degrees of freedom are infinite, so
/// intervals are normal. Batches need enough units for that.
///
/// # Errors
/// As [`value`], for each of the two arms.
///
/// # Panics
/// If a batch has no such arms.
pub fn value_difference(batches: &[Batch], control: usize, arm: usize) -> Result<Estimate, NotEnough> {
    let (control, treatment) = (value(batches, control)?, value(batches, arm)?);
    Ok(Estimate {
        difference: treatment.mean - control.mean,
        se: control.se.hypot(treatment.se),
        n: control.units + treatment.units,
        control: control.mean,
        treatment: treatment.mean,
        df: f64::INFINITY,
        variances: [control.se * control.se, treatment.se * treatment.se],
        centre: Centre::default(),
    })
}

/// The summary of one batch's scores for one arm.
struct Scores {
    /// h, the weight of each of them.
    root: f64,
    /// Units in any arm.
    all: f64,
    /// The score of those in another arm.
    plain: f64,
    /// Units in the arm.
    own: f64,
    /// The mean of the scores of these.
    mean: f64,
    /// The sum of the squared distances from it.
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

/// The scores of the batches with information on the arm.
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

/// Pseudo-random numbers from a seed.
struct Draws(u64);

impl Draws {
    /// A number in (0, 1): SplitMix64 (Steele, Lea & Flood, 2014).
    fn number(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (((z ^ (z >> 31)) >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    }

    /// A standard normal number (Box & Muller; the second number of each pair is discarded).
    fn normal(&mut self) -> f64 {
        (-2.0 * self.number().ln()).sqrt() * (std::f64::consts::TAU * self.number()).cos()
    }

    /// The gamma distribution of a shape of at least 1 and the scale 1 (Marsaglia & Tsang, ACM
    /// Transactions on Mathematical Software 26, 2000).
    fn gamma(&mut self, shape: f64) -> f64 {
        let d = shape - 1.0 / 3.0;
        loop {
            let x = self.normal();
            let v = (1.0 + x / (9.0 * d).sqrt()).powi(3);
            if v > 0.0 && self.number().ln() < 0.5 * x * x + d - d * v + d * v.ln() {
                return d * v;
            }
        }
    }

    fn beta(&mut self, a: f64, b: f64) -> f64 {
        let (a, b) = (self.gamma(a), self.gamma(b));
        a / (a + b)
    }
}
