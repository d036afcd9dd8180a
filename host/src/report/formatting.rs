//! Numbers, times and phrases that the text and HTML reports share.

use serin_core::numbers::{counted, grouped};
pub(super) use serin_core::numbers::{p_is, probability};

use super::rounding::{Shown, alpha, means, short, typeset};
use super::{Change, Excluded, Report, ReportedComparison, ReportedGuardrail, ReportedMetric, ReportedSegment, Units};

/// A number to the digits that matter at its size.
pub(super) fn number(value: Option<f64>) -> String {
    let Some(value) = value else { return "-".to_owned() };
    let decimals = match value.abs() {
        size if size >= 100.0 => 2,
        size if size >= 1.0 => 4,
        _ => 5,
    };
    typeset(&format!("{value:.decimals$}"))
}

/// A duration as a spec writes it.
pub(super) fn duration(ms: u64) -> String {
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1000, "s")];
    match units.into_iter().find(|(unit, _)| ms >= *unit && ms.is_multiple_of(*unit)) {
        Some((unit, name)) => format!("{}{name}", ms / unit),
        None if ms == 0 => "0s".to_owned(),
        None => format!("{ms}ms"),
    }
}

/// A number of days as a person says it.
pub(super) fn about(days: f64) -> String {
    let many = |n: f64, what: &str| if n == 1.0 { format!("1 {what}") } else { format!("{n:.0} {what}s") };
    let minutes = (days * 1440.0).ceil();
    match minutes {
        minutes if minutes < 120.0 => many(minutes, "minute"),
        minutes if minutes < 2880.0 => many((minutes / 60.0).round(), "hour"),
        minutes => many((minutes / 1440.0).round(), "day"),
    }
}

/// A time of a report, to the unit that `format` ends with; as it is where it is none.
fn time(at: &str, format: &str) -> String {
    at.parse::<jiff::Timestamp>().map_or_else(|_| line(at), |at| at.strftime(format).to_string())
}

pub(super) fn second(at: &str) -> String {
    time(at, "%Y-%m-%d %H:%M:%S UTC")
}

pub(super) fn minute(at: &str) -> String {
    time(at, "%Y-%m-%d %H:%M UTC")
}

/// User text on one line.
pub(super) fn line(text: &str) -> String {
    let breaks = |letter: char| letter.is_control() || serin_core::is_line_break(letter);
    text.chars().map(|letter| if breaks(letter) { ' ' } else { letter }).collect()
}

/// Counts with their names, those that are zero left out.
pub(super) fn named<'a>(counts: impl IntoIterator<Item = (&'a str, u64)>) -> Vec<String> {
    counts
        .into_iter()
        .filter(|(_, n)| *n > 0)
        .map(|(name, n)| format!("{} {}", grouped(n), name.replace('_', " ")))
        .collect()
}

/// Units: entered = mature + everything left out.
pub(super) fn units(units: &Units) -> String {
    let left = &units.left_out;
    let parts = named([
        ("mature", units.mature),
        ("not mature", left.not_mature),
        ("decided about by hand", left.forced),
        ("moved by shipping", left.moved),
    ]);
    if parts.is_empty() {
        return format!("{} entered", grouped(units.entered));
    }
    format!("{} entered = {}", grouped(units.entered), parts.join(" + "))
}

/// How an experiment ended or was interrupted, and how to introduce the verdict since then.
pub(super) struct Happened {
    /// `shipped`, `aborted`, …
    pub state: &'static str,
    /// When, by whom and why.
    pub how: String,
    /// What the verdict is about.
    pub since: &'static str,
}

impl Report {
    pub(super) fn happened(&self) -> Option<Happened> {
        let words = |change: &&Change| {
            Some(match (self.state.as_str(), change.command.as_str()) {
                ("shipped", "ship") => "shipped",
                ("aborted", "abort") => "aborted",
                ("concluded", "conclude") => "concluded",
                ("paused", "pause") => "paused",
                ("paused", "reopen") => "taken back",
                _ => return None,
            })
        };
        let (change, state) = self.changes.iter().rev().find_map(|change| Some((change, words(&change)?)))?;
        let winner = self.winner.as_deref().filter(|_| matches!(state, "shipped" | "concluded"));
        let winner = winner.map(|arm| format!(" with arm '{}'", line(arm))).unwrap_or_default();
        let (at, by, reason) = (minute(&change.at), line(&change.by), line(&change.reason));
        let how = format!("{at} by {by}{winner}: \u{201c}{reason}\u{201d}");
        let since = match state {
            "aborted" | "concluded" if self.is_after(&change.at) => "Computed anew, with what came after its end",
            "aborted" | "concluded" => "As of its end",
            _ if self.against_held_back && self.verdict.decision != "stop" => "As of then",
            _ => "As it stands now",
        };
        Some(Happened { state, how, since })
    }

