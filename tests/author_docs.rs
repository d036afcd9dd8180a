//! What guest-sdk/README.md tells a strategy's author is run as it stands, block by block.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serin_core::case::Case;
use serin_core::limits::{Limits, PartialLimits};
use serin_core::manifest::Manifest;

use crate::support::{eventually, root, serin};

const DOCUMENT: &str = "guest-sdk/README.md";
/// Addresses in the document, in whose place free ones are taken.
const ADDRESSES: [&str; 2] = ["127.0.0.1:8080", "127.0.0.1:8081"];
/// Between what one block printed and the next; no program prints it.
const MARK: char = '\u{1e}';
/// Shorter than the runner's patience, so that it is this test that ends what it has started.
const PATIENCE: Duration = Duration::from_secs(300);

/// A fenced block.
struct Block {
    /// The line of its fence.
    line: usize,
    form: Form,
    text: String,
}

enum Form {
    /// Run by bash.
    Commands,
    /// Occurs in what the commands before it printed, `…` standing for anything.
    Output,
    /// Written at this path below the working directory.
    File(String),
    /// Occurs in this file of the repository.
    Excerpt(String),
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn blocks(document: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut is_open = false;
    for (line, text) in document.lines().enumerate().map(|(at, text)| (at + 1, text)) {
        match (text.strip_prefix("```"), is_open) {
            (Some(""), true) => is_open = false,
            (Some(info), false) => {
                is_open = true;
                let path = |key: &str| Some(info.split_once(key)?.1.to_owned());
                let form = match info {
                    "sh" => Form::Commands,
                    "text" => Form::Output,
                    _ => path(" file=")
                        .map(Form::File)
                        .or_else(|| path(" from=").map(Form::Excerpt))
                        .unwrap_or_else(|| panic!("{DOCUMENT}:{line}: ```{info} is not run")),
                };
                blocks.push(Block { line, form, text: String::new() });
            }
            (None, true) => {
                let block = blocks.last_mut().expect("one is open");
                block.text.extend([text, "\n"]);
            }
            (None, false) => {
                assert!(!text.starts_with("    "), "{DOCUMENT}:{line}: a block without a fence is not run")
            }
            (Some(info), true) => panic!("{DOCUMENT}:{line}: ```{info} within a block"),
        }
    }
    assert!(!is_open, "{DOCUMENT}: the last block has no end");
    blocks
}

/// Bash, and whatever it has started. Gone when this is dropped.
struct Shell(Child);

impl Drop for Shell {
    fn drop(&mut self) {
        // The group bears the shell's id. Where nothing of it is left there is nothing to kill.
        let group = format!("-{}", self.0.id());
        let _ = Command::new("kill").args(["-KILL", "--", &group]).stderr(Stdio::null()).status();
        let _ = self.0.wait();
    }
}

/// Two addresses that nobody listens on, as far as can be known.
fn free() -> [String; 2] {
    let listeners = ADDRESSES.map(|_| std::net::TcpListener::bind("127.0.0.1:0").expect("a port"));
    listeners.map(|listener| listener.local_addr().expect("bound").to_string())
}

/// One script of all commands and files, in the document's order: a shell keeps its variables and its jobs from one
/// block to the next, as the reader's does.
fn script(blocks: &[Block], files: &Path) -> String {
    let mut script = String::new();
    for Block { line, form, text } in blocks {
        match form {
            Form::Commands => write!(script, "printf '\\n{MARK}%s\\n' {line}\n{text}").expect("written"),
            Form::File(path) => {
                assert!(Path::new(path).is_relative() && !path.contains(".."), "{DOCUMENT}:{line}: {path}");
                let file = files.join(line.to_string());
                std::fs::write(&file, text).expect("writes");
                let folder = Path::new(path).parent().expect("a file").display();
                writeln!(script, "mkdir -p './{folder}'\ncp '{}' '{path}'", file.display()).expect("written");
            }
            Form::Output | Form::Excerpt(_) => {}
        }
    }
    script
}

/// Runs the script, and returns what it printed and whether it came to its end.
fn run(script: &str, work: &Path, files: &Path) -> (String, bool) {
    let (path, printed) = (files.join("script"), files.join("printed"));
    std::fs::write(&path, script).expect("writes");
    // A file and not a pipe: a host in the background would keep a pipe open.
    let out = std::fs::OpenOptions::new().create(true).append(true).open(&printed).expect("a file");
    // Beside the examples' own, so that nothing is compiled twice.
    let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| root().join("target").into());
    let programs = Path::new(serin()).parent().expect("in a folder").to_path_buf();
    let search = std::env::var_os("PATH").unwrap_or_default();
    let search = std::env::join_paths(std::iter::once(programs).chain(std::env::split_paths(&search))).expect("a path");
    let child = Command::new("bash")
        .args(["-euo", "pipefail"])
        .arg(&path)
        .current_dir(work)
        .env("PATH", search)
        .env("CARGO_TARGET_DIR", target)
        .env("SERIN_SDK", root().join("guest-sdk"))
        .env_remove("RUST_LOG")
        .env_remove("RUST_BACKTRACE")
        .stdin(Stdio::null())
        .stdout(out.try_clone().expect("a file"))
        .stderr(out)
        .process_group(0)
        .spawn()
        .expect("bash runs");
    let mut shell = Shell(child);
    let status = eventually("the document's commands end", PATIENCE, || shell.0.try_wait().expect("waits"));
    (std::fs::read_to_string(printed).expect("UTF-8"), status.success())
}

