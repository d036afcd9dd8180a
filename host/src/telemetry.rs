//! Metrics, as Prometheus reads them. Labels never hold a digest, a unit or an id: their
//! number has to stay small. Series of a version go with the version, since versions come and go for as long as a host
//! runs.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// How long after a line of a kind the next one comes, at least.
const LINES_EVERY: Duration = Duration::from_secs(10);

/// Bounds a kind of log line that every request could cause: one comes in [`LINES_EVERY`], with the
/// number of those that were held back meanwhile. A full disk must not be filled with lines.
#[derive(Debug, Default)]
pub struct LogLimit {
    last: Mutex<Option<Instant>>,
    held_back: AtomicU64,
}

impl LogLimit {
    /// No line has come yet.
    pub const fn new() -> Self {
        Self { last: Mutex::new(None), held_back: AtomicU64::new(0) }
    }

    /// Says whether a line may come now, and how many were held back since the last one.
    pub fn admit(&self) -> Option<u64> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_some_and(|last| last.elapsed() < LINES_EVERY) {
            self.held_back.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        *last = Some(Instant::now());
        Some(self.held_back.swap(0, Ordering::Relaxed))
    }
}

/// Logs a line at a level, where one of its kind may come: each place in the source is a kind.
macro_rules! log_limited {
    ($level:ident, $($line:tt)+) => {{
        static LIMIT: $crate::telemetry::LogLimit = $crate::telemetry::LogLimit::new();
        if let Some(held_back) = LIMIT.admit() {
            tracing::$level!(held_back, $($line)+);
        }
    }};
}
pub(crate) use log_limited;

/// Labels of one attempt.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct AttemptLabels {
    /// Decision point.
    pub decision_point: String,
    /// Plugin name.
    pub strategy: String,
    /// Plugin version.
    pub version: String,
    /// The arm; empty where no experiment applies.
    pub arm: String,
    /// `answer`, `refusal`, or the kind of failure.
    pub outcome: String,
}

/// Labels of one decision.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct DecisionLabels {
    /// Decision point.
    pub decision_point: String,
    /// Who served.
    pub served_by: String,
}

/// Labels of a stage.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct StageLabels {
    /// `queue`, `gather`, `route`, `score`, `run`, `commit`.
    pub stage: &'static str,
}

/// Labels of a kind of thread.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct ThreadLabels {
    /// `listener` or `deciding`.
    pub thread: &'static str,
}

/// Labels of a counted event.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct EventLabels {
    /// What was counted.
    pub reason: String,
}

/// Labels of an artifact's versions.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct StateLabels {
    /// `active`, `loading`, `failed`, `retired`.
    pub state: String,
}

/// Labels of a model's version.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct ModelLabels {
    /// The model.
    pub model: String,
    /// Its version.
    pub version: String,
}

/// Labels of what came of asking a model.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct ScoreLabels {
    /// The model.
    pub model: String,
    /// Its version.
    pub version: String,
    /// `ok`, or why there is no score: `timeout`, `overloaded`, `breaker_open`, `invalid_row`,
    /// `not_finite`, `unavailable`.
    pub outcome: &'static str,
}

/// Labels of a listener.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct ListenerLabels {
    /// `public` or `admin`.
    pub listener: &'static str,
}

/// Buckets from 10 µs: below a millisecond is where decisions live.
fn histogram() -> Histogram {
    Histogram::new([
        10e-6, 20e-6, 35e-6, 50e-6, 75e-6, 100e-6, 150e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3,
        100e-3, 250e-3, 1.0, 5.0,
    ])
}

