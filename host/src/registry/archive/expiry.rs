//! What the archive drops, and when. A record refers to what was in force when its decision was made. So the
//! modification time of each file says when it was last in use: what was last in use before the oldest record
//! that is kept is referred to by none.

use std::collections::HashSet;
use std::fs::{File, TryLockError};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, utimensat};

use super::Archive;
use crate::signatures;

/// The file that says that the times of all others are those of their last use.
const DATED: &str = "dated";
/// The file that is locked by whoever reads the archive as a whole, and by the host while it drops something.
const READING: &str = "reading";

/// What was dropped.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Dropped {
    /// Artifacts, models, routing tables and texts.
    pub blobs: usize,
    /// Their bytes.
    pub bytes: u64,
}

impl Archive {
    /// Dates what an earlier version of this program left, whose times say when it was written: all of it was in
    /// use just now, for all that is known.
    pub(super) fn date(&self) -> std::io::Result<()> {
        let marker = self.root.join(DATED);
        if marker.exists() {
            return Ok(());
        }
        for file in self.files()? {
            touch(&self.root.join(file), UTIME_NOW, None)?;
        }
        crate::files::open_private(&marker).map(drop)
    }

    /// Makes the file that readers lock.
    pub(super) fn make_lock(&self) -> std::io::Result<()> {
        crate::files::open_private(&self.root.join(READING)).map(drop)
    }

    /// Keeps everything from being dropped, until the result is dropped, by whichever process. Waits where something is
    /// being dropped just now. None where no host has made the file yet: then none drops anything.
    ///
    /// # Errors
    /// What the file system says.
    pub fn hold(&self) -> std::io::Result<Option<File>> {
        match File::open(self.root.join(READING)) {
            Ok(file) => file.lock_shared().map(|()| Some(file)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Notes that these blobs are in use. A time never goes back, whatever the clock does.
    pub fn note_use<'d>(&self, digests: impl IntoIterator<Item = &'d str>, now_ms: u64) {
        for digest in digests {
            let path = self.blob(digest);
            let is_older = std::fs::metadata(&path).is_ok_and(|meta| used_ms(&meta) < now_ms);
            if is_older && let Err(error) = touch(&path, 0, Some(now_ms)) {
                // It is dropped too early only if this goes on for as long as records are kept.
                crate::telemetry::log_limited!(warn, %error, digest, "the archive cannot note what is in use");
            }
        }
    }

    /// Notes that a blob is wanted just now, before it is looked for.
    pub(super) fn note_put(&self, path: &Path) {
        let _one = self.dropping.lock();
        // Where there is none, it is about to be written.
        let _ = touch(path, UTIME_NOW, None);
    }

    /// Drops the blobs that were last in use before a time, with their signatures, except `needed`. Generations
    /// of the deployment that old go with them, but for the last two. Nothing goes while somebody holds the archive, as a
    /// backup does, which may take long.
    ///
    /// # Errors
    /// What the file system says; what could not be dropped is dropped another time.
    pub fn expire(&self, needed: &HashSet<String>, before_ms: u64) -> std::io::Result<Dropped> {
        let mut dropped = Dropped::default();
        let lock = File::open(self.root.join(READING))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                tracing::debug!("the archive is being backed up; nothing of it is dropped meanwhile");
                return Ok(dropped);
            }
            Err(TryLockError::Error(error)) => return Err(error),
        }
        for file in self.files()? {
            let path = self.root.join(&file);
            if let Some(name) = file.strip_prefix("blobs/") {
                let is_blob = name.len() == 64 && name.bytes().all(|b| b.is_ascii_hexdigit());
                if is_blob && !needed.contains(&format!("sha256:{name}")) {
                    let bytes = self.drop_unused(&path, before_ms)?;
                    dropped.blobs += usize::from(bytes.is_some());
                    dropped.bytes += bytes.unwrap_or(0);
                }
            } else if let Some(number) = file.strip_prefix("applied/generation-")
                && number.parse::<u64>().is_ok_and(|number| number + 1 < self.last_generation())
            {
                self.drop_unused(&path, before_ms)?;
            }
        }
        Ok(dropped)
    }

    /// The number of the last generation of the deployment; 0 before the first.
    pub fn last_generation(&self) -> u64 {
        self.applied("deployment", "generation").and_then(|lines| lines.first()?.parse().ok()).unwrap_or(0)
    }

