//! A page that is left open: it is told of changes, ends with its token, and survives its host.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde_json::json;

use super::{BOUND, Browser, admit, watched};
use crate::support::{Deployment, Host, eventually};

/// A stream of events, read on a thread of its own.
pub(super) struct Stream {
    text: Arc<Mutex<String>>,
    ended: Arc<AtomicBool>,
    connection: TcpStream,
}

impl Stream {
    pub(super) fn open(address: &str, path: &str, cookie: Option<&str>) -> Self {
        let mut connection = TcpStream::connect(address).expect("connects");
        let cookie = cookie.map_or_else(String::new, |cookie| format!("cookie: {cookie}\r\n"));
        let head = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\naccept: text/event-stream\r\n{cookie}\r\n");
        connection.write_all(head.as_bytes()).expect("sends");
        let (text, ended) = (Arc::new(Mutex::new(String::new())), Arc::new(AtomicBool::new(false)));
        let (seen, over, mut reading) =
            (Arc::clone(&text), Arc::clone(&ended), connection.try_clone().expect("clones"));
        std::thread::spawn(move || {
            let mut bytes = [0; 1 << 16];
            while let Ok(read @ 1..) = reading.read(&mut bytes) {
                seen.lock().push_str(&String::from_utf8_lossy(&bytes[..read]));
            }
            over.store(true, Ordering::SeqCst);
        });
        Self { text, ended, connection }
    }

    fn status(&self) -> u16 {
        eventually("a status", BOUND, || self.text.lock().split(' ').nth(1)?.parse().ok())
    }

    /// Waits for a text; how long that took.
    pub(super) fn says(&self, what: &str) -> Duration {
        let begun = Instant::now();
        eventually(what, BOUND, || self.text.lock().contains(what).then_some(()));
        begun.elapsed()
    }

    pub(super) fn forget(&self) {
        self.text.lock().clear();
    }

    fn is_over(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // It may be closed already.
        let _ = self.connection.shutdown(std::net::Shutdown::Both);
    }
}

fn pause(host: &Host, reason: &str) {
    let body = json!({ "reason": reason, "by": "ann" });
    assert_eq!(host.admin.post("/v1/experiments/outreach-score/pause", &body).status, 200);
}

const EXPERIMENT: &str = "/console/live?page=experiment&id=outreach-score";

#[test]
fn a_change_is_told_within_two_seconds_and_what_is_known_is_not_sent_again() {
    let deployment = watched();
    let host = Host::start(&deployment).ready();
    let streams = ["/console/live?page=overview", EXPERIMENT, "/console/live?page=experiments"]
        .map(|path| Stream::open(&host.admin.address, path, None));
    for stream in &streams {
        stream.says("event: hello");
        stream.says("outreach-score");
        stream.forget();
    }
    pause(&host, "strange calls");
    // More on a busy machine.
    for stream in &streams {
        let took = stream.says("paused");
        assert!(took < Duration::from_secs(10), "{took:?}");
    }
    // Whoever has all parts gets none.
    let page = Browser::of(&host).page("/plugins");
    let marks: Vec<&str> = page.split("data-mark=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert!(!marks.is_empty());
    let known =
        Stream::open(&host.admin.address, &format!("/console/live?page=plugins&have={}", marks.join(",")), None);
    known.says("event: hello");
    assert!(!known.text.lock().contains("event: part"), "{}", known.text.lock());
    let unknown = Stream::open(&host.admin.address, "/console/live?page=experiment&id=nowhere", None);
    assert_eq!(unknown.status(), 404);
    assert_eq!(Stream::open(&host.admin.address, "/console/live?page=other", None).status(), 422);
}

#[test]
fn a_stream_ends_with_its_token() {
    let deployment = watched();
    admit(&deployment, "keeper", "read", &[]);
    let before = deployment.read("serin.toml");
    let token = admit(&deployment, "ann", "read", &[]);
    let host = Host::start(&deployment).ready();
    let mut browser = Browser::of(&host);
    assert_eq!(browser.sign_in(&token).status, 303);
    let stream = Stream::open(&host.admin.address, EXPERIMENT, browser.cookie.as_deref());
    stream.says("event: hello");
    deployment.write("serin.toml", before);
    stream.says("event: end");
    // Its last chunk; the connection may go on.
    eventually("it ends", BOUND, || stream.text.lock().ends_with("0\r\n\r\n").then_some(()));
    assert_eq!(Stream::open(&host.admin.address, EXPERIMENT, browser.cookie.as_deref()).status(), 401);
}

#[test]
fn streams_are_bounded_and_give_their_places_back() {
    let deployment = watched();
    let host = Host::start(&deployment).ready();
    let open = || Stream::open(&host.admin.address, "/console/live?page=overview", None);
    let all: Vec<Stream> = (0..32).map(|_| open()).collect();
    all.iter().for_each(|stream| assert_eq!(stream.status(), 200));
    let refused = open();
    assert_eq!(refused.status(), 503);
    drop(all);
    eventually("a place is free", BOUND, || (open().status() == 200).then_some(()));
}

#[test]
fn an_open_page_holds_up_no_shutdown_and_finds_the_next_host() {
    let deployment: Deployment = watched();
    let host = Host::start(&deployment).ready();
    let stream = Stream::open(&host.admin.address, EXPERIMENT, None);
    stream.says("event: hello");
    let begun = Instant::now();
    assert_eq!(host.stop(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    eventually("it ends", BOUND, || stream.is_over().then_some(()));
    let host = Host::start(&deployment).ready();
    let again = Stream::open(&host.admin.address, EXPERIMENT, None);
    again.says("event: part");
}
