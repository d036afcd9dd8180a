//! The console in a real browser: Chromium, driven by the scripts in `browser/`. One browser does all of it,
//! because starting one takes longer than most of what it is asked.

mod scene;

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::json;

use super::{admit, outreach, watched};
use crate::support::{Deployment, Host, collections, root};
use scene::Scene;

/// The folder of what is built, into which `make setup` puts the packages.
fn built() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("in the target folder").to_path_buf()
}

/// Markup that would run where it is not text.
const MARKUP: &str = "<img src=x onerror=document.title='run'>";

/// A deployment with one running experiment, in whose texts there is markup.
fn marked_up() -> Deployment {
    let deployment = watched();
    let path = "experiments/outreach-score.toml";
    deployment.edit(path, "owner = \"collections-science\"", &format!("owner = \"{MARKUP}\""));
    let text = "Does a score of the risk of default choose better outreach than the rules alone?";
    deployment.edit(path, text, MARKUP);
    deployment
}

/// A deployment that asks who somebody is, with the tokens of a reader and of an operator.
fn guarded() -> (Deployment, String, String) {
    let deployment = collections();
    let reader = admit(&deployment, "rita", "read", &[]);
    let operator = admit(&deployment, "olga", "read,operate", &[]);
    (deployment, reader, operator)
}

#[test]
fn every_page_works_in_a_browser() {
    let scene = Scene::play();
    let deployment = marked_up();
    let plain = Host::start(&deployment).ready();
    (0..20).for_each(|n| drop(plain.decide(&outreach(&format!("b-{n}")))));
    let addresses = [&plain.public, &plain.admin].map(|client| client.address.clone());
    let (closed, reader, operator) = guarded();
    let asking = Host::start(&closed).ready();
    let told = json!({
        "scene": { "origin": format!("http://{}", scene.admin.address), "decision": scene.decision, "unit": scene.unit },
        "plain": { "origin": format!("http://{}", addresses[1]), "markup": MARKUP },
        "guarded": { "origin": format!("http://{}", asking.admin.address), "reader": reader, "operator": operator },
        "packages": built().join("browser"),
        "pictures": built().join("screenshots"),
    });
    let mut node = Command::new("node")
        .args(["--test-reporter=spec", "--test-reporter-destination=stderr"])
        .arg(root().join("tests/console/browser/console.test.js"))
        .env("SERIN_CONSOLE", told.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("node runs; `make setup` installs it");
    let (mut answers, mut plain) = (node.stdin.take().expect("piped"), Some(plain));
    // Each line of their output asks for something, and the scripts wait until it is done.
    for line in BufReader::new(node.stdout.take().expect("piped")).lines() {
        match line.expect("text").as_str() {
            "kill" => plain.take().expect("it runs").kill(),
            "start" => plain = Some(Host::start_at(&deployment, &addresses).ready()),
            other => panic!("the scripts ask for {other:?}; valid: kill, start"),
        }
        writeln!(answers, "done").expect("node listens");
    }
    assert!(node.wait().expect("ends").success(), "see the scripts' report above");
}
