//! What outcomes that came after an experiment's end have changed in its report.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Report;

/// A report of an experiment that has ended, against the one as of its end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SinceEnd {
    /// When it ended.
    pub ended_at: String,
    /// What differs; empty where nothing does.
    pub differences: Vec<Difference>,
}

/// A number or a word that differs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// What it is of, as a path: `metrics.cured.arms.next.mean`.
    pub what: String,
    /// At the end.
    pub at_end: Value,
    /// Now.
    pub now: Value,
}

/// The most differences that are listed.
const MOST: usize = 200;

impl Report {
    /// Adds what differs from the report as of the end.
    pub fn compared_with(mut self, end: &Self) -> Self {
        let (then, now) = (end.compared(), self.compared());
        let paths: Vec<&String> = now.iter().map(|(path, _)| path).collect();
        let value = |all: &[(String, Value)], path: &str| {
            all.iter().find(|(known, _)| known == path).map_or(Value::Null, |(_, value)| value.clone())
        };
        let differences = paths.into_iter().filter_map(|path| {
            let (at_end, now) = (value(&then, path), value(&now, path));
            (at_end != now).then(|| Difference { what: path.clone(), at_end, now })
        });
        self.since_end = Some(SinceEnd { ended_at: end.as_of.clone(), differences: differences.take(MOST).collect() });
        self
    }

    /// What a late outcome can change, each by its path.
    fn compared(&self) -> Vec<(String, Value)> {
        let mut all = vec![
            ("units.entered".to_owned(), json!(self.units.entered)),
            ("units.mature".to_owned(), json!(self.units.mature)),
            ("verdict.decision".to_owned(), json!(self.verdict.decision)),
        ];
        let since = self.since_ship.iter().flat_map(|since| &since.metrics).map(|metric| ("since_ship.", metric));
        for (at, metric) in self.metrics.iter().map(|metric| ("", metric)).chain(since) {
            for (name, arm) in &metric.arms {
                let path = format!("{at}metrics.{}.arms.{name}", metric.name);
                all.push((format!("{path}.units"), json!(arm.units)));
                all.push((format!("{path}.mean"), json!(arm.mean)));
            }
            for comparison in &metric.comparisons {
                let path = format!("{at}metrics.{}.comparisons.{}", metric.name, comparison.arm);
                all.push((format!("{path}.difference"), json!(comparison.difference)));
                all.push((format!("{path}.interval"), json!(comparison.interval)));
                all.push((format!("{path}.significant"), json!(comparison.significant)));
            }
        }
        let since = self.since_ship.iter().flat_map(|since| &since.guardrails).map(|rail| ("since_ship.", rail));
        for (at, guardrail) in self.guardrails.iter().map(|rail| ("", rail)).chain(since) {
            all.push((format!("{at}guardrails.{}.{}", guardrail.metric, guardrail.arm), json!(guardrail.state)));
        }
        all
    }
}

impl SinceEnd {
    /// It in a few lines.
    pub(super) fn lines(&self) -> Vec<String> {
        if self.differences.is_empty() {
            return vec![format!("nothing that came after the end, {}, changes it", self.ended_at)];
        }
        let head = format!("since the end, {}, these have changed:", self.ended_at);
        let line = |difference: &Difference| {
            format!("{}: {} at the end, {} now", difference.what, difference.at_end, difference.now)
        };
        std::iter::once(head).chain(self.differences.iter().map(line)).collect()
    }
}
