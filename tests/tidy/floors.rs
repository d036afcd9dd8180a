//! The house has floors: a module imports downward only, and those on one floor don't know
//! each other.

use std::collections::BTreeMap;

use super::SourceFile;
use super::source::rust;
use super::tables::{quoted, table};

/// The modules of the host's crate by floor, as ARCHITECTURE.md has them.
struct Floors(BTreeMap<String, u32>);

impl Floors {
    fn read() -> Self {
        let mut floors = BTreeMap::new();
        for row in table("floor") {
            let floor: u32 = row[0].parse().unwrap_or_else(|_| panic!("'{}' is no floor", row[0]));
            for module in quoted(&row[1]) {
                assert_eq!(floors.insert(module, floor), None, "a module of floor {floor} is there twice");
            }
        }
        Self(floors)
    }

    fn of(&self, module: &str) -> Option<u32> {
        self.0.get(module).copied()
    }
}

/// The modules at the crate's root that a line names: `crate::X`, `crate::{X, Y}`, or as many
/// `super::` as lead there.
fn named(line: &str, depth: usize) -> Vec<String> {
    let mut modules = Vec::new();
    for start in ["crate::".to_owned(), "serin::".to_owned(), "super::".repeat(depth)] {
        for (at, _) in line.match_indices(&start) {
            let is_whole = !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':');
            if !is_whole {
                continue;
            }
            let rest = &line[at + start.len()..];
            match rest.strip_prefix('{') {
                Some(group) => modules.extend(group.split([',', '}']).map(first_word)),
                None => modules.push(first_word(rest)),
            }
        }
    }
    // What begins with a capital is no module, and a lone `super::` may name anything of a file.
    modules
        .retain(|module| module.starts_with(|c: char| c.is_ascii_lowercase()) && module != "super" && module != "self");
    modules
}

fn first_word(text: &str) -> String {
    text.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// The module that a file belongs to, and how many `super::` lead from it to the crate's root.
fn place(path: &str) -> Option<(String, usize)> {
    let inside = path.strip_prefix("host/src/")?.strip_suffix(".rs")?;
    let parts: Vec<&str> = inside.split('/').collect();
    let depth = parts.len() - usize::from(parts.last() == Some(&"mod"));
    Some((parts[0].to_owned(), depth))
}

fn upward(file: &SourceFile, floors: &Floors) -> Vec<String> {
    let Some((module, depth)) = place(&file.path).filter(|(module, _)| module != "lib") else {
        return Vec::new();
    };
    let Some(own) = floors.of(&module) else {
        return vec![format!(
            "{}: module '{module}' has no floor yet: give it one in the table of ARCHITECTURE.md",
            file.path
        )];
    };
    let mut found = Vec::new();
    for (number, line) in file.shipped() {
        if line.contains("crate::{") && !line.contains('}') {
            found.push(format!(
                "{}:{number}: an import over several lines is not seen here; write one a module",
                file.path
            ));
        }
        for other in named(line, depth).into_iter().filter(|other| *other != module) {
            // The name of a function or type at the root, not of a module.
            let Some(others) = floors.of(&other) else { continue };
            if others >= own {
                found.push(format!("{}:{number}: {module} (floor {own}) imports {other} (floor {others})", file.path));
            }
        }
    }
    found
}

#[test]
fn a_module_imports_downward_only() {
    let files = rust();
    assert!(files.iter().filter(|file| place(&file.path).is_some()).count() > 40, "the host's source is where it was");
    let floors = Floors::read();
    let found: Vec<String> = files.iter().flat_map(|file| upward(file, &floors)).collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
    // A floor of a module that is gone would be a rule about nothing.
    let is_there =
        |module: &String| files.iter().any(|file| place(&file.path).is_some_and(|(name, _)| name == *module));
    let gone: Vec<&String> = floors.0.keys().filter(|module| *module != "serin-core" && !is_there(module)).collect();
    assert!(gone.is_empty(), "ARCHITECTURE.md has floors of modules that are not there: {gone:?}");
}

#[test]
fn every_way_to_import_upward_is_seen() {
    let file = |path: &str, line: &str| SourceFile { path: path.to_owned(), text: format!("//! A file.\n{line}\n") };
    let floors = Floors::read();
    for (path, line) in [
        ("host/src/decide/gather.rs", "use crate::http::Problem;"),
        ("host/src/decide/gather.rs", "use crate::{clock::Clock, http};"),
        ("host/src/decide/gather.rs", "    let x = crate::app::check(path);"),
        ("host/src/decide/gather.rs", "use super::super::http::Problem;"),
        ("host/src/decide/mod.rs", "use super::http::Problem;"),
        ("host/src/clock.rs", "use crate::telemetry::Metrics;"),
        ("host/src/features/embedded.rs", "use crate::ledger::Ledger;"),
        ("host/src/decide/gather.rs", "use crate::{\n    http,\n};"),
        ("host/src/new/mod.rs", ""),
    ] {
        assert_eq!(upward(&file(path, line), &floors).len(), 1, "{path}: {line}");
    }
    for (path, line) in [
        ("host/src/decide/gather.rs", "use crate::clock::Clock; // not crate::http"),
        ("host/src/decide/gather.rs", "use super::http_like::Thing;"),
        ("host/src/decide/gather.rs", "use crate::decide::Point;"),
        ("host/src/decide/gather.rs", "#[cfg(test)]\nuse crate::http::Problem;"),
        ("host/src/lib.rs", "pub use crate::cli::main;"),
    ] {
        assert_eq!(upward(&file(path, line), &floors), Vec::<String>::new(), "{path}: {line}");
    }
}
