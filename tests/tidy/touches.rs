//! Some things only one place touches: the engine, the databases, the clock. Where there is
//! a second place, it stands here with its reason.

use super::SourceFile;
use super::source::rust;

/// What is touched, how it shows in source, and who may.
struct Ban {
    what: &'static str,
    words: &'static [&'static str],
    allowed: &'static [(&'static str, &'static str)],
}

const BANS: &[Ban] = &[
    Ban { what: "the engine", words: &["wasmtime::"], allowed: &[("host/src/sandbox/", "it is the sandbox")] },
    Ban {
        what: "ONNX Runtime",
        words: &["ort::"],
        allowed: &[("host/src/models/onnx.rs", "it is the runtime's only user")],
    },
    Ban {
        what: "SQL",
        words: &["rusqlite::"],
        allowed: &[
            ("host/src/ledger/", "the ledger is a database"),
            ("host/src/features/embedded.rs", "the feature store is a database"),
            ("host/src/features/mod.rs", "an error of the feature store carries the database's"),
        ],
    },
    Ban {
        what: "the HTTP server",
        words: &["axum::", "utoipa::", "hyper::"],
        allowed: &[
            ("host/src/http/", "it is HTTP"),
            ("host/src/app/host.rs", "the composition root binds the listeners and serves the routers"),
        ],
    },
    Ban {
        what: "an HTTP client",
        words: &["ureq::", "reqwest::"],
        allowed: &[("host/src/cli/", "commands ask a running host"), ("host/src/experiments/hooks.rs", "webhooks")],
    },
    Ban { what: "the command line", words: &["clap::"], allowed: &[("host/src/cli/", "it is the command line")] },
    Ban {
        what: "the file watcher",
        words: &["notify::", "notify_debouncer_full::"],
        allowed: &[("host/src/registry/watch.rs", "it is the watcher")],
    },
    Ban {
        what: "TOML",
        words: &["toml::from_str", "toml::from_slice"],
        allowed: &[
            ("host/src/cli/oci.rs", "the lock of what was pulled"),
            ("host/src/config/", "it reads serin.toml"),
            ("host/core/src/manifest.rs", "it reads plugin.toml"),
            ("host/core/src/experiment/mod.rs", "it reads experiment files"),
        ],
    },
    Ban {
        what: "the system's time",
        words: &["SystemTime::now", "Timestamp::now", "Zoned::now", "UNIX_EPOCH"],
        allowed: &[
            ("host/src/clock.rs", "all time that a decision sees goes through Clock"),
            ("host/src/sandbox/cache.rs", "a file's own time says when it was used last"),
        ],
    },
    Ban {
        what: "the monotonic clock",
        words: &["Instant::now"],
        allowed: &[
            ("host/src/clock.rs", "budgets and stopwatches"),
            ("host/src/decide/pool.rs", "a decision's budget begins when it is queued"),
            ("host/src/decide/fair_queue.rs", "its tests take turns by time"),
            ("host/src/http/", "latency is measured where requests arrive, and a batch has a deadline"),
            ("host/src/sandbox/mod.rs", "the time of a run is measured around the run alone"),
            ("host/src/cli/demo/", "the demo waits for its host, with a bound"),
            ("host/src/cli/dev.rs", "the author is told how long a build and a swap took"),
        ],
    },
    Ban {
        what: "entropy",
        words: &["uuid::", "rand::", "getrandom::", "RandomState::new"],
        allowed: &[("host/src/clock.rs", "what is drawn is drawn through Clock, so that it is recorded")],
    },
    Ban {
        what: "the environment",
        words: &["env::var", "env::vars", "env::current_dir", "env::temp_dir", "env::set_var"],
        allowed: &[
            ("host/src/models/onnx.rs", "ORT_DYLIB_PATH names the library"),
            ("host/src/experiments/hooks.rs", "an experiment file names the variable that holds a hook's secret"),
            ("host/src/cli/build_scripted.rs", "the virtual environment that is active"),
            ("host/src/cli/sdk.rs", "SERIN_SDK names the folder of the SDKs"),
            ("host/src/cli/caches.rs", "XDG_CACHE_HOME is where a user's programs keep what can be made again"),
            ("host/src/cli/oci.rs", "a registry's user and password"),
            ("host/src/cli/build.rs", "the compiler's folders are taken out of what is built"),
            ("host/src/cli/demo/", "CARGO_TARGET_DIR is where the demo stages its deployment"),
        ],
    },
    Ban {
        what: "signals",
        words: &["signal::unix", "libc::", "ctrlc::"],
        allowed: &[("host/src/cli/serve.rs", "a signal stops the host")],
    },
    Ban {
        what: "other programs",
        words: &["process::Command", "Command::new"],
        allowed: &[
            ("host/src/cli/build.rs", "it runs the compiler"),
            ("host/src/cli/build_scripted.rs", "it runs the SDK's build"),
            ("host/src/cli/toolchain.rs", "it looks for the compiler"),
            ("host/src/cli/demo/", "the demo runs a host of its own"),
        ],
    },
    Ban {
        what: "the log's sink",
        words: &["tracing_subscriber::"],
        allowed: &[("host/src/cli/", "the program decides where lines go, a library does not")],
    },
];

