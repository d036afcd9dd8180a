//! The accept loop. It bounds connections, by listener and by peer, and the time of each of
//! their stages, and it ends without cutting off a request.

mod drain;
mod peers;
mod settings;
mod timed;

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, Request, Response, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tower_service::Service as _;

pub use drain::Drain;
pub use settings::ServerSettings;

use crate::telemetry::{ListenerLabels, Metrics};
use peers::{PeerPlace, Peers};
use timed::{Progress, Timed, Timeouts};

/// Bytes of a request's head.
const MAX_HEAD_BYTES: usize = 32 << 10;
/// Bytes of a connection that are read ahead.
const MAX_BUFFER_BYTES: usize = 64 << 10;
/// The pause where no connection can be had, because descriptors are short for example.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);
/// When the host closes, a connection that was in use a moment ago stays for its next request,
/// which may be under way: closing it then would cut that request off.
const LINGER: Duration = Duration::from_millis(250);

/// A listener that is bound, and not serving yet.
pub struct Listener {
    listener: TcpListener,
    gate: Gate,
}

/// Lets connections in, as many as a listener may hold open.
struct Gate {
    name: &'static str,
    settings: ServerSettings,
    places: Arc<Semaphore>,
    peers: Arc<Peers>,
    metrics: Arc<Metrics>,
}

/// Who is at the other end of a request's connection: an extension of each request.
#[derive(Debug, Clone)]
pub struct Peer {
    /// The address that it comes from.
    pub address: IpAddr,
    /// The certificate that it has shown; none without mutual TLS.
    pub certificate: Option<Arc<ClientCertificate>>,
}

/// A client's certificate, verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// Its names: `subjectAltName` of the kind DNS.
    pub dns_names: Vec<String>,
}

/// A connection's places; given back when it is closed.
struct Place {
    name: &'static str,
    peer: Peer,
    metrics: Arc<Metrics>,
    _permit: OwnedSemaphorePermit,
    _peer: PeerPlace,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.metrics.connections.get_or_create(&ListenerLabels { listener: self.name }).dec();
    }
}

impl Listener {
    /// Binds an address. `name` is the listener's in metrics.
    ///
    /// # Errors
    /// What the operating system says.
    pub async fn bind(
        address: SocketAddr,
        name: &'static str,
        settings: ServerSettings,
        metrics: Arc<Metrics>,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let places = Arc::new(Semaphore::new(settings.max_connections));
        let peers = Peers::new(settings.max_connections_per_peer);
        Ok(Self { listener, gate: Gate { name, settings, places, peers, metrics } })
    }

    /// The address that it is bound to.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `drain` closes and the requests that were accepted are answered.
    pub async fn serve(self, router: Router, drain: Arc<Drain>) {
        let Self { listener, gate } = self;
        let router: Router = router.with_state(());
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                biased;
                () = drain.closing() => break,
                accepted = gate.accept(&listener) => accepted,
            };
            if let Some((stream, place)) = accepted {
                connections.spawn(gate.connection(stream, place, &router, &drain));
            }
            while let Some(ended) = connections.try_join_next() {
                note(ended);
            }
        }
        for (stream, place) in gate.backlog(listener) {
            connections.spawn(gate.connection(stream, place, &router, &drain));
        }
        let drained = async {
            while let Some(ended) = connections.join_next().await {
                note(ended);
            }
        };
        let bound = gate.settings.drain_timeout;
        if tokio::time::timeout(bound, drained).await.is_err() {
            tracing::warn!(
                listener = gate.name,
                connections = connections.len(),
                "cut off: requests were still under way after server.drain_timeout"
            );
            connections.shutdown().await;
        }
    }
}

