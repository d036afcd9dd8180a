//! Very many versions in one folder, versions that come and go, and what the archive keeps of them.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use serin_core::manifest::Manifest;

use crate::experiments::decide;
use crate::support::{Deployment, Host, artifact, eventually, root, wat};

const BOUND: Duration = Duration::from_secs(240);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A version of `name` for the decision point `p`, with the code that answers `number`, and a case of it.
fn version(name: &str, version: &str, number: u32) -> Vec<u8> {
    let body = format!("(i64.store (i32.const 1112) (i64.const {number})) (i32.const 1024)");
    let guest =
        wat::guest(&wat::manifest(name, version, "p", "go"), &format!("{} {}", wat::PRELUDE, wat::decide(&body)));
    let candidate = json!({ "action": "go", "probability": 1.0, "parameters": { "n": number }, "reasons": [] });
    wat::with_cases(guest, &json!([{ "name": "it answers", "expect": { "candidates": [candidate] } }]))
}

/// A deployment whose point `p` is pinned to `p@1.0.0`.
fn pinned() -> Deployment {
    let deployment = wat::points(&[("p", version("p", "1.0.0", 7))]);
    let config = deployment.read("serin.toml");
    deployment.write("serin.toml", format!("[ledger]\nretain = \"7d\"\n\n{config}"));
    deployment
}

fn active(host: &Host) -> f64 {
    host.admin.get("/metrics");
    host.metric("serin_artifacts{state=\"active\"}")
}

fn wait_for_active(host: &Host, many: usize) {
    eventually(&format!("{many} versions are active"), BOUND, || (active(host) == many as f64).then_some(()));
}

/// What a host holds: kibibytes that are resident, and mappings.
fn held(host: &Host) -> (u64, usize) {
    let read = |file: &str| std::fs::read_to_string(format!("/proc/{}/{file}", host.pid())).expect("it runs");
    let status = read("status");
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix("kB"));
    (resident.expect("a line").trim().parse().expect("a number"), read("maps").lines().count())
}

/// Has versions loaded, and taken away again.
fn in_and_out(deployment: &Deployment, host: &Host, versions: &[(String, Vec<u8>)]) {
    versions.iter().for_each(|(file, bytes)| deployment.write(file, bytes));
    wait_for_active(host, versions.len() + 1);
    versions.iter().for_each(|(file, _)| deployment.remove(file));
    wait_for_active(host, 1);
    eventually("they leave the memory", BOUND, || (host.metric("serin_live_versions") == 1.0).then_some(()));
}

#[test]
fn versions_that_are_gone_are_freed_and_those_of_one_code_share_it() {
    const ROUNDS: u32 = 20;
    let deployment = pinned();
    let host = Host::start(&deployment).ready();
    let named = |name: &str, patch: u32, number: u32| {
        let version_of = format!("1.1.{patch}");
        (format!("plugins/{name}-{version_of}.wasm"), version(name, &version_of, number))
    };
    // In each round fifteen manifests over one code, and ten codes.
    let mut seen = Vec::new();
    for round in 0..ROUNDS {
        let of_one = (0..15).map(|i| named("one", round * 15 + i, 100));
        let of_many = (0..10).map(|code| named(&format!("other-{code}"), round, 200 + code));
        in_and_out(&deployment, &host, &of_one.chain(of_many).collect::<Vec<_>>());
        seen.push(held(&host));
    }
    let (warm, last) = (seen[ROUNDS as usize / 2], seen[ROUNDS as usize - 1]);
    // A leak of one code is a mapping at least, and 64 KiB; of ten in each of ten rounds, a hundred of them.
    assert!(last.1 <= warm.1 + 20, "mappings: {seen:?}");
    assert!(last.0 <= warm.0 + 3_000, "KiB resident: {seen:?}");
    assert_eq!(deployment.compiled().len(), 12, "the pinned one's, one for three hundred manifests, and ten");
    let plugins = host.admin.get("/v1/plugins").json();
    let retired = plugins["plugins"].as_array().expect("a list").iter().filter(|p| p["state"] == "retired").count();
    assert!(retired <= 200, "{retired} retired ones are shown");
    assert_eq!(decide(&host, "b-1")["parameters"]["n"], 7);
    assert_eq!(host.stop(), Some(0));
}

