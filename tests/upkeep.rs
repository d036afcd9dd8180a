//! What keeps a ledger fit: old rows go a little at a time and none that is still needed, its log
//! stays bounded, a clock that leapt is not believed, and after its end nobody writes to it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::{Connection, params};
use serde_json::{Value, json};
use serin::clock::{Clock as _, SimulatedClock};
use serin::ledger::{
    Arrival, ClockGuard, ClockState, Commit, ConfirmError, Durability, Event, EventResult, ExposureInput,
    IdempotentAnswer, Ledger, LedgerError, Reads as _, Retention,
};
use serin::telemetry::Metrics;

use crate::experiments::{command, decide, deployment, taken, why};
use crate::support::{Deployment, Host, eventually, run, two_arms, wat};

const DAY_MS: u64 = 86_400_000;

fn database(deployment: &Deployment) -> Connection {
    Connection::open(deployment.path().join("data/serin.db")).expect("opens")
}

fn open(folder: &tempfile::TempDir) -> Result<Ledger, LedgerError> {
    Ledger::open(&folder.path().join("serin.db"), Durability::Process, Arc::new(Metrics::default()))
}

fn keep(key: &str, time_ms: u64) -> Commit {
    let answer = IdempotentAnswer {
        key: key.to_owned(),
        request: "sha256:0".to_owned(),
        status: 200,
        body: vec![b'x'; 600],
        time_ms,
    };
    Commit { answer: Some(answer), ..Commit::default() }
}

#[test]
fn a_closed_ledger_takes_nothing_more_whoever_still_holds_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let ledger = Arc::new(open(&folder).expect("opens"));
    assert!(matches!(open(&folder), Err(LedgerError::Locked(_))), "one host at a time");
    let queued: Vec<_> = (0..100).map(|i| ledger.commit(keep(&format!("k-{i}"), 1)).expect("queued")).collect();
    let held = Arc::clone(&ledger);
    ledger.close();
    for wait in queued {
        wait.blocking_recv().expect("answered").expect("what was queued before is committed");
    }
    assert!(matches!(held.commit(keep("late", 1)), Err(LedgerError::Closed)));
    let (done, wait) = std::sync::mpsc::channel();
    held.commit_then(keep("late", 1), Box::new(move |result| done.send(result).expect("sends")));
    assert!(matches!(wait.recv(), Ok(Err(LedgerError::Closed))));
    assert!(matches!(held.stored_answer("k-1", 0), Err(LedgerError::Closed)));
    assert!(!held.is_healthy());
    held.close();
    let next = open(&folder).expect("the lock is released, though somebody holds the closed one");
    assert!(next.stored_answer("k-99", 0).expect("reads").is_some());
    assert!(next.stored_answer("late", 0).expect("reads").is_none());
}

#[test]
fn whatever_is_written_waits_while_another_program_holds_the_lock() {
    let folder = tempfile::tempdir().expect("a folder");
    let ledger = open(&folder).expect("opens");
    let other = Connection::open(folder.path().join("serin.db")).expect("opens");
    let arrival = Arrival::at(1, 0);
    let exposure = || Event::Exposure(ExposureInput { id: None, decision_id: "d".to_owned(), at_ms: 1 });
    for expected in [EventResult::UnknownDecision, EventResult::Duplicate] {
        other.execute_batch("BEGIN IMMEDIATE").expect("locks");
        let mut wait = ledger.events(vec![exposure()], arrival.clone()).expect("queued");
        let end = Instant::now() + Duration::from_millis(150);
        while Instant::now() < end {
            assert!(wait.try_recv().is_err(), "it waits for the lock");
            std::thread::yield_now();
        }
        other.execute_batch("ROLLBACK").expect("unlocks");
        assert_eq!(wait.blocking_recv().expect("answered").expect("stored"), [expected]);
    }
}

