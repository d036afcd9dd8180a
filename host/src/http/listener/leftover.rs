//! What is left of a request whose body nobody read. Whoever refuses a request for its head, or for want of room,
//! answers and thinks no more of it. But a connection that closes on a client that is still sending is reset, and the
//! client does not get to read why: so the rest is read and thrown away, within bounds.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use hyper::Request;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::header;
use parking_lot::Mutex;

/// Bytes that are thrown away.
const DISCARDED: usize = 64 << 10;
/// How long that may take.
const DISCARD_TIME: Duration = Duration::from_secs(1);

/// A body that comes back if it is dropped before anything of it was read.
struct Lent {
    body: Option<Incoming>,
    is_read: bool,
    back: Arc<Mutex<Option<Incoming>>>,
}

/// Where a request's body is once its answer is there, if nobody read it.
pub(super) struct Leftover(Option<Arc<Mutex<Option<Incoming>>>>);

/// A request to hand on, and what will be left of its body.
pub(super) fn lend(request: Request<Incoming>) -> (Request<Body>, Leftover) {
    let (head, body) = request.into_parts();
    // A client that asks before it sends has sent nothing, and reading would tell it to begin.
    if body.is_end_stream() || head.headers.contains_key(header::EXPECT) {
        return (Request::from_parts(head, Body::new(body)), Leftover(None));
    }
    let back = Arc::default();
    let lent = Lent { body: Some(body), is_read: false, back: Arc::clone(&back) };
    (Request::from_parts(head, Body::new(lent)), Leftover(Some(back)))
}

impl Leftover {
    /// Reads what was left and throws it away, within bounds.
    pub(super) async fn discard(self) {
        let Some(mut body) = self.0.and_then(|back| back.lock().take()) else { return };
        let read = async {
            let mut read = 0;
            while read <= DISCARDED
                && let Some(Ok(frame)) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await
            {
                read += frame.data_ref().map_or(0, Bytes::len);
            }
        };
        // What is still to come after that is not waited for.
        let _ = tokio::time::timeout(DISCARD_TIME, read).await;
    }
}

impl HttpBody for Lent {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        self.is_read = true;
        match &mut self.body {
            Some(body) => Pin::new(body).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(SizeHint::default, Incoming::size_hint)
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if !self.is_read {
            *self.back.lock() = self.body.take();
        }
    }
}
