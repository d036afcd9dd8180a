//! The tables of a report's page.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::formatting::{self, Rail, escaped, line, number, probability};
use super::{Guardrail, Metric, Report};

/// Begins a table; a column of numbers has a name that begins with `#`.
fn open(page: &mut String, columns: &[&str]) {
    page.push_str("<div class=\"wide\"><table><thead><tr>");
    for column in columns {
        let (class, name) = match column.strip_prefix('#') {
            Some(name) => (" class=n", name),
            None => ("", *column),
        };
        // Writing to a String does not fail.
        let _ = write!(page, "<th scope=col{class}>{}", escaped(name));
    }
    page.push_str("</tr></thead><tbody>");
}

fn close(page: &mut String) {
    page.push_str("</tbody></table></div>");
}

/// A cell of text.
fn cell(page: &mut String, text: &str) {
    let _ = write!(page, "<td>{}", escaped(text));
}

/// A cell of a number.
fn count(page: &mut String, text: &str) {
    let _ = write!(page, "<td class=n>{}", escaped(text));
}

/// The arms of a metric.
pub(super) fn arms(page: &mut String, metric: &Metric) {
    open(page, &["arm", "#units", "#mean"]);
    for (name, arm) in &metric.arms {
        page.push_str("<tr>");
        cell(page, name);
        count(page, &arm.units.to_string());
        count(page, &number(arm.mean));
        page.push_str("</tr>");
    }
    close(page);
}

fn rail(page: &mut String, guardrail: &Guardrail) {
    const REST: usize = 6;
    let rail = Rail::of(guardrail);
    let kind = rail.action.as_ref().map_or_else(|| rail.kind.clone(), |action| format!("share of '{action}'"));
    let _ = write!(
        page,
        "<tr><td>{}<br><span class=\"small\">{}</span><td>{}<td><b>{}</b>",
        escaped(&guardrail.metric),
        escaped(&kind),
        escaped(&guardrail.arm),
        escaped(&guardrail.state)
    );
    if let Some(counted) = &rail.count {
        let _ = write!(page, "<td colspan={REST}>{}", escaped(counted));
    } else {
        for (mean, units) in &rail.means {
            let _ = write!(page, "<td class=n>{}<br><span class=\"small\">of {}</span>", escaped(mean), escaped(units));
        }
        let _ = write!(page, "<td class=n>{}<br>to {}", escaped(&rail.above), escaped(&rail.below));
        [&rail.alarm, &rail.margin, &rail.p].into_iter().for_each(|text| count(page, text));
        let alarm = rail.alarm_alpha.as_ref().map(|part| format!("<br>alarm {}", escaped(part))).unwrap_or_default();
        let _ = write!(page, "<br><span class=\"small\">{}{alarm}</span>", escaped(&rail.alpha));
    }
    page.push_str("</tr>");
    // With bounds, why it is inconclusive is in the numbers.
    if let Some(why) = guardrail.why.as_ref().filter(|_| rail.margin == "-") {
        let _ = write!(page, "<tr><td><td colspan={} class=\"small\">{}</tr>", REST + 2, escaped(why));
    }
}

impl Report {
    pub(super) fn changes_table(&self, page: &mut String) {
        if self.changes.is_empty() {
            return;
        }
        page.push_str("<h2>What happened</h2>");
        open(page, &["when (UTC)", "what", "#phase", "by", "why", "spec"]);
        for change in &self.changes {
            page.push_str("<tr>");
            let at = formatting::minute(&change.at);
            let _ = write!(page, "<td class=t>{}", escaped(at.trim_end_matches(" UTC")));
            cell(page, &change.command);
            count(page, &change.phase.to_string());
            [&change.by, &change.reason].into_iter().for_each(|text| cell(page, &line(text)));
            let digest = change.spec_digest.trim_start_matches("sha256:");
            cell(page, &digest.chars().take(8).collect::<String>());
            page.push_str("</tr>");
        }
        close(page);
        let stopped = self.stopped_by.as_ref().map(|guardrail| format!("stopped by {guardrail}"));
        for said in [stopped, self.unlisted()].into_iter().flatten() {
            let _ = write!(page, "<p class=\"small\">{}</p>", escaped(&said));
        }
    }

    pub(super) fn tried_table(&self, page: &mut String) {
        if self.versions.is_empty() {
            return;
        }
        page.push_str("<h2>What is tested</h2>");
        open(page, &["arm", "role", "strategy", "parameters"]);
        for version in &self.versions {
            page.push_str("<tr>");
            let set = line(&version.set());
            [&version.arm, &version.role, &version.strategy, &set].into_iter().for_each(|text| cell(page, text));
            page.push_str("</tr>");
        }
        close(page);
    }

    pub(super) fn guardrails_table(&self, page: &mut String) {
        if self.guardrails.is_empty() {
            return;
        }
        page.push_str("<h2>Guardrails</h2>");
        let bounds = ["#change", "#harm above", "#holds below", "#p and alpha"];
        open(page, &[&["metric", "arm", "state", "#control", "#the arm"][..], &bounds].concat());
        self.guardrails.iter().for_each(|guardrail| rail(page, guardrail));
        close(page);
        let _ = write!(page, "<p class=\"small\">{}.</p>", escaped(formatting::RAILS));
    }

