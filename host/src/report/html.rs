//! A report as one page that needs nothing else, and reads well printed: the verdict first, then its evidence.

use ct_codecs::{Base64, Encoder as _};
use maud::{Markup, PreEscaped, html};

use super::feeds;
use super::formatting::{self, p_is};
use super::{Report, ReportedMetric, SinceEnd, SinceShip, plots, tables};

/// The style sheet of a report's page.
pub const STYLE: &str = include_str!("page.css");

/// The content security policy of a report's page: it draws itself with its own style sheet, and loads
/// and runs nothing.
pub fn page_policy() -> String {
    let hash = ring::digest::digest(&ring::digest::SHA256, STYLE.as_bytes());
    let hash = Base64::encode_to_string(hash).unwrap_or_default();
    format!(
        "default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
}

impl Report {
    /// The report as a page of HTML.
    pub fn html(&self) -> String {
        let history = plots::History::of(self);
        let page = html! {
            (PreEscaped("<!doctype html>"))
            html lang="en" {
                (self.head())
                body {
                    (self.heading())
                    (self.verdict_section())
                    @for line in self.since_end.iter().flat_map(SinceEnd::lines) { p { (line) } }
                    (self.ramp_section())
                    (self.allocation_section())
                    (self.scorecard())
                    (self.progress_section())
                    (self.chart_section(&history))
                    section id="details" { (self.details(&history)) }
                }
            }
        };
        page.into_string()
    }

    /// The parts of the page below its heading, each with its name, for a page that has more than them.
    pub fn sections(&self) -> Vec<(&'static str, Markup)> {
        let history = plots::History::of(self);
        let since_end = html! { @for line in self.since_end.iter().flat_map(SinceEnd::lines) { p { (line) } } };
        vec![
            ("verdict", html! { (self.verdict_section()) (since_end) }),
            ("ramp", html! { (self.ramp_section()) (self.allocation_section()) }),
            ("scorecard", self.scorecard()),
            ("progress", self.progress_section()),
            ("chart", self.chart_section(&history)),
            ("details", self.details(&history)),
        ]
    }

    /// What somebody has to see before they decide: the verdict with its checks, and the scorecard.
    pub fn evidence(&self) -> Markup {
        html! { (self.verdict_section()) (self.scorecard()) }
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

    /// What the head of the page rests on, folded.
    fn details(&self, history: &plots::History<'_>) -> Markup {
        html! {
            @if let Some(since) = &self.since_ship { (fold("Since the ship", &since_ship(since, history))) }
            (fold("Units", &html! { (self.units()) (history.allocation()) (history.balance()) }))
            (fold("Metrics in full", &html! { @for metric in self.goals_first() { (metric_in_full(metric, history)) } }))
            (fold("Guardrails in full", &tables::guardrails(&self.guardrails)))
            (fold("Fairness", &tables::fairness(&self.fairness)))
            (fold("Segments", &tables::segments(&self.segments)))
            (fold("Decisions by action", &html! { (tables::actions(&self.actions)) (history.action_mix()) }))
            @for shadow in &self.shadows {
                (fold(&format!("Shadow arm {}", shadow.arm), &tables::shadow_arm(shadow)))
            }
            (fold("What happened", &tables::changes(self)))
            (fold("What is tested", &tables::versions(self)))
            (fold("Experiment file", &self.file()))
        }
    }

    /// The file that it was analysed by.
    fn file(&self) -> Markup {
        html! {
            p.small { (tables::words(&self.spec_digest)) }
            @if !self.spec_text.is_empty() { pre { (self.spec_text) } }
        }
    }

    fn units(&self) -> Markup {
        html! {
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
fn since_ship(since: &SinceShip, history: &plots::History<'_>) -> Markup {
    html! {
        p { "Units that entered since " (formatting::minute(&since.shipped_at)) ": " (since.winner) " against those held back." }
        p { (formatting::units(&since.units)) }
        (tables::guardrails(&since.guardrails))
        @for metric in &since.metrics { (metric_in_full(metric, history)) }
        (tables::balance(&since.srm))
    }
}

/// A section that is folded on a screen, and open in print; nothing without a body.
fn fold(title: &str, body: &Markup) -> Markup {
    if body.0.is_empty() {
        return html! {};
    }
    html! { details { summary { h2 { (title) } } (body) } }
}

fn metric_in_full(metric: &ReportedMetric, history: &plots::History<'_>) -> Markup {
    html! {
        h3 { (metric.name) }
        p.small { (formatting::metric(metric)) }
        (tables::arms(metric))
        @for comparison in &metric.comparisons {
            div.compare { p { (comparison.arm) " \u{2212} " (comparison.against) ": " (formatting::comparison(comparison, metric.is_share)) } }
            (history.total(metric, &comparison.arm))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        for tag in [
            "html", "head", "body", "table", "thead", "tbody", "tr", "td", "th", "div", "p", "h2", "h3", "b", "svg",
            "section", "details", "summary", "ul", "li",
        ] {
            let opened = page.matches(&format!("<{tag}>")).count() + page.matches(&format!("<{tag} ")).count();
            assert!(opened > 0 && opened == page.matches(&format!("</{tag}>")).count(), "{tag}: {page}");
        }
    }
}
