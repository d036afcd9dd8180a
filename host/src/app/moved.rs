//! Detects edits of `serin.toml` that would move or drop units of an experiment that takes units.
//! They are not applied meanwhile, because its arms would continue to count units that they no
//! longer serve. Only `exclude` applies at once: it protects people, and a report shows whom it
//! excluded.

use std::sync::Arc;

use serin_core::experiment::{Experiment, Status};
use serin_core::expression::{Predicate, Reference};

use crate::config::Config;
use crate::deployment::{PointSchema, PointSpec};

/// Why `next` cannot replace `now`: the key that it changes, and for which of `experiments`; none
/// if it can.
pub(super) fn moved<'s>(
    now: &Config,
    next: &Config,
    experiments: impl Iterator<Item = &'s Arc<Experiment>>,
    status: impl Fn(&str) -> Status,
) -> Option<String> {
    if now.digest == next.digest {
        return None;
    }
    experiments.filter(|spec| status(&spec.id).state.takes_units()).find_map(|spec| {
        let point = &spec.decision_point;
        let now_point = now.points.get(point)?;
        let Some(next_point) = next.points.get(point) else {
            return Some(format!(
                "decision_points.{point} is gone, and '{}' runs there: its units would be dropped; conclude or abort it \
                 first, and the edit is applied then",
                spec.id
            ));
        };
        let (key, effect) = of_layer(now_point, next_point)
            .or_else(|| of_holdout(now, next, now_point, next_point))
            .or_else(|| of_views(now, next, now_point, spec))?;
        let waits = match now_point.exclude == next_point.exclude {
            true => "",
            false => "; the change of exclude waits with it, and applies at once in an edit of its own",
        };
        Some(format!(
            "{key} of decision_points.{point} changed, and '{}' runs there: {effect}; conclude or abort it first, \
             and the edit is applied then{waits}",
            spec.id
        ))
    })
}

type Change = (String, &'static str);

const MOVES: &str = "its units would move";

fn of_layer(now: &PointSpec, next: &PointSpec) -> Option<Change> {
    let (now, next) = (&now.layer, &next.layer);
    let changes = [
        ("the layer's unit", now.unit != next.unit, MOVES),
        ("the layer's salt", now.salt != next.salt, MOVES),
        (
            "the layer's holdout",
            now.holdout != next.holdout,
            "units that are in it would be held out, or those held out would enter",
        ),
    ];
    changes.into_iter().find(|(_, is_other, _)| *is_other).map(|(key, _, effect)| (key.to_owned(), effect))
}

fn of_holdout(now: &Config, next: &Config, now_point: &PointSpec, next_point: &PointSpec) -> Option<Change> {
    // A holdout of an entity that the point's requests do not name has no effect there.
    let of = |config: &Config, point: &PointSpec| {
        config.global_holdout.clone().filter(|holdout| point.entities.contains(&holdout.unit) && holdout.share > 0.0)
    };
    let effect = "units that are in it would be held out, or those held out would enter";
    (of(now, now_point) != of(next, next_point)).then(|| ("the global holdout".to_owned(), effect))
}

/// The views that `exclude` and `eligible` read decide which units stay enrolled.
fn of_views(now: &Config, next: &Config, point: &PointSpec, spec: &Experiment) -> Option<Change> {
    let schema = PointSchema { context: &point.context, entities: &point.entities, views: &now.views };
    let eligible = spec.eligible.as_ref().and_then(|source| Predicate::compile(source, &schema).ok());
    let mut references = point.exclude.iter().chain(&eligible).flat_map(Predicate::references);
    references.find_map(|reference| {
        let Reference::Feature(view, _) = reference else { return None };
        let (now, next) = (now.views.get(view.as_str())?, next.views.get(view.as_str())?);
        if now.entity != next.entity {
            return Some((format!("the entity of features.{view}, which decides who is in,"), MOVES));
        }
        let lasts = |ttl_ms: Option<u64>| ttl_ms.unwrap_or(u64::MAX);
        let is_shorter = lasts(next.ttl_ms) < lasts(now.ttl_ms);
        is_shorter.then(|| {
            (format!("the ttl of features.{view}, which decides who is in,"), "units whose row is older would drop out")
        })
    })
}
