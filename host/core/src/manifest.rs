//! The manifest: the declarations of a `plugin.toml`, parsed and validated.
//!
//! Positions on the Wasm boundary are positions in these lists, so the order in the file is
//! significant. The file's hash ties an artifact to its manifest.

mod raw;

use std::collections::HashSet;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::bounds;
use crate::limits::PartialLimits;
use crate::row::Row;
use crate::value::{Value, ValueType};
use crate::{NAME_RULE, Name, is_name, message_to, printable};

use raw::{RawAction, RawFeature, RawManifest, RawParameter, RawScore};

/// The view name for features from the request's context.
pub const CONTEXT_VIEW: &str = "context";

/// Component custom section that holds the text of `plugin.toml`.
pub const MANIFEST_SECTION: &str = "serin:manifest";
/// Component custom section that holds the cases, a JSON array.
pub const CASES_SECTION: &str = "serin:cases";
/// Core-module custom section in which the SDK stores the 32 bytes of [`Manifest::hash`] of the
/// manifest that the code was compiled against.
pub const HASH_SECTION: &str = "serin:manifest-hash";
/// The custom section of an artifact that was made to be tried, and not to be deployed: see `serin plugin build --draft`.
pub const DRAFT_SECTION: &str = "serin:draft";

/// A validated manifest.
#[derive(Debug, Clone)]
pub struct Manifest {
    /// The plugin's name.
    pub name: Name,
    /// The plugin's version.
    pub version: semver::Version,
    /// The decision point of the strategy.
    pub decision_point: Name,
    /// A description for people.
    pub description: String,
    /// Who answers for it.
    pub owner: String,
    /// The actions that it may return.
    pub actions: Vec<Action>,
    /// Its reason codes and their texts.
    pub reasons: Vec<Reason>,
    /// The features that it reads.
    pub features: Vec<Feature>,
    /// The models whose scores are computed before it runs.
    pub scores: Vec<DeclaredScore>,
    /// The models that it may call with rows of its own.
    pub callable: Vec<CallableModel>,
    /// Its parameters, which an experiment's arm may override.
    pub parameters: Vec<Parameter>,
    /// The limits that it asks for.
    pub limits: PartialLimits,
    /// SHA-256 of the file's bytes.
    pub hash: [u8; 32],
}

/// An action and the types of its parameters.
#[derive(Debug, Clone)]
pub struct Action {
    /// The action's name.
    pub name: Name,
    /// Its parameters' names and types; all are required.
    pub parameters: Vec<(Name, ValueType)>,
}

/// A reason code.
#[derive(Debug, Clone)]
pub struct Reason {
    /// The code.
    pub code: Name,
    /// The text of the code, which could be told to a borrower.
    pub text: Name,
}

/// What happens if a feature is missing or stale.
#[derive(Debug, Clone, PartialEq)]
pub enum OnMissing {
    /// The strategy does not run.
    Error,
    /// The strategy gets this value.
    Default(Value),
    /// The strategy gets `missing`.
    Pass,
}

/// A declared feature.
#[derive(Debug, Clone)]
pub struct Feature {
    /// The feature view, or `context`.
    pub view: Name,
    /// The feature's name in the view.
    pub name: Name,
    /// Its type.
    pub value_type: ValueType,
    /// The maximum age of its value, in milliseconds.
    pub max_age_ms: Option<u64>,
    /// What happens without it.
    pub on_missing: OnMissing,
}

/// A model and version.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ModelId {
    /// The model's name.
    pub name: Name,
    /// Its version.
    pub version: Name,
}

impl std::fmt::Display for ModelId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}", self.name, self.version)
    }
}

/// A score computed before the strategy runs.
#[derive(Debug, Clone)]
pub struct DeclaredScore {
    /// The model.
    pub model: ModelId,
    /// For each of the model's inputs, the position of the feature that feeds it.
    pub inputs: Row<usize>,
    /// The score if the model fails; without a fallback the strategy does not run.
    pub fallback: Option<f64>,
}

/// A model that the strategy calls itself.
#[derive(Debug, Clone)]
pub struct CallableModel {
    /// The model.
    pub model: ModelId,
}