#[test]
fn a_job_that_meets_an_altered_row_fails_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let ledger = open(&folder).expect("opens");
    let other = Connection::open(folder.path().join("serin.db")).expect("opens");
    let exposure = |id: &str| {
        let input = ExposureInput { id: Some(id.to_owned()), decision_id: "d".to_owned(), at_ms: 1 };
        ledger.events(vec![Event::Exposure(input)], Arrival::at(1, 0)).expect("queued")
    };
    exposure("e-1").blocking_recv().expect("answered").expect("stored");
    other.execute("UPDATE exposure_ids SET decision_id = x'00'", []).expect("alters it");
    // While somebody holds the lock, what comes is queued, and is committed together afterwards.
    other.execute_batch("BEGIN IMMEDIATE").expect("locks");
    let before = ledger.commit(keep("k-1", 1)).expect("queued");
    let (again, after) = (exposure("e-1"), ledger.commit(keep("k-2", 1)).expect("queued"));
    other.execute_batch("ROLLBACK").expect("unlocks");
    before.blocking_recv().expect("answered").expect("committed");
    after.blocking_recv().expect("answered").expect("committed, whatever it was grouped with");
    assert!(again.blocking_recv().expect("answered").is_err());
    assert!(exposure("e-1").blocking_recv().expect("answered").is_err(), "alone it fails, too");
    assert!(ledger.is_healthy(), "and keeps no decision from being committed");

    // Expiry comes to a row that it cannot read.
    other
        .execute_batch(
            "INSERT INTO decisions (decision_id, time_ms, point, served_by, action, took_us, forced, digest, record)
             VALUES ('0', 0, 'p', 'strategy', 'go', 1, 0, '', x'00');
             UPDATE decisions SET experiment = x'00'",
        )
        .expect("alters it");
    let retention = Retention {
        clock: ClockState::Trusted(100 * DAY_MS),
        keep_ms: Some(DAY_MS),
        keep_keys_ms: DAY_MS,
        keep_audit_ms: None,
        experiments: Default::default(),
    };
    let expired = ledger.expire(retention).expect("queued").blocking_recv().expect("answered");
    assert!(expired.is_err(), "{expired:?}");
    assert!(ledger.is_healthy());
}

#[test]
fn a_host_that_has_stopped_has_closed_its_ledger() {
    let deployment = wat::points(&[("p", wat::go("p", "", "(i32.const 1024)"))]);
    let any = "127.0.0.1:0".parse().ok();
    let options = serin::app::Options {
        config: deployment.config(),
        listen: any,
        admin: any,
        dev: false,
        looks: serin::app::Looks::default(),
    };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let clock = Arc::new(serin::clock::SystemClock);
    let host = runtime.block_on(serin::app::Host::start(options, clock)).expect("starts");
    let held = host.ledger().upgrade().expect("it runs");
    runtime.block_on(host.stop());
    assert!(matches!(held.commit(keep("late", 1)), Err(LedgerError::Closed)));
    let path = deployment.path().join("data/serin.db");
    Ledger::open(&path, Durability::Process, Arc::new(Metrics::default())).expect("nobody has it any more");
}

#[test]
fn what_people_resolve_waits_for_the_disk_and_decisions_do_as_the_file_says() {
    let spec = crate::experiments::RAMP;
    let deployment = deployment(spec, false);
    let host = Host::start(&deployment).ready();
    let synced = || host.metric("serin_commits_synced_total");
    assert_eq!(taken(&host), []);
    assert_eq!(synced(), 0.0, "a hundred decisions, and none waited");
    for (n, verb) in ["start", "pause", "resume", "abort"].into_iter().enumerate() {
        assert_eq!(command(&host, verb, why()).0, 200, "{verb}");
        assert_eq!(synced(), n as f64 + 1.0, "{verb} is on the disk");
    }
    let shown = host.admin.get("/v1/deployment").json()["durability"].clone();
    assert_eq!(shown["setting"], "process");
    let survives = |what: &str| shown["survives"][what].as_str().unwrap_or_default().to_owned();
    assert!(survives("decisions").contains("a power cut may take the last seconds"), "{shown}");
    assert!(survives("transitions").ends_with("and a power cut"), "{shown}");
}

