//! Traces of decisions, as a collector gets them that decodes with OpenTelemetry's own messages.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::python;
use crate::experiments;
use crate::support::{Client, Host, collections, eventually, run, run_with};
use crate::tls::{Authority, Until};

/// A collector. It prints what it gets.
struct Collector {
    child: Child,
    lines: BufReader<ChildStdout>,
    url: String,
}

impl Collector {
    fn start() -> Self {
        Self::speaking("http", &[])
    }

    fn speaking(scheme: &str, pair: &[PathBuf]) -> Self {
        let mut child =
            python("otlp_receiver.py").args(pair).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped"));
        let mut port = String::new();
        lines.read_line(&mut port).expect("a port");
        Self { child, lines, url: format!("{scheme}://localhost:{}", port.trim()) }
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
fn each_run_of_a_strategy_is_a_span_that_says_what_came_of_it() {
    let collector = Collector::start();
    let url = collector.url.clone();
    let deployment = experiments::deployment(experiments::RUNNING, true);
    let host = Host::start_in(&deployment, &[("OTEL_EXPORTER_OTLP_ENDPOINT", &url)]).ready();
    let failed = eventually("the arm that traps is chosen", Duration::from_secs(20), || {
        (0..40)
            .map(|n| experiments::decide(&host, &format!("b-{n}")))
            .find(|decision| decision["served_by"] == "fallback_strategy")
    });
    assert_eq!(host.stop(), Some(0));
    let got = collector.ended();
    let spans: Vec<&Value> = got.iter().flat_map(|request| request["spans"].as_array().expect("spans")).collect();
    let is_its = |span: &&&Value| span["attributes"]["serin.decision_id"] == failed["decision_id"];
    let root = spans.iter().find(is_its).expect("its span");
    let runs: Vec<_> = spans
        .iter()
        .filter(|span| span["name"] == "run" && span["parent_span_id"] == root["span_id"])
        .map(|span| (&span["attributes"], &span["status"]))
        .collect();
    let expected = [
        json!({ "serin.strategy": "q@1.0.0", "serin.role": "arm", "serin.outcome": "trap", "error.type": "trap" }),
        json!({ "serin.strategy": "p@1.0.0", "serin.role": "fallback_strategy", "serin.outcome": "answer" }),
    ];
    let status = ["STATUS_CODE_ERROR", "STATUS_CODE_UNSET"].map(|code| json!(code));
    assert_eq!(runs, expected.iter().zip(&status).collect::<Vec<_>>(), "{spans:?}");
}

/// The spans of requests that a collector got.
fn requests(got: &[Value]) -> Vec<&Value> {
    let spans = got.iter().flat_map(|request| request["spans"].as_array().expect("spans"));
    spans.filter(|span| span["kind"] == "SPAN_KIND_SERVER").collect()
}

#[test]
fn a_refused_request_is_a_span_with_its_problem_and_one_without_a_record_says_so() {
    let collector = Collector::start();
    let url = collector.url.clone();
    let deployment = collections();
    let made = run(["token", "new", "--name", "app", "--role", "decide"]);
    let entry = made.stderr.split_once("[[access.tokens]]").expect("an entry").1;
    deployment.write("serin.toml", format!("{}\n[[access.tokens]]{entry}", deployment.read("serin.toml")));
    deployment.edit("serin.toml", "logging = \"must_log\"", "logging = \"best_effort\"");
    let host = Host::start_in(&deployment, &[("OTEL_EXPORTER_OTLP_ENDPOINT", &url)]).ready();
    let (public, admin) = (host.public.bearing(made.stdout.trim()), host.admin.bearing(made.stdout.trim()));
    let trace = |last: u8| format!("00-4bf92f3577b34da6a3ce929d0e0e47{last:02x}-00f067aa0ba902b7-01");
    let post = |client: &Client, path: &str, body: &Value, last: u8| {
        let parent = trace(last);
        client.post_text(path, &body.to_string(), &[("traceparent", &parent)]).expect("answers").status
    };
    let (one, batch) = ("/v1/decisions", "/v1/decisions/batch");
    let (flags, flag) = ("/ofrep/v1/evaluate/flags", "/ofrep/v1/evaluate/flags/no-such-flag");
    let unknown = json!({ "decision_point": "nowhere", "entities": {} });
    let context = json!({ "context": { "targetingKey": "b-6", "loan": "l-88", "days_past_due": 12 } });
    let mut dry = request("b-7");
    dry["dry_run"] = json!(true);
    assert_eq!(post(&public, one, &json!("no object"), 1), 422);
    assert_eq!(post(&host.public, one, &request("b-1"), 2), 401, "without its token");
    assert_eq!(post(&public, one, &dry, 3), 403, "not on this listener");
    assert_eq!(post(&public, batch, &json!({ "requests": [unknown, request("b-2")] }), 4), 200);
    assert_eq!(post(&public, flag, &context, 5), 404);
    assert_eq!(post(&public, flags, &json!({}), 6), 400);
    // Neither is refused, and neither is recorded.
    assert_eq!(post(&public, flags, &context, 7), 200);
    assert_eq!(post(&admin, one, &dry, 8), 200);
    // What decides nothing has no trace, and neither has what the caller does not sample.
    assert_eq!(post(&public, "/v1/outcomes", &json!("no object"), 9), 403);
    let unsampled = [("traceparent", UNSAMPLED)];
    assert_eq!(public.post_text(one, "{", &unsampled).expect("answers").status, 400);
    assert_eq!(host.stop(), Some(0));
    let got = collector.ended();
    let spans = requests(&got);
    let of =
        |last: u8| -> Vec<&&Value> { spans.iter().filter(|span| span["trace_id"] == trace(last)[3..35]).collect() };
    let refused = [
        (1, "POST /v1/decisions", 422, "invalid-request"),
        (2, "POST /v1/decisions", 401, "no-credential"),
        (3, "POST /v1/decisions", 403, "admin-only"),
        (5, "POST /ofrep/v1/evaluate/flags/{key}", 404, "unknown-decision-point"),
        (6, "POST /ofrep/v1/evaluate/flags", 400, "invalid-request"),
    ];
    let is_refusal = |span: &Value, (name, status, why): (&str, u16, &str)| {
        let attributes = &span["attributes"];
        let of_span = if status >= 500 { "STATUS_CODE_ERROR" } else { "STATUS_CODE_UNSET" };
        assert_eq!((&span["name"], &span["status"]), (&json!(name), &json!(of_span)), "{span}");
        assert_eq!(
            (&attributes["http.response.status_code"], &attributes["error.type"]),
            (&json!(status), &json!(why))
        );
        assert_eq!((span["parent_span_id"].as_str(), &span["events"]), (Some(&trace(1)[36..52]), &json!([])));
    };
    for (last, name, status, why) in refused {
        assert_eq!(of(last).len(), 1, "{last}: {spans:?}");
        is_refusal(of(last)[0], (name, status, why));
    }
    // Of a batch each item is a trace, decided or refused.
    let (bad, good): (Vec<_>, Vec<_>) =
        of(4).into_iter().partition(|span| span["attributes"].get("error.type").is_some());
    assert_eq!((bad.len(), good.len()), (1, 1), "{spans:?}");
    is_refusal(bad[0], ("POST /v1/decisions/batch", 422, "unknown-decision-point"));
    for (last, name) in [(7, "POST /ofrep/v1/evaluate/flags"), (8, "POST /v1/decisions")] {
        let [span] = &of(last)[..] else { panic!("{last}: {spans:?}") };
        let (attributes, event) = (&span["attributes"], &span["events"][0]["attributes"]);
        assert_eq!((&span["name"], &span["status"]), (&json!(name), &json!("STATUS_CODE_UNSET")));
        assert_eq!(
            (&attributes["serin.recorded"], attributes.get("serin.decision_id")),
            (&json!(false), None),
            "{span}"
        );
        assert_eq!(event["feature_flag.key"], "collections-outreach", "{span}");
    }
    assert_eq!(spans.len(), refused.len() + 4, "{spans:?}");
}

#[test]
fn an_answer_that_a_key_had_before_is_a_span_of_its_own() {
    let collector = Collector::start();
    let url = collector.url.clone();
    let deployment = collections();
    let host = Host::start_in(&deployment, &[("OTEL_EXPORTER_OTLP_ENDPOINT", &url)]).ready();
    let post = |parent: &str| {
        let headers = [("idempotency-key", "k-1"), ("traceparent", parent)];
        host.public.post_text("/v1/decisions", &request("b-1").to_string(), &headers).expect("answers").json()
    };
    let again = SAMPLED.replace("4736", "4738");
    assert_eq!(post(SAMPLED)["decision_id"], post(&again)["decision_id"]);
    assert_eq!(host.stop(), Some(0));
    let got = collector.ended();
    let [first, repeated] = &requests(&got)[..] else { panic!("{got:?}") };
    assert!(first["attributes"].get("serin.decision_id").is_some(), "{first}");
    assert_eq!(repeated["trace_id"], again[3..35]);
    assert_eq!((&repeated["attributes"]["serin.recorded"], &repeated["events"]), (&json!(false), &json!([])));
    assert_eq!(repeated["status"], "STATUS_CODE_UNSET");
}

#[test]
fn a_record_has_a_trace_without_a_collector_and_with_a_sampler_less_is_sent() {
    let deployment = collections();
    let host = Host::start(&deployment).ready();
    let record = host.record(&decided(&host, "b-1", None));
    let other = host.record(&decided(&host, "b-1", None));
    for record in [&record, &other] {
        let id = record["trace_id"].as_str().expect("an id");
        assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{record}");
    }
    assert_ne!(record["trace_id"], other["trace_id"]);
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
fn traces_leave_compressed_and_by_tls_with_a_ca_that_is_named() {
    let deployment = collections();
    let ca = Authority::new("Lender");
    let pair = ca.issue("localhost", Until::Later);
    for (name, text) in [("ca.pem", &ca.pem), ("collector.pem", &pair.cert), ("collector.key", &pair.key)] {
        deployment.write(name, text);
    }
    let file = |name: &str| deployment.path().join(name);
    let collector = Collector::speaking("https", &[file("collector.pem"), file("collector.key")]);
    let (url, named) = (collector.url.clone(), file("ca.pem"));
    let named = named.to_str().expect("a path");
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &*url),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", named),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
    ];
    let host = Host::start_in(&deployment, &variables).ready();
    decided(&host, "b-1", None);
    assert_eq!(host.stop(), Some(0));
    // Without the CA nobody is trusted.
    let host = Host::start_in(&deployment, &variables[..1]).ready();
    decided(&host, "b-2", None);
    assert_eq!(host.stop(), Some(0));
    let got = collector.ended();
    assert!(!got.is_empty() && got.iter().all(|got| got["headers"]["content-encoding"] == "gzip"), "{got:?}");
}

#[test]
fn a_variable_that_is_not_valid_keeps_the_host_from_starting_and_says_what_is() {
    let deployment = collections();
    let config = deployment.config();
    let serve =
        ["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--config", config.to_str().expect("a path")];
    for (name, value, says) in [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector 4318", "valid: a URL"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "ftp://127.0.0.1:4318", "valid: a URL"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "valid: http/protobuf"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json", "valid: http/protobuf"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a-secret", "valid: KEY=VALUE"),
        ("OTEL_RESOURCE_ATTRIBUTES", "team", "valid: KEY=VALUE"),
        ("OTEL_TRACES_SAMPLER", "sometimes", "valid: always_on"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "0", "valid: a whole number from 1"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s", "valid: a whole number from 1"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd", "valid: gzip, none"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/nowhere.pem", "No such file"),
        ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "key.pem", "OTEL_EXPORTER_OTLP_HEADERS"),
        ("OTEL_TRACES_EXPORTER", "zipkin", "valid: otlp, none"),
    ] {
        let mut variables = vec![("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318"), (name, value)];
        if name == "OTEL_EXPORTER_OTLP_ENDPOINT" {
            variables.remove(0);
        }
        let refused = run_with(serve, &variables);
        assert_eq!(refused.code, Some(1), "{}", refused.stderr);
        assert!(refused.stderr.contains(name) && refused.stderr.contains(says), "{}", refused.stderr);
    }
}
