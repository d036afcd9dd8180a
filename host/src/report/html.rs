//! A report as one page that needs nothing else, and reads well printed: the verdict first, then its evidence.

use maud::{Markup, PreEscaped, html};

use super::feeds;
use super::formatting::{self, number, p_is};
use super::{Report, ReportedComparison, ReportedMetric, SinceEnd, SinceShip, plots, tables};

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:52rem;margin:2rem auto;padding:0 1rem;color:#1a1a1a;background:#fff}\
h1{font-size:1.5rem;margin:0}h2{font-size:1.1rem;margin:2rem 0 .5rem;border-bottom:1px solid #ccc}h3{font-size:1rem;margin:1.2rem 0 .2rem}\
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}td,th{text-align:left;padding:.2rem .6rem .2rem 0;vertical-align:top}\
td.n,th.n{text-align:right}td.n,th.n,.t{white-space:nowrap}.wide,figure{overflow-x:auto}\
.verdict{padding:.7rem 1rem;margin:1rem 0;border-left:6px solid #888;background:#f4f4f4}.small,.verdict{overflow-wrap:anywhere}\
.ship,.shipped{border-color:#1b7f3b}.stop,.aborted,.paused,.taken{border-color:#b3261e}.small{color:#555;font-size:.85em}\
svg{display:block;margin:.4rem 0}td svg{display:inline-block;margin:0 0 0 .5rem;vertical-align:middle}\
figure{margin:1rem 0;break-inside:avoid}figure svg{min-width:34rem}.whisker{max-width:100%;height:auto}\
.compare,tr{break-inside:avoid}.compare p{margin:.8rem 0 0}@page{margin:14mm}\
@media print{body{font-size:12px;margin:0;padding:0;max-width:none}h2,h3{break-after:avoid}svg,.verdict{break-inside:avoid}\
.wide,figure{overflow:visible}figure svg{min-width:0}table{break-inside:auto}.verdict{print-color-adjust:exact}}";

impl Report {
    /// The report as a page of HTML.
    pub fn html(&self) -> String {
        let history = plots::History::of(self);
        let page = html! {
            (PreEscaped("<!doctype html>"))
            html lang="en" {
                (self.head())
                body {
                    (self.summary())
                    @for warning in &self.warnings { p { b { "Warning:" } " " (warning) } }
                    @for line in self.since_end.iter().flat_map(SinceEnd::lines) { p { (line) } }
                    (tables::changes(self))
                    (tables::versions(self))
                    @if let Some(since) = &self.since_ship {
                        p.small { "As of the ship, " (formatting::minute(&since.shipped_at)) ":" }
                    }
                    (tables::guardrails(&self.guardrails))
                    (tables::fairness(&self.fairness))
                    @for metric in self.goals_first() {
                        (metric_section(metric))
                        @for comparison in &metric.comparisons { (history.over_time(metric, &comparison.arm)) }
                    }
                    (self.units_section())
                    (history.allocation())
                    (history.balance())
                    (tables::segments(&self.segments))
                    @for shadow in &self.shadows { (tables::shadow_arm(shadow)) }
                    (tables::actions(&self.actions))
                    (history.action_mix())
                    @if let Some(since) = &self.since_ship { (since_ship(since)) }
                }
            }
        };
        page.into_string()
    }

    fn head(&self) -> Markup {
        html! {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light";
                title { (self.experiment) ": " (self.headline()) " - Serin report" }
                style { (PreEscaped(STYLE)) }
            }
        }
    }

    fn summary(&self) -> Markup {
        let happened = self.happened();
        let class = happened.as_ref().map_or(self.verdict.decision.as_str(), |happened| happened.state);
        html! {
            h1 { "Experiment " (self.experiment) }
            p.small {
                (self.state) ", phase " (self.phase) "; as of " (formatting::second(&self.as_of)) "; "
                @if !self.owner.is_empty() { "owner " (self.owner) "; " }
                "spec " (self.spec_digest)
            }
            @if !self.description.is_empty() { p { (self.description) } }
            div class={ "verdict " (class) } {
                @if let Some(happened) = &happened {
                    b { (happened.state.to_uppercase()) } " " (happened.how) br; (happened.since) ": "
                }
                b { (self.verdict.decision.to_uppercase()) } ": " (self.verdict.why)
                @if let Some(since) = &self.since_ship {
                    br; "Since then, against those held back: " (since.said())
                }
            }
        }
    }

    fn units_section(&self) -> Markup {
        html! {
            h2 { "Units" }
            p { (formatting::units(&self.units)) }
            @if let Some(excluded) = formatting::excluded(self) { p { (excluded) } }
            @if let Some(before) = formatting::before_entry(self) { p { (before) } }
            @if let Some(late) = feeds::too_late(self) { p { (late) } }
            @if let Some(feeds) = feeds::feeds(self) { p { (feeds) } }
            (tables::balance(&self.srm))
            p.small {
                "Sample ratio mismatch: " (p_is(self.srm.p)) " (\u{3c7}\u{b2}, looked at once), "
                (p_is(Some(self.srm.sequential_p))) " (sequential, Dirichlet-multinomial)."
            }
        }
    }
}

/// Units that entered since a winner shipped.
fn since_ship(since: &SinceShip) -> Markup {
    html! {
        h2 { "Since the ship: units that entered since, " (since.winner) " against those held back" }
        p { (formatting::units(&since.units)) }
        (tables::guardrails(&since.guardrails))
        @for metric in &since.metrics { (metric_section(metric)) }
        (tables::balance(&since.srm))
    }
}

fn metric_section(metric: &ReportedMetric) -> Markup {
    html! {
        h2 { (metric.name) }
        p.small { (formatting::metric(metric)) }
        (tables::arms(metric))
        @for comparison in &metric.comparisons { (compared(comparison)) }
    }
}

fn compared(comparison: &ReportedComparison) -> Markup {
    html! {
        div.compare {
            p { (comparison.arm) " \u{2212} " (comparison.against) ": " (formatting::comparison(comparison)) }
            @if let (Some(difference), Some(interval)) = (comparison.difference, comparison.interval) {
                (whisker(difference, interval))
            }
        }
    }
}

/// An interval on a line that has zero on it.
fn whisker(difference: f64, [low, high]: [f64; 2]) -> Markup {
    const WIDTH: f64 = 480.0;
    /// Two labels beside each other.
    const ROOM: f64 = 130.0;
    if !(low.is_finite() && high.is_finite()) {
        return html! {};
    }
    let (from, to) = (low.min(0.0), high.max(0.0));
    let span = (to - from).max(f64::MIN_POSITIVE);
    let x = |value: f64| 10.0 + (value - from) / span * (WIDTH - 20.0);
    let [from, to] = [low, high].map(|end| number(Some(end)));
    let both = format!("{from} to {to}");
    let labels = match x(high) - x(low) {
        room if room >= ROOM => vec![(x(low), "start", from), (x(high), "end", to)],
        // Both at once, towards the side where there is more room.
        _ if x(low) > WIDTH / 2.0 => vec![(x(high), "end", both.clone())],
        _ => vec![(x(low), "start", both.clone())],
    };
    let [zero, low, high, difference] = [0.0, low, high, difference].map(|value| format!("{:.1}", x(value)));
    html! {
        svg.whisker width=(WIDTH) height="46" viewBox={ "0 0 " (WIDTH) " 46" } role="img" aria-label={ "interval from " (both) } {
            line x1=(zero) x2=(zero) y1="13" y2="34" stroke="#999" stroke-dasharray="3 2" {}
            line x1=(low) x2=(high) y1="23" y2="23" stroke="#4a6fa5" stroke-width="3" {}
            circle cx=(difference) cy="23" r="5" fill="#4a6fa5" {}
            @for (at, anchor, label) in labels {
                text x=(format!("{at:.1}")) y="10" font-size="11" text-anchor=(anchor) { (label) }
            }
            text x=(zero) y="45" font-size="11" text-anchor="middle" { "0" }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_is_on_the_line_wherever_the_interval_is() {
        for interval in [[0.1, 0.2], [-0.2, -0.1], [-0.1, 0.3]] {
            let svg = whisker((interval[0] + interval[1]) / 2.0, interval).into_string();
            assert!(svg.contains(">0</text>") && !svg.contains("NaN"), "{svg}");
            assert!(interval.iter().all(|end| svg.contains(&format!(">{end:.5}</text>"))), "{svg}");
        }
        assert!(whisker(9.05, [9.0, 9.1]).into_string().contains(">9.0000 to 9.1000</text>"));
        assert_eq!(whisker(0.0, [f64::NEG_INFINITY, 0.0]).into_string(), "");
    }

    /// A report with `text` wherever a person or a file could have put it.
    fn report_of(text: &str) -> Report {
        let evidence = serde_json::json!({ "kind": text, "action": text });
        let comparison = serde_json::json!({
            "arm": text, "against": text, "difference": null, "relative": null, "interval": null, "p": null,
            "significant": false, "not_enough": text,
        });
        let metric = serde_json::json!({
            "name": text, "role": text, "method": text, "adjustment": text, "alpha": 0.05, "planned_units": 10,
            "direction": text, "arms": { text: { "units": 1, "mean": 0.1 } }, "left_out": { text: 1 },
            "comparisons": [comparison],
        });
        let fairness = serde_json::json!({
            "attribute": text, "arm": text, "group": text, "reference": text, "rate": text, "units": [1, 2],
            "rates": [0.1, 0.2], "ratio": 0.5, "interval": [0.1, null], "min_ratio": 0.8, "state": text, "why": text,
        });
        let segment = serde_json::json!({
            "attribute": text, "value": text, "metric": text, "arm": text, "units": [1, 2], "difference": null,
            "interval": null, "p": null, "adjusted_p": null, "not_enough": text,
        });
        let shadow = serde_json::json!({
            "arm": text, "decisions": 1, "agreement": 1.0, "failures": { text: 1 }, "dropped": 0,
            "matrix": { text: { text: 1 } }, "took_us": [1, 2], "served_us": [1, 2],
        });
        let change = serde_json::json!({
            "at": text, "by": text, "command": text, "phase": 1, "reason": text, "spec_digest": text,
        });
        serde_json::from_value(serde_json::json!({
            "experiment": text, "state": text, "phase": 1, "description": text, "owner": text,
            "versions": [{ "arm": text, "role": text, "strategy": text, "parameters": { text: text } }],
            "as_of": text, "spec_digest": text, "stopped_by": text, "changes": [change],
            "units": { "entered": 1, "mature": 1, "left_out": { "not_mature": 0, "forced": 0 } },
            "srm": { "p": null, "sequential_p": 1.0, "counts": { text: 1 }, "expected": { text: 1.0 } },
            "metrics": [metric], "guardrails": [{ "metric": text, "arm": text, "state": text, "evidence": evidence,
            "why": text }], "fairness": [fairness], "segments": [segment], "shadows": [shadow],
            "actions": { text: { text: 1 } }, "history": [], "warnings": [text],
            "verdict": { "decision": text, "why": text },
        }))
        .expect("a report")
    }

    #[test]
    fn text_of_a_user_does_not_become_markup() {
        let page = report_of("<script>\"&'").html();
        assert!(!page.to_lowercase().contains("<script"), "{page}");
        assert!(!page.contains("\"&'") && page.contains("&lt;script&gt;&quot;&amp;"), "{page}");
        // The same page of plain text has the same elements.
        let tags = |page: &str| page.matches('<').count();
        assert_eq!(tags(&page), tags(&report_of("plain").html()));
    }

    #[test]
    fn every_element_is_closed() {
        let page = report_of("x").html();
        for tag in
            ["html", "head", "body", "table", "thead", "tbody", "tr", "td", "th", "div", "p", "h2", "h3", "b", "svg"]
        {
            let opened = page.matches(&format!("<{tag}>")).count() + page.matches(&format!("<{tag} ")).count();
            assert!(opened > 0 && opened == page.matches(&format!("</{tag}>")).count(), "{tag}: {page}");
        }
    }
}