    /// Drops a file that was last in use before a time; its bytes. None where it was not, or is gone.
    fn drop_unused(&self, path: &Path, before_ms: u64) -> std::io::Result<Option<u64>> {
        let _one = self.dropping.lock();
        let Ok(meta) = std::fs::metadata(path) else { return Ok(None) };
        if used_ms(&meta) >= before_ms {
            return Ok(None);
        }
        std::fs::remove_file(path)?;
        let signature = signatures::path_of(path);
        match std::fs::remove_file(signature) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => Ok(Some(meta.len())),
        }
    }
}

fn used_ms(meta: &std::fs::Metadata) -> u64 {
    u64::try_from(meta.mtime()).unwrap_or(0).saturating_mul(1000) + meta.mtime_nsec().cast_unsigned() / 1_000_000
}

/// Sets when a file was last in use: at `ms`, or as `special` says.
fn touch(path: &Path, special: i64, ms: Option<u64>) -> std::io::Result<()> {
    let (tv_sec, tv_nsec) = match ms {
        Some(ms) => ((ms / 1000) as i64, (ms % 1000 * 1_000_000) as i64),
        None => (0, special),
    };
    let times = Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec, tv_nsec },
    };
    Ok(utimensat(CWD, path, &times, AtFlags::empty())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_lately_or_is_needed_stays_and_the_rest_goes() {
        let dir = tempfile::tempdir().expect("a folder");
        let archive = Archive::open(dir.path()).expect("opens");
        let put = |text: &str| archive.put(text.as_bytes()).expect("kept");
        let [old, needed, lately] = ["old", "needed", "lately"].map(put);
        archive.put_signature(&old, "signed").expect("kept");
        for number in 1..=4 {
            archive.apply("generation", &number.to_string(), &[&old]).expect("kept");
            touch(&archive.pointer("generation", &number.to_string()), 0, Some(5_000)).expect("sets");
        }
        archive.apply("deployment", "generation", &["4"]).expect("kept");
        archive.apply("plugin", "p@1.0.0", &[&old]).expect("kept");
        for digest in [&old, &needed, &lately] {
            touch(&archive.blob(digest), 0, Some(5_000)).expect("sets");
        }
        archive.note_use([&*lately], 9_000);
        archive.note_use([&*lately], 7_000);
        let held = HashSet::from([needed.clone()]);
        assert_eq!(archive.expire(&held, 5_000).expect("reads"), Dropped::default());
        assert_eq!(archive.expire(&held, 8_000).expect("reads"), Dropped { blobs: 1, bytes: 3 });
        assert_eq!((archive.get(&old), archive.signature(&old)), (None, None));
        assert!(archive.get(&needed).is_some() && archive.get(&lately).is_some());
        let generations = [1, 2, 3, 4].map(|number| archive.applied("generation", &number.to_string()).is_some());
        assert_eq!(generations, [false, false, true, true]);
        assert_eq!(archive.applied("plugin", "p@1.0.0"), Some(vec![old]), "a version stays published");
        // Nothing goes while somebody reads all of it.
        let reading = archive.hold().expect("locks").expect("the file is there");
        assert_eq!(archive.expire(&HashSet::new(), 8_000).expect("reads"), Dropped::default());
        assert!(archive.get(&needed).is_some());
        drop(reading);
        // What is wanted again is in use from then on.
        assert!(archive.put(b"needed").is_ok());
        assert_eq!(archive.expire(&HashSet::new(), 8_000).expect("reads"), Dropped::default());
    }

    #[test]
    fn what_an_earlier_version_left_counts_as_in_use() {
        let dir = tempfile::tempdir().expect("a folder");
        let archive = Archive::open(dir.path()).expect("opens");
        let left = archive.put(b"left").expect("kept");
        touch(&archive.blob(&left), 0, Some(5_000)).expect("sets");
        let expired = |archive: &Archive| archive.expire(&HashSet::new(), 8_000).expect("reads").blobs;
        std::fs::remove_file(dir.path().join(DATED)).expect("it was dated");
        assert_eq!(expired(&Archive::open(dir.path()).expect("opens")), 0);
        touch(&archive.blob(&left), 0, Some(5_000)).expect("sets");
        assert_eq!(expired(&Archive::open(dir.path()).expect("opens")), 1, "once");
    }
}
