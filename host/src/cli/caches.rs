//! What commands keep for the next one: compiled code, and the compiled SDK.

use std::path::PathBuf;

use crate::sandbox::Engines;

/// Where this user's programs keep what can be made again.
pub(super) fn folder() -> Option<PathBuf> {
    let folder = |key| std::env::var_os(key).map(PathBuf::from).filter(|path| path.is_absolute());
    let caches = folder("XDG_CACHE_HOME").or_else(|| Some(folder("HOME")?.join(".cache")))?;
    Some(caches.join("serin"))
}

/// Engines for one command: an interpreter that was compiled for an earlier one is not compiled again.
pub(super) fn engines() -> Result<Engines, String> {
    let engines = Engines::new(4).map_err(|e| format!("{e:#}"))?;
    Ok(match folder() {
        Some(dir) => engines.cached(&dir.join("compiled")),
        None => engines,
    })
}
