//! Hot reload under load: no request lost, none answered by a version whose successor was
//! shown as active before the request began.

use std::io::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Answer, Deployment, Host, collections, eventually, outreach_rules, with_nonce};

const FILE: &str = "plugins/outreach-rules-1.0.0.wasm";
const RELOADS: usize = 200;
const CONNECTIONS: u64 = 4;

/// An answer, and when its request began.
struct Sample {
    began: Instant,
    answer: Answer,
}

/// Posts decisions about ever new borrowers until it is told to stop.
fn load(host: &Host, next: &AtomicU64, stop: &AtomicBool) -> Vec<Sample> {
    let client = host.public.clone();
    let mut samples = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let i = next.fetch_add(1, Ordering::Relaxed);
        let request = json!({
            "decision_point": "collections-outreach",
            "entities": { "borrower": format!("b-{i}"), "loan": format!("l-{i}") },
            "context": { "days_past_due": i % 40 },
        });
        let began = Instant::now();
        let answer = client.post_text("/v1/decisions", &request.to_string(), &[]).expect("no connection breaks");
        samples.push(Sample { began, answer });
    }
    samples
}

/// Replaces the artifact in one of the ways in which deployments do it.
fn replace(host: &Host, deployment: &Deployment, way: usize, bytes: &[u8]) {
    let path = deployment.path().join(FILE);
    match way % 4 {
        0 => deployment.write(FILE, bytes),
        1 => {
            // In place: until the second half is there, the file is broken.
            let mut file = std::fs::File::create(&path).expect("opens");
            let (first, second) = bytes.split_at(bytes.len() / 2);
            file.write_all(first).expect("writes");
            if way % 40 == 1 {
                eventually("the half is seen, and refused", Duration::from_secs(10), || {
                    state(host, &serin_core::digest(first)).filter(|state| state == "failed")
                });
            }
            file.write_all(second).expect("writes");
        }
        2 => {
            std::fs::remove_file(&path).expect("removes");
            std::fs::write(&path, bytes).expect("writes");
        }
        _ => {
            let (store, link) = (deployment.path().join("store"), deployment.path().join("plugins/next-link"));
            std::fs::create_dir_all(&store).expect("a folder");
            std::fs::write(store.join(way.to_string()), bytes).expect("writes");
            std::os::unix::fs::symlink(store.join(way.to_string()), &link).expect("links");
            std::fs::rename(&link, &path).expect("renames");
        }
    }
}

/// The state of an artifact, as its owner sees it.
fn state(host: &Host, digest: &str) -> Option<String> {
    let plugins = host.admin.get("/v1/plugins").json();
    let found = plugins["plugins"].as_array()?.iter().find(|plugin| plugin["digest"] == digest)?;
    found["state"].as_str().map(str::to_owned)
}

#[test]
fn two_hundred_reloads_under_load_lose_nothing_and_leave_nothing_behind() {
    let deployment = collections();
    let rules = outreach_rules();
    let host = Host::start_with(&deployment.config(), &["--dev"]).ready();
    // Each digest that was published, and when it was shown as active.
    let mut published = vec![(serin_core::digest(&rules), Instant::now())];
    let (next, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let samples = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CONNECTIONS).map(|_| scope.spawn(|| load(&host, &next, &stop))).collect();
        for i in 0..RELOADS {
            let bytes = with_nonce(&rules, i as u64);
            let digest = serin_core::digest(&bytes);
            replace(&host, &deployment, i, &bytes);
            eventually("the new version is active", Duration::from_secs(20), || {
                state(&host, &digest).filter(|state| state == "active")
            });
            published.push((digest, Instant::now()));
        }
        stop.store(true, Ordering::Relaxed);
        clients.into_iter().flat_map(|client| client.join().expect("a client")).collect::<Vec<_>>()
    });

    let mut served = std::collections::BTreeSet::new();
    for Sample { began, answer } in &samples {
        assert_eq!(answer.status, 200, "{}", answer.text);
        let answer = answer.json();
        let served_by = answer["served_by"].as_str().unwrap_or_default();
        assert!(["arm", "strategy"].contains(&served_by), "{answer}");
        if answer["strategy"]["name"] != "outreach-rules" {
            continue;
        }
        let position = published.iter().position(|(digest, _)| answer["strategy"]["digest"] == **digest);
        let position = position.unwrap_or_else(|| panic!("a version that was never published: {answer}"));
        served.insert(position);
        if let Some((_, active)) = published.get(position + 1) {
            let late = began.saturating_duration_since(*active);
            assert!(late.is_zero(), "a request that began {late:?} after its successor was active: {answer}");
        }
    }
    // Under this load a version is asked for between any two reloads, or nearly.
    assert!(served.len() > RELOADS * 3 / 4, "only {} versions served {} requests", served.len(), samples.len());

    let live = eventually("old versions leave the memory", Duration::from_secs(10), || {
        let live = host.metric("serin_live_versions");
        (live <= 4.0).then_some(live)
    });
    assert!(live >= 2.0, "{live} versions: the gauge does not count");
    let record: Value = host.decide(&json!({
        "decision_point": "collections-outreach", "entities": { "borrower": "b", "loan": "l" }, "context": { "days_past_due": 0 },
    }));
    assert_eq!(record["strategy"]["digest"], *published[RELOADS].0, "what was written last serves");
}
