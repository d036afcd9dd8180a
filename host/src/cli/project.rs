//! `serin plugin new`: a strategy's project, from templates that this program carries.

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use serin_core::{NAME_RULE, is_name};

use super::Outcome;

/// A language that strategies are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Language {
    /// Rust
    Rust,
}

impl Language {
    /// The folder of its SDK, below that of all SDKs.
    fn sdk(self) -> &'static str {
        match self {
            Self::Rust => "rust",
        }
    }

    fn files(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Rust => &[
                ("plugin.toml", include_str!("../../templates/rust/plugin.toml")),
                ("Cargo.toml", include_str!("../../templates/rust/Cargo.toml")),
                ("src/lib.rs", include_str!("../../templates/rust/src/lib.rs")),
                ("cases/a-little-late.json", include_str!("../../templates/rust/cases/a-little-late.json")),
                ("cases/contacted-often.json", include_str!("../../templates/rust/cases/contacted-often.json")),
                ("README.md", include_str!("../../templates/rust/README.md")),
                (".gitignore", include_str!("../../templates/rust/gitignore")),
            ],
        }
    }
}

pub(super) fn create(name: &str, language: Language, sdk: Option<&Path>) -> Outcome {
    // The folder may be somewhere else; its name is the strategy's.
    let dir = Path::new(name);
    let name = dir.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    if !is_name(&name) {
        return Err(format!("'{name}' is not a name; valid: {NAME_RULE}").into());
    }
    if dir.exists() {
        return Err(format!("{}: is there already; choose another name", dir.display()).into());
    }
    let sdk = find_sdk(language, sdk)?;
    for (file, template) in language.files() {
        let path = dir.join(file);
        let failed = |e: std::io::Error| format!("{}: {e}", path.display());
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(failed)?;
        }
        let text = template.replace("NAME", &name).replace("SDK", &sdk.display().to_string());
        std::fs::write(&path, text).map_err(failed)?;
    }
    println!("{}: a strategy in {}; next: serin plugin test {}", dir.display(), language.sdk(), dir.display());
    Ok(true)
}

/// The SDK's folder: as it is given, or `guest-sdk` above this folder or above this program.
fn find_sdk(language: Language, given: Option<&Path>) -> Result<PathBuf, Box<dyn std::error::Error>> {
    let found = |sdks: &Path| sdks.join(language.sdk()).canonicalize().ok();
    if let Some(sdks) = given {
        return found(sdks).ok_or_else(|| format!("{}: has no '{}' in it", sdks.display(), language.sdk()).into());
    }
    sdks()
        .and_then(|sdks| found(&sdks))
        .ok_or_else(|| "no folder 'guest-sdk' here or above; give it with --sdk DIR, or where the SDKs are".into())
}

/// The folder of all SDKs, above this folder or above this program.
pub(super) fn sdks() -> Option<PathBuf> {
    let starts = [std::path::absolute(".").ok(), std::env::current_exe().ok()];
    let mut above = starts.iter().flatten().flat_map(|start| start.ancestors());
    above.find_map(|folder| Some(folder.join("guest-sdk")).filter(|sdks| sdks.is_dir()))
}
