//! The demo, as `make demo` plays it: each thing that it says it has checked, and its exit
//! status tells.

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::process::{Command, Stdio};

use crate::support::{Client, outreach_rules, outreach_score, root, serin};

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
    let mut child = Command::new(serin())
        .args(["demo", "--listen", &listen, "--admin", &admin])
        .current_dir(root())
        .env("CARGO_TARGET_DIR", target.path())
        .stdout(Stdio::piped())
        .spawn()
        .expect("serin runs");
    let mut said = String::new();
    let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
    while !said.contains("change a file and watch") {
        assert!(stdout.read_line(&mut said).expect("reads") > 0, "it ended: {said}");
    }
    // While it is up, the pages that it has named can be opened.
    let pages = said.split("http://").skip(1).filter_map(|rest| rest.split([' ', '\n', ',', '\'']).next());
    let pages: Vec<(&str, &str)> = pages.filter_map(|page| page.split_once('/')).collect();
    for (address, page) in &pages {
        if !page.starts_with("v1/") {
            assert_eq!(Client::new(address).get(&format!("/{page}")).status, 200, "http://{address}/{page}");
        }
    }
    assert!(pages.iter().any(|(address, page)| *address != admin && *page == "experiments/better"), "{pages:?}");
    let broken = Client::new(&admin).get("/").text;
    assert!(broken.contains("outreach-rules-1.2.0.wasm"), "step 6 says that the console has it: {broken}");
    Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill runs");
    assert!(child.wait().expect("it ends").success(), "{said}");
    for part in [
        "One decision",
        "one experiment",
        "aborted by the host itself",
        "none lost",
        "failed:",
        "are in the ledger",
        "0 different",
        "'http://",
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
