//! Feeds of outcomes: a dead one is not a zero, a watermark stands for what did not happen, and what
//! is posted too late is told and does not count.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use serin::app::{Looks, Options};
use serin::clock::{Clock, SimulatedClock};

use crate::experiments::{RUNNING, deployment, why};
use crate::support::{Client, Deployment, Host, run, two_arms};

const BEGIN_MS: u64 = 1_793_577_600_000;

const SPEC: &str = two_arms!(
    r#"
ramp = [{ coverage = 0.9, hold = "14d" }, { coverage = 1.0 }]
"#,
    r#"
[[metrics]]
name = "cured"
role = "goal"
outcome = "cured"
window = "2d"
lag = "1d"

[[metrics]]
name = "complaints"
role = "guardrail"
outcome = "complaint"
window = "2d"
lag = "1d"
direction = "decrease"

[[guardrails]]
metric = "complaints"
max_increase = 0.2
"#
);

/// A host whose days are those of the test.
struct Days {
    runtime: tokio::runtime::Runtime,
    host: serin::app::Host,
    clock: Arc<SimulatedClock>,
    public: Client,
    admin: Client,
    deployment: Deployment,
    day: u64,
}

impl Days {
    fn start(spec: &str) -> Self {
        let deployment = deployment(spec, false);
        let clock = Arc::new(SimulatedClock::new(BEGIN_MS, 7));
        let any = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
        let options =
            Options { config: deployment.config(), listen: any, admin: any, dev: false, looks: Looks::WhenAsked };
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
        let of_host: Arc<dyn Clock> = Arc::<SimulatedClock>::clone(&clock);
        let host = runtime.block_on(serin::app::Host::start(options, of_host)).expect("starts");
        let [public, admin] = [host.listen, host.admin].map(|address| Client::new(&address.to_string()));
        Self { runtime, host, clock, public, admin, deployment, day: 0 }
    }

    fn pass(&self, hours: u64) {
        self.clock.advance(Duration::from_secs(hours * 3600));
        self.host.look();
    }

    fn post(&self, name: &str, key: &str, unit: &str, at_ms: u64) -> Value {
        let at = jiff::Timestamp::from_millisecond(at_ms as i64).expect("a time").to_string();
        json!({ "id": format!("{name}-{key}"), "name": name, "value": 1.0, "at": at, "entity": { "borrower": unit } })
    }

    fn send(&self, outcomes: &[Value]) {
        let answer = self.public.post("/v1/outcomes", &json!({ "outcomes": outcomes }));
        assert_eq!(answer.json()["stored"], outcomes.len(), "{}", answer.text);
    }

    /// Ten borrowers come in the morning. In the evening every second of them is cured, and every
    /// fifth complains; who is told of it is posted.
    fn day(&mut self, is_told: impl Fn(&str) -> bool) {
        let unit = |i: u64| format!("b-{}-{i}", self.day);
        for i in 0..10 {
            let request = json!({ "decision_point": "p", "entities": { "borrower": unit(i) } });
            assert_eq!(self.public.post("/v1/decisions", &request).status, 200);
        }
        self.pass(12);
        let now_ms = self.clock.now_ms();
        let cured = (0..10).step_by(2).map(|i| self.post("cured", &unit(i), &unit(i), now_ms));
        let complaints = (0..10).step_by(5).map(|i| self.post("complaint", &unit(i), &unit(i), now_ms));
        let all: Vec<Value> = cured.chain(complaints).collect();
        let told: Vec<Value> = all.into_iter().filter(|o| is_told(o["name"].as_str().unwrap_or_default())).collect();
        self.send(&told);
        self.pass(12);
        self.day += 1;
    }

    fn report(&self) -> Value {
        self.admin.get("/v1/experiments/e/report").json()
    }

    fn coverage(&self) -> Value {
        self.admin.get("/v1/experiments/e").json()["coverage"].clone()
    }

    fn stop(self) -> Deployment {
        self.runtime.block_on(self.host.stop());
        self.deployment
    }
}

/// A metric's mature units, and the sum of their numbers.
fn sums(report: &Value, metric: usize) -> (u64, u64) {
    let arms = report["metrics"][metric]["arms"].as_object().expect("arms");
    arms.values().fold((0, 0), |(units, sum), arm| {
        let n = arm["units"].as_u64().unwrap_or(0);
        (units + n, sum + (arm["mean"].as_f64().unwrap_or(0.0) * n as f64).round() as u64)
    })
}

fn feed(report: &Value, name: &str) -> Value {
    report["feeds"].as_array().and_then(|all| all.iter().find(|feed| feed["name"] == name)).cloned().expect("a feed")
}

