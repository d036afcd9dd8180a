//! The first page: what needs a person, the decision points, and the experiments that run.

use maud::{Markup, html};

use super::shelf::Part;
use super::words::{Tone, badge, counted, grouped, percent};
use super::{listing, needs};
use crate::decide::Point;
use crate::http::access::Caller;
use crate::http::attention;
use crate::http::experiments::reaches;
use crate::http::summary::summaries;
use crate::http::traffic::{PointTraffic, Served};
use crate::http::{Problem, Service};
use crate::ledger::LedgerReader;

/// A share of fallbacks that is worth a look.
const MANY_FALLBACKS: f64 = 0.01;
/// Kinds of trouble that are named at a time.
const MOST_DEGRADED: usize = 8;
/// Experiments that are named beside a decision point.
const MOST_NAMED: usize = 5;

/// Its parts.
pub fn parts(service: &Service, ledger: &LedgerReader, caller: &Caller) -> Result<Vec<Part>, Problem> {
    let known = summaries(service);
    let served = service.traffic.served(&service.metrics);
    let matters = attention::matters(service, ledger, caller, &known)?;
    let status = service.status.load();
    let reached = status.every_experiment().filter(|experiment| reaches(caller, experiment).is_ok());
    let (ended, mut current): (Vec<_>, Vec<_>) = reached.partition(|experiment| experiment.status.state.is_ended());
    listing::sort(&mut current, &matters);
    let rows = listing::rows(service, &current[..current.len().min(listing::PAGE)], &known);
    Ok(vec![
        Part::new("attention", needs::draw(&matters)),
        Part::new("points", points(service, caller, &served)),
        Part::new(
            "experiments",
            html! {
                section aria-labelledby="experiments" {
                    h2 id="experiments" { "Experiments" }
                    @if current.is_empty() {
                        p { "None runs. An experiment is a file in the experiments folder." }
                    } @else { (listing::table(&rows)) }
                    @if rows.len() < current.len() {
                        p { a href="/experiments?state=current" { "All " (grouped(current.len() as u64)) " experiments" }
                            ": these are the first " (rows.len()) ", those that need somebody and those that run before the others." }
                    }
                    @if !ended.is_empty() {
                        p { a href="/experiments?state=ended" { "Archive: " (grouped(ended.len() as u64)) " ended" } }
                    }
                }
            },
        ),
    ])
}

fn points(service: &Service, caller: &Caller, served: &Served) -> Markup {
    let deployment = service.deployment.load();
    let mut points: Vec<_> = deployment.points.values().filter(|point| caller.reaches(&point.name).is_ok()).collect();
    points.sort_by_key(|point| point.name.clone());
    html! {
        section aria-labelledby="points" {
            h2 id="points" { "Decision points" }
            @if points.is_empty() { p { "None is declared in serin.toml." } }
            @else {
                div.wide {
                    table.cards.stack {
                        thead { tr {
                            th scope="col" { "decision point" } th scope="col" { "pinned" } th scope="col" { "state" }
                            th.n scope="col" { "decisions / s" } th.n scope="col" { "fallbacks" }
                            th.n scope="col" { "failures" } th scope="col" { "experiments" }
                        } }
                        tbody { @for point in &points { (point_row(point, served.points.get(&*point.name))) } }
                    }
                }
                (window(served))
                // Counted over all points, which not everybody may see.
                @if !caller.is_limited() { (degraded(served)) }
            }
        }
    }
}

fn window(served: &Served) -> Markup {
    let seconds = served.points.values().map(|point| point.window_s).fold(0.0, f64::max);
    html! {
        @if seconds > 0.0 {
            p.small { "Traffic of the last " @if seconds >= 240.0 { "five minutes" } @else { (counted(seconds.round() as u64, "second")) }
                ". Fallbacks: decisions that the pinned strategy or the fallback action served in place of what was to serve; from "
                (percent(MANY_FALLBACKS)) " on, a point is shown as falling back. Failures: runs of strategies that gave no \
                 answer." }
        }
    }
}

fn point_row(point: &Point, traffic: Option<&PointTraffic>) -> Markup {
    let share = |n: u64, of: u64| if of == 0 { 0.0 } else { n as f64 / of as f64 };
    let fallbacks = traffic.map_or(0.0, |traffic| share(traffic.fallbacks, traffic.decisions));
    let (tone, state) = match (&point.unready, traffic) {
        (Some(_), _) => (Tone::Bad, "not served"),
        (None, Some(_)) if fallbacks >= MANY_FALLBACKS => (Tone::Warn, "falling back"),
        (None, Some(traffic)) if traffic.decisions > 0 => (Tone::Good, "serving"),
        (None, _) => (Tone::Open, "idle"),
    };
    let per_second = |traffic: &PointTraffic| match traffic.decisions as f64 / traffic.window_s.max(1.0) {
        pace if pace >= 10.0 => grouped(pace.round() as u64),
        pace => format!("{pace:.1}"),
    };
    html! {
        tr {
            th scope="row" { (point.name) }
            td data-label="pinned" { (point.pin) }
            td data-label="state" { (badge(tone, state)) }
            @if let Some(traffic) = traffic {
                td.n data-label="decisions / s" { (per_second(traffic)) }
                td.n data-label="fallbacks" { (percent(fallbacks)) }
                td.n data-label="failures" { (percent(share(traffic.failures, traffic.decisions))) }
            } @else {
                td.n data-label="decisions / s" { "0" } td.n data-label="fallbacks" { "-" } td.n data-label="failures" { "-" }
            }
            td data-label="experiments" {
                @for (at, running) in point.experiments.iter().take(MOST_NAMED).enumerate() {
                    @if at > 0 { ", " } (super::words::experiment(&running.routed.id))
                }
                @if point.experiments.len() > MOST_NAMED {
                    " and " a href={ "/experiments?state=current&q=" (super::words::encoded(&point.name)) } {
                        (grouped((point.experiments.len() - MOST_NAMED) as u64)) " more" }
                }
                @if point.experiments.is_empty() { "none" }
            }
        }
    }
}

/// What was not as it should be in decisions lately, the most frequent first.
fn degraded(served: &Served) -> Markup {
    let decisions: u64 = served.points.values().map(|point| point.decisions).sum();
    let mut all: Vec<_> = served.degraded.iter().collect();
    all.sort_by(|one, other| other.1.cmp(one.1));
    html! {
        @if !all.is_empty() {
            p { b { "Degraded" } ", of " (grouped(decisions)) " decisions: "
                @for (at, (what, n)) in all.iter().take(MOST_DEGRADED).enumerate() {
                    @if at > 0 { "; " } code { (what) } " " (percent(**n as f64 / decisions.max(1) as f64))
                }
                @if all.len() > MOST_DEGRADED { "; and " (grouped((all.len() - MOST_DEGRADED) as u64)) " more in " code { "/metrics" } }
            }
        }
    }
}
