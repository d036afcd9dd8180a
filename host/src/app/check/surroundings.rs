//! What a deployment needs of its machine: folders that can be made and written.

use std::path::Path;

use rustix::fs::{Access, access};

use super::{Finding, finding};
use crate::app::exposed::Exposed;
use crate::app::offline::Recorded;
use crate::config::Config;

pub(super) fn check(config: &Config, recorded: &Recorded, findings: &mut Vec<Finding>) {
    let data = config.fixed.data_dir();
    if let Some(error) = unwritable(&data) {
        findings.push(finding(&data, "data folder", Some(error)));
    }
    for exposed in Exposed::of(config) {
        let (path, warning) = exposed.warning();
        findings.push(Finding { warnings: vec![warning], ..finding(path, "permissions", None) });
    }
    if let Some(trouble) = &recorded.trouble {
        let warning = format!("{trouble}; experiments are checked as if none had begun");
        findings.push(Finding { warnings: vec![warning], ..finding(&config.fixed.ledger, "ledger", None) });
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
