//! Applications that ask for decisions, as threads.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

use super::super::client::Client;
use super::Failure;
use super::data::{Seeded, request};

/// How `degraded` names a strategy that trapped.
const CRASH: &str = ":trap";
/// Threads that ask.
const CLIENTS: u64 = 4;

/// What was asked and answered.
#[derive(Debug, Default, Clone)]
pub(super) struct Tally {
    /// Ids of all answered decisions.
    pub(super) ids: Vec<String>,
    /// Answers by status; 0 where nobody answered.
    pub(super) statuses: BTreeMap<u16, u64>,
    /// Answers by who served.
    pub(super) served_by: BTreeMap<String, u64>,
    /// Actions by arm; answers outside the experiment are under `none`.
    pub(super) actions: BTreeMap<(String, String), u64>,
    /// Versions that served outside the experiment.
    pub(super) versions: BTreeMap<String, u64>,
    /// Requests that a busy machine refused, or answered with the fallback because no time was left.
    pub(super) late: u64,
    /// Everything else that is not a strategy's answer, in words.
    pub(super) surprises: BTreeMap<String, u64>,
}

/// The ends of `degraded` entries that the machine's load explains.
const LATE: [&str; 5] = [":no_time", ":deadline", ":overloaded", ":breaker_open", ":timeout"];

/// Says whether the host had no time or no room for a request.
pub(super) fn is_late(status: u16, answer: &Value) -> bool {
    let degraded = answer["degraded"].as_array().into_iter().flatten().filter_map(Value::as_str);
    match status {
        200 => is_fallback(answer) && degraded.into_iter().any(|why| LATE.iter().any(|end| why.ends_with(end))),
        // 0: the client waited for the answer longer than it does.
        status => [0, 429, 503, 504].contains(&status),
    }
}

fn is_fallback(answer: &Value) -> bool {
    answer["served_by"].as_str().is_some_and(|by| by.starts_with("fallback"))
}

impl Tally {
    fn note(&mut self, status: u16, answer: &Value) {
        if is_late(status, answer) {
            self.late += 1;
        } else if status != 200 {
            let why = answer["detail"].as_str().unwrap_or("without a detail");
            *self.surprises.entry(format!("status {status} ({why})")).or_default() += 1;
        } else if is_fallback(answer) {
            let degraded = answer["degraded"].as_array().into_iter().flatten().filter_map(Value::as_str);
            let why = degraded.collect::<Vec<_>>().join(", ");
            *self.surprises.entry(format!("the fallback ({why})")).or_default() += 1;
        }
        *self.statuses.entry(status).or_default() += 1;
        if status != 200 {
            return;
        }
        let text = |value: &Value| value.as_str().unwrap_or("none").to_owned();
        self.ids.push(text(&answer["decision_id"]));
        *self.served_by.entry(text(&answer["served_by"])).or_default() += 1;
        let arm = text(&answer["experiment"]["arm"]);
        if arm == "none" && !answer["strategy"].is_null() {
            *self.versions.entry(text(&answer["strategy"]["version"])).or_default() += 1;
        }
        *self.actions.entry((arm, text(&answer["action"]))).or_default() += 1;
    }

    /// Answers in all.
    pub(super) fn answered(&self) -> u64 {
        self.ids.len() as u64
    }

    /// Requests in all.
    fn asked(&self) -> u64 {
        self.statuses.values().sum()
    }

    /// Answers that the fallback served because the strategy trapped.
    pub(super) fn crashed(&self) -> u64 {
        self.surprises.iter().filter(|(what, _)| what.contains(CRASH)).map(|(_, n)| n).sum()
    }

    /// Checks that nothing came that the load of the machine does not explain; crashes only where they belong
    /// to the step.
    pub(super) fn check(&self, may_crash: bool) -> Result<(), Failure> {
        let odd: Vec<String> = self
            .surprises
            .iter()
            .filter(|(what, _)| !(may_crash && what.contains(CRASH)))
            .map(|(what, n)| format!("{n} times {what}"))
            .collect();
        if odd.is_empty() {
            return Ok(());
        }
        Err(Failure(format!(
            "of {} decisions, each should be answered 200 by a strategy or a constraint; came: {}; the host's log, host.log \
             in the demo's folder, says more",
            self.asked(),
            odd.join(", ")
        )))
    }

    /// A line about the late ones; none where there are none.
    pub(super) fn lateness(&self) -> Option<String> {
        (self.late > 0)
            .then(|| format!("{} of {} decisions came too late; the machine is busy", self.late, self.asked()))
    }

    /// Answers of an arm.
    pub(super) fn of_arm(&self, arm: &str) -> u64 {
        self.actions.iter().filter(|((a, _), _)| a == arm).map(|(_, n)| n).sum()
    }

