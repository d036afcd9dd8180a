//! Artifacts in an OCI registry, a real one: pushed, pulled, pinned, and refused where they are not
//! what they should be.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::support::{eventually, outreach_rules, run, with_nonce};

/// Debian's docker-registry, on a port and in a folder of its own.
struct Registry {
    child: Child,
    address: String,
    dir: tempfile::TempDir,
}

impl Registry {
    fn start() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = free.local_addr().expect("bound").to_string();
        drop(free);
        let storage = dir.path().join("storage");
        let config = format!(
            "version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: {address}\n",
            storage.display()
        );
        let file = dir.path().join("config.yml");
        std::fs::write(&file, config).expect("writes");
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("docker-registry: make setup installs it");
        eventually("the registry answers", Duration::from_secs(20), || {
            ureq::get(format!("http://{address}/v2/")).call().is_ok().then_some(())
        });
        Self { child, address, dir }
    }

    /// The file in which a blob lies.
    fn blob(&self, digest: &str) -> PathBuf {
        let hex = digest.trim_start_matches("sha256:");
        let blobs = self.dir.path().join("storage/docker/registry/v2/blobs/sha256");
        blobs.join(&hex[..2]).join(hex).join("data")
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path")
}

#[test]
fn an_artifact_goes_to_a_registry_and_comes_back_pinned_by_digest() {
    let registry = Registry::start();
    let (source, plugins) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let file = source.path().join("outreach-rules-1.0.0.wasm");
    std::fs::write(&file, outreach_rules()).expect("writes");
    let reference = format!("{}/strategies/outreach-rules:1.0.0", registry.address);
    let pushed = run(["plugin", "push", text(&file), &reference]);
    assert_eq!(pushed.code, Some(0), "{}", pushed.stderr);
    let pinned = pushed.stdout.lines().find_map(|line| line.strip_prefix("pinned: ")).expect("a pin").to_owned();

    // The layout that other tools read: one Wasm layer, and a config that says what it is.
    let url = format!("http://{}/v2/strategies/outreach-rules/manifests/1.0.0", registry.address);
    let accept = "application/vnd.oci.image.manifest.v1+json";
    let mut answer = ureq::get(url).header("accept", accept).call().expect("the manifest");
    let manifest: Value = serde_json::from_str(&answer.body_mut().read_to_string().expect("text")).expect("JSON");
    assert_eq!(manifest["config"]["mediaType"], "application/vnd.wasm.config.v0+json");
    assert_eq!(manifest["layers"][0]["mediaType"], "application/wasm");
    let digest = serin_core::digest(&outreach_rules());
    assert_eq!((&manifest["mediaType"], &manifest["layers"][0]["digest"]), (&accept.into(), &digest.clone().into()));

    let into = text(plugins.path());
    let pulled = run(["plugin", "pull", &pinned, "--into", into]);
    assert_eq!(pulled.code, Some(0), "{}", pulled.stderr);
    let artifact = plugins.path().join("outreach-rules-1.0.0.wasm");
    assert_eq!(std::fs::read(&artifact).expect("pulled"), outreach_rules());
    let lock = std::fs::read_to_string(plugins.path().join("plugins.lock")).expect("a lock");
    let manifest_digest = pinned.split_once('@').expect("a digest").1;
    assert!(lock.contains(&digest) && lock.contains(manifest_digest), "{lock}");
    // What is lost comes back as the lock names it.
    std::fs::remove_file(&artifact).expect("removes");
    assert_eq!(run(["plugin", "pull", "--into", into]).code, Some(0));
    assert_eq!(std::fs::read(&artifact).expect("restored"), outreach_rules());

    // A tag that was moved to another artifact of the same version is refused.
    std::fs::write(&file, with_nonce(&outreach_rules(), 7)).expect("writes");
    assert_eq!(run(["plugin", "push", text(&file), &reference]).code, Some(0));
    let moved = run(["plugin", "pull", &reference, "--into", into]);
    assert!(moved.code == Some(1) && moved.stderr.contains("a published version does not change"), "{}", moved.stderr);
    assert_eq!(std::fs::read(&artifact).expect("still there"), outreach_rules(), "nothing is half-applied");
    assert_eq!(run(["plugin", "pull", &reference, "--into", into, "--update"]).code, Some(0));
    assert_ne!(std::fs::read(&artifact).expect("updated"), outreach_rules());

    // Other bytes than the digest says are no artifact.
    let blob = registry.blob(&digest);
    let mut bytes = std::fs::read(&blob).expect("the blob");
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&blob, bytes).expect("writes");
    let served = run(["plugin", "pull", &pinned, "--into", into, "--update"]);
    assert_eq!(served.code, Some(1));
    assert!(served.stderr.contains("digest") || served.stderr.contains("sha256:"), "{}", served.stderr);
}

#[test]
fn a_registry_that_is_down_or_refuses_is_said_plainly() {
    let plugins = tempfile::tempdir().expect("a folder");
    let into = text(plugins.path());
    let said = |reference: &str, needle: &str| {
        let pulled = run(["plugin", "pull", reference, "--into", into]);
        assert!(pulled.code == Some(1) && pulled.stderr.contains(needle), "{needle}: {}", pulled.stderr);
    };
    said("127.0.0.1:9/x/y:1", "127.0.0.1:9/x/y:1: ");
    said("outreach-rules:1.0.0", "names no registry; valid: HOST/REPOSITORY:TAG");
    let registry = Registry::start();
    said(&format!("{}/x/y:1", registry.address), "manifest unknown");
    assert_eq!(std::fs::read_dir(plugins.path()).expect("a folder").count(), 0, "nothing was written");
    let nowhere = run(["plugin", "pull", "127.0.0.1:9/x/y:1", "--into", "no-such-folder"]);
    assert!(nowhere.stderr.contains("is no folder"), "{}", nowhere.stderr);
}
