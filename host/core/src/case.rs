//! Cases: the expected answers of a strategy to given inputs. The artifact contains them, and the
//! host runs them before it serves a version.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::bounds;
use crate::manifest::{CONTEXT_VIEW, Manifest};
use crate::printable;
use crate::record::{CallError, Candidate, Outcome};
use crate::unique;
use crate::value::Value;

/// One case, as in its file.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// What the case shows.
    pub name: String,
    /// When the decision is made, RFC 3339; by default midday of 1 January 2026, UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// The unit's local offset from UTC, in minutes.
    #[serde(default)]
    pub utc_offset_minutes: i32,
    /// The request's context.
    #[serde(default, deserialize_with = "unique::keys")]
    pub context: IndexMap<String, Value>,
    /// The feature views' values.
    #[serde(default, deserialize_with = "unique::nested_keys")]
    pub features: IndexMap<String, IndexMap<String, Value>>,
    /// The declared models' scores.
    #[serde(default, deserialize_with = "unique::keys")]
    pub scores: IndexMap<String, f64>,
    /// Overrides of the parameters' defaults.
    #[serde(default, deserialize_with = "unique::keys")]
    pub parameters: IndexMap<String, Value>,
    /// The answers to calls of the `models` import, in order.
    #[serde(default)]
    pub calls: Vec<CaseCall>,
    /// The expected outcome.
    pub expect: Expectation,
}

/// An expected call of the `models` import.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaseCall {
    /// The model's name.
    pub model: String,
    /// The rows that the strategy is expected to send.
    pub rows: Vec<Vec<Value>>,
    /// The scores that the call returns, one per row.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scores: Vec<f64>,
    /// The error that the call returns instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<CallError>,
}

impl CaseCall {
    /// Says whether a call of `model` with `rows` is this one. A model gets numbers: `900` and `900.0`
    /// are the same to it.
    pub fn is_of(&self, model: &str, rows: &[Vec<Value>]) -> bool {
        let row = |wanted: &[Value], got: &[Value]| {
            wanted.len() == got.len() && wanted.iter().zip(got).all(|(w, g)| alike(w, g))
        };
        self.model == model && self.rows.len() == rows.len() && self.rows.iter().zip(rows).all(|(w, g)| row(w, g))
    }

    /// An error in the call itself, independent of the strategy; none if it is valid.
    fn check(&self, manifest: &Manifest) -> Result<(), String> {
        let Self { model, rows, scores, error } = self;
        if !manifest.callable.iter().any(|callable| *callable.model.name == **model) {
            let known: Vec<&str> = manifest.callable.iter().map(|callable| &*callable.model.name).collect();
            return Err(format!("'{}' is no callable model; callable: {}", printable(model), known.join(", ")));
        }
        match error {
            None if scores.len() != rows.len() => {
                Err(format!("{} rows and {} scores; valid: one score a row, or an error", rows.len(), scores.len()))
            }
            Some(_) if !scores.is_empty() => Err("scores and an error; valid: one of them".to_owned()),
            _ => Ok(()),
        }
    }
}

/// The expected outcome of a case.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expectation {
    /// These candidates.
    Candidates(Vec<Candidate>),
    /// A refusal.
    Refusal {
        /// The reason code.
        code: String,
        /// The message.
        message: String,
    },
    /// A failure of this kind.
    Failure(crate::record::FailureKind),
}

impl Expectation {
    /// Says whether `outcome` is as expected. Numbers may differ by a billionth, so that cases can
    /// be written by hand.
    pub fn is_met_by(&self, outcome: &Outcome) -> bool {
        match (self, outcome) {
            (Self::Candidates(wanted), Outcome::Candidates(got)) => {
                wanted.len() == got.len() && wanted.iter().zip(got).all(|(w, g)| same(w, g))
            }
            (Self::Refusal { code, message }, Outcome::Refusal { code: c, message: m }) => {
                **code == **c && message == m
            }
            (Self::Failure(wanted), Outcome::Failure { kind, .. }) => wanted == kind,
            _ => false,
        }
    }
}

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-9 * a.abs().max(b.abs()).max(1.0)
}

fn alike(wanted: &Value, got: &Value) -> bool {
    match (wanted.as_f64(), got.as_f64()) {
        (Some(w), Some(g)) => close(w, g),
        _ => wanted == got,
    }
}

