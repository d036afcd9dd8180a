//! One artifact: read, validated, compiled and linked.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use serin_core::case::Case;
use serin_core::experiment::Pin;
use serin_core::manifest::{CASES_SECTION, DRAFT_SECTION, HASH_SECTION, MANIFEST_SECTION, Manifest, ManifestError};
use serin_core::record::{FailureKind, Outcome, StrategyId};
use serin_core::{Name, bounds, message_to, printable};
use wasmparser::{BinaryReader, CustomSectionReader, Encoding, Parser, Payload, WasmFeatures};

use super::breaker::VersionBreaker;
use super::cases::{self, CaseResult, check_case};
use super::pace::RunPace;
use super::shape::{self, ShapeError};
use crate::clock::Budget;
use crate::files;
use crate::sandbox::{Engines, LinkError, Linked, Size};

/// The version of the WIT package that this host has.
const WIT: &str = "0.1.0";

/// The largest artifact that is read.
pub const MAX_BYTES: u64 = 64 << 20;

/// What all cases of an artifact may take together: others wait to be loaded.
const CASES: Duration = Duration::from_secs(60);

/// Reads the file of an artifact.
///
/// # Errors
/// That it is larger than any artifact may be, no regular file, or what the system says.
pub fn read_file(path: &Path) -> Result<Vec<u8>, ArtifactError> {
    let unread = |error: std::io::Error| ArtifactError::Unread(error.to_string());
    let (_, length) = files::open_regular(path).map_err(unread)?;
    check_size(length)?;
    files::read_bounded(path, MAX_BYTES).map_err(unread)
}

/// Checks an artifact's length before it is read.
///
/// # Errors
/// That it is larger than any artifact may be.
pub fn check_size(bytes: u64) -> Result<(), ArtifactError> {
    if bytes <= MAX_BYTES { Ok(()) } else { Err(ArtifactError::TooLarge(bytes)) }
}

/// Why a file is not an artifact that this host can serve.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// The file cannot be read.
    #[error("cannot be read: {0}")]
    Unread(String),
    /// The file is too large to be read.
    #[error("{0} bytes; the largest artifact accepted has {MAX_BYTES}")]
    TooLarge(u64),
    /// The file is empty, cut off, or of another format.
    #[error("not a WebAssembly component: {0}")]
    NotComponent(String),
    /// It has more of something than a compiler can be asked to bear, or cannot be read.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// A core module.
    #[error("a core WebAssembly module, not a component; build it with 'serin plugin build'")]
    CoreModule,
    /// No manifest inside.
    #[error("no '{MANIFEST_SECTION}' section: it was not built by 'serin plugin build'")]
    NoManifest,
    /// It was made for an interface that this host does not have.
    #[error(
        "made for serin:decision@{found}, and this host has serin:decision@{WIT}; build it with this host's SDK, or serve it by a host that has {found}"
    )]
    OtherInterface {
        /// The version of the interface that it imports or exports.
        found: String,
    },
    /// A section is there twice.
    #[error("more than one '{0}' section; build it with 'serin plugin build'")]
    Repeated(String),
    /// The manifest is not valid.
    #[error("manifest: {0}")]
    Manifest(#[from] ManifestError),
    /// Code and manifest are from different builds.
    #[error("the code was built against another plugin.toml than the one embedded; build the plugin again")]
    ManifestMismatch,
    /// The cases are not valid.
    #[error("cases: {0}")]
    Cases(String),
    /// It cannot be linked.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// A case fails.
    #[error("case '{name}' fails: {why}")]
    CaseFailed {
        /// The case.
        name: String,
        /// What differs.
        why: String,
        /// This machine had no time or no room for it: it may pass next time.
        is_passing: bool,
    },
    /// The machine had no room to run its cases: it may pass next time.
    #[error("its cases could not be run on this machine now: {0}")]
    NoRoom(String),
    /// It was not loaded within the time that a command waits for an artifact.
    #[error(
        "takes longer than {0} s to load, and was left; if the machine is busy, try again when it is idle: the file may be fine"
    )]
    TooSlow(u64),
    /// Looking at it or compiling it met a defect.
    #[error("a defect was met, and nothing of the file was used: {0}")]
    Panicked(String),
}

