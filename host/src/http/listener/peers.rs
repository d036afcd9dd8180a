//! Connections by peer address: one peer must not take all places of a listener.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use parking_lot::Mutex;

/// The open connections of each peer.
#[derive(Debug)]
pub(super) struct Peers {
    open: Mutex<HashMap<IpAddr, usize>>,
    most: usize,
}

/// A peer's place; given back when it is dropped.
#[derive(Debug)]
pub(super) struct PeerPlace {
    peers: Arc<Peers>,
    peer: IpAddr,
}

impl Peers {
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { open: Mutex::default(), most })
    }

    /// A place for one more connection of this peer; none where it has as many as it may.
    pub(super) fn enter(self: &Arc<Self>, address: IpAddr) -> Option<PeerPlace> {
        let peer = network(address);
        let mut open = self.open.lock();
        let count = open.entry(peer).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        Some(PeerPlace { peers: Arc::clone(self), peer })
    }
}

impl Drop for PeerPlace {
    fn drop(&mut self) {
        let mut open = self.peers.open.lock();
        if let Some(count) = open.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.peer);
            }
        }
    }
}

/// Whom an address stands for. A subscriber of IPv6 has a /64 of addresses to choose from.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_has_so_many_places_and_gets_them_back() {
        let peers = Peers::new(2);
        let enter = |address: &str| peers.enter(address.parse().expect("an address"));
        let (one, two) = (enter("10.0.0.1"), enter("::ffff:10.0.0.1"));
        assert!(one.is_some() && two.is_some() && enter("10.0.0.1").is_none());
        assert!(enter("10.0.0.2").is_some());
        drop(one);
        let _again = enter("10.0.0.1").expect("a place");
        assert!(enter("10.0.0.1").is_none());
        let (a, b) = (enter("2001:db8::1"), enter("2001:db8::2"));
        assert!(a.is_some() && b.is_some() && enter("2001:db8::3").is_none() && enter("2001:db8:0:1::").is_some());
        drop((two, a, b));
        assert_eq!(peers.open.lock().len(), 1, "nothing is kept of peers that are gone");
    }
}
