//! Numbers as sentences and pages write them.

/// A count with its thousands apart: `3,037`.
pub fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// "1 unit", "2 units".
pub fn counted(n: u64, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{} {}", grouped(n), several(what)) }
}

/// The plural of a noun: names of entities are people's own words.
pub fn several(what: &str) -> String {
    let is_consonant = |letter: char| !"aeiou".contains(letter);
    match what.strip_suffix('y') {
        Some(stem) if stem.ends_with(is_consonant) => format!("{stem}ies"),
        _ if ["s", "x", "ch", "sh"].iter().any(|end| what.ends_with(end)) => format!("{what}es"),
        _ => format!("{what}s"),
    }
}

/// A share in percent, to what can be read at a glance.
pub fn percent(share: f64) -> String {
    let percent = share * 100.0;
    let text = match percent.abs() {
        size if size >= 10.0 || size == 0.0 => format!("{percent:.0}"),
        size if size >= 1.0 => format!("{percent:.1}"),
        size if size >= 0.01 => format!("{percent:.2}"),
        _ => return "< 0.01 %".to_owned(),
    };
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text} %")
}

/// Decimals of a share in percent that so many units carry: to a digit of its standard error, which is at least that of
/// one event.
pub fn share_decimals(share: f64, units: u64) -> usize {
    let (p, n) = (share.clamp(0.0, 1.0), units.max(1) as f64);
    let error = (p * (1.0 - p) / n).sqrt().max(1.0 / n) * 100.0;
    // What rounds up to the next power of ten has one digit less.
    (-(error.log10() + 1e-9).floor()).clamp(0.0, 9.0) as usize
}

/// Two shares in percent, both to what their units carry.
pub fn shares(shares: [f64; 2], units: [u64; 2]) -> [String; 2] {
    let decimals = share_decimals(shares[0], units[0]).max(share_decimals(shares[1], units[1]));
    shares.map(|share| format!("{:.decimals$} %", share * 100.0))
}

/// A probability. None is zero.
pub fn probability(p: Option<f64>) -> String {
    match p {
        Some(p) if p < 0.0001 => "<\u{a0}0.0001".to_owned(),
        Some(p) => format!("{p:.4}"),
        None => "-".to_owned(),
    }
}

/// A probability in a sentence, which does not break within it.
pub fn p_is(p: Option<f64>) -> String {
    let text = probability(p);
    if text.starts_with('<') { format!("p\u{a0}{text}") } else { format!("p\u{a0}=\u{a0}{text}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_probability_is_zero() {
        assert_eq!([Some(0.0), Some(0.00012), None].map(probability), ["<\u{a0}0.0001", "0.0001", "-"]);
        assert_eq!([p_is(Some(1e-9)), p_is(Some(0.25))], ["p\u{a0}<\u{a0}0.0001", "p\u{a0}=\u{a0}0.2500"]);
    }

    #[test]
    fn shares_have_the_digits_that_their_units_carry() {
        assert_eq!(shares([4.0 / 7.0, 0.5], [7, 8]), ["57 %", "50 %"]);
        assert_eq!(shares([0.4, 0.3], [4000, 4000]), ["40.0 %", "30.0 %"]);
    }

    #[test]
    fn numbers_are_written_as_people_read_them() {
        assert_eq!([0, 999, 1000, 4100, 1_234_567].map(grouped), ["0", "999", "1,000", "4,100", "1,234,567"]);
        assert_eq!([0, 1, 2000].map(|n| counted(n, "unit")), ["0 units", "1 unit", "2,000 units"]);
        assert_eq!(
            [0.0, 0.1, 0.015, 0.0012, 0.5, 0.000_01].map(percent),
            ["0 %", "10 %", "1.5 %", "0.12 %", "50 %", "< 0.01 %"]
        );
    }
}