#[test]
fn a_feed_that_dies_on_day_ten_holds_what_it_leaves_unknown_until_it_has_caught_up() {
    let mut days = Days::start(SPEC);
    for _ in 0..10 {
        days.day(|_| true);
    }
    let before = days.report();
    assert_eq!((&feed(&before, "complaint")["state"], &before["warnings"]), (&json!("alive"), &json!([])));
    let (units, complaints) = sums(&before, 1);
    assert!(units > 50 && complaints > 5, "{units}, {complaints}");
    // Complaints are posted no more.
    for _ in 10..15 {
        days.day(|name| name == "cured");
    }
    let dead = days.report();
    let silent = feed(&dead, "complaint");
    assert_eq!(silent["state"], "silent", "{silent}");
    assert_eq!(silent["last_heard"], "2026-11-11T12:00:00Z", "{silent}");
    assert_eq!(feed(&dead, "cured")["state"], "alive");
    // Who became mature after the last complaint is unknown, then as now.
    assert_eq!(sums(&dead, 1).0, units, "{dead}");
    assert!(sums(&dead, 0).0 > sums(&before, 0).0, "cures are known");
    let sentence = "the feed of 'complaint' is silent: it was last posted at 2026-11-11T12:00:00Z";
    for form in ["json", "text", "html"] {
        let text = days.admin.get(&format!("/v1/experiments/e/report?format={form}")).text.replace("&#39;", "'");
        assert!(text.contains(sentence), "{form}: {text}");
    }
    let text = days.admin.get("/v1/experiments/e/report?format=text").text;
    assert!(text.contains("complaint SILENT since 2026-11-14T12:00:00Z"), "{text}");
    assert_eq!(dead["verdict"]["decision"], "hold");
    assert!(dead["verdict"]["why"].as_str().is_some_and(|why| why.starts_with(sentence)), "{}", dead["verdict"]);
    assert_eq!(days.coverage(), 0.9, "it has been held long enough, and is not promoted");

    // It comes back and posts what it owes, a day late at most for those who waited.
    let owed: Vec<Value> = (10..15)
        .flat_map(|day| (0..10).step_by(5).map(move |i| (day, format!("b-{day}-{i}"))))
        .map(|(day, unit)| days.post("complaint", &unit, &unit, BEGIN_MS + day * 86_400_000 + 43_200_000))
        .collect();
    for one in owed.chunks(3) {
        days.send(one);
        days.pass(1);
    }
    assert_eq!(days.coverage(), 1.0, "it goes on");
    days.pass(24);
    days.send(&[days.post("complaint", "sign-of-life", "nobody", days.clock.now_ms())]);
    days.pass(1);
    let back = days.report();
    assert_eq!((&feed(&back, "complaint")["state"], &back["warnings"]), (&json!("alive"), &json!([])));
    let rate = |(units, sum): (u64, u64)| sum as f64 / units as f64;
    assert!((rate(sums(&back, 1)) - rate((units, complaints))).abs() < 0.05, "no unit is a zero for it");
    assert!(sums(&back, 1).0 > units + 30);
    assert_eq!(back["too_late"], json!({ "control": 0, "next": 0 }));
    // A stopped host's ledger says the same.
    let live = days.report();
    let deployment = days.stop();
    let config = deployment.config();
    let offline = run(["report", "e", "--format", "json", "--config", config.to_str().expect("a path")]).stdout;
    let offline: Value = serde_json::from_str(&offline).expect("JSON");
    assert_eq!(offline["too_late"], live["too_late"]);
}

#[test]
fn a_fixed_result_stays_and_what_came_too_late_is_told() {
    let fixed = SPEC.replace(
        "name = \"cured\"\nrole = \"goal\"",
        "name = \"cured\"\nrole = \"goal\"\nmethod = \"fixed\"\nplanned_units = 30",
    );
    let mut days = Days::start(&fixed);
    for _ in 0..8 {
        days.day(|_| true);
    }
    let goal = |report: &Value| report["metrics"][0].clone();
    let before = days.report();
    assert_eq!(goal(&before)["left_out"]["not_mature"], 0, "{before}");
    // Cured within the window, and posted days after.
    let late: Vec<Value> = (0..3)
        .flat_map(|day| (1..10).step_by(2).map(move |i| (day, format!("b-{day}-{i}"))))
        .map(|(day, unit)| days.post("cured", &unit, &unit, BEGIN_MS + day * 86_400_000 + 50_000_000))
        .collect();
    days.send(&late);
    let after = days.report();
    assert_eq!(goal(&after), goal(&before));
    let told = |report: &Value| ["control", "next"].map(|arm| report["too_late"][arm].as_u64().unwrap_or(0));
    assert_eq!(told(&before), [0, 0]);
    let entered: u64 = told(&after).iter().sum();
    assert!((10..=15).contains(&entered), "those of fifteen that are in the experiment: {after}");
    let [control, next] = told(&after);
    let line = format!("posted after their metric's lag, too late to count: control {control}, next {next}");
    for form in ["text", "html"] {
        let text = days.admin.get(&format!("/v1/experiments/e/report?format={form}")).text.replace("&#39;", "'");
        assert!(text.contains(&line), "{form}: {text}");
    }
    let warned = after["warnings"].to_string();
    assert!(warned.contains("rows were posted too late and do not count"), "{warned}");
    // What was posted in time may be taken back at any time.
    let reversal = json!({ "outcomes": [{ "id": "r-1", "reverses": "cured-b-0-0" }, { "id": "r-2", "reverses": "cured-b-1-0" }, { "id": "r-3", "reverses": "cured-b-1-2" }] });
    assert_eq!(days.public.post("/v1/outcomes", &reversal).json()["stored"], 3);
    assert_ne!(goal(&days.report())["arms"], goal(&after)["arms"]);
    days.stop();
}

