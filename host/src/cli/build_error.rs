//! Why a strategy was not built.

use std::path::{Path, PathBuf};

use serin_core::manifest::ManifestError;

use super::toolchain::ToolchainError;

/// Why nothing was built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A file can't be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The manifest is not valid.
    #[error("{}: {source}", path.display())]
    Manifest {
        /// The manifest's path.
        path: PathBuf,
        /// The mistake.
        source: ManifestError,
    },
    /// A case is no case, or not one of this manifest.
    #[error("{}: {why}", path.display())]
    Case {
        /// The case's path.
        path: PathBuf,
        /// The mistake.
        why: String,
    },
    /// A reason without words, which nobody could be told.
    #[error("{}: reasons.{code}: has no words; valid: why, as the person could be told, like \"Less than 30 days late\"", path.display())]
    SilentReason {
        /// The manifest's path.
        path: PathBuf,
        /// The reason's code.
        code: String,
    },
    /// There is nothing to compile with.
    #[error(transparent)]
    Toolchain(#[from] ToolchainError),
    /// The compiler refused the source, and has said why on standard error.
    #[error("cargo failed on {} ({status})", dir.display())]
    Cargo {
        /// The plugin's folder.
        dir: PathBuf,
        /// How cargo ended.
        status: std::process::ExitStatus,
    },
    /// A language's tool, or its SDK, is not there or too old.
    #[error("{0}")]
    Missing(String),
    /// Another language's tool refused the source.
    #[error("{tool} failed on {}: {why}", dir.display())]
    Tool {
        /// The tool.
        tool: &'static str,
        /// The plugin's folder.
        dir: PathBuf,
        /// Its exit status.
        status: Option<i32>,
        /// What it said.
        why: String,
    },
    /// A type checker refused the source, and has said why on standard error.
    #[error("{}: the types do not check; what is wrong is above", dir.display())]
    Types {
        /// The plugin's folder.
        dir: PathBuf,
    },
    /// Cargo's own account of the project can't be used.
    #[error("cargo metadata in {}: {why}", dir.display())]
    Metadata {
        /// The plugin's folder.
        dir: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// Nothing that could run in Wasm came out.
    #[error("{} builds no Wasm module; its Cargo.toml needs: [lib] crate-type = [\"cdylib\", \"rlib\"]", dir.display())]
    NoModule {
        /// The plugin's folder.
        dir: PathBuf,
    },
    /// The module does not use the SDK, or not for this manifest.
    #[error("{}: {why}", module.display())]
    Module {
        /// The core module.
        module: PathBuf,
        /// What is wrong.
        why: String,
    },
}

impl BuildError {
    pub(super) fn file(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        |source| Self::File { path, source }
    }
}
