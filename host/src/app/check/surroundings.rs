//! What a deployment needs of its machine: folders that can be made and written.

use std::path::Path;

use rustix::fs::{Access, access};
use serin_core::most_similar;

use super::{Finding, finding};
use crate::app::exposed::Exposed;
use crate::app::offline::Recorded;
use crate::config::Config;

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
    if let Some(trouble) = &recorded.trouble {
        let warning = format!("{trouble}; experiments are checked as if none had begun");
        findings.push(Finding { warnings: vec![warning], ..finding(&config.fixed.ledger, "ledger", None) });
    }
}

/// Files that are ignored for their ending, and look as if they should not be.
fn misnamed(dir: &Path, ending: &str, others: &[&str], findings: &mut Vec<Finding>) {
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    let mut paths: Vec<_> = entries.filter_map(Result::ok).map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
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

/// Why a folder cannot be made, or be written to where it is there.
fn unwritable(folder: &Path) -> Option<String> {
    let there = folder.ancestors().map(|dir| if dir.as_os_str().is_empty() { Path::new(".") } else { dir });
    let there = there.into_iter().find(|dir| dir.symlink_metadata().is_ok())?;
    let shown = crate::files::shown(there);
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