fn same(wanted: &Candidate, got: &Candidate) -> bool {
    wanted.action == got.action
        && close(wanted.probability, got.probability)
        && wanted.parameters.len() == got.parameters.len()
        && wanted.parameters.iter().all(|(name, value)| match (value, got.parameters.get(name)) {
            (_, None) => false,
            (wanted, Some(got)) => alike(wanted, got),
        })
        && wanted.reasons.len() == got.reasons.len()
        && wanted.reasons.iter().zip(&got.reasons).all(|(w, g)| w.code == g.code && close(w.weight, g.weight))
}

impl Case {
    /// The case's value for a declared feature.
    fn value(&self, view: &str, name: &str) -> Value {
        let value = if view == CONTEXT_VIEW {
            self.context.get(name)
        } else {
            self.features.get(view).and_then(|values| values.get(name))
        };
        value.cloned().unwrap_or(Value::Missing)
    }

    /// Checks the case against the manifest: names, types, parameters and calls.
    ///
    /// # Errors
    /// The first mistake, and what is valid.
    pub fn check(&self, manifest: &Manifest) -> Result<(), String> {
        bounds::text("a case's name", &self.name, bounds::CASE_NAME_BYTES)?;
        self.check_keys(manifest)?;
        let at = |why: String| format!("case '{}': {why}", printable(&self.name));
        for feature in &manifest.features {
            if let Err(is) = feature.value_type.admit(self.value(&feature.view, &feature.name)) {
                let (view, name, declared) = (&feature.view, &feature.name, feature.value_type);
                return Err(at(format!("{view}.{name} is {is}, and it is declared as {declared}")));
            }
        }
        manifest.parameters_with(&self.parameters).map_err(at)?;
        for (position, call) in self.calls.iter().enumerate() {
            call.check(manifest).map_err(|why| at(format!("calls[{position}]: {why}")))?;
        }
        Ok(())
    }

    fn check_keys(&self, manifest: &Manifest) -> Result<(), String> {
        let declared = |view: &str, name: &str| manifest.features.iter().any(|f| *f.view == *view && *f.name == *name);
        let given = self.context.keys().map(|name| (CONTEXT_VIEW, name)).chain(
            self.features.iter().flat_map(|(view, values)| values.keys().map(move |name| (view.as_str(), name))),
        );
        for (view, name) in given {
            if !declared(view, name) {
                let known: Vec<String> = manifest.features.iter().map(|f| format!("{}.{}", f.view, f.name)).collect();
                return Err(format!(
                    "case '{}': {}.{} is not a declared feature; declared: {}",
                    printable(&self.name),
                    printable(view),
                    printable(name),
                    known.join(", ")
                ));
            }
        }
        match self.scores.keys().find(|name| !manifest.scores.iter().any(|s| *s.model.name == ***name)) {
            Some(name) => {
                Err(format!("case '{}': score '{}' is of no declared model", printable(&self.name), printable(name)))
            }
            None => Ok(()),
        }
    }

    /// The features by position, with the manifest's defaults for missing ones. `None` if one that
    /// is an error when missing is missing.
    pub fn positional_features(&self, manifest: &Manifest) -> Option<Vec<Value>> {
        use crate::manifest::OnMissing;
        manifest
            .features
            .iter()
            .map(|feature| {
                let value =
                    feature.value_type.admit(self.value(&feature.view, &feature.name)).unwrap_or(Value::Missing);
                match (value, &feature.on_missing) {
                    (Value::Missing, OnMissing::Error) => None,
                    (Value::Missing, OnMissing::Default(default)) => Some(default.clone()),
                    (value, _) => Some(value),
                }
            })
            .collect()
    }

    /// The scores by position, with fallbacks for missing ones. `None` if one without a fallback is
    /// missing.
    pub fn positional_scores(&self, manifest: &Manifest) -> Option<Vec<f64>> {
        manifest.scores.iter().map(|s| self.scores.get(&*s.model.name).copied().or(s.fallback)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_number_in_a_row_is_the_number() {
        let call: CaseCall =
            serde_json::from_str(r#"{ "model": "m", "rows": [[900, true, 0.3]], "scores": [0.5] }"#).expect("a call");
        let row = |amount| vec![vec![amount, Value::Integer(1), Value::Number(0.1 + 0.2)]];
        assert!(call.is_of("m", &row(Value::Number(900.0))));
        assert!(!call.is_of("m", &row(Value::Number(901.0))), "another number");
        assert!(!call.is_of("m", &row(Value::Missing)), "none");
        assert!(!call.is_of("n", &row(Value::Number(900.0))), "another model");
        assert!(!call.is_of("m", &[row(Value::Integer(900)), row(Value::Integer(900))].concat()), "another row");
    }
}
