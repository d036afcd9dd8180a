//! What lies in the folders and is no file of a deployment, and names that would forge a log.

use std::path::Path;
use std::time::Duration;

use serin_core::manifest::HASH_SECTION;

use super::{deployment, peak_mib, plugin, refused, serves};
use crate::support::{Host, eventually, run, wat};

fn link(target: &str, at: &Path) {
    std::os::unix::fs::symlink(target, at).expect("links");
}

#[test]
fn only_regular_files_are_read_and_each_has_an_end() {
    let deployment = deployment();
    let at = |name: &str| deployment.path().join(name);
    link("/proc/self/pagemap", &at("plugins/endless.wasm"));
    link("/dev/zero", &at("plugins/zero.wasm"));
    link("/proc/self/pagemap", &at("experiments/endless.toml"));
    let pipe = std::process::Command::new("mkfifo").arg(at("experiments/pipe.toml")).status().expect("mkfifo runs");
    assert!(pipe.success());
    // A link to a regular file is one.
    let elsewhere = at("elsewhere.wasm");
    std::fs::rename(at("plugins/good-1.0.0.wasm"), &elsewhere).expect("moves");
    link(elsewhere.to_str().expect("text"), &at("plugins/good-1.0.0.wasm"));
    let host = Host::start(&deployment).ready();
    let error = refused(&host, "endless.wasm");
    assert!(error.contains("cannot be read: says that it has 0 bytes, and holds more"), "{error}");
    let experiments = host.admin.get("/v1/experiments").text;
    assert!(experiments.contains("says that it has 0 bytes, and holds more"), "{experiments}");
    serves(&host);
    assert!(peak_mib(&host) < 500, "{} MiB", peak_mib(&host));
    assert_eq!(host.stop(), Some(0));

    let config = deployment.config();
    std::fs::remove_file(&config).expect("removes");
    link("/proc/self/pagemap", &config);
    let checked = run(["check", "--config", config.to_str().expect("a path")]);
    assert!(checked.code == Some(1) && checked.stderr.contains("holds more"), "{}{}", checked.stdout, checked.stderr);
}

#[test]
fn a_name_cannot_forge_a_line_of_the_log() {
    let deployment = deployment();
    let name = "a\n2026-01-01T00:00:00Z  INFO forged\u{1b}[2J.wasm";
    deployment.write(&format!("plugins/{name}"), "no artifact");
    deployment.write(&format!("experiments/{}", name.replace("wasm", "toml")), "no spec");
    let cases = serde_json::json!([{ "name": "x\nok forged\u{1b}[2J", "expect": { "candidates": [] } }]);
    let artifact = wat::with_cases(wat::go("cases", "", "(i32.const 1024)"), &cases);
    deployment.write("plugins/cases-1.0.0.wasm", &artifact);
    let host = Host::start(&deployment).ready();
    let error = refused(&host, "cases-1.0.0.wasm");
    assert!(error.contains("case 'x\\nok forged\\u{1b}[2J' fails"), "{error}");
    refused(&host, "a\\n2026-01-01T00:00:00Z  INFO forged\\u{1b}[2J.wasm");
    let log = host.log();
    assert!(log.lines().all(|line| !line.starts_with("2026-01-01T00:00:00Z") && !line.contains("\u{1b}[2J")), "{log}");
    let path = deployment.path().join("plugins/cases-1.0.0.wasm");
    let checked = run(["plugin", "check", path.to_str().expect("a path")]);
    let config = deployment.config();
    let all = run(["check", "--config", config.to_str().expect("a path")]);
    for printed in [&checked.stdout, &checked.stderr, &all.stdout, &all.stderr] {
        let is_forged = |line: &str| line.starts_with("ok forged") || line.starts_with("2026-01-01T00:00:00Z");
        assert!(!printed.contains('\u{1b}') && !printed.lines().any(is_forged), "{printed}");
    }
}

#[test]
fn a_description_cannot_forge_a_line_of_what_is_told_of_an_artifact() {
    let manifest = wat::manifest("one", "1.0.0", "one", "go");
    let forged = "calm\\ndigest   sha256:0000\\nsigner   key 1 (the bank)";
    let manifest = format!("description = \"{forged}\"\nowner = \"o\\nsigner   key 2\"\n{manifest}");
    let artifact = wat::guest(&manifest, &format!("{} {}", wat::PRELUDE, wat::decide("(i32.const 1024)")));
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("one-1.0.0.wasm");
    std::fs::write(&path, artifact).expect("writes");
    let inspected = run(["plugin", "inspect", path.to_str().expect("a path")]);
    assert_eq!(inspected.code, Some(0), "{}", inspected.stderr);
    let lines = |head: &str| inspected.stdout.lines().filter(|line| line.starts_with(head)).count();
    assert_eq!((lines("digest"), lines("signer")), (1, 1), "{}", inspected.stdout);
    assert!(inspected.stdout.contains("calm\\ndigest"), "{}", inspected.stdout);
}

