//! What a connection is doing and since when, and which of its bounds it has reached. HTTP/1.1 goes
//! from stage to stage; under HTTP/2 many requests share a connection, and each answer has a stage of
//! its own.

use std::collections::BTreeMap;
use std::future::{Future as _, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Duration, Instant, Sleep};

/// Opened, and nothing was sent yet.
const FRESH: u8 = 0;
/// Between two requests.
const WAITING: u8 = 1;
/// A request's head is arriving.
const HEAD: u8 = 2;
/// A request is being served.
const SERVING: u8 = 3;

/// Nobody has said that the connection should end.
const STAYING: u8 = 0;
/// The host leaves: the client should go elsewhere.
const ASKED: u8 = 1;
/// The client was told to.
const PARTING: u8 = 2;

/// Nothing is written in vain.
const UNBLOCKED: u64 = u64::MAX;
/// How many more requests of a connection may be cancelled than are answered.
const MAX_CANCELLED: usize = 256;

/// A bound that a connection has reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Overdue {
    Header,
    Idle,
    Stalled,
    /// More requests were cancelled than a client in good faith has reason to.
    Resets,
    /// The host leaves.
    Leaving,
    /// The client was told to end an idle connection, and did not.
    Gone,
}

impl Overdue {
    /// Its name in metrics; none where no bound was broken.
    pub(super) fn reason(self) -> Option<&'static str> {
        match self {
            Self::Header => Some("header-timeout"),
            Self::Idle => Some("idle"),
            Self::Stalled => Some("stalled"),
            Self::Resets => Some("resets"),
            Self::Leaving | Self::Gone => None,
        }
    }

    /// Whether the client is told first, and what was accepted is finished.
    pub(super) fn is_gentle(self) -> bool {
        matches!(self, Self::Idle | Self::Leaving)
    }
}

