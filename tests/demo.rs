//! The demo, as `make demo` plays it: each thing that it says it has checked, and its exit
//! status tells.

use std::net::TcpListener;
use std::process::Command;

use crate::support::{outreach_rules, outreach_score, root, serin};

#[test]
fn the_demo_plays_to_its_end() {
    // Built before, so that the demo's own build does not run beside another test's.
    outreach_rules();
    outreach_score();
    crate::support::artifact("plugins/outreach-tenure", "outreach-tenure-1.0.0.wasm");
    crate::support::artifact("plugins/outreach-rules-next", "outreach-rules-1.1.0.wasm");
    let free = || TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port").to_string();
    let (listen, admin) = (free(), free());
    let target = tempfile::tempdir().expect("a folder");
    let output = Command::new(serin())
        .args(["demo", "--once", "--listen", &listen, "--admin", &admin])
        .current_dir(root())
        .env("CARGO_TARGET_DIR", target.path())
        .output()
        .expect("serin runs");
    let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}\n{errors}");
    for part in [
        "One decision",
        "one experiment",
        "aborted by the host itself",
        "none lost",
        "failed:",
        "are in the ledger",
        "0 different",
        "160000 decisions over 60 days",
        "was taken out after",
        "shipped on day",
        "fewer calls",
        "cured more, and was stopped on day",
        "replays to the byte",
        "Serin 1",
    ] {
        assert!(said.contains(part), "{part:?} is not in:\n{said}");
    }
}

#[test]
fn a_taken_port_is_said_plainly() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("bound").to_string();
    let target = tempfile::tempdir().expect("a folder");
    let output = Command::new(serin())
        .args(["demo", "--once", "--listen", &address])
        .current_dir(root())
        .env("CARGO_TARGET_DIR", target.path())
        .output()
        .expect("serin runs");
    assert_eq!(output.status.code(), Some(1));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains(&address) && errors.contains("--listen"), "{errors}");
}
