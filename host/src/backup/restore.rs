//! Restores a backup: it is read whole first, then written beside what is there, and only then takes its place.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::contents::{ARCHIVE, FEATURES, LEDGER};
use super::read::{read, write_private};
use super::{BackupError, Places, at};
use crate::{files, ledger};

/// There as long as files take their places. A host does not start beside it: it might make a ledger anew where the
/// restored one was to be.
const UNFINISHED: &str = "restore-unfinished";

/// What a restore came to.
#[derive(Debug)]
pub struct Restored {
    /// When the backup was made, RFC 3339.
    pub made: String,
    /// The version of the program that made it.
    pub serin: String,
    /// Where what was there before is now; none where nothing was.
    pub aside: Option<PathBuf>,
    /// The schema of the restored ledger.
    pub ledger_schema: i64,
}

/// Says whether a restore into this folder was cut off while files took their places.
pub fn is_unfinished(data: &Path) -> bool {
    data.join(UNFINISHED).exists()
}

/// Restores a stopped host from `file`. With `force`, what is there is moved aside.
///
/// # Errors
/// That a host is running, that something is there, or what is wrong with the file. Then nothing was changed.
pub fn restore(
    places: &Places,
    file: &Path,
    force: bool,
    now_ms: u64,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Restored, BackupError> {
    let data = &places.data;
    // Before what is there is asked about: with another name nothing of it would have to go.
    File::open(file).map_err(at(file))?;
    // Where nothing is, nobody runs.
    let locked = data.is_dir().then(|| ledger::lock(&places.ledger)).transpose()?;
    let before = there(places);
    if let Some(path) = before.first().filter(|_| !force) {
        let why = "is there already; restore where nothing is, or say --force, which moves it aside";
        return Err(BackupError::of(path, why));
    }
    let (mut done, all) = (0, read(file, &mut |_, _| Ok(()))?.bytes());
    files::create_private_dir(data).map_err(at(data))?;
    let _until_the_end = locked.map_or_else(|| ledger::lock(&places.ledger), Ok)?;
    let stage = tempfile::Builder::new().prefix(".restore-").tempdir_in(data).map_err(at(data))?;
    let contents = read(file, &mut |part, from| {
        write_private(&stage.path().join(&part.path), from)?;
        done += part.bytes;
        progress(done, all);
        Ok(())
    })?;
    let aside = (!before.is_empty()).then(|| data.join(format!("before-restore-{now_ms}")));
    swap(places, stage.path(), aside.as_deref(), &before)?;
    Ok(Restored { made: contents.made, serin: contents.serin, aside, ledger_schema: contents.ledger_schema })
}

/// What of a host's data is there.
fn there(places: &Places) -> Vec<PathBuf> {
    // SQLite would take a log that is left over for one of the restored database.
    let with_logs = |path: &Path| ["", "-wal", "-shm"].map(|end| PathBuf::from(format!("{}{end}", path.display())));
    let all = with_logs(&places.ledger).into_iter().chain(with_logs(&places.features)).chain([places.archive.clone()]);
    all.filter(|path| path.symlink_metadata().is_ok()).collect()
}

/// Moves what is there aside, and the staged files into its place; the ledger last.
fn swap(places: &Places, stage: &Path, aside: Option<&Path>, before: &[PathBuf]) -> Result<(), BackupError> {
    let data = &places.data;
    let marker = data.join(UNFINISHED);
    files::open_private(&marker).and_then(|file| file.sync_all()).map_err(at(&marker))?;
    sync(data)?;
    let mut moves: Vec<(PathBuf, PathBuf)> = Vec::new();
    if let Some(aside) = aside {
        files::create_private_dir(aside).map_err(at(aside))?;
        let to = |path: &PathBuf| aside.join(path.file_name().unwrap_or_default());
        moves.extend(before.iter().map(|path| (path.clone(), to(path))));
    }
    let staged = [(ARCHIVE, &places.archive), (FEATURES, &places.features), (LEDGER, &places.ledger)];
    let staged = staged.map(|(name, to)| (stage.join(name), to.clone()));
    moves.extend(staged.into_iter().filter(|(from, _)| from.exists()));
    for (at_move, (from, to)) in moves.iter().enumerate() {
        if let Err(error) = std::fs::rename(from, to) {
            // Back in the reverse order. What cannot be moved back leaves the marker, and a host does not start.
            let undone = moves[..at_move].iter().rev().all(|(from, to)| std::fs::rename(to, from).is_ok());
            let undone = undone && std::fs::remove_file(&marker).is_ok();
            let state = if undone { "nothing was changed" } else { "restore again with --force before a host starts" };
            return Err(BackupError::of(to, format!("{error}; {state}")));
        }
    }
    sync(data)?;
    std::fs::remove_file(&marker).map_err(at(&marker))?;
    sync(data)
}

fn sync(dir: &Path) -> Result<(), BackupError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(at(dir))
}
