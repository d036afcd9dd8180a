//! A lender's weeks for the pages to show: a host whose clock is simulated, real strategies and a real model,
//! and five experiments in different states. Who the borrowers are is real; what becomes of them follows from a seed.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use serin::app::{Host, Looks, Options};
use serin::clock::{Clock as _, SimulatedClock};
use serin::sandbox::STACK_BYTES;

use crate::support::{Client, Deployment, collections, root};

/// The days that are played, and the borrowers that come on each.
const DAYS: u64 = 24;
const A_DAY: u64 = 300;
const DAY_MS: u64 = 86_400_000;
const SEED: u64 = 7;
/// 2026-11-02, at eight in the morning.
const BEGIN_MS: u64 = 1_793_606_400_000;
/// The day on which the version comes that is paused for harm, and the days on which people act.
const PUSHY_DAY: u64 = 6;
const CONCLUDED_DAY: u64 = 12;
const PAUSED_DAY: u64 = 18;

/// An experiment between the rules and the score: its id, its slot, its threshold, and more of its file.
fn experiment(id: &str, slot: [f64; 2], threshold: f64, description: &str, more: &str) -> String {
    format!(
        r#"id = "{id}"
decision_point = "collections-outreach"
owner = "collections-science"
description = "{description}"
slot = [{:?}, {:?}]
{more}

[[arms]]
name = "control"
strategy = "outreach-rules@1.0.0"
weight = 0.5

[[arms]]
name = "score"
strategy = "outreach-score@1.1.0"
weight = 0.5
parameters = {{ threshold = {threshold} }}

[[metrics]]
name = "cured_7d"
role = "goal"
outcome = "cured"
window = "7d"
lag = "1d"
planned_units = 4000

[[metrics]]
name = "complaints"
role = "guardrail"
outcome = "complaint"
window = "5d"
direction = "decrease"
planned_units = 4000

[[guardrails]]
metric = "complaints"
max_increase = 0.02
on_breach = "pause"

[[guardrails]]
metric = "failures"
max_increase = 0.01
"#,
        slot[0], slot[1]
    )
}

const RAMP: &str = "ramp = [{ coverage = 0.2, hold = \"2d\" }, { coverage = 0.6, hold = \"3d\" }, { coverage = 1.0 }]\n\
                    segments = [\"context.channel\"]";

fn deployment() -> Deployment {
    let deployment = collections();
    let path = |id: &str| format!("experiments/{id}.toml");
    let score = "Does a score of the risk of default choose better outreach than the rules alone?";
    deployment.write(&path("outreach-score"), experiment("outreach-score", [0.0, 0.5], 0.68, score, RAMP));
    let late = "Does the score still help once a loan is two months late?";
    deployment.write(&path("late-stage"), experiment("late-stage", [0.75, 0.85], 0.6, late, ""));
    let hardship = "Offer hardship plans to those whom the score puts at risk.";
    deployment.write(&path("hardship-first"), experiment("hardship-first", [0.85, 0.95], 0.6, hardship, ""));
    let weekend = "Write to borrowers at the weekend.";
    let manual = "start = \"manual\"";
    deployment.write(&path("weekend-messages"), experiment("weekend-messages", [0.95, 1.0], 0.6, weekend, manual));
    deployment
}

/// A host with weeks behind it. Its clock stands still. It stops when it is dropped.
pub struct Scene {
    host: Option<Host>,
    runtime: tokio::runtime::Runtime,
    _deployment: Deployment,
    /// Its admin listener.
    pub admin: Client,
    /// A decision in the running experiment.
    pub decision: String,
    /// The borrower whom it is about.
    pub unit: String,
}

/// What plays the weeks.
struct Play {
    host: Host,
    clock: Arc<SimulatedClock>,
    random: SimulatedClock,
    public: Client,
    admin: Client,
    /// Outcomes by the day on which they are posted.
    posts: Vec<Vec<Value>>,
    last: Value,
}

