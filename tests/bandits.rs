//! Shares that follow from what was seen: each batch draws anew, by unit and batch, and is
//! analysed with the shares that it had.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use serin::app::{Host as InProcess, Looks, Options};
use serin::clock::{Clock, SimulatedClock};
use serin::registry::Archive;
use serin::replay::{ArchivedVersions, ReplayResult};
use serin::sandbox::Engines;
use serin_core::record::Record;

use crate::experiments::{decide, report};
use crate::support::{Client, Deployment, Host, eventually, run, wat};

const SPEC: &str = r#"
id = "e"
decision_point = "p"
allocation = { policy = "thompson", metric = "cured", update_every = "2s", floor = 0.1, control_share = 0.2 }

[[arms]]
name = "control"
strategy = "p@1.0.0"

[[arms]]
name = "good"
strategy = "p@1.0.0"
parameters = {}

[[arms]]
name = "bad"
strategy = "p@1.0.0"

[[metrics]]
name = "cured"
role = "goal"
outcome = "cured"
window = "3s"
"#;

fn deployment() -> Deployment {
    let deployment = wat::points(&[("p", wat::go("p", "", "(i32.const 1024)"))]);
    deployment.write("experiments/e.toml", SPEC);
    deployment
}

/// Three hundred units of a round enter, and are cured or not by their arm.
fn round(host: &Host, round: u32) {
    let unit = |i: u32| format!("r{round}-{i}");
    let request = |i: u32| json!({ "decision_point": "p", "entities": { "borrower": unit(i) } });
    for from in [0, 100, 200] {
        let requests: Vec<Value> = (from..from + 100).map(request).collect();
        let answer = host.public.post("/v1/decisions/batch", &json!({ "requests": requests })).json();
        let mut outcomes = Vec::new();
        for (at, item) in answer["results"].as_array().expect("results").iter().enumerate() {
            let i = from + at as u32;
            let of_ten = match item["decision"]["experiment"]["arm"].as_str() {
                Some("good") => 8,
                Some("bad") => 2,
                _ => 4,
            };
            if (i * 7) % 10 < of_ten {
                outcomes
                    .push(json!({ "id": unit(i), "name": "cured", "value": 1.0, "entity": { "borrower": unit(i) } }));
            }
        }
        assert_eq!(host.public.post("/v1/outcomes", &json!({ "outcomes": outcomes })).status, 200);
    }
}

fn shown(host: &Host) -> Value {
    host.admin.get("/v1/experiments/e").json()
}

