//! Sixty days of three canaries in a minute: a host whose clock is simulated, with real artifacts,
//! a real model, a real ledger and HTTP, and forty thousand borrowers.

mod aa_experiments;
mod borrowers;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::super::client::Client;
use super::stage::{Stage, artifact};
use super::{Failure, ensure, shown, step, text};
use crate::app::{Host, Looks, Options};
use crate::clock::{Clock as _, SimulatedClock};
use crate::sandbox::STACK_BYTES;
use borrowers::World;

const DAYS: u64 = 60;
const SEED: u64 = 7;
/// 2026-11-02, at eight in the morning.
const BEGIN_MS: u64 = 1_793_606_400_000;
/// Requests of one batch, which the lender's own program sends every two minutes.
const BATCH: usize = 400;
const PACE: Duration = Duration::from_secs(120);
/// The day on which the crashing canary comes; the pushy one comes on the day after.
const CRASH_DAY: u64 = 4;

const BETTER: &[u8] = include_bytes!("../../../../demo/sixty/better.toml");
const CRASHING: &[u8] = include_bytes!("../../../../demo/sixty/crashing.toml");
const PUSHY: &[u8] = include_bytes!("../../../../demo/sixty/pushy.toml");

/// The host in this process, and who talks to it.
pub(super) struct Sixty {
    runtime: tokio::runtime::Runtime,
    host: Host,
    clock: Arc<SimulatedClock>,
    public: Client,
    admin: Client,
    world: World,
    /// Decisions that were answered.
    pub(super) decided: u64,
    fallbacks: u64,
    /// The first day on which a t-test would have called the pushy canary a winner.
    peeked: Option<u64>,
    /// What the count by hand said of the better canary on the twelfth day: control, better.
    early: [f64; 2],
}

/// Plays it; the host stays up, so that its console can be opened.
pub(super) fn play(stage: &Stage, n: u32) -> Result<Sixty, Failure> {
    step(
        n,
        "Sixty days in a minute",
        "Another host, whose clock is simulated. Forty thousand borrowers come over forty days, and are decided about\n\
         four times each. What they do is synthetic; payments are posted two days late, and some bounce. Three\n\
         versions are tried on them: one is better, one crashes, and one is pushy.",
    );
    let began = Instant::now();
    let mut sixty = Sixty::start(stage)?;
    for day in 0..DAYS {
        sixty.day(stage, day)?;
    }
    shown(&format!(
        "{} decisions over {DAYS} days, in {:.0} seconds; every one answered, {} by a fallback",
        sixty.decided,
        began.elapsed().as_secs_f64(),
        sixty.fallbacks
    ));
    sixty.crashing()?;
    sixty.better()?;
    sixty.pushy()?;
    nothing()?;
    let console = sixty.console();
    shown(&format!("their pages: http://{console}/experiments/better, …/crashing and …/pushy, while the demo is up"));
    Ok(sixty)
}

impl Sixty {
    /// Where its console is.
    pub(super) fn console(&self) -> SocketAddr {
        self.host.admin
    }

    pub(super) fn stop(self) {
        let Self { runtime, host, .. } = self;
        runtime.block_on(host.stop());
    }

    fn start(stage: &Stage) -> Result<Self, Failure> {
        let dir = stage.path("sixty");
        let stage = Stage { dir };
        for folder in ["plugins", "experiments", "models"] {
            std::fs::create_dir_all(stage.path(folder))?;
        }
        stage.write("serin.toml", include_bytes!("../../../../demo/serin.toml"))?;
        // Sixty days in a minute keep every core busy: what is shown is what the strategies do, and
        // not whom a machine that has other work makes wait.
        stage.edit("serin.toml", "deadline = \"250ms\"", "deadline = \"30s\"")?;
        stage.edit("serin.toml", "wall_ms = 100 ", "wall_ms = 10000 ")?;
        stage.write("models/default-risk.onnx", include_bytes!("../../../../demo/models/default-risk.onnx"))?;
        stage.write(
            "models/default-risk.golden.json",
            include_bytes!("../../../../demo/models/default-risk.golden.json"),
        )?;
        for (plugin, file) in [
            ("outreach-rules", "outreach-rules-1.0.0.wasm"),
            ("outreach-score", "outreach-score-1.1.0.wasm"),
            ("outreach-tenure", "outreach-tenure-1.0.0.wasm"),
        ] {
            stage.write(&format!("plugins/{file}"), &artifact(plugin, file)?)?;
        }
        stage.write("experiments/better.toml", BETTER)?;
        let clock = Arc::new(SimulatedClock::new(BEGIN_MS, SEED));
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let (config, looks) = (stage.path("serin.toml"), Looks::WhenAsked);
        let options = Options { config, listen: Some(any), admin: Some(any), dev: false, looks };
        let runtime =
            tokio::runtime::Builder::new_multi_thread().enable_all().thread_stack_size(STACK_BYTES).build()?;
        let of_host: Arc<dyn crate::clock::Clock> = Arc::<SimulatedClock>::clone(&clock);
        let host = runtime.block_on(Host::start(options, of_host)).map_err(|e| Failure(e.to_string()))?;
        let client = |address| Client::new(&format!("http://{address}"));
        let (public, admin) = (client(host.listen), client(host.admin));
        let world = World::new(SEED, DAYS);
        for rows in world.profiles(include_bytes!("../../../../demo/borrowers.csv"))?.chunks(5000) {
            public.post("/v1/features/borrower-profile", &json!({ "rows": rows }))?;
        }
        let early = [0.0; 2];
        Ok(Self { runtime, host, clock, public, admin, world, decided: 0, fallbacks: 0, peeked: None, early })
    }