    /// Whether it is of a later time than its end: then it was computed anew.
    fn is_after(&self, ended_at: &str) -> bool {
        let [ended, as_of] = [ended_at, &*self.as_of].map(|at| at.parse::<jiff::Timestamp>().ok());
        self.since_end.is_some() || ended.zip(as_of).is_some_and(|(ended, as_of)| ended < as_of)
    }

    /// One word for the page's title.
    pub(super) fn headline(&self) -> String {
        self.happened().map_or_else(|| self.verdict.decision.to_uppercase(), |happened| happened.state.to_uppercase())
    }

    /// Changes that are not listed, in words.
    pub(super) fn unlisted(&self) -> Option<String> {
        let counts = [("earlier changes", self.changes_before), ("changes of the arms' shares", self.allocations)];
        let named = named(counts);
        (!named.is_empty()).then(|| format!("not listed: {}", named.join(", ")))
    }

    /// The metrics, goals first.
    pub(super) fn goals_first(&self) -> impl Iterator<Item = &ReportedMetric> {
        let of = |is_goal: bool| self.metrics.iter().filter(move |metric| (metric.role == "goal") == is_goal);
        of(true).chain(of(false))
    }
}

/// What a metric is, and how it is compared.
pub(super) fn metric(metric: &ReportedMetric) -> String {
    let mut parts = vec![metric.role.clone()];
    if metric.exploratory {
        parts.push("exploratory: added after the first unit, decides nothing".to_owned());
    }
    if let Some(direction) = &metric.direction {
        parts.push(format!("{} is better", if direction == "decrease" { "less" } else { "more" }));
        parts.push(format!("window {}, lag {}", duration(metric.window_ms), duration(metric.lag_ms)));
    }
    let planned = grouped(metric.planned_units);
    parts.push(match metric.method.as_str() {
        "fixed" => format!("{}: the first {planned} units, looked at once", metric.method),
        method => format!("{method}: tightest at {planned} units"),
    });
    if let Some(adjustment) = &metric.adjustment {
        parts.push(format!("{adjustment}; an arm's mean is control's plus that difference"));
    }
    parts.push(format!("alpha {}", alpha(metric.alpha, metric.shared_by)));
    let left_out = named(metric.left_out.iter().map(|(why, n)| (why.as_str(), *n)));
    if !left_out.is_empty() {
        parts.push(format!("left out: {}", left_out.join(", ")));
    }
    parts.join("; ")
}

/// What a comparison says.
pub(super) fn comparison(found: &ReportedComparison, is_share: bool) -> String {
    let (Some(difference), Some([low, high])) = (found.difference, found.interval) else {
        return format!("not enough data: {}", found.not_enough.as_deref().unwrap_or_default());
    };
    let (difference, interval) = bounded(difference, [low, high], is_share);
    let relative = match (found.relative.filter(|share| share.is_finite()), found.relative_interval) {
        (None, _) => String::new(),
        (Some(share), None) => format!(" ({} of control's)", Shown::Percent.signed(share, share)),
        (Some(share), Some([low, high])) => {
            let [share, ends] = [Shown::Percent.signed(share, high - low), Shown::Percent.interval([low, high])];
            format!(" ({share} of control's, surely {ends})")
        }
    };
    let p = p_is(found.p);
    let reading = match (found.significant, found.better) {
        (false, _) if found.provisional => ", provisional: not all planned units are mature",
        (false, _) => "",
        (true, Some(true)) => ", significantly better",
        (true, Some(false)) => ", significantly worse",
        (true, None) => ", significant",
    };
    let shrunken = found.shrunken.as_ref().map(|shrunken| {
        let shown = Shown::difference(is_share);
        let [sd, prior] = [shrunken.sd, shrunken.prior_sd].map(|sd| shown.size(sd, sd));
        format!("; shrunken to {} (sd {sd}, prior sd {prior})", shown.signed(shrunken.difference, shrunken.sd))
    });
    format!("{difference}{relative} in {interval}, {p}{reading}{}", shrunken.unwrap_or_default())
}

