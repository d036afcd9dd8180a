//! From what is written to what needs no further checks.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use indexmap::IndexMap;
use serin_core::experiment::Pin;
use serin_core::expression::Predicate;
use serin_core::limits::Limits;
use serin_core::manifest::{CONTEXT_VIEW, ModelId, duration_ms};
use serin_core::value::ValueType;
use serin_core::{NAME_RULE, Name, NameMap, is_name};

use super::access;
use super::raw::{RawConfig, RawGlobalHoldout, RawGovernance, RawLayer, RawModel, RawPoint, RawView};
use super::server::{bounded, settings, tls};
use super::{Config, Fixed, Retain, folder_of};
use crate::deployment::{ContextField, FallbackAction, GlobalHoldout, Layer, PointSchema, PointSpec, ViewSpec};
use crate::experiments::Governance;
use crate::ledger::Durability;

/// The time that a decision has where the file does not say.
const DEADLINE: Duration = Duration::from_millis(50);
/// How far in the future an event time may lie where the file does not say: clocks differ by
/// seconds, time zones by hours.
const FUTURE_TOLERANCE: Duration = Duration::from_secs(5 * 60);
/// Keys that may be trusted: each is read at every scan.
const MAX_TRUSTED_KEYS: usize = 64;
/// The most that the file may say.
const MAX_FUTURE_TOLERANCE: Duration = Duration::from_secs(60 * 60);

pub(super) fn validate(raw: RawConfig, path: &Path, dir: &Path, text: String) -> Result<Config, String> {
    let fixed = fixed(&raw, dir)?;
    let retained = |key, text: Option<&str>| text.map(|t| duration(key, t)).transpose();
    let retain = Retain {
        decisions: retained("ledger.retain", raw.ledger.retain.as_deref())?,
        audit: retained("ledger.audit_retain", raw.ledger.audit_retain.as_deref())?,
    };
    if let Some((key, value, most)) = raw.limits.excessive_key() {
        return Err(format!("limits.{key} = {value}: more than a host can grant; valid: at most {most}"));
    }
    if let Some(key) = raw.limits.zero_key() {
        return Err(format!("limits.{key} = 0: no run could keep within it; valid: a whole number from 1"));
    }
    let models = models(raw.models, dir)?;
    let future_tolerance = future_tolerance(raw.server.future_tolerance.as_deref())?;
    let mut views = HashMap::new();
    for (view, spec) in raw.features {
        views.insert(Name::from(view.as_str()), Arc::new(view_spec(&view, spec, future_tolerance)?));
    }
    // Those that no decision point names yet, too: a mistake is not to wait for its first use.
    for (layer, spec) in &raw.layers {
        let key = format!("layers.{layer}");
        name(&key, layer)?;
        name(&format!("{key}.unit"), &spec.unit)?;
        if !(0.0..1.0).contains(&spec.holdout) {
            return Err(format!("{key}.holdout = {}; valid: a share from 0 to below 1", spec.holdout));
        }
    }
    let global_holdout = raw.global_holdout.map(global_holdout).transpose()?;
    let governance = raw.governance.map(governance).transpose()?;
    let mut points = IndexMap::new();
    if raw.decision_points.is_empty() {
        return Err("no decision points; add one as [decision_points.NAME]".to_owned());
    }
    for (point, spec) in raw.decision_points {
        let spec = point_spec(&point, spec, &raw.layers, &views)?;
        points.insert(Name::from(point), spec);
    }
    let has_client_ca = fixed.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
    let access = raw.access.as_ref().map(|raw| access::access(raw, &points, has_client_ca)).transpose()?.map(Arc::new);
    access::no_open_doors(access.as_deref(), [("server.listen", fixed.listen), ("server.admin", fixed.admin)])?;
    Ok(Config {
        path: path.to_owned(),
        digest: crate::digest::digest(text.as_bytes()),
        text,
        fixed,
        trusted_keys: trusted_keys(&raw.plugins.trusted_keys, dir)?,
        require_signature: raw.plugins.require_signature,
        retain,
        access,
        limits: raw.limits.over(Limits::default()),
        models,
        views,
        points,
        global_holdout,
        governance,
    })
}

