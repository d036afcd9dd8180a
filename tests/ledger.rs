//! The ledger: one host writes it, what is sent twice counts once, and old records go.

use std::io::Write as _;
use std::time::{Duration, Instant};

use rusqlite::{Connection, params};
use serde_json::{Value, json};

use crate::support::{Answer, Deployment, Host, eventually, run, wat};

/// A deployment whose one strategy always answers; about its ledger there is nothing special.
fn deployment() -> Deployment {
    wat::points(&[("p", wat::go("p", "", "(i32.const 1024)"))])
}

fn request(unit: &str) -> Value {
    json!({ "decision_point": "p", "entities": { "borrower": unit } })
}

fn database(deployment: &Deployment) -> Connection {
    Connection::open(deployment.path().join("data/serin.db")).expect("opens")
}

/// `serin serve` where it is expected to refuse.
fn refused(deployment: &Deployment) -> String {
    let config = deployment.config();
    let config = config.to_str().expect("a path");
    let served = run(["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--config", config]);
    assert_eq!(served.code, Some(1), "{}", served.stderr);
    served.stderr
}

#[test]
fn a_second_host_on_a_ledger_is_refused() {
    let deployment = deployment();
    let host = Host::start(&deployment).ready();
    let error = refused(&deployment);
    assert!(error.contains("another host is running on it"), "{error}");
    host.decide(&request("b-1"));
    // A host that was killed leaves nothing that would keep the next one out.
    host.kill();
    Host::start(&deployment).ready().decide(&request("b-1"));
}

#[test]
fn a_ledger_of_a_newer_version_is_refused() {
    let deployment = deployment();
    assert_eq!(Host::start(&deployment).ready().stop(), Some(0));
    database(&deployment).pragma_update(None, "user_version", 99).expect("sets");
    let error = refused(&deployment);
    assert!(error.contains("schema 99 is newer") && error.contains("use a newer serin"), "{error}");
    let config = deployment.config();
    let replay = run(["replay", "--config", config.to_str().expect("a path")]);
    assert!(replay.code == Some(1) && replay.stderr.contains("schema 99 is newer"), "{}", replay.stderr);
}

/// What the first version of the schema had in place of the second's table of decisions.
const SCHEMA_1: &str = "
CREATE TABLE decisions_1 (
  decision_id TEXT NOT NULL PRIMARY KEY, time_ms INTEGER NOT NULL, point TEXT NOT NULL, unit TEXT, experiment TEXT,
  arm TEXT, served_by TEXT NOT NULL, outcome TEXT, action TEXT NOT NULL, took_us INTEGER NOT NULL,
  forced INTEGER NOT NULL, batch INTEGER, attributes TEXT, digest TEXT NOT NULL, dictionary INTEGER,
  record BLOB NOT NULL);
INSERT INTO decisions_1 SELECT decision_id, time_ms, point, unit, experiment, arm, served_by, outcome, action, took_us,
  forced, batch, attributes, digest, dictionary, record FROM decisions ORDER BY seq;
DROP TABLE decisions;
ALTER TABLE decisions_1 RENAME TO decisions;
CREATE INDEX decisions_by_unit ON decisions (unit);
ALTER TABLE outcomes DROP COLUMN after_seq;
ALTER TABLE exposures DROP COLUMN after_seq;
DROP TABLE final_reports;
DROP INDEX shadows_by_decision;
ALTER TABLE shadows DROP COLUMN dictionary;
ALTER TABLE shadows DROP COLUMN cut;
DROP TABLE clock;
ALTER TABLE outcomes DROP COLUMN sent_ms;
ALTER TABLE exposures DROP COLUMN sent_ms;
DROP TABLE outcome_names;
DROP TABLE watermarks;
DROP TABLE outages;
DROP TABLE positions;
ALTER TABLE outcomes DROP COLUMN identity;
ALTER TABLE exposures DROP COLUMN identity;
DROP TABLE audit;
DROP TABLE audit_expiry;
DROP TABLE exposure_ids;
ALTER TABLE outcomes DROP COLUMN unit;
ALTER TABLE outcomes DROP COLUMN unit_kind;
PRAGMA user_version = 1;";

