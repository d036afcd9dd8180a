//! `serin plugin build`, for Rust: source and `plugin.toml` in, one artifact out.
//!
//! The same source gives the same digest wherever it lies: the compiler's settings are given
//! here and not by the workspace's profile, and paths are remapped.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serin_core::manifest::{CASES_SECTION, DRAFT_SECTION, HASH_SECTION, MANIFEST_SECTION, Manifest};
use wasm_encoder::{ComponentSection as _, CustomSection};

use super::build_error::BuildError;
use super::build_scripted::ScriptedLanguage;
use super::caches;
use super::case_files;
use super::draft::Drafts;
use super::progress::waiting;
use super::toolchain::Toolchain;
use crate::files;
use crate::sandbox::Engines;

/// How to build.
#[derive(Debug, Clone, Copy, Default)]
pub struct BuildOptions {
    /// Shows the compiler's warnings and errors only, and not its progress.
    pub quiet: bool,
    /// Has a strategy in Rust log its panics, and the compiler say nothing: not for what is served.
    pub log_panics: bool,
}

/// What was built.
#[derive(Debug, Clone)]
pub struct BuiltArtifact {
    /// `DIR/dist/NAME-VERSION.wasm`; of a draft, below `DIR/dist/.draft`.
    pub path: PathBuf,
    /// The artifact's digest.
    pub digest: String,
    /// The artifact's size in bytes.
    pub size_bytes: u64,
}

/// Builds the plugin in `dir`: a Rust crate, or a `strategy.py`, `.js` or `.ts`. What the compiler says goes to standard error.
///
/// # Errors
/// What stands in the way, and where.
pub fn build(dir: &Path, options: BuildOptions) -> Result<BuiltArtifact, BuildError> {
    make(dir, options)?.package()
}

/// What an artifact is made of, but for its cases.
pub(super) struct Parts {
    dir: PathBuf,
    manifest: Manifest,
    manifest_text: String,
    component: Vec<u8>,
    is_draft: bool,
}

impl Parts {
    /// Writes the artifact with the cases as they are now.
    ///
    /// # Errors
    /// What can't be read or written.
    pub(super) fn package(&self) -> Result<BuiltArtifact, BuildError> {
        let cases = case_files::read(&self.dir, &self.manifest)?;
        // Each case's text is kept as it is.
        let texts: Vec<&str> = cases.iter().map(|file| file.text.trim()).collect();
        let cases = format!("[{}]", texts.join(","));
        let mut artifact = embed(&self.manifest_text, &cases, self.component.clone());
        if self.is_draft {
            CustomSection { name: DRAFT_SECTION.into(), data: (&[][..]).into() }.append_to_component(&mut artifact);
        }
        // Nobody takes a draft for the artifact that is there to be deployed.
        let folder = self.dir.join(if self.is_draft { "dist/.draft" } else { "dist" });
        write(&folder, &format!("{}-{}.wasm", self.manifest.name, self.manifest.version), &artifact)
    }
}

/// Compiles the plugin in `dir`.
///
/// # Errors
/// What stands in the way, and where.
pub(super) fn make(dir: &Path, options: BuildOptions) -> Result<Parts, BuildError> {
    make_by(dir, options, |_, _| Ok(None))
}

/// The same while somebody waits for it: a draft, where the language has some.
///
/// # Errors
/// As [`make`].
pub(super) fn draft(
    dir: &Path,
    options: BuildOptions,
    engines: &Engines,
    drafts: &mut Drafts,
) -> Result<Parts, BuildError> {
    make_by(dir, options, |dir, manifest| drafts.component(engines, dir, manifest))
}

/// The same by `quicker`, where it gives a component.
fn make_by(
    dir: &Path,
    options: BuildOptions,
    quicker: impl FnOnce(&Path, &Manifest) -> Result<Option<Vec<u8>>, BuildError>,
) -> Result<Parts, BuildError> {
    let dir = dir.canonicalize().map_err(BuildError::file(dir))?;
    let path = dir.join("plugin.toml");
    let manifest_text = files::read_text(&path, files::MAX_TEXT_BYTES).map_err(BuildError::file(&path))?;
    let manifest = Manifest::parse(&manifest_text).map_err(|source| BuildError::Manifest { path, source })?;
    speaks(&dir, &manifest)?;
    // A mistake in a case is told before a minute is spent on compiling.
    case_files::read(&dir, &manifest)?;
    let _waiting = waiting(&format!("building {}@{}", manifest.name, manifest.version), options.quiet);
    let (component, is_draft) = match (quicker(&dir, &manifest)?, ScriptedLanguage::of(&dir)) {
        (Some(component), _) => (of_manifest(component, &manifest), true),
        (None, Some(language)) => (language.component(&dir)?, false),
        (None, None) => (compile(&dir, options, &manifest)?, false),
    };
    Ok(Parts { dir, manifest, manifest_text, component, is_draft })
}

