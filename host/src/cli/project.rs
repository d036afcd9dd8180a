//! `serin plugin new`: a strategy's project, from templates that this program carries.

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use serin_core::{NAME_RULE, is_name};

use super::build_scripted::ScriptedLanguage;
use super::{Outcome, sdk};

/// A language that strategies are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Language {
    /// Rust
    Rust,
    /// Python
    Python,
    /// JavaScript, or TypeScript
    #[value(alias = "typescript")]
    Javascript,
}

/// What all languages have: the strategy is the same.
const COMMON: [(&str, &str); 3] = [
    ("plugin.toml", include_str!("../../templates/common/plugin.toml")),
    ("cases/a-little-late.json", include_str!("../../templates/common/cases/a-little-late.json")),
    ("cases/contacted-often.json", include_str!("../../templates/common/cases/contacted-often.json")),
];

const RUST: [(&str, &str); 4] = [
    ("Cargo.toml", include_str!("../../templates/rust/Cargo.toml")),
    ("src/lib.rs", include_str!("../../templates/rust/src/lib.rs")),
    ("README.md", include_str!("../../templates/rust/README.md")),
    (".gitignore", include_str!("../../templates/rust/gitignore")),
];

const PYTHON: [(&str, &str); 6] = [
    ("strategy.py", include_str!("../../templates/python/strategy.py")),
    ("test_strategy.py", include_str!("../../templates/python/test_strategy.py")),
    ("requirements.txt", include_str!("../../templates/python/requirements.txt")),
    ("pyproject.toml", include_str!("../../templates/python/pyproject.toml")),
    ("README.md", include_str!("../../templates/python/README.md")),
    (".gitignore", include_str!("../../templates/python/gitignore")),
];

const JAVASCRIPT: [(&str, &str); 6] = [
    ("strategy.js", include_str!("../../templates/javascript/strategy.js")),
    ("strategy.test.js", include_str!("../../templates/javascript/strategy.test.js")),
    ("package.json", include_str!("../../templates/javascript/package.json")),
    ("jsconfig.json", include_str!("../../templates/javascript/jsconfig.json")),
    ("README.md", include_str!("../../templates/javascript/README.md")),
    (".gitignore", include_str!("../../templates/javascript/gitignore")),
];

impl Language {
    /// The folder of its SDK, below that of all SDKs.
    fn sdk(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::Python => "python",
            Self::Javascript => "javascript",
        }
    }

    fn files(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Rust => &RUST,
            Self::Python => &PYTHON,
            Self::Javascript => &JAVASCRIPT,
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
    for (file, template) in COMMON.iter().chain(language.files()) {
        let path = dir.join(file);
        let failed = |e: std::io::Error| format!("{}: {e}", path.display());
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(failed)?;
        }
        let text = template.replace("NAME", &name).replace("SDK", &sdk.display().to_string());
        std::fs::write(&path, text).map_err(failed)?;
    }
    // The editor knows the names from the beginning; every build writes them again.
    if let Some(scripted) = ScriptedLanguage::of(dir)
        && let Err(error) = scripted.generate(dir)
    {
        eprintln!("{}: the names of plugin.toml are not generated yet: {error}", dir.display());
    }
    println!("{}: a strategy in {}; next: serin plugin test {}", dir.display(), language.sdk(), dir.display());
    Ok(true)
}

/// The SDK's folder: as it is given, or as it is found.
fn find_sdk(language: Language, given: Option<&Path>) -> Result<PathBuf, Box<dyn std::error::Error>> {
    let name = language.sdk();
    if let Some(sdks) = given {
        return sdk::in_folder(name, sdks).ok_or_else(|| format!("{}: has no '{name}' in it", sdks.display()).into());
    }
    sdk::find(name, Path::new(".")).ok_or_else(|| format!("{}, or give it with --sdk DIR", sdk::missing(name)).into())
}