#[test]
fn a_unit_is_found_in_all_of_a_long_ledger_also_in_one_of_the_first_schema() {
    let deployment = deployment();
    let host = Host::start(&deployment).ready();
    let decide = |host: &Host, rounds: u64| {
        let requests: Vec<Value> = (0..90).map(|i| request(&format!("b-{}", i % 30))).collect();
        let ids = |_| -> Vec<String> {
            let answer = host.public.post("/v1/decisions/batch", &json!({ "requests": requests })).json();
            let id = |i: usize| answer["results"][i]["decision"]["decision_id"].as_str().expect("an id").to_owned();
            (0..90).filter(|i| i % 30 == 7).map(id).collect()
        };
        (0..rounds).flat_map(ids).collect::<Vec<String>>()
    };
    let found = |host: &Host, more: &str| -> Vec<String> {
        let answer = host.admin.get(&format!("/v1/decisions?unit=b-7&limit=1000{more}")).json();
        let decisions = answer["decisions"].as_array().expect("a list");
        decisions.iter().map(|record| record["decision_id"].as_str().expect("an id").to_owned()).collect()
    };
    let newest_first = |ids: &[String]| {
        let mut ids = ids.to_vec();
        ids.sort_unstable_by(|a, b| b.cmp(a));
        ids
    };
    // More than fits into two runs of the index.
    let mut ids = decide(&host, 14);
    assert_eq!(found(&host, ""), newest_first(&ids));
    let outcomes = json!([
        { "id": "o-1", "name": "cured", "value": 1.0, "entity": { "borrower": "b-7" } },
        { "id": "o-2", "name": "cured", "value": 1.0, "entity": { "borrower": "b-8" } },
        { "id": "o-3", "name": "paid", "value": 1.0, "decision_id": ids[0] },
        { "id": "o-4", "name": "lost", "value": 1.0, "decision_id": "unknown" },
        { "id": "o-5", "reverses": "o-1" },
    ]);
    assert_eq!(host.public.post("/v1/outcomes", &json!({ "outcomes": outcomes })).json()["stored"], 4);
    assert_eq!(host.stop(), Some(0));
    database(&deployment).execute_batch(SCHEMA_1).expect("the first schema");

    let host = Host::start(&deployment).ready();
    let names: Vec<(String, String)> = database(&deployment)
        .prepare("SELECT kind, name FROM outcome_names ORDER BY kind")
        .and_then(|mut names| names.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect())
        .expect("names");
    let known = [("", "paid"), ("borrower", "cured")].map(|(kind, name)| (kind.to_owned(), name.to_owned()));
    assert_eq!(names, known, "those of before are known");
    let about = "SELECT unit FROM outcomes WHERE id = 'o-3'";
    let about: String = database(&deployment).query_row(about, [], |row| row.get(0)).expect("a unit");
    assert_eq!(about, "b-7", "whose decision it names");
    let before = ids.len();
    assert_eq!(found(&host, ""), newest_first(&ids), "nothing is lost on the way");
    ids.extend(decide(&host, 7));
    assert_eq!(found(&host, ""), newest_first(&ids));
    let record = host.admin.get(&format!("/v1/decisions/{}", ids[before])).json();
    let since = record["time_ms"].as_u64().expect("a time");
    assert_eq!(found(&host, &format!("&since={since}")), newest_first(&ids[before..]));
    assert_eq!(host.stop(), Some(0));
    let config = deployment.config();
    let replay = run(["replay", "--verify", "--config", config.to_str().expect("a path")]);
    assert_eq!(replay.code, Some(0), "{}{}", replay.stdout, replay.stderr);
    assert!(replay.stdout.contains("1890 identical"), "{}", replay.stdout);
}

