//! One connection, from its handshake to its end: HTTP/1.1 or HTTP/2, over TLS or in the clear.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, Request, Response, header};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulConnection;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tower_service::Service as _;

use super::drain::Drain;
use super::exchange::{Answer, Exchange};
use super::leftover::lend;
use super::peer::{EndsConnection, Peer, TrustedProxies};
use super::progress::{Overdue, Progress, Timeouts};
use super::timed::Timed;
use crate::tls::{PeerCertificate, Tls};

/// Bytes of a request's head.
const MAX_HEAD_BYTES: usize = 32 << 10;
/// Bytes of an HTTP/1.1 connection that are read ahead, and of an HTTP/2 stream that are to be sent.
const MAX_BUFFER_BYTES: usize = 64 << 10;
/// When the host closes, a connection that was in use a moment ago stays for its next request,
/// which may be under way: closing it then would cut that request off.
const LINGER: Duration = Duration::from_millis(250);

/// HTTP/2: requests of a connection at once.
const MAX_STREAMS: u32 = 128;
/// HTTP/2: bytes of a stream that are read ahead, and of all streams of a connection.
const STREAM_WINDOW: u32 = 64 << 10;
const CONNECTION_WINDOW: u32 = 256 << 10;
/// HTTP/2: bytes of a frame that is received.
const MAX_FRAME_BYTES: u32 = 16 << 10;
/// HTTP/2: requests that a client took back before they were looked at; with more the connection is
/// closed.
const MAX_UNSEEN_RESETS: usize = 32;
/// HTTP/2: requests that were reset for a mistake of the client's; with more the connection is closed.
const MAX_FAULTY_RESETS: usize = 128;

/// What begins HTTP/2 in the clear. No method of HTTP/1.1 begins so.
const PREFACE: &[u8] = b"PRI";
/// The pause until a first word that arrives in parts is looked at again.
const PREFACE_PAUSE: Duration = Duration::from_millis(10);

/// What the connections of a listener share.
pub(super) struct Context {
    pub(super) router: Router,
    pub(super) drain: Arc<Drain>,
    pub(super) timeouts: Timeouts,
    pub(super) tls: Option<Arc<Tls>>,
    pub(super) proxies: Arc<TrustedProxies>,
}

/// Serves one connection until it is closed; the bound that it was closed for, if one was.
pub(super) async fn serve(stream: TcpStream, address: IpAddr, context: Arc<Context>) -> Option<&'static str> {
    let progress = Arc::new(Progress::new());
    let served = match context.tls.clone() {
        Some(tls) => encrypted(stream, address, &tls, progress, &context).await,
        None => plain(stream, address, progress, &context).await,
    };
    served.unwrap_or_else(|reason| reason)
}

/// Why a connection ended before it spoke HTTP, or afterwards.
type End = Option<&'static str>;

async fn plain(
    stream: TcpStream,
    address: IpAddr,
    progress: Arc<Progress>,
    context: &Arc<Context>,
) -> Result<End, End> {
    let is_http2 = opened(begins_http2(&stream), None, context).await?;
    if is_http2 {
        progress.multiplex();
    }
    let peer = Peer { address, certificate: None, is_encrypted: false };
    Ok(speak(Timed::plain(stream, &progress), peer, progress, Arc::clone(context)).await)
}

async fn encrypted(
    stream: TcpStream,
    address: IpAddr,
    tls: &Arc<Tls>,
    progress: Arc<Progress>,
    context: &Arc<Context>,
) -> Result<End, End> {
    let (acceptor, generation) = tls.acceptor();
    let handshake = acceptor.accept(Timed::encrypted(stream, &progress));
    let stream = opened(handshake, Some("tls"), context).await?;
    let (_, session) = stream.get_ref();
    let chain = session.peer_certificates().unwrap_or_default();
    let certificate = PeerCertificate::of(tls, generation, chain).map(Arc::new);
    if session.alpn_protocol() == Some(b"h2") {
        progress.multiplex();
    }
    let stream = Timed::decrypted(Box::new(stream), &progress);
    let peer = Peer { address, certificate, is_encrypted: true };
    Ok(speak(stream, peer, progress, Arc::clone(context)).await)
}

/// Waits for what comes before HTTP, within the time of a head. A client that has not come so far when
/// the host closes has sent no request.
async fn opened<T>(opening: impl Future<Output = io::Result<T>>, failure: End, context: &Context) -> Result<T, End> {
    let closed = async {
        context.drain.closing().await;
        tokio::time::sleep(LINGER).await;
    };
    tokio::select! {
        biased;
        opened = opening => opened.map_err(|error| {
            // Anybody can cause it, as often as they like.
            tracing::debug!(%error, "a connection did not begin");
            failure
        }),
        () = tokio::time::sleep(context.timeouts.header) => Err(Some("header-timeout")),
        () = closed => Err(None),
    }
}