impl Scene {
    /// Plays the weeks.
    pub fn play() -> Self {
        let deployment = deployment();
        let clock = Arc::new(SimulatedClock::new(BEGIN_MS, SEED));
        let any = Some(std::net::SocketAddr::from(([127, 0, 0, 1], 0)));
        let options =
            Options { config: deployment.config(), listen: any, admin: any, dev: false, looks: Looks::WhenAsked };
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_stack_size(STACK_BYTES).build();
        let runtime = runtime.expect("a runtime");
        let host = runtime.block_on(Host::start(options, Arc::<SimulatedClock>::clone(&clock))).expect("starts");
        let [public, admin] = [host.listen, host.admin].map(|address| Client::new(&address.to_string()));
        let random = SimulatedClock::new(0, SEED);
        let posts = vec![Vec::new(); DAYS as usize + 30];
        let mut play = Play { host, clock, random, public, admin, posts, last: Value::Null };
        play.profiles();
        for day in 0..DAYS {
            play.events(&deployment, day);
            play.day(day);
        }
        play.end(&deployment);
        let Play { host, admin, last, .. } = play;
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        let (decision, unit) = (text(&last["id"]), text(&last["borrower"]));
        Self { host: Some(host), runtime, _deployment: deployment, admin, decision, unit }
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.host.take().into_iter().for_each(|host| self.runtime.block_on(host.stop()));
    }
}

