//! What a case that fails shows its author: what was expected and what came, line by line, what the
//! strategy printed before, and the error in its own words.

use std::path::{Path, PathBuf};

use serin_core::case::{Case, Expectation};
use serin_core::record::{FailureKind, LogLine, Outcome as Came};
use serin_core::{bounds, message_to, printable_to};
use similar::{ChangeTag, TextDiff};

use super::build::with_panics;
use crate::registry::{CaseResult, Plugin};
use crate::sandbox::Engines;

/// Reports on the cases of one artifact.
pub(super) struct CaseReport<'e> {
    engines: &'e Engines,
    /// The artifact's source, where it is at hand.
    source: Option<PathBuf>,
    /// The same strategy with its panics' messages in the log; none where it can't be had.
    telling: Option<Option<Plugin>>,
}

impl<'e> CaseReport<'e> {
    pub(super) fn new(engines: &'e Engines, source: Option<&Path>) -> Self {
        Self { engines, source: source.map(Path::to_owned), telling: None }
    }

    /// What differs, in lines.
    pub(super) fn of(&mut self, case: &Case, result: &CaseResult) -> String {
        let mut text = diff(&case.expect, &result.outcome);
        let is_trap = matches!(result.outcome, Came::Failure { kind: FailureKind::Trap, .. });
        let has_told = |logs: &[LogLine]| logs.last().is_some_and(|line| &*line.level == "warn");
        let told = if is_trap { self.panic(case) } else { None };
        let logs = told.as_ref().unwrap_or(&result.logs);
        for LogLine { level, message } in logs {
            let shown = message_to(message, bounds::MESSAGE).replace('\n', "\n          ");
            text.push_str(&format!("    {level}: {shown}\n"));
        }
        // The engine's words for a trap say less than the strategy's own.
        if let Came::Failure { detail, .. } = &result.outcome
            && !(is_trap && has_told(logs))
        {
            text.push_str(&format!("    {}\n", printable_to(detail, bounds::MESSAGE)));
            if is_trap {
                text.push_str(&format!("    {}\n", bare_trap(result)));
            }
        }
        if let Some(advice) = serin_core::answer::advice(&result.outcome) {
            text.push_str(&format!("    {advice}\n"));
        }
        for surprise in &result.surprises {
            text.push_str(&format!("    {surprise}\n"));
        }
        text
    }

    /// What a strategy in Rust logs when it is built to log its panics. An artifact is not: the import
    /// would make each of its decisions dearer.
    fn panic(&mut self, case: &Case) -> Option<Vec<LogLine>> {
        let Self { engines, source, telling } = self;
        let plugin = telling.get_or_insert_with(|| {
            let bytes = with_panics(source.as_deref()?)?;
            Plugin::link(engines, &bytes).ok()
        });
        Some(plugin.as_ref()?.run_case(case).logs)
    }
}

/// Advice for a trap without a log line.
fn bare_trap(result: &CaseResult) -> &'static str {
    match result.has_started {
        true => {
            "it logged no error: a strategy in Rust logs its panics with #[strategy(log_panics)], and 'serin plugin \
             test' in its project shows them"
        }
        false => "it ended while its component was started, before 'decide' was called",
    }
}

/// What came, as a case says it.
pub(super) fn expectation(outcome: &Came) -> Expectation {
    match outcome {
        Came::Candidates(candidates) => Expectation::Candidates(candidates.clone()),
        Came::Refusal { code, message } => Expectation::Refusal { code: code.to_string(), message: message.clone() },
        Came::Failure { kind, .. } => Expectation::Failure(*kind),
    }
}

/// Expected and came, line by line.
fn diff(expected: &Expectation, outcome: &Came) -> String {
    let pretty = |value: &Expectation| serde_json::to_string_pretty(value).unwrap_or_default();
    let (before, after) = (pretty(expected), pretty(&expectation(outcome)));
    let mut text = "    - expected\n    + came\n".to_owned();
    for change in TextDiff::from_lines(&before, &after).iter_all_changes() {
        let sign = match change.tag() {
            ChangeTag::Delete => '-',
            ChangeTag::Insert => '+',
            ChangeTag::Equal => ' ',
        };
        text.push_str(&format!("    {sign} {}\n", change.value().trim_end()));
    }
    text
}
