//! Applications that ask for decisions, as threads.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

use super::super::client::Client;
use super::Failure;
use super::data::{Seeded, request};

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
}

impl Tally {
    fn note(&mut self, status: u16, answer: &Value) {
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

    /// Answers other than 200.
    pub(super) fn failed(&self) -> u64 {
        self.statuses.iter().filter(|(status, _)| **status != 200).map(|(_, n)| n).sum()
    }

    /// Answers that a fallback had to serve.
    pub(super) fn fallbacks(&self) -> u64 {
        self.served_by.iter().filter(|(by, _)| by.starts_with("fallback")).map(|(_, n)| n).sum()
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
        let (status, answer) = client.post_any("/v1/decisions", &request(&random)).unwrap_or((0, Value::Null));
        tally.note(status, &answer);
        so_far.lock().unwrap_or_else(PoisonError::into_inner).note(status, &answer);
        if status == 0 {
            // Nobody is there: the host was killed, and this thread's work is done.
            break;
        }
    }
    tally
}
