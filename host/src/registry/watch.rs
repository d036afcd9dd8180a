//! File events. An event only says that something may have changed: what is there is always
//! read anew, and a rescan on a timer finds what no event told of.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use notify::{RecommendedWatcher, RecursiveMode};
use notify_debouncer_full::{DebounceEventResult, Debouncer, RecommendedCache, new_debouncer};

/// How long a burst of events has to be quiet.
const QUIET: Duration = Duration::from_millis(50);

/// Watches folders until it is dropped.
pub struct Watcher {
    _debouncer: Debouncer<RecommendedWatcher, RecommendedCache>,
}

impl Watcher {
    /// Calls `changed` whenever something in one of `folders` may have changed. Folders are
    /// watched, not files: editors and deployments replace a file by renaming over it, and a
    /// watch on the old file would never hear of the new one.
    ///
    /// # Errors
    /// What the operating system says, for instance that no more watches are to be had.
    pub fn new(folders: &[PathBuf], changed: impl Fn() + Send + 'static) -> Result<Self, notify::Error> {
        let mut debouncer = new_debouncer(QUIET, None, move |events: DebounceEventResult| match events {
            Ok(events) if events.iter().all(|event| event.kind.is_access()) => {}
            // An error means that events may be lost: look.
            Ok(_) | Err(_) => changed(),
        })?;
        for folder in folders {
            debouncer.watch(folder, RecursiveMode::NonRecursive)?;
        }
        Ok(Self { _debouncer: debouncer })
    }
}

/// What tells a file from the one that was under its name before. The inode is part of it:
/// a copy that keeps its times, or a link that points elsewhere now, is another file. So is the
/// time of its last change, whose mode may have made it unreadable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    modified: SystemTime,
    changed: (i64, i64),
    length: u64,
    inode: (u64, u64),
}

impl Stamp {
    /// The stamp of the file that `path` leads to; none where there is none.
    pub fn of(path: &Path) -> Option<Self> {
        use std::os::unix::fs::MetadataExt as _;
        let meta = std::fs::metadata(path).ok()?;
        let changed = (meta.ctime(), meta.ctime_nsec());
        Some(Self { modified: meta.modified().ok()?, changed, length: meta.len(), inode: (meta.dev(), meta.ino()) })
    }
}

/// What in `dir` has the extension, sorted by name. Hidden files and those that are being written under another name
/// are not among them. What is no regular file is: whoever reads it says so, and nothing is left out in silence.
pub fn files_in(dir: &Path, extension: &str) -> std::io::Result<Vec<PathBuf>> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(dir)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|e| e == extension))
        .filter(|path| !path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.')))
        .collect();
    files.sort();
    Ok(files)
}
