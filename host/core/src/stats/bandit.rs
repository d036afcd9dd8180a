//! Adaptive allocation, and inference that stays valid under it.
//!
//! [`thompson`] computes the next batch's allocation from the rewards known by then. Under adaptive
//! allocation an arm with early bad luck gets few further units: its sample mean is biased downward,
//! and a plain interval covers less often than its level. If rewards also change over time, arms
//! with their units in different batches differ without any effect.
//!
//! [`batch_difference`] therefore compares two arms within each batch, where their units are drawn
//! at the same time and by constant shares, and combines the batches by weights that are the same
//! for both arms and depend on sizes alone (Zhang, Janson & Murphy, Inference for Batched Bandits,
//! NeurIPS 2020, arXiv 2002.03217). A trend or a season that all arms share cancels.
//!
//! This requires that each entry of a unit is in one batch, drawn independently with that batch's
//! shares, and that no share of a batch depends on rewards of the same batch or of a later one.
//! Rewards that were too late for it do no harm. If an effect itself changes over time, the
//! difference is its weighted average over the batches.

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

/// The difference of two arms' mean rewards, `arm` less `control`, over the batches that have units
/// of both.
///
/// With n units in each arm of a batch, N in all of its arms, and h = n₀ n₁ / (n₀ + n₁), the batch
/// has the weight √(N h). The variance of its part is then about N times that of a unit, however
/// the shares were adapted. So the sum has a variance that does not depend on rewards, which both a
/// normal interval at a fixed time and a confidence sequence require. With weights that are best
/// for constant shares, h, it would depend on them.
///
/// A batch's variance is s₀² / n₀ + s₁² / n₁, with unbiased variances s². With a single unit in an
/// arm it is the squared difference, which is unbiased without an effect and too large with one.
///
/// `n` is the progress of a sequence, in units of both arms: all units of these batches, times both
/// arms' share in the first one. `control` is control's mean with the weights of the difference, so
/// that both may be contrasted, and `treatment` is `control` plus the difference. `df` is by Welch and Satterthwaite.
///
/// # Errors
/// [`NotEnough::Units`] with fewer than two units in an arm, in batches with units of both arms;
/// [`NotEnough::Variance`] if nothing varies, numbers are not finite, or units are in an arm of
/// share 0.
///
/// # Panics
/// If a batch has no such arms.
pub fn batch_difference(batches: &[Batch], control: usize, arm: usize) -> Result<Estimate, NotEnough> {
    let [of_control, of_arm] = compared(batches, control, arm);
    let have = of_control.n.min(of_arm.n);
    if have < 2 {
        return Err(NotEnough::Units { have, need: 2 });
    }
    let (mut sum, mut weights, mut squares, mut units) = (0.0, 0.0, 0.0, 0_u64);
    let (mut base, mut variances) = (0.0, [0.0; 2]);
    for batch in batches {
        let pair = [&batch.arms[control], &batch.arms[arm]];
        if [control, arm].iter().any(|arm| batch.arms[*arm].n > 0 && !is_drawn(batch.weights[*arm])) {
            return Err(NotEnough::Variance);
        }
        let Some(apart) = Apart::of(pair) else { continue };
        let all = batch.arms.iter().map(|arm| arm.n).sum::<u64>();
        let [n, m] = pair.map(|arm| arm.n as f64);
        let weight = (all as f64 * n * m / (n + m)).sqrt();
        units += all;
        weights += weight;
        sum += weight * apart.difference;
        base += weight * pair[0].mean;
        for ((part, df), variance) in apart.variances.into_iter().zip(&mut variances) {
            let part = weight * weight * part;
            *variance += part;
            squares += part * part / df;
        }
    }
    let variance = variances[0] + variances[1];
    let (difference, se, df) = (sum / weights, variance.sqrt() / weights, variance * variance / squares);
    let base = base / weights;
    let is_known = [difference, se, df, base].iter().all(|x| x.is_finite()) && se > 0.0 && df > 0.0;
    if !is_known {
        return Err(NotEnough::Variance);
    }
    let share = batches.first().map_or(1.0, |first| first.weights[control] + first.weights[arm]);
    let n = (units as f64 * share).round().max(1.0) as u64;
    let variances = variances.map(|variance| variance / (weights * weights));
    let centre = Centre::default();
    Ok(Estimate { difference, se, n, control: base, treatment: base + difference, df, variances, centre })
}

/// The rewards of two arms in the batches that have units of both.
///
/// # Panics
/// If a batch has no such arms.
pub fn compared(batches: &[Batch], control: usize, arm: usize) -> [Moments; 2] {
    let both = batches.iter().map(|batch| [batch.arms[control], batch.arms[arm]]);
    let both = both.filter(|pair| pair.iter().all(|arm| arm.n > 0));
    both.fold([Moments::default(); 2], |[a, b], [c, d]| [a + c, b + d])
}

