//! W3C trace context: a request's spans belong to the caller's trace, in the log and where traces are sent.

use std::time::{Duration, Instant};

use axum::http::HeaderMap;
use serin_core::record::Record;

use super::resolution::resolution;
use crate::traces::{DecisionTrace, Stage, TraceContext, Traces};

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

/// The trace of a request.
#[derive(Debug, Clone)]
pub struct RequestTrace {
    /// Its span in the log, in the caller's trace.
    pub span: tracing::Span,
    /// The trace's id, as the record has it; none where the caller sent none and tracing is off.
    pub trace_id: Option<String>,
    /// The trace that is sent; none while tracing is off, or where it is not sampled.
    sent: Option<(TraceContext, &'static str)>,
}

impl RequestTrace {
    /// The trace of a request: `operation` in the log, `route` in traces.
    pub fn of(traces: &Traces, headers: &HeaderMap, operation: &'static str, route: &'static str) -> Self {
        let parent = TraceParent::of(headers);
        let begun = traces.begin(parent.as_ref().and_then(TraceParent::context));
        let sent = begun.filter(|context| context.is_sampled).map(|context| (context, route));
        match (parent, begun) {
            (Some(TraceParent { trace_id, parent_id, .. }), _) => {
                let span = tracing::info_span!("request", operation, trace_id, parent_id);
                Self { span, trace_id: Some(trace_id), sent }
            }
            (None, Some(context)) => {
                let trace_id = format!("{:032x}", u128::from_be_bytes(context.trace_id));
                let span = tracing::info_span!("request", operation, trace_id);
                Self { span, trace_id: Some(trace_id), sent }
            }
            (None, None) => Self { span: tracing::info_span!("request", operation), trace_id: None, sent: None },
        }
    }

    /// What is to be sent of a decision that was made just now, and is not recorded yet.
    pub fn decided(&self, record: &Record, arrived: Instant) -> Option<DecisionTrace> {
        let (context, operation) = self.sent?;
        let took = arrived.elapsed();
        // Stages follow one another, and the last one has just ended.
        let all: Duration = record.timings_us.values().map(|us| Duration::from_micros(*us)).sum();
        let mut began = took.saturating_sub(all);
        let stages = record.timings_us.iter().map(|(name, us)| {
            let stage = Stage { name: name.to_string(), began, took: Duration::from_micros(*us) };
            began += stage.took;
            stage
        });
        let stages = stages.collect();
        let (reason, variant) = resolution(record);
        let strategy = record.answer.strategy.as_ref();
        Some(DecisionTrace {
            context,
            operation,
            ended_ms: 0,
            took,
            stages,
            decision_id: record.decision_id.clone(),
            decision_point: record.decision_point.to_string(),
            action: record.answer.action.to_string(),
            served_by: record.answer.served_by.as_str(),
            strategy: strategy.map(|strategy| format!("{}@{}", strategy.name, strategy.version)),
            reason,
            variant: variant.into_owned(),
        })
    }
}

/// Sends the trace of a decision that is recorded now.
pub fn send(traces: &Traces, trace: Option<DecisionTrace>, arrived: Instant) {
    let Some(mut trace) = trace else { return };
    let took = arrived.elapsed();
    trace.stages.push(Stage { name: "commit".to_owned(), began: trace.took, took: took.saturating_sub(trace.took) });
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