/// Declares all metrics: each has a field, a type (with the value it begins with, where that is not
/// the type's default), a name and a help text.
macro_rules! metrics {
    ($($field:ident ($type:ty $(= $value:expr)?): $name:literal, $help:literal;)+) => {
        /// All metrics of a host.
        #[derive(Debug)]
        pub struct Metrics {
            registry: Registry,
            /// The labels of attempts that there are series of: a family does not tell its own.
            attempted: Mutex<HashSet<AttemptLabels>>,
            $(#[doc = $help] pub $field: $type,)+
        }

        impl Default for Metrics {
            fn default() -> Self {
                let mut registry = Registry::with_prefix("serin");
                $(
                    let $field = metrics!(@value $type $(, $value)?);
                    registry.register($name, $help, $field.clone());
                )+
                Self { registry, attempted: Mutex::default(), $($field,)+ }
            }
        }
    };
    (@value $type:ty) => { <$type>::default() };
    (@value $type:ty, $value:expr) => { $value };
}

metrics! {
    attempts (Family<AttemptLabels, Counter>): "attempts", "Runs of strategies";
    attempt_seconds (Family<AttemptLabels, Histogram> = seconds()):
        "attempt_duration_seconds", "Time of a strategy's run";
    decision_seconds (Family<DecisionLabels, Histogram> = seconds()):
        "decision_duration_seconds", "Time from a request's arrival to its answer";
    stage_seconds (Family<StageLabels, Histogram> = seconds()):
        "stage_duration_seconds", "Time of a decision's stages";
    decisions (Family<ThreadLabels, Counter>): "decisions", "Decisions by the kind of thread that made them";
    rejected (Family<EventLabels, Counter>): "rejected", "Requests refused before a decision was made";
    access_refused (Family<EventLabels, Counter>): "access_refused", "Requests refused for their credential, by reason";
    placeholder_ids (Family<EventLabels, Counter>):
        "placeholder_ids", "Decisions about an id like undefined, null or NaN, by the kind of entity";
    degraded (Family<EventLabels, Counter>): "degraded", "What was not as it should be in answered decisions";
    features_missing (Family<EventLabels, Counter>): "features_missing", "Columns without a value in answered decisions";
    not_enrolled (Family<EventLabels, Counter>): "not_enrolled", "Units in a slot that were not enrolled";
    records_dropped (Counter): "records_dropped", "Records lost at best_effort points";
    looks (Counter): "experiment_looks", "Looks at the experiments' units";
    records_committed (Counter): "records_committed", "Records committed";
    commit_size (Histogram = Histogram::new([1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0])):
        "commit_records", "Records in a commit";
    synced_commits (Counter): "commits_synced", "Commits of statuses and approvals that waited for the disk";
    ledger_log_bytes (Gauge): "ledger_log_bytes", "Bytes of the ledger's log";
    clock_doubted (Gauge): "clock_doubted", "1 while the clock is not trusted";
    artifacts (Family<StateLabels, Gauge>): "artifacts", "Artifacts by state";
    reloads (Family<EventLabels, Counter>): "reloads", "Reloads by what came of them";
    generation (Gauge): "generation", "Deployment generation in force";
    requests_in_flight (Gauge): "requests_in_flight", "Requests in flight";
    connections (Family<ListenerLabels, Gauge>): "connections", "Connections open";
    connections_closed (Family<EventLabels, Counter>):
        "connections_closed", "Connections closed because of a bound (time, number by peer, resets) or a failed TLS handshake";
    tls_certificate_expiry (Gauge<f64, AtomicU64> = not_a_number()):
        "tls_certificate_expiry_seconds", "When the listeners' certificate expires, in seconds since 1970; NaN without TLS";
    bytes_in_flight (Gauge): "bytes_in_flight", "Bytes of request bodies and of large answers in memory";
    waiting_decisions (Gauge): "waiting_decisions", "Decisions that wait for a thread";
    live_versions (Gauge): "live_versions", "Strategy versions in memory";
    outcomes (Family<EventLabels, Counter>): "outcome_events", "Outcomes, watermarks and exposures received";
    shadows (Family<EventLabels, Counter>): "shadow_runs", "Runs of shadow arms, and those dropped under load";
    transitions (Family<EventLabels, Counter>): "experiment_transitions", "Changes of experiments' statuses";
    notifications (Family<EventLabels, Counter>): "notifications", "Messages to webhooks";
    traces (Family<EventLabels, Counter>): "traces", "Traces of decisions: sent, failed, or dropped since too many waited";
    model_scores (Family<ScoreLabels, Counter>): "model_scores", "Requests for scores by what came of them";
    model_runs (Family<ModelLabels, Gauge>): "model_runs_under_way", "Runs of models under way";
}

/// Durations by label, in the buckets of [`histogram`].
fn seconds<L: Clone + std::hash::Hash + Eq>() -> Family<L, Histogram> {
    Family::new_with_constructor(histogram as fn() -> Histogram)
}

/// Compares with nothing, so that no alert takes it for a time.
fn not_a_number() -> Gauge<f64, AtomicU64> {
    let gauge = Gauge::default();
    gauge.set(f64::NAN);
    gauge
}

impl Metrics {
    /// All metrics in the Prometheus text format.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.registry);
        text
    }

    /// Counts an attempt, and the time that it took.
    pub fn attempt(&self, labels: &AttemptLabels, seconds: f64) {
        let is_known = self.attempts.get(labels).map(|counter| counter.inc()).is_some();
        if !is_known {
            self.attempts.get_or_create(labels).inc();
            // Noted once it is there: what is dropped meanwhile is not noted, and what is noted can be dropped.
            self.attempted.lock().unwrap_or_else(PoisonError::into_inner).insert(labels.clone());
        }
        self.attempt_seconds.get_or_create(labels).observe(seconds);
    }

    /// Drops the series of all versions of strategies but these, each as `NAME@VERSION`.
    pub fn keep_versions(&self, known: &HashSet<String>) {
        let mut attempted = self.attempted.lock().unwrap_or_else(PoisonError::into_inner);
        attempted.retain(|labels| {
            let is_kept = known.contains(&format!("{}@{}", labels.strategy, labels.version));
            if !is_kept {
                self.attempts.remove(labels);
                self.attempt_seconds.remove(labels);
            }
            is_kept
        });
    }

    /// Counts one event under `reason`.
    pub fn count(family: &Family<EventLabels, Counter>, reason: &str) {
        family.get_or_create(&EventLabels { reason: reason.to_owned() }).inc();
    }
}