/// Makes all decisions of a stopped host older, and what belongs to them.
fn age(deployment: &Deployment, days: u64) {
    let database = database(deployment);
    let ids: Vec<(String, i64)> = database
        .prepare("SELECT decision_id, time_ms FROM decisions")
        .and_then(|mut statement| statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect())
        .expect("reads");
    for (id, time_ms) in ids {
        let old_ms = time_ms - (days * DAY_MS) as i64;
        let old = format!("{:08x}-{:04x}{}", old_ms >> 16, old_ms & 0xffff, &id[13..]);
        let set = "UPDATE decisions SET decision_id = ?2, time_ms = ?3 WHERE decision_id = ?1";
        database.execute(set, params![id, old, old_ms]).expect("updates");
        database
            .execute("UPDATE exposures SET decision_id = ?2 WHERE decision_id = ?1", params![id, old])
            .expect("updates");
    }
    let ms = (days * DAY_MS) as i64;
    for sql in [
        "UPDATE outcomes SET received_ms = received_ms - ?1, at_ms = at_ms - ?1",
        "UPDATE exposures SET received_ms = received_ms - ?1, at_ms = at_ms - ?1",
    ] {
        database.execute(sql, [ms]).expect("updates");
    }
    for key in ["started_ms", "since_ms", "ended_ms"] {
        let sql = format!(
            "UPDATE experiments SET status = json_set(status, '$.{key}', json_extract(status, '$.{key}') - ?1)
             WHERE json_extract(status, '$.{key}') IS NOT NULL"
        );
        database.execute(&sql, [ms]).expect("updates");
    }
}

const RUNNING: &str = two_arms!(
    r#"
coverage = 1.0
slot = [0.0, 0.5]
"#,
    r#"
[[metrics]]
name = "cured_14d"
role = "goal"
outcome = "cured"
window = "14d"
lag = "2d"
"#
);

#[test]
fn an_experiment_keeps_its_rows_until_its_outcomes_are_in_and_all_others_go() {
    let deployment = deployment(RUNNING, false);
    deployment.write("serin.toml", format!("[ledger]\nretain = \"7d\"\n\n{}", deployment.read("serin.toml")));
    let host = Host::start(&deployment).ready();
    for i in 0..60 {
        let id = decide(&host, &format!("b-{i}"))["decision_id"].clone();
        host.public.post("/v1/exposures", &json!({ "exposures": [{ "decision_id": id }] }));
        let outcome = json!({ "id": format!("o-{i}"), "name": "cured", "value": 1.0, "entity": { "borrower": format!("b-{i}") } });
        assert_eq!(host.public.post("/v1/outcomes", &json!({ "outcomes": [outcome] })).status, 200);
    }
    assert_eq!(host.stop(), Some(0));
    let count = |sql: &str| -> i64 {
        database(&deployment).query_row(&format!("SELECT count(*) FROM {sql}"), [], |row| row.get(0)).expect("counts")
    };
    let inside = count("decisions WHERE experiment = 'e'");
    assert!(inside > 10 && inside < 50, "{inside}");

    age(&deployment, 30);
    let host = Host::start(&deployment).ready();
    eventually("the others go", Duration::from_secs(20), || {
        (count("decisions WHERE experiment IS NULL") == 0).then_some(())
    });
    eventually("their records go", Duration::from_secs(20), || {
        (count("decisions WHERE length(record) > 0") == 0).then_some(())
    });
    assert_eq!(count("decisions WHERE experiment = 'e' AND unit IS NOT NULL AND arm IS NOT NULL"), inside);
    assert_eq!((count("outcomes"), count("exposures")), (60, 60));
    let id: String = database(&deployment)
        .query_row("SELECT decision_id FROM decisions LIMIT 1", [], |row| row.get(0))
        .expect("a row");
    let gone = host.admin.get(&format!("/v1/decisions/{id}"));
    assert_eq!((gone.status, &gone.json()["type"]), (410, &json!("urn:serin:problem:record-expired")));
    let listed = host.admin.get("/v1/decisions?limit=1").json();
    assert_eq!(listed["decisions"][0]["error"]["status"], 410, "{listed}");
    let report = host.admin.get("/v1/experiments/e/report").json();
    assert_eq!(report["units"]["entered"], inside, "nobody is forgotten: {report}");
    let config = deployment.config();
    let verify = ["replay", "--verify", "--config", config.to_str().expect("a path"), "--allow-empty"];
    let replayed = run(verify);
    assert!(replayed.code == Some(0) && replayed.stdout.contains("have expired"), "{replayed:?}");

    assert_eq!(command(&host, "abort", why()).0, 200);
    assert_eq!(host.stop(), Some(0));
    // Its outcomes may come for 16 days after the last unit entered.
    age(&deployment, 10);
    let host = Host::start(&deployment).ready();
    host.public.post("/v1/outcomes", &json!({ "outcomes": [] }));
    assert_eq!(count("decisions WHERE experiment = 'e'"), inside);
    assert_eq!(host.stop(), Some(0));
    age(&deployment, 10);
    let host = Host::start(&deployment).ready();
    eventually("now they go, too", Duration::from_secs(20), || {
        let left = count("decisions") + count("outcomes") + count("exposures");
        (left == 0).then_some(())
    });
    drop(host);
}

