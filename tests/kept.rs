//! What is kept of experiments: whom they touched, and their reports as of their end.

use std::time::Duration;

use rusqlite::Connection;
use serde_json::json;

use crate::experiments::{RUNNING, command, decide, deployment, report, why};
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