/// A parameter.
#[derive(Debug, Clone)]
pub struct Parameter {
    /// Its name.
    pub name: Name,
    /// Its type.
    pub value_type: ValueType,
    /// Its value unless an arm overrides it.
    pub default: Value,
    /// The smallest value allowed.
    pub min: Option<f64>,
    /// The largest value allowed.
    pub max: Option<f64>,
}

impl Parameter {
    /// Checks a value for this parameter and converts it to the declared type.
    ///
    /// # Errors
    /// What is wrong, and what is valid.
    pub fn admit(&self, value: Value) -> Result<Value, String> {
        let value = self
            .value_type
            .admit(value)
            .map_err(|is| format!("parameter '{}' is {is}; it is declared as {}", self.name, self.value_type))?;
        match &value {
            Value::Missing => return Err(format!("parameter '{}' must have a value", self.name)),
            Value::Text(text) => bounds::text(&format!("parameter '{}'", self.name), text, bounds::VALUE_BYTES)?,
            _ => {}
        }
        if let Some(x) = value.as_f64()
            && (self.min.is_some_and(|min| x < min) || self.max.is_some_and(|max| x > max))
        {
            let bound = |b: Option<f64>, none: &str| b.map_or(none.to_owned(), |b| b.to_string());
            return Err(format!(
                "parameter '{}' = {x} is out of its range [{}, {}]",
                self.name,
                bound(self.min, "-inf"),
                bound(self.max, "inf")
            ));
        }
        Ok(value)
    }
}

/// Why a manifest is not valid.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ManifestError(pub String);

impl From<String> for ManifestError {
    fn from(why: String) -> Self {
        Self(why)
    }
}

fn bad<T>(text: impl Into<String>) -> Result<T, ManifestError> {
    Err(ManifestError(text.into()))
}

impl Manifest {
    /// `name@version`.
    pub fn id(&self) -> String {
        format!("{}@{}", self.name, self.version)
    }

    /// Parses and validates the text of a `plugin.toml`.
    ///
    /// # Errors
    /// The first mistake: where it is, and what is valid.
    pub fn parse(text: &str) -> Result<Self, ManifestError> {
        // A message may quote the file, so it is truncated.
        Self::validate(text).map_err(|error| ManifestError(message_to(&error.0, bounds::MESSAGE)))
    }

    fn validate(text: &str) -> Result<Self, ManifestError> {
        use sha2::Digest as _;
        crate::meet_defect(text.as_bytes());
        bounds::text("the file", text, bounds::MANIFEST_BYTES)?;
        let raw: RawManifest = toml::from_str(text).map_err(|e| ManifestError(crate::toml_message(&e, text)))?;
        raw.bounded()?;
        let name = named("name", raw.name)?;
        let version = bounds::version(&raw.version)?;
        if raw.actions.is_empty() {
            return bad("no actions; declare at least one, like [actions.no_contact]");
        }
        if let Some(key) = raw.limits.zero_key() {
            return bad(format!("limits.{key} = 0: no run could keep within it; valid: a whole number from 1"));
        }
        let features = features(raw.features)?;
        let (scores, callable) = models(raw.models, &features)?;
        Ok(Self {
            name,
            version,
            decision_point: named("decision_point", raw.decision_point)?,
            description: raw.description,
            owner: raw.owner,
            actions: raw.actions.into_iter().map(action).collect::<Result<_, _>>()?,
            reasons: raw
                .reasons
                .into_iter()
                .map(|(code, text)| Ok(Reason { code: named("reasons", code)?, text: text.into() }))
                .collect::<Result<_, ManifestError>>()?,
            features,
            scores,
            callable,
            parameters: raw.parameters.into_iter().map(parameter).collect::<Result<_, _>>()?,
            limits: raw.limits,
            hash: sha2::Sha256::digest(text.as_bytes()).into(),
        })
    }

