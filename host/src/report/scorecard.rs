//! The scorecard: each metric and guardrail by arm, with its state in words, all metrics on one scale
//! and all guardrails on another.

use maud::{Markup, html};

use super::overview::{Tone, badge};
use super::rounding::{Shown, alpha, means, percent, short, typeset};
use super::tables::words;
use super::{Report, ReportedComparison, ReportedGuardrail, ReportedMetric};

/// The drawing's width; the page scales it.
const WIDTH: f64 = 240.0;
/// How many times the narrowest interval's reach fits the scale: a very wide one is cut.
const MOST: f64 = 6.0;
/// The margins that fit the guardrails' scale on either side of 0.
const MOST_MARGINS: f64 = 3.0;

/// A scale that several intervals share.
#[derive(Debug, Clone, Copy)]
pub struct Scale {
    low: f64,
    high: f64,
}

impl Scale {
    /// A scale for these intervals that has `marks` on it, and nothing beyond `most` on either side.
    fn of(intervals: &[[f64; 2]], marks: &[f64], most: f64) -> Self {
        let ends = intervals.iter().flatten().map(|end| end.clamp(-most, most)).chain(marks.iter().copied());
        let (low, high) = ends.fold((0.0_f64, 0.0_f64), |(low, high), end| (low.min(end), high.max(end)));
        let room = ((high - low) * 0.08).max(f64::MIN_POSITIVE);
        Self { low: low - room, high: high + room }
    }

    /// A scale for lifts: the widest ones are cut, so that the narrowest can still be seen.
    pub fn of_lifts(intervals: &[[f64; 2]]) -> Self {
        let reach = |[low, high]: &[f64; 2]| low.abs().max(high.abs());
        let narrowest = intervals.iter().map(reach).filter(|reach| *reach > 0.0).fold(f64::INFINITY, f64::min);
        Self::of(intervals, &[0.0], if narrowest.is_finite() { narrowest * MOST } else { 0.0 })
    }

    fn x(self, value: f64) -> f64 {
        (value.clamp(self.low, self.high) - self.low) / (self.high - self.low) * WIDTH
    }

    /// The interval; an arrow at an end that is beyond the scale.
    pub fn draw(self, [low, high]: [f64; 2], middle: Option<f64>, marks: &[f64]) -> Markup {
        let [from, to] = [low, high].map(|end| format!("{:.1}", self.x(end)));
        html! {
            svg.scale viewBox={ "0 0 " (WIDTH) " 20" } role="img" aria-label="the interval on the common scale" {
                @for mark in marks {
                    @let at = format!("{:.1}", self.x(*mark));
                    line x1=(at) x2=(at) y1="0" y2="20" stroke="#4b5563" stroke-width="1" stroke-dasharray=(if *mark == 0.0 { "none" } else { "3 2" }) {}
                }
                line x1=(from) x2=(to) y1="10" y2="10" stroke="#1f4e79" stroke-width="4" {}
                @if let Some(middle) = middle { circle cx=(format!("{:.1}", self.x(middle))) cy="10" r="5" fill="#1f4e79" {} }
                @if low < self.low { path d="M0 10 L8 4 L8 16 Z" fill="#1f4e79" {} }
                @if high > self.high { path d={ "M" (WIDTH) " 10 L" (WIDTH - 8.0) " 4 L" (WIDTH - 8.0) " 16 Z" } fill="#1f4e79" {} }
            }
        }
    }

    /// The scale's ends and marks in numbers.
    fn axis(self, labels: &[(f64, String)]) -> Markup {
        let anchor = |x: f64| match x / WIDTH {
            share if share < 0.15 => "start",
            share if share > 0.85 => "end",
            _ => "middle",
        };
        html! {
            svg.scale viewBox={ "0 0 " (WIDTH) " 14" } role="img" aria-label="the common scale" {
                @for (value, label) in labels {
                    @let x = self.x(*value);
                    text x=(format!("{x:.1}")) y="11" font-size="11" text-anchor=(anchor(x)) { (label) }
                }
            }
        }
    }
}

