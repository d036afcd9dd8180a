//! What was served lately, by decision point: differences of the counters of `/metrics`, over a window.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::Serialize;

use crate::telemetry::Metrics;

/// How long the window is.
const WINDOW: Duration = Duration::from_secs(300);
/// How often the counters are kept.
pub(super) const EVERY: Duration = Duration::from_secs(10);

/// Counters of one decision point.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Counts {
    decisions: u64,
    fallbacks: u64,
    failures: u64,
    refusals: u64,
    excluded: u64,
}

/// All counters at a time.
#[derive(Debug, Clone, Default)]
struct Counters {
    points: BTreeMap<String, Counts>,
    degraded: BTreeMap<String, u64>,
    missing: BTreeMap<String, u64>,
}

/// What a decision point served within the window.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub(super) struct PointTraffic {
    /// How long the window is, in seconds; less in a host's first minutes.
    pub(super) window_s: f64,
    /// Decisions that were answered.
    pub(super) decisions: u64,
    /// Of them, those that the pinned strategy or the fallback action served in place of what was to serve.
    pub(super) fallbacks: u64,
    /// Runs of strategies that failed.
    pub(super) failures: u64,
    /// Runs of strategies that declined.
    pub(super) refusals: u64,
    /// Decisions that `exclude` served.
    pub(super) excluded: u64,
}

/// What was served within the window.
#[derive(Debug, Clone, Default)]
pub(super) struct Served {
    /// By decision point.
    pub(super) points: BTreeMap<String, PointTraffic>,
    /// What was not as it should be in answered decisions, and how often.
    pub(super) degraded: BTreeMap<String, u64>,
    /// The columns of feature views that had no value in answered decisions, and how often, as `view.column`.
    pub(super) missing: BTreeMap<String, u64>,
}

/// Keeps counters for as long as the window.
#[derive(Debug)]
pub(super) struct Traffic {
    kept: Mutex<VecDeque<(Instant, Counters)>>,
}

impl Default for Traffic {
    fn default() -> Self {
        // All counters are 0 when a host starts.
        Self { kept: Mutex::new(VecDeque::from([(Instant::now(), Counters::default())])) }
    }
}

impl Traffic {
    /// Keeps the counters as they are now.
    pub(super) fn keep(&self, metrics: &Metrics) {
        let (now, counters) = (Instant::now(), Counters::parse(&metrics.encode()));
        let mut kept = self.kept.lock();
        kept.push_back((now, counters));
        while kept.len() > 2 && kept.get(1).is_some_and(|(at, _)| now.duration_since(*at) >= WINDOW) {
            kept.pop_front();
        }
    }

    /// What was served within the window that ends now.
    pub(super) fn served(&self, metrics: &Metrics) -> Served {
        let (now, counters) = (Instant::now(), Counters::parse(&metrics.encode()));
        let kept = self.kept.lock();
        let Some((since, before)) = kept.front() else { return Served::default() };
        counters.less(before, now.duration_since(*since).as_secs_f64())
    }
}

impl Counters {
    fn parse(text: &str) -> Self {
        let mut counters = Self::default();
        for line in text.lines() {
            let Some((name, rest)) = line.split_once('{') else { continue };
            let decision = name == "serin_decision_duration_seconds_count";
            let attempt = name == "serin_attempts_total";
            let missing = name == "serin_features_missing_total";
            if !decision && !attempt && !missing && name != "serin_degraded_total" {
                continue;
            }
            let Some((labels, count)) = labels(rest) else { continue };
            let label = |name: &str| labels.iter().find(|(key, _)| *key == name).map_or("", |(_, value)| value);
            if missing {
                counters.missing.insert(label("reason").to_owned(), count);
                continue;
            }
            if !decision && !attempt {
                counters.degraded.insert(label("reason").to_owned(), count);
                continue;
            }
            let point = counters.points.entry(label("decision_point").to_owned()).or_default();
            if attempt {
                match label("outcome") {
                    "answer" => {}
                    "refusal" => point.refusals += count,
                    _ => point.failures += count,
                }
                continue;
            }
            point.decisions += count;
            match label("served_by") {
                "fallback_strategy" | "fallback_action" => point.fallbacks += count,
                "constraint" => point.excluded += count,
                _ => {}
            }
        }
        counters
    }

    fn less(&self, before: &Self, window_s: f64) -> Served {
        let point = |(name, now): (&String, &Counts)| {
            let old = before.points.get(name).copied().unwrap_or_default();
            let traffic = PointTraffic {
                window_s: (window_s * 10.0).round() / 10.0,
                decisions: now.decisions.saturating_sub(old.decisions),
                fallbacks: now.fallbacks.saturating_sub(old.fallbacks),
                failures: now.failures.saturating_sub(old.failures),
                refusals: now.refusals.saturating_sub(old.refusals),
                excluded: now.excluded.saturating_sub(old.excluded),
            };
            (name.clone(), traffic)
        };
        Served {
            points: self.points.iter().map(point).collect(),
            degraded: grown(&self.degraded, &before.degraded),
            missing: grown(&self.missing, &before.missing),
        }
    }
}

/// By how much counters have grown, of those that have.
fn grown(now: &BTreeMap<String, u64>, before: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    let grown = now.iter().map(|(what, n)| (what, n.saturating_sub(before.get(what).copied().unwrap_or_default())));
    grown.filter(|(_, n)| *n > 0).map(|(what, n)| (what.clone(), n)).collect()
}

/// The labels of a line and its value, from behind its opening brace.
fn labels(rest: &str) -> Option<(Vec<(&str, String)>, u64)> {
    let (mut found, mut rest) = (Vec::new(), rest);
    loop {
        let (key, after) = rest.split_once("=\"")?;
        let (mut value, mut escaped, mut end) = (String::new(), false, None);
        for (at, letter) in after.char_indices() {
            match letter {
                _ if escaped => {
                    value.push(if letter == 'n' { '\n' } else { letter });
                    escaped = false;
                }
                '\\' => escaped = true,
                '"' => {
                    end = Some(at);
                    break;
                }
                _ => value.push(letter),
            }
        }
        found.push((key, value));
        rest = &after[end? + 1..];
        match rest.strip_prefix(',') {
            Some(next) => rest = next,
            None => break,
        }
    }
    let count = rest.strip_prefix("} ")?.split(' ').next()?;
    Some((found, count.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counters_of_metrics_are_read_by_point() {
        let metrics = Metrics::default();
        let before = Counters::parse(&metrics.encode());
        for (served_by, n) in [("arm", 5), ("fallback_strategy", 2), ("constraint", 1)] {
            let labels = crate::telemetry::DecisionLabels { decision_point: "p".into(), served_by: served_by.into() };
            (0..n).for_each(|_| metrics.decision_seconds.get_or_create(&labels).observe(0.001));
        }
        for outcome in ["answer", "refusal", "trap", "deadline"] {
            let labels = crate::telemetry::AttemptLabels {
                decision_point: "p".into(),
                strategy: "a \"b\" \\ c".into(),
                version: "1.0.0".into(),
                arm: String::new(),
                outcome: outcome.into(),
            };
            metrics.attempts.get_or_create(&labels).inc();
        }
        Metrics::count(&metrics.degraded, "feature:v.c:stale");
        let served = Counters::parse(&metrics.encode()).less(&before, 10.0);
        let point = &served.points["p"];
        assert_eq!((point.decisions, point.fallbacks, point.excluded), (8, 2, 1));
        assert_eq!((point.failures, point.refusals), (2, 1));
        assert_eq!(served.degraded.get("feature:v.c:stale"), Some(&1));
    }
}