    /// From eight in the morning: the day's decisions, two minutes a batch, then what is posted in
    /// the evening.
    fn day(&mut self, stage: &Stage, day: u64) -> Result<(), Failure> {
        for (when, id, file) in [(CRASH_DAY, "crashing", CRASHING), (CRASH_DAY + 1, "pushy", PUSHY)] {
            if day == when {
                stage.write(&format!("sixty/experiments/{id}.toml"), file)?;
                self.host.reloader.reload();
                let found = self.admin.get(&format!("/v1/experiments/{id}"))?;
                ensure(found["state"] == "running", || format!("{id}: {found}"))?;
            }
        }
        let morning = self.clock.now_ms();
        for some in self.world.due(day).chunks(BATCH) {
            let requests: Vec<Value> = some.iter().map(|n| World::request(*n, day)).collect();
            let answer = self.public.post("/v1/decisions/batch", &json!({ "requests": requests }))?;
            let now_ms = self.clock.now_ms();
            for (n, item) in some.iter().zip(answer["results"].as_array().into_iter().flatten()) {
                ensure(item["status"] == 200, || format!("day {day}: b-{n} should be decided about; came: {item}"))?;
                let decision = &item["decision"];
                self.decided += 1;
                self.fallbacks += u64::from(text(&decision["served_by"]).starts_with("fallback"));
                self.world.decided(*n, decision, now_ms, day);
            }
            self.clock.advance(PACE);
            self.host.look();
        }
        self.clock.advance(Duration::from_millis(morning + borrowers::DAY_MS - 3_600_000 - self.clock.now_ms()));
        for some in self.world.posts(day).chunks(10_000) {
            let posted = self.public.post("/v1/outcomes", &json!({ "outcomes": some }))?;
            ensure(posted["stored"] == some.len(), || format!("outcomes: {posted}"))?;
        }
        // Complaints are rare, and posted a day late: that none came is told, or their feed would seem dead.
        let until_ms = self.clock.now_ms().saturating_sub(2 * borrowers::DAY_MS);
        let until = jiff::Timestamp::from_millisecond(i64::try_from(until_ms).unwrap_or(i64::MAX))
            .map_err(|error| Failure(error.to_string()))?;
        let watermark = json!({ "watermarks": [{ "name": "complaint", "time": until.to_string() }] });
        let told = self.public.post("/v1/outcomes/watermarks", &watermark)?;
        ensure(told["stored"] == 1, || format!("watermarks: {told}"))?;
        self.clock.advance(Duration::from_secs(3600));
        self.host.look();
        self.peek(day);
        Ok(())
    }

    /// What somebody with a spreadsheet would say today.
    fn peek(&mut self, day: u64) {
        let of = |experiment: &str, arm: &str| self.world.counted(experiment, arm, day);
        if day == 12 {
            let rate = |count: borrowers::Count| count.cured as f64 / count.entered.max(1) as f64;
            self.early = [rate(of("better", "control")), rate(of("better", "better"))];
        }
        let (control, pushy) = (of("pushy", "control"), of("pushy", "pushy"));
        let mean = |count: borrowers::Count| count.mature_cured as f64 / count.mature.max(1) as f64;
        let variance = |count: borrowers::Count| mean(count) * (1.0 - mean(count)) / count.mature.max(1) as f64;
        let se = (variance(control) + variance(pushy)).sqrt();
        if self.peeked.is_none() && control.mature > 100 && mean(pushy) - mean(control) > 1.96 * se {
            self.peeked = Some(day);
        }
    }

    /// How an experiment ended: the host's own last change of it, and its report.
    fn ended(&self, id: &str, command: &str) -> Result<(Value, Value), Failure> {
        let shown = self.admin.get(&format!("/v1/experiments/{id}"))?;
        let history = shown["history"].as_array().cloned().unwrap_or_default();
        let found = history.iter().find(|change| change["command"] == command && change["by"] == "serin").cloned();
        let report = self.admin.get(&format!("/v1/experiments/{id}/report"))?;
        let found = found.ok_or_else(|| Failure(format!("{id} has no {command}: {}", report["verdict"])))?;
        Ok((found, report))
    }

    fn crashing(&self) -> Result<(), Failure> {
        let (abort, report) = self.ended("crashing", "abort")?;
        ensure(report["stopped_by"] == "failures", || format!("crashing: {report}"))?;
        let minutes = minutes_into_day(&abort["at"]);
        ensure(day_of(&abort["at"]) == CRASH_DAY && minutes < 60.0, || format!("crashing: {abort}"))?;
        shown(&format!(
            "crashing came on day {CRASH_DAY}, trapped on the 2 % without an employment length, and was taken out after {minutes:.0} minutes"
        ));
        shown(&format!("  {}", text(&abort["reason"])));
        Ok(())
    }

