//! W3C trace context: a request's spans belong to the caller's trace, in the log and where traces are sent.

use std::time::{Duration, Instant};

use axum::Extension;
use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderMap, Method};
use axum::response::Response;
use serin_core::record::{Attempt, Outcome, Record, Role};

use super::Problem;
use super::error::ProblemType;
use super::resolution::resolution;
use crate::clock::Clock;
use crate::traces::{DecisionTrace, Evaluation, Stage, StrategyRun, TraceContext, Traces, new_id};

/// Ids from a `traceparent` header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceParent {
    /// The trace, 32 hexadecimal digits.
    pub trace_id: String,
    /// The caller's span, 16 hexadecimal digits.
    pub parent_id: String,
    /// Whether the caller's trace is sampled.
    pub is_sampled: bool,
}

impl TraceParent {
    /// Reads the header. One that is broken is as good as none, as the specification says.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let mut parts = headers.get("traceparent")?.to_str().ok()?.split('-');
        let (version, trace_id, parent_id, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let hex = |text: &str, n: usize| {
            text.len() == n && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        };
        let valid = hex(version, 2)
            && version != "ff"
            && hex(trace_id, 32)
            && hex(parent_id, 16)
            && hex(flags, 2)
            && trace_id.bytes().any(|b| b != b'0')
            && parent_id.bytes().any(|b| b != b'0')
            && (version != "00" || parts.next().is_none());
        let is_sampled = u8::from_str_radix(flags, 16).is_ok_and(|flags| flags & 1 == 1);
        valid.then(|| Self { trace_id: trace_id.to_owned(), parent_id: parent_id.to_owned(), is_sampled })
    }

    fn context(&self) -> Option<TraceContext> {
        Some(TraceContext {
            trace_id: u128::from_str_radix(&self.trace_id, 16).ok()?.to_be_bytes(),
            parent: Some(u64::from_str_radix(&self.parent_id, 16).ok()?.to_be_bytes()),
            is_sampled: self.is_sampled,
        })
    }
}

/// The routes whose requests are traced: each with its operation.
const TRACED: [(&str, &str); 4] = [
    ("/v1/decisions", "POST /v1/decisions"),
    ("/v1/decisions/batch", "POST /v1/decisions/batch"),
    ("/ofrep/v1/evaluate/flags", "POST /ofrep/v1/evaluate/flags"),
    ("/ofrep/v1/evaluate/flags/{key}", "POST /ofrep/v1/evaluate/flags/{key}"),
];

/// The header of an answer that is the one which an idempotency key had before.
pub const REPLAYED: &str = "idempotent-replayed";

/// The trace of a request for decisions, begun before anything of it is checked: an extension of the request, so that
/// whoever refuses it, the trace is the same.
#[derive(Debug, Clone, Copy)]
pub struct BegunTrace {
    context: TraceContext,
    operation: &'static str,
    arrived: Instant,
}

impl BegunTrace {
    /// The trace of a request; none while tracing is off, and for a request that is for no decision.
    pub fn of(traces: &Traces, request: &Request) -> Option<Self> {
        if !traces.is_on() || *request.method() != Method::POST {
            return None;
        }
        let path = request.extensions().get::<MatchedPath>()?.as_str();
        let (_, operation) = TRACED.into_iter().find(|(route, _)| *route == path)?;
        let caller = TraceParent::of(request.headers());
        let context = traces.begin(caller.as_ref().and_then(TraceParent::context))?;
        Some(Self { context, operation, arrived: Instant::now() })
    }

    /// Sends the span of a request that was refused, or answered as it was before. What was decided sends its own.
    pub fn end(self, traces: &Traces, answer: &Response) {
        let status = answer.status();
        let is_refusal = status.is_client_error() || status.is_server_error();
        let is_repeated = answer.headers().contains_key(REPLAYED);
        if !(is_refusal || is_repeated) || !self.context.is_sampled {
            return;
        }
        let reason = answer.extensions().get::<ProblemType>().map(|ProblemType(reason)| reason.clone());
        let reason = reason.unwrap_or_else(|| status.as_str().to_owned());
        let mut ended = refused(self.context, self.operation, (status.as_u16(), reason), self.arrived.elapsed());
        if !is_refusal {
            ended.refused = None;
        }
        traces.send(ended);
    }
}

fn refused(
    context: TraceContext,
    operation: &'static str,
    (status, reason): (u16, String),
    took: Duration,
) -> DecisionTrace {
    DecisionTrace {
        context,
        operation,
        ended_ms: 0,
        took,
        stages: Vec::new(),
        status,
        refused: Some(reason),
        decision_id: None,
        evaluations: Vec::new(),
    }
}

/// The trace of a request.
#[derive(Debug, Clone)]
pub struct RequestTrace {
    /// Its span in the log, in the caller's trace.
    pub span: tracing::Span,
    /// The trace's id, as the record has it: the caller's, or one that is made here.
    pub trace_id: Option<String>,
    /// The trace that is sent; none while tracing is off, or where it is not sampled.
    sent: Option<(TraceContext, &'static str)>,
}

impl RequestTrace {
    /// The trace of a request: `operation` in the log, and what was begun of it to be sent.
    pub fn of(
        begun: Option<Extension<BegunTrace>>,
        headers: &HeaderMap,
        operation: &'static str,
        clock: &dyn Clock,
    ) -> Self {
        let begun = begun.map(|Extension(begun)| begun);
        let sent = begun.filter(|begun| begun.context.is_sampled).map(|begun| (begun.context, begun.operation));
        let (trace_id, span) = match TraceParent::of(headers) {
            Some(TraceParent { trace_id, parent_id, .. }) => {
                let span = tracing::info_span!("request", operation, trace_id, parent_id);
                (trace_id, span)
            }
            None => {
                let id = begun.map_or_else(|| new_id(clock), |begun| begun.context.trace_id);
                let trace_id = format!("{:032x}", u128::from_be_bytes(id));
                let span = tracing::info_span!("request", operation, trace_id);
                (trace_id, span)
            }
        };
        Self { span, trace_id: Some(trace_id), sent }
    }

