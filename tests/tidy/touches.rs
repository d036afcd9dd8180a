//! Some things only one place touches: the engine, the databases, the clock. ARCHITECTURE.md says what and where, and
//! every exception with its reason.

use super::SourceFile;
use super::source::rust;
use super::tables::{quoted, table};

/// What is touched, how it shows in source, and who may.
struct Ban {
    what: String,
    /// Where the rule holds.
    scope: &'static [&'static str],
    words: Vec<String>,
    allowed: Vec<String>,
}

/// The rules, from both tables.
fn bans() -> Vec<Ban> {
    let path = |place: String| if place.starts_with("host/") { place } else { format!("host/src/{place}") };
    let allowed = |cell: &str| quoted(cell).into_iter().map(path).collect();
    let everywhere = table("touched").into_iter().map(|row| Ban {
        scope: &["host/src/", "host/core/src/"],
        words: quoted(&row[1]),
        allowed: allowed(&row[2]),
        what: row[0].clone(),
    });
    let core = table("not in the core").into_iter().map(|row| Ban {
        scope: &["host/core/src/"],
        words: quoted(&row[1]),
        allowed: allowed(&row[2]),
        what: format!("{} in the core, which is arithmetic alone", row[0]),
    });
    everywhere.chain(core).collect()
}

/// Says whether a line names `word`, not merely something that ends like it.
fn names(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_'))
}

fn touching(file: &SourceFile, bans: &[Ban]) -> Vec<String> {
    let holds = |ban: &&Ban| {
        ban.scope.iter().any(|scope| file.path.starts_with(scope))
            && !ban.allowed.iter().any(|path| file.path.starts_with(path))
    };
    let bans: Vec<&Ban> = bans.iter().filter(holds).collect();
    let mut found = Vec::new();
    for (number, line) in file.shipped() {
        for ban in bans.iter().filter(|ban| ban.words.iter().any(|word| names(line, word))) {
            found.push(format!("{}:{number} touches {}: {}", file.path, ban.what, line.trim()));
        }
    }
    found
}

#[test]
fn what_one_place_touches_no_other_does() {
    let bans = bans();
    assert!(bans.len() > 15 && bans.iter().all(|ban| !ban.words.is_empty()), "the tables are read");
    let found: Vec<String> = rust().iter().flat_map(|file| touching(file, &bans)).collect();
    assert!(
        found.is_empty(),
        "{}\nMove it there, or allow it with its reason in the table of ARCHITECTURE.md.",
        found.join("\n")
    );
}

/// An exception that nobody needs any more is a door left open.
#[test]
fn every_exception_is_needed() {
    let files = rust();
    for ban in bans() {
        for path in &ban.allowed {
            let mut lines = files.iter().filter(|file| file.path.starts_with(path)).flat_map(SourceFile::lines);
            assert!(
                lines.any(|(_, line)| ban.words.iter().any(|word| names(line, word))),
                "{path} does not touch {}; remove its exception",
                ban.what
            );
        }
    }
}

#[test]
fn a_touch_is_seen_and_a_likeness_is_not() {
    let file = |path: &str, line: &str| SourceFile { path: path.to_owned(), text: line.to_owned() };
    let bans = bans();
    for (path, line) in [
        ("host/src/decide/route.rs", "use wasmtime::Store;"),
        ("host/src/ledger/read.rs", "    let now = std::time::SystemTime::now();"),
        ("host/core/src/answer.rs", "use std::time::Duration;"),
    ] {
        assert_eq!(touching(&file(path, line), &bans).len(), 1, "{path}: {line}");
    }
    for (path, line) in [
        ("host/src/decide/route.rs", "//! Not through wasmtime::Store."),
        ("host/src/decide/route.rs", "use support::report::abort::now;"),
        ("host/src/sandbox/state.rs", "use wasmtime::Store;"),
        ("tests/smoke.rs", "use wasmtime::Store;"),
    ] {
        assert_eq!(touching(&file(path, line), &bans), Vec::<String>::new(), "{path}: {line}");
    }
}
