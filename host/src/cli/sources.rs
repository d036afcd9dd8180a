//! The files that a build reads.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Times and lengths of the files that a build reads.
pub(super) fn sources(dir: &Path) -> BTreeMap<PathBuf, (Option<SystemTime>, u64)> {
    let files = ["", "src", "cases"].iter().filter_map(|folder| std::fs::read_dir(dir.join(folder)).ok()).flatten();
    let files = files.filter_map(Result::ok).map(|entry| entry.path());
    let is_source = |path: &PathBuf| {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        // Generated from plugin.toml, or a lock.
        path.is_file() && !name.starts_with('.') && !name.starts_with("plugin.") || name == "plugin.toml"
    };
    let stamp = |path: PathBuf| {
        let meta = std::fs::metadata(&path).ok()?;
        Some((path, (meta.modified().ok(), meta.len())))
    };
    files.filter(is_source).filter(|path| !path.ends_with("Cargo.lock")).filter_map(stamp).collect()
}

/// Says whether a file of a project is beside the artifact: tests, and what they and people need.
fn is_beside(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    let is_test = name.starts_with("test_") || name.contains("_test.") || name.contains(".test.");
    let others = ["requirements.txt", "pyproject.toml", "conftest.py", "jsconfig.json"];
    is_test || name.ends_with(".md") || others.contains(&&*name)
}

/// The source that was changed last, where that was after `built` was written.
pub(super) fn newer_than(built: &Path, dir: &Path) -> Option<PathBuf> {
    let written = std::fs::metadata(built).ok()?.modified().ok()?;
    let sources = sources(dir).into_iter().filter(|(path, _)| !is_beside(path));
    let (newest, (changed, _)) = sources.max_by_key(|(_, (changed, _))| *changed)?;
    (changed? > written).then_some(newest)
}
