//! Decides whether the machine's clock is trusted. Expiry deletes by it and experiments end by it.
//! A clock that was wrong for a minute must trigger neither.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::{ClockState, LastSeen, Ledger, LedgerError, Reads as _};
use crate::clock::Clock;
use crate::telemetry::Metrics;

/// How far a running host's clock may differ from the time expected by uptime: a correction that a
/// time service may make.
const LEAP_MS: u64 = 60 * 60 * 1000;
/// How long a host may have been stopped without a confirmation of the clock.
const STOPPED_MS: u64 = 7 * 24 * 60 * 60 * 1000;
/// The largest share of decisions that a start may make old enough to be deleted, if the host was
/// stopped for longer than [`LEAP_MS`].
const MAX_SHARE: f64 = 0.5;

/// Why a clock was not confirmed.
#[derive(Debug, thiserror::Error)]
pub enum ConfirmError {
    /// It is trusted already.
    #[error("the clock is trusted already: there is nothing to confirm")]
    Trusted,
    /// It could not be recorded, so the clock is not trusted.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// Compares the clock with the time that has passed since it was last trusted. It is a clock itself: while the
/// machine's is doubted, its time is the one that was trusted last, and what has passed since. What is noted for later
/// goes by it: a time far ahead would be the newest one for as long.
pub struct ClockGuard {
    clock: Arc<dyn Clock>,
    ledger: Arc<Ledger>,
    metrics: Arc<Metrics>,
    state: Mutex<State>,
}

struct State {
    /// The clock when it was last trusted, and the uptime then, in milliseconds. Of a clock that is doubted from the start
    /// on, when the ledger was last in use, and the uptime at the start.
    believed: [u64; 2],
    doubt: Option<String>,
    /// It is doubted for what it was set to meanwhile.
    leapt: bool,
}

impl State {
    /// The time by what has passed since the clock was last trusted.
    fn expected_ms(&self, uptime_ms: u64) -> u64 {
        let [then_ms, then_uptime_ms] = self.believed;
        then_ms.saturating_add(uptime_ms.saturating_sub(then_uptime_ms))
    }
}

impl Clock for ClockGuard {
    fn now_ms(&self) -> u64 {
        match self.look() {
            ClockState::Trusted(now_ms) => now_ms,
            ClockState::Doubted { steady_ms, .. } => steady_ms,
        }
    }

    fn uptime_ms(&self) -> u64 {
        self.clock.uptime_ms()
    }

    fn entropy(&self) -> u64 {
        self.clock.entropy()
    }