    pub(super) fn fairness_tables(&self, page: &mut String) {
        if self.fairness.is_empty() {
            return;
        }
        page.push_str(
            "<h2>Fairness</h2><p class=\"small\">The well-treated of a group, by those of the reference group in the same \
             arm; bounds are valid however often they are looked at, and shared out over all comparisons. These are \
             monitors that somebody chose, not a finding of law. What control shows was there before, and stops nothing.</p>",
        );
        let of = |at: usize| self.fairness.get(at).map(|found| (&found.attribute, &found.rate));
        for (at, found) in self.fairness.iter().enumerate() {
            if at == 0 || of(at) != of(at - 1) {
                let _ = write!(
                    page,
                    "<h3>{}: {}</h3><p class=\"small\">Reference group: \u{2018}{}\u{2019}. The ratio is to be at least {}.</p>",
                    escaped(&found.attribute),
                    escaped(&found.rate),
                    escaped(&found.reference),
                    found.min_ratio
                );
                open(page, &["arm", "group", "state", "#units", "#share", "#reference's", "#ratio", "#surely"]);
            }
            let about = if found.control { "<br><span class=\"small\">stops nothing</span>" } else { "" };
            let _ = write!(
                page,
                "<tr><td>{}{about}<td>{}<td><b>{}</b>",
                escaped(&found.arm),
                escaped(&found.group),
                escaped(&found.state)
            );
            let [group, reference] = found.units;
            let (low, high) = (number(Some(found.interval.0)), found.interval.1.map(|high| number(Some(high))));
            count(page, &format!("{group} / {reference}"));
            found.rates.into_iter().chain([found.ratio]).for_each(|value| count(page, &number(value)));
            count(page, &high.map_or_else(|| format!("above {low}"), |high| format!("{low} to {high}")));
            page.push_str("</tr>");
            if let Some(why) = &found.why {
                let _ = write!(page, "<tr><td><td colspan=7 class=\"small\">{}</tr>", escaped(why));
            }
            if of(at) != of(at + 1) {
                close(page);
            }
        }
    }

    pub(super) fn balance_table(&self, page: &mut String) {
        open(page, &["arm", "#units", "#share", "#expected"]);
        let total = self.srm.counts.values().sum::<u64>().max(1) as f64;
        for (arm, n) in &self.srm.counts {
            let expected = self.srm.expected.get(arm).copied().unwrap_or_default();
            page.push_str("<tr>");
            cell(page, arm);
            [n.to_string(), format!("{:.4}", *n as f64 / total), format!("{expected:.4}")]
                .iter()
                .for_each(|text| count(page, text));
            page.push_str("</tr>");
        }
        close(page);
    }

    pub(super) fn segments_table(&self, page: &mut String) {
        if self.segments.is_empty() {
            return;
        }
        page.push_str(
            "<h2>Segments</h2><p class=\"small\">Exploratory: whoever looks at enough of them finds something. The last p \
             is adjusted for all that are shown (Benjamini and Hochberg). Units: of control / of the arm.</p>",
        );
        open(page, &["segment", "goal", "arm", "#units", "#difference", "#interval", "#p", "#among all"]);
        for found in &self.segments {
            let value = found.value.as_deref().unwrap_or("(not known)");
            page.push_str("<tr>");
            cell(page, &format!("{} = {value}", found.attribute));
            [&found.metric, &found.arm].into_iter().for_each(|text| cell(page, text));
            count(page, &found.units.map(|n| n.to_string()).join(" / "));
            match (&found.not_enough, found.interval) {
                (None, Some(interval)) => {
                    count(page, &number(found.difference));
                    count(page, &interval.map(|end| number(Some(end))).join(" to "));
                    count(page, &probability(found.p));
                    count(page, &probability(found.adjusted_p));
                }
                (why, _) => {
                    let why = escaped(why.as_deref().unwrap_or("nothing can be said"));
                    let _ = write!(page, "<td colspan=4 class=\"small\">{why}");
                }
            }
            page.push_str("</tr>");
        }
        close(page);
    }

    pub(super) fn shadows_tables(&self, page: &mut String) {
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
            let all: BTreeSet<&str> = shadow.matrix.values().flat_map(|row| row.keys().map(String::as_str)).collect();
            if all.is_empty() {
                continue;
            }
            page.push_str("<p class=\"small\">Decisions: rows are what was served, columns the shadow's action.</p>");
            let heads: Vec<String> = all.iter().map(|action| format!("#{action}")).collect();
            open(page, &std::iter::once("served").chain(heads.iter().map(String::as_str)).collect::<Vec<_>>());
            for (served, row) in &shadow.matrix {
                page.push_str("<tr>");
                cell(page, served);
                for action in &all {
                    let n = row.get(*action).copied().unwrap_or(0);
                    let _ = match served == action {
                        true => write!(page, "<td class=n><b>{n}</b>"),
                        false => write!(page, "<td class=n>{n}"),
                    };
                }
                page.push_str("</tr>");
            }
            close(page);
        }
    }

    pub(super) fn actions_table(&self, page: &mut String) {
        page.push_str("<h2>Decisions by action</h2>");
        open(page, &["arm", "action", "#decisions", "share"]);
        for (arm, actions) in &self.actions {
            let total = actions.values().sum::<u64>().max(1) as f64;
            for (action, n) in actions {
                let share = *n as f64 / total;
                page.push_str("<tr>");
                [arm, action].into_iter().for_each(|text| cell(page, text));
                count(page, &n.to_string());
                let _ = write!(
                    page,
                    "<td>{share:.3}<svg width=\"120\" height=\"8\" role=\"img\" aria-label=\"{share:.2}\"><rect width=\"{:.1}\" height=\"8\" fill=\"#4a6fa5\"/></svg></tr>",
                    share * 120.0
                );
            }
        }
        close(page);
    }
}
