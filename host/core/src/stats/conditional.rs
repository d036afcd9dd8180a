//! Tests whether an event has become more frequent, from the events alone.
//!
//! Units are assigned to the two arms at random, so a unit with an event is in the treatment with
//! probability `w p_t / (w p_t + (1 - w) p_c)`, where `w` is the treatment's weight: at most `w`
//! unless the event is more frequent there. The number of units without an event does not matter,
//! and nothing is approximated, however rare the event is.
//!
//! The test is an e-process, the likelihood ratio of a uniform mixture of shares above `w`
//! against `w` itself: under every share up to `w` its mean stays at most 1, so by Ville's
//! inequality it exceeds `1 / alpha` at any time with a probability of at most `alpha` (Grünwald,
//! de Heide and Koolen, Safe Testing, 2024; Turner, Ly and Grünwald, arXiv 2106.02693).

use statrs::function::beta::{beta_reg, ln_beta};

/// The natural logarithm of the e-value against "not more frequent in the treatment".
///
/// `control` and `treatment` are units with an event. `weight`, strictly between 0 and 1, is the
/// treatment's share of the units of both arms.
pub fn log_e_value(control: u64, treatment: u64, weight: f64) -> f64 {
    let (c, t) = (control as f64, treatment as f64);
    // The part of the integral above `weight`.
    let above = 1.0 - beta_reg(t + 1.0, c + 1.0, weight);
    if above <= 0.0 {
        return f64::NEG_INFINITY;
    }
    let mixture = ln_beta(t + 1.0, c + 1.0) + above.ln() - (1.0 - weight).ln();
    mixture - t * weight.ln() - c * (1.0 - weight).ln()
}

/// Its p-value, valid at any stopping time.
pub fn p(control: u64, treatment: u64, weight: f64) -> f64 {
    (-log_e_value(control, treatment, weight)).exp().min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SplitMix64: a number in [0, 1).
    fn next(state: &mut u64) -> f64 {
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = *state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    #[test]
    fn no_event_says_nothing_and_one_sided_ones_say_much() {
        assert!(log_e_value(0, 0, 0.5).abs() < 1e-12);
        // By hand: the integral of 2 (2x)^17 over [1/2, 1] is (2^18 - 1) / 18.
        assert!((log_e_value(0, 17, 0.5) - (262_143.0_f64 / 18.0).ln()).abs() < 1e-9);
        assert!(log_e_value(17, 0, 0.5) < -1.0, "fewer is no alarm");
        assert!(p(50, 50, 0.5) > 0.2);
    }

    /// Peeked at after every event, on the boundary; and the mutant, a binomial test that takes
    /// every look for its first.
    #[test]
    fn false_alarms_stay_below_alpha_however_often_it_is_looked_at() {
        let (mut alarms, mut peeked, runs, alpha) = (0, 0, 2_000, 0.05);
        for run in 0..runs {
            let (mut state, mut control, mut treatment) = (run * 7919 + 1, 0_u64, 0_u64);
            let (mut alarm, mut z_alarm) = (false, false);
            for _ in 0..300 {
                if next(&mut state) < 0.3 {
                    treatment += 1;
                } else {
                    control += 1;
                }
                alarm |= log_e_value(control, treatment, 0.3) >= -f64::ln(alpha);
                let n = (control + treatment) as f64;
                z_alarm |= n >= 20.0 && (treatment as f64 - 0.3 * n) / (0.21 * n).sqrt() > 1.645;
            }
            alarms += i32::from(alarm);
            peeked += i32::from(z_alarm);
        }
        let rate = |n: i32| f64::from(n) / runs as f64;
        assert!(rate(alarms) <= alpha + 3.0 * (alpha * (1.0 - alpha) / runs as f64).sqrt(), "{}", rate(alarms));
        assert!(rate(peeked) > 0.15, "the mutant errs: {}", rate(peeked));
    }

    /// A base of 0.1 %, and two percentage points more: 2,000 units are enough.
    #[test]
    fn a_crash_on_two_percent_is_caught_early() {
        let (mut caught, runs) = (0, 500);
        for run in 0..runs {
            let (mut state, mut events) = (run * 104_729 + 3, [0_u64; 2]);
            for _ in 0..2_000 {
                let arm = usize::from(next(&mut state) < 0.5);
                events[arm] += u64::from(next(&mut state) < [0.001, 0.021][arm]);
            }
            caught += i32::from(log_e_value(events[0], events[1], 0.5) >= -f64::ln(0.01));
        }
        assert!(f64::from(caught) / runs as f64 >= 0.9, "{caught} of {runs}");
    }
}