    fn doubt(&self) -> Option<String> {
        match self.look() {
            ClockState::Trusted(_) => None,
            ClockState::Doubted { why, .. } => Some(why),
        }
    }
}

impl ClockGuard {
    /// Compares the clock with the time at which the ledger was last in use. `keep` is the
    /// retention of decisions.
    ///
    /// # Errors
    /// The ledger's error.
    pub fn start(
        ledger: Arc<Ledger>,
        clock: Arc<dyn Clock>,
        keep: Option<Duration>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, LedgerError> {
        let now_ms = clock.now_ms();
        let seen = ledger.last_seen()?;
        let seen_ms = seen.seen_ms.unwrap_or(now_ms);
        let doubt = doubt_at_start(&ledger, seen, now_ms, keep)?;
        let believed_ms = if doubt.is_some() { seen_ms } else { now_ms };
        let state = Mutex::new(State { believed: [believed_ms, clock.uptime_ms()], doubt: None, leapt: false });
        let guard = Self { clock, ledger, metrics, state };
        if let Some(why) = doubt {
            guard.note_doubt(&mut guard.state.lock(), why);
        }
        Ok(guard)
    }

    /// The time, or why the clock is not trusted. Call it before any action that follows from the
    /// time alone.
    pub fn look(&self) -> ClockState {
        let (now_ms, uptime_ms) = (self.clock.now_ms(), self.clock.uptime_ms());
        let mut state = self.state.lock();
        let [then_ms, then_uptime_ms] = state.believed;
        let steady_ms = state.expected_ms(uptime_ms);
        let doubted = |why: String| ClockState::Doubted { why, steady_ms };
        match (&state.doubt, now_ms.abs_diff(steady_ms) <= LEAP_MS) {
            (None, true) => {
                state.believed = [now_ms, uptime_ms];
                ClockState::Trusted(now_ms)
            }
            (None, false) => {
                let passed = Duration::from_millis(uptime_ms.saturating_sub(then_uptime_ms)).as_secs();
                let why = format!("the clock leapt from {} to {} within {passed} s", shown(then_ms), shown(now_ms));
                self.note_doubt(&mut state, why.clone());
                state.leapt = true;
                doubted(why)
            }
            (Some(why), _) => doubted(why.clone()),
        }
    }

    /// The time of an event that happens now. A clock that is doubted from the start on may well be right, and the
    /// decisions since go by it.
    pub fn happening_ms(&self) -> u64 {
        let now_ms = self.now_ms();
        if self.state.lock().leapt { now_ms } else { self.clock.now_ms() }
    }

    /// Says whether the clock is trusted.
    pub fn is_trusted(&self) -> bool {
        matches!(self.look(), ClockState::Trusted(_))
    }

    /// Trusts the clock as it is, on a person's confirmation. It waits for the ledger, so do not
    /// call it on a listener's thread.
    ///
    /// # Errors
    /// That there is nothing to confirm, or that it could not be recorded.
    pub fn confirm(&self, by: &str, reason: &str) -> Result<u64, ConfirmError> {
        if self.is_trusted() {
            return Err(ConfirmError::Trusted);
        }
        let (now_ms, uptime_ms) = (self.clock.now_ms(), self.clock.uptime_ms());
        self.ledger.note_clock(ClockState::Trusted(now_ms))?;
        let mut state = self.state.lock();
        tracing::warn!(by, reason, clock = shown(now_ms), "the clock was confirmed; expiry and experiments go on");
        *state = State { believed: [now_ms, uptime_ms], doubt: None, leapt: false };
        self.metrics.clock_doubted.set(0);
        Ok(now_ms)
    }

    fn note_doubt(&self, state: &mut State, why: String) {
        tracing::warn!(
            why,
            "nothing is expired, and no experiment is changed by the host, until somebody confirms the clock: \
             serin clock confirm --reason TEXT; or set the clock right and start again"
        );
        self.metrics.clock_doubted.set(1);
        state.doubt = Some(why);
    }
}

/// Why the clock is not trusted at start. A long stop cannot be distinguished from a clock that is
/// ahead, so a person decides.
fn doubt_at_start(
    ledger: &Ledger,
    seen: LastSeen,
    now_ms: u64,
    keep: Option<Duration>,
) -> Result<Option<String>, LedgerError> {
    let Some(seen_ms) = seen.seen_ms else { return Ok(None) };
    let gap_ms = now_ms.abs_diff(seen_ms);
    if gap_ms <= LEAP_MS {
        return Ok(None);
    }
    let why = format!("the ledger was last in use at {}, and the clock shows {}", shown(seen_ms), shown(now_ms));
    if gap_ms > STOPPED_MS || now_ms < seen_ms {
        return Ok(Some(why));
    }
    if let Some(keep) = keep {
        let oldest = |at_ms: u64| at_ms.saturating_sub(keep.as_millis() as u64);
        let share = ledger.share_between(oldest(seen_ms), oldest(now_ms))?;
        if share > MAX_SHARE {
            return Ok(Some(format!("{why}: {:.0} % of the decisions would be deleted", share * 100.0)));
        }
    }
    Ok(seen.doubt)
}

fn shown(ms: u64) -> String {
    jiff::Timestamp::from_millisecond(ms as i64).map_or_else(|_| format!("{ms} ms"), |time| time.to_string())
}
