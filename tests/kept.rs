//! What is kept of experiments: whom they touched, and their reports as of their end.

use std::time::Duration;

use rusqlite::Connection;
use serde_json::{Value, json};
use serin::clock::{Clock as _, decision_id};
use serin::ledger::{ClockState, Cursor, Fact, FinalReport, Retention, RowsNeeded};
use serin_core::experiment::Command;

use crate::experiments::{RUNNING, command, decide, deployment, heard, report, state, why};
use crate::steering::Loop;
use crate::support::{Deployment, Host, eventually, run};

const IN_TIME: Duration = Duration::from_secs(20);

fn ledger(deployment: &Deployment) -> Connection {
    Connection::open(deployment.path().join("data/serin.db")).expect("the ledger")
}

#[test]
fn a_unit_with_very_many_decisions_is_a_bounded_item_of_those_affected() {
    let deployment = deployment(RUNNING, false);
    let host = Host::start(&deployment).ready();
    let decided = decide(&host, "b-1");
    let id = decided["decision_id"].as_str().expect("an id");
    // As if it had been decided about ever since; each decision had an outcome.
    let many = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2500)";
    let id_of = "printf('ffffffff-ffff-7000-8000-%012d', i)";
    let copied = "time_ms, point, unit, experiment, arm, served_by, outcome, action, took_us, forced, digest, dictionary, record";
    ledger(&deployment)
        .execute_batch(&format!(
            "{many} INSERT INTO decisions (decision_id, {copied}) SELECT {id_of}, {copied} FROM n, decisions WHERE decision_id = '{id}';
             {many} INSERT INTO outcomes (id, name, value, at_ms, received_ms, decision_id, after_seq)
             SELECT 'o-' || i, 'cured', 1, 10000000000000 + i, 0, {id_of}, 5000 FROM n;"
        ))
        .expect("inserts");
    let page = host.admin.get("/v1/experiments/e/affected").json();
    let unit = &page["units"][0];
    let listed = |key: &str| unit[key].as_array().expect("a list").clone();
    assert_eq!((&unit["decision_count"], &unit["outcome_count"]), (&json!(2501), &json!(2500)));
    assert_eq!((listed("decisions").len(), listed("outcomes").len()), (1000, 1000));
    assert_eq!(
        listed("decisions").last(),
        Some(&json!("ffffffff-ffff-7000-8000-000000002500")),
        "the newest, oldest first"
    );
    assert_eq!(listed("outcomes")[999]["at"], "2286-11-20T17:46:42.5Z");
    let shown = run(["experiment", "affected", "e", "--admin", &format!("http://{}", host.admin.address)]).stdout;
    assert!(shown.contains("2,501 decisions"), "{shown}");
}

#[test]
fn a_kept_report_that_cannot_be_read_is_an_error_and_not_another_report() {
    let deployment = deployment(RUNNING, false);
    let host = Host::start(&deployment).ready();
    decide(&host, "b-1");
    let synced = || host.metric("serin_commits_synced_total");
    let before = synced();
    assert_eq!(command(&host, "abort", why()).0, 200);
    let kept = || {
        let count = "SELECT count(*) FROM final_reports";
        ledger(&deployment).query_row(count, [], |row| row.get::<_, i64>(0)).expect("a count")
    };
    eventually("its report is kept", IN_TIME, || (kept() == 1).then_some(()));
    eventually("it is on the disk as the abort is", IN_TIME, || (synced() >= before + 2.0).then_some(()));
    assert_eq!(report(&host)["state"], "aborted");
    ledger(&deployment).execute("UPDATE final_reports SET report = '{\"experiment\": 7}'", []).expect("updates");
    let answer = host.admin.get("/v1/experiments/e/report");
    let problem = answer.json();
    assert_eq!((answer.status, &problem["type"]), (500, &json!("urn:serin:problem:report-unreadable")), "{problem}");
    assert!(problem["detail"].as_str().is_some_and(|why| why.contains("--recompute")), "{problem}");
    let now = host.admin.get("/v1/experiments/e/report?recompute=true");
    assert_eq!((now.status, &now.json()["state"]), (200, &json!("aborted")));
    let admin = format!("http://{}", host.admin.address);
    assert_eq!(run(["report", "e", "--admin", &admin, "--recompute"]).code, Some(0));
}

