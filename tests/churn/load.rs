//! Decisions that are asked for all the time.

use std::collections::BTreeSet;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::json;

use crate::support::Client;

/// How long after an answer the next decision is asked for.
const PAUSE: Duration = Duration::from_millis(3);

/// What the load is told, and what it tells.
#[derive(Default)]
pub struct Shared {
    /// The public listener; none while the host is being stopped or is down.
    pub client: Option<Client>,
    /// How often the host has gone down so far.
    pub downs: usize,
    /// The digests that may serve.
    pub allowed: BTreeSet<String>,
    /// The decision that was answered last.
    pub last: Option<String>,
    pub answered: usize,
    /// What went wrong.
    pub wrong: Vec<String>,
}

/// A thread that asks for decisions. Ended when it is dropped.
pub struct Load {
    shared: Arc<Mutex<Shared>>,
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Load {
    pub fn start() -> Self {
        let (stop, stopped) = mpsc::channel();
        let shared = Arc::<Mutex<Shared>>::default();
        let beside = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            for unit in 0.. {
                ask(&beside, unit);
                if !matches!(stopped.recv_timeout(PAUSE), Err(RecvTimeoutError::Timeout)) {
                    return;
                }
            }
        });
        Self { shared, stop: Some(stop), thread: Some(thread) }
    }

    pub fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().expect("nobody panicked")
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        drop(self.stop.take());
        // What went wrong there is in what it told.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn ask(shared: &Mutex<Shared>, unit: u64) {
    let lock = || shared.lock().expect("nobody panicked");
    let (client, downs, mut allowed) = {
        let before = lock();
        let Some(client) = before.client.clone() else { return };
        (client, before.downs, before.allowed.clone())
    };
    let body = json!({ "decision_point": "p", "entities": { "borrower": format!("b-{unit}") } });
    let answer = client.post_text("/v1/decisions", &body.to_string(), &[]);
    let mut after = lock();
    let was_down = after.downs != downs || after.client.is_none();
    let Some(answer) = answer.filter(|answer| answer.status == 200) else {
        if !was_down {
            let told = "no answer, or none that was served";
            after.wrong.push(told.to_owned());
        }
        return;
    };
    let decision = answer.json();
    allowed.extend(after.allowed.iter().cloned());
    let digest = decision["strategy"]["digest"].as_str().unwrap_or_default();
    let is_served = ["strategy", "arm"].iter().any(|by| decision["served_by"] == *by);
    if !is_served || !allowed.contains(digest) {
        after.wrong.push(format!("{decision}; allowed: {allowed:?}"));
    }
    after.answered += 1;
    after.last = decision["decision_id"].as_str().map(str::to_owned);
}
