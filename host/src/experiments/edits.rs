//! Edits of a running experiment's rule: its metrics, guardrails and durations. What tightens the rule
//! or adds to it is applied and recorded. What loosens it waits for a person's decision.

use std::sync::Arc;

use serde_json::{Value, json};
use serin_core::experiment::{Command, Declared, Effect, Experiment, RuleChange, Status, between, described};

use super::controller::{CommandError, Controller, HOST, Motive};
use super::next_commands::amend;

/// Bytes of a list of changes in a message.
const MAX_DESCRIBED: usize = 2000;

/// An edited file that is not applied until a person decides.
#[derive(Debug, Clone)]
pub struct PendingEdit {
    /// The spec of the file.
    pub spec: Arc<Experiment>,
    /// Its changes of the rule.
    pub changes: Vec<RuleChange>,
    /// SHA-256 of the spec in force.
    pub in_force: serin_core::Name,
}

/// The changes of the rule from the spec in force to another one. A draft has no units, so no change
/// matters.
pub fn rule_changes(old: &Experiment, new: &Experiment, status: &Status) -> Vec<RuleChange> {
    if status.started_ms.is_none() {
        return Vec::new();
    }
    between(old, new, status.declared.as_ref())
}

/// Why an edit with these changes may not be applied; none if it may.
pub fn refusal(spec: &Experiment, status: &Status, changes: &[RuleChange]) -> Option<String> {
    let mut loosens = changes.iter().filter(|change| change.effect == Effect::Loosens).peekable();
    loosens.peek()?;
    if status.amended.as_ref() == Some(&spec.digest) {
        return None;
    }
    let loosens: Vec<RuleChange> = loosens.cloned().collect();
    Some(format!(
        "units have entered, so the rule may only be tightened, and this needs a person's decision: {}; decide with: {}",
        said(&loosens),
        amend(&spec.id)
    ))
}

fn said(changes: &[RuleChange]) -> String {
    serin_core::clipped(&described(changes), MAX_DESCRIBED).into_owned()
}

/// The difference of two specs as evidence.
fn difference(changes: &[RuleChange], before: &str) -> Value {
    json!({ "changes": changes, "spec_digest_before": before })
}

/// The spec that was in force when the host stopped: the one that was applied last, unless its changes
/// of the rule were not recorded. `archived` returns the text of a digest.
pub fn recorded(
    status: &Status,
    applied: (Experiment, String),
    archived: impl FnOnce(&str) -> Option<String>,
) -> (Experiment, String) {
    let Some(rule) = status.rule.as_ref().filter(|rule| **rule != applied.0.digest) else { return applied };
    let Some(text) = archived(rule) else { return applied };
    match serin_core::caught(|| Experiment::parse(&text)) {
        Ok(before) if !rule_changes(&before, &applied.0, status).is_empty() => (before, text),
        _ => applied,
    }
}

impl Controller {
    /// Records an edit of a running experiment's rule, on behalf of its file. It does nothing if the
    /// rule is the same.
    ///
    /// # Errors
    /// Why it could not be recorded. The edit may not be applied then.
    pub fn edited(&self, old: &Experiment, new: &Experiment) -> Result<(), CommandError> {
        let status = self.status(&new.id);
        let changes = rule_changes(old, new, &status);
        if changes.is_empty() {
            return Ok(());
        }
        let decided = if status.amended.as_ref() == Some(&new.digest) { ", as was decided" } else { "" };
        let motive = Motive {
            by: HOST.to_owned(),
            reason: format!("its file was edited{decided}: {}", said(&changes)),
            evidence: difference(&changes, &old.digest),
        };
        let declared = status.declared.unwrap_or_else(|| Declared::of(old)).within(new);
        self.command(new, &Command::EditRule { declared }, motive, Some(status.generation)).map(drop)
    }

    /// Records a person's decision that a pending edit may be applied; if `judged` is given, only if
    /// the status still has that generation.
    ///
    /// # Errors
    /// Why it was not carried out; nothing has changed then.
    pub fn amend(&self, pending: &PendingEdit, motive: Motive, judged: Option<u64>) -> Result<Status, CommandError> {
        let evidence = difference(&pending.changes, &pending.in_force);
        self.command(&pending.spec, &Command::Amend, Motive { evidence, ..motive }, judged)
    }
}
