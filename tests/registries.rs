//! Artifacts in an OCI registry, a real one: pushed, pulled, pinned, and refused where they are not
//! what they should be.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::signatures::{keys, sign};
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

/// The manifest of a tag, and its text.
fn manifest(registry: &Registry, tag: &str) -> Value {
    let url = format!("http://{}/v2/strategies/outreach-rules/manifests/{tag}", registry.address);
    let mut answer =
        ureq::get(url).header("accept", "application/vnd.oci.image.manifest.v1+json").call().expect("the manifest");
    serde_json::from_str(&answer.body_mut().read_to_string().expect("text")).expect("JSON")
}

/// Puts another manifest under a tag, with a layer of these bytes.
fn replace_layer(registry: &Registry, tag: &str, mut manifest: Value, bytes: &[u8]) {
    let repository = format!("http://{}/v2/strategies/outreach-rules", registry.address);
    let digest = serin_core::digest(bytes);
    let begun = ureq::post(format!("{repository}/blobs/uploads/")).send_empty().expect("begins");
    let location = begun.headers()["location"].to_str().expect("text").to_owned();
    let at = if location.contains('?') { '&' } else { '?' };
    let put = ureq::put(format!("{location}{at}digest={digest}")).header("content-type", "application/octet-stream");
    put.send(bytes).expect("puts");
    manifest["layers"][0]["digest"] = digest.into();
    manifest["layers"][0]["size"] = bytes.len().into();
    let put = ureq::put(format!("{repository}/manifests/{tag}"));
    put.header("content-type", "application/vnd.oci.image.manifest.v1+json").send(manifest.to_string()).expect("puts");
}

#[test]
fn a_compressed_artifact_is_the_same_artifact() {
    let registry = Registry::start();
    let (source, plugins) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let file = source.path().join("outreach-rules-1.0.0.wasm");
    std::fs::write(&file, outreach_rules()).expect("writes");
    let (key, _) = keys(source.path(), "science");
    sign(&file, &key, "release 7");
    let reference = format!("{}/strategies/outreach-rules:1.0.0", registry.address);
    let pushed = run(["plugin", "push", text(&file), &reference, "--compress"]);
    assert_eq!(pushed.code, Some(0), "{}", pushed.stderr);
    let whole = manifest(&registry, "1.0.0");
    let (layer, digest) = (&whole["layers"][0], serin_core::digest(&outreach_rules()));
    assert_eq!(layer["mediaType"], "application/wasm+zstd");
    assert_eq!(layer["annotations"]["serin.artifact.digest"], digest.as_str());
    let size = layer["size"].as_u64().expect("a size");
    assert!(size * 2 < outreach_rules().len() as u64, "{size} of {}", outreach_rules().len());

    // What is pulled, locked and verified is the artifact as it was before.
    let into = text(plugins.path());
    let public = text(&key.with_extension("pub")).to_owned();
    let pull = || run(["plugin", "pull", &reference, "--into", into, "--verify", &public]);
    let pulled = pull();
    assert_eq!(pulled.code, Some(0), "{}", pulled.stderr);
    let artifact = plugins.path().join("outreach-rules-1.0.0.wasm");
    assert_eq!(std::fs::read(&artifact).expect("pulled"), outreach_rules());
    let lock = std::fs::read_to_string(plugins.path().join("plugins.lock")).expect("a lock");
    assert!(lock.contains(&format!("digest = \"{digest}\"")), "{lock}");
    std::fs::remove_file(&artifact).expect("removes");
    assert_eq!(run(["plugin", "pull", "--into", into]).code, Some(0));
    assert_eq!(std::fs::read(&artifact).expect("restored"), outreach_rules());

    // Pushed without, the version is still the same one.
    assert_eq!(run(["plugin", "push", text(&file), &reference]).code, Some(0));
    assert_eq!(pull().code, Some(0));

    // A layer that says another digest than it has, that never ends, or that is no zstd, is not written.
    let bomb = zstd::encode_all(std::io::repeat(0).take((64 << 20) + 1), 3).expect("compresses");
    let other = zstd::encode_all(&*with_nonce(&outreach_rules(), 7), 3).expect("compresses");
    for (bytes, says) in [
        (&other[..], "and its annotation serin.artifact.digest says"),
        (&bomb, "the largest artifact accepted has 67108864"),
        (b"no zstd", "is not zstd"),
    ] {
        replace_layer(&registry, "1.0.0", whole.clone(), bytes);
        let refused = run(["plugin", "pull", &reference, "--into", into, "--update"]);
        assert!(refused.code == Some(1) && refused.stderr.contains(says), "{says}: {}", refused.stderr);
    }
    let mut unannotated = whole.clone();
    unannotated["layers"][0].as_object_mut().expect("an object").remove("annotations");
    replace_layer(&registry, "1.0.0", unannotated, &other);
    let refused = run(["plugin", "pull", &reference, "--into", into, "--update"]);
    assert!(refused.code == Some(1) && refused.stderr.contains("has no annotation"), "{}", refused.stderr);
    assert_eq!(std::fs::read(&artifact).expect("still there"), outreach_rules());
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
    said("127.0.0.1:9/x/y:1", "Connection refused");
    said("outreach-rules:1.0.0", "names no registry; valid: HOST/REPOSITORY:TAG");
    let registry = Registry::start();
    said(&format!("{}/x/y:1", registry.address), "manifest unknown");
    assert_eq!(std::fs::read_dir(plugins.path()).expect("a folder").count(), 0, "nothing was written");
    let nowhere = run(["plugin", "pull", "127.0.0.1:9/x/y:1", "--into", "no-such-folder"]);
    assert!(nowhere.stderr.contains("is no folder"), "{}", nowhere.stderr);
}