    fn merge(&mut self, other: Self) {
        self.ids.extend(other.ids);
        let add = |into: &mut BTreeMap<String, u64>, from: BTreeMap<String, u64>| {
            from.into_iter().for_each(|(key, n)| *into.entry(key).or_default() += n);
        };
        add(&mut self.served_by, other.served_by);
        add(&mut self.versions, other.versions);
        add(&mut self.surprises, other.surprises);
        self.late += other.late;
        other.statuses.into_iter().for_each(|(key, n)| *self.statuses.entry(key).or_default() += n);
        other.actions.into_iter().for_each(|(key, n)| *self.actions.entry(key).or_default() += n);
    }
}

/// Traffic that runs until it is stopped.
pub(super) struct Traffic {
    stop: Arc<AtomicBool>,
    so_far: Arc<Mutex<Tally>>,
    threads: Vec<std::thread::JoinHandle<Tally>>,
}

impl Traffic {
    /// Starts asking. `seed` decides whom about.
    pub(super) fn start(base: &str, seed: u64) -> Self {
        let (stop, so_far) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Tally::default())));
        let threads = (0..CLIENTS)
            .map(|client| {
                let (stop, so_far, base) = (Arc::clone(&stop), Arc::clone(&so_far), base.to_owned());
                std::thread::spawn(move || ask(&Client::new(&base), seed * 1000 + client, &stop, &so_far))
            })
            .collect();
        Self { stop, so_far, threads }
    }

    /// How many were answered so far.
    pub(super) fn answered(&self) -> u64 {
        self.so_far.lock().unwrap_or_else(PoisonError::into_inner).answered()
    }

    /// How many were served by this version outside the experiment so far.
    pub(super) fn served_by_version(&self, version: &str) -> u64 {
        self.so_far.lock().unwrap_or_else(PoisonError::into_inner).versions.get(version).copied().unwrap_or(0)
    }

    /// Stops asking, and says what came of it.
    pub(super) fn finish(self) -> Result<Tally, Failure> {
        self.stop.store(true, Ordering::SeqCst);
        let mut tally = Tally::default();
        for thread in self.threads {
            tally.merge(thread.join().map_err(|_| Failure("a client died".to_owned()))?);
        }
        Ok(tally)
    }
}

fn ask(client: &Client, seed: u64, stop: &AtomicBool, so_far: &Mutex<Tally>) -> Tally {
    let random = Seeded::new(seed);
    let mut tally = Tally::default();
    while !stop.load(Ordering::SeqCst) {
        let (status, answer) = match client.post_any("/v1/decisions", &request(&random)) {
            Ok(answered) => answered,
            Err(error) if error.is_timeout() => (0, Value::Null),
            // Nobody is there: the host was killed, and this thread's work is done.
            Err(_) => break,
        };
        tally.note(status, &answer);
        so_far.lock().unwrap_or_else(PoisonError::into_inner).note(status, &answer);
    }
    tally
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn tally(answers: &[(u16, Value)]) -> Tally {
        let mut tally = Tally::default();
        answers.iter().for_each(|(status, answer)| tally.note(*status, answer));
        tally
    }

    #[test]
    fn a_busy_machine_fails_no_step_and_is_named() {
        let good = json!({ "served_by": "arm", "decision_id": "d", "action": "call" });
        let late = json!({ "served_by": "fallback_strategy", "degraded": ["strategy:outreach-score@1.1.0:no_time"] });
        let tally =
            tally(&[(200, good.clone()), (200, late), (503, json!({ "detail": "over capacity" })), (200, good)]);
        assert!(tally.check(false).is_ok());
        assert_eq!(tally.lateness().as_deref(), Some("2 of 4 decisions came too late; the machine is busy"));
        assert_eq!(tally.crashed(), 0);
    }

    #[test]
    fn what_load_does_not_explain_fails_and_is_named() {
        let crash = json!({ "served_by": "fallback_strategy", "degraded": ["strategy:outreach-tenure@1.0.0:trap"] });
        let crashed = tally(&[(200, crash.clone())]);
        assert_eq!((crashed.crashed(), crashed.lateness()), (1, None));
        assert!(crashed.check(true).is_ok());
        let why = crashed.check(false).expect_err("a crash").to_string();
        assert!(why.contains("1 times the fallback (strategy:outreach-tenure@1.0.0:trap)"), "{why}");
        let refused = tally(&[(422, json!({ "detail": "no such point" })), (200, crash)]);
        let why = refused.check(true).expect_err("a refusal").to_string();
        assert!(why.contains("status 422 (no such point)") && why.contains("host.log"), "{why}");
    }
}
