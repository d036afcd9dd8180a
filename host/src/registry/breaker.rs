//! A version that spends its time or its fuel to no end, again and again, is left alone for a
//! while: the decision's own time is better spent on what answers.

use parking_lot::Mutex;
use serin_core::record::{FailureKind, Outcome};

/// Runs in a row that have to end so before the next is not begun.
const COSTLY: u32 = 20;
/// How long nothing is begun then, in milliseconds; after that one run tries.
const REST_MS: u64 = 5_000;

/// The breaker of one version. It goes by decisions' own times, so that what it did follows from
/// their records.
#[derive(Debug, Default)]
pub struct VersionBreaker(Mutex<Runs>);

#[derive(Debug, Default)]
struct Runs {
    /// How many ended so in a row, up to [`COSTLY`].
    costly: u32,
    rests_until_ms: u64,
}

impl VersionBreaker {
    /// Whether a run may begin; why not, where it may not.
    ///
    /// # Errors
    /// What the record's attempt says.
    pub fn admit(&self, now_ms: u64) -> Result<(), String> {
        let mut runs = self.0.lock();
        if runs.costly < COSTLY {
            return Ok(());
        }
        if now_ms < runs.rests_until_ms {
            return Err(format!(
                "{COSTLY} runs in a row ended without fuel or time; the next begins in {} ms at most",
                runs.rests_until_ms - now_ms
            ));
        }
        // This one tries; the others rest on until it is known how it ends.
        runs.rests_until_ms = now_ms + REST_MS;
        Ok(())
    }

    /// Why no run begins; none where runs begin.
    pub fn is_open(&self, now_ms: u64) -> Option<String> {
        let runs = self.0.lock();
        let is_open = runs.costly >= COSTLY && now_ms < runs.rests_until_ms;
        is_open.then(|| format!("{COSTLY} runs in a row ended without fuel or time"))
    }

    /// Notes how a run ended.
    pub fn note(&self, outcome: &Outcome, now_ms: u64) {
        let is_costly =
            matches!(outcome, Outcome::Failure { kind: FailureKind::FuelExhausted | FailureKind::Deadline, .. });
        let mut runs = self.0.lock();
        if !is_costly {
            runs.costly = 0;
            return;
        }
        runs.costly = (runs.costly + 1).min(COSTLY);
        if runs.costly == COSTLY {
            runs.rests_until_ms = runs.rests_until_ms.max(now_ms + REST_MS);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(kind: FailureKind) -> Outcome {
        Outcome::Failure { kind, detail: String::new() }
    }

    #[test]
    fn it_opens_after_costly_runs_in_a_row_and_one_tries_after_a_rest() {
        let breaker = VersionBreaker::default();
        let costly = |now_ms| breaker.note(&ended(FailureKind::FuelExhausted), now_ms);
        (1..COSTLY).for_each(|_| costly(0));
        breaker.note(&ended(FailureKind::Trap), 0);
        (1..COSTLY).for_each(|_| costly(0));
        assert!(breaker.admit(0).is_ok(), "a trap costs little, and the row begins anew");
        costly(1_000);
        assert!(breaker.admit(1_000).is_err() && breaker.admit(5_999).is_err());
        assert!(breaker.admit(6_000).is_ok(), "one tries");
        assert!(breaker.admit(6_001).is_err(), "and no other meanwhile");
        costly(6_000);
        assert!(breaker.admit(10_999).is_err());
        assert!(breaker.admit(11_000).is_ok());
        breaker.note(&ended(FailureKind::OutputInvalid), 11_000);
        assert!(breaker.admit(11_000).is_ok(), "it answers in time again");
    }
}
