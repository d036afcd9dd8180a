//! Only what was signed by somebody who is trusted gets in, and what is wrong with a signature is said.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Deployment, Host, eventually, run, wat};

const IN_TIME: Duration = Duration::from_secs(30);

fn text(path: &Path) -> &str {
    path.to_str().expect("a path")
}

/// A pair of keys in a folder of the deployment; the secret one's path, and its id.
pub fn keys(folder: &Path, name: &str) -> (PathBuf, String) {
    let path = folder.join(name);
    let made = run(["plugin", "keygen", "--out", text(&path)]);
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    let id = made.stdout.lines().find_map(|line| line.strip_prefix("key ")).expect("an id").to_owned();
    (path, id)
}

fn public(secret: &Path) -> PathBuf {
    secret.with_extension("pub")
}

pub fn sign(file: &Path, key: &Path, comment: &str) {
    let signed = run(["plugin", "sign", text(file), "--key", text(key), "--comment", comment]);
    assert_eq!(signed.code, Some(0), "{}", signed.stderr);
}

fn minisign(args: &[&str]) -> (bool, String) {
    let output = Command::new("minisign").args(args).output().expect("minisign: make setup installs it");
    (output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

/// A deployment that wants signatures by `keys/science.pub`, with one strategy; the key, and its id.
fn strict() -> (Deployment, PathBuf, String) {
    let deployment = wat::points(&[("one", wat::go("one", "", "(i32.const 1024)"))]);
    let folder = deployment.path().join("keys");
    std::fs::create_dir(&folder).expect("a folder");
    let (key, id) = keys(&folder, "science");
    let config = deployment.read("serin.toml");
    deployment.write(
        "serin.toml",
        format!("[plugins]\ntrusted_keys = [\"keys/science.pub\"]\nrequire_signature = true\n\n{config}"),
    );
    (deployment, key, id)
}

fn plugin(host: &Host, file: &str) -> Value {
    let plugins = host.admin.get("/v1/plugins").json();
    let found = plugins["plugins"].as_array().expect("plugins").iter().find(|plugin| plugin["file"] == file);
    found.cloned().unwrap_or_default()
}

/// The plugin's state when it is this one, and all of it.
fn in_state(host: &Host, file: &str, state: &str) -> Value {
    eventually(&format!("{file} is {state}\n{}", host.log()), IN_TIME, || {
        let plugin = plugin(host, file);
        (plugin["state"] == state).then_some(plugin)
    })
}

fn action(host: &Host) -> Value {
    host.decide(&json!({ "decision_point": "one", "entities": { "borrower": "b-1" }, "context": {} }))["action"].clone()
}

const ONE: &str = "one-1.0.0.wasm";

#[test]
fn minisign_and_the_host_read_each_others_keys_and_signatures() {
    let dir = tempfile::tempdir().expect("a folder");
    let at = |name: &str| dir.path().join(name);
    for file in ["strategy.wasm", "model.onnx"] {
        std::fs::write(at(file), format!("bytes of {file}")).expect("writes");
    }
    // Ours, read by theirs.
    let (ours, id) = keys(dir.path(), "ours");
    sign(&at("strategy.wasm"), &ours, "release 7");
    let (is_valid, said) = minisign(&["-V", "-H", "-p", text(&public(&ours)), "-m", text(&at("strategy.wasm"))]);
    assert!(is_valid && said.contains("release 7"), "{said}");
    // Theirs, read by ours; and each signs with the other's key.
    let theirs = at("theirs");
    let (is_made, said) = minisign(&["-G", "-W", "-s", text(&theirs), "-p", text(&public(&theirs))]);
    assert!(is_made, "{said}");
    let model = at("model.onnx");
    let (is_signed, said) = minisign(&["-S", "-W", "-s", text(&theirs), "-t", "by hand", "-m", text(&model)]);
    assert!(is_signed, "{said}");
    let verify = |file: &Path, key: &Path| run(["plugin", "verify", text(file), "--key", text(key)]);
    let verified = verify(&model, &public(&theirs));
    assert!(verified.code == Some(0) && verified.stdout.contains(": by hand"), "{verified:?}");
    sign(&model, &theirs, "by serin");
    assert!(minisign(&["-V", "-H", "-p", text(&public(&theirs)), "-m", text(&model)]).0);
    let (is_signed, said) = minisign(&["-S", "-W", "-s", text(&ours), "-m", text(&model)]);
    assert!(is_signed, "{said}");
    let verified = verify(&model, &public(&ours));
    assert!(verified.code == Some(0) && verified.stdout.contains(&id), "{verified:?}");
    // The legacy form is refused by name.
    assert!(minisign(&["-S", "-W", "-l", "-s", text(&ours), "-m", text(&model)]).0);
    let legacy = verify(&model, &public(&ours));
    assert!(legacy.code == Some(1) && legacy.stderr.contains("legacy format"), "{legacy:?}");
    assert_eq!(legacy.stderr.matches("valid: ").count(), 1, "{legacy:?}");
}

#[test]
fn a_secret_key_is_private_and_is_never_overwritten() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().expect("a folder");
    let (key, _) = keys(dir.path(), "science");
    assert_eq!(std::fs::metadata(&key).expect("is there").permissions().mode() & 0o777, 0o600);
    let before = std::fs::read(&key).expect("reads");
    let again = run(["plugin", "keygen", "--out", text(&key)]);
    assert!(again.code == Some(1) && again.stderr.contains("is there, and is not overwritten"), "{again:?}");
    assert_eq!(std::fs::read(&key).expect("reads"), before);
    std::fs::remove_file(&key).expect("removes");
    assert_eq!(run(["plugin", "keygen", "--out", text(&key)]).code, Some(1), "its public key is there");
    let wrong = dir.path().join("wrong");
    std::fs::write(&wrong, "no key").expect("writes");
    let mode = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("sets");
    };
    mode(&wrong, 0o600);
    let file = dir.path().join("strategy.wasm");
    std::fs::write(&file, "bytes").expect("writes");
    let failed = run(["plugin", "sign", text(&file), "--key", text(&wrong)]);
    assert!(failed.code == Some(1) && failed.stderr.contains("valid: a secret key"), "{failed:?}");
    let failed = run(["plugin", "verify", text(&file), "--key", text(&wrong)]);
    assert!(failed.code == Some(1) && failed.stderr.contains("is no public key of minisign"), "{failed:?}");
    // A key that others can read is no secret, and signs nothing.
    let (open, _) = keys(&dir.path().join("."), "open");
    for bits in [0o644, 0o640, 0o620] {
        mode(&open, bits);
        let failed = run(["plugin", "sign", text(&file), "--key", text(&open)]);
        let said = format!("others can read or write it (mode {bits:o}); valid: chmod 600");
        assert!(failed.code == Some(1) && failed.stderr.contains(&said), "{failed:?}");
        assert!(!dir.path().join("strategy.wasm.minisig").exists());
    }
    mode(&open, 0o600);
    sign(&file, &open, "fine");
}

