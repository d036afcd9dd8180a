//! What a listener allows: the keys of `[server]` that bound connections and requests.

use std::time::Duration;

use ipnet::IpNet;

/// The bounds of both listeners. Each but one is a key of `[server]` of the same name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerSettings {
    /// Bytes of a request's body, after decompression.
    pub max_body_bytes: usize,
    /// Bytes of all request bodies, and of large answers, that are in memory at once.
    pub max_bytes_in_flight: usize,
    /// Connections that a listener holds open.
    pub max_connections: usize,
    /// Connections that a listener holds open for one peer address.
    pub max_connections_per_peer: usize,
    /// Time for a request's head, from its first byte, or from the connection's opening.
    pub header_timeout: Duration,
    /// Time for a request's whole body.
    pub body_timeout: Duration,
    /// Time in which some byte of a body arrives, or some byte of an answer is taken.
    pub stall_timeout: Duration,
    /// Time that a kept-alive connection may be silent between two requests.
    pub idle_timeout: Duration,
    /// After SIGTERM: how long the host is not ready and still serves.
    pub shutdown_delay: Duration,
    /// After that: how long requests that were accepted have until they are cut off.
    pub drain_timeout: Duration,
    /// Time that a read of the admin listener may take.
    pub admin_timeout: Duration,
    /// How far a sender's clock may differ from this host's: `ledger.clock_tolerance`.
    pub clock_tolerance: Duration,
    /// Names in `Host` that the admin listener answers to, beside its addresses.
    pub admin_hosts: Vec<String>,
    /// The proxies whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed.
    pub trusted_proxies: Vec<IpNet>,
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            max_body_bytes: 4 << 20,
            max_bytes_in_flight: 256 << 20,
            max_connections: 4096,
            // Half: one peer never takes them all.
            max_connections_per_peer: 2048,
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(10),
            stall_timeout: Duration::from_secs(5),
            // Longer than the 60 s of most balancers, so that they close first.
            idle_timeout: Duration::from_secs(90),
            shutdown_delay: Duration::from_secs(2),
            drain_timeout: Duration::from_secs(30),
            admin_timeout: Duration::from_secs(10),
            clock_tolerance: Duration::from_secs(5 * 60),
            admin_hosts: Vec::new(),
            trusted_proxies: Vec::new(),
        }
    }
}

impl ServerSettings {
    /// The keys whose values differ from `other`'s.
    pub fn differences(&self, other: &Self) -> Vec<&'static str> {
        let pairs = [
            ("server.max_body_bytes", self.max_body_bytes != other.max_body_bytes),
            ("server.max_bytes_in_flight", self.max_bytes_in_flight != other.max_bytes_in_flight),
            ("server.max_connections", self.max_connections != other.max_connections),
            ("server.max_connections_per_peer", self.max_connections_per_peer != other.max_connections_per_peer),
            ("server.header_timeout", self.header_timeout != other.header_timeout),
            ("server.body_timeout", self.body_timeout != other.body_timeout),
            ("server.stall_timeout", self.stall_timeout != other.stall_timeout),
            ("server.idle_timeout", self.idle_timeout != other.idle_timeout),
            ("server.shutdown_delay", self.shutdown_delay != other.shutdown_delay),
            ("server.drain_timeout", self.drain_timeout != other.drain_timeout),
            ("server.admin_timeout", self.admin_timeout != other.admin_timeout),
            ("ledger.clock_tolerance", self.clock_tolerance != other.clock_tolerance),
            ("server.admin_hosts", self.admin_hosts != other.admin_hosts),
            ("server.trusted_proxies", self.trusted_proxies != other.trusted_proxies),
        ];
        pairs.into_iter().filter_map(|(key, differs)| differs.then_some(key)).collect()
    }
}
