//! Numbers for people: shares in percent, differences of shares in percentage points, and no more
//! digits than a number carries.

pub(super) use serin_core::numbers::counted;
use serin_core::numbers::share_decimals;

/// A number to three significant digits, without trailing zeros.
pub(super) fn short(value: f64) -> String {
    if !value.is_finite() {
        return "-".to_owned();
    }
    trimmed(value, digits(value.abs(), 3))
}

/// A share in percent, to three significant digits.
pub(super) fn percent(share: f64) -> String {
    format!("{} %", short(share * 100.0))
}

/// A difference of shares in percentage points.
pub(super) fn points(difference: f64) -> String {
    match short(difference * 100.0).as_str() {
        "1" => "1 percentage point".to_owned(),
        many => format!("{many} percentage points"),
    }
}

/// Means of arms, each with its units, all to the same decimals: shares in percent to what the most
/// units carry, else three significant digits of the largest.
pub(super) fn means(arms: &[(Option<f64>, u64)], is_share: bool) -> Vec<String> {
    let known: Vec<(f64, u64)> =
        arms.iter().filter_map(|(mean, units)| Some((mean.filter(|mean| mean.is_finite())?, *units))).collect();
    let of_share = |(share, units): &(f64, u64)| share_decimals(*share, *units);
    let mut decimals = match is_share {
        true => known.iter().map(of_share).max().unwrap_or(0),
        false => digits(known.iter().fold(0.0, |most: f64, (mean, _)| most.max(mean.abs())), 3),
    };
    let fixed = |value: f64, decimals: usize| format!("{value:.decimals$}");
    // Zeros that all of them end with say nothing of numbers that are no shares.
    while !is_share && decimals > 0 && known.iter().all(|(mean, _)| fixed(*mean, decimals).ends_with('0')) {
        decimals -= 1;
    }
    let shown = |mean: &Option<f64>| match mean.filter(|mean| mean.is_finite()) {
        None => "-".to_owned(),
        Some(mean) if is_share => format!("{} %", typeset(&fixed(mean * 100.0, decimals))),
        Some(mean) => typeset(&fixed(mean, decimals)),
    };
    arms.iter().map(|(mean, _)| shown(mean)).collect()
}

/// Text with a minus sign before each negative number, and none before a zero.
pub(super) fn typeset(text: &str) -> String {
    let mut typeset = String::with_capacity(text.len());
    let mut before = None;
    for (at, letter) in text.char_indices() {
        let number = text.get(at + 1..).unwrap_or_default();
        let is_sign = letter == '-'
            && matches!(before, None | Some(' ' | '(' | '[' | '\u{a0}'))
            && number.starts_with(|digit: char| digit.is_ascii_digit());
        match is_sign {
            true if is_zero(number) => {}
            true => typeset.push('\u{2212}'),
            false => typeset.push(letter),
        }
        before = Some(letter);
    }
    typeset
}

/// Whether the number that a text begins with is 0.
fn is_zero(text: &str) -> bool {
    let end = text.find(|letter: char| !matches!(letter, '0'..='9' | '.')).unwrap_or(text.len());
    text[..end].bytes().all(|digit| matches!(digit, b'0' | b'.'))
}

/// The unit that a number is shown in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Shown {
    /// As it is.
    Plain,
    /// A share of control's mean, in percent.
    Percent,
    /// A difference of shares, in percentage points.
    Points,
}

impl Shown {
    /// For a difference of a metric's means.
    pub(super) fn difference(is_share: bool) -> Self {
        if is_share { Self::Points } else { Self::Plain }
    }

    fn factor(self) -> f64 {
        if self == Self::Plain { 1.0 } else { 100.0 }
    }

    fn unit(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Percent => "\u{a0}%",
            Self::Points => "\u{a0}pp",
        }
    }

    /// A number with its sign, to what an interval of this width carries.
    pub(super) fn signed(self, value: f64, width: f64) -> String {
        format!("{}{}", self.bare(value, width), self.unit())
    }

    /// A size without a sign.
    pub(super) fn size(self, value: f64, width: f64) -> String {
        format!("{}{}", self.bare(value.abs(), width).trim_start_matches('+'), self.unit())
    }

    /// "1.2 to 4.1 %": the sizes of both ends of an interval that does not hold zero.
    pub(super) fn sizes(self, [near, far]: [f64; 2]) -> String {
        let [near, far] = [near, far].map(|end| (end.abs(), (far - near).abs()));
        let bare = |(end, width)| self.bare(end, width).trim_start_matches('+').to_owned();
        format!("{} to {}{}", bare(near), bare(far), self.unit())
    }

    /// "−1.2 to +4.1 %": both ends to two digits of the interval's width.
    pub(super) fn interval(self, [low, high]: [f64; 2]) -> String {
        let width = high - low;
        format!("{} to {}{}", self.bare(low, width), self.bare(high, width), self.unit())
    }

    fn bare(self, value: f64, width: f64) -> String {
        if !value.is_finite() {
            return "-".to_owned();
        }
        let fixed = |decimals: usize| format!("{:.decimals$}", (value * self.factor()).abs());
        let mut text = fixed(digits((width * self.factor()).abs(), 2));
        // What would be shown as 0 says on which side of it a wide interval ends.
        if is_zero(&text) && value.abs() >= width.abs() / 1000.0 && value != 0.0 {
            text = fixed(digits((value * self.factor()).abs(), 1));
        }
        match is_zero(&text) {
            true => "0".to_owned(),
            false => format!("{}{text}", if value < 0.0 { '\u{2212}' } else { '+' }),
        }
    }
}