    /// The parameters in force, in the manifest's order: the defaults with `overrides` applied.
    ///
    /// # Errors
    /// The override that is unknown, of another type or out of range, and what is valid.
    pub fn parameters_with(&self, overrides: &IndexMap<String, Value>) -> Result<Vec<Value>, String> {
        if let Some(unknown) = overrides.keys().find(|key| !self.parameters.iter().any(|p| *p.name == ***key)) {
            let known: Vec<&str> = self.parameters.iter().map(|p| &*p.name).collect();
            return Err(format!(
                "parameter '{unknown}' is not declared by {}; declared: {}",
                self.id(),
                if known.is_empty() { "none".to_owned() } else { known.join(", ") }
            ));
        }
        self.parameters
            .iter()
            .map(|p| overrides.get(&*p.name).map_or_else(|| Ok(p.default.clone()), |value| p.admit(value.clone())))
            .collect()
    }
}

fn named(key: &str, text: String) -> Result<Name, ManifestError> {
    if is_name(&text) {
        Ok(text.into())
    } else {
        bad(format!("{key}: '{}' is not a name; valid: {NAME_RULE}", printable(&text)))
    }
}

fn action((name, raw): (String, RawAction)) -> Result<Action, ManifestError> {
    let name = named("actions", name)?;
    let mut parameters = Vec::new();
    for (key, written) in raw.parameters {
        let Some(value_type) = ValueType::parse(&written) else {
            return bad(format!("actions.{name}.parameters.{key} = \"{written}\"; valid: {}", ValueType::WRITTEN));
        };
        parameters.push((named("actions", key)?, value_type));
    }
    Ok(Action { name, parameters })
}

