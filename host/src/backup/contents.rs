//! What a backup holds, as its first entry says: each file with its length and digest.

use serde::{Deserialize, Serialize};

/// The form of backups that this program writes, and the newest that it reads.
pub(super) const FORMAT: u32 = 1;
/// The first entry.
pub(super) const CONTENTS: &str = "backup.json";
/// The most bytes of it: some hundred thousand files.
pub(super) const MAX_CONTENTS: u64 = 64 << 20;
/// The ledger's entry.
pub(super) const LEDGER: &str = "ledger.db";
/// The feature store's entry.
pub(super) const FEATURES: &str = "features.db";
/// The folder of the archive's entries.
pub(super) const ARCHIVE: &str = "archive";

/// The first entry of a backup.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Contents {
    pub format: u32,
    /// The version of the program that wrote it.
    pub serin: String,
    /// When it was made, RFC 3339.
    pub made: String,
    pub ledger_schema: i64,
    /// In the order in which they follow.
    pub files: Vec<Part>,
}

/// One file of a backup.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Part {
    pub path: String,
    pub bytes: u64,
    pub digest: String,
}

/// What is read of contents of any form.
#[derive(Deserialize)]
struct Head {
    format: u32,
    #[serde(default)]
    serin: String,
}

impl Contents {
    /// Parses the first entry, and checks that a restore can use all of it.
    pub(super) fn parse(json: &[u8], known_schema: i64) -> Result<Self, String> {
        let head: Head = serde_json::from_slice(json).map_err(|e| format!("its {CONTENTS} cannot be read: {e}"))?;
        let newer =
            |what: String| format!("{what}; restore it with serin {} or newer", serin_core::printable(&head.serin));
        if head.format > FORMAT {
            return Err(newer(format!("a backup of form {}, and this program reads up to {FORMAT}", head.format)));
        }
        let contents: Self = serde_json::from_slice(json).map_err(|e| format!("its {CONTENTS} cannot be read: {e}"))?;
        if contents.ledger_schema > known_schema {
            let found = contents.ledger_schema;
            return Err(newer(format!("its ledger has schema {found}, and this program knows up to {known_schema}")));
        }
        if let Some(part) = contents.files.iter().find(|part| !is_of_a_backup(&part.path)) {
            return Err(format!("'{}' is no file of a backup", serin_core::printable(&part.path)));
        }
        match contents.files.first() {
            Some(first) if first.path == LEDGER => Ok(contents),
            _ => Err("it holds no ledger".to_owned()),
        }
    }

    /// Bytes of all files.
    pub(super) fn bytes(&self) -> u64 {
        self.files.iter().map(|part| part.bytes).fold(0, u64::saturating_add)
    }
}

/// Says whether a path is one that a backup may hold. No other is ever written by a restore.
fn is_of_a_backup(path: &str) -> bool {
    let is_file_name = |name: &str| !name.is_empty() && !name.contains(['/', '\0']) && name != "." && name != "..";
    match path.split('/').collect::<Vec<_>>()[..] {
        [name] => name == LEDGER || name == FEATURES,
        [ARCHIVE, "blobs" | "applied", name] => is_file_name(name),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_files_of_a_backup_are_restored() {
        for path in ["ledger.db", "features.db", "archive/blobs/00ff", "archive/applied/plugin-a@1.0.0"] {
            assert!(is_of_a_backup(path), "{path}");
        }
        let others = [
            "",
            "serin.toml",
            "/etc/passwd",
            "../ledger.db",
            "archive/blobs/..",
            "archive/blobs/a/b",
            "archive/blobs/",
            "archive",
        ];
        for path in others {
            assert!(!is_of_a_backup(path), "{path}");
        }
    }
}
