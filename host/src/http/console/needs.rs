//! What needs a person, as pages list it.

use maud::{Markup, html};

use super::words::{self, Tone, badge, grouped};
use crate::http::attention::{Matter, Urgency};

/// Matters that are listed.
const MOST: usize = 100;

/// How a matter is coloured.
fn tone(matter: &Matter) -> Tone {
    match matter.urgency {
        Urgency::Urgent => Tone::Bad,
        Urgency::Look => Tone::Warn,
        Urgency::Waits => Tone::Open,
    }
}

/// The list. Its heading counts all that is in it.
pub fn draw(matters: &[Matter]) -> Markup {
    let urgent = matters.iter().filter(|matter| matter.urgency == Urgency::Urgent).count();
    let count = |n: usize| grouped(n as u64);
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
            @if !matters.is_empty() {
                ul.matters {
                    @for matter in matters.iter().take(MOST) {
                        li {
                            (badge(tone(matter), matter.kind)) " "
                            b { @match &matter.page { Some(page) => { a href=(page) { (matter.about) } } None => { (matter.about) } } } " "
                            (said(matter))
                            @if let Some(next) = &matter.next { " " a href=(next.page) { (next.text) } }
                        }
                    }
                }
                @if matters.len() > MOST { p.small { "and " (count(matters.len() - MOST)) " more" } }
            }
        }
    }
}

fn said(matter: &Matter) -> Markup {
    html! { span { (words::lines(&serin_core::clipped(&matter.says, 600))) } }
}

/// The list on the page of the experiment that they are about, which has the links to what can be done.
pub fn draw_here(matters: &[Matter]) -> Markup {
    html! {
        @for matter in matters {
            p role=[(matter.urgency == Urgency::Urgent).then_some("alert")] { (badge(tone(matter), matter.kind)) " " (said(matter)) }
        }
    }
}