fn models(raw: IndexMap<String, IndexMap<String, RawModel>>, dir: &Path) -> Result<IndexMap<ModelId, PathBuf>, String> {
    let mut models = IndexMap::new();
    for (model, versions) in raw {
        for (version, spec) in versions {
            let key = format!("models.{model}.\"{version}\"");
            name(&key, &model)?;
            semver::Version::parse(&version).map_err(|e| format!("{key}: {e}; valid: MAJOR.MINOR.PATCH"))?;
            models.insert(ModelId { name: model.as_str().into(), version: version.into() }, dir.join(spec.path));
        }
    }
    Ok(models)
}

/// The files of keys; what is in them is read with the files that they have signed.
fn trusted_keys(paths: &[String], dir: &Path) -> Result<Vec<PathBuf>, String> {
    let key = "plugins.trusted_keys";
    if paths.len() > MAX_TRUSTED_KEYS {
        return Err(format!("{key}: {} keys; valid: at most {MAX_TRUSTED_KEYS}", paths.len()));
    }
    if let Some(twice) = paths.iter().enumerate().find_map(|(i, path)| paths[..i].contains(path).then_some(path)) {
        return Err(format!("{key}: '{twice}' is there twice"));
    }
    match paths.iter().any(String::is_empty) {
        true => Err(format!("{key}: an empty path; valid: the path of a public key, like keys/science.pub")),
        false => Ok(paths.iter().map(|path| dir.join(path)).collect()),
    }
}

fn global_holdout(raw: RawGlobalHoldout) -> Result<GlobalHoldout, String> {
    name("global_holdout.unit", &raw.unit)?;
    if !(0.0..1.0).contains(&raw.share) {
        return Err(format!("global_holdout.share = {}; valid: a share from 0 to below 1", raw.share));
    }
    let salt = raw.salt.unwrap_or_else(|| "global".to_owned());
    Ok(GlobalHoldout { unit: raw.unit.into(), salt, share: raw.share })
}

fn governance(raw: RawGovernance) -> Result<Governance, String> {
    // With a list of people, no more can agree than there are.
    let most = if raw.approvers.is_empty() { 16 } else { raw.approvers.len() };
    if !(1..=most).contains(&raw.approvals) {
        return Err(format!("governance.approvals = {}; valid: 1 to {most}", raw.approvals));
    }
    Ok(Governance { approvals: raw.approvals, approvers: raw.approvers })
}

fn name(key: &str, text: &str) -> Result<(), String> {
    if is_name(text) { Ok(()) } else { Err(format!("{key}: '{text}' is not a name; valid: {NAME_RULE}")) }
}

fn duration(key: &str, text: &str) -> Result<Duration, String> {
    duration_ms(text).map(Duration::from_millis).map_err(|e| format!("{key}: {e}"))
}