#[test]
fn a_signature_goes_with_its_artifact_and_what_does_not_verify_is_not_written() {
    let registry = Registry::start();
    let (source, plugins) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let file = source.path().join("outreach-rules-1.0.0.wasm");
    std::fs::write(&file, outreach_rules()).expect("writes");
    let [(key, _), (stranger, stranger_id)] = ["science", "stranger"].map(|name| keys(source.path(), name));
    let public = |key: &Path| text(&key.with_extension("pub")).to_owned();
    let reference = format!("{}/strategies/outreach-rules:1.0.0", registry.address);
    let into = text(plugins.path());
    let pull = |key: &Path| run(["plugin", "pull", &reference, "--into", into, "--verify", &public(key)]);
    let written = || std::fs::read_dir(plugins.path()).expect("a folder").count();
    // Without a signature, and with one by somebody else.
    assert_eq!(run(["plugin", "push", text(&file), &reference]).code, Some(0));
    let refused = pull(&key);
    assert!(refused.code == Some(1) && refused.stderr.contains("no signature: the registry has none"), "{refused:?}");
    sign(&file, &stranger, "by a stranger");
    assert_eq!(run(["plugin", "push", text(&file), &reference]).code, Some(0));
    let refused = pull(&key);
    let said = format!("signed by the unknown key {stranger_id}");
    assert!(refused.code == Some(1) && refused.stderr.contains(&said), "{refused:?}");
    assert_eq!(written(), 0, "nothing is written");
    // Both signatures of one artifact are there then, and the right one is taken.
    sign(&file, &key, "release 7");
    let pushed = run(["plugin", "push", text(&file), &reference]);
    assert!(pushed.code == Some(0) && pushed.stdout.contains("with its signature"), "{pushed:?}");
    let pulled = pull(&key);
    assert_eq!(pulled.code, Some(0), "{}", pulled.stderr);
    let artifact = plugins.path().join("outreach-rules-1.0.0.wasm");
    let verified = run(["plugin", "verify", text(&artifact), "--key", &public(&key)]);
    assert!(verified.code == Some(0) && verified.stdout.contains("release 7"), "{verified:?}");
    assert_eq!(pull(&stranger).code, Some(0), "it has signed it as well");

    // As OCI 1.1 has it: an index under the tag of the digest, since this registry has no referrers API.
    let pinned = pushed.stdout.lines().find_map(|line| line.strip_prefix("pinned: ")).expect("a pin");
    let subject = pinned.split_once('@').expect("a digest").1;
    let get = |at: &str, accept: &str| -> Value {
        let url = format!("http://{}/v2/strategies/outreach-rules/manifests/{at}", registry.address);
        let mut answer = ureq::get(url).header("accept", accept).call().expect("a manifest");
        serde_json::from_str(&answer.body_mut().read_to_string().expect("text")).expect("JSON")
    };
    let index = get(&subject.replace(':', "-"), "application/vnd.oci.image.index.v1+json");
    let referrers = index["manifests"].as_array().expect("referrers");
    assert_eq!(referrers.len(), 2);
    let artifact_type = "application/vnd.serin.signature.v1";
    assert!(referrers.iter().all(|entry| entry["artifactType"] == artifact_type), "{index}");
    let referrer =
        get(referrers[1]["digest"].as_str().expect("a digest"), "application/vnd.oci.image.manifest.v1+json");
    assert_eq!((&referrer["subject"]["digest"], &referrer["artifactType"]), (&subject.into(), &artifact_type.into()));

    // What is lost comes back with its signature; and a file that lost its own is not "there".
    std::fs::remove_file(&artifact).expect("removes");
    std::fs::remove_file(artifact.with_extension("wasm.minisig")).expect("removes");
    let restored = run(["plugin", "pull", "--into", into, "--verify", &public(&key)]);
    assert_eq!(restored.code, Some(0), "{}", restored.stderr);
    std::fs::remove_file(artifact.with_extension("wasm.minisig")).expect("removes");
    assert_eq!(run(["plugin", "pull", "--into", into, "--verify", &public(&key)]).code, Some(0));
    assert_eq!(run(["plugin", "verify", text(&artifact), "--key", &public(&key)]).code, Some(0));
}