/// Whether a line is as it is shown; `…` stands for anything.
fn is_like(shown: &str, line: &str) -> bool {
    let Some((before, after)) = shown.split_once('…') else { return shown == line };
    line.strip_prefix(before)
        .is_some_and(|rest| (0..=rest.len()).any(|at| rest.get(at..).is_some_and(|rest| is_like(after, rest))))
}

/// Whether the lines begin as they are shown; a line of `…` stands for any number of them.
fn begins_like(shown: &[&str], lines: &[&str]) -> bool {
    match (shown, lines) {
        ([], _) => true,
        (["…", rest @ ..], lines) => (0..=lines.len()).any(|at| begins_like(rest, &lines[at..])),
        ([first, shown @ ..], [line, lines @ ..]) => is_like(first, line) && begins_like(shown, lines),
        (_, []) => false,
    }
}

fn occurs(shown: &str, printed: &str) -> bool {
    let (shown, lines): (Vec<&str>, Vec<&str>) = (shown.lines().collect(), printed.lines().collect());
    (0..=lines.len()).any(|at| begins_like(&shown, &lines[at..]))
}

#[test]
fn what_the_author_is_told_runs_as_it_stands() {
    let addresses = free();
    let put = |text: &str| ADDRESSES.iter().zip(&addresses).fold(text.to_owned(), |text, (a, b)| text.replace(a, b));
    let mut blocks = blocks(&read(DOCUMENT));
    blocks.iter_mut().for_each(|block| block.text = put(&block.text));
    for block in &blocks {
        if let Form::Excerpt(path) = &block.form {
            assert!(read(path).contains(&block.text), "{DOCUMENT}:{}: this is not in {path}", block.line);
        }
    }
    let (work, files) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let (printed, is_whole) = run(&script(&blocks, files.path()), work.path(), files.path());
    let mut parts = printed.split(MARK).skip(1).map(|part| part.split_once('\n').expect("the line of a block"));
    let mut current = ("", "");
    for block in &blocks {
        let at = format!("{DOCUMENT}:{}", block.line);
        match block.form {
            Form::Commands => {
                current = parts.next().unwrap_or_else(|| panic!("{DOCUMENT}:{} failed:\n{}", current.0, current.1));
                assert_eq!(current.0, block.line.to_string(), "blocks are run in their order");
            }
            Form::Output => {
                assert!(!current.0.is_empty(), "{at}: nothing was run before this");
                assert!(
                    occurs(&block.text, current.1),
                    "{at}: shown is\n{}\nbut printed was\n{}",
                    block.text,
                    current.1
                );
            }
            Form::File(_) | Form::Excerpt(_) => {}
        }
    }
    assert!(is_whole, "{DOCUMENT}:{} failed:\n{}", current.0, current.1);
}

#[test]
fn output_is_shown_as_it_was_but_for_what_is_left_out() {
    let printed = "one\ntwo (3 us, fuel 7)\nthree\nfour\n";
    for shown in ["one\ntwo (… us, fuel …)\n", "two …\n…\nfour\n", "…\nthree\n", "three\nfour\n"] {
        assert!(occurs(shown, printed), "{shown}");
    }
    for shown in ["one\nthree\n", "tw\n", "two (… ms)\n", "four\n…\none\n", "five\n"] {
        assert!(!occurs(shown, printed), "{shown}");
    }
}