/// A difference and its interval, in the metric's unit.
pub(super) fn bounded(difference: f64, [low, high]: [f64; 2], is_share: bool) -> (String, String) {
    let in_unit = |value: f64| match is_share {
        true => Shown::Points.signed(value, high - low),
        false => number(Some(value)),
    };
    (in_unit(difference), format!("[{}, {}]", in_unit(low), in_unit(high)))
}

/// The error rates that segments are judged at, and what they are of.
pub(super) fn segment_alphas(segments: &[ReportedSegment]) -> String {
    let mut of: Vec<(&str, f64)> = Vec::new();
    for found in segments.iter().filter(|found| found.alpha > 0.0) {
        if of.iter().all(|(metric, _)| *metric != found.metric) {
            of.push((&found.metric, found.alpha));
        }
    }
    let is_one = of.iter().all(|(_, part)| Some(*part) == of.first().map(|first| first.1));
    of.truncate(if is_one { 1 } else { usize::MAX });
    let all = of
        .iter()
        .map(|(metric, part)| match is_one {
            true => alpha(*part, 1),
            false => format!("'{metric}' {}", alpha(*part, 1)),
        })
        .collect::<Vec<_>>()
        .join(", ");
    let named = if all.is_empty() { String::new() } else { format!(" ({all})") };
    format!(
        "each interval is by itself, at its goal's whole alpha{named}; judge by the p among all, which is adjusted for all \
         that are shown (Benjamini and Hochberg): of those below alpha, on average at most that share is chance"
    )
}

/// A guardrail's numbers, in words.
pub(super) struct Rail {
    /// What changed: `increase`, `decrease`, `mix`; or that it is counted.
    pub kind: String,
    /// What happened, of what may happen; only where it is counted.
    pub count: Option<String>,
    /// The action whose share it is.
    pub action: Option<String>,
    /// Mean and units in control, then in the arm.
    pub means: [(String, String); 2],
    /// Bounds of the change.
    pub above: String,
    pub below: String,
    pub alarm: String,
    pub margin: String,
    pub p: String,
    pub alpha: String,
    /// The alarm's part of it, where it is another number.
    pub alarm_alpha: Option<String>,
}

impl Rail {
    pub(super) fn of(guardrail: &ReportedGuardrail) -> Self {
        let evidence = &guardrail.evidence;
        let value = |key: &str| evidence[key].as_f64();
        let whole = |key: &str| evidence[key].as_u64();
        let units = |key: &str| whole(key).map_or_else(|| "-".to_owned(), grouped);
        let width = value("increase_below").zip(value("increase_above")).map_or(0.0, |(high, low)| high - low);
        // Without an upper bound there is no width to round to.
        let in_points = guardrail.is_share && width > 0.0;
        let bound = |key: &str| match value(key) {
            Some(bound) if in_points => Shown::Points.signed(bound, width),
            bound => number(bound),
        };
        let limit = |key: &str| match value(key) {
            Some(limit) if in_points => format!("{}\u{a0}pp", short(limit * 100.0)),
            limit => set(limit),
        };
        let sides = ["control", "arm"];
        let mean = sides.map(|side| (value(&format!("{side}_mean")), whole(&format!("{side}_units")).unwrap_or(0)));
        let mut means = means(&mean, guardrail.is_share).into_iter();
        // Where the events decided, the bounds alone may not show it.
        let by_events = guardrail.state == "harm" && value("p").is_some() && value("increase_above") <= value("alarm");
        Self {
            kind: evidence["kind"].as_str().unwrap_or("increase").to_owned(),
            count: whole("events")
                .zip(whole("most"))
                .map(|(events, most)| format!("{} of at most {}", grouped(events), grouped(most))),
            action: evidence["action"].as_str().map(line),
            means: sides.map(|side| (means.next().unwrap_or_default(), units(&format!("{side}_units")))),
            above: if by_events { "> 0".to_owned() } else { bound("increase_above") },
            below: bound("increase_below"),
            alarm: limit("alarm"),
            margin: limit("margin"),
            p: probability(value("p")),
            alpha: value("alpha").map_or_else(|| "-".to_owned(), |whole| alpha(whole, 1)),
            alarm_alpha: value("alarm_alpha").filter(|part| Some(*part) < value("alpha")).map(significant),
        }
    }
}