#[test]
fn what_is_wrong_with_a_signature_is_said_and_a_right_one_lets_it_in() {
    let (deployment, key, id) = strict();
    let artifact = deployment.path().join("plugins").join(ONE);
    let host = Host::start(&deployment);
    let refused = |needle: &str| {
        eventually(&format!("{needle}; {}", plugin(&host, ONE)), IN_TIME, || {
            let plugin = plugin(&host, ONE);
            let says = plugin["error"].as_str().is_some_and(|error| error.contains(needle));
            (plugin["state"] == "failed" && says && plugin["signer"].is_null()).then_some(())
        });
    };
    refused("no signature: looked for one-1.0.0.wasm.minisig beside it");
    let checked = run(["check", "--config", text(&deployment.config())]);
    assert!(checked.code == Some(1) && checked.stderr.contains("no signature: looked for"), "{}", checked.stderr);
    let (other, other_id) = keys(deployment.path(), "other");
    sign(&artifact, &other, "by a stranger");
    refused(&format!("signed by the unknown key {other_id}; trusted: {id}"));
    // Of another file, by the right key.
    let elsewhere = deployment.path().join("elsewhere.wasm");
    std::fs::write(&elsewhere, "another file").expect("writes");
    sign(&elsewhere, &key, "of another file");
    let of_another = std::fs::read_to_string(elsewhere.with_extension("wasm.minisig")).expect("signed");
    deployment.write(&format!("plugins/{ONE}.minisig"), &of_another);
    refused(&format!("the signature by key {id} is of another file"));
    // The right one, cut off, and with another comment. It is made elsewhere, and lies there last.
    let copy = deployment.path().join(ONE);
    std::fs::copy(&artifact, &copy).expect("copies");
    sign(&copy, &key, "release 7");
    let right = std::fs::read_to_string(copy.with_extension("wasm.minisig")).expect("signed");
    for cut in ["", "untrusted comment: ", &right[..right.len() / 2], &right[..right.len() - 20]] {
        deployment.write(&format!("plugins/{ONE}.minisig"), cut);
        refused("its signature is malformed or cut off");
        deployment.write(&format!("plugins/{ONE}.minisig"), &of_another);
        refused("is of another file");
    }
    deployment.write(&format!("plugins/{ONE}.minisig"), right.replace("release 7", "release 8"));
    refused("the comment was changed since it was signed");
    deployment.write(&format!("plugins/{ONE}.minisig"), &right);
    let shown = in_state(&host, ONE, "active");
    assert_eq!(shown["signer"], json!({ "key": id, "comment": "release 7" }));
    let host = host.ready();
    assert_eq!(action(&host), "go");
    let status = run(["status", "--admin", &format!("http://{}", host.admin.address)]).stdout;
    assert!(status.contains(&format!("active, signed by {id} (release 7)")), "{status}");
    let inspected = run(["plugin", "inspect", text(&artifact), "--key", text(&public(&key)), "--format", "json"]);
    let inspected: Value = serde_json::from_str(&inspected.stdout).expect("JSON");
    assert_eq!(inspected["signer"], json!({ "key": id, "comment": "release 7", "verified": true }));
    let inspected = run(["plugin", "inspect", text(&artifact)]).stdout;
    assert!(inspected.contains(&format!("key {id}, not verified")) && !inspected.contains("release 7"), "{inspected}");
}

