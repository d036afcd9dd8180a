//! Words, numbers and times as the pages write them.

use maud::{Markup, html};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serin_core::record::ServedBy;
use serin_core::value::Value;

/// What stands for itself in a segment of a path and in a query.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// A text as a segment of a path or as a value in a query.
pub fn encoded(text: &str) -> String {
    utf8_percent_encode(text, PLAIN).to_string()
}

/// How a badge is coloured. Its words say the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// As it should be.
    Good,
    /// A person is needed.
    Bad,
    /// Worth a look.
    Warn,
    /// Neither.
    Open,
}

/// Words in a coloured frame, with a sign for those who do not see the colour.
pub fn badge(tone: Tone, words: &str) -> Markup {
    let (class, sign) = match tone {
        Tone::Good => ("badge good", "\u{2713}"),
        Tone::Bad => ("badge bad", "\u{2717}"),
        Tone::Warn => ("badge warn", "!"),
        Tone::Open => ("badge open", "\u{25cb}"),
    };
    html! { span class=(class) { span aria-hidden="true" { (sign) " " } b { (words.replace('_', " ")) } } }
}

/// A number with thousands apart.
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

/// A signed number in percent, or in percentage points.
pub fn signed_percent(share: f64, unit: &str) -> String {
    let size = percent(share.abs());
    let sign = if share < 0.0 { "\u{2212}" } else { "+" };
    format!("{sign}{}{unit}", size.trim_end_matches(" %"))
}

/// A time, which a machine can read, too.
pub fn when(ms: u64) -> Markup {
    match i64::try_from(ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok()) {
        Some(at) => html! { time datetime=(at.to_string()) { (at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()) } },
        None => html! { "-" },
    }
}

/// How long something lasted, to its largest unit.
pub fn span(ms: u64) -> String {
    let units = [(86_400_000, "day"), (3_600_000, "hour"), (60_000, "minute"), (1000, "second")];
    match units.into_iter().find(|(unit, _)| ms >= *unit) {
        Some((unit, name)) if ms / unit == 1 => format!("1 {name}"),
        Some((unit, name)) => format!("{} {name}s", ms / unit),
        None => format!("{ms} ms"),
    }
}

/// A value as a person reads it.
pub fn value(value: &Value) -> Markup {
    match value {
        Value::Missing => html! { span.small { "none" } },
        Value::Text(text) => html! { (text) },
        other => html! { (other) },
    }
}

/// The first digits of a digest; all of them for those who point at it.
pub fn digest(digest: &str) -> Markup {
    let short: String = digest.trim_start_matches("sha256:").chars().take(12).collect();
    html! { code title=(digest) { (short) } }
}

/// How it was served, as a badge.
pub fn served_by(served_by: ServedBy) -> Markup {
    let tone = match served_by {
        ServedBy::Arm | ServedBy::Strategy => Tone::Good,
        ServedBy::FallbackStrategy | ServedBy::FallbackAction => Tone::Warn,
        ServedBy::Constraint => Tone::Open,
    };
    badge(tone, served_by.as_str())
}

/// A link to an experiment.
pub fn experiment(id: &str) -> Markup {
    html! { a href={ "/experiments/" (encoded(id)) } { (id) } }
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
        assert_eq!(signed_percent(-0.021, " %"), "\u{2212}2.1 %");
        assert_eq!([86_400_000, 7_200_000, 59_000, 10].map(span), ["1 day", "2 hours", "59 seconds", "10 ms"]);
    }

    #[test]
    fn what_has_a_meaning_in_a_path_is_written_apart() {
        assert_eq!(encoded("a/b?c#d e\"<"), "a%2Fb%3Fc%23d%20e%22%3C");
    }
}