#[cfg(test)]
mod tests {
    use super::{AttemptLabels, LogLimit, Metrics};

    #[test]
    fn the_series_of_a_version_go_with_it_and_may_come_back() {
        let metrics = Metrics::default();
        let labels = |version: &str, outcome: &str| AttemptLabels {
            decision_point: "p".to_owned(),
            strategy: "one".to_owned(),
            version: version.to_owned(),
            arm: String::new(),
            outcome: outcome.to_owned(),
        };
        let lines = || metrics.encode().lines().filter(|line| line.contains("strategy=\"one\"")).count();
        metrics.attempt(&labels("1.0.0", "answer"), 0.001);
        let of_one = lines();
        metrics.attempt(&labels("1.0.0", "answer"), 0.001);
        metrics.attempt(&labels("1.0.0", "trap"), 0.001);
        metrics.attempt(&labels("1.1.0", "answer"), 0.001);
        assert_eq!(lines(), 3 * of_one);
        metrics.keep_versions(&["one@1.1.0".to_owned()].into());
        assert!(lines() == of_one && !metrics.encode().contains("1.0.0"), "{}", metrics.encode());
        metrics.attempt(&labels("1.0.0", "answer"), 0.001);
        assert_eq!(lines(), 2 * of_one);
        metrics.keep_versions(&["one@1.1.0".to_owned()].into());
        assert_eq!(lines(), of_one);
    }

    #[test]
    fn of_many_lines_at_once_one_comes() {
        let limit = LogLimit::new();
        assert_eq!(limit.admit(), Some(0));
        assert!((0..1000).all(|_| limit.admit().is_none()));
        *limit.last.lock().expect("locks") = None;
        assert_eq!(limit.admit(), Some(1000), "the next one says how many were held back");
    }
}
