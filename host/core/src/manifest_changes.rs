//! What has changed between two versions of a plugin, and whether what refers to the old one still means
//! the same: arms' parameters, the decision point, and recorded decisions, which the new one is replayed on.

use std::fmt::Display;

use serde::Serialize;

use crate::limits::PartialLimits;
use crate::manifest::{Action, DeclaredScore, Feature, Manifest, OnMissing, Parameter};
use crate::value::ValueType;

/// A change between two manifests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ManifestChange {
    /// The kind of declaration: `action`, `feature`, `model`, `parameter` and so on.
    pub what: &'static str,
    /// The name of what has changed.
    pub name: String,
    /// Whether what refers to the old version still means the same.
    pub compatible: bool,
    /// What has changed, and what follows.
    pub text: String,
}

/// The changes that were found so far.
#[derive(Default)]
struct Changes(Vec<ManifestChange>);

impl Changes {
    fn fine(&mut self, what: &'static str, name: impl Display, text: impl Into<String>) {
        self.0.push(ManifestChange { what, name: name.to_string(), compatible: true, text: text.into() });
    }

    fn breaks(&mut self, what: &'static str, name: impl Display, text: impl Into<String>) {
        self.0.push(ManifestChange { what, name: name.to_string(), compatible: false, text: text.into() });
    }
}

/// The changes from `old` to `new`, in the order of the manifest's sections.
pub fn manifest_changes(old: &Manifest, new: &Manifest) -> Vec<ManifestChange> {
    let mut changes = Changes::default();
    identity(old, new, &mut changes);
    actions(&old.actions, &new.actions, &mut changes);
    reasons(old, new, &mut changes);
    features(&old.features, &new.features, &mut changes);
    models(old, new, &mut changes);
    parameters(&old.parameters, &new.parameters, &mut changes);
    limits(old.limits, new.limits, &mut changes);
    changes.0
}

fn identity(old: &Manifest, new: &Manifest, changes: &mut Changes) {
    if old.name != new.name {
        changes.breaks("name", &new.name, format!("was {}: it is another plugin", old.name));
    }
    if old.decision_point != new.decision_point {
        let text = format!("was {}: it decides something else, and no pin or arm can name both", old.decision_point);
        changes.breaks("decision_point", &new.decision_point, text);
    }
    if new.version < old.version {
        changes.fine("version", &new.version, format!("is before {}", old.version));
    }
}

fn actions(old: &[Action], new: &[Action], changes: &mut Changes) {
    for before in old {
        let Some(now) = new.iter().find(|action| action.name == before.name) else {
            changes.breaks("action", &before.name, "removed: what the old version decided cannot be compared with it");
            continue;
        };
        for (parameter, was) in &before.parameters {
            let name = format!("{}.{parameter}", before.name);
            match now.parameters.iter().find(|(known, _)| known == parameter) {
                None => changes.breaks("action parameter", name, "removed: applications that read it lack it"),
                Some((_, is)) if is != was => {
                    changes.breaks(
                        "action parameter",
                        name,
                        format!("was {was}, is {is}: applications read another type"),
                    );
                }
                Some(_) => {}
            }
        }
        for (parameter, is) in &now.parameters {
            if !before.parameters.iter().any(|(known, _)| known == parameter) {
                changes.fine("action parameter", format!("{}.{parameter}", now.name), format!("added: {is}"));
            }
        }
    }
    for now in new.iter().filter(|now| !old.iter().any(|action| action.name == now.name)) {
        changes.fine("action", &now.name, "added: its decision point has to list it");
    }
}

fn reasons(old: &Manifest, new: &Manifest, changes: &mut Changes) {
    for before in &old.reasons {
        match new.reasons.iter().find(|reason| reason.code == before.code) {
            None => changes.fine("reason", &before.code, "removed: it is in recorded decisions alone"),
            Some(now) if now.text != before.text => {
                changes.fine("reason", &before.code, "is told in other words; see that it means the same");
            }
            Some(_) => {}
        }
    }
    for now in new.reasons.iter().filter(|now| !old.reasons.iter().any(|reason| reason.code == now.code)) {
        changes.fine("reason", &now.code, "added");
    }
}

fn features(old: &[Feature], new: &[Feature], changes: &mut Changes) {
    let same = |a: &Feature, b: &Feature| (&a.view, &a.name) == (&b.view, &b.name);
    let name = |feature: &Feature| format!("{}.{}", feature.view, feature.name);
    for before in old {
        let Some(now) = new.iter().find(|feature| same(feature, before)) else {
            changes.fine("feature", name(before), "removed");
            continue;
        };
        if now.value_type != before.value_type {
            let text = format!("was {}, is {}: records hold another type", before.value_type, now.value_type);
            changes.breaks("feature", name(now), text);
        }
        if now.max_age_ms != before.max_age_ms {
            let age = |ms: Option<u64>| ms.map_or_else(|| "none".to_owned(), |ms| format!("{ms} ms"));
            let text = format!("max_age was {}, is {}", age(before.max_age_ms), age(now.max_age_ms));
            changes.fine("feature", name(now), text);
        }
        if now.on_missing != before.on_missing {
            let text = format!("on_missing was {}, is {}", missing(&before.on_missing), missing(&now.on_missing));
            changes.fine("feature", name(now), text);
        }
    }
    for now in new.iter().filter(|now| !old.iter().any(|feature| same(feature, now))) {
        changes.breaks(
            "feature",
            name(now),
            "added: records of the old version may lack it, and replays of those are not comparable",
        );
    }
}