#[test]
fn a_lock_that_is_not_what_pull_writes_is_refused_before_anything_is_asked_or_written() {
    let plugins = tempfile::tempdir().expect("a folder");
    let digest = format!("sha256:{}", "a".repeat(64));
    let good = [
        ("name", "outreach-rules".to_owned()),
        ("version", "1.0.0".to_owned()),
        ("digest", digest.clone()),
        // Nobody listens there.
        ("from", "127.0.0.1:9/s/rules:1.0.0".to_owned()),
        ("manifest", digest.clone()),
    ];
    let restore = |entries: &[Vec<(&str, String)>]| {
        let entry = |entry: &Vec<(&str, String)>| {
            let keys: Vec<String> = entry.iter().map(|(key, value)| format!("{key} = {value:?}\n")).collect();
            format!("[[plugin]]\n{}\n", keys.concat())
        };
        let lock: String = entries.iter().map(entry).collect();
        std::fs::write(plugins.path().join("plugins.lock"), lock).expect("writes");
        run(["plugin", "pull", "--into", text(plugins.path())])
    };
    let asked = restore(&[good.to_vec()]);
    assert!(asked.code == Some(1) && !asked.stderr.contains("plugins.lock: "), "this one is asked for: {asked:?}");
    for (key, wrong, says) in [
        ("name", "../../etc/cron.d/x", "name = '../../etc/cron.d/x'; valid: "),
        ("name", "", "name = ''; valid: "),
        ("version", "1.0.0/../../x", "valid: MAJOR.MINOR.PATCH"),
        ("digest", "sha256:abc", "digest = 'sha256:abc'; valid: sha256: and 64 digits"),
        ("digest", "md5:d41d8cd98f00b204e9800998ecf8427e", "valid: sha256: and 64 digits"),
        ("manifest", "latest", "manifest = 'latest'; valid: "),
        ("from", "outreach-rules", "names no registry; valid: HOST/REPOSITORY:TAG"),
    ] {
        let spoilt = good.clone().map(|(known, value)| (known, if known == key { wrong.to_owned() } else { value }));
        let refused = restore(&[spoilt.to_vec()]);
        let is_said = refused.stderr.contains("plugins.lock: [[plugin]] 1: ") && refused.stderr.contains(says);
        assert!(refused.code == Some(1) && is_said, "{key} = {wrong}: {refused:?}");
    }
    let twice = restore(&[good.to_vec(), good.to_vec()]);
    assert!(twice.stderr.contains("[[plugin]] 2: outreach-rules@1.0.0 is there twice"), "{twice:?}");
    assert_eq!(std::fs::read_dir(plugins.path()).expect("a folder").count(), 1, "the lock alone");
}