fn features(raw: Vec<RawFeature>) -> Result<Vec<Feature>, ManifestError> {
    let mut seen = HashSet::new();
    raw.into_iter()
        .map(|raw| {
            let at = format!("feature {}.{}", raw.view, raw.name);
            if !seen.insert(raw.name.clone()) {
                return bad(format!(
                    "{at}: a feature named '{}' is declared already; names are unique over all views",
                    raw.name
                ));
            }
            let max_age_ms = match raw.max_age {
                None => None,
                Some(_) if raw.view == CONTEXT_VIEW => {
                    return bad(format!("{at}: max_age has no meaning for the request's own context; remove it"));
                }
                Some(text) => Some(duration_ms(&text).map_err(|e| ManifestError(format!("{at}: max_age: {e}")))?),
            };
            let on_missing = on_missing(&at, raw.r#type, raw.on_missing)?;
            Ok(Feature {
                view: named("features.view", raw.view)?,
                name: named("features.name", raw.name)?,
                value_type: raw.r#type,
                max_age_ms,
                on_missing,
            })
        })
        .collect()
}

fn on_missing(at: &str, value_type: ValueType, raw: Option<toml::Value>) -> Result<OnMissing, ManifestError> {
    let Some(written) = raw else { return Ok(OnMissing::Pass) };
    let default = match &written {
        toml::Value::String(word) if word == "error" => return Ok(OnMissing::Error),
        toml::Value::String(word) if word == "pass" => return Ok(OnMissing::Pass),
        toml::Value::Table(table) if table.len() == 1 => table.get("default").cloned(),
        _ => None,
    };
    let Some(default) = default.and_then(|d| Value::deserialize(d).ok()) else {
        return bad(format!("{at}: on_missing = {written}; valid: \"error\", \"pass\" or {{ default = VALUE }}"));
    };
    match value_type.admit(default) {
        Ok(Value::Text(text)) if text.len() > bounds::VALUE_BYTES => {
            bad(format!("{at}: the default has {} bytes; valid: at most {}", text.len(), bounds::VALUE_BYTES))
        }
        Ok(value) if !value.is_missing() => Ok(OnMissing::Default(value)),
        Ok(_) => bad(format!("{at}: the default has no value")),
        Err(is) => bad(format!("{at}: the default is {is}, and the feature is declared as {value_type}")),
    }
}

/// Validates the declared models against the features that feed them.
fn models(raw: Vec<RawScore>, features: &[Feature]) -> Result<(Vec<DeclaredScore>, Vec<CallableModel>), ManifestError> {
    let (mut scores, mut callable) = (Vec::new(), Vec::new());
    let mut seen = HashSet::new();
    for raw in raw {
        let at = format!("model {}@{}", raw.name, raw.version);
        bounds::version(&raw.version).map_err(|why| ManifestError(format!("{at}: {why}")))?;
        if !seen.insert((raw.name.clone(), raw.callable)) {
            return bad(format!("{at}: declared twice"));
        }
        if raw.fallback.is_some_and(|x| !x.is_finite()) {
            return bad(format!("{at}: fallback must be finite"));
        }
        let model = ModelId { name: named("models.name", raw.name)?, version: raw.version.into() };
        match (raw.callable, raw.inputs) {
            (true, None) if raw.fallback.is_some() => {
                return bad(format!("{at}: a callable model's errors reach the strategy; remove fallback"));
            }
            (true, None) => callable.push(CallableModel { model }),
            (true, Some(_)) => {
                return bad(format!("{at}: a callable model takes its rows from the strategy; remove inputs"));
            }
            (false, None) => {
                return bad(format!("{at}: needs inputs = {{ MODEL_INPUT = \"VIEW.FEATURE\" }}, or callable = true"));
            }
            (false, Some(inputs)) => {
                let inputs = inputs
                    .into_iter()
                    .map(|(input, source)| {
                        let position = features
                            .iter()
                            .position(|f| source.strip_prefix(&*f.view).and_then(|r| r.strip_prefix('.')) == Some(&*f.name));
                        match position {
                            Some(p) if features[p].value_type == ValueType::Text => {
                                bad(format!("{at}: input '{input}' is fed by {source}, which is text; valid: a number, integer or boolean"))
                            }
                            Some(p) => Ok((input.into(), p)),
                            None => bad(format!("{at}: input '{input}' names '{source}', which is not among the [[features]]; write VIEW.FEATURE")),
                        }
                    })
                    .collect::<Result<_, _>>()?;
                scores.push(DeclaredScore { model, inputs, fallback: raw.fallback });
            }
        }
    }
    Ok((scores, callable))
}

fn parameter((name, raw): (String, RawParameter)) -> Result<Parameter, ManifestError> {
    let mut parameter = Parameter {
        name: named("parameters", name)?,
        value_type: raw.r#type,
        default: raw.default,
        min: raw.min,
        max: raw.max,
    };
    let numeric = matches!(parameter.value_type, ValueType::Integer | ValueType::Number);
    if !numeric && (parameter.min.is_some() || parameter.max.is_some()) {
        return bad(format!(
            "parameter '{}': min and max are for numbers, and it is {}",
            parameter.name, parameter.value_type
        ));
    }
    for (key, bound) in [("min", parameter.min), ("max", parameter.max)] {
        if let Some(bound) = bound.filter(|b| !b.is_finite()) {
            return bad(format!(
                "parameter '{}': {key} = {bound}; valid: a finite number, or leave it out",
                parameter.name
            ));
        }
    }
    if let (Some(min), Some(max)) = (parameter.min, parameter.max)
        && min > max
    {
        return bad(format!("parameter '{}': the range [{min}, {max}] holds no value", parameter.name));
    }
    parameter.default =
        parameter.admit(parameter.default.clone()).map_err(|e| ManifestError(format!("default: {e}")))?;
    Ok(parameter)
}

/// 100 years.
const MAX_DURATION_MS: u64 = 36_525 * 24 * 60 * 60 * 1000;

/// Parses a duration such as `24h`, `14d` or `50ms`. Returns milliseconds, at most 100 years.
///
/// # Errors
/// What is wrong, and examples of what is valid.
pub fn duration_ms(text: &str) -> Result<u64, String> {
    let duration = humantime::parse_duration(text)
        .map_err(|e| format!("'{text}' is not a duration ({e}); valid: 50ms, 10s, 24h, 14d"))?;
    match u64::try_from(duration.as_millis()) {
        // Durations are added to times; the bound keeps the sums in range.
        Ok(ms) if ms <= MAX_DURATION_MS => Ok(ms),
        _ => Err(format!("'{text}' is too long; valid: up to 100 years, like 36500d")),
    }
}
