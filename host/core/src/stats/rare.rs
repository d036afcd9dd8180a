//! An exact sequential test of whether rare events, such as failures, became more frequent. It may be
//! evaluated after every unit.
//!
//! With three failures among a thousand units no normal approximation holds, and an alarm cannot
//! wait until one does. This test approximates nothing. It assumes that each arm's units are
//! independent, with a constant rate. For any two rates, the likelihood of all data under a mixture
//! of all rates, over the likelihood under these two, is a martingale that begins at 1; it exceeds
//! 1 / α at any time with probability at most α if these two are true (Ville). A hypothesis is
//! rejected when this holds for all pairs of rates that it allows: an e-value, valid at any
//! stopping time. E-values of two samples: Turner, Ly & Grünwald, arXiv 2106.02693; the maximum of
//! the likelihood below a mixture: Wasserman, Ramdas & Balakrishnan, Universal inference, arXiv
//! 1912.11436; mixtures by Beta: Howard, Ramdas, McAuliffe & Sekhon, arXiv 1810.08240. It needs no
//! pairs or blocks of units, just counts, which merge.
//!
//! The mixture affects power, not validity. Half of its weight is on Beta(½, ½), and half on
//! Beta(½, 49½), whose mean is 1 %. With the first alone, a rise from 0.1 % to 0.6 % is detected half
//! as often.

use std::ops::Add;

use serde::{Deserialize, Serialize};
use statrs::function::beta::ln_beta;

/// Bisections of an interval of rates: to 10⁻¹².
const HALVINGS: u32 = 40;

/// Beta's parameters without a preferred rate.
const ALIKE: [f64; 2] = [0.5, 0.5];
/// Beta's parameters for rates of a percent or less.
const RARE: [f64; 2] = [0.5, 49.5];

/// One arm: units, and those of them that had the event.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// All units.
    pub units: u64,
    /// Units with the event; never more than all.
    pub events: u64,
}

impl Add for Counts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { units: self.units + other.units, events: self.events + other.events }
    }
}

/// One arm's numbers between 0 and 1: how many, and their sum. Counts of events are such numbers.
///
/// A number x in [0, 1] with the mean μ has E(eˡˣ) ≤ 1 − μ + μ eˡ, so what holds for 0 and 1 holds
/// for it, with its sum in place of the events.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BoundedSum {
    /// Units.
    pub units: f64,
    /// The sum of their numbers; never more than the units.
    pub sum: f64,
}

impl From<Counts> for BoundedSum {
    fn from(counts: Counts) -> Self {
        Self { units: counts.units as f64, sum: counts.events as f64 }
    }
}

impl BoundedSum {
    fn without(self) -> f64 {
        (self.units - self.sum).max(0.0)
    }

    /// The mean, or `unknown` without units.
    fn rate(self, unknown: f64) -> f64 {
        if self.units == 0.0 { unknown } else { (self.sum / self.units).clamp(0.0, 1.0) }
    }

    /// ln of the likelihood at `rate`.
    fn log_likelihood(self, rate: f64) -> f64 {
        let term = |count: f64, ln: f64| if count == 0.0 { 0.0 } else { count * ln };
        term(self.sum, rate.ln()) + term(self.without(), (-rate).ln_1p())
    }

    /// The likelihood's slope at `rate`, as a logarithm.
    fn slope(self, rate: f64) -> f64 {
        let term = |count: f64, of: f64| if count == 0.0 { 0.0 } else { count / of };
        term(self.sum, rate) - term(self.without(), 1.0 - rate)
    }

    /// ln of the likelihood, averaged over all rates with the weights of [`RARE`] and [`ALIKE`].
    fn log_mixture(self) -> f64 {
        let (s, f) = (self.sum, self.without());
        let under = |[a, b]: [f64; 2]| ln_beta(a + s, b + f) - ln_beta(a, b);
        let (one, other) = (under(ALIKE), under(RARE));
        one.max(other) + (-(one - other).abs()).exp().ln_1p() - std::f64::consts::LN_2
    }
}