/// What a comparison has shown, in words.
fn shown(found: &ReportedComparison) -> (Tone, &'static str) {
    match (found.better, found.worse, found.difference) {
        _ if found.provisional => (Tone::Open, "provisional"),
        (Some(true), ..) => (Tone::Good, "better"),
        (Some(false), ..) | (_, true, _) => (Tone::Bad, "worse"),
        (None, false, Some(_)) => (Tone::Open, "no difference shown"),
        (None, false, None) => (Tone::Open, "too early"),
    }
}

impl Report {
    pub(super) fn scorecard(&self) -> Markup {
        let metrics: Vec<&ReportedMetric> = self.goals_first().filter(|metric| metric.role != "guardrail").collect();
        if metrics.is_empty() && self.guardrails.is_empty() {
            return html! {};
        }
        html! {
            section id="scorecard" {
                h2 { "Scorecard" }
                @if !metrics.is_empty() { (goals(&metrics)) }
                @if !self.guardrails.is_empty() { (guardrails(&self.guardrails)) }
            }
        }
    }
}

fn goals(metrics: &[&ReportedMetric]) -> Markup {
    let lifts: Vec<[f64; 2]> = metrics
        .iter()
        .flat_map(|metric| &metric.comparisons)
        .filter_map(|found| found.relative_interval)
        .filter(|ends| ends.iter().all(|end| end.is_finite()))
        .collect();
    let scale = Scale::of_lifts(&lifts);
    let ends = [scale.low, scale.high].map(|end| (end, Shown::Percent.signed(end, end.abs())));
    let said = ends.clone().map(|(_, label)| label).join(" to ");
    // An end that is nearly 0 has no room for a label.
    let far = |end: &(f64, String)| end.0.abs() > 0.25 * (scale.high - scale.low);
    let labels: Vec<(f64, String)> = ends.into_iter().filter(far).chain([(0.0, "0".to_owned())]).collect();
    html! {
        div.wide {
            table.cards.stack {
                thead {
                    tr {
                        th scope="col" { "metric" } th scope="col" { "arm" } th scope="col" { "state" }
                        th scope="col" { "control, arm" } th scope="col" { "change by" }
                        th scope="col" { "lift" @if !lifts.is_empty() { (scale.axis(&labels)) } }
                    }
                }
                tbody {
                    @for metric in metrics {
                        @for found in &metric.comparisons { (goal_row(metric, found, scale)) }
                    }
                }
            }
        }
        p.small {
            "Lift: the arm's mean against control's, as a share of control's."
            @if metrics.iter().any(|metric| metric.adjustment.is_some()) {
                " Where the difference is adjusted, an arm's mean is control's plus that difference."
            }
            @if !lifts.is_empty() { " All lifts are on one scale, " (said) "; the line is 0, and an arrow an end beyond the scale." }
        }
    }
}

fn goal_row(metric: &ReportedMetric, found: &ReportedComparison, scale: Scale) -> Markup {
    let (tone, said) = shown(found);
    let side = |arm: &str| metric.arms.get(arm).map_or((None, 0), |arm| (arm.mean, arm.units));
    let sides = means(&[side(&found.against), side(&found.arm)], metric.is_share).join(", ");
    let width = |ends: [f64; 2]| ends[1] - ends[0];
    let change = match (found.relative.zip(found.relative_interval), found.difference.zip(found.interval)) {
        (Some((lift, ends)), _) => {
            let how = Shown::Percent;
            Some((how.signed(lift, width(ends)), how.interval(ends)))
        }
        (None, Some((difference, ends))) => {
            let how = Shown::difference(metric.is_share);
            Some((how.signed(difference, width(ends)), how.interval(ends)))
        }
        (None, None) => None,
    };
    html! {
        tr {
            th scope="row" { (words(&metric.name)) " " br; span.small { (metric.role) } }
            td data-label="arm" { (words(&found.arm)) }
            td data-label="state" { (badge(tone, said)) }
            td.t data-label="control, arm" { (sides) }
            @if let Some((change, ends)) = change {
                td.t data-label="change by" { b { (change) } br; span.small { (ends) } }
            } @else {
                td.small data-label="change by" { (found.not_enough.as_deref().unwrap_or("nothing can be said yet")) }
            }
            td data-label="lift" {
                @if let Some(ends) = found.relative_interval { (scale.draw(ends, found.relative, &[0.0])) }
                @else { span.small { "none: " (no_lift(found)) } }
            }
        }
    }
}

