//! Axis ticks: round numbers and calendar times.

use crate::report::rounding::typeset;

const DAY: u64 = 86_400_000;

/// Positions and their labels.
pub(super) type Ticks = Vec<(f64, String)>;

/// An axis that has these values and zero on it.
pub(super) fn linear(values: impl IntoIterator<Item = f64>) -> Ticks {
    let (low, high) =
        values.into_iter().fold((0.0_f64, 0.0_f64), |(low, high), value| (low.min(value), high.max(value)));
    // A flat range has a height, too.
    let rough = if high - low > 1e-12 { (high - low) / 4.0 } else { 0.5 };
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0].into_iter().find(|n| n * power >= rough * 0.999).unwrap_or(10.0) * power;
    let (first, last) = ((low / step).floor() as i32, (high / step).ceil() as i32);
    (first..=last.max(first + 1)).map(|i| (f64::from(i) * step, compact(f64::from(i) * step, step))).collect()
}

/// An axis that has these shares on it.
pub(super) fn shares(values: impl Iterator<Item = f64>) -> Ticks {
    let most = values.fold(0.0, f64::max);
    let top = [0.02, 0.1, 0.2, 0.4, 0.6].into_iter().find(|top| most <= *top).unwrap_or(1.0);
    [0.0, 0.5, 1.0].into_iter().map(|part| (part * top, format!("{:.0}%", part * top * 100.0))).collect()
}

/// An axis of powers of ten, from this one to the zeroth; one of the hundredth is always there.
pub(super) fn powers(least: f64) -> Ticks {
    let step = if least < -5.0 { 2.0 } else { 1.0 };
    let tick =
        |i: i32| (f64::from(i) * step, compact(10f64.powf(f64::from(i) * step), 10f64.powf(f64::from(i) * step)));
    ((least / step).floor() as i32..=0).map(tick).collect()
}

/// From the lowest value to the highest.
pub(super) fn ends(axis: &Ticks) -> (f64, f64) {
    (axis.first().map_or(0.0, |tick| tick.0), axis.last().map_or(1.0, |tick| tick.0))
}

/// A number to the digits that a step shows in.
pub(super) fn compact(value: f64, step: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    if !(1e-5..1e12).contains(&step) {
        let digits = (value.abs().log10().floor() - step.log10().floor()).clamp(0.0, 2.0) as usize;
        return typeset(&format!("{value:.digits$e}"));
    }
    let (unit, sign) = [(1e9, "G"), (1e6, "M"), (1e3, "k")].into_iter().find(|(n, _)| step >= *n).unwrap_or((1.0, ""));
    // A logarithm may miss a whole number by little.
    let decimals = if unit > 1.0 { 0 } else { (-(step.log10() + 1e-9).floor()).max(0.0) as usize };
    typeset(&format!("{:.decimals$}{sign}", value / unit))
}

/// When to write the time: at most four times, which is what a phone has room for.
pub(super) fn times(from: u64, to: u64) -> Ticks {
    const SECONDS: [u64; 26] = [
        1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400, 172_800,
        345_600, 604_800, 1_209_600, 2_592_000, 7_862_400, 15_724_800, 31_536_000,
    ];
    let step = SECONDS.map(|n| n * 1000).into_iter().find(|step| (to - from) / step < 4).unwrap_or((to - from) / 3);
    let format = match step {
        0..60_000 => "%H:%M:%S",
        60_000..DAY if to - from > DAY => "%b %-d %H:%M",
        60_000..DAY => "%H:%M",
        DAY..7_862_400_000 => "%b %-d",
        _ => "%b %Y",
    };
    // Weeks and months begin with the first day.
    let first = from.div_ceil(step.min(DAY)).saturating_mul(step.min(DAY));
    let all = std::iter::successors(Some(first), |at| at.checked_add(step)).take_while(|at| *at <= to);
    let ticks: Ticks = all.map(|at| (at as f64, time(at, format))).collect();
    if ticks.len() < 2 { [from, to].map(|at| (at as f64, time(at, "%H:%M:%S"))).into() } else { ticks }
}

/// A time in UTC; nothing where there is no such time.
pub(super) fn time(ms: u64, format: &str) -> String {
    let time = i64::try_from(ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    time.map(|time| time.strftime(format).to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(ticks: Ticks) -> Vec<String> {
        ticks.into_iter().map(|tick| tick.1).collect()
    }

    #[test]
    fn numbers_are_round_and_a_flat_range_has_a_height() {
        assert_eq!(texts(linear([-0.013, 0.021])), ["\u{2212}0.02", "\u{2212}0.01", "0", "0.01", "0.02", "0.03"]);
        assert_eq!(texts(linear([3900.0])), ["0", "1k", "2k", "3k", "4k"]);
        assert_eq!(texts(linear([])), ["0", "0.5"]);
        assert_eq!(texts(linear([1.9e-5])), ["0", "5e-6", "1.0e-5", "1.5e-5", "2.0e-5"]);
        assert_eq!(
            [compact(0.01184, 1e-4), compact(-23456.0, 2e3), compact(-0.0, 0.0)],
            ["0.0118", "\u{2212}23k", "0"]
        );
        assert_eq!(texts(powers(-3.0)), ["0.001", "0.01", "0.1", "1"]);
        for least in -12..0 {
            assert!(powers(f64::from(least)).iter().any(|tick| tick.1 == "0.01") || least == -1);
        }
        for nasty in [1e-300, 1e15, -1e15] {
            let ticks = linear([nasty]);
            assert!(ticks.len() < 8 && ends(&ticks).0 < ends(&ticks).1, "{ticks:?}");
        }
    }

    #[test]
    fn times_are_few_and_as_coarse_as_the_span() {
        let start = 1_795_000_000_000;
        for (span, first) in [
            (20_000, "11:06:40"),
            (2 * 3_600_000, "12:00"),
            (DAY + DAY / 2, "Nov 18 12:00"),
            (60 * DAY, "Nov 19"),
            (800 * DAY, "Nov 2026"),
        ] {
            let ticks = texts(times(start, start + span));
            assert!((2..=4).contains(&ticks.len()), "{ticks:?}");
            assert_eq!(ticks[0], first);
        }
        assert_eq!(times(start, start).len(), 2);
        assert!(times(0, u64::MAX).len() <= 4);
    }
}