impl ArtifactError {
    /// Says whether the machine's state caused it: then the file may be fine.
    pub fn is_passing(&self) -> bool {
        self.is_of_the_system() || matches!(self, Self::CaseFailed { is_passing: true, .. })
    }

    /// Says whether the machine lacked something, such as file descriptors or memory.
    pub fn is_of_the_system(&self) -> bool {
        matches!(self, Self::Unread(_) | Self::NoRoom(_) | Self::Link(LinkError::System(_)))
    }
}

/// What an artifact holds, before it is compiled.
#[derive(Debug, Clone)]
pub struct Contents {
    /// The manifest.
    pub manifest: Arc<Manifest>,
    /// The cases.
    pub cases: Vec<Case>,
    /// SHA-256 of the file.
    pub digest: Name,
    /// The version of the WIT package that it was made for.
    pub wit: String,
    /// Bytes of the file.
    pub size: usize,
    /// Whether it was made to be tried, and not to be deployed.
    pub is_draft: bool,
    /// The manifest hash that the code carries.
    code_hash: Option<Vec<u8>>,
}

/// Reads an artifact without running or compiling anything.
///
/// # Errors
/// What keeps it from being an artifact.
pub fn read(bytes: &[u8]) -> Result<Contents, ArtifactError> {
    let broken =
        |e: wasmparser::BinaryReaderError| ArtifactError::NotComponent(message_to(&e.to_string(), bounds::MESSAGE));
    if bytes.is_empty() {
        return Err(ArtifactError::NotComponent("the file is empty".to_owned()));
    }
    if bytes.len() >= 4 && !bytes.starts_with(b"\0asm") {
        return Err(ArtifactError::NotComponent("it does not begin with the magic bytes '\\0asm'".to_owned()));
    }
    shape::check(bytes)?;
    wasmparser::Validator::new_with_features(WasmFeatures::default() | WasmFeatures::COMPONENT_MODEL)
        .validate_all(bytes)
        .map_err(broken)?;
    let (mut manifest, mut cases, mut code_hash, mut wit, mut depth) = (None, None, None, None::<String>, 0_u32);
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.map_err(broken)? {
            Payload::Version { encoding: Encoding::Module, .. } if depth == 0 => return Err(ArtifactError::CoreModule),
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::CustomSection(section) => match section.name() {
                MANIFEST_SECTION if depth == 0 => once(&mut manifest, &section)?,
                CASES_SECTION if depth == 0 => once(&mut cases, &section)?,
                HASH_SECTION => once(&mut code_hash, &section)?,
                _ => {}
            },
            Payload::ComponentImportSection(imports) if depth == 0 => {
                for import in imports {
                    interface(import.map_err(broken)?.name.name, &mut wit)?;
                }
            }
            Payload::ComponentExportSection(exports) if depth == 0 => {
                for export in exports {
                    interface(export.map_err(broken)?.name.name, &mut wit)?;
                }
            }
            _ => {}
        }
    }
    let text = std::str::from_utf8(manifest.ok_or(ArtifactError::NoManifest)?)
        .map_err(|_| ManifestError("not UTF-8".to_owned()))?;
    let manifest = Manifest::parse(text)?;
    let cases = read_cases(cases.unwrap_or(b"[]"), &manifest)
        .map_err(|why| ArtifactError::Cases(message_to(&why, bounds::MESSAGE)))?;
    Ok(Contents {
        manifest: Arc::new(manifest),
        cases,
        digest: crate::digest::digest(bytes).into(),
        wit: wit.unwrap_or_else(|| WIT.to_owned()),
        size: bytes.len(),
        is_draft: custom(bytes, DRAFT_SECTION).is_some(),
        code_hash: code_hash.map(<[u8]>::to_vec),
    })
}

