//! `serin.toml`: as it is written, then validated. Paths are relative to the file.

mod access;
mod flag;
mod locate;
mod missing;
mod raw;
mod server;
mod validate;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use indexmap::IndexMap;
use serin_core::Name;
use serin_core::limits::Limits;
use serin_core::manifest::ModelId;

use crate::access::Access;
use crate::deployment::{GlobalHoldout, PointSpec, ViewSpec};
use crate::experiments::Governance;
use crate::files;
use crate::http::ServerSettings;
use crate::ledger::Durability;
use crate::tls::TlsSettings;

pub use access::{check_name, no_open_doors, parse_expiry};

/// The longest message about one, in bytes: it may quote what the file has.
const MAX_MESSAGE: usize = 2000;

/// A mistake in the configuration: which file, and what would be valid.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{file}: {why}")]
pub struct ConfigError {
    /// The file.
    pub file: String,
    /// What is wrong, with its key.
    pub why: String,
}

impl ConfigError {
    /// A file that cannot be read.
    pub fn of(path: &Path, error: &std::io::Error) -> Self {
        Self { file: path.display().to_string(), why: error.to_string() }
    }
}

/// How long rows of the ledger are kept; none: for ever.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Retain {
    /// Decisions, outcomes and exposures.
    pub decisions: Option<Duration>,
    /// Entries of the audit.
    pub audit: Option<Duration>,
}

/// A validated configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// The file.
    pub path: PathBuf,
    /// The file's text.
    pub text: String,
    /// SHA-256 of the file.
    pub digest: String,
    /// What does not change while the host runs.
    pub fixed: Fixed,
    /// The files of the keys whose signatures count. They are read whenever the files are scanned.
    pub trusted_keys: Vec<PathBuf>,
    /// Whether artifacts and models need a signature by one of them.
    pub require_signature: bool,
    /// How long rows are kept.
    pub retain: Retain,
    /// Who may do what; none: everybody everything, from this machine.
    pub access: Option<Arc<Access>>,
    /// The operator's limits.
    pub limits: Limits,
    /// Model files.
    pub models: IndexMap<ModelId, PathBuf>,
    /// Feature views.
    pub views: HashMap<Name, Arc<ViewSpec>>,
    /// Decision points.
    pub points: IndexMap<Name, PointSpec>,
    /// Who is kept out of all experiments.
    pub global_holdout: Option<GlobalHoldout>,
    /// Whose agreement experiments need.
    pub governance: Option<Governance>,
}

/// Settings whose change needs a restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fixed {
    /// The public listener.
    pub listen: SocketAddr,
    /// The admin listener.
    pub admin: SocketAddr,
    /// The ledger's database.
    pub ledger: PathBuf,
    /// What a commit survives.
    pub durability: Durability,
    /// The plugins folder.
    pub plugins: PathBuf,
    /// The folder of compiled code.
    pub compiled: PathBuf,
    /// The experiments folder.
    pub experiments: PathBuf,
    /// Threads that decide.
    pub threads: usize,
    /// Decisions that may wait for them.
    pub queue: usize,
    /// Requests in flight.
    pub max_concurrent: usize,
    /// What the listeners allow.
    pub server: ServerSettings,
    /// TLS of the listeners; none: they speak in the clear. The files themselves are reloaded.
    pub tls: Option<TlsSettings>,
}

/// The folder that a file is in.
fn folder_of(file: &Path) -> PathBuf {
    file.parent().map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

impl Fixed {
    /// The keys that differ from `other`.
    pub fn differences(&self, other: &Self) -> Vec<&'static str> {
        let pairs = [
            ("server.listen", self.listen != other.listen),
            ("server.admin", self.admin != other.admin),
            ("ledger.url", self.ledger != other.ledger),
            ("ledger.durability", self.durability != other.durability),
            ("plugins.dir", self.plugins != other.plugins),
            ("plugins.compiled_dir", self.compiled != other.compiled),
            ("experiments.dir", self.experiments != other.experiments),
            ("server.threads", self.threads != other.threads),
            ("server.queue", self.queue != other.queue),
            ("server.max_concurrent", self.max_concurrent != other.max_concurrent),
            ("server.tls", self.tls != other.tls),
        ];
        let own = pairs.into_iter().filter_map(|(key, differs)| differs.then_some(key));
        own.chain(self.server.differences(&other.server)).collect()
    }

    /// The folder beside the ledger in which everything else is kept.
    pub fn data_dir(&self) -> PathBuf {
        folder_of(&self.ledger)
    }
}

impl Config {
    /// Reads and validates a file.
    ///
    /// # Errors
    /// The first mistake, with its key and what would be valid.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = files::read_text(path, files::MAX_TEXT_BYTES).map_err(|e| ConfigError::of(path, &e))?;
        Self::parse(text, path)
    }

    /// Validates the text of the file at `path`, as it is or as it was.
    ///
    /// # Errors
    /// The first mistake, with its key and what would be valid.
    pub fn parse(text: String, path: &Path) -> Result<Self, ConfigError> {
        // A token may stand where a name or a role belongs.
        let shown = |why: &str| serin_core::clipped(&serin_core::without_tokens(why), MAX_MESSAGE).into_owned();
        let fail = |why: String| ConfigError { file: path.display().to_string(), why: shown(&why) };
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let read = || {
            serin_core::meet_defect(text.as_bytes());
            let raw: raw::RawConfig = toml::from_str(&text).map_err(|e| {
                let missing = e.message().starts_with("missing field").then(|| missing::missing(&text)).flatten();
                missing.unwrap_or_else(|| serin_core::toml_message(&e, &text))
            })?;
            validate::validate(raw, path, dir, text.clone()).map_err(|why| locate::located(&text, why))
        };
        serin_core::caught(read).map_err(fail)
    }
}