#[test]
fn a_comment_is_shown_on_one_line_and_cut_off() {
    let (deployment, key, _) = strict();
    let artifact = deployment.path().join("plugins").join(ONE);
    sign(&artifact, &key, &format!("\u{1b}[31m\u{202e}{}", "x".repeat(900)));
    let host = Host::start(&deployment).ready();
    let comment = in_state(&host, ONE, "active")["signer"]["comment"].as_str().expect("a comment").to_owned();
    assert!(comment.starts_with("\\u{1b}[31m\\u{202e}xxx") && comment.ends_with("x…"), "{comment}");
    assert!(comment.chars().count() < 250, "{comment}");
}

#[test]
fn without_the_demand_a_wrong_signature_is_a_warning() {
    let (deployment, _, id) = strict();
    deployment.edit("serin.toml", "require_signature = true\n", "");
    let artifact = deployment.path().join("plugins").join(ONE);
    let (other, other_id) = keys(deployment.path(), "other");
    sign(&artifact, &other, "by a stranger");
    let host = Host::start(&deployment).ready();
    let shown = in_state(&host, ONE, "active");
    let why = format!("signed by the unknown key {other_id}; trusted: {id}");
    assert_eq!((&shown["why"], &shown["signer"], &shown["error"]), (&json!(why), &Value::Null, &Value::Null));
    assert_eq!(host.log().matches(&why).count(), 1, "{}", host.log());
    let checked = run(["check", "--config", text(&deployment.config())]);
    let said = format!("{}{}", checked.stdout, checked.stderr);
    assert!(checked.code == Some(0) && said.contains(&why), "{said}");
}

