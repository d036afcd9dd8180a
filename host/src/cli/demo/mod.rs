//! `serin demo`: a lender's outreach, through the files, the commands and the HTTP that a
//! user would touch. Whatever it says, it has checked; its exit status tells.

mod data;
mod sixty;
mod stage;
mod traffic;

use std::net::SocketAddr;
use std::process::Command;

use serde_json::{Value, json};

use super::client::{Client, ClientError};
use super::{DemoArgs, Outcome, serve};
use crate::clock::{Clock as _, SystemClock};
use stage::{HostProcess, Stage, artifact, wait_for};
use traffic::{Tally, Traffic, is_late};

/// What the demo found not to be as it says.
#[derive(Debug, thiserror::Error)]
#[error("the demo failed: {0}")]
pub(super) struct Failure(String);

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self(error.to_string())
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self(error.to_string())
    }
}

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Result<(), Failure> {
    if holds { Ok(()) } else { Err(Failure(what())) }
}

/// The canary's experiment file.
const CANARY: &[u8] = include_bytes!("../../../demo/canary/outreach-tenure.toml");

struct Demo {
    stage: Stage,
    listen: SocketAddr,
    admin_address: SocketAddr,
    public: Client,
    admin: Client,
    base: String,
    /// Decisions that were answered in all.
    answered: u64,
    /// The last one before the host was killed.
    last: String,
}

