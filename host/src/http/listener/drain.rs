//! How a host leaves: first not ready and still serving, then without new connections.

use tokio::sync::watch;

/// How far the host has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Serving,
    /// Not ready. Everything is served, and every answer closes its connection.
    Leaving,
    /// No new connections. Requests under way are finished.
    Closing,
}

/// The phase of a host's shutdown, shared by its listeners and by readiness.
#[derive(Debug)]
pub struct Drain(watch::Sender<Phase>);

impl Default for Drain {
    fn default() -> Self {
        Self(watch::Sender::new(Phase::Serving))
    }
}

impl Drain {
    /// Turns readiness off. Balancers take the host out, while it still serves.
    pub fn leave(&self) {
        self.advance(Phase::Leaving);
    }

    /// Ends the listeners: they take no new connections and finish the requests under way.
    pub fn close(&self) {
        self.advance(Phase::Closing);
    }

    fn advance(&self, to: Phase) {
        self.0.send_if_modified(|phase| {
            let is_later = *phase < to;
            *phase = to.max(*phase);
            is_later
        });
    }

    /// Whether no new work should come.
    pub fn is_leaving(&self) -> bool {
        *self.0.borrow() != Phase::Serving
    }

    /// Waits until the listeners have to end.
    pub(super) async fn closing(&self) {
        // The sender is this one, so it is there.
        let _ = self.0.subscribe().wait_for(|phase| *phase == Phase::Closing).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_never_goes_back() {
        let drain = Drain::default();
        assert!(!drain.is_leaving());
        drain.close();
        drain.leave();
        assert_eq!(*drain.0.borrow(), Phase::Closing);
        assert!(drain.is_leaving());
    }
}
