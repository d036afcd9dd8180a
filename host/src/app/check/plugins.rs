//! The artifacts of a deployment, loaded as `serve` loads them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serin_core::experiment::Pin;

use super::{Finding, finding};
use crate::clock::Stopwatch;
use crate::config::Config;
use crate::files::shown_name;
use crate::registry::{
    Archive, Plugin, Scan, Unserved, VersionsByPin, files_in, judge, late, load_within_patience, peek, read_file,
    refused_draft,
};
use crate::sandbox::Engines;

/// Loads what the folder has, and what it lacks of `wanted` from the archive.
pub(super) fn check(
    config: &Config,
    scan: &Scan<'_>,
    archive: Option<&Archive>,
    findings: &mut Vec<Finding>,
) -> (VersionsByPin, Unserved) {
    let mut versions = VersionsByPin::new();
    let dir = &config.fixed.plugins;
    let files = listed(dir, findings);
    let engines = match Engines::new(4) {
        Ok(engines) => Arc::new(engines.reading_cache(&config.fixed.compiled)),
        Err(error) => {
            findings.push(finding(dir, "sandbox", Some(format!("{error:#}"))));
            return (versions, Unserved::default());
        }
    };
    let mut seen: BTreeMap<Pin, String> = BTreeMap::new();
    let mut unserved = Unserved::default();
    for file in files {
        match load(&engines, scan, archive, &file) {
            Ok((plugin, warnings)) => {
                let pin = Pin { name: plugin.id.name.clone(), version: plugin.manifest().version.clone() };
                let digest = plugin.id.digest.to_string();
                let taken = seen.get(&pin).filter(|known| **known != digest);
                let error = taken
                    .map(|known| format!("{pin} is {known} in another file; a published version does not change"))
                    .or_else(|| archive?.admits(&pin, &digest).err());
                let mut found = finding(&file, format!("plugin {pin}"), error);
                found.warnings.extend(warnings);
                if scan.wanted.contains(&pin) {
                    found.warnings.extend(beyond_limits(config, &plugin));
                }
                let is_refused = found.error.is_some();
                findings.push(found);
                seen.entry(pin.clone()).or_insert(digest);
                if !is_refused {
                    versions.entry(pin).or_insert_with(|| Arc::new(plugin));
                }
            }
            Err((pin, error)) => {
                if let Some(pin) = pin {
                    unserved.refuse(pin, Some(&shown_name(&file)), &error);
                }
                findings.push(finding(&file, "plugin", Some(error)));
            }
        }
    }
    for pin in scan.wanted {
        if !versions.contains_key(pin)
            && let Some(plugin) = last_good(&engines, scan, archive, pin)
        {
            findings.push(from_archive(dir, pin, seen.contains_key(pin)));
            versions.insert(pin.clone(), Arc::new(plugin));
        }
    }
    (versions, unserved)
}

/// The artifacts of the plugins folder; none where it cannot be read.
fn listed(dir: &Path, findings: &mut Vec<Finding>) -> Vec<PathBuf> {
    match files_in(dir, "wasm") {
        Ok(files) => files,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let note = "is not there, and serve makes it".to_owned();
            findings.push(Finding { notes: vec![note], ..finding(dir, "plugins folder", None) });
            Vec::new()
        }
        Err(error) => {
            findings.push(finding(dir, "plugins folder", Some(error.to_string())));
            Vec::new()
        }
    }
}

/// What was published of a version, where it may be loaded.
fn last_good(engines: &Arc<Engines>, scan: &Scan<'_>, archive: Option<&Archive>, pin: &Pin) -> Option<Plugin> {
    let digest = archive?.published(pin)?;
    let bytes = archive?.get(&digest)?;
    judge(scan.trust, archive, (Some(pin), &digest, &bytes), None, scan.in_force.contains(pin)).ok()?;
    load_within_patience(engines, bytes).ok()
}

/// Loads a file as `serve` does, its signature first; with warnings.
fn load(
    engines: &Arc<Engines>,
    scan: &Scan<'_>,
    archive: Option<&Archive>,
    file: &Path,
) -> Result<(Plugin, Vec<String>), (Option<Pin>, String)> {
    let bytes = read_file(file).map_err(|error| (None, error.to_string()))?;
    let digest = crate::digest::digest(&bytes);
    let pin = serin_core::caught(|| Ok(peek(&bytes))).ok().flatten();
    let is_in_force = pin.as_ref().is_some_and(|pin| scan.in_force.contains(pin));
    let judged = judge(scan.trust, archive, (pin.as_ref(), &digest, &bytes), Some(file), is_in_force);
    let judged = judged.map_err(|error| (pin.clone(), error.to_string()))?;
    let mut watch = Stopwatch::new();
    if let Some(why) = refused_draft(&bytes) {
        return Err((pin, why));
    }
    let plugin = load_within_patience(engines, bytes).map_err(|error| (pin, error.to_string()))?;
    let late = late(Duration::from_micros(watch.lap_us()));
    let warnings = judged.why.into_iter().chain(late).collect();
    Ok((plugin, warnings))
}

fn from_archive(dir: &Path, pin: &Pin, is_refused: bool) -> Finding {
    let warning = match is_refused {
        true => format!("the file of {pin} is refused; serve goes on with what was published, from the archive"),
        false => format!("the folder lacks {pin}; serve takes it from the archive: put its file back"),
    };
    Finding { warnings: vec![warning], ..finding(dir, format!("plugin {pin}"), None) }
}

/// The cases that end within what the artifact asks for, and not within what this deployment grants:
/// decisions like them would fail.
fn beyond_limits(config: &Config, plugin: &Plugin) -> Option<String> {
    let manifest = plugin.manifest();
    let granted = manifest.limits.within(config.limits);
    let results = plugin.contents.cases.iter().map(|case| plugin.run_case(case));
    let most = results.max_by_key(|result| result.fuel).filter(|result| result.fuel > granted.fuel)?;
    Some(format!(
        "case '{}' uses {} units of fuel, and this deployment grants {} ({}): decisions like it fail; valid: limits.fuel = {} or more",
        serin_core::printable(&most.name),
        most.fuel,
        granted.fuel,
        if config.limits.fuel == granted.fuel { "limits.fuel in serin.toml" } else { "limits.fuel in its manifest" },
        most.fuel.saturating_mul(2)
    ))
}