    /// What is to be sent of an item of a batch that was refused.
    pub fn refused(&self, problem: &Problem, arrived: Instant) -> Option<DecisionTrace> {
        let (context, operation) = self.sent?;
        let why = (problem.status, problem.reason().to_owned());
        Some(refused(context, operation, why, arrived.elapsed()))
    }

    /// What is to be sent of a bulk evaluation, which records nothing.
    pub fn bulk(&self, evaluations: Vec<Evaluation>, status: u16, arrived: Instant) -> Option<DecisionTrace> {
        let (context, operation) = self.sent?;
        Some(DecisionTrace {
            context,
            operation,
            ended_ms: 0,
            took: arrived.elapsed(),
            stages: Vec::new(),
            status,
            refused: None,
            decision_id: None,
            evaluations,
        })
    }

    /// What is to be sent of one evaluation of many.
    pub fn evaluation(&self, record: &Record) -> Option<Evaluation> {
        self.sent.map(|(_, operation)| evaluation(record, operation))
    }

    /// What is to be sent of a decision that is never recorded.
    pub fn dry_run(&self, record: &Record, arrived: Instant) -> Option<DecisionTrace> {
        self.decided(record, arrived).map(|trace| DecisionTrace { decision_id: None, ..trace })
    }

    /// What is to be sent of a decision that was made just now, and is not recorded yet.
    pub fn decided(&self, record: &Record, arrived: Instant) -> Option<DecisionTrace> {
        let (context, operation) = self.sent?;
        let took = arrived.elapsed();
        // Stages follow one another, and the last one has just ended.
        let all: Duration = record.timings_us.values().map(|us| Duration::from_micros(*us)).sum();
        let mut began = took.saturating_sub(all);
        let mut stages = Vec::with_capacity(record.timings_us.len() + record.attempts.len());
        for (name, us) in &record.timings_us {
            let took = Duration::from_micros(*us);
            match **name == *"run" {
                true => stages.extend(runs(&record.attempts, began, took)),
                false => stages.push(Stage { name: name.to_string(), began, took, run: None }),
            }
            began += took;
        }
        Some(DecisionTrace {
            context,
            operation,
            ended_ms: 0,
            took,
            stages,
            status: 200,
            refused: None,
            decision_id: Some(record.decision_id.clone()),
            evaluations: vec![evaluation(record, operation)],
        })
    }
}

/// A stage for each attempt, one after the other within the time of all. Each has its own run's time, and the last one
/// what is left: a wait for a slot among it.
fn runs(attempts: &[Attempt], mut began: Duration, whole: Duration) -> Vec<Stage> {
    let end = began + whole;
    let stage = |(at, attempt): (usize, &Attempt)| {
        let left = end.saturating_sub(began);
        let took = if at + 1 < attempts.len() { Duration::from_micros(attempt.time_us).min(left) } else { left };
        let run = StrategyRun {
            strategy: format!("{}@{}", attempt.strategy.name, attempt.strategy.version),
            role: role(attempt.role),
            outcome: attempt.outcome.label(),
            is_failure: matches!(attempt.outcome, Outcome::Failure { .. }),
        };
        let stage = Stage { name: "run".to_owned(), began, took, run: Some(run) };
        began += took;
        stage
    };
    attempts.iter().enumerate().map(stage).collect()
}

/// What a strategy ran as, by the record's name for it.
fn role(role: Role) -> &'static str {
    match role {
        Role::Arm => "arm",
        Role::Strategy => "strategy",
        Role::FallbackStrategy => "fallback_strategy",
        Role::Shadow => "shadow",
    }
}

fn evaluation(record: &Record, operation: &str) -> Evaluation {
    let (reason, variant) = resolution(record);
    let strategy = record.answer.strategy.as_ref();
    Evaluation {
        decision_point: record.decision_point.to_string(),
        action: record.answer.action.to_string(),
        is_action: !operation.contains("/ofrep/"),
        served_by: record.answer.served_by.as_str(),
        strategy: strategy.map(|strategy| format!("{}@{}", strategy.name, strategy.version)),
        reason,
        variant: variant.into_owned(),
    }
}

/// Sends the trace of a decision that is recorded now, or was refused beside others that are.
pub fn send(traces: &Traces, trace: Option<DecisionTrace>, arrived: Instant) {
    let Some(mut trace) = trace else { return };
    let took = arrived.elapsed();
    if trace.refused.is_none() {
        let took = took.saturating_sub(trace.took);
        trace.stages.push(Stage { name: "commit".to_owned(), began: trace.took, took, run: None });
    }
    traces.send(DecisionTrace { took, ..trace });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_valid_header_counts() {
        let of = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("traceparent", text.parse().expect("a header"));
            TraceParent::of(&headers)
        };
        let good = of("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").expect("valid");
        assert_eq!((good.trace_id.len(), good.parent_id.as_str()), (32, "00f067aa0ba902b7"));
        assert!(
            of("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-later").is_some(),
            "later versions may add"
        );
        for bad in [
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "garbage",
        ] {
            assert_eq!(of(bad), None, "{bad}");
        }
    }
}