    fn better(&self) -> Result<(), Failure> {
        let (ship, report) = self.ended("better", "ship")?;
        ensure(report["state"] == "shipped", || format!("better: {report}"))?;
        let day = day_of(&ship["at"]);
        shown(&format!(
            "better ramped from 10 to 50 to 100 % of its slot, and shipped on day {day}, less a holdback of 10 %"
        ));
        shown(&format!("  {}", text(&ship["reason"])));
        ensure(self.early[1] < self.early[0], || format!("the immature: {:?}", self.early))?;
        shown(&format!(
            "  who had counted on day 12, with those who may still pay as not cured: {:.1} % in control, {:.1} % in better",
            self.early[0] * 100.0,
            self.early[1] * 100.0
        ));
        let (control, better) =
            (self.world.counted("better", "control", DAYS), self.world.counted("better", "better", DAYS));
        let cured =
            better.mature_cured as f64 / better.mature as f64 - control.mature_cured as f64 / control.mature as f64;
        let calls = |arm: &str| {
            let actions = &report["actions"][arm];
            let all: f64 = actions.as_object().into_iter().flat_map(|a| a.values()).filter_map(Value::as_f64).sum();
            actions["call"].as_f64().unwrap_or(0.0) / all.max(1.0)
        };
        let (of_control, of_better) = (calls("control"), calls("better"));
        ensure(of_better < 0.9 * of_control, || format!("calls: {of_control} and {of_better}"))?;
        shown(&format!(
            "  {:+.1} points cured: {:.0} borrowers of {}; {:.0} % fewer calls, {:.0} of them saved",
            cured * 100.0,
            cured * better.entered as f64,
            better.entered,
            (1.0 - of_better / of_control) * 100.0,
            (of_control - of_better) * better.entered as f64 * borrowers::DECISIONS as f64
        ));
        Ok(())
    }

    fn pushy(&self) -> Result<(), Failure> {
        let (abort, report) = self.ended("pushy", "abort")?;
        ensure(report["stopped_by"] == "complaints", || format!("pushy: {report}"))?;
        let day = day_of(&abort["at"]);
        shown(&format!("pushy came on day {}, cured more, and was stopped on day {day}", CRASH_DAY + 1));
        shown(&format!("  {}", text(&abort["reason"])));
        if let Some(peeked) = self.peeked {
            shown(&format!(
                "  a t-test of the cured alone, looked at every day, would have shipped it on day {peeked}"
            ));
        }
        self.complaint()
    }

    /// One complaint: who decided, what was seen, and that it comes out the same again.
    fn complaint(&self) -> Result<(), Failure> {
        let affected = self.admin.get("/v1/experiments/pushy/affected?arm=pushy&limit=10000")?;
        let units = affected["units"].as_array().cloned().unwrap_or_default();
        let complains =
            |unit: &&Value| unit["outcomes"].as_array().is_some_and(|o| o.iter().any(|o| o["name"] == "complaint"));
        for unit in units.iter().filter(complains) {
            let id = text(&unit["decisions"][0]);
            let record = self.admin.get(&format!("/v1/decisions/{id}"))?;
            if record["answer"]["action"] != "call" {
                continue;
            }
            let again = self.admin.post(&format!("/v1/decisions/{id}/replay"), &json!({}))?;
            ensure(again["identical"] == true, || format!("replay of {id}: {again}"))?;
            let reasons = record["answer"]["reasons"].as_array().cloned().unwrap_or_default();
            let reasons: Vec<String> = reasons.iter().map(|reason| text(&reason["text"])).collect();
            shown(&format!(
                "  {} complained about a call on day {}; the record says why, and replays to the byte: {}",
                text(&unit["unit"]),
                record["time_ms"].as_u64().map_or(0, |ms| (ms - BEGIN_MS) / borrowers::DAY_MS),
                reasons.join("; ")
            ));
            return Ok(());
        }
        Err(Failure(format!("nobody of {} complained about a call", units.len())))
    }
}

fn nothing() -> Result<(), Failure> {
    let [peeked, serin] = aa_experiments::winners(SEED);
    let runs = aa_experiments::RUNS;
    ensure(serin * 20 <= runs && peeked * 3 > runs, || format!("of {runs}: a t-test {peeked}, Serin {serin}"))?;
    shown(&format!(
        "and where nothing was different, {runs} times {}: a t-test that is looked at all the time found a winner {peeked} times, Serin {serin}",
        aa_experiments::UNITS
    ));
    Ok(())
}

fn since_ms(at: &Value) -> u64 {
    let at = text(at).parse::<jiff::Timestamp>().map_or(0, |t| t.as_millisecond() as u64);
    at.saturating_sub(BEGIN_MS)
}

fn day_of(at: &Value) -> u64 {
    since_ms(at) / borrowers::DAY_MS
}

fn minutes_into_day(at: &Value) -> f64 {
    (since_ms(at) % borrowers::DAY_MS) as f64 / 60_000.0
}