fn no_lift(found: &ReportedComparison) -> &'static str {
    if found.difference.is_some() { "control's mean is not clearly different from 0" } else { "not enough data" }
}

/// A guardrail's interval in units of its margin.
fn in_margins(rail: &ReportedGuardrail) -> Option<[f64; 2]> {
    let value = |key: &str| rail.evidence[key].as_f64();
    let margin = value("margin").filter(|margin| *margin > 0.0)?;
    let ends = [value("increase_above")?, value("increase_below")?].map(|end| end / margin);
    ends.iter().all(|end| end.is_finite()).then_some(ends)
}

fn guardrails(all: &[ReportedGuardrail]) -> Markup {
    let intervals: Vec<[f64; 2]> = all.iter().filter_map(in_margins).collect();
    let scale = Scale::of(&intervals, &[0.0, 1.0], MOST_MARGINS);
    let labels = [(0.0, "0".to_owned()), (1.0, "margin".to_owned())];
    html! {
        div.wide {
            table.cards.stack {
                thead {
                    tr {
                        th scope="col" { "guardrail" } th scope="col" { "arm" } th scope="col" { "state" }
                        th scope="col" { "control, arm" } th scope="col" { "change" }
                        th scope="col" { "in margins" @if !intervals.is_empty() { (scale.axis(&labels)) } }
                    }
                }
                tbody {
                    @for group in all.chunk_by(|one, other| one.metric == other.metric) {
                        @for rail in group { (rail_row(rail, scale)) }
                        @if let Some(rail) = group.first().filter(|rail| !rail.rule.is_empty()) {
                            tr.rule { td.small colspan="6" { (rail.metric) ": " (rail.rule) "; " (rail_alpha(rail)) "." } }
                        }
                    }
                }
            }
        }
        p.small {
            "All guardrails are on one scale, in units of their margins. The solid line is no change, the dashed line the \
             margin: an arm ships when its interval ends before it."
        }
    }
}

fn rail_alpha(rail: &ReportedGuardrail) -> String {
    let value = |key: &str| rail.evidence[key].as_f64();
    let whole = value("alpha").map_or_else(|| "-".to_owned(), |whole| alpha(whole, 1));
    let shared = value("alpha").zip(value("alarm_alpha")).map_or(1, |(whole, part)| (whole / part).round() as u64);
    if shared > 1 { format!("alpha {whole}, for the alarm shared by {shared}") } else { format!("alpha {whole}") }
}

/// The bounds of a change, with a word for its direction.
fn changed(rail: &ReportedGuardrail, [low, high]: [f64; 2]) -> String {
    let shown = Shown::difference(rail.is_share);
    match (rail.evidence["kind"].as_str(), low >= 0.0, high <= 0.0) {
        (Some("mix"), ..) => format!("shifted by {}", shown.sizes([low, high])),
        (_, true, _) => format!("worse by {}", shown.sizes([low, high])),
        (_, _, true) => format!("better by {}", shown.sizes([high, low])),
        // A decrease is bounded as one; it is shown as what the arm's mean does.
        (Some("decrease"), ..) => format!("{}; \u{2212} is worse", shown.interval([-high, -low])),
        _ => format!("{}; + is worse", shown.interval([low, high])),
    }
}

