//! A load generator that costs little: raw HTTP/1.1 over connections that are kept, requests
//! that are made beforehand, and one thread.

use std::cell::RefCell;
use std::io::ErrorKind;
use std::ops::RangeInclusive;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::rc::Rc;
use std::task::ready;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use rustls::pki_types::ServerName;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead as _, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::LocalSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::world::Failure;

/// Whole requests, as bytes, sent in turn.
pub struct Requests(Vec<Vec<u8>>);

impl Requests {
    /// `POST` of each body to `path`.
    pub fn post(path: &str, bodies: impl Iterator<Item = String>) -> Self {
        Self::post_with("", path, bodies)
    }

    /// As [`Self::post`], with a line of a header.
    pub fn post_with(header: &str, path: &str, bodies: impl Iterator<Item = String>) -> Self {
        let header = if header.is_empty() { String::new() } else { format!("{header}\r\n") };
        let whole = |body: String| {
            format!(
                "POST {path} HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n{header}content-length: {}\r\n\r\n{body}",
                body.len()
            )
            .into_bytes()
        };
        Self(bodies.map(whole).collect())
    }

    /// One `GET` of `path`.
    pub fn get(path: &str) -> Self {
        Self(vec![format!("GET {path} HTTP/1.1\r\nhost: bench\r\n\r\n").into_bytes()])
    }

    fn at(&self, at: usize) -> &[u8] {
        &self.0[at % self.0.len()]
    }
}

/// What a load came to.
pub struct Load {
    /// Microseconds from the moment that a request was due to its whole answer.
    pub latency: Histogram<u64>,
    /// Answers that were not a 200.
    pub failed: u64,
    /// How long it lasted.
    pub took: Duration,
    /// When the answers that took [`STALL`] or longer were due, and until when they took.
    late: Vec<(Instant, Instant)>,
}

/// From here on, an answer that is due waits for something that stands still.
pub const STALL: Duration = Duration::from_millis(25);

impl Load {
    fn new() -> Result<Self, Failure> {
        Ok(Self {
            latency: Histogram::new_with_bounds(1, 60_000_000, 3)?,
            failed: 0,
            took: Duration::ZERO,
            late: Vec::new(),
        })
    }

    /// From when to when answers were late, one span for all that were late at once.
    pub fn stalls(&self) -> Vec<(Instant, Instant)> {
        let mut late = self.late.clone();
        late.sort_unstable();
        let mut stalls: Vec<(Instant, Instant)> = Vec::new();
        for (from, until) in late {
            match stalls.last_mut() {
                Some(stall) if from <= stall.1 => stall.1 = stall.1.max(until),
                _ => stalls.push((from, until)),
            }
        }
        stalls
    }

    /// Answers a second.
    pub fn per_second(&self) -> f64 {
        self.latency.len() as f64 / self.took.as_secs_f64()
    }

    /// A percentile in milliseconds.
    pub fn ms(&self, percentile: f64) -> f64 {
        self.latency.value_at_percentile(percentile) as f64 / 1e3
    }

    fn note(&mut self, since: Instant, ok: bool) {
        let took = since.elapsed();
        self.latency.saturating_record(took.as_micros() as u64);
        if took >= STALL {
            self.late.push((since, since + took));
        }
        self.failed += u64::from(!ok);
    }

    fn add(&mut self, other: &Self) -> Result<(), Failure> {
        self.latency.add(&other.latency)?;
        self.failed += other.failed;
        self.late.extend_from_slice(&other.late);
        Ok(())
    }
}

/// The transport of a connection.
enum Wire {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Wire {
    async fn open(address: &str, tls: Option<&TlsConnector>) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let Some(tls) = tls else { return Ok(Self::Plain(stream)) };
        let name = ServerName::try_from("localhost").map_err(std::io::Error::other)?;
        Ok(Self::Tls(Box::new(tls.connect(name, stream).await?)))
    }

    async fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        let stream = match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => {
                stream.write_all(bytes).await?;
                return stream.flush().await;
            }
        };
        let mut sent = 0;
        while sent < bytes.len() {
            match stream.try_write(&bytes[sent..]) {
                Ok(n) => sent += n,
                Err(e) if e.kind() == ErrorKind::WouldBlock => stream.writable().await?,
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Not `readable` and `try_read`, which would try in vain before each answer.
    async fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
        std::future::poll_fn(|cx| {
            let mut buffer = ReadBuf::new(to);
            ready!(match self {
                Self::Plain(stream) => Pin::new(stream).poll_read(cx, &mut buffer),
                Self::Tls(stream) => Pin::new(stream).poll_read(cx, &mut buffer),
            })?;
            std::task::Poll::Ready(Ok(buffer.filled().len()))
        })
        .await
    }
}

struct Connection {
    wire: Wire,
    buffer: Vec<u8>,
}

impl Connection {
    async fn open(address: &str, tls: Option<&TlsConnector>) -> std::io::Result<Self> {
        Ok(Self { wire: Wire::open(address, tls).await?, buffer: vec![0; 64 << 10] })
    }

