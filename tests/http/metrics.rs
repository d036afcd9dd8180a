//! What operators read: metrics and traces.

use serde_json::Value;

use super::{outreach, problem};
use crate::support::{Host, collections};

#[test]
fn metrics_have_buckets_below_a_millisecond_and_labels_that_stay_few() {
    let deployment = collections();
    let host = Host::start(&deployment).ready();
    for borrower in ["b-unmistakable", "b-2", "b-3"] {
        // Too early for the experiment, so that the forced decision is the only one of its arm.
        let mut request = outreach(borrower);
        request["context"]["days_past_due"] = serde_json::json!(1);
        host.decide(&request);
    }
    let mut forced = outreach("b-4");
    forced["force"] = serde_json::json!({ "experiment": "outreach-score", "arm": "score" });
    assert_eq!(host.admin.post("/v1/decisions", &forced).status, 200);
    problem(&host.public.post("/v1/decisions", &serde_json::json!({})), 422, "invalid-request");
    let answer = host.admin.get("/metrics");
    assert!(answer.headers["content-type"].starts_with("application/openmetrics-text"), "{:?}", answer.headers);
    let text = &answer.text;
    assert!(text.ends_with("# EOF\n"));
    for family in ["serin_attempt_duration_seconds", "serin_decision_duration_seconds", "serin_stage_duration_seconds"]
    {
        let bounds: Vec<f64> = text
            .lines()
            .filter(|line| line.starts_with(&format!("{family}_bucket")))
            .filter_map(|line| line.split("le=\"").nth(1)?.split('"').next()?.parse().ok())
            .collect();
        assert_eq!(bounds.iter().copied().fold(f64::INFINITY, f64::min), 10e-6, "{family}");
        assert!(bounds.iter().filter(|bound| **bound < 1e-3).count() >= 8, "{family}: {bounds:?}");
    }
    let labels = "decision_point=\"collections-outreach\",strategy=\"outreach-score\",version=\"1.1.0\",arm=\"score\",outcome=\"answer\"";
    assert_eq!(host.metric(&format!("serin_attempts_total{{{labels}}}")), 1.0, "{text}");
    assert_eq!(host.metric(&format!("serin_attempt_duration_seconds_count{{{labels}}}")), 1.0);
    for stage in ["queue", "gather", "route", "score", "run", "commit"] {
        assert_eq!(host.metric(&format!("serin_stage_duration_seconds_count{{stage=\"{stage}\"}}")), 4.0, "{stage}");
    }
    assert_eq!(host.metric("serin_rejected_total{reason=\"invalid-request\"}"), 1.0);
    assert_eq!(host.metric("serin_records_committed_total"), 4.0);
    assert_eq!(host.metric("serin_artifacts{state=\"active\"}"), 2.0);
    assert_eq!(host.metric("serin_live_versions"), 2.0);
    assert_eq!(host.metric("serin_generation"), 1.0);
    for unbounded in ["sha256", "b-unmistakable", "l-88"] {
        assert!(!text.contains(unbounded), "a label holds {unbounded}");
    }
}

#[test]
fn a_callers_trace_is_in_the_record_and_in_the_log() {
    let deployment = collections();
    let host = Host::start_with(&deployment.config(), &["--log", "serin=debug", "--log-format", "json"]).ready();
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let send = |traceparent: &str| {
        let body = outreach("b-1").to_string();
        let answer = host.public.post_text("/v1/decisions", &body, &[("traceparent", traceparent)]).expect("answers");
        assert_eq!(answer.status, 200, "{}", answer.text);
        host.record(&answer.json())
    };
    assert_eq!(send(&format!("00-{trace}-00f067aa0ba902b7-01"))["trace_id"], trace);
    assert_eq!(send("00-not-a-trace")["trace_id"].as_str().map(str::len), Some(32), "one of the host's own");
    let log = host.log();
    let lines: Vec<Value> =
        log.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect();
    // Every stage's span ends within the caller's trace.
    let is_traced = |line: &&Value| {
        line["span"]["trace_id"] == trace
            || line["spans"].as_array().is_some_and(|spans| spans.iter().any(|span| span["trace_id"] == trace))
    };
    let ended: Vec<&Value> = lines
        .iter()
        .filter(is_traced)
        .filter(|line| line["fields"]["message"] == "close")
        .map(|line| &line["span"]["name"])
        .collect();
    assert_eq!(ended, ["gather", "route", "score", "run", "attempt", "commit", "request"], "{log}");
    assert_eq!(lines.iter().filter(is_traced).filter(|line| line["fields"]["message"] == "decided").count(), 1);
}