#[test]
fn outcomes_and_exposures_count_once() {
    let deployment = deployment();
    let host = Host::start(&deployment).ready();
    let id = host.decide(&request("b-1"))["decision_id"].clone();
    let counts = |path: &str, body: Value| {
        let answer = host.public.post(path, &body);
        assert_eq!(answer.status, 200, "{}", answer.text);
        let answer = answer.json();
        let refused: Vec<u64> =
            answer["refused"].as_array().expect("a list").iter().filter_map(|r| r["index"].as_u64()).collect();
        (["stored", "duplicates", "unknown_decisions"].map(|key| answer[key].as_u64().unwrap_or(u64::MAX)), refused)
    };
    let outcome = |id: &str, value: f64, of: Value| {
        let mut outcome = json!({ "id": id, "name": "cured", "value": value });
        outcome.as_object_mut().expect("an object").extend(of.as_object().expect("an object").clone());
        outcome
    };
    let (decision, borrower) = (json!({ "decision_id": id }), json!({ "entity": { "borrower": "b-1" } }));
    let first = [outcome("o-1", 1.0, decision.clone()), outcome("o-2", 0.5, borrower.clone())];
    assert_eq!(counts("/v1/outcomes", json!({ "outcomes": first })), ([2, 0, 0], vec![]));
    let again = json!({ "outcomes": [
        outcome("o-1", 1.0, decision.clone()),
        outcome("o-2", 0.75, borrower.clone()),
        outcome("o-3", 1.0, json!({ "decision_id": "no-such-decision" })),
        outcome("o-1", 1.0, borrower),
        outcome("o-4", 1.0, decision),
        outcome("o-4", 1.0, json!({ "decision_id": id })),
    ] });
    assert_eq!(counts("/v1/outcomes", again), ([1, 2, 1], vec![1, 3]), "a taken id with other words is refused");
    let exposures =
        json!({ "exposures": [{ "decision_id": id }, { "decision_id": id }, { "decision_id": "no-such-decision" }] });
    assert_eq!(counts("/v1/exposures", exposures.clone()), ([1, 1, 1], vec![]));
    assert_eq!(counts("/v1/exposures", exposures), ([0, 3, 0], vec![]));
    let stored = |table: &str| -> i64 {
        database(&deployment).query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).expect("counts")
    };
    assert_eq!((stored("outcomes"), stored("exposures")), (4, 2));
    let kept: f64 = database(&deployment)
        .query_row("SELECT value FROM outcomes WHERE id = 'o-2'", [], |row| row.get(0))
        .expect("o-2");
    assert_eq!(kept, 0.5, "what came first stays");
}

fn keyed(host: &Host, key: &str, request: &Value) -> Answer {
    host.public.post_text("/v1/decisions", &request.to_string(), &[("idempotency-key", key)]).expect("an answer")
}

fn recorded(deployment: &Deployment, unit: &str) -> i64 {
    let count = "SELECT count(*) FROM decisions WHERE unit = ?1";
    database(deployment).query_row(count, [unit], |row| row.get(0)).expect("counts")
}

#[test]
fn a_key_is_answered_once_also_by_twins_and_after_a_restart() {
    let deployment = deployment();
    let host = Host::start(&deployment).ready();
    let first = keyed(&host, "k-1", &request("b-1"));
    assert_eq!((first.status, first.headers.get("idempotent-replayed")), (200, None));
    let again = keyed(&host, "k-1", &request("b-1"));
    assert_eq!((again.status, &again.text), (200, &first.text));
    assert_eq!(again.headers.get("idempotent-replayed").map(String::as_str), Some("true"));
    let other = keyed(&host, "k-1", &request("b-2"));
    assert_eq!((other.status, &other.json()["type"]), (409, &json!("urn:serin:problem:idempotency-conflict")));

    let batch = json!({ "requests": [request("b-4"), request("b-5")] });
    let post = |host: &Host, path: &str, key: &str, body: &Value| {
        host.public.post_text(path, &body.to_string(), &[("idempotency-key", key)]).expect("an answer")
    };
    for (path, key, body) in [("/v1/decisions", "k-2", &request("b-3")), ("/v1/decisions/batch", "k-3", &batch)] {
        let twins: Vec<Answer> = std::thread::scope(|scope| {
            let twins: Vec<_> = (0..16).map(|_| scope.spawn(|| post(&host, path, key, body))).collect();
            twins.into_iter().map(|twin| twin.join().expect("a twin")).collect()
        });
        assert!(twins.iter().all(|twin| twin.status == 200 && twin.text == twins[0].text), "{path}");
        assert_eq!(twins.iter().filter(|twin| !twin.headers.contains_key("idempotent-replayed")).count(), 1, "{path}");
    }
    let answered = post(&host, "/v1/decisions/batch", "k-3", &batch);
    host.kill();
    let host = Host::start(&deployment).ready();
    assert_eq!(keyed(&host, "k-1", &request("b-1")).text, first.text);
    assert_eq!(post(&host, "/v1/decisions/batch", "k-3", &batch).text, answered.text);
    let units = ["b-1", "b-2", "b-3", "b-4", "b-5"];
    assert_eq!(units.map(|unit| recorded(&deployment, unit)), [1, 0, 1, 1, 1]);
}