#[test]
fn what_comes_right_after_the_end_is_no_part_of_the_report_as_of_it() {
    let metric = "\n[[metrics]]\nname = \"cured\"\nrole = \"goal\"\noutcome = \"cured\"\nwindow = \"1s\"\n";
    let deployment = deployment(&format!("{RUNNING}{metric}"), false);
    let host = Host::start(&deployment).ready();
    let post =
        |rows: Vec<Value>| host.public.post("/v1/outcomes", &json!({ "outcomes": rows })).json()["stored"].clone();
    let outcome = |id: String, unit: u32, name: &str| json!({ "id": id, "name": name, "value": 1, "entity": { "borrower": format!("b-{unit}") } });
    for unit in 0..40 {
        decide(&host, &format!("b-{unit}"));
        assert_eq!(post(vec![outcome(format!("c-{unit}"), unit, "cured")]), 1);
    }
    let found = eventually("all are mature", IN_TIME, || {
        heard(&host, &["cured"]);
        Some(report(&host)).filter(|found| found["units"]["mature"] == 40)
    });
    // Nobody knows yet of those who enter now.
    (40..60).for_each(|unit| drop(decide(&host, &format!("b-{unit}"))));
    let admin = format!("http://{}", host.admin.address);
    assert_eq!(command(&host, "conclude", json!({ "by": "ann", "reason": "done", "winner": "next" })).0, 200);
    assert_eq!(
        post((0..20).map(|unit| json!({ "id": format!("r-{unit}"), "reverses": format!("c-{unit}") })).collect()),
        20
    );
    heard(&host, &["cured"]);
    let ended_at = host.admin.get("/v1/experiments/e").json()["ended_at"].clone();
    let kept = || {
        let count = "SELECT count(*) FROM final_reports";
        ledger(&deployment).query_row(count, [], |row| row.get::<_, i64>(0)).expect("a count")
    };
    // Before it is kept it is as of the end, too.
    for _ in 0..2 {
        let end = report(&host);
        assert_eq!((&end["as_of"], &end["units"]["mature"]), (&ended_at, &json!(40)), "{end}");
        assert_eq!(end["metrics"][0]["arms"], found["metrics"][0]["arms"], "{end}");
        eventually("it is kept", IN_TIME, || (kept() == 1).then_some(()));
    }
    let text = run(["report", "e", "--admin", &admin]).stdout;
    assert!(text.contains("\nAs of its end: ") && !text.contains("Computed anew"), "{text}");
    let text = run(["report", "e", "--recompute", "--admin", &admin]).stdout;
    assert!(
        text.contains("\nComputed anew, with what came after its end: ") && !text.contains("As of its end"),
        "{text}"
    );
    let now = host.admin.get("/v1/experiments/e/report?recompute=true").json();
    let differences = now["since_end"]["differences"].as_array().expect("differences");
    assert!(differences.iter().any(|found| found["what"] == "metrics.cured.arms.next.mean"), "{differences:?}");
}

#[test]
fn what_has_ended_asks_for_no_approval_and_takes_none() {
    let deployment = deployment(RUNNING, false);
    let host = Host::start(&deployment).ready();
    assert_eq!(decide(&host, "b-1")["experiment"]["id"], "e");
    let governance = "[governance]\napprovals = 2\n\n";
    deployment.write("serin.toml", format!("{governance}{}", deployment.read("serin.toml")));
    let lacks = || host.admin.get("/v1/experiments/e").json()["lacks"].clone();
    let needed = eventually("it needs approvals", IN_TIME, || Some(lacks()).filter(Value::is_string));
    assert!(needed.as_str().is_some_and(|lacks| lacks.starts_with("0 of 2 approvals")), "{needed}");
    assert_eq!(command(&host, "conclude", json!({ "by": "ann", "reason": "done", "winner": "next" })).0, 200);
    assert_eq!(lacks(), Value::Null);
    let (status, refused) = command(&host, "approve", why());
    let said = refused["detail"].as_str().is_some_and(|why| why.contains("is concluded: nothing of it waits"));
    assert!(status == 409 && said, "{refused}");
    assert_eq!(host.admin.get("/v1/experiments/e").json()["approvals"], json!([]));
    let page = host.admin.get_with("/experiments/e", &[("accept", "text/html")]).text;
    assert!(page.contains("concluded") && !page.contains("Review and approve"), "{page}");
    let page = host.admin.get_with("/experiments/e/approve", &[("accept", "text/html")]).text;
    assert!(page.contains("Not possible as it stands") && page.contains("nothing of it waits"), "{page}");
}

