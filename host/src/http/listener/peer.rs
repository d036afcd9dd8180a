//! Who sends a request: the other end of its connection, or whom a trusted proxy names.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::http::{HeaderMap, HeaderName};
use ipnet::IpNet;

use crate::tls::PeerCertificate;

/// The addresses that a request came by, added to by each proxy.
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// The scheme that a request reached a proxy by.
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Who sends a request: an extension of each request.
#[derive(Debug, Clone)]
pub struct Peer {
    /// The address that it comes from: the connection's, or the one that a trusted proxy names.
    pub address: IpAddr,
    /// The certificate of the connection's other end, under mutual TLS.
    pub certificate: Option<Arc<PeerCertificate>>,
    /// The client speaks TLS: to this listener, or as a trusted proxy says to that.
    pub is_encrypted: bool,
}

impl Peer {
    /// Whether the certificate of its connection, where it has one, would be accepted in a handshake now.
    pub fn is_trusted(&self) -> bool {
        self.certificate.as_ref().is_none_or(|certificate| certificate.is_trusted())
    }
}

/// An extension of an answer to a peer whose certificate is not accepted any more: its connection ends.
#[derive(Debug, Clone, Copy)]
pub struct EndsConnection;

/// The proxies whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed.
#[derive(Debug)]
pub(super) struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    pub(super) fn new(networks: Vec<IpNet>) -> Self {
        Self(networks)
    }

    /// Whether this is the address of one of them.
    pub(super) fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Where a request comes from that arrived on a connection from `connection`. Each proxy appends
    /// the address that it was called from, so the rightmost one that is no proxy's own is the last
    /// that can be believed. Anything else in its place says nothing.
    pub(super) fn origin(&self, connection: IpAddr, headers: &HeaderMap) -> IpAddr {
        let connection = connection.to_canonical();
        if !self.contains(connection) {
            return connection;
        }
        let lines = headers.get_all(FORWARDED_FOR).iter().rev();
        for entry in lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b',')) {
            match std::str::from_utf8(entry).ok().and_then(|entry| address(entry.trim())) {
                Some(proxy) if self.contains(proxy) => {}
                Some(origin) => return origin,
                None => break,
            }
        }
        connection
    }

    /// Whether a client reached the proxy at `connection` by TLS. False of anybody else, who can write anything
    /// into the header. As above, the nearest proxy's own word stands on the right.
    pub(super) fn is_encrypted(&self, connection: IpAddr, headers: &HeaderMap) -> bool {
        let last = headers.get_all(FORWARDED_PROTO).iter().next_back();
        let said = last.and_then(|line| line.to_str().ok()?.rsplit(',').next());
        self.contains(connection) && said.is_some_and(|scheme| scheme.trim().eq_ignore_ascii_case("https"))
    }
}

/// An address, with or without a port.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()));
    address.map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn origin(connection: &str, lines: &[&[u8]]) -> String {
        let networks = ["10.0.0.0/8", "127.0.0.1/32", "2001:db8::/32"].map(|net| net.parse().expect("a network"));
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(FORWARDED_FOR, HeaderValue::from_bytes(line).expect("a value"));
        }
        let connection = connection.parse().expect("an address");
        TrustedProxies::new(networks.to_vec()).origin(connection, &headers).to_string()
    }

    #[test]
    fn a_trusted_proxy_names_the_origin_and_nobody_else_does() {
        for (connection, lines, expected) in [
            ("127.0.0.1", &[&b"192.0.2.7"[..]][..], "192.0.2.7"),
            ("::ffff:10.1.2.3", &[b"192.0.2.7"], "192.0.2.7"),
            ("192.0.2.1", &[b"192.0.2.7"], "192.0.2.1"),
            ("127.0.0.1", &[], "127.0.0.1"),
            // What the client itself put there stands on the left.
            ("10.0.0.1", &[b"203.0.113.9, 192.0.2.7,10.9.9.9"], "192.0.2.7"),
            ("10.0.0.1", &[b"192.0.2.7", b"203.0.113.9, 10.9.9.9", b"10.8.8.8"], "203.0.113.9"),
            ("10.0.0.1", &[b"10.1.1.1, 10.2.2.2"], "10.0.0.1"),
            ("10.0.0.1", &[b"[2001:db9::1]:443"], "2001:db9::1"),
            ("10.0.0.1", &[b"[2001:db9::1], 2001:db8::7"], "2001:db9::1"),
            ("10.0.0.1", &[b"192.0.2.7:5123"], "192.0.2.7"),
            ("10.0.0.1", &[b"::ffff:192.0.2.7, ::ffff:10.0.0.9"], "192.0.2.7"),
        ] {
            assert_eq!(origin(connection, lines), expected, "{connection} {lines:?}");
        }
    }

    #[test]
    fn only_a_trusted_proxy_says_that_its_client_speaks_tls() {
        let proxies = TrustedProxies::new(vec!["10.0.0.0/8".parse().expect("a network")]);
        for (connection, lines, expected) in [
            ("10.0.0.1", &["https"][..], true),
            ("10.0.0.1", &["http, HTTPS"], true),
            ("10.0.0.1", &["https", "http"], false),
            ("10.0.0.1", &["https, http"], false),
            ("10.0.0.1", &["http"], false),
            ("10.0.0.1", &[], false),
            ("192.0.2.1", &["https"], false),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(FORWARDED_PROTO, HeaderValue::from_static(line));
            }
            let connection = connection.parse().expect("an address");
            assert_eq!(proxies.is_encrypted(connection, &headers), expected, "{connection} {lines:?}");
        }
    }

    #[test]
    fn garbage_in_the_header_leaves_the_address_of_the_connection() {
        for line in [
            &b"unknown"[..],
            b"",
            b",",
            b"192.0.2.7, ",
            b"192.0.2.7, _hidden",
            b"\xff",
            b"1.2.3",
            b"192.0.2.7 10.0.0.1",
        ] {
            assert_eq!(origin("10.0.0.1", &[line]), "10.0.0.1", "{line:?}");
        }
        assert_eq!(origin("10.0.0.1", &[b"nonsense, 192.0.2.7"]), "192.0.2.7", "nobody looks further left");
    }
}
