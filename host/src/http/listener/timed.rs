//! A connection's bytes, with a bound on the time of each stage: a head that does not end, an
//! idle connection, an answer that nobody takes. A request's body has its bounds where it is
//! read.

use std::future::{Future as _, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Duration, Instant, Sleep};

/// Opened, and nothing was sent yet.
const FRESH: u8 = 0;
/// Between two requests.
const WAITING: u8 = 1;
/// A request's head is arriving.
const HEAD: u8 = 2;
/// A request is being served.
const SERVING: u8 = 3;

/// Nothing is written in vain.
const UNBLOCKED: u64 = u64::MAX;

/// What a connection is doing, and since when. Its two sides, the bytes and the service, tell;
/// both run in the connection's task, which looks at it whenever they have.
#[derive(Debug)]
pub(super) struct Progress {
    doing: AtomicU8,
    /// Milliseconds since `opened`.
    since_ms: AtomicU64,
    /// Since when the peer has taken nothing of what is written.
    blocked_ms: AtomicU64,
    opened: Instant,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self {
            doing: AtomicU8::new(FRESH),
            since_ms: AtomicU64::new(0),
            blocked_ms: AtomicU64::new(UNBLOCKED),
            opened: Instant::now(),
        }
    }

    /// A request's head was read.
    pub(super) fn serving(&self) {
        self.doing.store(SERVING, Ordering::Relaxed);
    }

    /// The answer is there, and may still have to be written.
    pub(super) fn answered(&self) {
        self.begin(WAITING);
    }

    /// Whether no request was ever read.
    pub(super) fn is_fresh(&self) -> bool {
        self.doing.load(Ordering::Relaxed) == FRESH
    }

    /// How long it has been between requests; none while there is one.
    pub(super) fn idle(&self) -> Option<Duration> {
        let is_idle = matches!(self.doing.load(Ordering::Relaxed), FRESH | WAITING);
        is_idle.then(|| self.at(&self.since_ms).elapsed())
    }

    /// Waits until a stage has taken longer than it may; says which bound that was. It has to be
    /// polled after the connection, in the same task.
    pub(super) async fn overdue(&self, timeouts: Timeouts) -> &'static str {
        let mut timer = Timer::new(self.opened + timeouts.header);
        poll_fn(|cx| match self.bound(&timeouts) {
            Some((end, reason)) if timer.is_over(cx, end) => Poll::Ready(reason),
            _ => Poll::Pending,
        })
        .await
    }

    /// When the stage under way has to be over, and the name of that bound.
    fn bound(&self, timeouts: &Timeouts) -> Option<(Instant, &'static str)> {
        if self.blocked_ms.load(Ordering::Relaxed) != UNBLOCKED {
            return Some((self.at(&self.blocked_ms) + timeouts.stall, "stalled"));
        }
        match self.doing.load(Ordering::Relaxed) {
            FRESH | HEAD => Some((self.at(&self.since_ms) + timeouts.header, "header-timeout")),
            WAITING => Some((self.at(&self.since_ms) + timeouts.idle, "idle")),
            // A request's body has its bounds where it is read, and so has the answer.
            _ => None,
        }
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

    fn read_some(&self) {
        match self.doing.load(Ordering::Relaxed) {
            // Its time runs since it was opened.
            FRESH => self.doing.store(HEAD, Ordering::Relaxed),
            WAITING => self.begin(HEAD),
            _ => {}
        }
    }

    fn wrote(&self, is_some: bool) {
        let is_blocked = self.blocked_ms.load(Ordering::Relaxed) != UNBLOCKED;
        match (is_some, is_blocked) {
            (false, false) => self.blocked_ms.store(self.now_ms(), Ordering::Relaxed),
            (true, true) => self.blocked_ms.store(UNBLOCKED, Ordering::Relaxed),
            _ => {}
        }
        // An answer's end is known by its last byte.
        if is_some && self.doing.load(Ordering::Relaxed) == WAITING {
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

/// The bytes of a connection, which tell its progress.
pub(super) struct Timed<S> {
    stream: S,
    progress: Arc<Progress>,
}

impl<S> Timed<S> {
    pub(super) fn new(stream: S, progress: Arc<Progress>) -> Self {
        Self { stream, progress }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Timed<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.progress.read_some();
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Timed<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.progress.wrote(written.is_ready());
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.progress.wrote(written.is_ready());
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
