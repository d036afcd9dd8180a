//! A report as one page that needs nothing else, and reads well printed: what came of it first,
//! then what it rests on.

use std::fmt::Write as _;

use super::formatting::{self, escaped, number, p_is};
use super::{Metric, Report, ReportedComparison, plots};

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
        let mut page = String::with_capacity(32 << 10);
        self.head_section(&mut page);
        for warning in &self.warnings {
            // Writing to a String does not fail.
            let _ = write!(page, "<p><b>Warning:</b> {}</p>", escaped(warning));
        }
        self.changes_table(&mut page);
        self.tried_table(&mut page);
        self.guardrails_table(&mut page);
        self.fairness_tables(&mut page);
        let life = plots::Life::of(self);
        for metric in self.goals_first() {
            metric_section(&mut page, metric);
            for comparison in &metric.comparisons {
                page.push_str(&life.over_time(metric, &comparison.arm));
            }
        }
        self.units_section(&mut page);
        page.push_str(&life.allocation());
        page.push_str(&life.balance());
        self.segments_table(&mut page);
        self.shadows_tables(&mut page);
        self.actions_table(&mut page);
        page.push_str(&life.action_mix());
        page.push_str("</body></html>\n");
        page
    }

    fn head_section(&self, page: &mut String) {
        let id = escaped(&self.experiment);
        let decision = escaped(&self.verdict.decision);
        let happened = self.happened();
        let verdict = format!("<b>{}</b>: {}", decision.to_uppercase(), escaped(&self.verdict.why));
        let (class, verdict) = match &happened {
            None => (decision, verdict),
            Some(happened) => {
                let state = happened.state.to_uppercase();
                let verdict =
                    format!("<b>{state}</b> {}<br>{}: {verdict}", escaped(&happened.how), escaped(happened.since));
                (happened.state.to_owned(), verdict)
            }
        };
        let owner = if self.owner.is_empty() { String::new() } else { format!("owner {}; ", escaped(&self.owner)) };
        let about =
            if self.description.is_empty() { String::new() } else { format!("<p>{}</p>", escaped(&self.description)) };
        let _ = write!(
            page,
            "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
             <meta name=\"color-scheme\" content=\"light\"><title>{id}: {} - Serin report</title><style>{STYLE}</style></head>\
             <body><h1>Experiment {id}</h1><p class=\"small\">{}, phase {}; as of {}; {owner}spec {}</p>{about}\
             <div class=\"verdict {class}\">{verdict}</div>",
            self.headline(),
            escaped(&self.state),
            self.phase,
            escaped(&formatting::second(&self.as_of)),
            escaped(&self.spec_digest),
        );
    }
}

fn metric_section(page: &mut String, metric: &Metric) {
    let _ = write!(
        page,
        "<h2>{}</h2><p class=\"small\">{}</p>",
        escaped(&metric.name),
        escaped(&formatting::metric(metric))
    );
    super::tables::arms(page, metric);
    for comparison in &metric.comparisons {
        compared(page, comparison);
    }
}

fn compared(page: &mut String, comparison: &ReportedComparison) {
    let _ = write!(
        page,
        "<div class=\"compare\"><p>{} &minus; {}: {}</p>",
        escaped(&comparison.arm),
        escaped(&comparison.against),
        escaped(&formatting::comparison(comparison))
    );
    if let (Some(difference), Some(interval)) = (comparison.difference, comparison.interval) {
        page.push_str(&whisker(difference, interval));
    }
    page.push_str("</div>");
}

/// An interval on a line that has zero on it.
fn whisker(difference: f64, [low, high]: [f64; 2]) -> String {
    const WIDTH: f64 = 480.0;
    /// Two labels beside each other.
    const ROOM: f64 = 130.0;
    if !(low.is_finite() && high.is_finite()) {
        return String::new();
    }
    let (from, to) = (low.min(0.0), high.max(0.0));
    let span = (to - from).max(f64::MIN_POSITIVE);
    let x = |value: f64| 10.0 + (value - from) / span * (WIDTH - 20.0);
    let text = |at: f64, anchor: &str, text: &str| {
        format!("<text x=\"{at:.1}\" y=\"10\" font-size=\"11\" text-anchor=\"{anchor}\">{text}</text>")
    };
    let [from, to] = [low, high].map(|end| number(Some(end)));
    let labels = match x(high) - x(low) {
        room if room >= ROOM => text(x(low), "start", &from) + &text(x(high), "end", &to),
        // Both at once, towards the side where there is more room.
        _ if x(low) > WIDTH / 2.0 => text(x(high), "end", &format!("{from} to {to}")),
        _ => text(x(low), "start", &format!("{from} to {to}")),
    };
    format!(
        "<svg class=\"whisker\" width=\"{WIDTH}\" height=\"46\" viewBox=\"0 0 {WIDTH} 46\" role=\"img\" aria-label=\"interval from {from} to {to}\">\
         <line x1=\"{zero:.1}\" x2=\"{zero:.1}\" y1=\"13\" y2=\"34\" stroke=\"#999\" stroke-dasharray=\"3 2\"/>\
         <line x1=\"{:.1}\" x2=\"{:.1}\" y1=\"23\" y2=\"23\" stroke=\"#4a6fa5\" stroke-width=\"3\"/>\
         <circle cx=\"{:.1}\" cy=\"23\" r=\"5\" fill=\"#4a6fa5\"/>{labels}\
         <text x=\"{zero:.1}\" y=\"45\" font-size=\"11\" text-anchor=\"middle\">0</text></svg>",
        x(low),
        x(high),
        x(difference),
        zero = x(0.0)
    )
}

impl Report {
    fn units_section(&self, page: &mut String) {
        let _ = write!(page, "<h2>Units</h2><p>{}</p>", formatting::units(&self.units));
        self.balance_table(page);
        let _ = write!(
            page,
            "<p class=\"small\">Sample ratio mismatch: {} (&chi;&sup2;, looked at once), {} (sequential, \
             Dirichlet-multinomial).</p>",
            escaped(&p_is(self.srm.p)),
            escaped(&p_is(Some(self.srm.sequential_p)))
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_is_on_the_line_wherever_the_interval_is() {
        for interval in [[0.1, 0.2], [-0.2, -0.1], [-0.1, 0.3]] {
            let svg = whisker((interval[0] + interval[1]) / 2.0, interval);
            assert!(svg.contains(">0</text>") && !svg.contains("NaN"), "{svg}");
            assert!(interval.iter().all(|end| svg.contains(&format!(">{end:.5}</text>"))), "{svg}");
        }
        assert!(whisker(9.05, [9.0, 9.1]).contains(">9.0000 to 9.1000</text>"));
        assert_eq!(whisker(0.0, [f64::NEG_INFINITY, 0.0]), "");
    }
}