/// An arm's mean reward, with each batch weighted by the units of all of its arms. Batches without
/// units of the arm are left out; `None` if there are no others.
///
/// # Panics
/// If a batch has no such arm.
pub fn level(batches: &[Batch], arm: usize) -> Option<f64> {
    let (mut sum, mut all) = (0.0, 0.0);
    for batch in batches.iter().filter(|batch| batch.arms[arm].n > 0) {
        let units = batch.arms.iter().map(|arm| arm.n).sum::<u64>() as f64;
        sum += units * batch.arms[arm].mean;
        all += units;
    }
    (all > 0.0).then(|| sum / all)
}

fn is_drawn(share: f64) -> bool {
    share > 0.0
}

/// The difference of two arms within a batch.
struct Apart {
    difference: f64,
    /// The parts of its variance, each with its degrees of freedom.
    variances: [(f64, f64); 2],
}

impl Apart {
    /// `None` if an arm has no units.
    fn of([control, arm]: [&Moments; 2]) -> Option<Self> {
        if control.n == 0 || arm.n == 0 {
            return None;
        }
        let difference = arm.mean - control.mean;
        let part = |arm: &Moments| Some((arm.variance()? / arm.n as f64, (arm.n - 1) as f64));
        let variances = match (part(control), part(arm)) {
            (Some(control), Some(arm)) => [control, arm],
            _ => [(difference * difference, 1.0), (0.0, 1.0)],
        };
        Some(Self { difference, variances })
    }
}

/// The most steps of the iteration in [`detrended`].
const STEPS: u32 = 500;
/// It ends once no effect changes by more than this share of a reward's standard deviation.
const CHANGE: f64 = 1e-6;

/// Each arm's rewards without the trend that all arms share, for [`thompson`]: the least squares
/// fit of a level for each batch and an effect for each arm. An arm's mean is its effect plus the
/// average level; its variance is that within batches.
///
/// Pooled rewards would favour an arm that got most of its units when rewards were high.
///
/// # Panics
/// If batches differ in their number of arms.
pub fn detrended(batches: &[Batch]) -> Vec<Moments> {
    let arms = batches.first().map_or(0, |batch| batch.arms.len());
    let all = batches.iter().flat_map(|batch| &batch.arms).fold(Moments::default(), |all, arm| all + *arm);
    let enough = CHANGE * all.variance().unwrap_or_default().sqrt();
    let size = |batch: &Batch| batch.arms.iter().map(|arm| arm.n).sum::<u64>() as f64;
    // An arm's units in a batch, and how far their mean is above that of all rewards.
    let part = |batch: &Batch, at: usize| (batch.arms[at].n as f64, batch.arms[at].mean - all.mean);
    let (mut effects, mut levels) = (vec![0.0; arms], vec![0.0; batches.len()]);
    for _ in 0..STEPS {
        for (level, batch) in levels.iter_mut().zip(batches) {
            let parts = effects.iter().enumerate().map(|(at, effect)| (part(batch, at), effect));
            *level = parts.map(|((n, mean), effect)| n * (mean - effect)).sum::<f64>() / size(batch).max(1.0);
        }
        let mut farthest = 0.0_f64;
        for (at, effect) in effects.iter_mut().enumerate() {
            let parts = || batches.iter().zip(&levels).map(|(batch, level)| (part(batch, at), level));
            let n: f64 = parts().map(|((n, _), _)| n).sum();
            let next = parts().map(|((n, mean), level)| n * (mean - level)).sum::<f64>() / n.max(1.0);
            farthest = farthest.max((next - *effect).abs());
            *effect = next;
        }
        if farthest <= enough {
            break;
        }
    }
    let average = batches.iter().zip(&levels).map(|(batch, level)| size(batch) * level).sum::<f64>();
    let average = all.mean + average / (all.n as f64).max(1.0);
    let rewards = |at: usize| {
        let own = || batches.iter().map(|batch| &batch.arms[at]).filter(|arm| arm.n > 0);
        let n = own().map(|arm| arm.n).sum::<u64>();
        // Each batch's own mean takes one degree of freedom.
        let df = (n.saturating_sub(own().count() as u64)).max(1) as f64;
        let m2 = own().map(|arm| arm.m2).sum::<f64>() * n.saturating_sub(1) as f64 / df;
        Moments { n, mean: average + effects[at], m2 }
    };
    (0..arms).map(rewards).collect()
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
