//! What a deployment needs of its machine: folders that can be made and written.

use std::path::Path;

use rustix::fs::{Access, access};
use serin_core::most_similar;

use super::{Finding, finding};
use crate::app::exposed::Exposed;
use crate::app::host::HostError;
use crate::app::offline::Recorded;
use crate::backup;
use crate::config::Config;
use crate::features::EmbeddedStore;
use crate::files;
use crate::ledger::SCHEMA;

pub(super) fn check(config: &Config, recorded: &Recorded, findings: &mut Vec<Finding>) {
    let data = config.fixed.data_dir();
    if let Some(error) = unwritable(&data) {
        findings.push(finding(&data, "data folder", Some(error)));
    }
    misnamed(&config.fixed.experiments, "toml", &["yaml", "yml", "json"], findings);
    misnamed(&config.fixed.plugins, "wasm", &["wat"], findings);
    for exposed in Exposed::of(config) {
        let (path, warning) = exposed.warning();
        findings.push(Finding { warnings: vec![warning], ..finding(path, "permissions", None) });
    }
    databases(config, recorded, findings);
}

/// The files that a start opens in the data folder.
fn databases(config: &Config, recorded: &Recorded, findings: &mut Vec<Finding>) {
    let (data, ledger) = (config.fixed.data_dir(), &config.fixed.ledger);
    let valid = "valid: a file that serin has written, as 'serin restore' puts it there from a backup, or none";
    if let Some(trouble) = &recorded.trouble {
        findings.push(finding(ledger, "ledger", Some(format!("{trouble}; {valid}"))));
    }
    if let Some(version) = recorded.older {
        let warning = format!(
            "is of schema {version}, which serve brings to {SCHEMA}; until then experiments are checked as if none had \
             begun"
        );
        findings.push(Finding { warnings: vec![warning], ..finding(ledger, "ledger", None) });
    }
    let features = data.join("features.db");
    if features.symlink_metadata().is_ok()
        && let Err(error) = EmbeddedStore::check(&features)
    {
        findings.push(finding(&features, "feature store", Some(format!("{error}; {valid}"))));
    }
    let archive = data.join("archive");
    if archive.symlink_metadata().is_ok() && !archive.is_dir() {
        let error = "is no folder; valid: the folder that a host has made there, or none";
        findings.push(finding(&archive, "archive", Some(error.to_owned())));
    }
    if backup::is_unfinished(&data) {
        findings.push(finding(
            &data,
            "data folder",
            Some(HostError::RestoreUnfinished(files::shown(&data)).to_string()),
        ));
    }
}

/// Files that are ignored for their ending or their folder, and look as if they should not be.
fn misnamed(dir: &Path, ending: &str, others: &[&str], findings: &mut Vec<Finding>) {
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    let mut paths: Vec<_> = entries.filter_map(Result::ok).map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if path.is_dir() && !name.starts_with('.') && holds(&path, ending) {
            let warning = format!("is ignored, and so is what is in it: valid are .{ending} files beside it");
            findings.push(Finding { warnings: vec![warning], ..finding(&path, "ignored folder", None) });
        }
        let Some((_, is)) = name.rsplit_once('.').filter(|_| !name.starts_with('.') && path.is_file()) else {
            continue;
        };
        let is_meant = most_similar(is, [ending]).is_some() || others.contains(&&*is.to_ascii_lowercase());
        if is != ending && is_meant {
            let warning = format!("is ignored: its name does not end in .{ending}");
            findings.push(Finding { warnings: vec![warning], ..finding(&path, "ignored file", None) });
        }
    }
}

/// Says whether a file of this ending is in a folder.
fn holds(dir: &Path, ending: &str) -> bool {
    let entries = std::fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok);
    entries.map(|entry| entry.path()).any(|path| path.extension().is_some_and(|is| is == ending) && path.is_file())
}

/// Why a folder cannot be made, or be written to where it is there.
fn unwritable(folder: &Path) -> Option<String> {
    let there = folder.ancestors().map(|dir| if dir.as_os_str().is_empty() { Path::new(".") } else { dir });
    let there = there.into_iter().find(|dir| dir.symlink_metadata().is_ok())?;
    let shown = files::shown(there);
    if !there.is_dir() {
        return Some(format!(
            "cannot be made: {shown} is no folder; valid: another ledger.url, or a folder in its place"
        ));
    }
    match access(there, Access::WRITE_OK) {
        Ok(()) => None,
        Err(error) => Some(format!(
            "cannot be written: {shown}: {}; valid: a folder that this user may write to",
            std::io::Error::from(error)
        )),
    }
}
