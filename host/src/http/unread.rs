//! Outcomes that nothing reads: stored, since an experiment may come that does, and told of, since a
//! name with a slip is found only when the experiment has ended.

use std::collections::BTreeSet;

use serin_core::experiment::{Experiment, Quantity, Source};
use serin_core::{most_similar, printable};

use super::access::Caller;
use crate::decide::DeploymentSnapshot;
use crate::ledger::{Event, OutcomeSubject};
use crate::status::DeploymentStatus;

/// Warnings of one answer.
const MAX_WARNINGS: usize = 20;
/// Names that a warning lists.
const MAX_LISTED: usize = 20;

/// The names and kinds that the deployment reads.
pub(super) struct Known {
    names: BTreeSet<String>,
    kinds: BTreeSet<String>,
}

impl Known {
    /// Of those, what a caller may see.
    pub(super) fn of(deployment: &DeploymentSnapshot, status: &DeploymentStatus, caller: &Caller) -> Self {
        let specs = status.experiments.iter().filter_map(|experiment| experiment.spec.as_deref());
        let specs = specs.filter(|spec| caller.reaches(&spec.decision_point).is_ok());
        let points = deployment.points.values().filter(|point| caller.reaches(&point.name).is_ok());
        let entities = points.flat_map(|point| &point.entities);
        Self { names: specs.flat_map(names).collect(), kinds: entities.map(ToString::to_string).collect() }
    }
}

/// The outcomes that a spec's metrics count.
fn names(spec: &Experiment) -> Vec<String> {
    let measures = spec.metrics.iter().flat_map(|metric| match &metric.quantity {
        Quantity::Mean(measure) => vec![measure],
        Quantity::Ratio(numerator, denominator) => vec![numerator, denominator],
    });
    let outcomes = measures.filter(|measure| measure.source == Source::Outcomes);
    outcomes.filter_map(|measure| measure.outcome.as_ref().map(ToString::to_string)).collect()
}

/// What a sender should know of these events. Where no experiment counts any outcome, there is
/// nothing to compare a name with.
pub(super) fn unread(known: &Known, events: &[Event]) -> Vec<String> {
    let (mut names, mut kinds) = (BTreeSet::new(), BTreeSet::new());
    for event in events {
        let name = match event {
            Event::Outcome(outcome) => {
                if let OutcomeSubject::Entity(kind, _) = &outcome.subject {
                    kinds.insert(kind.as_str());
                }
                &outcome.name
            }
            Event::Watermark(watermark) => &watermark.name,
            _ => continue,
        };
        names.insert(name.as_str());
    }
    let odd_names = names.into_iter().filter(|name| !known.names.is_empty() && !known.names.contains(*name));
    let odd_kinds = kinds.into_iter().filter(|kind| !known.kinds.is_empty() && !known.kinds.contains(*kind));
    let names = odd_names.map(|name| warning("name", name, "no experiment's metric counts it", &known.names));
    let kinds = odd_kinds.map(|kind| warning("entity", kind, "no decision point has such an entity", &known.kinds));
    names.chain(kinds).take(MAX_WARNINGS).collect()
}

fn warning(key: &str, odd: &str, why: &str, known: &BTreeSet<String>) -> String {
    let similar = most_similar(odd, known.iter().map(String::as_str));
    let similar = similar.map(|similar| format!("; did you mean '{similar}'?")).unwrap_or_default();
    let listed = known.iter().take(MAX_LISTED).map(String::as_str).collect::<Vec<_>>().join(", ");
    format!("{key} '{}': stored, and {why}{similar}; known: {listed}", printable(odd))
}
