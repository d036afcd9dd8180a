//! Changes of a page as they happen, as server-sent events. A stream ends with its credential, with the
//! host, and with whoever listens; the page comes back by itself.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, Request, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use hyper::body::Frame;
use serde_json::json;
use tokio::sync::mpsc;

use super::assets;
use super::door::asks_now;
use super::shelf::{Place, Shown};
use super::subject::{Asked, Subject, rights};
use crate::access::Role;
use crate::http::access::Caller;
use crate::http::wire::unfit_query;
use crate::http::{Problem, Service, traffic};

/// How often it is looked whether a page has changed, and whether its reader may still read it.
const LOOK: Duration = Duration::from_secs(1);
/// Something is sent at least this often, so that nothing between takes the connection for dead.
const BEAT: Duration = Duration::from_secs(15);
/// Events that wait for a slow reader. Further ones are not made before it has taken these.
const WAITING: usize = 2;

/// A stream of events.
struct Events {
    events: mpsc::Receiver<Bytes>,
}

impl HttpBody for Events {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.events.poll_recv(cx).map(|event| event.map(|event| Ok(Frame::data(event))))
    }
}

/// `GET /console/live`.
pub async fn stream(
    State(service): State<Arc<Service>>,
    caller: Caller,
    asked: Result<Query<Asked>, QueryRejection>,
    request: Request,
) -> Result<Response, Problem> {
    let Query(asked) = asked.map_err(|e| unfit_query(&e))?;
    let subject = asked.subject()?;
    let who = caller.name().map_or_else(|| caller.address.to_string(), |name| name.to_string());
    let place = service.live.enter(&who)?;
    // Refused before the stream begins where there is no such page.
    let first = subject.shown(&service, &caller).await?;
    let (sender, events) = mpsc::channel(WAITING);
    let beat = BEAT.min(service.settings.idle_timeout / 3);
    let (parts, _) = request.into_parts();
    let follow = Follow {
        service: Arc::downgrade(&service),
        subject,
        rights: rights(&caller),
        caller,
        request: Request::from_parts(parts, Body::empty()),
        sender,
        sent: asked.have.split(',').map(|mark| (mark.to_owned(), String::new())).collect(),
        beat,
        _place: place,
    };
    tokio::spawn(follow.run(first));
    let mut answer = Body::new(Events { events }).into_response();
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    Ok(answer)
}

/// Follows a page for one reader.
struct Follow {
    /// Held only while it looks: a host that stops waits for no reader.
    service: Weak<Service>,
    subject: Subject,
    rights: String,
    caller: Caller,
    /// Its head, by which the reader was let in.
    request: Request,
    sender: mpsc::Sender<Bytes>,
    /// The marks of what the reader has, by part; at first, by mark.
    sent: HashMap<String, String>,
    beat: Duration,
    _place: Place,
}

impl Follow {
    async fn run(mut self, first: Arc<Shown>) {
        let mut next = Some(hello() + &self.changed(&first));
        let (mut last, mut is_troubled) = (Instant::now(), false);
        loop {
            if let Some(text) = next.take() {
                last = Instant::now();
                if self.sender.send(Bytes::from(text)).await.is_err() {
                    return;
                }
            }
            tokio::select! {
                () = self.sender.closed() => return,
                () = tokio::time::sleep(LOOK) => {}
            }
            let Some(service) = self.service.upgrade() else { return };
            if service.drain.is_leaving() {
                // The page comes back when the host, or the next one, is there.
                return;
            }
            if !self.is_admitted(&service) {
                // Whether or not it still arrives, the stream ends.
                let _ = self.sender.try_send(Bytes::from(event("end", &json!({ "why": "signed-out" }))));
                return;
            }
            let text = match self.subject.shown(&service, &self.caller).await {
                Ok(shown) => {
                    // The page says that it is live again, though nothing on it has changed.
                    let well = if std::mem::take(&mut is_troubled) { hello() } else { String::new() };
                    well + &self.changed(&shown)
                }
                // It is gone, or cannot be read now: what is shown stays, and the page says why.
                Err(problem) => {
                    is_troubled = true;
                    event("trouble", &json!({ "detail": problem.detail }))
                }
            };
            let is_silent = text.is_empty() && last.elapsed() >= self.beat;
            next = if is_silent { Some(": beat\n\n".to_owned()) } else { Some(text).filter(|text| !text.is_empty()) };
        }
    }

    fn is_admitted(&self, service: &Service) -> bool {
        let Some(identity) = asks_now(service, &self.request) else { return false };
        let caller = Caller { identity, address: self.caller.address };
        caller.has(Role::Read).is_ok() && rights(&caller) == self.rights
    }

    /// The parts that the reader does not have, as events.
    fn changed(&mut self, shown: &Shown) -> String {
        let mut text = String::new();
        for part in &shown.parts {
            let is_known = self.sent.contains_key(&part.mark) || self.sent.get(part.name) == Some(&part.mark);
            if !is_known {
                text += &event("part", &json!({ "name": part.name, "mark": part.mark, "html": part.html }));
            }
        }
        self.sent = shown.parts.iter().map(|part| (part.name.to_owned(), part.mark.clone())).collect();
        text
    }
}

/// The page is kept up to date, by a host of this version.
fn hello() -> String {
    event("hello", &json!({ "version": assets::version() }))
}

/// An event. Its data is JSON, which has no line breaks.
fn event(name: &str, data: &serde_json::Value) -> String {
    format!("event: {name}\ndata: {data}\n\n")
}

/// Keeps the counters of a service for as long as there is one.
pub async fn keep_counters(service: Weak<Service>) {
    loop {
        tokio::time::sleep(traffic::EVERY).await;
        let Some(service) = service.upgrade() else { return };
        let shared = Arc::clone(&service);
        // Refused only when the host is gone.
        let _ = service.lanes.read(move |_| shared.traffic.keep(&shared.metrics)).await;
    }
}
