//! A report as one page that needs nothing else, and reads well printed.

use std::fmt::Write as _;

use super::{Comparison, Metric, Report, plots};

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:52rem;margin:2rem auto;padding:0 1rem;color:#1a1a1a}\
h1{font-size:1.5rem;margin:0}h2{font-size:1.1rem;margin:2rem 0 .5rem;border-bottom:1px solid #ccc}\
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}td,th{text-align:left;padding:.2rem .6rem .2rem 0;vertical-align:top}\
td.n,th.n{text-align:right}.verdict{padding:.7rem 1rem;margin:1rem 0;border-left:6px solid #888;background:#f4f4f4}\
.ship{border-color:#1b7f3b}.stop{border-color:#b3261e}.small{color:#555;font-size:.85rem}svg{display:block;margin:.4rem 0}figure{margin:1rem 0;break-inside:avoid}\
@media print{body{margin:0;max-width:none}h2{break-after:avoid}table,svg,.verdict{break-inside:avoid}}";

/// Text as it may stand in HTML.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn number(value: Option<f64>) -> String {
    value.map_or_else(|| "&ndash;".to_owned(), |value| format!("{value:.4}"))
}

impl Report {
    /// The report as a page of HTML.
    pub fn html(&self) -> String {
        let mut page = String::with_capacity(16 << 10);
        let id = escaped(&self.experiment);
        // Writing to a String does not fail.
        let _ = write!(
            page,
            "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{id}</title><style>{STYLE}</style></head>\
             <body><h1>{id}</h1><p class=\"small\">{}, phase {}; as of {}; spec {}</p>\
             <div class=\"verdict {decision}\"><b>{}</b>: {}</div>",
            self.state,
            self.phase,
            self.as_of,
            escaped(&self.spec_digest),
            self.verdict.decision.to_uppercase(),
            escaped(&self.verdict.why),
            decision = escaped(&self.verdict.decision)
        );
        for warning in &self.warnings {
            let _ = write!(page, "<p><b>Warning:</b> {}</p>", escaped(warning));
        }
        self.units(&mut page);
        for metric in &self.metrics {
            metric_section(&mut page, metric);
            for comparison in &metric.comparisons {
                page.push_str(&plots::over_time(&self.history, &metric.name, &comparison.arm));
            }
        }
        self.guardrail_section(&mut page);
        self.fairness_section(&mut page);
        self.segment_section(&mut page);
        self.shadow_section(&mut page);
        self.action_section(&mut page);
        page.push_str(&plots::action_mix(&self.history));
        page.push_str("</body></html>\n");
        page
    }

    fn units(&self, page: &mut String) {
        let units = &self.units;
        let _ = write!(
            page,
            "<h2>Units</h2><p>{} entered = {} mature + {} not mature + {} decided about by hand + {} moved by shipping</p>\
             <table><tr><th>arm<th class=n>units<th class=n>share<th class=n>expected</tr>",
            units.entered, units.mature, units.left_out.not_mature, units.left_out.forced, units.left_out.moved
        );
        let total = self.srm.counts.values().sum::<u64>().max(1) as f64;
        for (arm, n) in &self.srm.counts {
            let expected = self.srm.expected.get(arm).copied().unwrap_or_default();
            let share = *n as f64 / total;
            let _ = write!(
                page,
                "<tr><td>{}<td class=n>{n}<td class=n>{share:.4}<td class=n>{expected:.4}</tr>",
                escaped(arm)
            );
        }
        let _ = write!(
            page,
            "</table><p class=\"small\">Sample ratio mismatch: p = {} (&chi;&sup2;, looked at once), {:.4} (sequential, \
             Dirichlet-multinomial).</p>",
            number(self.srm.p),
            self.srm.sequential_p
        );
        page.push_str(&plots::allocation(&self.history));
        page.push_str(&plots::balance(&self.history));
    }

    fn fairness_section(&self, page: &mut String) {
        if self.fairness.is_empty() {
            return;
        }
        page.push_str(
            "<h2>Fairness</h2><p class=\"small\">The well-treated of a group, by those of the reference group in the same \
             arm; bounds are valid however often they are looked at, and shared out over all comparisons. These are \
             monitors that somebody chose, not a finding of law.</p><table><tr><th>by<th>arm<th>rate<th>group<th>state\
             <th class=n>share<th class=n>of the reference<th class=n>ratio<th class=n>above<th class=n>below<th class=n>asked for</tr>",
        );
        for found in &self.fairness {
            let _ = write!(
                page,
                "<tr><td>{}<td>{}<td>{}<td>{}<td><b>{}</b><td class=n>{}<td class=n>{}<td class=n>{}<td class=n>{}<td class=n>{}<td class=n>{}</tr>",
                escaped(&found.attribute),
                escaped(&found.arm),
                escaped(&found.rate),
                escaped(&found.group),
                escaped(&found.state),
                number(found.rates[0]),
                number(found.rates[1]),
                number(found.ratio),
                number(Some(found.interval.0)),
                number(found.interval.1),
                found.min_ratio
            );
        }
        page.push_str("</table>");
    }

    fn segment_section(&self, page: &mut String) {
        if self.segments.is_empty() {
            return;
        }
        page.push_str(
            "<h2>Segments</h2><p class=\"small\">Exploratory: whoever looks at enough of them finds something. The last p \
             is adjusted for all that are shown (Benjamini and Hochberg).</p><table><tr><th>segment<th>goal<th>arm\
             <th class=n>difference<th class=n>from<th class=n>to<th class=n>p<th class=n>among all</tr>",
        );
        for found in &self.segments {
            let value = found.value.as_deref().unwrap_or("(not known)");
            let _ = write!(
                page,
                "<tr><td>{} = {}<td>{}<td>{}<td class=n>{}<td class=n>{}<td class=n>{}<td class=n>{}<td class=n>{}</tr>",
                escaped(&found.attribute),
                escaped(value),
                escaped(&found.metric),
                escaped(&found.arm),
                number(found.difference),
                number(found.interval.map(|[low, _]| low)),
                number(found.interval.map(|[_, high]| high)),
                number(found.p),
                number(found.adjusted_p)
            );
        }
        page.push_str("</table>");
    }

    fn shadow_section(&self, page: &mut String) {
        for shadow in &self.shadows {
            let _ = write!(
                page,
                "<h2>Shadow arm {}</h2><p>{} decisions, of which {:.2} % would have had the same action; {} runs were dropped, \
                 since decisions came first. It took {} &micro;s (p50) to {} (p99); what served took {} to {}.</p>",
                escaped(&shadow.arm),
                shadow.decisions,
                shadow.agreement * 100.0,
                shadow.dropped,
                shadow.took_us[0],
                shadow.took_us[1],
                shadow.served_us[0],
                shadow.served_us[1]
            );
            for (why, n) in &shadow.failures {
                let _ = write!(page, "<p>No answer, {}: {n}.</p>", escaped(why));
            }
            page.push_str("<table><tr><th>served<th>the shadow's action<th class=n>decisions</tr>");
            for (served, actions) in &shadow.matrix {
                for (action, n) in actions {
                    let _ = write!(page, "<tr><td>{}<td>{}<td class=n>{n}</tr>", escaped(served), escaped(action));
                }
            }
            page.push_str("</table>");
        }
    }

    fn guardrail_section(&self, page: &mut String) {
        if self.guardrails.is_empty() {
            return;
        }
        page.push_str(
            "<h2>Guardrails</h2><table><tr><th>metric<th>arm<th>state<th class=n>in control<th class=n>in the arm\
             <th class=n>increase above<th class=n>below<th class=n>margin</tr>",
        );
        for guardrail in &self.guardrails {
            let of = |key: &str| number(guardrail.evidence[key].as_f64());
            let _ = write!(
                page,
                "<tr><td>{}<td>{}<td><b>{}</b><td class=n>{}<td class=n>{}<td class=n>{}<td class=n>{}<td class=n>{}</tr>",
                escaped(&guardrail.metric),
                escaped(&guardrail.arm),
                escaped(&guardrail.state),
                of("control_mean"),
                of("arm_mean"),
                of("increase_above"),
                of("increase_below"),
                of("margin")
            );
            if let Some(why) = &guardrail.why {
                let _ = write!(page, "<tr><td><td colspan=7 class=\"small\">{}</tr>", escaped(why));
            }
        }
        page.push_str("</table>");
    }

    fn action_section(&self, page: &mut String) {
        page.push_str(
            "<h2>Decisions by action</h2><table><tr><th>arm<th>action<th class=n>decisions<th class=n>share</tr>",
        );
        for (arm, actions) in &self.actions {
            let total = actions.values().sum::<u64>().max(1) as f64;
            for (action, n) in actions {
                let share = *n as f64 / total;
                let bar = format!(
                    "<svg width=\"120\" height=\"8\" role=\"img\" aria-label=\"{share:.2}\"><rect width=\"{:.1}\" height=\"8\" fill=\"#4a6fa5\"/></svg>",
                    share * 120.0
                );
                let _ = write!(
                    page,
                    "<tr><td>{}<td>{}<td class=n>{n}<td class=n>{share:.3} {bar}</tr>",
                    escaped(arm),
                    escaped(action)
                );
            }
        }
        page.push_str("</table>");
    }
}

fn metric_section(page: &mut String, metric: &Metric) {
    let _ = write!(
        page,
        "<h2>{}</h2><p class=\"small\">{}; {}, &alpha; = {}, tightest at {} units; left out: {}</p>\
         <table><tr><th>arm<th class=n>units<th class=n>mean</tr>",
        escaped(&metric.name),
        escaped(&metric.role),
        escaped(
            &[Some(metric.method.as_str()), metric.adjustment.as_deref()]
                .into_iter()
                .flatten()
                .collect::<Vec<_>>()
                .join(", ")
        ),
        metric.alpha,
        metric.planned_units,
        metric.left_out.iter().map(|(why, n)| format!("{n} {why}")).collect::<Vec<_>>().join(", ").replace('_', " ")
    );
    for (name, arm) in &metric.arms {
        let _ = write!(page, "<tr><td>{}<td class=n>{}<td class=n>{}</tr>", escaped(name), arm.units, number(arm.mean));
    }
    page.push_str("</table>");
    for comparison in &metric.comparisons {
        compared(page, comparison);
    }
}

fn compared(page: &mut String, comparison: &Comparison) {
    let title = format!("{} &minus; {}", escaped(&comparison.arm), escaped(&comparison.against));
    let (Some(difference), Some(interval)) = (comparison.difference, comparison.interval) else {
        let why = escaped(comparison.not_enough.as_deref().unwrap_or_default());
        let _ = write!(page, "<p>{title}: not enough data: {why}</p>");
        return;
    };
    let _ = write!(
        page,
        "<p>{title}: <b>{difference:.4}</b> in [{:.4}, {:.4}], p = {}{}</p>{}",
        interval[0],
        interval[1],
        number(comparison.p),
        if comparison.significant { ", significant" } else { "" },
        whisker(difference, interval)
    );
}

/// An interval on a line that has zero on it.
fn whisker(difference: f64, [low, high]: [f64; 2]) -> String {
    const WIDTH: f64 = 480.0;
    if !(low.is_finite() && high.is_finite()) {
        return String::new();
    }
    let (from, to) = (low.min(0.0), high.max(0.0));
    let span = (to - from).max(f64::MIN_POSITIVE);
    let x = |value: f64| 10.0 + (value - from) / span * (WIDTH - 20.0);
    format!(
        "<svg width=\"{WIDTH}\" height=\"34\" role=\"img\" aria-label=\"interval from {low:.4} to {high:.4}\">\
         <line x1=\"{zero:.1}\" x2=\"{zero:.1}\" y1=\"2\" y2=\"22\" stroke=\"#999\" stroke-dasharray=\"3 2\"/>\
         <line x1=\"{:.1}\" x2=\"{:.1}\" y1=\"12\" y2=\"12\" stroke=\"#4a6fa5\" stroke-width=\"3\"/>\
         <circle cx=\"{:.1}\" cy=\"12\" r=\"5\" fill=\"#4a6fa5\"/><text x=\"{zero:.1}\" y=\"33\" font-size=\"10\" text-anchor=\"middle\">0</text></svg>",
        x(low),
        x(high),
        x(difference),
        zero = x(0.0)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_a_user_does_not_become_markup() {
        assert_eq!(escaped("<b a=\"1\">&"), "&lt;b a=&quot;1&quot;&gt;&amp;");
    }

    #[test]
    fn zero_is_on_the_line_wherever_the_interval_is() {
        for interval in [[0.1, 0.2], [-0.2, -0.1], [-0.1, 0.3]] {
            let svg = whisker((interval[0] + interval[1]) / 2.0, interval);
            assert!(svg.contains(">0</text>") && !svg.contains("NaN"), "{svg}");
        }
        assert_eq!(whisker(0.0, [f64::NEG_INFINITY, 0.0]), "");
    }
}
