//! The bounds of one run of one strategy.

use serde::{Deserialize, Serialize};

/// The limits of one run. Every breach is a typed outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Wasm fuel, about one unit per instruction. This CPU limit is deterministic and replays.
    pub fuel: u64,
    /// Bytes over all linear memories together.
    pub memory_bytes: u64,
    /// Elements over all tables together.
    pub table_elements: u64,
    /// Wall time of the run in milliseconds, checked by epochs: a safety net beside fuel.
    pub wall_ms: u64,
    /// Bytes of the answer.
    pub output_bytes: u64,
    /// Candidates in one answer.
    pub candidates: u64,
    /// Calls of the `models` import.
    pub host_calls: u64,
    /// Rows over all calls of the `models` import.
    pub host_call_rows: u64,
    /// Bytes of log lines; the rest is cut off.
    pub log_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            fuel: 20_000_000,
            memory_bytes: 16 << 20,
            table_elements: 10_000,
            wall_ms: 25,
            output_bytes: 64 << 10,
            candidates: 64,
            host_calls: 16,
            host_call_rows: 512,
            log_bytes: 4 << 10,
        }
    }
}

impl Limits {
    /// The most that any host grants, whatever its operator and a manifest say. It bounds
    /// everything that a run holds and that is recorded of it.
    pub const MOST: Self = Self {
        fuel: 1_000_000_000_000,
        memory_bytes: 512 << 20,
        table_elements: 20_000,
        wall_ms: 60_000,
        output_bytes: 1 << 20,
        candidates: 1024,
        host_calls: 1024,
        host_call_rows: 16_384,
        log_bytes: 64 << 10,
    };

    /// The minimum of each limit.
    #[must_use]
    pub fn at_most(self, most: Self) -> Self {
        Self {
            fuel: self.fuel.min(most.fuel),
            memory_bytes: self.memory_bytes.min(most.memory_bytes),
            table_elements: self.table_elements.min(most.table_elements),
            wall_ms: self.wall_ms.min(most.wall_ms),
            output_bytes: self.output_bytes.min(most.output_bytes),
            candidates: self.candidates.min(most.candidates),
            host_calls: self.host_calls.min(most.host_calls),
            host_call_rows: self.host_call_rows.min(most.host_call_rows),
            log_bytes: self.log_bytes.min(most.log_bytes),
        }
    }

    /// Bytes in the record of the rows of all calls of the `models` import together.
    pub fn transcript_bytes(&self) -> u64 {
        self.host_call_rows.saturating_mul(1024)
    }
}

/// Limits as in a file; absent ones are unchanged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartialLimits {
    /// See [`Limits::fuel`].
    pub fuel: Option<u64>,
    /// See [`Limits::memory_bytes`].
    pub memory_bytes: Option<u64>,
    /// See [`Limits::table_elements`].
    pub table_elements: Option<u64>,
    /// See [`Limits::wall_ms`].
    pub wall_ms: Option<u64>,
    /// See [`Limits::output_bytes`].
    pub output_bytes: Option<u64>,
    /// See [`Limits::candidates`].
    pub candidates: Option<u64>,
    /// See [`Limits::host_calls`].
    pub host_calls: Option<u64>,
    /// See [`Limits::host_call_rows`].
    pub host_call_rows: Option<u64>,
    /// See [`Limits::log_bytes`].
    pub log_bytes: Option<u64>,
}

impl PartialLimits {
    fn zip(self, base: Limits, pick: impl Fn(u64, u64) -> u64) -> Limits {
        let choose = |mine: Option<u64>, base| mine.map_or(base, |mine| pick(mine, base));
        Limits {
            fuel: choose(self.fuel, base.fuel),
            memory_bytes: choose(self.memory_bytes, base.memory_bytes),
            table_elements: choose(self.table_elements, base.table_elements),
            wall_ms: choose(self.wall_ms, base.wall_ms),
            output_bytes: choose(self.output_bytes, base.output_bytes),
            candidates: choose(self.candidates, base.candidates),
            host_calls: choose(self.host_calls, base.host_calls),
            host_call_rows: choose(self.host_call_rows, base.host_call_rows),
            log_bytes: choose(self.log_bytes, base.log_bytes),
        }
    }

    /// `base` overridden by these limits.
    pub fn over(self, base: Limits) -> Limits {
        self.zip(base, |mine, _| mine)
    }

    /// The grant: the minimum of what the manifest asks for and what the operator allows.
    pub fn within(self, allowed: Limits) -> Limits {
        self.zip(allowed, u64::min)
    }

    /// A key above what any host grants, with its value and the largest valid one.
    pub fn excessive_key(&self) -> Option<(&'static str, u64, u64)> {
        let most = Limits::MOST;
        [
            ("fuel", self.fuel, most.fuel),
            ("memory_bytes", self.memory_bytes, most.memory_bytes),
            ("table_elements", self.table_elements, most.table_elements),
            ("wall_ms", self.wall_ms, most.wall_ms),
            ("output_bytes", self.output_bytes, most.output_bytes),
            ("candidates", self.candidates, most.candidates),
            ("host_calls", self.host_calls, most.host_calls),
            ("host_call_rows", self.host_call_rows, most.host_call_rows),
            ("log_bytes", self.log_bytes, most.log_bytes),
        ]
        .into_iter()
        .find_map(|(key, value, most)| value.filter(|value| *value > most).map(|value| (key, value, most)))
    }

    /// The name of a key that is zero and must not be.
    pub fn zero_key(&self) -> Option<&'static str> {
        [
            ("fuel", self.fuel),
            ("memory_bytes", self.memory_bytes),
            ("wall_ms", self.wall_ms),
            ("output_bytes", self.output_bytes),
            ("candidates", self.candidates),
        ]
        .into_iter()
        .find_map(|(key, value)| (value == Some(0)).then_some(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grant_is_the_smaller_of_asked_and_allowed() {
        let asked = PartialLimits { fuel: Some(5), memory_bytes: Some(u64::MAX), ..Default::default() };
        let grant = asked.within(Limits::default());
        assert_eq!((grant.fuel, grant.memory_bytes), (5, Limits::default().memory_bytes));
    }

    #[test]
    fn no_host_grants_more_than_the_most() {
        let asked = PartialLimits { output_bytes: Some(u64::MAX), wall_ms: Some(1), ..Default::default() };
        let grant = asked.over(Limits::default()).at_most(Limits::MOST);
        assert_eq!((grant.output_bytes, grant.wall_ms), (Limits::MOST.output_bytes, 1));
        assert_eq!(asked.excessive_key(), Some(("output_bytes", u64::MAX, Limits::MOST.output_bytes)));
        assert_eq!(Limits::default().at_most(Limits::MOST), Limits::default());
    }
}
