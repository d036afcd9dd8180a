//! System time and entropy. Nothing else in the host touches either.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Where time and random bits come from.
pub trait Clock: Send + Sync + 'static {
    /// Milliseconds since the Unix epoch.
    fn now_ms(&self) -> u64;
    /// Milliseconds since some moment, counted whatever the clock is set to, and while the machine sleeps.
    fn uptime_ms(&self) -> u64;
    /// Random bits, one draw a call.
    fn entropy(&self) -> u64;
    /// Why nothing may follow from this time alone; none if it is trusted.
    fn doubt(&self) -> Option<String> {
        None
    }
}

/// Draws that one call of the operating system yields.
const BATCH: usize = 32;

/// The machine's clock and the operating system's random bits.
#[derive(Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_ms(&self) -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64)
    }

    fn uptime_ms(&self) -> u64 {
        #[cfg(target_os = "linux")]
        let clock = rustix::time::ClockId::Boottime;
        #[cfg(not(target_os = "linux"))]
        let clock = rustix::time::ClockId::Monotonic;
        let passed = rustix::time::clock_gettime(clock);
        passed.tv_sec as u64 * 1000 + passed.tv_nsec as u64 / 1_000_000
    }

    fn entropy(&self) -> u64 {
        // Drawn in batches: a decision needs three, and a system call for each shows.
        thread_local!(static DRAWN: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) });
        DRAWN.with_borrow_mut(|drawn| {
            drawn.pop().unwrap_or_else(|| {
                let mut bytes = [0; 8 * BATCH];
                getrandom::fill(&mut bytes).expect("the operating system's random bits");
                drawn.extend(bytes.chunks_exact(8).map(|b| u64::from_le_bytes(b.try_into().unwrap_or_default())));
                drawn.pop().unwrap_or_default()
            })
        })
    }
}

/// A clock that stands still until it is moved, with seeded random bits.
#[derive(Debug)]
pub struct SimulatedClock {
    now_ms: AtomicU64,
    uptime_ms: AtomicU64,
    state: AtomicU64,
}

impl SimulatedClock {
    /// A clock that shows `now_ms`, and whose random bits follow from `seed`.
    pub fn new(now_ms: u64, seed: u64) -> Self {
        Self { now_ms: AtomicU64::new(now_ms), uptime_ms: AtomicU64::new(0), state: AtomicU64::new(seed) }
    }

    /// Lets time pass.
    pub fn advance(&self, by: Duration) {
        self.uptime_ms.fetch_add(by.as_millis() as u64, Ordering::SeqCst);
        self.leap(by);
    }

    /// Sets the clock ahead, without any time passing.
    pub fn leap(&self, by: Duration) {
        self.now_ms.fetch_add(by.as_millis() as u64, Ordering::SeqCst);
    }

    /// Sets the clock back, without any time passing.
    pub fn set_back(&self, by: Duration) {
        self.now_ms.fetch_sub(by.as_millis() as u64, Ordering::SeqCst);
    }
}

impl Clock for SimulatedClock {
    fn now_ms(&self) -> u64 {
        self.now_ms.load(Ordering::SeqCst)
    }

    fn uptime_ms(&self) -> u64 {
        self.uptime_ms.load(Ordering::SeqCst)
    }

    fn entropy(&self) -> u64 {
        // SplitMix64 (Steele, Lea, Flood 2014): a counter, so that threads need no lock.
        let mut z = self.state.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed).wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// A UUID of version 7 from a clock: ids sort by time.
pub fn decision_id(clock: &dyn Clock, now_ms: u64) -> String {
    let mut random = [0; 10];
    random[..8].copy_from_slice(&clock.entropy().to_le_bytes());
    random[8..].copy_from_slice(&clock.entropy().to_le_bytes()[..2]);
    uuid::Builder::from_unix_timestamp_millis(now_ms, &random).into_uuid().to_string()
}

/// Whether a text is a decision's id as [`decision_id`] writes it.
pub fn is_decision_id(text: &str) -> bool {
    uuid::Uuid::try_parse(text).is_ok_and(|parsed| parsed.to_string() == *text)
}

/// What is left of a decision's time. Wall time of the machine, apart from [`Clock`]: how
/// long something took is never part of what a decision depends on.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    start: Instant,
    end: Instant,
}

impl Budget {
    /// A budget of `total` that begins now.
    pub fn new(total: Duration) -> Self {
        let start = Instant::now();
        Self { start, end: start + total }
    }

    /// A budget of `total` that began at `start`.
    pub fn since(start: Instant, total: Duration) -> Self {
        Self { start, end: start + total }
    }

    /// The time that is left; zero where none is.
    pub fn left(&self) -> Duration {
        self.end.saturating_duration_since(Instant::now())
    }

    /// The same budget with `reserve` kept back from its end, at most half of it.
    pub fn less(&self, reserve: Duration) -> Self {
        let total = self.end.saturating_duration_since(self.start);
        Self { start: self.start, end: self.end - reserve.min(total / 2) }
    }

    /// Microseconds since the budget began.
    pub fn spent_us(&self) -> u64 {
        self.start.elapsed().as_micros() as u64
    }
}

/// The CPU time that this thread has used. Reading it is a system call.
pub fn thread_cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.try_into().unwrap_or_default(), time.tv_nsec.try_into().unwrap_or_default())
}

/// Measures stages: microseconds since the last call.
#[derive(Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts now.
    #[allow(clippy::new_without_default, reason = "starting a watch is not a default value")]
    pub fn new() -> Self {
        Self(Instant::now())
    }

    /// The time since it began, or since its last lap.
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }

    /// Microseconds since the start or the last lap.
    pub fn lap_us(&mut self) -> u64 {
        let now = Instant::now();
        let lap = now.duration_since(self.0);
        self.0 = now;
        lap.as_micros() as u64
    }
}
