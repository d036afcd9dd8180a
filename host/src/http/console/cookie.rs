//! The cookie of a session: its name, its value, and by which connections a browser sends it.

use axum::extract::Request;
use axum::http::{HeaderMap, header};

use crate::access::SESSION_MS;
use crate::http::{Peer, guard};

/// The cookie of sessions as one request's client knows it.
pub struct SessionCookie {
    name: String,
    is_encrypted: bool,
}

impl SessionCookie {
    /// The cookie of a request. Cookies do not know ports, and hosts on one machine differ in nothing else, so the
    /// port is in the name.
    pub fn of(request: &Request) -> Self {
        let port = guard::host(request.uri(), request.headers()).and_then(|host| host.port_u16());
        let port = port.map(|port| port.to_string()).unwrap_or_default();
        // Not by `Origin`, which says what a page was loaded by and not what this connection is.
        let is_encrypted = request.extensions().get::<Peer>().is_some_and(|peer| peer.is_encrypted);
        Self { name: format!("serin_session_{port}"), is_encrypted }
    }

    /// The id of the session that these headers name.
    pub fn id<'h>(&self, headers: &'h HeaderMap) -> Option<&'h str> {
        let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
        let mut pairs = cookies.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
        pairs.find(|(name, _)| *name == self.name).map(|(_, id)| id)
    }

    /// What makes a browser keep the id of a session.
    pub fn opened(&self, id: &str) -> String {
        self.set(id, SESSION_MS / 1000)
    }

    /// What makes a browser forget it.
    pub fn ended(&self) -> String {
        self.set("", 0)
    }

    fn set(&self, id: &str, seconds: u64) -> String {
        let secure = if self.is_encrypted { "; Secure" } else { "" };
        format!("{}={id}; Path=/; HttpOnly; SameSite=Lax; Max-Age={seconds}{secure}", self.name)
    }
}
