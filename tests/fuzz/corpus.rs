//! What a target begins with: what the repository has of its kind, and every input that was ever found.

use std::path::{Path, PathBuf};

use super::targets::Target;
use crate::support::root;

/// Where a target's inputs are kept.
pub fn folder(target: &Target) -> PathBuf {
    root().join("tests/fuzz/corpus").join(target.name)
}

/// The inputs that a target begins with.
pub fn of(target: &Target) -> Vec<Vec<u8>> {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder(target)).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.sort();
    let kept = files.iter().map(|path| std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display())));
    (target.seeds)().into_iter().chain(kept).collect()
}

/// Writes the seeds to where the guided run begins, which has no code to make them.
pub fn keep_for_guided(target: &Target) {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("fuzz/corpus").join(target.name);
    std::fs::create_dir_all(&folder).expect("makes");
    for (at, seed) in (target.seeds)().iter().enumerate() {
        std::fs::write(folder.join(format!("seed-{at}")), seed).expect("writes");
    }
}
