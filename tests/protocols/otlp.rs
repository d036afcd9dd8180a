//! Traces of decisions, as a collector gets them that decodes with OpenTelemetry's own messages.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, ChildStdout, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::python;
use crate::support::{Host, collections, eventually, run_with};

/// A collector. It prints what it gets.
struct Collector {
    child: Child,
    lines: BufReader<ChildStdout>,
    url: String,
}

impl Collector {
    fn start() -> Self {
        let mut child =
            python("otlp_receiver.py").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped"));
        let mut port = String::new();
        lines.read_line(&mut port).expect("a port");
        Self { child, lines, url: format!("http://127.0.0.1:{}", port.trim()) }
    }

    /// All that it got.
    fn ended(mut self) -> Vec<Value> {
        drop(self.child.stdin.take());
        let mut text = String::new();
        self.lines.read_to_string(&mut text).expect("reads");
        assert!(self.child.wait().expect("ends").success());
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }
}

fn request(borrower: &str) -> Value {
    json!({
        "decision_point": "collections-outreach",
        "entities": { "borrower": borrower, "loan": "l-88" },
        "context": { "days_past_due": 12 },
    })
}

fn decided(host: &Host, borrower: &str, traceparent: Option<&str>) -> Value {
    let headers: Vec<_> = traceparent.map(|value| ("traceparent", value)).into_iter().collect();
    let answer = host.public.post_text("/v1/decisions", &request(borrower).to_string(), &headers).expect("answers");
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()
}

const SAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const UNSAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4737-00f067aa0ba902b7-00";

#[test]
fn a_decision_is_a_trace_with_its_stages_and_the_flag_that_was_evaluated() {
    let collector = Collector::start();
    let url = collector.url.clone();
    let deployment = collections();
    let host = Host::start_in(
        &deployment,
        &[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &url),
            ("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=collections%20eu"),
            ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test"),
        ],
    )
    .ready();
    let own = decided(&host, "b-1", None);
    let callers = decided(&host, "b-2", Some(SAMPLED));
    let unsampled = decided(&host, "b-3", Some(UNSAMPLED));
    let batch =
        host.public.post("/v1/decisions/batch", &json!({ "requests": [request("b-4"), request("b-5")] })).json();
    let context = json!({ "context": { "targetingKey": "b-6", "loan": "l-88", "days_past_due": 12 } });
    let flag = host.public.post("/ofrep/v1/evaluate/flags/collections-outreach", &context).json();
    let records = [&own, &callers, &unsampled].map(|decision| host.record(decision));
    let in_batch = [0, 1].map(|at: usize| host.record(&batch["results"][at]["decision"]));
    // What waits is sent when the host stops.
    assert_eq!(host.stop(), Some(0));
    let got = collector.ended();
    assert!(!got.is_empty());
    for request in &got {
        assert_eq!((&request["path"], &request["scope"]), (&json!("/v1/traces"), &json!("serin")));
        assert_eq!(request["headers"]["x-tenant"], "collections eu");
        assert_eq!(request["headers"]["content-type"], "application/x-protobuf");
        assert_eq!(request["resource"]["service.name"], "serin");
        assert_eq!(request["resource"]["deployment.environment.name"], "test");
    }
    let spans: Vec<&Value> = got.iter().flat_map(|request| request["spans"].as_array().expect("spans")).collect();
    let roots: Vec<&&Value> = spans.iter().filter(|span| span["kind"] == "SPAN_KIND_SERVER").collect();
    assert_eq!(roots.len(), 5, "one a decision that is sampled: {roots:?}");
    let of = |decision: &Value| {
        let id = &decision["decision_id"];
        let found = roots.iter().find(|root| root["attributes"]["serin.decision_id"] == *id);
        found.unwrap_or_else(|| panic!("no trace of {id}"))
    };
    let root = of(&own);
    assert_eq!(root["name"], "POST /v1/decisions");
    assert_eq!(root["trace_id"], records[0]["trace_id"], "the record has it");
    assert_eq!(root["parent_span_id"], "");
    let stages: Vec<&&Value> = spans.iter().filter(|span| span["parent_span_id"] == root["span_id"]).collect();
    let names: Vec<&str> = stages.iter().filter_map(|stage| stage["name"].as_str()).collect();
    for name in ["queue", "gather", "route", "run", "commit"] {
        assert!(names.contains(&name), "{name} of {names:?}");
    }
    let (began, ended) = (root["began"].as_u64().expect("a time"), root["ended"].as_u64().expect("a time"));
    for stage in stages {
        assert_eq!(stage["trace_id"], root["trace_id"]);
        let (from, to) = (stage["began"].as_u64().expect("a time"), stage["ended"].as_u64().expect("a time"));
        assert!(began <= from && from <= to && to <= ended, "{stage} within {root}");
    }
    let event = &root["events"][0];
    assert_eq!(event["name"], "feature_flag.evaluation");
    let attributes = &event["attributes"];
    assert_eq!(attributes["feature_flag.key"], "collections-outreach");
    assert_eq!(attributes["feature_flag.provider.name"], "serin");
    assert_eq!(attributes["feature_flag.result.value"], own["action"]);
    let variant = match own["experiment"].as_object() {
        Some(experiment) => ("split", format!("outreach-score/{}", experiment["arm"].as_str().expect("an arm"))),
        None => ("targeting_match", "outreach-rules@1.0.0".to_owned()),
    };
    let said = (&attributes["feature_flag.result.reason"], &attributes["feature_flag.result.variant"]);
    assert_eq!(said, (&json!(variant.0), &json!(variant.1)));
    assert!(!got.iter().any(|request| request.to_string().contains("b-1\"")), "no borrower is named");
    let root = of(&callers);
    assert_eq!((&root["trace_id"], &root["parent_span_id"]), (&json!(&SAMPLED[3..35]), &json!(&SAMPLED[36..52])));
    assert_eq!(records[1]["trace_id"], root["trace_id"]);
    assert_eq!(records[2]["trace_id"], &UNSAMPLED[3..35], "recorded, and not sent");
    for record in &in_batch {
        assert_eq!(of(record)["name"], "POST /v1/decisions/batch");
        assert_eq!(of(record)["trace_id"], record["trace_id"]);
    }
    assert_eq!(of(&flag["metadata"])["name"], "POST /ofrep/v1/evaluate/flags/{key}");
}