impl Gate {
    /// The next connection; none where it was not let in.
    async fn accept(&self, listener: &TcpListener) -> Option<(TcpStream, Place)> {
        // Without a place, peers wait in the operating system's backlog: neither descriptors
        // nor buffers grow without end. The semaphore is never closed.
        let permit = Arc::clone(&self.places).acquire_owned().await.ok()?;
        match listener.accept().await {
            Ok((stream, peer)) => self.admit(stream, peer, permit),
            Err(error) if is_of_one_connection(&error) => None,
            Err(error) => {
                tracing::warn!(%error, listener = self.name, "no connection can be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                None
            }
        }
    }

    fn admit(&self, stream: TcpStream, peer: SocketAddr, permit: OwnedSemaphorePermit) -> Option<(TcpStream, Place)> {
        let Some(of_peer) = self.peers.enter(peer.ip()) else {
            tracing::debug!(%peer, listener = self.name, "closed: this peer has max_connections_per_peer open");
            Metrics::count(&self.metrics.connections_closed, "peer-limit");
            return None;
        };
        // Small answers must not wait for the peer's acknowledgement. Without, it is only slower.
        let _ = stream.set_nodelay(true);
        self.metrics.connections.get_or_create(&ListenerLabels { listener: self.name }).inc();
        let metrics = Arc::clone(&self.metrics);
        let peer = Peer { address: peer.ip().to_canonical(), certificate: None };
        Some((stream, Place { name: self.name, peer, metrics, _permit: permit, _peer: of_peer }))
    }

    /// Closes the listener, and lets in whom the operating system has accepted already: closing
    /// alone would reset them.
    fn backlog(&self, listener: TcpListener) -> Vec<(TcpStream, Place)> {
        let mut waiting = Vec::new();
        let Ok(listener) = listener.into_std() else { return waiting };
        while let Ok(permit) = Arc::clone(&self.places).try_acquire_owned()
            && let Ok((stream, peer)) = listener.accept()
        {
            let stream = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream));
            waiting.extend(stream.ok().and_then(|stream| self.admit(stream, peer, permit)));
        }
        waiting
    }

    fn connection(
        &self,
        stream: TcpStream,
        place: Place,
        router: &Router,
        drain: &Arc<Drain>,
    ) -> impl Future<Output = ()> + Send + use<> {
        let progress = Arc::new(Progress::new());
        let timeouts = Timeouts {
            header: self.settings.header_timeout,
            idle: self.settings.idle_timeout,
            stall: self.settings.stall_timeout,
        };
        let stream = Timed::new(stream, Arc::clone(&progress));
        let served =
            serve_connection(stream, place.peer.clone(), progress, timeouts, router.clone(), Arc::clone(drain));
        async move {
            if let Some(reason) = served.await {
                Metrics::count(&place.metrics.connections_closed, reason);
            }
        }
    }
}

/// Serves one connection until it is closed; the bound that it was closed for, if one was. With a
/// stream of another kind it serves that as well.
async fn serve_connection<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: Timed<S>,
    peer: Peer,
    progress: Arc<Progress>,
    timeouts: Timeouts,
    router: Router,
    drain: Arc<Drain>,
) -> Option<&'static str> {
    let (tracked, leaving) = (Arc::clone(&progress), Arc::clone(&drain));
    let service = service_fn(move |request: Request<Incoming>| {
        let (progress, drain) = (Arc::clone(&tracked), Arc::clone(&leaving));
        progress.serving();
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(peer.clone());
        let answer = router.clone().call(request);
        async move {
            let mut answer: Response<Body> = answer.await?;
            if drain.is_leaving() {
                answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            progress.answered();
            Ok::<_, Infallible>(answer)
        }
    });
    let connection = http1::Builder::new()
        // Stages have their bounds in `Timed`; hyper's own would take idle time for a slow head.
        .header_read_timeout(None)
        .max_header_size(MAX_HEAD_BYTES)
        .max_buf_size(MAX_BUFFER_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let mut overdue = pin!(progress.overdue(timeouts));
    tokio::select! {
        biased;
        // A client that hangs up, or sends what is no HTTP, ends its own connection.
        _ = connection.as_mut() => return None,
        reason = overdue.as_mut() => return Some(reason),
        () = drain.closing() => {}
    }
    // From here on every answer closes its connection; what is left are those without a request.
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
            reason = overdue.as_mut() => return Some(reason),
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// Whether an error is about the connection that would have been accepted, not about the listener.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

fn note(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a connection's task failed");
    }
}