#[test]
fn what_serves_goes_on_when_its_key_is_no_longer_trusted_and_nothing_else_by_it_is_loaded() {
    let (deployment, key, id) = strict();
    let artifact = deployment.path().join("plugins").join(ONE);
    let next = |version: &str| {
        let file = format!("one-{version}.wasm");
        let manifest = wat::manifest("one", version, "one", "go");
        let body = wat::decide("(i32.const 1024)");
        deployment.write(&format!("plugins/{file}"), wat::guest(&manifest, &format!("{} {body}", wat::PRELUDE)));
        deployment.path().join("plugins").join(file)
    };
    sign(&artifact, &key, "1.0.0");
    sign(&next("1.1.0"), &key, "1.1.0");
    let host = Host::start(&deployment).ready();
    in_state(&host, "one-1.1.0.wasm", "active");
    let (new, new_id) = keys(&deployment.path().join("keys"), "new");
    deployment.edit("serin.toml", "keys/science.pub", "keys/new.pub");
    // What is pinned goes on, and says why; what is not is taken away.
    let said = format!("signed by the key {id}, which is no longer trusted; trusted: {new_id}");
    let goes_on = |host: &Host| {
        let shown = eventually("it is told", IN_TIME, || {
            let shown = plugin(host, ONE);
            shown["why"].as_str().is_some_and(|why| why.contains(&said)).then_some(shown)
        });
        assert_eq!((&shown["state"], &shown["signer"]), (&json!("active"), &Value::Null));
        assert_eq!(action(host), "go");
    };
    goes_on(&host);
    let shown = in_state(&host, "one-1.1.0.wasm", "failed");
    assert!(shown["error"].as_str().is_some_and(|error| error.contains(&said)), "{shown}");
    assert_eq!(host.stop(), Some(0));
    // Across a restart, and without its file and signature.
    std::fs::remove_file(&artifact).expect("removes");
    let host = Host::start(&deployment).ready();
    assert_eq!(action(&host), "go");
    // Nothing that the key signed serves anew: not the other version, although the archive has it.
    deployment.edit("serin.toml", "one@1.0.0", "one@1.1.0");
    eventually("the edit is refused", IN_TIME, || {
        let deployment = host.admin.get("/v1/deployment").json();
        deployment["config_error"].as_str().is_some_and(|why| why.contains("one@1.1.0")).then_some(())
    });
    assert_eq!(action(&host), "go");
    sign(&next("1.2.0"), &new, "1.2.0");
    deployment.edit("serin.toml", "one@1.1.0", "one@1.2.0");
    eventually("the new one serves", IN_TIME, || {
        let shown = host.admin.get("/v1/deployment").json();
        (shown["decision_points"][0]["strategy"] == "one@1.2.0").then_some(())
    });
    // A person has changed the pin: back to it leads no way while its key is not trusted.
    deployment.edit("serin.toml", "one@1.2.0", "one@1.0.0");
    eventually("there is no way back", IN_TIME, || {
        let deployment = host.admin.get("/v1/deployment").json();
        deployment["config_error"].as_str().is_some_and(|why| why.contains("one@1.0.0")).then_some(())
    });
    // What only the archive has is named by its version.
    let status = run(["status", "--admin", &format!("http://{}", host.admin.address)]).stdout;
    assert!(status.contains("  one@1.0.0: signed by the key") && !status.contains("null"), "{status}");
    // With the key trusted again, the pin goes back: the archive has the signature.
    deployment.edit("serin.toml", "keys/new.pub\"", "keys/new.pub\", \"keys/science.pub\"");
    eventually("the pin goes back", IN_TIME, || {
        let shown = host.admin.get("/v1/deployment").json();
        (shown["decision_points"][0]["strategy"] == "one@1.0.0").then_some(())
    });
    assert_eq!(host.stop(), Some(0));
}

#[test]
fn a_key_file_that_cannot_be_read_trusts_nobody_and_stops_nothing() {
    let (deployment, key, id) = strict();
    sign(&deployment.path().join("plugins").join(ONE), &key, "1.0.0");
    let host = Host::start(&deployment).ready();
    deployment.write("keys/science.pub", "no key");
    eventually("it is told", IN_TIME, || {
        let error = host.admin.get("/v1/deployment").json()["plugins_error"].as_str().unwrap_or_default().to_owned();
        error.contains("science.pub: is no public key of minisign").then_some(())
    });
    eventually("it goes on", IN_TIME, || {
        let why = plugin(&host, ONE)["why"].as_str().unwrap_or_default().to_owned();
        why.contains(&format!("{id}, which is no longer trusted; trusted: none")).then_some(())
    });
    assert_eq!((action(&host), host.stop()), (json!("go"), Some(0)));
    let host = Host::start(&deployment).ready();
    assert_eq!(action(&host), "go");
    let checked = run(["check", "--config", text(&deployment.config())]);
    assert!(checked.code == Some(1) && checked.stderr.contains("is no public key of minisign"), "{}", checked.stderr);
}