#[test]
fn a_batch_of_expiry_is_short_and_an_index_finds_what_it_deletes() {
    let folder = tempfile::tempdir().expect("a folder");
    let ledger = open(&folder).expect("opens");
    drop(open(&folder));
    let database = Connection::open(folder.path().join("serin.db")).expect("opens");
    database
        .execute_batch(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 30000)
             INSERT INTO shadows (experiment, arm, decision_id, served, outcome, took_us, served_us, dropped, attempt)
             SELECT 'e', 'a', printf('00000000-%04x-7000-8000-%012x', i % 16, i), 'go', 'answer', 1, 1, 0, hex(randomblob(400)) FROM n",
        )
        .expect("inserts");
    let retention = || Retention {
        clock: ClockState::Trusted(100 * DAY_MS),
        keep_ms: Some(DAY_MS),
        keep_keys_ms: DAY_MS,
        keep_audit_ms: None,
        experiments: Default::default(),
    };
    let expire = || ledger.expire(retention()).expect("queued").blocking_recv().expect("answers").expect("expires");
    let left = || -> i64 { database.query_row("SELECT count(*) FROM shadows", [], |row| row.get(0)).expect("counts") };
    assert!(expire(), "more is left than one batch takes");
    assert!(left() > 0 && left() < 30_000, "{}", left());
    let batches = (1..100_000).find(|_| !expire()).expect("it comes to an end");
    assert_eq!(left(), 0);
    assert!(batches > 3, "{batches} batches");
    for (table, condition) in [
        ("shadows", "decision_id < 'x'"),
        ("answers", "time_ms < 1"),
        ("outcomes", "received_ms < 1"),
        ("exposures", "received_ms < 1"),
        ("decisions", "decision_id < 'x'"),
        ("decisions", "experiment = 'x'"),
        ("decisions", "seq > 1 AND seq <= 5 AND experiment IS NOT NULL AND unit IS NOT NULL"),
    ] {
        let plan: String = database
            .query_row(&format!("EXPLAIN QUERY PLAN SELECT * FROM {table} WHERE {condition} LIMIT 16"), [], |row| {
                row.get(3)
            })
            .expect("a plan");
        assert!(plan.starts_with("SEARCH"), "{table}: {plan}");
        assert_eq!(plan.contains("INTEGER PRIMARY KEY"), condition.starts_with("seq"), "{table}: {plan}");
    }
}

fn guard(ledger: &Arc<Ledger>, clock: &Arc<SimulatedClock>, keep: Duration) -> ClockGuard {
    let clock = Arc::clone(clock) as Arc<dyn serin::clock::Clock>;
    ClockGuard::start(Arc::clone(ledger), clock, Some(keep), Arc::new(Metrics::default())).expect("starts")
}

