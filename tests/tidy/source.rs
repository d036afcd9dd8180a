//! The repository's files, and Rust source without what the compiler doesn't see.

use std::process::Command;

use crate::support::root;

/// A Rust file.
pub struct SourceFile {
    /// Its path from the repository's root.
    pub path: String,
    /// Its text.
    pub text: String,
}

impl SourceFile {
    /// The lines of code with their numbers, comments cut off.
    pub fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(i, line)| (i + 1, uncommented(line)))
    }

    /// As [`Self::lines`], up to the unit tests, which stand at a file's end.
    pub fn shipped(&self) -> impl Iterator<Item = (usize, &str)> {
        self.lines().take_while(|(_, line)| line.trim() != "#[cfg(test)]")
    }
}

/// The line up to `//`, unless that is in a string, as in a URL.
fn uncommented(line: &str) -> &str {
    let end = line.match_indices("//").map(|(at, _)| at).find(|at| line[..*at].matches('"').count().is_multiple_of(2));
    end.map_or(line, |at| &line[..at])
}

/// The files that git knows or would add, sorted.
pub fn tracked() -> Vec<String> {
    let listed = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .expect("git runs");
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    let text = String::from_utf8(listed.stdout).expect("names are UTF-8");
    // A file may be deleted and not committed yet.
    let mut files: Vec<String> =
        text.split('\0').filter(|path| !path.is_empty() && root().join(path).is_file()).map(str::to_owned).collect();
    files.sort();
    files.dedup();
    files
}

/// The Rust files.
pub fn rust() -> Vec<SourceFile> {
    tracked()
        .into_iter()
        .filter(|path| path.ends_with(".rs"))
        .map(|path| SourceFile { text: std::fs::read_to_string(root().join(&path)).expect("reads"), path })
        .collect()
}