#[test]
fn a_model_needs_a_signature_too() {
    let deployment = crate::support::misbehaving();
    let (key, id) = keys(deployment.path(), "science");
    let config = deployment.read("serin.toml");
    let strict = format!("[plugins]\ntrusted_keys = [\"science.pub\"]\nrequire_signature = true\n\n{config}");
    deployment.write("serin.toml", strict);
    let (artifact, onnx) = ("plugins/misbehave-1.0.0.wasm", "models/default-risk.onnx");
    sign(&deployment.path().join(artifact), &key, "1.0.0");
    let host = Host::start(&deployment);
    let model = |host: &Host| host.admin.get("/v1/deployment").json()["models"][0].clone();
    let shown = model(&host);
    assert!(
        shown["error"]
            .as_str()
            .is_some_and(|error| error.contains("no signature: looked for default-risk.onnx.minisig")),
        "{shown}"
    );
    assert!(shown["digest"].is_null() && shown["signer"].is_null(), "{shown}");
    sign(&deployment.path().join(onnx), &key, "trained in May");
    let signer = json!({ "key": id, "comment": "trained in May" });
    eventually("the model is loaded", IN_TIME, || (model(&host)["signer"] == signer).then_some(()));
    let host = host.ready();
    // So does a golden file that says something else, or whose signature is gone.
    let golden = "models/default-risk.golden.json";
    let digest = model(&host)["digest"].clone();
    let (right, signed) = (deployment.read(golden), deployment.read(&format!("{golden}.minisig")));
    let goes_on = |why: &str| {
        eventually(&format!("{why}: {}", model(&host)), IN_TIME, || {
            let shown = model(&host);
            let says = shown["error"].as_str().is_some_and(|error| error.contains(why));
            (says && shown["stale"] == true && shown["digest"] == digest && shown["signer"] == signer).then_some(())
        });
    };
    deployment.write(golden, format!("{right} "));
    goes_on("default-risk.golden.json: the signature by key");
    goes_on("sign it again with 'serin plugin sign FILE --key KEY'");
    let checked = run(["check", "--config", text(&deployment.config())]);
    let said = format!("{}{}", checked.stdout, checked.stderr);
    assert!(
        checked.code == Some(1) && said.contains("default-risk.golden.json") && said.contains("sign it again"),
        "{said}"
    );
    deployment.write(golden, &right);
    deployment.remove(&format!("{golden}.minisig"));
    // The archive has the signature of the file that was there.
    eventually("it is the same file", IN_TIME, || model(&host)["error"].is_null().then_some(()));
    deployment.write(golden, format!("{right}\n"));
    goes_on("no signature: looked for default-risk.golden.json.minisig beside it");
    deployment.write(golden, &right);
    deployment.write(&format!("{golden}.minisig"), signed);
    eventually("it is as it was", IN_TIME, || model(&host)["error"].is_null().then_some(()));
    // Another model under its name stays out, and the signed one goes on.
    let mut bytes = std::fs::read(deployment.path().join(onnx)).expect("reads");
    bytes.push(0);
    deployment.write(onnx, bytes);
    eventually("the other model is refused", IN_TIME, || {
        let shown = model(&host);
        let is_refused = shown["error"].as_str().is_some_and(|error| error.contains("is of another file"));
        (is_refused && shown["stale"] == true && shown["digest"] == digest && shown["signer"] == signer).then_some(())
    });
    assert_eq!(host.stop(), Some(0));
    let host = Host::start(&deployment).ready();
    assert_eq!((&model(&host)["digest"], &model(&host)["signer"]), (&digest, &signer), "from the archive");
}

#[test]
fn after_a_restore_a_pin_goes_back_to_a_version_whose_file_is_gone() {
    let (deployment, key, id) = strict();
    let plugins = deployment.path().join("plugins");
    let manifest = wat::manifest("one", "1.1.0", "one", "go");
    let next = wat::guest(&manifest, &format!("{} {}", wat::PRELUDE, wat::decide("(i32.const 1024)")));
    deployment.write("plugins/one-1.1.0.wasm", next);
    sign(&plugins.join(ONE), &key, "1.0.0");
    sign(&plugins.join("one-1.1.0.wasm"), &key, "1.1.0");
    let host = Host::start(&deployment).ready();
    assert_eq!(action(&host), "go");
    in_state(&host, "one-1.1.0.wasm", "active");
    deployment.edit("serin.toml", "one@1.0.0", "one@1.1.0");
    let pinned = |host: &Host, pin: &str| {
        eventually(pin, IN_TIME, || {
            let shown = host.admin.get("/v1/deployment").json();
            (shown["decision_points"][0]["strategy"] == pin).then_some(())
        });
    };
    pinned(&host, "one@1.1.0");
    let (file, config) = (deployment.path().join("the.backup"), deployment.config());
    let backed_up = run(["backup", text(&file), "--config", text(&config)]);
    assert!(backed_up.code == Some(0) && backed_up.stderr.is_empty(), "{}", backed_up.stderr);
    assert_eq!(host.stop(), Some(0));
    for name in [ONE, "one-1.0.0.wasm.minisig"] {
        std::fs::remove_file(plugins.join(name)).expect("removes");
    }
    std::fs::remove_dir_all(deployment.path().join("data")).expect("removes");
    assert_eq!(run(["restore", text(&file), "--config", text(&config)]).code, Some(0));
    let host = Host::start(&deployment).ready();
    pinned(&host, "one@1.1.0");
    deployment.edit("serin.toml", "one@1.1.0", "one@1.0.0");
    pinned(&host, "one@1.0.0");
    assert_eq!(action(&host), "go");
    let plugins = host.admin.get("/v1/plugins").json();
    let is_back = |plugin: &Value| plugin["version"] == "1.0.0" && plugin["signer"]["key"] == id.as_str();
    assert!(plugins["plugins"].as_array().expect("plugins").iter().any(is_back), "{plugins}");
    assert_eq!(host.stop(), Some(0));
    // One that is no signature is not taken along, and that is said.
    let blobs = deployment.path().join("data/archive/blobs");
    let names = std::fs::read_dir(&blobs).expect("reads").map(|entry| entry.expect("an entry").path());
    let signature = names.into_iter().find(|path| path.extension().is_some_and(|end| end == "minisig"));
    std::fs::write(signature.expect("a signature"), "no signature").expect("writes");
    let backed_up = run(["backup", text(&file), "--config", text(&config)]);
    let said = "its signature is malformed or cut off";
    assert!(backed_up.code == Some(1) && backed_up.stderr.contains(said), "{}", backed_up.stderr);
    assert!(backed_up.stderr.contains("it is not in the backup"), "{}", backed_up.stderr);
    assert!(backed_up.stdout.contains("without 1 that it has damaged"), "{}", backed_up.stdout);
}