/// The component with the hash of the manifest that it was made for.
fn of_manifest(mut component: Vec<u8>, manifest: &Manifest) -> Vec<u8> {
    let section = CustomSection { name: HASH_SECTION.into(), data: manifest.hash[..].into() };
    section.append_to_component(&mut component);
    component
}

/// Checks that each reason has words. Artifacts that were built before are served without them.
fn speaks(dir: &Path, manifest: &Manifest) -> Result<(), BuildError> {
    match manifest.reasons.iter().find(|reason| reason.text.trim().is_empty()) {
        Some(reason) => Err(BuildError::SilentReason { path: dir.join("plugin.toml"), code: reason.code.to_string() }),
        None => Ok(()),
    }
}

/// The artifact of the Rust crate in `dir` as it is built to tell what its panics say; none where it
/// can't be had. It is never written to a file.
pub(super) fn with_panics(dir: &Path) -> Option<Vec<u8>> {
    if ScriptedLanguage::of(dir).is_some() {
        return None;
    }
    let parts = make(dir, BuildOptions { quiet: true, log_panics: true }).ok()?;
    Some(embed(&parts.manifest_text, "[]", parts.component))
}

/// The artifact's bytes.
fn embed(manifest_text: &str, cases: &str, mut component: Vec<u8>) -> Vec<u8> {
    for (name, data) in [(MANIFEST_SECTION, manifest_text), (CASES_SECTION, cases)] {
        let section = CustomSection { name: name.into(), data: data.as_bytes().into() };
        section.append_to_component(&mut component);
    }
    component
}

/// Writes an artifact, whole or not at all.
fn write(folder: &Path, name: &str, artifact: &[u8]) -> Result<BuiltArtifact, BuildError> {
    std::fs::create_dir_all(folder).map_err(BuildError::file(folder))?;
    let path = folder.join(name);
    // A host may be watching the folder: what it finds under the final name is complete.
    let partial = folder.join(format!(".{name}.{}.partial", std::process::id()));
    std::fs::write(&partial, artifact).map_err(BuildError::file(&partial))?;
    std::fs::rename(&partial, &path).map_err(BuildError::file(&path))?;
    Ok(BuiltArtifact { path, digest: crate::digest::digest(artifact), size_bytes: artifact.len() as u64 })
}

/// The component of a crate.
fn compile(dir: &Path, options: BuildOptions, manifest: &Manifest) -> Result<Vec<u8>, BuildError> {
    let toolchain = Toolchain::find(dir)?;
    let (root, target) = folders(dir)?;
    // Cargo names the module by the crate alone: until it is read, no crate of the same name may be built.
    let lock = target.join("strategies.lock");
    let locked = std::fs::create_dir_all(&target).and_then(|()| std::fs::File::create(&lock));
    let lock = locked.and_then(|file| file.lock().map(|()| file)).map_err(BuildError::file(&lock))?;
    let component = componentize(&cargo(dir, options, &toolchain, &root, &target)?, manifest);
    drop(lock);
    component
}