#[test]
fn units_go_where_rewards_are_and_every_batch_is_what_its_record_says() {
    let deployment = deployment();
    let host = Host::start(&deployment).ready();
    assert_eq!(shown(&host)["shares"], json!([0.2, 0.4, 0.4]));
    let mut rounds = 0;
    let shares = eventually("the good arm has the most", Duration::from_secs(60), || {
        round(&host, rounds);
        rounds += 1;
        let shares = shown(&host)["shares"].clone();
        (shares[1].as_f64() > Some(0.6)).then_some(shares)
    });
    let share = |at: usize| shares[at].as_f64().expect("a share");
    assert_eq!(share(0), 0.2, "control's stays: {shares}");
    assert!(share(2) >= 0.1 - 1e-9 && (share(0) + share(1) + share(2) - 1.0).abs() < 1e-9, "{shares}");
    // An arm is drawn by unit and batch: in one batch, the same again.
    let first = decide(&host, "b-1");
    let id = first["decision_id"].as_str().expect("an id").to_owned();
    let assignment = host.admin.get(&format!("/v1/decisions/{id}")).json()["routing"]["assignment"].clone();
    let drawn = assignment["shares"].as_array().expect("shares").clone();
    let arm = ["control", "good", "bad"].iter().position(|arm| assignment["arm"] == *arm).expect("an arm");
    assert_eq!(assignment["propensity"], drawn[arm], "{assignment}");
    assert!(assignment["batch"].as_u64() >= Some(1), "{assignment}");
    let found = report(&host);
    let metric = &found["metrics"][0];
    assert_eq!(metric["adjustment"], "differences within batches, with the same weights for both arms");
    let against = &metric["comparisons"][0];
    let of = |arm: &str| metric["arms"][arm]["mean"].as_f64().expect("a mean");
    assert!((of("good") - 0.8).abs() < 0.12 && (of("bad") - 0.2).abs() < 0.15, "{metric}");
    let apart = of("good") - of("control");
    assert!((apart - against["difference"].as_f64().expect("a difference")).abs() < 1e-9, "{metric}");
    assert!(found["srm"]["sequential_p"].as_f64() > Some(0.01), "{}", found["srm"]);
    let history = shown(&host)["history"].as_array().expect("a list").clone();
    let last = history.iter().rev().find(|change| change["command"] == "allocate").expect("a batch");
    assert!(last["reason"].as_str().is_some_and(|why| why.contains("good 0.")), "{last}");
    // A restart goes on with the batch that was in force, and replay draws the same arms.
    let before = shown(&host)["shares"].clone();
    assert_eq!(host.stop(), Some(0));
    let config = deployment.config();
    let replay = run(["replay", "--verify", "--config", config.to_str().expect("a path")]);
    assert_eq!(replay.code, Some(0), "{} {}", replay.stdout, replay.stderr);
    let report = run(["report", "e", "--format", "json", "--config", config.to_str().expect("a path")]);
    let stopped: Value = serde_json::from_str(&report.stdout).expect("JSON");
    assert!(stopped["units"]["entered"].as_u64() >= found["units"]["entered"].as_u64(), "{stopped}");
    let host = Host::start(&deployment).ready();
    let again = shown(&host)["shares"].clone();
    assert_eq!(again.as_array().map(Vec::len), before.as_array().map(Vec::len));
    assert!(again[1].as_f64() > Some(0.5), "{again}");
}

const DAY: Duration = Duration::from_secs(86_400);
const BEGIN_MS: u64 = 1_700_000_000_000;

/// A host in this process, whose clock stands still until it is moved.
struct Still {
    runtime: tokio::runtime::Runtime,
    host: InProcess,
    clock: Arc<SimulatedClock>,
}

/// What a record says of a unit's batch: the batch, the arm, and when the unit entered.
type Drawn = (u64, String, u64);

impl Still {
    fn start(deployment: &Deployment, clock: Arc<SimulatedClock>) -> Self {
        let any = Some(std::net::SocketAddr::from(([127, 0, 0, 1], 0)));
        let looks = Looks::WhenAsked;
        let options = Options { config: deployment.config(), listen: any, admin: any, dev: false, looks };
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
        let of_host: Arc<dyn Clock> = Arc::<SimulatedClock>::clone(&clock);
        let host = runtime.block_on(InProcess::start(options, of_host)).expect("starts");
        Self { runtime, host, clock }
    }

    fn restart(self, deployment: &Deployment) -> Self {
        let clock = Arc::clone(&self.clock);
        self.stop();
        Self::start(deployment, clock)
    }

    fn stop(self) {
        self.runtime.block_on(self.host.stop());
    }

    fn pass(&self, time: Duration) {
        self.clock.advance(time);
        self.host.look();
    }

    fn admin(&self) -> Client {
        Client::new(&self.host.admin.to_string())
    }

    fn ids(&self, units: &[String]) -> Vec<String> {
        let client = Client::new(&self.host.listen.to_string());
        let request = |unit: &String| json!({ "decision_point": "p", "entities": { "borrower": unit } });
        let requests: Vec<Value> = units.iter().map(request).collect();
        let answer = client.post("/v1/decisions/batch", &json!({ "requests": requests })).json();
        let id = |item: &Value| item["decision"]["decision_id"].as_str().expect("an id").to_owned();
        answer["results"].as_array().expect("results").iter().map(id).collect()
    }