#[test]
fn a_version_whose_file_was_refused_is_told_as_that_where_it_is_named() {
    let (deployment, ..) = strict();
    let host = Host::start(&deployment);
    let why = format!("was refused: {ONE}: no signature: looked for");
    eventually(&why, IN_TIME, || {
        let shown = host.admin.get("/v1/deployment").json();
        shown["decision_points"][0]["unready"].as_str().is_some_and(|told| told.contains(&why)).then_some(())
    });
    let checked = run(["check", "--config", text(&deployment.config())]);
    assert!(checked.stderr.contains(&format!("one@1.0.0\": {why}")), "{}", checked.stderr);
    // Nobody is trusted: one line says so.
    deployment.edit("serin.toml", "trusted_keys = [\"keys/science.pub\"]\n", "");
    let nobody = "plugins.require_signature: no key is trusted, and so nothing is loaded; valid: the public keys";
    eventually(nobody, IN_TIME, || {
        let shown = host.admin.get("/v1/deployment").json();
        shown["plugins_error"].as_str().is_some_and(|told| told.contains(nobody)).then_some(())
    });
    let checked = run(["check", "--config", text(&deployment.config())]);
    assert_eq!(checked.stderr.matches(nobody).count(), 1, "{}", checked.stderr);
}

#[test]
fn sign_takes_what_a_host_looks_for_and_says_which_key_is_the_wrong_one() {
    let dir = tempfile::tempdir().expect("a folder");
    let (key, _) = keys(dir.path(), "science");
    let at = |name: &str| dir.path().join(name);
    for name in ["serin.toml", "a.wasm", "m.onnx", "m.golden.json"] {
        std::fs::write(at(name), "bytes").expect("writes");
    }
    let sign = |name: &str, key: &Path| run(["plugin", "sign", text(&at(name)), "--key", text(key)]);
    let refused = sign("serin.toml", &key);
    assert!(refused.code == Some(1) && refused.stderr.contains("valid: an artifact (.wasm), a model (.onnx)"));
    assert!(!at("serin.toml.minisig").exists());
    let refused = sign("a.wasm", &public(&key));
    assert!(refused.code == Some(1) && refused.stderr.contains("is a public key, which verifies"), "{refused:?}");
    let signed = sign("m.golden.json", &key);
    assert!(signed.code == Some(0) && at("m.golden.json.minisig").exists(), "{signed:?}");
    assert_eq!(sign("m.onnx", &key).stderr, "");
    std::fs::remove_file(at("m.golden.json")).expect("removes");
    let signed = sign("m.onnx", &key);
    assert!(signed.code == Some(0) && signed.stderr.contains("m.golden.json is not there; a host wants"), "{signed:?}");
    // A password is typed on a terminal.
    let made = Command::new("setsid")
        .args(["-w", crate::support::serin(), "plugin", "keygen", "--password", "--out", text(&at("secret"))])
        .stdin(std::process::Stdio::null())
        .output()
        .expect("setsid runs");
    let said = String::from_utf8_lossy(&made.stderr);
    assert!(made.status.code() == Some(1) && said.contains("--password: there is no terminal"), "{said}");
    assert!(!at("secret").exists() && !at("secret.pub").exists());
}
