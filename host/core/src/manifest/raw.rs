//! A manifest as written in `plugin.toml`, before validation.

use indexmap::IndexMap;
use serde::Deserialize;

use crate::limits::PartialLimits;
use crate::value::{Value, ValueType};
use crate::{bounds, by_name, printable};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawManifest {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) decision_point: String,
    #[serde(default)]
    pub(super) description: String,
    #[serde(default)]
    pub(super) owner: String,
    #[serde(default, deserialize_with = "by_name::map")]
    pub(super) actions: IndexMap<String, RawAction>,
    #[serde(default)]
    pub(super) reasons: IndexMap<String, String>,
    #[serde(default, deserialize_with = "by_name::list")]
    pub(super) features: Vec<RawFeature>,
    #[serde(default, deserialize_with = "by_name::list")]
    pub(super) models: Vec<RawScore>,
    #[serde(default, deserialize_with = "by_name::map")]
    pub(super) parameters: IndexMap<String, RawParameter>,
    #[serde(default, deserialize_with = "by_name::one")]
    pub(super) limits: PartialLimits,
}

impl RawManifest {
    /// Checks the lengths of lists and texts.
    pub(super) fn bounded(&self) -> Result<(), String> {
        for (what, found, most) in [
            ("actions", self.actions.len(), bounds::CODES),
            ("reasons", self.reasons.len(), bounds::CODES),
            ("features", self.features.len(), bounds::FEATURES),
            ("models", self.models.len(), bounds::MODELS),
            ("parameters", self.parameters.len(), bounds::PARAMETERS),
        ] {
            bounds::count(what, found, most)?;
        }
        for (name, action) in &self.actions {
            let what = format!("parameters of action '{}'", printable(name));
            bounds::count(&what, action.parameters.len(), bounds::ACTION_PARAMETERS)?;
        }
        bounds::text("description", &self.description, bounds::DESCRIPTION_BYTES)?;
        bounds::text("owner", &self.owner, bounds::OWNER_BYTES)?;
        self.reasons
            .iter()
            .try_for_each(|(code, text)| bounds::text(&format!("reasons.{code}"), text, bounds::REASON_BYTES))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawAction {
    #[serde(default)]
    pub(super) parameters: IndexMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawFeature {
    pub(super) view: String,
    pub(super) name: String,
    pub(super) r#type: ValueType,
    pub(super) max_age: Option<String>,
    pub(super) on_missing: Option<toml::Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawScore {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) inputs: Option<IndexMap<String, String>>,
    pub(super) fallback: Option<f64>,
    #[serde(default)]
    pub(super) callable: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawParameter {
    pub(super) r#type: ValueType,
    pub(super) default: Value,
    pub(super) min: Option<f64>,
    pub(super) max: Option<f64>,
}