fn rail_row(rail: &ReportedGuardrail, scale: Scale) -> Markup {
    let tone = match rail.state.as_str() {
        "holds" => Tone::Good,
        "harm" => Tone::Bad,
        _ => Tone::Open,
    };
    let (value, whole) = (|key: &str| rail.evidence[key].as_f64(), |key: &str| rail.evidence[key].as_u64());
    let sides = ["control", "arm"]
        .map(|side| (value(&format!("{side}_mean")), whole(&format!("{side}_units")).unwrap_or_default()));
    let bounds = value("increase_above").zip(value("increase_below"));
    let margin = value("margin")
        .map(|margin| if rail.is_share { format!("{}\u{a0}pp", short(margin * 100.0)) } else { short(margin) });
    html! {
        tr {
            th scope="row" { (words(&rail.metric)) }
            td data-label="arm" { (words(&rail.arm)) }
            td data-label="state" { (badge(tone, &rail.state)) }
            @if let Some((events, most)) = whole("events").zip(whole("most")) {
                td.t data-label="control, arm" { (events) " of at most " (most) }
                td data-label="change" { "counted" }
                td data-label="in margins" { span.small { (percent(events as f64 / most.max(1) as f64)) " of what is allowed" } }
            } @else {
                td.t data-label="control, arm" { (means(&sides, rail.is_share).join(", ")) }
                td data-label="change" {
                    @if let Some((low, high)) = bounds { (changed(rail, [low, high])) }
                    @else if let Some(why) = &rail.why { span.small { (typeset(why)) } }
                    @else { "-" }
                    @if let Some(margin) = margin { br; span.small { "margin " (margin) } }
                }
                td data-label="in margins" {
                    @if let Some(ends) = in_margins(rail) { (scale.draw(ends, None, &[0.0, 1.0])) }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_has_a_word_for_its_direction() {
        let said = |kind: &str, ends: [f64; 2]| {
            let rail = serde_json::json!({
                "metric": "m", "arm": "b", "state": "holds", "is_share": true, "evidence": { "kind": kind },
            });
            changed(&serde_json::from_value(rail).expect("a guardrail"), ends)
        };
        assert_eq!(said("increase", [-0.14, -0.01]), "better by 1 to 14\u{a0}pp");
        assert_eq!(said("decrease", [0.01, 0.14]), "worse by 1 to 14\u{a0}pp");
        assert_eq!(said("increase", [-0.14, 0.02]), "\u{2212}14 to +2\u{a0}pp; + is worse");
        assert_eq!(said("decrease", [-0.14, 0.02]), "\u{2212}2 to +14\u{a0}pp; \u{2212} is worse");
        assert_eq!(said("mix", [0.0, 0.02]), "shifted by 0 to 2.0\u{a0}pp");
    }

    #[test]
    fn one_value_has_one_place_on_a_scale() {
        let intervals = [[0.1, 0.2], [-0.3, 0.2]];
        let scale = Scale::of_lifts(&intervals);
        let x2 = |ends: [f64; 2]| {
            let svg = scale.draw(ends, None, &[0.0]).into_string();
            svg.split("<line ").nth(2).and_then(|line| line.split("x2=\"").nth(1)?.split('"').next().map(str::to_owned))
        };
        assert!(x2(intervals[0]).is_some() && x2(intervals[0]) == x2(intervals[1]));
        assert!(scale.x(0.1) > scale.x(0.0) && scale.x(-0.3) > 0.0);
    }

    #[test]
    fn a_wide_interval_is_cut_with_an_arrow_and_hides_no_narrow_one() {
        let scale = Scale::of_lifts(&[[-0.01, 0.02], [-3.0, 5.0]]);
        assert!(scale.x(0.02) - scale.x(-0.01) > WIDTH / 10.0, "{scale:?}");
        assert_eq!(scale.draw([-3.0, 5.0], None, &[0.0]).into_string().matches("<path").count(), 2);
        assert_eq!(scale.draw([-0.01, 0.02], None, &[0.0]).into_string().matches("<path").count(), 0);
    }
}