impl Play {
    fn chance(&self) -> f64 {
        (self.random.entropy() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn accepted(client: &Client, path: &str, body: &Value) -> Value {
        let answer = client.post(path, body);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        answer.json()
    }

    fn command(&self, id: &str, name: &str, mut body: Value) {
        body["by"] = json!("dana");
        Self::accepted(&self.admin, &format!("/v1/experiments/{id}/{name}"), &body);
    }

    /// Who the borrowers are: a public sample, drawn from again and again.
    fn profiles(&self) {
        let mut sample = csv::Reader::from_path(root().join("host/demo/borrowers.csv")).expect("the sample");
        let names = sample.headers().expect("a header").clone();
        let rows: Vec<_> = sample.records().map(|row| row.expect("a row")).collect();
        let profile = |n: u64| {
            let row = &rows[n as usize % rows.len()];
            let fields = names.iter().zip(row).skip(2).filter(|(_, text)| !text.is_empty());
            let value = |text: &str| text.parse::<f64>().map_or_else(|_| json!(text), |number| json!(number));
            let values: serde_json::Map<_, _> = fields.map(|(name, text)| (name.to_owned(), value(text))).collect();
            json!({ "entity": format!("b-{n}"), "event_time": "2026-11-01T00:00:00Z", "values": values })
        };
        let profiles: Vec<Value> = (0..DAYS * A_DAY).map(profile).collect();
        for rows in profiles.chunks(2000) {
            Self::accepted(&self.public, "/v1/features/borrower-profile", &json!({ "rows": rows }));
        }
    }

    /// How the day's loans have been serviced; of few it is not known.
    fn serviced(&self, day: u64) {
        let at = jiff::Timestamp::from_millisecond(self.clock.now_ms() as i64).expect("a time").to_string();
        let row = |n: u64| {
            let contacts = (self.chance() * 4.0) as u64;
            let values = json!({
                "contacts_7d": contacts,
                "last_contact_days": 0.5 + contacts as f64,
                "promises_broken": (self.chance() * 1.6) as u64,
                "hardship_flag": self.chance() < 0.04,
                "balance_due": (40.0 + 900.0 * self.chance().powi(2)).round(),
                "cease_contact": self.chance() < 0.015,
            });
            json!({ "entity": format!("l-{n}"), "event_time": at, "values": values })
        };
        let known = (day * A_DAY..(day + 1) * A_DAY).filter(|n| n % 61 != 0);
        let rows: Vec<Value> = known.map(row).collect();
        Self::accepted(&self.public, "/v1/features/servicing", &json!({ "rows": rows }));
    }

    fn events(&self, deployment: &Deployment, day: u64) {
        let at_risk = json!({ "reason": "the offers' text is being reviewed by compliance" });
        match day {
            PUSHY_DAY => {
                let text = "Call sooner whom the score puts at risk.";
                let file = experiment("call-sooner", [0.5, 0.75], 0.2, text, "");
                deployment.write("experiments/call-sooner.toml", file);
                self.host.reloader.reload();
            }
            CONCLUDED_DAY => {
                let body = json!({ "reason": "no difference worth the model's upkeep", "winner": "control" });
                self.command("late-stage", "conclude", body);
            }
            PAUSED_DAY => self.command("hardship-first", "pause", at_risk),
            _ => {}
        }
    }

    /// A day's decisions in the morning, and what is posted in its evening.
    fn day(&mut self, day: u64) {
        let morning = self.clock.now_ms();
        self.serviced(day);
        let all: Vec<u64> = (day * A_DAY..(day + 1) * A_DAY).collect();
        for some in all.chunks(100) {
            let requests: Vec<Value> = some.iter().map(|n| request(*n)).collect();
            let answer = Self::accepted(&self.public, "/v1/decisions/batch", &json!({ "requests": requests }));
            for (n, item) in some.iter().zip(answer["results"].as_array().into_iter().flatten()) {
                assert_eq!(item["status"], 200, "b-{n}: {item}");
                self.decided(*n, day, &item["decision"]);
            }
            self.clock.advance(Duration::from_secs(3600));
            self.host.look();
        }
        self.clock.advance(Duration::from_millis(morning + DAY_MS - 3_600_000 - self.clock.now_ms()));
        let posted = std::mem::take(&mut self.posts[day as usize]);
        if !posted.is_empty() {
            Self::accepted(&self.public, "/v1/outcomes", &json!({ "outcomes": posted }));
        }
        self.clock.advance(Duration::from_secs(3600));
        self.host.look();
    }

    /// What becomes of a borrower. In the arm that calls sooner more complain.
    fn decided(&mut self, n: u64, day: u64, decision: &Value) {
        let of = |key: &str| decision["experiment"][key].as_str().unwrap_or_default().to_owned();
        let (id, arm) = (of("id"), of("arm"));
        let (cured, complains) = match (&*id, &*arm) {
            ("outreach-score", "score") => (0.375, 0.015),
            ("call-sooner", "score") => (0.36, 0.14),
            _ => (0.31, 0.02),
        };
        if self.chance() < cured {
            let after = 0.1 + self.chance() * 6.0;
            self.post(n, day, "cured", after);
        }
        if self.chance() < complains {
            let after = 0.1 + self.chance() * 3.0;
            self.post(n, day, "complaint", after);
        }
        let is_called = decision["action"] == "call" || self.last.is_null();
        if id == "outreach-score" && arm == "score" && is_called {
            self.last = json!({ "id": decision["decision_id"], "borrower": format!("b-{n}") });
        }
    }

    /// Posts an outcome on the evening of its day.
    fn post(&mut self, n: u64, day: u64, name: &str, after: f64) {
        let at_ms = self.clock.now_ms() + (after * DAY_MS as f64) as u64;
        let at = jiff::Timestamp::from_millisecond(at_ms as i64).expect("a time").to_string();
        let entity = json!({ "borrower": format!("b-{n}") });
        let outcome = json!({ "id": format!("{name}-{n}"), "name": name, "value": 1.0, "entity": entity, "at": at });
        self.posts[(day + after.ceil() as u64) as usize].push(outcome);
    }

    /// The last morning: an edit that waits, a file with a mistake, and the day's first decisions.
    fn end(&mut self, deployment: &Deployment) {
        deployment.edit("experiments/outreach-score.toml", "max_increase = 0.02", "max_increase = 0.03");
        let wrong = experiment("sms-first", [0.95, 1.0], 0.6, "Text before calling.", "coverage = 1.5");
        deployment.write("experiments/sms-first.toml", wrong);
        self.host.reloader.reload();
        self.host.look();
    }
}

fn request(n: u64) -> Value {
    json!({
        "decision_point": "collections-outreach",
        "entities": { "borrower": format!("b-{n}"), "loan": format!("l-{n}") },
        "context": {
            "days_past_due": 5 + n * 7919 % 60,
            "channel": if n % 5 < 2 { "email" } else { "sms" },
            "stage": "early",
        },
    })
}
