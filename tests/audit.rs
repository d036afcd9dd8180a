//! Audits: a row and its record say the same, routing follows from what was archived, and what
//! cannot be archived is not put in force.

use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, params};
use serde_json::{Value, json};
use serin::ledger::{Durability, Ledger, Note, Reads as _, ShadowRow};
use serin::telemetry::Metrics;
use serin_core::record::{Attempt, CallError, LogLine, ModelCall, Record};
use serin_core::value::Value as Feature;

use crate::experiments::{RAMP, command, decide, deployment, taken, why};
use crate::support::{Cli, Deployment, Host, eventually, root, run, two_arms};

const BOUND: Duration = Duration::from_secs(20);

fn database(deployment: &Deployment) -> Connection {
    Connection::open(deployment.path().join("data/serin.db")).expect("opens")
}

fn replay(deployment: &Deployment, more: &[&str]) -> Cli {
    let config = deployment.config();
    run(["replay", "--verify", "--config", config.to_str().expect("a path"), "--format", "json"].iter().chain(more))
}

fn report(replay: &Cli) -> Value {
    serde_json::from_str(&replay.stdout).unwrap_or_else(|e| panic!("{e}: {}", replay.stderr))
}

#[test]
fn a_row_that_differs_from_its_record_is_found_and_hides_no_other() {
    let deployment = deployment(RAMP, false);
    let host = Host::start(&deployment).ready();
    assert_eq!(command(&host, "start", why()).0, 200);
    taken(&host);
    let ids: Vec<String> = database(&deployment)
        .prepare("SELECT decision_id FROM decisions WHERE experiment IS NOT NULL ORDER BY seq")
        .and_then(|mut statement| statement.query_map([], |row| row.get(0))?.collect())
        .expect("reads");
    let alter = |set: &str, id: &str| {
        let changed =
            database(&deployment).execute(&format!("UPDATE decisions SET {set} WHERE decision_id = ?1"), [id]);
        assert_eq!(changed.expect("updates"), 1);
    };
    let cases = [
        ("arm = 'another'", "arm is 'another' in the row"),
        ("action = 'none'", "action is 'none' in the row, and 'go' in the record"),
        ("unit = 'b-900'", "unit is 'b-900' in the row"),
        ("time_ms = time_ms + 1", "time_ms is"),
        ("outcome = 'trap'", "outcome is 'trap' in the row"),
        ("served_by = 'strategy'", "served_by is 'strategy' in the row"),
        ("experiment = NULL, arm = NULL", "experiment is none in the row"),
        ("forced = 1", "forced, batch is true"),
        ("record = x'0702030405'", "the record is broken"),
        ("record = x'0102030405'", "its digest is"),
        // SQLite keeps a value of any type in any column.
        ("record = 'text'", "its record is a text"),
        ("time_ms = 'soon'", "its time_ms is a text"),
        ("took_us = -1", "it holds -1"),
        ("arm = x'ff'", "its arm is a blob"),
        ("dictionary = 'one'", "its dictionary is a text"),
    ];
    assert!(ids.len() > cases.len() + 2, "{}", ids.len());
    for ((set, _), id) in cases.iter().zip(&ids) {
        alter(set, id);
    }
    // Another decision's record under an id.
    let (under, other) = (&ids[cases.len()], &ids[cases.len() + 1]);
    let columns = ["record", "digest", "dictionary"];
    let copied =
        columns.map(|column| format!("{column} = (SELECT {column} FROM decisions WHERE decision_id = '{other}')"));
    alter(&copied.join(", "), under);

    let found = |id: &str| {
        let answer = host.admin.get(&format!("/v1/decisions/{id}"));
        (answer.status, answer.json())
    };
    let words = cases.iter().map(|(_, words)| *words).chain(["decision_id is"]);
    for (id, words) in ids.iter().zip(words) {
        let (status, problem) = found(id);
        assert_eq!((status, &problem["type"]), (500, &json!("urn:serin:problem:record-altered")), "{problem}");
        assert!(problem["detail"].as_str().is_some_and(|d| d.contains(words)), "{words}: {problem}");
    }
    assert_eq!(found(other).0, 200);
    let listed = host.admin.get("/v1/decisions?limit=1000");
    assert_eq!(listed.status, 200, "{}", listed.text);
    let listed = listed.json()["decisions"].as_array().expect("a list").clone();
    let broken: Vec<&Value> = listed.iter().filter(|item| item["error"].is_object()).collect();
    assert_eq!((listed.len(), broken.len()), (100, cases.len() + 1), "each is an item, with its error");
    assert!(broken.iter().all(|item| ids.iter().any(|id| item["decision_id"] == **id)), "{broken:?}");
    assert_eq!(host.stop(), Some(0));
    let verified = replay(&deployment, &[]);
    let report = report(&verified);
    assert_eq!((verified.code, &report["different"]), (Some(1), &json!(cases.len() + 1)), "{report}");
}

