//! The adaptive shares of an experiment as they are now.

use indexmap::IndexMap;
use maud::{Markup, html};
use serde::{Deserialize, Serialize};
use serin_core::experiment::{Experiment, State, Status};
use serin_core::numbers::grouped;

use super::formatting::minute;
use super::tables::words;
use super::{Report, rfc3339};
use crate::experiments::MAX_BATCHES;

/// The batch in force.
#[derive(Debug, Serialize, Deserialize)]
pub struct Allocation {
    /// Its number, counted from 1.
    pub batch: usize,
    /// When it began.
    pub began_at: String,
    /// The arms' shares of the units that enter in it.
    pub shares: IndexMap<String, f64>,
    /// When the next one is due; none where no other follows.
    pub next_at: Option<String>,
}

impl Allocation {
    /// None where shares are fixed, and before the start.
    pub(super) fn of(spec: &Experiment, status: &Status) -> Option<Self> {
        let (allocation, shares) = (spec.allocation.as_ref()?, status.batches.last()?);
        let follows = status.state == State::Running && status.batches.len() < MAX_BATCHES;
        Some(Self {
            batch: status.batches.len(),
            began_at: rfc3339(status.batch_ms),
            shares: spec.arms.iter().map(|arm| arm.name.to_string()).zip(shares.iter().copied()).collect(),
            next_at: follows.then(|| rfc3339(status.batch_ms.saturating_add(allocation.update_ms))),
        })
    }

    /// "batch 3 since …, the next one on …".
    fn times(&self) -> String {
        let next = self.next_at.as_ref().map(|at| format!("the next one is due on {}", minute(at)));
        let next = next.unwrap_or_else(|| "no other follows".to_owned());
        format!("batch {} since {}; {next}", self.batch, minute(&self.began_at))
    }

    /// It in a line.
    pub(super) fn line(&self) -> String {
        let shares: Vec<String> = self.shares.iter().map(|(arm, share)| format!("{arm} {}", tenths(*share))).collect();
        format!("{}: {}", self.times(), shares.join(", "))
    }
}

/// A share in percent, to the same digits as those beside it.
fn tenths(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

impl Report {
    /// The shares in force, as bars.
    pub(super) fn allocation_section(&self) -> Markup {
        let Some(allocation) = &self.outlook.allocation else { return html! {} };
        html! {
            section id="allocation" {
                h2 { "Shares of the arms" }
                p { "Adaptive: " (allocation.times()) "." }
                table {
                    tbody {
                        @for (arm, share) in &allocation.shares {
                            tr {
                                th scope="row" { (words(arm)) }
                                td.n { (tenths(*share)) }
                                td.rest {
                                    svg.bar viewBox="0 0 200 8" preserveAspectRatio="none" role="img" aria-label=(tenths(*share)) {
                                        rect width="200" height="8" fill="#d1d5db" {}
                                        rect width=(format!("{:.1}", share.clamp(0.0, 1.0) * 200.0)) height="8" fill="#1f4e79" {}
                                    }
                                }
                            }
                        }
                    }
                }
                p.small {
                    (grouped(self.units.entered)) " units entered so far, of which " (grouped(self.units.mature)) " are mature. Arms are compared \
                     within each batch: an arm's mean is control's plus the difference."
                }
            }
        }
    }
}