/// The natural logarithm of the e-value against "the treatment's rate is at most the control's plus
/// `alarm`". At or above ln(1 / α) it is rejected at level α, at any stopping time. `alarm` is a
/// difference of rates, such as 0.01 for a percentage point; it is clamped to [−1, 1].
pub fn log_e_value(control: impl Into<BoundedSum>, treatment: impl Into<BoundedSum>, alarm: f64) -> f64 {
    let (control, treatment) = (control.into(), treatment.into());
    control.log_mixture() + treatment.log_mixture() - log_likelihood_at_most(control, treatment, alarm)
}

/// ln of the greatest likelihood with a difference of at most `alarm`.
fn log_likelihood_at_most(control: BoundedSum, treatment: BoundedSum, alarm: f64) -> f64 {
    let alarm = alarm.clamp(-1.0, 1.0);
    // An arm without units has the rate that fits the hypothesis best.
    let (base, raised) = (control.rate(1.0), treatment.rate(0.0));
    let (base, raised) = if raised <= base + alarm {
        (base, raised)
    } else {
        let base = likeliest(control, treatment, alarm, (base, raised - alarm));
        (base, (base + alarm).clamp(0.0, 1.0))
    };
    control.log_likelihood(base) + treatment.log_likelihood(raised)
}

/// The natural logarithm of the e-value against "both arms have the same mean". It is used as
/// [`log_e_value`] is.
pub fn log_e_value_of_equality(control: impl Into<BoundedSum>, treatment: impl Into<BoundedSum>) -> f64 {
    let (control, treatment) = (control.into(), treatment.into());
    let both = BoundedSum { units: control.units + treatment.units, sum: control.sum + treatment.sum };
    control.log_mixture() + treatment.log_mixture() - both.log_likelihood(both.rate(0.5))
}

/// Whether the treatment's rate exceeds the control's by more than `alarm`. If it does not, the
/// probability of a false alarm over all looks is at most `alpha`.
pub fn harm(control: impl Into<BoundedSum>, treatment: impl Into<BoundedSum>, alarm: f64, alpha: f64) -> bool {
    log_e_value(control, treatment, alarm) >= -alpha.ln()
}

/// Bounds of one arm's rate that hold at all times with probability at least 1 − `alpha`: the
/// rates whose martingale is below 1 / `alpha`. (0, 1) without units.
pub fn bounds(counts: impl Into<BoundedSum>, alpha: f64) -> (f64, f64) {
    let counts = counts.into();
    let rate = counts.rate(0.5);
    let is_out = |p: f64| counts.log_mixture() - counts.log_likelihood(p) >= -alpha.ln();
    (edge(0.0, rate, is_out), edge(1.0, rate, is_out))
}

/// Bounds of the treatment's rate less the control's. Both hold together, at all times, with
/// probability at least 1 − `alpha`: they are the outermost differences of one region of pairs of
/// rates. At the same level, [`harm`] is true for every alarm below the lower bound.
pub fn difference_bounds(control: impl Into<BoundedSum>, treatment: impl Into<BoundedSum>, alpha: f64) -> (f64, f64) {
    let (control, treatment) = (control.into(), treatment.into());
    (difference_lower(control, treatment, alpha), difference_upper(control, treatment, alpha))
}

/// The lower one of [`difference_bounds`].
pub fn difference_lower(control: impl Into<BoundedSum>, treatment: impl Into<BoundedSum>, alpha: f64) -> f64 {
    let (control, treatment) = (control.into(), treatment.into());
    // At and below this difference the data support the hypothesis.
    let within = treatment.rate(0.0) - control.rate(1.0);
    let mixture = control.log_mixture() + treatment.log_mixture();
    let is_out = |alarm: f64| mixture - log_likelihood_at_most(control, treatment, alarm) >= -alpha.ln();
    edge(-1.0, within, is_out)
}

/// The upper one of [`difference_bounds`].
pub fn difference_upper(control: impl Into<BoundedSum>, treatment: impl Into<BoundedSum>, alpha: f64) -> f64 {
    -difference_lower(treatment, control, alpha)
}

/// The natural logarithm of the e-value against "the treatment's mean is at most `factor` times the
/// control's", for numbers between 0 and 1 and a factor above 0. It is used as [`log_e_value`] is.
pub fn log_e_value_of_ratio(control: impl Into<BoundedSum>, treatment: impl Into<BoundedSum>, factor: f64) -> f64 {
    let (control, treatment) = (control.into(), treatment.into());
    control.log_mixture() + treatment.log_mixture() - log_likelihood_at_most_times(control, treatment, factor)
}