#[test]
fn a_client_that_hangs_up_and_asks_again_is_decided_about_once() {
    let deployment = deployment();
    let host = Host::start(&deployment).ready();
    let decided = || {
        host.metric(
            "serin_attempts_total{decision_point=\"p\",strategy=\"p\",version=\"1.0.0\",arm=\"\",outcome=\"answer\"}",
        )
    };
    // While another program holds the ledger's write lock, a commit takes long.
    let database = database(&deployment);
    database.execute_batch("BEGIN IMMEDIATE").expect("locks");
    let body = request("b-1").to_string();
    let mut connection = std::net::TcpStream::connect(&host.public.address).expect("connects");
    write!(
        connection,
        "POST /v1/decisions HTTP/1.1\r\nhost: serin\r\ncontent-type: application/json\r\nidempotency-key: k\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .expect("sends");
    eventually("it is decided, and its record waits", Duration::from_secs(5), || (decided() >= 1.0).then_some(()));
    drop(connection);
    let answer = std::thread::scope(|scope| {
        let again = scope.spawn(|| keyed(&host, "k", &request("b-1")));
        // Long enough for a second decision, and short enough for the first commit to succeed.
        let end = Instant::now() + Duration::from_millis(400);
        while decided() < 2.0 && Instant::now() < end {
            std::thread::yield_now();
        }
        database.execute_batch("ROLLBACK").expect("unlocks");
        again.join().expect("the second request")
    });
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(recorded(&deployment, "b-1"), 1, "decided twice under one key");
    assert_eq!(answer.headers.get("idempotent-replayed").map(String::as_str), Some("true"));
}

#[test]
fn decisions_are_kept_as_long_as_the_file_says() {
    let deployment = deployment();
    deployment.write("serin.toml", format!("[ledger]\nretain = \"30d\"\n\n{}", deployment.read("serin.toml")));
    let host = Host::start(&deployment).ready();
    let id = host.decide(&request("b-1"))["decision_id"].as_str().expect("an id").to_owned();
    assert_eq!(host.stop(), Some(0));
    const DAY: i64 = 24 * 60 * 60 * 1000;
    let copy = |new_id: &str, days: i64| {
        let insert = "INSERT INTO decisions \
                      SELECT NULL, ?1, time_ms - ?2, point, unit, experiment, arm, served_by, outcome, action, took_us, forced, batch, \
                      attributes, digest, dictionary, record, identity, unit_kind \
                      FROM decisions WHERE decision_id = ?3";
        database(&deployment).execute(insert, params![new_id, days * DAY, id]).expect("inserts");
    };
    // An id begins with its time, in milliseconds.
    let ago = |days: i64| {
        let ms = jiff::Timestamp::now().as_millisecond() - days * DAY;
        format!("{:08x}-{:04x}-7000-8000-000000000000", ms >> 16, ms & 0xffff)
    };
    let (old, not_so_old) = (ago(31), ago(29));
    copy(&old, 31);
    copy(&not_so_old, 29);
    let host = Host::start(&deployment).ready();
    let status = |id: &str| host.admin.get(&format!("/v1/decisions/{id}")).status;
    eventually("the old one goes", Duration::from_secs(10), || (status(&old) == 404).then_some(()));
    // A copy under another id is there, and is told from a record.
    assert_eq!((status(&not_so_old), status(&id)), (500, 200));
    // The time may be changed while the host runs.
    deployment.edit("serin.toml", "30d", "7d");
    eventually("it goes, too", Duration::from_secs(10), || (status(&not_so_old) == 404).then_some(()));
    assert_eq!(status(&id), 200);
}
