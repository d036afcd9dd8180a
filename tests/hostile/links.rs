//! Links are followed wherever they lead, and what they lead to is not told.

use std::path::Path;
use std::time::Duration;

use super::{deployment, plugin, refused, serves};
use crate::support::{Host, eventually, run};

fn link(target: &Path, at: &Path) {
    std::os::unix::fs::symlink(target, at).expect("links");
}

#[test]
fn of_a_file_that_is_not_what_its_name_says_nothing_is_quoted() {
    let deployment = deployment();
    let at = |name: &str| deployment.path().join(name);
    let elsewhere = tempfile::tempdir().expect("a folder");
    for (name, text) in [
        ("shadow", "root:$6$rounds=5000$hunter2$hunter2:19000:0:99999:7:::\nbin:*:19000::::::\n"),
        ("environment", "API_KEY=hunter2\n"),
        ("quoted", "API_KEY=\"hunter2\"\n"),
        ("typed", "slot = \"hunter2\"\n"),
        ("secret", "hunter2"),
        ("json", "{ \"auths\": { \"registry\": \"hunter2\" } }"),
    ] {
        let file = elsewhere.path().join(name);
        std::fs::write(&file, text).expect("writes");
        link(&file, &at(&format!("experiments/{name}.toml")));
        link(&file, &at(&format!("plugins/{name}.wasm")));
    }
    let host = Host::start(&deployment).ready();
    assert!(refused(&host, "shadow.wasm").contains("not a WebAssembly component"));
    let experiments = host.admin.get("/v1/experiments").text;
    for (file, at) in [("shadow", "TOML parse error at line 2, column "), ("quoted", "unknown field `API_KEY`")] {
        assert!(experiments.contains(&format!("{file}.toml")) && experiments.contains(at), "{at}: {experiments}");
    }
    let config = deployment.config();
    let checked = run(["check", "--config", config.to_str().expect("a path")]);
    assert_eq!(checked.code, Some(1));
    let plugins = host.admin.get("/v1/plugins").text;
    for said in [&experiments, &plugins, &host.log(), &checked.stdout, &checked.stderr] {
        assert!(!said.contains("hunter2") && !said.contains("rounds"), "{said}");
    }
    serves(&host);
}

#[test]
fn folders_are_switched_by_a_link_as_kubernetes_does() {
    let deployment = deployment();
    let at = |name: &str| deployment.path().join("plugins").join(name);
    std::fs::create_dir(at("..v1")).expect("a folder");
    std::fs::rename(at("good-1.0.0.wasm"), at("..v1/good-1.0.0.wasm")).expect("moves");
    link(Path::new("..v1"), &at("..data"));
    link(Path::new("..data/good-1.0.0.wasm"), &at("good-1.0.0.wasm"));
    let host = Host::start(&deployment).ready();
    serves(&host);
    // The next state of the folder, with a file more.
    std::fs::create_dir(at("..v2")).expect("a folder");
    for name in ["good-1.0.0.wasm", "good-1.1.0.wasm"] {
        std::fs::copy(at("..v1/good-1.0.0.wasm"), at("..v2").join(name)).expect("copies");
    }
    link(Path::new("..v2"), &at("..data_tmp"));
    std::fs::rename(at("..data_tmp"), at("..data")).expect("switches");
    std::fs::remove_dir_all(at("..v1")).expect("removes");
    link(Path::new("..data/good-1.1.0.wasm"), &at("good-1.1.0.wasm"));
    eventually("both are there", Duration::from_secs(20), || {
        let shown = host.admin.get("/v1/plugins").json();
        let plugins = shown["plugins"].as_array()?;
        plugins.iter().all(|plugin| plugin["state"] == "active" && plugin["stale"] == false).then_some(())
    });
    serves(&host);
}

#[test]
fn what_is_no_regular_file_is_a_failed_entry() {
    let deployment = deployment();
    let at = |name: &str| deployment.path().join(name);
    std::fs::create_dir(at("plugins/folder.wasm")).expect("a folder");
    link(Path::new("/dev/zero"), &at("plugins/device.wasm"));
    link(Path::new("nowhere"), &at("plugins/dangling.wasm"));
    let pipe =
        std::process::Command::new("mkfifo").args([at("plugins/pipe.wasm"), at("experiments/pipe.toml")]).status();
    assert!(pipe.expect("mkfifo runs").success());
    let host = Host::start(&deployment).ready();
    let files = ["folder.wasm", "device.wasm", "dangling.wasm", "pipe.wasm"];
    for file in files {
        assert!(refused(&host, file).contains("not a regular file"), "{file}");
    }
    let experiments = host.admin.get("/v1/experiments").text;
    assert!(experiments.contains("pipe.toml") && experiments.contains("is not a regular file"), "{experiments}");
    let config = deployment.config();
    let checked = run(["check", "--config", config.to_str().expect("a path")]);
    for file in files.into_iter().chain(["pipe.toml"]) {
        let is_said = |line: &str| line.contains(&format!("/{file}: ")) && line.contains("not a regular file");
        assert!(checked.stderr.lines().any(is_said), "{file}: {}", checked.stderr);
    }
    // They are looked at again and again, and told once.
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(host.log().matches("artifact refused").count(), files.len(), "{}", host.log());
    std::fs::remove_file(at("plugins/dangling.wasm")).expect("removes");
    eventually("it is gone", Duration::from_secs(20), || {
        plugin(&host, "dangling.wasm", "failed").is_none().then_some(())
    });
    serves(&host);
}
