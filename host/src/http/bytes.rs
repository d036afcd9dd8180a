//! Bytes in flight: what request bodies and large answers take in memory, bounded over all
//! requests. A bound on requests alone would allow each of them the largest body.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::Bytes;

/// The bytes that are left for requests.
#[derive(Debug)]
pub struct ByteBudget {
    held: AtomicUsize,
    most: usize,
}

/// Bytes that a request holds; given back when it is dropped.
#[derive(Debug)]
pub struct HeldBytes {
    budget: Arc<ByteBudget>,
    bytes: usize,
}

impl ByteBudget {
    /// A budget of `most` bytes.
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { held: AtomicUsize::new(0), most })
    }

    /// Nothing yet, to grow as bytes come.
    pub fn nothing(self: &Arc<Self>) -> HeldBytes {
        HeldBytes { budget: Arc::clone(self), bytes: 0 }
    }

    /// How many bytes are held.
    pub fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }
}

impl HeldBytes {
    /// Holds more bytes; says whether there was room for them.
    #[must_use]
    pub fn grow(&mut self, by: usize) -> bool {
        let most = self.budget.most;
        let taken = self.budget.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| {
            held.checked_add(by).filter(|held| *held <= most)
        });
        if taken.is_ok() {
            self.bytes += by;
        }
        taken.is_ok()
    }

    /// Gives some back.
    pub fn shrink(&mut self, by: usize) {
        let by = by.min(self.bytes);
        self.bytes -= by;
        self.budget.held.fetch_sub(by, Ordering::Relaxed);
    }
}

impl Drop for HeldBytes {
    fn drop(&mut self) {
        self.shrink(self.bytes);
    }
}

/// Bytes that count until the last of them is sent.
pub fn counted(bytes: Vec<u8>, held: HeldBytes) -> Bytes {
    struct Counted(Vec<u8>, #[allow(dead_code, reason = "held until it is dropped")] HeldBytes);
    impl AsRef<[u8]> for Counted {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }
    Bytes::from_owner(Counted(bytes, held))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_given_back_with_the_last_byte() {
        let budget = ByteBudget::new(100);
        let (mut one, mut two) = (budget.nothing(), budget.nothing());
        assert!(one.grow(60) && two.grow(40) && !two.grow(1) && !one.grow(usize::MAX));
        one.shrink(10);
        assert!(two.grow(10));
        drop(two);
        assert_eq!(budget.held(), 50);
        let sent = counted(vec![0; 50], one);
        let part = sent.slice(10..20);
        drop(sent);
        assert_eq!(budget.held(), 50, "some of it is still to be sent");
        drop(part);
        assert_eq!(budget.held(), 0);
    }
}