#[test]
fn a_watermark_lets_units_mature_of_whom_nothing_is_told() {
    let mut days = Days::start(SPEC);
    let watermark = |days: &Days, ms: u64| {
        let time = jiff::Timestamp::from_millisecond(ms as i64).expect("a time").to_string();
        let body = json!({ "watermarks": [{ "name": "complaint", "time": time }] });
        days.public.post("/v1/outcomes/watermarks", &body).json()
    };
    for _ in 0..6 {
        days.day(|name| name == "cured");
        let answer = watermark(&days, days.clock.now_ms());
        assert_eq!(answer, json!({ "stored": 1, "not_newer": 0, "refused": [], "warnings": [] }));
    }
    let old = json!({ "stored": 0, "not_newer": 1, "refused": [], "warnings": [] });
    assert_eq!(watermark(&days, BEGIN_MS), old);
    days.host.look();
    let found = days.report();
    assert_eq!(found["warnings"], json!([]), "a name with a watermark is one that is posted");
    assert_eq!(feed(&found, "complaint")["watermark"], "2026-11-08T00:00:00Z");
    let (units, complaints) = sums(&found, 1);
    assert!(units > 20 && complaints == 0, "{units}, {complaints}");
    // Without the next one nobody else becomes mature; with it, they do at once.
    days.day(|name| name == "cured");
    days.day(|name| name == "cured");
    let waiting = sums(&days.report(), 1).0;
    days.day(|name| name == "cured");
    assert_eq!(sums(&days.report(), 1).0, waiting, "whatever is told of others");
    watermark(&days, days.clock.now_ms());
    let found = days.report();
    assert!(sums(&found, 1).0 > waiting && sums(&found, 1).0 >= sums(&found, 0).0, "{found}");
    days.stop();
}

#[test]
fn a_clock_that_is_wrong_for_a_while_leaves_feeds_and_ramps_as_they_are() {
    const LEAP: Duration = Duration::from_secs(400 * 86_400);
    let mut days = Days::start(SPEC);
    (0..5).for_each(|_| days.day(|_| true));
    let before_ms = days.clock.now_ms();
    let command = |days: &Days, command: &str| {
        let answer = days.admin.post(&format!("/v1/{command}"), &why());
        assert_eq!(answer.status, 200, "{command}: {}", answer.text);
    };
    let stored = |days: &Days, sql: &str| -> i64 {
        let ledger = rusqlite::Connection::open(days.deployment.path().join("data/serin.db")).expect("the ledger");
        ledger.query_row(sql, [], |row| row.get(0)).expect("a row")
    };

    days.clock.leap(LEAP);
    let request = json!({ "decision_point": "p", "entities": { "borrower": "b-late" } });
    let decided = days.public.post("/v1/decisions", &request).json();
    days.send(&[
        json!({ "id": "n-1", "name": "complaint", "value": 1.0, "entity": { "borrower": "b-4-1" } }),
        json!({ "id": "n-2", "name": "cured", "value": 1.0, "decision_id": decided["decision_id"] }),
        days.post("cured", "n-3", "b-4-3", before_ms),
    ]);
    let ahead = jiff::Timestamp::from_millisecond(days.clock.now_ms() as i64).expect("a time").to_string();
    let promise = json!({ "watermarks": [{ "name": "complaint", "time": ahead }] });
    let refused = days.public.post("/v1/outcomes/watermarks", &promise).json();
    assert_eq!((&refused["stored"], &refused["refused"][0]["index"]), (&json!(0), &json!(0)), "{refused}");
    command(&days, "experiments/e/pause");
    command(&days, "experiments/e/resume");
    days.clock.set_back(LEAP);
    command(&days, "clock/confirm");

    for (what, sql) in [
        ("a feed was heard of", "SELECT max(last_ms) FROM outcome_names"),
        ("an outcome came", "SELECT max(received_ms) FROM outcomes"),
        ("what has no time happened", "SELECT at_ms FROM outcomes WHERE id = 'n-1'"),
        ("a person commanded", "SELECT status ->> 'since_ms' FROM experiments"),
    ] {
        assert_eq!(stored(&days, sql), before_ms as i64, "when {what}");
    }
    assert_eq!(stored(&days, "SELECT count(*) FROM outages"), 0);
    // Its ramp goes on two weeks after the resume, and a feed that dies is found.
    (0..13).for_each(|_| days.day(|_| true));
    assert_eq!(days.coverage(), json!(0.9));
    (0..2).for_each(|_| days.day(|_| true));
    assert_eq!(days.coverage(), json!(1.0));
    (0..6).for_each(|_| days.day(|name| name == "cured"));
    assert_eq!(feed(&days.report(), "complaint")["state"], "silent");

    // What ends meanwhile has ended by the time that was believed, and so its slot is free in time.
    let before_ms = days.clock.now_ms();
    days.clock.leap(LEAP);
    command(&days, "experiments/e/abort");
    assert_eq!(stored(&days, "SELECT status ->> 'ended_ms' FROM experiments"), before_ms as i64);
    days.stop();
}