#[test]
#[should_panic(expected = "```rust is not run")]
fn a_block_that_is_not_run_is_refused() {
    blocks("```rust\nfn main() {}\n```\n");
}

/// The keys in the first column of the tables below a heading.
fn keys(heading: &str) -> Vec<(String, String)> {
    let text = read(DOCUMENT);
    let section = text.split("\n## ").find(|part| part.lines().next() == Some(heading)).expect("the heading");
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    rows.flat_map(|row| {
        let (first, rest) = row[2..].split_once('|').expect("cells");
        let keys: Vec<String> = first.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        keys.into_iter().map(move |key| (key, rest.to_owned()))
    })
    .collect()
}

/// The names that a parser says it would have taken in the place of `unknown`.
fn taken(error: &str) -> BTreeSet<String> {
    let (_, list) = error.split_once("expected ").unwrap_or_else(|| panic!("no list: {error}"));
    list.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Those of `keys` below `prefix`, without it; of the empty one those at the top, and what others lie below.
fn below(keys: &[(String, String)], prefix: &str) -> BTreeSet<String> {
    let inside = keys.iter().filter_map(|(key, _)| key.strip_prefix(prefix));
    inside.filter_map(|key| key.split('.').next()).map(str::to_owned).collect()
}

#[test]
fn every_key_of_a_manifest_and_a_case_is_told_and_no_other() {
    let told = keys("plugin.toml");
    let head = "name = \"p\"\nversion = \"1.0.0\"\ndecision_point = \"d\"\n";
    for (prefix, table) in [
        ("", ""),
        ("actions.", "[actions.a]\n"),
        ("features.", "[actions.a]\n[[features]]\n"),
        ("models.", "[actions.a]\n[[models]]\n"),
        ("parameters.", "[actions.a]\n[parameters.p]\n"),
    ] {
        let error = Manifest::parse(&format!("{head}{table}unknown = 1\n")).expect_err("an unknown key");
        assert_eq!(below(&told, prefix), taken(&error.to_string()), "{prefix}");
    }
    let told = keys("Cases");
    for (prefix, case) in [
        ("", r#"{ "unknown": 1 }"#),
        ("calls.", r#"{ "name": "n", "calls": [{ "unknown": 1 }] }"#),
        ("expect.", r#"{ "name": "n", "expect": { "unknown": 1 } }"#),
    ] {
        let error = serde_json::from_str::<Case>(case).expect_err("an unknown key");
        assert_eq!(below(&told, prefix), taken(&error.to_string()), "{prefix}");
    }
}

#[test]
fn the_limits_that_are_told_are_the_defaults() {
    let told = keys("Limits");
    let text = read(DOCUMENT);
    let (_, no_zero) = text.split_once("0 is an error for").expect("which may not be 0");
    let no_zero: Vec<&str> = no_zero.split(". ").next().expect("a sentence").split('`').skip(1).step_by(2).collect();
    let defaults = serde_json::to_value(Limits::default()).expect("JSON");
    for (key, default) in defaults.as_object().expect("limits") {
        let (_, row) = told.iter().find(|(known, _)| known == key).unwrap_or_else(|| panic!("{key} is not told"));
        let number = row.split('|').next().expect("a cell").trim().replace('_', "");
        assert_eq!(number, default.to_string(), "{key}");
        let zero: PartialLimits = serde_json::from_value(serde_json::json!({ key.as_str(): 0 })).expect("limits");
        assert_eq!(zero.zero_key().is_some(), no_zero.contains(&key.as_str()), "{key} = 0");
    }
}

/// The anchors of a document's headings.
fn headings(text: &str) -> Vec<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    headings.map(|line| line.trim_start_matches(['#', ' ']).to_lowercase().replace(' ', "-")).collect()
}

#[test]
fn every_link_leads_to_a_file_or_a_heading() {
    let text = read(DOCUMENT);
    let folder = root().join("guest-sdk");
    for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
        let (file, heading) = link.split_once('#').map_or((link, None), |(file, heading)| (file, Some(heading)));
        let linked = folder.join(if file.is_empty() { "README.md" } else { file });
        let leads = linked.exists()
            && heading.is_none_or(|heading| {
                let text = std::fs::read_to_string(&linked).expect("reads");
                headings(&text).iter().any(|known| known == heading)
            });
        assert!(leads, "{DOCUMENT} links to {link}, which is not there");
    }
}