/// A version of the example in Python: another manifest, and so another digest, over the same code.
fn in_python(artifact: &[u8], version: &str) -> Vec<u8> {
    let manifest = std::fs::read_to_string(root().join("plugins/outreach-hardship/plugin.toml")).expect("reads");
    let next = manifest.replacen("version = \"1.0.0\"", &format!("version = \"{version}\""), 1);
    assert!(next != manifest && next.len() == manifest.len(), "{version}");
    let hash = |text: &str| Manifest::parse(text).expect("valid").hash;
    let mut bytes = artifact.to_vec();
    for (old, new) in [(manifest.as_bytes(), next.as_bytes()), (hash(&manifest).as_slice(), hash(&next).as_slice())] {
        let at = bytes.windows(old.len()).position(|part| part == old).expect("it is in the artifact");
        bytes[at..at + old.len()].copy_from_slice(new);
    }
    bytes
}

#[test]
fn versions_of_one_python_code_are_freed_and_share_it() {
    python_in_and_out(8, 3);
}

/// The same with three hundred, by `make soak`.
#[test]
fn three_hundred_versions_of_one_python_code() {
    if std::env::var_os("SERIN_SEEDS").is_some() {
        python_in_and_out(30, 10);
    }
}

/// So many versions of one code come and go beside each other, so many times.
fn python_in_and_out(rounds: u32, versions: u32) {
    let deployment = pinned();
    deployment.write("serin.toml", format!("[plugins]\n\n{}", deployment.read("serin.toml")));
    deployment.shares_compiled_code();
    let host = Host::start(&deployment).ready();
    let example = artifact("plugins/outreach-hardship", "outreach-hardship-1.0.0.wasm");
    let mut seen = Vec::new();
    for round in 0..rounds {
        let named = |at: u32| {
            // From 1.0.1 on, a digit each: the manifest stays as long as it is.
            let number = 101 + round * versions + at;
            let version = format!("{}.{}.{}", number / 100, number / 10 % 10, number % 10);
            (format!("plugins/outreach-hardship-{version}.wasm"), in_python(&example, &version))
        };
        in_and_out(&deployment, &host, &(0..versions).map(named).collect::<Vec<_>>());
        seen.push(held(&host));
    }
    println!("{} came and went; resident KiB and mappings: {seen:?}", rounds * versions);
    let (first, second) = seen.split_at(rounds as usize / 2);
    let (warm, last) = (first[first.len() - 1], second[second.len() - 1]);
    assert!(last.1 <= warm.1 + 12, "mappings: {seen:?}");
    // What one look finds depends on what the allocator has given back by then; a code that stays, of
    // some 30 MiB, is in each of them. Half of them have come and gone since.
    let most = first.iter().map(|held| held.0).max().expect("rounds");
    let least = second.iter().map(|held| held.0).min().expect("rounds");
    assert!(least <= most + 30_000, "KiB resident: {seen:?}");
    assert_eq!(decide(&host, "b-1")["parameters"]["n"], 7);
    assert_eq!(host.stop(), Some(0));
}

#[test]
fn the_metrics_of_a_version_go_when_it_is_shown_no_more() {
    let deployment = pinned();
    let host = Host::start(&deployment).ready();
    let series = |version: &str| {
        let text = host.admin.get("/metrics").text;
        text.lines().filter(|line| line.contains(&format!("strategy=\"p\",version=\"{version}\""))).count()
    };
    assert_eq!(decide(&host, "b-1")["parameters"]["n"], 7);
    assert!(series("1.0.0") > 0);
    deployment.write("plugins/p-1.1.0.wasm", version("p", "1.1.0", 8));
    deployment.edit("serin.toml", "strategy = \"p@1.0.0\"", "strategy = \"p@1.1.0\"");
    eventually("the next version serves", BOUND, || (decide(&host, "b-1")["parameters"]["n"] == 8).then_some(()));
    deployment.remove("plugins/p-1.0.0.wasm");
    wait_for_active(&host, 1);
    assert!(series("1.0.0") > 0, "a scrape may still want what it counted last");
    // More retire after it than are shown.
    let others: Vec<_> = (0..201).map(|i| format!("2.{i}.0")).collect();
    let others: Vec<_> = others.iter().map(|of| (format!("plugins/q-{of}.wasm"), version("q", of, 9))).collect();
    in_and_out(&deployment, &host, &others);
    eventually("its series are gone", BOUND, || (series("1.0.0") == 0).then_some(()));
    assert!(series("1.1.0") > 0, "those of what serves stay");
    assert_eq!(host.stop(), Some(0));
}