fn fixed(raw: &RawConfig, dir: &Path) -> Result<Fixed, String> {
    let address = |key: &str, text: &Option<String>, default: &str| {
        let text = text.as_deref().unwrap_or(default);
        text.parse::<SocketAddr>()
            .map_err(|_| format!("{key} = \"{text}\": not an address; valid: IP:PORT, like 127.0.0.1:8080"))
    };
    let url = raw.ledger.url.as_deref().unwrap_or("sqlite:data/serin.db");
    let Some(database) = url.strip_prefix("sqlite:").filter(|path| !path.is_empty()) else {
        return Err(format!("ledger.url = \"{url}\"; valid: sqlite:PATH, like sqlite:data/serin.db"));
    };
    let durability = match raw.ledger.durability.as_deref() {
        None | Some("process") => Durability::Process,
        Some("power") => Durability::Power,
        Some(other) => return Err(format!("ledger.durability = \"{other}\"; valid: process, power")),
    };
    let folder = |text: &Option<String>, default: &str| -> PathBuf { dir.join(text.as_deref().unwrap_or(default)) };
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let listen = address("server.listen", &raw.server.listen, "127.0.0.1:8080")?;
    let admin = address("server.admin", &raw.server.admin, "127.0.0.1:8081")?;
    let is_everywhere = listen.ip().is_unspecified() || admin.ip().is_unspecified();
    // With port 0 the system chooses two that are free.
    if listen.port() == admin.port() && listen.port() != 0 && (listen.ip() == admin.ip() || is_everywhere) {
        return Err(format!(
            "server.listen = \"{listen}\" and server.admin = \"{admin}\" take the same port; valid: two ports, like \
             {} for server.admin",
            SocketAddr::new(admin.ip(), admin.port().wrapping_add(1).max(1))
        ));
    }
    let ledger = dir.join(database);
    let compiled = match &raw.plugins.compiled_dir {
        Some(text) => dir.join(text),
        None => folder_of(&ledger).join("compiled"),
    };
    Ok(Fixed {
        listen,
        admin,
        compiled,
        ledger,
        durability,
        plugins: folder(&raw.plugins.dir, "plugins"),
        experiments: folder(&raw.experiments.dir, "experiments"),
        // More threads than cores, so that one strategy that burns its fuel does not hold up
        // the others.
        threads: bounded("threads", raw.server.threads, (2 * cores).max(4), 256)?,
        queue: bounded("queue", raw.server.queue, 1024, 1 << 20)?,
        max_concurrent: bounded("max_concurrent", raw.server.max_concurrent, 2048, 1 << 20)?,
        server: settings(&raw.server, &raw.ledger)?,
        tls: tls(raw.server.tls.as_ref(), dir)?,
    })
}

fn future_tolerance(text: Option<&str>) -> Result<Duration, String> {
    let key = "server.future_tolerance";
    match text.map_or(Ok(FUTURE_TOLERANCE), |text| duration(key, text))? {
        tolerance if tolerance <= MAX_FUTURE_TOLERANCE => Ok(tolerance),
        _ => Err(format!("{key} = \"{}\"; valid: 0s to 1h, like 5m", text.unwrap_or_default())),
    }
}

fn view_spec(view: &str, raw: RawView, future_tolerance: Duration) -> Result<ViewSpec, String> {
    let key = format!("features.{view}");
    name(&key, view)?;
    if view == CONTEXT_VIEW {
        return Err(format!("{key}: '{CONTEXT_VIEW}' is the request's own context; choose another name"));
    }
    name(&format!("{key}.entity"), &raw.entity)?;
    let ttl_ms = raw.ttl.as_deref().map(|t| duration_ms(t).map_err(|e| format!("{key}.ttl: {e}"))).transpose()?;
    let mut columns = NameMap::default();
    for (column, written) in raw.columns {
        name(&format!("{key}.columns"), &column)?;
        let value_type = ValueType::parse(&written)
            .ok_or_else(|| format!("{key}.columns.{column} = \"{written}\"; valid: {}", ValueType::WRITTEN))?;
        columns.insert(Name::from(column), value_type);
    }
    if columns.is_empty() {
        return Err(format!("{key}.columns: at least one column is needed"));
    }
    let analysis_only = raw.analysis_only;
    let future_tolerance_ms = future_tolerance.as_millis() as u64;
    Ok(ViewSpec { name: view.into(), entity: raw.entity.into(), ttl_ms, future_tolerance_ms, columns, analysis_only })
}