    fn decide(&self, units: &[String]) -> Vec<Drawn> {
        let admin = self.admin();
        let drawn = |id: &String| {
            let record = admin.get(&format!("/v1/decisions/{id}")).json();
            let assignment = &record["routing"]["assignment"];
            let number = |key: &str| assignment[key].as_u64().unwrap_or_else(|| panic!("{key}: {assignment}"));
            (number("batch"), assignment["arm"].as_str().expect("an arm").to_owned(), number("entered_ms"))
        };
        self.ids(units).iter().map(drawn).collect()
    }
}

fn units(prefix: &str, count: u32) -> Vec<String> {
    (0..count).map(|i| format!("{prefix}-{i}")).collect()
}

fn all_in(drawn: &[Drawn], batch: u64, entered_ms: u64) -> bool {
    drawn.iter().all(|(known, _, at)| (*known, *at) == (batch, entered_ms))
}

#[test]
fn a_unit_keeps_its_arm_until_its_window_has_closed() {
    let deployment = deployment();
    deployment.write("experiments/e.toml", SPEC.replace("2s", "1d").replace("3s", "14d"));
    let host = Still::start(&deployment, Arc::new(SimulatedClock::new(BEGIN_MS, 7)));
    let (early, late) = (units("early", 60), units("late", 20));
    let dry = json!({ "decision_point": "p", "entities": { "borrower": "late-0" }, "dry_run": true });
    assert_eq!(host.admin().post("/v1/decisions", &dry).status, 200);
    let first = host.decide(&early);
    assert!(all_in(&first, 0, BEGIN_MS), "{first:?}");
    // The next batch is in force: for those who enter now, a dry run having been nothing.
    host.pass(DAY);
    assert!(all_in(&host.decide(&late), 1, BEGIN_MS + DAY.as_millis() as u64));
    assert_eq!(host.decide(&early), first);
    let kept = host.admin().get(&format!("/v1/decisions/{}", host.ids(&early)[0])).json();
    let host = host.restart(&deployment);
    assert_eq!(host.decide(&early), first, "after a restart");
    // A millisecond before the window closes, and then.
    host.pass(13 * DAY - Duration::from_millis(1));
    assert_eq!(host.decide(&early), first);
    let host = host.restart(&deployment);
    assert_eq!(host.decide(&early), first, "after a restart");
    host.pass(Duration::from_millis(1));
    let second = host.decide(&early);
    assert!(all_in(&second, 2, BEGIN_MS + 14 * DAY.as_millis() as u64), "{second:?}");
    let moved = first.iter().zip(&second).filter(|(first, second)| first.1 != second.1).count();
    assert!(moved > 10, "drawn anew: {moved} of 60 are in another arm");
    assert!(all_in(&host.decide(&late), 1, BEGIN_MS + DAY.as_millis() as u64), "still open");
    // A batch's units stay one entry when their window closes in it.
    let host = host.restart(&deployment);
    assert_eq!(host.decide(&early), second, "after a restart");
    let found = host.admin().get("/v1/experiments/e/report").json();
    assert_eq!(found["units"]["entered"], 60 + 20 + 60, "{}", found["units"]);
    host.stop();
    let replay = run(["replay", "--verify", "--config", deployment.config().to_str().expect("a path")]);
    assert_eq!(replay.code, Some(0), "{} {}", replay.stdout, replay.stderr);
    // An earlier batch than the one in force is for open windows only.
    let archive = Archive::open(&deployment.path().join("data/archive")).expect("an archive");
    let versions = ArchivedVersions::new(Arc::new(Engines::new(2).expect("engines")), archive);
    let mut record: Record = serde_json::from_value(kept).expect("a record");
    assert!(matches!(versions.replay(&record), ReplayResult::Identical { .. }));
    record.time_ms = BEGIN_MS + 14 * DAY.as_millis() as u64;
    let ReplayResult::Different(found) = versions.replay(&record) else { panic!("its window has closed") };
    assert!(found.iter().any(|difference| difference.field == "routing.assignment.batch"), "{found:?}");
}