#[test]
fn a_thousand_versions_hold_up_neither_a_start_nor_the_next_version() {
    const MANY: usize = 1_000;
    let deployment = pinned();
    let file = |i: usize| format!("plugins/q-1.{i}.0.wasm");
    let host = Host::start(&deployment).ready();
    decide(&host, "b-1");
    let alone = held(&host);
    (1..MANY).for_each(|i| deployment.write(&file(i), version("q", &format!("1.{i}.0"), 8)));
    wait_for_active(&host, MANY);
    let beside = held(&host);
    println!("KiB resident and mappings, with one version and with {MANY}: {alone:?}, {beside:?}");
    assert!(beside.0 - alone.0 < 64 * MANY as u64, "each takes less than its code would");
    assert!(beside.1 < alone.1 + MANY / 10, "and has no mapping of its own");
    let plugins = host.admin.get("/v1/plugins").json();
    assert_eq!((plugins["plugins"].as_array().map(Vec::len), &plugins["left_out"]), (Some(MANY), &json!(0)));
    assert_eq!(deployment.compiled().len(), 2, "two codes");
    assert_eq!(host.stop(), Some(0));

    // From what was compiled: the version that serves is not behind the others.
    let host = Host::start(&deployment).ready();
    assert_eq!(decide(&host, "b-1")["parameters"]["n"], 7);
    wait_for_active(&host, MANY);
    // By the host's own order, since a slow test would see it serve with all of them.
    let log = host.log();
    let loaded: Vec<_> = log.lines().filter(|line| line.contains("artifact loaded")).collect();
    let place = loaded.iter().position(|line| line.contains("p@1.0.0"));
    assert!(place.is_some_and(|place| place < MANY / 10), "what is pinned is loaded first: {place:?}");
    let ahead = log.lines().take_while(|line| !line.contains("deployment applied"));
    let ahead = ahead.filter(|line| line.contains("artifact loaded")).count();
    assert!(ahead < MANY / 2, "and serves while others are still loaded: {ahead}");
    deployment.write("plugins/r-1.0.0.wasm", version("r", "1.0.0", 9));
    wait_for_active(&host, MANY + 1);
    // An edit that names what is not there is told in a sentence.
    deployment.edit("serin.toml", "strategy = \"p@1.0.0\"", "strategy = \"q@9.0.0\"");
    let error = eventually("the edit is refused", BOUND, || {
        host.admin.get("/v1/deployment").json()["config_error"].as_str().map(str::to_owned)
    });
    assert!(error.contains("the newest of q: q@1.999.0, q@1.998.0") && error.len() < 500, "{error}");
    assert_eq!(decide(&host, "b-1")["parameters"]["n"], 7);
}

/// The archive's file with an artifact.
fn blob(deployment: &Deployment, artifact: &[u8]) -> PathBuf {
    let digest = serin_core::digest(artifact);
    deployment.path().join("data/archive/blobs").join(digest.trim_start_matches("sha256:"))
}

/// Makes all files of a stopped host's archive older, as if they had been used last so long ago.
fn age(deployment: &Deployment, by: impl Fn(&PathBuf) -> Duration) {
    for folder in ["blobs", "applied"] {
        for entry in std::fs::read_dir(deployment.path().join("data/archive").join(folder)).expect("a folder") {
            let path = entry.expect("an entry").path();
            let file = std::fs::File::options().append(true).open(&path).expect("opens");
            file.set_modified(SystemTime::now() - by(&path)).expect("sets");
        }
    }
}

fn replay(host: &Host, decision: &Value) -> u16 {
    let id = decision["decision_id"].as_str().expect("an id");
    host.admin.post(&format!("/v1/decisions/{id}/replay"), &json!({})).status
}

