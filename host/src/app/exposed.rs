//! What others of the machine can write to or read: what the host keeps it narrows, and what people keep it names.

use std::path::{Path, PathBuf};

use crate::config::Config;
use crate::files::{self, Exposure};

/// Something that is open to others.
pub(super) struct Exposed {
    path: PathBuf,
    exposure: Exposure,
    /// Whether the host keeps it, and may narrow it.
    is_kept: bool,
}

impl Exposed {
    /// What of a deployment is open to others.
    pub fn of(config: &Config) -> Vec<Self> {
        let fixed = &config.fixed;
        let (data, folder) = (fixed.data_dir(), config.path.parent().unwrap_or(Path::new("")));
        let archive = data.join("archive");
        let with_logs =
            |path: PathBuf| ["", "-wal", "-shm"].map(|end| PathBuf::from(format!("{}{end}", path.display())));
        let mut kept: Vec<PathBuf> = Vec::from(with_logs(fixed.ledger.clone()));
        kept.extend(with_logs(data.join("features.db")));
        kept.extend([archive.join("blobs"), archive.join("applied"), archive]);
        let mut others = vec![config.path.clone(), fixed.plugins.clone(), fixed.experiments.clone()];
        others.extend(config.trusted_keys.iter().chain(config.models.values()).cloned());
        // Where the ledger lies beside serin.toml, the folder is people's.
        if is_same(&data, folder) {
            others.push(data)
        } else {
            kept.push(data)
        }
        let find = |paths: Vec<PathBuf>, is_kept: bool| {
            let exposed = move |path: PathBuf| Some(Self { exposure: Exposure::of(&path)?, path, is_kept });
            paths.into_iter().filter_map(exposed)
        };
        // Who may read these, and whose group may write them, is for people to say.
        let others = find(others, false).filter(|exposed| exposed.exposure.mode & 0o002 != 0);
        find(kept, true).chain(others).collect()
    }

    /// Narrows what the host keeps where it can, and says so; of all else it says what to do.
    pub fn close(&self) {
        let (file, what) = (files::shown(&self.path), self.exposure.what());
        if !self.is_narrowed() {
            tracing::warn!("{file}: {}", self.advice());
            return;
        }
        match self.exposure.narrow(&self.path) {
            Ok(()) => tracing::warn!("{file}: {what}; it has mode {:o} now", self.exposure.narrow),
            Err(error) => tracing::warn!(%error, "{file}: {}", self.advice()),
        }
    }

    fn is_narrowed(&self) -> bool {
        self.is_kept && self.exposure.is_own
    }

    /// What `serin check` says of it.
    pub fn warning(&self) -> (&Path, String) {
        let warning = match self.is_narrowed() {
            true => format!("{}; serve gives it mode {:o}", self.exposure.what(), self.exposure.narrow),
            false => self.advice(),
        };
        (&self.path, warning)
    }

    fn advice(&self) -> String {
        let narrow = if self.is_kept { self.exposure.narrow } else { self.exposure.mode & !0o002 };
        format!("{}; valid: chmod {narrow:o} {}", self.exposure.what(), files::shown(&self.path))
    }
}

fn is_same(one: &Path, other: &Path) -> bool {
    let whole = |path: &Path| if path.as_os_str().is_empty() { Path::new(".").to_owned() } else { path.to_owned() };
    let found = |path: &Path| whole(path).canonicalize().ok();
    found(one).is_some() && found(one) == found(other)
}
