//! The merged core modules of an artifact against the component that the SDK's tools make.

use std::path::PathBuf;
use std::process::Command;

use serin::clock::Budget;
use serin::registry::Plugin;
use serin::sandbox::{Engines, Run};
use serin_core::limits::Limits;
use wasm_encoder::{ComponentSection as _, CustomSection};
use wasmparser::{Parser, Payload};

use crate::author::cargo_target;
use crate::support::{artifact, root};

/// A wall clock that no busy machine reaches.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

/// The component of a Python example as its SDK makes it, with the manifest and cases of `artifact`.
fn unmerged(name: &str, artifact: &[u8]) -> Vec<u8> {
    let dir = tempfile::tempdir().expect("a folder");
    let out: PathBuf = dir.path().join("component.wasm");
    let built = Command::new(cargo_target().join("python-venv/bin/python"))
        .args(["-m", "serin_guest", "build"])
        .arg(root().join("plugins").join(name))
        .arg("--wit")
        .arg(root().join("wit"))
        .arg("--out")
        .arg(&out)
        .env("PYTHONPATH", root().join("guest-sdk/python"))
        .output()
        .expect("python runs");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let mut component = std::fs::read(out).expect("the component");
    for payload in sections(artifact) {
        if let Payload::CustomSection(section) = payload
            && ["serin:manifest", "serin:cases"].contains(&section.name())
        {
            CustomSection { name: section.name().into(), data: section.data().into() }
                .append_to_component(&mut component);
        }
    }
    component
}

/// The component's own sections, without those of what is nested in it.
fn sections(component: &[u8]) -> Vec<Payload<'_>> {
    let mut depth = 0;
    let mut own = Vec::new();
    for payload in Parser::new(0).parse_all(component) {
        let payload = payload.expect("a component");
        let is_own = depth == 0;
        match &payload {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth -= i32::from(!is_own),
            _ => {}
        }
        if is_own {
            own.push(payload);
        }
    }
    own
}

/// Names of the component's imports and exports.
fn world(component: &[u8]) -> Vec<String> {
    let mut names = Vec::new();
    for payload in sections(component) {
        match payload {
            Payload::ComponentImportSection(imports) => {
                names.extend(imports.into_iter().map(|import| format!("import {:?}", import.expect("an import"))));
            }
            Payload::ComponentExportSection(exports) => names
                .extend(exports.into_iter().map(|export| format!("export {}", export.expect("an export").name.name))),
            _ => {}
        }
    }
    names
}

/// Sizes of the core modules, the largest first.
fn modules(component: &[u8]) -> Vec<usize> {
    let mut sizes: Vec<usize> = sections(component)
        .iter()
        .filter_map(|payload| match payload {
            Payload::ModuleSection { unchecked_range, .. } => Some(unchecked_range.len()),
            _ => None,
        })
        .collect();
    sizes.sort_unstable_by(|a, b| b.cmp(a));
    sizes
}

#[test]
fn a_merged_artifact_decides_as_what_it_was_made_of() {
    let name = "outreach-hardship";
    let merged = artifact(&format!("plugins/{name}"), &format!("{name}-1.0.0.wasm"));
    let unmerged = unmerged(name, &merged);
    assert!(modules(&unmerged).len() > 30);
    assert!(matches!(modules(&merged)[..], [_, binding] if binding < 200), "{:?}", modules(&merged));
    assert_eq!(world(&merged), world(&unmerged));

    // It takes long to compile, and decides alike.
    let engines = Engines::new(1).expect("engines").drafting();
    let [merged, unmerged] = [merged, unmerged].map(|bytes| Plugin::link(&engines, &bytes).expect("links"));
    let manifest = merged.manifest();
    let limits = Limits { wall_ms: PATIENCE.as_millis() as u64, ..manifest.limits.over(Limits::default()) };
    assert!(!merged.contents.cases.is_empty());
    for case in &merged.contents.cases {
        let features = case.positional_features(manifest).expect("all features");
        let scores = case.positional_scores(manifest).expect("all scores");
        let parameters = manifest.parameters_with(&case.parameters).expect("parameters");
        let run = Run {
            decision_point: &manifest.decision_point,
            time_ms: 1_767_268_800_000,
            utc_offset_minutes: 0,
            features: &features,
            scores: &scores,
            parameters: &parameters,
        };
        // A fresh instance each time, in memory that the one before has written to.
        let [first, again, other] = [&merged, &merged, &unmerged]
            .map(|plugin| plugin.linked.run(&run, manifest, limits, Budget::new(PATIENCE), None));
        assert_eq!((&first.outcome, first.fuel), (&again.outcome, again.fuel), "{}", case.name);
        assert_eq!((&first.outcome, &first.logs), (&other.outcome, &other.logs), "{}", case.name);
        assert!(first.fuel < other.fuel, "{}: calls are direct", case.name);
    }
}