/// A configured number, without trailing zeros.
fn set(value: Option<f64>) -> String {
    let text = number(value);
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

/// Two significant digits.
fn significant(value: f64) -> String {
    let decimals = (1.0 - value.log10().floor()).clamp(0.0, 12.0) as usize;
    let text = format!("{value:.decimals$}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// How to read the guardrails.
pub(super) const RAILS: &str = "harm = surely above the alarm (at the alarm's part of alpha; where p is given, by \
the events alone); holds = surely below the margin (at alpha)";

/// Outcomes that happened before their unit entered; none where there are none.
pub(super) fn before_entry(report: &Report) -> Option<String> {
    let by_arm =
        report.before_entry.iter().map(|(arm, n)| format!("{arm} {}", grouped(*n))).collect::<Vec<_>>().join(", ");
    let any = report.before_entry.values().any(|n| *n > 0);
    any.then(|| format!("outcomes before their unit's entry, which count for nothing: {by_arm}"))
}

/// Units that were excluded since they entered; none where there are none.
pub(super) fn excluded(report: &Report) -> Option<String> {
    let arm =
        |(arm, n): (&String, &Excluded)| format!("{arm} {} ({})", grouped(n.units), counted(n.decisions, "decision"));
    let by_arm = report.excluded.iter().map(arm).collect::<Vec<_>>().join(", ");
    let any = report.excluded.values().any(|n| n.units > 0);
    any.then(|| format!("excluded since their entry, and still counted in their arms: {by_arm}"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn numbers_have_the_digits_that_matter_and_none_is_minus_zero() {
        let texts = [0.00138, -0.5, 1.25, -127.123, -1e-9].map(|value| number(Some(value)));
        assert_eq!(texts, ["0.00138", "\u{2212}0.50000", "1.2500", "\u{2212}127.12", "0.00000"]);
        assert_eq!(number(None), "-");
    }

    #[test]
    fn times_are_written_as_people_write_them() {
        assert_eq!(
            [14 * 86_400_000, 36 * 3_600_000, 20_000, 1500, 0].map(duration),
            ["14d", "36h", "20s", "1500ms", "0s"]
        );
        assert_eq!([0.178, 11.2, 0.02, 0.0007].map(about), ["4 hours", "11 days", "29 minutes", "2 minutes"]);
        assert_eq!(minute("2026-12-20T08:00:31.123Z"), "2026-12-20 08:00 UTC");
        assert_eq!(second("no time\n"), "no time ");
    }

    fn rail(state: &str, evidence: Value) -> Rail {
        let (metric, arm) = ("m".to_owned(), "b".to_owned());
        let state = state.to_owned();
        Rail::of(&ReportedGuardrail { metric, arm, state, evidence, rule: String::new(), is_share: false, why: None })
    }

    #[test]
    fn harm_beside_a_bound_of_zero_is_said_to_be_above_zero() {
        let evidence = |p: Option<f64>| {
            json!({ "kind": "increase", "increase_above": 0.0, "alarm": 0.0, "margin": 0.01, "p": p,
                    "alpha": 0.01, "alarm_alpha": 0.01 / 3.0 })
        };
        let by_events = rail("harm", evidence(Some(0.001)));
        assert_eq!((by_events.above.as_str(), by_events.p.as_str()), ("> 0", "0.0010"));
        assert_eq!((by_events.alpha.as_str(), by_events.alarm_alpha.as_deref()), ("0.01", Some("0.0033")));
        assert_eq!((by_events.alarm.as_str(), by_events.margin.as_str()), ("0", "0.01"));
        assert_eq!(rail("holds", evidence(Some(0.4))).above, "0.00000");
        // What an older host says has less in it.
        let old = rail("harm", json!({ "increase_above": 0.5 }));
        assert_eq!((old.kind.as_str(), old.above.as_str(), old.alpha.as_str()), ("increase", "0.50000", "-"));
    }

    #[test]
    fn a_count_is_of_what_is_allowed() {
        let counted = rail("harm", json!({ "kind": "count", "events": 127, "most": 5 }));
        assert_eq!(counted.count.as_deref(), Some("127 of at most 5"));
    }
}
