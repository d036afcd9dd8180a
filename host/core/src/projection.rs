//! The projection of a record through a strategy's manifest: its features and scores, by position.

use crate::manifest::{CONTEXT_VIEW, DeclaredScore, Feature, Manifest, OnMissing};
use crate::record::{FailureKind, Record, RowStatus, ScoreRecord};
use crate::row::Row;
use crate::value::Value;
use std::sync::Arc;

use crate::find_near;

/// A strategy's inputs.
#[derive(Debug, Clone, PartialEq)]
pub struct Inputs {
    /// The features, in the manifest's order.
    pub features: Vec<Value>,
    /// Positions of features that took their default.
    pub defaulted: Vec<u32>,
    /// Missing and failed inputs, as listed in `degraded` of answers.
    pub degraded: Vec<String>,
}

/// Why a strategy cannot run on a record.
pub type Unfit = (FailureKind, String);

/// Projects the record's features through a manifest. Equal records give equal inputs.
///
/// # Errors
/// The first feature that is missing, stale or of another type, if the manifest makes that an
/// error.
pub fn features(record: &Record, manifest: &Manifest) -> Result<Inputs, Unfit> {
    let mut inputs =
        Inputs { features: Vec::with_capacity(manifest.features.len()), defaulted: Vec::new(), degraded: Vec::new() };
    let mut near = Near::default();
    for (position, feature) in manifest.features.iter().enumerate() {
        let (value, trouble) = look_up(record, feature, &mut near);
        let (value, trouble) = match value.map(|v| feature.value_type.admit(v.clone())) {
            Some(Ok(value)) => (value, trouble),
            Some(Err(_)) => (Value::Missing, Some("error")),
            None => (Value::Missing, trouble),
        };
        if let Some(trouble) = trouble {
            inputs.degraded.push(format!("feature:{}.{}:{trouble}", feature.view, feature.name));
        }
        if !value.is_missing() {
            inputs.features.push(value);
            continue;
        }
        match &feature.on_missing {
            OnMissing::Pass => inputs.features.push(Value::Missing),
            OnMissing::Default(default) => {
                if trouble.is_none() {
                    inputs.degraded.push(format!("feature:{}.{}:defaulted", feature.view, feature.name));
                }
                inputs.defaulted.push(position as u32);
                inputs.features.push(default.clone());
            }
            OnMissing::Error => {
                let why = trouble.unwrap_or("missing");
                return Err((FailureKind::FeatureMissing, format!("{}.{} is {why}", feature.view, feature.name)));
            }
        }
    }
    Ok(inputs)
}

/// The likely position of the next feature: after the previous one.
#[derive(Default)]
struct Near {
    view: usize,
    column: usize,
}

/// A usable value, and what is wrong with its row.
fn look_up<'r>(record: &'r Record, feature: &Feature, near: &mut Near) -> (Option<&'r Value>, Option<&'static str>) {
    let name = &*feature.name;
    if *feature.view == *CONTEXT_VIEW {
        return (record.context.get(name), None);
    }
    let Some((view, row)) = find_near(&record.features, near.view, &feature.view) else {
        return (None, None);
    };
    if view != near.view {
        *near = Near { view, column: 0 };
    }
    let age_ms = || record.time_ms.saturating_sub(row.event_time_of(name).unwrap_or(record.time_ms));
    match row.status_of(name) {
        RowStatus::Missing => (None, None),
        RowStatus::Error => (None, Some("error")),
        RowStatus::Stale => (None, Some("stale")),
        RowStatus::Present if feature.max_age_ms.is_some_and(|max| age_ms() > max) => (None, Some("stale")),
        RowStatus::Present => {
            let found = row.values.find(near.column, name);
            near.column = found.map_or(0, |(column, _)| column + 1);
            (found.map(|(_, value)| value), None)
        }
    }
}

/// The inputs of a declared score, by the model's names; none if one of them is missing.
pub fn model_inputs(score: &DeclaredScore, features: &[Value]) -> Option<Row<f64>> {
    let values = score.inputs.iter().map(|(_, position)| features.get(*position)?.as_f64());
    Some(Row::new(Arc::clone(score.inputs.names()), values.collect::<Option<_>>()?))
}

/// The scores that the strategy sees, by position, from the recorded ones; and which were degraded.
///
/// # Errors
/// The first score that is missing and has no fallback.
pub fn scores(recorded: &[ScoreRecord], manifest: &Manifest) -> Result<(Vec<f64>, Vec<String>), Unfit> {
    let mut degraded = Vec::new();
    let mut scores = Vec::with_capacity(manifest.scores.len());
    for (position, declared) in manifest.scores.iter().enumerate() {
        let known = recorded.get(position).filter(|score| score.model == declared.model);
        let why = known.and_then(|score| score.error.as_deref()).unwrap_or("unavailable");
        match (known.and_then(|score| score.value), declared.fallback) {
            (Some(value), _) => scores.push(value),
            (None, Some(fallback)) => {
                degraded.push(format!("model:{}:{why}", declared.model.name));
                scores.push(fallback);
            }
            (None, None) => return Err((FailureKind::ScoreMissing, format!("model {}: {why}", declared.model))),
        }
    }
    Ok((scores, degraded))
}