#[test]
fn a_clock_that_leaps_is_not_believed_until_somebody_confirms_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let ledger = Arc::new(open(&folder).expect("opens"));
    let clock = Arc::new(SimulatedClock::new(1_000 * DAY_MS, 1));
    let keep = Duration::from_millis(400 * DAY_MS);
    let of_start = guard(&ledger, &clock, keep);
    assert!(of_start.is_trusted(), "a new ledger has nothing to compare with");
    assert!(matches!(of_start.confirm("ann", "a test"), Err(ConfirmError::Trusted)));
    let tell = |state: ClockState| ledger.note_clock(state).expect("recorded");
    tell(of_start.look());
    // A month in which the host runs, and small corrections.
    for _ in 0..30 {
        clock.advance(Duration::from_millis(DAY_MS));
        clock.leap(Duration::from_secs(20));
        assert!(of_start.is_trusted());
    }
    tell(of_start.look());
    let before_ms = clock.now_ms();
    clock.leap(Duration::from_millis(401 * DAY_MS));
    let doubt = of_start.doubt().expect("no uptime explains it");
    assert!(doubt.contains("leapt from"), "{doubt}");
    tell(of_start.look());
    assert_eq!(ledger.last_seen().expect("reads").seen_ms, Some(before_ms), "what it showed is not taken over");
    clock.advance(Duration::from_millis(DAY_MS));
    assert!(!of_start.is_trusted(), "time alone does not make it right");
    assert_eq!(of_start.now_ms(), before_ms + DAY_MS, "it goes on from what was believed");
    tell(of_start.look());
    let restarted = guard(&ledger, &clock, keep);
    assert_eq!(restarted.now_ms(), before_ms + DAY_MS, "what passed by uptime is known to the next host");
    let happening = [of_start.happening_ms(), restarted.happening_ms()];
    assert_eq!(happening, [before_ms + DAY_MS, clock.now_ms()], "a clock that did not leap may be right");
    assert!(restarted.doubt().is_some_and(|why| why.contains("was last in use at")), "nor a restart");
    restarted.confirm("ann", "the host was stopped for a year").expect("confirmed");
    assert!(restarted.is_trusted() && guard(&ledger, &clock, keep).is_trusted());
    assert_eq!(restarted.now_ms(), clock.now_ms());

    // A leap that is too short to be told from a stop is remembered.
    let running = guard(&ledger, &clock, keep);
    clock.leap(Duration::from_secs(3 * 3600));
    tell(running.look());
    assert!(!guard(&ledger, &clock, keep).is_trusted());
    // Nor is it the clock's fault for ever: set right, however long after, it is trusted by the next host.
    clock.advance(Duration::from_millis(30 * DAY_MS));
    tell(running.look());
    clock.set_back(Duration::from_secs(3 * 3600));
    assert!(guard(&ledger, &clock, keep).is_trusted());
}

#[test]
fn a_host_that_stops_notes_until_when_it_ran() {
    let deployment = deployment(RUNNING, false);
    let host = Host::start(&deployment).ready();
    let seen = || -> i64 {
        database(&deployment).query_row("SELECT coalesce(seen_ms, 0) FROM clock", [], |row| row.get(0)).expect("reads")
    };
    eventually("it has noted the time once", Duration::from_secs(20), || (seen() > 0).then_some(()));
    database(&deployment).execute("UPDATE clock SET seen_ms = seen_ms - 30000", []).expect("as half a minute ago");
    let before = seen();
    assert_eq!(host.stop(), Some(0));
    assert!(seen() >= before + 30_000, "{before} and {}", seen());
}

