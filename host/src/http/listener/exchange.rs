//! One request and its answer, as the progress of their connection sees them.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};

use super::progress::Progress;

/// Bytes of an answer that HTTP/2 gets at once. What it has and the client does not take stays in
/// memory, for each stream.
const PIECE: usize = 16 << 10;

/// A request under way, from its head to the end of its answer.
pub(super) struct Exchange {
    progress: Arc<Progress>,
    is_multiplexed: bool,
    answer: Option<u64>,
    /// Whether all of the answer was given. A request that the client takes back ends in an error of
    /// its body, which the handler answers as every other one: that an answer is there says nothing.
    is_answered: bool,
}

impl Exchange {
    /// A request's head was read.
    pub(super) fn begin(progress: &Arc<Progress>) -> Self {
        progress.serving();
        Self {
            progress: Arc::clone(progress),
            is_multiplexed: progress.is_multiplexed(),
            answer: None,
            is_answered: false,
        }
    }

    /// Its answer is there.
    pub(super) fn answer(mut self, body: Body) -> Answer {
        if !self.is_multiplexed {
            self.progress.answered();
            return Answer { body, rest: Bytes::new(), exchange: None };
        }
        self.answer = Some(self.progress.answering());
        self.is_answered = body.is_end_stream();
        Answer { body, rest: Bytes::new(), exchange: Some(self) }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if self.is_multiplexed {
            self.progress.ended(self.answer, self.is_answered);
        }
    }
}

/// An answer's body. Under HTTP/2 it is given in pieces, and each piece is asked for when the one
/// before it could be sent: that tells whether the client takes it.
pub(super) struct Answer {
    body: Body,
    rest: Bytes,
    exchange: Option<Exchange>,
}

impl Answer {
    fn tell(&self, tell: impl FnOnce(&Progress, u64)) {
        if let Some(Exchange { progress, answer: Some(answer), .. }) = &self.exchange {
            tell(progress, *answer);
        }
    }

    fn complete(&mut self) {
        if let Some(exchange) = &mut self.exchange {
            exchange.is_answered = true;
        }
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.exchange.is_none() {
            return Pin::new(&mut self.body).poll_frame(cx);
        }
        if self.rest.is_empty() {
            self.tell(Progress::making);
            let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
            self.tell(Progress::took);
            match frame.map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(data))) => self.rest = data,
                Some(Ok(Err(trailers))) => {
                    self.complete();
                    return Poll::Ready(Some(Ok(trailers)));
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => {
                    self.complete();
                    return Poll::Ready(None);
                }
            }
        } else {
            self.tell(Progress::took);
        }
        let piece = self.rest.len().min(PIECE);
        let piece = self.rest.split_to(piece);
        if self.is_end_stream() {
            self.complete();
        }
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (rest, of_body) = (self.rest.len() as u64, self.body.size_hint());
        let mut hint = SizeHint::new();
        if let Some(upper) = of_body.upper() {
            hint.set_upper(upper + rest);
        }
        hint.set_lower(of_body.lower() + rest);
        hint
    }
}
