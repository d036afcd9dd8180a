//! What looks like a mistake in an artifact that a host would accept.
//!
//! Whether a feature is read cannot be seen from outside. What can be seen is whether anything
//! depends on it: each case is run again with another value in its place, and neither the answer
//! nor the fuel differs where nobody looked.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serin_core::case::Case;
use serin_core::limits::Limits;
use serin_core::manifest::{CONTEXT_VIEW, Feature, OnMissing};
use serin_core::record::Outcome;
use serin_core::value::{Value, ValueType};

use crate::registry::{CaseResult, Plugin, files_in};

/// The share of a limit from which on it is near, of fuel and of memory. An interpreter holds most of its memory
/// before it begins, and needs little more for a decision.
const NEAR: [f64; 2] = [0.8, 0.9];
/// Other values of a feature that are tried on each case.
const MOST_TRIALS: usize = 12;
/// An artifact that has grown by more than this against its last version.
const GROWN: f64 = 1.25;

/// Warnings, each a line.
pub(super) fn of(plugin: &Plugin, file: &Path) -> Vec<String> {
    let manifest = plugin.manifest();
    let cases = &plugin.contents.cases;
    let mut warnings = Vec::new();
    if plugin.contents.is_draft {
        warnings.push(
            "it is a draft, which only a host with --dev serves; 'serin plugin build' makes the artifact".to_owned(),
        );
    }
    let plain: Vec<CaseResult> = cases.iter().map(|case| plugin.run_case(case)).collect();
    // Where no case comes to an end, nothing follows from what they come to.
    if plain.iter().any(|result| !matches!(result.outcome, Outcome::Failure { .. })) {
        let mut seen = Seen::default();
        plain.iter().for_each(|result| seen.note(&result.outcome));
        for feature in &manifest.features {
            if !is_read(plugin, feature, cases, &plain) {
                warnings.push(format!("feature {}.{}: no case depends on it; is it read?", feature.view, feature.name));
            }
        }
        for reason in manifest.reasons.iter().filter(|reason| !seen.reasons.contains(&*reason.code)) {
            warnings.push(format!("reason {}: no case comes to it", reason.code));
        }
        for action in manifest.actions.iter().filter(|action| !seen.actions.contains(&*action.name)) {
            warnings.push(format!("action {}: no case comes to it", action.name));
        }
        warnings.extend(limits(plugin, &plain));
    }
    warnings.extend(asked(plugin));
    warnings.extend(size(plugin, file));
    warnings
}

/// What the cases came to.
#[derive(Default)]
struct Seen {
    reasons: BTreeSet<String>,
    actions: BTreeSet<String>,
}

impl Seen {
    fn note(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::Candidates(candidates) => {
                for candidate in candidates {
                    self.actions.insert(candidate.action.to_string());
                    self.reasons.extend(candidate.reasons.iter().map(|reason| reason.code.to_string()));
                }
            }
            Outcome::Refusal { code, .. } => drop(self.reasons.insert(code.to_string())),
            Outcome::Failure { .. } => {}
        }
    }
}

/// Values to try in place of `given`: those of other cases, the default, and values near and far. A
/// condition may depend on any of them.
fn trials(feature: &Feature, given: &Value, cases: &[Case]) -> Vec<Value> {
    let mut trials = others(feature.value_type, given);
    trials.extend(cases.iter().filter_map(|case| given_by(case, feature)));
    match &feature.on_missing {
        OnMissing::Default(value) => trials.push(value.clone()),
        OnMissing::Pass | OnMissing::Error => {}
    }
    let mut known = vec![given.clone()];
    trials.retain(|trial| {
        let is_new = !known.contains(trial);
        known.push(trial.clone());
        is_new
    });
    trials.truncate(MOST_TRIALS);
    trials
}

/// The value that a case gives a feature.
fn given_by(case: &Case, feature: &Feature) -> Option<Value> {
    let given = match *feature.view == *CONTEXT_VIEW {
        true => case.context.get(&*feature.name),
        false => case.features.get(&*feature.view).and_then(|values| values.get(&*feature.name)),
    };
    given.filter(|value| !value.is_missing()).cloned()
}

