//! What needs a person, as pages list it.

use maud::{Markup, html};

use super::shelf::Part;
use super::words::{self, Tone, badge, grouped};
use crate::http::access::Caller;
use crate::http::attention::{self, Matter, Urgency};
use crate::http::summary::summaries;
use crate::http::{Problem, Service};
use crate::ledger::LedgerReader;

/// Matters that the overview lists.
const MOST: usize = 20;
/// Matters of a page of the whole list.
const PAGE: usize = 50;

/// How a matter is coloured.
fn tone(matter: &Matter) -> Tone {
    match matter.urgency {
        Urgency::Urgent => Tone::Bad,
        Urgency::Look => Tone::Warn,
        Urgency::Waits => Tone::Open,
    }
}

/// Which matters to list.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Query {
    /// Words in what it is about, or in what it says.
    pub q: String,
    /// What it is, in its own words; empty: all.
    pub kind: String,
    /// The page, from 0.
    pub page: usize,
}

impl Query {
    /// Its address.
    pub fn address(&self, page: usize) -> String {
        let (q, kind) = (words::encoded(&self.q), words::encoded(&self.kind));
        format!("/attention?q={q}&kind={kind}&page={page}")
    }

    fn of(kind: &str) -> Self {
        Self { kind: kind.to_owned(), ..Self::default() }
    }

    fn admits(&self, matter: &Matter) -> bool {
        let text = format!("{}\n{}", matter.about, matter.says).to_lowercase();
        let is_of_kind = self.kind.is_empty() || self.kind == matter.kind;
        is_of_kind && self.q.to_lowercase().split_whitespace().all(|word| text.contains(word))
    }
}

/// Matters by kind, the most urgent kind first.
fn by_kind(matters: &[Matter]) -> Vec<(&'static str, Vec<&Matter>)> {
    let mut kinds: Vec<(&'static str, Vec<&Matter>)> = Vec::new();
    for matter in matters {
        match kinds.iter_mut().find(|(kind, _)| *kind == matter.kind) {
            Some((_, of_kind)) => of_kind.push(matter),
            None => kinds.push((matter.kind, vec![matter])),
        }
    }
    kinds
}

/// How many of each kind are listed: they take turns, so that many of one hide none of another.
fn shares(counts: &[usize]) -> Vec<usize> {
    let (mut shares, mut left) = (vec![0; counts.len()], MOST);
    while left > 0 && shares != counts {
        for (share, count) in shares.iter_mut().zip(counts) {
            if left > 0 && *share < *count {
                (*share, left) = (*share + 1, left - 1);
            }
        }
    }
    shares
}

fn count(n: usize) -> String {
    grouped(n as u64)
}

/// The overview's list. Its heading counts all of it.
pub fn draw(matters: &[Matter]) -> Markup {
    let urgent = matters.iter().filter(|matter| matter.urgency == Urgency::Urgent).count();
    let kinds = by_kind(matters);
    let counts: Vec<usize> = kinds.iter().map(|(_, of_kind)| of_kind.len()).collect();
    let is_cut = matters.len() > MOST;
    html! {
        section.attention aria-labelledby="attention" {
            h2 id="attention" {
                @match (urgent, matters.len()) {
                    (_, 0) => { (badge(Tone::Good, "nothing needs you")) }
                    (0, n) => { (badge(Tone::Warn, "needs a look")) " " (count(n)) }
                    (urgent, n) => {
                        (badge(Tone::Bad, "needs you")) " " (count(n))
                        @if urgent < n { span.small { ", " (count(urgent)) " of them urgent" } }
                    }
                }
            }
            @if is_cut {
                p.kinds { @for (at, (kind, of_kind)) in kinds.iter().enumerate() {
                    @if at > 0 { ", " } a href=(Query::of(kind).address(0)) { (kind) } " " (count(of_kind.len()))
                } }
            }
            @if !matters.is_empty() {
                ul.matters {
                    @for ((_, of_kind), share) in kinds.iter().zip(shares(&counts)) {
                        @for matter in of_kind.iter().take(share) { (item(matter)) }
                    }
                }
            }
            @if is_cut { p { a href="/attention" { "All " (count(matters.len())) " that need somebody" } ": these are some of each kind." } }
        }
    }
}

fn item(matter: &Matter) -> Markup {
    html! {
        li {
            (badge(tone(matter), matter.kind)) " "
            b { @match &matter.page { Some(page) => { a href=(page) { (matter.about) } } None => { (matter.about) } } } " "
            (said(matter))
            @if let Some(next) = &matter.next { " " a href=(next.page) { (next.text) } }
        }
    }
}

/// The form that searches.
pub fn search(query: &Query) -> Markup {
    html! {
        form.search method="get" action="/attention" role="search" {
            input type="hidden" name="kind" value=(query.kind);
            label { "Words in what it is about, or in what is said "
                input type="search" name="q" value=(query.q) maxlength="200"; }
            button { "Search" }
        }
    }
}

/// The whole list, page by page.
pub fn parts(service: &Service, ledger: &LedgerReader, query: &Query, caller: &Caller) -> Result<Vec<Part>, Problem> {
    let matters = attention::matters(service, ledger, caller, &summaries(service))?;
    let kinds = by_kind(&matters);
    let found: Vec<&Matter> = matters.iter().filter(|matter| query.admits(matter)).collect();
    let from = query.page.saturating_mul(PAGE).min(found.len());
    let list = html! {
        p.kinds {
            a href="/attention" aria-current=[query.kind.is_empty().then_some("true")] { "all" } " " (count(matters.len()))
            @for (kind, of_kind) in &kinds {
                ", " a href=(Query::of(kind).address(0)) aria-current=[(query.kind == *kind).then_some("true")] { (kind) } " " (count(of_kind.len()))
            }
        }
        p role="status" { (count(found.len())) " found" }
        @if !found.is_empty() { ul.matters { @for matter in found.iter().skip(from).take(PAGE) { (item(matter)) } } }
        nav.pages aria-label="Pages of the list" {
            @if query.page > 0 { a href=(query.address(query.page - 1)) rel="prev" { "Previous" } }
            @if from + PAGE < found.len() { a href=(query.address(query.page + 1)) rel="next" { "Next" } }
        }
    };
    Ok(vec![Part::new("matters", list)])
}

fn said(matter: &Matter) -> Markup {
    let says = words::on_page(&matter.says, matter.experiment.as_deref().unwrap_or_default());
    html! { span { (words::lines(&serin_core::clipped(&says, 600))) } }
}

/// The list on the page of the experiment that they are about, which has the links to what can be done.
pub fn draw_here(matters: &[Matter]) -> Markup {
    html! {
        @for matter in matters {
            p role=[(matter.urgency == Urgency::Urgent).then_some("alert")] { (badge(tone(matter), matter.kind)) " " (said(matter)) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_take_turns_so_that_many_of_one_hide_none_of_another() {
        assert_eq!(shares(&[100, 1, 3]), [16, 1, 3]);
        assert_eq!(shares(&[2, 0]), [2, 0]);
        assert_eq!(shares(&[1; 30]).iter().sum::<usize>(), MOST);
    }
}