/// Whether people repaid.
const REPAID: &str = two_arms!(
    r#"
start = "manual"
ramp = [{ coverage = 1.0 }]
"#,
    r#"
[[metrics]]
name = "repaid"
outcome = "payment.repaid"
aggregate = "any"
role = "goal"
direction = "increase"
window = "1h"
planned_units = 1000
"#
);

#[test]
fn an_outcome_that_was_altered_is_told_and_blinds_nobody() {
    let deployment = deployment(REPAID, false);
    let host = Host::start(&deployment).ready();
    let (status, started) = command(&host, "start", why());
    assert_eq!(status, 200, "{started}");
    let arms = taken(&host);
    let outcomes: Vec<Value> = arms
        .iter()
        .map(|(unit, _)| {
            let unit = format!("b-{unit}");
            json!({ "id": format!("o-{unit}"), "name": "payment.repaid", "value": 1, "entity": { "borrower": unit } })
        })
        .collect();
    let posted = host.public.post("/v1/outcomes", &json!({ "outcomes": outcomes }));
    assert!(posted.status == 200 && posted.json()["refused"] == json!([]), "{}", posted.text);
    assert_eq!(host.stop(), Some(0));
    let first = arms[0].0;
    let alter = format!("UPDATE outcomes SET value = 'x' WHERE id = 'o-b-{first}'");
    assert_eq!(database(&deployment).execute(&alter, []).expect("updates"), 1);

    let host = Host::start(&deployment).ready();
    let words =
        "1 row of the ledger cannot be read; the first: row 1 of outcomes: the row was altered: its value is a text";
    let report = host.admin.get("/v1/experiments/e/report");
    assert!(report.status == 200 && report.text.contains(words), "{}", report.text);
    let shown = eventually("the warning", Duration::from_secs(20), || {
        let shown = host.admin.get("/v1/experiments/e").json();
        shown["warnings"].to_string().contains(words).then_some(shown)
    });
    assert_eq!(shown["state"], "running", "{shown}");
    let affected = host.admin.get("/v1/experiments/e/affected").json();
    let unit = affected["units"].as_array().and_then(|units| units.iter().find(|u| u["unit"] == format!("b-{first}")));
    let outcome = &unit.expect("the unit")["outcomes"][0];
    assert!(outcome["value"].is_null() && outcome["error"].is_string(), "{outcome}");
}

#[test]
fn nothing_verified_is_no_success() {
    let deployment = deployment(RAMP, false);
    let host = Host::start(&deployment).ready();
    decide(&host, "b-1");
    assert_eq!(host.stop(), Some(0));
    let typo = replay(&deployment, &["--point", "TYPO"]);
    assert_eq!(typo.code, Some(1), "{}", typo.stdout);
    assert!(typo.stderr.contains("--point TYPO: ") && typo.stderr.contains("known: p"), "{}", typo.stderr);
    let without = run(["replay", "--config", deployment.config().to_str().expect("a path"), "--point", "TYPO"]);
    assert_eq!(without.code, Some(1), "{}", without.stdout);
    let empty = ["--until", "2001-01-01T00:00:00Z"];
    let nothing = replay(&deployment, &empty);
    assert_eq!(nothing.code, Some(1), "{}", nothing.stdout);
    assert!(nothing.stderr.contains("nothing was verified") && nothing.stderr.contains("--allow-empty"));
    let allowed = replay(&deployment, &[empty[0], empty[1], "--allow-empty"]);
    assert_eq!(allowed.code, Some(0), "{}", allowed.stderr);
    assert_eq!(replay(&deployment, &["--point", "p"]).code, Some(0));
    // A point that was taken out of the file is still one that records are of.
    deployment.edit("serin.toml", "[decision_points.p]", "[decision_points.other]");
    assert_eq!(replay(&deployment, &["--point", "p"]).code, Some(0));
}

