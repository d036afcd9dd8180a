//! The keys that a `serin.toml` lacks, all of them at once: who writes one from nothing should not
//! meet them one by one.

use serin_core::toml_example;
use toml::{Table, Value};

const POINT: &[&str] = &["strategy", "entities", "actions", "fallback"];

/// What every table lacks that needs it, as one message; none where the text is no TOML, or lacks
/// nothing.
pub(super) fn missing(text: &str) -> Option<String> {
    let file: Table = toml::from_str(text).ok()?;
    let mut lacks = Vec::new();
    for (name, point) in tables(&file, "decision_points") {
        let at = format!("decision_points.{name}");
        lacks.extend(lacking(text, &at, point, POINT));
        if let Some(Value::Table(fallback)) = point.get("fallback") {
            lacks.extend(lacking(text, &format!("{at}.fallback"), fallback, &["action"]));
        }
    }
    for (name, view) in tables(&file, "features") {
        lacks.extend(lacking(text, &format!("features.{name}"), view, &["entity", "columns"]));
    }
    for (name, layer) in tables(&file, "layers") {
        lacks.extend(lacking(text, &format!("layers.{name}"), layer, &["unit"]));
    }
    for (name, versions) in tables(&file, "models") {
        for (version, model) in versions.iter().filter_map(|(version, model)| Some((version, model.as_table()?))) {
            lacks.extend(lacking(text, &format!("models.{name}.\"{version}\""), model, &["path"]));
        }
    }
    if let Some(Value::Table(tls)) = file.get("server").and_then(|server| server.get("tls")) {
        lacks.extend(lacking(text, "server.tls", tls, &["cert", "key"]));
    }
    for (name, keys) in [("global_holdout", &["unit", "share"][..]), ("governance", &["approvals"])] {
        if let Some(Value::Table(table)) = file.get(name) {
            lacks.extend(lacking(text, name, table, keys));
        }
    }
    (!lacks.is_empty()).then(|| format!("keys are missing: {}", lacks.join("; ")))
}

fn tables<'f>(file: &'f Table, name: &str) -> impl Iterator<Item = (&'f String, &'f Table)> {
    let table = file.get(name).and_then(Value::as_table).into_iter().flatten();
    table.filter_map(|(name, value)| Some((name, value.as_table()?)))
}

/// What one table lacks, with the line of its head and an example of each key.
fn lacking(text: &str, at: &str, table: &Table, needed: &[&str]) -> Option<String> {
    let lacks = needed.iter().filter(|key| !table.contains_key(**key));
    let lacks: Vec<String> = lacks
        .map(|key| toml_example(key).map_or_else(|| (*key).to_owned(), |like| format!("{key} = {like}")))
        .collect();
    let head = format!("[{at}]");
    let line = text.lines().position(|line| line.trim_start().starts_with(&head));
    let line = line.map_or_else(String::new, |line| format!("line {}: ", line + 1));
    (!lacks.is_empty()).then(|| format!("{line}[{at}] needs {}", lacks.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_missing_keys_are_named_at_once_with_examples() {
        let said = missing(
            "[decision_points.offers]\nfallback = {}\n[features.profile]\nttl = \"1d\"\n[models.churn.\"1.0.0\"]\n[governance]\n",
        );
        let said = said.expect("much is missing");
        for words in [
            "[decision_points.offers] needs strategy = \"offers-rules@1.0.0\", entities = [",
            "actions = [",
            "[decision_points.offers.fallback] needs action = \"none\"",
            "[features.profile] needs entity = \"customer\", columns = {",
            "[models.churn.\"1.0.0\"] needs path = ",
            "[governance] needs approvals = 2",
        ] {
            assert!(said.contains(words), "{words}: {said}");
        }
        assert_eq!(missing("[server]\n"), None);
        assert_eq!(missing("[server"), None, "another message says so");
    }
}
