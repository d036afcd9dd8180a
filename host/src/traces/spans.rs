//! A traced request as OpenTelemetry's spans: one for the request, one for each stage and for each run of a strategy, and an
//! event for each evaluated flag.

use std::time::{Duration, SystemTime};

use opentelemetry::trace::{Event, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

use super::{DecisionTrace, Evaluation, StrategyRun};
use crate::clock::Clock;

/// The spans of a request.
pub(super) fn spans(trace: &DecisionTrace, scope: &InstrumentationScope, clock: &dyn Clock) -> Vec<SpanData> {
    let ended = time(trace.ended_ms);
    let began = ended.checked_sub(trace.took).unwrap_or(ended);
    let parent = trace.context.parent.map_or(SpanId::INVALID, SpanId::from_bytes);
    let mut whole = span(trace, scope, clock, parent, (began, trace.took));
    whole.name = trace.operation.into();
    whole.span_kind = SpanKind::Server;
    whole.parent_span_is_remote = trace.context.parent.is_some();
    whole.attributes = attributes(trace);
    // By the conventions for HTTP, what is wrong with a request is no error of the server.
    if let Some(why) = trace.refused.as_ref().filter(|_| trace.status >= 500) {
        // Its type alone: what a problem says of a request may name a person.
        whole.status = Status::error(why.clone());
    }
    let mut events = SpanEvents::default();
    let event = |found: &Evaluation| Event::new("feature_flag.evaluation", ended, evaluation(found), 0);
    events.events = trace.evaluations.iter().map(event).collect();
    whole.events = events;
    let id = whole.span_context.span_id();
    let stages = trace.stages.iter().map(|stage| {
        let begins = began.checked_add(stage.began).unwrap_or(began);
        let mut of_stage = span(trace, scope, clock, id, (begins, stage.took));
        of_stage.name = stage.name.clone().into();
        if let Some(run) = &stage.run {
            of_stage.attributes = attributes_of(run);
            if run.is_failure {
                of_stage.status = Status::error(run.outcome);
            }
        }
        of_stage
    });
    let stages: Vec<SpanData> = stages.collect();
    std::iter::once(whole).chain(stages).collect()
}

/// The attributes of the request's span. Those of a decision are there where it has one.
fn attributes(trace: &DecisionTrace) -> Vec<KeyValue> {
    let (method, route) = trace.operation.split_once(' ').unwrap_or(("", trace.operation));
    let mut attributes = vec![
        KeyValue::new("http.request.method", method),
        KeyValue::new("http.route", route),
        KeyValue::new("http.response.status_code", i64::from(trace.status)),
    ];
    match (&trace.refused, &trace.decision_id) {
        (Some(why), _) => attributes.push(KeyValue::new("error.type", why.clone())),
        (None, Some(id)) => attributes.push(KeyValue::new("serin.decision_id", id.clone())),
        (None, None) => attributes.push(KeyValue::new("serin.recorded", false)),
    }
    if let [found] = &trace.evaluations[..] {
        attributes.push(KeyValue::new("serin.decision_point", found.decision_point.clone()));
        attributes.push(KeyValue::new("serin.served_by", found.served_by));
        attributes.extend(found.strategy.clone().map(|strategy| KeyValue::new("serin.strategy", strategy)));
    }
    attributes
}

/// The attributes of a strategy's run.
fn attributes_of(run: &StrategyRun) -> Vec<KeyValue> {
    let error = run.is_failure.then(|| KeyValue::new("error.type", run.outcome));
    [
        KeyValue::new("serin.strategy", run.strategy.clone()),
        KeyValue::new("serin.role", run.role),
        KeyValue::new("serin.outcome", run.outcome),
    ]
    .into_iter()
    .chain(error)
    .collect()
}

/// The attributes of the event, by OpenTelemetry's conventions. Without the unit: its id is a person's.
fn evaluation(found: &Evaluation) -> Vec<KeyValue> {
    let value = found.is_action.then(|| KeyValue::new("feature_flag.result.value", found.action.clone()));
    let version = found.strategy.clone().map(|strategy| KeyValue::new("feature_flag.version", strategy));
    [
        KeyValue::new("feature_flag.key", found.decision_point.clone()),
        KeyValue::new("feature_flag.provider.name", "serin"),
        KeyValue::new("feature_flag.result.reason", found.reason.to_ascii_lowercase()),
        KeyValue::new("serin.action", found.action.clone()),
        KeyValue::new("feature_flag.result.variant", found.variant.clone()),
    ]
    .into_iter()
    .chain(value)
    .chain(version)
    .collect()
}

fn span(
    trace: &DecisionTrace,
    scope: &InstrumentationScope,
    clock: &dyn Clock,
    parent: SpanId,
    (began, took): (SystemTime, Duration),
) -> SpanData {
    let (trace_id, id) = (TraceId::from_bytes(trace.context.trace_id), SpanId::from(clock.entropy() | 1));
    SpanData {
        span_context: SpanContext::new(trace_id, id, TraceFlags::SAMPLED, false, TraceState::default()),
        parent_span_id: parent,
        parent_span_is_remote: false,
        span_kind: SpanKind::Internal,
        name: "".into(),
        start_time: began,
        end_time: began.checked_add(took).unwrap_or(began),
        attributes: Vec::new(),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: Status::Unset,
        instrumentation_scope: scope.clone(),
    }
}

fn time(ms: u64) -> SystemTime {
    jiff::Timestamp::from_millisecond(ms as i64).unwrap_or_default().into()
}
