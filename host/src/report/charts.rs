//! One chart, with a choice of metric. Without scripts: radio buttons show and hide the panels, and
//! print shows all of them.

use maud::{Markup, html};

use super::Report;
use super::plots::History;

impl Report {
    pub(super) fn chart_section(&self, history: &History<'_>) -> Markup {
        let panel = |metric: &super::ReportedMetric| {
            html! { @for found in &metric.comparisons { (history.effect(metric, &found.arm)) } }
        };
        let panels = self.goals_first().map(|metric| (&metric.name, panel(metric)));
        let panels: Vec<_> = panels.filter(|(_, panel)| !panel.0.is_empty()).collect();
        html! {
            section id="chart" {
                h2 { "Over time" }
                @if panels.is_empty() { p.small { "There is no chart yet: it takes three recorded results." } }
                div.choice {
                    @for (at, (name, panel)) in panels.iter().enumerate() {
                        input type="radio" name="chart" id={ "chart" (at) } checked[at == 0];
                        label for={ "chart" (at) } { (name) }
                        div.panel { (panel) }
                    }
                }
            }
        }
    }
}