/// The core does no IO, reads no clock, and has no threads.
const CORE: &[&str] = &[
    "std::fs",
    "std::net",
    "std::io",
    "std::env",
    "std::thread",
    "std::process",
    "std::time",
    "tokio",
    "tracing",
    "println!",
    "eprintln!",
];

/// A file of the core, a word that it may use, and why.
const CORE_ALLOWED: &[(&str, &str, &str)] =
    &[("host/core/src/plan/scenario.rs", "std::thread", "runs share two threads, and each depends on its seed alone")];

/// Says whether a line names `word`, not merely something that ends like it.
fn names(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_'))
}

fn touching(file: &SourceFile) -> Vec<String> {
    if !file.path.starts_with("host/src/") && !file.path.starts_with("host/core/src/") {
        return Vec::new();
    }
    let mut found = Vec::new();
    for (number, line) in file.shipped() {
        for ban in BANS.iter().filter(|ban| !ban.allowed.iter().any(|(path, _)| file.path.starts_with(path))) {
            if ban.words.iter().any(|word| names(line, word)) {
                found.push(format!("{}:{number} touches {}: {}", file.path, ban.what, line.trim()));
            }
        }
        let is_allowed = |word: &str| CORE_ALLOWED.iter().any(|(path, known, _)| *path == file.path && *known == word);
        let banned = |word: &&&str| names(line, word) && !is_allowed(word);
        if file.path.starts_with("host/core/") && CORE.iter().find(banned).is_some() {
            found.push(format!("{}:{number} is in the core, which is arithmetic alone: {}", file.path, line.trim()));
        }
    }
    found
}

#[test]
fn what_one_place_touches_no_other_does() {
    let found: Vec<String> = rust().iter().flat_map(touching).collect();
    assert!(
        found.is_empty(),
        "{}\nMove it there, or allow it with its reason in tests/tidy/touches.rs.",
        found.join("\n")
    );
}

/// An exception that nobody needs any more is a door left open.
#[test]
fn every_exception_is_needed() {
    let files = rust();
    for ban in BANS {
        for (path, reason) in ban.allowed {
            let mut lines = files.iter().filter(|file| file.path.starts_with(path)).flat_map(SourceFile::lines);
            assert!(
                lines.any(|(_, line)| ban.words.iter().any(|word| names(line, word))),
                "{path} no longer touches {}; remove its exception ({reason})",
                ban.what
            );
        }
    }
}

#[test]
fn a_touch_is_seen_and_a_likeness_is_not() {
    let file = |path: &str, line: &str| SourceFile { path: path.to_owned(), text: line.to_owned() };
    for (path, line) in [
        ("host/src/decide/route.rs", "use wasmtime::Store;"),
        ("host/src/ledger/read.rs", "    let now = std::time::SystemTime::now();"),
        ("host/core/src/answer.rs", "use std::time::Duration;"),
    ] {
        assert_eq!(touching(&file(path, line)).len(), 1, "{path}: {line}");
    }
    for (path, line) in [
        ("host/src/decide/route.rs", "//! Not through wasmtime::Store."),
        ("host/src/decide/route.rs", "use support::report::abort::now;"),
        ("host/src/sandbox/state.rs", "use wasmtime::Store;"),
        ("tests/smoke.rs", "use wasmtime::Store;"),
    ] {
        assert_eq!(touching(&file(path, line)), Vec::<String>::new(), "{path}: {line}");
    }
}
