//! The changes of an experiment's status.

use serde::{Deserialize, Serialize};

use super::rfc3339;
use crate::ledger::TransitionRow;

/// Changes in a report; the latest ones.
const MOST: usize = 100;

/// A change of an experiment's status.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Change {
    /// When.
    pub at: String,
    /// Who; `serin` for the host.
    pub by: String,
    /// The command.
    pub command: String,
    /// The phase after it.
    pub phase: u32,
    /// Why.
    pub reason: String,
    /// SHA-256 of the spec in force.
    pub spec_digest: String,
}

impl Change {
    /// The latest changes, how many came before them, and how often only shares changed: a bandit
    /// does that a thousand times.
    pub(super) fn listed(changes: &[TransitionRow]) -> (Vec<Self>, u64, u64) {
        let told: Vec<&TransitionRow> = changes.iter().filter(|change| change.command != "allocate").collect();
        let before = told.len().saturating_sub(MOST);
        let change = |change: &&TransitionRow| Self {
            at: rfc3339(change.time_ms),
            by: change.by.clone(),
            command: change.command.clone(),
            phase: change.phase,
            reason: change.reason.clone(),
            spec_digest: change.spec_digest.clone(),
        };
        (told[before..].iter().map(change).collect(), before as u64, (changes.len() - told.len()) as u64)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn a_bandits_batches_are_counted_and_the_latest_changes_are_listed() {
        let change = |i: usize| TransitionRow {
            generation: i as u64,
            time_ms: i as u64,
            command: if i.is_multiple_of(2) { "allocate" } else { "edit" }.to_owned(),
            from: "running".to_owned(),
            to: "running".to_owned(),
            phase: i as u32,
            by: "ann".to_owned(),
            reason: String::new(),
            spec_digest: String::new(),
            evidence: Value::Null,
        };
        let changes: Vec<_> = (0..1000).map(change).collect();
        let (listed, before, allocations) = Change::listed(&changes);
        assert_eq!((listed.len(), before, allocations), (MOST, 400, 500));
        assert_eq!(listed.last().map(|change| change.phase), Some(999));
    }
}
