//! Where a backup may be written: it replaces what is there, so neither over what it is a backup of nor over anything
//! that is no backup.

use std::fs::File;
use std::io::{BufReader, Read as _};
use std::path::{Path, PathBuf};

use super::contents::CONTENTS;
use super::{BackupError, Places};
use crate::files;

/// The files and folders of a deployment, each with its description. A backup replaces none of them.
#[derive(Debug, Clone, Default)]
pub struct Kept {
    /// Files, there or not.
    pub files: Vec<(PathBuf, String)>,
    /// Folders, with everything in them.
    pub folders: Vec<(PathBuf, String)>,
    /// Folders that hold such files, without the folders in them.
    pub holding: Vec<(PathBuf, String)>,
}

impl Kept {
    /// With what a host keeps in its data folder.
    fn with(mut self, places: &Places) -> Self {
        let folder = "the data folder, of which it would be a backup";
        self.folders.insert(0, (places.data.clone(), folder.to_owned()));
        // Where the data folder is the deployment's own, and others' files may be in it, these are still the host's.
        for (database, what) in [(&places.ledger, "the ledger"), (&places.features, "the feature store")] {
            for end in ["", "-wal", "-shm"] {
                let path = PathBuf::from(format!("{}{end}", database.display()));
                self.files.push((path, format!("{what} of this deployment")));
            }
        }
        self.files.push((places.ledger.with_extension("lock"), "the ledger's lock".to_owned()));
        self.folders.push((places.archive.clone(), "the archive of this deployment".to_owned()));
        self
    }
}

/// Refuses a file that a backup would not be written to, but over.
///
/// # Errors
/// What the file is, and what would be valid.
pub fn may_be_written(file: &Path, places: &Places, config: &Path, kept: Kept) -> Result<(), BackupError> {
    let kept = kept.with(places);
    let valid = format!(
        "valid: a new file, or an earlier backup, outside of the folders that serin.toml names and of {}",
        files::shown(&places.data)
    );
    let refused = |what: String| Err(BackupError::of(file, format!("{what}; {valid}")));
    let targets = named_and_meant(file);
    let is_target = |path: &Path| named_and_meant(path).iter().any(|path| targets.contains(path));
    if let Some((_, what)) = kept.files.iter().find(|(path, _)| is_target(path)) {
        return refused(format!("is {what}"));
    }
    let config = named_and_meant(config);
    let deep = kept.folders.iter().map(|folder| (folder, true));
    for ((folder, what), is_deep) in deep.chain(kept.holding.iter().map(|folder| (folder, false))) {
        let Ok(folder) = folder.canonicalize() else { continue };
        let is_in = |target: &PathBuf| match is_deep {
            true => target.starts_with(&folder),
            false => target.parent() == Some(&*folder),
        };
        // The folder that serin.toml is in is the user's, whatever else is kept there.
        let is_users = config.iter().any(|config| config.parent().is_some_and(|dir| dir.starts_with(&folder)));
        if !is_users && targets.iter().any(is_in) {
            return refused(format!("is in {what}"));
        }
    }
    match what_is_there(file).map_err(|error| BackupError::of(file, format!("{error}; {valid}")))? {
        Some(what) => refused(format!("is there already, and is no backup, but {what}")),
        None => Ok(()),
    }
}

/// A path as it is named, without `..` and links to folders, and what it leads to where it is a link.
fn named_and_meant(path: &Path) -> Vec<PathBuf> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let named = dir.canonicalize().ok().zip(path.file_name()).map(|(dir, name)| dir.join(name));
    named.into_iter().chain(path.canonicalize()).collect()
}

/// What is in the place of a backup and must not be lost; none where nothing is, or an earlier backup.
fn what_is_there(file: &Path) -> std::io::Result<Option<&'static str>> {
    const SQLITE: &[u8] = b"SQLite format 3\0";
    if file.symlink_metadata().is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound) {
        return Ok(None);
    }
    if file.is_dir() {
        return Ok(Some("a folder"));
    }
    let (opened, bytes) = files::open_regular(file)?;
    // As `mktemp` makes it: there is nothing to lose.
    if bytes == 0 || is_backup(opened) {
        return Ok(None);
    }
    let mut head = Vec::new();
    files::open_regular(file)?.0.take(SQLITE.len() as u64).read_to_end(&mut head)?;
    Ok(Some(if head == SQLITE { "a SQLite database" } else { "another file" }))
}

/// Says whether a file begins as a backup does, whole or not.
fn is_backup(file: File) -> bool {
    let first = || -> std::io::Result<bool> {
        let mut tar = tar::Archive::new(zstd::Decoder::new(BufReader::new(file))?);
        let first = tar.entries()?.next().transpose()?;
        Ok(first.is_some_and(|entry| &*entry.path_bytes() == CONTENTS.as_bytes()))
    };
    first().unwrap_or(false)
}
