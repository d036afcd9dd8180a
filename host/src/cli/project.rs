//! `serin plugin new`: a strategy's project, from templates that this program carries.

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use serin_core::{NAME_RULE, is_name};

use super::build_scripted::ScriptedLanguage;
use super::general::Domain;
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
const COMMON: [(&str, &str); 4] = [
    ("plugin.toml", include_str!("../../templates/common/plugin.toml")),
    ("cases/a-little-late.json", include_str!("../../templates/common/cases/a-little-late.json")),
    ("cases/contacted-often.json", include_str!("../../templates/common/cases/contacted-often.json")),
    ("cases/very-late.json", include_str!("../../templates/common/cases/very-late.json")),
];

/// The same for any domain.
const GENERAL: [(&str, &str); 3] = [
    ("plugin.toml", include_str!("../../templates/general/plugin.toml")),
    ("cases/below.json", include_str!("../../templates/general/cases/below.json")),
    ("cases/reached.json", include_str!("../../templates/general/cases/reached.json")),
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

    /// The files of [`Language::files`] that are others for any domain.
    fn general(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Rust => &[("src/lib.rs", include_str!("../../templates/general/lib.rs"))],
            Self::Python => &[
                ("strategy.py", include_str!("../../templates/general/strategy.py")),
                ("test_strategy.py", include_str!("../../templates/general/test_strategy.py")),
            ],
            Self::Javascript => &[
                ("strategy.js", include_str!("../../templates/general/strategy.js")),
                ("strategy.test.js", include_str!("../../templates/general/strategy.test.js")),
            ],
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

/// Makes a project: the lender's, or for a domain.
pub(super) fn create(dir: &Path, language: Language, sdk: Option<&Path>, domain: Option<&Domain>) -> Outcome {
    write(dir, language, sdk, domain)?;
    println!("{}: a strategy in {}; next: serin plugin test {}", dir.display(), language.sdk(), dir.display());
    Ok(true)
}

/// Writes a project's files.
pub(super) fn write(
    dir: &Path,
    language: Language,
    sdk: Option<&Path>,
    domain: Option<&Domain>,
) -> Result<(), Box<dyn std::error::Error>> {
    // The folder may be somewhere else; its name is the strategy's.
    let name = dir.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    if !is_name(&name) {
        return Err(format!("'{name}' is not a name; valid: {NAME_RULE}").into());
    }
    if dir.exists() {
        return Err(format!("{}: is there already; choose another name", dir.display()).into());
    }
    let sdk = find_sdk(language, sdk)?;
    let general = if domain.is_some() { language.general() } else { &[] };
    let common: &[_] = if domain.is_some() { &GENERAL } else { &COMMON };
    for (file, template) in common.iter().chain(language.files()) {
        let template = general.iter().find(|(other, _)| other == file).map_or(*template, |(_, template)| *template);
        let path = dir.join(file);
        let failed = |e: std::io::Error| format!("{}: {e}", path.display());
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(failed)?;
        }
        let text = domain.map_or_else(|| template.to_owned(), |domain| domain.fill(template));
        let text = text.replace("NAME", &name).replace("SDK", &sdk.display().to_string());
        std::fs::write(&path, text).map_err(failed)?;
    }
    // The editor knows the names from the beginning; every build writes them again.
    if let Some(scripted) = ScriptedLanguage::of(dir)
        && let Err(error) = scripted.generate(dir)
    {
        eprintln!("{}: the names of plugin.toml are not generated yet: {error}", dir.display());
    }
    Ok(())
}

/// The SDK's folder: as it is given, or as it is found.
fn find_sdk(language: Language, given: Option<&Path>) -> Result<PathBuf, Box<dyn std::error::Error>> {
    let name = language.sdk();
    if let Some(sdks) = given {
        return sdk::in_folder(name, sdks).ok_or_else(|| format!("{}: has no '{name}' in it", sdks.display()).into());
    }
    sdk::find(name, Path::new(".")).ok_or_else(|| format!("{}, or give it with --sdk DIR", sdk::missing(name)).into())
}
