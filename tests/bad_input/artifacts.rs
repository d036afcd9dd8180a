//! Artifacts that cannot be served.

use serde_json::Value;

use serin_core::manifest::{CASES_SECTION, MANIFEST_SECTION};

use super::components::{MANIFEST, component, rewritten, with_section};
use super::{blamed, findings, request, shown};
use crate::support::{Deployment, Host, collections, outreach_rules, outreach_score};

struct Case {
    file: &'static str,
    bytes: Vec<u8>,
    needles: &'static [&'static str],
}

fn case(file: &'static str, bytes: Vec<u8>, needles: &'static [&'static str]) -> Case {
    Case { file, bytes, needles }
}

/// Bytes that look like nothing, the same in every run.
fn noise(count: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..count).map(|_| next()).collect()
}

fn cases() -> Vec<Case> {
    let good = outreach_rules();
    let magic = |mut bytes: Vec<u8>| {
        bytes[..8].copy_from_slice(&good[..8]);
        bytes
    };
    let edited = |from: &str, to: &str| {
        rewritten(&good, MANIFEST_SECTION, |text| {
            assert!(text.contains(from), "{from}");
            Some(text.replacen(from, to, 1))
        })
    };
    vec![
        case("empty.wasm", Vec::new(), &["not a WebAssembly component", "the file is empty"]),
        case("random.wasm", noise(4096), &["not a WebAssembly component", "magic"]),
        case("random-after-magic.wasm", magic(noise(4096)), &["not a WebAssembly component"]),
        case("cut-in-magic.wasm", good[..5].to_vec(), &["not a WebAssembly component"]),
        case("cut-in-half.wasm", good[..good.len() / 2].to_vec(), &["not a WebAssembly component", "end"]),
        case("cut-by-a-byte.wasm", good[..good.len() - 1].to_vec(), &["not a WebAssembly component", "end"]),
        case(
            "core-module.wasm",
            wat::parse_str("(module)").expect("valid text"),
            &["core WebAssembly module", "serin plugin build"],
        ),
        case(
            "no-manifest.wasm",
            rewritten(&good, MANIFEST_SECTION, |_| None),
            &["no 'serin:manifest' section", "serin plugin build"],
        ),
        case(
            "two-manifests.wasm",
            with_section(good.clone(), MANIFEST_SECTION, MANIFEST.as_bytes()),
            &["more than one 'serin:manifest' section"],
        ),
        case(
            "wrong-world.wasm",
            component("(component)"),
            &["does not export", "serin:decision/strategy@0.1", "decide"],
        ),
        case(
            "wrong-signature.wasm",
            component(
                r#"(component
                    (core module $m (func (export "decide")))
                    (core instance $i (instantiate $m))
                    (func $f (canon lift (core func $i "decide")))
                    (export "decide" (func $f)))"#,
            ),
            &["does not export", "serin:decision/strategy@0.1", "decide"],
        ),
        case(
            "wasi.wasm",
            component(
                r#"(component
                    (import "wasi:clocks/wall-clock@0.2.0" (instance (export "now" (func (result u64))))))"#,
            ),
            &["imports 'wasi:clocks/wall-clock@0.2.0'", "serin:decision/models and serin:decision/log only"],
        ),
        case(
            "bare-function.wasm",
            component(r#"(component (import "getrandom" (func (result u64))))"#),
            &["imports 'getrandom'", "serin:decision/models and serin:decision/log only"],
        ),
        case(
            "no-such-import.wasm",
            component(
                r#"(component
                    (import "serin:decision/secrets@0.1.0" (instance (export "read" (func (result string))))))"#,
            ),
            &["imports 'serin:decision/secrets@0.1.0'", "serin:decision/models and serin:decision/log only"],
        ),
        case(
            "of-a-later-version.wasm",
            component(r#"(component (import "serin:decision/log@0.2.0" (instance)))"#),
            &["made for serin:decision@0.2.0", "this host has serin:decision@0.1.0"],
        ),
        case(
            "unknown-key.wasm",
            edited("[actions]", "timeout = 3\n[actions]"),
            &["manifest: ", "unknown field `timeout`", "`decision_point`"],
        ),
        case(
            "duplicate-name.wasm",
            edited("name = \"stage\"", "name = \"channel\""),
            &["manifest: ", "a feature named 'channel' is declared already"],
        ),
        case(
            "impossible-range.wasm",
            edited("max = 7", "max = -7"),
            &["manifest: ", "'contact_cap'", "[0, -7] holds no value"],
        ),
        // Valid, but not the manifest that the code was built against: positions would mean other things.
        case(
            "swapped-manifest.wasm",
            edited("max = 7", "max = 8"),
            &["built against another plugin.toml", "build the plugin again"],
        ),
        case(
            "failing-case.wasm",
            rewritten(&good, CASES_SECTION, |_| Some(CASE.to_owned())),
            &["case 'asks for the moon' fails", "expected"],
        ),
        case(
            "broken-cases.wasm",
            rewritten(&good, CASES_SECTION, |_| Some(CASE.replace("context", "contxt"))),
            &["cases: ", "unknown field `contxt`"],
        ),
    ]
}