/// Every part of the routing, forged by somebody who computes the digest again.
#[test]
fn routing_is_computed_again_whole() {
    let spec = RAMP.replace("ramp = ", "eligible = \"!(entities.borrower in ['b-7', 'b-8', 'b-9', 'b-10'])\"\nramp = ");
    let deployment = deployment(&spec, false);
    let with_layer = deployment.read("serin.toml").replace(
        "[decision_points.p]\n",
        "[decision_points.p]\nlayer = \"all\"\nexclude = \"entities.borrower == 'b-13'\"\n",
    ) + "\n[layers.all]\nunit = \"borrower\"\nsalt = \"s\"\nholdout = 0.2\n";
    deployment.write("serin.toml", with_layer);
    let host = Host::start(&deployment).ready();
    assert_eq!(command(&host, "start", why()).0, 200);
    taken(&host);
    assert_eq!(command(&host, "promote", why()).0, 200);
    taken(&host);
    let forced = json!({ "decision_point": "p", "entities": { "borrower": "b-1" }, "force": { "experiment": "e", "arm": "next" } });
    assert_eq!(host.admin.post("/v1/decisions", &forced).status, 200);
    assert_eq!(host.stop(), Some(0));
    let whole = replay(&deployment, &[]);
    let counts = report(&whole);
    assert_eq!((whole.code, &counts["identical"]), (Some(0), &json!(201)), "{counts}");
    assert_eq!(counts["routing_not_recomputed"], 0, "{counts}");

    type Is = fn(&Record) -> bool;
    type Forge = fn(&mut Record);
    let is_in: Is = |record| record.routing.assignment.as_ref().is_some_and(|a| !a.forced);
    let cases: [(&str, Is, Forge); 6] = [
        ("routing.assignment.coverage", is_in, |r| r.routing.assignment.as_mut().expect("in").coverage = 0.5),
        ("routing.assignment.propensity", is_in, |r| r.routing.assignment.as_mut().expect("in").propensity = 0.9),
        ("routing.place", is_in, |r| r.routing.place = Some(0.25)),
        ("routing.held_out", |r| r.routing.held_out, |r| r.routing.held_out = false),
        ("routing.excluded", |r| r.routing.excluded.is_some(), |r| r.routing.excluded = Some("because".to_owned())),
        ("routing.not_enrolled", |r| r.routing.not_enrolled.is_some(), |r| r.routing.not_enrolled = None),
    ];
    for (field, is, forge) in cases {
        let reader = serin::ledger::LedgerReader::open(&deployment.path().join("data/serin.db")).expect("opens");
        let mut found = None;
        reader
            .for_each(&serin::ledger::DecisionFilter::default(), |stored| {
                found = stored.parse().ok().filter(is);
                found.is_none()
            })
            .expect("reads");
        let mut record = found.unwrap_or_else(|| panic!("no record for {field}"));
        let id = record.decision_id.clone();
        let before: (Vec<u8>, String, Option<i64>) = database(&deployment)
            .query_row("SELECT record, digest, dictionary FROM decisions WHERE decision_id = ?1", [&id], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })
            .expect("its row");
        let set = |bytes: &[u8], digest: &str, dictionary: Option<i64>| {
            let update = "UPDATE decisions SET record = ?2, digest = ?3, dictionary = ?4 WHERE decision_id = ?1";
            database(&deployment).execute(update, params![id, bytes, digest, dictionary]).expect("updates");
        };
        forge(&mut record);
        let forged = serde_json::to_vec(&record).expect("JSON");
        set(&forged, &serin_core::digest(&forged), None);
        let report = report(&replay(&deployment, &[]));
        let shown = &report["shown"][0];
        assert_eq!((&report["different"], &shown["decision_id"]), (&json!(1), &json!(id)), "{field}: {report}");
        let differs = |d: &Value| d["field"].as_str().is_some_and(|f| f.starts_with(field));
        assert!(shown["differences"].as_array().expect("differences").iter().any(differs), "{field}: {shown}");
        set(&before.0, &before.1, before.2);
    }
}

/// Puts a file where a folder of the archive is, so that nothing can be written there.
fn blocked(deployment: &Deployment, folder: &str) {
    let archive = deployment.path().join("data/archive");
    std::fs::rename(archive.join(folder), archive.join("away")).expect("moves");
    std::fs::write(archive.join(folder), "").expect("writes");
}

fn unblocked(deployment: &Deployment, folder: &str) {
    let archive = deployment.path().join("data/archive");
    std::fs::remove_file(archive.join(folder)).expect("removes");
    std::fs::rename(archive.join("away"), archive.join(folder)).expect("moves");
}

#[test]
fn a_spec_that_cannot_be_archived_is_not_put_in_force() {
    for folder in ["applied", "blobs"] {
        let deployment = deployment("", false);
        deployment.remove("experiments/e.toml");
        let host = Host::start(&deployment).ready();
        blocked(&deployment, folder);
        deployment.write("experiments/e.toml", RAMP.replace("start = \"manual\"", "start = \"on_apply\""));
        let shown = eventually("it is shown", BOUND, || {
            let shown = host.admin.get("/v1/experiments/e");
            (shown.status == 200).then(|| shown.json())
        });
        assert_eq!(shown["state"], "invalid", "{shown}");
        assert!(shown["error"].as_str().is_some_and(|e| e.contains("could not be archived")), "{shown}");
        assert_eq!(taken(&host), [], "{folder}: nobody enters what a restart would not find");
        unblocked(&deployment, folder);
        eventually("it is tried again", BOUND, || {
            (host.admin.get("/v1/experiments/e").json()["state"] == "running").then_some(())
        });
        assert_ne!(taken(&host), []);
    }
}