/// Whether a client in the clear speaks HTTP/2, which it has to know beforehand.
async fn begins_http2(stream: &TcpStream) -> io::Result<bool> {
    let mut start = [0; PREFACE.len()];
    loop {
        let read = stream.peek(&mut start).await?;
        let is_open = read > 0 && read < PREFACE.len() && PREFACE.starts_with(&start[..read]);
        if !is_open {
            return Ok(&start[..read] == PREFACE);
        }
        // The rest has not arrived, and what has stays unread.
        tokio::time::sleep(PREFACE_PAUSE).await;
    }
}

/// Speaks HTTP until the connection is closed.
async fn speak<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: Timed<S>,
    peer: Peer,
    progress: Arc<Progress>,
    context: Arc<Context>,
) -> End {
    let (tracked, shared) = (Arc::clone(&progress), Arc::clone(&context));
    let service = service_fn(move |request: Request<Incoming>| {
        let exchange = Exchange::begin(&tracked);
        let (progress, context) = (Arc::clone(&tracked), Arc::clone(&shared));
        let (mut request, leftover) = lend(request);
        let address = context.proxies.origin(peer.address, request.headers());
        let is_encrypted = peer.is_encrypted || context.proxies.is_encrypted(peer.address, request.headers());
        request.extensions_mut().insert(Peer { address, is_encrypted, ..peer.clone() });
        let answer = context.router.clone().call(request);
        async move {
            let mut answer: Response<Body> = answer.await?;
            leftover.discard().await;
            let is_over = answer.extensions().get::<EndsConnection>().is_some();
            if is_over || context.drain.is_leaving() {
                match progress.is_multiplexed() {
                    true => progress.leave(),
                    false => {
                        answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
                    }
                }
            }
            Ok::<Response<Answer>, Infallible>(answer.map(|body| exchange.answer(body)))
        }
    });
    let stream = TokioIo::new(stream);
    if progress.is_multiplexed() {
        let connection = http2(&context.timeouts).serve_connection(stream, service);
        Box::pin(until_closed(connection, &progress, &context)).await
    } else {
        let connection = http1().serve_connection(stream, service);
        until_closed(connection, &progress, &context).await
    }
}

fn http1() -> http1::Builder {
    let mut builder = http1::Builder::new();
    // Stages have their bounds in `Progress`; hyper's own would take idle time for a slow head.
    builder.header_read_timeout(None).max_header_size(MAX_HEAD_BYTES).max_buf_size(MAX_BUFFER_BYTES);
    builder
}

fn http2(timeouts: &Timeouts) -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEAD_BYTES as u32)
        .max_frame_size(MAX_FRAME_BYTES)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(MAX_BUFFER_BYTES)
        .max_pending_accept_reset_streams(MAX_UNSEEN_RESETS)
        .max_local_error_reset_streams(MAX_FAULTY_RESETS)
        // A client that is gone, or in the middle of a head that does not end, answers no ping.
        .keep_alive_interval(timeouts.header)
        .keep_alive_timeout(timeouts.stall);
    builder
}

/// Waits until a connection is closed, by its client or for one of its bounds.
async fn until_closed<C: GracefulConnection>(connection: C, progress: &Progress, context: &Context) -> End {
    let mut connection = pin!(connection);
    let reached = tokio::select! {
        biased;
        // A client that hangs up, or sends what is no HTTP, ends its own connection.
        _ = connection.as_mut() => return None,
        overdue = progress.overdue(context.timeouts) => Some(overdue),
        () = context.drain.closing() => None,
    };
    if !progress.is_multiplexed() {
        return match reached {
            Some(overdue) => overdue.reason(),
            None => linger(connection, progress, context).await,
        };
    }
    if let Some(overdue) = reached.filter(|overdue| !overdue.is_gentle()) {
        return overdue.reason();
    }
    // Tells the client which requests are the last ones. Those are finished.
    progress.part();
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        biased;
        _ = connection.as_mut() => reached.and_then(Overdue::reason),
        overdue = progress.overdue(context.timeouts) => overdue.reason().or(reached.and_then(Overdue::reason)),
    }
}

/// Ends an HTTP/1.1 connection of a host that closes. Every answer closes its connection by now; what
/// is left are those without a request.
async fn linger<C: GracefulConnection>(mut connection: Pin<&mut C>, progress: &Progress, context: &Context) -> End {
    let mut overdue = pin!(progress.overdue(context.timeouts));
    let mut is_shut = false;
    loop {
        let wait = match progress.idle() {
            _ if is_shut => LINGER,
            Some(idle) if idle >= LINGER && progress.is_fresh() => return None,
            Some(idle) if idle >= LINGER => {
                connection.as_mut().graceful_shutdown();
                is_shut = true;
                continue;
            }
            Some(idle) => LINGER - idle,
            None => LINGER,
        };
        tokio::select! {
            biased;
            _ = connection.as_mut() => return None,
            overdue = overdue.as_mut() => return overdue.reason(),
            () = tokio::time::sleep(wait) => {}
        }
    }
}
