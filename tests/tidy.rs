//! What the compiler doesn't hold the source to: who may import whom, who alone touches what,
//! and that documents speak of what is there.

mod floors;
mod imports;
mod source;
mod tables;
mod touches;

use std::path::Path;

use sha2::Digest as _;

use crate::support::root;
use source::{SourceFile, rust, tracked};

/// A file that is longer has more than one subject.
const MAX_LINES: usize = 500;

#[test]
fn no_file_is_too_long_to_be_read() {
    let long: Vec<String> = tracked()
        .into_iter()
        .filter(|path| [".rs", ".py", ".wit", ".html", ".js", ".md"].iter().any(|end| path.ends_with(end)))
        .filter_map(|path| {
            let lines = read(&path).lines().count();
            (lines > MAX_LINES).then(|| format!("{path}: {lines} lines; at most {MAX_LINES}: split it by subject"))
        })
        .collect();
    assert!(long.is_empty(), "{}", long.join("\n"));
}

#[test]
fn nothing_is_left_to_be_done_or_to_be_printed() {
    // Written apart, so that this file passes.
    let leftovers = [concat!("to", "do!("), concat!("unimple", "mented!("), concat!("db", "g!("), concat!("FIX", "ME")];
    let left: Vec<String> = rust()
        .iter()
        .flat_map(|file| {
            file.lines().map(|(number, line)| (format!("{}:{number}", file.path), line)).collect::<Vec<_>>()
        })
        .filter(|(_, line)| leftovers.iter().any(|word| line.contains(word)))
        .map(|(at, line)| format!("{at}: {}", line.trim()))
        .collect();
    assert!(left.is_empty(), "{}", left.join("\n"));
}

#[test]
fn every_file_begins_by_saying_what_it_is() {
    let silent: Vec<String> =
        rust().into_iter().filter(|file| !file.text.starts_with("//!")).map(|file| file.path).collect();
    assert!(silent.is_empty(), "these files do not begin with //! documentation: {}", silent.join(", "));
}

#[test]
fn one_function_of_the_host_is_unsafe_and_no_other() {
    for path in ["host/src/main.rs", "host/core/src/lib.rs"] {
        assert!(read(path).contains("#![forbid(unsafe_code)]"), "{path} does not forbid unsafe code");
    }
    assert!(read("host/src/lib.rs").contains("#![deny(unsafe_code)]"));
    // Reading compiled code back is the one thing that has no safe form.
    let allows = |path: &String| path.starts_with("host/src/") && read(path).contains("allow(unsafe_code");
    let allowing: Vec<String> = tracked().into_iter().filter(|path| path.ends_with(".rs")).filter(allows).collect();
    assert_eq!(allowing, ["host/src/sandbox/cache.rs"]);
    assert_eq!(read("host/src/sandbox/cache.rs").matches("unsafe {").count(), 1);
}

/// SHA-256 over the files of `wit/`, by name, for each version that was released.
const WIT: [(&str, &str); 1] = [("0.1.0", "a61742f85337a901174e118974a58bd941f17cf9b8209f376c24d933c3cad126")];

#[test]
fn the_wit_package_is_what_strategies_were_compiled_against() {
    let mut hash = sha2::Sha256::new();
    for path in tracked().into_iter().filter(|path| path.starts_with("wit/") && path.ends_with(".wit")) {
        let text = read(&path);
        assert!(!text.contains('\r'), "{path} has carriage returns");
        hash.update(format!("{path}\n{}\n{text}", text.len()));
    }
    let found: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    let world = read("wit/world.wit");
    let version = world.split("package serin:decision@").nth(1).and_then(|rest| rest.split(';').next());
    let version = version.expect("wit/world.wit names its package's version");
    let released = WIT.iter().find(|(known, _)| *known == version).map(|(_, digest)| *digest);
    assert_eq!(
        Some(&*found),
        released,
        "wit/ is not serin:decision@{version} as it was released. Every strategy that was ever compiled depends on it, so \
         a released version is frozen. Take the change back, or make it a version of its own: where only an import or an \
         optional export is added, the next 0.1.z; else 0.2.0 beside 0.1.0, with an adapter for the old one. Then put the \
         new version and its digest into the list in tests/tidy.rs, and leave the lines that are there as they are."
    );
    assert!(
        read("host/src/registry/artifact.rs").contains(&format!("const WIT: &str = \"{version}\";")),
        "host/src/registry/artifact.rs names another version than wit/world.wit"
    );
}

#[test]
fn there_is_one_wasmtime() {
    let lock = read("Cargo.lock");
    let versions: Vec<&str> = lock
        .split("[[package]]")
        .filter_map(|package| package.split("name = \"wasmtime\"\nversion = ").nth(1)?.lines().next())
        .collect();
    assert_eq!(versions.len(), 1, "two engines would have two sets of limits: {versions:?}");
}

#[test]
fn no_file_holds_a_path_of_somebodys_machine() {
    // Written apart, so that this file passes.
    let paths = [concat!("/ro", "ot/"), concat!("/ho", "me/"), concat!("/wo", "rk/"), concat!("/Us", "ers/")];
    let named: Vec<String> = tracked()
        .into_iter()
        .filter_map(|path| {
            let bytes = std::fs::read(root().join(&path)).ok()?;
            let holds = |word: &&str| bytes.windows(word.len()).any(|window| window == word.as_bytes());
            Some(format!("{path}: {}", paths.iter().find(|word| holds(word))?))
        })
        .collect();
    assert!(named.is_empty(), "{}", named.join("\n"));
}

/// Where a path in a document may begin.
const BASES: [&str; 4] = ["", "host/src", "host/core/src", "host/demo"];

#[test]
fn documents_speak_of_files_that_are_there() {
    let mut missing = Vec::new();
    for document in ["README.md", "ARCHITECTURE.md"] {
        let text = read(document);
        // Every second part is between backticks; blocks of code have none inside.
        for word in text.split("```").step_by(2).flat_map(|prose| prose.split('`').skip(1).step_by(2)) {
            if is_path(word) && !BASES.iter().any(|base| Path::new(&root()).join(base).join(word).exists()) {
                missing.push(format!("{document}: `{word}`"));
            }
        }
    }
    assert!(missing.is_empty(), "these are not there: {}", missing.join(", "));
}

/// Says whether a word in backticks names a file or folder of the repository: not a URL's path,
/// not a placeholder, not a media type.
fn is_path(word: &str) -> bool {
    let plain = word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "/._-".contains(c));
    let made = word.starts_with("target/") || word.contains("dist/") || word.contains("data/serin");
    plain
        && !word.starts_with(['/', '.'])
        && !made
        && !word.starts_with("application/")
        && (word.contains('/') || word.ends_with(".rs") || word.ends_with(".md"))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}