fn read_cases(json: &[u8], manifest: &Manifest) -> Result<Vec<Case>, String> {
    bounds::count("bytes of cases", json.len(), bounds::CASES_BYTES)?;
    let cases: Vec<Case> = serde_json::from_slice(json).map_err(|e| e.to_string())?;
    cases.iter().try_for_each(|case| check_case(case, manifest))?;
    Ok(cases)
}

/// The version that an artifact's manifest names, without a look at anything else of it; none where
/// it cannot be read.
pub fn peek(bytes: &[u8]) -> Option<Pin> {
    let manifest = Manifest::parse(std::str::from_utf8(custom(bytes, MANIFEST_SECTION)?).ok()?).ok()?;
    Some(Pin { name: manifest.name, version: manifest.version })
}

/// Says why an artifact is not deployed where it is a draft, without compiling anything of it.
pub fn refused_draft(bytes: &[u8]) -> Option<String> {
    custom(bytes, DRAFT_SECTION)?;
    let pin = peek(bytes).map_or_else(|| "this".to_owned(), |pin| pin.to_string());
    Some(format!("{pin} is a draft, made to be tried; valid: the artifact that 'serin plugin build' makes, or --dev"))
}

/// The component's own custom section of this name.
fn custom<'a>(bytes: &'a [u8], name: &str) -> Option<&'a [u8]> {
    const HEAD: usize = 8;
    const CUSTOM: u8 = 0;
    let mut reader = BinaryReader::new(bytes.get(HEAD..)?, 0);
    while !reader.eof() {
        let id = reader.read_u8().ok()?;
        let length = reader.read_var_u32().ok()? as usize;
        let mut section = BinaryReader::new(reader.read_bytes(length).ok()?, 0);
        if id == CUSTOM && section.read_string().ok()? == name {
            return section.read_bytes(section.bytes_remaining()).ok();
        }
    }
    None
}

/// Notes the version of the interface that an import or export is of. Within `0.y` older ones are compatible.
///
/// # Errors
/// That it is one that this host does not have.
fn interface(name: &str, wit: &mut Option<String>) -> Result<(), ArtifactError> {
    let Some((_, found)) = name.strip_prefix("serin:decision/").and_then(|name| name.split_once('@')) else {
        return Ok(());
    };
    let parsed = |version: &str| semver::Version::parse(version).ok().map(|v| ((v.major, v.minor), v.patch));
    let is_served =
        parsed(found).zip(parsed(WIT)).is_some_and(|((of, patch), (ours, most))| of == ours && patch <= most);
    if !is_served {
        return Err(ArtifactError::OtherInterface { found: printable(found) });
    }
    wit.get_or_insert_with(|| printable(found));
    Ok(())
}

/// Takes a section that an artifact has once: of two, it would be open which one counts.
fn once<'a>(slot: &mut Option<&'a [u8]>, section: &CustomSectionReader<'a>) -> Result<(), ArtifactError> {
    match slot.replace(section.data()) {
        None => Ok(()),
        Some(_) => Err(ArtifactError::Repeated(section.name().to_owned())),
    }
}

/// A panic while a file is looked at is that file's error, and nobody else's.
fn unless_it_panics<T>(work: impl FnOnce() -> Result<T, ArtifactError>) -> Result<T, ArtifactError> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
        Err(ArtifactError::Panicked(message_to(text.unwrap_or("a panic"), bounds::MESSAGE)))
    })
}

/// Versions in memory.
pub(super) static LIVE: AtomicUsize = AtomicUsize::new(0);

/// A version that can be run.
pub struct Plugin {
    /// What the artifact holds.
    pub contents: Contents,
    /// Name, version and digest, as records have them.
    pub id: StrategyId,
    /// The linked code.
    pub linked: Linked,
    /// Whether it is left alone for a while.
    pub breaker: VersionBreaker,
    /// How long its runs take.
    pub pace: RunPace,
    running: Mutex<usize>,
    freed: Condvar,
}