/// The core module's path.
fn cargo(
    dir: &Path,
    options: BuildOptions,
    toolchain: &Toolchain,
    root: &Path,
    target: &Path,
) -> Result<PathBuf, BuildError> {
    let manifest_path = dir.join("Cargo.toml");
    let mut cargo = toolchain.cargo_build();
    cargo
        .current_dir(dir)
        .args(["--lib", "--message-format=json-render-diagnostics", "--manifest-path"])
        .arg(&manifest_path)
        // Its own folder: other settings than the workspace's, and a lock that a surrounding cargo doesn't hold.
        .arg("--target-dir")
        .arg(target.join("strategies"))
        .stdin(Stdio::null())
        .stderr(if options.log_panics { Stdio::null() } else { Stdio::inherit() })
        .env("CARGO_ENCODED_RUSTFLAGS", remaps(root, target, &toolchain.sysroot))
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .env("CARGO_INCREMENTAL", "0")
        // "debuginfo" keeps the functions' names: they are how a trap's backtrace reaches the author.
        .env("CARGO_PROFILE_RELEASE_STRIP", "debuginfo")
        .env("CARGO_PROFILE_RELEASE_DEBUG", "false")
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "3")
        .env("CARGO_PROFILE_RELEASE_LTO", "fat")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1")
        .env("CARGO_PROFILE_RELEASE_PANIC", "abort")
        .env("CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS", "false")
        // As in the author's unit tests: a number that overflows is a trap, never a wrong decision.
        .env("CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS", "true")
        .env("CARGO_PROFILE_RELEASE_INCREMENTAL", "false");
    if options.quiet {
        cargo.arg("--quiet");
    }
    // Read by #[strategy].
    match options.log_panics {
        true => cargo.env("SERIN_LOG_PANICS", "1"),
        false => cargo.env_remove("SERIN_LOG_PANICS"),
    };
    let output = cargo.output().map_err(BuildError::file(&manifest_path))?;
    if !output.status.success() {
        return Err(BuildError::Cargo { dir: dir.to_owned(), status: output.status });
    }
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["reason"] == "compiler-artifact")
        .filter(|message| message["manifest_path"].as_str().is_some_and(|path| Path::new(path) == manifest_path))
        .filter_map(|message| {
            let files = message["filenames"].as_array()?;
            files.iter().filter_map(|file| file.as_str()).find(|file| file.ends_with(".wasm")).map(PathBuf::from)
        })
        .next_back()
        .ok_or_else(|| BuildError::NoModule { dir: dir.to_owned() })
}

/// The workspace's root and cargo's target folder.
fn folders(dir: &Path) -> Result<(PathBuf, PathBuf), BuildError> {
    let bad = |why: String| BuildError::Metadata { dir: dir.to_owned(), why };
    let output = Command::new("cargo")
        .current_dir(dir)
        .args(["metadata", "--no-deps", "--format-version=1"])
        .output()
        .map_err(|e| bad(e.to_string()))?;
    if !output.status.success() {
        return Err(bad(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).map_err(|e| bad(e.to_string()))?;
    let folder =
        |key: &str| metadata[key].as_str().map(PathBuf::from).ok_or_else(|| bad(format!("no {key} in cargo's answer")));
    let (root, target) = (folder("workspace_root")?, folder("target_directory")?);
    // A project by itself shares what is compiled with all others: the SDK, and where the target
    // had to be made from source, the standard library, take a minute that nobody waits for twice.
    let is_alone = root == dir && std::env::var_os("CARGO_TARGET_DIR").is_none();
    Ok((root, caches::folder().filter(|_| is_alone).unwrap_or(target)))
}

/// Flags that take this machine's folders out of what is compiled. A later flag wins, and
/// the target folder often lies in the workspace.
fn remaps(root: &Path, target: &Path, sysroot: &Path) -> String {
    let cargo_home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let cargo_home = cargo_home.or_else(|| std::env::home_dir().map(|home| home.join(".cargo"))).unwrap_or_default();
    [(root, "/workspace"), (target, "/target"), (cargo_home.as_path(), "/cargo"), (sysroot, "/rust")]
        .into_iter()
        .filter(|(from, _)| !from.as_os_str().is_empty())
        .map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display()))
        .collect::<Vec<_>>()
        // What separates flags in CARGO_ENCODED_RUSTFLAGS, so that paths may hold spaces.
        .join("\u{1f}")
}

/// Wraps the core module as a component, after a check that it was compiled against this manifest.
fn componentize(module: &Path, manifest: &Manifest) -> Result<Vec<u8>, BuildError> {
    let bad = |why: String| BuildError::Module { module: module.to_owned(), why };
    let bytes = std::fs::read(module).map_err(BuildError::file(module))?;
    let mut hash = None;
    for payload in wasmparser::Parser::new(0).parse_all(&bytes) {
        if let wasmparser::Payload::CustomSection(section) = payload.map_err(|e| bad(e.to_string()))?
            && section.name() == HASH_SECTION
        {
            hash = Some(section.data().to_vec());
        }
    }
    match hash {
        None => return Err(bad("the source does not call serin_guest::plugin!()".to_owned())),
        Some(hash) if hash != manifest.hash => {
            return Err(bad("compiled against another plugin.toml; build again".to_owned()));
        }
        Some(_) => {}
    }
    let component = wit_component::ComponentEncoder::default()
        .module(&bytes)
        .and_then(|encoder| encoder.validate(false).encode())
        .map_err(|e| bad(format!("{e:#}")))?;
    wasmparser::Validator::new().validate_all(&component).map_err(|e| bad(e.to_string()))?;
    Ok(component)
}
