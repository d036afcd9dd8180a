//! Finds the processes that read the ledger and so block the reset of its write-ahead log, as far
//! as the system shows them.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// The bytes of the shared-memory file that readers lock (SQLite's `WAL_READ_LOCK`).
const READ_LOCKS: std::ops::RangeInclusive<u64> = 123..=127;

/// The other programs that hold a read lock on the log of `database`, or have it open if the system
/// lists no locks: process id and name of each.
pub(super) fn readers(database: &Path) -> Vec<String> {
    let own = std::process::id();
    let locks = std::fs::read_to_string("/proc/locks").unwrap_or_default();
    let inode = std::fs::metadata(beside(database, "-shm")).map(|meta| meta.ino());
    let mut pids = inode.map(|inode| lock_holders(&locks, inode)).unwrap_or_default();
    pids.remove(&own);
    if pids.is_empty() {
        pids = openers(database);
        pids.remove(&own);
    }
    pids.into_iter().map(described).collect()
}

/// The file beside a database with this suffix.
pub(super) fn beside(database: &Path, ending: &str) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push(ending);
    path.into()
}

/// The processes that hold a reader's lock on a file, by the text of `/proc/locks`.
fn lock_holders(locks: &str, inode: u64) -> BTreeSet<u32> {
    let holder = |line: &str| {
        // 1: POSIX  ADVISORY  READ 4711 08:01:123456 124 124
        let fields: Vec<&str> = line.split_whitespace().filter(|field| *field != "->").collect();
        let [_, "POSIX", _, "READ", pid, file, from, _] = fields[..] else { return None };
        let is_file = file.rsplit(':').next()?.parse::<u64>().ok()? == inode;
        (is_file && READ_LOCKS.contains(&from.parse().ok()?)).then(|| pid.parse().ok())?
    };
    locks.lines().filter_map(holder).collect()
}

/// The processes that have the database open.
fn openers(database: &Path) -> BTreeSet<u32> {
    let (Ok(database), Ok(processes)) = (database.canonicalize(), std::fs::read_dir("/proc")) else {
        return BTreeSet::new();
    };
    let pids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let has_it_open = |pid: &u32| {
        // Other users' processes cannot be inspected.
        let Ok(files) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
        files.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok()).any(|file| file == database)
    };
    pids.filter(has_it_open).collect()
}

fn described(pid: u32) -> String {
    match std::fs::read_to_string(format!("/proc/{pid}/comm")) {
        Ok(name) => format!("{} (process {pid})", name.trim().escape_debug()),
        Err(_) => format!("process {pid}"),
    }
}

#[cfg(test)]
mod tests {
    use super::lock_holders;

    #[test]
    fn readers_are_told_from_writers_and_from_other_files() {
        let locks = "1: POSIX  ADVISORY  READ 11 08:01:77 124 124\n\
                     2: POSIX  ADVISORY  WRITE 12 08:01:77 120 120\n\
                     3: POSIX  ADVISORY  READ 13 08:01:78 124 124\n\
                     4: -> POSIX  ADVISORY  READ 14 fe:00:77 123 123\n\
                     5: OFDLCK ADVISORY  READ -1 08:01:77 124 124\n\
                     6: POSIX  ADVISORY  READ 15 08:01:77 128 128\n";
        assert_eq!(lock_holders(locks, 77).into_iter().collect::<Vec<_>>(), [11, 14]);
    }
}