impl Plugin {
    /// Reads, compiles and links an artifact, and runs its cases. `plugin check` and the host
    /// both use exactly this.
    ///
    /// # Errors
    /// What keeps it from being served.
    pub fn load(engines: &Engines, bytes: &[u8]) -> Result<Self, ArtifactError> {
        let plugin = Self::link(engines, bytes)?;
        unless_it_panics(|| plugin.self_test())?;
        Ok(plugin)
    }

    /// Runs one case in the sandbox.
    pub fn run_case(&self, case: &Case) -> CaseResult {
        cases::run_case(&self.linked, self.manifest(), case, cases::FUEL)
    }

    /// Reads, compiles and links, without running the cases.
    ///
    /// # Errors
    /// What keeps it from being run.
    pub fn link(engines: &Engines, bytes: &[u8]) -> Result<Self, ArtifactError> {
        unless_it_panics(|| {
            let contents = read(bytes)?;
            if contents.code_hash.as_ref().is_some_and(|hash| *hash != contents.manifest.hash) {
                return Err(ArtifactError::ManifestMismatch);
            }
            let linked = Linked::new(engines, bytes, &contents.manifest)?;
            let id = StrategyId {
                name: contents.manifest.name.clone(),
                version: contents.manifest.version.to_string().into(),
                digest: contents.digest.clone(),
            };
            LIVE.fetch_add(1, Ordering::Relaxed);
            Ok(Self {
                contents,
                id,
                linked,
                breaker: VersionBreaker::default(),
                pace: RunPace::default(),
                running: Mutex::new(0),
                freed: Condvar::new(),
            })
        })
    }

    /// Runs the cases, within time and fuel for all of them together.
    fn self_test(&self) -> Result<(), ArtifactError> {
        let most = cases::fuel_of_all(self.contents.cases.len());
        let (budget, mut fuel) = (Budget::new(CASES), most);
        for case in &self.contents.cases {
            let failed = |why, is_passing| ArtifactError::CaseFailed { name: printable(&case.name), why, is_passing };
            if budget.left().is_zero() {
                return Err(failed(format!("those before it took more than {} s", CASES.as_secs()), true));
            }
            let result = cases::run_case(&self.linked, self.manifest(), case, fuel);
            if let Outcome::Failure { kind: FailureKind::Overloaded, detail } = result.outcome {
                return Err(ArtifactError::NoRoom(detail));
            }
            fuel = fuel.saturating_sub(result.fuel);
            if fuel == 0 {
                let why = format!("all cases together used more than {} units of fuel", most);
                return Err(failed(why, false));
            }
            if let Some(why) = result.difference {
                let is_passing = matches!(result.outcome, Outcome::Failure { kind: FailureKind::Deadline, .. });
                return Err(failed(why, is_passing));
            }
        }
        Ok(())
    }

    /// The manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.contents.manifest
    }

    /// Whether a run is likely to be brief, so that a thread of the listener can make it: a small guest
    /// that calls no model, and whose runs have not taken long of late.
    pub fn is_brief(&self, now_ms: u64) -> bool {
        let is_small = Size::of(self.contents.size) == Size::Small;
        is_small && self.manifest().callable.is_empty() && self.pace.is_brief(now_ms)
    }

    /// Takes one of `cap` slots of this version, waiting for one at most `wait`; none where
    /// all stayed taken. One version cannot take all threads for longer than that.
    pub fn slot(&self, cap: usize, wait: Duration) -> Option<Slot<'_>> {
        let mut running = self.running.lock();
        if *running >= cap {
            let _ = self.freed.wait_while_for(&mut running, |running| *running >= cap, wait);
            if *running >= cap {
                return None;
            }
        }
        *running += 1;
        Some(Slot(self))
    }
}

impl Drop for Plugin {
    fn drop(&mut self) {
        LIVE.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A slot that is given back when it is dropped.
pub struct Slot<'a>(&'a Plugin);

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        *self.0.running.lock() -= 1;
        self.0.freed.notify_one();
    }
}
