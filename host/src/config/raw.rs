//! `serin.toml` as it is written.

use indexmap::IndexMap;
use serde::Deserialize;
use serin_core::by_name;
use serin_core::limits::PartialLimits;
use serin_core::value::Value;

use super::access::RawAccess;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawConfig {
    #[serde(default, deserialize_with = "by_name::one")]
    pub server: RawServer,
    #[serde(default, deserialize_with = "by_name::one")]
    pub plugins: RawPlugins,
    #[serde(default, deserialize_with = "by_name::one")]
    pub experiments: RawDir,
    #[serde(default, deserialize_with = "by_name::one")]
    pub ledger: RawLedger,
    #[serde(default, deserialize_with = "by_name::optional")]
    pub access: Option<RawAccess>,
    #[serde(default, deserialize_with = "by_name::one")]
    pub limits: PartialLimits,
    #[serde(default, deserialize_with = "by_name::maps")]
    pub models: IndexMap<String, IndexMap<String, RawModel>>,
    #[serde(default, deserialize_with = "by_name::map")]
    pub features: IndexMap<String, RawView>,
    #[serde(default, deserialize_with = "by_name::optional")]
    pub global_holdout: Option<RawGlobalHoldout>,
    #[serde(default, deserialize_with = "by_name::optional")]
    pub governance: Option<RawGovernance>,
    #[serde(default, deserialize_with = "by_name::map")]
    pub layers: IndexMap<String, RawLayer>,
    #[serde(default, deserialize_with = "by_name::map")]
    pub decision_points: IndexMap<String, RawPoint>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct RawServer {
    pub listen: Option<String>,
    pub admin: Option<String>,
    pub threads: Option<usize>,
    pub queue: Option<usize>,
    pub max_concurrent: Option<usize>,
    pub max_body_bytes: Option<usize>,
    pub future_tolerance: Option<String>,
    pub max_bytes_in_flight: Option<usize>,
    pub max_connections: Option<usize>,
    pub max_connections_per_peer: Option<usize>,
    pub header_timeout: Option<String>,
    pub body_timeout: Option<String>,
    pub stall_timeout: Option<String>,
    pub idle_timeout: Option<String>,
    pub shutdown_delay: Option<String>,
    pub drain_timeout: Option<String>,
    pub admin_timeout: Option<String>,
    #[serde(default)]
    pub admin_hosts: Vec<String>,
    #[serde(default)]
    pub trusted_proxies: Vec<String>,
    #[serde(default, deserialize_with = "by_name::optional")]
    pub tls: Option<RawTls>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTls {
    pub cert: String,
    pub key: String,
    pub client_ca: Option<String>,
    pub min_version: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct RawPlugins {
    pub dir: Option<String>,
    pub compiled_dir: Option<String>,
    #[serde(default)]
    pub trusted_keys: Vec<String>,
    #[serde(default)]
    pub require_signature: bool,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct RawDir {
    pub dir: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct RawLedger {
    pub url: Option<String>,
    pub durability: Option<String>,
    pub retain: Option<String>,
    pub audit_retain: Option<String>,
    pub clock_tolerance: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawModel {
    pub path: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawView {
    pub entity: String,
    pub ttl: Option<String>,
    #[serde(default)]
    pub analysis_only: bool,
    pub columns: IndexMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawLayer {
    pub unit: String,
    pub salt: Option<String>,
    #[serde(default)]
    pub holdout: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawGlobalHoldout {
    pub unit: String,
    pub share: f64,
    pub salt: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawGovernance {
    pub approvals: usize,
    #[serde(default)]
    pub approvers: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawPoint {
    pub strategy: String,
    #[serde(default)]
    pub parameters: IndexMap<String, Value>,
    pub layer: Option<String>,
    pub entities: Vec<String>,
    #[serde(default)]
    pub context: IndexMap<String, String>,
    pub actions: Vec<String>,
    pub exclude: Option<String>,
    pub deadline: Option<String>,
    #[serde(deserialize_with = "by_name::one")]
    pub fallback: RawFallback,
    pub logging: Option<String>,
    pub flag: Option<String>,
    pub flag_parameter: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawFallback {
    pub action: String,
    #[serde(default)]
    pub parameters: IndexMap<String, Value>,
}