fn missing(on_missing: &OnMissing) -> String {
    match on_missing {
        OnMissing::Error => "\"error\"".to_owned(),
        OnMissing::Pass => "\"pass\"".to_owned(),
        OnMissing::Default(value) => format!("{{ default = {value} }}"),
    }
}

fn models(old: &Manifest, new: &Manifest, changes: &mut Changes) {
    let lacks = "records of the old version have no scores of it, and replays of those are not comparable";
    for before in &old.scores {
        let Some(now) = new.scores.iter().find(|score| score.model.name == before.model.name) else {
            changes.fine("model", &before.model, "removed");
            continue;
        };
        if now.model.version != before.model.version {
            changes.breaks("model", &now.model, format!("was {}: {lacks}", before.model));
        }
        if inputs(now, new) != inputs(before, old) {
            changes.breaks("model", &now.model, "its inputs are fed otherwise: recorded scores are of other rows");
        }
        if now.fallback != before.fallback {
            changes.fine("model", &now.model, "another score where the model fails");
        }
    }
    for now in new.scores.iter().filter(|now| !old.scores.iter().any(|score| score.model.name == now.model.name)) {
        changes.breaks("model", &now.model, format!("added: {lacks}"));
    }
    for before in old.callable.iter().filter(|before| !new.callable.iter().any(|now| now.model == before.model)) {
        changes.fine("callable model", &before.model, "removed");
    }
    for now in new.callable.iter().filter(|now| !old.callable.iter().any(|before| before.model == now.model)) {
        let text = "added: records of the old version have no answers of it, and replays of those are not comparable";
        changes.breaks("callable model", &now.model, text);
    }
}

/// A model's inputs, each with the feature that feeds it.
fn inputs(score: &DeclaredScore, manifest: &Manifest) -> Vec<(String, String)> {
    let fed = score.inputs.iter().map(|(input, position)| {
        let feature = manifest.features.get(*position).map(|feature| format!("{}.{}", feature.view, feature.name));
        (input.to_string(), feature.unwrap_or_default())
    });
    let mut fed: Vec<(String, String)> = fed.collect();
    fed.sort();
    fed
}

fn parameters(old: &[Parameter], new: &[Parameter], changes: &mut Changes) {
    for before in old {
        let Some(now) = new.iter().find(|parameter| parameter.name == before.name) else {
            changes.breaks("parameter", &before.name, "removed: an arm that sets it is not valid any more");
            continue;
        };
        if now.value_type != before.value_type {
            // A whole number is a number, too.
            let widens = (before.value_type, now.value_type) == (ValueType::Integer, ValueType::Number);
            let text = format!("was {}, is {}", before.value_type, now.value_type);
            match widens {
                true => changes.fine("parameter", &now.name, text),
                false => {
                    changes.breaks("parameter", &now.name, format!("{text}: an arm that sets it has another type"))
                }
            }
        }
        let is_narrower = now.min.is_some_and(|min| before.min.is_none_or(|was| min > was))
            || now.max.is_some_and(|max| before.max.is_none_or(|was| max < was));
        if is_narrower {
            changes.breaks("parameter", &now.name, "its range is narrower: an arm's value may lie outside of it");
        } else if (now.min, now.max) != (before.min, before.max) {
            changes.fine("parameter", &now.name, "its range is wider");
        }
        if now.default != before.default {
            let text =
                format!("its default was {}, is {}: arms that do not set it get that", before.default, now.default);
            changes.fine("parameter", &now.name, text);
        }
    }
    for now in new.iter().filter(|now| !old.iter().any(|parameter| parameter.name == now.name)) {
        changes.fine("parameter", &now.name, format!("added, with the default {}", now.default));
    }
}

fn limits(old: PartialLimits, new: PartialLimits, changes: &mut Changes) {
    // Destructured, so that a new limit does not compile until it is compared.
    let PartialLimits {
        fuel,
        memory_bytes,
        table_elements,
        wall_ms,
        output_bytes,
        candidates,
        host_calls,
        host_call_rows,
        log_bytes,
    } = new;
    for (key, was, is) in [
        ("fuel", old.fuel, fuel),
        ("memory_bytes", old.memory_bytes, memory_bytes),
        ("table_elements", old.table_elements, table_elements),
        ("wall_ms", old.wall_ms, wall_ms),
        ("output_bytes", old.output_bytes, output_bytes),
        ("candidates", old.candidates, candidates),
        ("host_calls", old.host_calls, host_calls),
        ("host_call_rows", old.host_call_rows, host_call_rows),
        ("log_bytes", old.log_bytes, log_bytes),
    ] {
        let shown = |limit: Option<u64>| limit.map_or_else(|| "the host's".to_owned(), |limit| limit.to_string());
        if was != is {
            changes.fine(
                "limit",
                key,
                format!("was {}, is {}; the host grants no more than its own", shown(was), shown(is)),
            );
        }
    }
}