#[test]
fn commands_say_that_the_host_has_stopped_it_and_what_a_promotion_that_resumes_widens() {
    let ramp = "ramp = [{ coverage = 0.5, hold = \"1d\" }, { coverage = 1.0 }]";
    let metric = "\n[[metrics]]\nname = \"complaints\"\nrole = \"guardrail\"\noutcome = \"complaint\"\nwindow = \"1h\"\n\
                  [[guardrails]]\nmetric = \"complaints\"\nmax_count = 0\non_breach = \"pause\"\n";
    let deployment = deployment(&format!("{}{metric}", RUNNING.replace("coverage = 1.0", ramp)), false);
    let host = Host::start(&deployment).ready();
    let admin = format!("http://{}", host.admin.address);
    let said = || ["experiment list", "status"].map(|of| run(of.split(' ').chain(["--admin", &*admin])).stdout);
    assert_eq!(command(&host, "pause", why()).0, 200);
    assert!(said().iter().all(|text| text.contains("its ramp stands still") && !text.contains("by the host")));
    let promoted = run(["experiment", "promote", "e", "--by", "ann", "--reason", "on", "--admin", &admin]).stdout;
    assert!(promoted.contains("paused -> running, phase 2: coverage 1, by ann: on"), "{promoted}");
    let harmed = (0..100).find(|unit| decide(&host, &format!("b-{unit}"))["experiment"]["arm"] == "next");
    let unit = format!("b-{}", harmed.expect("a unit"));
    let outcome = json!({ "id": "o", "name": "complaint", "value": 1, "entity": { "borrower": unit } });
    assert_eq!(host.public.post("/v1/outcomes", &json!({ "outcomes": [outcome] })).json()["stored"], 1);
    eventually("the host pauses it", IN_TIME, || (state(&host) == "paused").then_some(()));
    for text in said() {
        assert!(text.contains("paused by the host: ") && text.contains("'complaints'"), "{text}");
    }
}

#[test]
fn rows_after_an_expiry_get_positions_of_their_own() {
    let steering = Loop::new();
    let facts = || {
        let mut places = Vec::new();
        let read = steering.ledger.snapshot(|snapshot| {
            snapshot.read(&mut Cursor::default(), 1_000, |fact| {
                if let Fact::Decision(decision) = fact {
                    places.push(decision.place);
                }
            })
        });
        read.expect("reads");
        places
    };
    (0..20).for_each(|i| {
        steering.decision(&decision_id(&*steering.clock, steering.clock.now_ms()), &format!("b-{i}"), "control")
    });
    steering.agree();
    let before = facts();
    steering.clock.advance(Duration::from_secs(100));
    // Nothing needs them any more, and they go.
    steering.person(&Command::Abort);
    let (experiment, time_ms) = ("e".into(), steering.clock.now_ms());
    let report = FinalReport { experiment, generation: 2, time_ms, report: "{}".to_owned() };
    steering.controller.keep_final_report(report).expect("stored");
    let retention = Retention {
        clock: ClockState::Trusted(steering.clock.now_ms()),
        keep_ms: Some(1),
        keep_keys_ms: 1,
        keep_audit_ms: None,
        experiments: [("e".into(), RowsNeeded { point: "p".into(), after_end_ms: 0 })].into(),
    };
    while steering
        .ledger
        .expire(retention.clone())
        .expect("queued")
        .blocking_recv()
        .expect("answered")
        .expect("deletes")
    {}
    assert!(facts().is_empty());
    steering.decision("later", "b-20", "next");
    assert_eq!(facts(), [before.last().expect("some") + 1], "who has read up to the last one reads this one, too");
}
