//! What a file imports, read from its source: `use` declarations and paths in code alike.

use std::collections::{BTreeMap, BTreeSet};

use super::SourceFile;

/// The folders whose files are looked at, each the source of one crate.
const CRATES: [&str; 4] = ["host/src", "host/core/src", "guest-sdk/rust/src", "guest-sdk/rust/macros/src"];

/// The paths that begin with `root`, as their segments. Groups in braces are taken apart.
pub fn paths_from(text: &str, root: &str) -> Vec<Vec<String>> {
    text.match_indices(root)
        .filter(|(at, _)| !text[..*at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':'))
        .flat_map(|(at, _)| parse(&text[at + root.len()..]).0)
        .collect()
}

/// The paths that begin at the start of `text`, and what comes after them.
fn parse(text: &str) -> (Vec<Vec<String>>, &str) {
    let text = text.trim_start();
    if let Some(mut rest) = text.strip_prefix('{') {
        let mut paths = Vec::new();
        loop {
            rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == ',');
            let (found, after) = parse(rest);
            if found.is_empty() {
                return (paths, after.strip_prefix('}').unwrap_or(after));
            }
            paths.extend(found);
            rest = after.split_at(after.find([',', '}']).unwrap_or(after.len())).1;
        }
    }
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(text.len());
    let (segment, rest) = text.split_at(end);
    if segment.is_empty() {
        return (Vec::new(), rest);
    }
    let (tails, rest) = rest.strip_prefix("::").map_or_else(|| (Vec::new(), rest), parse);
    let begins_with = |tail: Vec<String>| [vec![segment.to_owned()], tail].concat();
    let paths =
        if tails.is_empty() { vec![begins_with(Vec::new())] } else { tails.into_iter().map(begins_with).collect() };
    (paths, rest)
}

/// The files of the crates, and which others each imports. Names that a `mod.rs` passes on count as the file's that
/// it has them from. A `mod.rs` itself is the frame of its files, not one of them.
pub fn graph(files: &[SourceFile]) -> BTreeMap<String, BTreeSet<String>> {
    let files: Vec<&SourceFile> =
        files.iter().filter(|file| CRATES.iter().any(|crate_| is_below(&file.path, crate_))).collect();
    let tree = Tree::of(&files);
    let imports = |file: &SourceFile| {
        let root = CRATES.into_iter().filter(|crate_| is_below(&file.path, crate_)).max_by_key(|crate_| crate_.len());
        let (text, folder) = (shipped(file), parent(&file.path).to_owned());
        let from_root = paths_from(&text, "crate::").into_iter().chain(paths_from(&text, "serin::"));
        let mut found: Vec<Option<String>> = from_root.map(|path| tree.resolve(root?, &path)).collect();
        let mut roots = Vec::from(["super::".to_owned()]);
        while text.contains(&roots.concat()) {
            let base = (1..roots.len()).fold(folder.as_str(), |folder, _| parent(folder));
            found.extend(paths_from(&text, &roots.concat()).iter().map(|path| tree.resolve(base, path)));
            roots.push("super::".to_owned());
        }
        found.into_iter().flatten().filter(|other| *other != file.path && !is_frame(other)).collect()
    };
    let own = files.iter().filter(|file| !is_frame(&file.path));
    own.map(|file| (file.path.clone(), imports(file))).collect()
}

/// The files that import each other, over however many others: a group a line.
pub fn circles(graph: &BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
    let reached = |from: &String| {
        let (mut seen, mut next) = (BTreeSet::new(), vec![from]);
        while let Some(file) = next.pop() {
            next.extend(graph.get(file).into_iter().flatten().filter(|other| seen.insert((*other).clone())));
        }
        seen
    };
    let reached: BTreeMap<&String, BTreeSet<String>> = graph.keys().map(|file| (file, reached(file))).collect();
    let circle = |file: &&String| {
        let all = reached[file].iter().filter(|other| reached.get(other).is_some_and(|back| back.contains(*file)));
        all.cloned().collect::<Vec<_>>().join(", ")
    };
    let circles: BTreeSet<String> =
        graph.keys().filter(|file| reached[file].contains(*file)).map(|f| circle(&f)).collect();
    circles.into_iter().collect()
}