#[test]
fn with_a_clock_that_is_far_ahead_nothing_expires_and_no_experiment_changes() {
    const ENDS: &str = "max_duration = \"100d\"\n";
    let deployment = deployment(&RUNNING.replace("coverage = 1.0\n", &format!("coverage = 1.0\n{ENDS}")), false);
    deployment.write("serin.toml", format!("[ledger]\nretain = \"400d\"\n\n{}", deployment.read("serin.toml")));
    let host = Host::start(&deployment).ready();
    taken(&host);
    assert_eq!(host.stop(), Some(0));
    // All that is known is 401 days old: as if the clock were as far ahead.
    age(&deployment, 401);
    let ago = (401 * DAY_MS) as i64;
    database(&deployment).execute("UPDATE clock SET seen_ms = seen_ms - ?1", [ago]).expect("updates");

    let host = Host::start(&deployment).ready();
    let doubt = || host.admin.get("/v1/deployment").json()["clock_doubt"].clone();
    assert!(doubt().as_str().is_some_and(|why| why.contains("was last in use at")), "{}", doubt());
    assert_eq!(host.metric("serin_clock_doubted"), 1.0);
    assert!(host.log().contains("serin clock confirm"), "{}", host.log());
    let state = || host.admin.get("/v1/experiments/e").json()["state"].clone();
    let decisions = || -> i64 {
        database(&deployment).query_row("SELECT count(*) FROM decisions", [], |row| row.get(0)).expect("counts")
    };
    // Expiry has been here: it leaves its mark even where it deletes nothing.
    eventually("expiry has looked", Duration::from_secs(20), || {
        let doubt = "SELECT doubt FROM clock";
        database(&deployment).query_row(doubt, [], |row| row.get::<_, Option<String>>(0)).expect("reads")
    });
    assert_eq!((decisions(), state()), (100, json!("running")));
    // Nor is what a file asks for dated by a time that may be long ago.
    let later = RUNNING.replace("id = \"e\"", "id = \"later\"").replace("[0.0, 0.5]", "[0.5, 1.0]");
    deployment.write("experiments/later.toml", later);
    let later = || host.admin.get("/v1/experiments/later").json();
    eventually("a draft waits", Duration::from_secs(20), || {
        later()["why"].as_str().is_some_and(|why| why.contains("until the clock is trusted")).then_some(())
    });
    assert_eq!(later()["state"], "draft");
    // To contain what runs nobody has to wait.
    deployment.edit("experiments/e.toml", "coverage = 1.0", "coverage = 0.4");
    let coverage = || host.admin.get("/v1/experiments/e").json()["coverage"].as_f64();
    eventually("it is narrower", Duration::from_secs(20), || (coverage() == Some(0.4)).then_some(()));
    deployment.edit("experiments/e.toml", "coverage = 0.4", "coverage = 0.9");
    eventually("wider waits", Duration::from_secs(20), || {
        let shown = host.admin.get("/v1/experiments/e").json();
        shown["why"].as_str().is_some_and(|why| why.contains("until the clock is trusted")).then_some(())
    });
    assert_eq!(coverage(), Some(0.4));

    let admin = format!("http://{}", host.admin.address);
    let confirm = ["clock", "confirm", "--reason", "it was in the store", "--by", "ann", "--admin", &admin];
    let confirmed = run(confirm);
    assert_eq!(confirmed.code, Some(0), "{}", confirmed.stderr);
    assert_eq!((doubt(), host.metric("serin_clock_doubted")), (Value::Null, 0.0));
    eventually("the draft starts", Duration::from_secs(20), || (later()["state"] == "running").then_some(()));
    eventually("the experiment ends", Duration::from_secs(20), || (state() == json!("concluded")).then_some(()));
    eventually("what is old goes", Duration::from_secs(20), || (decisions() < 100).then_some(()));
    let again = run(confirm);
    assert!(again.code == Some(1) && again.stderr.contains("nothing to confirm"), "{}", again.stderr);
}

#[test]
fn a_read_that_does_not_end_is_named_and_the_log_is_emptied_after_it() {
    let deployment = wat::points(&[("p", wat::go("p", "", "(i32.const 1024)"))]);
    let host = Host::start(&deployment).ready();
    let reader = database(&deployment);
    reader.execute_batch("BEGIN; SELECT count(*) FROM outcomes").expect("reads");
    let name = format!("process {}", std::process::id());
    let mut n = 0;
    eventually("it is named", Duration::from_secs(60), || {
        let outcome = |i: usize| {
            // Ids in no order: each changes pages of its own.
            let id = serin_core::digest(format!("{n}-{i}").as_bytes());
            json!({ "id": id, "name": "paid", "value": 1.0, "entity": { "borrower": id } })
        };
        let outcomes: Vec<Value> = (0..1000).map(outcome).collect();
        n += 1;
        let stored = host.public.post("/v1/outcomes", &json!({ "outcomes": outcomes }));
        assert_eq!((stored.status, &stored.json()["stored"]), (200, &json!(1000)), "{}", stored.text);
        let log = host.log();
        log.lines().any(|line| line.contains("keeps it from being emptied") && line.contains(&name)).then_some(())
    });
    let bytes = host.metric("serin_ledger_log_bytes");
    assert!(bytes > 16e6, "{bytes}");
    reader.execute_batch("ROLLBACK").expect("ends");
    eventually("it is emptied", Duration::from_secs(20), || host.log().contains("is emptied again").then_some(()));
}

#[test]
fn a_ledger_that_always_fails_fills_no_log() {
    let deployment = wat::points(&[("p", wat::go("p", "", "(i32.const 1024)"))]);
    let host = Host::start(&deployment).ready();
    decide(&host, "b-1");
    database(&deployment).execute_batch("ALTER TABLE decisions RENAME TO elsewhere").expect("renames");
    let request = json!({ "decision_point": "p", "entities": { "borrower": "b-1" } });
    for _ in 0..300 {
        assert_eq!(host.public.post("/v1/decisions", &request).status, 503);
    }
    let log = host.log();
    let lines = log.lines().filter(|line| line.contains("ledger")).count();
    assert!((1..20).contains(&lines), "{lines} lines:\n{log}");
}