fn point_spec(
    point: &str,
    raw: RawPoint,
    layers: &IndexMap<String, RawLayer>,
    views: &HashMap<Name, Arc<ViewSpec>>,
) -> Result<PointSpec, String> {
    let key = format!("decision_points.{point}");
    name(&key, point)?;
    for entity in &raw.entities {
        name(&format!("{key}.entities"), entity)?;
    }
    for action in &raw.actions {
        name(&format!("{key}.actions"), action)?;
    }
    if raw.entities.is_empty() || raw.actions.is_empty() {
        return Err(format!("{key}: entities and actions need at least one name each"));
    }
    for (list, names) in [("entities", &raw.entities), ("actions", &raw.actions)] {
        if let Some(twice) = names.iter().enumerate().find_map(|(i, name)| names[..i].contains(name).then_some(name)) {
            return Err(format!("{key}.{list}: '{twice}' is there twice"));
        }
    }
    let entities: Vec<Name> = raw.entities.iter().map(|e| e.as_str().into()).collect();
    let actions: Vec<Name> = raw.actions.iter().map(|a| a.as_str().into()).collect();
    let flag = super::flag::flag(&key, &raw)?;
    let context = context_fields(&key, raw.context)?;
    if !raw.actions.contains(&raw.fallback.action) {
        return Err(format!("{key}.fallback.action = \"{}\"; valid: {}", raw.fallback.action, raw.actions.join(", ")));
    }
    let must_log = match raw.logging.as_deref() {
        None | Some("must_log") => true,
        Some("best_effort") => false,
        Some(other) => return Err(format!("{key}.logging = \"{other}\"; valid: must_log, best_effort")),
    };
    let deadline = raw.deadline.as_deref().map_or(Ok(DEADLINE), |t| duration(&format!("{key}.deadline"), t))?;
    if deadline < Duration::from_millis(2) || deadline > Duration::from_secs(60) {
        return Err(format!("{key}.deadline: valid: 2ms to 60s"));
    }
    let schema = PointSchema { context: &context, entities: &entities, views };
    let exclude = raw
        .exclude
        .map(|source| Predicate::compile(&source, &schema).map_err(|e| format!("{key}.exclude: {e}")))
        .transpose()?;
    Ok(PointSpec {
        strategy: Pin::parse(&raw.strategy).map_err(|e| format!("{key}.strategy: {e}"))?,
        parameters: raw.parameters,
        layer: layer(&key, point, raw.layer, layers, &entities)?,
        exclude,
        deadline,
        fallback: FallbackAction {
            action: raw.fallback.action.into(),
            parameters: raw.fallback.parameters.into_iter().map(|(k, v)| (k.into(), v)).collect(),
        },
        must_log,
        flag,
        entities,
        context,
        actions,
    })
}

/// The typed context that requests of a decision point carry.
fn context_fields(key: &str, raw: IndexMap<String, String>) -> Result<NameMap<ContextField>, String> {
    let mut context = NameMap::default();
    for (field, written) in raw {
        name(&format!("{key}.context"), &field)?;
        let (written, optional) = written.strip_suffix('?').map_or((written.as_str(), false), |w| (w, true));
        let value_type = ValueType::parse(written).ok_or_else(|| {
            format!(
                "{key}.context.{field} = \"{written}\"; valid: {}, each with '?' where it may be left out",
                ValueType::WRITTEN
            )
        })?;
        context.insert(Name::from(field), ContextField { value_type, optional });
    }
    Ok(context)
}

fn layer(
    key: &str,
    point: &str,
    chosen: Option<String>,
    layers: &IndexMap<String, RawLayer>,
    entities: &[Name],
) -> Result<Layer, String> {
    let listed = || entities.iter().map(|e| &**e).collect::<Vec<_>>().join(", ");
    // One layer a decision point, named after it; on its first entity where it is not declared.
    let Some(chosen) = chosen.or_else(|| layers.contains_key(point).then(|| point.to_owned())) else {
        return Ok(Layer { name: point.into(), unit: entities[0].clone(), salt: point.to_owned(), holdout: 0.0 });
    };
    let Some(raw) = layers.get(&chosen) else {
        let known: Vec<&str> = layers.keys().map(String::as_str).collect();
        return Err(format!("{key}.layer = \"{chosen}\" is not among [layers]: {}", known.join(", ")));
    };
    let Some(unit) = entities.iter().find(|e| ***e == *raw.unit) else {
        return Err(format!(
            "layers.{chosen}.unit = \"{}\" is not an entity of {key}; its entities: {}",
            raw.unit,
            listed()
        ));
    };
    Ok(Layer {
        salt: raw.salt.clone().unwrap_or_else(|| chosen.clone()),
        name: chosen.into(),
        unit: unit.clone(),
        holdout: raw.holdout,
    })
}