#[test]
fn names_and_errors_have_an_end() {
    let deployment = deployment();
    let long = "x".repeat(30 << 20);
    let cases = serde_json::json!([{ "name": long, "expect": { "candidates": [] } }]);
    let artifacts = [
        ("case", wat::with_cases(wat::go("case", "", "(i32.const 1024)"), &cases)),
        ("name", {
            let component = wat::parse("(component)");
            wat::with_manifest(component, &wat::manifest(&long, "1.0.0", "p", "go"))
        }),
        ("version", {
            let version = format!("1.0.0+{}", "x".repeat(300));
            let fields = format!("{} {}", wat::PRELUDE, wat::decide("(i32.const 1024)"));
            wat::guest(&wat::manifest("version", &version, "p", "go"), &fields)
        }),
        ("import", {
            let component = wat::parse(&format!("(component (import \"a-{}\" (func)))", "x".repeat(50_000)));
            wat::with_manifest(component, &wat::manifest("import", "1.0.0", "p", "go"))
        }),
    ];
    for (name, artifact) in &artifacts {
        deployment.write(&format!("plugins/{name}-1.0.0.wasm"), artifact);
    }
    let host = Host::start(&deployment).ready();
    for (name, _) in &artifacts {
        let error = refused(&host, &format!("{name}-1.0.0.wasm"));
        assert!(error.len() < 4_000, "{name}: {} bytes", error.len());
    }
    let shown = host.admin.get("/v1/plugins").text;
    assert!(shown.len() < 10_000, "{} bytes", shown.len());
    serves(&host);
    let applied = std::fs::read_dir(deployment.path().join("data/archive/applied")).expect("reads");
    let names: Vec<String> =
        applied.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    assert!(names.iter().all(|name| !name.ends_with(".part")), "{names:?}");
    let path = deployment.path().join("plugins/name-1.0.0.wasm");
    let checked = run(["plugin", "check", path.to_str().expect("a path")]);
    assert!(checked.code == Some(1) && checked.stderr.len() < 4_000, "{} bytes", checked.stderr.len());
}

#[test]
fn an_artifact_has_one_manifest_hash() {
    let deployment = deployment();
    let twice = |module: &str| {
        let hash = format!("(@custom \"{HASH_SECTION}\" \"{}\")", "\\00".repeat(32));
        wat::parse(&format!("(component (core module {hash} {module}))"))
    };
    for (name, more) in [("one", ""), ("two", "(@custom \"serin:manifest-hash\" \"\")")] {
        let artifact = wat::with_manifest(twice(more), &wat::manifest(name, "1.0.0", "p", "go"));
        deployment.write(&format!("plugins/{name}-1.0.0.wasm"), artifact);
    }
    let host = Host::start(&deployment).ready();
    assert!(refused(&host, "one-1.0.0.wasm").contains("built against another plugin.toml"));
    assert!(refused(&host, "two-1.0.0.wasm").contains("more than one 'serin:manifest-hash' section"));
}

#[test]
fn a_file_is_checked_whatever_lies_beside_it() {
    let deployment = deployment();
    let path = deployment.path().join("plugins/good-1.0.0.wasm");
    let before = run(["plugin", "check", path.to_str().expect("a path")]);
    assert_eq!(before.code, Some(0), "{}", before.stderr);
    // These would take long, or for ever, to be read.
    link("/dev/zero", &deployment.path().join("plugins/good-0.9.0.wasm"));
    link("/proc/self/pagemap", &deployment.path().join("plugins/good-0.8.0.wasm"));
    std::fs::File::create(deployment.path().join("plugins/other-1.0.0.wasm"))
        .expect("creates")
        .set_len(1 << 40)
        .expect("sizes");
    let after = run(["plugin", "check", path.to_str().expect("a path")]);
    assert_eq!((after.code, after.stdout), (Some(0), before.stdout), "{}", after.stderr);
}

#[test]
fn files_that_are_no_artifacts_are_looked_at_once() {
    let deployment = deployment();
    for i in 0..3_000 {
        std::fs::write(deployment.path().join(format!("plugins/junk-{i}.wasm")), format!("junk {i}")).expect("writes");
    }
    let host = Host::start(&deployment).ready();
    eventually("all are refused", Duration::from_secs(120), || {
        let plugins = host.admin.get("/v1/plugins").json();
        plugins["plugins"].as_array()?.iter().all(|p| p["state"] != "loading").then_some(())
    });
    let shown = host.admin.get("/v1/plugins").json();
    let failed = shown["plugins"].as_array().expect("plugins").iter().filter(|p| p["state"] == "failed").count();
    assert_eq!(failed, 1_000, "the list has an end; the log has them all");
    assert_eq!(host.log().matches("artifact refused").count(), 3_000);
    // A scan later nothing was told again, and what is new is found among them.
    deployment.write("plugins/late-1.0.0.wasm", wat::go("late", "", "(i32.const 1024)"));
    eventually("the new one is loaded", Duration::from_secs(60), || plugin(&host, "late-1.0.0.wasm", "active"));
    assert_eq!(host.log().matches("artifact refused").count(), 3_000);
    serves(&host);
}

#[test]
fn what_the_host_keeps_is_readable_by_its_user_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let deployment = deployment();
    std::fs::remove_dir(deployment.path().join("data")).expect("removes");
    // Whatever the umask lets others do.
    let host = Host::start_under("000", &deployment).ready();
    serves(&host);
    let mut folders = vec![deployment.path().join("data")];
    let mut seen = 0;
    while let Some(folder) = folders.pop() {
        let mode = |path: &Path| std::fs::metadata(path).expect("is there").permissions().mode() & 0o777;
        assert_eq!(mode(&folder), 0o700, "{}", folder.display());
        for entry in std::fs::read_dir(&folder).expect("reads") {
            let path = entry.expect("an entry").path();
            match path.is_dir() {
                true => folders.push(path),
                false => {
                    seen += 1;
                    assert_eq!(mode(&path), 0o600, "{}", path.display());
                }
            }
        }
    }
    assert!(seen > 5, "{seen} files");
}
