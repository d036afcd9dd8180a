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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_people_read_them() {
        assert_eq!([0, 999, 1000, 4100, 1_234_567].map(grouped), ["0", "999", "1,000", "4,100", "1,234,567"]);
        assert_eq!(
            [0.0, 0.1, 0.015, 0.0012, 0.5, 0.000_01].map(percent),
            ["0 %", "10 %", "1.5 %", "0.12 %", "50 %", "< 0.01 %"]
        );
    }
}
