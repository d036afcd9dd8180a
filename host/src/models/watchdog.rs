//! Ends runs that are made on the thread that asked, where they take longer than it may wait.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::thread::Thread;
use std::time::Duration;

use parking_lot::Mutex;

use super::sessions::RunGuard;

/// How often runs under way are looked at.
const TICK: Duration = Duration::from_millis(5);

/// A thread that looks at runs under way, and sleeps while there are none.
pub(super) struct Watchdog {
    shared: Arc<Shared>,
    thread: Thread,
}

#[derive(Default)]
struct Shared {
    guards: Mutex<Vec<Weak<RunGuard>>>,
    /// A run began since the last look.
    began: AtomicBool,
    stopping: AtomicBool,
}

impl Watchdog {
    pub fn start() -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let watched = Arc::clone(&shared);
        let handle = std::thread::Builder::new().name("serin-model-watch".into()).spawn(move || watch(&watched))?;
        Ok(Self { shared, thread: handle.thread().clone() })
    }

    /// Looks at the runs of one more session, as long as it is there.
    pub fn add(&self, guard: &Arc<RunGuard>) {
        let mut guards = self.shared.guards.lock();
        guards.retain(|guard| guard.strong_count() > 0);
        guards.push(Arc::downgrade(guard));
    }

    /// Says that a run has begun. Wakes the thread only where none was under way lately.
    pub fn began(&self) {
        if !self.shared.began.load(Ordering::Relaxed) && !self.shared.began.swap(true, Ordering::AcqRel) {
            self.thread.unpark();
        }
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

fn watch(shared: &Shared) {
    let mut is_busy = false;
    while !shared.stopping.load(Ordering::Acquire) {
        if is_busy || shared.began.swap(false, Ordering::AcqRel) {
            std::thread::park_timeout(TICK);
        } else {
            std::thread::park();
        }
        is_busy = false;
        for guard in shared.guards.lock().iter().filter_map(Weak::upgrade) {
            is_busy |= guard.look();
        }
    }
}
