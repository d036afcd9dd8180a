//! How many refusals one address or one identity gets a minute before it is told to wait. Who is let
//! in is never held up by it.

use std::hash::Hash;

use quick_cache::sync::Cache;

/// Refusals a minute.
const A_MINUTE: u32 = 600;
/// Addresses and identities that are remembered; of more, the longest unseen are forgotten.
const REMEMBERED: usize = 4096;

/// Counts refusals by minute.
#[derive(Debug)]
pub struct RefusalLimits<K>(Cache<K, (u64, u32)>);

impl<K: Hash + Eq + Clone> Default for RefusalLimits<K> {
    fn default() -> Self {
        Self(Cache::new(REMEMBERED))
    }
}

impl<K: Hash + Eq + Clone> RefusalLimits<K> {
    /// Counts one more refusal. Some where it is beyond the bound: the seconds until the next minute.
    pub fn refuse(&self, who: &K, now_ms: u64) -> Option<u64> {
        let minute = now_ms / 60_000;
        let count = match self.0.get(who) {
            Some((of, count)) if of == minute => count.saturating_add(1),
            _ => 1,
        };
        self.0.insert(who.clone(), (minute, count));
        (count > A_MINUTE).then(|| 60 - now_ms / 1000 % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_beyond_the_bound_waits_for_the_next_minute_and_others_do_not() {
        let limits = RefusalLimits::default();
        assert!((0..u64::from(A_MINUTE)).all(|at| limits.refuse(&"a", at).is_none()));
        assert_eq!(limits.refuse(&"a", 10_000), Some(50));
        assert_eq!(limits.refuse(&"b", 10_000), None);
        assert_eq!(limits.refuse(&"a", 60_000), None);
    }
}