/// ln of the greatest likelihood with a mean of at most `factor` times control's.
fn log_likelihood_at_most_times(control: BoundedSum, treatment: BoundedSum, factor: f64) -> f64 {
    let (base, raised) = (control.rate(1.0), treatment.rate(0.0));
    let (base, raised) = if raised <= base * factor {
        (base, raised)
    } else {
        let most = (1.0 / factor).min(1.0);
        let other = |rate: f64| (rate * factor).min(1.0);
        let slope = |rate: f64| control.slope(rate) + factor * treatment.slope(other(rate));
        let base = summit((base.min(most), (raised / factor).min(most)), slope, other);
        (base, (base * factor).min(1.0))
    };
    control.log_likelihood(base) + treatment.log_likelihood(raised)
}

/// The largest ratio that is bounded: beyond it nothing is known.
const MOST_TIMES: f64 = 1e6;

/// Upper bound of the treatment's mean as a multiple of the control's, at all times with probability
/// at least 1 − `alpha`; infinite where nothing bounds it.
pub fn ratio_upper(control: impl Into<BoundedSum>, treatment: impl Into<BoundedSum>, alpha: f64) -> f64 {
    let (control, treatment) = (control.into(), treatment.into());
    // Out is a ratio whose hypothesis "at least that many times" is rejected.
    let mixture = control.log_mixture() + treatment.log_mixture();
    let is_out = |ln: f64| mixture - log_likelihood_at_most_times(treatment, control, (-ln).exp()) >= -alpha.ln();
    let near = treatment.rate(0.0) / control.rate(1.0);
    let near = if near > 0.0 { near.ln().clamp(-MOST_TIMES.ln(), MOST_TIMES.ln()) } else { -MOST_TIMES.ln() };
    if !is_out(MOST_TIMES.ln()) {
        return f64::INFINITY;
    }
    edge(MOST_TIMES.ln(), near, is_out).exp()
}

/// Lower bound of the same: see [`ratio_upper`].
pub fn ratio_lower(control: impl Into<BoundedSum>, treatment: impl Into<BoundedSum>, alpha: f64) -> f64 {
    1.0 / ratio_upper(treatment, control, alpha)
}

/// The control's rate in `within` that maximizes the likelihood of both arms, if the treatment's
/// rate is higher by `alarm`. Each arm's likelihood alone is greatest at one end, so the maximum
/// lies in between.
fn likeliest(control: BoundedSum, treatment: BoundedSum, alarm: f64, within: (f64, f64)) -> f64 {
    let (least, most) = ((-alarm).max(0.0), (1.0 - alarm).min(1.0));
    let within = (within.0.clamp(least, most), within.1.clamp(least, most));
    let other = |rate: f64| rate + alarm;
    summit(within, |rate| control.slope(rate) + treatment.slope(other(rate)), other)
}

/// A maximum's place is known well enough at this share of the smallest rate: there the likelihood is
/// flat.
const FLAT: f64 = 1e-7;
/// Bisections for a maximum at an end, where it is not flat: an arm without any event, or with nothing
/// else.
const STEEP: u32 = 64;

/// Where a likelihood with this slope is greatest in `(low, high)`, and the other arm's rate is
/// `other` of that.
fn summit((mut low, mut high): (f64, f64), slope: impl Fn(f64) -> f64, other: impl Fn(f64) -> f64) -> f64 {
    for _ in 0..STEEP {
        let middle = 0.5 * (low + high);
        let smallest = [middle, other(middle)].map(|rate| rate.min(1.0 - rate)).into_iter().fold(1.0, f64::min);
        if high - low <= FLAT * smallest {
            break;
        }
        if slope(middle) > 0.0 { low = middle } else { high = middle }
    }
    0.5 * (low + high)
}

