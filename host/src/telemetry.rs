//! Metrics, as Prometheus reads them. Labels never hold a digest, a unit or an id: their
//! number has to stay small.

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

/// All metrics of a host.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Attempts, counted by outcome.
    pub attempts: Family<AttemptLabels, Counter>,
    /// Seconds of an attempt's run.
    pub attempt_seconds: Family<AttemptLabels, Histogram>,
    /// Seconds from a request's arrival to its answer.
    pub decision_seconds: Family<DecisionLabels, Histogram>,
    /// Seconds a stage.
    pub stage_seconds: Family<StageLabels, Histogram>,
    /// Requests refused before a decision, by reason.
    pub rejected: Family<EventLabels, Counter>,
    /// What was not as it should be in decisions that were answered.
    pub degraded: Family<EventLabels, Counter>,
    /// Decisions about an id that programs write where they have none, by the kind of entity.
    pub placeholder_ids: Family<EventLabels, Counter>,
    /// Units whose place an experiment holds and that it did not enrol.
    pub not_enrolled: Family<EventLabels, Counter>,
    /// Records that a `best_effort` point lost.
    pub records_dropped: Counter,
    /// Looks at the experiments' units.
    pub looks: Counter,
    /// Records committed.
    pub records_committed: Counter,
    /// Records a commit.
    pub commit_size: Histogram,
    /// Commits that waited for the disk because of a status, an approval or the clock.
    pub synced_commits: Counter,
    /// Bytes of the ledger's write-ahead log.
    pub ledger_log_bytes: Gauge<i64, std::sync::atomic::AtomicI64>,
    /// 1 while the clock is not trusted, and nothing is expired nor changed by the host.
    pub clock_doubted: Gauge<i64, std::sync::atomic::AtomicI64>,
    /// Artifacts by state.
    pub artifacts: Family<StateLabels, Gauge>,
    /// Reloads by what came of them.
    pub reloads: Family<EventLabels, Counter>,
    /// The deployment generation in force.
    pub generation: Gauge<i64, std::sync::atomic::AtomicI64>,
    /// Requests in flight.
    pub requests_in_flight: Gauge<i64, std::sync::atomic::AtomicI64>,
    /// Connections open.
    pub connections: Family<ListenerLabels, Gauge>,
    /// Connections that the host closed because of a bound, by which.
    pub connections_closed: Family<EventLabels, Counter>,
    /// Bytes of request bodies, and of large answers, that are in memory.
    pub bytes_in_flight: Gauge<i64, std::sync::atomic::AtomicI64>,
    /// Decisions that wait for a thread.
    pub waiting_decisions: Gauge<i64, std::sync::atomic::AtomicI64>,
    /// Strategy versions that are still in memory, retired ones included.
    pub live_versions: Gauge<i64, std::sync::atomic::AtomicI64>,
    /// Outcomes and exposures received, by what came of them.
    pub outcomes: Family<EventLabels, Counter>,
    /// Changes of experiments' statuses, by command.
    pub transitions: Family<EventLabels, Counter>,
    /// Runs of shadow arms, by what came of them.
    pub shadows: Family<EventLabels, Counter>,
    /// Messages to webhooks, by what came of them.
    pub notifications: Family<EventLabels, Counter>,
    /// Requests for scores, by what came of them.
    pub model_scores: Family<ScoreLabels, Counter>,
    /// Runs of models under way, those included that nobody waits for any more.
    pub model_runs: Family<ModelLabels, Gauge>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("serin");
        macro_rules! register {
            ($name:literal, $help:literal, $metric:expr) => {{
                let metric = $metric;
                registry.register($name, $help, metric.clone());
                metric
            }};
        }
        Self {
            attempts: register!("attempts", "Runs of strategies", Family::default()),
            attempt_seconds: register!(
                "attempt_duration_seconds",
                "Time of a strategy's run",
                Family::new_with_constructor(histogram as fn() -> Histogram)
            ),
            decision_seconds: register!(
                "decision_duration_seconds",
                "Time from a request's arrival to its answer",
                Family::new_with_constructor(histogram as fn() -> Histogram)
            ),
            stage_seconds: register!(
                "stage_duration_seconds",
                "Time of a decision's stages",
                Family::new_with_constructor(histogram as fn() -> Histogram)
            ),
            rejected: register!("rejected", "Requests refused before a decision was made", Family::default()),
            placeholder_ids: register!(
                "placeholder_ids",
                "Decisions about an id like undefined, null or NaN, by the kind of entity",
                Family::default()
            ),
            degraded: register!("degraded", "What was not as it should be in answered decisions", Family::default()),
            not_enrolled: register!("not_enrolled", "Units in a slot that were not enrolled", Family::default()),
            records_dropped: register!("records_dropped", "Records lost at best_effort points", Counter::default()),
            looks: register!("experiment_looks", "Looks at the experiments' units", Counter::default()),
            records_committed: register!("records_committed", "Records committed", Counter::default()),
            commit_size: register!(
                "commit_records",
                "Records in a commit",
                Histogram::new([1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0])
            ),
            synced_commits: register!(
                "commits_synced",
                "Commits of statuses and approvals that waited for the disk",
                Counter::default()
            ),
            ledger_log_bytes: register!("ledger_log_bytes", "Bytes of the ledger's log", Gauge::default()),
            clock_doubted: register!("clock_doubted", "1 while the clock is not trusted", Gauge::default()),
            artifacts: register!("artifacts", "Artifacts by state", Family::default()),
            reloads: register!("reloads", "Reloads by what came of them", Family::default()),
            generation: register!("generation", "Deployment generation in force", Gauge::default()),
            requests_in_flight: register!("requests_in_flight", "Requests in flight", Gauge::default()),
            connections: register!("connections", "Connections open", Family::default()),
            connections_closed: register!(
                "connections_closed",
                "Connections closed because of a bound: time, or number by peer",
                Family::default()
            ),
            bytes_in_flight: register!(
                "bytes_in_flight",
                "Bytes of request bodies and of large answers in memory",
                Gauge::default()
            ),
            waiting_decisions: register!("waiting_decisions", "Decisions that wait for a thread", Gauge::default()),
            live_versions: register!("live_versions", "Strategy versions in memory", Gauge::default()),
            outcomes: register!("outcome_events", "Outcomes and exposures received", Family::default()),
            shadows: register!("shadow_runs", "Runs of shadow arms, and those dropped under load", Family::default()),
            transitions: register!("experiment_transitions", "Changes of experiments' statuses", Family::default()),
            notifications: register!("notifications", "Messages to webhooks", Family::default()),
            model_scores: register!("model_scores", "Requests for scores by what came of them", Family::default()),
            model_runs: register!("model_runs_under_way", "Runs of models under way", Family::default()),
            registry,
        }
    }
}

impl Metrics {
    /// All metrics in the Prometheus text format.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.registry);
        text
    }

    /// Counts one event under `reason`.
    pub fn count(family: &Family<EventLabels, Counter>, reason: &str) {
        family.get_or_create(&EventLabels { reason: reason.to_owned() }).inc();
    }
}

#[cfg(test)]
mod tests {
    use super::LogLimit;

    #[test]
    fn of_many_lines_at_once_one_comes() {
        let limit = LogLimit::new();
        assert_eq!(limit.admit(), Some(0));
        assert!((0..1000).all(|_| limit.admit().is_none()));
        *limit.last.lock().expect("locks") = None;
        assert_eq!(limit.admit(), Some(1000), "the next one says how many were held back");
    }
}