#[test]
fn a_watermark_that_cannot_be_is_refused_and_says_what_could() {
    let deployment = deployment(RUNNING, false);
    let host = Host::start(&deployment).ready();
    let future = (jiff::Timestamp::now() + Duration::from_secs(3600)).to_string();
    let now = jiff::Timestamp::now().to_string();
    let body = json!({ "watermarks": [
        { "name": "complaint", "time": now },
        { "name": "complaint", "time": future },
        { "name": "complaint", "time": "yesterday" },
        { "name": "", "time": now },
        { "name": "complaint", "time": "1969-01-01T00:00:00Z" },
        { "name": "complaint", "time": now },
    ] });
    let answer = host.public.post("/v1/outcomes/watermarks", &body).json();
    assert_eq!((&answer["stored"], &answer["not_newer"]), (&json!(1), &json!(1)), "{answer}");
    let refused: Vec<(u64, &str)> = answer["refused"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|refused| refused["index"].as_u64().zip(refused["why"].as_str()))
        .collect();
    let expected = [
        (1, "time: lies more than 5m in the future; valid: up to ledger.clock_tolerance ahead of this host's clock"),
        (2, "time: not a time; valid: RFC 3339, like 2026-11-23T07:00:00Z"),
        (3, "name: 1 to 64 bytes are needed"),
        (4, "time: lies before 1970"),
    ];
    assert_eq!(refused, expected);
    for (body, key) in [
        (json!({ "watermarks": [{ "name": "complaint" }] }), "time"),
        (json!({ "watermarks": [{ "name": "complaint", "time": now, "until": now }] }), "until"),
        (json!({ "watermark": [] }), "watermark"),
    ] {
        let answer = host.public.post("/v1/outcomes/watermarks", &body);
        assert!(answer.status == 422 && answer.text.contains(key), "{}: {}", answer.status, answer.text);
    }
    // The command line says the same.
    let url = format!("http://{}", host.public.address);
    let command = |name: &str, time: &str| run(["outcomes", "watermark", name, time, "--url", &url]);
    let later = jiff::Timestamp::now().to_string();
    let stored = command("complaint", &later);
    assert_eq!(stored.code, Some(0), "{}", stored.stderr);
    assert_eq!(stored.stdout.trim(), format!("stored: all outcomes 'complaint' up to {later} have been posted"));
    let older = command("complaint", &now);
    assert_eq!(older.code, Some(0));
    assert_eq!(older.stdout.trim(), format!("unchanged: there is a watermark of 'complaint' as new as {now}"));
    let refused = command("complaint", &future);
    assert!(refused.code == Some(1) && refused.stderr.contains("time: lies more than 5m"), "{}", refused.stderr);
    assert_eq!(run(["outcomes", "watermark", "complaint"]).code, Some(2), "a time is needed");
    // It is there after a crash.
    host.kill();
    let ledger = rusqlite::Connection::open(deployment.path().join("data/serin.db")).expect("the ledger");
    let kept: i64 = ledger.query_row("SELECT until_ms FROM watermarks", [], |row| row.get(0)).expect("a row");
    assert_eq!(jiff::Timestamp::from_millisecond(kept).expect("a time").to_string(), {
        let exact: jiff::Timestamp = later.parse().expect("a time");
        jiff::Timestamp::from_millisecond(exact.as_millisecond()).expect("a time").to_string()
    });
}
