//! The tables of a report's page.

use std::collections::BTreeSet;

use indexmap::IndexMap;
use maud::{Markup, html};

use super::formatting::{self, Rail, line, number, probability};
use super::rounding::{mean, percent};
use super::{Report, ReportedFairness, ReportedGuardrail, ReportedMetric, ReportedSegment, ReportedShadow, Srm};
use Column::{Number, Text};

/// A column's heading, by what it holds. Numbers are set to the right.
enum Column<'a> {
    Text(&'a str),
    Number(&'a str),
}

fn table(columns: &[Column<'_>], rows: &Markup) -> Markup {
    html! {
        div.wide tabindex="0" {
            table {
                thead {
                    tr {
                        @for column in columns {
                            @match column {
                                Text(name) => { th scope="col" { (name) } }
                                Number(name) => { th.n scope="col" { (name) } }
                            }
                        }
                    }
                }
                tbody { (rows) }
            }
        }
    }
}

/// The arms of a metric.
pub(super) fn arms(metric: &ReportedMetric) -> Markup {
    let rows = html! {
        @for (name, arm) in &metric.arms {
            tr { td { (name) } td.n { (arm.units) } td.n { (mean(arm.mean, arm.units, metric.is_share)) } }
        }
    };
    table(&[Text("arm"), Number("units"), Number("mean")], &rows)
}

pub(super) fn changes(report: &Report) -> Markup {
    if report.changes.is_empty() {
        return html! {};
    }
    let rows = html! {
        @for change in &report.changes {
            tr {
                td.t { (formatting::minute(&change.at).trim_end_matches(" UTC")) }
                td { (change.command) }
                td.n { (change.phase) }
                td { (line(&change.by)) }
                td { (line(&change.reason)) }
                td { (change.spec_digest.trim_start_matches("sha256:").chars().take(8).collect::<String>()) }
            }
        }
    };
    let columns = [Text("when (UTC)"), Text("what"), Number("phase"), Text("by"), Text("why"), Text("spec")];
    html! {
        (table(&columns, &rows))
        @if let Some(guardrail) = &report.stopped_by { p.small { "stopped by " (guardrail) } }
        @if let Some(unlisted) = report.unlisted() { p.small { (unlisted) } }
    }
}

pub(super) fn versions(report: &Report) -> Markup {
    if report.versions.is_empty() {
        return html! {};
    }
    let rows = html! {
        @for version in &report.versions {
            tr {
                td { (version.arm) }
                td { (version.role) }
                td { (version.strategy) }
                td { (line(&version.set())) }
            }
        }
    };
    html! {
        (table(&[Text("arm"), Text("role"), Text("strategy"), Text("parameters")], &rows))
    }
}

pub(super) fn guardrails(guardrails: &[ReportedGuardrail]) -> Markup {
    if guardrails.is_empty() {
        return html! {};
    }
    let rows = html! { @for guardrail in guardrails { (guardrail_rows(guardrail)) } };
    let columns = [
        Text("metric"),
        Text("arm"),
        Text("state"),
        Number("control"),
        Number("the arm"),
        Number("change"),
        Number("harm above"),
        Number("holds below"),
        Number("p and alpha"),
    ];
    html! {
        (table(&columns, &rows))
        p.small { (formatting::RAILS) "." }
    }
}

fn guardrail_rows(guardrail: &ReportedGuardrail) -> Markup {
    /// The columns after the state.
    const REST: usize = 6;
    let rail = Rail::of(guardrail);
    let kind = rail.action.as_ref().map_or_else(|| rail.kind.clone(), |action| format!("share of '{action}'"));
    html! {
        tr {
            td { (guardrail.metric) br; span.small { (kind) } }
            td { (guardrail.arm) }
            td { b { (guardrail.state) } }
            @if let Some(counted) = &rail.count {
                td colspan=(REST) { (counted) }
            } @else {
                @for (mean, units) in &rail.means {
                    td.n { (mean) br; span.small { "of " (units) } }
                }
                td.n { (rail.above) br; "to " (rail.below) }
                td.n { (rail.alarm) }
                td.n { (rail.margin) }
                td.n {
                    (rail.p) br;
                    span.small { (rail.alpha) @if let Some(part) = &rail.alarm_alpha { br; "alarm " (part) } }
                }
            }
        }
        // With bounds, why it is inconclusive is in the numbers.
        @if let Some(why) = guardrail.why.as_ref().filter(|_| rail.margin == "-") {
            tr { td {} td.small colspan=(REST + 2) { (why) } }
        }
    }
}

pub(super) fn fairness(all: &[ReportedFairness]) -> Markup {
    if all.is_empty() {
        return html! {};
    }
    let is_same = |a: &ReportedFairness, b: &ReportedFairness| a.attribute == b.attribute && a.rate == b.rate;
    html! {
        p.small {
            "The well-treated of a group, by those of the reference group in the same arm; bounds are valid however often \
             they are looked at, and shared out over all comparisons. These are monitors that somebody chose, not a \
             finding of law. What control shows was there before, and stops nothing."
        }
        @for group in all.chunk_by(is_same) { (fairness_table(group)) }
    }
}

fn fairness_table(group: &[ReportedFairness]) -> Markup {
    let Some(first) = group.first() else { return html! {} };
    let surely = |found: &ReportedFairness| {
        let low = number(Some(found.interval.0));
        found.interval.1.map_or_else(|| format!("above {low}"), |high| format!("{low} to {}", number(Some(high))))
    };
    let rows = html! {
        @for found in group {
            tr {
                td { (found.arm) @if found.control { br; span.small { "stops nothing" } } }
                td { (found.group) }
                td { b { (found.state) } }
                td.n { (found.units[0]) " / " (found.units[1]) }
                @for (rate, units) in found.rates.into_iter().zip(found.units) { td.n { (mean(rate, units, true)) } }
                td.n { (number(found.ratio)) }
                td.n { (surely(found)) }
            }
            @if let Some(why) = &found.why { tr { td {} td.small colspan="7" { (why) } } }
        }
    };
    let columns = [
        Text("arm"),
        Text("group"),
        Text("state"),
        Number("units"),
        Number("share"),
        Number("reference's"),
        Number("ratio"),
        Number("surely"),
    ];
    html! {
        h3 { (first.attribute) ": " (first.rate) }
        p.small {
            "Reference group: \u{2018}" (first.reference) "\u{2019}. The ratio is to be at least " (first.min_ratio) "."
        }
        (table(&columns, &rows))
    }
}

pub(super) fn balance(srm: &Srm) -> Markup {
    let total = srm.counts.values().sum::<u64>().max(1) as f64;
    let expected = |arm: &String| srm.expected.get(arm).copied().unwrap_or_default();
    let rows = html! {
        @for (arm, n) in &srm.counts {
            tr {
                td { (arm) }
                td.n { (n) }
                td.n { (percent(*n as f64 / total)) }
                td.n { (percent(expected(arm))) }
            }
        }
    };
    table(&[Text("arm"), Number("units"), Number("share"), Number("expected")], &rows)
}

pub(super) fn segments(segments: &[ReportedSegment]) -> Markup {
    if segments.is_empty() {
        return html! {};
    }
    let rows = html! {
        @for found in segments {
            tr {
                td { (found.attribute) " = " (found.value.as_deref().unwrap_or("(not known)")) }
                td { (found.metric) }
                td { (found.arm) }
                td.n { (found.units[0]) " / " (found.units[1]) }
                @if let (None, Some([low, high])) = (&found.not_enough, found.interval) {
                    td.n { (number(found.difference)) }
                    td.n { (number(Some(low))) " to " (number(Some(high))) }
                    td.n { (probability(found.p)) }
                    td.n { (probability(found.adjusted_p)) }
                } @else {
                    td.small colspan="4" { (found.not_enough.as_deref().unwrap_or("nothing can be said")) }
                }
            }
        }
    };
    let columns = [
        Text("segment"),
        Text("goal"),
        Text("arm"),
        Number("units"),
        Number("difference"),
        Number("interval"),
        Number("p"),
        Number("among all"),
    ];
    html! {
        p.small {
            "Exploratory: whoever looks at enough of them finds something. The last p is adjusted for all that are shown \
             (Benjamini and Hochberg). Units: of control / of the arm."
        }
        (table(&columns, &rows))
    }
}

pub(super) fn shadow_arm(shadow: &ReportedShadow) -> Markup {
    let actions: BTreeSet<&str> = shadow.matrix.values().flat_map(|row| row.keys().map(String::as_str)).collect();
    html! {
        p {
            (shadow.decisions) " decisions, of which " (format!("{:.2}", shadow.agreement * 100.0))
            " % would have had the same action; " (shadow.dropped)
            " runs were dropped, since decisions came first. It took " (shadow.took_us[0]) " \u{b5}s (p50) to "
            (shadow.took_us[1]) " (p99); what served took " (shadow.served_us[0]) " to " (shadow.served_us[1]) "."
        }
        @for (why, n) in &shadow.failures { p { "No answer, " (why) ": " (n) "." } }
        @if !actions.is_empty() { (shadow_matrix(shadow, &actions)) }
    }
}

fn shadow_matrix(shadow: &ReportedShadow, actions: &BTreeSet<&str>) -> Markup {
    let columns: Vec<Column<'_>> =
        std::iter::once(Text("served")).chain(actions.iter().map(|action| Number(action))).collect();
    let rows = html! {
        @for (served, row) in &shadow.matrix {
            tr {
                td { (served) }
                @for action in actions {
                    @let n = row.get(*action).copied().unwrap_or(0);
                    td.n { @if served == action { b { (n) } } @else { (n) } }
                }
            }
        }
    };
    html! {
        p.small { "Decisions: rows are what was served, columns the shadow's action." }
        (table(&columns, &rows))
    }
}

pub(super) fn actions(actions: &IndexMap<String, IndexMap<String, u64>>) -> Markup {
    if actions.values().all(IndexMap::is_empty) {
        return html! {};
    }
    let rows = html! {
        @for (arm, actions) in actions {
            @let total = actions.values().sum::<u64>().max(1) as f64;
            @for (action, n) in actions {
                @let share = *n as f64 / total;
                tr {
                    td { (arm) }
                    td { (action) }
                    td.n { (n) }
                    td {
                        (percent(share))
                        svg width="120" height="8" role="img" aria-label=(format!("{share:.2}")) {
                            rect width=(format!("{:.1}", share * 120.0)) height="8" fill="#4a6fa5" {}
                        }
                    }
                }
            }
        }
    };
    html! {
        (table(&[Text("arm"), Text("action"), Number("decisions"), Text("share")], &rows))
    }
}