#[test]
fn a_deployment_that_cannot_be_archived_waits_and_an_abort_does_not() {
    let deployment = deployment(&RAMP.replace("start = \"manual\"", "start = \"on_apply\""), false);
    let host = Host::start(&deployment).ready();
    assert_ne!(taken(&host), []);
    let shown = || host.admin.get("/v1/deployment").json();
    let before = shown();
    assert_eq!(before["archive_error"], Value::Null, "{before}");
    blocked(&deployment, "applied");
    deployment.edit("serin.toml", "deadline = \"5s\"", "deadline = \"4s\"");
    let waits = eventually("it is shown", BOUND, || Some(shown()).filter(|d| d["archive_error"].is_string()));
    assert_eq!(waits["generation"], before["generation"], "what was in force stays");
    deployment.edit("serin.toml", "deadline = \"4s\"", "deadline = \"5s\"");
    eventually("nothing waits", BOUND, || shown()["archive_error"].is_null().then_some(()));
    // What a person stops does not wait for a folder.
    assert_eq!(command(&host, "abort", why()).0, 200);
    assert_eq!(taken(&host), []);
    eventually("that is shown", BOUND, || shown()["archive_error"].is_string().then_some(()));
    unblocked(&deployment, "applied");
    eventually("and made up for", BOUND, || shown()["archive_error"].is_null().then_some(()));
    assert_eq!(host.stop(), Some(0));
    let all = replay(&deployment, &[]);
    assert_eq!(all.code, Some(0), "{}{}", all.stdout, all.stderr);
}

#[test]
fn what_a_shadow_did_is_packed_and_bounded() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("serin.db");
    let ledger = Ledger::open(&path, Durability::Process, Arc::new(Metrics::default())).expect("opens");
    let record = std::fs::read(root().join("tests/data/records/v1/record.json")).expect("a record");
    let plain: Attempt = Record::parse(&record).expect("readable").attempts.remove(0);
    let mut huge = plain.clone();
    let rows = vec![vec![Feature::Text("\u{1}".repeat(500_000))]];
    huge.transcript = vec![
        ModelCall {
            model: 0,
            digest: None,
            rows,
            answer: Err(CallError::InvalidRow("no".to_owned())),
            cause: None
        };
        16
    ];
    huge.logs = vec![LogLine { level: "info".into(), message: "a line".to_owned() }; 10];
    let row = |id: &str, attempt: &Attempt| ShadowRow {
        decision_id: id.to_owned(),
        experiment: "e".to_owned(),
        arm: "a".to_owned(),
        served: "go".to_owned(),
        action: None,
        outcome: "answer",
        took_us: 1,
        served_us: 1,
        dropped: 0,
        attempt: ledger.pack_attempt(1, ("e", "a"), attempt),
    };
    let rows: Vec<ShadowRow> = (0..50).map(|i| row(&format!("d-{i}"), &plain)).chain([row("huge", &huge)]).collect();
    ledger.note(Note::Shadows(rows)).expect("queued");
    ledger.close();
    let bytes: i64 = Connection::open(&path)
        .and_then(|db| db.query_row("SELECT sum(length(attempt)) FROM shadows", [], |row| row.get(0)))
        .expect("sums");
    let whole = serde_json::to_vec(&plain).expect("JSON").len() as i64;
    assert!(bytes < 51 * whole / 3, "{bytes} of {} bytes", 51 * whole);
    let reader = serin::ledger::LedgerReader::open(&path).expect("opens");
    let found = reader.shadow_attempts("d-7").expect("reads");
    assert_eq!((found.len(), found[0].attempt.as_ref(), found[0].cut), (1, Some(&plain), 0));
    let found = reader.shadow_attempts("huge").expect("reads");
    let kept = found[0].attempt.as_ref().expect("what came of it is kept");
    assert!(found[0].cut > 8_000_000, "{}", found[0].cut);
    assert_eq!((&kept.outcome, kept.transcript.len(), kept.logs_cut), (&plain.outcome, 0, true));
    let counted = reader.shadow_counts("e").expect("reads");
    assert_eq!((counted.len(), counted[0].decisions), (1, 51));
}