/// Where names are found.
struct Tree {
    files: BTreeSet<String>,
    /// The file that a folder's `mod.rs` has a name from.
    passed_on: BTreeMap<(String, String), String>,
}

impl Tree {
    fn of(files: &[&SourceFile]) -> Self {
        let mut tree = Self { files: files.iter().map(|file| file.path.clone()).collect(), passed_on: BTreeMap::new() };
        for file in files.iter().filter(|file| is_frame(&file.path)) {
            let (text, folder) = (shipped(file), parent(&file.path));
            let public = ["pub use ", "pub(super) use ", "pub(crate) use "];
            for path in public.into_iter().flat_map(|root| paths_from(&text, root)) {
                let from = format!("{folder}/{}.rs", path[0]);
                if let Some(name) = path.last().filter(|_| tree.files.contains(&from)) {
                    tree.passed_on.insert((folder.to_owned(), name.clone()), from);
                }
            }
        }
        tree
    }

    fn resolve(&self, folder: &str, path: &[String]) -> Option<String> {
        let mut folder = folder.to_owned();
        for segment in path {
            let file = format!("{folder}/{segment}.rs");
            if self.files.contains(&file) {
                return Some(file);
            }
            if let Some(from) = self.passed_on.get(&(folder.clone(), segment.clone())) {
                return Some(from.clone());
            }
            folder = format!("{folder}/{segment}");
        }
        None
    }
}

fn shipped(file: &SourceFile) -> String {
    file.shipped().map(|(_, line)| line).collect::<Vec<_>>().join("\n")
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

fn is_below(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

fn is_frame(path: &str) -> bool {
    path.ends_with("/mod.rs") || path.ends_with("/lib.rs") || path.ends_with("/main.rs")
}

#[test]
fn no_two_files_import_each_other() {
    let graph = graph(&super::source::rust());
    let imports: usize = graph.values().map(BTreeSet::len).sum();
    assert!(graph.len() > 150 && imports > 200, "{} files, {imports} imports", graph.len());
    let circles = circles(&graph);
    assert!(circles.is_empty(), "these import each other; move what they share below them:\n{}", circles.join("\n"));
}

#[test]
fn every_way_to_import_each_other_is_seen() {
    let file = |path: &str, text: &str| SourceFile { path: path.to_owned(), text: text.to_owned() };
    let frame = "mod a;\nmod b;\npub use a::{Arm, A as Other};\npub use b::B;";
    for [a, b] in [
        ["use super::b::B;", "use super::a::A;"],
        ["use super::{\n    a,\n    b::{B, C},\n};", "fn f() { super::a::f() }"],
        ["use crate::m::b::B;", "use super::Arm;"],
        ["use super::super::m::B;", "use crate::{m::{Arm, x}, n};"],
    ] {
        let files = [file("host/src/m/mod.rs", frame), file("host/src/m/a.rs", a), file("host/src/m/b.rs", b)];
        assert_eq!(circles(&graph(&files)), ["host/src/m/a.rs, host/src/m/b.rs"], "{a} {b}");
    }
    let long = ["use super::b::B;", "use super::c::C;", "use super::a::A;"];
    let files: Vec<_> =
        ["a", "b", "c"].iter().zip(long).map(|(n, text)| file(&format!("host/src/m/{n}.rs"), text)).collect();
    assert_eq!(circles(&graph(&files)).len(), 1);
    for b in ["use super::Frame;", "// use super::a::A;", "#[cfg(test)]\nuse super::a::A;", "use super::a_like::A;"] {
        let files =
            [file("host/src/m/mod.rs", frame), file("host/src/m/a.rs", "use super::b::B;"), file("host/src/m/b.rs", b)];
        assert_eq!(circles(&graph(&files)), Vec::<String>::new(), "{b}");
    }
}