/// "0.05 shared by 3": an error rate, and how many tests share it.
pub(super) fn alpha(part: f64, shared_by: u64) -> String {
    match shared_by {
        0 | 1 => trimmed(part, digits(part, 2)),
        many => {
            let whole = part * many as f64;
            format!("{} shared by {many}", trimmed(whole, digits(whole, 2)))
        }
    }
}

/// Decimals that show this many significant digits of a size.
fn digits(size: f64, significant: i32) -> usize {
    if !(size.is_finite() && size > 0.0) {
        return 0;
    }
    // What rounds up to the next power of ten has one digit less.
    let exponent = (size.log10() + 1e-9).floor() as i32;
    (significant - 1 - exponent).clamp(0, 9) as usize
}

fn trimmed(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    typeset(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_carry_no_more_digits_than_they_have() {
        assert_eq!([0.016_666_666, 1234.5, -0.0, 0.5].map(short), ["0.0167", "1234", "0", "0.5"].map(str::to_owned));
        assert_eq!([0.02, 0.123_456, 1.0].map(percent), ["2 %", "12.3 %", "100 %"]);
        assert_eq!(means(&[(Some(0.1), 4000)], true), ["10.0 %"]);
        assert_eq!(means(&[(Some(0.0), 100)], true), ["0 %"]);
        assert_eq!(means(&[(Some(12.345), 9)], false), ["12.3"]);
    }

    #[test]
    fn means_of_a_row_have_the_same_decimals() {
        let row = [(Some(0.25), 400), (Some(0.151_23), 9000), (None, 0)];
        assert_eq!(means(&row, true), ["25.0 %", "15.1 %", "-"]);
        assert_eq!(means(&[(Some(0.5), 9), (Some(12.3), 9)], false), ["0.5", "12.3"]);
        assert_eq!(means(&[(Some(-2.0), 9), (Some(-0.000_01), 9)], false), ["\u{2212}2", "0"]);
    }

    #[test]
    fn every_minus_sign_before_a_number_is_one() {
        let text = "lies in [-0.012, 3], -5 (-1) on 2026-11-27 in b-5 --now: -0.00000";
        let typeset = typeset(text);
        assert_eq!(typeset, "lies in [\u{2212}0.012, 3], \u{2212}5 (\u{2212}1) on 2026-11-27 in b-5 --now: 0.00000");
        assert_eq!(Shown::Points.size(-0.2, 0.05), "20.0\u{a0}pp");
    }

    #[test]
    fn an_interval_is_rounded_to_its_width_and_has_signs() {
        assert_eq!(Shown::Percent.interval([-0.012_34, 0.041_23]), "\u{2212}1.2 to +4.1\u{a0}%");
        assert_eq!(Shown::Points.interval([0.0, 0.0002]), "0 to +0.020\u{a0}pp");
        assert_eq!(Shown::Plain.interval([-1500.0, 20.0]), "\u{2212}1500 to +20");
        assert_eq!(Shown::Points.sizes([-0.01, -0.14]), "1 to 14\u{a0}pp");
        assert_eq!(Shown::Percent.signed(-0.000_000_1, 0.05), "0\u{a0}%");
        assert_eq!(Shown::Points.signed(-0.003, 0.4), "\u{2212}0.3\u{a0}pp");
        assert_eq!(Shown::Points.interval([0.001, 0.4]), "+0.1 to +40\u{a0}pp");
    }

    #[test]
    fn an_alpha_says_who_shares_it() {
        assert_eq!(alpha(0.05 / 3.0, 3), "0.05 shared by 3");
        assert_eq!([alpha(0.05, 1), alpha(0.016_666_666_666_666_666, 1)], ["0.05", "0.017"]);
    }
}