/// A case that no version of the rules meets.
const CASE: &str = r#"[{"name":"asks for the moon","context":{"days_past_due":12},
    "expect":{"candidates":[{"action":"call","probability":1.0,"parameters":{},"reasons":[]}]}}]"#;

#[test]
fn check_refuses_each_broken_artifact_and_says_why() {
    let deployment = collections();
    let cases = cases();
    for case in &cases {
        deployment.write(&format!("plugins/{}", case.file), &case.bytes);
    }
    let findings = findings(&deployment);
    for case in &cases {
        blamed(&findings, case.file, case.needles);
    }
    assert_eq!(findings.len(), cases.len(), "the good artifacts are not blamed: {findings:#?}");
}

fn status(plugins: &Value, file: &str) -> Option<Value> {
    plugins["plugins"].as_array()?.iter().find(|plugin| plugin["file"] == file).cloned()
}

#[test]
fn a_running_host_refuses_each_and_keeps_serving() {
    let deployment = collections();
    let host = Host::start(&deployment).ready();
    let generation = host.admin.get("/v1/deployment").json()["generation"].clone();
    let cases = cases();
    for case in &cases {
        deployment.write(&format!("plugins/{}", case.file), &case.bytes);
    }
    for case in &cases {
        let failed = shown(&host.admin, "/v1/plugins", case.file, |plugins| {
            status(plugins, case.file).filter(|plugin| plugin["state"] == "failed")
        });
        let error = failed["error"].as_str().expect("an error");
        assert!(case.needles.iter().all(|needle| error.contains(needle)), "{}: {error}", case.file);
        assert_eq!(host.public.post("/v1/decisions", &request()).status, 200);
    }
    assert_eq!(host.public.get("/readyz").status, 200);
    assert_eq!(host.admin.get("/v1/deployment").json()["generation"], generation, "nothing was swapped");
    assert_eq!(host.stop(), Some(0));
}

#[test]
fn a_broken_file_in_place_of_a_good_one_takes_nothing_away() {
    let deployment = collections();
    let host = Host::start(&deployment).ready();
    let file = "outreach-rules-1.0.0.wasm";
    overwrite(&deployment, file, &outreach_rules()[..1000]);
    let failed = shown(&host.admin, "/v1/plugins", "the truncated file", |plugins| {
        status(plugins, file).filter(|plugin| plugin["state"] == "failed")
    });
    assert!(failed["error"].as_str().expect("an error").contains("not a WebAssembly component"), "{failed}");
    assert_eq!(host.public.post("/v1/decisions", &request()).json()["strategy"]["version"], "1.0.0");
    assert_eq!(host.public.get("/readyz").status, 200);
    // The pinned version is still needed, and still there from before.
    let kept = shown(&host.admin, "/v1/plugins", "the version kept", |plugins| {
        let all = plugins["plugins"].as_array()?;
        all.iter().find(|p| p["name"] == "outreach-rules" && p["state"] == "active").cloned()
    });
    assert_eq!(kept["stale"], true);

    overwrite(&deployment, file, &outreach_rules());
    shown(&host.admin, "/v1/plugins", "the good file again", |plugins| {
        status(plugins, file).filter(|plugin| plugin["state"] == "active" && plugin["stale"] == false)
    });
}

fn overwrite(deployment: &Deployment, file: &str, bytes: &[u8]) {
    deployment.write(&format!("plugins/{file}"), bytes);
}

#[test]
fn a_file_too_large_to_be_an_artifact_is_not_even_read() {
    let deployment = collections();
    let host = Host::start(&deployment).ready();
    let path = deployment.path().join("plugins/huge.wasm");
    // A hole: nothing is written, and the file is as long as it says.
    std::fs::File::create(&path).expect("creates").set_len((64 << 20) + 1).expect("sizes");
    let failed = shown(&host.admin, "/v1/plugins", "the large file", |plugins| status(plugins, "huge.wasm"));
    assert_eq!(failed["error"], "67108865 bytes; the largest artifact accepted has 67108864");
    blamed(&findings(&deployment), "huge.wasm", &["the largest artifact accepted has 67108864"]);
    deployment.remove("plugins/huge.wasm");
    shown(&host.admin, "/v1/plugins", "that it is gone", |plugins| {
        status(plugins, "huge.wasm").is_none().then_some(())
    });
}

#[test]
fn plugin_check_says_what_the_host_would_say() {
    let deployment = collections();
    for case in cases() {
        deployment.write(case.file, &case.bytes);
        let path = deployment.path().join(case.file);
        let checked = crate::support::run(["plugin", "check", path.to_str().expect("a path")]);
        assert_eq!(checked.code, Some(1), "{}: {}", case.file, checked.stdout);
        assert!(checked.stderr.contains(case.file) || case.file == "failing-case.wasm", "{}", checked.stderr);
    }
    let (path, good) = (deployment.path().join("good.wasm"), outreach_score());
    deployment.write("good.wasm", good);
    assert_eq!(crate::support::run(["plugin", "check", path.to_str().expect("a path")]).code, Some(0));
}
