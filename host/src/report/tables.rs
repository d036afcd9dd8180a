//! The tables of a report's page.

use std::collections::BTreeSet;

use indexmap::IndexMap;
use maud::{Markup, html};
use serin_core::numbers::grouped;

use super::formatting::{self, Rail, line, number, probability};
use super::rounding::{means, percent, typeset};
use super::{Report, ReportedFairness, ReportedGuardrail, ReportedMetric, ReportedSegment, ReportedShadow, Srm};
use Column::{Number, Text};
use Row::{Cells, Note};

/// A column's heading, by what it holds. Numbers are set to the right.
enum Column<'a> {
    Text(&'a str),
    Number(&'a str),
}

/// A row: a cell for each column, of which the last may stand for those that are left; or a remark
/// on the row above.
enum Row {
    Cells(Vec<Markup>),
    Note(Markup),
}

/// Columns that a narrow screen has room for. More of them are set below one another there.
const NARROW: usize = 4;

fn table(columns: &[Column<'_>], rows: &[Row]) -> Markup {
    html! {
        div.wide tabindex="0" {
            table.stack[columns.len() > NARROW] {
                thead {
                    tr {
                        @for column in columns {
                            @match column {
                                Text(name) => { th scope="col" { (words(name)) } }
                                Number(name) => { th.n scope="col" { (words(name)) } }
                            }
                        }
                    }
                }
                tbody {
                    @for row in rows {
                        @match row {
                            Cells(cells) => { tr { @for at in 0..cells.len() { (cell(columns, cells, at)) } } }
                            Note(note) => { tr.rule { td {} td.small colspan=(columns.len() - 1) { (note) } } }
                        }
                    }
                }
            }
        }
    }
}

fn cell(columns: &[Column<'_>], cells: &[Markup], at: usize) -> Markup {
    let body = &cells[at];
    let rest = columns.len() - at;
    let (label, is_number) = match &columns[at] {
        Text(name) => (name, false),
        Number(name) => (name, true),
    };
    if at == 0 {
        return html! { th scope="row" { (body) } };
    }
    match at + 1 == cells.len() && rest > 1 {
        true => html! { td.small colspan=(rest) { (body) } },
        false => html! { td.n[is_number] data-label=(label) { (body) } },
    }
}

/// Text that may be broken within long words, where names are joined, so that no short word is.
pub(super) fn words(text: &str) -> Markup {
    let mut pieces = vec![String::new()];
    let mut run = 0;
    for letter in line(text).chars() {
        run = if matches!(letter, ' ' | '-') { 0 } else { run + 1 };
        if let Some(piece) = pieces.last_mut() {
            piece.push(letter);
        }
        let is_joint = run >= 8 && matches!(letter, '_' | '.' | '/' | '@' | '=' | ':');
        if is_joint || run >= 16 {
            pieces.push(String::new());
            run = 0;
        }
    }
    html! { @for (at, piece) in pieces.iter().enumerate() { @if at > 0 && !piece.is_empty() { wbr; } (piece) } }
}

/// The arms of a metric.
pub(super) fn arms(metric: &ReportedMetric) -> Markup {
    let sides: Vec<_> = metric.arms.values().map(|arm| (arm.mean, arm.units)).collect();
    let row = |((name, arm), mean): ((&String, &super::ReportedArm), String)| {
        Cells(vec![words(name), html! { (grouped(arm.units)) }, html! { (mean) }])
    };
    let rows: Vec<Row> = metric.arms.iter().zip(means(&sides, metric.is_share)).map(row).collect();
    table(&[Text("arm"), Number("units"), Number("mean")], &rows)
}

pub(super) fn changes(report: &Report) -> Markup {
    if report.changes.is_empty() {
        return html! {};
    }
    let row = |change: &super::Change| {
        let digest: String = change.spec_digest.trim_start_matches("sha256:").chars().take(8).collect();
        Cells(vec![
            html! { span.t { (formatting::minute(&change.at).trim_end_matches(" UTC")) } },
            words(&change.command),
            html! { (change.phase) },
            words(&change.by),
            words(&change.reason),
            html! { (digest) },
        ])
    };
    let rows: Vec<Row> = report.changes.iter().map(row).collect();
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
    let row = |version: &super::Version| {
        Cells([&version.arm, &version.role, &version.strategy, &version.set()].map(|text| words(text)).to_vec())
    };
    let rows: Vec<Row> = report.versions.iter().map(row).collect();
    table(&[Text("arm"), Text("role"), Text("strategy"), Text("parameters")], &rows)
}

pub(super) fn guardrails(guardrails: &[ReportedGuardrail]) -> Markup {
    if guardrails.is_empty() {
        return html! {};
    }
    let rows: Vec<Row> = guardrails.iter().flat_map(guardrail_rows).collect();
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

fn guardrail_rows(guardrail: &ReportedGuardrail) -> Vec<Row> {
    let rail = Rail::of(guardrail);
    let kind = rail.action.as_ref().map_or_else(|| rail.kind.clone(), |action| format!("share of '{action}'"));
    let mut cells = vec![
        html! { (words(&guardrail.metric)) " " br; span.small { (words(&kind)) } },
        words(&guardrail.arm),
        html! { b { (guardrail.state) } },
    ];
    if let Some(counted) = &rail.count {
        cells.push(html! { (counted) });
        return vec![Cells(cells)];
    }
    cells.extend(rail.means.iter().map(|(mean, units)| html! { (mean) " " br; span.small { "of " (units) } }));
    cells.extend([
        html! { (rail.above) " " br; "to " (rail.below) },
        html! { (rail.alarm) },
        html! { (rail.margin) },
        html! { (rail.p) " " br; span.small { (rail.alpha) @if let Some(part) = &rail.alarm_alpha { br; "alarm " (part) } } },
    ]);
    // With bounds, why it is inconclusive is in the numbers.
    let why = guardrail.why.as_ref().filter(|_| rail.margin == "-");
    let note = why.map(|why| Note(html! { (typeset(why)) }));
    std::iter::once(Cells(cells)).chain(note).collect()
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
    let row = |found: &ReportedFairness| {
        let [group, reference] = [0, 1].map(|at| (found.rates[at], found.units[at]));
        let rates = means(&[group, reference], true);
        let mut cells = vec![
            html! { (words(&found.arm)) @if found.control { br; span.small { "stops nothing" } } },
            words(&found.group),
            html! { b { (found.state) } },
            html! { (grouped(found.units[0])) " / " (grouped(found.units[1])) },
        ];
        cells.extend(rates.iter().map(|rate| html! { (rate) }));
        cells.extend([html! { (number(found.ratio)) }, html! { (surely(found)) }]);
        let note = found.why.as_ref().map(|why| Note(html! { (typeset(why)) }));
        std::iter::once(Cells(cells)).chain(note)
    };
    let rows: Vec<Row> = group.iter().flat_map(row).collect();
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
    let row = |(arm, n): (&String, &u64)| {
        Cells(vec![
            words(arm),
            html! { (grouped(*n)) },
            html! { (percent(*n as f64 / total)) },
            html! { (percent(expected(arm))) },
        ])
    };
    let rows: Vec<Row> = srm.counts.iter().map(row).collect();
    table(&[Text("arm"), Number("units"), Number("share"), Number("expected")], &rows)
}

pub(super) fn segments(segments: &[ReportedSegment]) -> Markup {
    if segments.is_empty() {
        return html! {};
    }
    let row = |found: &ReportedSegment| {
        let mut cells = vec![
            html! { (words(&found.attribute)) " = " (words(found.value.as_deref().unwrap_or("(not known)"))) },
            words(&found.metric),
            words(&found.arm),
            html! { (grouped(found.units[0])) " / " (grouped(found.units[1])) },
        ];
        match (&found.not_enough, found.difference.zip(found.interval)) {
            (None, Some((difference, ends))) => {
                let (difference, ends) = formatting::bounded(difference, ends, found.is_share);
                let of = [difference, ends, probability(found.p), probability(found.adjusted_p)];
                cells.extend(of.map(|text| html! { (text) }));
            }
            (why, _) => cells.push(html! { (why.as_deref().unwrap_or("nothing can be said")) }),
        }
        Cells(cells)
    };
    let rows: Vec<Row> = segments.iter().map(row).collect();
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
            "Exploratory: whoever looks at enough of them finds something. Here, " (formatting::segment_alphas(segments))
            ". Units: of control / of the arm."
        }
        (table(&columns, &rows))
    }
}

pub(super) fn shadow_arm(shadow: &ReportedShadow) -> Markup {
    let actions: BTreeSet<&str> = shadow.matrix.values().flat_map(|row| row.keys().map(String::as_str)).collect();
    html! {
        p {
            (grouped(shadow.decisions)) " decisions, of which " (format!("{:.2}", shadow.agreement * 100.0))
            " % would have had the same action; " (grouped(shadow.dropped))
            " runs were dropped, since decisions came first. It took " (grouped(shadow.took_us[0])) " \u{b5}s (p50) to "
            (grouped(shadow.took_us[1])) " (p99); what served took " (grouped(shadow.served_us[0])) " to " (grouped(shadow.served_us[1])) "."
        }
        @for (why, n) in &shadow.failures { p { "No answer, " (why) ": " (grouped(*n)) "." } }
        @if !actions.is_empty() { (shadow_matrix(shadow, &actions)) }
    }
}

fn shadow_matrix(shadow: &ReportedShadow, actions: &BTreeSet<&str>) -> Markup {
    let columns: Vec<Column<'_>> =
        std::iter::once(Text("served")).chain(actions.iter().map(|action| Number(action))).collect();
    let row = |(served, row): (&String, &IndexMap<String, u64>)| {
        let n = |action: &&str| {
            let n = row.get(*action).copied().unwrap_or(0);
            let n = grouped(n);
            html! { @if served == action { b { (n) } } @else { (n) } }
        };
        Cells(std::iter::once(words(served)).chain(actions.iter().map(n)).collect())
    };
    let rows: Vec<Row> = shadow.matrix.iter().map(row).collect();
    html! {
        p.small { "Decisions: rows are what was served, columns the shadow's action." }
        (table(&columns, &rows))
    }
}

pub(super) fn actions(actions: &IndexMap<String, IndexMap<String, u64>>) -> Markup {
    if actions.values().all(IndexMap::is_empty) {
        return html! {};
    }
    let of_arm = |(arm, actions): (&String, &IndexMap<String, u64>)| {
        let total = actions.values().sum::<u64>().max(1) as f64;
        let row = |(action, n): (&String, &u64)| {
            let share = *n as f64 / total;
            let bar = html! {
                (percent(share))
                svg width="120" height="8" viewBox="0 0 120 8" preserveAspectRatio="none" role="img" aria-label=(format!("{share:.2}")) {
                    rect width=(format!("{:.1}", share * 120.0)) height="8" fill="#4a6fa5" {}
                }
            };
            Cells(vec![words(arm), words(action), html! { (grouped(*n)) }, bar])
        };
        actions.iter().map(row).collect::<Vec<Row>>()
    };
    let rows: Vec<Row> = actions.iter().flat_map(of_arm).collect();
    html! {
        (table(&[Text("arm"), Text("action"), Number("decisions"), Text("share")], &rows))
    }
}