/// The boundary of `is_out` between `far` and `near`, which is not out; on the outer side.
fn edge(far: f64, near: f64, is_out: impl Fn(f64) -> bool) -> f64 {
    let (mut out, mut inside) = (far, near);
    if !is_out(out) {
        return out;
    }
    for _ in 0..HALVINGS {
        let middle = 0.5 * (out + inside);
        if is_out(middle) { out = middle } else { inside = middle }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The chances of 0 to `units` events, as logarithms, without the likelihood.
    fn ways(units: u64) -> impl Iterator<Item = (BoundedSum, f64)> {
        (0..=units).scan(0.0, move |ln, events| {
            let now = *ln;
            *ln += ((units - events) as f64 / (events + 1) as f64).ln();
            Some((Counts { units, events }.into(), now))
        })
    }

    #[test]
    fn a_mixture_is_a_probability() {
        for units in [0, 1, 7, 300] {
            let all: f64 = ways(units).map(|(counts, ways)| (ways + counts.log_mixture()).exp()).sum();
            assert!((all - 1.0).abs() < 1e-10, "{units}: {all}");
        }
    }

    #[test]
    fn an_e_value_is_at_most_one_on_average() {
        // Over all that can happen to 40 units of the control and 25 of the treatment.
        let mean = |base: f64, raised: f64, alarm: f64| -> f64 {
            let chances = |units, rate| ways(units).map(move |(c, ways)| (c, (ways + c.log_likelihood(rate)).exp()));
            chances(40, base)
                .flat_map(|(c, p)| chances(25, raised).map(move |(t, q)| (c, t, p * q)))
                .filter(|(.., chance)| *chance > 0.0)
                .map(|(c, t, chance)| chance * log_e_value(c, t, alarm).exp())
                .sum()
        };
        for (base, alarm) in [(0.01, 0.0), (0.3, 0.1), (0.9, -0.2), (0.0, 0.02), (1.0, 0.0)] {
            let found = mean(base, base + alarm, alarm);
            assert!(found > 0.0 && found <= 1.0, "{base} {alarm}: {found}");
        }
        let harmful = mean(0.01, 0.4, 0.1);
        assert!(harmful > 20.0, "{harmful}");
    }

    #[test]
    fn a_ratio_is_bounded_where_the_events_bound_it() {
        let counts = |units, events| Counts { units, events };
        // 10.5 % against 19 %: less than doubled, surely, only with many units.
        let few = ratio_upper(counts(1000, 105), counts(1000, 190), 0.01);
        let many = ratio_upper(counts(100_000, 10_500), counts(100_000, 19_000), 0.01);
        assert!(few > 2.0 && many < 2.0 && many > 19.0 / 10.5, "{few} {many}");
        assert!(ratio_upper(counts(1000, 0), counts(1000, 3), 0.01).is_infinite(), "none in control");
        let none = ratio_upper(counts(20_000, 400), counts(20_000, 0), 0.01);
        assert!(none > 0.0 && none < 0.05, "{none}");
        let lower = ratio_lower(counts(100_000, 10_500), counts(100_000, 19_000), 0.01);
        assert!(lower > 1.6 && lower < 19.0 / 10.5, "{lower}");
    }

    #[test]
    fn an_e_value_of_a_ratio_is_at_most_one_on_average() {
        let mean = |base: f64, factor: f64| -> f64 {
            let chances = |units, rate| ways(units).map(move |(c, ways)| (c, (ways + c.log_likelihood(rate)).exp()));
            chances(40, base)
                .flat_map(|(c, p)| chances(25, base * factor).map(move |(t, q)| (c, t, p * q)))
                .filter(|(.., chance)| *chance > 0.0)
                .map(|(c, t, chance)| chance * log_e_value_of_ratio(c, t, factor).exp())
                .sum()
        };
        for (base, factor) in [(0.01, 2.0), (0.3, 1.5), (0.9, 0.5), (0.2, 5.0)] {
            let found = mean(base, factor);
            assert!(found > 0.0 && found <= 1.0, "{base} {factor}: {found}");
        }
    }

    #[test]
    fn an_e_value_falls_as_the_alarm_rises() {
        let (control, treatment) = (Counts { units: 5000, events: 5 }, Counts { units: 5000, events: 105 });
        let all: Vec<f64> = (-100..=100).map(|step| log_e_value(control, treatment, f64::from(step) / 100.0)).collect();
        assert!(all.windows(2).all(|pair| pair[0] >= pair[1]), "{all:?}");
        assert!(all[100] > 30.0 && all[200] < 0.0 && all[0] > 1000.0, "{} {} {}", all[0], all[100], all[200]);
    }
}
