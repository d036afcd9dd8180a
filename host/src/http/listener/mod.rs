//! The accept loop. It bounds connections, by listener and by peer, and the time of each of
//! their stages, and it ends without cutting off a request.

mod connection;
mod drain;
mod exchange;
mod leftover;
mod peer;
mod peers;
mod progress;
mod settings;
mod timed;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

pub use drain::Drain;
pub use peer::{EndsConnection, Peer};
pub use settings::ServerSettings;

use crate::telemetry::{ListenerLabels, Metrics};
use crate::tls::Tls;
use connection::Context;
use peer::TrustedProxies;
use peers::{PeerPlace, Peers};
use progress::Timeouts;

/// The pause where no connection can be had, because descriptors are short for example.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

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
    proxies: Arc<TrustedProxies>,
    tls: Option<Arc<Tls>>,
    metrics: Arc<Metrics>,
}

/// A connection's places; given back when it is closed.
struct Place {
    name: &'static str,
    peer: SocketAddr,
    metrics: Arc<Metrics>,
    _permit: OwnedSemaphorePermit,
    /// None for a trusted proxy, which brings the connections of many.
    _peer: Option<PeerPlace>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.metrics.connections.get_or_create(&ListenerLabels { listener: self.name }).dec();
    }
}

impl Listener {
    /// Binds an address. `name` is the listener's in metrics. Without `tls` it speaks in the clear.
    ///
    /// # Errors
    /// What the operating system says.
    pub async fn bind(
        address: SocketAddr,
        name: &'static str,
        settings: ServerSettings,
        tls: Option<Arc<Tls>>,
        metrics: Arc<Metrics>,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let places = Arc::new(Semaphore::new(settings.max_connections));
        let peers = Peers::new(settings.max_connections_per_peer);
        let proxies = Arc::new(TrustedProxies::new(settings.trusted_proxies.clone()));
        Ok(Self { listener, gate: Gate { name, settings, places, peers, proxies, tls, metrics } })
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
        let context = gate.context(router, drain);
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                biased;
                () = context.drain.closing() => break,
                accepted = gate.accept(&listener) => accepted,
            };
            if let Some((stream, place)) = accepted {
                connections.spawn(serve_one(stream, place, Arc::clone(&context)));
            }
            while let Some(ended) = connections.try_join_next() {
                note(ended);
            }
        }
        for (stream, place) in gate.backlog(listener) {
            connections.spawn(serve_one(stream, place, Arc::clone(&context)));
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
    fn context(&self, router: Router, drain: Arc<Drain>) -> Arc<Context> {
        let timeouts = Timeouts {
            header: self.settings.header_timeout,
            idle: self.settings.idle_timeout,
            stall: self.settings.stall_timeout,
        };
        let (tls, proxies) = (self.tls.clone(), Arc::clone(&self.proxies));
        Arc::new(Context { router: router.with_state(()), drain, timeouts, tls, proxies })
    }

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
        let of_peer = match self.proxies.contains(peer.ip()) {
            true => None,
            false => match self.peers.enter(peer.ip()) {
                Some(place) => Some(place),
                None => {
                    tracing::debug!(%peer, listener = self.name, "closed: this peer has max_connections_per_peer open");
                    Metrics::count(&self.metrics.connections_closed, "peer-limit");
                    return None;
                }
            },
        };
        // Small answers must not wait for the peer's acknowledgement. Without, it is only slower.
        let _ = stream.set_nodelay(true);
        self.metrics.connections.get_or_create(&ListenerLabels { listener: self.name }).inc();
        let metrics = Arc::clone(&self.metrics);
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
}

/// Serves a connection, and counts the bound that it is closed for.
async fn serve_one(stream: TcpStream, place: Place, context: Arc<Context>) {
    let address = place.peer.ip().to_canonical();
    if let Some(reason) = connection::serve(stream, address, context).await {
        tracing::debug!(peer = %place.peer, listener = place.name, reason, "a connection was closed");
        Metrics::count(&place.metrics.connections_closed, reason);
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
