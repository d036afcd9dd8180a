//! Experiment files as written, before validation.

use indexmap::IndexMap;
use serde::Deserialize;

use crate::by_name;
use crate::value::Value;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawExperiment {
    pub id: String,
    pub decision_point: String,
    #[serde(default)]
    pub owner: String,
    #[serde(default)]
    pub description: String,
    pub unit: Option<String>,
    pub slot: Option<[f64; 2]>,
    pub salt: Option<String>,
    pub start: Option<String>,
    pub eligible: Option<String>,
    pub coverage: Option<f64>,
    #[serde(default, deserialize_with = "by_name::optional_list")]
    pub ramp: Option<Vec<RawStep>>,
    pub control: Option<String>,
    pub min_duration: Option<String>,
    pub max_duration: Option<String>,
    pub on_success: Option<String>,
    pub holdback: Option<f64>,
    #[serde(default)]
    pub reuse_slot: bool,
    #[serde(default)]
    pub segments: Vec<String>,
    #[serde(default, deserialize_with = "by_name::list")]
    pub arms: Vec<RawArm>,
    #[serde(default, deserialize_with = "by_name::optional")]
    pub allocation: Option<RawAllocation>,
    #[serde(default, deserialize_with = "by_name::list")]
    pub metrics: Vec<RawMetric>,
    #[serde(default, deserialize_with = "by_name::list")]
    pub guardrails: Vec<RawGuardrail>,
    #[serde(default, deserialize_with = "by_name::list")]
    pub fairness: Vec<RawFairness>,
    #[serde(default, deserialize_with = "by_name::list")]
    pub notify: Vec<RawNotify>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawStep {
    pub coverage: f64,
    pub hold: Option<String>,
    pub min_units: Option<u64>,
    pub gate: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawArm {
    pub name: String,
    pub strategy: String,
    pub weight: Option<f64>,
    #[serde(default)]
    pub parameters: IndexMap<String, Value>,
    pub mode: Option<String>,
    pub sample: Option<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawMetric {
    pub name: String,
    pub role: String,
    pub source: Option<String>,
    pub outcome: Option<String>,
    pub aggregate: Option<String>,
    #[serde(default, deserialize_with = "by_name::optional")]
    pub numerator: Option<RawPart>,
    #[serde(default, deserialize_with = "by_name::optional")]
    pub denominator: Option<RawPart>,
    pub window: Option<String>,
    pub lag: Option<String>,
    pub missing: Option<String>,
    pub cap: Option<f64>,
    pub min: Option<f64>,
    pub max: Option<f64>,
    pub tolerate: Option<f64>,
    pub direction: Option<String>,
    pub population: Option<String>,
    pub cuped: Option<Vec<String>>,
    pub method: Option<String>,
    pub alpha: Option<f64>,
    pub planned_units: Option<u64>,
    pub prior_sd: Option<f64>,
    #[serde(default)]
    pub expects_none: bool,
}

/// One side of a ratio.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawPart {
    pub source: Option<String>,
    pub outcome: Option<String>,
    pub aggregate: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawGuardrail {
    pub metric: String,
    pub max_increase: Option<f64>,
    pub max_decrease: Option<f64>,
    pub max_count: Option<u64>,
    pub margin_type: Option<String>,
    pub alarm: Option<f64>,
    pub threshold: Option<String>,
    pub alpha: Option<f64>,
    pub min_units: Option<u64>,
    pub on_breach: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawFairness {
    pub attribute: String,
    pub reference: String,
    pub adverse_actions: Vec<String>,
    pub min_ratio: Option<f64>,
    pub min_group_units: Option<u64>,
    pub on_breach: Option<String>,
}

/// Adaptive shares, in place of the arms' weights.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawAllocation {
    pub policy: String,
    pub metric: String,
    pub update_every: String,
    pub floor: Option<f64>,
    pub control_share: Option<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawNotify {
    pub url: String,
    pub events: Vec<String>,
    pub secret_env: Option<String>,
}
