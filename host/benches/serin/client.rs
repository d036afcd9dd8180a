//! A load generator that costs little: raw HTTP/1.1 over connections that are kept, requests
//! that are made beforehand, and one thread.

use std::cell::RefCell;
use std::io::ErrorKind;
use std::rc::Rc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::LocalSet;

use crate::world::Failure;

/// Whole requests, as bytes, sent in turn.
pub struct Requests(Vec<Vec<u8>>);

impl Requests {
    /// `POST` of each body to `path`.
    pub fn post(path: &str, bodies: impl Iterator<Item = String>) -> Self {
        let whole = |body: String| {
            format!(
                "POST {path} HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            )
            .into_bytes()
        };
        Self(bodies.map(whole).collect())
    }

    fn get(&self, at: usize) -> &[u8] {
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
}

impl Load {
    fn new() -> Result<Self, Failure> {
        Ok(Self { latency: Histogram::new_with_bounds(1, 60_000_000, 3)?, failed: 0, took: Duration::ZERO })
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
        self.latency.saturating_record(since.elapsed().as_micros() as u64);
        self.failed += u64::from(!ok);
    }

    fn add(&mut self, other: &Self) -> Result<(), Failure> {
        self.latency.add(&other.latency)?;
        self.failed += other.failed;
        Ok(())
    }
}

struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    async fn open(address: &str) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: vec![0; 64 << 10] })
    }

    /// Sends a request and reads its answer; whether that is a 200.
    async fn ask(&mut self, request: &[u8]) -> std::io::Result<bool> {
        let mut sent = 0;
        while sent < request.len() {
            match self.stream.try_write(&request[sent..]) {
                Ok(n) => sent += n,
                Err(e) if e.kind() == ErrorKind::WouldBlock => self.stream.writable().await?,
                Err(e) => return Err(e),
            }
        }
        let mut read = 0;
        loop {
            self.stream.readable().await?;
            match self.stream.try_read(&mut self.buffer[read..]) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(n) => read += n,
                Err(e) if e.kind() == ErrorKind::WouldBlock => continue,
                Err(e) => return Err(e),
            }
            if let Some(whole) = length(&self.buffer[..read])
                && read >= whole
            {
                return Ok(self.buffer.starts_with(b"HTTP/1.1 200"));
            }
        }
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
    on_one_thread(async {
        let started = Instant::now();
        let mut tasks = Vec::new();
        for first in 0..connections {
            let (mut connection, requests) = (Connection::open(address).await?, Rc::clone(requests));
            tasks.push(tokio::task::spawn_local(async move {
                let mut load = Load::new()?;
                let mut at = first;
                while started.elapsed() < lasts {
                    let since = Instant::now();
                    let ok = connection.ask(requests.get(at)).await?;
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
    let (due, mut dues) = mpsc::unbounded_channel::<Instant>();
    // The runtime's timer ticks in milliseconds: too coarse to be the schedule.
    let schedule = std::thread::spawn(move || {
        let started = Instant::now();
        for at in 0..(per_second * lasts.as_secs_f64()) as u64 {
            let time = started + Duration::from_secs_f64(at as f64 / per_second);
            std::thread::sleep(time.saturating_duration_since(Instant::now()));
            if due.send(time).is_err() {
                return;
            }
        }
    });
    let load = on_one_thread(async {
        let started = Instant::now();
        let load = Rc::new(RefCell::new(Load::new()?));
        let (back, mut free) = mpsc::unbounded_channel();
        for _ in 0..connections {
            back.send(Connection::open(address).await?)?;
        }
        let mut at = 0;
        while let Some(since) = dues.recv().await {
            let mut connection = free.recv().await.ok_or("every connection is lost")?;
            let (requests, load, back) = (Rc::clone(requests), Rc::clone(&load), back.clone());
            at += 1;
            tokio::task::spawn_local(async move {
                let answer = connection.ask(requests.get(at)).await;
                load.borrow_mut().note(since, matches!(answer, Ok(true)));
                if answer.is_ok() {
                    // Nobody waits for it after the last request.
                    let _ = back.send(connection);
                }
            });
        }
        // Each comes back with its last answer, or is lost.
        drop(back);
        while free.recv().await.is_some() {}
        load.borrow_mut().took = started.elapsed();
        Ok(Rc::into_inner(load).ok_or("a request is still under way")?.into_inner())
    })?;
    schedule.join().map_err(|_| "the schedule's thread")?;
    Ok(load)
}