#[test]
fn without_a_collector_nothing_is_made_up_and_with_a_sampler_less_is_sent() {
    let deployment = collections();
    let host = Host::start(&deployment).ready();
    let record = host.record(&decided(&host, "b-1", None));
    assert_eq!(record.get("trace_id"), None, "{record}");
    assert_eq!(host.stop(), Some(0));
    let collector = Collector::start();
    let url = format!("{}/v1/traces", collector.url);
    let variables = [("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &*url), ("OTEL_TRACES_SAMPLER", "always_off")];
    let deployment = collections();
    let host = Host::start_in(&deployment, &variables).ready();
    let record = host.record(&decided(&host, "b-1", Some(SAMPLED)));
    assert_eq!(record["trace_id"], &SAMPLED[3..35]);
    let record = host.record(&decided(&host, "b-1", None));
    assert_eq!(record["trace_id"].as_str().map(str::len), Some(32), "{record}");
    assert_eq!(host.stop(), Some(0));
    assert_eq!(collector.ended(), Vec::<Value>::new());
}

#[test]
fn a_collector_that_is_down_costs_traces_and_no_decision() {
    // Nobody listens there.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound");
    let url = format!("http://{closed}");
    let variables =
        [("OTEL_EXPORTER_OTLP_ENDPOINT", &*url), ("OTEL_BSP_MAX_QUEUE_SIZE", "2"), ("OTEL_BSP_SCHEDULE_DELAY", "1")];
    let deployment = collections();
    let host = Host::start_in(&deployment, &variables).ready();
    eventually("traces are dropped", Duration::from_secs(20), || {
        decided(&host, "b-1", None);
        (host.metric("serin_traces_total{reason=\"dropped\"}") >= 1.0).then_some(())
    });
    let failed = || host.metric("serin_traces_total{reason=\"failed\"}") >= 1.0;
    eventually("what was tried is counted", Duration::from_secs(30), || failed().then_some(()));
    let stopping = Instant::now();
    assert_eq!(host.stop(), Some(0));
    assert!(stopping.elapsed() < Duration::from_secs(20), "{:?}", stopping.elapsed());
}

#[test]
fn a_variable_that_is_not_valid_keeps_the_host_from_starting_and_says_what_is() {
    let deployment = collections();
    let config = deployment.config();
    let serve =
        ["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--config", config.to_str().expect("a path")];
    for (name, value, says) in [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "valid: http/protobuf"),
        ("OTEL_TRACES_SAMPLER", "sometimes", "valid: always_on"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "0", "valid: a whole number from 1"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s", "valid: a whole number from 1"),
        ("OTEL_TRACES_EXPORTER", "zipkin", "valid: otlp, none"),
    ] {
        let refused = run_with(serve, &[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318"), (name, value)]);
        assert_eq!(refused.code, Some(1), "{}", refused.stderr);
        assert!(refused.stderr.contains(name) && refused.stderr.contains(says), "{}", refused.stderr);
    }
}
