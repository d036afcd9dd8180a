//! The merged core modules of an artifact against the component that the SDK's tools make.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use serin::clock::Budget;
use serin::registry::Plugin;
use serin::sandbox::{Engines, Run};
use serin_core::limits::Limits;
use wasmparser::{Parser, Payload};

use crate::author::cargo_target;
use crate::support::{Host, artifact, collections, eventually, root, run, wat};

/// A wall clock that no busy machine reaches.
const PATIENCE: Duration = Duration::from_secs(60);

/// The component of the strategy in `dir` as its SDK makes it.
fn component(dir: &Path) -> Vec<u8> {
    let out = dir.join("component.wasm");
    let mut command = match dir.join("strategy.py").exists() {
        true => {
            let mut python = Command::new(cargo_target().join("python-venv/bin/python"));
            python.args(["-m", "serin_guest"]).env("PYTHONPATH", root().join("guest-sdk/python"));
            python
        }
        false => {
            let mut node = Command::new("node");
            node.arg(root().join("guest-sdk/javascript/bin/serin-guest.js"));
            node.env("SERIN_NODE", cargo_target().join("node"));
            node
        }
    };
    let built = command.arg("build").arg(dir).arg("--wit").arg(root().join("wit")).arg("--out").arg(&out).output();
    let built = built.expect("the SDK runs");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    std::fs::read(out).expect("the component")
}

/// An example as its SDK makes it, not merged, in another version.
fn unmerged(name: &str, version: &str) -> Vec<u8> {
    let (from, dir) = (root().join("plugins").join(name), tempfile::tempdir().expect("a folder"));
    let source = ["strategy.py", "strategy.js"].into_iter().find(|source| from.join(source).exists());
    let source = source.expect("a source");
    std::fs::copy(from.join(source), dir.path().join(source)).expect("copies");
    let manifest = std::fs::read_to_string(from.join("plugin.toml")).expect("a manifest");
    let manifest = manifest.replace("version = \"1.0.0\"", &format!("version = \"{version}\""));
    std::fs::write(dir.path().join("plugin.toml"), &manifest).expect("writes");
    wat::with_manifest(component(dir.path()), &manifest)
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
    let unmerged = unmerged(name, "1.0.0");
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

/// Requests about as many loans, and the features of each.
const LOANS: u64 = 24;

fn request(at: u64) -> Value {
    let mut context = json!({ "days_past_due": (at * 7) % 80 });
    if at.is_multiple_of(11) {
        context["days_past_due"] = json!(-1);
    }
    if at.is_multiple_of(3) {
        context["channel"] = json!("email");
    }
    if at.is_multiple_of(8) {
        context["stage"] = json!("dispute");
    }
    json!({
        "decision_point": "collections-outreach",
        "entities": { "borrower": format!("b-{at}"), "loan": format!("l-{at}") },
        "context": context,
    })
}

fn features(at: u64) -> Value {
    let values = json!({
        "contacts_7d": at % 4,
        "promises_broken": at % 3,
        "hardship_flag": at.is_multiple_of(5),
        "balance_due": (at % 6) as f64 * 120.5,
    });
    json!({ "entity": format!("l-{at}"), "event_time": jiff::Timestamp::now().to_string(), "values": values })
}

/// What the strategy was shown, and what it said.
fn said(record: &Value) -> Value {
    let attempt = &record["attempts"][0];
    json!([
        record["features"]["servicing"]["values"],
        attempt["parameters"],
        attempt["outcome"],
        attempt["logs"],
        attempt["transcript"]
    ])
}

/// An artifact that was built before there was a linker stays: it is served, and its records replay on a host that
/// serves the merged one by then. Both decide alike.
fn decides_alike_at_the_door(name: &str) {
    let deployment = collections();
    deployment.remove("experiments/outreach-score.toml");
    deployment.shares_compiled_code();
    let host = Host::start_with(&deployment.config(), &["--dev"]).ready();
    let rows: Vec<Value> = (0..LOANS).filter(|at| !at.is_multiple_of(7)).map(features).collect();
    let pushed = host.public.post("/v1/features/servicing", &json!({ "rows": rows }));
    assert_eq!(pushed.status, 200, "{}", pushed.text);

    let mut before = "outreach-rules@1.0.0".to_owned();
    let merged = artifact(&format!("plugins/{name}"), &format!("{name}-1.0.0.wasm"));
    let old = unmerged(name, "0.9.0");
    assert!(modules(&old).len() > modules(&merged).len(), "{:?} {:?}", modules(&old), modules(&merged));
    let mut decided: Vec<Vec<(String, Value)>> = Vec::new();
    for (version, artifact) in [("0.9.0", old), ("1.0.0", merged)] {
        deployment.write(&format!("plugins/{name}-{version}.wasm"), &artifact);
        let pin = format!("{name}@{version}");
        deployment.edit("serin.toml", &format!("strategy = \"{before}\""), &format!("strategy = \"{pin}\""));
        before = pin;
        eventually(&before, Duration::from_secs(240), || {
            let answer = host.public.post("/v1/decisions", &request(1)).json();
            let strategy = &answer["strategy"];
            (strategy["name"] == name && strategy["version"] == version).then_some(())
        });
        let decide = |at: u64| {
            let id = host.public.post("/v1/decisions", &request(at)).json()["decision_id"].as_str().map(str::to_owned);
            let id = id.expect("an id");
            let record = host.admin.get(&format!("/v1/decisions/{id}")).json();
            assert_eq!(record["attempts"][0]["strategy"]["version"], version, "{record}");
            (id, said(&record))
        };
        decided.push((0..LOANS).map(decide).collect());
    }
    let [old, new] = &decided[..] else { panic!("two versions") };
    for ((before, old), (_, new)) in old.iter().zip(new) {
        assert_eq!(old, new, "{before}");
        let replayed = host.admin.post(&format!("/v1/decisions/{before}/replay"), &json!({})).json();
        assert_eq!(replayed["identical"], true, "{replayed}");
    }
    let outcomes: std::collections::BTreeSet<String> = old.iter().map(|(_, said)| said[2].to_string()).collect();
    assert!(outcomes.len() > 5 && outcomes.iter().any(|outcome| outcome.contains("refusal")), "{outcomes:?}");
    assert_eq!(host.stop(), Some(0));
    let config = deployment.config();
    let verified = run(["replay", "--verify", "--config", config.to_str().expect("a path")]);
    assert_eq!(verified.code, Some(0), "{}{}", verified.stdout, verified.stderr);
}

#[test]
fn an_unmerged_python_artifact_is_served_and_replayed_beside_its_merged_successor() {
    decides_alike_at_the_door("outreach-hardship");
}

#[test]
fn an_unmerged_javascript_artifact_is_served_and_replayed_beside_its_merged_successor() {
    decides_alike_at_the_door("outreach-uplift");
}
