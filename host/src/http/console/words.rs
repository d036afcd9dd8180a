//! Words, numbers and times as the pages write them.

use maud::{Markup, html};
pub use serin_core::numbers::{counted, grouped, percent, several};
use serin_core::record::ServedBy;
use serin_core::value::Value;

use crate::experiments::next_commands;
pub use crate::http::addresses::encoded;

/// Where a browser has what the JSON API says of something. The API's own address takes no session.
pub fn json(kind: &str, id: &str, more: &str) -> String {
    format!("/console/v1/{kind}/{}{more}", encoded(id))
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

/// A number to two digits, of what is an estimate.
pub fn rounded(value: f64) -> u64 {
    let value = value.max(0.0);
    let unit = 10_f64.powf((value.max(1.0).log10().floor() - 1.0).max(0.0));
    ((value / unit).round() * unit) as u64
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

/// A text about an experiment for a page, which has a button or a link where the text names a command to type.
pub fn on_page(text: &str, id: &str) -> String {
    text.replace(&format!("waits for: {}", next_commands::start(id)), "waits for its start")
        .replace(
            &format!("decide with: {}", next_commands::amend(id)),
            "decide on it with \u{201c}Review the edit\u{2026}\u{201d}",
        )
        .replace(&format!("{} {id}", next_commands::APPROVE), "")
        .replace(next_commands::APPROVE, "")
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
        Value::Text(text) => html! { bdi { (text) } },
        other => html! { (other) },
    }
}

/// The first digits of a digest; all of them for those who point at it.
pub fn digest(digest: &str) -> Markup {
    let short: String = digest.trim_start_matches("sha256:").chars().take(12).collect();
    html! { code title=(digest) { (short) } }
}

/// A message. One of several lines keeps them: an error of a file points at its place in a drawing.
pub fn lines(text: &str) -> Markup {
    html! { @if text.contains('\n') { span.lines { (text) } } @else { bdi { (text) } } }
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
        assert_eq!(signed_percent(-0.021, " %"), "\u{2212}2.1 %");
        assert_eq!([0.0, 7.4, 99.0, 12_345.0, 219_216.0].map(rounded), [0, 7, 99, 12_000, 220_000]);
        assert_eq!(["customer", "party", "box", "day"].map(several), ["customers", "parties", "boxes", "days"]);
        assert_eq!([1, 2000].map(|n| counted(n, "unit")), ["1 unit", "2,000 units"]);
        assert_eq!([86_400_000, 7_200_000, 59_000, 10].map(span), ["1 day", "2 hours", "59 seconds", "10 ms"]);
    }
}