/// What a connection is doing, and since when. Its two sides, the bytes and the service, tell. Under
/// HTTP/1.1 both run in the connection's task, which looks at it whenever they have; requests of
/// HTTP/2 have tasks of their own, and wake it.
#[derive(Debug)]
pub(super) struct Progress {
    doing: AtomicU8,
    /// Milliseconds since `opened`.
    since_ms: AtomicU64,
    /// Since when the peer has taken nothing of what is written.
    blocked_ms: AtomicU64,
    opened: Instant,
    is_multiplexed: AtomicBool,
    /// HTTP/2: requests under way.
    streams: AtomicUsize,
    /// HTTP/2: answers that the client has to take, each with the time at which it last took some.
    answers: Mutex<BTreeMap<u64, u64>>,
    next_answer: AtomicU64,
    /// HTTP/2: requests that the client took back, less those that were answered.
    cancelled: AtomicUsize,
    parting: AtomicU8,
    /// Another task has changed something.
    changed: Notify,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self {
            doing: AtomicU8::new(FRESH),
            since_ms: AtomicU64::new(0),
            blocked_ms: AtomicU64::new(UNBLOCKED),
            opened: Instant::now(),
            is_multiplexed: AtomicBool::new(false),
            streams: AtomicUsize::new(0),
            answers: Mutex::default(),
            next_answer: AtomicU64::new(0),
            cancelled: AtomicUsize::new(0),
            parting: AtomicU8::new(STAYING),
            changed: Notify::new(),
        }
    }

    /// The connection speaks HTTP/2.
    pub(super) fn multiplex(&self) {
        self.is_multiplexed.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_multiplexed(&self) -> bool {
        self.is_multiplexed.load(Ordering::Relaxed)
    }

    /// A request's head was read.
    pub(super) fn serving(&self) {
        if self.is_multiplexed() {
            self.streams.fetch_add(1, Ordering::Relaxed);
            self.doing.store(WAITING, Ordering::Relaxed);
        } else {
            self.doing.store(SERVING, Ordering::Relaxed);
        }
    }

    /// HTTP/1.1: the answer is there, and may still have to be written.
    pub(super) fn answered(&self) {
        self.begin(WAITING);
    }

    /// HTTP/2: the answer is there, and the client has to take it. Returns its number.
    pub(super) fn answering(&self) -> u64 {
        let answer = self.next_answer.fetch_add(1, Ordering::Relaxed);
        self.took(answer);
        answer
    }

    /// HTTP/2: the client took some of an answer, or its first part is ready.
    pub(super) fn took(&self, answer: u64) {
        self.answers.lock().insert(answer, self.now_ms());
    }

    /// HTTP/2: the host itself has to make more of an answer first.
    pub(super) fn making(&self, answer: u64) {
        self.answers.lock().remove(&answer);
    }

    /// HTTP/2: a request is over, whether its answer was given whole or the client took it back.
    pub(super) fn ended(&self, answer: Option<u64>, is_answered: bool) {
        if let Some(answer) = answer {
            self.making(answer);
        }
        let next = |n: usize| if is_answered { n.checked_sub(1) } else { n.checked_add(1) };
        // Fails where none was cancelled.
        let _ = self.cancelled.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        self.since_ms.store(self.now_ms(), Ordering::Relaxed);
        let is_last = self.streams.fetch_sub(1, Ordering::Relaxed) == 1;
        if is_last || !is_answered {
            self.changed.notify_one();
        }
    }

    /// HTTP/2: the host leaves, and the client should go elsewhere.
    pub(super) fn leave(&self) {
        if self.parting.compare_exchange(STAYING, ASKED, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            self.changed.notify_one();
        }
    }

    /// HTTP/2: the client is told to end the connection.
    pub(super) fn part(&self) {
        self.since_ms.store(self.now_ms(), Ordering::Relaxed);
        self.parting.store(PARTING, Ordering::Relaxed);
    }

    /// Whether no request was ever read.
    pub(super) fn is_fresh(&self) -> bool {
        self.doing.load(Ordering::Relaxed) == FRESH
    }

    /// HTTP/1.1: how long it has been between requests; none while there is one.
    pub(super) fn idle(&self) -> Option<Duration> {
        let is_idle = matches!(self.doing.load(Ordering::Relaxed), FRESH | WAITING);
        is_idle.then(|| self.at(&self.since_ms).elapsed())
    }

    /// Waits until a stage has taken longer than it may; says which bound that was. It has to be
    /// polled after the connection, in the same task.
    pub(super) async fn overdue(&self, timeouts: Timeouts) -> Overdue {
        let mut timer = Timer::new(self.opened + timeouts.header);
        loop {
            let changed = self.changed.notified();
            let reached = poll_fn(|cx| match self.bound(&timeouts) {
                Some((end, overdue)) if timer.is_over(cx, end) => Poll::Ready(overdue),
                _ => Poll::Pending,
            });
            if !self.is_multiplexed() {
                return reached.await;
            }
            tokio::select! {
                biased;
                overdue = reached => return overdue,
                () = changed => {}
            }
        }
    }

    /// When the stage under way has to be over, and the name of that bound.
    fn bound(&self, timeouts: &Timeouts) -> Option<(Instant, Overdue)> {
        if self.blocked_ms.load(Ordering::Relaxed) != UNBLOCKED {
            return Some((self.at(&self.blocked_ms) + timeouts.stall, Overdue::Stalled));
        }
        if self.is_multiplexed() {
            return self.bound_of_streams(timeouts);
        }
        match self.doing.load(Ordering::Relaxed) {
            FRESH | HEAD => Some((self.at(&self.since_ms) + timeouts.header, Overdue::Header)),
            WAITING => Some((self.at(&self.since_ms) + timeouts.idle, Overdue::Idle)),
            // A request's body has its bounds where it is read, and so has the answer.
            _ => None,
        }
    }

    fn bound_of_streams(&self, timeouts: &Timeouts) -> Option<(Instant, Overdue)> {
        if self.cancelled.load(Ordering::Relaxed) > MAX_CANCELLED {
            return Some((self.opened, Overdue::Resets));
        }
        let parting = self.parting.load(Ordering::Relaxed);
        if parting == ASKED {
            return Some((self.opened, Overdue::Leaving));
        }
        // As of HTTP/1.1's, with the window of its stream in the place of the socket's buffer.
        if let Some(since_ms) = self.answers.lock().values().min() {
            return Some((self.opened + Duration::from_millis(*since_ms) + timeouts.stall, Overdue::Stalled));
        }
        if self.streams.load(Ordering::Relaxed) > 0 {
            return None;
        }
        let since = self.at(&self.since_ms);
        Some(match self.doing.load(Ordering::Relaxed) {
            _ if parting == PARTING => (since + timeouts.stall, Overdue::Gone),
            FRESH | HEAD => (self.opened + timeouts.header, Overdue::Header),
            // Its pings do not prolong it.
            _ => (since + timeouts.idle, Overdue::Idle),
        })
    }

    fn at(&self, ms: &AtomicU64) -> Instant {
        self.opened + Duration::from_millis(ms.load(Ordering::Relaxed))
    }

    fn now_ms(&self) -> u64 {
        self.opened.elapsed().as_millis() as u64
    }

    fn begin(&self, doing: u8) {
        self.since_ms.store(self.now_ms(), Ordering::Relaxed);
        self.doing.store(doing, Ordering::Relaxed);
    }

    /// Some bytes of the client have arrived.
    pub(super) fn read_some(&self) {
        match self.doing.load(Ordering::Relaxed) {
            // Its time runs since it was opened.
            FRESH => self.doing.store(HEAD, Ordering::Relaxed),
            WAITING if !self.is_multiplexed() => self.begin(HEAD),
            _ => {}
        }
    }

    /// Bytes were written, or could not be.
    pub(super) fn wrote(&self, is_some: bool) {
        let is_blocked = self.blocked_ms.load(Ordering::Relaxed) != UNBLOCKED;
        match (is_some, is_blocked) {
            (false, false) => self.blocked_ms.store(self.now_ms(), Ordering::Relaxed),
            (true, true) => self.blocked_ms.store(UNBLOCKED, Ordering::Relaxed),
            _ => {}
        }
        // An answer's end is known by its last byte.
        if is_some && self.doing.load(Ordering::Relaxed) == WAITING && !self.is_multiplexed() {
            self.begin(WAITING);
        }
    }
}

/// The bounds of a connection's stages.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timeouts {
    pub(super) header: Duration,
    pub(super) idle: Duration,
    pub(super) stall: Duration,
}

/// A timer that is set anew only where it has to be: that is cheaper than at every byte.
struct Timer {
    sleep: Pin<Box<Sleep>>,
    armed: Instant,
}

impl Timer {
    fn new(end: Instant) -> Self {
        Self { sleep: Box::pin(tokio::time::sleep_until(end)), armed: end }
    }

    fn arm(&mut self, end: Instant) {
        self.sleep.as_mut().reset(end);
        self.armed = end;
    }

    /// Whether `end` has passed; wakes the task when it does.
    fn is_over(&mut self, cx: &mut Context<'_>, end: Instant) -> bool {
        if end < self.armed {
            self.arm(end);
        }
        while self.sleep.as_mut().poll(cx).is_ready() {
            if end <= Instant::now() {
                return true;
            }
            self.arm(end);
        }
        false
    }
}