#[test]
fn the_archive_keeps_what_is_named_or_referred_to_and_drops_the_rest() {
    let deployment = pinned();
    let [first, second, unnamed] = [("1.0.0", 7), ("1.1.0", 8), ("1.2.0", 9)].map(|(v, n)| version("p", v, n));
    let host = Host::start(&deployment).ready();
    let decided = decide(&host, "b-1");
    deployment.write("plugins/p-1.1.0.wasm", &second);
    deployment.write("plugins/p-1.2.0.wasm", &unnamed);
    wait_for_active(&host, 3);
    deployment.edit("serin.toml", "strategy = \"p@1.0.0\"", "strategy = \"p@1.1.0\"");
    eventually("the next version serves", BOUND, || (decide(&host, "b-1")["parameters"]["n"] == 8).then_some(()));
    deployment.remove("plugins/p-1.0.0.wasm");
    deployment.remove("plugins/p-1.2.0.wasm");
    wait_for_active(&host, 1);
    assert_eq!(host.stop(), Some(0));

    // The first version served until three days ago, and decisions are kept for seven.
    age(&deployment, |path| if *path == blob(&deployment, &unnamed) { DAY * 30 } else { DAY * 3 });
    let host = Host::start(&deployment).ready();
    eventually("what nothing needs is dropped", BOUND, || (!blob(&deployment, &unnamed).exists()).then_some(()));
    assert!(blob(&deployment, &first).exists() && blob(&deployment, &second).exists());
    assert_eq!(replay(&host, &decided), 200);
    assert_eq!(decide(&host, "b-1")["parameters"]["n"], 8);
    assert_eq!(host.stop(), Some(0));

    age(&deployment, |_| DAY * 30);
    let host = Host::start(&deployment).ready();
    eventually("and later the first version", BOUND, || (!blob(&deployment, &first).exists()).then_some(()));
    assert!(blob(&deployment, &second).exists(), "it serves");
    // A restart finds all that it needs, without the folder.
    deployment.remove("plugins/p-1.1.0.wasm");
    assert_eq!(host.stop(), Some(0));
    let host = Host::start(&deployment).ready();
    assert_eq!(decide(&host, "b-1")["parameters"]["n"], 8);
    // A version stays published though nobody has it any more; the one that it was comes back.
    let state = |digest: &str| {
        let plugins = host.admin.get("/v1/plugins").json();
        let found = plugins["plugins"].as_array()?.iter().find(|p| p["digest"] == digest).cloned()?;
        Some((found["state"].as_str()?.to_owned(), found["error"].as_str().unwrap_or_default().to_owned()))
    };
    let other = version("p", "1.0.0", 70);
    deployment.write("plugins/p-1.0.0.wasm", &other);
    let refused = eventually("another one is refused", BOUND, || {
        state(&serin_core::digest(&other)).filter(|(state, _)| state == "failed")
    });
    assert!(refused.1.contains("was published as"), "{refused:?}");
    deployment.write("plugins/p-1.0.0.wasm", &first);
    wait_for_active(&host, 2);
    assert!(blob(&deployment, &first).exists());
    // Named, lost, and dropped by hand: the list says so.
    assert_eq!(host.stop(), Some(0));
    deployment.remove("plugins/p-1.0.0.wasm");
    std::fs::remove_file(blob(&deployment, &first)).expect("removes");
    deployment.edit("serin.toml", "strategy = \"p@1.1.0\"", "strategy = \"p@1.0.0\"");
    let host = Host::start(&deployment);
    let told = eventually("it is told", BOUND, || {
        let plugins = host.admin.get("/v1/plugins").json();
        let broken = plugins["plugins"].as_array()?.iter().find(|p| p["version"] == "1.0.0").cloned()?;
        Some(broken).filter(|broken| broken["state"] == "failed")
    });
    assert_eq!(told["file"], Value::Null);
    assert!(told["error"].as_str().is_some_and(|e| e.contains("the archive does not have it")), "{told}");
}

#[test]
fn without_a_retention_the_archive_keeps_everything() {
    let deployment = pinned();
    deployment.edit("serin.toml", "retain = \"7d\"", "durability = \"process\"");
    let unnamed = version("p", "1.2.0", 9);
    deployment.write("plugins/p-1.2.0.wasm", &unnamed);
    let host = Host::start(&deployment).ready();
    wait_for_active(&host, 2);
    assert_eq!(host.stop(), Some(0));
    deployment.remove("plugins/p-1.2.0.wasm");
    age(&deployment, |_| DAY * 3_000);
    let host = Host::start(&deployment).ready();
    let serving = blob(&deployment, &version("p", "1.0.0", 7));
    let unused_for = || std::fs::metadata(&serving).ok()?.modified().ok()?.elapsed().ok();
    eventually("what is in use is noted", BOUND, || unused_for().filter(|unused| *unused < DAY));
    assert!(blob(&deployment, &unnamed).exists());
    decide(&host, "b-1");
}