#[test]
fn a_lock_that_names_another_plugin_than_its_artifact_is_refused() {
    let registry = Registry::start();
    let (source, plugins) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let file = source.path().join("outreach-rules-1.0.0.wasm");
    std::fs::write(&file, outreach_rules()).expect("writes");
    let reference = format!("{}/strategies/outreach-rules:1.0.0", registry.address);
    assert_eq!(run(["plugin", "push", text(&file), &reference]).code, Some(0));
    let into = text(plugins.path());
    assert_eq!(run(["plugin", "pull", &reference, "--into", into]).code, Some(0));
    let lock = plugins.path().join("plugins.lock");
    let edited = std::fs::read_to_string(&lock).expect("a lock").replace("\"outreach-rules\"", "\"outreach-score\"");
    std::fs::write(&lock, edited).expect("writes");
    let refused = run(["plugin", "pull", "--into", into]);
    let said = "its manifest says outreach-rules@1.0.0, and plugins.lock says outreach-score@1.0.0";
    assert!(refused.code == Some(1) && refused.stderr.contains(said), "{refused:?}");
    assert!(!plugins.path().join("outreach-score-1.0.0.wasm").exists());
}

#[test]
fn what_is_no_signature_is_not_pushed_and_the_newest_is_pulled() {
    let registry = Registry::start();
    let (source, plugins) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let file = source.path().join("outreach-rules-1.0.0.wasm");
    std::fs::write(&file, outreach_rules()).expect("writes");
    let [(key, id), (stranger, stranger_id)] = ["science", "stranger"].map(|name| keys(source.path(), name));
    let public = |key: &Path| text(&key.with_extension("pub")).to_owned();
    let reference = format!("{}/strategies/outreach-rules:1.0.0", registry.address);
    let push = |more: &[&str]| run([&["plugin", "push", text(&file), &reference], more].concat());
    let signature = file.with_extension("wasm.minisig");
    std::fs::write(&signature, "no signature").expect("writes");
    let refused = push(&[]);
    assert!(refused.code == Some(1) && refused.stderr.contains("is malformed or cut off"), "{refused:?}");
    assert!(refused.stderr.contains("nothing is pushed"), "{refused:?}");
    // Of another file: that is known where the key is.
    let other = source.path().join("other.wasm");
    std::fs::write(&other, "another file").expect("writes");
    sign(&other, &key, "of another file");
    std::fs::rename(other.with_extension("wasm.minisig"), &signature).expect("moves");
    let refused = push(&["--verify", &public(&key)]);
    assert!(refused.code == Some(1) && refused.stderr.contains("is of another file"), "{refused:?}");
    let into = text(plugins.path());
    let nothing = run(["plugin", "pull", &reference, "--into", into]);
    assert!(nothing.stderr.contains("manifest unknown"), "nothing was pushed: {nothing:?}");
    sign(&file, &key, "release 7");
    assert!(push(&["--verify", &public(&stranger)]).stderr.contains("signed by the unknown key"));
    let pushed = push(&[]);
    let said = format!("with its signature by key {id}, not verified: --verify PUB does that");
    assert!(pushed.code == Some(0) && pushed.stdout.contains(&said), "{pushed:?}");
    // Pushed again, it is one signature.
    let pushed = push(&["--verify", &public(&key)]);
    assert!(pushed.code == Some(0) && pushed.stdout.contains(&format!("by key {id}: release 7")), "{pushed:?}");
    let pull = || {
        let pulled = run(["plugin", "pull", &reference, "--into", into]);
        assert_eq!(pulled.code, Some(0), "{}", pulled.stderr);
        let beside = plugins.path().join("outreach-rules-1.0.0.wasm.minisig");
        (pulled.stderr, std::fs::read_to_string(beside).expect("a signature"))
    };
    let signed = || std::fs::read_to_string(&signature).expect("a signature");
    assert_eq!(pull(), (String::new(), signed()));
    // Of several the newest is taken, and that is said.
    let first = signed();
    sign(&file, &stranger, "by a stranger");
    assert_eq!(push(&[]).code, Some(0));
    let (said, pulled) = pull();
    assert_eq!(pulled, signed());
    assert!(said.contains(&format!("2 signatures are there; the newest is taken, by key {stranger_id}")), "{said}");
    std::fs::write(&signature, &first).expect("writes");
    assert_eq!(push(&[]).code, Some(0));
    assert_eq!(pull().1, first, "what was pushed last is the newest");
}