    /// Sends a request and reads its answer; whether that is a 200.
    async fn ask(&mut self, request: &[u8]) -> std::io::Result<bool> {
        self.wire.send(request).await?;
        let mut read = 0;
        loop {
            match self.wire.read(&mut self.buffer[read..]).await? {
                0 => return Err(ErrorKind::UnexpectedEof.into()),
                n => read += n,
            }
            if let Some(whole) = length(&self.buffer[..read])
                && read >= whole
            {
                return Ok(self.buffer.starts_with(b"HTTP/1.1 200"));
            }
        }
    }
}

/// Comes due at a fixed rate. It is a timer of the system among the connections: the runtime's
/// own ticks in milliseconds, and a thread that sleeps would cost each request two switches.
struct Schedule {
    timer: AsyncFd<OwnedFd>,
    started: Instant,
    period: Duration,
    passed: u64,
}

impl Schedule {
    fn start(per_second: f64) -> std::io::Result<Self> {
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK)?;
        let period = Duration::from_secs_f64(1.0 / per_second);
        let every = Timespec { tv_sec: period.as_secs() as i64, tv_nsec: i64::from(period.subsec_nanos()) };
        let started = Instant::now();
        timerfd_settime(&timer, TimerfdTimerFlags::empty(), &Itimerspec { it_interval: every, it_value: every })?;
        #[expect(deprecated, reason = "it asks that the descriptor stays open and the same, as an owned one does")]
        let timer = AsyncFd::new(timer)?;
        Ok(Self { timer, started, period, passed: 0 })
    }

    /// The numbers of what has come due since it was asked before; the first one is 1.
    async fn due(&mut self) -> std::io::Result<RangeInclusive<u64>> {
        loop {
            let mut ready = self.timer.readable().await?;
            let mut count = [0; 8];
            match ready.try_io(|timer| Ok(rustix::io::read(timer, &mut count)?)) {
                Ok(read) => read?,
                // It had not come due yet.
                Err(_) => continue,
            };
            let before = self.passed;
            self.passed += u64::from_ne_bytes(count);
            return Ok(before + 1..=self.passed);
        }
    }

    fn time(&self, at: u64) -> Instant {
        self.started + Duration::from_nanos(self.period.as_nanos() as u64 * at)
    }
}

/// Bytes of the whole answer, once its head is there.
fn length(read: &[u8]) -> Option<usize> {
    let head = read.windows(4).position(|bytes| bytes == b"\r\n\r\n")?;
    let text = std::str::from_utf8(&read[..head]).ok()?;
    let body = text.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
    Some(head + 4 + body.unwrap_or(0))
}

fn on_one_thread<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, work)
}

/// A closed loop: each of `connections` sends its next request when it has its answer.
pub fn closed(address: &str, requests: &Rc<Requests>, connections: usize, lasts: Duration) -> Result<Load, Failure> {
    closed_over(None, address, requests, connections, lasts)
}

/// As [`closed`], over TLS where that is given.
pub fn closed_over(
    tls: Option<&TlsConnector>,
    address: &str,
    requests: &Rc<Requests>,
    connections: usize,
    lasts: Duration,
) -> Result<Load, Failure> {
    on_one_thread(async {
        let mut open = Vec::new();
        for _ in 0..connections {
            open.push(Connection::open(address, tls).await?);
        }
        let started = Instant::now();
        let mut tasks = Vec::new();
        for (first, mut connection) in open.into_iter().enumerate() {
            let requests = Rc::clone(requests);
            tasks.push(tokio::task::spawn_local(async move {
                let mut load = Load::new()?;
                let mut at = first;
                while started.elapsed() < lasts {
                    let since = Instant::now();
                    let ok = connection.ask(requests.at(at)).await?;
                    load.note(since, ok);
                    at += connections;
                }
                Ok::<_, Failure>(load)
            }));
        }
        let mut all = Load::new()?;
        for task in tasks {
            all.add(&task.await??)?;
        }
        all.took = started.elapsed();
        Ok(all)
    })
}

/// An open loop: requests are due at a fixed rate, whatever becomes of those before them, and
/// the time runs from when they were due.
pub fn open(
    address: &str,
    requests: &Rc<Requests>,
    connections: usize,
    per_second: f64,
    lasts: Duration,
) -> Result<Load, Failure> {
    let total = (per_second * lasts.as_secs_f64()) as u64;
    on_one_thread(async {
        let load = Rc::new(RefCell::new(Load::new()?));
        let (back, mut free) = mpsc::unbounded_channel();
        for _ in 0..connections {
            back.send(Connection::open(address, None).await?)?;
        }
        let mut schedule = Schedule::start(per_second)?;
        while schedule.passed < total {
            for at in schedule.due().await?.take_while(|at| *at <= total) {
                let mut connection = free.recv().await.ok_or("every connection is lost")?;
                let (requests, load, back) = (Rc::clone(requests), Rc::clone(&load), back.clone());
                let since = schedule.time(at);
                tokio::task::spawn_local(async move {
                    let answer = connection.ask(requests.at(at as usize)).await;
                    load.borrow_mut().note(since, matches!(answer, Ok(true)));
                    if answer.is_ok() {
                        // Nobody waits for it after the last request.
                        let _ = back.send(connection);
                    }
                });
            }
        }
        // Each comes back with its last answer, or is lost.
        drop(back);
        while free.recv().await.is_some() {}
        load.borrow_mut().took = schedule.started.elapsed();
        Ok(Rc::into_inner(load).ok_or("a request is still under way")?.into_inner())
    })
}