/// Other values of the same type, and of the same length where it is text.
fn others(value_type: ValueType, value: &Value) -> Vec<Value> {
    match (value_type, value) {
        (ValueType::Boolean, value) => vec![Value::Boolean(*value != Value::Boolean(true))],
        (ValueType::Integer, value) => {
            let now = value.as_f64().unwrap_or(0.0) as i64;
            [now + 1, now - 1, 0, now + 1000, -now - 1000].map(Value::Integer).into()
        }
        (ValueType::Number, value) => {
            let now = value.as_f64().unwrap_or(0.0);
            [now + 1.5, now - 1.5, 0.0, now * 100.0 + 1000.0, -now - 1000.0].map(Value::Number).into()
        }
        (ValueType::Text, Value::Text(text)) => vec![Value::Text("z".repeat(text.len()))],
        (ValueType::Text, _) => vec![Value::Text("z".to_owned()), Value::Text("y".to_owned())],
    }
}

fn is_read(plugin: &Plugin, feature: &Feature, cases: &[Case], plain: &[CaseResult]) -> bool {
    let mut depends = false;
    for (case, before) in cases.iter().zip(plain) {
        let is_context = *feature.view == *CONTEXT_VIEW;
        let given = given_by(case, feature).unwrap_or(Value::Missing);
        let mut last = given.is_missing().then_some(None);
        for other in trials(feature, &given, cases) {
            let mut changed = case.clone();
            let values = match is_context {
                true => &mut changed.context,
                false => changed.features.entry(feature.view.to_string()).or_default(),
            };
            values.insert(feature.name.to_string(), other);
            let result = plugin.run_case(&changed);
            // A value in the place of none may cost fuel by itself: then two values are compared.
            let known = (format!("{:?}", result.outcome), result.fuel);
            depends |= match &mut last {
                None => known != (format!("{:?}", before.outcome), before.fuel),
                Some(last) => last.replace(known.clone()).is_some_and(|before: (String, u64)| before != known),
            };
        }
    }
    depends
}

fn limits(plugin: &Plugin, plain: &[CaseResult]) -> Vec<String> {
    let granted = plugin.manifest().limits.over(Limits::default());
    let most = |of: fn(&CaseResult) -> u64| plain.iter().map(of).max().unwrap_or(0);
    [
        ("fuel", most(|result| result.fuel), granted.fuel, NEAR[0]),
        ("memory_bytes", most(|result| result.memory_bytes), granted.memory_bytes, NEAR[1]),
    ]
    .into_iter()
    .filter(|(_, used, limit, near)| *used as f64 > near * *limit as f64)
    .map(|(key, used, limit, _)| format!("limits.{key}: a case uses {used} of {limit}"))
    .collect()
}

/// More than a host grants by itself: the cases run with what is asked for, decisions with what is granted.
fn asked(plugin: &Plugin) -> Vec<String> {
    let (asked, granted) = (plugin.manifest().limits, Limits::default());
    [
        ("fuel", asked.fuel, granted.fuel),
        ("memory_bytes", asked.memory_bytes, granted.memory_bytes),
        ("table_elements", asked.table_elements, granted.table_elements),
        ("wall_ms", asked.wall_ms, granted.wall_ms),
        ("output_bytes", asked.output_bytes, granted.output_bytes),
        ("candidates", asked.candidates, granted.candidates),
        ("host_calls", asked.host_calls, granted.host_calls),
        ("host_call_rows", asked.host_call_rows, granted.host_call_rows),
    ]
    .into_iter()
    .filter_map(|(key, asked, granted)| Some((key, asked.filter(|asked| *asked > granted)?, granted)))
    .map(|(key, asked, granted)| {
        format!("limits.{key}: asks for {asked}, and a host grants {granted} unless its [limits] say more")
    })
    .collect()
}

/// Against the last version that lies beside it, by the names that `plugin build` gives: what is
/// in files that nobody asked about is not looked at.
fn size(plugin: &Plugin, file: &Path) -> Option<String> {
    let manifest = plugin.manifest();
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let version = |path: &Path| {
        let name = path.file_stem()?.to_str()?.strip_prefix(&*manifest.name)?.strip_prefix('-')?.to_owned();
        semver::Version::parse(&name).ok().filter(|version| *version < manifest.version)
    };
    let others = files_in(folder, "wasm").ok()?;
    let file_bytes =
        |path: &PathBuf| std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file).map(|meta| meta.len());
    let sized = |path: &PathBuf| Some((version(path)?, file_bytes(path)?));
    let (last, bytes) = others.iter().filter_map(sized).filter(|(_, bytes)| *bytes > 0).max()?;
    let grown = plugin.contents.size as f64 / bytes as f64;
    (grown > GROWN).then(|| format!("size: {} bytes, {grown:.2} times those of version {last}", plugin.contents.size))
}