pub(super) fn run(args: &DemoArgs) -> Outcome {
    let started = std::time::Instant::now();
    let mut demo = Demo {
        stage: Stage::lay_out()?,
        listen: args.listen,
        admin_address: args.admin,
        public: Client::new(&format!("http://{}", args.listen)),
        admin: Client::new(&format!("http://{}", args.admin)),
        base: format!("http://{}", args.listen),
        answered: 0,
        last: String::new(),
    };
    println!(
        "Serin hosts decision strategies: small programs that say what to do next about a borrower, compiled to\n\
         WebAssembly, so that the host can run anybody's strategy without trusting it, record exactly what it saw,\n\
         and run it again later. A lender asks it below: whom to reach today, and how?"
    );
    let host = demo.deploy()?;
    demo.one_decision()?;
    demo.split()?;
    demo.canary()?;
    demo.hot_reload()?;
    demo.refuse_broken()?;
    let host = demo.kill_and_restart(host)?;
    demo.replay_all()?;
    let sixty = sixty::play(&demo.stage, 9)?;
    demo.answered += sixty.decided;
    println!("\nAll of it held, in {:.0} seconds, over {} decisions.", started.elapsed().as_secs_f64(), demo.answered);
    if args.once {
        sixty.stop();
        host.stop()?;
        return Ok(true);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut signals = {
        let _entered = runtime.enter();
        serve::StopSignals::new()?
    };
    demo.invite(sixty.console());
    runtime.block_on(signals.next());
    sixty.stop();
    // Ctrl-C reaches the host as well; where only this program was told, it passes it on.
    host.stop()?;
    Ok(true)
}

fn step(n: u32, title: &str, text: &str) {
    println!("\n{n}. {title}\n   {}", text.replace('\n', "\n   "));
}

fn shown(line: &str) {
    println!("   > {line}");
}

impl Demo {
    fn start_host(&self) -> Result<HostProcess, Failure> {
        if std::net::TcpListener::bind(self.listen).is_err() || std::net::TcpListener::bind(self.admin_address).is_err()
        {
            return Err(Failure(format!(
                "{} or {} is in use; stop what runs there, or choose others with --listen and --admin",
                self.listen, self.admin_address
            )));
        }
        HostProcess::start(&self.stage, self.listen, self.admin_address, &self.public)
    }

    fn serin(&self, args: &[&str]) -> Result<std::process::Output, Failure> {
        Ok(Command::new(std::env::current_exe()?)
            .args(args)
            .arg("--config")
            .arg(self.stage.path("serin.toml"))
            .output()?)
    }

    fn deploy(&mut self) -> Result<HostProcess, Failure> {
        step(1, "A deployment is a folder", "serin.toml, plugins/, experiments/ and models/. The host watches them.");
        let check = self.serin(&["check"])?;
        ensure(check.status.success(), || format!("serin check: {}", String::from_utf8_lossy(&check.stderr)))?;
        shown(&format!("serin check --config {}/serin.toml: every file is fine", self.stage.dir.display()));
        let host = self.start_host()?;
        shown(&format!("serin serve: up on {}", self.base));
        shown(&format!("the console: http://{}/", self.admin_address));
        let csv = self.stage.path("borrowers.csv").display().to_string();
        let load = self.serin(&["features", "load", "borrower-profile", &csv])?;
        ensure(load.status.success(), || String::from_utf8_lossy(&load.stderr).into_owned())?;
        shown(&format!("serin features load: {}", String::from_utf8_lossy(&load.stdout).trim()));
        println!(
            "   These are real loans (LendingClub's public sample). How they are serviced is synthetic, from a seed:"
        );
        let now = jiff::Timestamp::from_millisecond(SystemClock.now_ms() as i64).map_err(|e| Failure(e.to_string()))?;
        let rows = data::servicing_rows(7, &now.to_string());
        let pushed = self.public.post("/v1/features/servicing", &json!({ "rows": rows }))?;
        ensure(pushed["written"] == data::BORROWERS, || format!("features pushed: {pushed}"))?;
        shown(&format!("POST /v1/features/servicing: {} rows written", pushed["written"]));
        Ok(host)
    }

    fn one_decision(&mut self) -> Result<(), Failure> {
        step(
            2,
            "One decision",
            "An application asks about one borrower. The host reads the features, scores the risk of default with an\n\
             ONNX model, runs the strategy in a fresh sandbox, commits the record, and only then answers.",
        );
        // Whoever comes first in the arm that uses the model, and is not protected from contact.
        for n in 1..=data::BORROWERS {
            let request = json!({
                "decision_point": "collections-outreach",
                "entities": { "borrower": format!("b-{n}"), "loan": format!("l-{n}") },
                "context": { "days_past_due": 20, "channel": "sms" },
            });
            let (status, answer) = self.public.post_any("/v1/decisions", &request)?;
            if is_late(status, &answer) && status != 200 {
                continue;
            }
            ensure(status == 200, || format!("POST /v1/decisions: 200 is expected, and {status} came: {answer}"))?;
            self.answered += 1;
            if answer["experiment"]["arm"] != "score" || answer["action"] != "call" {
                continue;
            }
            let reasons: Vec<String> =
                answer["reasons"].as_array().into_iter().flatten().map(|r| text(&r["text"])).collect();
            shown(&format!("b-{n}, 20 days late: {} (because: {})", text(&answer["action"]), reasons.join("; ")));
            let record = self.admin.get(&format!("/v1/decisions/{}", text(&answer["decision_id"])))?;
            let score = record["attempts"][0]["scores"][0]["value"].as_f64();
            if ["timeout", "overloaded", "breaker_open"].contains(&&*text(&record["attempts"][0]["scores"][0]["error"]))
            {
                // The model had no time: the machine is busy.
                continue;
            }
            ensure(score.is_some_and(|s| s > 0.0 && s < 1.0), || {
                format!("a score from 0 to 1 should be in the record: {record}")
            })?;
            shown(&format!(
                "by {} {}, which saw a risk of {:.1} % and {} features; fuel used: {}",
                text(&answer["strategy"]["name"]),
                text(&answer["strategy"]["version"]),
                score.unwrap_or_default() * 100.0,
                record["features"]["borrower-profile"]["values"].as_object().map_or(0, serde_json::Map::len),
                record["attempts"][0]["fuel"],
            ));
            shown(&format!("why: http://{}/decisions/{}", self.admin_address, text(&answer["decision_id"])));
            return Ok(());
        }
        Err(Failure("nobody was called by the scoring strategy".to_owned()))
    }

    fn run_until(&mut self, traffic: Traffic, enough: impl Fn(&Traffic) -> bool) -> Result<Tally, Failure> {
        wait_for("enough decisions are answered", || Ok(enough(&traffic).then_some(())))?;
        self.finish(traffic, false)
    }

    /// Ends the traffic, and checks what came of it.
    fn finish(&mut self, traffic: Traffic, may_crash: bool) -> Result<Tally, Failure> {
        let tally = traffic.finish()?;
        self.answered += tally.answered();
        tally.check(may_crash)?;
        if let Some(lateness) = tally.lateness() {
            shown(&lateness);
        }
        Ok(tally)
    }

    fn split(&mut self) -> Result<(), Failure> {
        step(
            3,
            "Two versions, one experiment",
            "experiments/outreach-score.toml gives half of the borrowers to an experiment: 50:50 between the rules and\n\
             the rules with a score. A unit's arm is a hash of its id, so nobody ever moves. Everybody else is served\n\
             by the pinned strategy, and who asked not to be contacted is decided about by nobody.",
        );
        let tally = self.run_until(Traffic::start(&self.base, 1), |t| t.answered() >= 4_000)?;
        let (control, score) = (tally.of_arm("control"), tally.of_arm("score"));
        let constraint = tally.served_by.get("constraint").copied().unwrap_or(0);
        ensure(control > 0 && score > 0 && constraint > 0, || {
            format!("both arms and the constraint should serve somebody; served by: {:?}", tally.served_by)
        })?;
        let share = score as f64 / (control + score) as f64;
        // The units are few hundreds a side: five standard errors of a fair split of them.
        ensure((share - 0.5).abs() < 0.1, || {
            format!("the arms should share 50:50, and the split is {control}:{score}")
        })?;
        shown(&format!(
            "{} decisions answered: {control} control, {score} score ({:.1} %), {constraint} left alone by constraint",
            tally.answered(),
            share * 100.0
        ));
        println!("   {:<16} {:>9} {:>9}", "action", "control", "score");
        for action in ["no_contact", "email", "sms_reminder", "call", "hardship_offer"] {
            let of = |arm: &str, n: u64| {
                let count = tally.actions.get(&(arm.to_owned(), action.to_owned())).copied().unwrap_or(0);
                format!("{:.1} %", 100.0 * count as f64 / n as f64)
            };
            println!("   {action:<16} {:>9} {:>9}", of("control", control), of("score", score));
        }
        Ok(())
    }

    /// A canary that traps on some borrowers; the host itself takes it out.
    fn canary(&mut self) -> Result<(), Failure> {
        step(
            4,
            "A canary that crashes",
            "outreach-tenure 1.0.0 passes its own cases, and forgets that an employment length may be missing. Its\n\
             experiment file takes two fifths of all borrowers, half of them for the canary and half for a control,\n\
             and sets one guardrail: failures.",
        );
        let (file, id) = ("outreach-tenure-1.0.0.wasm", "outreach-tenure");
        self.stage.write(&format!("plugins/{file}"), &artifact(id, file)?)?;
        self.stage.write(&format!("experiments/{id}.toml"), CANARY)?;
        let path = format!("/v1/experiments/{id}");
        wait_for("the canary runs", || {
            // Until its file was read there is no such experiment.
            let (_, canary) = self.admin.get_any(&path)?;
            Ok((canary["state"] == "running").then_some(()))
        })?;
        shown(&format!("experiments/{id}.toml: running, phase 1 of 2: 40 % of the borrowers are in it"));
        shown(&format!("watch it live: http://{}/experiments/{id}", self.admin_address));
        let traffic = Traffic::start(&self.base, 5);
        let aborted = wait_for("the host takes it out", || {
            let canary = self.admin.get(&path)?;
            Ok((canary["state"] == "aborted").then_some(canary))
        })?;
        let tally = self.finish(traffic, true)?;
        ensure(tally.crashed() > 0, || format!("the canary should crash on some; served by: {:?}", tally.served_by))?;
        let last = aborted["history"].as_array().and_then(|history| history.last()).cloned().unwrap_or_default();
        ensure(last["command"] == "abort" && last["by"] == "serin", || {
            format!("the host itself should have aborted it; its last change: {last}")
        })?;
        shown(&format!("aborted by the host itself: {}", text(&last["reason"])));
        shown(&format!(
            "{} decisions meanwhile: where it crashed, {} times, the pinned strategy served",
            tally.answered(),
            tally.crashed()
        ));
        let report = self.admin.get(&format!("{path}/report"))?;
        ensure(report["stopped_by"] == "failures", || {
            format!("the guardrail 'failures' should have stopped it; its report: {report}")
        })?;
        let evidence = &report["guardrails"][0]["evidence"];
        let rate = |key: &str| evidence[key].as_f64().unwrap_or_default() * 100.0;
        shown(&format!(
            "serin report {id}: {:.1} % of {} borrowers failed, {:.1} % of {} in control",
            rate("arm_mean"),
            evidence["arm_units"],
            rate("control_mean"),
            evidence["control_units"]
        ));
        Ok(())
    }

    fn hot_reload(&mut self) -> Result<(), Failure> {
        step(
            5,
            "A new version, under load",
            "outreach-rules 1.1.0 is copied into plugins/. It is checked, compiled and tested off the request path. Then\n\
             the pin in serin.toml is edited: exact versions only, nothing rolls out by itself.",
        );
        let traffic = Traffic::start(&self.base, 2);
        let file = "outreach-rules-1.1.0.wasm";
        self.stage.write(&format!("plugins/{file}"), &artifact("outreach-rules-next", file)?)?;
        let digest = wait_for("1.1.0 is active", || self.plugin(file, "active"))?["digest"].clone();
        shown(&format!("GET /v1/plugins: {file} is active, {}…", &text(&digest)[..19]));
        self.stage.edit("serin.toml", "outreach-rules@1.0.0\"   # exact", "outreach-rules@1.1.0\"   # exact")?;
        wait_for("the pin is applied", || {
            let points = self.admin.get("/v1/deployment")?;
            Ok((points["decision_points"][0]["digest"] == digest).then_some(()))
        })?;
        let tally = self.run_until(traffic, |t| t.served_by_version("1.1.0") >= 500)?;
        ensure(tally.versions.contains_key("1.0.0"), || {
            format!("1.0.0 should serve before 1.1.0 does; served: {:?}", tally.versions)
        })?;
        let pinned =
            tally.versions.iter().map(|(version, n)| format!("{n} by {version}")).collect::<Vec<_>>().join(", ");
        shown(&format!("{} decisions meanwhile, none lost; outside the experiment: {pinned}", tally.answered()));
        shown(&format!("every version that was loaded: http://{}/plugins", self.admin_address));
        Ok(())
    }

    /// The artifact of a file, once it is in a state.
    fn plugin(&self, file: &str, state: &str) -> Result<Option<Value>, Failure> {
        let answer = self.admin.get("/v1/plugins")?;
        let found =
            answer["plugins"].as_array().into_iter().flatten().find(|p| p["file"] == file && p["state"] == state);
        Ok(found.cloned())
    }

    fn refuse_broken(&mut self) -> Result<(), Failure> {
        step(6, "A broken version", "Half of a file arrives as outreach-rules 1.2.0.");
        let traffic = Traffic::start(&self.base, 3);
        let whole = artifact("outreach-rules-next", "outreach-rules-1.1.0.wasm")?;
        let file = "outreach-rules-1.2.0.wasm";
        self.stage.write(&format!("plugins/{file}"), &whole[..whole.len() / 2])?;
        let failed = wait_for("1.2.0 is refused", || self.plugin(file, "failed"))?;
        let error = text(&failed["error"]);
        ensure(!error.is_empty(), || "no error is shown".to_owned())?;
        let before = traffic.answered();
        let tally = self.run_until(traffic, |t| t.answered() >= before + 500)?;
        shown(&format!("GET /v1/plugins: {file} failed: {}", error.chars().take(90).collect::<String>()));
        shown(&format!("{} decisions meanwhile, all by the last good version", tally.answered()));
        shown(&format!("http://{}/ says so first, as long as the file is there", self.admin_address));
        Ok(())
    }

    fn kill_and_restart(&mut self, host: HostProcess) -> Result<HostProcess, Failure> {
        step(
            7,
            "The host is killed",
            "kill -9, under load. An answer leaves only after its record is committed, so every answer that arrived is\n\
             in the ledger.",
        );
        let traffic = Traffic::start(&self.base, 4);
        wait_for("traffic", || Ok((traffic.answered() >= 500).then_some(())))?;
        host.kill()?;
        let tally = traffic.finish()?;
        self.answered += tally.answered();
        let host = self.start_host()?;
        for id in &tally.ids {
            let (status, _) = self.admin.get_any(&format!("/v1/decisions/{id}"))?;
            ensure(status == 200, || {
                format!("decision {id} was answered, and should be in the ledger; the host answers {status}")
            })?;
        }
        shown(&format!(
            "killed after {} answers; restarted; all {} are in the ledger",
            tally.ids.len(),
            tally.ids.len()
        ));
        shown(&format!("read them: http://{}/decisions", self.admin_address));
        self.last = tally.ids.last().cloned().unwrap_or_default();
        Ok(host)
    }

    fn replay_all(&mut self) -> Result<(), Failure> {
        step(
            8,
            "Everything again",
            "A decision is a pure function of its record. Each is run again on the artifact of the recorded digest, and\n\
             compared byte for byte.",
        );
        let output = self.serin(&["replay", "--verify", "--format", "json"])?;
        let summary: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        ensure(output.status.success(), || format!("replay: {summary} {}", String::from_utf8_lossy(&output.stderr)))?;
        // A decision may have been committed whose answer the kill cut off: at least as many.
        let replayed = summary["identical"].as_u64().unwrap_or(0);
        ensure(replayed >= self.answered, || {
            format!("all {} answered decisions should be replayed, and {replayed} were", self.answered)
        })?;
        shown(&format!(
            "serin replay --verify: {replayed} decisions, {replayed} identical, {} different",
            summary["different"]
        ));
        shown(&format!("do it with one: the button on http://{}/decisions/{}", self.admin_address, self.last));
        Ok(())
    }

    fn invite(&self, sixty: SocketAddr) {
        println!(
            "\nThe host stays up until Ctrl-C. Its console is at http://{}/ : what needs a person, and how all stands.\n\
             Why was somebody called? http://{}/decisions says it. The sixty days have a console of their own,\n\
             http://{sixty}/experiments : a canary that won, one that crashed, and one that was stopped.\n\
             Ask for a decision yourself:\n\n\
             curl -s {}/v1/decisions -H 'content-type: application/json' -d '{{\n  \"decision_point\": \"collections-outreach\",\n  \
             \"entities\": {{ \"borrower\": \"b-17\", \"loan\": \"l-17\" }},\n  \"context\": {{ \"days_past_due\": 12, \"channel\": \"sms\" }} }}'\n\n\
             curl -s 'http://{}/v1/decisions?limit=1'   # the whole record of the last decision\n\
             curl -s http://{}/v1/experiments          # the experiments, and how they stand\n\
             curl -s http://{}/metrics\n\nThe deployment is in {}: change a file and watch. plugins/outreach-rules-1.2.0.wasm is still the\nbroken one of step 6: remove it, and the console's first line is gone.",
            self.admin_address,
            self.admin_address,
            self.base,
            self.admin_address,
            self.admin_address,
            self.admin_address,
            self.stage.dir.display()
        );
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
