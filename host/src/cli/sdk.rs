//! Where the SDKs are: named by `SERIN_SDK`, or the `guest-sdk` above a folder or this program.

use std::path::{Path, PathBuf};

/// The variable that names the folder of all SDKs.
const VARIABLE: &str = "SERIN_SDK";

/// A language's SDK, looked for from `near`, from this folder, and from this program upwards.
pub(super) fn find(language: &str, near: &Path) -> Option<PathBuf> {
    if let Some(sdks) = std::env::var_os(VARIABLE).filter(|value| !value.is_empty()) {
        return in_folder(language, Path::new(&sdks));
    }
    let starts = [std::path::absolute(near).ok(), std::path::absolute(".").ok(), std::env::current_exe().ok()];
    let mut above = starts.iter().flatten().flat_map(|start| start.ancestors());
    above.find_map(|folder| in_folder(language, &folder.join("guest-sdk")))
}

/// A language's SDK in the folder of all SDKs.
pub(super) fn in_folder(language: &str, sdks: &Path) -> Option<PathBuf> {
    sdks.join(language).canonicalize().ok().filter(|sdk| sdk.is_dir())
}

/// What to say where there is none.
pub(super) fn missing(language: &str) -> String {
    format!(
        "no folder 'guest-sdk/{language}' here, above the project or above this program; name the folder of all SDKs in {VARIABLE}"
    )
}
